"""Normals of boundaries and surfaces, and the signed distance to a boundary."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from .mesh import Mesh
from .topology import boundary
from .transfer import closest_on_facets


def facet_normals(
    points: Float[np.ndarray, "point dim"], faces: Int[np.ndarray, "facet corner"]
) -> Float[np.ndarray, "facet dim"]:
    """Normals of segments in the plane (to the right of the way) or triangles in space, as long as
    the segment, or as twice the triangle's area."""
    if faces.shape[1] == 2 and points.shape[1] == 2:
        along = points[faces[:, 1]] - points[faces[:, 0]]
        return np.stack([along[:, 1], -along[:, 0]], axis=1)
    if faces.shape[1] == 3 and points.shape[1] == 3:
        u, v = (points[faces[:, k]] - points[faces[:, 0]] for k in (1, 2))
        return np.cross(u, v)
    raise ValueError(
        f"expected segments in 2 or triangles in 3 dimensions, got facets of {faces.shape[1]} "
        "corners "
        f"in {points.shape[1]}"
    )


def point_normals(mesh: Mesh) -> Float[np.ndarray, "point dim"]:
    """Unit outward normals at the points of the boundary (of meshes that fill their space) or of
    the surface (of surfaces in space, towards where its triangles run counter-clockwise); zero
    elsewhere. Facets weigh by their size."""
    surface = mesh.cell_dim < mesh.dim
    faces = mesh.simplices[0] if surface else boundary(mesh)
    normals = facet_normals(mesh.points, faces)
    total = np.zeros_like(mesh.points)
    for corner in range(faces.shape[1]):
        np.add.at(total, faces[:, corner], normals)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return total / np.where(length > 0, length, 1.0)


def signed_distance(mesh: Mesh, x: Float[np.ndarray, "point dim"]) -> Float[np.ndarray, " point"]:
    """Distance [m] from `x` to the boundary of a mesh that fills its space: negative inside the
    mesh, positive outside and in its holes.

    The sign is that of the nearest facet's normal, at edges and corners the sum of the normals
    around weighted by angle (Baerentzen and Aanaes 2005, doi:10.1109/TVCG.2005.49).

    Raises:
        ValueError: a mesh whose cells do not fill its space.
    """
    if mesh.cell_dim != mesh.dim or mesh.dim < 2:
        raise ValueError(
            f"expected cells that fill a space of 2 or 3 dimensions, got cells of dimension "
            f"{mesh.cell_dim} in {mesh.dim}"
        )
    faces = boundary(mesh)
    corners, weights, distance = closest_on_facets(mesh.points, faces, x)
    offset = x - np.einsum("pc,pcd->pd", weights, mesh.points[corners])
    normals = _angle_weighted(mesh, faces)
    # Inside a facet all corners count; on an edge or a corner only those that hold the point.
    direction = np.einsum("pc,pcd->pd", weights, normals[corners])
    inside_facet = (weights > 1e-9).all(axis=1)
    flat = facet_normals(mesh.points, corners[inside_facet])
    direction[inside_facet] = flat
    return np.where((direction * offset).sum(axis=1) < 0, -distance, distance)


def _angle_weighted(
    mesh: Mesh, faces: Int[np.ndarray, "facet corner"]
) -> Float[np.ndarray, "point dim"]:
    normals = facet_normals(mesh.points, faces)
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    total = np.zeros_like(mesh.points)
    for k in range(faces.shape[1]):
        angle = np.ones(len(faces))
        if faces.shape[1] == 3:
            u, v = (mesh.points[faces[:, (k + j) % 3]] - mesh.points[faces[:, k]] for j in (1, 2))
            cosine = (u * v).sum(1) / np.maximum(
                np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1), 1e-300
            )
            angle = np.arccos(np.clip(cosine, -1, 1))
        np.add.at(total, faces[:, k], normals * angle[:, None])
    return total
