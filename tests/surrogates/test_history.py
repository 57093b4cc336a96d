"""Scalars in time from series in time: memories are exact, answers causal, a cell's voltage under
currents that were not learned is met."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fieldcast.meshes import Case, Sample, Scalar
from fieldcast.meshes.battery import VOLTAGE, line
from fieldcast.solvers.battery import SPMe, driven, graphite_nmc, random_currents
from fieldcast.surrogates import Descent, load
from fieldcast.surrogates.history import HistoryOperator, memories

TIMES = np.linspace(0.0, 10.0, 41)


def test_memories_of_a_ramp_are_exact():
    times = np.array([0.0, 0.1, 0.5, 0.7, 3.0])
    tau = np.array([1e-9, 0.4, 1e9])
    found = memories(times, times[None, :, None], tau)[0, :, 0]
    np.testing.assert_allclose(found[:, 0], times)
    np.testing.assert_allclose(found[:, 1], 0.5 * times**2, atol=1e-12)
    # m' = (t - m) / tau, m(0) = 0
    np.testing.assert_allclose(found[:, 3], times - 0.4 * (1 - np.exp(-times / 0.4)), atol=1e-12)
    np.testing.assert_allclose(found[:, 2], times, atol=1e-8)
    np.testing.assert_allclose(found[:, 4], 0.5 * times**2 / 1e9, atol=1e-15)


def filtered(seed: int) -> Sample:
    """y = p tanh(m) of a memory m of 2 s."""
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.standard_normal(len(TIMES))) * 0.5
    p = float(rng.uniform(1.0, 2.0))
    m = memories(TIMES, x[None, :, None], np.array([2.0]))[0, :, 0, 2]
    case = Case(line(np.arange(2.0)), {"p": p, "x": Scalar(x, "N")}, times=TIMES)
    return Sample(case, {}, {"y": Scalar(1e5 + 40.0 * p * np.tanh(m), "Pa")})


@pytest.fixture(scope="module")
def fitted():
    recipe = HistoryOperator(8, 24, 2, 24, 24, Descent(300, 32, "soap", rate=1e-2))
    return recipe.fit([filtered(k) for k in range(80)])


def test_what_was_not_learned_is_met(fitted):
    truth = [filtered(k) for k in range(100, 120)]
    answers = fitted.predict([s.case for s in truth])
    gaps = [p.scalars["y"].mean - s.scalars["y"].value for p, s in zip(answers, truth, strict=True)]
    spread = np.std([s.scalars["y"].value for s in truth])
    assert np.sqrt(np.mean(np.square(gaps))) < 0.05 * spread
    assert sum(p.trust.status == "ok" for p in answers) >= 15


def test_answers_are_causal_and_at_the_times_asked(fitted, tmp_path):
    case = filtered(100).case
    x = case.parameters["x"].value.copy()
    x[30:] += 5.0
    later = replace(case, parameters={**case.parameters, "x": Scalar(x, "N")})
    one, other = (p.scalars["y"].mean for p in fitted.predict([case, later]))
    np.testing.assert_allclose(one[:30], other[:30], rtol=1e-9)
    assert np.abs(one[30:] - other[30:]).max() > 1.0
    half = {**case.parameters, "x": Scalar(case.parameters["x"].value[:21], "N")}
    short = replace(case, parameters=half, times=TIMES[:21])
    again = load(fitted.save(tmp_path / "m.fieldcast")).predict([short])[0].scalars["y"].mean
    np.testing.assert_allclose(again, one[:21], rtol=1e-6)


def test_far_histories_are_not_trusted(fitted):
    case = filtered(100).case
    far = {**case.parameters, "x": Scalar(50.0 + 0.0 * TIMES, "N")}
    assert fitted.predict([replace(case, parameters=far)])[0].trust.status == "reject"


def test_what_is_no_history_is_refused():
    sample = filtered(0)
    still = replace(sample, case=replace(sample.case, parameters={"p": 1.0}))
    with pytest.raises(ValueError, match="series in time"):
        HistoryOperator.tiny().fit([still] * 3)


def test_a_cell_under_currents():
    """PyBaMM's own current, and the operator on a current of another kind."""
    pytest.importorskip("pybamm")
    cell = graphite_nmc()
    times = np.linspace(0.0, cell.duration, 31)
    numbers = {"deg_i0_a": 1.0, "deg_ds_c": 1.0}
    solver = SPMe(layers=8, shells=10, accuracy=1e-5)
    steady, still = (
        solver.solve(driven(cell, numbers, times, np.full(31, cell.current))),
        solver.solve(
            replace(driven(cell, numbers, times, times), parameters=numbers)  # its own current
        ),
    )
    v, w = (s.scalars[VOLTAGE].value for s in (steady, still))
    np.testing.assert_allclose(v, w, atol=2e-5)
    currents = random_currents(cell, times, 40, 0)
    assert currents.shape == (40, 31)
    runs = solver.solve_all([driven(cell, numbers, times, i) for i in currents])
    recipe = HistoryOperator(8, 24, 2, 24, 16, Descent(200, 32, "soap", rate=1e-2))
    answer = recipe.fit(runs).predict([steady.case])[0].scalars[VOLTAGE].mean
    assert np.abs(answer - v).mean() < 0.01
