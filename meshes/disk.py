"""Morphings of disk-like surfaces to the unit disk, by a convex combination map (Floater 1997).

Interior points are weighted means of their neighbours, u_i = sum_j w_ij u_j with w_ij > 0 and
sum_j w_ij = 1, the boundary lies on the unit circle: a sparse linear system, and no triangle flips
(Tutte 1963; Floater 2003, doi:10.1090/S0025-5718-02-01466-7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from .mesh import Mesh
from .morphing import Morph, Morphing
from .outline import CORNER, Outline, fractions, matched_corners
from .topology import boundary_loops, signed_measures

if TYPE_CHECKING:
    from scipy.sparse import csc_array

DIRECT = 50_000
MULTIGRID_TOLERANCE = 1e-11


@dataclass(frozen=True, eq=False)
class Weights:
    """w_ij of pairs of points; those of a pair that occurs several times are added. Where they are
    `symmetric`, a pair is given one way only."""

    i: Int[np.ndarray, " pair"]
    j: Int[np.ndarray, " pair"]
    w: Float[np.ndarray, " pair"]
    symmetric: bool

    def both_ways(self) -> Weights:
        """Every pair both ways."""
        if not self.symmetric:
            return self
        i, j = (np.concatenate(c) for c in ((self.i, self.j), (self.j, self.i)))
        return Weights(i, j, np.tile(self.w, 2), symmetric=False)


def uniform_weights(mesh: Mesh) -> Weights:
    """w_ij = 1 for neighbours."""
    cells, n = mesh.simplices[0], len(mesh.points)
    pairs = np.sort(np.concatenate([cells[:, [0, 1]], cells[:, [1, 2]], cells[:, [2, 0]]]), axis=1)
    codes = np.unique(pairs[:, 0].astype(np.int64) * n + pairs[:, 1])
    return Weights(codes // n, codes % n, np.ones(len(codes)), symmetric=True)


def cotangent_weights(mesh: Mesh) -> Weights:
    """w_ij = (cot a + cot b) / 2 with a, b the angles opposite to edge ij (the P1 Laplacian:
    harmonic maps); negative where both are obtuse."""
    corners, sides, area = _sides(mesh)
    # cot a_k = -e_(k+1) . e_(k+2) / (2 area) with e_k the side opposite to corner k.
    half = [-0.5 * _dot(sides[k - 2], sides[k - 1]) / area for k in range(3)]
    i, j = (np.concatenate([corners[k - shift] for k in range(3)]) for shift in (2, 1))
    return Weights(i, j, np.concatenate(half), symmetric=True)


def mean_value_weights(mesh: Mesh) -> Weights:
    """w_ij = (tan(a/2) + tan(b/2)) / |x_i - x_j| with a, b the angles at i beside edge ij;
    positive for every mesh (Floater 2003, doi:10.1016/S0167-8396(03)00002-5)."""
    corners, sides, area = _sides(mesh)
    length = [np.sqrt(_dot(side, side)) for side in sides]
    parts = []
    for k in range(3):
        # At corner k the next one is reached by side k+2, the one after it against side k+1.
        following, other = length[k - 1], length[k - 2]
        cosine = -_dot(sides[k - 2], sides[k - 1])
        tangent = area / np.maximum(following * other + cosine, 1e-300)
        parts += [
            (corners[k], corners[k - 2], tangent / following),
            (corners[k], corners[k - 1], tangent / other),
        ]
    i, j, w = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Weights(i, j, w, symmetric=False)


def _sides(mesh: Mesh) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """The triangles' corners (corner, cell); their sides as vectors (dim, cell), number k from
    corner k+1 to corner k+2; and twice their areas."""
    corners = np.ascontiguousarray(mesh.simplices[0].T)
    at = np.array([np.ascontiguousarray(column)[corners] for column in mesh.points.T])
    sides = [at[:, k - 1] - at[:, k - 2] for k in range(3)]
    if len(at) == 2:
        area = np.abs(sides[0][0] * sides[1][1] - sides[0][1] * sides[1][0])
    else:
        area = np.linalg.norm(np.cross(sides[0].T, sides[1].T), axis=1)
    return corners, sides, np.maximum(area, 1e-300)


def _dot(u: Float[np.ndarray, "dim cell"], v: Float[np.ndarray, "dim cell"]) -> np.ndarray:
    return sum(a * b for a, b in zip(u, v, strict=True))


def _refusal(meshes: Sequence[Mesh]) -> str | None:
    for mesh in meshes:
        kind = mesh.topology
        if (kind.cell_dim, kind.components, kind.loops, kind.euler) != (2, 1, 1, 1):
            return f"it needs a surface in one piece with one boundary and no hole, got {kind}"
    return None


class _DiskMorph(Morph):
    convex = True

    def __init__(self, reference: Mesh, weights: str, anchors: bool) -> None:
        self._weights = {
            "uniform": uniform_weights,
            "cotangent": cotangent_weights,
            "mean_value": mean_value_weights,
        }[weights]
        outline = Outline(reference.points[_loop(reference)])
        corners = outline.corners(CORNER) if anchors else np.empty(0, dtype=np.int64)
        self._targets = outline.normalised[corners]
        if len(corners) < 3:
            first = np.lexsort((outline.points[:, 1], outline.points[:, 0]))[0]
            self._targets = outline.normalised[[first]]

    def points(self, mesh: Mesh) -> Float[np.ndarray, "point 2"]:
        loop = _loop(mesh)
        angle = self._angles(Outline(mesh.points[loop]))
        at = np.zeros((len(mesh.points), 2))
        at[loop] = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        inside = np.ones(len(mesh.points), dtype=bool)
        inside[loop] = False
        at[inside] = solve_interior(self._weights(mesh), inside, at)
        if self._weights is cotangent_weights and _turned_over(mesh, at):
            # Obtuse angles: the weights that are positive on every mesh.
            at[inside] = solve_interior(mean_value_weights(mesh), inside, at)
        return at

    def _angles(self, outline: Outline) -> Float[np.ndarray, " n"]:
        """Place on the circle: anchors at equal arcs, arc length in between."""
        count = len(self._targets)
        if count == 1:
            anchors = ((outline.normalised - self._targets) ** 2).sum(1).argmin(keepdims=True)
        else:
            anchors = matched_corners(outline, outline.corners(CORNER), self._targets)
        share, section = fractions(outline, anchors)
        return 2 * np.pi * (section + share) / count


def _turned_over(mesh: Mesh, at: Float[np.ndarray, "point 2"]) -> bool:
    """Whether any cell lies the other way round than most."""
    cells, _ = mesh.simplices
    same = signed_measures(mesh.points, cells) * signed_measures(at, cells) > 0
    if mesh.dim == 3:
        same = signed_measures(at, cells) > 0
    return not (same.all() or not same.any())


def solve_interior(
    weights: Weights, inside: Bool[np.ndarray, " point"], at: Float[np.ndarray, "point dim"]
) -> Float[np.ndarray, "interior dim"]:
    """Interior points as weighted means of their neighbours, the others given."""
    from scipy.sparse import csc_array

    n = len(at)
    ways = weights.both_ways()
    total = np.bincount(ways.i, ways.w, minlength=n)
    used = inside & (total > 0)
    count = int(used.sum())
    number = np.full(n, -1, dtype=np.int32)
    number[used] = np.arange(count)
    row, column = number[ways.i], number[ways.j]
    rim = np.flatnonzero((row >= 0) & (column < 0))
    right = np.stack(
        [
            np.bincount(row[rim], ways.w[rim] * along[ways.j[rim]], minlength=count)
            for along in at.T
        ],
        axis=1,
    )
    direct = count <= DIRECT
    # A symmetric matrix is told by its upper triangle.
    least = row + 1 if direct and weights.symmetric else 0
    inner = np.flatnonzero((row >= 0) & (column >= least))
    own = np.arange(count, dtype=np.int32)
    entries = np.concatenate([total[used], -ways.w[inner]])
    places = (np.concatenate([own, row[inner]]), np.concatenate([own, column[inner]]))
    matrix = csc_array((entries, places), shape=(count, count))
    solve = _by_multigrid if not direct else _by_ldl if weights.symmetric else _by_factor
    answer = at[inside].copy()
    answer[used[inside]] = solve(matrix, right)
    return answer


def _by_ldl(upper: csc_array, right: np.ndarray) -> np.ndarray:
    """Of a symmetric positive definite matrix: LDL^T, ordered by approximate minimum degree."""
    import qdldl
    from scipy.sparse import csc_matrix

    factor = qdldl.Solver(csc_matrix(upper), upper=True)
    return np.stack([factor.solve(column) for column in right.T], axis=1)


def _by_factor(matrix: csc_array, right: np.ndarray) -> np.ndarray:
    """Of a matrix that is diagonally dominant: no pivoting."""
    from scipy.sparse.linalg import splu

    factor = splu(
        matrix,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        # Supernodes are small here: their bookkeeping costs more than it saves.
        relax=1,
        panel_size=1,
        options={"SymmetricMode": True},
    )
    return factor.solve(right)


def _by_multigrid(matrix: csc_array, right: np.ndarray) -> np.ndarray:
    """Algebraic multigrid (Ruge and Stueben 1987) as preconditioner: the work grows with the
    number of points, where that of a factorisation grows faster."""
    import pyamg
    from scipy.sparse import csr_matrix

    levels = pyamg.ruge_stuben_solver(csr_matrix(matrix), max_coarse=500)
    columns = [
        levels.solve(right[:, k], tol=MULTIGRID_TOLERANCE, maxiter=100, accel="bicgstab")
        for k in range(right.shape[1])
    ]
    return np.stack(columns, axis=1)


def _loop(mesh: Mesh) -> np.ndarray:
    """The one boundary, counter-clockwise if the mesh is plane."""
    loops = boundary_loops(mesh)
    if len(loops) != 1:
        raise ValueError(
            f"expected a surface with one closed boundary, got {len(loops)}; it can't be mapped "
            "to a disk"
        )
    return loops[0]


@dataclass(frozen=True)
class TutteDisk(Morphing):
    """Uniform weights (Tutte): the published choice; depends on the mesh's connectivity, so
    `Harmonic` is more accurate on unstructured meshes. `anchors` sends detected corners to equal
    arcs."""

    anchors: bool = True

    def refusal(self, meshes: Sequence[Mesh]) -> str | None:
        return _refusal(meshes)

    def to(self, reference: Mesh) -> Morph:
        return _DiskMorph(reference, "uniform", self.anchors)


@dataclass(frozen=True)
class Harmonic(Morphing):
    """Cotangent or mean-value weights. With cotangents the map converges with the mesh size to one
    that depends on the shape alone; a mesh that they would turn over somewhere gets mean-value
    weights, which never do."""

    weights: Literal["cotangent", "mean_value"] = "cotangent"
    anchors: bool = True

    def refusal(self, meshes: Sequence[Mesh]) -> str | None:
        return _refusal(meshes)

    def to(self, reference: Mesh) -> Morph:
        return _DiskMorph(reference, self.weights, self.anchors)
