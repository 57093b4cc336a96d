"""What a solver is: the thing that makes truth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from fieldcast.meshes import Case, Sample
from fieldcast.meshes.units import converted


class SolverFailed(RuntimeError):
    """The solver ran and gave no answer; the message says when and why."""


class Solver(ABC):
    """Asked a case, answers with a sample. A recipe: a frozen dataclass without results.

    `parameters` and `outputs` map names to units. `order` is the observed order of convergence of
    the first output under mesh refinement, None where none is claimed; a test observes it.
    """

    parameters: ClassVar[Mapping[str, str]]
    outputs: ClassVar[Mapping[str, str]]
    order: ClassVar[float | None] = None

    @abstractmethod
    def solve(self, case: Case) -> Sample:
        """The answer for `case`, whose parameters may be bare numbers in the declared units.

        Raises:
            ValueError: the case lacks a parameter or has a mesh that the solver can't use.
            SolverFailed: the solver gave up.
        """

    @abstractmethod
    def example(self) -> Case:
        """A small case that solves in a second, for the conformance suite."""

    def available(self) -> str | None:
        """None if it can run here, else what to install."""
        return None


def parameter_values(solver: type[Solver] | Solver, case: Case) -> dict[str, float]:
    """The case's parameters as numbers in the units that the solver declares.

    Raises:
        ValueError: a parameter is missing, or its unit does not convert.
    """
    missing = set(solver.parameters) - set(case.parameters)
    if missing:
        raise ValueError(
            f"case {case.label}: expected parameters {dict(solver.parameters)}, "
            f"{sorted(missing)} are missing"
        )
    given = case.parameters
    return {
        name: float(converted(given[name].value, given[name].unit, unit).item())
        for name, unit in solver.parameters.items()
    }
