"""Where truth comes from: solvers as plugins."""

from .command import Command, Limits, Step
from .solver import Range, Solver, SolverFailed, parameter_values

__all__ = [
    "Command",
    "Limits",
    "Range",
    "Solver",
    "SolverFailed",
    "Step",
    "parameter_values",
]
