"""The active loop: suggest, solve, fit again, until an error or a budget is reached.

A run is a folder: `simulations/`, a folder of solved cases like any other, and `ledger.json`, what
was suggested when and why, and what became of it. Both are written as things happen, so a run that
ends at any moment goes on from there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Sample
from fieldcast.meshes.files import replace_file
from fieldcast.meshes.reading import Reader, read_sample
from fieldcast.meshes.roles import SETTINGS_FILE, Settings
from fieldcast.meshes.writing import write_sample
from fieldcast.solvers import Solver, SolverFailed
from fieldcast.surrogates.acquisition import (
    Criterion,
    Suggestion,
    VarianceReduction,
    distances,
    first_design,
    suggest,
)
from fieldcast.surrogates.scores import score
from fieldcast.surrogates.surrogate import Predictor, Progress, Surrogate, quiet

from .ledger import LEDGER, Attempt, Idea, Ledger, Round, State

SIMULATIONS = "simulations"
DISCOUNT = 0.25
"""What the value of a candidate is multiplied by that lies nearer to a failure than to any
success."""
FOLDS, LEAST = 5, 2


@dataclass(frozen=True)
class Plan:
    """What to learn, and when to stop.

    `output` is the scalar or field whose relative error (RRMSE) is watched: on the `test` samples,
    else left one out, else cross-validated. `criterion` None is `VarianceReduction` of it. The
    `first` simulations are spread evenly; then `batch` at a time are suggested. The run stops when
    the error is at or below `target` after `patience` rounds in a row, or after `budget`
    simulations, failed ones too. `cost` of each candidate [s] is what values are divided by.
    """

    output: str
    criterion: Criterion | None = None
    first: int = 8
    batch: int = 1
    target: float | None = None
    budget: int | None = None
    patience: int = 2
    seed: int = 0
    cost: Sequence[float] | None = None
    test: Sequence[Sample] = ()

    def __post_init__(self) -> None:
        if self.target is None and self.budget is None:
            raise ValueError("expected a target error or a budget of simulations, got neither")
        if self.first < LEAST or min(self.batch, self.patience) < 1:
            raise ValueError(
                f"expected at least {LEAST} first simulations, a batch and a patience of at least "
                f"1, got {self.first}, {self.batch} and {self.patience}"
            )

    def reached(self, errors: Sequence[float | None]) -> bool:
        """Whether the target is, by the errors of all rounds."""
        last = [e for e in errors[-self.patience :] if e is not None]
        return (
            self.target is not None
            and len(last) == self.patience
            and all(e <= self.target for e in last)
        )

    def terms(self) -> dict[str, str]:
        """What may not change within a run: with other terms other cases would be suggested."""
        criterion = self.criterion or VarianceReduction((self.output,))
        kept = {"first": self.first, "batch": self.batch, "seed": self.seed}
        return {"output": self.output, "criterion": _told(criterion), **_texts(kept)}


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {k: str(v) for k, v in values.items()}


def _told(recipe: object) -> str:
    return repr(recipe) if is_dataclass(recipe) else type(recipe).__name__


@dataclass(frozen=True, eq=False)
class Acquired:
    """How a run ended: the predictor of all its simulations, its `error`, and why it `stopped`."""

    predictor: Predictor
    state: State
    error: float | None
    stopped: str

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "simulations": len(self.state.ledger.attempts),
            "solved": len(self.state.samples),
            "failed": {a.name: a.message for a in self.state.failed},
            "error": self.error,
            "stopped": self.stopped,
            "rounds": [asdict(r) for r in self.state.ledger.rounds],
        }


def acquire(
    solver: Solver,
    surrogate: Surrogate,
    candidates: Sequence[Case],
    out: Path,
    plan: Plan,
    progress: Progress = quiet,
) -> Acquired:
    """Simulate those of `candidates` that tell most, until the error or the budget of `plan` is
    reached. What `out` already holds of this run is not simulated again.

    Failures (`SolverFailed`, `ValueError`) are recorded and never repeated, and what lies nearer to
    them than to any success is valued less.

    Raises:
        ValueError: a solver that can't run here; a folder with another run, or with cases that are
            not among the candidates; no candidate could be solved.
    """
    run = _Run(solver, surrogate, _distinct(candidates, plan), out, plan, progress)
    state = run.begun()
    while True:
        state = run.solved(state)
        predictor, error = run.fitted(state)
        stopped = run.end(state, error)
        if stopped:
            return Acquired(run.last(state, predictor), state, error, stopped)
        state = run.suggested(state, predictor, error)


def _distinct(candidates: Sequence[Case], plan: Plan) -> dict[str, tuple[Case, float]]:
    """Candidates by id, each once, with its cost.

    Raises:
        ValueError: no candidates; costs that are not one each; cases with parts.
    """
    if not candidates:
        raise ValueError("expected candidates to choose from, got none")
    cost = [1.0] * len(candidates) if plan.cost is None else list(plan.cost)
    if len(cost) != len(candidates):
        raise ValueError(f"expected {len(candidates)} costs, one per candidate, got {len(cost)}")
    parts = [case.label for case in candidates if case.parts]
    if parts:
        raise ValueError(f"case {parts[0]}: expected one mesh, got parts beside it")
    return {case.id: (case, price) for case, price in zip(candidates, cost, strict=True)}


@dataclass(frozen=True, eq=False)
class _Run:
    solver: Solver
    surrogate: Surrogate
    pool: Mapping[str, tuple[Case, float]]
    out: Path
    plan: Plan
    progress: Progress = field(default=quiet)

    @property
    def folder(self) -> Path:
        return self.out / SIMULATIONS

    @property
    def limit(self) -> int:
        """How many simulations there may be."""
        most = len(self.pool)
        return most if self.plan.budget is None else min(self.plan.budget, most)

    def begun(self) -> State:
        """The state that the folder is in, which is made where it is not there."""
        lacking = self.solver.available()
        if lacking:
            raise ValueError(f"{type(self.solver).__name__} can't run here: {lacking}")
        solver, surrogate = _told(self.solver), _told(self.surrogate)
        terms = {"solver": solver, "surrogate": surrogate, **self.plan.terms()}
        if not (self.out / LEDGER).exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            return State(Ledger(terms))
        ledger = Ledger.read(self.out)
        self._check(ledger, terms)
        return State(ledger, tuple(self._read(ledger)))

    def _check(self, ledger: Ledger, terms: Mapping[str, str]) -> None:
        """That the ledger is one of this run."""
        other = {k: v for k, v in terms.items() if ledger.terms.get(k) != v}
        if other:
            was = {k: ledger.terms.get(k) for k in other}
            raise ValueError(
                f"{self.out}: expected the terms that this run was begun with, {was}, got {other}; "
                "go on with those, or take another folder"
            )
        named = {a.id: a.name for a in ledger.attempts}
        named |= {i.id: i.name for r in ledger.rounds for i in r.suggested}
        gone = [name for key, name in named.items() if key not in self.pool]
        if gone:
            raise ValueError(
                f"{self.out}: expected the candidates that this run was begun with, {gone[:5]} are "
                "not among them or have changed; add them again, or take another folder"
            )

    def _read(self, ledger: Ledger) -> list[Sample]:
        """The solved samples; their cases are the candidates'."""
        solved, samples = [a for a in ledger.attempts if a.status == "solved"], []
        with Reader() as reader:
            for k, attempt in enumerate(solved):
                found = read_sample(self.folder / attempt.file, reader=reader)
                samples.append(Sample(self.pool[attempt.id][0], found.fields, found.scalars))
                self.progress("read", k + 1, len(solved))
        return samples

    def solved(self, state: State) -> State:
        """With what was suggested last simulated, as far as the budget goes."""
        for idea in state.open():
            done = len(state.ledger.attempts)
            if done >= self.limit:
                break
            self.progress(f"solve: {idea.name}", done, self.limit)
            state = self._tried(state, self.pool[idea.id][0])
            self.progress(f"solve: {idea.name}", done + 1, self.limit)
        return state

    def _tried(self, state: State, case: Case) -> State:
        """With one case simulated and written down."""
        samples = state.samples
        try:
            sample = self.solver.solve(case)
        except (SolverFailed, ValueError) as error:
            attempt = Attempt(case.id, case.label, "failed", message=str(error))
        else:
            sample = Sample(case, sample.fields, sample.scalars)
            self._check_output(sample)
            attempt = Attempt(case.id, case.label, "solved", self._written(sample))
            samples = (*samples, sample)
        ledger = replace(state.ledger, attempts=(*state.ledger.attempts, attempt))
        ledger.write(self.out)
        return State(ledger, samples)

    def _check_output(self, sample: Sample) -> None:
        known = [*sample.fields, *sample.scalars]
        if self.plan.output not in known:
            raise ValueError(f"expected an output of {known} to watch, got {self.plan.output!r}")

    def _written(self, sample: Sample) -> str:
        """The name of the sample's file."""
        case = sample.case
        settings = self.folder / SETTINGS_FILE
        if not settings.exists():
            replace_file(settings, settings_text(sample).encode())
        name = re.sub(r"[^\w.-]", "_", case.label)
        return write_sample(sample, self.folder / f"{name}_{case.id[:8]}.vtu").name

    def fitted(self, state: State) -> tuple[Predictor | None, float | None]:
        """The predictor and its error, once the first simulations are there."""
        if len(state.samples) < self.plan.first:
            return None, None
        predictor = self._fit(state)
        return predictor, self._error(predictor, state)

    def _fit(self, state: State) -> Predictor:
        return self.surrogate.fit(state.samples, seed=self.plan.seed, progress=self.progress)

    def _error(self, predictor: Predictor, state: State) -> float:
        output = self.plan.output
        if self.plan.test:
            found = predictor.predict([s.case for s in self.plan.test])
            return score(self.plan.test, found)[output].rrmse
        alone = predictor.card.fit.get("leave_one_out", {}).get(output)
        if alone is not None:
            return float(alone["rrmse"])
        return cross_validated(self.surrogate, state.samples, output, predictor)

    def end(self, state: State, error: float | None) -> str:
        """Why the run stops here; empty where it goes on.

        Raises:
            ValueError: all of the first simulations failed.
        """
        plan, done, failed = self.plan, len(state.ledger.attempts), state.failed
        if len(failed) >= plan.first and not state.samples:
            raise ValueError(
                f"expected a case that can be solved, all of {len(failed)} failed; the first: "
                f"{failed[0].message}"
            )
        errors = [*(r.error for r in state.ledger.rounds), error]
        if plan.reached(errors):
            return (
                f"the error of {plan.output} is {error:.3g}, at or below the target "
                f"{plan.target:.3g} in {plan.patience} rounds"
            )
        if plan.budget is not None and done >= plan.budget:
            return f"the budget of {plan.budget} simulations is spent"
        return "no candidate is left" if done >= len(self.pool) else ""

    def last(self, state: State, predictor: Predictor | None) -> Predictor:
        """The predictor of all simulations.

        Raises:
            ValueError: too few of them to fit one.
        """
        if predictor is not None:
            return predictor
        if len(state.samples) < LEAST:
            reason = f"; a failure: {state.failed[0].message}" if state.failed else ""
            raise ValueError(
                f"expected at least {LEAST} solved cases to fit a surrogate, got "
                f"{len(state.samples)}; allow more simulations{reason}"
            )
        return self._fit(state)

    def suggested(self, state: State, predictor: Predictor | None, error: float | None) -> State:
        """With what to simulate next written down."""
        if predictor is None:
            ideas = self._first(state)
        else:
            ideas = [_idea(s) for s in self._suggestions(state, predictor)]
        entry = Round(len(state.ledger.attempts), error, tuple(ideas))
        ledger = replace(state.ledger, rounds=(*state.ledger.rounds, entry))
        ledger.write(self.out)
        return replace(state, ledger=ledger)

    def _first(self, state: State) -> list[Idea]:
        """The next of the first design: others in the place of those that failed."""
        cases = [case for case, _ in self.pool.values()]
        order = first_design(cases, self.plan.first + len(state.failed), self.plan.seed)
        new = [cases[i] for i in order if cases[i].id not in state.tried]
        missing = self.plan.first - len(state.samples)
        return [Idea(c.id, c.label, 0.0, "spread evenly") for c in new[:missing]]

    def _suggestions(self, state: State, predictor: Predictor) -> list[Suggestion]:
        bad = {a.id for a in state.failed}
        cases = [case for key, (case, _) in self.pool.items() if key not in bad]
        cost = np.array([self.pool[case.id][1] for case in cases])
        return suggest(
            predictor,
            cases,
            self.plan.batch,
            self.plan.criterion or VarianceReduction((self.plan.output,)),
            cost=cost / self._trust(state, predictor, cases),
            known=[s.case for s in state.samples],
        )

    def _trust(
        self, state: State, predictor: Predictor, cases: Sequence[Case]
    ) -> Float[np.ndarray, " case"]:
        """What values are multiplied by: `DISCOUNT` nearer to a failure than to any success."""
        bad = [self.pool[a.id][0] for a in state.failed]
        far = [x for x in (_placed(predictor, case) for case in bad) if x is not None]
        if not far:
            return np.ones(len(cases))
        asked = predictor.inputs([*cases, *(s.case for s in state.samples)])
        assert asked is not None, "it had inputs of the failed cases"
        own, good = np.split(asked, [len(cases)])
        near = distances(own, np.concatenate(far)).min(axis=1) < distances(own, good).min(axis=1)
        return np.where(near, DISCOUNT, 1.0)


def _placed(predictor: Predictor, case: Case) -> Float[np.ndarray, "1 input"] | None:
    """Where a failed case lies; None where that can't be told, as of a mesh that is broken."""
    try:
        return predictor.inputs([case])
    except ValueError:
        return None


def _idea(suggestion: Suggestion) -> Idea:
    case = suggestion.case
    return Idea(case.id, case.label, suggestion.value, suggestion.reason)


def cross_validated(
    surrogate: Surrogate, samples: Sequence[Sample], output: str, like: Predictor
) -> float:
    """The relative error of `output` where each sample is predicted by a fit to others, which takes
    its hyper-parameters from `like`."""
    trials = surrogate.trials(samples)
    order = np.random.default_rng(len(samples)).permutation(len(samples))
    asked, answers = [], []
    for part in np.array_split(order, min(FOLDS, len(samples))):
        model = trials.fit(np.setdiff1d(order, part).tolist(), like=like)
        held = [samples[int(i)] for i in part]
        asked += held
        answers += list(model.predict([s.case for s in held]))
    return score(asked, answers)[output].rrmse


def _roles(sample: Sample) -> Settings:
    """Which names in the sample's file are what."""
    case = sample.case
    kinds = (("field", case.fields, sample.fields), ("scalar", case.parameters, sample.scalars))
    inputs = [f"{kind}:{name}" for kind, known, _ in kinds for name in known]
    outputs = [f"{kind}:{name}" for kind, _, found in kinds for name in found]
    return Settings(inputs=tuple(inputs), outputs=tuple(outputs))


def settings_text(sample: Sample) -> str:
    """Those roles as TOML."""
    roles = _roles(sample)
    lines = (("inputs", roles.inputs), ("outputs", roles.outputs))
    return "".join(f"{k} = {json.dumps(list(names))}\n" for k, names in lines)
