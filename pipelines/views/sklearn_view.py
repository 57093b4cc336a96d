"""For scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin

from ..optimize import Objective


class Goal(RegressorMixin, BaseEstimator):
    """See `as_sklearn`."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def fit(self, X: Any, y: Any = None) -> Goal:
        """It is."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Goals of rows, and their standard deviations."""
        found = self.objective.told(np.asarray(X, dtype=float), slopes=False)
        return (found.goal, found.spread) if return_std else found.goal
