"""Roll-outs: a surrogate of one step in time, applied again and again to its own answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from fieldcast.meshes import Case, Cases, Field, Mesh, Predictions, Sample, Samples, Scalar, Trust
from fieldcast.meshes.packed import PackedEstimate, PackedField
from fieldcast.meshes.sample import STEADY, Location

from .case_data import held_rows
from .graph_surrogate import GraphPredictor, GraphSurrogate
from .graph_transformer import GraphTransformer
from .signature import Signature, describe
from .surrogate import Card, Predictor, Progress, State, Surrogate, quiet
from .tendency import Integration, Tendency

BOUNDARY = "_boundary"
"""A known field of this ending, a series, is what its field takes in the regions that are held."""
STRAYED = 10.0
"""Trust score above which a state on the way counts: answers drift a little, and may."""
EVEN = 1e-6
"""By how much, relative to a step, times may lie beside whole steps."""


@dataclass(frozen=True)
class Rollout(Surrogate):
    """`step` learns the next state from one state, and is applied from the first time on.

    The state are all fields that have a series. Where training cases give it as known fields of
    the same names (one time: the start), cases must give it, too; else the first state is
    predicted, by `step` fitted to the first times. In regions that `step` holds, nodes keep the
    start's values, or those of the known series NAME_boundary. Cases are answered at their own
    times, as many as are asked for, whole steps of the training set apart.

    With a `tendency` the step learns du/dt instead, as outputs NAME_rate, and is stepped by the
    scheme that it says.
    """

    step: Surrogate = field(default_factory=lambda: GraphTransformer(noise=0.02))
    tendency: Tendency | None = None

    any_mesh: ClassVar[bool] = True
    transient: ClassVar[bool] = True
    tolerance: ClassVar[float] = 1e-5

    def __post_init__(self) -> None:
        for name in ("any_mesh", "grids", "tolerance"):
            object.__setattr__(self, name, getattr(self.step, name))
        held = self.step.training.held if isinstance(self.step, GraphSurrogate) else ()
        if self.tendency is not None and held:
            raise ValueError(
                f"expected a step that holds no regions, as rates are not values, got held={held}; "
                "leave out held or the tendency"
            )

    def fit(
        self,
        samples: Sequence[Sample],
        *,
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
    ) -> RolloutPredictor:
        whole = Samples.pack(samples)
        signature = replace(Signature.of(whole), own_times=True)
        plan = Plan.of(signature)
        own, held = plan.parted(whole, validation, seed)
        every = Samples.pack(own)
        start = step = None
        pairs = self._learned(plan, every) if len(signature.times) > 1 else []
        first = plan.firsts(every)
        if first is not None:
            chosen = plan.firsts(held) or []
            start = self.step.fit(first, validation=chosen, seed=seed, progress=progress)
        if pairs:
            step = self._fitted(plan, pairs, self._learned(plan, held), seed, progress)
        fits = {"start": start, "step": step}
        told = {name: dict(p.card.fit) for name, p in fits.items() if p is not None}
        card = Card(describe(whole), {**told, "step_seconds": plan.size}, seed=seed)
        return RolloutPredictor(self, signature, card, start, step)

    def _learned(self, plan: Plan, samples: Sequence[Sample]) -> list[Sample]:
        """What the step learns."""
        return self.tendency.samples(plan, samples) if self.tendency else plan.steps(samples)

    def _fitted(
        self,
        plan: Plan,
        pairs: Sequence[Sample],
        validation: Sequence[Sample] | None,
        seed: int,
        progress: Progress,
    ) -> Predictor:
        if self.tendency is not None or not isinstance(self.step, GraphSurrogate):
            return self.step.fit(pairs, validation=validation, seed=seed, progress=progress)
        each = len(plan.signature.times) - 1
        before = [k - 1 if k % each else -1 for k in range(len(pairs))]
        return self.step.fit_steps(
            pairs, before, validation=validation, seed=seed, progress=progress
        )

    def restore(self, signature: Signature, card: Card, state: State) -> RolloutPredictor:
        parts = state.parts()
        found: dict[str, Predictor] = {}
        for name in ("start", "step"):
            if name in parts:
                own = Signature.from_json(parts[f"{name}_signature"].values)
                found[name] = self.step.restore(own, Card(seed=card.seed), parts[name])
        return RolloutPredictor(self, signature, card, found.get("start"), found.get("step"))

    def estimate(self, samples: Sequence[Sample]) -> tuple[float, int] | None:
        few = Samples.pack(list(samples[:2]))
        plan = Plan.of(Signature.of(few))
        parts = (self._learned(plan, few), plan.firsts(few))
        found = [self.step.estimate(part) for part in parts if part]
        if not found or any(part is None for part in found):
            return None
        return sum(p[0] for p in found if p), max(p[1] for p in found if p)

    @classmethod
    def tiny(cls) -> Rollout:
        return cls(GraphTransformer.tiny())


@dataclass(frozen=True)
class Plan:
    """How a roll-out goes: the `state` fields, whether cases `give` their start, and the `size` of
    a step [s]."""

    signature: Signature
    state: tuple[str, ...]
    give: bool
    size: float

    @classmethod
    def of(cls, signature: Signature) -> Plan:
        """From the signature of the whole.

        Raises:
            ValueError: times that are not evenly spaced; fields without a series; a start of some
                fields alone.
        """
        gaps = np.diff(signature.times)
        size = float(gaps.mean()) if len(gaps) else 0.0
        if len(gaps) and (size <= 0 or np.abs(gaps - size).max() > 1e-3 * size):
            raise ValueError(
                f"expected evenly spaced times to learn a step from, got gaps of {gaps.min():.4g} "
                f"to {gaps.max():.4g} s; leave out times"
            )
        state = tuple(signature.fields)
        still = [name for name in state if signature.fields[name].steady]
        if len(gaps) and still:
            raise ValueError(
                f"expected fields with {len(signature.times)} times, got one of {still}; leave "
                "them out or give them as known fields"
            )
        given = [name for name in state if name in signature.known]
        if given and len(given) < len(state):
            missing = sorted(set(state) - set(given))
            raise ValueError(f"expected the start of all fields or none, {missing} have none")
        return cls(signature, state, bool(given), size)

    def parted(
        self, samples: Sequence[Sample], validation: Sequence[Sample] | None, seed: int
    ) -> tuple[list[Sample], list[Sample]]:
        """Whole simulations to learn from, and others to select by: those given, else some held
        out.

        Raises:
            ValueError: validation at other times.
        """
        if validation is None:
            own, held = held_rows(len(samples), seed)
            return [samples[i] for i in own], [samples[i] for i in held]
        for s in validation:
            times = np.asarray(s.case.times)
            steps = (times - times[0]) / self.size if self.size else times - times[0]
            if len(times) != len(self.signature.times) or (
                np.abs(steps - np.arange(len(times))).max() > 1e-3
            ):
                raise ValueError(
                    f"validation case {s.case.label}: expected {len(self.signature.times)} times "
                    f"{self.size:.6g} s apart, as the training set has, got {times[:4]}"
                )
        return list(samples), list(validation)

    def asked(self, case: Case, now: int, state: Mapping[str, Field]) -> Case:
        """The case of one step: parameters and known series as they will be, the state as it
        is."""
        return self.at(case, now + 1, state)

    def at(self, case: Case, place: float | int, state: Mapping[str, Field]) -> Case:
        """A state with parameters and known series at the case's time number `place`, linear
        between times."""
        parameters = {
            k: Scalar(_between(s.value, place), s.unit) for k, s in case.parameters.items()
        }
        known = {
            k: f.with_values(_between(f.values, place))
            for k, f in case.fields.items()
            if k not in self.state
        }
        return Case(case.mesh, parameters, {**known, **state}, times=STEADY, name=case.name)

    def firsts(self, samples: Sequence[Sample]) -> list[Sample] | None:
        """The first times, to learn what no step can tell: states that cases don't give, and
        scalars; None where there is nothing."""
        if self.give and not self.signature.scalars:
            return None
        found = []
        for s in samples:
            start = {k: s.case.fields[k] for k in self.state} if self.give else {}
            fields = {} if self.give else {k: at(s.fields[k], 0) for k in self.state}
            scalars = {k: Scalar(v.value[:1], v.unit) for k, v in s.scalars.items()}
            found.append(Sample(self.asked(s.case, -1, start), fields, scalars))
        return found

    def steps(self, samples: Sequence[Sample]) -> list[Sample]:
        """Every pair of consecutive times of every sample."""
        found = []
        for s in samples:
            for now in range(len(self.signature.times) - 1):
                state = {k: at(s.fields[k], now) for k in self.state}
                later = {k: at(s.fields[k], now + 1) for k in self.state}
                scalars = {
                    k: Scalar(v.value[[now + 1]], v.unit)
                    for k, v in s.scalars.items()
                    if len(v.value) > 1
                }
                found.append(Sample(self.asked(s.case, now, state), later, scalars))
        return found

    def counts(self, times: np.ndarray, name: str) -> list[int]:
        """Steps from the first time to each.

        Raises:
            ValueError: times between steps.
        """
        if len(times) == 1:
            return [0]
        steps = (times - times[0]) / self.size
        counts = np.round(steps).astype(int)
        if np.abs(steps - counts).max() > max(EVEN, 1e-3) or (np.diff(counts) < 1).any():
            raise ValueError(
                f"case {name}: expected rising times whole steps of {self.size:.6g} s apart, got "
                f"{times[:4]}"
            )
        return counts.tolist()


def at(found: Field, time: int) -> Field:
    """One time of a series, a view."""
    return found.with_values(found.values[time : time + 1])


def _between(values: np.ndarray, place: float | int) -> np.ndarray:
    """One time of a series, the last one beyond it."""
    place = min(place, len(values) - 1)
    low = int(place)
    share = place - low
    if not share:
        return values[[low]]
    found: np.ndarray = (1.0 - share) * values[[low]] + share * values[[low + 1]]
    return found


def _within(mesh: Mesh, regions: Sequence[str], on: Location) -> np.ndarray:
    """Points of regions, or cells of which all points are, (entity,) bool."""
    flags = np.zeros(len(mesh.points), dtype=bool)
    for name in regions:
        if name in mesh.regions:
            flags[mesh.regions[name]] = True
    if on == "point":
        return flags
    return np.concatenate([flags[block].all(axis=1) for block in mesh.cells.values()])


def _worst(known: Sequence[Trust], step: Sequence[Trust], time: float) -> list[Trust]:
    """The trust of the first step, until one lies far outside."""
    if not known:
        return list(step)
    found = []
    for before, now in zip(known, step, strict=True):
        if now.status == "reject" and now.score > STRAYED and before.status != "reject":
            before = Trust(now.status, now.score, f"after {time:.4g} s: {now.reason}")
        found.append(before)
    return found


@dataclass(frozen=True, eq=False)
class RolloutPredictor(Predictor):
    """`start` tells the first state (and scalars), `step` the next one from each."""

    start: Predictor | None
    step: Predictor | None

    def answer(self, cases: Cases, device: str | None) -> Predictions:
        plan = Plan.of(self.signature)
        every = [cases[i] for i in range(len(cases))]
        counts = plan.counts(np.asarray(cases.times), every[0].label)
        states = [{k: at(c.fields[k], 0) for k in plan.state} if plan.give else {} for c in every]
        first = None
        if self.start is not None:
            asked = [plan.asked(c, -1, s) for c, s in zip(every, states, strict=True)]
            first = self.start.predict(asked, device=device)
            if not plan.give:
                states = [{k: p.mean[k] for k in plan.state} for p in first]
        kept, found = [states], [first] if first is not None else []
        trust = list(first.trust) if first is not None else []
        run = self._integration(plan, every, counts, device)
        now = 0
        for frame, count in enumerate(counts[1:]):
            while now < count:
                raw, last = (
                    self._next(plan, every, states, frame, device)
                    if run is None
                    else run.advanced(states, now)
                )
                now += 1
                trust = _worst(trust, last.trust, now * plan.size)
                states = [
                    self._bounded(case, frame + 1, state)
                    for case, state in zip(every, raw, strict=True)
                ]
            kept.append(states)
            if run is not None and self.signature.scalars:
                last = run.told(states, now * plan.size)
            found.append(last)
        mean = {k: self._series(k, kept, cases) for k in plan.state}
        return Predictions(cases, mean, None, self._scalars(found), None, tuple(trust))

    def _next(
        self,
        plan: Plan,
        cases: Sequence[Case],
        states: Sequence[Mapping[str, Field]],
        frame: int,
        device: str | None,
    ) -> tuple[list[Mapping[str, Field]], Predictions]:
        """The states one step later, as they are told."""
        asked = [plan.asked(c, frame, s) for c, s in zip(cases, states, strict=True)]
        found = self._step().predict(asked, device=device)
        return [{k: p.mean[k] for k in plan.state} for p in found], found

    def _integration(
        self, plan: Plan, cases: Sequence[Case], counts: Sequence[int], device: str | None
    ) -> Integration | None:
        """Of rates, if those are what the step tells."""
        if not isinstance(self.recipe, Rollout) or self.recipe.tendency is None or len(counts) < 2:
            return None
        return Integration(self.recipe.tendency, self._step(), plan, cases, counts, device)

    def _step(self) -> Predictor:
        if self.step is None:
            raise ValueError("expected a case of one time, as the training set has")
        return self.step

    def _bounded(self, case: Case, time: int, state: Mapping[str, Field]) -> dict[str, Field]:
        """With the values that the case gives at held nodes."""
        held = self.step.reading.held if isinstance(self.step, GraphPredictor) else {}
        bounded = dict(state)
        for name, regions in held.items():
            given = case.fields.get(name + BOUNDARY)
            if given is None:
                continue
            on = bounded[name].on
            if given.on != on:
                raise ValueError(
                    f"case {case.label}, field {name + BOUNDARY!r}: expected values on {on}s, as "
                    f"{name!r} has, got {given.on}s"
                )
            values, kept = bounded[name].values.copy(), _within(case.mesh, regions, on)
            values[0, kept] = given.values[min(time, len(given.values) - 1), kept]
            bounded[name] = bounded[name].with_values(values)
        return bounded

    def _series(
        self, name: str, kept: Sequence[Sequence[Mapping[str, Field]]], cases: Cases
    ) -> PackedField:
        kind = self.signature.fields[name]
        values = np.stack(
            [np.concatenate([state[name].values[0] for state in frame]) for frame in kept]
        )
        return PackedField(values, cases.meshes[""].offsets(kind.on), kind.unit, kind.on)

    def _scalars(self, found: Sequence[Predictions]) -> dict[str, PackedEstimate]:
        scalars = {}
        for name, kind in self.signature.scalars.items():
            frames = found[:1] if kind.steady else found
            values = np.concatenate([p.scalars[name].mean for p in frames], axis=1)
            scalars[name] = PackedEstimate(values, None, kind.unit)
        return scalars

    def state(self) -> State:
        parts: dict[str, State] = {}
        for name, predictor in (("start", self.start), ("step", self.step)):
            if predictor is not None:
                parts[name] = predictor.state()
                parts[f"{name}_signature"] = State({}, predictor.signature.to_json())
        return State.nested(parts)
