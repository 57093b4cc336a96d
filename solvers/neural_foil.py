"""Airfoils by NeuralFoil, networks that were fitted to XFOIL (Sharpe, arXiv 2503.16323): an oracle
that answers in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar

import numpy as np

from fieldcast.meshes import Case, Sample
from fieldcast.meshes.sample import scalars_of

from .airfoils import around, naca_called
from .families import SectionSolver
from .solver import Range, SolverFailed, parameter_values

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
        curve = case.mesh.points[around(case.mesh)]
        chord = np.ptp(curve[:, 0])
        unit = (curve - curve[curve[:, 0].argmin()]) / chord
        import neuralfoil

        found = neuralfoil.get_aero_from_coordinates(
            unit,
            alpha=values["alpha"],
            Re=values["reynolds"],
            n_crit=values["n_crit"],
            model_size=self.size,
        )
        names = {"cl": "CL", "cd": "CD", "cm": "CM", "confidence": "analysis_confidence"}
        scalars = {k: float(np.squeeze(found[name])) for k, name in names.items()}
        if not np.isfinite(list(scalars.values())).all():
            raise SolverFailed(f"case {case.label}: expected finite answers, got {scalars}", "read")
        return Sample(case, {}, scalars_of(scalars))
