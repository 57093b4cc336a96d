"""A chart carries fields between any mesh of a family and one common mesh, through a morphing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from .mesh import Mesh
from .morphing import Morph, Morphing
from .quality import Distortion, distortion, flipped_cells
from .sample import Location
from .topology import boundary, signed_measures

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from .loop import CircleInterpolant
    from .transfer import Interpolant

NEGLIGIBLE = 0.25
"""A point counts as clamped when it lies further outside than this share of a boundary facet's
size: curved boundaries are polygons of other corners in every mesh."""


@dataclass(frozen=True, eq=False)
class Chart:
    """The common mesh (`reference`) and the morphing that carries other meshes to it."""

    morphing: Morphing
    reference: Mesh

    @cached_property
    def morph(self) -> Morph:
        """The morphing bound to the reference."""
        return self.morphing.to(self.reference)

    @cached_property
    def moved(self) -> Mesh:
        """The reference in the common shape."""
        return self.reference.moved(self.morph.points(self.reference))

    @cached_property
    def interpolant(self) -> Interpolant | CircleInterpolant:
        """Location of points in the common shape."""
        return self.morph.interpolant(self.moved)

    @cached_property
    def facet_size(self) -> float:
        """Mean distance of the corners of a boundary facet in the common shape."""
        corners = self.moved.points[boundary(self.moved)]
        return (
            float(np.linalg.norm(np.ptp(corners, axis=1), axis=1).mean()) if len(corners) else 0.0
        )

    @property
    def shared_numbering(self) -> bool:
        """Whether point i is the same material point everywhere, so that nothing is
        interpolated."""
        return self.morph.shared_numbering

    def passage(self, mesh: Mesh) -> Passage:
        """The way between `mesh` and the common mesh."""
        # A copy: what is kept with it goes when the passage goes.
        mesh = mesh.moved(mesh.points)
        return Passage(self, mesh, self.morph.points(mesh))

    def equals(self, other: Chart) -> bool:
        """Whether its passages are those of `other`."""
        return self.morphing == other.morphing and self.reference.id == other.reference.id

    def size(self, on: Location) -> int:
        """Length of a field on the common mesh; cell fields live there on points, unless the
        numbering is shared."""
        return self.reference.size_of(on if self.shared_numbering else "point")


@dataclass(frozen=True, eq=False)
class Passage:
    """The two linear maps between one mesh, whose points go to `points`, and the common mesh."""

    chart: Chart
    mesh: Mesh
    points: Float[np.ndarray, "point dim"]

    @cached_property
    def _located(self) -> tuple[np.ndarray, np.ndarray]:
        """The common mesh's simplex of each of the mesh's points, and which are inside."""
        interpolant = self.chart.interpolant
        return interpolant.locate(self.points, interpolant.near(self.points))

    @cached_property
    def inward(self) -> csr_array:
        """Values on the common mesh from those of the mesh's points."""
        own = self.chart.morph.interpolant(self.mesh.moved(self.points))
        common = self.chart.interpolant.corners
        # A walk to a point of the common mesh begins at a point of the mesh in a simplex there.
        start = np.full(len(self.chart.reference.points), -1, dtype=np.int32)
        start[common[self._located[0]].T] = own.simplex_of
        return own.transfer(
            self.chart.moved.points, *own.locate(self.chart.moved.points, spread(start, common))
        ).operator

    @cached_property
    def _outward(self) -> tuple[csr_array, float]:
        found = self.chart.interpolant.transfer(self.points, *self._located)
        limit = NEGLIGIBLE * self.chart.facet_size
        return found.operator, float((found.distance > limit).mean())

    @property
    def clamped(self) -> float:
        """Share of the mesh's points that fall outside the common shape."""
        return 0.0 if self.chart.shared_numbering else self._outward[1]

    @property
    def flipped(self) -> int:
        """How many cells the morphing turned over."""
        return 0 if self.chart.shared_numbering else flipped_cells(self.mesh, self.points)

    @property
    def distortion(self) -> Distortion:
        """What the morphing did to this mesh."""
        return distortion(self.mesh, self.points)

    def to_common(self, values: np.ndarray, on: Location = "point") -> np.ndarray:
        """Values (entity, column) of the mesh, on the common mesh."""
        if self.chart.shared_numbering:
            self._check_cells(on)
            return values
        if on == "cell":
            values = cells_to_points(self.mesh) @ values
        return self.inward @ values

    def from_common(self, values: np.ndarray, on: Location = "point") -> np.ndarray:
        """Values (entity, column) of the common mesh, on this mesh's points or cells."""
        if self.chart.shared_numbering:
            self._check_cells(on)
            return values
        if on == "cell":
            at = np.concatenate(
                [self.points[block].mean(axis=1) for block in self.mesh.cells.values()]
            )
            return self.chart.interpolant.to(at).operator @ values
        return self._outward[0] @ values

    def _check_cells(self, on: Location) -> None:
        if on == "cell" and self.mesh.connectivity != self.chart.reference.connectivity:
            raise ValueError(
                "expected equal cells in all meshes to carry fields on cells by the shared "
                "numbering, got other cells on the same points; bring these fields to points, or "
                "fit with another morphing"
            )


def spread(
    values: Int[np.ndarray, " point"], cells: Int[np.ndarray, "simplex corner"]
) -> Int[np.ndarray, " point"]:
    """Negative values replaced by others' that are few simplices away, 0 where there are none."""
    values = values.copy()
    while (values[cells] < 0).any():
        best = values[cells].max(axis=1)
        # Of a simplex that knows nothing nothing is learnt: it would undo what others tell.
        told = (values[cells.T] < 0) & (best >= 0)
        if not told.any():
            break
        values[cells.T[told]] = np.broadcast_to(best, told.shape)[told]
    return np.maximum(values, 0)


def cells_to_points(mesh: Mesh) -> csr_array:
    """The operator (point, cell) that averages the cells around each point, weighted by their
    size."""
    from scipy.sparse import csr_array, diags_array

    cells, parents = mesh.simplices
    weight = np.abs(signed_measures(mesh.points, cells))
    corners = cells.shape[1]
    entries = (np.repeat(weight, corners), (cells.ravel(), np.repeat(parents, corners)))
    sums = csr_array(entries, shape=(len(mesh.points), mesh.n_cells))
    total = np.asarray(sums.sum(axis=1)).ravel()
    return csr_array(diags_array(1.0 / np.maximum(total, 1e-300)) @ sums)
