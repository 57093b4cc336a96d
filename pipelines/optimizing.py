"""The loop of optimisation: the best design by the surrogate, verified by the solver, learned from,
until both agree and nothing is gained any more.

A run is a folder: `simulations/`, solved cases like any other folder of them, and `history.json`,
what was tried when, what was expected of it and what became of it. Both are written as things
happen; a run that was stopped goes on, and no case is solved twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
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
from fieldcast.surrogates import MultiFidelity
from fieldcast.surrogates.descent import Minimiser, MultiStart
from fieldcast.surrogates.designs import Measure
from fieldcast.surrogates.expressions import Formula
from fieldcast.surrogates.formulas import Formulas
from fieldcast.surrogates.surrogate import Predictor, Progress, Surrogate, quiet

from .acquiring import SIMULATIONS, settings_text
from .optimize import Objective, Space
from .trials import Judge, Known, Optimum, Trial, agrees, best_of, better
from .warm_start import Cheaper

HISTORY = "history.json"
Row = Float[np.ndarray, " number"]
GROW, SHRINK = 2.0, 0.5
LEAST_RADIUS, NEAR, AGAIN = 0.01, 1e-3, 2
"""Half-width of the region where it is opened again, and how near designs may lie, in ranges; how
often it is opened in vain before the run ends."""


@dataclass(frozen=True)
class Search:
    """Minimise `goal` under `constraints` (as `Objective` has them), of scalars that the solver
    answers, numbers of its space and `measures` of shapes.

    The `first` designs fill the region of half-width `radius` (in ranges) about the middle; or the
    best design by a `cheaper` solver comes first and the others about it. Then
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
    optimism: float = 0.3
    tolerance: float = 2e-3
    patience: int = 4
    seed: int = 0
    small: Mapping[str, float] = field(default_factory=dict)
    descent: Minimiser = field(default_factory=lambda: MultiStart(rounds=4, steps=30))
    cheaper: Cheaper | None = None

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
        kept["cheaper"] = repr(self.cheaper) if self.cheaper else ""
        kept.pop("budget")
        found: dict[str, Any] = json.loads(json.dumps(kept))
        return found


def only(sample: Sample, names: set[str]) -> Sample:
    """Its scalars of these names."""
    return Sample(sample.case, {}, {n: s for n, s in sample.scalars.items() if n in names})


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
class _Run:
    solver: Solver
    recipe: Surrogate
    space: Space
    search: Search
    out: Path
    progress: Progress
    low: list[Predictor] = field(default_factory=list)
    """What the cheaper solver says, once it is learnt."""

    @property
    def folder(self) -> Path:
        return self.out / SIMULATIONS

    @cached_property
    def judge(self) -> Judge:
        search = self.search
        formulas = Formulas.of(search.goal, search.constraints, 0.0, None)
        return Judge(formulas, self.space, search.measures, search.small)

    def done(self) -> Optimum:
        lacking = self.solver.available()
        if lacking:
            raise ValueError(f"{type(self.solver).__name__} can't run here: {lacking}")
        self.judge.formulas.check({*self.solver.outputs, *self.space.ranges, *self.search.measures})
        known = self._begun()
        if len(known.trials) < self.search.first:
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
                best = best_of(goals, gaps)
                return Optimum(known.trials, known.samples, goals, gaps, best, predictor, stopped)
            known = self._tried(known, self._proposed(known, predictor))

    def _first(self) -> Float[np.ndarray, "row number"]:
        search, space = self.search, self.space
        if search.cheaper is None:
            middle = 0.5 * (space.low + space.high)
            return space.within(middle, search.radius).latin(search.first, search.seed)
        best = search.cheaper.best(space, self.judge, search.seed, self.progress)
        near = space.within(best, search.cheaper.radius)
        return np.vstack([best, near.latin(search.first - 1, search.seed)])

    def _numbers(self, row: Row) -> dict[str, float]:
        return dict(zip(self.space.names, map(float, row), strict=True))

    def _row(self, trial: Trial) -> Row:
        return np.array([trial.numbers[k] for k in self.space.names])

    # ------------------------------------------------------------------------------- the folder

    def _begun(self) -> Known:
        """What the folder holds."""
        path, terms = self.out / HISTORY, self._terms()
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            return Known((), {})
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
        return Known(trials, samples)

    def _terms(self) -> dict[str, Any]:
        ranges = {k: [r.low, r.high] for k, r in self.space.ranges.items()}
        told = {"solver": repr(self.solver), "surrogate": repr(self.recipe), "ranges": ranges}
        return {**told, **self.search.terms()}

    def _tried(self, known: Known, trial: Trial) -> Known:
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
        return Known(trials, samples)

    # ------------------------------------------------------------------------------- the search

    def judged(self, known: Known) -> tuple[np.ndarray, np.ndarray]:
        """What the solver says: goals and largest gaps of all trials."""
        goals = np.full(len(known.trials), np.inf)
        gaps = np.full(len(known.trials), np.inf)
        at = sorted(known.samples)
        if at:
            x = np.array([self._row(known.trials[k]) for k in at])
            told = self.judge.told(x, [known.samples[k] for k in at])
            goals[at], gaps[at] = told.goal, self.judge.gaps(told)
        return goals, gaps

    def _fitted(self, known: Known) -> Predictor:
        # Of the scalars that formulas ask for alone.
        names = {n for f in (self.judge.formulas.goal, *self._gaps) for n in f.names}
        samples = [only(known.samples[k], names) for k in sorted(known.samples)]
        seed, cheaper = self.search.seed, self.search.cheaper
        if cheaper is None or not cheaper.beside:
            return self.recipe.fit(samples, seed=seed, progress=self.progress)
        if not self.low:
            found = cheaper.samples(self.space, self._row(known.trials[0]), seed, self.progress)
            cheap = [only(s, names) for s in found]
            self.low.append(self.recipe.fit(cheap, seed=seed, progress=self.progress))
        both = MultiFidelity(self.recipe, self.recipe, "residual")
        return both.fit_to(self.low[0], samples, seed=seed, progress=self.progress)

    @property
    def _gaps(self) -> list[Formula]:
        return [c.gap for c in self.judge.formulas.constraints]

    def _radius(self, known: Known) -> tuple[float, int]:
        """By what became of each trial since the first ones, and how often it has been opened again
        since the last success: a region as small as it gets is, as more is known by then."""
        goals, gaps = self.judged(known)
        first, cheaper = self.search.first, self.search.cheaper
        start = self.search.radius if cheaper is None else cheaper.radius
        radius, again = start, 0
        for k in range(first, len(known.trials)):
            before = best_of(goals[:k], gaps[:k])
            won = better(goals[k], gaps[k], goals[before], gaps[before])
            again = 0 if won else again
            radius = min(radius * GROW, self.search.radius) if won else radius * SHRINK**0.5
            if radius < LEAST_RADIUS:
                radius, again = start, again + 1
        return radius, again

    def _proposed(self, known: Known, predictor: Predictor) -> Trial:
        """The best design by the predictor, near the best one so far."""
        goals, gaps = self.judged(known)
        radius, _ = self._radius(known)
        centre = self._row(known.trials[best_of(goals, gaps)])
        near = self.space.within(centre, radius)
        objective = Objective(
            predictor,
            near,
            self.search.goal,
            self.search.constraints,
            self.search.measures,
            caution=-self.search.optimism,
            small=self.judge.sizes,
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
        self, known: Known, objective: Objective, x: Float[np.ndarray, "row number"]
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

    def _end(self, known: Known) -> str:
        """Why the run stops here; empty where it goes on."""
        search, count = self.search, len(known.trials)
        if count >= search.budget:
            return f"the budget of {search.budget} designs is spent"
        if count < search.first + search.patience:
            return ""
        goals, gaps = self.judged(known)
        earlier = slice(None, -search.patience)
        now, before = best_of(goals, gaps), best_of(goals[earlier], gaps[earlier])
        gain = (goals[before] - goals[now]) / max(abs(goals[before]), 1e-300)
        still = gaps[now] <= 1.0 and gaps[before] <= 1.0 and gain <= search.tolerance
        last = known.trials[-1]
        if still and agrees(last, goals[-1]):
            return (
                f"surrogate and solver agree, and the goal has become better by {100 * gain:.2g} % "
                f"in {search.patience} designs"
            )
        if self._radius(known)[1] >= AGAIN:
            return f"nothing was gained in regions about the best design, {AGAIN} times"
        return ""
