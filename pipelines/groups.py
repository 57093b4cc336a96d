"""The plan of a batch: which cases are answered together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# What a node takes in a compressed VTU with a field or two: file sizes stand for nodes, so that
# nothing needs to be read before work starts.
BYTES_PER_NODE = 100


@dataclass(frozen=True)
class Budget:
    """How much is answered together: at most `nodes` nodes and `cases` cases. Cases are sorted by
    size among `window` neighbours."""

    nodes: int = 200_000
    cases: int = 32
    window: int = 4096

    def __post_init__(self) -> None:
        if min(self.nodes, self.cases, self.window) < 1:
            raise ValueError(f"expected a budget of at least one node, case and window, got {self}")


def plan(sizes: Sequence[int], budget: Budget) -> list[int]:
    """The group (0, 1, ...) of each case from the bytes of its files, the largest of a window
    first. A pure function: workers and what becomes of a case have no part in it."""
    groups = [0] * len(sizes)
    group = -1
    for start in range(0, len(sizes), budget.window):
        rows = range(start, min(start + budget.window, len(sizes)))
        nodes, count = budget.nodes, budget.cases
        for row in sorted(rows, key=lambda i: (-sizes[i], i)):
            size = max(sizes[row] // BYTES_PER_NODE, 1)
            if nodes + size > budget.nodes or count == budget.cases:
                group, nodes, count = group + 1, 0, 0
            groups[row] = group
            nodes, count = nodes + size, count + 1
    return groups
