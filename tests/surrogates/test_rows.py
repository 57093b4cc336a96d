"""Scalars of many designs in one pass: as predictors say, with the slopes that differences have."""

import numpy as np
import pytest

from fieldcast.conformance.families import square
from fieldcast.meshes import Case, Sample
from fieldcast.surrogates import MMGP, MultiFidelity, NearestCase, Training
from fieldcast.surrogates.rows import rows_of

QUICK = MMGP(training=Training(starts=1, iterations=60))


def sample(a, b, bulge, rough):
    mesh = square(4, 0, 0.0)
    x, y = mesh.points.T
    mesh = mesh.moved(np.stack([x, y * (1 + bulge * np.sin(np.pi * x))], axis=1))
    drag = 3.0 + a**2 + 0.5 * b + bulge * a
    told = drag if not rough else 0.9 * drag + 0.2 + 0.1 * b
    return Sample(Case(mesh, {"a": a, "b": b}), {}, {"drag": told})


def samples(count, seed, rough):
    x = np.random.default_rng(seed).uniform(-1, 1, (count, 3))
    return [sample(a, b, 0.2 + 0.1 * c, rough) for a, b, c in x]


def predictor(kind):
    if kind == "one":
        return QUICK.fit(samples(14, 0, False))
    recipe = MultiFidelity(QUICK, QUICK, "residual")
    return recipe.fit(samples(10, 0, False), cheap=samples(30, 1, True))


@pytest.mark.parametrize("kind", ["one", "two"])
def test_rows_are_what_the_predictor_says_and_slopes_are_its_differences(kind):
    model = predictor(kind)
    asked = samples(5, 7, False)
    rows = rows_of(model, asked[0].case)
    assert rows is not None
    assert rows.moving
    shapes = np.stack([s.case.mesh.points for s in asked])
    numbers = {k: np.array([float(s.case.parameters[k]) for s in asked]) for k in ("a", "b")}
    shape = rows.coefficients(shapes)
    told = rows.told(shape, numbers, True)
    answers = model.predict([s.case for s in asked])
    np.testing.assert_allclose(told.mean["drag"], [float(p.scalars["drag"]) for p in answers])
    np.testing.assert_allclose(told.std["drag"], [float(p.scalars["drag"].std[0]) for p in answers])
    step = 1e-5
    for values, slopes in (("mean", told.mean_slopes), ("std", told.std_slopes)):
        by_shape, by_parameter = slopes["drag"]
        for name in numbers:
            ends = [
                getattr(rows.told(shape, {**numbers, name: numbers[name] + s}, False), values)
                for s in (step, -step)
            ]
            gap = (ends[0]["drag"] - ends[1]["drag"]) / (2 * step)
            np.testing.assert_allclose(by_parameter[name], gap, rtol=1e-4, atol=1e-6)
        for k in range(shape.shape[1]):
            off = np.zeros_like(shape)
            off[:, k] = step
            ends = [getattr(rows.told(shape + s * off, numbers, False), values) for s in (1, -1)]
            gap = (ends[0]["drag"] - ends[1]["drag"]) / (2 * step)
            np.testing.assert_allclose(by_shape[:, k], gap, rtol=1e-4, atol=1e-6)


def test_others_go_one_by_one():
    assert (
        rows_of(
            MultiFidelity(NearestCase(), QUICK, "lf_only").fit(samples(6, 0, False)),
            sample(0, 0, 0.1, False).case,
        )
        is None
    )
