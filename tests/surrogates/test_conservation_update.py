"""Answers moved until they conserve: exactly, as little as possible, most where least is known."""

from dataclasses import replace

import numpy as np
import pytest

from fieldcast.conformance.families import ring, square
from fieldcast.meshes import Case, Field, Sample, Samples
from fieldcast.surrogates import (
    MMGP,
    ConservationUpdate,
    Descent,
    FusionDeepONet,
    NearestCase,
    NetFlux,
    Total,
    load,
)
from fieldcast.surrogates.conservation import flux, integral, measures
from fieldcast.surrogates.signature import Signature

CONSTRAINTS = (NetFlux("flow"), Total("heat", "power"))


def made(count=12, seed=0):
    """A flow without sources, and heat of which the whole is given."""
    found = []
    for k, p in enumerate(np.linspace(0.5, 2.0, count)):
        mesh = square(6, 0)
        x, y = mesh.points.T
        mesh = replace(mesh, regions={"left": np.flatnonzero(x < 1e-9)})
        flow = np.stack([np.sin(p * y) + p, np.cos(p * x)], axis=1)
        heat = np.exp(p * x) - y**2
        field = Field.steady(heat, "W")
        power = float(integral(measures(mesh, "point"), field.values)[0, 0])
        case = Case(mesh, {"p": p, "power": power}, name=f"case{k}")
        found.append(Sample(case, {"flow": Field.steady(flow, "m/s"), "heat": field}))
    return found


def amounts(prediction):
    mesh = prediction.case.mesh
    net, gross = flux(mesh, prediction.mean["flow"])
    heat = prediction.mean["heat"]
    total = float(integral(measures(mesh, heat.on), heat.values)[0, 0])
    return float(net[0] / gross[0]), total / float(prediction.case.parameters["power"].value[0])


@pytest.mark.parametrize("inner", [MMGP.tiny(), NearestCase()])
def test_what_must_be_conserved_is_to_round_off(inner, tmp_path):
    samples = made()
    plain = inner.fit(samples[::2])
    model = ConservationUpdate(inner, CONSTRAINTS).fit(samples[::2])
    cases = [s.case for s in samples[1::2]]
    for before, after, sample in zip(
        plain.predict(cases), model.predict(cases), samples[1::2], strict=True
    ):
        net, total = amounts(after)
        assert abs(net) < 1e-14
        assert total == pytest.approx(1.0, abs=1e-14)
        assert abs(amounts(before)[1] - 1.0) > 1e-6
        assert before.mean["heat"].unit == after.mean["heat"].unit == "W"
        if after.std is not None:
            assert (after.std["heat"].values <= before.std["heat"].values + 1e-15).all()
            assert (after.std["heat"].values > 0).any()
        truth = sample.fields["heat"].values
        spread = np.ones_like(truth) if before.std is None else before.std["heat"].values
        spread = np.where(spread > 0, spread, np.inf)
        gaps = [np.linalg.norm((p.mean["heat"].values - truth) / spread) for p in (before, after)]
        assert gaps[1] < gaps[0]
    again = load(model.save(tmp_path / "model.fieldcast"))
    np.testing.assert_array_equal(
        again.predict(cases)[0].mean["flow"].values, model.predict(cases)[0].mean["flow"].values
    )


def test_least_is_moved_where_most_is_known():
    from fieldcast.surrogates.conservation_update import _projected

    rng = np.random.default_rng(0)
    u, variance, rows = rng.normal(size=9), rng.uniform(0.1, 2, 9), rng.normal(size=(2, 9))
    wanted = np.array([1.0, -2.0])
    found, share = _projected(u, variance, rows, wanted)
    s = np.diag(variance)
    gain = s @ rows.T @ np.linalg.inv(rows @ s @ rows.T)
    np.testing.assert_allclose(found, u - gain @ (rows @ u - wanted), atol=1e-13)
    np.testing.assert_allclose(rows @ found, wanted, atol=1e-14)
    left = np.sqrt(np.diag(s - gain @ rows @ s) / variance)
    np.testing.assert_allclose(share, left, atol=1e-12)
    variance[:4] = 0.0
    found, _ = _projected(u, variance, rows, wanted)
    np.testing.assert_array_equal(found[:4], u[:4])
    np.testing.assert_allclose(rows @ found, wanted, atol=1e-13)
    found, _ = _projected(u, np.zeros(9), rows, wanted)
    np.testing.assert_allclose(rows @ found, wanted, atol=1e-13)


def test_a_flux_through_some_regions_is_that_through_their_facets():
    mesh = square(5, 0)
    mesh = replace(mesh, regions={"left": np.flatnonzero(mesh.points[:, 0] < 1e-9)})
    field = Field.steady(np.stack([mesh.points[:, 1], 0 * mesh.points[:, 0]], 1))
    sample = Sample(Case(mesh, {"p": 1.0}), {"flow": field})
    kind = Signature.of(Samples.pack([sample])).fields["flow"]
    rows = NetFlux("flow", regions=("left",)).rows(mesh, kind)
    assert (rows * field.values[0]).sum() == pytest.approx(-0.5)
    assert np.flatnonzero(rows.any(axis=1)).tolist() == mesh.regions["left"].tolist()
    cells = NetFlux("flow").rows(mesh, replace(kind, on="cell"))
    centres = mesh.points[mesh.cells["triangle"]].mean(axis=1)
    assert cells.sum(axis=0) == pytest.approx([0.0, 0.0], abs=1e-15)
    assert (cells[:, 0] > 0).sum() == (cells[:, 0] < 0).sum() == 4
    assert centres[cells[:, 0] > 0, 0].min() > 0.7


def test_constraints_that_fit_nothing_are_refused():
    samples = made(6)
    for constraint, said in (
        (NetFlux("heat"), "expected a vector on a mesh"),
        (Total("heat", component=3), "expected a component below 1"),
        (Total("warmth"), r"got one of 'warmth'"),
        (Total("heat", "p2"), r"expected a parameter of \['p', 'power'\], got 'p2'"),
        (NetFlux("flow", regions=("inlet",)), r"expected regions \['inlet'\].*\['left'\]"),
    ):
        with pytest.raises(ValueError, match=said):
            ConservationUpdate(NearestCase(), (constraint,)).fit(samples)


def test_it_serves_any_mesh_that_its_inner_surrogate_serves():
    samples = []
    for k, p in enumerate(np.linspace(0.5, 2.0, 6)):
        mesh = ring(3 + k % 2, k, 0.4)
        heat = Field.steady(1.0 + p * mesh.points[:, 0] ** 2)
        power = float(integral(measures(mesh, "point"), heat.values)[0, 0])
        samples.append(Sample(Case(mesh, {"p": p, "power": power}), {"heat": heat}))
    inner = FusionDeepONet(16, 2, 16, descent=Descent(steps=3, every=3))
    model = ConservationUpdate(inner, CONSTRAINTS[1:]).fit(samples)
    for p in model.predict([s.case for s in samples]):
        total = float(integral(measures(p.case.mesh, "point"), p.mean["heat"].values)[0, 0])
        assert total == pytest.approx(float(p.case.parameters["power"].value[0]), rel=1e-13)
