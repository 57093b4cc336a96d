"""Coverage of calibrated intervals on plates: the share of new simulations that they hold, and how
wide they are beside those of an oracle.

Many random splits of 700 plates (P1, 2,000 nodes, morphed once), into 50, 100 or 200 to fit and
calibrate and 60 to test. A field is held where its band holds it at every point. The oracle knows
the test cases' scores: its band is as many standard deviations of the same surrogate wide as hold
the level. "inner": the share that the surrogate's own, uncalibrated interval holds.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import Queue, get_context
from pathlib import Path

import numpy as np
import torch
from bars import Bar, Clock, arguments, finish, say, table
from plates import CACHE, one_numbering, plate_sets

from fieldcast import surrogates
from fieldcast.meshes import Sample
from fieldcast.meshes.morphing import Identity
from fieldcast.surrogates import (
    MMGP,
    Conformal,
    Descent,
    Ensemble,
    PodNetwork,
    Surrogate,
)
from fieldcast.surrogates.conformal import scored
from fieldcast.surrogates.networks import Batched, Dense
from fieldcast.surrogates.pod_network import Members
from fieldcast.surrogates.training import train

SIZES, LEVELS, TEST = (50, 100, 200), (0.9, 0.95), 60
FIELDS, SCALARS = ("U2", "sig11"), ("max_von_mises", "max_U2_top", "max_sig22_top")
SURROGATES: dict[str, Surrogate] = {
    "MMGP": MMGP(Identity(), shared_kernel=True),
    "ensemble": Ensemble(
        PodNetwork(Identity(), modes=8, width=32, descent=Descent(steps=400, rate=1e-2)), size=8
    ),
}
WIDTH, MEMBERS, REPEATS, STEPS = 32, 32, 7, 200


@lru_cache(maxsize=1)
def plates() -> list[Sample]:
    """All plates, on one numbering."""
    train, test = plate_sets("P1", "2k", 500, 200)
    return one_numbering(
        [
            Sample(s.case, {k: s.fields[k] for k in FIELDS}, {k: s.scalars[k] for k in SCALARS})
            for s in (*train, *test)
        ]
    )


def pinned(cores: Queue) -> None:
    """Every process on a core of its own."""
    os.sched_setaffinity(0, {cores.get()})
    torch.set_num_threads(1)


def split(job: tuple[str, int, int]) -> dict[str, np.ndarray]:
    """By output: (level, [coverage, width / oracle width, coverage of the inner interval])."""
    name, n, seed = job
    order = np.random.default_rng([seed, n]).permutation(len(plates()))
    train, test = ([plates()[i] for i in part] for part in (order[:n], order[n : n + TEST]))
    model = Conformal(SURROGATES[name]).fit(train, seed=seed)
    found = list(model.predict([s.case for s in test]))
    plain = list(model.whole.predict([s.case for s in test]))
    scores = scored(test, plain, pointwise=False)
    rows: dict[str, list[list[float]]] = {k: [] for k in (*FIELDS, *SCALARS)}
    for level in LEVELS:
        bands = [p.interval(level) for p in found]
        inner = [p.interval(level) for p in plain]
        for output in rows:
            held, widths = held_in(test, bands, output)
            own, own_widths = held_in(test, inner, output)
            # Of the same surrogate: its own intervals are z standard deviations wide.
            z = float(torch.special.ndtri(torch.tensor(0.5 + level / 2)))
            oracle = float(np.quantile(scores[output], level)) / z
            rows[output].append([held, widths / (oracle * own_widths), own])
    return {k: np.array(v) for k, v in rows.items()}


def held_in(samples: Sequence[Sample], bands: Sequence, output: str) -> tuple[float, float]:
    """Share of the samples that lie inside as a whole, and the mean width."""
    held, widths = [], []
    for sample, (low, high) in zip(samples, bands, strict=True):
        if output in SCALARS:
            truth = sample.scalars[output].value
            a, b = low.scalars[output].value, high.scalars[output].value
        else:
            truth = sample.fields[output].values
            a, b = low.fields[output].values, high.fields[output].values
        held.append(bool(((a <= truth) & (truth <= b)).all()))
        widths.append(float((b - a).mean()))
    return float(np.mean(held)), float(np.mean(widths))


def run(name: str, n: int, splits: int, pool: ProcessPoolExecutor) -> dict[str, np.ndarray]:
    """(split, level, figure) by output; splits that were done before by the same code are kept in
    benchmarks/.cache."""
    clock, kept = Clock(), CACHE / f"coverage_{code()}" / f"{name}_{n}"
    kept.mkdir(parents=True, exist_ok=True)
    jobs = [(name, n, seed) for seed in range(splits)]
    open_jobs = [job for job in jobs if not (kept / f"{job[2]}.npz").exists()]
    for k, (job, row) in enumerate(zip(open_jobs, pool.map(split, open_jobs), strict=True)):
        np.savez(kept / f"{job[2]}.npz", **row)
        if k % 10 == 9:
            say(f"{name}, {n} plates: {k + 1} of {len(open_jobs)} splits, {clock():.0f} s")
    found = [dict(np.load(kept / f"{job[2]}.npz", allow_pickle=False)) for job in jobs]
    return {k: np.array([row[k] for row in found]) for k in found[0]}


def code() -> str:
    """Of what the figures depend on."""
    sources = [Path(__file__), *sorted(Path(surrogates.__file__).parent.glob("*.py"))]
    return hashlib.sha256(b"".join(p.read_bytes() for p in sources)).hexdigest()[:12]


def training_ratio() -> Bar:
    """Time to train `MEMBERS` networks as one over that to train one: two hidden layers, batch 64,
    10 inputs, 40 outputs, 200 cases."""
    clock = Clock()
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(200, 10, generator=generator), torch.randn(200, 40, generator=generator)
    descent = Descent(steps=STEPS, batch=64)

    def seconds(count: int) -> float:
        rows = torch.randint(200, (count, 200), generator=generator)
        sizes = [10, WIDTH, WIDTH, 40]
        made = [Dense(sizes, torch.Generator().manual_seed(k), x.dtype) for k in range(count)]
        module, start = Batched(made), Clock()
        train(module, Members(x, y, torch.ones(40) / 40, rows), descent)
        return start()

    pairs = [(seconds(1), seconds(MEMBERS)) for _ in range(REPEATS + 1)][1:]
    one, many = np.median(pairs, axis=0)
    say(f"one network {one:.2f} s, {MEMBERS} networks {many:.2f} s")
    label = f"{MEMBERS} networks / one, time to train"
    return Bar(label, float(many / one), 4.0, REPEATS, clock())


def wanted(n: int, level: float) -> float:
    """ceil((n + 1) level) / (n + 1)."""
    return math.ceil((n + 1) * level - 1e-9) / (n + 1)


def main() -> None:
    given = arguments(__doc__)
    plates()
    sizes = SIZES[:1] if given.quick else SIZES
    counts = {"MMGP": 6, "ensemble": 4} if given.quick else {"MMGP": 200, "ensemble": 20}
    jobs = [(name, n, count) for n in sizes for name, count in counts.items()]
    bars, rows = [], []
    context = get_context("spawn")
    cores = context.Queue()
    for core in os.sched_getaffinity(0):
        cores.put(core)
    with ProcessPoolExecutor(cores.qsize(), context, pinned, (cores,)) as pool:
        for name, n, splits in jobs:
            clock = Clock()
            found = run(name, n, splits, pool)
            for kind, outputs in (("scalars", SCALARS), ("fields", FIELDS)):
                bars += bars_of(
                    f"{name}, {n} plates: {kind}", found, outputs, n, clock(), given.quick
                )
            for output, values in found.items():
                for level, (held, width, own) in zip(LEVELS, values.mean(axis=0), strict=True):
                    spread = values[:, LEVELS.index(level), 0].std()
                    rows.append(
                        (name, n, output, level, wanted(n, level), held, spread, width, own)
                    )
    bars.append(training_ratio())
    head = ("surrogate", "plates", "output", "level", "wanted", "held", "its spread over splits")
    head += ("width / oracle", "inner holds")
    tables = {"coverage": table(head, rows)}
    finish("coverage", given, bars, tables)


def bars_of(
    label: str,
    found: Mapping[str, np.ndarray],
    outputs: Sequence[str],
    n: int,
    seconds: float,
    quick: bool,
) -> list[Bar]:
    """The worst output of each kind."""
    bars = []
    splits = len(found[outputs[0]])
    for k, level in enumerate(LEVELS):
        off = max(abs(found[o][:, k, 0].mean() - wanted(n, level)) for o in outputs)
        wide = max(found[o][:, k, 1].mean() for o in outputs)
        goal, most = (0.04, 3.0) if quick else (0.02, 1.5)
        full = (0.02, 1.5) if quick else (None, None)
        bars += [
            Bar(
                f"{label}, coverage off {level:.0%} by",
                off,
                goal,
                splits,
                seconds,
                full_goal=full[0],
            ),
            Bar(
                f"{label}, {level:.0%} width / oracle",
                wide,
                most,
                splits,
                seconds,
                full_goal=full[1],
            ),
        ]
    return bars


if __name__ == "__main__":
    main()
