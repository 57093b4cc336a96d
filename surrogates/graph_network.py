"""Networks on graphs: encoder, layers, decoder; whole or in parts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .graph import Graph
from .graph_layers import Batch, Block, Message, RmsNorm, mlp


class GraphNet(nn.Module):
    """From inputs (node, column) to outputs of nodes (node, channel) and of cases (case, scalar).
    `steps` counts losses, for noise that depends on the step."""

    def __init__(self, width: int, outputs: int, scalars: int) -> None:
        super().__init__()
        self.width = width
        self.decoder = mlp([width] * 4 + [outputs]) if outputs else None
        self.summary = mlp([width, width, scalars]) if scalars else None
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @property
    @abstractmethod
    def values_kept(self) -> int:
        """Numbers that a node has in all layers together."""

    @abstractmethod
    def states(self, x: Tensor, batch: Batch) -> Tensor:
        """After the last layer, (node, width)."""

    def forward(self, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.decoded(self.states(x, batch), batch)

    def decoded(self, h: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Outputs of nodes and of cases."""
        nodes, cases = h.new_zeros(len(h), 0), h.new_zeros(len(batch.sizes), 0)
        if self.decoder is not None:
            nodes = self.decoder(h)
        if self.summary is not None:
            total = h.new_zeros(len(batch.sizes), h.shape[1]).index_add(0, batch.case, h)
            cases = self.summary(total / torch.tensor(batch.sizes).to(h)[:, None])
        return nodes, cases


class TransformerNet(GraphNet):
    """h = norm(MLP(x)), then blocks (reference: Garnier et al. 2025, arXiv:2508.18051). With
    `recompute` nothing but the states between blocks is kept for the way back."""

    def __init__(
        self, columns: int, outputs: int, scalars: int, blocks: Sequence[Block], recompute: bool
    ) -> None:
        width = len(blocks[0].before.scale)
        super().__init__(width, outputs, scalars)
        self.encoder = nn.Sequential(mlp([columns] + [width] * 4), RmsNorm(width))
        self.blocks = nn.ModuleList(blocks)
        self.recompute = recompute

    @property
    def values_kept(self) -> int:
        return self.width * (1 if self.recompute else len(self.blocks))

    def states(self, x: Tensor, batch: Batch) -> Tensor:
        h = self.encoder(x)
        for block in self.blocks:
            if self.recompute and torch.is_grad_enabled():
                h = checkpoint(block, h, batch, use_reentrant=False)
            else:
                h = block(h, batch)
        return h


class MessageNet(GraphNet):
    """MeshGraphNet: nodes and edges, encoded, pass messages. Edges tell where the sender lies from
    the receiver, and how far, in mean edge lengths."""

    def __init__(self, columns: int, outputs: int, scalars: int, dim: int, depth: int, width: int):
        super().__init__(width, outputs, scalars)
        self.encoder = nn.Sequential(mlp([columns] + [width] * 3), nn.LayerNorm(width))
        self.edges = nn.Sequential(mlp([dim + 1] + [width] * 3), nn.LayerNorm(width))
        self.layers = nn.ModuleList(Message(width) for _ in range(depth))

    @property
    def values_kept(self) -> int:
        return 6 * self.width * len(self.layers)

    def states(self, x: Tensor, batch: Batch) -> Tensor:
        graph = batch.graphs[0]
        gap = batch.points.index_select(0, graph.column) - batch.points.index_select(0, graph.row)
        e = self.edges(torch.cat([gap, gap.norm(dim=1, keepdim=True)], dim=1))
        h = self.encoder(x)
        for layer in self.layers:
            h, e = layer(h, e, graph)
        return h


def partitioned(net: TransformerNet, x: Tensor, batch: Batch, parts: int) -> Tensor:
    """The states of one case as `net.states` gives them, layer by layer in `parts` of its nodes,
    each with the previous states of those it sees; sums over nodes are added up. Memory is that
    of the states between layers and of one part, on the way back, too."""
    cuts = [len(x) * k // parts for k in range(parts + 1)]
    pieces = [_Piece(batch, first, last) for first, last in pairwise(cuts)]
    h = torch.cat([net.encoder(x[p.first : p.last]) for p in pieces])
    for block in net.blocks:
        sums = None
        if block.tokens is not None:
            found = [_kept(block.gathered, h[p.first : p.last], p.own) for p in pieces]
            sums = tuple(sum(part) for part in zip(*found, strict=True))
        h = torch.cat([_kept(block.local, h[p.seen], sums, p.batch)[: p.count] for p in pieces])
    return h


def _kept(function, *given):  # type: ignore[no-untyped-def]
    """What a function gives, computed again on the way back instead of kept."""
    if torch.is_grad_enabled():
        return checkpoint(function, *given, use_reentrant=False)
    return function(*given)


class _Piece:
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
