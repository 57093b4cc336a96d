"""The trivial answers are what they say."""

import numpy as np
import pytest
import torch
from manufactured import linear, shapes

from fieldcast.surrogates import MeanField, NearestCase, PodRidge
from fieldcast.surrogates.regression import Linear


def test_the_mean_field_is_the_mean():
    samples = linear(8)
    mean = np.mean([s.fields["u"].values for s in samples], axis=0)
    for prediction in MeanField().fit(samples).predict([s.case for s in linear(3, start=8)]):
        np.testing.assert_allclose(prediction.mean["u"].values, mean, rtol=1e-13)
        expected = np.mean([float(s.scalars["s"]) for s in samples])
        assert float(prediction.scalars["s"]) == pytest.approx(expected, rel=1e-12)
        assert prediction.std is None
        assert prediction.scalars["s"].std is None


def test_the_nearest_case_is_a_training_case():
    samples = linear(8)
    predictor = NearestCase().fit(samples)
    for sample, prediction in zip(
        samples, predictor.predict([s.case for s in samples]), strict=True
    ):
        np.testing.assert_allclose(
            prediction.mean["u"].values, sample.fields["u"].values, rtol=1e-12
        )
        assert float(prediction.scalars["s"]) == float(sample.scalars["s"])
    moved = samples[3].case.with_parameters(p=float(samples[3].case.parameters["p"]) + 1e-3)
    [found] = predictor.predict([moved])
    np.testing.assert_allclose(found.mean["u"].values, samples[3].fields["u"].values, rtol=1e-12)


def test_the_nearest_case_is_carried_to_the_mesh_that_asks():
    samples = shapes(6, 0)
    predictor = NearestCase().fit(samples)
    for sample, prediction in zip(
        samples, predictor.predict([s.case for s in samples]), strict=True
    ):
        truth = sample.fields["warm"].values
        error = np.sqrt(np.mean((prediction.mean["warm"].values - truth) ** 2))
        assert error < 0.05 * np.ptp(truth)


def test_ridge_recovers_a_linear_family():
    predictor = PodRidge().fit(linear(10))
    asked = linear(4, start=10)
    for sample, prediction in zip(asked, predictor.predict([s.case for s in asked]), strict=True):
        np.testing.assert_allclose(
            prediction.mean["u"].values, sample.fields["u"].values, rtol=0, atol=1e-5
        )
        truth = float(sample.scalars["s"])
        assert float(prediction.scalars["s"]) == pytest.approx(truth, abs=1e-5)


def test_the_strength_is_that_of_least_leave_one_out_error():
    """The closed form against fitting without each point, on inputs that are not independent."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 5))
    x[:, 4] = x[:, 3] + 1e-3 * rng.normal(size=12)
    x -= x.mean(0)
    y = x[:, :1] - 0.5 * x[:, 1:2] + 0.5 * rng.normal(size=(12, 1))
    strengths = (1e-6, 1e-3, 1e-1, 1.0)

    def solved(strength):
        shifted = y - y.mean(0)
        ridge = x.T @ x + strength * len(x) * np.eye(5)
        return np.linalg.solve(ridge, x.T @ shifted), np.linalg.inv(ridge)

    errors = []
    for strength in strengths:
        weight, inverse = solved(strength)
        leverage = np.einsum("ni,ij,nj->n", x, inverse, x) + 1 / len(x)
        residual = (y - y.mean(0) - x @ weight)[:, 0] / (1 - leverage)
        errors.append((residual**2).sum())
    best = strengths[int(np.argmin(errors))]
    found = Linear.ridge(torch.as_tensor(x), torch.as_tensor(y), strengths)
    np.testing.assert_allclose(found.weight, solved(best)[0], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.bias, y.mean(0), rtol=1e-12)
