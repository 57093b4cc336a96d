"""The single-particle model by networks that see no solver data, over the whole box of parameters.

Trained with the negative exchange current 0.5 to 4 and the positive diffusivity 1 to 10 times the
reference; tested at random places of the box, the diffusivity evenly in its logarithm, and at the
corners, against finite volumes that are converged to 0.001 mV. Rows beside it: the ansatz without a
network, the answer in the middle of the box, and Chebyshev interpolation of 25 runs, which is
cheaper and more accurate wherever a solver is at hand. Settings were chosen on other places. CPU
seconds of one thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from bars import Bar, Clock, arguments, finish, say, table
from cells import timed

from fieldcast.meshes import Case, Prediction, Sample
from fieldcast.meshes.battery import CONCENTRATIONS, RATES, VOLTAGE, Cell, discharge
from fieldcast.solvers.battery import SPM, SingleParticle, graphite_nmc
from fieldcast.surrogates import (
    Chebyshev,
    LevenbergMarquardt,
    Particles,
    Perceptron,
    Pinn,
    Predictor,
)

KINETICS, DIFFUSION = (0.5, 4.0), (1.0, 10.0)
TIMES, RADII = 101, 21
FINE = {"shells": 160, "steps": 160}


@dataclass(frozen=True)
class Size:
    """Of a run."""

    steps: int
    points: int
    seeds: int
    tests: int
    looser: float


FULL = Size(100, 800, 5, 200, 1.0)
QUICK = Size(70, 600, 1, 40, 2.0)


def places(cell: Cell, count: int, seed: int) -> list[Case]:
    """The corners of the box, then places at random."""
    rng = np.random.default_rng(seed)
    corners = [(a, d) for a in KINETICS for d in DIFFUSION]
    low, high = np.log(DIFFUSION)
    inside = zip(rng.uniform(*KINETICS, count), np.exp(rng.uniform(low, high, count)), strict=True)
    return [
        discharge(cell, {RATES[0]: float(a), RATES[1]: float(d)}, TIMES, RADII)
        for a, d in [*corners, *inside]
    ]


def grid(cell: Cell, each: int = 5) -> list[Case]:
    """Chebyshev's nodes in the logarithms of both, ends included."""
    z = np.cos(np.pi * np.arange(each) / (each - 1))
    sides = [np.exp(0.5 * (np.log(a * b) + z * np.log(b / a))) for a, b in (KINETICS, DIFFUSION)]
    return [
        discharge(cell, {RATES[0]: float(a), RATES[1]: float(d)}, TIMES, RADII)
        for a in sides[0]
        for d in sides[1]
    ]


def errors(cell: Cell, found: Sequence[Prediction], truth: Sequence[Sample]) -> dict[str, float]:
    """Of the voltage [mV], and the largest of concentrations in shares of the largest one."""
    pairs = list(zip(found, truth, strict=True))
    gaps = [np.abs(p.scalars[VOLTAGE].mean - s.scalars[VOLTAGE].value) for p, s in pairs]
    most = 0.0
    for name, side in zip(CONCENTRATIONS, (cell.negative, cell.positive), strict=True):
        for p, s in pairs:
            gap = np.abs(p.mean[name].values - s.fields[name].values).max()
            most = max(most, float(gap) / side.largest)
    return {"mean": 1e3 * float(np.mean(gaps)), "max": 1e3 * float(np.max(gaps)), "c": 100.0 * most}


def rivals(cell: Cell, cases: Sequence[Case], truth: Sequence[Sample]) -> list[tuple[object, ...]]:
    """Rows of the table: name, errors, seconds."""
    middle = SingleParticle(cell, **FINE).solve(
        discharge(cell, {RATES[0]: 2.0, RATES[1]: 10**0.5}, TIMES, RADII)
    )
    rows: list[tuple[object, ...]] = []
    volts = [middle.scalars[VOLTAGE].value - s.scalars[VOLTAGE].value for s in truth]
    rows.append(
        ("middle of the box", 1e3 * np.mean(np.abs(volts)), 1e3 * np.max(np.abs(volts)), "", 0.0)
    )

    def interpolant() -> Predictor:
        runs = SingleParticle(cell, **FINE).solve_all(grid(cell))
        return Chebyshev((4, 4)).fit(runs)

    predictor, seconds = timed(interpolant)
    e = errors(cell, predictor.predict(cases), truth)
    rows.append(("Chebyshev, 25 runs", e["mean"], e["max"], e["c"], seconds))
    return rows


def reference(cell: Cell, truth: Sequence[Sample]) -> float | None:
    """How far PyBaMM is from our finite volumes at the corners [mV]; None where it is missing."""
    solver = SPM(cell, shells=150, accuracy=1e-8)
    if solver.available() is not None:
        say(solver.available())
        return None
    found = solver.solve_all([s.case for s in truth[:4]])
    gaps = [
        f.scalars[VOLTAGE].value - s.scalars[VOLTAGE].value
        for f, s in zip(found, truth[:4], strict=True)
    ]
    return 1e3 * float(np.abs(gaps).max())


def main(given: argparse.Namespace) -> None:
    """Train, compare, print."""
    size, cell, clock = QUICK if given.quick else FULL, graphite_nmc(), Clock()
    torch.set_num_threads(1)
    cases = places(cell, size.tests, 1)
    truth = SingleParticle(cell, **FINE).solve_all(cases)
    method = LevenbergMarquardt(steps=size.steps, points=size.points)
    recipe = Pinn(Particles(cell, KINETICS, DIFFUSION), Perceptron(16, 3), (method,))
    found, rows = [], []
    for seed in range(size.seeds):
        predictor, seconds = timed(lambda seed=seed: recipe.fit((), seed=seed))
        answers = predictor.predict(cases, device=given.device)
        warned = sum(p.trust.status != "ok" for p in answers)
        e = errors(cell, answers, truth) | {"seconds": seconds, "warned": float(warned)}
        found.append(e)
        rows.append((f"network, seed {seed}", e["mean"], e["max"], e["c"], seconds))
        say(f"seed {seed}: {e}")
        if seed == 0:
            bare = replace(predictor, weights={k: 0.0 * w for k, w in predictor.weights.items()})
            b = errors(cell, bare.predict(cases), truth)
            rows.insert(0, ("ansatz alone", b["mean"], b["max"], b["c"], 0.0))
    rows = [*rivals(cell, cases, truth), *rows]
    gap = reference(cell, truth)
    if gap is not None:
        rows.append(("PyBaMM against the truth", "", gap, "", ""))
    worst = {k: max(e[k] for e in found) for k in found[0]}
    goals = {
        "mean": ("voltage, mean error of the worst seed [mV]", 0.1),
        "max": ("voltage, largest error of the worst seed [mV]", 0.5),
        "c": ("concentration, largest error of the worst seed [% of the largest]", 0.5),
        "seconds": ("training [CPU s]", 180.0),
    }
    bars = [
        Bar(name, worst[k], goal * size.looser, len(cases), clock(), full_goal=goal)
        for k, (name, goal) in goals.items()
    ]
    head = ("model", "mean [mV]", "max [mV]", "c [%]", "CPU s")
    title = f"{len(cases)} discharges; warned of: {worst['warned']:.0f}"
    finish("battery_spm", given, bars, {title: table(head, rows)})


if __name__ == "__main__":
    main(arguments(__doc__ or ""))
