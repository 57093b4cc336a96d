"""Snapshot proper orthogonal decomposition (Sirovich 1987), centred, in a weighted inner
product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

if TYPE_CHECKING:
    from scipy.sparse import csr_array

NOISE = 1e-13
"""Eigenvalues below this share of the largest are rounding, not data."""


@dataclass(frozen=True, eq=False)
class Pod:
    """s = mean + sum_k a_k modes_k with modes orthonormal in <u, v> = sum_c u_c^T M v_c.

    `mean` has shape (channel, node), `modes` (mode, channel, node), `dual` = M modes for encoding,
    `energy` is the share of the variance that each mode carries.
    """

    mean: Float[np.ndarray, "channel node"]
    modes: Float[np.ndarray, "mode channel node"]
    dual: Float[np.ndarray, "_mode channel node"]
    energy: Float[np.ndarray, " mode"]

    @classmethod
    def fit(
        cls,
        snapshots: Float[np.ndarray, "case channel node"],
        count: int,
        weight: csr_array | None = None,
        tolerance: float = 0.0,
    ) -> Pod:
        """At most `count` modes of the snapshots; modes whose amplitude is below `tolerance` times
        that of the first are left out. `weight` is M (None: the identity). The snapshots are
        centred in place."""
        return Snapshots.of(snapshots, weight).pod(count, tolerance)

    def encode(
        self, snapshots: Float[np.ndarray, "case channel node"]
    ) -> Float[np.ndarray, "case mode"]:
        """Coefficients a_k = <s - mean, modes_k>."""
        n, keep = len(snapshots), len(self.modes)
        return (snapshots - self.mean).reshape(n, -1) @ self.dual.reshape(keep, self.mean.size).T

    def decode(self, a: Float[np.ndarray, "case mode"]) -> Float[np.ndarray, "case channel node"]:
        """Snapshots from coefficients."""
        flat = a @ self.modes.reshape(len(self.modes), self.mean.size)
        return flat.reshape(len(a), *self.mean.shape) + self.mean

    def left_out(
        self, snapshots: Float[np.ndarray, "case channel node"], weight: csr_array | None
    ) -> Float[np.ndarray, " case"]:
        """The norm of what the modes leave out."""
        rest = snapshots - self.decode(self.encode(snapshots))
        squares = (rest * _weighted(rest, weight)).sum(axis=(1, 2))
        return np.sqrt(np.maximum(squares, 0.0))


@dataclass(frozen=True, eq=False)
class Snapshots:
    """Snapshots less their `mean`, times M, and their inner products `gram`."""

    mean: Float[np.ndarray, "channel node"]
    centred: Float[np.ndarray, "case channel node"]
    weighted: Float[np.ndarray, "case channel node"]
    gram: Float[np.ndarray, "case case"]

    @classmethod
    def of(
        cls, snapshots: Float[np.ndarray, "case channel node"], weight: csr_array | None
    ) -> Snapshots:
        """The snapshots are centred in place."""
        mean = snapshots.mean(axis=0)
        snapshots -= mean
        weighted = _weighted(snapshots, weight)
        n = len(snapshots)
        return cls(mean, snapshots, weighted, snapshots.reshape(n, -1) @ weighted.reshape(n, -1).T)

    def pod(self, count: int, tolerance: float = 0.0) -> Pod:
        """As `Pod.fit`."""
        values, vectors = _eigen(self.gram, count, tolerance)
        n, keep = vectors.shape
        weights = (vectors / np.sqrt(values)).T
        modes, dual = (
            (weights @ flat.reshape(n, -1)).reshape(keep, *self.mean.shape)
            for flat in (self.centred, self.weighted)
        )
        return Pod(self.mean, modes, dual, values / max(float(np.trace(self.gram)), 1e-300))

    def left_out(self, count: int, folds: int) -> Float[np.ndarray, " case"]:
        """The norm of what at most `count` modes of the others leave out of each snapshot, a fold
        at a time."""
        n = len(self.gram)
        order = np.random.default_rng(n).permutation(n)
        rest = -held_out(self.gram, np.array_split(order, min(folds, n)), count)
        rest[np.arange(n), order] += 1.0
        norms = np.empty(n)
        norms[order] = np.sqrt(np.maximum(((rest @ self.gram) * rest).sum(axis=1), 0.0))
        return norms


def held_out(
    gram: Float[np.ndarray, "case case"], parts: Sequence[Int[np.ndarray, " _held"]], count: int
) -> Float[np.ndarray, "_held case"]:
    """Weights w_ij with which sum_j w_ij s_j is snapshot i, projected on at most `count` modes of
    the snapshots outside its part; one row per member of the parts, in their order."""
    rows = []
    for part in parts:
        rest = np.setdiff1d(np.arange(len(gram)), part)
        inner = gram[np.ix_(rest, rest)]
        across = gram[np.ix_(part, rest)]
        # Inner products of differences from the mean of the rest.
        middle = inner.mean(axis=0)
        across = across - across.mean(axis=1, keepdims=True) - middle + middle.mean()
        inner = inner - middle - middle[:, None] + middle.mean()
        values, vectors = _eigen(inner, count)
        weights = across @ (vectors / values) @ vectors.T
        row = np.zeros((len(part), len(gram)))
        row[:, rest] = weights - weights.mean(axis=1, keepdims=True) + 1.0 / len(rest)
        rows.append(row)
    return np.concatenate(rows)


def _eigen(
    gram: Float[np.ndarray, "case case"], count: int, tolerance: float = 0.0
) -> tuple[Float[np.ndarray, " mode"], Float[np.ndarray, "case mode"]]:
    """The largest eigenvalues that are data, at most `count`, and their vectors."""
    from scipy.linalg import eigh

    n = len(gram)
    last = [max(n - max(count, 1), 0), n - 1]
    values, vectors = eigh(gram, subset_by_index=last, check_finite=False)
    values, vectors = values[::-1], vectors[:, ::-1]
    limit = max(NOISE, tolerance**2) * max(values[0], 1e-300)
    keep = min(count, n - 1, int((values > limit).sum()))
    return values[:keep], vectors[:, :keep]


def _weighted(
    snapshots: Float[np.ndarray, "case channel node"], weight: csr_array | None
) -> Float[np.ndarray, "case channel node"]:
    if weight is None:
        return snapshots
    n, channels, nodes = snapshots.shape
    return (weight @ snapshots.reshape(-1, nodes).T).T.reshape(n, channels, nodes)
