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
from jaxtyping import Float

from .mesh import Mesh
from .morphing import Morph, Morphing
from .outline import CORNER, Outline, fractions, matched_corners
from .topology import boundary_loops, signed_measures

if TYPE_CHECKING:
    from scipy.sparse import csc_array, csr_array

DIRECT = 50_000
MULTIGRID_TOLERANCE = 1e-11


def uniform_weights(mesh: Mesh) -> csr_array:
    """w_ij = 1 for neighbours."""
    cells, _ = mesh.simplices
    w = _assemble(mesh, [(cells[:, i], cells[:, j], np.ones(len(cells))) for i, j in _PAIRS])
    w.data[:] = 1.0
    return w


def cotangent_weights(mesh: Mesh) -> csr_array:
    """w_ij = (cot a + cot b) / 2 with a, b the angles opposite to edge ij (the P1 Laplacian:
    harmonic maps); negative where both are obtuse."""
    cells, _ = mesh.simplices
    parts = []
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        u = mesh.points[cells[:, i]] - mesh.points[cells[:, k]]
        v = mesh.points[cells[:, j]] - mesh.points[cells[:, k]]
        half = 0.5 * (u * v).sum(1) / np.maximum(_cross_norm(u, v), 1e-300)
        parts += [(cells[:, i], cells[:, j], half), (cells[:, j], cells[:, i], half)]
    return _assemble(mesh, parts)


def mean_value_weights(mesh: Mesh) -> csr_array:
    """w_ij = (tan(a/2) + tan(b/2)) / |x_i - x_j| with a, b the angles at i beside edge ij;
    positive for every mesh (Floater 2003, doi:10.1016/S0167-8396(03)00002-5)."""
    cells, _ = mesh.simplices
    parts = []
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        u = mesh.points[cells[:, j]] - mesh.points[cells[:, i]]
        v = mesh.points[cells[:, k]] - mesh.points[cells[:, i]]
        lu, lv = np.linalg.norm(u, axis=1), np.linalg.norm(v, axis=1)
        tangent = _cross_norm(u, v) / np.maximum(lu * lv + (u * v).sum(1), 1e-300)
        parts += [
            (cells[:, i], cells[:, j], tangent / lu),
            (cells[:, i], cells[:, k], tangent / lv),
        ]
    return _assemble(mesh, parts)


_PAIRS = ((0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2))


def _cross_norm(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    if u.shape[1] == 2:
        return np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
    return np.linalg.norm(np.cross(u, v), axis=1)


def _assemble(mesh: Mesh, parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> csr_array:
    from scipy.sparse import csr_array

    rows, cols, values = (np.concatenate(p) for p in zip(*parts, strict=True))
    n = len(mesh.points)
    return csr_array((values, (rows, cols)), shape=(n, n))


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
    weights: csr_array, inside: np.ndarray, at: Float[np.ndarray, "point dim"]
) -> Float[np.ndarray, "interior dim"]:
    """Interior points as weighted means of their neighbours, the others given."""
    from scipy.sparse import csc_array, diags_array

    total = np.asarray(weights.sum(axis=1)).ravel()
    used = inside & (total > 0)
    rows = weights[used]
    matrix = csc_array(diags_array(total[used]) - rows[:, used])
    right = rows[:, ~used] @ at[~used]
    answer = at[inside].copy()
    solve = _by_multigrid if len(right) > DIRECT else _by_factor
    answer[used[inside]] = solve(matrix, right)
    return answer


def _by_factor(matrix: csc_array, right: np.ndarray) -> np.ndarray:
    from scipy.sparse.linalg import splu

    # Positive definite or diagonally dominant: no pivoting, an ordering for symmetric patterns.
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
