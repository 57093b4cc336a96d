"""Gradients and fluxes into walls as outputs: exact where theory says so, calibrated like any."""

from dataclasses import replace

import numpy as np
import pytest

from fieldcast.conformance.families import ring
from fieldcast.meshes import Case, Field, Mesh, Sample
from fieldcast.surrogates import (
    Conformal,
    Derived,
    Descent,
    FusionDeepONet,
    GradientOf,
    NearestCase,
    WallFlux,
    load,
)

FEW = Descent(steps=3, every=3)


def layer(slope, n=9, on="point"):
    """Temperature slope * y above a wall at y = 0, on quadrilaterals that grow away from it."""
    x, y = np.linspace(0, 2, n), np.linspace(0, 1, n) ** 1.5
    points = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    ids = np.arange(n * n).reshape(n, n)
    corners = (ids[:-1, :-1], ids[1:, :-1], ids[1:, 1:], ids[:-1, 1:])
    cells = np.stack(corners, axis=2).reshape(-1, 4)
    mesh = Mesh(points, {"quad": cells}, {"wall": np.sort(ids[:, 0])})
    at = points if on == "point" else points[cells].mean(axis=1)
    case = Case(mesh, {"slope": slope, "cold": 1.0, "k": 2.0}, name=f"layer{slope:.1f}")
    return Sample(case, {"T": Field.steady(1.0 + slope * at[:, 1], "K", on)})


@pytest.mark.parametrize("on", ["point", "cell"])
@pytest.mark.parametrize("at_wall", ["", "cold"])
def test_a_linear_field_has_its_slope_everywhere_and_at_the_wall(on, at_wall):
    recipe = Derived(NearestCase(), (GradientOf("T"), WallFlux("T", "wall", "k", at_wall)))
    [sample] = recipe.prepared([layer(3.0, on=on)])
    slopes = sample.fields["grad T"]
    assert slopes.on == on
    assert slopes.unit == "(K)/m"
    expected = np.broadcast_to([0.0, 3.0], slopes.values[0].shape)
    np.testing.assert_allclose(slopes.values[0], expected, atol=2e-4)
    assert float(sample.scalars["T flux"]) == pytest.approx(2 * 3.0 * 2.0, rel=1e-4)
    assert float(sample.scalars["T peak flux"]) == pytest.approx(6.0, rel=1e-4)


def test_a_vector_has_the_gradients_of_its_components_one_after_the_other():
    mesh = ring(6, 0, 0.4)
    flow = mesh.points @ np.array([[1.0, 3.0], [2.0, 4.0]])
    sample = Sample(Case(mesh, {"p": 1.0}), {"flow": Field.steady(flow, "m/s")})
    found = Derived(NearestCase(), (GradientOf("flow"),)).prepared([sample])[0].fields["grad flow"]
    np.testing.assert_allclose(
        found.values[0], np.broadcast_to([1.0, 2.0, 3.0, 4.0], (len(mesh.points), 4)), atol=1e-3
    )


def test_answers_carry_the_quantities_of_their_own_fields(tmp_path):
    quantities = (GradientOf("T"), WallFlux("T", at_wall="cold"))
    recipe = Derived(FusionDeepONet(8, 2, 8, descent=FEW), quantities)
    samples = recipe.prepared([layer(s, 7 + k % 2) for k, s in enumerate(np.linspace(1, 3, 6))])
    model = recipe.fit(samples)
    assert set(model.signature.fields) == {"T", "grad T"}
    assert set(model.signature.scalars) == {"T flux", "T peak flux"}
    found = model.predict([s.case for s in samples])
    for s, p in zip(samples, found, strict=True):
        [expected] = recipe.prepared([replace(s, fields={"T": p.mean["T"]})])
        np.testing.assert_allclose(p.mean["grad T"].values, expected.fields["grad T"].values)
        assert float(p.scalars["T flux"]) == pytest.approx(float(expected.scalars["T flux"]))
    again = load(model.save(tmp_path / "model.fieldcast")).predict([samples[0].case])[0]
    np.testing.assert_allclose(
        again.mean["grad T"].values, found[0].mean["grad T"].values, atol=1e-5
    )


def test_they_are_calibrated_like_any_output():
    recipe = Derived(NearestCase(), (GradientOf("T"), WallFlux("T")))
    samples = recipe.prepared([layer(s) for s in np.linspace(1, 3, 12)])
    model = Conformal(recipe, folds=4).fit(samples)
    [found] = model.predict([layer(2.05).case])
    low, high = found.interval(0.8)
    assert (low.fields["grad T"].values[..., 1] < 2.05).all()
    assert (high.fields["grad T"].values[..., 1] > 2.05).all()
    assert float(low.scalars["T flux"]) < 2 * 2.05 < float(high.scalars["T flux"])


def test_quantities_that_nothing_is_known_of_are_refused():
    sample = layer(1.0)
    for quantity, said in (
        (GradientOf("U"), r"expected the fields \['U'\], got \['T'\]"),
        (WallFlux("T", "floor"), r"facets of the region 'floor', got regions \['wall'\]"),
        (WallFlux("T", "wall", "lambda"), r"expected the parameters \['lambda'\]"),
    ):
        with pytest.raises(ValueError, match=said):
            Derived(NearestCase(), (quantity,)).fit([sample, layer(2.0)])
    with pytest.raises(ValueError, match=r"samples with \['grad T'\].*recipe.prepared"):
        Derived(NearestCase(), (GradientOf("T"),)).fit([sample, layer(2.0)])
    vector = Sample(sample.case, {"T": Field.steady(np.ones((81, 2)))})
    with pytest.raises(ValueError, match="expected a scalar field, got 2 components"):
        Derived(NearestCase(), (WallFlux("T"),)).prepared([vector])
