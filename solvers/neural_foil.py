"""Airfoils by NeuralFoil, networks that were fitted to XFOIL (Sharpe, arXiv 2503.16323): an oracle
that answers in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Sample, Scalar
from fieldcast.meshes.sample import scalars_of

from .airfoils import around, naca_called
from .families import SectionSolver
from .solver import Range, SolverFailed, parameter_values

_ANGLES = np.linspace(-12.0, 14.0, 27)
_NARROWED, _NEAR = 3, 0.02
"""How often the interval of an angle is narrowed, and to what share on either side."""
SIZES = ("xxsmall", "xsmall", "small", "medium", "large", "xlarge", "xxlarge", "xxxlarge")


@dataclass(frozen=True)
class NeuralFoil(SectionSolver):
    """`size` is that of its network. `confidence` is its own, from 0 to 1."""

    size: str = "xlarge"

    parameters: ClassVar = {"alpha": "deg", "reynolds": "", "n_crit": ""}
    outputs: ClassVar = {"cl": "", "cd": "", "cm": "", "confidence": ""}
    conditions: ClassVar = {
        "alpha": Range(-4.0, 10.0, "deg"),
        "reynolds": Range(5e5, 1e7, "", logarithmic=True),
        "n_crit": Range(9.0, 9.0),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size not in SIZES:
            raise ValueError(f"expected a size in {SIZES}, got {self.size!r}")

    def available(self) -> str | None:
        return None if find_spec("neuralfoil") else "pip install 'fieldcast[airfoils]'"

    def example(self) -> Case:
        asked = {"alpha": 4.0, "reynolds": 1e6, "n_crit": 9.0}
        return Case(naca_called("2412"), scalars_of(asked), name="naca2412")

    def solve(self, case: Case) -> Sample:
        values = parameter_values(self, case)
        if not (values["reynolds"] > 0 and values["n_crit"] > 0 and abs(values["alpha"]) <= 180):
            raise ValueError(
                f"case {case.label}: expected positive reynolds and n_crit and an angle, got "
                f"{values}"
            )
        found = self.at(case, values, np.array([values["alpha"]]))
        scalars = {k: float(v[0]) for k, v in found.items()}
        if not np.isfinite(list(scalars.values())).all():
            raise SolverFailed(f"case {case.label}: expected finite answers, got {scalars}", "read")
        return Sample(case, {}, scalars_of(scalars))

    def at(
        self, case: Case, values: Mapping[str, float], alpha: Float[np.ndarray, " angle"]
    ) -> dict[str, Float[np.ndarray, " angle"]]:
        """Scalars of a case at angles [deg]."""
        import neuralfoil

        curve = case.mesh.points[around(case.mesh)]
        chord = np.ptp(curve[:, 0])
        unit = (curve - curve[curve[:, 0].argmin()]) / chord
        found = neuralfoil.get_aero_from_coordinates(
            unit,
            alpha=alpha,
            Re=values["reynolds"],
            n_crit=values["n_crit"],
            model_size=self.size,
        )
        names = {"cl": "CL", "cd": "CD", "cm": "CM", "confidence": "analysis_confidence"}
        return {k: np.broadcast_to(found[name], alpha.shape) for k, name in names.items()}


@dataclass(frozen=True)
class NeuralFoilAtLift(NeuralFoil):
    """As `NeuralFoil`, at a given lift coefficient `cl`; the angle `alpha` [deg] is an answer, the
    least one that has this lift."""

    parameters: ClassVar = {"cl": "", "reynolds": "", "n_crit": ""}
    outputs: ClassVar = {"cd": "", "cm": "", "alpha": "deg", "confidence": ""}
    conditions: ClassVar = {
        "cl": Range(0.0, 1.0),
        **{k: r for k, r in NeuralFoil.conditions.items() if k != "alpha"},
    }

    def example(self) -> Case:
        asked = {"cl": 0.7, "reynolds": 1e6, "n_crit": 9.0}
        return Case(naca_called("2412"), scalars_of(asked), name="naca2412")

    def solve(self, case: Case) -> Sample:
        values = parameter_values(self, case)
        if not (values["reynolds"] > 0 and values["n_crit"] > 0):
            raise ValueError(
                f"case {case.label}: expected positive reynolds and n_crit, got {values}"
            )
        alpha = _ANGLES
        for _ in range(_NARROWED):
            lift = self.at(case, values, alpha)["cl"] - values["cl"]
            crossed = np.flatnonzero((lift[:-1] < 0) & (lift[1:] >= 0))
            if not len(crossed):
                raise SolverFailed(
                    f"case {case.label}: expected a lift of {values['cl']:g} at an angle from "
                    f"{_ANGLES[0]:g} to {_ANGLES[-1]:g} deg, there is none",
                    "convergence",
                )
            k = int(crossed[0])
            below, width = alpha[k], alpha[k + 1] - alpha[k]
            share = -lift[k] / max(lift[k + 1] - lift[k], 1e-300)
            # The line through both ends is right to second order: look closely around there.
            ends = below + width * np.clip([share - _NEAR, share + _NEAR], 0.0, 1.0)
            alpha = np.array([below, *ends, below + width])
        at = np.interp(0.0, lift, alpha) if (np.diff(lift) > 0).all() else below + share * width
        found = self.at(case, values, np.array([at]))
        scalars = {k: float(found[k][0]) for k in ("cd", "cm", "confidence")}
        if not np.isfinite(list(scalars.values())).all():
            raise SolverFailed(f"case {case.label}: expected finite answers, got {scalars}", "read")
        told = {**scalars_of(scalars), "alpha": Scalar(np.array([float(at)]), "deg")}
        return Sample(case, {}, told)
