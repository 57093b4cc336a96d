"""Turbulent flow past airfoils by OpenFOAM's simpleFoam: steady, incompressible, with the model of
Spalart and Allmaras (doi:10.2514/6.1992-439)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Field, Mesh, Sample
from fieldcast.meshes.sample import scalars_of

from .airfoil_grid import REGIONS, GridSize, c_grid
from .airfoils import naca_called
from .command import Command, Step
from .families import SectionSolver
from .foam import INSTALL, environment, extruded, read_cells, times, write_dictionary, write_mesh
from .solver import Range, SolverFailed, parameter_values

PROGRAM = "simpleFoam"
THICKNESS = 0.1
_TAIL = 0.1
"""Forces are judged over the last share of the iterations."""
_SIGMA, _CV1 = 3.0, 7.1
"""Of the stream: nuTilda / nu, so that flow is turbulent everywhere; a constant of the model."""


@dataclass(frozen=True)
class RansAirfoil(SectionSolver, Command):
    """Density, speed and chord are 1, `reynolds` is of the chord, `alpha` to the x axis. The mesh
    is one of quadrilaterals with regions `wall` and `far`, as `airfoil_grid.c_grid` makes them.

    Fields on cells: `velocity`, the pressure coefficient `cp` and `nut`, the eddy viscosity over
    that of the fluid. Scalars: `cl`, `cd`, and `cm` about the quarter chord. A run has converged
    when residuals fall below `residual`, or when cl and cd change by less than `steady` (of 1 and
    of .01) over the last tenth of its `iterations`.
    """

    iterations: int = 3000
    residual: float = 1e-6
    steady: float = 5e-3
    size: GridSize = field(default_factory=GridSize)

    programs: ClassVar = (PROGRAM,)
    install: ClassVar = INSTALL
    parameters: ClassVar = {"alpha": "deg", "reynolds": ""}
    outputs: ClassVar = {"velocity": "", "cp": "", "nut": "", "cl": "", "cd": "", "cm": ""}
    conditions: ClassVar = {
        "alpha": Range(-4.0, 10.0, "deg"),
        "reynolds": Range(1e6, 6e6, "", logarithmic=True),
    }

    def example(self) -> Case:
        mesh = c_grid(naca_called("2412"), GridSize(24, 12, 32, 4e-4))
        return Case(mesh, scalars_of({"alpha": 2.0, "reynolds": 1e5}), name="coarse")

    def mesh_around(self, airfoil: Mesh) -> Mesh:
        return c_grid(airfoil, self.size)

    def cost(self, case: Case) -> float | None:
        return 4e-6 * case.mesh.n_cells * self.iterations

    def write(self, case: Case, folder: Path) -> None:
        values = parameter_values(self, case)
        if not values["reynolds"] > 0 or not abs(values["alpha"]) < 90:
            raise ValueError(
                f"case {case.label}: expected a positive reynolds and an alpha below 90 deg, got "
                f"{values}"
            )
        write_mesh(extruded(case.mesh, REGIONS, THICKNESS), folder, {"wall": "wall"})
        alpha, viscosity = np.radians(values["alpha"]), 1.0 / values["reynolds"]
        write_dictionary(folder / "system" / "controlDict", _control(alpha, self.iterations))
        write_dictionary(folder / "system" / "fvSchemes", _SCHEMES)
        write_dictionary(folder / "system" / "fvSolution", _solution(self.residual))
        fluid = {"transportModel": "Newtonian", "nu": f"{viscosity:.12g}"}
        write_dictionary(folder / "constant" / "transportProperties", fluid)
        model = {"RASModel": "SpalartAllmaras", "turbulence": "on", "printCoeffs": "off"}
        turbulence = {"simulationType": "RAS", "RAS": model}
        write_dictionary(folder / "constant" / "turbulenceProperties", turbulence)
        for name, entries in _starts(alpha, viscosity).items():
            kind = "volVectorField" if name == "U" else "volScalarField"
            write_dictionary(folder / "0" / name, entries, kind)

    def steps(self, case: Case, folder: Path) -> Sequence[Step]:
        return (Step((PROGRAM, "-case", str(folder)), "", environment()),)

    def read(self, case: Case, folder: Path) -> Sample:
        history = np.loadtxt(
            folder / "postProcessing" / "forces" / "0" / "coefficient.dat", ndmin=2
        )
        forces = {"cd": history[:, 1], "cl": history[:, 3], "cm": history[:, 5]}
        self._judge(folder, forces)
        state, cells = times(folder)[-1], case.mesh.n_cells
        velocity, p, nut = (read_cells(state / name, cells) for name in ("U", "p", "nut"))
        reynolds = parameter_values(self, case)["reynolds"]
        fields = {"velocity": velocity[:, :2], "cp": 2.0 * p, "nut": nut * reynolds}
        tail = max(int(_TAIL * len(history)), 1)
        means = {k: float(v[-tail:].mean()) for k, v in forces.items()}
        return Sample(
            case, {k: Field.steady(v, "", "cell") for k, v in fields.items()}, scalars_of(means)
        )

    def _judge(self, folder: Path, forces: Mapping[str, Float[np.ndarray, " iteration"]]) -> None:
        """Raises:
        SolverFailed: forces that still change.
        """
        log = (folder / f"log.{PROGRAM}").read_text(errors="replace")
        if "SIMPLE solution converged" in log:
            return
        tail = max(int(_TAIL * len(forces["cl"])), 2)
        off = {"cl": np.ptp(forces["cl"][-tail:]), "cd": np.ptp(forces["cd"][-tail:]) / 0.01}
        if not max(off.values()) < self.steady:
            raise SolverFailed(
                f"expected a steady flow, over the last {tail} iterations cl still changes by "
                f"{off['cl']:.2g} and cd by {0.01 * off['cd']:.2g}",
                "convergence",
                log[-2000:],
            )


def _control(alpha: float, iterations: int) -> dict[str, Any]:
    c, s = float(np.cos(alpha)), float(np.sin(alpha))
    forces = {
        "type": "forceCoeffs",
        "libs": "(forces)",
        "writeControl": "timeStep",
        "writeInterval": 1,
        "patches": "(wall)",
        "rho": "rhoInf",
        "rhoInf": 1,
        "liftDir": f"({-s:.12g} {c:.12g} 0)",
        "dragDir": f"({c:.12g} {s:.12g} 0)",
        "CofR": "(0.25 0 0)",
        # A positive moment lifts the nose.
        "pitchAxis": "(0 0 -1)",
        "magUInf": 1,
        "lRef": 1,
        "Aref": THICKNESS,
    }
    return {
        "application": PROGRAM,
        "startFrom": "startTime",
        "startTime": 0,
        "stopAt": "endTime",
        "endTime": iterations,
        "deltaT": 1,
        "writeControl": "timeStep",
        "writeInterval": iterations,
        "purgeWrite": 1,
        "writeFormat": "ascii",
        "writePrecision": 9,
        "timePrecision": 9,
        "functions": {"forces": forces},
    }


_LIMITED = "cellLimited Gauss linear 1"
_SCHEMES: Mapping[str, Any] = {
    "ddtSchemes": {"default": "steadyState"},
    "gradSchemes": {"default": "Gauss linear", "grad(U)": _LIMITED, "grad(nuTilda)": _LIMITED},
    "divSchemes": {
        "default": "none",
        "div(phi,U)": "bounded Gauss linearUpwind grad(U)",
        "div(phi,nuTilda)": "bounded Gauss linearUpwind grad(nuTilda)",
        "div((nuEff*dev2(T(grad(U)))))": "Gauss linear",
    },
    "laplacianSchemes": {"default": "Gauss linear corrected"},
    "interpolationSchemes": {"default": "linear"},
    "snGradSchemes": {"default": "corrected"},
    "wallDist": {"method": "meshWave"},
}


def _solution(residual: float) -> dict[str, Any]:
    pressure = {
        "solver": "GAMG",
        "smoother": "GaussSeidel",
        "tolerance": 1e-10,
        "relTol": 0.05,
    }
    rest = {
        "solver": "PBiCGStab",
        "preconditioner": "DILU",
        "tolerance": 1e-11,
        "relTol": 0.05,
    }
    return {
        "solvers": {"p": pressure, '"(U|nuTilda)"': rest},
        "SIMPLE": {
            "nNonOrthogonalCorrectors": 0,
            "consistent": "yes",
            "residualControl": {"p": residual, "U": residual, "nuTilda": residual},
        },
        "relaxationFactors": {"equations": {"U": 0.7, "nuTilda": 0.5}, "fields": {"p": 0.9}},
    }


def _starts(alpha: float, viscosity: float) -> dict[str, dict[str, Any]]:
    """The stream everywhere, and what holds at the boundaries."""
    stream = f"uniform ({np.cos(alpha):.12g} {np.sin(alpha):.12g} 0)"
    tilde = _SIGMA * viscosity
    eddy = tilde * _SIGMA**3 / (_SIGMA**3 + _CV1**3)
    sides = {"frontAndBack": {"type": "empty"}}

    def start(
        dimensions: str, value: str, far: dict[str, Any], wall: dict[str, Any]
    ) -> dict[str, Any]:
        faces = {"far": far, "wall": wall, **sides}
        return {"dimensions": dimensions, "internalField": value, "boundaryField": faces}

    free = {"type": "freestream", "freestreamValue": f"uniform {tilde:.12g}"}
    return {
        "U": start(
            "[0 1 -1 0 0 0 0]",
            stream,
            {"type": "freestreamVelocity", "freestreamValue": stream},
            {"type": "noSlip"},
        ),
        "p": start(
            "[0 2 -2 0 0 0 0]",
            "uniform 0",
            {"type": "freestreamPressure", "freestreamValue": "uniform 0"},
            {"type": "zeroGradient"},
        ),
        "nuTilda": start(
            "[0 2 -1 0 0 0 0]",
            f"uniform {tilde:.12g}",
            free,
            {"type": "fixedValue", "value": "uniform 0"},
        ),
        "nut": start(
            "[0 2 -1 0 0 0 0]",
            f"uniform {eddy:.12g}",
            {"type": "freestream", "freestreamValue": f"uniform {eddy:.12g}"},
            {"type": "fixedValue", "value": "uniform 0"},
        ),
    }
