"""Layers of networks on graphs: masked attention and tokens of a transformer, and message passing.

States are (node, width) of all graphs of a batch one behind the other. A layer reads nodes of its
own graph alone, so that a batch, its parts and its cases alone give the same.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from .attention import attention
from .graph import Graph

TINY = 1e-8
FEW_CASES = 8
"""So many cases are gone through one by one; more are padded to one size."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Graphs side by side: `graphs[0]` of the edges, others of further reach; `sizes` nodes of each
    case; `points` (node, dim) in lengths of a mean edge, of the mesh and behind them where nodes
    lie now if that is known (then dim is twice that of space)."""

    graphs: tuple[Graph, ...]
    sizes: tuple[int, ...]
    points: Tensor

    @cached_property
    def case(self) -> Tensor:
        """Which case each node belongs to."""
        sizes = torch.tensor(self.sizes, device=self.points.device)
        cases = torch.arange(len(self.sizes), device=self.points.device)
        return torch.repeat_interleave(cases, sizes, output_size=sum(self.sizes))

    @cached_property
    def _places(self) -> tuple[Tensor, Tensor]:
        """Node at each (case, place), and whether there is one."""
        sizes = torch.tensor(self.sizes, device=self.points.device)
        firsts = torch.cumsum(sizes, 0) - sizes
        place = torch.arange(max(self.sizes), device=self.points.device)
        there = place < sizes[:, None]
        return torch.where(there, firsts[:, None] + place, 0), there

    def turns(self, rotary: Rotary) -> Tensor:
        """Of all nodes; found once for all layers."""
        key = (rotary.dim, rotary.pairs, rotary.rest)
        if key not in self._turns:
            self._turns[key] = rotary.turns(self.points)
        return self._turns[key]

    @cached_property
    def _turns(self) -> dict[tuple[int, int, int], Tensor]:
        return {}

    def cases(self) -> list[Batch]:
        """Each case alone."""
        ends = list(accumulate(self.sizes))
        spans = [(end - size, end) for end, size in zip(ends, self.sizes, strict=True)]
        if len(spans) == 1:
            return [self]
        return [
            Batch(
                tuple(g.part(first, last) for g in self.graphs),
                (last - first,),
                self.points[first:last],
            )
            for first, last in spans
        ]

    def apart(self, x: Tensor) -> Tensor:
        """States by case, (case, place, width), 0 where a case has no more nodes."""
        if len(self.sizes) == 1:
            return x[None]
        node, there = self._places
        return x[node] * there[..., None]

    def together(self, x: Tensor) -> Tensor:
        """States by case as those of all nodes, (node, width)."""
        if len(self.sizes) == 1:
            return x[0]
        return x[self._places[1]]


class _RmsNorm(torch.autograd.Function):
    """In half the passes over memory that autograd takes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True) * x.shape[-1] ** -0.5
        inverse = 1.0 / (size + TINY)
        unit = x * inverse
        ctx.save_for_backward(unit, inverse, scale)
        return unit * scale

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        unit, inverse, scale = ctx.saved_tensors
        own = g * unit
        along = own @ scale[:, None] / unit.shape[-1]
        return (g * scale - unit * along) * inverse, own.flatten(0, -2).sum(0)


class RmsNorm(nn.Module):
    """s x / (|x| / sqrt(width) + 1e-8)   (Zhang and Sennrich 2019, arXiv:1910.07467)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return _RmsNorm.apply(x, self.scale)


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


class GatedMlp(nn.Module):
    """W3 (GELU(W1 x) * W2 x), three times as wide inside (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate, self.inner = nn.Linear(width, 3 * width), nn.Linear(width, 3 * width)
        self.outer = nn.Linear(3 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(nn.functional.gelu(self.gate(x)) * self.inner(x))


class Rotary(nn.Module):
    """Turns pairs of channels by angles that grow with the coordinates, so that products of what is
    turned know where nodes lie relative to each other (RoPE; Su et al. 2021, arXiv:2104.09864).
    Each axis has its own channels; wavelengths from 2 pi edges up."""

    def __init__(self, channels: int, dim: int, base: float = 1000.0) -> None:
        super().__init__()
        self.dim, self.pairs = dim, channels // (2 * dim)
        if not self.pairs:
            raise ValueError(
                f"expected at least {2 * dim} channels per head for {dim} coordinates, got "
                f"{channels}; fewer heads or a wider network"
            )
        steps = torch.arange(self.pairs) / self.pairs
        self.register_buffer("rates", base**-steps, persistent=False)
        self.rest = channels // 2 - dim * self.pairs

    def turns(self, points: Tensor) -> Tensor:
        """Of the pairs of channels of each node, as complex numbers (node, 1, pair)."""
        rates: Tensor = self.get_buffer("rates").to(points)
        angle = (points[:, : self.dim, None] * rates).flatten(1)
        angle = nn.functional.pad(angle, (0, self.rest))[:, None]
        return torch.polar(torch.ones_like(angle), angle)

    @staticmethod
    def turned(x: Tensor, turns: Tensor) -> Tensor:
        """x (node, head, channel), an odd last channel as it is."""
        even = x.shape[-1] // 2 * 2
        part = x if even == x.shape[-1] else x[..., :even].contiguous()
        pairs = torch.view_as_complex(part.to(turns.real.dtype).unflatten(-1, (-1, 2)))
        found = torch.view_as_real(pairs * turns).flatten(-2).to(x.dtype)
        return found if even == x.shape[-1] else torch.cat([found, x[..., even:]], dim=-1)


class MaskedAttention(nn.Module):
    """Attention of every node to its neighbours; heads are dealt in turn to the graphs of the
    batch. With `rotary` queries, keys and values are turned by where their nodes lie, and what is
    found is turned back by where the asking node lies: weights and values know the way between
    nodes, so that one layer can tell a gradient."""

    def __init__(self, width: int, heads: int, backend: str, rotary: Rotary | None = None) -> None:
        super().__init__()
        self.heads, self.backend, self.rotary = heads, backend, rotary
        self.asked, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.outer = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        q, k, v = (
            part(x).view(len(x), self.heads, -1) for part in (self.asked, self.key, self.value)
        )
        turns = None
        if self.rotary is not None:
            turns = batch.turns(self.rotary)
            q, k, v = (self.rotary.turned(part, turns) for part in (q, k, v))
        count = len(batch.graphs)
        if count == 1:
            found = attention(q, k, v, batch.graphs[0], self.backend)
        else:
            found = torch.empty_like(q)
            for g, graph in enumerate(batch.graphs):
                own = slice(g, None, count)
                here = attention(q[:, own], k[:, own], v[:, own], graph, self.backend)
                found[:, own] = here
        if self.rotary is not None and turns is not None:
            found = self.rotary.turned(found, turns.conj())
        return self.outer(found.flatten(1))


class Tokens(nn.Module):
    """What all nodes of a case share: `gathered` once from all, `spread` to each."""

    @abstractmethod
    def gathered(self, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Sums over the nodes of each case: of weighted values (case, token, width), and of the
        weights (case, token, 1). Sums of parts of a case add up."""

    @abstractmethod
    def spread(self, x: Tensor, sums: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
        """What each node takes from them, (node, width)."""

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """The same of whole cases."""
        return self.spread(x, self.gathered(x, batch), batch)


class SliceTokens(Tokens):
    """Soft slices of the nodes, attention among slices, and back (Wu et al. 2024, Transolver,
    arXiv:2402.02366)."""

    def __init__(self, width: int, heads: int, count: int) -> None:
        super().__init__()
        self.heads = heads
        self.slices = nn.Linear(width, heads * count)
        self.value, self.outer = nn.Linear(width, width), nn.Linear(width, width)
        self.mixed = nn.Linear(width, 3 * width)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        if len(batch.sizes) > FEW_CASES:
            return super().forward(x, batch)
        weights = self.slices(x).unflatten(1, (self.heads, -1)).softmax(-1).transpose(0, 1)
        values = self.value(x).unflatten(1, (self.heads, -1)).transpose(0, 1)
        sizes, found = list(batch.sizes), []
        parts = zip(torch.split(weights, sizes, 1), torch.split(values, sizes, 1), strict=True)
        for w, v in parts:
            mixed = self._mixed((w.mT @ v)[None], w.sum(1)[None, ..., None])
            found.append((w @ mixed[0]).transpose(0, 1).flatten(1))
        return self.outer(torch.cat(found))

    def _weights(self, x: Tensor, batch: Batch) -> Tensor:
        """(case, head, place, token)."""
        scores = self.slices(x).view(len(x), self.heads, -1).softmax(-1).flatten(1)
        return batch.apart(scores).unflatten(2, (self.heads, -1)).transpose(1, 2)

    def gathered(self, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        weights = self._weights(x, batch)
        values = batch.apart(self.value(x)).unflatten(2, (self.heads, -1)).transpose(1, 2)
        return weights.mT @ values, weights.sum(2)[..., None]

    def spread(self, x: Tensor, sums: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
        back = (self._weights(x, batch) @ self._mixed(*sums)).transpose(1, 2).flatten(2)
        return self.outer(batch.together(back))

    def _mixed(self, values: Tensor, weights: Tensor) -> Tensor:
        """Slices (case, head, token, channel) after they have looked at each other, from sums over
        their nodes."""
        flat = (values / (weights + TINY)).transpose(1, 2).flatten(2)
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in self.mixed(flat).chunk(3, dim=-1)
        )
        return nn.functional.scaled_dot_product_attention(q, k, v)


class GlobalTokens(Tokens):
    """A few learned tokens that look at all nodes of their case, and all nodes at them (cost 4
    nodes tokens width)."""

    def __init__(self, width: int, heads: int, count: int) -> None:
        super().__init__()
        self.heads = heads
        self.tokens = nn.Parameter(torch.randn(count, width) / width**0.5)
        self.key, self.value = nn.Linear(width, width), nn.Linear(width, width)
        self.asked, self.both = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.outer = nn.Linear(width, width)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)

    def gathered(self, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        keys = self._split(batch.apart(self.key(x)))
        tokens = self._split(self.tokens)
        # Bounded scores, so that sums over parts need no common maximum.
        scores = 8.0 * torch.tanh(tokens @ keys.mT * keys.shape[-1] ** -0.5 / 8.0)
        there = batch.apart(torch.ones_like(x[:, :1])).mT[:, None]
        weights = scores.exp() * there
        return weights @ self._split(batch.apart(self.value(x))), weights.sum(-1)[..., None]

    def spread(self, x: Tensor, sums: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
        tokens = (sums[0] / (sums[1] + TINY)).transpose(1, 2).flatten(2)
        k, v = (self._split(part) for part in self.both(tokens + self.tokens).chunk(2, dim=-1))
        q = self._split(batch.apart(self.asked(x)))
        found = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.outer(batch.together(found.transpose(1, 2).flatten(2)))


class Block(nn.Module):
    """A transformer layer: h + Attn(norm h) [+ tokens(norm h)], then h + GatedMlp(norm h)."""

    def __init__(self, width: int, seeing: MaskedAttention, tokens: Tokens | None) -> None:
        super().__init__()
        self.before, self.between = RmsNorm(width), RmsNorm(width)
        self.seeing, self.tokens, self.mlp = seeing, tokens, GatedMlp(width)

    def gathered(self, h: Tensor, batch: Batch) -> tuple[Tensor, Tensor] | None:
        """What nodes share; sums over parts of a case add up."""
        return None if self.tokens is None else self.tokens.gathered(self.before(h), batch)

    def local(self, h: Tensor, sums: tuple[Tensor, Tensor] | None, batch: Batch) -> Tensor:
        """The layer, given what nodes share."""
        x = self.before(h)
        shared = None
        if self.tokens is not None and sums is not None:
            shared = self.tokens.spread(x, sums, batch)
        return self._rest(h, x, shared, batch)

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        x = self.before(h)
        return self._rest(h, x, None if self.tokens is None else self.tokens(x, batch), batch)

    def _rest(self, h: Tensor, x: Tensor, shared: Tensor | None, batch: Batch) -> Tensor:
        step = self.seeing(x, batch)
        h = h + (step if shared is None else step + shared)
        return h + self.mlp(self.between(h))


class TemporalBlock(nn.Module):
    """before + g Attn(after; keys of before) =: c, then c + MLP[c, before], the gate g by both
    (Garnier et al. 2026, arXiv:2605.01542)."""

    def __init__(self, width: int, heads: int, backend: str) -> None:
        super().__init__()
        self.heads, self.backend = heads, backend
        self.asked, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.outer = nn.Linear(width, width), nn.Linear(width, width)
        self.gate, self.both = mlp([2 * width, width, width]), mlp([2 * width, width, width])

    def forward(self, before: Tensor, after: Tensor, batch: Batch) -> Tensor:
        shape = (len(after), self.heads, -1)
        q, v = (part(after).view(shape) for part in (self.asked, self.value))
        found = attention(q, self.key(before).view(shape), v, batch.graphs[0], self.backend)
        gate = torch.sigmoid(self.gate(torch.cat([after, before], dim=1)))
        mixed = before + gate * self.outer(found.flatten(1))
        return mixed + self.both(torch.cat([mixed, before], dim=1))


class Star(nn.Module):
    """One transformer layer over a node's state and what is known of its neighbours."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, 0.0, batch_first=True, norm_first=True
        )

    def forward(self, centre: Tensor, around: Tensor, there: Tensor) -> Tensor:
        """States of neighbours (centre, neighbour, width)."""
        tokens = torch.cat([centre[:, None], around], dim=1)
        absent = torch.cat([torch.zeros_like(there[:, :1]), ~there], dim=1)
        return self.layer(tokens, src_key_padding_mask=absent)[:, 1:]


class Message(nn.Module):
    """A layer of MeshGraphNet (Pfaff et al. 2021, arXiv:2010.03409): e' = e + MLP(e, x_i, x_j),
    x' = x + MLP(x, sum_j e'_ij), two hidden layers, LayerNorm at the end.

    The first layer of the edges' MLP is linear in nodes and edges apart, so that nodes go through
    it once, not once an edge.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.edge = nn.Linear(width, width)
        self.receiver = nn.Linear(width, width, bias=False)
        self.sender = nn.Linear(width, width, bias=False)
        self.edges = nn.Sequential(nn.ReLU(inplace=True), mlp([width] * 3), nn.LayerNorm(width))
        self.nodes = nn.Sequential(mlp([2 * width, width, width, width]), nn.LayerNorm(width))

    def forward(self, h: Tensor, e: Tensor, graph: Graph) -> tuple[Tensor, Tensor]:
        inner = self.edge(e)
        inner += self.receiver(h).index_select(0, graph.row)
        inner += self.sender(h).index_select(0, graph.column)
        e = self.edges(inner).add_(e)
        total = torch.zeros_like(h).index_add(0, graph.row, e)
        return h + self.nodes(torch.cat([h, total], dim=1)), e
