"""Meshes and samples as tensors for a network on graphs: one by one, in parts, as batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldcast.meshes import Case, Sample

from .graph import Graph, packed, union, world
from .graph_data import Reading, Site
from .graph_layers import Batch
from .graph_options import Contact
from .signature import FieldKind

HELD_BYTES = 4 * 2**30
"""Tensors of samples that are kept."""
SMALL = 1e-2
"""Samples of smaller mean square, all standardised, weigh no more."""
SITES = 64
"""Meshes whose graphs are kept."""
Reach = Callable[[Graph], tuple[Graph, ...]]
"""From the edges of a mesh to whom nodes see."""


@dataclass(frozen=True, eq=False)
class Placed:
    """A mesh, ready for a network."""

    site: Site
    graphs: tuple[Graph, ...]
    points: Tensor
    cells: tuple[Tensor, Tensor, Tensor]
    cell_count: int

    def cell_means(self, values: Tensor) -> Tensor:
        """The mean of values (node, column) over the nodes of each cell."""
        row, node, weight = self.cells
        total = values.new_zeros(self.cell_count, values.shape[1])
        return total.index_add(0, row, values[node] * weight[:, None])

    def part(self, first: int, last: int) -> tuple[Placed, Tensor, Tensor]:
        """The mesh of nodes first to last - 1; which of its nodes see all they saw, and the numbers
        of the cells that are whole."""
        graphs = tuple(g.part(first, last) for g in self.graphs)
        seeing = torch.stack(
            [p.degree == g.degree[first:last] for p, g in zip(graphs, self.graphs, strict=True)]
        )
        row, node, weight = self.cells
        inside = (node >= first) & (node < last)
        lost = torch.bincount(row[~inside], minlength=self.cell_count) > 0
        whole = (~lost).nonzero()[:, 0]
        number = torch.cumsum(~lost, 0) - 1
        stay = ~lost[row]
        cells = (number[row[stay]], node[stay] - first, weight[stay])
        found = Placed(self.site, graphs, self.points[first:last], cells, len(whole))
        return found, seeing.all(0), whole

    def to(self, device: torch.device) -> Placed:
        """Elsewhere."""
        graphs = tuple(g.to(device) for g in self.graphs)
        row, node, weight = (t.to(device) for t in self.cells)
        cells = (row, node, weight)
        return Placed(self.site, graphs, self.points.to(device), cells, self.cell_count)


@dataclass(frozen=True, eq=False)
class Item:
    """A sample as tensors: inputs (node, column); of each field targets (entity, component), and
    (entity, 1) the weight of each entity's square in the mean, 0 where it is held; scalars."""

    placed: Placed
    x: Tensor
    targets: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    scalars: Tensor

    def part(self, kinds: Sequence[FieldKind], first: int, last: int) -> Item:
        """Of nodes first to last - 1 alone; those next to the cuts are not weighed."""
        placed, seeing, whole = self.placed.part(first, last)
        targets, weights = [], []
        for kind, target, weight in zip(kinds, self.targets, self.weights, strict=True):
            rows = whole if kind.on == "cell" else slice(first, last)
            own = weight[rows] if kind.on == "cell" else weight[rows] * seeing[:, None]
            targets.append(target[rows])
            weights.append(own / (own.sum() * target.shape[1]).clamp(min=1e-12))
        return Item(placed, self.x[first:last], tuple(targets), tuple(weights), self.scalars)


class Sites:
    """Graphs of meshes, the last few kept."""

    def __init__(
        self,
        reach: Reach,
        regions: tuple[str, ...] = (),
        room: int = SITES,
        contact: Contact | None = None,
    ) -> None:
        self.reach, self.regions, self.room = reach, regions, room
        self.contact = contact
        self._kept: dict[str, Placed] = {}
        self._moved: dict[tuple[int, torch.device], tuple[Placed, Placed]] = {}

    def placed(self, mesh: Any) -> Placed:
        """Of a mesh."""
        found = self._kept.pop(mesh.id, None)
        if found is None:
            site = Site.of(mesh, self.regions)
            graphs = self.reach(site.graph)
            for graph in graphs:
                # Known before graphs are packed, so that the pack need not find it.
                _ = graph.transpose
            matrix = site.to_cells.tocoo()
            cells = tuple(torch.as_tensor(np.asarray(a)) for a in (*matrix.coords, matrix.data))
            points = torch.as_tensor(site.points, dtype=torch.float32)
            row, node, weight = cells[0].long(), cells[1].long(), cells[2].float()
            found = Placed(site, graphs, points, (row, node, weight), matrix.shape[0])
        self._kept[mesh.id] = found
        while len(self._kept) > self.room:
            gone = self._kept.pop(next(iter(self._kept)))
            for key in [key for key in self._moved if key[0] == id(gone)]:
                del self._moved[key]
        return found

    def of_case(self, case: Case) -> Placed:
        """Of a case: its mesh, and who touches whom."""
        placed = self.placed(case.mesh)
        if self.contact is None:
            return placed
        where = self.contact.position
        if where and where not in case.fields:
            raise ValueError(
                f"case {case.label}: expected the known field {where!r}, which says where nodes "
                f"lie, got {sorted(case.fields)}"
            )
        points = case.fields[where].values[0] if where else case.mesh.points
        groups = np.zeros(len(points), dtype=bool)
        for name in self.contact.regions:
            if name in case.mesh.regions:
                groups[case.mesh.regions[name]] = True
        order = placed.site.order
        touching = world(points[order], self.contact.radius, groups[order])
        graphs = tuple(union([graph, touching]) for graph in placed.graphs)
        for graph in graphs:
            _ = graph.transpose
        now = (points - case.mesh.points.mean(axis=0))[order] / placed.site.length
        both = torch.cat([placed.points, torch.as_tensor(now, dtype=torch.float32)], dim=1)
        return replace(placed, graphs=graphs, points=both)

    def of(self, cases: Sequence[Case]) -> dict[str, Site]:
        """The sites of all cases, by mesh."""
        return {case.mesh.id: self.placed(case.mesh).site for case in cases}

    def some(self) -> list[Placed]:
        """A few of those that are kept, the largest among them."""
        by_size = sorted(self._kept.values(), key=lambda p: -len(p.points))
        return by_size[:4]

    def item(self, reading: Reading, sample: Sample, device: torch.device) -> Item:
        """A sample as tensors."""
        placed = self.of_case(sample.case)
        *targets, scalars = reading.targets(sample, placed.site)
        weights = []
        for name, target in zip(reading.signature.fields, targets, strict=True):
            free = ~reading.kept(name, placed.site)[:, None]
            share = free / max(free.sum() * target.shape[1], 1)
            weights.append(torch.as_tensor(share, dtype=torch.float32).to(device))
        x = reading.inputs(sample.case, placed.site)
        return Item(
            self.there(placed, device),
            x.to(device),
            tuple(t.to(device) for t in targets),
            tuple(weights),
            scalars.to(device),
        )

    def there(self, placed: Placed, device: torch.device) -> Placed:
        """The same on a device, moved once."""
        if device == placed.points.device:
            return placed
        if self.contact is not None:
            return placed.to(device)
        key = (id(placed), device)
        if key not in self._moved:
            self._moved[key] = (placed, placed.to(device))
        return self._moved[key][1]


class Items(Sequence[Item]):
    """Samples as tensors: made once where they fit in `HELD_BYTES`, else whenever they are asked
    for."""

    def __init__(
        self, sites: Sites, reading: Reading, samples: Sequence[Sample], device: torch.device
    ) -> None:
        self._sites, self._reading, self._device = sites, reading, device
        self._samples = samples
        self._made: dict[int, Item] = {}
        columns = reading.width() + sum(reading.channels()) + len(reading.signature.fields)
        nodes = sum(len(s.case.mesh.points) for s in samples)
        self._keep = 4 * columns * nodes <= HELD_BYTES

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: Any) -> Any:
        if index in self._made:
            return self._made[index]
        item = self._sites.item(self._reading, self._samples[index], self._device)
        if self._keep:
            self._made[index] = item
        return item


def batch_of(placed: Sequence[Placed]) -> Batch:
    """Several meshes side by side."""
    graphs = tuple(packed(same) for same in zip(*(p.graphs for p in placed), strict=True))
    sizes = tuple(len(p.points) for p in placed)
    return Batch(graphs, sizes, torch.cat([p.points for p in placed]))


def fields_of(
    reading: Reading, nodes: Tensor, sizes: Sequence[int], placed: Sequence[Placed]
) -> list[Tensor]:
    """The fields of all cases one behind the other, standardised, (entity, component), from the
    outputs of nodes."""
    fields = []
    parts = torch.split(nodes, reading.channels(), dim=1) if nodes.shape[1] else ()
    for kind, values in zip(reading.signature.fields.values(), parts, strict=True):
        if kind.on == "cell":
            own = torch.split(values, list(sizes))
            values = torch.cat([p.cell_means(v) for p, v in zip(placed, own, strict=True)])
        fields.append(values)
    return fields


class Together:
    """Several samples as one batch."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.x = torch.cat([item.x for item in items])
        self.targets = [torch.cat(p) for p in zip(*(i.targets for i in items), strict=True)]
        self.weights = [torch.cat(p) for p in zip(*(i.weights for i in items), strict=True)]
        self.scalars = torch.cat([item.scalars for item in items])
        self.placed = [item.placed for item in items]
        self.batch = batch_of(self.placed)

    def even_out(self, items: Sequence[Item], power: float) -> None:
        """Weigh each sample's squares by the mean square of its own targets, to the minus
        `power`."""
        for k in range(len(self.weights)):
            parts = []
            for item in items:
                weight = item.weights[k]
                square = (weight * item.targets[k] ** 2).sum()
                parts.append(weight * (square + SMALL) ** -power)
            self.weights[k] = torch.cat(parts)

    def fields(self, reading: Reading, nodes: Tensor) -> list[Tensor]:
        """As `fields_of`."""
        return fields_of(reading, nodes, self.batch.sizes, self.placed)

    def disturb(self, reading: Reading, offs: Mapping[str, Tensor]) -> None:
        """Move known fields that are predicted, where they are free; targets undo it."""
        end, names = self.x.shape[1], list(reading.signature.fields)
        for name in reversed(list(reading.signature.known)):
            start = end - reading.signature.known[name].components
            if name in offs:
                off, k = offs[name], names.index(name)
                if reading.signature.fields[name].on == "cell":
                    own = torch.split(off, [len(p.points) for p in self.placed])
                    pairs = zip(self.placed, own, strict=True)
                    moved = torch.cat([p.cell_means(o) for p, o in pairs])
                else:
                    off = moved = off * (self.weights[k] > 0)
                self.x[:, start:end] += off
                self.targets[k] = self.targets[k] - moved * torch.as_tensor(reading.ratio(name)).to(
                    off
                )
            end = start
