"""Steady supersonic flow past bodies, by OpenFOAM's rhoCentralFoam."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Field, Mesh, Sample, Scalar
from fieldcast.meshes.sample import scalars_of

from .foam import extruded, missing, read_cells, run, times, write_dictionary, write_mesh
from .solver import Solver, SolverFailed, parameter_values

PROGRAM = "rhoCentralFoam"
PATCHES = ("inflow", "wall", "outflow", "symmetry")
FIRST, MORE, LAST = 6.0, 2.0, 30.0
"""Times at which the flow is looked at [length / speed of sound]."""
STATES = 5
"""States in the last `MORE` units of time that are averaged."""
WEIGHT = 11640.3
"""g/mol: the gas constant is 1 / 1.4."""


@dataclass(frozen=True)
class InviscidFlow(Solver):
    """The Euler equations of a perfect gas, gamma = 1.4, until the pressure, averaged over two
    units of time, changes by less than `steady` (Kurganov's central fluxes, van Leer's limiter;
    Greenshields et al. 2010, doi:10.1002/fld.2069). The answer is that average: shocks may go to
    and fro between two cells for ever.

    Lengths as in the mesh; the oncoming gas has pressure 1, temperature 1, density 1.4 and speed of
    sound 1, and flows along x. Plane meshes whose boundary is made of the regions inflow, wall,
    outflow and symmetry. `seconds` is the most that a case may take.
    """

    steady: float = 0.01
    seconds: float = 600.0

    parameters: ClassVar = {"mach": ""}
    outputs: ClassVar = {"rho": "", "u": "", "v": "", "p": ""}

    def available(self) -> str | None:
        return missing(PROGRAM)

    def example(self) -> Case:
        return semi_ellipse(0.8, 0.8, 3.0, 0.3)

    def solve(self, case: Case) -> Sample:
        mach = parameter_values(self, case)["mach"]
        if not 1.0 < mach < 50.0:
            raise ValueError(f"case {case.label}: expected a Mach number above 1, got {mach}")
        mesh = extruded(case.mesh, PATCHES, thickness=0.1)
        with tempfile.TemporaryDirectory(prefix="fieldcast_foam_") as name:
            folder = Path(name)
            write_mesh(mesh, folder, {"wall": "wall"})
            _write_case(folder, mach)
            try:
                found = self._until_steady(folder, case.mesh.n_cells)
            except SolverFailed as error:
                raise SolverFailed(f"case {case.label}: {error}") from error
        fields = {k: Field.steady(v, "", "cell") for k, v in found.items()}
        return Sample(case, fields, {})

    def _until_steady(self, folder: Path, cells: int) -> dict[str, np.ndarray]:
        end, before, change = FIRST, None, np.inf
        deadline = time.monotonic() + self.seconds
        while end <= LAST:
            _write_control(folder, end)
            run(PROGRAM, folder, max(deadline - time.monotonic(), 0.0))
            found = _fields(folder, cells)
            if before is not None:
                change = float(np.linalg.norm(found["p"] - before) / np.linalg.norm(found["p"]))
            if change < self.steady:
                return found
            before, end = found["p"], end + MORE
        raise SolverFailed(
            f"expected a steady flow, the pressure still changes by {change:.1%} at time {LAST:g}"
        )


def _fields(folder: Path, cells: int) -> dict[str, Float[np.ndarray, " cell"]]:
    """Means of the last states."""
    parts = []
    for state in times(folder)[-STATES:]:
        p, t, u = (read_cells(state / name, cells) for name in ("p", "T", "U"))
        parts.append(np.stack([1.4 * p[:, 0] / t[:, 0], u[:, 0], u[:, 1], p[:, 0]]))
    return dict(zip(("rho", "u", "v", "p"), np.mean(parts, axis=0), strict=True))


def _write_control(folder: Path, end: float) -> None:
    control = {
        "application": PROGRAM,
        "startFrom": "latestTime",
        "startTime": 0,
        "stopAt": "endTime",
        "endTime": end,
        "deltaT": 1e-4,
        "writeControl": "adjustable",
        "writeInterval": MORE / (STATES - 1),
        "purgeWrite": STATES,
        "writeFormat": "ascii",
        "writePrecision": 9,
        "timePrecision": 9,
        "adjustTimeStep": "yes",
        "maxCo": 0.4,
        "maxDeltaT": 1,
    }
    write_dictionary(folder / "system" / "controlDict", control)


def _write_case(folder: Path, mach: float) -> None:
    gas = {
        "type": "hePsiThermo",
        "mixture": "pureMixture",
        "transport": "const",
        "thermo": "hConst",
        "equationOfState": "perfectGas",
        "specie": "specie",
        "energy": "sensibleInternalEnergy",
    }
    numbers = {
        "specie": {"molWeight": WEIGHT},
        "thermodynamics": {"Cp": 2.5, "Hf": 0},
        "transport": {"mu": 0, "Pr": 1},
    }
    limited = "vanLeer"
    schemes = {
        "fluxScheme": "Kurganov",
        "ddtSchemes": {"default": "Euler"},
        "gradSchemes": {"default": "Gauss linear"},
        "divSchemes": {"default": "none", "div(tauMC)": "Gauss linear"},
        "laplacianSchemes": {"default": "Gauss linear corrected"},
        "interpolationSchemes": {
            "default": "linear",
            "reconstruct(rho)": limited,
            "reconstruct(U)": "vanLeerV",
            "reconstruct(T)": limited,
        },
        "snGradSchemes": {"default": "corrected"},
    }
    smooth = {
        "solver": "smoothSolver",
        "smoother": "GaussSeidel",
        "tolerance": 1e-9,
        "relTol": 0.01,
    }
    solvers = {'"(rho|rhoU|rhoE)"': {"solver": "diagonal"}, "U": smooth, "e": smooth}
    write_dictionary(
        folder / "constant" / "thermophysicalProperties", {"thermoType": gas, "mixture": numbers}
    )
    write_dictionary(folder / "constant" / "turbulenceProperties", {"simulationType": "laminar"})
    write_dictionary(folder / "system" / "fvSchemes", schemes)
    write_dictionary(folder / "system" / "fvSolution", {"solvers": solvers})
    for name, unit, start, kind in (
        ("p", "[1 -1 -2 0 0 0 0]", "1", "volScalarField"),
        ("T", "[0 0 0 1 0 0 0]", "1", "volScalarField"),
        ("U", "[0 1 -1 0 0 0 0]", f"({mach:.12g} 0 0)", "volVectorField"),
    ):
        value = {"dimensions": unit, "internalField": f"uniform {start}"}
        faces = _faces(f"uniform {start}", vector=name == "U")
        write_dictionary(folder / "0" / name, {**value, "boundaryField": faces}, kind)


def _faces(start: str, vector: bool) -> Mapping[str, Any]:
    mirror = {"type": "slip" if vector else "zeroGradient"}
    return {
        "inflow": {"type": "fixedValue", "value": start},
        "wall": mirror,
        "symmetry": mirror,
        "outflow": {"type": "zeroGradient"},
        "frontAndBack": {"type": "empty"},
    }


def semi_ellipse(a: float, b: float, mach: float, spacing: float = 0.05) -> Case:
    """The upper left quarter around the front of an ellipse with semi-axes a along and b across
    the flow, out to that with a + 1.2 and b + 2.6, in quadrilaterals of about `spacing`."""
    if min(a, b, spacing) <= 0:
        raise ValueError(f"expected positive semi-axes and spacing, got {a}, {b}, {spacing}")
    outer = a + 1.2, b + 2.6
    along = max(round(np.pi / 4 * sum(outer) / spacing), 4)
    across = max(round(1.6 / spacing), 4)
    angle = np.linspace(np.pi, np.pi / 2, along + 1)[:, None]
    share = np.linspace(0.0, 1.0, across + 1)[None, :]
    x = (a + share * (outer[0] - a)) * np.cos(angle)
    y = (b + share * (outer[1] - b)) * np.sin(angle)
    points = np.stack([x, y], axis=2).reshape(-1, 2)
    points[np.abs(points) < 1e-12] = 0.0
    id_ = np.arange(len(points)).reshape(along + 1, across + 1)
    corners = (id_[:-1, :-1], id_[1:, :-1], id_[1:, 1:], id_[:-1, 1:])
    cells = np.stack(corners, axis=2).reshape(-1, 4)
    regions = {
        "wall": id_[:, 0],
        "inflow": id_[:, -1],
        "symmetry": id_[0],
        "outflow": id_[-1],
    }
    mesh = Mesh(points, {"quad": cells}, {k: np.sort(ids) for k, ids in regions.items()})
    return Case(
        mesh,
        scalars_of(
            {"a": Scalar(np.array([a]), "m"), "b": Scalar(np.array([b]), "m"), "mach": mach}
        ),
        name=f"semi_ellipse_{a:.3f}_{b:.3f}",
    )
