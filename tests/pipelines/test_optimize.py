"""Objectives on a small problem whose answer is known, through the real optimisers of others."""

from __future__ import annotations

import threading
from functools import cache

import numpy as np
import pytest
import torch

from fieldcast.conformance.families import square
from fieldcast.meshes import Case, Field, Sample, Scalar
from fieldcast.pipelines import optimize_views as views
from fieldcast.pipelines.optimize import Objective, Point, Space
from fieldcast.solvers.solver import Range
from fieldcast.surrogates import MMGP, Chebyshev
from fieldcast.surrogates.descent import MultiStart

MESH = square(4, 0, 0.0)
RANGES = {"a": Range(-1.0, 1.0, "m"), "b": Range(-1.0, 1.0, "m")}
BEST = (0.25, 0.25)
"""Of (a - 1/2)^2 + (b - 1/2)^2 where a + b = 1/2."""


def sample(a: float, b: float, scale: float = 1.0) -> Sample:
    case = Case(MESH, {"a": Scalar(np.array([a]), "m"), "b": Scalar(np.array([b]), "m")})
    u = (a + b * MESH.points[:, 0])[None, :, None]
    drag = 1.0 + scale * ((a - 0.5) ** 2 + (b - 0.5) ** 2)
    scalars = {"drag": Scalar(np.array([drag]), "N"), "lift": Scalar(np.array([a + b]), "N")}
    return Sample(case, {"u": Field(u, "m/s")}, scalars)


@cache
def predictor():
    rng = np.random.default_rng(0)
    runs = [sample(*row) for row in rng.uniform(-1, 1, (30, 2)).tolist()]
    return MMGP().fit(runs)


def objective(**more):
    return Objective(
        predictor(), Space.of_mesh(MESH, RANGES), "drag", ("lift = 0.5", "a <= 0.9"), **more
    )


def near(x, atol=0.01):
    np.testing.assert_allclose(np.ravel(x), BEST, atol=atol)


def slopes_are_differences(o, x, rtol=1e-5):
    told, h = o.told(x), 1e-4
    for k in range(x.shape[1]):
        step = np.zeros_like(x)
        step[:, k] = h
        up, down = o.told(x + step, slopes=False), o.told(x - step, slopes=False)
        for name in ("goal", "equal", "above"):
            way = (getattr(up, name) - getattr(down, name)) / (2 * h)
            slope = getattr(told, f"{name}_slope")[..., k]
            np.testing.assert_allclose(slope, way, rtol=rtol, atol=1e-4)


def test_values_and_slopes_of_many_rows():
    x = np.random.default_rng(1).uniform(-0.8, 0.8, (7, 2))
    told = objective().told(x)
    truth = [sample(*row) for row in x.tolist()]
    np.testing.assert_allclose(told.goal, [s.scalars["drag"].value[0] for s in truth], atol=2e-2)
    assert told.equal.shape == (7, 1)
    assert told.above.shape == (7, 1)
    assert (told.spread > 0).all()
    slopes_are_differences(objective(), x)
    slopes_are_differences(objective(caution=2.0), x, rtol=1e-4)
    assert objective().gradient == "exact"


def test_formulas_of_functionals_go_through_fields():
    """The mean square of a field, by the derivative of a sum of outputs."""
    o = Objective(
        predictor(),
        Space.of_mesh(MESH, RANGES),
        "energy + 0.1 * abs(a)",
        functionals={"energy": lambda fields: fields["u"].square().mean()},
    )
    slopes_are_differences(o, np.random.default_rng(2).uniform(0.1, 0.8, (2, 2)), rtol=1e-4)


def test_what_has_no_derivatives_says_so_and_has_differences():
    runs = [sample(*row) for row in np.random.default_rng(0).uniform(-1, 1, (30, 2)).tolist()]
    plain = Chebyshev(2).fit([Sample(s.case, {}, s.scalars) for s in runs])
    o = Objective(plain, Space.of_mesh(MESH, RANGES), "drag", ("lift = 0.5",))
    assert "differences" in o.gradient
    told = o.told(np.array([[0.1, 0.2]]))
    np.testing.assert_allclose(told.goal_slope, [[-0.8, -0.6]], atol=1e-4)


def test_many_starts_end_at_the_best():
    o = objective(small={"drag": 1e-3, "lift = 0.5": 5e-3, "a <= 0.9": 1e-3})
    bare = MultiStart(polished=0).minimised(o, o.space.random(12))
    assert bare.feasible.sum() >= 9
    near(bare.x[0], atol=0.05)
    found = MultiStart(rounds=2, steps=15).minimised(o, o.space.random(6))
    assert found.feasible[0]
    near(found.x[0], atol=0.01)


def test_points_are_averaged_or_the_worst_counts():
    """At b = 0 and at b = a: (a - 1/2)^2 twice or once and 1/4."""
    space = Space.of_mesh(MESH, RANGES)
    points = (Point({"b": 0.0}), Point({"b": "a"}))
    x = np.array([[0.2, 0.9]])
    each = [sample(0.2, b).scalars["drag"].value[0] for b in (0.0, 0.2)]
    for quantile, wanted in ((None, np.mean(each)), (1.0, max(each)), (0.0, min(each))):
        o = Objective(predictor(), space, "drag", points=points, quantile=quantile)
        told = o.told(x)
        assert told.goal[0] == pytest.approx(wanted, abs=2e-2)
        assert told.goal_slope[0, 1] == 0.0
        slopes_are_differences(o, x, rtol=1e-4)


def test_mistakes_are_told():
    space = Space.of_mesh(MESH, RANGES)
    for goal, constraints, what in (
        ("mass", (), "mass"),
        ("drag(", (), "formula"),
        ("drag.real", (), "names, numbers"),
        ("__import__('os')", (), "names, numbers"),
        ("drag", ("lift",), "relation"),
    ):
        with pytest.raises(ValueError, match=what):
            Objective(predictor(), space, goal, constraints)
    with pytest.raises(ValueError, match="points with numbers"):
        Objective(predictor(), space, "drag", points=(Point({"c": 1.0}),))


def test_scipy():
    from scipy.optimize import minimize

    found = minimize(x0=np.array([-0.5, 0.4]), method="SLSQP", **views.as_scipy(objective()))
    assert found.success
    near(found.x)


@pytest.mark.filterwarnings("ignore:(?s).*zero derivatives")
def test_openmdao():
    om = pytest.importorskip("openmdao.api")
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("design", views.as_openmdao(objective()), promotes=["*"])
    problem.driver = om.ScipyOptimizeDriver(optimizer="SLSQP", disp=False)
    for name in ("a", "b"):
        problem.model.add_design_var(name, lower=-1.0, upper=1.0)
    problem.model.add_objective("goal")
    problem.model.add_constraint("equal", equals=0.0)
    problem.model.add_constraint("above", lower=0.0)
    problem.setup()
    problem.run_driver()
    near([problem.get_val("a"), problem.get_val("b")])
    told = problem.check_partials(out_stream=None, step=1e-5)
    for parts in told["design"].values():
        assert parts["abs error"].forward < 1e-3 * max(1.0, np.abs(parts["J_fwd"]).max())


def test_botorch():
    pytest.importorskip("botorch")
    from botorch.acquisition import qSimpleRegret
    from botorch.acquisition.objective import GenericMCObjective
    from botorch.optim import optimize_acqf

    view = views.as_botorch(objective())
    # The equality as a smooth penalty, which moves the best by 1 / 400.
    penalised = GenericMCObjective(lambda Y, X=None: Y[..., 0] - 50.0 * Y[..., 1].square())
    asked = qSimpleRegret(view, objective=penalised)
    bounds = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    x, _ = optimize_acqf(asked, bounds, q=1, num_restarts=4, raw_samples=32, options={"seed": 0})
    near(2.0 * x.numpy() - 1.0, atol=0.05)
    assert view.posterior(torch.rand(3, 2, 2)).mean.shape == (3, 2, 3)


def test_pymoo():
    pytest.importorskip("pymoo")
    from pymoo.algorithms.soo.nonconvex.ga import GA
    from pymoo.constraints.as_penalty import ConstraintsAsPenalty
    from pymoo.optimize import minimize

    problem = ConstraintsAsPenalty(views.as_pymoo(objective()), penalty=10.0)
    found = minimize(problem, GA(pop_size=40), ("n_gen", 25), seed=1, verbose=False)
    near(found.X, atol=0.2)


def test_optuna():
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    view = views.as_optuna(objective(small={"lift = 0.5": 0.1}))
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(view, n_trials=60)
    assert abs(sum(study.best_params.values()) - 0.5) <= 0.1
    assert study.best_value < 1.3


def test_umbridge():
    umbridge = pytest.importorskip("umbridge")
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    o = objective()
    server = threading.Thread(
        target=lambda: _served(o, port),
        daemon=True,
    )
    server.start()
    model = _answering(umbridge, port)
    told = o.told(np.array([[0.1, 0.2]]))
    assert model([[0.1, 0.2]])[0][0] == pytest.approx(told.goal[0])
    slope = model.gradient(0, 0, [[0.1, 0.2]], [1.0, 0.0, 0.0], {})
    np.testing.assert_allclose(slope, told.goal_slope[0])


def _served(o, port):
    from unittest.mock import patch

    import umbridge.um as um

    run = um.web.run_app
    # Signals belong to the main thread.
    with patch.object(um.web, "run_app", lambda app, **k: run(app, handle_signals=False, **k)):
        views.serve_umbridge(o, port)


def _answering(umbridge, port):
    import time

    for _ in range(100):
        try:
            return umbridge.HTTPModel(f"http://127.0.0.1:{port}", "fieldcast")
        except Exception:
            time.sleep(0.1)
    raise AssertionError("no answer")


def test_sklearn():
    from sklearn.utils.validation import check_is_fitted

    view = views.as_sklearn(objective())
    check_is_fitted(view)
    x = np.array([[0.1, 0.2], [0.5, 0.5]])
    mean, std = view.predict(x, return_std=True)
    assert mean.shape == std.shape == (2,)
    np.testing.assert_array_equal(view.predict(x), mean)


# The hook that checks types wraps methods in ones whose arguments have no docstrings.
@pytest.mark.filterwarnings("ignore:in Design\\..*section Args")
def test_gemseo():
    pytest.importorskip("gemseo")
    view = views.as_gemseo(objective())
    assert view.check_jacobian(step=1e-6, threshold=1e-3)
    out = view.execute({"a": np.array([0.1]), "b": np.array([0.2])})
    assert out["goal"][0] == pytest.approx(objective().told(np.array([[0.1, 0.2]])).goal[0])


def test_a_missing_library_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pymoo", None)
    with pytest.raises(ImportError, match=r"fieldcast\[optimize\]"):
        views.as_pymoo(objective())
