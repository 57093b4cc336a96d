"""Sparse discovery: known equations come back, and what cannot be told is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fieldcast.meshes import Field
from fieldcast.solvers.kuramoto_sivashinsky import KuramotoSivashinsky, line_case
from fieldcast.solvers.two_layer import (
    NUMBERS,
    Channel,
    LayerLibrary,
    TwoLayer,
    channel_case,
    continued,
)
from fieldcast.surrogates.medida import (
    NOTHING,
    Equation,
    LineLibrary,
    Medida,
    between,
    knee,
    model_error,
)

LENGTH, POINTS = 20.0, 64


def waves(members=6, seed=0):
    rng = np.random.default_rng(seed)
    x = LENGTH * np.arange(POINTS) / POINTS
    k = 2 * np.pi / LENGTH * np.arange(1, 7)
    angle = k[:, None] * x
    height = rng.normal(size=(2, members, 6)) / np.arange(1, 7)
    return height[0] @ np.cos(angle) + height[1] @ np.sin(angle)


def test_the_library_has_the_derivatives():
    x = LENGTH * np.arange(POINTS) / POINTS
    k = 2 * np.pi / LENGTH
    terms = LineLibrary(LENGTH)(np.sin(k * x)[None])
    assert len(terms) == 24
    u, u_x, u_xxx = np.sin(k * x), k * np.cos(k * x), -(k**3) * np.cos(k * x)
    for name, expected in (("u", u), ("u^3", u**3), ("u_x", u_x), ("u u_x", u * u_x)):
        np.testing.assert_allclose(terms[name][0], expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(terms["u^2 u_xxx"][0], u**2 * u_xxx, rtol=0, atol=1e-10)


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_sparse_sum_comes_back(noise):
    state, rng = waves(), np.random.default_rng(1)
    terms = LineLibrary(LENGTH)(state)
    truth = {"u u_x": -1.0, "u_xx": -0.7, "u_xxxx": -0.4}
    error = sum(c * terms[k] for k, c in truth.items())
    error = error + noise * error.std() * rng.normal(size=error.shape)
    found = Medida().discover(terms, error)
    assert set(found.coefficients) == set(truth)
    for name, c in truth.items():
        assert abs(found.coefficients[name] - c) < max(4 * found.std[name], 1e-6)
    assert found.error < max(2 * noise**2, 1e-9)


def test_the_scale_of_terms_does_not_matter():
    """Terms in other units: the same equation in those units."""
    state, rng = waves(), np.random.default_rng(1)
    terms = LineLibrary(LENGTH)(state)
    error = 2.0 * terms["u_xx"] + 0.1 * rng.normal(size=state.shape)
    one = Medida().discover(terms, error)
    other = Medida().discover({k: 1e6 * v for k, v in terms.items()}, 1e3 * error)
    assert set(one.coefficients) == set(other.coefficients) == {"u_xx"}
    np.testing.assert_allclose(other.coefficients["u_xx"], 1e-3 * one.coefficients["u_xx"])


def test_the_interval_makes_an_error_of_second_order_between():
    """Without a model, dx/dt = -x: -1 is missed by h / 2 at the start, by h^2 / 12 between."""
    before = waves()
    for h in (0.1, 0.05):
        after = np.exp(-h) * before
        error = model_error(before, after, lambda x: x, h)

        def library(x):
            return {"u": x}

        one = Medida().discover(library(before), error).coefficients["u"]
        other = Medida().discover(between(library, before, after), error).coefficients["u"]
        assert abs(one + 1.0 - h / 2) < 0.2 * h**2
        assert abs(other + 1.0) < 0.1 * h**2


def test_an_equation_is_text_and_a_closure():
    equation = Equation({"u u_x": -1.0, "u_xx": 0.25}, {"u u_x": 0.1, "u_xx": 0.1}, 0.1)
    assert str(equation) == "- 1 u u_x + 0.25 u_xx"
    assert str(NOTHING) == "0"
    state, library = waves(), LineLibrary(LENGTH)
    terms = library(state)
    expected = -terms["u u_x"] + 0.25 * terms["u_xx"]
    np.testing.assert_array_equal(equation.closure(library)(state), expected)


def test_a_model_without_a_term_gets_it_back():
    """Discovered from pairs of the whole equation, as a closure of the model that lacks it."""
    times = np.array([0.0, 20.0, 20.001, 22.0])
    whole = KuramotoSivashinsky(step=0.01).solve_all(
        [line_case(LENGTH, POINTS, times, seed) for seed in range(4)]
    )
    u = np.stack([s.fields["u"].values[:, :, 0] for s in whole], axis=1)
    numbers = {"advection": 1.0, "diffusion": 0.0, "hyperdiffusion": 1.0}
    library = LineLibrary(LENGTH)
    advance = KuramotoSivashinsky().advance(numbers, LENGTH, POINTS)
    error = model_error(u[1], u[2], lambda x: advance(x, 0.0, 0.001), 0.001)
    found = Medida().discover(between(library, u[1], u[2]), error)
    assert set(found.coefficients) == {"u_xx"}
    case = line_case(LENGTH, POINTS, np.array([20.0, 22.0]), numbers=numbers)
    case = replace(case, fields={"u": Field.steady(u[1][0])})

    def missed(solver):
        return np.abs(solver.solve(case).fields["u"].values[-1, :, 0] - u[3][0]).max()

    bare = missed(KuramotoSivashinsky())
    assert bare > 1.0
    assert missed(KuramotoSivashinsky(found.closure(library))) < 0.02 * bare


def test_two_layers_with_another_friction_are_put_right():
    """The term is found in the lower layer; with it the model goes the way of the system."""
    channel, h = Channel(lengths=(23.0, 34.0), counts=(24, 48)), 0.0025
    solver, library = TwoLayer(channel=channel, step=0.1), LayerLibrary(channel)
    true, false = NUMBERS, {**NUMBERS, "friction": 0.37}
    run = solver.solve(channel_case(channel, np.array([0.0, 15.0, 25.0])))
    before = np.moveaxis(run.fields["q"].values[1:].reshape(2, 48, 24, 2), -1, 1)

    def stepped(numbers, q):
        advance = solver.advance(numbers)
        return np.stack([advance(one, h) for one in q])

    after = stepped(true, before)
    error = model_error(before, after, lambda q: stepped(false, q), h)[:, 1]
    found = Medida().discover(between(library, before, after), error)
    assert set(found.coefficients) == {"lap psi2"}
    assert abs(found.coefficients["lap psi2"] - 0.3) < 0.015
    lower = found.closure(library)

    def closure(q):
        return np.stack([np.zeros_like(q[0]), lower(q)])

    start = continued(run, np.array([25.0, 28.0]))
    closed = replace(solver, closure=closure)
    ends = [
        model.solve(replace(start, parameters=numbers)).fields["q"].values[-1]
        for model, numbers in ((solver, true), (solver, false), (closed, false))
    ]
    assert np.abs(ends[2] - ends[0]).max() < 0.02 * np.abs(ends[1] - ends[0]).max()


def test_noise_alone_has_no_equation():
    """What is found of nothing explains nothing."""
    state = waves()
    noise = np.random.default_rng(0).normal(size=state.shape)
    found = Medida().discover(LineLibrary(LENGTH)(state), noise)
    assert found.error > 0.8


def test_the_knee_is_where_terms_stop_to_pay():
    def path(*errors):
        return [Equation(dict.fromkeys(map(str, range(n)), 1.0), {}, e) for n, e in errors]

    found = knee(path((0, 1.0), (1, 0.5), (2, 0.3), (3, 1e-6), (10, 1e-7)))
    assert len(found.coefficients) == 3
    assert len(knee(path((0, 1.0), (1, 1e-5), (10, 1e-7))).coefficients) == 1


def test_what_is_no_regression_is_refused():
    state = waves()
    with pytest.raises(ValueError, match="one shape and an interval"):
        model_error(state, state[:2], lambda x: x, 0.1)
    with pytest.raises(ValueError, match="finite terms of the error's shape"):
        Medida().discover({"u": state[:2]}, state)
    with pytest.raises(ValueError, match="error of the model that varies"):
        Medida().discover({"u": state}, 0.0 * state)
