"""What a solver is: the thing that makes truth."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Sample
from fieldcast.meshes.units import converted


class SolverFailed(RuntimeError):
    """The solver gave no answer; the message says why, `stage` when: "set-up", "run",
    "convergence" or "read". `log` is the end of what it said."""

    def __init__(self, message: str, stage: str = "run", log: str = "") -> None:
        super().__init__(message)
        self.stage, self.log = stage, log


@dataclass(frozen=True)
class Range:
    """From where to where a number is drawn, in `unit`; `logarithmic`: evenly in its
    logarithm."""

    low: float
    high: float
    unit: str = ""
    logarithmic: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ValueError(f"expected a range from low to high, got {self.low} to {self.high}")
        if self.logarithmic and self.low <= 0:
            raise ValueError(f"expected a positive range for a logarithm, got {self.low}")

    def at(self, share: Float[np.ndarray, "*row"]) -> Float[np.ndarray, "*row"]:
        """The numbers at shares of the way from low (0) to high (1)."""
        if self.logarithmic:
            return self.low * (self.high / self.low) ** np.asarray(share)
        return self.low + (self.high - self.low) * np.asarray(share)


class Solver(ABC):
    """Asked a case, answers with a sample. A recipe: a frozen dataclass without results.

    `parameters` and `outputs` map names to units. `order` is the observed order of convergence of
    the first output under mesh refinement, None where none is claimed; a test observes it. `space`
    are the numbers, of shape and of physics, that `case` makes a case of, with usual ranges: a
    design draws from it.
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

    @property
    def space(self) -> Mapping[str, Range]:
        """What designs draw from; a class that has one for all its settings has a class variable
        instead."""
        return {}

    def case(self, values: Mapping[str, float], name: str = "") -> Case:
        """The case of some numbers of `space`.

        Raises:
            ValueError: numbers that make no case, or a solver that makes none.
        """
        raise ValueError(f"expected a solver that makes cases, {type(self).__name__} makes none")

    def points(
        self, values: Mapping[str, Float[np.ndarray, " row"]]
    ) -> Float[np.ndarray, "row point dim"] | None:
        """The points of the meshes that `case` makes of many rows of numbers; None where they are
        made one by one."""
        return None

    def cost(self, case: Case) -> float | None:
        """About how many seconds `solve` takes, None where it isn't known."""
        return None

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
