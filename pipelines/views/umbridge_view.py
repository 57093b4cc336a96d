"""For UM-Bridge."""

from __future__ import annotations

from typing import Any

import numpy as np
import umbridge

from ..optimize import Objective, remembered


class Served(umbridge.Model):
    """See `as_umbridge`."""

    def __init__(self, objective: Objective) -> None:
        super().__init__("fieldcast")
        self.objective, self.told = objective, remembered(objective)

    def get_input_sizes(self, config: Any) -> list[int]:
        """One vector."""
        return [len(self.objective.low)]

    def get_output_sizes(self, config: Any) -> list[int]:
        """One vector."""
        _, equal, above = self.objective.sizes
        return [1 + len(equal) + len(above)]

    def __call__(self, parameters: Any, config: Any) -> list[list[float]]:
        found = self.told(np.array(parameters[0]))
        return [[float(found.goal[0]), *found.equal[0].tolist(), *found.above[0].tolist()]]

    def _jacobian(self, parameters: Any) -> np.ndarray:
        found = self.told(np.array(parameters[0]))
        return np.vstack([found.goal_slope, found.equal_slope[0], found.above_slope[0]])

    def gradient(
        self, out_wrt: int, in_wrt: int, parameters: Any, sens: Any, config: Any
    ) -> list[float]:
        """Of the outputs weighted by `sens`."""
        found: list[float] = (np.asarray(sens) @ self._jacobian(parameters)).tolist()
        return found

    def apply_jacobian(
        self, out_wrt: int, in_wrt: int, parameters: Any, vec: Any, config: Any
    ) -> list[float]:
        """Along `vec`."""
        found: list[float] = (self._jacobian(parameters) @ np.asarray(vec)).tolist()
        return found

    def supports_evaluate(self) -> bool:
        """Yes."""
        return True

    def supports_gradient(self) -> bool:
        """Yes."""
        return True

    def supports_apply_jacobian(self) -> bool:
        """Yes."""
        return True
