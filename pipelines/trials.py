"""Designs that a solver was asked for in a search, and how they are judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Sample
from fieldcast.surrogates.designs import Measure, Told
from fieldcast.surrogates.formulas import Formulas, Seen, Valuation
from fieldcast.surrogates.surrogate import Predictor

from .optimize import Space

Rows = Float[np.ndarray, "row number"]
LEVEL = 2.0
"""Standard deviations either side of what is expected: about 95 %."""
SMALL = 1e-3
"""What counts as nothing of a constraint where nothing is said."""


@dataclass(frozen=True)
class Trial:
    """A design that was tried: its `numbers`, the `file` below simulations/ or the `message` of the
    failure; what was `expected` of the goal and its standard deviation `spread` (None: of the first
    designs nothing), and the `radius` then."""

    numbers: Mapping[str, float]
    file: str = ""
    message: str = ""
    expected: float | None = None
    spread: float | None = None
    radius: float = 0.0


@dataclass(frozen=True, eq=False)
class Optimum:
    """How a run ended: all `trials`, `goals` (infinite where failed) and the largest `gaps` of
    constraints of each, in units of what counts as nothing; the number of the `best` one, the last
    `predictor`, and why it `stopped`."""

    trials: tuple[Trial, ...]
    samples: Mapping[int, Sample]
    goals: Float[np.ndarray, " trial"]
    gaps: Float[np.ndarray, " trial"]
    best: int
    predictor: Predictor
    stopped: str

    @property
    def feasible(self) -> bool:
        """Whether the best one keeps the constraints."""
        return bool(self.gaps[self.best] <= 1.0)

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        best = self.trials[self.best]
        return {
            "solves": len(self.trials),
            "failed": sum(bool(t.message) for t in self.trials),
            "best": dict(best.numbers),
            "goal": float(self.goals[self.best]),
            "expected": best.expected,
            "spread": best.spread,
            "feasible": self.feasible,
            "stopped": self.stopped,
        }


@dataclass(frozen=True, eq=False)
class Known:
    """What was tried, and the samples by trial."""

    trials: tuple[Trial, ...]
    samples: Mapping[int, Sample]


@dataclass(frozen=True, eq=False)
class Judge:
    """Goals and constraints of solved designs; `small` says by formula what counts as nothing."""

    formulas: Formulas
    space: Space
    measures: Mapping[str, Measure]
    small: Mapping[str, float]

    @property
    def sizes(self) -> dict[str, float]:
        """What counts as nothing of each constraint, by formula."""
        return {c.text: self.small.get(c.text, SMALL) for c in self.formulas.constraints}

    def told(self, x: Rows, samples: Sequence[Sample]) -> Valuation:
        """Of designs and what the solver says of them; slopes are 0."""
        values = dict(self.space.columns(x))
        if self.measures:
            shapes = self.space.shapes(x)
            values |= {k: m(shapes) for k, m in self.measures.items()}
        for name in samples[0].scalars:
            values[name] = np.array([float(s.scalars[name].value[0]) for s in samples])
        told = Told(values, {k: np.zeros_like(x) for k in values}, {})
        return self.formulas.valued(len(x), x.shape[1], [Seen(told, np.eye(x.shape[1]))])

    def gaps(self, told: Valuation) -> Float[np.ndarray, " row"]:
        """The largest gap of each design, in units of what counts as nothing."""
        equal, above = self.scaled(told)
        every = np.hstack([np.abs(equal), np.maximum(-above, 0.0)])
        found: np.ndarray = every.max(axis=1, initial=0.0)
        return found

    def scaled(self, told: Valuation) -> tuple[np.ndarray, np.ndarray]:
        """Equalities and inequalities (row, constraint) in units of what counts as nothing."""
        sizes: dict[bool, list[float]] = {True: [], False: []}
        for constraint in self.formulas.constraints:
            sizes[constraint.equal].append(self.sizes[constraint.text])
        return told.equal / np.array(sizes[True]), told.above / np.array(sizes[False])


def agrees(trial: Trial, goal: float) -> bool:
    """Whether the solver's goal lies within the interval that was told of it."""
    if trial.expected is None or trial.spread is None:
        return False
    return bool(abs(goal - trial.expected) <= LEVEL * trial.spread)


def better(goal: float, gap: float, other: float, others: float) -> bool:
    """Whether one design is: a smaller goal among those that keep constraints, else a smaller
    gap."""
    if max(gap, others) <= 1.0:
        return bool(goal < other)
    return bool(gap < others)


def best_of(goals: np.ndarray, gaps: np.ndarray) -> int:
    return int(np.lexsort((goals, np.maximum(gaps, 1.0)))[0])
