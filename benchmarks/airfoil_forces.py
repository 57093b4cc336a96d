"""Forces integrated from predicted fields beside the same forces learnt as numbers, on shapes that
were held out: 25 RANS airfoils by OpenFOAM (others' data, curves of different points, fifths held
out), and airfoils by XFOIL at random angles and Reynolds numbers (class and shape functions, a
third held out).

The surrogate is MMGP calibrated by `Conformal` (RANS: 4 shape modes, as these airfoils have in
`unparametrised`, every training shape left out alone; XFOIL: tenths). Counted is the share of
shapes on which both agree within the joint 95 % interval, sqrt(h1^2 + h2^2 + (1.96 s)^2) of the
half widths of both and the spread s of their gap in the training set, for the worst of lift, drag
and moment. Beside it: how wide that is, how far the truth is from both, and the share of shapes
whose truth lies within each interval.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from bars import Bar, Clock, arguments, finish, say, table
from rans_airfoils import FLOW, fifths, rans_airfoils

from fieldcast.meshes import Field, Sample, Scalar
from fieldcast.pipelines.aerodynamics import Agreement, Comparison, Flow, compare
from fieldcast.pipelines.optimize import Space
from fieldcast.solvers import SolverFailed
from fieldcast.solvers.command import Limits
from fieldcast.solvers.solver import Range
from fieldcast.solvers.xfoil import Xfoil
from fieldcast.surrogates import MMGP, Conformal, SurfaceForces

CACHE = Path(__file__).parent / ".cache"
HEAD = (
    "airfoils",
    "coefficient",
    "shapes",
    "agree within the joint interval",
    "median joint half width",
    "median gap",
    "error integrated",
    "error learnt",
    "nearest case",
    "in 95 %, integrated",
    "in 95 %, learnt",
)
XFOIL = Flow(SurfaceForces("cp", "cf"))
NAMES = ("cl", "cd", "cm")


def by_xfoil(count: int) -> list[Sample]:
    """Airfoils that XFOIL has an answer for, the first `count` of a Latin hypercube, kept in
    .cache."""
    solver = Xfoil(family="class_shape", limits=Limits(seconds=8.0))
    ranges = {**solver.space, "alpha": Range(-2.0, 6.0, "deg"), "mach": Range(0.0, 0.0)}
    space = Space.of(solver, ranges)
    path = CACHE / f"airfoil_forces_{count}.npz"
    samples = []
    kept = dict(np.load(path)) if path.exists() else {}
    for k, (row, case) in enumerate(zip(x := space.latin(count, 7), space.cases(x), strict=True)):
        if f"cp{k}" not in kept and f"failed{k}" not in kept:
            try:
                found = solver.solve(case)
                kept |= {f"{n}{k}": found.fields[n].values for n in ("cp", "cf")}
                kept[f"scalars{k}"] = np.array([float(found.scalars[n]) for n in NAMES])
            except SolverFailed:
                kept[f"failed{k}"] = row
            if k % 20 == 19:
                say("XFOIL:", k + 1, "of", count)
                CACHE.mkdir(exist_ok=True)
                np.savez(path, **kept)
        if f"cp{k}" in kept:
            fields = {n: Field(kept[f"{n}{k}"]) for n in ("cp", "cf")}
            told = dict(zip(NAMES, kept[f"scalars{k}"], strict=True))
            samples.append(Sample(case, fields, {n: Scalar(v[None]) for n, v in told.items()}))
    return samples


def rows_of(name: str, found: Sequence[Comparison]) -> tuple[list[tuple[object, ...]], float]:
    """A row for each coefficient, and the worst share of agreement."""
    rows: list[tuple[object, ...]] = []
    worst = 1.0
    for k, first in enumerate(found[0].agreements):
        every: list[Agreement] = [c.agreements[k] for c in found]
        gaps = np.concatenate([a.gaps for a in every])
        widths = np.concatenate([a.widths for a in every])
        share = float((gaps <= widths).mean())
        worst = min(worst, share)
        counts = np.array([len(a.gaps) for a in every])
        terms = [{t.name: t for t in c.terms} for c in found]
        means = []
        for key, by in (
            (first.name, "model"),
            (first.other, "model"),
            (first.other, "nearest case"),
        ):
            means.append(float(np.average([t[key].errors[by] for t in terms], weights=counts)))
        inside = [
            float(np.average([t[key].coverage or 0.0 for t in terms], weights=counts))
            for key in (first.name, first.other)
        ]
        median = float(np.median(widths)), float(np.median(gaps))
        shares = [f"{v:.0%}" for v in inside]
        rows.append((name, first.other, len(gaps), f"{share:.1%}", *median, *means, *shares))
    return rows, worst


def main(given: argparse.Namespace) -> None:
    """Fit, hold out, compare."""
    clock = Clock()
    torch.set_num_threads(1)
    recipe, found = FLOW.recipe(MMGP(shape_modes=4)), []
    airfoils = recipe.prepared(rans_airfoils())
    for train, test in list(fifths(airfoils, 0))[: 2 if given.quick else 5]:
        found.append(compare(Conformal(recipe, folds=20).fit(train), test, FLOW))
        say("RANS:", sum(len(c.samples) for c in found), "of", len(airfoils))
    first, worst = rows_of("RANS", found)
    recipe = XFOIL.recipe(MMGP())
    made = recipe.prepared(by_xfoil(60 if given.quick else 180))
    cut = 2 * len(made) // 3
    say("XFOIL:", len(made), "airfoils")
    second, other = rows_of(
        "XFOIL", [compare(Conformal(recipe, folds=10).fit(made[:cut]), made[cut:], XFOIL)]
    )
    name = "share of held-out shapes on which integrated and learnt forces agree, worst coefficient"
    goal = 0.9 if given.quick else 0.95
    counts = sum(len(c.samples) for c in found), len(made) - cut
    bars = [
        Bar(f"{name}, {kind}", share, goal, n, clock(), True, 0.95)
        for kind, share, n in (("RANS", worst, counts[0]), ("XFOIL", other, counts[1]))
    ]
    finish("airfoil_forces", given, bars, {"forces": table(HEAD, [*first, *second])})


if __name__ == "__main__":
    main(arguments(__doc__ or ""))
