"""Real flows with a shock that moves: what operator networks are for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fieldcast.meshes import Field, Sample
from fieldcast.solvers.hypersonic import semi_ellipse
from fieldcast.surrogates import DeepONet, Descent, FusionDeepONet, NearestCase, Trunk

STORED = Path(__file__).parents[1] / "data" / "semi_ellipses.npz"


@pytest.fixture(scope="module")
def flows():
    """The density of the 36 stored flows at Mach 6."""
    with np.load(STORED) as found:
        stored = dict(found)
    ends = np.cumsum(stored["counts"])
    samples = []
    for (a, b), values in zip(stored["axes"], np.split(stored["fields"], ends[:-1]), strict=True):
        case = semi_ellipse(float(a), float(b), float(stored["mach"]), float(stored["spacing"]))
        rho = values[:, 0].astype(float)
        samples.append(Sample(case, {"rho": Field.steady(rho, "", "cell")}))
    return samples


def test_the_stored_flows_are_steady_solutions(flows):
    assert len(flows) == 36
    for sample in flows:
        rho = sample.fields["rho"].values[0, :, 0]
        assert len(rho) == sample.case.mesh.n_cells
        # At the nose 46.82 times the pressure (Rayleigh) and 8.2 times the temperature.
        assert rho.max() == pytest.approx(1.4 * 46.82 / 8.2, rel=0.08)
        far = sample.case.mesh.regions["inflow"]
        outer = np.isin(sample.case.mesh.cells["quad"], far).any(axis=1)
        np.testing.assert_allclose(rho[outer], 1.4, rtol=1e-3)


def test_a_gated_basis_follows_the_shock(flows):
    own, test = flows[:20], flows[28:]
    descent = Descent(steps=250, batch=20, rate=5e-3, every=250)
    fusion = FusionDeepONet(trunk=Trunk(body="wall"), points=128, descent=descent)
    errors = {}
    for name, recipe in {
        "fusion": fusion,
        "plain": replace(DeepONet(), points=128, descent=descent),
        "nearest": NearestCase(),
    }.items():
        answers = recipe.fit(own, validation=()).predict([s.case for s in test])
        errors[name] = np.mean(
            [
                np.linalg.norm(p.mean["rho"].values - s.fields["rho"].values)
                / np.linalg.norm(s.fields["rho"].values)
                for s, p in zip(test, answers, strict=True)
            ]
        )
    assert errors["fusion"] < 0.5 * errors["plain"]
    assert errors["fusion"] < 0.7 * errors["nearest"]
