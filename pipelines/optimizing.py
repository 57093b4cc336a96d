"""The loop of optimisation: the best design by the surrogate, verified by the solver, learned from,
until both agree and nothing is gained any more.

A run is a folder: `simulations/`, solved cases like any other folder of them, and `history.json`,
what was tried when, what was expected of it and what became of it. Both are written as things
happen; a run that was stopped goes on, and no case is solved twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Sample
from fieldcast.meshes.files import replace_file
from fieldcast.meshes.reading import Reader, read_sample
from fieldcast.meshes.roles import SETTINGS_FILE
from fieldcast.meshes.writing import write_sample
from fieldcast.solvers import Solver, SolverFailed
from fieldcast.surrogates.descent import Minimiser, MultiStart
from fieldcast.surrogates.designs import Measure, Told
from fieldcast.surrogates.expressions import Formula
from fieldcast.surrogates.formulas import Formulas, Seen
from fieldcast.surrogates.surrogate import Predictor, Progress, Surrogate, quiet

from .acquiring import SIMULATIONS, settings_text
from .optimize import Objective, Space

HISTORY = "history.json"
Row = Float[np.ndarray, " number"]
GROW, SHRINK = 2.0, 0.5
LEAST_RADIUS, NEAR = 0.01, 1e-3
"""Half-width of the region where the run ends, and how near designs may lie, in ranges."""
LEVEL = 2.0
"""Standard deviations either side of what is expected: about 95 %."""


@dataclass(frozen=True)
class Search:
    """Minimise `goal` under `constraints` (as `Objective` has them), of scalars that the solver
    answers, numbers of its space and `measures` of shapes.

    The `first` designs fill the region of half-width `radius` (in ranges) about the middle. Then
    the best of `starts` descents is tried, by what is expected less `optimism` standard deviations,
    in a region about the best design so far: it grows after successes and shrinks after failures.
    Designs that the predictor would reject are left out. The run ends when the last design was
    within the interval that was told of it and the goal has not become better by more than
    `tolerance`, relatively, in `patience` designs; or when `budget` designs were solved. `small`
    says by formula what counts as nothing.
    """

    goal: str
    constraints: tuple[str, ...] = ()
    measures: Mapping[str, Measure] = field(default_factory=dict)
    first: int = 16
    budget: int = 60
    starts: int = 64
    radius: float = 0.5
    optimism: float = 1.0
    tolerance: float = 2e-3
    patience: int = 4
    seed: int = 0
    small: Mapping[str, float] = field(default_factory=dict)
    descent: Minimiser = field(default_factory=lambda: MultiStart(rounds=4, steps=30))

    def __post_init__(self) -> None:
        if self.first < 3 or self.budget < self.first or self.patience < 1:
            raise ValueError(
                "expected at least 3 first designs, a budget of at least as many and a patience of "
                f"at least 1, got {self.first}, {self.budget} and {self.patience}"
            )
        if not 0.0 < self.radius <= 1.0:
            raise ValueError(f"expected a radius above 0 and up to 1, got {self.radius}")

    def terms(self) -> dict[str, Any]:
        """What may not change within a run."""
        kept = {f.name: getattr(self, f.name) for f in fields(self)}
        kept |= {"measures": sorted(self.measures), "descent": repr(self.descent)}
        kept.pop("budget")
        found: dict[str, Any] = json.loads(json.dumps(kept))
        return found


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


def optimised(
    solver: Solver,
    recipe: Surrogate,
    space: Space,
    search: Search,
    out: Path,
    progress: Progress = quiet,
) -> Optimum:
    """Search, in the folder `out`, which may hold the beginning of this run.

    Raises:
        ValueError: a solver that can't run here, a folder with another run, a formula with unknown
            names, or first designs that can't be solved.
    """
    run = _Run(solver, recipe, space, search, out, progress)
    return run.done()


@dataclass(frozen=True, eq=False)
class _Known:
    """What was tried, and the samples by trial."""

    trials: tuple[Trial, ...]
    samples: Mapping[int, Sample]


@dataclass(frozen=True, eq=False)
class _Run:
    solver: Solver
    recipe: Surrogate
    space: Space
    search: Search
    out: Path
    progress: Progress

    @property
    def folder(self) -> Path:
        return self.out / SIMULATIONS

    @cached_property
    def formulas(self) -> Formulas:
        return Formulas.of(self.search.goal, self.search.constraints, 0.0, None)

    def done(self) -> Optimum:
        lacking = self.solver.available()
        if lacking:
            raise ValueError(f"{type(self.solver).__name__} can't run here: {lacking}")
        self.formulas.check({*self.solver.outputs, *self.space.ranges, *self.search.measures})
        known = self._begun()
        for row in self._first()[len(known.trials) :]:
            known = self._tried(known, Trial(self._numbers(row)))
        if len(known.samples) < 3:
            messages = [t.message for t in known.trials if t.message]
            raise ValueError(
                f"expected at least 3 first designs that can be solved, got {len(known.samples)} "
                f"of {len(known.trials)}; a failure: {messages[0]}"
            )
        while True:
            predictor = self._fitted(known)
            stopped = self._end(known)
            if stopped:
                goals, gaps = self.judged(known)
                best = _best(goals, gaps)
                return Optimum(known.trials, known.samples, goals, gaps, best, predictor, stopped)
            known = self._tried(known, self._proposed(known, predictor))

    def _first(self) -> Float[np.ndarray, "row number"]:
        middle = 0.5 * (self.space.low + self.space.high)
        near = self.space.within(middle, self.search.radius)
        return near.latin(self.search.first, self.search.seed)

    def _numbers(self, row: Row) -> dict[str, float]:
        return dict(zip(self.space.names, map(float, row), strict=True))

    def _row(self, trial: Trial) -> Row:
        return np.array([trial.numbers[k] for k in self.space.names])

    # ------------------------------------------------------------------------------- the folder

    def _begun(self) -> _Known:
        """What the folder holds."""
        path, terms = self.out / HISTORY, self._terms()
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            return _Known((), {})
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["terms"] != terms:
            raise ValueError(
                f"{self.out}: expected the search that this run was begun with, {kept['terms']}, "
                f"got {terms}; go on with that, or take another folder"
            )
        trials = tuple(Trial(**t) for t in kept["trials"])
        samples = {}
        with Reader() as reader:
            for k, trial in enumerate(trials):
                if trial.file:
                    found = read_sample(self.folder / trial.file, reader=reader)
                    case = self.space.cases(self._row(trial)[None])[0]
                    samples[k] = Sample(case, found.fields, found.scalars)
                self.progress("read", k + 1, len(trials))
        return _Known(trials, samples)

    def _terms(self) -> dict[str, Any]:
        ranges = {k: [r.low, r.high] for k, r in self.space.ranges.items()}
        told = {"solver": repr(self.solver), "surrogate": repr(self.recipe), "ranges": ranges}
        return {**told, **self.search.terms()}

    def _tried(self, known: _Known, trial: Trial) -> _Known:
        """With one more, solved and written down."""
        count = len(known.trials)
        self.progress(f"solve: design {count + 1}", count, self.search.budget)
        samples = dict(known.samples)
        try:
            case = self.space.cases(self._row(trial)[None])[0]
            found = self.solver.solve(case)
        except (SolverFailed, ValueError) as error:
            trial = replace(trial, message=str(error) or type(error).__name__)
        else:
            samples[count] = Sample(case, found.fields, found.scalars)
            path, settings = self.folder / f"design_{count:04d}.vtu", self.folder / SETTINGS_FILE
            if not settings.exists():
                replace_file(settings, settings_text(samples[count]).encode())
            trial = replace(trial, file=write_sample(samples[count], path).name)
        trials = (*known.trials, trial)
        content = {"terms": self._terms(), "trials": [asdict(t) for t in trials]}
        replace_file(self.out / HISTORY, json.dumps(content, indent=1).encode())
        return _Known(trials, samples)

    # ------------------------------------------------------------------------------- the search

    def judged(self, known: _Known) -> tuple[np.ndarray, np.ndarray]:
        """What the solver says: goals and largest gaps of all trials."""
        goals = np.full(len(known.trials), np.inf)
        gaps = np.full(len(known.trials), np.inf)
        at = sorted(known.samples)
        if not at:
            return goals, gaps
        x = np.array([self._row(known.trials[k]) for k in at])
        values = {**self.space.columns(x)}
        shapes = self.space.shapes(x)
        values |= {k: m(shapes) for k, m in self.search.measures.items()}
        first = known.samples[at[0]].scalars
        for name in first:
            values[name] = np.array([float(known.samples[k].scalars[name].value[0]) for k in at])
        told = Told(values, {k: np.zeros_like(x) for k in values}, {})
        valued = self.formulas.valued(len(x), x.shape[1], [Seen(told, np.eye(x.shape[1]))])
        goals[at] = valued.goal
        equal, above = self._small
        every = np.hstack([np.abs(valued.equal) / equal, np.maximum(-valued.above, 0.0) / above])
        gaps[at] = every.max(axis=1, initial=0.0)
        return goals, gaps

    @cached_property
    def _small(self) -> tuple[np.ndarray, np.ndarray]:
        """What counts as nothing of each constraint."""
        parts: dict[bool, list[float]] = {True: [], False: []}
        for constraint in self.formulas.constraints:
            parts[constraint.equal].append(self.search.small.get(constraint.text, 1e-3))
        return np.array(parts[True]), np.array(parts[False])

    def _fitted(self, known: _Known) -> Predictor:
        # Of the scalars that formulas ask for alone.
        names = {n for f in (self.formulas.goal, *self._gaps) for n in f.names}
        samples = []
        for k in sorted(known.samples):
            own = known.samples[k]
            scalars = {n: s for n, s in own.scalars.items() if n in names}
            samples.append(Sample(own.case, {}, scalars))
        return self.recipe.fit(samples, seed=self.search.seed, progress=self.progress)

    @property
    def _gaps(self) -> list[Formula]:
        return [c.gap for c in self.formulas.constraints]

    def _radius(self, known: _Known) -> float:
        """By what became of each trial since the first ones."""
        goals, gaps = self.judged(known)
        radius, first = self.search.radius, self.search.first
        for k in range(first, len(known.trials)):
            before = _best(goals[:k], gaps[:k])
            better = _better(goals[k], gaps[k], goals[before], gaps[before])
            radius = min(radius * GROW, self.search.radius) if better else radius * SHRINK**0.5
        return radius

    def _proposed(self, known: _Known, predictor: Predictor) -> Trial:
        """The best design by the predictor, near the best one so far."""
        goals, gaps = self.judged(known)
        radius = self._radius(known)
        centre = self._row(known.trials[_best(goals, gaps)])
        near = self.space.within(centre, radius)
        small = {c.text: self.search.small.get(c.text, 1e-3) for c in self.formulas.constraints}
        objective = Objective(
            predictor,
            near,
            self.search.goal,
            self.search.constraints,
            self.search.measures,
            caution=-self.search.optimism,
            small=small,
        )
        starts = np.vstack(
            [near.random(self.search.starts, self.search.seed + len(known.trials)), centre]
        )
        found = self.search.descent.minimised(objective, starts, self.progress)
        x = self._chosen(known, objective, found.x)
        told = replace(objective, caution=0.0).told(x[None], slopes=False)
        return Trial(
            self._numbers(x),
            expected=float(told.goal[0]),
            spread=float(told.spread[0]),
            radius=radius,
        )

    def _chosen(
        self, known: _Known, objective: Objective, x: Float[np.ndarray, "row number"]
    ) -> Row:
        """The first that is trusted and was not tried; the first if there is none."""
        tried = np.array([self._row(t) for t in known.trials])
        width = self.space.high - self.space.low
        gap = np.abs((x[:, None] - tried[None]) / width).max(axis=2).min(axis=1)
        fresh = x[gap > NEAR] if (gap > NEAR).any() else x
        for k in range(0, len(fresh), 16):
            part = fresh[k : k + 16]
            for row, answer in zip(part, objective.answers(part), strict=True):
                if answer.trust.status != "reject":
                    chosen: Row = row
                    return chosen
        first: Row = fresh[0]
        return first

    def _end(self, known: _Known) -> str:
        """Why the run stops here; empty where it goes on."""
        search, count = self.search, len(known.trials)
        if count >= search.budget:
            return f"the budget of {search.budget} designs is spent"
        if count < search.first + search.patience:
            return ""
        goals, gaps = self.judged(known)
        now, before = _best(goals, gaps), _best(goals[: -search.patience], gaps[: -search.patience])
        gain = (goals[before] - goals[now]) / max(abs(goals[before]), 1e-300)
        still = gaps[now] <= 1.0 and gaps[before] <= 1.0 and gain <= search.tolerance
        last = known.trials[-1]
        if still and agrees(last, goals[-1]):
            return (
                f"surrogate and solver agree, and the goal has become better by {100 * gain:.2g} % "
                f"in {search.patience} designs"
            )
        if self._radius(known) < LEAST_RADIUS:
            return "the region about the best design is as small as it gets"
        return ""


def agrees(trial: Trial, goal: float) -> bool:
    """Whether the solver's goal lies within the interval that was told of it."""
    if trial.expected is None or trial.spread is None:
        return False
    return bool(abs(goal - trial.expected) <= LEVEL * trial.spread)


def _better(goal: float, gap: float, other: float, others: float) -> bool:
    """Whether one design is: a smaller goal among those that keep constraints, else a smaller
    gap."""
    if max(gap, others) <= 1.0:
        return bool(goal < other)
    return bool(gap < others)


def _best(goals: np.ndarray, gaps: np.ndarray) -> int:
    return int(np.lexsort((goals, np.maximum(gaps, 1.0)))[0])


def measured(names: Sequence[str]) -> dict[str, Measure]:
    """Measures of closed curves by name: "thickness", the largest distance of sides at one x, and
    "area".

    Raises:
        ValueError: another name.
    """
    known = {"thickness": thickness, "area": area}
    absent = sorted(set(names) - set(known))
    if absent:
        raise ValueError(f"expected measures of {sorted(known)}, got {absent}")
    return {k: known[k] for k in names}


def thickness(shapes: Float[np.ndarray, "row point 2"]) -> Float[np.ndarray, " row"]:
    """The largest distance [chord] between the sides of sections as `fieldcast.solvers.airfoils`
    makes them, both sides at the same stations; a maximum over stations has kinks."""
    half = shapes.shape[1] // 2
    upper, lower = shapes[:, half:0:-1, 1], shapes[:, half:, 1]
    return (upper - lower).max(axis=1)


def area(shapes: Float[np.ndarray, "row point 2"]) -> Float[np.ndarray, " row"]:
    """Within closed curves, as their points go around."""
    x, y = shapes[..., 0], shapes[..., 1]
    return 0.5 * (x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y).sum(axis=1)
