"""Graphs: who attends to whom, as compressed rows.

This file and `attention.py` import nothing but numpy, scipy and torch, of old versions too, so that
they work beside dgl.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

if TYPE_CHECKING:
    from fieldcast.meshes import Mesh

MORTON_BITS = 20
"""Bits of each coordinate in a Morton code; with three coordinates 60 of 63."""
LEAST_NEIGHBOURS = 6
"""Neighbours of a point of a mesh without edges."""


@dataclass(frozen=True, eq=False)
class Graph:
    """Node i sees the nodes `column[start[i]:start[i + 1]]`, in rising order, none twice.

    `start` (node + 1,) int64, `column` (edge,) int32. An edge's row is the node that receives
    (query), its column the one that sends (key).
    """

    start: Tensor
    column: Tensor

    @classmethod
    def of(cls, nodes: int, rows: np.ndarray, columns: np.ndarray) -> Graph:
        """From edges in any order; repeated ones count once.

        Raises:
            ValueError: numbers of nodes that are not there.
        """
        rows, columns = (np.asarray(part).ravel() for part in (rows, columns))
        if len(rows) != len(columns):
            raise ValueError(f"expected as many rows as columns, got {len(rows)}, {len(columns)}")
        for part in (rows, columns):
            if len(part) and not 0 <= int(part.min()) <= int(part.max()) < nodes:
                raise ValueError(
                    f"expected edges between nodes 0 to {nodes - 1}, got {part.min()}, {part.max()}"
                )
        flags = np.ones(len(rows), dtype=np.int8)
        return cls.of_matrix(csr_array((flags, (rows, columns)), shape=(nodes, nodes)))

    @classmethod
    def of_matrix(cls, matrix: csr_array) -> Graph:
        """The pattern of a square matrix: every stored entry is an edge."""
        matrix = csr_array(matrix)
        matrix.sum_duplicates()
        start, column = np.array(matrix.indptr, np.int64), np.array(matrix.indices, np.int32)
        return cls(torch.from_numpy(start), torch.from_numpy(column))

    @property
    def nodes(self) -> int:
        """How many."""
        return len(self.start) - 1

    @property
    def edges(self) -> int:
        """How many, each direction counted."""
        return len(self.column)

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.start.device

    @cached_property
    def degree(self) -> Tensor:
        """Neighbours that each node sees, (node,) int64."""
        return self.start.diff()

    @cached_property
    def row(self) -> Tensor:
        """The row of each edge, (edge,) int64."""
        nodes = torch.arange(self.nodes, device=self.device)
        return torch.repeat_interleave(nodes, self.degree, output_size=self.edges)

    @cached_property
    def matrix(self) -> csr_array:
        """The pattern, ones where edges are (int32)."""
        start, column = self.start.cpu().numpy(), self.column.cpu().numpy()
        shape = (self.nodes, self.nodes)
        return csr_array((np.ones(self.edges, dtype=np.int32), column, start), shape=shape)

    @cached_property
    def _turned(self) -> tuple[Graph, Tensor]:
        numbered = self.matrix.copy()
        numbered.data = np.arange(self.edges, dtype=np.int64)
        turned = csr_array(numbered.T)
        turned.sort_indices()
        found = Graph.of_matrix(turned).to(self.device)
        return found, torch.from_numpy(turned.data.copy()).to(self.device)

    @property
    def transpose(self) -> Graph:
        """Every edge the other way: who is seen by whom."""
        return self._turned[0]

    @property
    def mirror(self) -> Tensor:
        """For every edge of the transpose its number here, (edge,) int64."""
        return self._turned[1]

    @cached_property
    def start32(self) -> Tensor:
        """`start` in the type of `column`.

        Raises:
            ValueError: more edges than it can count.
        """
        if self.edges >= 2**31:
            raise ValueError(f"expected fewer than 2^31 edges, got {self.edges}")
        return self.start.to(torch.int32)

    def buckets(self, count: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Nodes in `count` groups of like degree: their numbers (member,), their neighbours
        (member, most) padded with 0, both int64, and which are there (member, most)."""
        if count not in self._buckets:
            order = torch.argsort(self.degree, stable=True)
            self._buckets[count] = [(rows, *self.lists(rows)) for rows in order.chunk(count)]
        return self._buckets[count]

    @cached_property
    def _buckets(self) -> dict[int, list[tuple[Tensor, Tensor, Tensor]]]:
        return {}

    def lists(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The neighbours of some nodes (row, most), int64, padded with 0, and which are there."""
        degree = self.degree[rows]
        # Lists of two at least: a compiled loop over one is another program.
        place = torch.arange(max(int(degree.max()), 2), device=self.device)
        there = place < degree[:, None]
        edge = torch.where(there, self.start[rows][:, None] + place, 0)
        return torch.where(there, self.column[edge].long(), 0), there

    def to(self, device: torch.device | str | None) -> Graph:
        """The same elsewhere; the same object where it lies there already."""
        if device is None or torch.device(device) == self.device:
            return self
        moved = Graph(self.start.to(device), self.column.to(device))
        if "_turned" in self.__dict__:
            moved.__dict__["_turned"] = (self.transpose.to(device), self.mirror.to(device))
        return moved

    def reordered(self, order: np.ndarray) -> Graph:
        """With node `order[k]` as number k."""
        return Graph.of_matrix(self.matrix[order][:, order])

    def part(self, first: int, last: int) -> Graph:
        """Nodes first to last - 1, numbered from 0, and the edges between them."""
        row, column = self.rows(first, last)
        inside = (column >= first) & (column < last)
        start = torch.zeros(last - first + 1, dtype=torch.int64, device=self.device)
        start[1:] = torch.bincount(row[inside], minlength=last - first).cumsum(0)
        return Graph(start, column[inside] - first)

    def rows(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Row numbers, counted from `first`, and columns of the edges of rows first to last - 1."""
        span = slice(int(self.start[first]), int(self.start[last]))
        return self.row[span] - first, self.column[span]


def graph_of(mesh: Mesh) -> Graph:
    """The edges of all cells, both ways; of points without cells the nearest neighbours."""
    pairs = mesh.edges
    n = len(mesh.points)
    if not len(pairs) and n > 1:
        return nearest(mesh.points, min(LEAST_NEIGHBOURS, n - 1))
    return both_ways(n, pairs)


def both_ways(nodes: int, pairs: np.ndarray) -> Graph:
    """Of pairs (pair, 2), each both ways; a node is no neighbour of itself."""
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    return Graph.of(nodes, pairs.ravel(), pairs[:, ::-1].ravel())


def nearest(points: np.ndarray, count: int) -> Graph:
    """Every point with its `count` nearest others, both ways."""
    from scipy.spatial import cKDTree

    found = cKDTree(points).query(points, k=count + 1)[1][:, 1:]
    own = np.repeat(np.arange(len(points)), count)
    return both_ways(len(points), np.stack([own, found.ravel()], axis=1))


def world(points: np.ndarray, radius: float, groups: np.ndarray) -> Graph:
    """Points of different `groups` (point,) closer than `radius` [m], both ways: contact."""
    from scipy.spatial import cKDTree

    pairs = cKDTree(points).query_pairs(radius, output_type="ndarray")
    return both_ways(len(points), pairs[groups[pairs[:, 0]] != groups[pairs[:, 1]]])


def scattered(nodes: int, count: int, seed: int) -> Graph:
    """`count` random pairs, both ways."""
    return both_ways(nodes, np.random.default_rng(seed).integers(nodes, size=(count, 2)))


def rings(graph: Graph, radii: Sequence[int]) -> list[Graph]:
    """For each radius who is exactly that many edges away."""
    wanted, found = set(radii), {}
    step = graph.matrix
    eye = csr_array((np.ones(graph.nodes, np.int32), (np.arange(graph.nodes),) * 2), step.shape)
    seen, front = eye, eye
    for radius in range(1, max(radii) + 1):
        reached = _pattern(front @ step)
        front = _pattern(reached - reached.multiply(seen))
        seen = _pattern(seen + front)
        if radius in wanted:
            found[radius] = Graph.of_matrix(front)
    return [found[radius] for radius in radii]


def within(graph: Graph, hops: int) -> Graph:
    """All who are at most so many edges away (K-hop)."""
    return union(rings(graph, range(1, hops + 1))) if hops > 1 else graph


def union(graphs: Sequence[Graph]) -> Graph:
    """The edges of all, over the same nodes."""
    total = graphs[0].matrix
    for graph in graphs[1:]:
        total = total + graph.matrix
    return Graph.of_matrix(_pattern(total))


def _pattern(matrix: Any) -> csr_array:
    found = csr_array(matrix)
    found.eliminate_zeros()
    found.data = np.ones(len(found.data), dtype=np.int32)
    return found


def packed(graphs: Sequence[Graph]) -> Graph:
    """Graphs side by side as one, nodes numbered on: nobody sees another graph."""
    if len(graphs) == 1:
        return graphs[0]
    nodes = np.cumsum([0, *(g.nodes for g in graphs)]).tolist()
    edges = np.cumsum([0, *(g.edges for g in graphs)]).tolist()
    starts = [g.start[:-1] + e for g, e in zip(graphs, edges[:-1], strict=True)]
    columns = [g.column + n for g, n in zip(graphs, nodes[:-1], strict=True)]
    last = torch.full((1,), edges[-1], dtype=torch.int64, device=graphs[0].device)
    found = Graph(torch.cat([*starts, last]), torch.cat(columns))
    if all("_turned" in g.__dict__ for g in graphs):
        mirrors = [g.mirror + e for g, e in zip(graphs, edges[:-1], strict=True)]
        found.__dict__["_turned"] = (packed([g.transpose for g in graphs]), torch.cat(mirrors))
    return found


def cuthill_mckee(graph: Graph) -> np.ndarray:
    """Order of nodes in which neighbours have close numbers (reverse Cuthill-McKee); node
    `order[k]` becomes number k."""
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    matrix = graph.matrix
    return reverse_cuthill_mckee(csr_array(matrix + matrix.T), symmetric_mode=True).astype(np.int64)


def morton(points: np.ndarray) -> np.ndarray:
    """Order of points along a Z-curve: near ones get close numbers; faster than `cuthill_mckee`."""
    span = np.maximum(np.ptp(points, axis=0).max(), 1e-300)
    cells = ((points - points.min(axis=0)) / span * (2**MORTON_BITS - 1)).astype(np.uint64)
    dim, code = points.shape[1], np.zeros(len(points), dtype=np.uint64)
    for bit in range(MORTON_BITS):
        for axis in range(dim):
            flag = (cells[:, axis] >> np.uint64(bit)) & np.uint64(1)
            code |= flag << np.uint64(dim * bit + axis)
    return np.argsort(code, kind="stable")


def across(graph: Graph) -> int:
    """The most edges between two nodes of the largest degree's piece, as two sweeps find it: a
    lower bound, mostly tight on meshes."""
    from scipy.sparse.csgraph import dijkstra

    if not graph.edges:
        return 0
    node = int(graph.degree.argmax())
    for _ in range(2):
        far = dijkstra(graph.matrix, unweighted=True, indices=node)
        far[np.isinf(far)] = 0
        node = int(far.argmax())
    return int(far.max())
