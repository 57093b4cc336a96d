"""Roll-outs of what changes: a surrogate tells du/dt, and a scheme steps it in time (Zhou et al.
2025, arXiv:2412.13074)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Field, Predictions, Sample, Scalar
from fieldcast.meshes.time_stepping import SCHEMES

from .surrogate import Predictor

if TYPE_CHECKING:
    from .rollout import Plan

RATE = "_rate"
"""The rate of a field is an output of this ending."""
WEIGHTS: Mapping[str, Mapping[int, float]] = {
    "forward": {0: -1.0, 1: 1.0},
    "central": {-1: -1 / 2, 1: 1 / 2},
    "richardson": {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12},
}
"""h du/dt from values so many times later; errors of order h, h^2 and h^4 (Richardson:
4/3 (u_1 - u_-1)/2 - 1/3 (u_2 - u_-2)/4)."""
State = Mapping[str, Field]


@dataclass(frozen=True)
class Tendency:
    """A step learns the rates of change, by `differences` of the series, and each step is made by
    `scheme` in so many `substeps`. Between the times of a case its series are interpolated."""

    scheme: Literal["euler", "ab2", "heun", "rk4"] = "rk4"
    differences: Literal["forward", "central", "richardson"] = "richardson"
    substeps: int = 1

    def __post_init__(self) -> None:
        known = self.scheme in SCHEMES and self.differences in WEIGHTS
        if not known or self.substeps < 1:
            raise ValueError(
                f"expected a scheme of {sorted(SCHEMES)}, differences of {sorted(WEIGHTS)} and at "
                f"least one substep, got {self}"
            )

    @property
    def times(self) -> range:
        """The times before and after that a rate is told from."""
        places = WEIGHTS[self.differences]
        return range(min(places), max(places) + 1)

    def samples(self, plan: Plan, samples: Sequence[Sample]) -> list[Sample]:
        """Every time of every sample that has the others it needs, with the rates there.

        Raises:
            ValueError: series that are too short.
        """
        first, last = -min(0, *self.times), len(plan.signature.times) - max(self.times)
        if last <= first:
            raise ValueError(
                f"expected at least {len(self.times)} times for {self.differences} differences, "
                f"got {len(plan.signature.times)}"
            )
        found = []
        for s in samples:
            fields = {k: s.fields[k] for k in plan.state}
            rates = {k: rate(f.values, self.differences, plan.size) for k, f in fields.items()}
            for now in range(first, last):
                state = {k: f.with_values(f.values[[now]]) for k, f in fields.items()}
                told = {
                    k + RATE: Field(rates[k][[now - first]], per_second(f.unit), f.on, f.part)
                    for k, f in fields.items()
                }
                scalars = {
                    k: Scalar(v.value[[now]], v.unit)
                    for k, v in s.scalars.items()
                    if len(v.value) > 1
                }
                found.append(Sample(plan.at(s.case, now, state), told, scalars))
        return found


def rate(
    values: Float[np.ndarray, "time point component"], differences: str, size: float
) -> Float[np.ndarray, "_time point component"]:
    """du/dt at all times that have the others it needs, times `size` apart."""
    places = WEIGHTS[differences]
    before, count = -min(0, *places), len(values) - max(places)
    parts = [w * values[before + k : count + k] for k, w in places.items()]
    return np.sum(parts, axis=0) / size


def per_second(unit: str) -> str:
    """The unit of a rate; not stated where the field's is not."""
    return f"({unit})/s" if unit else ""


@dataclass
class Integration:
    """A run of `cases` by rates: what goes on from one step to the next. `counts` are the steps to
    each of the cases' times."""

    tendency: Tendency
    step: Predictor
    plan: Plan
    cases: Sequence[Case]
    counts: Sequence[int]
    device: str | None
    before: np.ndarray | None = None
    asked: list[Predictions] = field(default_factory=list)

    def advanced(self, states: Sequence[State], now: int) -> tuple[list[State], Predictions]:
        """The states one step after step `now`, and what was told at its beginning."""
        size = self.plan.size / self.tendency.substeps
        scheme, start, self.asked = SCHEMES[self.tendency.scheme], now * self.plan.size, []
        u = flattened([s[k].values for s in states for k in self.plan.state])

        def rate(u: np.ndarray, t: float) -> np.ndarray:
            found = self.told(self._states(u, states), t)
            self.asked.append(found)
            return flattened([p.mean[k + RATE].values for p in found for k in self.plan.state])

        for k in range(self.tendency.substeps):
            u, self.before = scheme(rate, u, start + k * size, size, self.before)
        return self._states(u, states), self.asked[0]

    def told(self, states: Sequence[State], t: float) -> Predictions:
        """Rates and scalars at a time [s] after the first."""
        place = float(np.interp(t / self.plan.size, self.counts, range(len(self.counts))))
        pairs = zip(self.cases, states, strict=True)
        return self.step.predict([self.plan.at(c, place, s) for c, s in pairs], device=self.device)

    def _states(self, u: np.ndarray, like: Sequence[State]) -> list[State]:
        sizes = [s[k].values.size for s in like for k in self.plan.state]
        parts = iter(np.split(u, np.cumsum(sizes)[:-1]))
        return [
            {k: s[k].with_values(next(parts).reshape(s[k].values.shape)) for k in self.plan.state}
            for s in like
        ]


def flattened(parts: Sequence[np.ndarray]) -> np.ndarray:
    """All values one behind the other, in double precision."""
    return np.concatenate([np.asarray(p, dtype=float).ravel() for p in parts])
