"""Lorenz 96: the equations as they are written, their order, and a closed slow level."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fieldcast.meshes import Field
from fieldcast.solvers import SolverFailed
from fieldcast.solvers.lorenz96 import (
    Lorenz96,
    ThreeLevelLorenz96,
    ThreeLevels,
    TwoLevels,
    continued,
    start_case,
)
from fieldcast.solvers.lorenz96_closed import ClosedLorenz96, RedNoise

NUMBERS = {"F": 18.0, "h": 1.0, "b": 10.0, "c": 10.0}
THREE = {"F": 20.0, "h": 0.5, "b": 10.0, "c": 8.0, "d": 10.0, "e": 10.0}


def columns(numbers):
    return {k: np.full((1, 1), v) for k, v in numbers.items()}


def test_two_levels_are_the_equations():
    count, each = 5, 3
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=count), rng.normal(size=count * each)
    forcing, h, b, c = NUMBERS.values()
    n = len(y)
    dx = [
        x[k - 1] * (x[(k + 1) % count] - x[k - 2])
        - x[k]
        + forcing
        - h * c / b * y[k * each : (k + 1) * each].sum()
        for k in range(count)
    ]
    dy = [
        -c * b * y[(j + 1) % n] * (y[(j + 2) % n] - y[j - 1]) - c * y[j] + h * c / b * x[j // each]
        for j in range(n)
    ]
    found = TwoLevels(columns(NUMBERS), count, each)(np.concatenate([x, y])[None])
    np.testing.assert_allclose(found[0], np.concatenate([dx, dy]), rtol=1e-12, atol=1e-12)


def test_three_levels_are_the_equations():
    count, each, finest = 4, 5, 6
    rng = np.random.default_rng(0)
    shapes = ((count,), (count, each), (count, each, finest))
    x, y, z = (rng.normal(size=shape) for shape in shapes)
    forcing, h, b, c, d, e = THREE.values()
    dx = np.roll(x, 1) * (np.roll(x, -1) - np.roll(x, 2)) - x + forcing - h * c / b * y.sum(1)
    dy = (
        -c * b * np.roll(y, -1, 1) * (np.roll(y, -2, 1) - np.roll(y, 1, 1))
        - c * y
        + h * c / b * x[:, None]
        - h * e / d * z.sum(2)
    )
    dz = (
        e * d * np.roll(z, 1, 2) * (np.roll(z, -1, 2) - np.roll(z, 2, 2))
        - e * z
        + h * e / d * y[..., None]
    )
    state = np.concatenate([x, y.ravel(), z.ravel()])[None]
    found = ThreeLevels(columns(THREE), count, each, finest)(state)
    expected = np.concatenate([dx, dy.ravel(), dz.ravel()])
    np.testing.assert_allclose(found[0], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("solver", [Lorenz96, ThreeLevelLorenz96, ClosedLorenz96])
def test_the_order_is_that_declared(solver):
    case = replace(solver().example(), times=np.array([0.0, 0.2]))
    steps = 0.2 / np.array([40, 60, 80])

    def end(step):
        return solver(step=step).solve(case).fields["X"].values[-1]

    truth = end(0.2 / 640)
    errors = [np.abs(end(step) - truth).max() for step in steps.tolist()]
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert abs(slope - solver.order) < 0.3


def test_the_advection_conserves_energy():
    """Without forcing, damping and coupling sum X^2 and sum Y^2 stay; here their rate is 0."""
    rng = np.random.default_rng(1)
    numbers = columns({**NUMBERS, "F": 0.0, "h": 0.0})
    x, y = rng.normal(size=(1, 8)), rng.normal(size=(1, 32))
    rate = TwoLevels(numbers, 8, 4)(np.concatenate([x, y], axis=1))
    assert abs((x * (rate[:, :8] + x)).sum()) < 1e-12
    assert abs((y * (rate[:, 8:] + 10.0 * y)).sum()) < 1e-10


def test_the_ring_has_no_first_point():
    """A start that is turned by one point gives the answer turned by one point."""
    case = Lorenz96().example()
    turned = {k: f.with_values(np.roll(f.values, 1, axis=1)) for k, f in case.fields.items()}
    one, other = Lorenz96().solve_all([case, replace(case, fields=turned)])
    for name in Lorenz96.outputs:
        rolled = np.roll(one.fields[name].values, 1, axis=1)
        np.testing.assert_allclose(other.fields[name].values, rolled, rtol=0, atol=1e-9)


def test_many_are_each_what_it_is_alone():
    cases = [
        start_case({**NUMBERS, "F": f}, (8, 4), np.array([0.0, 0.1]), k)
        for k, f in enumerate((8.0, 18.0))
    ]
    for case, found in zip(cases, Lorenz96().solve_all(cases), strict=True):
        alone = Lorenz96().solve(case)
        for name, field in alone.fields.items():
            np.testing.assert_array_equal(found.fields[name].values, field.values)


def test_the_tendency_closes_the_slow_level():
    """With U of the truth, held over short steps, the slow level goes the way of the truth."""
    case = start_case(NUMBERS, (8, 32), np.linspace(0.0, 0.1, 101))
    truth = Lorenz96(step=5e-4).solve(case)
    tendency = iter(truth.fields["U"].values[:, :, 0])
    slow = ClosedLorenz96(lambda x: next(tendency)[None], held=True, step=1e-3)
    found = slow.solve(replace(case, fields={"X": case.fields["X"]}))
    gap = found.fields["X"].values[-1] - truth.fields["X"].values[-1]
    assert np.abs(gap).max() < 2e-2


def test_an_answer_goes_on():
    case = start_case(NUMBERS, (8, 4), np.array([0.0, 0.1, 0.2]))
    whole = Lorenz96().solve(case)
    half = Lorenz96().solve(replace(case, times=case.times[:2]))
    rest = Lorenz96().solve(continued(half, case.times[1:]))
    np.testing.assert_allclose(
        rest.fields["Y"].values[-1], whole.fields["Y"].values[-1], rtol=0, atol=1e-9
    )


def test_noise_has_its_spread_and_memory_and_a_member_its_own():
    law = RedNoise(sigma=2.0, correlation=0.5, interval=0.02, seed=1)
    case = start_case({"F": 0.0, "member": 0}, (2000,), np.linspace(0.0, 0.02, 3))
    still = replace(case, fields={"X": Field.steady(np.zeros((2000, 1)))})
    solver = ClosedLorenz96(noise=law, step=0.01)
    other = still.with_parameters(member=1)
    one, two = solver.solve_all([still, other])
    # From rest the first steps are the noise alone: X = e h.
    x = one.fields["X"].values[:, :, 0]
    first, second = x[1] / 0.01, (x[2] - x[1]) / 0.01
    assert first.std() == pytest.approx(2.0, rel=0.1)
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(0.5**0.5, abs=0.05)
    assert abs(np.corrcoef(first, two.fields["X"].values[1, :, 0])[0, 1]) < 0.1
    np.testing.assert_array_equal(solver.solve(other).fields["X"].values, two.fields["X"].values)


def test_what_can_not_be_solved_is_told():
    case = Lorenz96().example()
    with pytest.raises(ValueError, match="known field 'Y'"):
        Lorenz96().solve(replace(case, fields={"X": case.fields["X"]}))
    with pytest.raises(ValueError, match="closed ring"):
        Lorenz96().solve(replace(case, mesh=case.mesh.scaled(2.0)))
    with pytest.raises(ValueError, match="solve others apart"):
        Lorenz96().solve_all([case, replace(case, times=case.times[:2])])
    wild = ClosedLorenz96(lambda x: x**3)
    with pytest.raises(SolverFailed, match="left all bounds before time"):
        wild.solve(replace(wild.example(), times=np.array([0.0, 5.0])))
    with pytest.raises(ValueError, match="correlation"):
        RedNoise(1.0, 1.0, 0.01)
