"""Wall heat flux of capsules at Mach 5 to 8: what derivatives in the loss are good for.

24 viscous flows by OpenFOAM (shapes and Mach number by a Latin hypercube, Reynolds number 2,000),
16 to learn from, 2 to select by, 6 to test, on three splits. Fusion-DeepONet learns the temperature
on the mesh's points, at the wall that of the wall: without derivatives in its loss, with those
along the storage order, and with those by least squares over neighbours, everywhere or at the wall
alone. The heat flux is told by the first points off the wall, the error its relative L2 norm along
the wall, averaged over the tests. The thickness of the first cells is chosen by a trial so that a
case takes three minutes at most; the trial's estimate is printed first. How far the solver can be
trusted is shown by the front of a cylinder on ever thinner cells, beside the flux at a stagnation
point by Fay and Riddell (1958, doi:10.2514/8.7517), of a gas whose viscosity is constant. Where
derivatives count and with what weight was compared on the first split.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from bars import Bar, Clock, arguments, finish, say, table
from scipy.stats import qmc
from semi_ellipses import relative
from solving import all_solved

from fieldcast.meshes import Case, Field, Prediction, Sample
from fieldcast.solvers import Limits
from fieldcast.solvers.central_flow import HEAT, seconds_of
from fieldcast.solvers.hypersonic import PRANDTL, ViscousFlow, capsule, heat_flux
from fieldcast.surrogates import (
    Derivative,
    Descent,
    FusionDeepONet,
    NearestCase,
    Surrogate,
    Trunk,
)

CASES, REYNOLDS, CELLS = 24, 2000.0, (40, 48)
LOW, HIGH = (0.5, 2.0, 5.0), (1.0, 3.0, 8.0)
FIRST, MOST = (0.003, 0.004, 0.006, 0.008), 180.0
QUICK, THICK = (20, 24), 0.012
"""Cells of a quick run, and the first of them."""
STEPS, SPLITS = 800, 3
NONE, WALL = "none", "least squares, at the wall"
LOSSES = {
    NONE: None,
    "discrete": Derivative("discrete", 1e-3),
    "least squares": Derivative("least_squares", 1e-4, 12),
    WALL: Derivative("least_squares", 2e-4, 5, "wall"),
}


def flows(quick: bool = False) -> list[Sample]:
    """All 24, the temperature on points."""
    design = qmc.scale(qmc.LatinHypercube(3, seed=0).random(CASES), LOW, HIGH).round(4)
    layers = (*QUICK, THICK) if quick else (*CELLS, affordable(design[design[:, 2].argmax()]))
    cases = [capsule(*row, REYNOLDS, layers=layers) for row in design.tolist()]
    samples = all_solved(ViscousFlow(limits=Limits(seconds=3 * MOST)), cases)
    return [on_points(s) for s in samples]


def on_points(sample: Sample) -> Sample:
    """The temperature as the mean of the cells around a point, at the wall that of the wall."""
    mesh, cells = sample.case.mesh, sample.case.mesh.cells["quad"]
    total, count = np.zeros(len(mesh.points)), np.bincount(cells.ravel())
    np.add.at(total, cells, sample.fields["T"].values[0])
    total /= count
    total[mesh.regions["wall"]] = sample.case.parameters["wall_temperature"].value[0]
    return Sample(sample.case, {"T": Field.steady(total)})


def affordable(row: np.ndarray) -> float:
    """The thinnest first cells with which a case takes no more than `MOST` seconds."""
    for first in FIRST:
        took = seconds_of(ViscousFlow(), capsule(*row.tolist(), REYNOLDS, layers=(*CELLS, first)))
        say(f"first cells {first}: about {took:.0f} s a case, {took * CASES / 60:.0f} min in all")
        if took <= MOST:
            return first
    return FIRST[-1]


def stagnation() -> list[tuple[str, float, float]]:
    """Heat flux at the front of a cylinder of radius 1, and over it, on ever thinner first cells;
    the last row is theory."""
    mach, wall = 6.0, 2.0
    cases = [
        capsule(1.0, 2.0, mach, REYNOLDS, wall, (40, across, first))
        for first, across in ((0.008, 48), (0.004, 56), (0.002, 64))
    ]
    rows = []
    for s, first in zip(all_solved(ViscousFlow(), cases), ("0.008", "0.004", "0.002"), strict=True):
        flux, _ = heat_flux(s.case, s.fields["T"].values[0, :, 0])
        rows.append((first, float(flux[:4].mean()), float(s.scalars["heat"].value[0])))
    return [*rows, ("Fay and Riddell", stagnation_flux(mach, wall, 1.4 * mach / REYNOLDS), np.nan)]


def stagnation_flux(mach: float, wall: float, viscosity: float, prandtl: float = 0.72) -> float:
    """At the front of a cylinder of radius 1, its velocity gradient by Newton's law of impact."""
    total = 1.0 + 0.2 * mach**2
    behind = (1.2 * mach**2) ** 3.5 * (6.0 / (7.0 * mach**2 - 1.0)) ** 2.5
    density = 1.4 * behind / total
    gradient = np.sqrt(2.0 * (behind - 1.0) / density)
    edge, near = density * viscosity, density * total / wall * viscosity
    share = 0.57 * prandtl**-0.6 * edge**0.4 * near**0.1
    return float(share * np.sqrt(gradient) * HEAT * (total - wall))


def fluxes(samples: list[Sample], answers: list[Prediction]) -> np.ndarray:
    """Relative errors of the heat flux along the wall, (case,)."""
    found = []
    for s, p in zip(samples, answers, strict=True):
        q, r = (flux(s.case, f.values[0, :, 0]) for f in (s.fields["T"], p.mean["T"]))
        found.append(np.linalg.norm(r - q) / np.linalg.norm(q))
    return np.array(found)


def flux(case: Case, temperature: np.ndarray) -> np.ndarray:
    """Into the wall, at its points, from the difference to the first points off it."""
    grid = len(case.mesh.regions["wall"]), -1
    way = np.diff(case.mesh.points.reshape(*grid, 2)[:, :2], axis=1)[:, 0]
    rise = np.diff(temperature.reshape(grid)[:, :2], axis=1)[:, 0]
    mach, reynolds = (float(case.parameters[k].value[0]) for k in ("mach", "reynolds"))
    found: np.ndarray = HEAT * 1.4 * mach / reynolds / PRANDTL * rise / np.linalg.norm(way, axis=1)
    return found


def recipes(steps: int, device: str | None) -> dict[str, Surrogate]:
    """By the derivatives in their loss; those at all points are taken of four cases a step, about
    as many points as the others see. The last two are told of coordinates alone."""
    descent = Descent(
        steps=steps,
        batch=16,
        rate=1e-2,
        decay=0.1,
        average=0.998,
        every=steps // 10,
        optimiser="soap",
        device=device,
    )
    body = Trunk(body="wall", far="inflow")
    ours = FusionDeepONet(trunk=body, gate="residual", points=512, descent=descent)
    found: dict[str, Surrogate] = {}
    for name, loss in LOSSES.items():
        everywhere = loss is not None and not loss.region
        few = replace(descent, batch=4) if everywhere else descent
        found[name] = replace(ours, derivative=loss, descent=few)
    for name in (NONE, WALL):
        found[f"{name}, coordinates alone"] = replace(ours, trunk=Trunk(), derivative=LOSSES[name])
    return {**found, "nearest case": NearestCase()}


def main() -> None:
    given = arguments(__doc__ or "")
    samples, clock = flows(given.quick), Clock()
    splits = range(1 if given.quick else SPLITS)
    steps = STEPS // 3 if given.quick else STEPS
    rows, found = [], {}
    for name, recipe in recipes(steps, given.device).items():
        if given.quick and name not in (NONE, WALL, "nearest case"):
            continue
        start, errors = time.perf_counter(), []
        for seed in splits:
            order = np.random.default_rng(seed).permutation(CASES)
            own, held, test = ([samples[i] for i in part] for part in np.split(order, [16, 18]))
            model = recipe.fit(own, validation=held, seed=seed)
            answers = list(model.predict([s.case for s in test], device=given.device))
            errors.append((relative(test, answers, ("T",)).mean(), fluxes(test, answers).mean()))
        took = (time.perf_counter() - start) / len(splits)
        found[name] = np.mean(errors, axis=0)
        rows.append((name, *(f"{v:.2%}" for v in found[name]), f"{took:.0f}"))
        say(rows[-1])
    loose, n = (2.0 if given.quick else 1.0), 6 * len(splits)

    def bar(name: str, k: int, goal: float) -> Bar:
        value = float(found[WALL][k] / found[NONE][k])
        full = goal if given.quick else None
        return Bar(f"{name}, {WALL} / {NONE}", value, goal * loose, n, clock(), full_goal=full)

    bars = [bar("wall heat flux error", 1, 0.5), bar("temperature error", 0, 1.1)]
    head = ("derivatives in the loss", "temperature", "wall heat flux", "training [s]")
    told = {"16 capsules": table(head, rows)}
    if not given.quick:
        front = ("first cells", "flux at the front", "heat in all")
        told["a cylinder, Mach 6"] = table(front, stagnation())
    finish("capsule", given, bars, told)


if __name__ == "__main__":
    main()
