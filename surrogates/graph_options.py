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


GROUPS = {"reach": Reach, "slices": Slices, "global_nodes": GlobalNodes}
