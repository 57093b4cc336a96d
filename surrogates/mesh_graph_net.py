"""MeshGraphNet (Pfaff et al. 2021, arXiv:2010.03409): messages along the edges of a mesh. The
baseline of the graph transformer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .graph import Graph
from .graph_data import Reading
from .graph_layers import Message
from .graph_network import ROOM, GraphNet, MessageNet
from .graph_objective import GraphTraining
from .graph_options import Contact, Masking
from .graph_surrogate import GraphSurrogate
from .graph_transformer import default_descent
from .training import Descent


@dataclass(frozen=True)
class MeshGraphNet(GraphSurrogate):
    """`depth` layers of `width` channels; `noise`, `pushed`, `even`, `held`, `sampled`, `masking`,
    `contact` and `room` as in `GraphTransformer`."""

    depth: int = 10
    width: int = 64
    noise: float = 0.0
    pushed: float = 0.0
    even: float = 0.0
    held: tuple[str, ...] = ()
    sampled: int = 0
    masking: Masking | None = None
    contact: Contact | None = None
    room: int = ROOM
    descent: Descent = field(default_factory=default_descent)

    @property
    def training(self) -> GraphTraining:
        return GraphTraining(
            self.descent,
            self.noise,
            self.pushed,
            self.held,
            self.sampled,
            None,
            self.masking,
            self.even,
        )

    def graphs(self, graph: Graph) -> tuple[Graph, ...]:
        return (graph,)

    def wants_sharing(self, graphs: Sequence[Graph]) -> bool:
        return False

    def network(self, reading: Reading, sharing: bool) -> GraphNet:
        outputs, scalars = sum(reading.channels()), len(reading.signature.scalars)
        dim = reading.signature.dim
        now = self.contact is not None
        layers = [Message(self.width) for _ in range(self.depth)]
        return MessageNet(reading.width(), outputs, scalars, layers, dim, now)

    @classmethod
    def tiny(cls) -> MeshGraphNet:
        descent = Descent(steps=60, batch=4, rate=3e-3, every=30)
        return cls(depth=2, width=16, descent=descent)
