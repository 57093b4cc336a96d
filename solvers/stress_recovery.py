"""Stresses at the vertices of a triangulation, from those at its integration points."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True, eq=False)
class Sites:
    """Where values are known, and where they are wanted.

    `triangles` join `vertices` [m], of which `outer` lie on the boundary; `points` [m] are the
    integration points and `weights` [m^2] what each stands for.
    """

    vertices: Float[np.ndarray, "vertex 2"]
    triangles: Int[np.ndarray, "triangle 3"]
    outer: Bool[np.ndarray, " vertex"]
    points: Float[np.ndarray, "triangle point 2"]
    weights: Float[np.ndarray, "triangle point"]


class Recovery(ABC):
    """A way from integration points to vertices."""

    @abstractmethod
    def at_vertices(
        self, sites: Sites, values: Float[np.ndarray, "triangle point component"]
    ) -> Float[np.ndarray, "vertex component"]:
        """The values at `sites.vertices`."""


@dataclass(frozen=True)
class Averaged(Recovery):
    """v_i = sum_t |t| v_t / sum_t |t| over the triangles t at vertex i, v_t their means."""

    def at_vertices(
        self, sites: Sites, values: Float[np.ndarray, "triangle point component"]
    ) -> Float[np.ndarray, "vertex component"]:
        n, ids = len(sites.vertices), sites.triangles.ravel()
        total = np.repeat((sites.weights[..., None] * values).sum(axis=1), 3, axis=0)
        area = np.bincount(ids, np.repeat(sites.weights.sum(axis=1), 3), n)
        return np.column_stack([np.bincount(ids, part, n) / area for part in total.T])


@dataclass(frozen=True)
class Patches(Recovery):
    """A quadratic fitted by least squares to the points around each vertex, read at the vertex.

    Superconvergent patch recovery: O. C. Zienkiewicz, J. Z. Zhu, Int. J. Numer. Methods Eng. 33
    (1992) 1331. The patch is the triangles at the vertex, on the boundary also those at their
    vertices. A point at distance d has the weight exp(-focus d^2 / h^2), h^2 = sqrt(16/3) |t| with
    |t| the mean area of a triangle (so h is its edge).
    """

    focus: float = 2.0

    def at_vertices(
        self, sites: Sites, values: Float[np.ndarray, "triangle point component"]
    ) -> Float[np.ndarray, "vertex component"]:
        vertex, triangle, starts = _patches(sites)
        h = np.sqrt(np.sqrt(16 / 3) * sites.weights.sum() / len(sites.weights))
        x, y = np.moveaxis((sites.points[triangle] - sites.vertices[vertex][:, None]) / h, -1, 0)
        weight = np.exp(-self.focus * (x**2 + y**2))
        terms = np.stack([np.ones_like(x), x, y, x**2, x * y, y**2], axis=-2)
        weighted = terms * weight[:, None]
        normal = np.add.reduceat(weighted @ terms.swapaxes(1, 2), starts)
        right = np.add.reduceat(weighted @ values[triangle], starts)
        # Where a coarse corner has too few points for a quadratic, take the flattest that fits.
        normal[:, range(1, 6), range(1, 6)] += 1e-9 * normal[:, :1, 0]
        return np.linalg.solve(normal, right)[:, 0]


def _patches(
    sites: Sites,
) -> tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"], Int[np.ndarray, " vertex"]]:
    """Pairs of a vertex and a triangle of its patch, by vertex, and where each vertex begins."""
    from scipy.sparse import csr_matrix, diags

    n, ids = len(sites.vertices), sites.triangles.ravel()
    of = np.repeat(np.arange(len(sites.triangles)), 3)
    touch = csr_matrix((np.ones(len(ids)), (ids, of)), (n, len(sites.triangles)))
    wide = diags(sites.outer.astype(float)) @ touch @ touch.T @ touch
    pairs = (touch + wide).tocsr()
    pairs.eliminate_zeros()
    return np.repeat(np.arange(n), np.diff(pairs.indptr)), pairs.indices, pairs.indptr[:-1]


def von_mises(stress: Float[np.ndarray, "point 3"]) -> Float[np.ndarray, " point"]:
    """sqrt(sig11^2 - sig11 sig22 + sig22^2 + 3 sig12^2), of stresses in the plane alone [MPa]."""
    a, b, c = stress.T
    return np.sqrt(a**2 - a * b + b**2 + 3 * c**2)
