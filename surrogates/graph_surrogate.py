"""What surrogates by networks on graphs share: fitting, answering, saving."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch

from fieldcast.meshes import Case, Cases, Predictions, Sample, Samples
from fieldcast.meshes.packed import PackedEstimate, split_by_nodes

from .case_data import check_served, described, packed_outputs, place, split_samples
from .features import Features
from .graph import Graph
from .graph_data import Reading
from .graph_layers import Star
from .graph_network import ROOM, GraphNet, HiddenInputs
from .graph_objective import NODES, GraphObjective, GraphTraining, MaskedObjective
from .graph_options import Contact
from .graph_sites import Items, Sites, batch_of, fields_of
from .guard import Guard
from .network_gradients import DifferentiableNetwork, Traced, doubled
from .placing import placed, returned
from .pod_network import told
from .signature import Signature, describe
from .surrogate import Card, Progress, State, Surrogate, quiet
from .training import train

TRIED, STATES = (1, 1, 5), 20
"""Steps of runs from the last two of which the time of training is told (the first compiles), and
states of a node that a layer keeps."""


class GraphSurrogate(Surrogate):
    """A recipe whose predictors are networks on graphs."""

    any_mesh: ClassVar[bool] = True
    tolerance: ClassVar[float] = 1e-5
    room: int = ROOM
    contact: Contact | None = None
    heads: int = 4

    @property
    @abstractmethod
    def training(self) -> GraphTraining:
        """How it is trained."""

    @abstractmethod
    def network(self, reading: Reading, sharing: bool) -> GraphNet:
        """With random weights, from the global generator. `sharing`: nodes are to hear of all
        others."""

    def _network(self, reading: Reading, sharing: bool) -> GraphNet:
        net = self.network(reading, sharing)
        net.room = self.room
        if self.training.multi_node is not None:
            net.star = Star(net.width, self.heads)
        return net

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
        for k, parent in enumerate(before or []):
            if parent >= 0 and every.cases[k].mesh != every.cases[parent].mesh:
                raise ValueError(
                    f"case {every.cases[k].label}: expected the mesh of the step before it, case "
                    f"{every.cases[parent].label}, got another"
                )
        reading, sites = self._read(every, progress)
        rows, held = split_samples(every, validation, reading.signature, seed)
        device = self.training.descent.place
        objective = GraphObjective(
            reading,
            Items(sites, reading, [every[i] for i in rows], device),
            Items(sites, reading, held, device),
            self.training,
            seed,
            _among(before if before is not None else [-1] * len(every), rows),
        )
        sharing = self.wants_sharing([p.graphs[0] for p in sites.some()])
        net, fit = self._trained(objective, sharing, seed, progress)
        units = {k: s.unit for k, s in every.cases.parameters.items()}
        features = Features.fit(every.cases, described(every.cases))
        runs = _runs(before) if before is not None else None
        guard = Guard.fit(features, place(features, every.cases), units, runs)
        card = Card(describe(every), fit, seed=seed)
        return GraphPredictor(self, reading.signature, card, reading, net, sharing, features, guard)

    def _trained(
        self, objective: GraphObjective, sharing: bool, seed: int, progress: Progress
    ) -> tuple[GraphNet, dict[str, Any]]:
        """The network, and what to say of its training."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = self._network(objective.reading, sharing)
            told_before = self._filled_in(net, objective, seed, progress)
        found = train(net, objective, self.training.descent, seed=seed, progress=progress)
        fit = {
            "parameters": sum(p.numel() for p in net.parameters()),
            "sees_all": sharing,
            "held": {k: list(v) for k, v in objective.reading.held.items()},
            "training": told(found),
            **told_before,
        }
        return net.cpu().eval(), fit

    def _filled_in(
        self, net: GraphNet, objective: GraphObjective, seed: int, progress: Progress
    ) -> dict[str, Any]:
        """Train to fill in hidden inputs, if asked for; what to say of it."""
        masking = self.training.masking
        if masking is None:
            return {}
        steps = masking.steps
        descent = replace(self.training.descent, steps=steps, every=max(steps // 10, 1))
        filling = HiddenInputs(net, objective.reading.width())
        goal = MaskedObjective(objective.own, objective.held, masking.share, seed)
        return {"filling_in": told(train(filling, goal, descent, seed=seed, progress=progress))}

    def _read(self, samples: Samples, progress: Progress = quiet) -> tuple[Reading, Sites]:
        """How cases are read, and the graphs of all meshes."""
        signature = Signature.of(samples)
        check_served(signature)
        if self.training.sampled and signature.scalars:
            raise ValueError(
                f"expected no scalars with sampled={self.training.sampled}: a part of a mesh can't "
                f"tell {sorted(signature.scalars)}; leave them out or set sampled=0"
            )
        regions = tuple(sorted({name for s in samples for name in s.case.mesh.regions}))
        sites = Sites(self.graphs, regions, len(samples), self.contact)
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
        net, cpu = self._network(reading, sharing), torch.device("cpu")
        items = [sites.item(reading, s, cpu) for s in few]
        objective = GraphObjective(reading, items, [], self.training, 0, _in_turn(few))
        times = []
        for steps in TRIED:
            short = replace(descent, steps=steps, every=steps, device="cpu")
            started = time.perf_counter()
            train(net, objective, short)
            times.append(time.perf_counter() - started)
        size = STATES * sum(len(item.x) for item in items) * 4 * net.values_kept
        each = (times[2] - times[1]) / (TRIED[2] - TRIED[1])
        return (each if each > 0 else times[2] / TRIED[2]) * descent.steps, size

    def restore(self, signature: Signature, card: Card, state: State) -> GraphPredictor:
        parts = state.parts()
        reading = Reading.restored(signature, parts["reading"])
        sharing = bool(parts["network"].values["sharing"])
        net = self._network(reading, sharing)
        arrays = parts["network"].arrays
        net.load_state_dict({k: torch.as_tensor(np.array(a)) for k, a in arrays.items()})
        features = Features.restored(parts["features"])
        guard = Guard.restored(parts["guard"], features)
        return GraphPredictor(self, signature, card, reading, net.eval(), sharing, features, guard)


def _among(before: Sequence[int], rows: Sequence[int]) -> list[int]:
    """`before` of some rows, numbered among them."""
    place = {row: k for k, row in enumerate(rows)}
    return [place.get(before[row], -1) for row in rows]


def _runs(before: Sequence[int]) -> list[int]:
    """The first step of the run that each step is of."""
    firsts: list[int] = []
    for k, parent in enumerate(before):
        firsts.append(k if parent < 0 else firsts[parent])
    return firsts


def _in_turn(samples: Sequence[Sample]) -> list[int]:
    """Each after the one before it, where that has the same mesh."""
    ids = [s.case.mesh.id for s in samples]
    return [k - 1 if k and ids[k] == ids[k - 1] else -1 for k in range(len(ids))]


@dataclass(frozen=True, eq=False)
class GraphPredictor(DifferentiableNetwork):
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
        sites = Sites(self.recipe.graphs, self.reading.regions, contact=self.recipe.contact)
        object.__setattr__(self, "sites", sites)

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
        trust = self.guard.judge(place(self.features, cases))
        return Predictions(cases, mean, None, scalars, None, trust)

    def _answers(
        self, cases: Sequence[Case], where: torch.device
    ) -> list[tuple[list[np.ndarray], np.ndarray]]:
        """Fields and standardised scalars of cases that fit together."""
        for case in cases:
            self.reading.check_regions(case)
        sites = [self.sites.there(self.sites.of_case(c), where) for c in cases]
        x = torch.cat([self.reading.inputs(c, p.site) for c, p in zip(cases, sites, strict=True)])
        with torch.no_grad():
            batch = batch_of(sites)
            nodes, scalars = self.net(placed(x, where), batch)
            fields = fields_of(self.reading, nodes, batch.sizes, sites)
        parts = []
        for kind, values in zip(self.signature.fields.values(), fields, strict=True):
            sizes = [
                len(p.points) if kind.on == "point" else p.site.to_cells.shape[0] for p in sites
            ]
            parts.append(np.split(returned(values), np.cumsum(sizes)[:-1]))
        told = returned(scalars)
        answers = []
        for k, (case, p) in enumerate(zip(cases, sites, strict=True)):
            named = zip(self.signature.fields, parts, strict=True)
            own = [self.reading.field(name, part[k], case, p.site) for name, part in named]
            answers.append((own, told[k]))
        return answers

    def traced(self, case: Case, parameters: Traced, points: torch.Tensor) -> Traced:
        self.reading.check_regions(case)
        there, net = self.sites.of_case(case), doubled(self.net)
        x, scaled = self.reading.traced(case, there.site, parameters, points)
        # Where nodes lie now, if that is known, stays.
        now = there.points[:, scaled.shape[1] :].to(scaled)
        batch = replace(batch_of([there]), points=torch.cat([scaled, now], dim=1))
        nodes, scalars = net(x, batch)
        fields = fields_of(self.reading, nodes, batch.sizes, [there])
        named = zip(self.signature.fields, fields, strict=True)
        found = {k: self.reading.traced_field(k, f, case, there.site)[None] for k, f in named}
        if self.signature.scalars:
            row = self.reading.scalings["scalars"].inverse_of(scalars)[0]
            found |= {k: row[i : i + 1] for i, k in enumerate(self.signature.scalars)}
        return found

    @property
    def told_by_points(self) -> bool:
        return self.sites.contact is None

    def spans(self) -> Mapping[str, float]:
        return self.features.spans()

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
