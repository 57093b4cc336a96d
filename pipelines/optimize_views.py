"""An `Objective` as what others' optimisers want. Each view is thin: values and derivatives are the
objective's; its `gradient` says whether those are exact. Libraries are imported when their view is
asked for; a missing one is an ImportError that says what to install."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from .optimize import Objective, remembered


def _view(module: str, library: str, extra: str = "optimize") -> Any:
    try:
        import_module(library)
    except ImportError as error:
        raise ImportError(
            f"expected the package {library}: pip install 'fieldcast[{extra}]'"
        ) from error
    return import_module(f"fieldcast.pipelines.views.{module}")


def as_scipy(objective: Objective) -> dict[str, Any]:
    """What `scipy.optimize.minimize(x0=..., method="SLSQP", **found)` wants: `fun`, `jac`, `bounds`
    and `constraints`."""
    told = remembered(objective)
    found: list[dict[str, Any]] = []
    for kind, name in (("eq", "equal"), ("ineq", "above")):
        if getattr(told(0.5 * (objective.low + objective.high)), name).shape[1]:
            found.append(
                {
                    "type": kind,
                    "fun": lambda x, n=name: getattr(told(x), n)[0],
                    "jac": lambda x, n=name: getattr(told(x), f"{n}_slope")[0],
                }
            )
    return {
        "fun": lambda x: float(told(x).goal[0]),
        "jac": lambda x: told(x).goal_slope[0],
        "bounds": list(zip(objective.low.tolist(), objective.high.tolist(), strict=True)),
        "constraints": found,
    }


def as_openmdao(objective: Objective) -> Any:
    """An ExplicitComponent: inputs by name, outputs `goal`, `equal` and `above`, with partials."""
    return _view("openmdao_view", "openmdao").Component(objective)


def as_botorch(objective: Objective) -> Any:
    """A BoTorch Model on the unit cube, to be maximised: minus the goal with its standard
    deviation, then equalities, which are to be 0, and inequalities, which are to be at least 0,
    without any. Posteriors know nothing of how points go together."""
    return _view("botorch_view", "botorch").Surrogate(objective)


def as_pymoo(objective: Objective) -> Any:
    """A vectorised Problem; constraints in pymoo's signs."""
    return _view("pymoo_view", "pymoo").Vectorised(objective)


def as_gemseo(objective: Objective) -> Any:
    """A Discipline: inputs by name, outputs `goal`, `equal` and `above`, with its Jacobian. GEMSEO
    asks for older numpy and scipy: install it into an environment of its own."""
    return _view("gemseo_view", "gemseo", "gemseo").Design(objective)


def as_umbridge(objective: Objective) -> Any:
    """An UM-Bridge model: the numbers in, the goal and gaps of constraints out, with gradients."""
    return _view("umbridge_view", "umbridge").Served(objective)


def serve_umbridge(objective: Objective, port: int = 4242) -> None:
    """Serve it by HTTP on the loopback alone, until interrupted."""
    from unittest.mock import patch

    view, um = as_umbridge(objective), import_module("umbridge.um")
    # Its own server listens to the whole network.
    alone = partial(um.web.run_app, host="127.0.0.1")
    with patch.object(um.web, "run_app", alone):
        um.serve_models([view], port)


def as_sklearn(objective: Objective) -> Any:
    """An estimator, fitted: `predict(X)` gives goals of rows, `predict(X, return_std=True)` their
    standard deviations, too."""
    return _view("sklearn_view", "sklearn", "test").Goal(objective)


def as_optuna(objective: Objective) -> Callable[[Any], float]:
    """What `study.optimize` wants: a function of a trial, which is told the gaps of constraints. An
    equality counts as held within what is small of it."""
    import_module("optuna")
    space = objective.space

    def trial_value(trial: Any) -> float:
        ends = zip(space.names, space.low.tolist(), space.high.tolist(), strict=True)
        row = np.array([[trial.suggest_float(name, low, high) for name, low, high in ends]])
        told = objective.told(row, slopes=False)
        _, equal, above = objective.sizes
        gaps = [*(np.abs(told.equal[0]) / equal - 1.0), *(-told.above[0] / above)]
        for k, gap in enumerate(gaps):
            trial.set_constraint(f"constraint {k}", float(gap))
        return float(told.goal[0])

    return trial_value
