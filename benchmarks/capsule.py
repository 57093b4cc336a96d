"""Wall heat flux of capsules at Mach 5 to 8: what derivatives in the loss are good for.

24 viscous flows by OpenFOAM (shapes and Mach number by a Latin hypercube, Reynolds number 2,000),
16 to learn from, 2 to select by, 6 to test. Fusion-DeepONet learns the temperature: without
derivatives in its loss, with those along the storage order, and with those by least squares over
neighbours. The heat flux is that of the cells at the wall, its error the relative L2 norm along the
wall, averaged over the tests. The thickness of the first cells is chosen by a trial so that a case
takes three minutes at most; the trial's estimate is printed first. How far the solver can be
trusted is shown by the front of a cylinder on ever thinner cells, beside the flux at a stagnation
point by Fay and Riddell (1958, doi:10.2514/8.7517), of a gas whose viscosity is constant.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from bars import Bar, Clock, arguments, finish, say, table
from scipy.stats import qmc
from semi_ellipses import relative
from solving import all_solved

from fieldcast.meshes import Prediction, Sample
from fieldcast.solvers.central_flow import HEAT, seconds_of
from fieldcast.solvers.hypersonic import ViscousFlow, capsule, heat_flux
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
STEPS = 2000
LEAST_SQUARES, PLAIN = "least squares", "none"
LOSSES = {
    PLAIN: None,
    "discrete": Derivative("discrete", 1e-3),
    LEAST_SQUARES: Derivative("least_squares", 1e-3, 12),
}


def flows() -> list[Sample]:
    """All 24, the temperature alone."""
    design = qmc.scale(qmc.LatinHypercube(3, seed=0).random(CASES), LOW, HIGH).round(4)
    first = affordable(design[design[:, 2].argmax()])
    cases = [capsule(*row, REYNOLDS, layers=(*CELLS, first)) for row in design.tolist()]
    samples = all_solved(ViscousFlow(seconds=3 * MOST), cases)
    return [Sample(s.case, {"T": s.fields["T"]}) for s in samples]


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
        q, r = (heat_flux(s.case, f.values[0, :, 0])[0] for f in (s.fields["T"], p.mean["T"]))
        found.append(np.linalg.norm(r - q) / np.linalg.norm(q))
    return np.array(found)


def main() -> None:
    given = arguments(__doc__ or "")
    samples, clock = flows(), Clock()
    order = np.random.default_rng(0).permutation(CASES)
    own, held, test = ([samples[i] for i in part] for part in np.split(order, [16, 18]))
    steps = STEPS // 4 if given.quick else STEPS
    descent = Descent(
        steps=steps, batch=16, rate=1e-2, every=steps // 10, optimiser="soap", device=given.device
    )
    ours = FusionDeepONet(trunk=Trunk(body="wall", far="inflow"), points=512, descent=descent)
    recipes: dict[str, Surrogate] = {
        name: replace(ours, derivative=loss) for name, loss in LOSSES.items()
    }
    rows, found = [], {}
    for name, recipe in {**recipes, "nearest case": NearestCase()}.items():
        start = time.perf_counter()
        model = recipe.fit(own, validation=held, seed=0)
        took = time.perf_counter() - start
        answers = list(model.predict([s.case for s in test], device=given.device))
        found[name] = relative(test, answers, ("T",)).mean(), fluxes(test, answers).mean()
        rows.append((name, *(f"{v:.2%}" for v in found[name]), f"{took:.0f}"))
        say(rows[-1])
    loose, n = (2.0 if given.quick else 1.0), len(test)

    def bar(name: str, k: int, goal: float) -> Bar:
        value = float(found[LEAST_SQUARES][k] / found[PLAIN][k])
        full = goal if given.quick else None
        return Bar(f"{name}, least squares / none", value, goal * loose, n, clock(), full_goal=full)

    bars = [bar("wall heat flux error", 1, 0.5), bar("temperature error", 0, 1.1)]
    head = ("derivatives in the loss", "temperature", "wall heat flux", "training [s]")
    front = table(("first cells", "flux at the front", "heat in all"), stagnation())
    told = {"16 capsules": table(head, rows), "a cylinder, Mach 6": front}
    finish("capsule", given, bars, told)


if __name__ == "__main__":
    main()
