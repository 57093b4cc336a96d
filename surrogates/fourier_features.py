"""Fields from scattered observations, with derivatives: ridge regression on random Fourier
features, cos(B x + phi) with normal B (Rahimi and Recht 2007, Adv. Neural Inf. Process. Syst. 20).

Derivatives of features are features with another phase, so that those of the interpolant are exact;
whether they are right depends on the spread of B, which held-out observations choose: too small
smooths, too large oscillates between the observations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Points = Float[np.ndarray, "point dim"]
Values = Float[np.ndarray, "point output"]


@dataclass(frozen=True)
class FourierFeatures:
    """The recipe. `spreads` are standard deviations of B in units in which the longest side of the
    box around the observations, or the longest of the `periods`, is 2 pi; with the `ridges`, in
    units of a feature's square, the pair that errs least at a share `held_out` of the observations
    is taken. With `periods`, one a coordinate, B has whole waves alone: nothing ends."""

    features: int = 800
    spreads: Sequence[float] = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)
    ridges: Sequence[float] = (1e-14, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2)
    held_out: float = 0.2
    periods: Sequence[float] | None = None

    def fit(self, points: Points, values: Values, seed: int = 0) -> Interpolant:
        """
        Raises:
            ValueError: as many values as points are needed, at least 10, all finite.
        """
        if len(points) != len(values) or len(points) < 10 or not np.isfinite(values).all():
            raise ValueError(
                f"expected a finite value at each of at least 10 points, got {len(values)} values "
                f"at {len(points)}"
            )
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(points))
        count = max(1, round(self.held_out * len(points)))
        test, train = order[:count], order[count:]
        drawn = rng.normal(size=(points.shape[1], self.features))
        phase = rng.uniform(0.0, 2.0 * np.pi, self.features)
        mean = values.mean(axis=0)
        best, least = (self.spreads[0], self.ridges[0]), np.inf
        for spread in self.spreads:
            basis = Basis(self._waves(points, spread * drawn), phase)
            one, other = basis.at(points[train]), basis.at(points[test])
            solved = _ridge(one, values[train] - mean, self.ridges)
            for ridge, weights in zip(self.ridges, solved, strict=True):
                missed = float(np.square(other @ weights + mean - values[test]).mean())
                if missed < least:
                    best, least = (spread, ridge), missed
        basis = Basis(self._waves(points, best[0] * drawn), phase)
        weights = _ridge(basis.at(points), values - mean, best[1:])[0]
        spread = float(np.square(values[test] - mean).mean())
        return Interpolant(basis, weights, mean, best[0], math.sqrt(least / max(spread, 1e-300)))

    def _waves(self, points: Points, drawn: np.ndarray) -> np.ndarray:
        """B of what was drawn with its spread."""
        if self.periods is None:
            return drawn * (2.0 * np.pi / float(np.ptp(points, axis=0).max()))
        own = 2.0 * np.pi / np.asarray(self.periods)[:, None]
        return own * np.round(drawn * (own.min() / own))


def _ridge(phi: np.ndarray, y: np.ndarray, ridges: Sequence[float]) -> list[np.ndarray]:
    """Weights for each ridge, by one decomposition."""
    u, s, vt = np.linalg.svd(phi, full_matrices=False)
    pulled = u.T @ y
    return [vt.T @ ((s / (s**2 + len(phi) * r))[:, None] * pulled) for r in ridges]


@dataclass(frozen=True, eq=False)
class Basis:
    """cos(B x + phi)."""

    b: Float[np.ndarray, "dim feature"]
    phase: Float[np.ndarray, " feature"]

    def at(
        self, points: Points, orders: Sequence[int] | None = None
    ) -> Float[np.ndarray, "point feature"]:
        """Features, or their derivative of `orders` along each coordinate: each order multiplies by
        b and turns the phase by a quarter."""
        orders = orders or [0] * len(self.b)
        factor = np.prod([b**n for b, n in zip(self.b, orders, strict=True)], axis=0)
        turned: np.ndarray = factor * np.cos(
            points @ self.b + self.phase + 0.5 * np.pi * sum(orders)
        )
        return turned


@dataclass(frozen=True, eq=False)
class Interpolant:
    """A field; `error` is the relative root mean square at the observations that were held out."""

    basis: Basis
    weights: Float[np.ndarray, "feature output"]
    mean: Float[np.ndarray, " output"]
    spread: float
    error: float

    def __call__(self, points: Points, orders: Sequence[int] | None = None) -> Values:
        """Values, or derivatives of `orders` along each coordinate."""
        found = self.basis.at(points, orders) @ self.weights
        return found if orders and any(orders) else found + self.mean
