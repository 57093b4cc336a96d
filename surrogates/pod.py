"""Snapshot proper orthogonal decomposition (Sirovich 1987), centred, in a weighted inner
product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

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
        n, channels, nodes = snapshots.shape
        mean = snapshots.mean(axis=0)
        snapshots -= mean
        flat = snapshots.reshape(n, -1)
        weighted = _weighted(snapshots, weight).reshape(n, -1)
        values, vectors = np.linalg.eigh(flat @ weighted.T)
        values, vectors = values[::-1], vectors[:, ::-1]
        limit = max(NOISE, tolerance**2) * max(values[0], 1e-300)
        keep = min(count, n - 1, int((values > limit).sum()))
        root = np.sqrt(values[:keep])
        modes = ((vectors[:, :keep] / root).T @ flat).reshape(keep, channels, nodes)
        dual = ((vectors[:, :keep] / root).T @ weighted).reshape(keep, channels, nodes)
        return cls(mean, modes, dual, values[:keep] / max(values.clip(0).sum(), 1e-300))

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


def _weighted(
    snapshots: Float[np.ndarray, "case channel node"], weight: csr_array | None
) -> Float[np.ndarray, "case channel node"]:
    if weight is None:
        return snapshots
    n, channels, nodes = snapshots.shape
    return (weight @ snapshots.reshape(-1, nodes).T).T.reshape(n, channels, nodes)
