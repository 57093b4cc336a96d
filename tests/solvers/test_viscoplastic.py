"""The viscoplastic law: an ODE at a point, its tangent, its elastic limit, its order in time."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from fieldcast.meshes import Case, Mesh
from fieldcast.meshes.sample import scalars_of
from fieldcast.solvers import SolverFailed, viscoplastic
from fieldcast.solvers.plate import DoubleNotchedPlate
from fieldcast.solvers.plate_mesh import plate_mesh
from fieldcast.solvers.viscoplastic import ElastoViscoplastic, Flow, State, flowed

STEEL = {"E": 7.5e4, "R0": 15.0, "K": 450.0, "C": 1500.0, "D": 1500.0}
SQUARE = Mesh(
    np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]]),
    {"triangle": np.array([[0, 1, 2], [0, 2, 3]])},
)


def plate_case(mesh, values, name=""):
    return Case(mesh, scalars_of(values), name=name)


def field(sample, name):
    return sample.fields[name].values[0, :, 0]


def bar(pull, n=20.0, nu=0.3):
    """q and eps22 at 1 s of a bar in plane strain, sig11 = 0, sig22 = pull t, by an ODE solver."""
    young = STEEL["E"]

    def stress(t, flow):
        s33 = nu * pull * t - young * flow[2]
        return np.array([0.0, pull * t, s33])

    def rates(t, y):
        flow, alpha = y[:3], y[3:6]
        sigma = stress(t, flow)
        xi = sigma - sigma.mean() - 2 / 3 * STEEL["C"] * alpha
        j = np.sqrt(1.5 * xi @ xi)
        p = (max(j - STEEL["R0"], 0.0) / STEEL["K"]) ** n
        rate = 1.5 * p * xi / max(j, 1e-300)
        return np.concatenate([rate, rate - STEEL["D"] * alpha * p, [p]])

    y = solve_ivp(rates, (0, 1), np.zeros(7), "LSODA", rtol=1e-9, atol=1e-14).y[:, -1]
    sigma = stress(1.0, y[:3])
    return y[6], (sigma[1] - nu * sigma[2]) / young + y[1]


@pytest.mark.parametrize("pull", [250.0, 380.0, 450.0])
@pytest.mark.parametrize("degree", [1, 2])
def test_a_bar_follows_the_ordinary_differential_equation(pull, degree):
    q, eps22 = bar(pull)
    law = ElastoViscoplastic(steps=400)
    sample = DoubleNotchedPlate(degree, law).solve(plate_case(SQUARE, {"P": -pull, **STEEL}))
    np.testing.assert_allclose(field(sample, "q"), q, rtol=0.03)
    np.testing.assert_allclose(field(sample, "U2")[2:], 2 * eps22, rtol=1e-2)
    np.testing.assert_allclose(field(sample, "sig22"), pull, rtol=1e-7)
    np.testing.assert_allclose(field(sample, "sig11"), 0.0, atol=1e-5)


def test_time_steps_converge_with_first_order():
    q, _ = bar(420.0)
    steps = np.array([20, 40, 80, 160])
    case = plate_case(SQUARE, {"P": -420.0, **STEEL})
    found = [
        float(DoubleNotchedPlate(law=ElastoViscoplastic(steps=n)).solve(case).scalars["max_q"])
        for n in steps.tolist()
    ]
    slope = np.polyfit(np.log(1 / steps), np.log(np.abs(np.array(found) - q)), 1)[0]
    assert abs(slope - 1.0) < 0.15


def test_tangent_is_the_derivative_of_the_stress():
    rng = np.random.default_rng(0)
    trace_free = np.array([1.0, 0.0, -1.0, 0.0]), np.array([0.0, 1.0, -1.0, 0.0])
    tensors = [
        1e-4
        * (
            rng.normal(size=(20, 2)) @ np.array(trace_free)
            + rng.normal(size=(20, 1)) * [0, 0, 0, 1]
        )
        for _ in range(2)
    ]
    state = State(*tensors, np.zeros(20))
    flow = Flow(mu=3e4, R0=15.0, K=450.0, C=1500.0, D=1500.0, n=20.0)
    strain = rng.normal(0.0, 4e-3, (20, 3))
    new, _, tangent = flowed(flow, strain, state, 0.1)
    assert (new.p > 1e-5).sum() > 5
    step = 1e-8
    for k, way in enumerate(step * np.eye(3)):
        up, down = (flowed(flow, strain + s * way, state, 0.1)[1] for s in (1, -1))
        np.testing.assert_allclose(tangent[:, :, k], (up - down) / (2 * step), atol=1e-7 * flow.mu)


def test_flow_keeps_volume_and_only_grows():
    rng = np.random.default_rng(1)
    state = State(np.zeros((50, 4)), np.zeros((50, 4)), np.zeros(50))
    flow = Flow(mu=3e4, R0=15.0, K=450.0, C=1500.0, D=1500.0, n=20.0)
    for _ in range(3):
        new, s, _ = flowed(flow, rng.normal(0.0, 8e-3, (50, 3)), state, 0.05)
        np.testing.assert_allclose(new.strain[:, :3].sum(axis=1), 0.0, atol=1e-15)
        np.testing.assert_allclose(s[:, :3].sum(axis=1), 0.0, atol=1e-9)
        assert (new.p >= state.p).all()
        assert (np.sqrt(2 / 3 * (new.alpha**2 @ [1, 1, 1, 2])) <= 1 / flow.D + 1e-12).all()
        state = new


@pytest.mark.parametrize("degree", [1, 2])
def test_a_high_threshold_leaves_the_elastic_answer(degree):
    case = plate_case(plate_mesh(0.6, 0.12), {"P": -45.0, **STEEL, "R0": 1e6})
    elastic = DoubleNotchedPlate(degree).solve(case)
    sample = DoubleNotchedPlate(degree, ElastoViscoplastic(steps=3)).solve(case)
    assert set(sample.fields) == {*elastic.fields, "q"}
    assert set(sample.scalars) == {*elastic.scalars, "max_q"}
    assert not sample.fields["q"].values.any()
    for name in elastic.fields:
        want = field(elastic, name)
        np.testing.assert_allclose(field(sample, name), want, atol=1e-8 * np.abs(want).max())


def test_flow_lowers_the_largest_stress_and_starts_at_the_notch():
    case = plate_case(plate_mesh(0.8, 0.06), {"P": -50.0, **STEEL, "K": 300.0})
    elastic = DoubleNotchedPlate().solve(case)
    sample = DoubleNotchedPlate(law=ElastoViscoplastic()).solve(case)
    assert float(sample.scalars["max_von_mises"]) < float(elastic.scalars["max_von_mises"])
    q = field(sample, "q")
    x, y = case.mesh.points[q.argmax()]
    assert 1e-6 < q.max() < 1e-2
    assert abs(np.hypot(min(x, 2 - x), y - 1) - 0.8) < 0.02


def test_a_heavy_load_is_followed():
    case = plate_case(plate_mesh(0.7, 0.1), {"P": -150.0, **STEEL})
    sample = DoubleNotchedPlate(law=ElastoViscoplastic()).solve(case)
    assert float(sample.scalars["max_q"]) > 1e-2


def test_lack_of_convergence_says_when_and_what_to_do(monkeypatch):
    monkeypatch.setattr(viscoplastic, "ITERATIONS", 1)
    case = plate_case(plate_mesh(0.7, 0.1), {"P": -100.0, **STEEL}, name="heavy")
    with pytest.raises(SolverFailed, match=r"heavy.*step \d+ of 20.*take more steps"):
        DoubleNotchedPlate(law=ElastoViscoplastic()).solve(case)


@pytest.mark.parametrize("name", ["E", "K", "R0", "C", "D"])
def test_negative_constants_are_refused(name):
    case = plate_case(plate_mesh(0.5, 0.15), {"P": -45.0, **STEEL, name: -1.0})
    with pytest.raises(ValueError, match=name):
        DoubleNotchedPlate(law=ElastoViscoplastic()).solve(case)
