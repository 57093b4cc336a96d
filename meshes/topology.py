"""Simplices, boundary, loops and the topological signature of a mesh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from .cells import CellType
from .mesh import Mesh


@dataclass(frozen=True)
class Topology:
    """What a morphing cannot change: two meshes of one family agree in all of it."""

    cell_dim: int
    components: int
    loops: int
    euler: int

    def __str__(self) -> str:
        kind = {0: "points", 1: "lines", 2: "surface", 3: "volume"}[self.cell_dim]
        return (
            f"{kind} in {self.components} piece(s), {self.loops} closed boundary(ies), "
            f"Euler characteristic {self.euler}"
        )


def edges(mesh: Mesh) -> Int[np.ndarray, "edge 2"]:
    """All pairs of points that an edge of a cell joins, the lesser first, none twice (`Mesh.edges`
    keeps them).

    A node in the middle of an edge halves it; nodes in the middle of faces and cells are joined to
    the corners.
    """
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for kind, block in zip(mesh.types, mesh.cells.values(), strict=True):
        ends = np.array(kind.edges, dtype=np.int64).reshape(-1, 2)
        middles = np.arange(kind.corners, min(kind.nodes, kind.corners + len(ends)))
        if len(middles):
            ends = np.concatenate([np.stack([end, middles], axis=1) for end in ends.T])
        inner = np.arange(kind.corners + len(middles), kind.nodes)
        joined = np.stack(np.meshgrid(inner, np.arange(kind.corners)), axis=-1).reshape(-1, 2)
        local = np.concatenate([ends, joined])
        pairs.append(block[:, local].reshape(-1, 2).astype(np.int64))
    found = np.sort(np.concatenate(pairs), axis=1)
    n = max(len(mesh.points), 1)
    lesser, greater = np.divmod(np.unique(found[:, 0] * n + found[:, 1]), n)
    return np.stack([lesser, greater], axis=1)


def simplices(mesh: Mesh) -> tuple[Int[np.ndarray, "simplex corner"], Int[np.ndarray, " simplex"]]:
    """The cells of highest dimension split into simplices, and the cell that each came from
    (`Mesh.simplices` keeps them)."""
    dim = mesh.cell_dim
    parts, parents, start = [], [], 0
    for kind, block in zip(mesh.types, mesh.cells.values(), strict=True):
        if kind.dim == dim:
            split = _split(kind, block[:, : kind.corners])
            parts.append(split.reshape(-1, dim + 1))
            parents.append(np.repeat(np.arange(start, start + len(block)), split.shape[1]))
        start += len(block)
    if not parts:
        return np.empty((0, dim + 1), dtype=np.int32), np.empty(0, dtype=np.int64)
    return np.concatenate(parts), np.concatenate(parents)


def _split(
    kind: CellType, corners: Int[np.ndarray, "cell corner"]
) -> Int[np.ndarray, "cell simplex vertex"]:
    """Lines, triangles and tetrahedra as they are, surfaces as their table says. Other volumes as
    cones from their vertex of least number to the faces away from it, each quadrilateral cut
    through its vertex of least number: neighbours cut a face they share alike (Dompierre et al.
    1999, 'How to subdivide pyramids, prisms and hexahedra into tetrahedra')."""
    if kind.dim < 3 or kind.corners == 4:
        return corners[:, np.array(kind.simplices or (tuple(range(kind.corners)),))]
    apex = corners.argmin(axis=1)
    count = {8: 6, 6: 3, 5: 2}[kind.corners]
    found = np.empty((len(corners), count, 4), dtype=corners.dtype)
    for k in range(kind.corners):
        rows = np.flatnonzero(apex == k)
        away = [corners[rows][:, list(face)] for face in kind.faces if k not in face]
        cut = np.concatenate([_cut(face) for face in away], axis=1)
        found[rows, :, 0] = corners[rows, k][:, None]
        found[rows, :, 1:] = cut
    return found


def _cut(face: Int[np.ndarray, "cell corner"]) -> Int[np.ndarray, "cell triangle 3"]:
    """Triangles, or quadrilaterals cut through their vertex of least number."""
    sides = face.shape[1]
    turn = (face.argmin(axis=1)[:, None] + np.arange(sides)) % sides
    ring = np.take_along_axis(face, turn, axis=1)
    return ring[:, [[0, 1, 2], [0, 2, 3]] if sides == 4 else [[0, 1, 2]]]


def signed_measures(
    points: Float[np.ndarray, "point dim"], cells: Int[np.ndarray, "simplex corner"]
) -> Float[np.ndarray, " simplex"]:
    """det(edges) / d! of each simplex: length, area or volume with its sign where the simplex fills
    the space, without sign (root of the Gram determinant) where it is embedded in a higher one."""
    d = cells.shape[1] - 1
    factor = (1.0, 1.0, 2.0, 6.0)[d]
    if d == points.shape[1] == 2:
        # Coordinate by coordinate: gathering pairs is slow.
        (x0, x1, x2), (y0, y1, y2) = (np.ascontiguousarray(c)[cells.T] for c in points.T)
        return ((x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)) / factor
    edges = points[cells[:, 1:]] - points[cells[:, :1]]
    if d == points.shape[1]:
        return np.linalg.det(edges) / factor
    gram = edges @ edges.swapaxes(1, 2)
    return np.sqrt(np.maximum(np.linalg.det(gram), 0.0)) / factor


def oriented(
    points: Float[np.ndarray, "point dim"], cells: Int[np.ndarray, "simplex corner"]
) -> Int[np.ndarray, "simplex corner"]:
    """The same simplices with positive measure, where they fill the space."""
    flip = _turned(points, cells)
    if not flip.any():
        return cells
    cells = cells.copy()
    cells[flip, :2] = cells[flip, 1::-1]
    return cells


def _turned(
    points: Float[np.ndarray, "point dim"], cells: Int[np.ndarray, "simplex corner"]
) -> Bool[np.ndarray, " simplex"]:
    if cells.shape[1] - 1 != points.shape[1] or cells.shape[1] < 3:
        return np.zeros(len(cells), dtype=bool)
    return signed_measures(points, cells) < 0


def facets(
    cells: Int[np.ndarray, "simplex corner"],
) -> tuple[Int[np.ndarray, "facet node"], Int[np.ndarray, " facet"]]:
    """All facets of the simplices, corner k's opposite facet at row k * simplices + simplex,
    oriented outwards for oriented simplices; and a code for each, equal for facets of the same
    points."""
    corners = cells.shape[1]
    faces = np.concatenate([cells[:, rest] for rest in _rest(corners)])
    n = int(cells.max(initial=0)) + 1
    if corners == 2:
        return faces, faces[:, 0].astype(np.int64)
    if corners == 3:
        low, high = np.minimum(*faces.T), np.maximum(*faces.T)
        return faces, low.astype(np.int64) * n + high
    keys = np.sort(faces, axis=1).astype(np.int64)
    _, low = np.unique(keys[:, 0] * n + keys[:, 1], return_inverse=True)
    return faces, low * n + keys[:, 2]


def neighbours(
    cells: Int[np.ndarray, "simplex corner"],
) -> tuple[Int[np.ndarray, "simplex corner"], int]:
    """The simplex across the facet opposite to each corner, -1 at the boundary; and the number of
    distinct facets."""
    _, codes = facets(cells)
    n, corners = cells.shape
    order = np.argsort(codes)
    same = np.flatnonzero(np.diff(codes[order]) == 0)
    one, other = order[same], order[same + 1]
    across = np.full(n * corners, -1, dtype=np.int32)
    across[one] = other % max(n, 1)
    across[other] = one % max(n, 1)
    return across.reshape(corners, n).T, n * corners - len(same)


def boundary(mesh: Mesh) -> Int[np.ndarray, "facet corner"]:
    """Facets (edges of a surface, triangles of a volume) that belong to one simplex only."""
    cells, _ = mesh.simplices
    if not len(cells):
        return np.empty((0, max(mesh.cell_dim, 1)), dtype=np.int32)
    corner, which = np.nonzero(mesh.across.T < 0)
    faces = facets_of(cells[which], corner)
    turned = _turned(mesh.points, cells[which])
    faces[turned, :2] = faces[turned, 1::-1]
    return faces


def boundary_cells(mesh: Mesh) -> Int[np.ndarray, " facet"]:
    """The cell that each facet of `boundary` belongs to."""
    _, which = np.nonzero(mesh.across.T < 0)
    return mesh.simplices[1][which]


def facets_of(
    cells: Int[np.ndarray, "facet _corner"], corner: Int[np.ndarray, " facet"]
) -> Int[np.ndarray, "facet node"]:
    """The facet opposite to `corner` of each simplex, oriented as in `facets`."""
    return cells[np.arange(len(cells))[:, None], _rest(cells.shape[1])[corner]]


def _rest(corners: int) -> Int[np.ndarray, "corner rest"]:
    """The other corners, in the order that points outwards for oriented simplices."""
    rows = []
    for k in range(corners):
        rest = [j for j in range(corners) if j != k]
        if k % 2 and len(rest) > 1:
            rest[0], rest[1] = rest[1], rest[0]
        rows.append(rest)
    return np.array(rows)


def boundary_loops(mesh: Mesh) -> list[Int[np.ndarray, " point"]]:
    """The closed boundaries of a surface mesh, longest first, each as its points in order (material
    on the left, so the outer one of a plane mesh runs counter-clockwise).

    Raises:
        ValueError: a boundary that touches itself in a point, or a mesh that is not a surface.
    """
    if mesh.cell_dim != 2:
        raise ValueError(f"expected a surface mesh, got cells of dimension {mesh.cell_dim}")
    edges = boundary(mesh)
    if not len(edges):
        return []
    starts, counts = np.unique(edges[:, 0], return_counts=True)
    ends = np.unique(edges[:, 1])
    if (counts > 1).any() or len(starts) != len(ends):
        bad = starts[counts > 1]
        raise ValueError(
            f"expected boundaries that are simple closed loops, got one that touches itself at "
            f"{max(len(bad), 1)} point(s), first {bad[:1].tolist()}; split the mesh there"
        )
    follow = np.searchsorted(starts, edges[np.argsort(edges[:, 0]), 1])
    loops = [starts[ring] for ring in cycles(follow)]
    lengths = [
        np.linalg.norm(np.diff(mesh.points[np.append(r, r[0])], axis=0), axis=1).sum()
        for r in loops
    ]
    return [loops[i] for i in np.argsort(lengths)[::-1]]


def cycles(follow: Int[np.ndarray, " n"]) -> list[Int[np.ndarray, " m"]]:
    """The cycles of a permutation, each from its least member, by pointer doubling (no walk)."""
    n = len(follow)
    least, jump = np.arange(n), follow.copy()
    steps = max(int(np.ceil(np.log2(n))), 1)
    for _ in range(steps):
        least = np.minimum(least, least[jump])
        jump = jump[jump]
    # Distance to the cycle's last member: cut each cycle before its least member.
    last = least[follow] == follow
    distance, jump = np.where(last, 0, 1), np.where(last, np.arange(n), follow)
    for _ in range(steps):
        distance = distance + distance[jump]
        jump = jump[jump]
    order = np.lexsort((-distance, least))
    return np.split(order, np.flatnonzero(np.diff(least[order])) + 1)


def topology(mesh: Mesh) -> Topology:
    """The signature by which meshes of one family are told from others (`Mesh.topology` keeps
    it, and nothing else)."""
    cells, _ = simplices(mesh)
    if not len(cells):
        return Topology(mesh.cell_dim, len(mesh.points), 0, len(mesh.points))
    corners = cells.shape[1]
    used = np.zeros(len(mesh.points), dtype=bool)
    used[cells] = True
    n = int(used.sum())
    across, distinct = neighbours(cells)
    components = _pieces(cells, len(mesh.points)) - (len(mesh.points) - n)
    euler = n - len(cells)
    if corners == 3:
        euler = n - distinct + len(cells)
    if corners == 4:
        pairs = np.concatenate([cells[:, [i, j]] for i in range(4) for j in range(i + 1, 4)])
        low, high = np.minimum(*pairs.T), np.maximum(*pairs.T)
        edges = len(np.unique(low.astype(np.int64) * len(mesh.points) + high))
        euler = n - edges + distinct - len(cells)
    corner, which = np.nonzero(across.T < 0)
    return Topology(mesh.cell_dim, components, _closed(facets_of(cells[which], corner)), euler)


def _pieces(cells: Int[np.ndarray, "cell corner"], n_points: int) -> int:
    """Connected pieces, points that no cell uses included."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows, cols = np.repeat(cells[:, 0], cells.shape[1] - 1), cells[:, 1:].ravel()
    graph = coo_array((np.ones(len(rows), dtype=bool), (rows, cols)), shape=(n_points, n_points))
    return int(connected_components(graph, directed=False)[0])


def _closed(rim: Int[np.ndarray, "facet corner"]) -> int:
    """Connected pieces of a boundary."""
    if not len(rim):
        return 0
    ids, local = np.unique(rim, return_inverse=True)
    return _pieces(local.reshape(rim.shape), len(ids)) if rim.shape[1] > 1 else len(ids)
