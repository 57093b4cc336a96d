"""Options of networks on graphs, each a class of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .graph import Graph
    from .graph_layers import Tokens


@dataclass(frozen=True)
class Reach:
    """Whom nodes see: all within `hops` edges, or, dealt to the heads in turn, those at exactly
    each number of edges in `rings` (dilated windows); and `random` more pairs per node."""

    hops: int = 1
    rings: tuple[int, ...] = ()
    random: float = 0.0

    def graphs(self, graph: Graph, seed: int = 0) -> tuple[Graph, ...]:
        """One, or one for each ring."""
        from .graph import rings, scattered, union, within

        found = rings(graph, self.rings) if self.rings else [within(graph, self.hops)]
        if self.random:
            more = scattered(graph.nodes, round(self.random * graph.nodes), seed)
            found = [union([g, more]) for g in found]
        return tuple(found)


class Sharing(ABC):
    """How all nodes of a case hear of each other. `always`, or where a mesh is more edges across
    than the network is deep."""

    always: bool

    @abstractmethod
    def tokens(self, width: int, heads: int) -> Tokens:
        """The layer's part."""

    def wanted(self, graphs: Sequence[Graph], depth: int) -> bool:
        """Whether these graphs need it."""
        from .graph import across

        return self.always or any(across(graph) > depth for graph in graphs)


@dataclass(frozen=True)
class Slices(Sharing):
    """`count` soft slices of the nodes per head, as in Transolver."""

    count: int = 16
    always: bool = False

    def tokens(self, width: int, heads: int) -> Tokens:
        from .graph_layers import SliceTokens

        return SliceTokens(width, heads, self.count)


@dataclass(frozen=True)
class GlobalNodes(Sharing):
    """`count` learned nodes that see all and are seen by all."""

    count: int = 8
    always: bool = False

    def tokens(self, width: int, heads: int) -> Tokens:
        from .graph_layers import GlobalTokens

        return GlobalTokens(width, heads, self.count)


@dataclass(frozen=True)
class Temporal:
    """After the last block each node compares its state with the one before: values and queries
    from after, keys from before, gated (Garnier et al. 2026, arXiv:2605.01542)."""


@dataclass(frozen=True)
class MultiNode:
    """In training the states of `centres` random nodes must tell their neighbours' outputs, too,
    with this `weight` (auxiliary multi-node prediction, arXiv:2605.01542)."""

    centres: int = 256
    weight: float = 0.2


@dataclass(frozen=True)
class Masking:
    """Before training, `steps` of filling in the inputs of a `share` of the nodes, which are hidden
    (Garnier et al. 2025, arXiv:2501.08738)."""

    share: float = 0.4
    steps: int = 1000


@dataclass(frozen=True)
class Contact:
    """Nodes of `regions` and others see each other when closer than `radius` [m], where the known
    field `position` says they are (the mesh's points if empty)."""

    radius: float
    regions: tuple[str, ...]
    position: str = ""


GROUPS = {
    "reach": Reach,
    "slices": Slices,
    "global_nodes": GlobalNodes,
    "temporal": Temporal,
    "multi_node": MultiNode,
    "masking": Masking,
    "contact": Contact,
}
