"""What a model of a system leaves out, as an equation: sparse discovery of the model's error.

Mojgani, Chattopadhyay and Hassanzadeh 2022 (MEDIDA, arXiv:2110.00546): one step of the model from
an analysed state misses the next one by [x(t + h) - M(x(t))] / h = Phi(x) c, with few c that are
not 0. They are found by relevance vector regression (Tipping 2001, J. Mach. Learn. Res. 1, 211),
its threshold swept, and the number of terms taken at the knee of the error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

State = Float[np.ndarray, "..."]
Terms = Mapping[str, Float[np.ndarray, "..."]]
"""Candidates by name, each with one number at each place."""
Library = Callable[[State], Terms]
SWEEP = tuple(float(t) for t in np.logspace(-7, 4, 45))
"""Up to 1e4: a term of less than about 1 % of the error's spread is not told from what the finite
interval makes of the others."""
FLOOR = 1e-28
"""Share of the variance that counts as no error at all: numbers have 16 digits."""


def model_error(
    before: State, after: State, model: Callable[[State], State], interval: float
) -> State:
    """[x(t + h) - M(x(t))] / h from states `before` and `after` an `interval` h."""
    if before.shape != after.shape or interval <= 0:
        raise ValueError(
            f"expected states of one shape and an interval above 0, got {before.shape}, "
            f"{after.shape} and {interval}"
        )
    return (after - model(before)) / interval


def between(library: Library, before: State, after: State) -> Terms:
    """Terms half way through the interval, the mean of both ends: the error of a coefficient is
    then of second order in the interval, at the start alone of first."""
    one, other = library(before), library(after)
    return {k: 0.5 * (one[k] + other[k]) for k in one}


@dataclass(frozen=True)
class Equation:
    """A sum of terms: coefficients by name, and their standard deviations under the regression's
    own noise. `error` is the share of the variance that it leaves."""

    coefficients: Mapping[str, float]
    std: Mapping[str, float]
    error: float

    def __str__(self) -> str:
        parts = [f"{'-' if c < 0 else '+'} {abs(c):.4g} {k}" for k, c in self.coefficients.items()]
        return " ".join(parts).removeprefix("+ ") or "0"

    def closure(self, library: Library) -> Callable[[State], State]:
        """What a solver adds to its tendency."""
        return Discovered(self, library)

    def of(self, terms: Terms) -> State:
        """The sum."""
        first = next(iter(terms.values()))
        total = np.zeros(first.shape)
        for name, c in self.coefficients.items():
            total += c * terms[name]
        return total


NOTHING = Equation({}, {}, 1.0)


@dataclass(frozen=True)
class Discovered:
    """The tendency that an equation tells, from a state."""

    equation: Equation
    library: Library

    def __call__(self, state: State) -> State:
        return self.equation.of(self.library(state))


@dataclass(frozen=True)
class Medida:
    """The recipe: terms whose precision exceeds a threshold are pruned, in units in which terms and
    error have variance 1; each of the `thresholds` gives an equation, the knee chooses."""

    thresholds: Sequence[float] = SWEEP
    iterations: int = 200

    def discover(self, terms: Terms, error: State) -> Equation:
        """The equation at the knee.

        Raises:
            ValueError: terms of another shape than the error, or not finite.
        """
        return knee(self.path(terms, error))

    def path(self, terms: Terms, error: State) -> list[Equation]:
        """The best equation of each number of terms that a threshold gave, fewest first, from none
        to least squares of all."""
        problem = _Problem.of(terms, error)
        every = problem.equation(np.inf, 1)
        found = {0: NOTHING, len(every.coefficients): every}
        for threshold in sorted(self.thresholds):
            own = problem.equation(threshold, self.iterations)
            kept = found.get(len(own.coefficients))
            if kept is None or own.error < kept.error:
                found[len(own.coefficients)] = own
        return [found[n] for n in sorted(found)]


def knee(path: Sequence[Equation]) -> Equation:
    """The equation furthest below the line from the first to the last in (number of terms, log
    error): from there on terms bring little (Satopaa et al. 2011, doi:10.1109/ICDCSW.2011.20)."""
    counts = np.array([len(e.coefficients) for e in path], dtype=float)
    heights = np.log([max(e.error, FLOOR) for e in path])
    if len(path) < 3:
        return path[-1]
    slope = (heights[-1] - heights[0]) / (counts[-1] - counts[0])
    return path[int(np.argmin(heights - heights[0] - slope * (counts - counts[0])))]


@dataclass(frozen=True, eq=False)
class _Problem:
    """A regression in scaled units, by its normal equations: G = Phi^T Phi, b = Phi^T y."""

    names: tuple[str, ...]
    count: int
    gram: Float[np.ndarray, "term term"]
    pull: Float[np.ndarray, " term"]
    scale: Float[np.ndarray, " term"]

    @classmethod
    def of(cls, terms: Terms, error: State) -> _Problem:
        """Terms and error less their means, over their spreads; terms that are constant are left
        out, the mean of the error is not explained."""
        for name, values in terms.items():
            if values.shape != error.shape or not np.isfinite(values).all():
                raise ValueError(
                    f"expected finite terms of the error's shape {error.shape}, got {name!r} of "
                    f"{values.shape}"
                )
        y = (error - error.mean()).ravel()
        spread = {k: float(v.std()) for k, v in terms.items()}
        largest = {k: float(np.abs(v).max()) for k, v in terms.items()}
        names = tuple(k for k in terms if spread[k] > 1e-12 * largest[k])
        columns = [(terms[k].ravel() - terms[k].mean()) / spread[k] for k in names]
        phi = np.stack(columns, axis=1)
        size = float(y.std())
        if size == 0:
            raise ValueError("expected an error of the model that varies, got none at all")
        scale = np.array([size / spread[k] for k in names])
        return cls(names, len(y), phi.T @ phi, phi.T @ (y / size), scale)

    def equation(self, threshold: float, iterations: int) -> Equation:
        """The fixed point of the precisions alpha of the coefficients and beta of the noise."""
        kept = np.arange(len(self.names))
        alpha, beta = np.full(len(kept), 1e-6), 100.0
        mu: np.ndarray = np.zeros(0)
        sigma: np.ndarray = np.zeros((0, 0))
        for _ in range(iterations):
            gram, pull = self.gram[np.ix_(kept, kept)], self.pull[kept]
            sigma = np.linalg.inv(beta * gram + np.diag(alpha))
            mu = beta * sigma @ pull
            gamma = np.clip(1.0 - alpha * np.diag(sigma), 1e-12, 1.0)
            renewed = gamma / np.maximum(mu**2, 1e-300)
            beta = (self.count - gamma.sum()) / (self.count * self._left(kept, mu))
            stays = renewed < threshold
            change = np.abs(np.log(renewed / alpha)).max(initial=0.0)
            kept, alpha = kept[stays], renewed[stays]
            if not len(kept):
                return NOTHING
            if stays.all() and change < 1e-6:
                break
        return self._told(kept, mu, sigma)

    def _left(self, kept: np.ndarray, mu: np.ndarray) -> float:
        """The share of the variance that stays, at least what rounding leaves."""
        gram, pull = self.gram[np.ix_(kept, kept)], self.pull[kept]
        return max(float(1.0 - (2.0 * mu @ pull - mu @ gram @ mu) / self.count), 1e-13)

    def _told(self, kept: np.ndarray, mu: np.ndarray, sigma: np.ndarray) -> Equation:
        if len(mu) != len(kept):
            return NOTHING
        names = [self.names[i] for i in kept]
        values, std = mu * self.scale[kept], np.sqrt(np.diag(sigma)) * self.scale[kept]
        return Equation(
            dict(zip(names, values.tolist(), strict=True)),
            dict(zip(names, std.tolist(), strict=True)),
            self._left(kept, mu),
        )


@dataclass(frozen=True)
class LineLibrary:
    """u^p times the derivatives of u of order d along a periodic line, p and d up to `powers` and
    `derivatives`, without the constant; names as "u^2 u_xx"."""

    length: float
    powers: int = 4
    derivatives: int = 4

    def __call__(self, state: Float[np.ndarray, "member point"]) -> Terms:
        points = state.shape[-1]
        k = 2.0 * np.pi / self.length * np.arange(points // 2 + 1)
        spectrum = np.fft.rfft(state)
        found = {}
        for d in range(self.derivatives + 1):
            slope = np.fft.irfft((1j * k) ** d * spectrum, n=points) if d else np.ones_like(state)
            for p in range(self.powers + 1):
                if p or d:
                    found[_name(p, d)] = state**p * slope
        return found


def _name(p: int, d: int) -> str:
    parts = [["", "u"][p] if p < 2 else f"u^{p}", f"u_{'x' * d}" if d else ""]
    return " ".join(part for part in parts if part)
