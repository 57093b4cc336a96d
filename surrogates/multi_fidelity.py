"""Many cheap simulations beside few dear ones: a surrogate of the cheap ones is asked first, one of
the dear ones is told what it says.

Any two surrogates are fitted one after the other; a `ColumnNetwork` and a `RandomizedPrior` become
one network. Two `RandomizedPrior`s learn together, step by step, and each member of the dear one is
told by its own member of the cheap one (Bhouri, Peng, Pritchard, Gentine 2023, arXiv:2309.10231).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Cases, Predictions, Sample, Samples
from fieldcast.meshes.packed import PackedEstimate, PackedField, PackedScalar

from .column_network import ColumnNetwork, RandomizedPrior
from .multi_fidelity_columns import Joint
from .multi_fidelity_turns import InTurn
from .signature import Signature
from .surrogate import Card, Predictor, Progress, State, Surrogate, quiet

COMPOSITIONS = ("lf_only", "concat", "residual")
"""What the dear surrogate is told: what the cheap one says alone; that beside the case; or both,
and it learns the rest of straight lines through what the cheap one says."""


@dataclass(frozen=True)
class MultiFidelity(Surrogate):
    """`high` told by `low`. Of two `RandomizedPrior`s the loss of the cheap simulations counts
    `alpha` times, and with `stop_gradient` that of the dear ones does not change `low`."""

    one_numbering: ClassVar[bool] = True
    tolerance: ClassVar[float] = 1e-5

    low: Surrogate = field(default_factory=RandomizedPrior)
    high: Surrogate = field(default_factory=RandomizedPrior)
    composition: str = "concat"
    stop_gradient: bool = True
    alpha: float = 1.0

    def __post_init__(self) -> None:
        inner = self.low, self.high
        marks = {
            "any_mesh": all(s.any_mesh for s in inner),
            "one_numbering": any(s.one_numbering for s in inner),
            "grids": any(s.grids for s in inner),
            "tolerance": max(s.tolerance for s in inner),
        }
        for name, value in marks.items():
            object.__setattr__(self, name, value)
        if self.composition not in COMPOSITIONS or self.alpha <= 0:
            raise ValueError(
                'expected the composition "lf_only", "concat" or "residual" and a positive alpha, '
                f"got {self.composition!r} and {self.alpha}"
            )

    def fit(
        self,
        samples: Sequence[Sample],
        *,
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
        cheap: Sequence[Sample] | None = None,
    ) -> Predictor:
        """Learn from the dear `samples` and the `cheap` ones (the same where there are none)."""
        dear = Samples.pack(samples)
        few = dear if cheap is None else Samples.pack(cheap)
        if self._columns is not None:
            return self._columns.fit(self, (dear, few), validation, seed, progress)
        low = self.low.fit(few, seed=seed, progress=progress)
        return self.fit_to(low, dear, validation=validation, seed=seed, progress=progress)

    def fit_to(
        self,
        low: Predictor,
        samples: Sequence[Sample],
        *,
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
    ) -> MultiFidelityPredictor:
        """Learn from the dear `samples` what `low`, which was fitted before, leaves."""
        dear = Samples.pack(samples)
        told = Told(self.composition, low, {})
        if self.composition == "residual":
            told = replace(told, lines=told.fitted(dear))
        held = None
        if validation is not None:
            held = told.samples(Samples.pack(validation)) if len(validation) else validation
        high = self.high.fit(told.samples(dear), validation=held, seed=seed, progress=progress)
        card = Card(high.card.training, {"low": dict(low.card.fit), **high.card.fit}, seed=seed)
        return MultiFidelityPredictor(self, Signature.of(dear), card, told, high)

    @property
    def _columns(self) -> Joint | InTurn | None:
        """How networks of columns are fitted; None of other surrogates."""
        low, high = self.low, self.high
        if not isinstance(high, RandomizedPrior) or not high.batched:
            return None
        if isinstance(low, RandomizedPrior) and low.batched:
            return Joint(low, high, self.composition, self.stop_gradient, self.alpha)
        if isinstance(low, ColumnNetwork):
            return InTurn(low, high, self.composition)
        return None

    def restore(self, signature: Signature, card: Card, state: State) -> Predictor:
        parts = state.parts()
        if self._columns is not None:
            return self._columns.restored(self, signature, card, parts["joint"])
        own = {name: Signature.from_json(parts[f"{name} signature"].values) for name in PAIR}
        low = self.low.restore(own["low"], Card(seed=card.seed), parts["low"])
        high = self.high.restore(own["high"], Card(seed=card.seed), parts["high"])
        lines = {k: Line(*pair) for k, pair in _pairs(parts["lines"]).items()}
        told = Told(self.composition, low, lines)
        return MultiFidelityPredictor(self, signature, card, told, high)

    def estimate(self, samples: Sequence[Sample]) -> tuple[float, int] | None:
        found = [s.estimate(samples) for s in (self.low, self.high)]
        if any(part is None for part in found):
            return None
        return sum(p[0] for p in found if p), max(p[1] for p in found if p)

    @classmethod
    def tiny(cls) -> MultiFidelity:
        return cls(RandomizedPrior.tiny(), RandomizedPrior.tiny())


PAIR = ("low", "high")
ENDS = ("slope", "offset")


def _pairs(state: State) -> dict[str, list[np.ndarray]]:
    """Slopes and offsets by output."""
    return {k: [state.arrays[f"{end}/{k}"] for end in ENDS] for k in state.values["names"]}


@dataclass(frozen=True, eq=False)
class Line:
    """slope x + offset, value by value of a case where all have equally many, else one for all."""

    slope: Float[np.ndarray, " *value"]
    offset: Float[np.ndarray, " *value"]

    @classmethod
    def through(cls, x: Float[np.ndarray, "case ..."], y: Float[np.ndarray, "case ..."]) -> Line:
        """By least squares over cases; level where x is always the same."""
        gap = x - x.mean(axis=0)
        size = np.maximum((gap * gap).sum(axis=0), 1e-300)
        slope = (gap * (y - y.mean(axis=0))).sum(axis=0) / size
        return cls(slope, y.mean(axis=0) - slope * x.mean(axis=0))

    def __call__(self, x: Float[np.ndarray, "case ..."]) -> Float[np.ndarray, "case ..."]:
        return self.slope * x + self.offset


@dataclass(frozen=True, eq=False)
class Told:
    """How cases tell the dear surrogate what `low` says: `lines` by output, of what is taken off
    its truth."""

    composition: str
    low: Predictor
    lines: Mapping[str, Line]

    def cases(self, cases: Cases, said: Predictions) -> Cases:
        """With what `low` says as known fields and parameters, alone or beside their own."""
        fields = {f"low {k}": f for k, f in said.mean.items()}
        numbers = {f"low {k}": PackedScalar(e.mean, e.unit) for k, e in said.scalars.items()}
        if self.composition != "lf_only":
            fields = {**cases.fields, **fields}
            numbers = {**cases.parameters, **numbers}
        return replace(cases, fields=fields, parameters=numbers)

    def samples(self, samples: Samples) -> Samples:
        """To be learnt from."""
        said = self.low.predict(samples.cases)
        fields, scalars = dict(samples.fields), dict(samples.scalars)
        for name, line in self.lines.items():
            if name in fields:
                values = fields[name].values - _along(line, said.mean[name])
                fields[name] = replace(fields[name], values=values)
            else:
                values = scalars[name].values - line(said.scalars[name].mean)
                scalars[name] = replace(scalars[name], values=values)
        return Samples(self.cases(samples.cases, said), fields, scalars)

    def fitted(self, samples: Samples) -> dict[str, Line]:
        """Straight lines through what `low` says, of each output that both have."""
        said = self.low.predict(samples.cases)
        lines = {
            name: Line.through(_rows(said.mean[name]), _rows(f))
            for name, f in samples.fields.items()
            if name in said.mean
        }
        return lines | {
            name: Line.through(said.scalars[name].mean, s.values)
            for name, s in samples.scalars.items()
            if name in said.scalars
        }

    def back(self, found: Predictions, said: Predictions) -> Predictions:
        """With the lines added."""
        mean: dict[str, PackedField] = dict(found.mean)
        scalars: dict[str, PackedEstimate] = dict(found.scalars)
        for name, line in self.lines.items():
            if name in mean:
                values = mean[name].values + _along(line, said.mean[name])
                mean[name] = replace(mean[name], values=values)
            else:
                e = scalars[name]
                scalars[name] = replace(e, mean=e.mean + line(said.scalars[name].mean))
        return replace(found, mean=mean, scalars=scalars)


def _rows(packed: PackedField) -> Float[np.ndarray, "case ..."]:
    """A row of each case; of cases of unequal length each value one of its own."""
    if len(np.unique(np.diff(packed.offsets))) == 1:
        return packed.stacked()
    return packed.values.reshape(-1)


def _along(line: Line, packed: PackedField) -> Float[np.ndarray, "time point component"]:
    """Of all cases, packed."""
    if line.slope.ndim == 0:
        return line(packed.values)
    return line(packed.stacked()).swapaxes(0, 1).reshape(packed.values.shape)


@dataclass(frozen=True, eq=False)
class MultiFidelityPredictor(Predictor):
    """The low one answers, the high one is told."""

    told: Told
    high: Predictor

    def answer(self, cases: Cases, device: str | None) -> Predictions:
        said = self.told.low.answer(cases, device)
        found = self.high.answer(self.told.cases(cases, said), device)
        return replace(self.told.back(found, said), cases=cases)

    def member_answers(
        self, cases: Sequence[Case], device: str | None = None
    ) -> Sequence[Predictions]:
        packed = self.signature.checked_cases(Cases.pack(cases))
        said = self.told.low.answer(packed, device)
        every = self.high.member_answers(self.told.cases(packed, said), device)
        return [replace(self.told.back(found, said), cases=packed) for found in every]

    def state(self) -> State:
        low = self.told.low
        signatures = {"low": low.signature, "high": self.high.signature}
        own = {f"{name} signature": State({}, s.to_json()) for name, s in signatures.items()}
        both = self.told.lines.items()
        arrays = {f"{end}/{k}": getattr(line, end) for k, line in both for end in ENDS}
        lines = State(arrays, {"names": [k for k, _ in both]})
        return State.nested({"low": low.state(), "high": self.high.state(), "lines": lines, **own})
