"""Surrogates that answer each time of a case from what is known at that time, by one small map
that is the same for all points: closures of models on rings and columns.

What a map says at points becomes a field on cells as the mean over a cell's points, and a scalar
as the mean over all points.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fieldcast.meshes import Cases, Mesh, Predictions, Sample, Samples
from fieldcast.meshes.packed import PackedEstimate, PackedField, PackedScalar

from .case_data import STILL, Scaling, described, place, split_samples
from .features import Features
from .guard import Guard
from .operator_surrogate import load_weights, weights_of
from .placing import returned
from .signature import FieldKind, Signature, describe
from .surrogate import Card, Predictor, Progress, State, Surrogate, quiet

PLACES = ("point", "cell", "")
"""Where outputs lie; "" are scalars."""
AT_ONCE = 2**17
"""Points of frames that are mapped at a time."""


class FieldMap(Surrogate):
    """A recipe whose predictors map the fields of one time, known on points, to others. Series are
    so many frames; a case may have any times. Parameters are the same at all points."""

    any_mesh: ClassVar[bool] = True
    transient: ClassVar[bool] = True

    @abstractmethod
    def network(self, inputs: int, outputs: int) -> PointMap:
        """With random weights, from the global generator."""

    def check(self, cases: Cases) -> None:
        """Raise a ValueError for meshes that can't be mapped, by the case's name; any can."""

    @abstractmethod
    def learn(
        self,
        net: PointMap,
        own: Sequence[Frames],
        held: Sequence[Frames],
        seed: int,
        progress: Progress,
    ) -> dict[str, Any]:
        """Find the weights of `net`, in place; what to say of it."""

    def fit(
        self,
        samples: Sequence[Sample],
        *,
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
    ) -> FieldMapPredictor:
        every = Samples.pack(samples)
        self.check(every.cases)
        reading = Reading.fit(frame_signature(every), every)
        return self.fitted(reading, None, every, validation, seed, progress)

    def fitted(
        self,
        reading: Reading,
        net: PointMap | None,
        every: Samples,
        validation: Sequence[Sample] | None,
        seed: int,
        progress: Progress,
    ) -> FieldMapPredictor:
        """A network, new if None, that has learned."""
        rows, chosen = split_samples(every, validation, reading.signature, seed)
        own = every if len(rows) == len(every) else Samples.pack([every[i] for i in rows])
        frames = reading.frames(own)
        held = reading.frames(Samples.pack(chosen)) if chosen else []
        if net is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                net = self.network(reading.inputs, sum(reading.outputs))
            net.adjust(frames)
        told = self.learn(net, frames, held, seed, progress)
        features = Features.fit(every.cases, described(every.cases))
        units = {k: s.unit for k, s in every.cases.parameters.items()}
        guard = Guard.fit(features, place(features, every.cases), units)
        fit = {"parameters": sum(p.numel() for p in net.parameters()), **told}
        card, net = Card(describe(every), fit, seed=seed), net.cpu().eval()
        return FieldMapPredictor(self, reading.signature, card, reading, net, features, guard)

    def restore(self, signature: Signature, card: Card, state: State) -> FieldMapPredictor:
        parts = state.parts()
        reading = Reading.restored(signature, parts["reading"])
        net = self.network(reading.inputs, sum(reading.outputs))
        load_weights(net, parts["network"].arrays)
        features = Features.restored(parts["features"])
        guard = Guard.restored(parts["guard"], features)
        return FieldMapPredictor(self, signature, card, reading, net.eval(), features, guard)


class PointMap(nn.Module):
    """From standardised inputs at points to standardised outputs there."""

    precision: torch.dtype = torch.float32

    @abstractmethod
    def places(self, mesh: Mesh) -> Any:
        """What the map needs to know of a mesh, such as the points that each point hears of; moved
        to a device by `to`, as tensors are."""

    def adjust(self, frames: Sequence[Frames]) -> None:
        """Take from a training set what is not a weight; nothing."""

    @abstractmethod
    def forward(
        self, x: Float[Tensor, "frame point input"], places: Any
    ) -> Float[Tensor, "frame point output"]:
        """One answer per point."""


def frames_at_once(mesh: Mesh) -> int:
    """How many frames of a mesh are mapped at a time."""
    return max(AT_ONCE // max(len(mesh.points), 1), 1)


def averaged(mesh: Mesh, values: Tensor, on: str) -> Tensor:
    """Values at points (frame, point, column) as values of a place of `PLACES`."""
    if on == "point":
        return values
    if on == "":
        return values.mean(1, keepdim=True)
    blocks = [torch.as_tensor(np.array(b), device=values.device) for b in mesh.cells.values()]
    return torch.cat([values[:, block.long()].mean(2) for block in blocks], 1)


@dataclass(frozen=True, eq=False)
class Frames:
    """All times of all cases of one mesh, standardised: inputs at points, and outputs by place
    (frame, entity, column)."""

    mesh: Mesh
    x: Tensor
    y: tuple[Tensor, ...]

    def to(self, device: torch.device, precision: torch.dtype) -> Frames:
        """Elsewhere."""
        return replace(
            self, x=self.x.to(device, precision), y=tuple(y.to(device, precision) for y in self.y)
        )


@dataclass(frozen=True, eq=False)
class Reading:
    """How cases become numbers: columns of inputs, known fields and then parameters, of which those
    `used` vary in the training set, and `outputs` columns for each of `PLACES`, with their
    scalings."""

    signature: Signature
    used: Int[np.ndarray, " input"]
    inward: Scaling
    outward: tuple[Scaling, ...]

    @property
    def inputs(self) -> int:
        """How many."""
        return len(self.used)

    @property
    def outputs(self) -> list[int]:
        """How many at each of `PLACES`."""
        return [len(s.shift) for s in self.outward]

    @classmethod
    def fit(cls, signature: Signature, samples: Samples) -> Reading:
        """From all training samples."""
        cases = samples.cases
        inward = [*_columns(cases.fields.values()), *_tables(cases.parameters.values())]
        outward = []
        for on in PLACES:
            chosen = [samples.fields[k] for k in named(signature, on)] if on else []
            columns = _columns(chosen) if on else _tables(samples.scalars.values())
            outward.append(_joint(columns))
        vary = [np.ptp(c, axis=0) > STILL * np.abs(c).max(axis=0) for c in inward]
        used = np.flatnonzero(np.concatenate([np.zeros(0, dtype=bool), *vary]))
        return cls(signature, used, _joint(inward), tuple(outward))

    def frames(self, samples: Samples) -> list[Frames]:
        """Of each distinct mesh."""
        found = []
        for group in groups_of(samples.cases):
            y = []
            for on, scaling in zip(PLACES, self.outward, strict=True):
                parts = [group.taken(samples.fields[k]) for k in named(self.signature, on)]
                if not on:
                    parts = [group.spread(s) for s in samples.scalars.values()]
                y.append(_standardised(parts, scaling, group, on))
            found.append(Frames(group.mesh, self.told(samples.cases, group), tuple(y)))
        return found

    def told(self, cases: Cases, group: Group) -> Tensor:
        """The inputs of the cases of one mesh, standardised."""
        parts = [group.taken(cases.fields[name]) for name in self.signature.known]
        parts += [group.spread(cases.parameters[name]) for name in self.signature.parameters]
        return _standardised(parts, self.inward, group, "point")[:, :, self.used]

    def state(self) -> State:
        """For `restored`."""
        scalings = {"in": self.inward, **{f"out {p}": s for p, s in self._outward()}}
        own = {"used": State({"used": self.used})}
        return State.nested({k: s.state() for k, s in scalings.items()} | own)

    def _outward(self) -> list[tuple[str, Scaling]]:
        return list(zip(PLACES, self.outward, strict=True))

    @classmethod
    def restored(cls, signature: Signature, state: State) -> Reading:
        """From `state`."""
        inward, *outward = (
            Scaling.restored(state.part(k)) for k in ("in", *(f"out {p}" for p in PLACES))
        )
        return cls(signature, state.part("used").arrays["used"], inward, tuple(outward))


def frame_signature(samples: Samples) -> Signature:
    """Of one time, whatever their number.

    Raises:
        ValueError: known fields that are not on points, or outputs without the samples' times.
    """
    found = Signature.of(samples)
    several = len(found.times) > 1
    steady = {k: v.steady for k, v in found.fields.items()}
    steady |= {k: v.steady for k, v in found.scalars.items()}
    still = [k for k, one in steady.items() if one and several]
    if still:
        raise ValueError(
            f"expected outputs with {len(found.times)} times, as the cases have, got one of "
            f"{still}; leave them out"
        )
    for name, kind in {**found.known, **found.fields}.items():
        if kind.part or (name in found.known and kind.on != "point"):
            raise ValueError(
                f"field {name!r}: expected known fields on points and all on the case's own mesh, "
                f"got one on {kind.on}s, part {kind.part!r}"
            )
    moving = {k: replace(v, steady=False) for k, v in found.fields.items()}
    numbers = {k: replace(v, steady=False) for k, v in found.scalars.items()}
    known = {k: replace(v, steady=v.steady and several) for k, v in found.known.items()}
    return replace(found, times=(0.0,), known=known, fields=moving, scalars=numbers, own_times=True)


def named(signature: Signature, on: str) -> list[str]:
    """The output fields of a place."""
    return [k for k, v in signature.fields.items() if v.on == on]


@dataclass(frozen=True, eq=False)
class Group:
    """The numbers of the cases of one mesh, and their times."""

    mesh: Mesh
    cases: Int[np.ndarray, " case"]
    times: int

    def taken(self, packed: PackedField) -> Float[np.ndarray, "frame entity component"]:
        """Their values, times of a case one behind the other."""
        found = packed.values[:, rows(packed.offsets, self.cases, self.mesh, packed.on)]
        found = np.broadcast_to(found, (self.times, *found.shape[1:]))
        return found.swapaxes(0, 1).reshape(-1, *found.shape[2:])

    def spread(self, packed: PackedScalar) -> Float[np.ndarray, "frame 1 1"]:
        """A scalar at every time."""
        found = packed.values[self.cases]
        return np.broadcast_to(found, (len(found), self.times)).reshape(-1, 1, 1)


def groups_of(cases: Cases) -> list[Group]:
    """Cases by their mesh."""
    meshes, times = cases.meshes[""], len(cases.times)
    return [
        Group(mesh, np.flatnonzero(meshes.which == k), times)
        for k, mesh in enumerate(meshes.distinct)
        if (meshes.which == k).any()
    ]


def rows(
    offsets: Int[np.ndarray, " bound"], cases: Int[np.ndarray, " case"], mesh: Mesh, on: str
) -> Int[np.ndarray, "case entity"]:
    """Where the values of some cases lie in an array of all."""
    return offsets[cases][:, None] + np.arange(mesh.size_of(on))


def _columns(packed: Any) -> list[np.ndarray]:
    return [p.values.reshape(-1, p.values.shape[2]) for p in packed]


def _tables(packed: Any) -> list[np.ndarray]:
    return [p.values.reshape(-1, 1) for p in packed]


def _joint(columns: Sequence[np.ndarray]) -> Scaling:
    """Of columns that may have other numbers of rows."""
    each = [Scaling.of([c]) for c in columns]
    empty = [np.zeros(0)]
    shift, scale = ([getattr(s, k) for s in each] or empty for k in ("shift", "scale"))
    return Scaling(np.concatenate(shift), np.concatenate(scale))


def _standardised(parts: Sequence[np.ndarray], scaling: Scaling, group: Group, on: str) -> Tensor:
    """Columns side by side, (frame, entity, column)."""
    shape = (len(group.cases) * group.times, group.mesh.size_of(on) if on else 1)
    wide = [np.broadcast_to(p, (*shape, p.shape[2])) for p in parts]
    return torch.as_tensor(scaling(np.concatenate([np.empty((*shape, 0)), *wide], axis=2)))


@dataclass(frozen=True, eq=False)
class FieldMapPredictor(Predictor):
    """A fitted map."""

    recipe: FieldMap
    reading: Reading
    net: PointMap
    features: Features
    guard: Guard

    def answer(self, cases: Cases, device: str | None) -> Predictions:
        self.recipe.check(cases)
        where = torch.device(device or "cpu")
        self.net.to(where)
        meshes, times = cases.meshes[""], len(cases.times)
        values: dict[str, np.ndarray] = {}
        for name, kind in self.signature.fields.items():
            size = int(meshes.offsets(kind.on)[-1])
            values[name] = np.empty((times, size, kind.components))
        scalars = {name: np.empty((len(cases), times)) for name in self.signature.scalars}
        for group in groups_of(cases):
            found = self.mapped(self.reading.told(cases, group).to(where), group.mesh)
            for name, own in self.split(found).items():
                whole = own.reshape(len(group.cases), times, *own.shape[1:])
                if name in scalars:
                    scalars[name][group.cases] = whole[:, :, 0, 0]
                    continue
                on = self.signature.fields[name].on
                at = rows(meshes.offsets(on), group.cases, group.mesh, on)
                values[name][:, at] = whole.swapaxes(0, 1)
        mean = {
            name: PackedField(values[name], meshes.offsets(kind.on), kind.unit, kind.on)
            for name, kind in self.signature.fields.items()
        }
        told = {
            name: PackedEstimate(scalars[name], None, kind.unit)
            for name, kind in self.signature.scalars.items()
        }
        trust = tuple(self.guard.judge(place(self.features, cases)))
        return Predictions(cases, mean, None, told, None, trust)

    def mapped(
        self, x: Float[Tensor, "frame point input"], mesh: Mesh
    ) -> list[Float[np.ndarray, "frame entity column"]]:
        """Standardised inputs to outputs at each of `PLACES`, in their units."""
        with torch.no_grad():
            near = self.net.places(mesh).to(x.device)
            each = x.to(self.net.precision).split(frames_at_once(mesh))
            found = torch.cat([self.net(part, near) for part in each])
            parts = found.split(self.reading.outputs, 2)
            both = zip(PLACES, parts, self.reading.outward, strict=True)
            return [s.inverse(returned(averaged(mesh, y, on)).astype(float)) for on, y, s in both]

    def split(self, found: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of `mapped` by name."""
        by_name: dict[str, np.ndarray] = {}
        for on, values in zip(PLACES, found, strict=True):
            kinds: dict[str, FieldKind | None] = {
                k: self.signature.fields[k] for k in named(self.signature, on)
            }
            kinds = kinds if on else dict.fromkeys(self.signature.scalars)
            start = 0
            for name, kind in kinds.items():
                end = start + (kind.components if kind is not None else 1)
                by_name[name] = values[:, :, start:end]
                start = end
        return by_name

    def state(self) -> State:
        return State.nested(
            {
                "reading": self.reading.state(),
                "network": State(weights_of(self.net), {}),
                "features": self.features.state(),
                "guard": self.guard.state(),
            }
        )
