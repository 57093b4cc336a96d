"""Derivatives of fields in the loss of operator networks (Peyvan, Kumar, Karniadakis 2025,
arXiv:2501.01934): by differences along the storage order, by least squares over neighbours, or of
the network itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_array
from torch import Tensor

from fieldcast.meshes import Mesh
from fieldcast.meshes.sample import Location
from fieldcast.meshes.topology import boundary, boundary_cells

from .graph import Graph, graph_of, rings
from .operator_data import positions

SAME = 1e-8
"""Points closer than this, in scaled coordinates, have no difference quotient."""
FLOOR = 1e-9
"""Of the least squares' matrix, relative to its trace, added to its diagonal."""


@dataclass(frozen=True)
class Derivative:
    """What is added to the loss: `weight` times the mean square error of first derivatives, of
    fields in their ranges by scaled coordinates, at all points or at those of a `region` alone:
    where fields have fronts, too, the errors there would outweigh those at a wall.

    "least_squares" fits a gradient to the `neighbours` that are fewest steps away within the mesh
    (none across a body), "discrete" divides differences of points that are stored one
    behind the other, "automatic" differentiates the network and fits the data alone.
    """

    kind: str = "least_squares"
    weight: float = 1e-3
    neighbours: int = 40
    region: str = ""

    def __post_init__(self) -> None:
        if self.kind not in ("least_squares", "discrete", "automatic"):
            raise ValueError(
                f'expected "least_squares", "discrete" or "automatic", got {self.kind!r}'
            )
        if self.region and self.kind == "discrete":
            raise ValueError(
                f'expected "least_squares" or "automatic" at the region {self.region!r} alone, got '
                '"discrete", which follows all points in their order'
            )


@dataclass(frozen=True, eq=False)
class Stencils:
    """The gradient at each of some points, `at` (site,), as sum_j weight_j (u_j - u): neighbours
    `ids` (site, neighbour), of the same case, and `weights` (site, neighbour, dim), 0 where there
    is none. `counts`: sites by case."""

    at: Tensor
    ids: Tensor
    weights: Tensor
    counts: tuple[int, ...]

    def gradient(self, u: Tensor) -> Tensor:
        """Of u (point, field) at the sites: (site, dim, field)."""
        return torch.einsum("nkd,nkf->ndf", self.weights, u[self.ids] - u[self.at][:, None])

    def to(self, device: torch.device) -> Stencils:
        """Elsewhere."""
        at, ids, weights = (t.to(device) for t in (self.at, self.ids, self.weights))
        return Stencils(at, ids, weights, self.counts)

    def of_cases(self, rows: Sequence[int], place: Tensor) -> Stencils:
        """Those of some cases, points numbered anew by `place`."""
        firsts = np.cumsum([0, *self.counts])
        own = torch.cat([torch.arange(firsts[r], firsts[r + 1]) for r in rows])
        own = own.to(self.at.device)
        counts = tuple(self.counts[r] for r in rows)
        return Stencils(place[self.at[own]], place[self.ids[own]], self.weights[own], counts)

    def needed(self) -> list[Tensor]:
        """The points that each case's sites ask for, in their order."""
        parts = zip(self.at.split(self.counts), self.ids.split(self.counts), strict=True)
        return [torch.unique(torch.cat([at, ids.ravel()])) for at, ids in parts]


def stencil(
    points: Float[np.ndarray, "point dim"], graph: Graph, count: int
) -> tuple[Int[np.ndarray, "point neighbour"], Float[np.ndarray, "point neighbour dim"]]:
    """Neighbours and weights of least squares in closed form, by the `count` points that are fewest
    steps away, of them the nearest, each equation divided by its distance: in cells that are much
    longer than thick, the nearest points alone would tell nothing of the long side, and the
    farthest would count most."""
    ids, there = fewest_steps(points, graph, count)
    offsets = (points[ids] - points[:, None]) * there[..., None]
    size = np.square(offsets).sum(axis=2, keepdims=True)
    shares = offsets / np.where(size > 0, size, 1.0)
    matrix = np.einsum("nki,nkj->nij", shares, offsets)
    trace = np.trace(matrix, axis1=1, axis2=2)
    matrix += (FLOOR * trace + 1e-300)[:, None, None] * np.eye(points.shape[1])
    weights = np.linalg.solve(matrix, shares.swapaxes(1, 2)).swapaxes(1, 2)
    return ids, weights


def fewest_steps(
    points: Float[np.ndarray, "point dim"], graph: Graph, count: int
) -> tuple[Int[np.ndarray, "point neighbour"], Bool[np.ndarray, "point neighbour"]]:
    """The `count` points that are fewest steps along a graph away, of those as many steps away the
    nearest; each point itself, marked as not there, where there are fewer."""
    most = max(math.ceil(count ** (1 / points.shape[1])), 2)
    found = [ring.matrix.tocoo() for ring in rings(graph, range(1, most + 1))]
    row, column = (np.concatenate([getattr(m, k) for m in found]) for k in ("row", "col"))
    steps = np.repeat(np.arange(len(found)), [m.nnz for m in found])
    order = np.lexsort((np.linalg.norm(points[row] - points[column], axis=1), steps, row))
    row, column = row[order], column[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    row, column, rank = (a[rank < count] for a in (row, column, rank))
    ids = np.tile(np.arange(len(points))[:, None], (1, count))
    ids[row, rank] = column
    there = np.zeros(ids.shape, dtype=bool)
    there[row, rank] = True
    return ids, there


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
    region: str = "",
) -> Stencils:
    """Of all meshes one behind the other, by coordinates as `scaled` makes them; of the points, or
    cells, of a region alone where one is named.

    Raises:
        ValueError: a mesh without that region.
    """
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    first = 0
    most = min(count, min(mesh.size_of(on) for mesh in meshes) - 1)
    for mesh in meshes:
        points = scaled(positions(mesh, on))
        graph = graph_of(mesh) if on == "point" else _cells_beside(mesh)
        ids, weights = stencil(points, graph, most)
        own = _of_region(mesh, on, region) if region else np.arange(len(points))
        parts.append((own + first, ids[own] + first, weights[own]))
        first += len(points)
    at, ids, weights = (np.concatenate(a) for a in zip(*parts, strict=True))
    counts = tuple(len(own) for own, _, _ in parts)
    single = torch.as_tensor(weights, dtype=torch.float32)
    return Stencils(torch.as_tensor(at), torch.as_tensor(ids), single, counts)


def _of_region(mesh: Mesh, on: Location, region: str) -> Int[np.ndarray, " site"]:
    """Points of a region, or cells with a facet there."""
    nodes = mesh.regions.get(region, np.empty(0, dtype=int))
    if on == "cell" and len(nodes):
        nodes = np.unique(boundary_cells(mesh)[np.isin(boundary(mesh), nodes).all(axis=1)])
    if not len(nodes):
        raise ValueError(
            f"derivatives at {region!r}: expected {on}s there, got a mesh with the regions "
            f"{sorted(mesh.regions)}"
        )
    return nodes


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
