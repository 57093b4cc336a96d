"""Converging-diverging nozzles: 36 flows by OpenFOAM, 24 to learn from, 4 to select by, 8 to test.

Throats from .45 to .75 and outlets from .9 to 1.6 of the inflow's height. Fusion-DeepONet beside
MeshGraphNet, trained for the same time, MMGP and the nearest case; errors are means over the tests.
A second model answers the mass flux (rho u, rho v), plain and made to conserve mass; its balance is
what flows out less what flows in, of the truth by the same sum over boundary cells, too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from bars import Bar, Clock, arguments, finish, say, table
from scipy.stats import qmc
from semi_ellipses import relative, split
from solving import all_solved

from fieldcast.meshes import Case, Field, Sample
from fieldcast.solvers.nozzle import NozzleFlow, nozzle
from fieldcast.surrogates import (
    MMGP,
    ConservationUpdate,
    Descent,
    FusionDeepONet,
    MeshGraphNet,
    NearestCase,
    NetFlux,
    Predictor,
    Surrogate,
    Trunk,
)

FIELDS = ("rho", "u", "v", "p", "T")
CASES, LOW, HIGH = 36, (0.45, 0.9), (0.75, 1.6)
STEPS, CELLS, QUICK = 2000, (80, 16), (48, 10)
OURS, NEAREST = "Fusion-DeepONet", "nearest case"


def flows(cells: tuple[int, int]) -> list[Sample]:
    """All 36."""
    design = qmc.scale(qmc.LatinHypercube(2, seed=0).random(CASES), LOW, HIGH).round(4)
    cases = [nozzle(throat, outlet, cells) for throat, outlet in design.tolist()]
    return [replace(s, scalars={}) for s in all_solved(NozzleFlow(), cases)]


def main() -> None:
    given = arguments(__doc__ or "")
    samples, clock = flows(QUICK if given.quick else CELLS), Clock()
    own, held, test = ([samples[i] for i in part] for part in split(0))
    steps = STEPS // 4 if given.quick else STEPS
    descent = Descent(
        steps=steps, batch=24, rate=1e-2, every=steps // 10, optimiser="soap", device=given.device
    )
    found: dict[str, np.ndarray] = {}
    spent: dict[str, float] = {}

    def fitted(name: str, recipe: Surrogate) -> Predictor:
        one = Clock()
        model = recipe.fit(own, validation=held, seed=0)
        spent[name] = one()
        answers = model.predict([s.case for s in test], device=given.device)
        found[name] = relative(test, answers, FIELDS).mean(axis=0)
        say(f"{name}: {found[name].round(4)}, {spent[name]:.0f} s")
        return model

    ours = FusionDeepONet(trunk=Trunk(body="wall", far="symmetry"), descent=descent)
    fitted(OURS, ours)
    adam = replace(descent, optimiser="adam", rate=3e-3)
    fitted(f"{OURS}, by Adam", replace(ours, descent=adam))
    fitted("MeshGraphNet, same time", in_time(own, spent[OURS], given.device))
    fitted("MMGP", MMGP())
    fitted(NEAREST, NearestCase())
    balances = conserved(own, held, test, descent)
    loose = 2.0 if given.quick else 1.0
    full = 0.5 if given.quick else None
    share = float((found[OURS] / found[NEAREST]).mean())
    bars = [Bar("error / nearest case", share, 0.5 * loose, len(test), clock(), full_goal=full)]
    rows = [(name, *(f"{v:.2%}" for v in found[name]), f"{spent[name]:.0f}") for name in found]
    head = ("surrogate", *FIELDS, "training [s]")
    kept = table(("mass flux", "relative L2", "out less in / in, largest"), balances)
    bars.append(Bar("imbalance, conserving", float(balances[1][2]), 1e-12, len(test), clock()))
    finish("nozzle", given, bars, {"24 nozzles": table(head, rows), "conservation": kept})


def conserved(
    own: list[Sample], held: list[Sample], test: list[Sample], descent: Descent
) -> list[tuple[str, float, float]]:
    """The mass flux, plain, conserving and true."""
    inner = FusionDeepONet(trunk=Trunk(body="wall", far="symmetry"), descent=descent)
    balance = ConservationUpdate(inner, (NetFlux("flux"),))
    model = balance.fit([mass_flux(s) for s in own], validation=[mass_flux(s) for s in held])
    truth = [mass_flux(s) for s in test]
    cases = [s.case for s in truth]
    kind = model.signature.fields["flux"]

    def off(case: Case, values: np.ndarray) -> float:
        through = (NetFlux("flux").rows(case.mesh, kind) * values[0]).sum(axis=1)
        return float(abs(through.sum()) / abs(through[through < 0].sum()))

    rows = []
    for name, answers in (
        ("plain", model.whole.predict(cases)),
        ("conserving", model.predict(cases)),
        ("truth", None),
    ):
        fields = [s.fields["flux"] for s in truth]
        if answers is not None:
            fields = [p.mean["flux"] for p in answers]
        gaps = [
            np.linalg.norm(f.values - s.fields["flux"].values)
            / np.linalg.norm(s.fields["flux"].values)
            for s, f in zip(truth, fields, strict=True)
        ]
        most = max(off(c, f.values) for c, f in zip(cases, fields, strict=True))
        rows.append((name, float(np.mean(gaps)), most))
    return rows


def mass_flux(sample: Sample) -> Sample:
    """With (rho u, rho v) alone."""
    rho, u, v = (sample.fields[k].values for k in ("rho", "u", "v"))
    flux = Field(np.concatenate([rho * u, rho * v], axis=2), "", "cell")
    return Sample(sample.case, {"flux": flux})


def in_time(own: list[Sample], seconds: float, device: str | None) -> MeshGraphNet:
    """With as many steps as take so long."""
    recipe = MeshGraphNet(depth=10, width=64)
    descent = replace(recipe.descent, batch=4, device=device)
    estimate = replace(recipe, descent=descent).estimate(own)
    assert estimate is not None
    steps = max(int(seconds / estimate[0] * descent.steps), 20)
    return replace(recipe, descent=replace(descent, steps=steps, every=max(steps // 10, 1)))


if __name__ == "__main__":
    main()
