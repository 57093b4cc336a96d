"""What is to be best, of designs that a predictor tells of: minimise "cd" where "cl = 0.5" and
"thickness >= 0.12". Views for others' optimisers are in `optimize_views`, the loop that asks the
solver and learns from it is in `optimizing`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Mesh, Prediction, Scalar
from fieldcast.solvers import Solver
from fieldcast.solvers.solver import Range
from fieldcast.surrogates.descent import Valued
from fieldcast.surrogates.designs import Designs, Functional, Measure
from fieldcast.surrogates.formulas import Formulas, Seen, Valuation, maximised
from fieldcast.surrogates.surrogate import Predictor

Rows = Float[np.ndarray, "row number"]
Numbers = Mapping[str, float]
LOOKED, SMALL = 256, 1e-3
"""Random designs by which is told what is small of a formula, and its share of their spread."""


@dataclass(frozen=True, eq=False)
class Space:
    """Ranges of numbers, and what makes a case of them: `make`, and `points` of the meshes of many
    at once, where there is such a function. Numbers whose range is a point are given."""

    ranges: Mapping[str, Range]
    make: Callable[[Numbers, str], Case]
    points: Callable[[Mapping[str, np.ndarray]], np.ndarray | None]

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError(f"expected numbers that vary, all of {list(self.ranges)} are given")

    @classmethod
    def of(cls, solver: Solver, ranges: Mapping[str, Range] | None = None) -> Space:
        """A solver's own space, or the `ranges` of its numbers."""
        given = dict(ranges or solver.space)
        if not set(solver.space) <= set(given):
            raise ValueError(f"expected ranges of {list(solver.space)}, got {list(given)}")
        return cls(given, solver.case, solver.points)

    @classmethod
    def of_mesh(cls, mesh: Mesh, ranges: Mapping[str, Range]) -> Space:
        """The parameters of cases on one mesh."""

        def make(numbers: Numbers, name: str = "") -> Case:
            told = {k: Scalar(np.array([numbers[k]]), r.unit) for k, r in ranges.items()}
            return Case(mesh, told, name=name)

        def points(values: Mapping[str, np.ndarray]) -> np.ndarray:
            rows = len(next(iter(values.values())))
            return np.broadcast_to(mesh.points, (rows, *mesh.points.shape))

        return cls(dict(ranges), make, points)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the numbers that vary."""
        return tuple(k for k, r in self.ranges.items() if r.high > r.low)

    @cached_property
    def low(self) -> Float[np.ndarray, " number"]:
        """The least of each."""
        return np.array([self.ranges[k].low for k in self.names])

    @cached_property
    def high(self) -> Float[np.ndarray, " number"]:
        """The largest."""
        return np.array([self.ranges[k].high for k in self.names])

    @property
    def given(self) -> dict[str, float]:
        """Numbers that don't vary."""
        return {k: r.low for k, r in self.ranges.items() if k not in self.names}

    def fixed(self, numbers: Numbers) -> Space:
        """With some numbers given."""
        given = {k: Range(v, v, self.ranges[k].unit) for k, v in numbers.items()}
        return replace(self, ranges={**self.ranges, **given})

    def numbers(self, x: Float[np.ndarray, " number"]) -> dict[str, float]:
        """Of one row, with those given."""
        return {**self.given, **dict(zip(self.names, map(float, x), strict=True))}

    def columns(self, x: Rows) -> dict[str, np.ndarray]:
        """Of rows, with those given."""
        found = {k: np.full(len(x), v) for k, v in self.given.items()}
        return found | {k: x[:, i] for i, k in enumerate(self.names)}

    def within(self, centre: Float[np.ndarray, " number"], radius: float) -> Space:
        """The part of it that is at most so far from a row, in ranges of the numbers."""
        near = {}
        for k, name in enumerate(self.names):
            r = self.ranges[name]
            reach = radius * (r.high - r.low)
            low, high = max(r.low, centre[k] - reach), min(r.high, centre[k] + reach)
            near[name] = Range(float(low), float(high), r.unit)
        return replace(self, ranges={**self.ranges, **near})

    def latin(self, count: int, seed: int = 0) -> Rows:
        """A Latin hypercube."""
        return self._drawn("latin", count, seed)

    def random(self, count: int, seed: int = 0) -> Rows:
        """The first rows of a scrambled Sobol sequence."""
        return self._drawn("sobol", count, seed)

    def _drawn(self, name: str, count: int, seed: int) -> Rows:
        from .designs import design

        free = {k: self.ranges[k] for k in self.names}
        rows = design(name, free, count, seed)
        return np.array([[row[k] for k in self.names] for row in rows])

    def cases(self, x: Rows) -> list[Case]:
        """A case of each row."""
        return [self.make(self.numbers(row), "") for row in x]

    def shapes(self, x: Rows) -> Float[np.ndarray, "row point dim"]:
        """The points of the mesh of each row."""
        found = self.points(self.columns(x))
        if found is None:
            return np.stack([case.mesh.points for case in self.cases(x)])
        return found

    def parameters(self, x: Rows) -> dict[str, np.ndarray]:
        """The parameters of the case of each row: numbers of that name, else read off cases."""
        columns = self.columns(x)
        names = list(self._first.parameters)
        if set(names) <= set(columns):
            return {k: columns[k] for k in names}
        cases = self.cases(x)
        return {k: np.array([float(c.parameters[k]) for c in cases]) for k in names}

    @cached_property
    def _first(self) -> Case:
        return self.make(self.numbers(0.5 * (self.low + self.high)), "")


@dataclass(frozen=True)
class Point:
    """A condition that a design is looked at in: numbers that are something else there, given, or
    the value of another number ("alpha": "alpha_2"); of so much `weight`."""

    numbers: Mapping[str, float | str] = field(default_factory=dict)
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Objective:
    """Minimise `goal`, a formula of a predictor's steady scalars, of numbers of the `space`, of
    `measures` of shapes and of `functionals` of predicted fields; under `constraints`, relations of
    such formulas by =, >= or <=.

    `caution` k adds k standard deviations of the goal that follow from those of what is predicted.
    Over several `points` goals are averaged by weight, or their `quantile` is taken; constraints
    hold at each. `sizes` by formula are what counts as a small change of it (the goal, and every
    constraint: a thousandth of what it spreads over random designs).

    Raises:
        ValueError: a formula with a name that nothing has.
    """

    predictor: Predictor
    space: Space
    goal: str
    constraints: Sequence[str] = ()
    measures: Mapping[str, Measure] = field(default_factory=dict)
    functionals: Mapping[str, Functional] = field(default_factory=dict)
    caution: float = 0.0
    points: Sequence[Point] = (Point(),)
    quantile: float | None = None
    small: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = {*self._looks[0][0].scalars, *self.space.ranges}
        self.formulas.check({*names, *self.measures, *self.functionals})

    @cached_property
    def formulas(self) -> Formulas:
        """The goal and the constraints."""
        return Formulas.of(self.goal, self.constraints, self.caution, self.quantile)

    @cached_property
    def _looks(self) -> list[tuple[Designs, np.ndarray, float]]:
        """At each point: the designs there, and the matrix that makes their numbers of a row."""
        found = []
        for point in self.points:
            fixed = {k: float(v) for k, v in point.numbers.items() if not isinstance(v, str)}
            other = {k: v for k, v in point.numbers.items() if isinstance(v, str)}
            absent = sorted({*fixed, *other, *other.values()} - set(self.space.ranges))
            if absent:
                raise ValueError(
                    f"expected points with numbers of {list(self.space.ranges)}, got {absent}"
                )
            there = self.space.fixed(fixed)
            turned = np.zeros((len(self.space.names), len(there.names)))
            for k, name in enumerate(there.names):
                turned[self.space.names.index(other.get(name, name)), k] = 1.0
            designs = Designs(self.predictor, there, self.measures, self.functionals)
            found.append((designs, turned, point.weight))
        return found

    @property
    def gradient(self) -> str:
        """How derivatives come about; says where they are finite differences."""
        return self._looks[0][0].gradient

    @property
    def low(self) -> Float[np.ndarray, " number"]:
        """The least of each number."""
        return self.space.low

    @property
    def high(self) -> Float[np.ndarray, " number"]:
        """The largest."""
        return self.space.high

    def told(self, x: Rows, slopes: bool = True) -> Valuation:
        """Goals and gaps of constraints of rows, with slopes, and the goal's spread."""
        x = np.asarray(x, dtype=float)
        seen = []
        for designs, turned, weight in self._looks:
            given = designs.space.columns(x @ turned)
            told = designs.told(x @ turned, slopes).with_given(given)
            seen.append(Seen(told, turned, weight))
        return self.formulas.valued(len(x), x.shape[1], seen)

    def valued(self, x: Any) -> Valued:
        """At rows of a tensor, for descents."""
        return self.told(x.detach().cpu().numpy()).around(x)

    def posterior(self, unit: Any, least: float) -> tuple[Any, Any]:
        """Means and variances, at least `least`, of rows of a tensor in the unit cube: of minus the
        goal, which is to be maximised, of equalities and of inequalities."""
        return maximised(self, unit, least)

    @cached_property
    def sizes(self) -> tuple[float, np.ndarray, np.ndarray]:
        """What is small of the goal, of equalities and of inequalities."""
        told = self.told(self.space.random(LOOKED), slopes=False)
        goal = self.small.get(self.goal, SMALL * _spread(told.goal))
        kinds = [c.equal for c in self.formulas.constraints] * len(self.points)
        texts = [c.text for c in self.formulas.constraints] * len(self.points)
        found = []
        for equal, values in ((True, told.equal), (False, told.above)):
            names = [t for t, kind in zip(texts, kinds, strict=True) if kind == equal]
            columns = zip(names, values.T, strict=True)
            found.append(np.array([self.small.get(k, SMALL * _spread(v)) for k, v in columns]))
        return goal, found[0], found[1]

    def answers(self, x: Rows) -> list[Prediction]:
        """What the predictor says of rows at the first point, trust and all."""
        designs, turned, _ = self._looks[0]
        return designs.answers(np.asarray(x, dtype=float) @ turned)


def remembered(objective: Objective) -> Callable[[Float[np.ndarray, " number"]], Valuation]:
    """What is told of a row, the last one kept: optimisers ask for it in pieces."""
    kept: dict[str, Any] = {}

    def told(x: Float[np.ndarray, " number"]) -> Valuation:
        x = np.asarray(x, dtype=float)
        if "x" not in kept or not np.array_equal(kept["x"], x):
            kept.update(x=x.copy(), told=objective.told(x[None]))
        found: Valuation = kept["told"]
        return found

    return told


def _spread(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.std(finite)) or 1.0 if len(finite) else 1.0
