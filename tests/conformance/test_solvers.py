"""The contract of solvers."""

from __future__ import annotations

import pytest

from . import solver_checks as checks


@pytest.fixture
def runnable(solver):
    """The solver, if what it needs is installed."""
    reason = solver().available()
    if reason is not None:
        pytest.skip(reason)
    return solver


def test_recipe(solver):
    checks.check_recipe(solver)


def test_example_solves(runnable):
    checks.check_example_solves(runnable)


def test_deterministic(runnable):
    checks.check_deterministic(runnable)


def test_missing_parameters(runnable):
    checks.check_missing_parameters(runnable)


def test_units_are_converted(runnable):
    checks.check_units_are_converted(runnable)
