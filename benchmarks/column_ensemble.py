"""A million columns by 16 networks: how fast, in how much memory, and how fast they learn together.

Columns have T and q on 60 levels and 60 heating rates; networks three hidden layers of 96. Beside
`predict` of packed cases the products of matrices that it makes (`torch.baddbmm` alone, of learned
and prior networks), in turns, in CPU seconds of one thread, so that what else runs counts little.
Beside training a loop over members with the same rows, steps, clipping, optimiser and averages, in
seconds on all cores; the loop by one thread or by all, whichever is faster. Memory is the peak
above inputs and outputs, in processes of their own. The fair CRPS of a perfect ensemble is that of
N(0, 1), 1 / sqrt(pi).
"""

from __future__ import annotations

import copy
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from bars import Bar, Clock, arguments, finish, say, table
from torch import Tensor, nn

from fieldcast.meshes import Cases, Samples
from fieldcast.meshes.climsim_scores import fair_crps
from fieldcast.meshes.columns import column_cases, level_field, line_mesh
from fieldcast.surrogates import ColumnNetwork, Descent, RandomizedPrior
from fieldcast.surrogates.column_network import ColumnObjective, ColumnPredictor, Parted
from fieldcast.surrogates.training import train

LEVELS, MEMBERS, WIDTH, DEPTH, BATCH = 60, 16, 96, 3, 128
MILLION, QUARTER, TRAINED, REPEATS = 1_000_000, 250_000, 4000, 5
BLOCKS = (256, 512, 1024, 4096)
"""Columns at a time of the products alone; the fastest counts."""
EXACT = 1.0 / np.sqrt(np.pi)


def columns(count: int, seed: int = 0) -> Cases:
    """T [K] and q [kg/kg] in single precision."""
    rng = np.random.default_rng(seed)
    t = rng.standard_normal((count, LEVELS), dtype=np.float32)
    np.multiply(t, 10.0, out=t)
    t += 280.0
    q = rng.standard_normal((count, LEVELS), dtype=np.float32)
    np.multiply(q, 2e-4, out=q)
    q += 2e-3
    fields = {"T": level_field(t, "K"), "q": level_field(q, "kg/kg")}
    return column_cases(line_mesh(np.linspace(0.0, 1.0, LEVELS)), fields)


def truth(cases: Cases) -> Samples:
    """A heating [K/day]."""
    t, q = (cases.fields[k].values for k in ("T", "q"))
    heating = replace(cases.fields["T"], values=(t - 280.0) * q * 100.0, unit="K/d")
    return Samples(cases, {"heating": heating})


def recipe(steps: int) -> RandomizedPrior:
    """Members on the CPU or where `Descent` finds a GPU."""
    descent = Descent(steps=steps, batch=BATCH, every=steps)
    return RandomizedPrior(ColumnNetwork(WIDTH, DEPTH, descent), MEMBERS)


def products(predictor: ColumnPredictor) -> Callable[[Tensor, int], None]:
    """The products alone, so many columns at a time."""
    stacks = [
        [(b.detach(), w.detach()) for b, w in zip(s.biases, s.weights, strict=True)]
        for s in (predictor.net.learned, predictor.net.prior)
    ]

    def run(x: Tensor, block: int) -> None:
        with torch.no_grad():
            for part in x.split(block):
                for layers in stacks:
                    h = part.expand(MEMBERS, -1, -1)
                    for bias, weight in layers:
                        h = torch.baddbmm(bias, h, weight)

    return run


def inference(predictor: ColumnPredictor, count: int, device: str | None) -> tuple[float, ...]:
    """Seconds of `predict` and of the products alone for all columns, in turns of a tenth; and
    of `predict` for all in one call."""
    cases = columns(count)
    plain = products(predictor)
    tenth = [range(k * count // 10, (k + 1) * count // 10) for k in range(10)]
    x = torch.randn(count // 10, 2 * LEVELS)
    trial = x[:8192]
    plain(trial, BLOCKS[0])
    spent = {b: min(timed(lambda b=b: plain(trial, b)) for _ in range(3)) for b in BLOCKS}
    block = min(spent, key=lambda b: spent[b])
    predictor.predict(cases.span(range(8192)), device=device)
    own, alone = [], []
    for rows in tenth:
        part = cases.span(rows)
        own.append(timed(lambda part=part: predictor.predict(part, device=device)))
        alone.append(timed(lambda: plain(x, block)))
    whole = timed(lambda: predictor.predict(cases, device=device))
    say(f"{count} columns: {whole:.1f} s; in turns {sum(own):.1f} s, products {sum(alone):.1f} s")
    return statistics.median(own) * 10, statistics.median(alone) * 10, whole


def timed(run: Callable[[], object]) -> float:
    """CPU seconds."""
    start = time.process_time()
    run()
    return time.process_time() - start


def memory(count: int) -> float:
    """The peak of a process that predicts so many columns, less what its inputs and outputs take
    [MiB]."""
    code = f"import column_ensemble as c; c.report_memory({count})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=str(__file__).rsplit("/", 1)[0],
    )
    return float(done.stdout.split()[-1])


def report_memory(count: int) -> None:
    """Print it; the answer holds mean, standard deviation, offsets and what trust is judged by."""
    predictor = recipe(2).fit(truth(columns(TRAINED)))
    predictor.predict(columns(40_000, 1))
    cases = columns(count)
    before = resident()
    found = predictor.predict(cases)
    fields = [found.mean["heating"], (found.std or {})["heating"]]
    held = sum(f.values.nbytes for f in fields) + fields[0].offsets.nbytes
    held += sum(p.place.raw.nbytes + p.place.clamped.nbytes for p in found.trust.parts)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print((peak - before - held) / 2**20)


def resident() -> int:
    """Bytes that this process has in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def training(steps: int) -> tuple[float, float]:
    """Medians of seconds for all members together, and one after the other."""
    data = Parted.of(truth(columns(TRAINED)), None, 0)
    chosen = recipe(steps)
    rows = chosen.rows(len(data.x), 0)
    ends = data.x.shape[1], data.y.shape[1]

    def together() -> None:
        net = chosen.networks(*ends, 0)
        train(net, ColumnObjective(data.x, data.y, rows, None), chosen.descent)

    def loop() -> None:
        for member in range(MEMBERS):
            net = chosen.network.networks(*ends, 1, chosen.beta, member)
            alone(net, data, rows[member], chosen.descent)

    cores = len(os.sched_getaffinity(0))
    runs = {"together": (together, cores), "one": (loop, 1), "all": (loop, cores)}
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(REPEATS + 1):
        for name, (run, threads) in runs.items():
            torch.set_num_threads(threads)
            clock = Clock()
            run()
            if repeat:
                taken[name].append(clock())
    torch.set_num_threads(1)
    found = {name: statistics.median(own) for name, own in taken.items()}
    return found["together"], min(found["one"], found["all"])


def alone(net: nn.Module, data: Parted, own: Tensor, descent: Descent) -> None:
    """One member, by a plain loop: the same batches, optimiser, clipping and averages."""
    mean = copy.deepcopy(net)
    learned = [p for p in net.parameters() if p.requires_grad]
    kept = [p for p in mean.parameters() if p.requires_grad]
    adam = torch.optim.AdamW(learned, lr=descent.rate, weight_decay=descent.decay, fused=True)
    per_epoch = -(-len(own) // BATCH)
    for step in range(descent.steps):
        epoch, k = divmod(step, per_epoch)
        if k == 0:
            order = torch.randperm(len(own), generator=torch.Generator().manual_seed(epoch))
        rows = own[order.tensor_split(per_epoch)[k]]
        adam.param_groups[0]["lr"] = descent.rate_at(step)
        adam.zero_grad(set_to_none=True)
        nn.functional.mse_loss(net(data.x[rows][None])[0], data.y[rows]).backward()
        nn.utils.clip_grad_norm_(learned, descent.clip)
        adam.step()
        with torch.no_grad():
            for old, new in zip(kept, learned, strict=True):
                old.lerp_(new, 0.01)


def perfect_crps(cases: int) -> float:
    """The fair CRPS of 32 draws of N(0, 1) about truths of the same."""
    rng = np.random.default_rng(0)
    return float(fair_crps(rng.normal(size=(cases, 1, 32)), rng.normal(size=(cases, 1)))[0])


def main() -> None:
    given = arguments(__doc__ or "")
    torch.set_num_threads(1)
    count, steps = (100_000, 40) if given.quick else (MILLION, 100)
    clock = Clock()
    predictor = recipe(20).fit(truth(columns(TRAINED)))
    assert isinstance(predictor, ColumnPredictor)
    own, plain, whole = inference(predictor, count, given.device)
    name = f"inference, products of matrices alone / predict, {count:,} columns x {MEMBERS}"
    bars = [Bar(name, plain / own, 0.5, count, clock(), True)]
    clock = Clock()
    few, many = (memory(n) for n in ((50_000, 200_000) if given.quick else (QUARTER, MILLION)))
    # What one batch takes varies by some pages from run to run.
    bars.append(
        Bar("peak above inputs and outputs, 4 x as many columns", many / few, 1.1, 2, clock())
    )
    clock = Clock()
    together, loop = training(steps)
    bars.append(
        Bar("training, loop over members / together", loop / together, 3.0, 5, clock(), True)
    )
    clock = Clock()
    off = abs(perfect_crps(400_000) / EXACT - 1.0)
    bars.append(Bar("fair CRPS of a perfect ensemble, error", off, 0.01, 400_000, clock()))
    rows = [
        ("predict, all in one call [us a column]", 1e6 * whole / count),
        ("predict, a tenth at a time [us a column]", 1e6 * own / count),
        ("products of matrices alone [us a column]", 1e6 * plain / count),
        ("peak above inputs and outputs, a quarter [MiB]", few),
        ("peak above inputs and outputs, all [MiB]", many),
        ("training together [ms a step]", 1e3 * together / steps),
        ("training one after the other [ms a step]", 1e3 * loop / steps),
    ]
    finish("column_ensemble", given, bars, {"columns": table(("what", "figure"), rows)})


if __name__ == "__main__":
    main()
