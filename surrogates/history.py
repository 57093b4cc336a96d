"""Scalars in time that answer to series in time: the voltage of a cell under any current, a
structure's load under any gust.

An operator in two parts, as the voltage is a function of concentrations that are operators of the
current (a composition of operators: Zheng, Huang, Hu et al. 2022, arXiv:2205.03508). The first part
is linear, causal and known: of each series its value, its integral, and what memories of fixed
lengths keep of it, m' = (s - m) / tau, which for enough lengths spans the response of diffusion.
The second part is learned: a Fusion-DeepONet whose trunk is told these numbers at one time, and
whose branch is told the parameters that do not vary in time. An answer at one time depends on no
later one, and the times of a case may be its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float

from fieldcast.meshes import Cases, Predictions, Sample, Samples
from fieldcast.meshes.packed import PackedEstimate

from .case_data import Scaling, held_rows
from .features import Features
from .guard import Guard, Place
from .operator_layers import AT_ONCE, FusionNet
from .operator_objective import OperatorObjective, Pack, Part
from .operator_surrogate import load_weights, weights_of
from .placing import placed, returned
from .pod_network import told as told_of
from .signature import Signature, describe
from .surrogate import Card, Predictor, Progress, State, Surrogate, quiet
from .training import Descent, train

Series = Float[np.ndarray, "case time series"]


def memories(
    times: Float[np.ndarray, " time"], series: Series, lengths: Float[np.ndarray, " memory"]
) -> Float[np.ndarray, "case time series column"]:
    """The value of each series, its integral, and its memories, m' = (s - m) / tau from the first
    value on, exact for series that are linear between times."""
    steps = np.diff(times)
    count = (*series.shape[:2], series.shape[2], len(lengths))
    found = np.empty(count)
    state = np.repeat(series[:, 0, :, None], len(lengths), axis=2)
    found[:, 0] = state
    ratio = steps[:, None] / lengths
    fading = np.exp(-ratio)
    # The mean of the fading over a step; 1 - r / 2 where r is so small that digits would be lost.
    mean = np.where(ratio > 1e-6, -np.expm1(-ratio) / np.maximum(ratio, 1e-300), 1 - 0.5 * ratio)
    for k in range(len(steps)):
        before, after = series[:, k, :, None], series[:, k + 1, :, None]
        state = fading[k] * state + (mean[k] - fading[k]) * before + (1.0 - mean[k]) * after
        found[:, k + 1] = state
    parts = 0.5 * (series[:, 1:] + series[:, :-1]) * steps[:, None]
    integral = np.concatenate([np.zeros_like(series[:, :1]), np.cumsum(parts, axis=1)], axis=1)
    return np.concatenate([series[..., None], integral[..., None], found], axis=3)


@dataclass(frozen=True)
class HistoryOperator(Surrogate):
    """Scalars in time from `memories` of each parameter that is a series in time, with lengths
    evenly in their logarithm from the mean distance of times to the whole duration, and from
    parameters that do not vary in time. The network, of `depth` layers of `width` units and
    `latent` basis functions, learns what a linear model of the same numbers leaves. A step of
    training looks at `points` random times of each of its cases.

    Meshes and fields are not looked at: it answers scalars alone.
    """

    memories: int = 12
    width: int = 48
    depth: int = 3
    latent: int = 48
    points: int = 48
    descent: Descent = field(
        default_factory=lambda: Descent(3000, 64, "soap", rate=5e-3, every=100)
    )

    any_mesh: ClassVar[bool] = True
    transient: ClassVar[bool] = True
    tolerance: ClassVar[float] = 1e-5

    def __post_init__(self) -> None:
        if self.memories < 1:
            raise ValueError(f"expected at least one memory, got {self.memories}")

    def fit(
        self,
        samples: Sequence[Sample],
        *,
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
    ) -> HistoryPredictor:
        every = Samples.pack([replace(s, fields={}) for s in samples])
        signature = replace(Signature.of(every), own_times=True)
        own, held = (np.array(rows, dtype=int) for rows in held_rows(len(every), seed))
        checks = every.taken(held) if len(held) else None
        if validation is not None:
            own = np.arange(len(every))
            checked = [Sample(signature.checked(s.case), {}, s.scalars) for s in validation]
            checks = Samples.pack(checked) if checked else None
        reading = HistoryReading.fit(signature, every.taken(own), self.memories)
        device = self.descent.place
        objective = OperatorObjective(
            reading.pack(every.taken(own), device),
            reading.pack(checks, device) if checks is not None else None,
            self.points,
            seed,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = self.network(reading)
        found = train(net, objective, self.descent, seed=seed, progress=progress)
        features = Features.fit(*reading.summary(every.cases))
        units = {k: s.unit for k, s in every.cases.parameters.items()}
        guard = Guard.fit(features, reading.place(features, every.cases), units)
        fit = {"parameters": sum(p.numel() for p in net.parameters()), "training": told_of(found)}
        card = Card(describe(every), fit, seed=seed)
        return HistoryPredictor(self, signature, card, reading, net.cpu().eval(), features, guard)

    def network(self, reading: HistoryReading) -> FusionNet:
        """With random weights, from the global generator."""
        columns = (reading.steady, reading.told, reading.left)
        inputs, told, outputs = (len(scaling.shift) for scaling in columns)
        ends = (inputs, told, outputs, 0)
        return FusionNet(ends, self.width, self.depth, self.latent, "residual")

    def restore(self, signature: Signature, card: Card, state: State) -> HistoryPredictor:
        parts = state.parts()
        reading = HistoryReading.restored(signature, parts["reading"])
        net = self.network(reading)
        load_weights(net, parts["network"].arrays)
        features = Features.restored(parts["features"])
        guard = Guard.restored(parts["guard"], features)
        return HistoryPredictor(self, signature, card, reading, net.eval(), features, guard)

    @classmethod
    def tiny(cls) -> HistoryOperator:
        return cls(6, 12, 2, 8, 16, Descent(steps=200, batch=16, rate=1e-2))


@dataclass(frozen=True, eq=False)
class HistoryReading:
    """How cases become numbers of the two parts and back: `lengths` of memories [s], scalings of
    the `steady` parameters, of what is `told` of series, and of what the linear model, `linear`
    (1 and all of these; output), has `left`."""

    signature: Signature
    lengths: Float[np.ndarray, " memory"]
    steady: Scaling
    told: Scaling
    left: Scaling
    linear: Float[np.ndarray, "column output"]

    @classmethod
    def fit(cls, signature: Signature, samples: Samples, memories: int) -> HistoryReading:
        """From the training set.

        Raises:
            ValueError: no scalar in time to answer, or no series to answer by.
        """
        times = np.asarray(samples.cases.times)
        series = [k for k, kind in signature.parameters.items() if not kind.steady]
        steady = [k for k, kind in signature.scalars.items() if kind.steady]
        if len(times) < 3 or not series or steady or not signature.scalars:
            raise ValueError(
                "expected scalars in time, of parameters of which one is a series in time, got "
                f"{len(times)} times, series {series}, steady scalars {steady}"
            )
        span = float(times[-1] - times[0])
        lengths = np.geomspace(span / (len(times) - 1), span, memories)
        blank = Scaling(np.zeros(0), np.zeros(0))
        none = np.zeros((0, len(signature.scalars)))
        bare = cls(signature, lengths, blank, blank, blank, none)
        rows = bare.steady_rows(samples.cases)
        told = bare.told_rows(samples.cases)
        bare = replace(bare, steady=Scaling.of([rows]), told=Scaling.of(told))
        design = bare.design(samples.cases)
        y = bare.outputs(samples)
        flat = design.reshape(-1, design.shape[-1])
        linear = np.linalg.lstsq(flat, y.reshape(len(flat), -1), rcond=1e-8)[0]
        return replace(bare, linear=linear, left=Scaling.of(y - design @ linear))

    def steady_rows(self, cases: Cases) -> Float[np.ndarray, "case column"]:
        """Parameters that do not vary in time; a column of zeros where there are none."""
        kinds = self.signature.parameters.items()
        found = [cases.parameters[k].values for k, kind in kinds if kind.steady]
        return np.hstack(found) if found else np.zeros((len(cases), 1))

    def told_rows(self, cases: Cases) -> Float[np.ndarray, "case time column"]:
        """Of all series at each time."""
        kinds = self.signature.parameters.items()
        series = np.stack([cases.parameters[k].values for k, kind in kinds if not kind.steady], 2)
        found = memories(np.asarray(cases.times), series, self.lengths)
        return found.reshape(*found.shape[:2], -1)

    def design(self, cases: Cases) -> Float[np.ndarray, "case time column"]:
        """1, series and parameters, scaled: what the linear model is of."""
        told = self.told(self.told_rows(cases))
        steady = self.steady(self.steady_rows(cases))[:, None]
        ones = np.ones((*told.shape[:2], 1))
        return np.concatenate([ones, told, steady.repeat(told.shape[1], axis=1)], axis=2)

    def outputs(self, samples: Samples) -> Float[np.ndarray, "case time output"]:
        """The scalars of samples."""
        return np.stack([samples.scalars[k].values for k in self.signature.scalars], axis=2)

    def inputs(self, cases: Cases) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the branch (case, column) and of the trunk (all times of all cases, column)."""
        v = self.steady(self.steady_rows(cases))
        x = self.told(self.told_rows(cases))
        pair = v, x.reshape(-1, x.shape[-1])
        branch, trunk = (torch.as_tensor(a, dtype=torch.float32) for a in pair)
        return branch, trunk

    def pack(self, samples: Samples, device: torch.device) -> Pack:
        """What training reads; times stand where points do."""
        v, x = self.inputs(samples.cases)
        left = self.left(self.outputs(samples) - self.design(samples.cases) @ self.linear)
        y = torch.as_tensor(left.reshape(len(x), -1), dtype=torch.float32)
        count = len(samples.cases.times)
        firsts = count * torch.arange(len(v))
        columns = torch.arange(y.shape[1])
        moved = [t.to(device) for t in (x, y, columns, firsts)]
        part = Part(moved[0], moved[1], moved[2], moved[3], (count,) * len(v))
        return Pack(v.to(device), (part,), v.new_zeros(len(v), 0).to(device), y.shape[1], 0)

    def summary(self, cases: Cases) -> tuple[Cases, dict[str, Float[np.ndarray, "case column"]]]:
        """What the guard looks at: parameters that do not vary in time, and the least, the largest
        and the mean of what is told of series."""
        steady = {k: s for k, s in cases.parameters.items() if self.signature.parameters[k].steady}
        told = self.told(self.told_rows(cases))
        parts = (told.min(axis=1), told.max(axis=1), told.mean(axis=1))
        return replace(cases, parameters=steady), {"history": np.hstack(parts)}

    def place(self, features: Features, cases: Cases) -> Place:
        """Where cases lie, for the guard."""
        return Place(features.raw(*self.summary(cases)), {}, np.zeros(len(cases)))

    def state(self) -> State:
        """For `restored`."""
        scalings = {k: getattr(self, k).state() for k in ("steady", "told", "left")}
        own = State({"lengths": self.lengths, "linear": self.linear})
        return State.nested({"own": own, **scalings})

    @classmethod
    def restored(cls, signature: Signature, state: State) -> HistoryReading:
        """From `state`."""
        own = state.part("own").arrays
        steady, told, left = (Scaling.restored(state.part(k)) for k in ("steady", "told", "left"))
        return cls(signature, own["lengths"], steady, told, left, own["linear"])


@dataclass(frozen=True, eq=False)
class HistoryPredictor(Predictor):
    """A linear model of memories and a trained network."""

    reading: HistoryReading
    net: FusionNet
    features: Features
    guard: Guard

    def answer(self, cases: Cases, device: str | None) -> Predictions:
        where = torch.device(device or "cpu")
        self.net.to(where)
        v, x = self.reading.inputs(cases)
        count = len(cases.times)
        with torch.no_grad():
            counts = [count] * len(cases)
            found, _ = self.net.at_most(placed(v, where), placed(x, where), counts, AT_ONCE)
        left = returned(found).astype(float).reshape(len(cases), count, -1)
        # One sum a case: products of matrices round by their number of rows.
        linear = np.einsum("ntc,co->nto", self.reading.design(cases), self.reading.linear)
        values = linear + self.reading.left.inverse(left)
        scalars = {
            name: PackedEstimate(np.ascontiguousarray(values[:, :, k]), None, kind.unit)
            for k, (name, kind) in enumerate(self.signature.scalars.items())
        }
        trust = self.guard.judge(self.reading.place(self.features, cases))
        return Predictions(cases, {}, None, scalars, None, trust)

    def state(self) -> State:
        return State.nested(
            {
                "reading": self.reading.state(),
                "network": State(weights_of(self.net)),
                "features": self.features.state(),
                "guard": self.guard.state(),
            }
        )
