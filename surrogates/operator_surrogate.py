"""What operator networks share: fitting, answering, saving."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from fieldcast.meshes import Case, Cases, Predictions, Sample, Samples
from fieldcast.meshes.packed import PackedEstimate
from fieldcast.meshes.sample import Location

from .case_data import check_served, described, packed_outputs, place, split_samples
from .features import Features
from .guard import Guard
from .network_gradients import DifferentiableNetwork, Traced, doubled
from .networks import partly_frozen
from .operator_data import OperatorReading, Trunk, fields_on, places
from .operator_derivative import Derivative
from .operator_images import Image
from .operator_layers import AT_ONCE, OperatorNet
from .operator_objective import Ends, OperatorObjective, Pack, ends_of
from .placing import placed, returned
from .pod_network import told as told_of
from .sensors import Sensors
from .signature import Signature, describe
from .surrogate import Card, Predictor, Progress, State, Surrogate, quiet
from .training import Descent, train

TRIED = (1, 1, 11)
"""Steps of runs from the last two of which the time of training is told."""


class OperatorSurrogate(Surrogate):
    """A recipe whose predictors are operator networks. A step of training looks at `points` random
    points of each of its cases (0: as many as the smallest case has), with a `derivative` in the
    loss that is not of a region alone at all of them."""

    any_mesh: ClassVar[bool] = True
    tolerance: ClassVar[float] = 1e-5
    single: ClassVar[bool] = False
    """Computes parts in single precision whatever it is given: no derivatives to be relied on."""
    trunk: Trunk
    points: int
    derivative: Derivative | None
    descent: Descent
    image: Image | None = None
    sensors: Sensors | None = None

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
        reading = OperatorReading.fit(signature, every, self.trunk, self.image, self.sensors)
        return self._fitted(reading, None, every, validation, seed, progress)

    def adapted(
        self,
        model: OperatorPredictor,
        samples: Sequence[Sample],
        *,
        frozen: Sequence[str] = (),
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
    ) -> OperatorPredictor:
        """`model`, a predictor of this recipe but for its training, gone on with on other samples:
        its scalings stay, and the parts of its network that are `frozen` ("image", "branch",
        "trunk", ...). The loss is each case's relative error, as few cases differ in size.

        Raises:
            ValueError: samples of other inputs or outputs than the model's; parts that the network
                does not have.
        """
        every = Samples.pack(samples)
        model.signature.check_names(Signature.of(every))
        net = partly_frozen(model.net, frozen)
        return self._fitted(model.reading, net, every, validation, seed, progress)

    def _fitted(
        self,
        reading: OperatorReading,
        net: OperatorNet | None,
        every: Samples,
        validation: Sequence[Sample] | None,
        seed: int,
        progress: Progress,
    ) -> OperatorPredictor:
        """A network, new if None, trained."""
        signature = reading.signature
        rows, held = split_samples(every, validation, signature, seed)
        device = self.descent.place
        objective = OperatorObjective(
            Pack.of(reading, [every[i] for i in rows], device, self.derivative),
            Pack.of(reading, held, device) if held else None,
            self.points,
            seed,
            self.derivative,
            relative=net is not None,
        )
        ends = ends_of(objective.own)
        if net is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                net = self.network(ends, reading)
        found = train(net, objective, self.descent, seed=seed, progress=progress)
        features = Features.fit(every.cases, described(every.cases))
        units = {k: s.unit for k, s in every.cases.parameters.items()}
        guard = Guard.fit(features, place(features, every.cases), units)
        fit = {"parameters": sum(p.numel() for p in net.parameters()), "training": told_of(found)}
        card = Card(describe(every), fit, seed=seed)
        return self._made(self, signature, card, reading, ends, net.cpu().eval(), features, guard)

    @property
    def _made(self) -> type[OperatorPredictor]:
        return OperatorPredictor if self.single else DifferentiableOperator

    def estimate(self, samples: Sequence[Sample]) -> tuple[float, int] | None:
        every = Samples.pack(samples)
        reading = OperatorReading.fit(
            Signature.of(every), every, self.trunk, self.image, self.sensors
        )
        own = Pack.of(reading, every, torch.device("cpu"), self.derivative)
        net, times = self.network(ends_of(own), reading), []
        objective = OperatorObjective(own, None, self.points, 0, self.derivative)
        for steps in TRIED:
            started = time.perf_counter()
            train(net, objective, replace(self.descent, steps=steps, every=steps, device="cpu"))
            times.append(time.perf_counter() - started)
        size = sum(4 * part.x.numel() + 4 * part.y.numel() for part in own.parts)
        each = (times[2] - times[1]) / (TRIED[2] - TRIED[1])
        return (each if each > 0 else times[2] / TRIED[2]) * self.descent.steps, size

    def restore(self, signature: Signature, card: Card, state: State) -> OperatorPredictor:
        parts = state.parts()
        reading = OperatorReading.restored(signature, parts["reading"])
        weights = parts["network"]
        a, b, c, d = (int(n) for n in weights.values["ends"])
        net = self.network((a, b, c, d), reading)
        load_weights(net, weights.arrays)
        features = Features.restored(parts["features"])
        guard = Guard.restored(parts["guard"], features)
        return self._made(self, signature, card, reading, (a, b, c, d), net.eval(), features, guard)


@dataclass(frozen=True, eq=False)
class Level:
    """The singular vectors (entity, function) and values (function,) of the states of a layer at a
    case's points or cells: the `functions` that it can make fields of, and their `sizes`."""

    on: Location
    functions: Float[np.ndarray, "entity function"]
    sizes: Float[np.ndarray, " function"]


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
        v = torch.as_tensor(self.reading.branch_inputs(cases), dtype=torch.float32)
        v = placed(v, where)
        mean, told = {}, v.new_zeros(len(v), 0)
        for on in places(self.signature):
            inputs = [self.reading.trunk_inputs(cases[i], on) for i in range(len(cases))]
            x = placed(torch.as_tensor(np.concatenate(inputs), dtype=torch.float32), where)
            with torch.no_grad():
                found, told = self.net.at_most(v, x, [len(part) for part in inputs], AT_ONCE)
            values = returned(found[:, self.reading.columns(on)]).astype(float)
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
            values = self.reading.scalars.inverse(returned(told).astype(float))
            for k, (name, scalar) in enumerate(self.signature.scalars.items()):
                scalars[name] = PackedEstimate(values[:, [k]], None, scalar.unit)
        trust = self.guard.judge(place(self.features, cases))
        ordered = {name: mean[name] for name in self.signature.fields}
        return Predictions(cases, ordered, None, scalars, None, trust)

    def basis(self, case: Case) -> tuple[Level, ...]:
        """Of what the answer for a case is made, layer by layer of the trunk: of Fusion-DeepONet
        the gated states, of others the trunk's functions.

        Raises:
            ValueError: a network from pictures to pictures, which has none.
        """
        checked = Cases.pack([self.signature.checked(case)])
        on = places(self.signature)[0]
        v = torch.as_tensor(self.reading.branch_inputs(checked), dtype=torch.float32)
        x = torch.as_tensor(self.reading.trunk_inputs(checked[0], on), dtype=torch.float32)
        net = self.net.to("cpu")
        with torch.no_grad():
            found = net.levels(x, [part.expand(len(x), -1) for part in net.branched(v)[2]])
        levels = []
        for states in found:
            functions, sizes, _ = np.linalg.svd(states.double().numpy(), full_matrices=False)
            levels.append(Level(on, functions, sizes))
        return tuple(levels)

    def state(self) -> State:
        weights = weights_of(self.net)
        return State.nested(
            {
                "reading": self.reading.state(),
                "network": State(weights, {"ends": list(self.ends)}),
                "features": self.features.state(),
                "guard": self.guard.state(),
            }
        )


class DifferentiableOperator(OperatorPredictor, DifferentiableNetwork):
    """An operator network that computes in double precision where it is asked to."""

    def traced(self, case: Case, parameters: Traced, points: torch.Tensor) -> Traced:
        net, found = doubled(self.net), {}
        v = self.reading.traced_branch(case, parameters, points)
        told = torch.zeros(0)
        for on in places(self.signature):
            x = self.reading.traced_trunk(case, on, points)
            every, told = net.at(v, x, [len(x)])
            values, start = every[:, self.reading.columns(on)], 0
            for name in fields_on(self.signature, on):
                stop = start + self.signature.fields[name].components
                found[name] = self.reading.ranges[name].inverse_of(values[:, start:stop])[None]
                start = stop
        scalars = self.reading.scalars
        if scalars is not None:
            told = told if found else net.scalars(net.branched(v)[1])
            row = scalars.inverse_of(told)[0]
            found |= {k: row[i : i + 1] for i, k in enumerate(self.signature.scalars)}
        return found

    @property
    def told_by_points(self) -> bool:
        return self.reading.sensors is None and self.reading.image is None

    def spans(self) -> Mapping[str, float]:
        return self.features.spans()


def weights_of(net: nn.Module) -> dict[str, np.ndarray]:
    """As arrays of real numbers."""
    return {
        k: (torch.view_as_real(t) if t.is_complex() else t).detach().cpu().numpy()
        for k, t in net.state_dict().items()
    }


def load_weights(net: nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """From `weights_of`."""
    own = net.state_dict()
    found = {k: torch.as_tensor(np.array(a)) for k, a in arrays.items()}
    complexes = {k: torch.view_as_complex(t) for k, t in found.items() if own[k].is_complex()}
    net.load_state_dict({**found, **complexes})
