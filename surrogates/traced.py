"""What networks are told of the points of a mesh, as torch functions of their coordinates: values
for answers, derivatives for gradients. What is nearest to what is found without derivatives, and
held."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fieldcast.meshes import Mesh
from fieldcast.meshes.sample import Location
from fieldcast.meshes.topology import boundary
from fieldcast.meshes.transfer import closest_on_facets

Points = Float[Tensor, "point dim"]
Places = Float[Tensor, "row dim"]
TOUCHING = 1e-9
"""A corner that weighs less does not hold the nearest place of a facet."""


def _ids(numbers: np.ndarray) -> Tensor:
    return torch.as_tensor(np.array(numbers, dtype=np.int64))


def positions(mesh: Mesh, on: Location, points: Points) -> Float[Tensor, "entity dim"]:
    """Points, or the middles of cells."""
    if on == "point":
        return points
    return torch.cat([points[_ids(b)].mean(dim=1) for b in mesh.cells.values()])


def outward(mesh: Mesh, points: Points) -> Points:
    """Unit normals of boundary points, or of a surface, facets by their size; 0 elsewhere and on
    lines and points."""
    if mesh.cell_dim < 1 or mesh.cell_dim < mesh.dim - 1 or mesh.dim == 1:
        return torch.zeros_like(points)
    faces = _ids(mesh.simplices[0] if mesh.cell_dim < mesh.dim else boundary(mesh))
    corners = points[faces]
    ways = corners[:, 1:] - corners[:, :1]
    if mesh.dim == 2:
        normals = torch.stack([ways[:, 0, 1], -ways[:, 0, 0]], dim=1)
    else:
        normals = torch.linalg.cross(ways[:, 0], ways[:, 1])
    total = torch.zeros_like(points)
    for corner in range(faces.shape[1]):
        total = total.index_add(0, faces[:, corner], normals)
    return unit(total)


def edge_length(mesh: Mesh, points: Points) -> Tensor:
    """The mean length of edges; 0 where there are none."""
    edges = _ids(mesh.edges)
    if not len(edges):
        return points.new_zeros(())
    return length(points[edges[:, 1]] - points[edges[:, 0]]).mean()


def unit(ways: Places) -> Places:
    """Of length 1; 0 where they are 0, where derivatives are too."""
    return ways / length(ways).clamp(min=1e-300)[:, None]


def length(ways: Places) -> Float[Tensor, " row"]:
    """Of rows; where it is 0 its derivative is, too."""
    square = ways.square().sum(dim=1)
    there = square > 0
    return torch.where(there, square, 1.0).sqrt() * there


def nearest(
    mesh: Mesh, ids: np.ndarray, points: Points, at: Places
) -> tuple[Float[Tensor, " row"], Places, Places]:
    """How far the nearest place of a part of the boundary is, where, and the normal there: on the
    facets between the points `ids`, or at these points where they have none."""
    normals = outward(mesh, points)
    facets = boundary(mesh) if mesh.cell_dim == mesh.dim else np.empty((0, mesh.dim), dtype=int)
    facets = facets[np.isin(facets, ids).all(axis=1)]
    if not len(facets):
        place = nearest_points(mesh, ids, at)
        return length(at - points[place]), points[place], normals[place]
    corners, share, _ = closest_on_facets(mesh.points, facets, at.detach().numpy())
    held = _ids(corners)
    weight = shares(points[held], at, torch.as_tensor(share))
    foot, normal = (torch.einsum("pc,pcd->pd", weight, a[held]) for a in (points, normals))
    return length(at - foot), foot, unit(normal)


def nearest_points(mesh: Mesh, ids: np.ndarray, at: Places) -> Int[Tensor, " row"]:
    """Their numbers, of `ids`."""
    from scipy.spatial import cKDTree

    _, place = cKDTree(mesh.points[ids]).query(at.detach().numpy())
    return _ids(np.asarray(ids)[place])


def shares(
    corners: Float[Tensor, "row corner dim"], at: Places, known: Float[Tensor, "row corner"]
) -> Float[Tensor, "row corner"]:
    """The weights of a facet's corners at its place nearest to each point, that are `known`, as a
    function of both: the corners that have no part in it are held."""
    part = known > TOUCHING
    found = part.to(known) / part.sum(dim=1, keepdim=True)
    two, three = (part.sum(dim=1) == n for n in (2, 3))
    if bool(two.any()):
        # The corners that count first.
        order = torch.argsort(part[two].to(torch.int8), dim=1, descending=True, stable=True)[:, :2]
        ends = torch.gather(corners[two], 1, order[:, :, None].expand(-1, -1, corners.shape[2]))
        way = ends[:, 1] - ends[:, 0]
        second = ((at[two] - ends[:, 0]) * way).sum(1) / way.square().sum(1).clamp(min=1e-300)
        own = torch.zeros_like(found[two])
        own = own.scatter(1, order, torch.stack([1.0 - second, second], dim=1))
        found = found.index_put((two.nonzero()[:, 0],), own)
    if bool(three.any()):
        start = corners[three, :1]
        ways = corners[three, 1:] - start
        gram = ways @ ways.mT
        told = (ways @ (at[three] - start[:, 0])[:, :, None])[:, :, 0]
        rest = torch.linalg.solve(gram, told)
        own = torch.cat([1.0 - rest.sum(1, keepdim=True), rest], dim=1)
        found = found.index_put((three.nonzero()[:, 0],), own)
    return found
