"""Fitted models where users of PyBaMM and PyBOP expect a simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case
from fieldcast.meshes.battery import CONCENTRATIONS, VOLTAGE
from fieldcast.surrogates.posterior_checks import answered, with_slopes
from fieldcast.surrogates.separable import SeparableHead
from fieldcast.surrogates.surrogate import Predictor

from .discharges import placed

if TYPE_CHECKING:
    import pybop

THEIRS = {
    VOLTAGE: "Voltage [V]",
    CONCENTRATIONS[0]: "X-averaged negative particle concentration [mol.m-3]",
    CONCENTRATIONS[1]: "X-averaged positive particle concentration [mol.m-3]",
    "electrolyte_concentration": "Electrolyte concentration [mol.m-3]",
    "electrolyte_potential": "Electrolyte potential [V]",
}
"""What PyBaMM calls it."""


@dataclass(frozen=True, eq=False)
class Variable:
    """Values at times `t` [s], (time,), or at points and times, (point, time), as PyBaMM has them;
    called with a time it interpolates."""

    t: Float[np.ndarray, " time"]
    data: Float[np.ndarray, "*point time"]

    @property
    def entries(self) -> Float[np.ndarray, "*point time"]:
        """The same as `data`."""
        return self.data

    def __call__(self, t: float | Float[np.ndarray, " asked"]) -> np.ndarray:
        rows = np.atleast_2d(self.data)
        found = np.stack([np.interp(t, self.t, row) for row in rows])
        return found if self.data.ndim > 1 else np.asarray(found[0])


@dataclass(frozen=True, eq=False)
class Solution:
    """What a simulation gives: times `t` [s], and variables by PyBaMM's names."""

    t: Float[np.ndarray, " time"]
    variables: Mapping[str, Variable]

    def __getitem__(self, name: str) -> Variable:
        if name not in self.variables:
            raise KeyError(f"expected one of {sorted(self.variables)}, got {name!r}")
        return self.variables[name]


@dataclass(frozen=True, eq=False)
class Simulation:
    """A `predictor` of discharges like `case` that is asked as `pybamm.Simulation` is."""

    predictor: Predictor
    case: Case

    def solve(
        self,
        t_eval: Sequence[float] | None = None,
        *,
        inputs: Mapping[str, float] | Sequence[Mapping[str, float]],
        t_interp: Sequence[float] | None = None,
    ) -> Solution | list[Solution]:
        """At the times `t_interp`, else at the case's within the ends of `t_eval`; a list of inputs
        gives a list."""
        rows = [inputs] if isinstance(inputs, Mapping) else list(inputs)
        times = np.asarray(self.case.times)
        asked = times if t_interp is None else np.asarray(t_interp, dtype=float)
        if t_interp is None and t_eval is not None:
            asked = times[(times >= t_eval[0]) & (times <= t_eval[-1])]
        answers = self.predictor.predict([placed(self.case, row) for row in rows])
        found = [_told(p, times, asked) for p in answers]
        return found[0] if isinstance(inputs, Mapping) else found


def _told(prediction: Any, times: np.ndarray, asked: np.ndarray) -> Solution:
    series = {k: e.mean for k, e in prediction.scalars.items()}
    series |= {k: f.values[:, :, 0].T for k, f in prediction.mean.items()}
    whole = {THEIRS[k]: Variable(times, v) for k, v in series.items() if k in THEIRS}
    return Solution(asked, {k: Variable(asked, v(asked)) for k, v in whole.items()})


def pybop_simulator(
    head: SeparableHead, times: Float[np.ndarray, " time"], parameters: Mapping[str, Any]
) -> pybop.BaseSimulator:
    """A head as a simulator of PyBOP (from 26.3 on), with sensitivities: `parameters` are
    `pybop.Parameter`s by the names of the head.

    Raises:
        ValueError: other names than the head's.
        ModuleNotFoundError: PyBOP is missing.
    """
    import pybop

    if set(parameters) != set(head.names):
        raise ValueError(f"expected the parameters {list(head.names)}, got {sorted(parameters)}")

    class Head(pybop.BaseSimulator):
        """Voltages by the head."""

        def set_output_variables(self, target: list[str]) -> None:
            pass

        @property
        def has_sensitivities(self) -> bool:
            return True

        def solve_batch(
            self, inputs: list[dict[str, float]], calculate_sensitivities: bool = False
        ) -> list[pybop.Solution]:
            if not inputs:
                return []
            p = np.array([[float(row[name]) for name in head.names] for row in inputs])
            v, slopes = (
                with_slopes(head, p) if calculate_sensitivities else (answered(head, p), None)
            )
            found = []
            for k, row in enumerate(inputs):
                solution = pybop.Solution(row)
                solution.set_solution_variable("Time [s]", times)
                by = None if slopes is None else dict(zip(head.names, slopes[k].T, strict=True))
                solution.set_solution_variable(THEIRS[VOLTAGE], v[k], sensitivities=by)
                found.append(solution)
            return found

    return Head(parameters=dict(parameters))
