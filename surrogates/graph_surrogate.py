"""What surrogates by networks on graphs share: fitting, answering, saving."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from fieldcast.meshes import Case, Cases, Predictions, Sample, Samples
from fieldcast.meshes.packed import PackedEstimate, split_by_nodes

from .features import Features
from .graph import Graph, packed
from .graph_data import Reading, Site, check_served, described, packed_outputs, place
from .graph_layers import Batch
from .graph_network import GraphNet
from .guard import Guard
from .pod_network import FEW, HELD, told
from .signature import Signature, describe
from .surrogate import Card, Predictor, Progress, State, Surrogate, quiet
from .training import Descent, Objective, train

NODES = 8192
"""Nodes that are answered together: more are no faster on a CPU."""
MOST_HELD = 100
"""More samples are not held out to select by."""
TRIED, STATES = 2, 20
"""Steps from which the time of training is told, and states of a node that a layer keeps."""
SITES = 64
"""Meshes whose graphs a predictor keeps."""


class GraphSurrogate(Surrogate):
    """A recipe whose predictors are networks on graphs."""

    any_mesh: ClassVar[bool] = True
    tolerance: ClassVar[float] = 1e-5

    @property
    @abstractmethod
    def training(self) -> GraphTraining:
        """How it is trained."""

    @abstractmethod
    def network(self, reading: Reading, sharing: bool) -> GraphNet:
        """With random weights, from the global generator. `sharing`: nodes are to hear of all
        others."""

    @abstractmethod
    def graphs(self, graph: Graph) -> tuple[Graph, ...]:
        """Whom nodes see."""

    @abstractmethod
    def wants_sharing(self, graphs: Sequence[Graph]) -> bool:
        """Whether these graphs are too large for the layers alone."""

    def fit(
        self,
        samples: Sequence[Sample],
        *,
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
    ) -> GraphPredictor:
        return self.fit_steps(samples, None, validation=validation, seed=seed, progress=progress)

    def fit_steps(
        self,
        samples: Sequence[Sample],
        before: Sequence[int] | None,
        *,
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
    ) -> GraphPredictor:
        """As `fit`, of samples that are steps in time: `before` numbers the sample whose answer
        each one starts from, -1 for none."""
        every = Samples.pack(samples)
        reading, sites = self._read(every, progress)
        rows, held = _split(every, validation, reading.signature, seed)
        device = self.training.descent.place
        objective = GraphObjective(
            reading,
            [sites.item(reading, every[i], device) for i in rows],
            [sites.item(reading, s, device) for s in held],
            self.training,
            seed,
            _among(before if before is not None else [-1] * len(every), rows),
        )
        sharing = self.wants_sharing([p.graphs[0] for p in sites.some()])
        net, fit = self._trained(objective, sharing, seed, progress)
        units = {k: s.unit for k, s in every.cases.parameters.items()}
        features = Features.fit(every.cases, described(every.cases))
        guard = Guard.fit(features, place(features, every.cases), units)
        card = Card(describe(every), fit, seed=seed)
        return GraphPredictor(self, reading.signature, card, reading, net, sharing, features, guard)

    def _trained(
        self, objective: GraphObjective, sharing: bool, seed: int, progress: Progress
    ) -> tuple[GraphNet, dict[str, Any]]:
        """The network, and what to say of its training."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = self.network(objective.reading, sharing)
        found = train(net, objective, self.training.descent, seed=seed, progress=progress)
        fit = {
            "parameters": sum(p.numel() for p in net.parameters()),
            "sees_all": sharing,
            "held": {k: list(v) for k, v in objective.reading.held.items()},
            "training": told(found),
        }
        return net.cpu().eval(), fit

    def _read(self, samples: Samples, progress: Progress = quiet) -> tuple[Reading, Sites]:
        """How cases are read, and the graphs of all meshes."""
        signature = Signature.of(samples)
        check_served(signature)
        regions = tuple(sorted({name for s in samples for name in s.case.mesh.regions}))
        sites = Sites(self, regions, len(samples))
        for k, case in enumerate(samples.cases):
            sites.placed(case.mesh)
            progress("graphs", k + 1, len(samples))
        reading = Reading.fit(
            signature, samples, sites.of(samples.cases), regions, self.training.held
        )
        return reading, sites

    def estimate(self, samples: Sequence[Sample]) -> tuple[float, int] | None:
        descent = self.training.descent
        few = Samples.pack(list(samples[: descent.batch]))
        reading, sites = self._read(few)
        sharing = self.wants_sharing([p.graphs[0] for p in sites.some()])
        net, cpu = self.network(reading, sharing), torch.device("cpu")
        items = [sites.item(reading, s, cpu) for s in few]
        objective = GraphObjective(reading, items, [], self.training, 0, _in_turn(len(items)))
        times = []
        for steps in (1, TRIED + 1):
            short = replace(descent, steps=steps, every=steps, device="cpu")
            started = time.perf_counter()
            train(net, objective, short)
            times.append(time.perf_counter() - started)
        size = STATES * sum(len(item.x) for item in items) * 4 * net.values_kept
        return max(times[1] - times[0], 0.0) / TRIED * descent.steps, size

    def restore(self, signature: Signature, card: Card, state: State) -> GraphPredictor:
        parts = state.parts()
        reading = Reading.restored(signature, parts["reading"])
        sharing = bool(parts["network"].values["sharing"])
        net = self.network(reading, sharing)
        arrays = parts["network"].arrays
        net.load_state_dict({k: torch.as_tensor(np.array(a)) for k, a in arrays.items()})
        features = Features.restored(parts["features"])
        guard = Guard.restored(parts["guard"], features)
        return GraphPredictor(self, signature, card, reading, net.eval(), sharing, features, guard)


@dataclass(frozen=True)
class GraphTraining:
    """`descent` and, of outputs that are known fields, too: `noise` that is added to them, in their
    standard deviations, and to be undone; the share of steps that are `pushed`, started from the
    network's own answer; and where they are `held`: "region" or "field@region"."""

    descent: Descent
    noise: float
    pushed: float
    held: tuple[str, ...]


def _split(
    samples: Samples, validation: Sequence[Sample] | None, signature: Signature, seed: int
) -> tuple[list[int], list[Sample]]:
    """The numbers of samples to learn from, and those to select by."""
    every = list(range(len(samples)))
    if validation is not None:
        checked = [Sample(signature.checked(s.case), s.fields, s.scalars) for s in validation]
        return every, checked
    if len(every) < FEW:
        return every, []
    order = np.random.default_rng(seed).permutation(len(every))
    count = min(max(len(every) // HELD, 1), MOST_HELD)
    return sorted(order[count:].tolist()), [samples[int(i)] for i in sorted(order[:count])]


def _among(before: Sequence[int], rows: Sequence[int]) -> list[int]:
    """`before` of some rows, numbered among them."""
    place = {row: k for k, row in enumerate(rows)}
    return [place.get(before[row], -1) for row in rows]


def _in_turn(count: int) -> list[int]:
    """Each after the one before it."""
    return list(range(-1, count - 1))


@dataclass(frozen=True, eq=False)
class Placed:
    """A mesh, ready for a network."""

    site: Site
    graphs: tuple[Graph, ...]
    points: Tensor
    cells: tuple[Tensor, Tensor, Tensor]

    def cell_means(self, values: Tensor) -> Tensor:
        """The mean of values (node, column) over the nodes of each cell."""
        row, node, weight = self.cells
        total = values.new_zeros(self.site.to_cells.shape[0], values.shape[1])
        return total.index_add(0, row, values[node] * weight[:, None])

    def to(self, device: torch.device) -> Placed:
        """Elsewhere."""
        graphs = tuple(g.to(device) for g in self.graphs)
        row, node, weight = (t.to(device) for t in self.cells)
        return Placed(self.site, graphs, self.points.to(device), (row, node, weight))


@dataclass(frozen=True, eq=False)
class Item:
    """A sample as tensors: inputs (node, column); of each field targets (entity, component), and
    (entity, 1) the weight of each entity's square in the mean, 0 where it is held; scalars."""

    placed: Placed
    x: Tensor
    targets: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    scalars: Tensor


class Sites:
    """Graphs of meshes, the last few kept."""

    def __init__(
        self, recipe: GraphSurrogate, regions: tuple[str, ...] = (), room: int = SITES
    ) -> None:
        self.recipe, self.regions, self.room = recipe, regions, room
        self._kept: dict[str, Placed] = {}
        self._moved: dict[tuple[int, torch.device], tuple[Placed, Placed]] = {}

    def placed(self, mesh: Any) -> Placed:
        """Of a mesh."""
        found = self._kept.pop(mesh.id, None)
        if found is None:
            site = Site.of(mesh, self.regions)
            graphs = self.recipe.graphs(site.graph)
            for graph in graphs:
                # Known before graphs are packed, so that the pack need not find it.
                _ = graph.transpose
            matrix = site.to_cells.tocoo()
            cells = tuple(torch.as_tensor(np.asarray(a)) for a in (*matrix.coords, matrix.data))
            points = torch.as_tensor(site.points, dtype=torch.float32)
            row, node, weight = cells[0].long(), cells[1].long(), cells[2].float()
            found = Placed(site, graphs, points, (row, node, weight))
        self._kept[mesh.id] = found
        while len(self._kept) > self.room:
            gone = self._kept.pop(next(iter(self._kept)))
            for key in [key for key in self._moved if key[0] == id(gone)]:
                del self._moved[key]
        return found

    def of(self, cases: Sequence[Case]) -> dict[str, Site]:
        """The sites of all cases, by mesh."""
        return {case.mesh.id: self.placed(case.mesh).site for case in cases}

    def some(self) -> list[Placed]:
        """A few of those that are kept, the largest among them."""
        by_size = sorted(self._kept.values(), key=lambda p: -len(p.points))
        return by_size[:4]

    def item(self, reading: Reading, sample: Sample, device: torch.device) -> Item:
        """A sample as tensors."""
        placed = self.placed(sample.case.mesh)
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
        key = (id(placed), device)
        if key not in self._moved:
            self._moved[key] = (placed, placed.to(device))
        return self._moved[key][1]


def batch_of(placed: Sequence[Placed]) -> Batch:
    """Several meshes side by side."""
    graphs = tuple(packed(same) for same in zip(*(p.graphs for p in placed), strict=True))
    sizes = tuple(len(p.points) for p in placed)
    return Batch(graphs, sizes, torch.cat([p.points for p in placed]))


def outputs_of(
    reading: Reading, net: nn.Module, x: Tensor, batch: Batch, placed: Sequence[Placed]
) -> tuple[list[Tensor], Tensor]:
    """The fields of all cases one behind the other, standardised, (entity, component), and the
    scalars (case, scalar)."""
    nodes, scalars = net(x, batch)
    fields = []
    parts = torch.split(nodes, reading.channels(), dim=1) if nodes.shape[1] else ()
    for kind, values in zip(reading.signature.fields.values(), parts, strict=True):
        if kind.on == "cell":
            own = torch.split(values, list(batch.sizes))
            values = torch.cat([p.cell_means(v) for p, v in zip(placed, own, strict=True)])
        fields.append(values)
    return fields, scalars


class _Together:
    """Several samples as one batch."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.x = torch.cat([item.x for item in items])
        self.targets = [torch.cat(p) for p in zip(*(i.targets for i in items), strict=True)]
        self.weights = [torch.cat(p) for p in zip(*(i.weights for i in items), strict=True)]
        self.scalars = torch.cat([item.scalars for item in items])
        self.placed = [item.placed for item in items]

    def outputs(self, reading: Reading, net: nn.Module) -> tuple[list[Tensor], Tensor]:
        """As `outputs_of`."""
        return outputs_of(reading, net, self.x, batch_of(self.placed), self.placed)

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


class GraphObjective(Objective):
    """The mean over outputs of the mean square error, standardised, held nodes left out.

    Known fields that are predicted are disturbed, and targets undo it: by noise, and in a share of
    the steps by the network's own error of the step `before` (the pushforward of Brandstetter et
    al. 2022, arXiv:2202.03376).
    """

    def __init__(
        self,
        reading: Reading,
        own: list[Item],
        held: list[Item],
        training: GraphTraining,
        seed: int,
        before: Sequence[int],
    ) -> None:
        self.reading, self.own, self.held = reading, own, held
        self.training, self.seed, self.before = training, seed, before

    @property
    def cases(self) -> int:
        return len(self.own)

    def loss(self, module: nn.Module, rows: Tensor) -> Tensor:
        together = _Together([self.own[i] for i in rows.tolist()])
        noise, pushed = self.training.noise, self.training.pushed
        if (noise or pushed) and self.reading.differences:
            steps: Tensor = dict(module.named_buffers())["steps"]
            steps += 1
            seed = (self.seed << 32) + int(steps)
            chosen = np.random.default_rng(seed).random(len(rows)) < pushed
            parents = [
                self.own[self.before[i]] if push and self.before[i] >= 0 else None
                for i, push in zip(rows.tolist(), chosen, strict=True)
            ]
            if any(parents):
                together.disturb(self.reading, self._errors(module, together, parents))
            if noise:
                generator = torch.Generator(together.x.device).manual_seed(seed)
                together.disturb(self.reading, self._noise(together, generator))
        return self._square(module, together)

    def _square(self, module: nn.Module, given: _Together) -> Tensor:
        """The mean over cases and outputs."""
        fields, scalars = given.outputs(self.reading, module)
        total = given.x.new_zeros(())
        for values, truth, weight in zip(fields, given.targets, given.weights, strict=True):
            total = total + (weight * (values - truth) ** 2).sum()
        if scalars.shape[1]:
            total = total + (scalars - given.scalars).square().mean(1).sum()
        return total / (len(given.placed) * (len(fields) + bool(scalars.shape[1])))

    def _noise(self, given: _Together, generator: torch.Generator) -> dict[str, Tensor]:
        """Of each output that is known, too, in its standard deviations as known field, at
        nodes."""
        known, x = self.reading.signature.known, given.x
        return {
            name: self.training.noise
            * torch.randn((len(x), known[name].components), generator=generator, device=x.device)
            for name in self.reading.differences
        }

    @torch.no_grad()
    def _errors(
        self, module: nn.Module, given: _Together, parents: Sequence[Item | None]
    ) -> dict[str, Tensor]:
        """The same of the network's own errors in the step before, 0 where there is none."""
        there = _Together([item for item in parents if item is not None])
        fields, _ = there.outputs(self.reading, module)
        found = {}
        names = list(self.reading.signature.fields)
        sizes = [0 if item is None else len(item.x) for item in parents]
        for name in self.reading.differences:
            k = names.index(name)
            if self.reading.signature.fields[name].on == "cell":
                continue
            ratio = self.reading.ratio(name)
            off = (fields[k] - there.targets[k]) / torch.as_tensor(ratio).to(given.x)
            parts = iter(torch.split(off, [size for size in sizes if size]))
            found[name] = torch.cat(
                [
                    next(parts) if size else off.new_zeros(len(p.points), off.shape[1])
                    for size, p in zip(sizes, given.placed, strict=True)
                ]
            )
        return found

    @torch.no_grad()
    def error(self, module: nn.Module) -> float:
        if not self.held:
            return float("nan")
        parts = split_by_nodes([len(item.x) for item in self.held], NODES)
        squares = [
            self._square(module, _Together([self.held[i] for i in part])) * len(part)
            for part in parts
        ]
        return float(sum(squares) / len(self.held)) ** 0.5


@dataclass(frozen=True, eq=False)
class GraphPredictor(Predictor):
    """A trained network on graphs."""

    reading: Reading
    net: GraphNet
    sharing: bool
    features: Features
    guard: Guard
    sites: Sites = field(init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.recipe, GraphSurrogate):
            raise TypeError(f"expected a GraphSurrogate, got {type(self.recipe).__name__}")
        object.__setattr__(self, "sites", Sites(self.recipe, self.reading.regions))

    def answer(self, cases: Cases, device: str | None) -> Predictions:
        where = torch.device(device or "cpu")
        self.net.to(where)
        order = np.argsort([len(mesh.points) for mesh in cases.meshes[""]], kind="stable")
        found: dict[int, tuple[list[np.ndarray], np.ndarray]] = {}
        sizes = [len(cases.meshes[""][int(i)].points) for i in order]
        for part in split_by_nodes(sizes, NODES):
            rows = order[part.start : part.stop].tolist()
            for i, answer in zip(rows, self._answers([cases[i] for i in rows], where), strict=True):
                found[i] = answer
        every = [found[i] for i in range(len(cases))]
        mean = {
            name: packed_outputs(name, kind, [fields[k] for fields, _ in every], cases)
            for k, (name, kind) in enumerate(self.signature.fields.items())
        }
        scalars = {}
        if self.signature.scalars:
            values = self.reading.scalars(np.stack([s for _, s in every]))
            for k, (name, kind) in enumerate(self.signature.scalars.items()):
                scalars[name] = PackedEstimate(values[:, [k]], None, kind.unit)
        trust = tuple(self.guard.judge(place(self.features, cases)))
        return Predictions(cases, mean, None, scalars, None, trust)

    def _answers(
        self, cases: Sequence[Case], where: torch.device
    ) -> list[tuple[list[np.ndarray], np.ndarray]]:
        """Fields and standardised scalars of cases that fit together."""
        for case in cases:
            self.reading.check_regions(case)
        placed = [self.sites.there(self.sites.placed(c.mesh), where) for c in cases]
        x = torch.cat([self.reading.inputs(c, p.site) for c, p in zip(cases, placed, strict=True)])
        with torch.no_grad():
            fields, scalars = outputs_of(
                self.reading, self.net, x.to(where), batch_of(placed), placed
            )
        parts = []
        for kind, values in zip(self.signature.fields.values(), fields, strict=True):
            sizes = [
                len(p.points) if kind.on == "point" else p.site.to_cells.shape[0] for p in placed
            ]
            parts.append(np.split(values.cpu().numpy(), np.cumsum(sizes)[:-1]))
        told = scalars.cpu().numpy()
        answers = []
        for k, (case, p) in enumerate(zip(cases, placed, strict=True)):
            named = zip(self.signature.fields, parts, strict=True)
            own = [self.reading.field(name, part[k], case, p.site) for name, part in named]
            answers.append((own, told[k]))
        return answers

    def state(self) -> State:
        weights = {k: t.detach().cpu().numpy() for k, t in self.net.state_dict().items()}
        return State.nested(
            {
                "reading": self.reading.state(),
                "network": State(weights, {"sharing": self.sharing}),
                "features": self.features.state(),
                "guard": self.guard.state(),
            }
        )
