"""Posteriors of linear models are known; samplers must draw them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fieldcast.surrogates.inference import (
    Draws,
    Hamiltonian,
    Posterior,
    exact,
    identifiability,
)

TIMES = torch.linspace(0.0, 1.0, 50, dtype=torch.float64)
BOUNDS = {"a": (-5.0, 5.0), "b": (-5.0, 5.0)}
NOISE = 0.1


def line(p):
    return p[:, :1] + p[:, 1:2] * TIMES


def measured(seed=0):
    noise = np.random.default_rng(seed).normal(0.0, NOISE, len(TIMES))
    return line(torch.tensor([[0.5, -1.0]], dtype=torch.float64))[0] + torch.as_tensor(noise)


@pytest.fixture(scope="module")
def posterior():
    return Posterior(line, measured(), BOUNDS, (0.02, 0.5))


def solved(posterior):
    """Least squares: means and standard deviations with the noise known."""
    design = np.stack([np.ones(len(TIMES)), TIMES.numpy()], axis=1)
    mean = np.linalg.lstsq(design, posterior.data.numpy(), rcond=None)[0]
    return mean, NOISE * np.sqrt(np.linalg.inv(design.T @ design).diagonal())


def test_identifiability_is_least_squares(posterior):
    found = identifiability(posterior, {"a": 0.5, "b": -1.0}, NOISE)
    np.testing.assert_allclose(found.std, solved(posterior)[1], rtol=1e-9)
    assert found.correlation[0, 1] == pytest.approx(-0.86, abs=0.02)


@pytest.mark.parametrize(
    "draw",
    [exact, lambda p: Hamiltonian(chains=32, draws=150, starts=100).drawn(p)],
    ids=["grid", "hmc"],
)
def test_draws_are_those_of_least_squares(posterior, draw):
    found, (mean, std) = draw(posterior), solved(posterior)
    for k, name in enumerate(BOUNDS):
        values = found.of(name)
        assert abs(values.mean() - mean[k]) < 0.15 * std[k]
        assert values.std() == pytest.approx(std[k], rel=0.25)
    assert found.of("sigma").mean() == pytest.approx(NOISE, rel=0.25)
    assert 0.8 < found.accepted <= 1.0


def test_samplers_agree(posterior):
    one, other = exact(posterior), Hamiltonian(chains=64, starts=100).drawn(posterior)
    for name in posterior.names:
        assert other.r_hat(name) < 1.01
        assert other.effective(name) > 3000
        for a, b in zip(one.interval(name), other.interval(name), strict=True):
            assert abs(a - b) < 0.1 * one.of(name).std()


def test_intervals_cover_the_truth():
    inside = 0
    for seed in range(40):
        found = exact(Posterior(line, measured(seed), BOUNDS, (0.02, 0.5)), each=24)
        low, high = found.interval("b")
        inside += low < -1.0 < high
    assert 31 <= inside <= 40  # 99 % of binomial draws at 0.9


def test_an_uncertain_model_widens(posterior):
    own = torch.full_like(posterior.data, 2.0 * NOISE)
    wide = exact(Posterior(line, posterior.data, BOUNDS, (0.02, 0.5), own))
    assert wide.of("a").std() > 1.3 * exact(posterior).of("a").std()


def test_chains_that_disagree_are_told():
    rng = np.random.default_rng(0)
    same = rng.normal(size=(4, 400, 1))
    apart = same + np.arange(4)[:, None, None]
    walks = np.cumsum(rng.normal(size=(4, 400, 1)), axis=1)
    assert Draws(("x",), same).r_hat("x") < 1.01
    assert Draws(("x",), apart).r_hat("x") > 1.5
    assert 1200 < Draws(("x",), same).effective("x") < 2200
    assert Draws(("x",), walks).effective("x") < 100


def test_many_parameters_are_not_put_on_a_grid():
    bounds = {k: (0.0, 1.0) for k in "abcd"}
    with pytest.raises(ValueError, match="Hamiltonian"):
        exact(Posterior(line, measured(), bounds, (0.02, 0.5)))
