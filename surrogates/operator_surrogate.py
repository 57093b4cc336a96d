"""What operator networks share: fitting, answering, saving."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from fieldcast.meshes import Cases, Predictions, Sample, Samples
from fieldcast.meshes.packed import PackedEstimate
from fieldcast.meshes.sample import Location

from .features import Features
from .graph_data import check_served, described, packed_outputs, place, scalar_row
from .graph_surrogate import split_samples
from .guard import Guard
from .operator_data import OperatorReading, Trunk, fields_on, places
from .operator_layers import OperatorNet
from .pod_network import told as told_of
from .signature import Signature, describe
from .surrogate import Card, Predictor, Progress, State, Surrogate, quiet
from .training import Descent, Objective, train

TRIED = 10
"""Steps from which the time of training is told."""
Ends = tuple[int, int, int, int]
"""Columns of the branch and of the trunk, fields and scalars."""


class OperatorSurrogate(Surrogate):
    """A recipe whose predictors are operator networks. A step of training looks at `points` random
    points of each of its cases (0: at all, as many as the smallest case has)."""

    any_mesh: ClassVar[bool] = True
    tolerance: ClassVar[float] = 1e-5
    trunk: Trunk
    points: int
    descent: Descent

    @abstractmethod
    def network(self, ends: Ends, reading: OperatorReading) -> OperatorNet:
        """With random weights, from the global generator."""

    def fit(
        self,
        samples: Sequence[Sample],
        *,
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
    ) -> OperatorPredictor:
        every = Samples.pack(samples)
        signature = Signature.of(every)
        check_served(signature)
        reading = OperatorReading.fit(signature, every, self.trunk)
        rows, held = split_samples(every, validation, signature, seed)
        device = self.descent.place
        objective = OperatorObjective(
            Pack.of(reading, [every[i] for i in rows], device),
            Pack.of(reading, held, device) if held else None,
            self.points,
            seed,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = self.network(ends_of(objective.own), reading)
        found = train(net, objective, self.descent, seed=seed, progress=progress)
        features = Features.fit(every.cases, described(every.cases))
        units = {k: s.unit for k, s in every.cases.parameters.items()}
        guard = Guard.fit(features, place(features, every.cases), units)
        fit = {"parameters": sum(p.numel() for p in net.parameters()), "training": told_of(found)}
        card = Card(describe(every), fit, seed=seed)
        ends = ends_of(objective.own)
        return OperatorPredictor(
            self, signature, card, reading, ends, net.cpu().eval(), features, guard
        )

    def estimate(self, samples: Sequence[Sample]) -> tuple[float, int] | None:
        every = Samples.pack(samples)
        reading = OperatorReading.fit(Signature.of(every), every, self.trunk)
        own = Pack.of(reading, every, torch.device("cpu"))
        net, times = self.network(ends_of(own), reading), []
        objective = OperatorObjective(own, None, self.points, 0)
        for steps in (1, TRIED + 1):
            started = time.perf_counter()
            train(net, objective, replace(self.descent, steps=steps, every=steps, device="cpu"))
            times.append(time.perf_counter() - started)
        size = sum(4 * part.x.numel() + 4 * part.y.numel() for part in own.parts)
        return max(times[1] - times[0], 0.0) / TRIED * self.descent.steps, size

    def restore(self, signature: Signature, card: Card, state: State) -> OperatorPredictor:
        parts = state.parts()
        reading = OperatorReading.restored(signature, parts["reading"])
        weights = parts["network"]
        a, b, c, d = (int(n) for n in weights.values["ends"])
        net = self.network((a, b, c, d), reading)
        net.load_state_dict({k: torch.as_tensor(np.array(v)) for k, v in weights.arrays.items()})
        features = Features.restored(parts["features"])
        guard = Guard.restored(parts["guard"], features)
        return OperatorPredictor(
            self, signature, card, reading, (a, b, c, d), net.eval(), features, guard
        )


@dataclass(frozen=True, eq=False)
class Part:
    """All cases' points of one kind, one behind the other: inputs `x` (point, column), targets `y`
    (point, column), `columns` of the network's outputs that they are; `firsts` and `counts` by
    case."""

    x: Tensor
    y: Tensor
    columns: Tensor
    firsts: Tensor
    counts: tuple[int, ...]

    @classmethod
    def of(
        cls,
        reading: OperatorReading,
        samples: Sequence[Sample],
        on: Location,
        device: torch.device,
    ) -> Part:
        """Of samples."""
        x = [reading.trunk_inputs(s.case, on) for s in samples]
        y = [reading.targets(s, on) for s in samples]
        counts = tuple(len(part) for part in x)
        arrays = (torch.as_tensor(np.concatenate(a), dtype=torch.float32) for a in (x, y))
        firsts = np.cumsum([0, *counts[:-1]])
        ids = (torch.as_tensor(np.array(a)) for a in (reading.columns(on), firsts))
        made = [t.to(device) for t in (*arrays, *ids)]
        return cls(made[0], made[1], made[2], made[3], counts)


@dataclass(frozen=True, eq=False)
class Pack:
    """Samples as tensors: inputs of the branch `v` (case, column), `parts` where fields lie, and
    scalars (case, scalar)."""

    v: Tensor
    parts: tuple[Part, ...]
    scalars: Tensor
    fields: int

    @classmethod
    def of(cls, reading: OperatorReading, samples: Sequence[Sample], device: torch.device) -> Pack:
        """Of samples."""
        signature = reading.signature
        v = reading.branch_inputs(Cases.pack([s.case for s in samples]))
        rows = np.zeros((len(samples), 0))
        if reading.scalars is not None:
            rows = reading.scalars(np.stack([scalar_row(s, signature) for s in samples]))
        tensors = [torch.as_tensor(a, dtype=torch.float32).to(device) for a in (v, rows)]
        parts = tuple(Part.of(reading, samples, on, device) for on in places(signature))
        fields = sum(kind.components for kind in signature.fields.values())
        return cls(tensors[0], parts, tensors[1], fields)


def ends_of(pack: Pack) -> Ends:
    """The sizes of a network for these."""
    columns = pack.parts[0].x.shape[1] if pack.parts else 1
    return pack.v.shape[1], columns, pack.fields, pack.scalars.shape[1]


class OperatorObjective(Objective):
    """The mean square error of fields in their ranges, at random points, plus that of scalars in
    their standard deviations."""

    def __init__(self, own: Pack, held: Pack | None, points: int, seed: int) -> None:
        self.own, self.held, self.points, self.seed = own, held, points, seed

    @property
    def cases(self) -> int:
        return len(self.own.v)

    def loss(self, module: nn.Module, rows: Tensor) -> Tensor:
        steps: Tensor = dict(module.named_buffers())["steps"]
        steps += 1
        generator = torch.Generator(self.own.v.device)
        generator.manual_seed((self.seed << 32) + int(steps))
        rows = rows.to(self.own.v.device)
        v, total = self.own.v[rows], self.own.v.new_zeros(())
        scalars = self.own.scalars[:0]
        for part in self.own.parts:
            ids = self._chosen(part, rows, generator)
            found, scalars = module(v, part.x[ids])
            total = total + (found[..., part.columns] - part.y[ids]).square().mean()
        if self.own.scalars.shape[1]:
            if not self.own.parts:
                _, scalars = module(v, v.new_zeros(len(v), 1, 1))
            total = total + (scalars - self.own.scalars[rows]).square().mean()
        return total

    def _chosen(self, part: Part, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Numbers of points (case, point), drawn with repetition."""
        counts = torch.tensor(part.counts, device=rows.device)[rows]
        size = self.points or min(part.counts)
        share = torch.rand((len(rows), size), generator=generator, device=rows.device)
        within = (share * counts[:, None]).long().clamp(max=counts[:, None] - 1)
        return part.firsts[rows][:, None] + within

    @torch.no_grad()
    def error(self, module: nn.Module) -> float:
        if self.held is None:
            return float("nan")
        net, held = module, self.held
        squares = []
        for part in held.parts:
            found, scalars = net.at(held.v, part.x, part.counts)  # type: ignore[operator]
            gaps = (found[:, part.columns] - part.y).square().mean(1)
            squares.append(
                torch.stack([g.mean() for g in torch.split(gaps, list(part.counts))]).mean()
            )
            if held.scalars.shape[1]:
                squares.append((scalars - held.scalars).square().mean())
        return float(torch.stack(squares).mean().sqrt()) if squares else float("nan")


@dataclass(frozen=True, eq=False)
class OperatorPredictor(Predictor):
    """A trained operator network."""

    reading: OperatorReading
    ends: Ends
    net: OperatorNet
    features: Features
    guard: Guard

    def answer(self, cases: Cases, device: str | None) -> Predictions:
        where = torch.device(device or "cpu")
        self.net.to(where)
        v = torch.as_tensor(self.reading.branch_inputs(cases), dtype=torch.float32).to(where)
        mean, told = {}, v.new_zeros(len(v), 0)
        for on in places(self.signature):
            inputs = [self.reading.trunk_inputs(cases[i], on) for i in range(len(cases))]
            x = torch.as_tensor(np.concatenate(inputs), dtype=torch.float32).to(where)
            with torch.no_grad():
                found, told = self.net.at(v, x, [len(part) for part in inputs])
            values = found[:, self.reading.columns(on)].cpu().numpy().astype(float)
            start = 0
            for name in fields_on(self.signature, on):
                kind = self.signature.fields[name]
                own = self.reading.ranges[name].inverse(values[:, start : start + kind.components])
                mean[name] = packed_outputs(name, kind, [own], cases)
                start += kind.components
        if self.reading.scalars is not None and not mean:
            with torch.no_grad():
                told = self.net.scalars(self.net.branched(v)[1])
        scalars = {}
        if self.reading.scalars is not None:
            values = self.reading.scalars.inverse(told.cpu().numpy().astype(float))
            for k, (name, scalar) in enumerate(self.signature.scalars.items()):
                scalars[name] = PackedEstimate(values[:, [k]], None, scalar.unit)
        trust = tuple(self.guard.judge(place(self.features, cases)))
        ordered = {name: mean[name] for name in self.signature.fields}
        return Predictions(cases, ordered, None, scalars, None, trust)

    def state(self) -> State:
        weights: dict[str, Any] = {k: t.cpu().numpy() for k, t in self.net.state_dict().items()}
        return State.nested(
            {
                "reading": self.reading.state(),
                "network": State(weights, {"ends": list(self.ends)}),
                "features": self.features.state(),
                "guard": self.guard.state(),
            }
        )
