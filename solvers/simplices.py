"""Finite elements on triangles and tetrahedra, by scikit-fem: what the solvers here share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fieldcast.meshes import Case, Mesh

INSTALL = "pip install 'fieldcast[solvers]'"


def missing() -> str | None:
    """None if scikit-fem is there, else what to install."""
    from importlib.util import find_spec

    return None if find_spec("skfem") else INSTALL


def fem_mesh(case: Case, dim: int) -> Any:
    """The mesh of a case for scikit-fem, in simplices, its points numbered alike.

    Raises:
        ValueError: cells of another dimension, or points that no cell has.
    """
    import skfem

    mesh = case.mesh
    if mesh.dim != dim or mesh.cell_dim != dim:
        raise ValueError(
            f"case {case.label}: expected cells that fill {dim} dimensions, got cells of dimension "
            f"{mesh.cell_dim} in {mesh.dim}"
        )
    simplices, _ = mesh.simplices
    if len(np.unique(simplices)) != len(mesh.points):
        raise ValueError(f"case {case.label}: expected every point to be a corner of a cell")
    kind = skfem.MeshTri if dim == 2 else skfem.MeshTet
    return kind(
        np.ascontiguousarray(mesh.points.T), np.ascontiguousarray(simplices.T.astype(np.int64))
    )


def facets_in(fem: Any, mesh: Mesh, region: str) -> Int[np.ndarray, " facet"]:
    """The boundary facets all of whose points are in a region; none where there is no such
    region."""
    if region not in mesh.regions:
        return np.empty(0, dtype=np.int64)
    on = fem.boundary_facets()
    inside = np.isin(fem.facets[:, on], mesh.regions[region]).all(axis=0)
    return on[inside]


def nodes_in(mesh: Mesh, region: str) -> Int[np.ndarray, " point"]:
    """The points of a region; none where there is no such region."""
    return mesh.regions.get(region, np.empty(0, dtype=np.int64))


def averaged_at_points(
    mesh: Mesh, values: Float[np.ndarray, "simplex component"]
) -> Float[np.ndarray, "point component"]:
    """Means over the simplices at each point, weighed by their size."""
    simplices, _ = mesh.simplices
    corners = mesh.points[simplices]
    size = np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1]))
    ids, corner = simplices.ravel(), simplices.shape[1]
    weight = np.bincount(ids, np.repeat(size, corner), len(mesh.points))
    spread = np.repeat(values * size[:, None], corner, axis=0)
    sums = [np.bincount(ids, column, len(mesh.points)) for column in spread.T]
    return np.stack(sums, axis=1) / weight[:, None]


def checked(case: Case, values: Mapping[str, float], positive: tuple[str, ...]) -> None:
    """Raises:
    ValueError: a parameter that is not finite, or one of `positive` that is not.
    """
    if not np.isfinite(list(values.values())).all():
        raise ValueError(f"case {case.label}: expected finite parameters, got {dict(values)}")
    wrong = [name for name in positive if not values[name] > 0]
    if wrong:
        raise ValueError(f"case {case.label}: expected positive {wrong}, got {dict(values)}")
