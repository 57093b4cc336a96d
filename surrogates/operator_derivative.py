"""Derivatives of fields in the loss of operator networks (Peyvan, Kumar, Karniadakis 2025,
arXiv:2501.01934): by differences along the storage order, by least squares over neighbours, or of
the network itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_array
from torch import Tensor

from fieldcast.meshes import Mesh
from fieldcast.meshes.sample import Location

from .graph import Graph, graph_of, within
from .operator_data import positions

SAME = 1e-8
"""Points closer than this, in scaled coordinates, have no difference quotient."""
FLOOR = 1e-9
"""Of the least squares' matrix, relative to its trace, added to its diagonal."""


@dataclass(frozen=True)
class Derivative:
    """What is added to the loss: `weight` times the mean square error of first derivatives, of
    fields in their ranges by scaled coordinates.

    "least_squares" fits a gradient to the `neighbours` nearest points that can be reached within
    the mesh (none across a body), "discrete" divides differences of points that are stored one
    behind the other, "automatic" differentiates the network and fits the data alone.
    """

    kind: str = "least_squares"
    weight: float = 1e-3
    neighbours: int = 40

    def __post_init__(self) -> None:
        if self.kind not in ("least_squares", "discrete", "automatic"):
            raise ValueError(
                f'expected "least_squares", "discrete" or "automatic", got {self.kind!r}'
            )


@dataclass(frozen=True, eq=False)
class Stencils:
    """The gradient at each point as sum_j weight_j (u_j - u): neighbours `ids` (point, neighbour),
    of the same case, and `weights` (point, neighbour, dim), 0 where there is none."""

    ids: Tensor
    weights: Tensor

    def gradient(self, u: Tensor) -> Tensor:
        """Of u (point, field): (point, dim, field)."""
        return torch.einsum("nkd,nkf->ndf", self.weights, u[self.ids] - u[:, None])

    def to(self, device: torch.device) -> Stencils:
        """Elsewhere."""
        return Stencils(self.ids.to(device), self.weights.to(device))


def stencil(
    points: Float[np.ndarray, "point dim"], near: csr_array, count: int
) -> tuple[Int[np.ndarray, "point neighbour"], Float[np.ndarray, "point neighbour dim"]]:
    """Neighbours and weights of least squares in closed form, by the `count` nearest points, those
    left out that `near` does not join."""
    from scipy.spatial import cKDTree

    count, dim = min(count, len(points) - 1), points.shape[1]
    if not count:
        return np.zeros((len(points), 0), dtype=np.int64), np.zeros((len(points), 0, dim))
    ids = cKDTree(points).query(points, k=count + 1)[1][:, 1:].reshape(len(points), count)
    rows = np.repeat(np.arange(len(points)), count)
    joined = np.asarray(near[rows, ids.ravel()]).reshape(ids.shape) > 0
    offsets = (points[ids] - points[:, None]) * joined[..., None]
    matrix = np.einsum("nki,nkj->nij", offsets, offsets)
    trace = np.trace(matrix, axis1=1, axis2=2)
    matrix += (FLOOR * trace + 1e-300)[:, None, None] * np.eye(dim)
    weights = np.linalg.solve(matrix, offsets.swapaxes(1, 2)).swapaxes(1, 2)
    return ids, weights


def joined_within(mesh: Mesh, on: Location, count: int) -> csr_array:
    """Which points, or middles of cells, can be reached within the mesh in so few steps that about
    `count` can be."""
    graph = graph_of(mesh) if on == "point" else _cells_beside(mesh)
    hops = count / 2 if mesh.cell_dim < 2 else count ** (1 / mesh.cell_dim)
    return within(graph, max(math.ceil(hops), 1)).matrix


def _cells_beside(mesh: Mesh) -> Graph:
    """Cells that share a point."""
    nodes = [block.ravel() for block in mesh.cells.values()]
    sizes = [np.full(len(block), block.shape[1]) for block in mesh.cells.values()]
    cell = np.repeat(np.arange(mesh.n_cells), np.concatenate(sizes))
    shape = (mesh.n_cells, len(mesh.points))
    member = csr_array((np.ones(len(cell), np.int32), (cell, np.concatenate(nodes))), shape=shape)
    both = csr_array(member @ member.T)
    both.setdiag(0)
    both.eliminate_zeros()
    return Graph.of_matrix(both)


def stencils_of(
    meshes: Sequence[Mesh],
    on: Location,
    scaled: Callable[[np.ndarray], np.ndarray],
    count: int,
) -> Stencils:
    """Of all meshes one behind the other, by coordinates as `scaled` makes them."""
    all_ids: list[np.ndarray] = []
    all_weights: list[np.ndarray] = []
    first = 0
    most = min(count, min(mesh.size_of(on) for mesh in meshes) - 1)
    for mesh in meshes:
        points = scaled(positions(mesh, on))
        ids, weights = stencil(points, joined_within(mesh, on, count), most)
        all_ids.append(ids + first)
        all_weights.append(weights)
        first += len(points)
    found = torch.as_tensor(np.concatenate(all_weights), dtype=torch.float32)
    return Stencils(torch.as_tensor(np.concatenate(all_ids)), found)


def discrete_square(error: Tensor, x: Tensor, counts: Sequence[int]) -> Tensor:
    """The mean square of difference quotients of `error` (point, field) along the storage order,
    within each case."""
    gap = x[1:] - x[:-1]
    size = gap.norm(dim=1)
    size = torch.where(size > SAME, size, 1.0)
    inside = torch.ones(len(size), dtype=torch.bool, device=x.device)
    ends = torch.as_tensor(np.cumsum(counts)[:-1] - 1, device=x.device)
    inside[ends] = False
    quotients = ((error[1:] - error[:-1]) / size[:, None])[inside]
    return quotients.square().sum() / max(quotients.numel(), 1)


def automatic_gradient(function: Callable[[Tensor], Tensor], x: Tensor, dim: int) -> Tensor:
    """Of function(x) (point, field) by the first `dim` columns of x (point, column), each point's
    by its own: (point, dim, field)."""
    with torch.enable_grad():
        at = x.detach().requires_grad_()
        values = function(at)
        found = [
            torch.autograd.grad(column.sum(), at, create_graph=True)[0][:, :dim]
            for column in values.unbind(1)
        ]
    return torch.stack(found, dim=2)
