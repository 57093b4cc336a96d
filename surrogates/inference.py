"""Posteriors of a few parameters from a series that was measured: what the data can tell, the exact
grid, the most probable place, and Hamiltonian Monte Carlo.

Measured y (time,) is normal about a model's V(p) with a standard deviation of sigma^2 + s(t)^2, s
that of the model itself; sigma is a parameter, the last one, by its logarithm. All chains, starts
and grid points are rows of one batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.func import jacrev, vmap

Model = Callable[[Float[Tensor, "row parameter"]], Float[Tensor, "row time"]]
SIGMA = "sigma"
CHAINS = 4
"""That independent draws are told as."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """A `model` that was measured as `data` [its unit], with uniform priors within `bounds` of its
    parameters, and of log sigma within those of `sigma`; `own` is the model's own standard
    deviation."""

    model: Model
    data: Float[Tensor, " time"]
    bounds: Mapping[str, tuple[float, float]]
    sigma: tuple[float, float]
    own: Float[Tensor, " time"] = field(default_factory=lambda: torch.zeros(1))

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters, then "sigma"."""
        return (*self.bounds, SIGMA)

    @property
    def limits(self) -> tuple[Float[Tensor, " column"], Float[Tensor, " column"]]:
        """Of parameters and log sigma."""
        rows = [*self.bounds.values(), (math.log(self.sigma[0]), math.log(self.sigma[1]))]
        low, high = torch.tensor(rows, dtype=torch.float64).T
        return low, high

    @property
    def logarithmic(self) -> Float[Tensor, " column"]:
        """1 for parameters that are sampled by their logarithm: positive ones, not log sigma."""
        low, _ = self.limits
        found = (low > 0.0).double()
        found[-1] = 0.0
        return found

    def placed(self, z: Float[Tensor, "row column"]) -> Float[Tensor, "row column"]:
        """From what is sampled to parameters and log sigma."""
        return torch.where(self.logarithmic > 0.0, z.exp(), z)

    def log_likelihood(self, x: Float[Tensor, "row column"]) -> Float[Tensor, " row"]:
        """log p(y | x) of rows of parameters and log sigma."""
        variance = (2.0 * x[:, -1:]).exp() + self.own.square()
        gap = self.data - self.model(x[:, :-1])
        return -0.5 * (gap.square() / variance + (2.0 * math.pi * variance).log()).sum(dim=1)

    def log_density(self, z: Float[Tensor, "row column"]) -> Float[Tensor, " row"]:
        """Of z, whose `placed` is uniform a priori: as if there were no limits, whose outside
        `inside` tells, so that paths may lead through it."""
        return self.log_likelihood(self.placed(z)) + (self.logarithmic * z).sum(dim=1)

    def inside(self, z: Float[Tensor, "row column"]) -> Bool[Tensor, " row"]:
        """Whether all lies within the limits."""
        (low, high), x = self.limits, self.placed(z)
        return ((x >= low) & (x <= high)).all(dim=1)

    @property
    def drawn_limits(self) -> tuple[Float[Tensor, " column"], Float[Tensor, " column"]]:
        """Of z."""
        logs = self.logarithmic > 0.0
        low, high = (torch.where(logs, x.abs().log(), x) for x in self.limits)
        return low, high

    def drawn(self, count: int, generator: torch.Generator) -> Float[Tensor, "row column"]:
        """z at random places within the limits."""
        low, high = self.limits
        unit = torch.rand(count, len(low), generator=generator, dtype=torch.float64)
        x = low + (high - low) * unit
        return torch.where(self.logarithmic > 0.0, x.log(), x)


@dataclass(frozen=True, eq=False)
class Draws:
    """What is drawn from a posterior: `values` (chain, draw, column) of `names`, with sigma in the
    data's unit, and the share of steps that were `accepted`."""

    names: tuple[str, ...]
    values: Float[np.ndarray, "chain draw column"]
    accepted: float = 1.0

    def of(self, name: str) -> Float[np.ndarray, "chain draw"]:
        """One parameter."""
        return self.values[:, :, self.names.index(name)]

    def interval(self, name: str, level: float = 0.9) -> tuple[float, float]:
        """The middle share `level`."""
        low, high = np.quantile(self.of(name), [0.5 - level / 2.0, 0.5 + level / 2.0])
        return float(low), float(high)

    def r_hat(self, name: str) -> float:
        """The split potential scale reduction (Gelman et al. 2013); 1 where chains agree."""
        x = _halves(self.of(name))
        draws = x.shape[1]
        within, between = x.var(axis=1, ddof=1).mean(), draws * x.mean(axis=1).var(ddof=1)
        return float(np.sqrt((draws - 1) / draws + between / within / draws))

    def effective(self, name: str) -> float:
        """The effective sample size by autocorrelations of all chains, summed while pairs of them
        are positive (Geyer 1992, doi:10.1214/ss/1177011137; Vehtari et al. 2021,
        doi:10.1214/20-BA1221)."""
        x = _halves(self.of(name))
        chains, draws = x.shape
        centred = x - x.mean(axis=1, keepdims=True)
        spectrum = np.abs(np.fft.rfft(centred, 2 * draws, axis=1)) ** 2
        covariance = np.fft.irfft(spectrum, axis=1)[:, :draws].mean(axis=0) / draws
        within = covariance[0] * draws / (draws - 1.0)
        total = within * (draws - 1.0) / draws + x.mean(axis=1).var(ddof=1)
        rho = 1.0 - (within - covariance) / total
        rho[0] = 1.0
        pairs = rho[: draws // 2 * 2].reshape(-1, 2).sum(axis=1)
        ends = np.flatnonzero(pairs <= 0.0)
        kept = np.minimum.accumulate(pairs[: ends[0] if len(ends) else len(pairs)])
        return float(chains * draws / max(2.0 * kept.sum() - 1.0, 1.0 / math.log10(x.size)))


def _halves(x: Float[np.ndarray, "chain draw"]) -> Float[np.ndarray, "half part"]:
    """Each chain as two, so that one that drifts disagrees with itself."""
    half = x.shape[1] // 2
    return np.concatenate([x[:, :half], x[:, -half:]])


@dataclass(frozen=True, eq=False)
class Identifiability:
    """What data of noise sigma tell at one place: `std` and `correlation` of the parameters by
    Fisher's information, before any prior."""

    names: tuple[str, ...]
    std: Float[np.ndarray, " parameter"]
    correlation: Float[np.ndarray, "parameter parameter"]


def identifiability(
    posterior: Posterior, place: Mapping[str, float], sigma: float
) -> Identifiability:
    """At a place, for noise of a standard deviation `sigma`: the information J' J / (sigma^2 +
    s^2)."""
    x = torch.tensor([[place[k] for k in posterior.bounds]], dtype=torch.float64)
    j = jacrev(lambda p: posterior.model(p[None])[0])(x[0])
    weights = 1.0 / (sigma**2 + posterior.own.square())
    covariance = torch.linalg.pinv(j.T @ (j * weights.expand(len(j))[:, None]), hermitian=True)
    std = covariance.diagonal().clamp(min=0.0).sqrt()
    correlation = covariance / torch.outer(std, std).clamp(min=1e-300)
    return Identifiability(tuple(posterior.bounds), std.numpy(), correlation.numpy())


def exact(posterior: Posterior, each: int = 40, draws: int = 4000, seed: int = 0) -> Draws:
    """Independent draws from a grid of `each` cells a column over what holds all but 1e-9 of the
    probability, which coarser grids find; within cells uniformly. For up to three parameters.

    Raises:
        ValueError: more parameters.
    """
    return Cells.of(posterior, each).drawn(posterior, draws, seed)


@dataclass(frozen=True, eq=False)
class Cells:
    """A grid's middles, the log likelihood there, and the size of a cell."""

    rows: Float[Tensor, "row column"]
    levels: Float[Tensor, " row"]
    size: Float[Tensor, " column"]

    @classmethod
    def of(cls, posterior: Posterior, each: int) -> Cells:
        """Over what holds all but 1e-9 of the probability.

        Raises:
            ValueError: more than three parameters.
        """
        low, high = posterior.limits
        if len(low) > 4:
            raise ValueError(
                f"expected up to three parameters on a grid, got {len(low) - 1}; use `Hamiltonian`"
            )
        for _ in range(4):
            found = cls._within(posterior, low, high, each)
            kept = found.rows[found.shares > 1e-9 / len(found.rows)]
            low = torch.maximum(low, kept.amin(dim=0) - found.size)
            high = torch.minimum(high, kept.amax(dim=0) + found.size)
        return cls._within(posterior, low, high, each)

    @classmethod
    def _within(cls, posterior: Posterior, low: Tensor, high: Tensor, each: int) -> Cells:
        """The model is asked once for all values of sigma."""
        middles = (torch.arange(each, dtype=torch.float64) + 0.5) / each
        *sides, sigma = [a + (b - a) * middles for a, b in zip(low, high, strict=True)]
        places = torch.cartesian_prod(*sides).reshape(each ** len(sides), -1)
        variance = (2.0 * sigma).exp()[:, None] + posterior.own.square()
        variance = variance.expand(each, len(posterior.data))
        parts = [
            (posterior.data - posterior.model(part)).square() @ variance.reciprocal().T
            for part in places.split(2**14)
        ]
        found = -0.5 * (torch.cat(parts) + (2.0 * math.pi * variance).log().sum(dim=1)).ravel()
        rows = torch.cat([places.repeat_interleave(each, 0), sigma.repeat(len(places))[:, None]], 1)
        return cls(rows, found, (high - low) / each)

    def drawn(self, posterior: Posterior, draws: int, seed: int) -> Draws:
        """Independent draws."""
        generator = torch.Generator().manual_seed(seed)
        picked = self.rows[torch.multinomial(self.shares, draws, True, generator=generator)]
        jitter = torch.rand(picked.shape, generator=generator, dtype=torch.float64) - 0.5
        x = (picked + jitter * self.size)[: draws // CHAINS * CHAINS]
        return _told(posterior, x.unflatten(0, (CHAINS, -1)), 1.0)

    @property
    def shares(self) -> Float[Tensor, " row"]:
        """Of the probability."""
        return self.levels.softmax(dim=0)


def _told(posterior: Posterior, x: Float[Tensor, "chain draw column"], accepted: float) -> Draws:
    values = x.numpy().copy()
    values[:, :, -1] = np.exp(values[:, :, -1])
    return Draws(posterior.names, values, accepted)


@dataclass(frozen=True)
class Hamiltonian:
    """Hamiltonian Monte Carlo (Neal 2011, arXiv:1206.1901) with `chains` side by side, in numbers
    that are whitened by the curvature at the most probable place; `leaps` of about `reach` in all
    for a step."""

    chains: int = 256
    draws: int = 200
    warm_up: int = 50
    leaps: int = 4
    reach: float = 1.5
    starts: int = 2000

    def drawn(self, posterior: Posterior, seed: int = 0) -> Draws:
        """Draws of all chains after the warm-up."""
        generator = torch.Generator().manual_seed(seed)
        best = most_probable(posterior, self.starts, generator)
        factor = whitening(posterior, best)

        def value(w: Tensor) -> Tensor:
            return posterior.log_density(best + w @ factor.T)

        w = torch.randn(self.chains, len(best), generator=generator, dtype=torch.float64)
        # Chains whose start lies outside begin at the most probable place.
        w = torch.where(posterior.inside(best + w @ factor.T)[:, None], w, torch.zeros_like(w))
        found, accepted = [], 0.0
        level, slope = _with_slope(value, w)
        for step in range(self.warm_up + self.draws):
            momentum = torch.randn(w.shape, generator=generator, dtype=torch.float64)
            # Lengths at random, so that no orbit closes.
            size = self.reach / self.leaps * (0.7 + 0.6 * torch.rand(1, generator=generator).item())
            new, kick, ahead, rise = w, momentum + 0.5 * size * slope, level, slope
            for leap in range(self.leaps):
                new = new + size * kick
                ahead, rise = _with_slope(value, new)
                kick = kick + (size if leap < self.leaps - 1 else 0.5 * size) * rise
            gain = ahead - level + 0.5 * (momentum.square() - kick.square()).sum(dim=1)
            chance = torch.rand(self.chains, generator=generator, dtype=torch.float64).log()
            taken = chance < gain.nan_to_num(-math.inf, -math.inf, -math.inf)
            taken &= posterior.inside(best + new @ factor.T)
            w = torch.where(taken[:, None], new, w)
            level = torch.where(taken, ahead, level)
            slope = torch.where(taken[:, None], rise, slope)
            if step >= self.warm_up:
                found.append(w)
                accepted += float(taken.double().mean()) / self.draws
        z = best + torch.stack(found, dim=1) @ factor.T
        x = posterior.placed(z.flatten(0, 1)).unflatten(0, z.shape[:2])
        return _told(posterior, x, accepted)


def _with_slope(value: Callable[[Tensor], Tensor], w: Tensor) -> tuple[Tensor, Tensor]:
    own = w.detach().requires_grad_()
    level = value(own)
    (slope,) = torch.autograd.grad(level.sum(), own)
    return level.detach(), slope


def _curvature(posterior: Posterior, z: Float[Tensor, "row column"]) -> Tensor:
    """Gauss and Newton's, of each row: J' J / variance of standardised gaps, that of log sigma in
    closed form, and that of the prior."""

    def fit(one: Tensor) -> Tensor:
        return posterior.model(posterior.placed(one[None])[:, :-1])[0]

    j = vmap(jacrev(fit))(z)
    x = posterior.placed(z)
    noise = (2.0 * x[:, -1]).exp()[:, None]
    variance = noise + posterior.own.square()
    variance = variance.expand(len(z), j.shape[1])
    found = j.mT @ (j / variance[:, :, None])
    found[:, -1, -1] += 2.0 * (noise / variance).square().sum(dim=1)
    # No wider than the limits, where data say nothing.
    low, high = posterior.drawn_limits
    return found + torch.diag(12.0 / (high - low).square())


def most_probable(
    posterior: Posterior, starts: int, generator: torch.Generator, keep: int = 16, steps: int = 40
) -> Float[Tensor, " column"]:
    """The z of the largest density: damped steps of Gauss and Newton from the best `keep` of so
    many random starts."""
    z = posterior.drawn(starts, generator)
    low, high = posterior.drawn_limits
    z = z[posterior.log_density(z).topk(keep).indices]
    damping = torch.full((keep,), 1e-2, dtype=torch.float64)
    for _ in range(steps):
        level, slope = _with_slope(posterior.log_density, z)
        system = _curvature(posterior, z)
        shift = damping[:, None] * system.diagonal(dim1=1, dim2=2)
        move = torch.linalg.solve(system + torch.diag_embed(shift), slope[:, :, None])[:, :, 0]
        new = torch.minimum(torch.maximum(z + move, low), high)
        better = posterior.log_density(new) > level
        z = torch.where(better[:, None], new, z)
        damping = torch.where(better, 0.3 * damping, 4.0 * damping).clamp(1e-9, 1e9)
    return z[posterior.log_density(z).argmax()]


def whitening(posterior: Posterior, best: Float[Tensor, " column"]) -> Tensor:
    """L with L L' the inverse of the curvature."""
    system = _curvature(posterior, best[None])[0]
    return torch.linalg.cholesky(torch.linalg.inv(0.5 * (system + system.T)))
