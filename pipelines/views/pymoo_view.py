"""For pymoo."""

from __future__ import annotations

from typing import Any

from pymoo.core.problem import Problem

from ..optimize import Objective


class Vectorised(Problem):
    """See `as_pymoo`."""

    def __init__(self, objective: Objective) -> None:
        _, equal, above = objective.sizes
        super().__init__(
            n_var=len(objective.low),
            n_obj=1,
            n_ieq_constr=len(above),
            n_eq_constr=len(equal),
            xl=objective.low,
            xu=objective.high,
        )
        self.objective = objective

    def _evaluate(self, x: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        told = self.objective.told(x, slopes=False)
        out["F"] = told.goal[:, None]
        if self.n_ieq_constr:
            out["G"] = -told.above
        if self.n_eq_constr:
            out["H"] = told.equal
