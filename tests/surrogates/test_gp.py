"""Gaussian processes: against finite differences, gpytorch, and themselves fitted anew."""

import os
import warnings

import numpy as np
import pytest
import torch

from fieldcast.surrogates.gp import (
    JITTER,
    GaussianProcess,
    Hyperparameters,
    Likelihood,
    Training,
    covariance,
    fit_gp,
    fit_gps,
    standardisation,
    start_points,
)

with warnings.catch_warnings():
    # It calls torch.jit.script when it is imported, of which torch warns.
    warnings.simplefilter("ignore", DeprecationWarning)
    import gpytorch

N, D = 24, 3
RNG = np.random.default_rng(0)
X = torch.as_tensor(RNG.normal(size=(N, D)))
Y = torch.stack([torch.sin(X[:, 0]) + 0.3 * X[:, 1], X[:, 2] ** 2 + X[:, 0]], 1)
Y = Y + 0.05 * torch.as_tensor(RNG.normal(size=(N, 2)))
H = Hyperparameters(np.array([0.8, 2.0, 1.4]), 1.3, 0.2, 0.01)
QUERY = torch.as_tensor(np.random.default_rng(1).normal(size=(11, D)))


def standardised(y):
    shift, scale = standardisation(y)
    return (y - shift) / scale


@pytest.mark.parametrize("training", [Training(), Training(prior=False), Training(linear=False)])
def test_the_gradient_is_that_of_finite_differences(training):
    likelihood = Likelihood(X, standardised(Y), training)
    h = H if training.linear else Hyperparameters(H.lengthscale, H.signal, 0.0, H.noise)
    theta = np.maximum(h.theta, -40.0)
    _, gradient = likelihood(theta)
    for k in range(len(theta)):
        if k == len(theta) - 2 and not training.linear:
            assert gradient[k] == 0.0
            continue
        step = np.zeros(len(theta))
        step[k] = 1e-5
        slope = (likelihood(theta + step)[0] - likelihood(theta - step)[0]) / 2e-5
        assert gradient[k] == pytest.approx(slope, rel=1e-6, abs=1e-6)


def test_outputs_that_share_a_kernel_add_up():
    both = Likelihood(X, standardised(Y), Training(prior=False))(H.theta)
    single = [
        Likelihood(X, standardised(Y)[:, [k]], Training(prior=False))(H.theta) for k in (0, 1)
    ]
    assert both[0] == pytest.approx(single[0][0] + single[1][0], rel=1e-12)
    np.testing.assert_allclose(both[1], single[0][1] + single[1][1], rtol=1e-9)


def test_the_likelihood_is_gpytorchs():
    process = GaussianProcess.of(X, Y[:, [0]], H)
    model = process.as_gpytorch()
    model.train()
    likelihood = model.likelihood
    y = standardised(Y[:, [0]]).T
    mll = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
    with gpytorch.settings.fast_computations(log_prob=False, covar_root_decomposition=False):
        per_point = mll(model(X.expand(1, N, D)), y).item()
    ours, _ = Likelihood(X, y.T, Training(prior=False))(H.theta)
    assert -per_point * N == pytest.approx(ours, rel=1e-6)


def test_the_posterior_is_gpytorchs():
    process = GaussianProcess.of(X, Y, H)
    shift, scale = standardisation(Y)
    with torch.no_grad(), gpytorch.settings.fast_computations(covar_root_decomposition=False):
        theirs = process.as_gpytorch()(QUERY.expand(2, *QUERY.shape))
        mean, variance, _ = process(QUERY)
    np.testing.assert_allclose(mean, theirs.mean.T * scale + shift, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(variance, theirs.variance.T * scale**2, rtol=1e-5, atol=1e-9)


def test_the_kernel_is_the_formula():
    a, b = X[:4], QUERY[:5]
    r = torch.cdist(a / torch.as_tensor(H.lengthscale), b / torch.as_tensor(H.lengthscale))
    s = 5.0**0.5 * r
    exact = H.signal * (1 + s + s**2 / 3) * torch.exp(-s) + H.linear * a @ b.T
    np.testing.assert_allclose(covariance(a, b, H), exact, rtol=1e-12)


def test_the_mean_alone_is_the_mean():
    process = GaussianProcess.of(X, Y, H)
    np.testing.assert_allclose(process.mean(QUERY), process(QUERY)[0], rtol=1e-12)


def test_leave_one_out_is_fitting_without_the_point():
    """With the hyper-parameters, and the scale of the outputs, kept."""
    process = GaussianProcess.of(X, Y, H)
    mean, variance = process.leave_one_out()
    shift, scale = standardisation(Y)
    y = standardised(Y)
    for i in range(N):
        rest = torch.arange(N) != i
        k = covariance(X[rest], X[rest], H) + (H.noise + JITTER) * torch.eye(N - 1)
        cross = covariance(X[[i]], X[rest], H)
        expected = (cross @ torch.linalg.solve(k, y[rest]))[0] * scale + shift
        prior = H.signal + H.linear * (X[i] ** 2).sum() + H.noise + JITTER
        spread = (prior - (cross @ torch.linalg.solve(k, cross.T))[0, 0]) * scale**2
        np.testing.assert_allclose(mean[i], expected, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(variance[i], spread, rtol=1e-7)


def test_training_outputs_come_back():
    np.testing.assert_allclose(GaussianProcess.of(X, Y, H).outputs(), Y, rtol=1e-10)


def test_without_noise_it_interpolates_and_is_certain_there():
    exact = Hyperparameters(H.lengthscale, 1.0, 0.0, 1e-9)
    mean, variance, _ = GaussianProcess.of(X, Y, exact)(X)
    np.testing.assert_allclose(mean, Y, atol=1e-5)
    assert variance.max() < 1e-6
    far, _, _ = GaussianProcess.of(X, Y, exact)(X + 1e3)
    np.testing.assert_allclose(far, Y.mean(0).expand(N, 2), atol=1e-9)


def test_shifted_and_scaled_outputs_are_the_same_process():
    """k(y) for 1e5 + 1e-3 y: the same hyper-parameters, means and spreads shifted and scaled."""
    training = Training(starts=1, iterations=60)
    plain = fit_gp(X, Y, training)
    moved = fit_gp(X, 1e5 + 1e-3 * Y, training)
    mean, variance, _ = plain(QUERY)
    other, spread, _ = moved(QUERY)
    np.testing.assert_allclose((other - 1e5) * 1e3, mean, atol=1e-4)
    np.testing.assert_allclose(spread * 1e6, variance, rtol=1e-3)


def test_training_climbs():
    training = Training(starts=2, iterations=100)
    process = fit_gp(X, Y[:, [0]], training)
    likelihood = Likelihood(X, standardised(Y[:, [0]]), training)
    starts = [likelihood(theta)[0] for theta in start_points(D, training, 0)]
    assert process.nll < min(starts)
    assert process.nll == pytest.approx(likelihood(process.hyperparameters.theta)[0], rel=1e-9)


def test_noise_is_found():
    rng = np.random.default_rng(3)
    x = torch.as_tensor(rng.uniform(-2, 2, (150, 1)))
    y = torch.sin(2 * x) + 0.1 * torch.as_tensor(rng.normal(size=(150, 1)))
    process = fit_gp(x, y, Training(starts=1))
    _, _, noise = process(x[:1])
    assert float(noise.sqrt()) == pytest.approx(0.1, rel=0.2)


def test_the_number_of_workers_does_not_matter(monkeypatch):
    outputs = [Y[:, [0]], Y[:, [1]], Y]
    training = Training(starts=1, iterations=30)
    found = []
    for cores in (1, 3):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, n=cores: set(range(n)))
        found.append(fit_gps(X, outputs, training, seed=5))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one.alpha, other.alpha)
        np.testing.assert_array_equal(one.factor, other.factor)
        assert one.nll == other.nll


def test_progress_counts_every_process():
    counts = []
    fit_gps(X, [Y[:, [0]], Y[:, [1]]], Training(starts=1, iterations=5), done=counts.append)
    assert counts == [1, 1]


def test_a_constant_output_is_learnt_as_such():
    process = fit_gp(X, torch.full((N, 1), 7.0, dtype=torch.float64), Training(starts=1))
    mean, variance, _ = process(QUERY)
    np.testing.assert_allclose(mean, 7.0, rtol=1e-9)
    assert torch.isfinite(variance).all()


def test_derivatives_of_the_mean_are_finite_at_training_points():
    process = GaussianProcess.of(X, Y, H)
    x = X[:1].clone().requires_grad_(True)
    process.mean(x)[0, 0].backward()
    step = torch.zeros_like(X[:1])
    step[0, 1] = 1e-5
    slope = (process.mean(X[:1] + step) - process.mean(X[:1] - step))[0, 0] / 2e-5
    assert float(x.grad[0, 1]) == pytest.approx(float(slope), rel=1e-5)


def test_single_precision_and_back():
    process = GaussianProcess.of(X, Y, H)
    single = process.to("cpu", torch.float32)
    mean, _, _ = single(QUERY.float())
    assert mean.dtype == torch.float32
    np.testing.assert_allclose(mean, process(QUERY)[0], atol=1e-3)
    assert process.x.dtype == torch.float64


def noise(seed, n=12, inputs=6):
    rng = np.random.default_rng(seed)
    return (torch.as_tensor(rng.normal(size=shape)) for shape in ((n, inputs), (n, 1)))


def test_outputs_that_inputs_do_not_explain_are_drawn_to_the_mean():
    training = Training(starts=1)
    trials = []
    for seed in range(12):
        x, y = noise(seed)
        new, truth = noise(100 + seed)
        [free] = fit_gps(x, [y], training, folds=[0])
        [drawn] = fit_gps(x, [y], training, folds=[len(x)])
        mean, variance, spread = drawn(new)
        inside = (truth - mean).abs() <= 1.96 * (variance + spread).sqrt()
        errors = [(p - truth).square().mean() for p in (free.mean(new), mean, y.mean())]
        trials.append([*errors, inside.double().mean()])
    free, drawn, plain, covered = np.mean(trials, axis=0)
    assert drawn < 0.5 * (free + plain)
    assert covered >= 0.93


def test_outputs_that_inputs_explain_keep_their_process():
    [process] = fit_gps(X, [torch.sin(X[:, [0]])], Training(starts=1), folds=[N])
    assert process.shrink.item() == 1.0
    torch.testing.assert_close(process.outputs(), torch.sin(X[:, [0]]))
