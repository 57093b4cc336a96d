"""Where truth comes from: solvers as plugins."""

from .solver import Solver, SolverFailed

__all__ = ["Solver", "SolverFailed"]
