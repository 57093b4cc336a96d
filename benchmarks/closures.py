"""Closures of turbulence learned from the spectrum of five snapshots, beside the best static
coefficient and laws of two and three numbers: case 1 of Mojgani et al. 2023 (arXiv:2312.00907) on
32 x 32 points, and without learning again on 64 x 64 points and in case 2.

Every closure runs 16 flows for 150 units of time, of which 20 are dropped, from five snapshots with
disturbances, actions held for 5 steps of 0.004. "reward" is the mean of 1 / |k (Z - Z_t)|^2, with
its standard error over flows; Z_t is the authors' spectrum, that of their five unfiltered
snapshots. Distances of the vorticity and similarities are to a direct simulation of our own, 512 x
512 points for 40 units, filtered; in a quick run to the five snapshots. The static coefficient is
the best of seven in steps of 0.003, each run as long. Offsets, gains and pulls of the laws are
searched by shorter runs of another seed. "agent mean" is a learned closure whose agents all do what
they do on average: what it loses is what was local. "with tails" is learned through the solver,
too, by the flatness of the snapshots beside their spectrum. Learned settings (agents, hold, scale,
rate) were chosen by shorter runs of other seeds, against the same spectrum; the weight of the
flatness is the better of 3 and 10 by these very runs. What was trained, run and solved is kept in
.cache, so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from bars import Bar, Clock, arguments, finish, say, table
from budgets import at_once
from closure_truth import (
    CACHE,
    KEPT,
    Direct,
    direct,
    direct_cost,
    samples,
    snapshots,
    spectrum_file,
)

from fieldcast.meshes import Case, Field, Sample
from fieldcast.pipelines.closure_report import COLUMNS as OF_PAGES
from fieldcast.solvers.periodic import periodic_square
from fieldcast.solvers.spectral import Grid
from fieldcast.solvers.turbulence_environment import TurbulenceEnvironment
from fieldcast.surrogates import load
from fieldcast.surrogates.closure import ClosurePredictor, ClosureRecipe
from fieldcast.surrogates.closure_environment import wanted
from fieldcast.surrogates.closure_learning import Acting, Smarl, ThroughSolver
from fieldcast.surrogates.closure_ppo import Ppo
from fieldcast.surrogates.closure_rivals import (
    DynamicCoefficient,
    Feedback,
    OfflineClosure,
    StaticCoefficient,
)
from fieldcast.surrogates.closure_runs import Climate, Protocol, run
from fieldcast.surrogates.closure_scores import Measured, scores, similarities, truth_of

STATIC = (0.079, 0.082, 0.085, 0.088, 0.091, 0.094, 0.097)
NONE, BEST, LAW, STEERED = "none", "best static", "feedback law", "steered law"
RL, THROUGH, TAILS, MEAN = "RL", "through the solver", "with tails", ", agent mean"
GOALS = {RL: 1.05, THROUGH: 1.10, TAILS: 1.10}
"""Of what learns by itself: rewards over that of the best static coefficient."""
DIRECT = "direct simulation, 512 x 512"
DEVIATION = 6.0705
TURNOVERS = 1e4
FLOWS, FIRST = 11, 10
"""The seed of the flows that are measured, and the first of those that learn."""


@dataclass(frozen=True)
class Size:
    """What is run: protocols of the main and the moved runs, seeds, lengths of trainings."""

    main: Protocol
    moved: Protocol
    search: Protocol
    static: tuple[float, ...]
    seeds: int
    iterations: int
    updates: int
    rows: int
    truth: bool


FULL = Size(
    Protocol(16, 150.0, 20.0, DEVIATION),
    Protocol(8, 60.0, 15.0, DEVIATION),
    Protocol(8, 60.0, 15.0, DEVIATION),
    STATIC,
    3,
    200,
    400,
    8,
    True,
)
QUICK = Size(
    Protocol(8, 24.0, 8.0, DEVIATION),
    Protocol(4, 8.0, 3.0, DEVIATION),
    Protocol(4, 12.0, 4.0, DEVIATION),
    (0.085, 0.091),
    1,
    50,
    160,
    8,
    False,
)
COARSE = TurbulenceEnvironment(points=32, agents=4)
FINE_AGENTS, WEIGHT = 8, 3.0
"""Agents a side that learn; of the flatness, where it counts."""
TOLD = slice(5, 101)
"""Wavenumbers of direct simulations that are compared."""


@dataclass(frozen=True)
class Study:
    """All that is kept goes by the size and by what was asked."""

    size: Size
    device: str | None
    learnt: Sequence[Sample]

    def path(self, *asked: object) -> str:
        """Where something is kept."""
        text = repr(asked)
        return str(CACHE / f"closures_{sha256(text.encode()).hexdigest()[:16]}")

    def fitted(self, recipe: ClosureRecipe, seed: int, more: Sequence[Sample] = ()) -> Fitted:
        """A recipe's predictor, and the seconds that it took."""
        path = Path(self.path("fit", recipe, seed, len(more)) + ".fieldcast")
        if not path.exists():
            clock = Clock()
            checkpoint = path.with_suffix(".training")

            def told(stage: str, done: int, total: int) -> None:
                if done % max(total // 8, 1) == 0:
                    say(f"{type(recipe).__name__} {stage}, {done} of {total}, {clock():.0f} s")

            where = replace(recipe, environment=recipe.environment.at(self.device or "cpu"))  # type: ignore[type-var]
            model = where.fit(
                [*self.learnt, *more], seed=seed, progress=told, checkpoint=checkpoint
            )
            card = replace(model.card, fit={**model.card.fit, "seconds": clock()})
            replace(model, recipe=recipe, card=card).save(path)
            checkpoint.unlink(missing_ok=True)
        model = load(path)
        assert isinstance(model, ClosurePredictor)
        return Fitted(model, float(model.card.fit["seconds"]))

    def climate(self, model: ClosurePredictor, protocol: Protocol, seed: int, name: str) -> Climate:
        """A closure's runs."""
        weights = sha256(
            repr(sorted(model.law.kept().values.items())).encode()
            + b"".join(np.ascontiguousarray(a).tobytes() for a in model.law.kept().arrays.values())
        ).hexdigest()
        kind = type(model.law).__name__
        environment = model.environment.at(self.device or "cpu")
        asked = (kind, weights, model.environment, protocol, seed, model.target.sum())
        path = Path(self.path("run", *asked) + ".npz")
        if not path.exists():
            case = 2 if model.environment.beta else 1  # type: ignore[attr-defined]
            aim = wanted(environment, samples(case))
            clock = Clock()
            found = run(environment, model.law, aim, protocol, seed=seed)
            CACHE.mkdir(exist_ok=True)
            np.savez(path, seconds=clock(), **found.arrays())
            say(f"{name}: reward {found.reward.mean():.3f}, {clock():.0f} s")
        arrays = dict(np.load(path))
        arrays.pop("seconds")
        return Climate.of_arrays(arrays)


@dataclass(frozen=True)
class Fitted:
    """A predictor and the seconds that its fit took."""

    model: ClosurePredictor
    seconds: float


def closures(study: Study, truth: Direct | None) -> dict[str, Fitted]:
    """All closures by name, fitted."""
    size, search = study.size, study.size.search
    fine = replace(COARSE, agents=FINE_AGENTS)
    recipes: dict[str, ClosureRecipe] = {
        NONE: StaticCoefficient(COARSE, (0.0,)),
        "dynamic": DynamicCoefficient(COARSE),
        LAW: Feedback(COARSE, gains=(0.02, 0.03, 0.04), protocol=search),
        STEERED: Feedback(fine, gains=(0.03,), pulls=(0.005, 0.01, 0.02), protocol=search),
    }
    found = {f"static {c:g}": study.fitted(StaticCoefficient(COARSE, (c,)), 0) for c in size.static}
    found |= {name: study.fitted(recipe, 7) for name, recipe in recipes.items()}
    if truth is not None:
        found["offline"] = study.fitted(OfflineClosure(COARSE), 0, lessons(truth))
    tasks = [(kind, seed) for seed in range(FIRST, FIRST + size.seeds) for kind in GOALS]
    at_once(learn, [(size, study.device, *task) for task in tasks], study.device)
    for kind, seed in tasks:
        found[f"{kind} {seed}"] = study.fitted(learner(kind, size), seed)
    return found


def learner(kind: str, size: Size) -> ClosureRecipe:
    """What learns by itself."""
    fine = replace(COARSE, agents=FINE_AGENTS)
    if kind == THROUGH:
        return ThroughSolver(fine, Acting(rows=size.rows), updates=size.updates)
    if kind == TAILS:
        updates = 2 * size.updates
        return ThroughSolver(fine, Acting(rows=size.rows), updates=updates, tails=WEIGHT)
    return Smarl(fine, Acting(rows=2 * size.rows), Ppo(size.iterations))


def learn(size: Size, device: str | None, kind: str, seed: int) -> None:
    """In a process of its own; what it finds is kept."""
    torch.set_num_threads(1)
    Study(size, device, samples(1)).fitted(learner(kind, size), seed)


def lessons(truth: Direct) -> list[Sample]:
    """What the filtered direct simulation says the closure should be on the coarse grid, from the
    states that are kept: what scales between the two grids do."""
    from fieldcast.solvers.turbulence_closures import subgrid_tendency

    fine, coarse, found = Grid(KEPT), COARSE.grid, []
    for n, state in enumerate(truth.states[::2]):
        spectrum = state[None]
        w = coarse.physical(coarse.resampled(spectrum, fine))[0]
        t = coarse.physical(subgrid_tendency(spectrum, fine, coarse))[0]
        known, told = (Field.steady(f.numpy().reshape(-1).astype(float)) for f in (w, t))
        case = Case(periodic_square(COARSE.points), {}, {"vorticity": known}, name=f"state_{n}")
        found.append(Sample(case, {"tendency": told}))
    return found


def main() -> None:
    given = arguments(__doc__ or "")
    torch.set_num_threads(1)
    size, clock = QUICK if given.quick else FULL, Clock()
    study = Study(size, given.device, samples(1))
    truth = direct(512, 1e-3, 40.0) if size.truth else None
    every = closures(study, truth)
    ran: dict[str, Climate] = {}
    for name, fitted in every.items():
        ran[name] = study.climate(fitted.model, size.main, FLOWS, name)
        if name.startswith((*GOALS, STEERED)):
            ran[name + MEAN] = study.climate(fitted.model.averaged(), size.main, FLOWS, name + MEAN)
    best = max((n for n in ran if n.startswith("static")), key=lambda n: ran[n].reward.mean())
    ran[BEST] = ran[best]
    moved = {} if given.quick else elsewhere(study, every, best)
    shown = {BEST: every[best], **{k: f for k, f in every.items() if k in (NONE, LAW, STEERED)}}
    shown |= {f"{kind} {FIRST}": every[f"{kind} {FIRST}"] for kind in GOALS}
    stays = {} if given.quick else stability(study, shown)
    found = Found(study, every, ran, moved, truth, stays, costs(size, shown))
    report(given, found, clock)


def stability(study: Study, shown: Mapping[str, Fitted]) -> dict[str, Climate]:
    """Runs of what learned by itself over `TURNOVERS` turnover times, 1 / deviation of the
    vorticity."""
    protocol = replace(study.size.main, rows=4, units=TURNOVERS / DEVIATION)
    return {
        name: study.climate(fitted.model, protocol, FLOWS, f"{TURNOVERS:g} turnovers, {name}")
        for name, fitted in shown.items()
        if name.startswith(tuple(GOALS))
    }


def costs(size: Size, shown: Mapping[str, Fitted]) -> dict[str, float]:
    """CPU seconds of a flow and unit of time, by closure and of the direct simulation: medians of
    five rounds in turns."""
    rows, aim = size.main.rows, wanted(COARSE, samples(1))
    short = replace(size.main, units=2.0, spin=1.0)
    each: dict[str, list[float]] = {k: [] for k in (DIRECT, *shown)}
    for _ in range(5):
        each[DIRECT].append(direct_cost())
        for name, fitted in shown.items():
            start = time.process_time()
            run(fitted.model.environment, fitted.model.law, aim, short, seed=FLOWS)
            each[name].append((time.process_time() - start) / (rows * short.units))
    return {k: statistics.median(v) for k, v in each.items()}


def elsewhere(
    study: Study, every: Mapping[str, Fitted], best: str
) -> dict[str, dict[str, Climate]]:
    """Runs on 64 x 64 points and in case 2, by place and name; the best static coefficient of
    each place is searched there."""
    finer, jets = COARSE.resized(64), replace(COARSE, beta=20.0)
    found: dict[str, dict[str, Climate]] = {}
    for place, base, other in (("64 x 64", finer, None), ("case 2", jets, samples(2))):
        own: dict[str, Climate] = {}
        for c in (0.085, 0.095, 0.105, 0.115, 0.125):
            model = every[best].model.elsewhere(base, other)
            fixed = replace(model, law=StaticCoefficient(base, (c,)).fit(study.learnt).law)
            own[f"static {c:g}"] = study.climate(
                fixed, study.size.moved, FLOWS, f"{place}, static {c:g}"
            )
        for name in (LAW, STEERED, *(n for n in every if n.startswith(tuple(GOALS)))):
            model = every[name].model
            moved = model.elsewhere(replace(base, agents=model.environment.agents), other)
            own[name] = study.climate(moved, study.size.moved, FLOWS, f"{place}, {name}")
        found[place] = own
    return found


@dataclass(frozen=True, eq=False)
class Found:
    """All that was run."""

    study: Study
    every: Mapping[str, Fitted]
    ran: Mapping[str, Climate]
    moved: Mapping[str, Mapping[str, Climate]]
    truth: Direct | None
    stays: Mapping[str, Climate]
    costs: Mapping[str, float]

    def reference(self) -> Climate:
        """The filtered direct simulation, else the snapshots, as a run."""
        environment = COARSE
        aim = wanted(environment, self.study.learnt)
        if self.truth is None:
            states, rows = environment.spectra_of(snapshots(1, COARSE.points)), 1
        else:
            states = environment.grid.resampled(self.truth.states, Grid(KEPT))
            rows = min(8, len(states))
        return truth_of(environment, states, aim, DEVIATION, rows)

    def scored(self) -> dict[str, Mapping[str, Measured]]:
        """By closure."""
        target, reference = spectrum_file(1)[: COARSE.points // 2], self.reference()
        found: dict[str, Mapping[str, Measured]] = {
            "filtered truth": scores(reference, target, reference)
        }
        return found | {k: scores(c, target, reference) for k, c in self.ran.items()}


COLUMNS = (*OF_PAGES, "Wasserstein")


def report(given: argparse.Namespace, found: Found, clock: Callable[[], float]) -> None:
    """Tables and bars."""
    scored = found.scored()
    rows = [
        (name, *(f"{s[k].value:.4g} ± {s[k].error:.2g}" for k in COLUMNS))
        for name, s in scored.items()
    ]
    reference, bare = found.reference(), found.ran[NONE]
    alike = {k: similarities(c, bare, reference) for k, c in found.ran.items() if k != NONE}
    names = list(next(iter(alike.values())))
    tables = {
        "case 1, 32 x 32": table(("closure", *COLUMNS), rows),
        "similarity (1: truth, 0: no closure)": table(
            ("closure", *names), [(k, *(v[n] for n in names)) for k, v in alike.items()]
        ),
        "laws": table(
            ("closure", "numbers"),
            [(k, str(f.model.law.numbers())) for k, f in found.every.items()],
        ),
    }
    whole = found.costs[DIRECT]
    tables["CPU seconds of a flow and unit of time"] = table(
        ("closure", "seconds", "direct simulation / it"),
        [(k, v, whole / v) for k, v in found.costs.items()],
    )
    if found.stays:
        tables[f"{TURNOVERS:g} turnover times"] = table(
            ("closure", "reward", "sigma", "flows lost of 4"),
            [
                (
                    k,
                    f"{c.reward.mean():.3f} ± {standard_error(c):.3f}",
                    float(np.sqrt(c.square.mean())),
                    int(np.isfinite(c.lost).sum()),
                )
                for k, c in found.stays.items()
            ],
        )
    if found.truth is not None:
        chance = found.truth.chance(5, TOLD)
        low, middle, high = np.percentile(chance, [5, 50, 95])
        tables["largest gap from the own direct simulation's mean spectrum, k 5 to 100"] = table(
            ("spectrum", "gap", "5 to 95 % of draws", "draws within 0.1"),
            [
                (
                    "mean of five of its own states",
                    middle,
                    f"{low:.3f} to {high:.3f}",
                    (chance <= 0.1).mean(),
                ),
                ("theirs, a mean of five states", found.truth.gap(spectrum_file(1), TOLD), "", ""),
            ],
        )
    for place, own in found.moved.items():
        told = [(k, f"{c.reward.mean():.3f} ± {standard_error(c):.3f}") for k, c in own.items()]
        tables[place] = table(("closure", "reward"), told)
    finish("closures", given, bars(given.quick, found, scored, clock()), tables)


def standard_error(climate: Climate) -> float:
    """Of the mean reward, over rows."""
    return float(climate.reward.std(ddof=1) / math.sqrt(len(climate.reward)))


def bars(
    quick: bool, found: Found, scored: Mapping[str, Mapping[str, Measured]], seconds: float
) -> list[Bar]:
    """The worst seed of each kind against the best static coefficient."""
    best, made = scored[BEST], []
    n = found.study.size.main.rows

    def add(name: str, value: float, goal: float, least: bool = True) -> None:
        # A bar is missed by noise in a quick run, of a fifth of the length.
        loose = (goal / 1.5 if least else goal * 1.5) if quick else goal
        made.append(Bar(name, value, loose, n, seconds, least, goal if quick else None))

    for kind, goal in GOALS.items():
        seeds = [s for k, s in scored.items() if k.startswith(kind) and not k.endswith(MEAN)]
        worst = min(seeds, key=lambda s: s["reward"].value)
        gap = worst["reward"].value - best["reward"].value
        add(
            f"{kind}: reward / best static, worst seed",
            worst["reward"].value / best["reward"].value,
            goal,
        )
        error = math.hypot(worst["reward"].error, best["reward"].error)
        add(f"{kind}: standard errors above best static", gap / error, 3.0)
        share = min(s["reward of mean"].value for s in seeds) / best["reward of mean"].value
        add(f"{kind}: reward of the mean spectrum / best static", share, 1.0)
        for key in ("log error", "Wasserstein"):
            most = max(s[key].value for s in seeds)
            add(f"{kind}: {key} / best static", most / best[key].value, 1.0, least=False)
        local = min(
            s["reward"].value / scored[k + MEAN]["reward"].value
            for k, s in scored.items()
            if k.startswith(kind) and k + MEAN in scored
        )
        add(f"{kind}: reward / its agent mean (local)", local, 1.0)
        add(
            f"{kind}: reward / feedback law (local)",
            worst["reward"].value / scored[LAW]["reward"].value,
            1.0,
        )
        longest = max(f.seconds for k, f in found.every.items() if k.startswith(kind))
        add(f"{kind}: training, minutes", longest / 60.0, 60.0, least=False)
        for place, own in found.moved.items():
            least = min(c.reward.mean() for k, c in own.items() if k.startswith(kind))
            static = max(c.reward.mean() for k, c in own.items() if k.startswith("static"))
            add(f"{kind}: reward / best static, {place}", float(least / static), 1.0)
        for name, climate in found.stays.items():
            if name.startswith(kind):
                gone = float(np.isfinite(climate.lost).sum())
                add(f"{kind}: flows lost in {TURNOVERS:g} turnover times", gone, 0.0, least=False)
    if found.truth is not None:
        gap, name = found.truth.gap(spectrum_file(1), TOLD), "own DNS / their spectrum - 1, largest"
        made.append(Bar(f"{name}, k 5 to 100", gap, 0.1, 1, found.truth.seconds))
    return made


if __name__ == "__main__":
    main()
