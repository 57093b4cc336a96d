"""Closures: a polynomial is what least squares say, maps know no first point of a ring and no
neighbour out of reach, and a solver gets what the predictor answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fieldcast.meshes import Case, Field, Mesh, Sample
from fieldcast.surrogates import (
    Autoregressive,
    Descent,
    PodRidge,
    Polynomial,
    RingFNO,
    StencilNetwork,
    closure,
    load,
)
from fieldcast.surrogates.field_networks import around, following

SHORT = Descent(steps=150, batch=64, rate=1e-2, every=50, device="cpu")
NETWORKS = (StencilNetwork(1, 16, 1, SHORT), RingFNO(8, 1, 6, replace(SHORT, steps=60)))


def ring(count, turned=0):
    """A closed line, its numbering turned."""
    angle = 2 * np.pi * np.arange(count) / count
    ids = (np.arange(count) + turned) % count
    lines = np.stack([ids, np.roll(ids, -1)], axis=1)
    return Mesh(np.stack([np.cos(angle), np.sin(angle)], axis=1), {"line": lines})


def closed(seed, times=40, count=8, mesh=None):
    """U of a point from X there and at the point before it, with noise of a known memory."""
    rng = np.random.default_rng(seed)
    x = rng.normal(2.0, 3.0, (times, count))
    u = 1.0 - 0.5 * x + 0.02 * x**3 + np.roll(x, 1, axis=1)
    case = Case(
        mesh or ring(count), {"F": 18.0}, {"X": Field(x[..., None], "K")},
        times=0.1 * np.arange(times), name=f"run{seed}",
    )  # fmt: skip
    return Sample(case, {"U": Field(u[..., None], "K/s")})


SAMPLES = [closed(k) for k in range(10)]


def test_a_polynomial_is_that_of_least_squares():
    model = Polynomial(4).fit(SAMPLES)
    x = np.concatenate([s.case.fields["X"].values.ravel() for s in SAMPLES])
    u = np.concatenate([s.fields["U"].values.ravel() for s in SAMPLES])
    case = closed(50).case
    [found] = model.predict([case])
    expected = np.polyval(np.polyfit(x, u, 4), case.fields["X"].values)
    np.testing.assert_allclose(found.mean["U"].values, expected, rtol=0, atol=1e-8)
    assert found.std is None


def test_a_polynomial_of_parameters_and_cells_is_exact():
    """Of total degree 2 in a field and a parameter; on cells and for scalars, means of points."""
    rng, samples = np.random.default_rng(0), []
    for k in range(12):
        x, p = rng.normal(size=(8, 1)), rng.normal()
        u = x**2 + p * x - 3.0
        fields = {"u": Field.steady(u), "c": Field.steady(0.5 * (u + np.roll(u, -1, 0)), on="cell")}
        case = Case(ring(8), {"p": p}, {"x": Field.steady(x)}, name=f"case{k}")
        samples.append(Sample(case, fields, {"m": u.mean()}))
    model = Polynomial(2).fit(samples[:10])
    for s, p in zip(samples[10:], model.predict([s.case for s in samples[10:]]), strict=True):
        for name in ("u", "c"):
            np.testing.assert_allclose(p.mean[name].values, s.fields[name].values, atol=1e-8)
        assert float(p.scalars["m"]) == pytest.approx(float(s.scalars["m"]), abs=1e-8)


@pytest.mark.parametrize("recipe", NETWORKS, ids=lambda r: type(r).__name__)
def test_networks_know_no_first_point(recipe):
    if isinstance(recipe, RingFNO):
        pytest.importorskip("neuralop", reason="pip install 'fieldcast[operators]'")
    model = recipe.fit(SAMPLES)
    case = closed(50).case
    turned = replace(case, fields={"X": Field(np.roll(case.fields["X"].values, 3, axis=1), "K")})
    [one], [other] = model.predict([case]), model.predict([turned])
    expected = np.roll(one.mean["U"].values, 3, axis=1)
    np.testing.assert_allclose(other.mean["U"].values, expected, rtol=0, atol=2e-5)


def test_a_stencil_reaches_so_far_and_no_further():
    model = StencilNetwork(1, 16, 1, SHORT).fit(SAMPLES)
    case = closed(50, times=2).case
    moved = case.fields["X"].values.copy()
    moved[:, 3] += 1.0
    one, other = (
        model.predict([replace(case, fields={"X": Field(v, "K")})])[0].mean["U"].values[0, :, 0]
        for v in (case.fields["X"].values, moved)
    )
    assert (np.flatnonzero(np.abs(one - other) > 1e-5) == [2, 3, 4]).all()


def test_a_stencil_learns_what_a_polynomial_of_the_point_can_not():
    truth = closed(50)
    u = truth.fields["U"].values
    errors = [
        np.sqrt(np.square(r.fit(SAMPLES).predict([truth.case])[0].mean["U"].values - u).mean())
        for r in (StencilNetwork(1, 16, 1, SHORT), Polynomial(4))
    ]
    assert errors[0] < 0.5 * errors[1]


def test_points_in_their_order():
    np.testing.assert_array_equal(around(ring(7, turned=3)), np.arange(7))
    odd = Mesh(
        np.zeros((4, 1)) + np.arange(4.0)[:, None], {"line": np.array([[0, 2], [2, 1], [1, 3]])}
    )
    after, before = following(odd)
    np.testing.assert_array_equal(after, [2, 3, 1, 3])
    np.testing.assert_array_equal(before, [0, 2, 0, 1])
    np.testing.assert_array_equal(around(odd), [0, 2, 1, 3])
    np.testing.assert_array_equal(around(replace(odd, cells={})), np.arange(4))
    shuffled = Mesh(odd.points, {"line": np.array([[0, 2], [2, 1], [1, 3], [3, 0]])})
    np.testing.assert_array_equal(around(shuffled), [0, 2, 1, 3])


@pytest.mark.parametrize("recipe", [Polynomial(3), NETWORKS[0], PodRidge(modes=6)], ids=repr)
def test_a_solver_gets_what_the_predictor_answers(recipe):
    frames = [closed(k, times=1) for k in range(40)]
    frames = [replace(s, case=replace(s.case, times=np.zeros(1))) for s in frames]
    model = recipe.fit(frames)
    asked = [closed(100 + k, times=1).case for k in range(5)]
    told = closure(model, asked[0], "X", "U")
    x = np.stack([c.fields["X"].values[0, :, 0] for c in asked])
    expected = [p.mean["U"].values[0, :, 0] for p in model.predict(asked)]
    np.testing.assert_allclose(told(x), np.stack(expected), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="got 'Y'"):
        closure(model, asked[0], "Y", "U")


def test_what_is_missed_has_its_spread_and_memory(tmp_path):
    rng, samples = np.random.default_rng(0), []
    for s in SAMPLES:
        e = np.zeros(s.fields["U"].values.shape)
        for k in range(1, len(e)):
            e[k] = 0.8 * e[k - 1] + 0.6 * rng.normal(0.0, 0.5, e[k].shape)
        x = s.case.fields["X"].values
        samples.append(replace(s, fields={"U": Field(2.0 * x + e, "K/s")}))
    model = Autoregressive(Polynomial(1)).fit(samples)
    again = load(model.save(tmp_path / "closure.fieldcast"))
    for residual in (model.residuals["U"], again.residuals["U"]):
        assert residual.sigma[0] == pytest.approx(0.5, rel=0.1)
        assert residual.correlation[0] == pytest.approx(0.8, abs=0.05)
        assert residual.interval == pytest.approx(0.1)
    uneven = [replace(s, case=replace(s.case, times=s.case.times**2)) for s in samples]
    with pytest.raises(ValueError, match="evenly spaced"):
        Autoregressive(Polynomial(1)).fit(uneven)


def test_what_can_not_be_mapped_is_told():
    still = [replace(s, fields={"U": Field(s.fields["U"].values[:1], "K/s")}) for s in SAMPLES]
    with pytest.raises(ValueError, match="outputs with 40 times"):
        Polynomial(1).fit(still)
    known = {"X": Field(np.zeros((1, 8, 1)), on="cell")}
    cells = [replace(s, case=replace(s.case, fields=known)) for s in SAMPLES]
    with pytest.raises(ValueError, match="known fields on points"):
        Polynomial(1).fit(cells)
    with pytest.raises(ValueError, match="degree"):
        Polynomial(-1)
