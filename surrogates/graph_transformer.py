"""Graph transformer: attention along the edges of a mesh (Garnier et al. 2025, arXiv:2508.18051),
with tokens by which all nodes hear of each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .graph import Graph
from .graph_data import Reading
from .graph_layers import Block, MaskedAttention, Rotary, TemporalBlock
from .graph_network import ROOM, GraphNet, TransformerNet
from .graph_objective import GraphTraining
from .graph_options import Contact, GlobalNodes, Masking, MultiNode, Reach, Slices, Temporal
from .graph_surrogate import GraphSurrogate
from .training import Descent

SIZES = {"S": (10, 64), "M": (15, 128), "L": (15, 256), "XL": (15, 512)}
"""Depth and width, as published."""


def default_descent() -> Descent:
    """As published, but for the length of training and the optimiser."""
    return Descent(steps=2000, batch=2, rate=2e-3, decay=1e-4, every=100, optimiser="soap")


@dataclass(frozen=True)
class GraphTransformer(GraphSurrogate):
    """`depth` blocks of `width` channels and `heads` heads; `sized` gives the published sizes.

    Steady fields and scalars from shapes, regions, parameters and known fields, on any meshes.
    An output that is a known field, too, is learnt as the difference; it keeps its values in the
    regions `held` ("region", or "field@region" for one output). Elsewhere `noise` (in standard
    deviations) is added in training, to be undone, and a share `pushed` of the steps in time
    starts from the network's own answer (fields on points): what `Rollout` needs. `even` weighs
    samples by the size of their targets (0: not, 1: errors count relative to it), so that slow runs
    are learnt beside fast ones.

    `reach` says whom nodes see, `sharing` how they hear of those beyond the reach of all layers,
    `rotary` turns queries, keys and values by where they lie. `recompute` saves memory in training;
    meshes of more than `room` nodes are worked in parts, layer by layer, with the same answer; with
    `sampled` a step of training looks at no more nodes of a mesh than that. `temporal`,
    `multi_node`, `masking`, `contact`: see their classes. `backend` as in `attention`.
    """

    depth: int = 10
    width: int = 64
    heads: int = 4
    reach: Reach = field(default_factory=Reach)
    sharing: Slices | GlobalNodes | None = field(default_factory=Slices)
    rotary: bool = True
    noise: float = 0.0
    pushed: float = 0.0
    even: float = 0.0
    held: tuple[str, ...] = ()
    recompute: bool = False
    backend: str = "auto"
    sampled: int = 0
    temporal: Temporal | None = None
    multi_node: MultiNode | None = None
    masking: Masking | None = None
    contact: Contact | None = None
    room: int = ROOM
    descent: Descent = field(default_factory=default_descent)

    def __post_init__(self) -> None:
        if self.depth < 1 or self.heads < 1 or self.width % self.heads:
            raise ValueError(
                f"expected a width that the heads share, got {self.width} channels and "
                f"{self.heads} heads in {self.depth} blocks"
            )

    @classmethod
    def sized(cls, size: str) -> GraphTransformer:
        """ "S", "M", "L" or "XL"."""
        if size not in SIZES:
            raise ValueError(f"expected a size of {list(SIZES)}, got {size!r}")
        depth, width = SIZES[size]
        return cls(depth, width)

    @property
    def training(self) -> GraphTraining:
        return GraphTraining(
            self.descent,
            self.noise,
            self.pushed,
            self.held,
            self.sampled,
            self.multi_node,
            self.masking,
            self.even,
        )

    def graphs(self, graph: Graph) -> tuple[Graph, ...]:
        return self.reach.graphs(graph)

    def wants_sharing(self, graphs: Sequence[Graph]) -> bool:
        return self.sharing is not None and self.sharing.wanted(graphs, self.depth)

    def network(self, reading: Reading, sharing: bool) -> GraphNet:
        dim = reading.signature.dim
        blocks = []
        for _ in range(self.depth):
            rotary = Rotary(self.width // self.heads, dim) if self.rotary else None
            seeing = MaskedAttention(self.width, self.heads, self.backend, rotary)
            tokens = None
            if sharing and self.sharing is not None:
                tokens = self.sharing.tokens(self.width, self.heads)
            blocks.append(Block(self.width, seeing, tokens))
        outputs, scalars = sum(reading.channels()), len(reading.signature.scalars)
        temporal = None
        if self.temporal is not None:
            temporal = TemporalBlock(self.width, self.heads, self.backend)
        columns = reading.width()
        return TransformerNet(columns, outputs, scalars, blocks, self.recompute, temporal)

    @classmethod
    def tiny(cls) -> GraphTransformer:
        descent = Descent(steps=60, batch=4, rate=3e-3, every=30)
        return cls(depth=2, width=16, heads=2, descent=descent)
