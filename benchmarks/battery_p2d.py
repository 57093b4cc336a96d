"""The porous-electrode model (P2D, DFN) by a network that sees no solver data, then corrected by a
few runs, over the whole box of parameters.

Trained with the negative exchange current 0.5 to 4 and the positive diffusivity 1 to 10 times the
reference; tested at random places of the box, the diffusivity evenly in its logarithm, and at the
corners, against PyBaMM's DFN on 40 volumes a layer and in each particle. Beside it: the ansatz
without a network, the single-particle model, Chebyshev polynomials of 25 runs alone, and the same
polynomials of what the network leaves of 4, 9 and 25 runs. The network's size and the number of its
shapes and modes were chosen on ten other places of the box. CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from bars import Bar, Clock, arguments, finish, say, table
from cells import BOX, timed

from fieldcast.meshes import Case, Prediction, Sample
from fieldcast.meshes.battery import (
    CONCENTRATIONS,
    LOCAL,
    RATES,
    SALT,
    VOLTAGE,
    Cell,
    discharge,
)
from fieldcast.solvers.battery import DFN, SingleParticle, graphite_nmc
from fieldcast.surrogates import Chebyshev, LevenbergMarquardt, Perceptron, Pinn, Porous
from fieldcast.surrogates.pinn import PinnPredictor, left
from fieldcast.surrogates.separable import grid

TIMES, RADII, ALONG = 101, 11, 6
FINE = {"layers": 40, "shells": 40}
INSIDE, SOLID = LOCAL
FIELDS = (*CONCENTRATIONS, *SALT, INSIDE)
HEAD = (
    "model",
    "mean [mV]",
    "max [mV]",
    "c negative [%]",
    "c positive [%]",
    "salt [%]",
    "phi_e [%]",
    "c inside [%]",
    "phi_s [mV]",
    "CPU s",
)


@dataclass(frozen=True)
class Size:
    """Of a run."""

    steps: int
    points: int
    seeds: int
    tests: int
    looser: float


FULL = Size(60, 1000, 3, 40, 1.0)
QUICK = Size(20, 600, 1, 6, 2.0)


def places(cell: Cell, count: int, seed: int) -> list[Case]:
    """The corners of the box, then places at random."""
    rng = np.random.default_rng(seed)
    (slow, fast), ends = BOX.values()
    corners = [(a, d) for a in (slow, fast) for d in ends]
    low, high = np.log(ends)
    inside = zip(rng.uniform(slow, fast, count), np.exp(rng.uniform(low, high, count)), strict=True)
    return [
        discharge(cell, dict(zip(RATES, map(float, pair), strict=True)), TIMES, RADII, ALONG)
        for pair in [*corners, *inside]
    ]


def errors(cell: Cell, found: Sequence[Prediction], truth: Sequence[Sample]) -> dict[str, float]:
    """Of the voltage [mV]; of fields, the largest in per cent: of the largest concentration in
    particles (inside of those of each place: of the negative ones), of the resting salt, and of the
    range of the electrolyte's potential; of the solid's potential [mV]."""
    gaps = [
        1e3 * np.abs(p.scalars[VOLTAGE].mean - s.scalars[VOLTAGE].value)
        for p, s in zip(found, truth, strict=True)
    ]
    salt, liquid = SALT
    spans = np.ptp([s.fields[liquid].values for s in truth])
    sizes = {
        CONCENTRATIONS[0]: cell.negative.largest,
        CONCENTRATIONS[1]: cell.positive.largest,
        salt: cell.electrolyte.concentration,
        liquid: float(spans),
        INSIDE: cell.negative.largest,
        SOLID: 0.1,  # so that volts become millivolts
    }
    told = {"mean": float(np.mean(gaps)), "max": float(np.max(gaps))}
    for name, size in sizes.items():
        each = [
            np.abs(p.mean[name].values - s.fields[name].values).max()
            for p, s in zip(found, truth, strict=True)
            if name in p.mean
        ]
        told[name] = 100.0 * float(np.max(each)) / size if each else float("nan")
    return told


def corrected(alone: PinnPredictor, runs: Sequence[Sample], degree: int) -> PinnPredictor:
    """With what it leaves of runs as polynomials, the equations solved once."""
    correction = Chebyshev((degree, degree))
    inner = correction.fit(left(alone, runs))
    return replace(
        alone,
        recipe=replace(alone.recipe, correction=correction),
        signature=inner.signature,
        correction=inner,
    )


def _voltages(samples: Sequence[Sample]) -> np.ndarray:
    return np.stack([s.scalars[VOLTAGE].value for s in samples])


def row(name: str, e: Mapping[str, object], seconds: float) -> tuple[object, ...]:
    """Of the table."""
    return (name, *e.values(), seconds)


def main(given: argparse.Namespace) -> None:
    """Train, compare, print."""
    size, cell, clock = QUICK if given.quick else FULL, graphite_nmc(), Clock()
    torch.set_num_threads(1)
    solver = DFN(cell, **FINE)
    truth = solver.solve_all(places(cell, size.tests, 1))
    cases = [s.case for s in truth]
    runs = {
        degree: timed(lambda d=degree: solver.solve_all(grid(cases[0], BOX, dict.fromkeys(BOX, d))))
        for degree in (1, 2, 4)
    }
    say(f"solved after {clock():.0f} s")
    single, seconds = timed(lambda: SingleParticle(cell).solve_all(cases))
    gap = 1e3 * np.abs(_voltages(single) - _voltages(truth))
    e = {"mean": float(gap.mean()), "max": float(gap.max())}
    rows = [row("single-particle model", e | dict.fromkeys((*FIELDS, SOLID), ""), seconds)]
    method = LevenbergMarquardt(steps=size.steps, points=size.points)
    recipe = Pinn(Porous(cell, *(BOX[k] for k in RATES)), Perceptron(16, 3), (method,))
    found: list[dict[str, float]] = []
    for seed in range(size.seeds):
        alone, seconds = timed(lambda seed=seed: recipe.fit((), seed=seed))
        e = errors(cell, alone.predict(cases, device=given.device), truth)
        if seed == 0:
            bare = replace(alone, weights={k: 0.0 * w for k, w in alone.weights.items()})
            rows.append(row("ansatz alone", errors(cell, bare.predict(cases), truth), 0.0))
        rows.append(row(f"network, seed {seed}", e, seconds))
        for degree, (some, cost) in runs.items():
            both = errors(cell, corrected(alone, some, degree).predict(cases), truth)
            rows.append(row(f"network + {len(some)} runs, seed {seed}", both, seconds + cost))
        found.append({"alone": e["mean"], "seconds": seconds, **both})
        say(f"seed {seed}: {e}; with 25 runs {both}")
    some, cost = runs[4]
    chebyshev, seconds = timed(lambda: Chebyshev((4, 4)).fit(some))
    e = errors(cell, chebyshev.predict(cases), truth)
    rows.append(row("Chebyshev, 25 runs", e, cost + seconds))
    worst = {k: max(f[k] for f in found) for k in found[0]}
    worst["field"] = max(worst[k] for k in FIELDS)
    goals = {
        "alone": ("without data: voltage, mean error of the worst seed [mV]", 5.0),
        "mean": ("with 25 runs: voltage, mean error of the worst seed [mV]", 0.5),
        "max": ("with 25 runs: voltage, largest error of the worst seed [mV]", 2.0),
        "field": ("with 25 runs: largest error of a field [%]", 1.0),
    }
    bars = [
        Bar(name, worst[k], goal * size.looser, len(cases), clock(), full_goal=goal)
        for k, (name, goal) in goals.items()
    ]
    finish("battery_p2d", given, bars, {f"{len(cases)} discharges": table(HEAD, rows)})


if __name__ == "__main__":
    main(arguments(__doc__ or ""))
