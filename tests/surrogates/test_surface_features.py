"""Geometry of surfaces as inputs."""

import numpy as np
import pytest

from fieldcast.meshes import Case, Cases, Field, Mesh, Sample
from fieldcast.surrogates import MMGP, Descent, GraphTransformer, SurfaceFeatures


def ellipse(a, n=48):
    angle = 2 * np.pi * np.arange(n) / n
    points = np.stack([a * np.cos(angle), np.sin(angle)], axis=1)
    return Mesh(points, {"line": np.stack([np.arange(n), (np.arange(n) + 1) % n], axis=1)})


def sample(a, noise=0.0):
    """What is asked is the curvature itself."""
    mesh = ellipse(a)
    angle = 2 * np.pi * np.arange(len(mesh.points)) / len(mesh.points)
    bent = a / (a**2 * np.sin(angle) ** 2 + np.cos(angle) ** 2) ** 1.5
    return Sample(Case(mesh, {"p": 1.0 + noise}), {"bent": Field.steady(bent, "1/m")})


def test_fields_are_told_without_units_and_cases_keep_their_own():
    cases = Cases.pack([sample(1.5).case, sample(2.0).case])
    told = SurfaceFeatures(MMGP(), ("normal", "mean", "gaussian", "principal")).cases(cases)
    assert set(told.fields) == {f"surface {k}" for k in ("normal", "mean", "gaussian", "principal")}
    assert told.fields["surface normal"].values.shape == (1, 96, 2)
    assert (told.fields["surface gaussian"].values == 0).all()
    mean = told.fields["surface mean"].at(0).values[0, :, 0]
    assert mean.argmax() in (0, 24)
    assert np.abs(mean).max() < 3.0
    large = Case(cases[0].mesh.scaled(1e3), {"p": 1.0})
    scaled = SurfaceFeatures(MMGP(), ("mean",)).cases(Cases.pack([large]))
    np.testing.assert_allclose(scaled.fields["surface mean"].values[0, :, 0], mean, rtol=1e-6)


def test_a_network_learns_curvature_faster_from_it():
    samples = [sample(a, 0.01 * k) for k, a in enumerate(np.linspace(1.2, 2.2, 10))]
    recipe = GraphTransformer(depth=2, width=16, descent=Descent(steps=200, rate=3e-3))
    errors = []
    for surrogate in (recipe, SurfaceFeatures(recipe)):
        model = surrogate.fit(samples[::2])
        found = model.predict([s.case for s in samples[1::2]])
        gaps = [
            p.mean["bent"].values - s.fields["bent"].values
            for p, s in zip(found, samples[1::2], strict=True)
        ]
        errors.append(float(np.sqrt(np.mean(np.square(gaps)))))
        assert found[0].case == samples[1].case
    assert errors[1] < 0.7 * errors[0]


def test_a_chart_tells_metric_and_connection():
    mesh = ellipse(1.5)
    way = np.linspace(0.0, 1.0, len(mesh.points))
    case = Case(mesh, {"p": 1.0}, {"way": Field.steady(way)})
    told = SurfaceFeatures(MMGP(), ("metric", "christoffel"), ("way",)).cases(Cases.pack([case]))
    assert told.fields["surface metric"].values.shape == (1, 48, 1)
    assert told.fields["surface christoffel"].values.shape == (1, 48, 1)
    with pytest.raises(ValueError, match="known fields \\['way'\\]"):
        SurfaceFeatures(MMGP(), ("metric",), ("way",)).cases(Cases.pack([Case(mesh, {"p": 1.0})]))
    with pytest.raises(ValueError, match="need a chart"):
        SurfaceFeatures(MMGP(), ("metric",))
    with pytest.raises(ValueError, match="expected features"):
        SurfaceFeatures(MMGP(), ("torsion",))
