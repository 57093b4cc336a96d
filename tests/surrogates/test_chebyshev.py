"""Chebyshev expansions: exact for polynomials, interpolating at their nodes, quick as heads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fieldcast.meshes import Case, Sample, Scalar
from fieldcast.meshes.battery import CONCENTRATIONS, RATES, VOLTAGE, discharge
from fieldcast.solvers.battery import SingleParticle, graphite_nmc
from fieldcast.surrogates import Chebyshev
from fieldcast.surrogates.separable import SeparableHead, compiled, grid

RANGES = dict(zip(RATES, ((0.5, 4.0), (1.0, 10.0)), strict=True))


@pytest.fixture(scope="module")
def solver():
    return SingleParticle(shells=40, steps=40)


@pytest.fixture(scope="module")
def start(solver):
    return discharge(solver.cell, dict.fromkeys(RATES, 1.0), 21, 7)


@pytest.fixture(scope="module")
def runs(solver, start):
    return solver.solve_all(grid(start, RANGES, dict.fromkeys(RATES, 4)))


@pytest.fixture(scope="module")
def fitted(runs):
    return Chebyshev((4, 4)).fit(runs)


def test_polynomials_are_exact(start):
    def sample(a, b):
        case = replace(start, parameters={"a": a, "b": b})
        return Sample(case, {}, {"y": Scalar(np.full(21, 1e5 + 2 * a * b - b**2 + 0.5))})

    rng = np.random.default_rng(0)
    # Of both signs, so that they are taken as they are.
    samples = [sample(*rng.uniform(-1.0, 1.0, 2).tolist()) for _ in range(30)]
    predictor = Chebyshev(2).fit(samples)
    asked = sample(0.3, -0.2)
    [answer] = predictor.predict([asked.case])
    np.testing.assert_allclose(answer.scalars["y"].mean, asked.scalars["y"].value, rtol=1e-12)


def test_nodes_are_interpolated(runs, fitted):
    for sample, answer in zip(runs, fitted.predict([s.case for s in runs]), strict=True):
        np.testing.assert_allclose(
            answer.scalars[VOLTAGE].mean, sample.scalars[VOLTAGE].value, atol=1e-9
        )
        for name in CONCENTRATIONS:
            np.testing.assert_allclose(
                answer.mean[name].values, sample.fields[name].values, atol=1e-4
            )


def test_smooth_answers_are_met_between(solver, start, fitted):
    case = replace(start, parameters=dict(zip(RATES, (2.0, 2.0), strict=True)))
    [answer], truth = fitted.predict([case]), solver.solve(case)
    assert np.abs(answer.scalars[VOLTAGE].mean - truth.scalars[VOLTAGE].value).max() < 5e-5
    assert answer.trust.status == "ok"


def test_degrees_are_those_of_the_inputs(runs):
    with pytest.raises(ValueError, match="2 inputs"):
        Chebyshev((4, 4, 4)).fit(runs)
    assert len(Chebyshev(3).powers(2)) == 10
    assert len(Chebyshev((3, 1)).powers(2)) == 8


def test_heads_say_the_same_and_have_gradients(start, fitted):
    head = SeparableHead.of(fitted, VOLTAGE)
    assert head.names == RATES
    rows = torch.tensor([[2.0, 2.0], [0.7, 8.0]], dtype=torch.float64, requires_grad=True)
    cases = [replace(start, parameters=dict(zip(RATES, row, strict=True))) for row in rows.tolist()]
    found = head(rows)
    for one, answer in zip(found, fitted.predict(cases), strict=True):
        np.testing.assert_allclose(one.detach().numpy(), answer.scalars[VOLTAGE].mean, rtol=1e-12)
    assert torch.autograd.gradcheck(head, rows[:1].detach().requires_grad_())
    with pytest.raises(ValueError, match="no_such"):
        SeparableHead.of(fitted, "no_such")


def test_any_predictor_is_compiled(start, fitted):
    again = compiled(fitted, start, RANGES, dict.fromkeys(RATES, 4))
    np.testing.assert_allclose(again.weights, fitted.weights, atol=1e-5)


def test_grids_are_refused_that_do_not_rise(start):
    with pytest.raises(ValueError, match="rising"):
        grid(start, {"deg_i0_a": (2.0, 1.0)}, {"deg_i0_a": 3})


def test_cells_of_another_kind_are_refused(start, fitted):
    other = discharge(graphite_nmc(), dict.fromkeys(RATES, 1.0), 21, 8)
    with pytest.raises(ValueError, match=r"odd.*cells"):
        fitted.predict([Case(other.mesh, other.parameters, {}, other.parts, other.times, "odd")])
