"""Networks on graphs: encoder, layers, decoder; whole or in parts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .graph import Graph
from .graph_layers import Batch, Block, Message, RmsNorm, Star, TemporalBlock, mlp

ROOM = 100_000
"""Nodes that are worked at a time."""


class GraphNet(nn.Module):
    """From inputs (node, column) to outputs of nodes (node, channel) and of cases (case, scalar).
    `steps` counts losses, for noise that depends on the step; `star` is there for MultiNode. More
    than `room` nodes are worked in
    parts, layer by layer, each part with the previous states of those it sees: the same answer, in
    the memory of the states between layers and of one part, on the way back, too."""

    def __init__(self, width: int, outputs: int, scalars: int) -> None:
        super().__init__()
        self.width, self.room = width, ROOM
        self.decoder = mlp([width] * 4 + [outputs]) if outputs else None
        self.summary = mlp([width, width, scalars]) if scalars else None
        self.encoder: nn.Module = nn.Identity()
        self.star: Star | None = None
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @property
    @abstractmethod
    def values_kept(self) -> int:
        """Numbers that a node has in all layers together."""

    @abstractmethod
    def states(self, x: Tensor, batch: Batch) -> Tensor:
        """After the last layer, (node, width)."""

    @abstractmethod
    def states_in_parts(self, x: Tensor, pieces: Sequence[Piece]) -> Tensor:
        """The same of one case."""

    def forward(
        self, x: Tensor, batch: Batch, centres: Tensor | None = None
    ) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor]:
        h = self.hidden(x, batch)
        outputs = (self.decoded(h), self.summarised(h, batch))
        return outputs if centres is None else (*outputs, self.around(x, h, batch, centres))

    def hidden(self, x: Tensor, batch: Batch) -> Tensor:
        """States after the last layer, in parts where there are many nodes."""
        if len(x) <= self.room:
            return self.states(x, batch)
        every = zip(torch.split(x, list(batch.sizes)), batch.cases(), strict=True)
        return torch.cat([self._hidden_alone(part, case) for part, case in every])

    def _hidden_alone(self, x: Tensor, batch: Batch) -> Tensor:
        cuts = self._cuts(len(x))
        if len(cuts) == 2:
            return self.states(x, batch)
        return self.states_in_parts(x, [Piece(batch, *ends) for ends in pairwise(cuts)])

    def _cuts(self, nodes: int) -> list[int]:
        count = -(-nodes // self.room)
        return [nodes * k // count for k in range(count + 1)]

    def decoded(self, h: Tensor) -> Tensor:
        """Outputs of nodes."""
        if self.decoder is None:
            return h[:, :0]
        if len(h) <= self.room:
            return self.decoder(h)
        return torch.cat([kept(self.decoder, h[p:q]) for p, q in pairwise(self._cuts(len(h)))])

    def summarised(self, h: Tensor, batch: Batch) -> Tensor:
        """Outputs of cases."""
        if self.summary is None:
            return h.new_zeros(len(batch.sizes), 0)
        total = h.new_zeros(len(batch.sizes), h.shape[1]).index_add(0, batch.case, h)
        return self.summary(total / torch.tensor(batch.sizes).to(h)[:, None])

    def around(self, x: Tensor, h: Tensor, batch: Batch, centres: Tensor) -> Tensor:
        """Outputs of the neighbours of some nodes, by those nodes' states (centre, neighbour,
        channel)."""
        if self.star is None or self.decoder is None:
            raise TypeError("expected a network of nodes' outputs with MultiNode")
        nodes, there = batch.graphs[0].lists(centres)
        return self.decoder(self.star(h[centres], self.encoder(x[nodes]), there))


class HiddenInputs(nn.Module):
    """A network that fills in the inputs of nodes that are hidden; for training before training."""

    def __init__(self, net: GraphNet, columns: int) -> None:
        super().__init__()
        self.net, self.instead = net, nn.Parameter(torch.zeros(columns))
        self.filled = mlp([net.width, net.width, columns])
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor, batch: Batch, hidden: Tensor) -> Tensor:
        """Inputs (hidden node, column)."""
        shown = torch.where(hidden[:, None], self.instead, x)
        return self.filled(self.net.hidden(shown, batch)[hidden])


class TransformerNet(GraphNet):
    """h = norm(MLP(x)), then blocks (reference: Garnier et al. 2025, arXiv:2508.18051). With
    `recompute` nothing but the states between blocks is kept for the way back."""

    def __init__(
        self,
        columns: int,
        outputs: int,
        scalars: int,
        blocks: Sequence[Block],
        recompute: bool = False,
        temporal: TemporalBlock | None = None,
    ) -> None:
        width = len(blocks[0].before.scale)
        super().__init__(width, outputs, scalars)
        self.encoder = nn.Sequential(mlp([columns] + [width] * 4), RmsNorm(width))
        self.blocks = nn.ModuleList(blocks)
        self.recompute, self.temporal = recompute, temporal

    @property
    def values_kept(self) -> int:
        return self.width * (1 if self.recompute else len(self.blocks))

    def states(self, x: Tensor, batch: Batch) -> Tensor:
        h = before = self.encoder(x)
        for block in self.blocks:
            before = h
            if self.recompute and torch.is_grad_enabled():
                h = checkpoint(block, h, batch, use_reentrant=False)
            else:
                h = block(h, batch)
        return h if self.temporal is None else self.temporal(before, h, batch)

    def states_in_parts(self, x: Tensor, pieces: Sequence[Piece]) -> Tensor:
        h = before = torch.cat([kept(self.encoder, x[p.first : p.last]) for p in pieces])
        for block in cast("Iterable[Block]", self.blocks):
            before, sums = h, None
            if block.tokens is not None:
                found = [kept(block.gathered, h[p.first : p.last], p.own) for p in pieces]
                sums = tuple(sum(part) for part in zip(*found, strict=True))
            h = torch.cat([kept(block.local, h[p.seen], sums, p.batch)[: p.count] for p in pieces])
        if self.temporal is None:
            return h
        ends = [kept(self.temporal, before[p.seen], h[p.seen], p.batch) for p in pieces]
        return torch.cat([end[: p.count] for p, end in zip(pieces, ends, strict=True)])


class MessageNet(GraphNet):
    """MeshGraphNet: nodes and edges, encoded, pass messages. Edges tell where the sender lies from
    the receiver, and how far, in mean edge lengths; on the mesh and, with `now`, as nodes lie."""

    def __init__(
        self,
        columns: int,
        outputs: int,
        scalars: int,
        layers: Sequence[Message],
        dim: int,
        now: bool = False,
    ) -> None:
        width = layers[0].edge.in_features
        super().__init__(width, outputs, scalars)
        self.dim = dim
        self.encoder = nn.Sequential(mlp([columns] + [width] * 3), nn.LayerNorm(width))
        self.edges = nn.Sequential(mlp([(dim + 1) * (1 + now)] + [width] * 3), nn.LayerNorm(width))
        self.layers = nn.ModuleList(layers)

    @property
    def values_kept(self) -> int:
        return 6 * self.width * len(self.layers)

    def states(self, x: Tensor, batch: Batch) -> Tensor:
        h, e = self.encoder(x), self._edges(batch)
        for layer in self.layers:
            h, e = layer(h, e, batch.graphs[0])
        return h

    def _edges(self, batch: Batch) -> Tensor:
        graph = batch.graphs[0]
        gap = batch.points.index_select(0, graph.column) - batch.points.index_select(0, graph.row)
        ways = torch.split(gap, self.dim, dim=1)
        found = [part for way in ways for part in (way, way.norm(dim=1, keepdim=True))]
        return self.edges(torch.cat(found, dim=1))

    def states_in_parts(self, x: Tensor, pieces: Sequence[Piece]) -> Tensor:
        h = torch.cat([kept(self.encoder, x[p.first : p.last]) for p in pieces])
        edges = [kept(self._edges, p.batch) for p in pieces]
        for layer in self.layers:
            states = []
            for k, p in enumerate(pieces):
                found, edges[k] = kept(layer, h[p.seen], edges[k], p.batch.graphs[0])
                states.append(found[: p.count])
            h = torch.cat(states)
        return h


def kept(function: Callable[..., Any], *given: Any) -> Any:
    """What a function gives, computed again on the way back instead of kept."""
    if torch.is_grad_enabled():
        return checkpoint(function, *given, use_reentrant=False)
    return function(*given)


class Piece:
    """Nodes `first` to `last` of a case, and behind them the others they see; those see nobody."""

    def __init__(self, batch: Batch, first: int, last: int) -> None:
        self.first, self.last, self.count = first, last, last - first
        device = batch.points.device
        columns = [graph.rows(first, last)[1].long() for graph in batch.graphs]
        every = torch.unique(torch.cat(columns))
        halo = every[(every < first) | (every >= last)]
        self.seen = torch.cat([torch.arange(first, last, device=device), halo])
        place = torch.full((len(batch.points),), -1, dtype=torch.int32, device=device)
        place[self.seen] = torch.arange(len(self.seen), dtype=torch.int32, device=device)
        graphs = []
        for graph, column in zip(batch.graphs, columns, strict=True):
            start = graph.start[first : last + 1] - graph.start[first]
            rest = start[-1:].expand(len(halo))
            graphs.append(Graph(torch.cat([start, rest]), place[column]))
        points = batch.points[self.seen]
        self.batch = Batch(tuple(graphs), (len(self.seen),), points)
        self.own = replace(self.batch, graphs=(), sizes=(self.count,), points=points[: self.count])
