"""Random Fourier features: exact derivatives, periods, a spread that observations choose."""

from __future__ import annotations

import numpy as np
import pytest

from fieldcast.surrogates.fourier_features import FourierFeatures

SMALL = FourierFeatures(features=200)


def scattered(count=300, seed=0):
    rng = np.random.default_rng(seed)
    points = rng.uniform(0.0, 2 * np.pi, (count, 2))
    return points, field(points)


def field(points):
    x, y = points.T
    return np.stack([np.sin(x) * np.cos(2 * y) + 3.0, np.cos(x + y)], axis=1)


def test_a_smooth_field_and_its_derivatives_come_back():
    found = FourierFeatures(features=400, periods=(2 * np.pi, 2 * np.pi)).fit(*scattered())
    points = scattered(50, seed=1)[0]
    x, y = points.T
    np.testing.assert_allclose(found(points), field(points), rtol=0, atol=1e-3)
    laplacian = found(points, (2, 0)) + found(points, (0, 2))
    expected = np.stack([-5.0 * np.sin(x) * np.cos(2 * y), -2.0 * np.cos(x + y)], axis=1)
    np.testing.assert_allclose(laplacian, expected, rtol=0, atol=1e-2)
    assert found.error < 1e-3


@pytest.mark.parametrize("periods", [None, (2 * np.pi, 2 * np.pi)])
@pytest.mark.parametrize("orders", [(1, 0), (0, 1), (2, 1)])
def test_derivatives_are_those_of_the_interpolant(periods, orders):
    found = FourierFeatures(features=100, spreads=(2.0,), periods=periods).fit(*scattered())
    points, h = scattered(20, seed=2)[0], 1e-5
    axis = int(orders[0] == 0)
    shift = h * np.eye(2)[axis]
    lower = [n - (i == axis) for i, n in enumerate(orders)]
    difference = (found(points + shift, lower) - found(points - shift, lower)) / (2 * h)
    np.testing.assert_allclose(found(points, orders), difference, rtol=1e-4, atol=1e-4)


def test_periods_go_around():
    """Of 2 pi along x and of 4 pi along y: longer waves along y, the same after a period."""
    periods = (2 * np.pi, 4 * np.pi)
    found = FourierFeatures(features=100, spreads=(3.0,), periods=periods).fit(*scattered())
    points = scattered(20, seed=3)[0]
    np.testing.assert_allclose(found(points + np.array(periods)), found(points), atol=1e-8)
    waves = found.basis.b * np.array(periods)[:, None] / (2 * np.pi)
    np.testing.assert_allclose(waves, np.round(waves), atol=1e-9)
    assert waves[1].std() > 1.5 * waves[0].std()


def test_the_spread_follows_the_field():
    points = np.random.default_rng(0).uniform(0.0, 1.0, (400, 1))
    slow, fast = (np.sin(2 * np.pi * n * points) for n in (1.0, 12.0))
    assert SMALL.fit(points, slow).spread < SMALL.fit(points, fast).spread


def test_too_few_or_bad_observations_are_refused():
    points, values = scattered(9)
    with pytest.raises(ValueError, match="at least 10"):
        SMALL.fit(points, values)
    points, values = scattered(20)
    with pytest.raises(ValueError, match="finite value"):
        SMALL.fit(points, np.where(values > 0, values, np.nan))
