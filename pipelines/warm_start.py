"""Where a search begins: at the best design by a cheaper solver."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Sample
from fieldcast.solvers import Solver, SolverFailed
from fieldcast.surrogates.descent import polished_by_differences
from fieldcast.surrogates.formulas import Formulas
from fieldcast.surrogates.surrogate import Progress, quiet

from .optimize import Space
from .trials import Judge

Row = Float[np.ndarray, " number"]


@dataclass(frozen=True)
class Cheaper:
    """A cheaper `solver` of the same numbers: SLSQP by finite differences from the middle and
    `starts` - 1 other designs, `solves` in all at most. The search then starts within `radius` of
    the best, in ranges of the numbers. What is dear is learnt as the rest of what a surrogate of
    `beside` cheap designs says, within `reach` of the best (0: from the dear ones alone)."""

    solver: Solver
    starts: int = 3
    solves: int = 2000
    radius: float = 0.1
    beside: int = 300
    reach: float = 0.25

    def best(
        self,
        space: Space,
        judge: Judge,
        seed: int = 0,
        progress: Progress = quiet,
    ) -> Row:
        """The best design by it.

        Raises:
            ValueError: a solver that can't run here, of other numbers, or without an answer.
        """
        lacking = self.solver.available()
        if lacking:
            raise ValueError(f"{type(self.solver).__name__} can't run here: {lacking}")
        absent = sorted(set(self.solver.space) - set(space.ranges))
        if absent:
            raise ValueError(
                f"expected a cheaper solver of the numbers {sorted(space.ranges)}, "
                f"{type(self.solver).__name__} asks for {absent}, too"
            )
        asked = _Asked(self.solver, space, judge, self.solves, progress)
        judge.formulas.check({*self.solver.outputs, *space.ranges, *judge.measures})
        middle = 0.5 * np.ones(len(space.names))
        others = np.random.default_rng(seed).random((self.starts - 1, len(middle)))
        for start in (middle, *others):
            polished_by_differences(asked, start)
        if not asked.found:
            raise ValueError(f"{type(self.solver).__name__} has no answer for any design")
        return asked.best()

    def samples(
        self, space: Space, best: Row, seed: int = 0, progress: Progress = quiet
    ) -> list[Sample]:
        """Cheap designs about the best one."""
        found = []
        rows = space.within(best, self.reach).latin(self.beside, seed)
        for k, row in enumerate(rows):
            numbers = space.numbers(row)
            with suppress(SolverFailed, ValueError):
                told = self.solver.solve(self.solver.case(numbers))
                found.append(Sample(space.cases(row[None])[0], {}, told.scalars))
            progress("solve: cheaper", k + 1, self.beside)
        return found


@dataclass(eq=False)
class _Asked:
    """Designs in the unit cube, each solved once; what is told of them is kept."""

    solver: Solver
    space: Space
    judge: Judge
    solves: int
    progress: Progress
    found: dict[bytes, tuple[Row, np.ndarray]] = field(default_factory=dict)
    failed: set[bytes] = field(default_factory=set)

    def __call__(self, z: Row) -> Float[np.ndarray, " value"] | None:
        """The goal, equalities and inequalities in units of what counts as nothing; None where the
        solver fails or enough was solved."""
        key = np.asarray(z, dtype=float).tobytes()
        if key in self.found:
            return self.found[key][1]
        count = len(self.found) + len(self.failed)
        if key in self.failed or count >= self.solves:
            return None
        self.progress("solve: cheaper", count, self.solves)
        x = self.space.low + (self.space.high - self.space.low) * np.clip(z, 0.0, 1.0)
        numbers: Mapping[str, float] = self.space.numbers(x)
        try:
            sample = self.solver.solve(self.solver.case(numbers))
        except (SolverFailed, ValueError):
            self.failed.add(key)
            return None
        told = self.judge.told(x[None], [sample])
        equal, above = self.judge.scaled(told)
        values = np.concatenate([told.goal, equal[0], above[0]])
        self.found[key] = x, values
        return values

    @property
    def equals(self) -> int:
        """How many values after the goal are to be 0."""
        formulas: Formulas = self.judge.formulas
        return sum(c.equal for c in formulas.constraints)

    def best(self) -> Row:
        """Of all."""
        rows = list(self.found.values())
        values = np.array([v for _, v in rows])
        split = 1 + self.equals
        gaps = np.hstack([np.abs(values[:, 1:split]), np.maximum(-values[:, split:], 0.0)])
        gap = np.maximum(gaps.max(axis=1, initial=0.0), 1.0)
        row: Row = rows[int(np.lexsort((values[:, 0], gap))[0])][0]
        return row
