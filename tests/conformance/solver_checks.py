"""What every solver keeps, as functions of its class."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import replace

import numpy as np

from fieldcast.meshes import Case, Sample, Scalar
from fieldcast.meshes.units import check_unit, converted
from fieldcast.solvers import Solver

from .numbers import assert_identical, case_numbers, copied, sample_numbers
from .refusals import refusal

SECONDS = 30.0
"""Far above the second that an example may take, so that a busy machine passes."""
PREFIXES = {"Pa": "kPa", "MPa": "Pa", "m": "mm", "K": "mK", "W/m/K": "mW/m/K", "kg": "g"}


def _asked(solver: Solver) -> Case:
    """The example with its bare numbers in the declared units."""
    case = solver.example()
    units = solver.parameters
    stated = {
        name: Scalar(s.value, s.unit or units.get(name, "")) for name, s in case.parameters.items()
    }
    return replace(case, parameters=stated)


def check_recipe(solver: type[Solver]) -> None:
    """A frozen dataclass that hashes and compares; units that exist; an order that is a number."""
    made = solver()
    assert dataclasses.is_dataclass(made)
    assert made == solver()
    assert hash(made) == hash(solver())
    units = [*made.parameters.values(), *made.outputs.values()]
    assert [check_unit(unit) for unit in units] == units
    assert made.outputs, "a solver declares what it answers"
    assert made.order is None or (isinstance(made.order, float) and made.order > 0)


def check_example_solves(solver: type[Solver]) -> None:
    """In a few seconds, with the declared outputs in the declared units, all finite, for the case
    that was asked."""
    made, case = solver(), solver().example()
    start = time.perf_counter()
    sample = made.solve(case)
    assert time.perf_counter() - start < SECONDS
    assert sample.case == case
    found = {**sample.fields, **sample.scalars}
    for name, unit in made.outputs.items():
        assert found[name].unit == unit, name
    numbers = sample_numbers(sample)
    assert all(np.isfinite(values).all() for values in numbers.values())
    assert any(np.ptp(f.values) > 0 for f in sample.fields.values()) or sample.scalars


def check_deterministic(solver: type[Solver]) -> None:
    """Asked twice, by two objects, the same bits; the case stays as it is."""
    case = solver().example()
    before = copied(case_numbers(case))
    first, second = solver().solve(case), solver().solve(case)
    assert_identical(sample_numbers(second), sample_numbers(first), "asked twice")
    assert_identical(case_numbers(case), before, "after solving")


def check_missing_parameters(solver: type[Solver]) -> None:
    """A parameter left out is refused by its name, or doesn't matter; without any, one is named."""
    made, case = solver(), _asked(solver())
    if not made.parameters:
        return
    answer = sample_numbers(made.solve(case))
    read = 0
    for name in made.parameters:
        rest = {k: s for k, s in case.parameters.items() if k != name}
        message = refusal(lambda rest=rest: made.solve(replace(case, parameters=rest)))
        if message is None:
            found = sample_numbers(made.solve(replace(case, parameters=rest)))
            same = {k: v for k, v in answer.items() if not k.startswith("parameter ")}
            kept = {k: found[k] for k in same}
            assert_identical(kept, same, f"without {name}")
        else:
            read += 1
            assert name in message, f"expected {name!r} in {message!r}"
    assert read, "a solver that declares parameters reads one of them"
    message = refusal(lambda: made.solve(replace(case, parameters={}, name="odd_one")))
    assert message is not None
    assert "odd_one" in message


def check_units_are_converted(solver: type[Solver]) -> None:
    """Parameters in other units give the same answer, bare numbers mean the declared unit, a unit
    of another dimension is refused."""
    made, case = solver(), _asked(solver())
    expected = made.solve(case)
    bare = {name: Scalar(s.value) for name, s in case.parameters.items()}
    _assert_same(made.solve(replace(case, parameters=bare)), expected, "bare numbers")
    others = {}
    for name, s in case.parameters.items():
        unit = PREFIXES.get(s.unit, s.unit)
        others[name] = Scalar(converted(s.value, s.unit, unit), unit)
    _assert_same(made.solve(replace(case, parameters=others)), expected, "other units")
    refused = []
    for name, unit in made.parameters.items():
        odd = {**case.parameters, name: Scalar(case.parameters[name].value, "candela")}
        message = refusal(lambda odd=odd: made.solve(replace(case, parameters=odd)))
        refused += [name] if unit and message is not None and "candela" in message else []
    assert refused or not any(made.parameters.values()), "a unit of another dimension is accepted"


def _assert_same(found: Sample, expected: Sample, when: str) -> None:
    for name, field in expected.fields.items():
        limit = 1e-9 * float(np.abs(field.values).max(initial=1e-300))
        np.testing.assert_allclose(
            found.fields[name].values, field.values, rtol=0, atol=limit, err_msg=f"{when}: {name}"
        )
    for name, scalar in expected.scalars.items():
        np.testing.assert_allclose(
            found.scalars[name].value, scalar.value, rtol=1e-9, err_msg=f"{when}: {name}"
        )
