"""For OpenMDAO."""

from __future__ import annotations

from typing import Any

import numpy as np
import openmdao.api as om

from ..optimize import Objective, remembered


class Component(om.ExplicitComponent):
    """See `as_openmdao`."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective, self.told = objective, remembered(objective)
        self.start = 0.5 * (objective.low + objective.high)
        middle = self.told(self.start)
        sizes = {"goal": 1, "equal": middle.equal.shape[1], "above": middle.above.shape[1]}
        self.sizes = {k: n for k, n in sizes.items() if n}

    def setup(self) -> None:
        """Names and partials."""
        for name, value in zip(self.objective.space.names, self.start, strict=True):
            self.add_input(name, val=float(value))
        for name, count in self.sizes.items():
            self.add_output(name, shape=(count,))
        self.declare_partials("*", "*")

    def _asked(self, inputs: Any) -> Any:
        names = self.objective.space.names
        return self.told(np.array([float(inputs[k][0]) for k in names]))

    def compute(self, inputs: Any, outputs: Any) -> None:
        """Values."""
        found = self._asked(inputs)
        for name in self.sizes:
            outputs[name] = np.atleast_1d(getattr(found, name)[0])

    def compute_partials(self, inputs: Any, partials: Any) -> None:
        """Slopes."""
        found = self._asked(inputs)
        for name in self.sizes:
            slope = np.atleast_2d(getattr(found, f"{name}_slope")[0])
            for k, number in enumerate(self.objective.space.names):
                partials[name, number] = slope[:, [k]]
