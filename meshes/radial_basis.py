"""Morphing of plane meshes with holes by radial basis functions: boundaries are matched loop by
loop, the displacement is carried inwards by Wendland C2 functions of compact support (de Boer et
al. 2007, doi:10.1016/j.compstruc.2007.01.013)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from .mesh import Mesh
from .morphing import Morph, Morphing
from .outline import Outline, Sections, matched_loops
from .topology import boundary_loops

if TYPE_CHECKING:
    from scipy.sparse import csr_array

SAME = 2e-3
"""Outer boundaries that lie within this share of their size of each other are one, and stay
fixed."""
MOST_CONTROLS = 3000
FEW_CONTROLS = 1000
RIDGE = 1e-12
CHUNK = 20_000


@dataclass(frozen=True)
class RadialBasis(Morphing):
    """Boundaries go to the reference's by arc length between detected corners (a single one, such
    as a trailing edge, is joined by the point farthest from it, the leading edge); an outer
    boundary that all share stays fixed. `radius` is the support, in diagonals of the bounding box
    of what moves; `steps` splits the way, which keeps thin cells from turning over."""

    radius: float = 3.0
    steps: int = 8

    def refusal(self, meshes: Sequence[Mesh]) -> str | None:
        for mesh in meshes:
            kind = mesh.topology
            if mesh.dim != 2 or kind.cell_dim != 2 or kind.components != 1 or kind.loops < 1:
                return f"it needs plane meshes in one piece, got {kind} in {mesh.dim} dimensions"
        return None

    def to(self, reference: Mesh) -> Morph:
        return _RadialMorph(reference, self)


class _RadialMorph(Morph):
    def __init__(self, reference: Mesh, recipe: RadialBasis) -> None:
        self._recipe = recipe
        loops = [Outline(reference.points[loop]) for loop in boundary_loops(reference)]
        self._targets = [Sections.of(outline) for outline in loops]

    def points(self, mesh: Mesh) -> Float[np.ndarray, "point 2"]:
        loops = boundary_loops(mesh)
        if len(loops) != len(self._targets):
            raise ValueError(
                f"expected a mesh with {len(self._targets)} closed boundaries as the reference, "
                "got "
                f"{len(loops)}; no morphing can open or close a hole"
            )
        outlines = [Outline(mesh.points[loop]) for loop in loops]
        places = matched_loops(outlines, [t.outline for t in self._targets])
        goals = []
        for outline, place in zip(outlines, places, strict=True):
            target = self._targets[place]
            alike = target.distance(outline.points).max() <= SAME * np.ptp(outline.points, 0).max()
            goals.append(outline.points if alike else target.matched(outline))
        return self._carried(mesh, np.concatenate(loops), np.concatenate(goals))

    def _carried(
        self, mesh: Mesh, ids: Int[np.ndarray, " control"], goals: Float[np.ndarray, "control 2"]
    ) -> Float[np.ndarray, "point 2"]:
        """All points, as the boundary points `ids` go to their `goals` in equal steps."""
        start, x = mesh.points[ids], mesh.points.copy()
        moving = np.linalg.norm(goals - start, axis=1) > 0
        if not moving.any():
            return x
        both = np.concatenate([start[moving], goals[moving]])
        radius = self._recipe.radius * float(np.linalg.norm(np.ptp(both, axis=0)))
        thin = slice(None, None, -(-len(ids) // MOST_CONTROLS))
        for k in range(self._recipe.steps):
            here = start + (goals - start) * (k / self._recipe.steps)
            push = (goals - start) / self._recipe.steps
            x += _interpolated(here[thin], push[thin], x, radius)
            x[ids] = start + (goals - start) * ((k + 1) / self._recipe.steps)
        return x


def wendland_c2(r: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """phi(r) = (1 - r)^4 (4 r + 1) for r < 1, else 0."""
    rest = np.maximum(1.0 - r, 0.0)
    rest *= rest
    return rest * rest * (4.0 * r + 1.0)


def _kernel(
    a: Float[np.ndarray, "p dim"], b: Float[np.ndarray, "q dim"], radius: float
) -> csr_array | np.ndarray:
    """phi(|a - b| / radius): sparse, but for few controls, where a full matrix is faster."""
    from scipy.sparse import csr_array
    from scipy.spatial import cKDTree
    from scipy.spatial.distance import cdist

    if len(b) <= FEW_CONTROLS:
        return wendland_c2(cdist(a, b) / radius)
    pairs = cKDTree(a).sparse_distance_matrix(cKDTree(b), radius, output_type="coo_matrix")
    values = wendland_c2(pairs.data / radius)
    return csr_array((values, (pairs.row, pairs.col)), shape=(len(a), len(b)))


def _interpolated(
    controls: Float[np.ndarray, "control dim"],
    values: Float[np.ndarray, "control dim"],
    x: Float[np.ndarray, "point dim"],
    radius: float,
) -> Float[np.ndarray, "point dim"]:
    """The radial basis interpolant of `values` at `controls`, at `x`."""
    from scipy.sparse import csc_array, eye_array
    from scipy.sparse.linalg import splu

    matrix = _kernel(controls, controls, radius)
    if isinstance(matrix, np.ndarray):
        matrix.flat[:: len(controls) + 1] += RIDGE
        weights = np.linalg.solve(matrix, values)
    else:
        weights = splu(csc_array(matrix + RIDGE * eye_array(len(controls)))).solve(values)
    parts = [_kernel(x[i : i + CHUNK], controls, radius) @ weights for i in range(0, len(x), CHUNK)]
    return np.concatenate(parts)
