"""Exact Gaussian processes: ARD Matern-5/2 plus a linear part, trained by analytic gradients and
L-BFGS.

k(x, x') = s (1 + sqrt(5) r + 5/3 r^2) exp(-sqrt(5) r) + b x.x' + noise delta,
r^2 = sum_j (x_j - x'_j)^2 / l_j^2   (Rasmussen and Williams 2006, chapters 2, 4 and 5).

Several outputs that share one kernel are columns of one `y`: they share the kernel matrix, its
factor and its gradient. `GaussianProcess.as_gpytorch` gives the same posterior as a gpytorch model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fieldcast.meshes.threads import side_by_side

if TYPE_CHECKING:
    import gpytorch

SQRT5 = math.sqrt(5.0)
JITTER = 1e-10
# Bounds of the logarithms: length scales (inputs are standardised), signal, linear part, noise.
BOUNDS = {"lengthscale": (-5.0, 7.0), "signal": (-7.0, 6.0), "linear": (-18.0, 6.0)}
NOISE_BOUNDS = (-22.0, 1.0)
NOISE_MEDIAN, NOISE_SPREAD = math.log(1e-4), 3.0
"""Of the prior of the noise's logarithm."""
FIRST_STARTS = ((0.65, 1e-3), (1.4, 1e-5), (3.0, 0.1))
"""Length scales, in square roots of the number of inputs, and linear parts: of a curved function,
of a smooth one without and of one with a linear part. Each lies in a valley of its own: on plates
the search from the first alone ends beyond the best in one of five, from all three in one of
twenty."""
SHORT = 15
"""Iterations of each start, of which the best goes on."""
FOLD_ITERATIONS = 30
MANY, TILT_PENALTY = 100, 0.005
UNEXPLAINED = 0.1
"""Share of the cross-validated squares above which answers are drawn to the mean."""


@dataclass(frozen=True)
class Hyperparameters:
    """Of one kernel: `lengthscale` (input,), the variances `signal`, `linear` and `noise`."""

    lengthscale: Float[np.ndarray, " input"]
    signal: float
    linear: float
    noise: float

    @classmethod
    def of(cls, theta: Float[np.ndarray, " parameter"]) -> Hyperparameters:
        """From logarithms: length scales, signal, linear, noise."""
        signal, linear, noise = np.exp(theta[-3:])
        return cls(np.exp(theta[:-3]), float(signal), float(linear), float(noise))

    @property
    def theta(self) -> Float[np.ndarray, " parameter"]:
        """Logarithms, as `of` takes them."""
        tail = [self.signal, max(self.linear, 1e-300), self.noise]
        return np.log(np.concatenate([self.lengthscale, tail]))


@dataclass(frozen=True)
class Training:
    """How hyper-parameters are found: by L-BFGS-B from `starts` points, a few iterations each, of
    which the best goes on for at most `iterations`. What is maximised is the likelihood, or with
    `prior` its product with log-normal priors of the length scales whose median grows as
    sqrt(inputs) (Hvarfner et al. 2024, arXiv:2402.02229): with few simulations and many inputs it
    keeps inputs that explain nothing out. It keeps the noise, too, from vanishing (log-normal,
    median 1e-4 of the variance, 3 in the logarithm). `linear` adds the linear part."""

    starts: int = 3
    iterations: int = 200
    prior: bool = True
    linear: bool = True


class Likelihood:
    """The negative log marginal likelihood of outputs `y` (n, m) that share one kernel over `x`
    (n, d), with its gradient by the logarithms of the hyper-parameters. Buffers are reused between
    calls."""

    def __init__(self, x: Tensor, y: Tensor, training: Training) -> None:
        self.x, self.y, self.training = x, y, training
        n, d = x.shape
        self.evaluations = 0
        self._buffers = [torch.empty((n, n), dtype=x.dtype, device=x.device) for _ in range(5)]
        self._inner = x @ x.T
        self._prior_mean = math.sqrt(2.0) + 0.5 * math.log(max(d, 1))

    def __call__(
        self, theta: Float[np.ndarray, " parameter"]
    ) -> tuple[float, Float[np.ndarray, " parameter"]]:
        self.evaluations += 1
        h = Hyperparameters.of(theta)
        n, m = self.y.shape
        z = self.x / torch.as_tensor(h.lengthscale, dtype=self.x.dtype, device=self.x.device)
        kernel, slope, matern = self._kernel(z, h)
        factor, failed = torch.linalg.cholesky_ex(kernel)
        if int(failed):
            return 1e10, np.zeros(len(theta))
        alpha = torch.cholesky_solve(self.y, factor)
        weight = torch.cholesky_inverse(factor, out=kernel).mul_(m)
        weight.addmm_(alpha, alpha.T, alpha=-1.0)  # twice dNLL/dK
        value = 0.5 * (self.y * alpha).sum() + m * factor.diagonal().log().sum()
        g_signal = 0.5 * torch.dot(weight.view(-1), matern.view(-1))
        g_linear = 0.5 * h.linear * torch.dot(weight.view(-1), self._inner.view(-1))
        g_noise = 0.5 * (h.noise + JITTER) * weight.diagonal().sum()
        pull = slope.mul_(weight)
        g_length = pull.sum(1) @ (z * z) - (z * (pull @ z)).sum(0)
        tail = torch.stack([value, g_signal, g_linear, g_noise])
        found = torch.cat([tail, g_length]).cpu().numpy()
        nll = float(found[0]) + 0.5 * n * m * math.log(2 * math.pi)
        return self._with_prior(theta, nll, np.concatenate([found[4:], found[1:4]]))

    def _kernel(self, z: Tensor, h: Hyperparameters) -> tuple[Tensor, Tensor, Tensor]:
        """The kernel matrix, 5/3 s (1 + sqrt5 r) exp(-sqrt5 r), and the Matern part alone."""
        kernel, square, root, decay, matern = self._buffers
        squares = (z * z).sum(1)
        torch.addmm(squares[None], z, z.T, alpha=-2.0, out=square)
        square.add_(squares[:, None]).clamp_(min=0.0).mul_(5.0)
        torch.sqrt(square, out=root)
        torch.neg(root, out=decay).exp_().mul_(h.signal)
        slope = root.add_(1.0).mul_(decay)
        torch.addcmul(slope, square, decay, value=1.0 / 3.0, out=matern)
        torch.add(matern, self._inner, alpha=h.linear, out=kernel)
        kernel.diagonal().add_(h.noise + JITTER)
        return kernel, slope.mul_(5.0 / 3.0), matern

    def _with_prior(
        self, theta: np.ndarray, nll: float, gradient: np.ndarray
    ) -> tuple[float, np.ndarray]:
        if self.training.prior:
            z = (theta[:-3] - self._prior_mean) / math.sqrt(3.0)
            u = (theta[-1] - NOISE_MEDIAN) / NOISE_SPREAD
            nll += 0.5 * float(z @ z + u * u)
            gradient[:-3] += z / math.sqrt(3.0)
            gradient[-1] += u / NOISE_SPREAD
        if not self.training.linear:
            gradient[-2] = 0.0
        return nll, gradient


def start_points(d: int, training: Training, seed: int) -> list[Float[np.ndarray, " parameter"]]:
    """Starts of the search: first those of `FIRST_STARTS`, then random ones. Typical distances of
    standardised points grow as sqrt(d), and so do the length scales tried."""
    rng = np.random.default_rng(seed)
    off = -40.0
    starts = []
    for k in range(training.starts):
        if k < len(FIRST_STARTS):
            first, part = FIRST_STARTS[k]
            length = np.full(d, np.log(first * np.sqrt(d)))
            signal, linear, noise = 0.0, np.log(part), np.log(1e-3)
        else:
            length = rng.uniform(np.log(0.1), np.log(6.0), d) + 0.5 * np.log(d)
            signal, linear, noise = rng.uniform(-1, 2), rng.uniform(-6, 1), rng.uniform(-14, -2)
        starts.append(np.concatenate([length, [signal, linear if training.linear else off, noise]]))
    return starts


def maximise(
    likelihood: Likelihood, starts: Sequence[Float[np.ndarray, " parameter"]]
) -> tuple[Hyperparameters, float]:
    """The best hyper-parameters of those that the starts lead to, and their negative log
    likelihood."""
    from scipy.optimize import minimize

    training, d = likelihood.training, likelihood.x.shape[1]
    linear = BOUNDS["linear"] if training.linear else (-40.0, -40.0)
    bounds = [BOUNDS["lengthscale"]] * d + [BOUNDS["signal"], linear, NOISE_BOUNDS]

    def search(start: np.ndarray, iterations: int) -> Any:
        options = {"maxiter": iterations, "maxfun": 2 * iterations}
        return minimize(
            likelihood, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options
        )

    first = starts[0]
    if len(starts) > 1:
        first = min((search(start, SHORT) for start in starts), key=lambda found: found.fun).x
    found = search(first, training.iterations)
    return Hyperparameters.of(found.x), float(found.fun)


TENSORS = ("x", "factor", "alpha", "shift", "scale", "shrink", "inflation", "tilt", "tilt_range")


@dataclass(frozen=True, eq=False)
class GaussianProcess:
    """A trained process for outputs that share one kernel.

    Tensors: `x` (n, input) training inputs, `factor` (n, n) Cholesky factor of the kernel matrix,
    `alpha` (n, output) = K^-1 y. Outputs are y * `scale` + `shift`, each (output,). What
    cross-validation found: predicted deviations from `shift` are multiplied by `shrink` (output,);
    every variance, noise included, by `inflation` (output,) and by exp(x . `tilt`), kept between
    the two logarithms in `tilt_range`.
    """

    x: Tensor
    factor: Tensor
    alpha: Tensor
    shift: Tensor
    scale: Tensor
    shrink: Tensor
    inflation: Tensor
    tilt: Tensor
    tilt_range: Tensor
    hyperparameters: Hyperparameters
    nll: float

    @classmethod
    def of(
        cls, x: Tensor, y: Tensor, h: Hyperparameters, nll: float = float("nan")
    ) -> GaussianProcess:
        """With given hyper-parameters; `y` (n, output) in its own scale."""
        shift, scale = standardisation(y)
        kernel = covariance(x, x, h)
        kernel.diagonal().add_(h.noise + JITTER)
        factor = torch.linalg.cholesky(kernel)
        alpha = torch.cholesky_solve((y - shift) / scale, factor)
        # In the layout that a saved process has: products then round alike.
        plain = torch.contiguous_format
        x, factor, alpha = (t.clone(memory_format=plain) for t in (x, factor, alpha))
        one, none = torch.ones_like(scale), torch.zeros_like(x[0])
        return cls(x, factor, alpha, shift, scale, one, one, none, x.new_zeros(2), h, nll)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, variance without noise, and variance of the noise at `x` (q, input), each (q,
        output). Differentiable by `x`."""
        cross = covariance(x, self.x, self.hyperparameters)
        mean = cross @ self.alpha
        solved = torch.linalg.solve_triangular(self.factor, cross.T, upper=False)
        prior = self.hyperparameters.signal + self.hyperparameters.linear * (x * x).sum(1)
        variance = (prior - (solved * solved).sum(0)).clamp(min=0.0)
        size = self._size(x)
        noise = self.hyperparameters.noise * size
        return mean * self._slope + self.shift, variance[:, None] * size, noise

    def joint(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Covariance without noise between the points `x` (q, input), summed over outputs, (q, q),
        and the variance of the noise, summed too, (q,)."""
        cross = covariance(x, self.x, self.hyperparameters)
        solved = torch.linalg.solve_triangular(self.factor, cross.T, upper=False)
        between = covariance(x, x, self.hyperparameters) - solved.T @ solved
        size = self._size(x)
        root = size.sqrt()
        return between * (root @ root.T), self.hyperparameters.noise * size.sum(1)

    @property
    def _slope(self) -> Tensor:
        return self.scale * self.shrink

    def _size(self, x: Tensor) -> Tensor:
        """What standardised variances at `x` are multiplied by, (q, output)."""
        low, high = self.tilt_range
        here = torch.exp((x @ self.tilt).clamp(low, high))
        return here[:, None] * (self.scale**2 * self.inflation)

    def mean(self, x: Tensor) -> Tensor:
        """The mean alone, (q, output)."""
        return covariance(x, self.x, self.hyperparameters) @ self.alpha * self._slope + self.shift

    def leave_one_out(self) -> tuple[Tensor, Tensor]:
        """Mean and variance (noise included) at each training point from the others, (n, output),
        with the hyper-parameters kept (Rasmussen and Williams 2006, eq. 5.12)."""
        precision = torch.cholesky_inverse(self.factor).diagonal()[:, None]
        y = self._standardised()
        mean = y - self.alpha / precision
        variance = self._size(self.x) / precision
        return mean * self._slope + self.shift, variance

    def outputs(self) -> Tensor:
        """The training outputs, (n, output)."""
        return self._standardised() * self.scale + self.shift

    def _standardised(self) -> Tensor:
        return self.factor @ (self.factor.T @ self.alpha)

    def to(
        self, device: torch.device | str | None, dtype: torch.dtype | None = None
    ) -> GaussianProcess:
        """The same process on another device or in another precision."""
        moved = {name: getattr(self, name).to(device=device, dtype=dtype) for name in TENSORS}
        return replace(self, **moved)

    def as_gpytorch(self) -> gpytorch.models.ExactGP:
        """The same posterior as a gpytorch model in evaluation mode (outputs standardised; a batch
        of one per output), for those who go on with gpytorch or botorch; what cross-validation
        changed apart."""
        return _gpytorch_model(self)


def standardisation(y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column; 1 for a constant one."""
    scale = (y - y.mean(0)).square().mean(0).sqrt()
    floor = 1e-12 * y.abs().amax(0).clamp(min=1e-300)
    return y.mean(0), torch.where(scale > floor, scale, torch.ones_like(scale))


def covariance(a: Tensor, b: Tensor, h: Hyperparameters) -> Tensor:
    """The kernel without noise between `a` (p, input) and `b` (q, input)."""
    length = torch.as_tensor(h.lengthscale, dtype=a.dtype, device=a.device)
    za, zb = a / length, b / length
    square = (za * za).sum(1)[:, None] + (zb * zb).sum(1)[None] - 2.0 * za @ zb.T
    # A floor instead of zero keeps the derivative of the root finite.
    square = square.clamp(min=1e-20)
    root = SQRT5 * square.sqrt()
    matern = h.signal * (1.0 + root + 5.0 / 3.0 * square) * torch.exp(-root)
    return matern + h.linear * (a @ b.T)


def fit_gps(
    x: Tensor,
    outputs: Sequence[Tensor],
    training: Training,
    *,
    seed: int = 0,
    folds: Sequence[int] = (),
    done: Callable[[int], None] = lambda count: None,
) -> list[GaussianProcess]:
    """One process per member of `outputs`, each (n, m): its m columns share a kernel. `folds` (one
    per member, 0: none) says in how many parts its variance is cross-validated. On the CPU they
    are trained side by side, one thread each; the answer does not depend on how many."""

    def train(item: tuple[int, Tensor]) -> GaussianProcess:
        k, y = item
        process = fit_gp(x, y, training, seed + k)
        if k < len(folds) and folds[k]:
            process = with_validated_variance(process, y, training, folds[k])
        done(1)
        return process

    if x.is_cuda:
        return [train(item) for item in enumerate(outputs)]
    if outputs:
        # Libraries choose their kernels at first use; two threads that both come first may be
        # given different ones, and round differently.
        few = Likelihood(x[:8], outputs[0][:8], training)
        few(start_points(x.shape[1], training, seed)[0])
    return list(side_by_side(train, enumerate(outputs)))


def fit_gp(x: Tensor, y: Tensor, training: Training, seed: int = 0) -> GaussianProcess:
    """The process of greatest likelihood (or posterior) for outputs `y` (n, m) that share a
    kernel."""
    shift, scale = standardisation(y)
    likelihood = Likelihood(x, (y - shift) / scale, training)
    h, nll = maximise(likelihood, start_points(x.shape[1], training, seed))
    return GaussianProcess.of(x, y, h, nll)


def refit(process: GaussianProcess, x: Tensor, y: Tensor, training: Training) -> GaussianProcess:
    """A process for other points (n, input) and outputs (n, output), usually some of those of
    `process`: the search for its kernel begins at that one's, and what cross-validation found
    there is kept. With another number of inputs it begins anew."""
    scales = {k: getattr(process, k)[: y.shape[1]] for k in ("shrink", "inflation")}
    if x.shape[1] != process.x.shape[1]:
        return replace(fit_gp(x, y, training), **scales)
    # The optimum of all points is where the search begins: few iterations suffice.
    short = replace(training, iterations=min(training.iterations, FOLD_ITERATIONS))
    shift, scale = standardisation(y)
    likelihood = Likelihood(x, (y - shift) / scale, short)
    h, nll = maximise(likelihood, [process.hyperparameters.theta])
    tilt = {k: getattr(process, k) for k in ("tilt", "tilt_range")}
    return replace(GaussianProcess.of(x, y, h, nll), **scales, **tilt)


def with_validated_variance(
    process: GaussianProcess, y: Tensor, training: Training, folds: int
) -> GaussianProcess:
    """The process with its variances set by cross-validation with kernels fitted anew.

    With few simulations the kernel of greatest likelihood explains noise away; residuals at points
    that it has not seen tell. With z those residuals over their predicted standard deviation,
    variances are multiplied by the mean of z^2, but not below 1; from `MANY` points on, where
    one output has a kernel of its own, by exp(b + x . w) of greatest likelihood for z. Answers are
    drawn to the mean as far as that predicts those points better.
    """
    n = len(process.x)
    squares, shrink = validated(process, y, training, min(folds, n))
    # A deviation over an estimated spread is Student's t, whose variance is more than 1.
    squares = squares * student_variance(n)
    process = replace(process, shrink=shrink)
    if n < MANY or y.shape[1] > 1:
        return replace(process, inflation=squares.mean(0).clamp(min=1.0))
    level, tilt = fitted_tilt(process.x, squares[:, 0])
    along = process.x @ tilt
    ends = torch.stack([along.min(), along.max()])
    inflation = torch.full_like(process.scale, math.exp(level))
    return replace(process, inflation=inflation, tilt=tilt, tilt_range=ends)


def student_variance(n: int) -> float:
    """Of Student's t with n - 1 degrees of freedom (5 at least)."""
    freedom = max(n - 1, 5)
    return freedom / (freedom - 2)


def validated(
    process: GaussianProcess, y: Tensor, training: Training, folds: int
) -> tuple[Tensor, Tensor]:
    """z^2 at each point from the others, (n, output); and the share of the predicted deviation
    from the mean, within [0, 1], that predicts best, (output,)."""
    order = np.random.default_rng(len(y)).permutation(len(y))
    truth, found, variances = (torch.empty_like(y) for _ in range(3))
    for part in np.array_split(order, folds):
        rest = torch.as_tensor(np.setdiff1d(order, part))
        held = torch.as_tensor(part)
        other = refit(process, process.x[rest], y[rest], training)
        mean, variance, noise = other(process.x[held])
        truth[held], found[held] = y[held] - other.shift, mean - other.shift
        variances[held] = variance + noise
    shrink, others = best_shares(truth, found)
    return (truth - others * found) ** 2 / variances, shrink


def best_shares(
    truth: Float[Tensor, "n output"], found: Float[Tensor, "n output"]
) -> tuple[Float[Tensor, " output"], Float[Tensor, "n output"]]:
    """The share within [0, 1] of `found` that is closest to `truth`, of each output, and that which
    each point's others say. It is 1 where `found` explains all but `UNEXPLAINED` of the squares:
    the few points can't tell it better."""
    along, size = truth * found, found * found
    share = along.sum(0) / size.sum(0).clamp(min=1e-300)
    others = (along.sum(0) - along) / (size.sum(0) - size).clamp(min=1e-300)
    poor = ((truth - found) ** 2).sum(0) > UNEXPLAINED * (truth * truth).sum(0)
    one = torch.ones_like(share)
    share, others = (torch.where(poor, s.clamp(0.0, 1.0), one) for s in (share, others))
    return share, others


def fitted_tilt(x: Tensor, squares: Tensor) -> tuple[float, Tensor]:
    """b and w that minimise mean(b + x . w + z^2 exp(-b - x . w)) + penalty |w|^2 / 2: z ~ N(0,
    exp(b + x . w))."""
    from scipy.optimize import minimize

    inputs, z2 = x.cpu().numpy(), squares.cpu().numpy()

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        log_variance = theta[0] + inputs @ theta[1:]
        scaled = z2 * np.exp(-log_variance)
        pull = (1.0 - scaled) / len(z2)
        value = float((log_variance + scaled).mean() + 0.5 * TILT_PENALTY * (theta[1:] ** 2).sum())
        slope = np.concatenate([[pull.sum()], inputs.T @ pull + TILT_PENALTY * theta[1:]])
        return value, slope

    start = np.zeros(1 + inputs.shape[1])
    start[0] = math.log(max(z2.mean(), 1e-12))
    found = minimize(loss, start, jac=True, method="L-BFGS-B")
    return float(found.x[0]), torch.as_tensor(found.x[1:], dtype=x.dtype, device=x.device)


def _gpytorch_model(process: GaussianProcess) -> gpytorch.models.ExactGP:
    import gpytorch

    h, m = process.hyperparameters, process.alpha.shape[1]
    batch = torch.Size([m])

    class Model(gpytorch.models.ExactGP):
        def __init__(self, x: Tensor, y: Tensor, likelihood: Any) -> None:
            super().__init__(x, y, likelihood)
            matern = gpytorch.kernels.MaternKernel(2.5, ard_num_dims=x.shape[-1])
            linear = gpytorch.kernels.LinearKernel()
            self.mean_module = gpytorch.means.ZeroMean(batch_shape=batch)
            self.covar_module = gpytorch.kernels.ScaleKernel(matern) + linear
            matern.lengthscale = torch.as_tensor(h.lengthscale, dtype=x.dtype)
            self.covar_module.kernels[0].outputscale = h.signal
            linear.variance = max(h.linear, 1e-12)

        def forward(self, x: Tensor) -> Any:
            return gpytorch.distributions.MultivariateNormal(
                self.mean_module(x), self.covar_module(x)
            )

    noise = gpytorch.constraints.GreaterThan(1e-12)
    likelihood = gpytorch.likelihoods.GaussianLikelihood(noise_constraint=noise)
    x = process.x.expand(m, *process.x.shape)
    model = Model(x, process._standardised().T.contiguous(), likelihood).to(process.x)
    likelihood.to(process.x)
    likelihood.noise = h.noise + JITTER
    return model.eval()
