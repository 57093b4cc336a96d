"""Interpolation from one mesh to points: a sparse operator, exact for linear fields, clamped
outside."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from .mesh import Mesh
from .topology import neighbours, oriented, signed_measures, simplices

if TYPE_CHECKING:
    from scipy.sparse import csr_array

INSIDE = -1e-10
FLAT = 1e-14
"""A simplex of less than this times the power of its longest edge has no inside."""
MAX_STEPS = 400
NEAREST, OCTAVES = 16, 2
"""Candidates for the closest facet among those whose sizes lie within two octaves."""


@dataclass(frozen=True, eq=False)
class Transfer:
    """`operator @ values` are the values at the points; `clamped` marks points outside the mesh,
    which got the value of the closest boundary point at `distance` [m]."""

    operator: csr_array
    clamped: Bool[np.ndarray, " point"]
    distance: Float[np.ndarray, " point"]


@dataclass(frozen=True, eq=False)
class Interpolant:
    """A mesh whose cells fill its space, prepared for the location of points.

    Triangles and tetrahedra interpolate linearly (P1), quadrilaterals and hexahedra by their
    isoparametric map (Q1), other cells by the simplices they split into. A walk through a `convex`
    mesh that ends at its boundary says that the point is outside.
    """

    mesh: Mesh
    convex: bool = False

    def __post_init__(self) -> None:
        if self.mesh.cell_dim != self.mesh.dim:
            raise ValueError(
                f"expected cells that fill the space of {self.mesh.dim} dimensions, "
                f"got cells of dimension {self.mesh.cell_dim}"
            )

    @cached_property
    def _split(self) -> tuple[np.ndarray, np.ndarray]:
        cells, parents = simplices(self.mesh)
        # Flat cells hold no point, and no weights can be told in them.
        edges = self.mesh.points[cells[:, 1:]] - self.mesh.points[cells[:, :1]]
        size = np.abs(edges).max(axis=(1, 2), initial=0.0) ** self.mesh.dim
        thick = np.abs(signed_measures(self.mesh.points, cells)) > FLAT * size
        return oriented(self.mesh.points, cells[thick]), parents[thick]

    @cached_property
    def _inverse(self) -> Float[np.ndarray, "simplex dim dim"]:
        """Rows of the inverse edge matrices: barycentric = inverse @ (x - x0)."""
        cells, _ = self._split
        edges = self.mesh.points[cells[:, 1:]] - self.mesh.points[cells[:, :1]]
        if self.mesh.dim == 2:
            (a, b), (c, d) = edges[:, 0].T, edges[:, 1].T
            det = (a * d - b * c)[:, None, None]
            return np.stack([np.stack([d, -c], 1), np.stack([-b, a], 1)], 1) / det
        return np.linalg.inv(edges.swapaxes(1, 2))

    @cached_property
    def _across(self) -> Int[np.ndarray, "simplex corner"]:
        return neighbours(self._split[0])

    @cached_property
    def _rim(self) -> Int[np.ndarray, "facet corner"]:
        """Facets of the boundary."""
        cells, (which, corner) = self._split[0], np.nonzero(self._across < 0)
        rest = np.array([np.delete(np.arange(cells.shape[1]), k) for k in range(cells.shape[1])])
        return cells[which[:, None], rest[corner]]

    @cached_property
    def _tree(self) -> Any:
        """Tree of the points that cells use, with one simplex of each."""
        from scipy.spatial import cKDTree

        cells, _ = self._split
        simplex_of = np.full(len(self.mesh.points), -1)
        simplex_of[cells.ravel()] = np.repeat(np.arange(len(cells)), cells.shape[1])
        used = np.flatnonzero(simplex_of >= 0)
        return cKDTree(self.mesh.points[used], balanced_tree=False), simplex_of[used]

    def _barycentric(self, simplex: np.ndarray, x: np.ndarray) -> Float[np.ndarray, "point corner"]:
        first = self.mesh.points[self._split[0][simplex, 0]]
        inner = np.einsum("nij,nj->ni", self._inverse[simplex], x - first)
        return np.concatenate([1.0 - inner.sum(1, keepdims=True), inner], axis=1)

    def _walk(self, x: np.ndarray, simplex: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Walk from the given simplices towards the points; returns where each walk ended and the
        least barycentric weight there (negative: stopped at the boundary, or gave up)."""
        simplex = simplex.copy()
        least = np.full(len(x), -np.inf)
        active = np.arange(len(x))
        for _ in range(MAX_STEPS):
            here = simplex[active]
            weights = self._barycentric(here, x[active])
            # Column by column: reductions over a short last axis are slow.
            best, way, lowest = (
                np.zeros(len(active)),
                np.full(len(active), -1),
                weights[:, 0].copy(),
            )
            for k in range(weights.shape[1]):
                column, across = weights[:, k], self._across[here, k]
                np.minimum(lowest, column, out=lowest)
                # Leave through the facet of the most negative weight with something behind it.
                better = (column < INSIDE) & (across >= 0) & (column < best)
                best[better] = column[better]
                way[better] = across[better]
            least[active] = lowest
            going = way >= 0
            active = active[going]
            if not len(active):
                break
            simplex[active] = way[going]
        return simplex, least

    def locate(self, x: Float[np.ndarray, "point dim"]) -> tuple[np.ndarray, np.ndarray]:
        """The simplex of each point and whether the point is inside it. Walks that end at a concave
        boundary are started again from other near points."""
        tree, simplex_of = self._tree
        start = simplex_of[tree.query(x)[1]]
        simplex, least = self._walk(x, start)
        for tries in () if self.convex else (4, 16):
            lost = np.flatnonzero(least < INSIDE)
            if not len(lost):
                break
            near = tree.query(x[lost], k=min(tries, len(simplex_of)))[1].reshape(len(lost), -1)
            ends, worth = self._walk(np.repeat(x[lost], near.shape[1], 0), simplex_of[near].ravel())
            worth = worth.reshape(near.shape)
            best = worth.argmax(1)
            rows = np.arange(len(lost))
            better = worth[rows, best] > least[lost]
            simplex[lost[better]] = ends.reshape(near.shape)[rows, best][better]
            least[lost[better]] = worth[rows, best][better]
        return simplex, least >= INSIDE

    def to(self, x: Float[np.ndarray, "point dim"]) -> Transfer:
        """The operator that carries values from the mesh's points to `x`."""
        from scipy.sparse import csr_array

        simplex, inside = self.locate(x)
        cells, parents = self._split
        nodes, weights = cells[simplex].astype(np.int32), self._barycentric(simplex, x)
        distance = np.zeros(len(x))
        outside = np.flatnonzero(~inside)
        if len(outside):
            facet, share, distance[outside] = closest_on_facets(
                self.mesh.points, self._rim, x[outside]
            )
            nodes[outside, : facet.shape[1]] = facet
            weights[outside] = 0.0
            weights[outside, : facet.shape[1]] = share
        weights = np.clip(weights, 0.0, None)
        weights /= weights.sum(1, keepdims=True)
        n, k = nodes.shape
        pointer = np.arange(0, n * k + 1, k)
        operator = csr_array(
            (weights.ravel(), nodes.ravel(), pointer), shape=(n, len(self.mesh.points))
        )
        operator = _with_isoparametric(
            self.mesh, operator, x, np.where(inside, parents[simplex], -1)
        )
        return Transfer(operator, ~inside, distance)


def closest_on_facets(
    points: Float[np.ndarray, "node dim"],
    faces: Int[np.ndarray, "facet corner"],
    x: Float[np.ndarray, "point dim"],
) -> tuple[
    Int[np.ndarray, "point corner"], Float[np.ndarray, "point corner"], Float[np.ndarray, " point"]
]:
    """The facet (point, segment or triangle) closest to each point, the weights of its corners
    there, and the distance. Candidates are, of each size class, the facets with the nearest
    centres, and one at the nearest point.
    """
    from scipy.spatial import cKDTree

    corners = points[faces]
    centres = corners.mean(axis=1)
    radius = np.linalg.norm(corners - centres[:, None], axis=-1).max(axis=1)
    sizes = np.floor(np.log2(np.maximum(radius / max(radius.max(), 1e-300), 1e-12)) / OCTAVES)
    owner = np.zeros(len(points), dtype=np.int64)
    candidates = []
    for size in np.unique(sizes):
        alike = np.flatnonzero(sizes == size)
        k = min(NEAREST, len(alike))
        candidates.append(alike[cKDTree(centres[alike]).query(x, k=k)[1].reshape(len(x), k)])
    used = np.unique(faces)
    nearest = used[cKDTree(points[used]).query(x)[1]]
    for corner in range(faces.shape[1]):
        owner[faces[:, corner]] = np.arange(len(faces))
        candidates.append(owner[nearest][:, None])
    near = np.concatenate(candidates, axis=1)
    weights = _project(points[faces[near]], x)
    offset = np.einsum("pkc,pkcd->pkd", weights, points[faces[near]]) - x[:, None]
    distance = np.linalg.norm(offset, axis=-1)
    best = distance.argmin(1)
    rows = np.arange(len(x))
    return faces[near[rows, best]], weights[rows, best], distance[rows, best]


def _project(corners: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Barycentric weights (point, facet, corner) of the closest point of each facet to its `x`."""
    if corners.shape[2] == 1:
        return np.ones(corners.shape[:3])
    if corners.shape[2] == 2:
        return _project_on_segment(corners[:, :, 0], corners[:, :, 1], x[:, None])
    a, b, c = (corners[:, :, i] for i in range(3))
    ab, ac, ax = b - a, c - a, x[:, None] - a
    d1, d2 = (ab * ax).sum(-1), (ac * ax).sum(-1)
    aa, bb, cross = (ab * ab).sum(-1), (ac * ac).sum(-1), (ab * ac).sum(-1)
    det = np.maximum(aa * bb - cross**2, 1e-300)
    v, w = (bb * d1 - cross * d2) / det, (aa * d2 - cross * d1) / det
    plane = np.stack([1 - v - w, v, w], -1)
    choices = [plane]
    for i, j in ((0, 1), (1, 2), (2, 0)):
        edge = np.zeros_like(plane)
        edge[..., [i, j]] = _project_on_segment(corners[:, :, i], corners[:, :, j], x[:, None])
        choices.append(edge)
    stack = np.stack(choices)
    gap = np.linalg.norm(np.einsum("opkc,pkcd->opkd", stack, corners) - x[:, None], axis=-1)
    gap[0] = np.where((plane >= 0).all(-1), gap[0], np.inf)
    best = gap.argmin(0)
    return np.take_along_axis(stack, best[None, ..., None], axis=0)[0]


def _project_on_segment(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    along = b - a
    t = ((x - a) * along).sum(-1) / np.maximum((along * along).sum(-1), 1e-300)
    t = np.clip(t, 0.0, 1.0)
    return np.stack([1 - t, t], -1)


_SIGNS = {
    "quad": np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]),
    "hexahedron": np.array(
        [[x, y, z] for z in (-1, 1) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    ),
}


def _with_isoparametric(mesh: Mesh, operator: Any, x: np.ndarray, parent: np.ndarray) -> Any:
    """Rows of points in quadrilaterals and hexahedra replaced by the weights of the Q1 map."""
    from scipy.sparse import csr_array, diags_array

    start = 0
    for name, block in mesh.cells.items():
        signs = next((s for kind, s in _SIGNS.items() if name.startswith(kind)), None)
        rows = np.flatnonzero((parent >= start) & (parent < start + len(block)))
        if signs is not None and len(rows):
            corners = block[parent[rows] - start, : len(signs)]
            weights, good = _invert_q1(mesh.points[corners], x[rows], signs)
            rows, corners, weights = rows[good], corners[good], weights[good]
            keep = np.ones(len(x))
            keep[rows] = 0.0
            place = (np.repeat(rows, len(signs)), corners.ravel())
            q1 = csr_array((weights.ravel(), place), shape=operator.shape)
            operator = csr_array(diags_array(keep) @ operator + q1)
        start += len(block)
    return operator


def _invert_q1(
    corners: Float[np.ndarray, "point corner dim"],
    x: Float[np.ndarray, "point dim"],
    signs: np.ndarray,
) -> tuple[Float[np.ndarray, "point corner"], Bool[np.ndarray, " point"]]:
    """Shape functions N_a(xi) = prod_d (1 + s_ad xi_d) / 2 with sum_a N_a x_a = x, by Newton; and
    where it converged inside the cell."""
    d = signs.shape[1]
    xi = np.zeros(x.shape)
    for _ in range(12):
        terms = (1 + signs[None] * xi[:, None]) / 2
        shape = terms.prod(-1)
        slope = np.stack(
            [signs[:, k] / 2 * np.delete(terms, k, axis=-1).prod(-1) for k in range(d)], -1
        )
        jacobian = np.einsum("pad,pae->ped", slope, corners)
        det = np.linalg.det(jacobian)
        jacobian[np.abs(det) < 1e-300] = np.eye(d)
        residual = x - np.einsum("pa,pad->pd", shape, corners)
        xi = np.clip(xi + np.linalg.solve(jacobian, residual[..., None])[..., 0], -2.0, 2.0)
    shape = ((1 + signs[None] * xi[:, None]) / 2).prod(-1)
    miss = np.linalg.norm(np.einsum("pa,pad->pd", shape, corners) - x, axis=1)
    size = np.ptp(corners, axis=1).max(1)
    return shape, (np.abs(xi).max(1) <= 1 + 1e-6) & (miss <= 1e-9 * size)
