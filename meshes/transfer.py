"""Interpolation from one mesh to points: a sparse operator, exact for linear fields, clamped
outside."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from .mesh import Mesh
from .topology import facets_of, neighbours, signed_measures

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
    def _split(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Simplices, the cell that each came from, and their neighbours."""
        mesh = self.mesh
        cells, parents = mesh.simplices
        # Flat cells hold no point, and no weights can be told in them.
        size = np.zeros(len(cells))
        for column in mesh.points.T:
            np.maximum(size, np.ptp(np.ascontiguousarray(column)[cells.T], axis=0), out=size)
        size **= mesh.dim
        thick = np.abs(signed_measures(mesh.points, cells)) > FLAT * size
        if thick.all():
            return cells, parents, mesh.across
        return cells[thick], parents[thick], neighbours(cells[thick])[0]

    @cached_property
    def _frames(self) -> Float[np.ndarray, "entry simplex"]:
        """First corner, then the inverse edge matrix row by row: barycentric weights of the other
        corners = inverse @ (x - first). Entry by entry, as they are gathered."""
        cells, dim = self._split[0], self.mesh.dim
        first = self.mesh.points[cells[:, 0]]
        edges = self.mesh.points[cells[:, 1:]] - first[:, None]
        if dim == 2:
            (a, b), (c, d) = edges[:, 0].T, edges[:, 1].T
            det = a * d - b * c
            inverse = np.stack([d / det, -c / det, -b / det, a / det])
        else:
            inverse = np.linalg.inv(edges.swapaxes(1, 2)).reshape(-1, dim * dim).T
        return np.concatenate([first.T, inverse])

    @cached_property
    def _across(self) -> Int[np.ndarray, "corner simplex"]:
        return np.ascontiguousarray(self._split[2].T)

    @cached_property
    def rim(self) -> Int[np.ndarray, "facet corner"]:
        """Facets of the boundary."""
        corner, which = np.nonzero(self._across < 0)
        return facets_of(self._split[0][which], corner)

    @property
    def corners(self) -> Int[np.ndarray, "simplex corner"]:
        """The points of each simplex."""
        return self._split[0]

    @cached_property
    def simplex_of(self) -> Int[np.ndarray, " point"]:
        """A simplex of each of the mesh's points, -1 where there is none."""
        cells = self._split[0]
        found = np.full(len(self.mesh.points), -1, dtype=np.int32)
        found[cells.T] = np.arange(len(cells), dtype=np.int32)
        return found

    @cached_property
    def _tree(self) -> Any:
        """Tree of the points that cells use, with one simplex of each."""
        from scipy.spatial import cKDTree

        used = np.flatnonzero(self.simplex_of >= 0)
        return cKDTree(self.mesh.points[used], balanced_tree=False), self.simplex_of[used]

    def _nearest(self, x: Float[np.ndarray, "point dim"]) -> Int[np.ndarray, " point"]:
        """A simplex at the mesh's point nearest to each point."""
        tree, simplex_of = self._tree
        return simplex_of[tree.query(x)[1]]

    @cached_property
    def _boxes(self) -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:
        """A regular grid of about as many boxes as points: its corner, the side of a box, their
        number each way, and a simplex near each box."""
        low, size = self.mesh.points.min(axis=0), np.ptp(self.mesh.points, axis=0)
        n, dim = len(self.mesh.points), self.mesh.dim
        # Not thinner than one box of a cube: a thin mesh is not cut finer for it.
        size = np.maximum(size, size.max(initial=1e-300) / n ** (1.0 / dim))
        side = float((size.prod() / n) ** (1.0 / dim))
        counts = np.ceil(size / side).astype(np.int64)
        boxes = np.indices(counts).reshape(dim, -1)
        centres = low[:, None] + side * (boxes + 0.5)
        return low, side, counts, self._walk(centres, self._nearest(centres.T))[0]

    def near(self, x: Float[np.ndarray, "point dim"]) -> Int[np.ndarray, " point"]:
        """A simplex near each point, from a table: pays for a mesh that is asked often."""
        low, side, counts, simplex = self._boxes
        box = np.clip(((x - low) / side).astype(np.int64), 0, counts - 1)
        return simplex[np.ravel_multi_index(tuple(box.T), tuple(counts))]

    def _barycentric(
        self, simplex: np.ndarray, x: Float[np.ndarray, "dim point"]
    ) -> Float[np.ndarray, "corner point"]:
        dim = len(x)
        frame = np.take(self._frames, simplex, axis=1)
        away = x - frame[:dim]
        weights = np.empty((dim + 1, len(simplex)))
        for k in range(dim):
            rows = frame[dim + k * dim : dim + (k + 1) * dim]
            np.multiply(rows[0], away[0], out=weights[k + 1])
            for j in range(1, dim):
                weights[k + 1] += rows[j] * away[j]
        np.subtract(1.0, weights[1], out=weights[0])
        for k in range(1, dim):
            weights[0] -= weights[k + 1]
        return weights

    def _walk(
        self, x: Float[np.ndarray, "dim point"], simplex: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Walk from the given simplices towards the points; returns where each walk ended and the
        least barycentric weight there (negative: stopped at the boundary, -inf: gave up)."""
        simplex = simplex.copy()
        least = np.full(len(simplex), -np.inf)
        active = np.arange(len(simplex))
        for _ in range(MAX_STEPS):
            here = simplex[active]
            weights = self._barycentric(here, x[:, active])
            least[active] = weights.min(axis=0)
            outside = np.flatnonzero(least[active] < INSIDE)
            if not len(outside):
                break
            # Leave through the facet of the most negative weight with something behind it.
            weights, across = weights[:, outside], self._across[:, here[outside]]
            weights[across < 0] = 0.0
            best, way = weights[0], across[0]
            for k in range(1, len(weights)):
                way = np.where(weights[k] < best, across[k], way)
                best = np.minimum(best, weights[k])
            going = best < INSIDE
            active = active[outside[going]]
            if not len(active):
                break
            simplex[active] = way[going]
        else:
            least[active] = -np.inf
        return simplex, least

    def locate(
        self, x: Float[np.ndarray, "point dim"], start: Int[np.ndarray, " point"] | None = None
    ) -> tuple[Int[np.ndarray, " point"], Bool[np.ndarray, " point"]]:
        """The simplex of each point and whether the point is inside it. Walks begin in the
        simplices `start` (None: at the nearest points of the mesh), and again at the nearest points
        where that was too far; those that end at a concave boundary are started again from other
        near points."""
        columns = np.ascontiguousarray(x.T)
        if start is None:
            start = self._nearest(x)
        simplex, least = self._walk(columns, start)
        far = np.flatnonzero(np.isneginf(least))
        if len(far):
            simplex[far], least[far] = self._walk(columns[:, far], self._nearest(x[far]))
        for tries in () if self.convex else (4, 16):
            lost = np.flatnonzero(least < INSIDE)
            if not len(lost):
                break
            tree, simplex_of = self._tree
            near = tree.query(x[lost], k=min(tries, len(simplex_of)))[1].reshape(len(lost), -1)
            again = np.repeat(columns[:, lost], near.shape[1], axis=1)
            ends, worth = self._walk(again, simplex_of[near].ravel())
            worth = worth.reshape(near.shape)
            best = worth.argmax(1)
            rows = np.arange(len(lost))
            better = worth[rows, best] > least[lost]
            simplex[lost[better]] = ends.reshape(near.shape)[rows, best][better]
            least[lost[better]] = worth[rows, best][better]
        return simplex, least >= INSIDE

    def to(self, x: Float[np.ndarray, "point dim"]) -> Transfer:
        """The operator that carries values from the mesh's points to `x`."""
        return self.transfer(x, *self.locate(x))

    def transfer(
        self,
        x: Float[np.ndarray, "point dim"],
        simplex: Int[np.ndarray, " point"],
        inside: Bool[np.ndarray, " point"],
    ) -> Transfer:
        """As `to`, for points that were located before."""
        from scipy.sparse import csr_array

        cells, parents, _ = self._split
        nodes = np.take(cells, simplex, axis=0)
        weights = np.ascontiguousarray(self._barycentric(simplex, x.T).T)
        distance = np.zeros(len(x))
        outside = np.flatnonzero(~inside)
        if len(outside):
            facet, share, distance[outside] = closest_on_facets(
                self.mesh.points, self.rim, x[outside]
            )
            nodes[outside, : facet.shape[1]] = facet
            weights[outside] = 0.0
            weights[outside, : facet.shape[1]] = share
        np.maximum(weights, 0.0, out=weights)
        weights /= np.add.reduce(weights, axis=1, keepdims=True)
        n, k = nodes.shape
        pointer = np.arange(0, n * k + 1, k, dtype=np.int32)
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
