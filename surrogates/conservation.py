"""Conservation defects: what a predicted field gets wrong of integrals over its own mesh and of
fluxes through its boundary.

An error that is small everywhere may still add up; one that is large may cancel. Integrals are
those of the linear interpolation on the simplices of `Mesh.simplices`: exact for linear fields on
any cells; nodes of quadratic cells that are no corners don't count.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Field, Mesh
from fieldcast.meshes.normals import facet_normals
from fieldcast.meshes.sample import Location
from fieldcast.meshes.topology import boundary, signed_measures

NIL = 1e-12
"""A size below this share of the largest of all cases counts as if it were this share."""


def measures(mesh: Mesh, on: Location) -> Float[np.ndarray, " entity"]:
    """w with integral(u) = sum_i w_i u_i [m^d]: of a cell its measure, of a point 1 / (d + 1) of
    that of the simplices around it. Cells of lower dimension weigh nothing; without cells every
    point weighs 1."""
    cells, parents = mesh.simplices
    if not len(cells):
        return np.ones(mesh.size_of(on))
    size = np.abs(signed_measures(mesh.points, cells))
    if on == "cell":
        return np.bincount(parents, size, mesh.n_cells)
    corners = cells.shape[1]
    return np.bincount(cells.ravel(), np.repeat(size / corners, corners), len(mesh.points))


class Measures:
    """The `measures` of meshes; equal meshes are measured once, for as long as this is kept."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, Location], np.ndarray] = {}

    def of(self, mesh: Mesh, on: Location) -> Float[np.ndarray, " entity"]:
        """Those of one mesh."""
        key = mesh.id, on
        if key not in self._kept:
            self._kept[key] = measures(mesh, on)
        return self._kept[key]


def integral(
    weights: Float[np.ndarray, " entity"], values: Float[np.ndarray, "time entity component"]
) -> Float[np.ndarray, "time component"]:
    """integral(u) of each component at each time, in the field's unit times m^d."""
    return np.einsum("e,tec->tc", weights, values)


def integral_defects(
    meshes: Sequence[Mesh],
    truth: Sequence[Field],
    found: Sequence[Field],
    kept: Measures | None = None,
) -> Float[np.ndarray, " case"]:
    """max_{t,c} |integral(v_c) - integral(u_c)| / max_t integral(|u|) [-] of each case, true field
    u and predicted field v, |.| the length of the vector at a point.

    Every component and time is compared by itself and the largest error counts. It is relative to
    the whole vector, so that a component that vanishes divides by nothing small, and to the
    largest over time, so that a start from rest doesn't either.
    """
    kept = kept or Measures()
    gaps, sizes = [], []
    for mesh, u, v in zip(meshes, truth, found, strict=True):
        weights = kept.of(mesh, u.on)
        gap = np.asarray(v.values, dtype=float) - u.values
        gaps.append(float(np.abs(integral(weights, gap)).max()))
        sizes.append(float((np.linalg.norm(u.values, axis=2) @ weights).max()))
    return _share(gaps, sizes)


def flux(
    mesh: Mesh, field: Field
) -> tuple[Float[np.ndarray, " time"], Float[np.ndarray, " time"]] | None:
    """(net, gross) through the boundary at each time: the integrals of u.n and |u.n|, n outwards,
    in the field's unit times m^(d-1). None for what has no flux: fields that aren't on points or
    haven't a component per dimension; meshes that don't fill a plane or a space.

    |u.n| is taken at the corners of each facet, which is exact where it has one sign there.
    """
    fits = field.on == "point" and field.values.shape[2] == mesh.dim == mesh.cell_dim
    if not fits or mesh.dim < 2:
        return None
    faces = boundary(mesh)
    # As long as the segment, or as twice the triangle's area.
    normals = facet_normals(mesh.points, faces) / (mesh.dim - 1)
    through = np.einsum("tfkc,fc->tfk", field.values[:, faces], normals) / mesh.dim
    return through.sum(axis=(1, 2)), np.abs(through).sum(axis=(1, 2))


def flux_defects(
    meshes: Sequence[Mesh], truth: Sequence[Field], found: Sequence[Field]
) -> Float[np.ndarray, " case"] | None:
    """max_t |net(v) - net(u)| / max_t gross(u) [-] of each case, u true and v predicted, net and
    gross as in `flux`; None where they have no flux."""
    gaps, sizes = [], []
    for mesh, u, v in zip(meshes, truth, found, strict=True):
        true, answered = flux(mesh, u), flux(mesh, v)
        if true is None or answered is None:
            return None
        gaps.append(float(np.abs(answered[0] - true[0]).max()))
        sizes.append(float(true[1].max()))
    return _share(gaps, sizes)


def _share(gaps: Sequence[float], sizes: Sequence[float]) -> np.ndarray:
    """Gaps over sizes, none of these below `NIL` of the largest."""
    size = np.array(sizes, dtype=float)
    return np.array(gaps, dtype=float) / np.maximum(size, max(NIL * size.max(initial=0.0), 1e-100))
