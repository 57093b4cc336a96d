"""For GEMSEO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gemseo.core.discipline import Discipline

from ..optimize import Objective, remembered


class Design(Discipline):
    """See `as_gemseo`."""

    def __init__(self, objective: Objective) -> None:
        """
        Args:
            objective: what is asked; GEMSEO warns of arguments that say nothing.
        """
        super().__init__()
        self.objective, self.told = objective, remembered(objective)
        start, names = 0.5 * (objective.low + objective.high), objective.space.names
        middle = self.told(start)
        self.outputs = ["goal", *(k for k in ("equal", "above") if getattr(middle, k).shape[1])]
        self.io.input_grammar.update_from_names(list(names))
        self.io.output_grammar.update_from_names(self.outputs)
        defaults = {k: np.array([v]) for k, v in zip(names, start, strict=True)}
        self.io.input_grammar.defaults.update(defaults)

    def _asked(self, data: Mapping[str, Any]) -> Any:
        return self.told(np.array([float(data[k][0]) for k in self.objective.space.names]))

    def _run(self, input_data: Mapping[str, Any]) -> dict[str, Any]:
        found = self._asked(input_data)
        return {k: np.atleast_1d(getattr(found, k)[0]) for k in self.outputs}

    def _compute_jacobian(self, input_names: Any = (), output_names: Any = ()) -> None:
        found, names = self._asked(self.io.data), self.objective.space.names
        self.jac = {}
        for k in self.outputs:
            slope = np.atleast_2d(getattr(found, f"{k}_slope")[0])
            self.jac[k] = {number: slope[:, [i]] for i, number in enumerate(names)}
