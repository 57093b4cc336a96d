"""The Kuramoto-Sivashinsky equation: growth, order, symmetries, closures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fieldcast.meshes import Field
from fieldcast.solvers.kuramoto_sivashinsky import KuramotoSivashinsky, continued, line_case


def of(sample):
    return sample.fields["u"].values[:, :, 0]


def test_small_waves_grow_as_the_linear_equation_says():
    """exp((k^2 - k^4) t)."""
    case = line_case(20 * np.pi, 64, np.linspace(0.0, 5.0, 3))
    k = 0.5
    start = 1e-7 * np.cos(k * case.mesh.points[:, 0])
    found = of(KuramotoSivashinsky().solve(replace(case, fields={"u": Field.steady(start)})))
    expected = np.exp((k**2 - k**4) * np.asarray(case.times))
    np.testing.assert_allclose(found[:, 0] / start[0], expected, rtol=1e-6)


def test_the_order_is_that_declared():
    case = line_case(22.0, 32, np.array([0.0, 2.0]))
    steps = 2.0 / np.array([20, 40, 80])
    truth = of(KuramotoSivashinsky(step=2.0 / 640).solve(case))[-1]
    errors = [
        np.abs(of(KuramotoSivashinsky(step=s).solve(case))[-1] - truth).max()
        for s in steps.tolist()
    ]
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert abs(slope - KuramotoSivashinsky.order) < 0.3


def test_a_shift_and_a_mirror_go_through():
    """u(x) -> u(x - s) and u(x) -> -u(-x) map answers to answers; the mean stays."""
    case = line_case(22.0, 32, np.linspace(0.0, 4.0, 3))
    u = case.fields["u"].values
    shifted = replace(case, fields={"u": Field(np.roll(u, 5, axis=1))})
    mirrored = replace(case, fields={"u": Field(-np.roll(u[:, ::-1], 1, axis=1))})
    own, one, other = (of(s) for s in KuramotoSivashinsky().solve_all([case, shifted, mirrored]))
    np.testing.assert_allclose(one, np.roll(own, 5, axis=1), rtol=0, atol=1e-9)
    np.testing.assert_allclose(other, -np.roll(own[:, ::-1], 1, axis=1), rtol=0, atol=1e-9)
    np.testing.assert_allclose(own.mean(axis=1), own[0].mean(), atol=1e-12)


def test_a_closure_stands_in_for_a_term():
    """Without the second derivative and with it as a closure the equation is whole again."""
    case = line_case(22.0, 32, np.array([0.0, 1.0]))
    k = 2 * np.pi / 22.0 * np.arange(17)

    def closure(u):
        return np.fft.irfft(k**2 * np.fft.rfft(u), n=32)

    whole = KuramotoSivashinsky().solve(case)
    closed = KuramotoSivashinsky(closure).solve(case.with_parameters(diffusion=0.0))
    np.testing.assert_allclose(of(closed), of(whole), rtol=0, atol=1e-6)


def test_an_answer_goes_on():
    case = line_case(22.0, 32, np.array([0.0, 0.5, 1.0]))
    whole = KuramotoSivashinsky().solve(case)
    half = KuramotoSivashinsky().solve(replace(case, times=case.times[:2]))
    rest = KuramotoSivashinsky().solve(continued(half, case.times[1:]))
    np.testing.assert_allclose(of(rest)[-1], of(whole)[-1], rtol=0, atol=1e-10)


def test_what_cannot_be_run_is_refused():
    case, solver = line_case(22.0, 32, np.array([0.0, 0.5])), KuramotoSivashinsky()
    for bad, message in (
        (replace(case, fields={}), "known field u"),
        (replace(case, times=np.array([0.5, 0.0])), "rising times"),
        (replace(case, mesh=case.mesh.scaled(-1.0)), "even number of points"),
    ):
        with pytest.raises(ValueError, match=message):
            solver.solve(bad)
    with pytest.raises(ValueError, match="solve others apart"):
        solver.solve_all([case, case.with_parameters(diffusion=2.0)])
