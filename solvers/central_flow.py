"""Flows of a perfect gas, gamma = 1.4, by OpenFOAM's rhoCentralFoam, until they are steady.

Kurganov's central fluxes with van Leer's limiter (Greenshields et al. 2010, doi:10.1002/fld.2069).
Units: lengths as in the mesh, the gas constant is 1 / 1.4, so that the speed of sound is sqrt(T)
and the density 1.4 p / T.
"""

from __future__ import annotations

import re
import tempfile
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Field, Mesh, Sample, Scalar

from .command import Command, Step
from .foam import INSTALL, environment, extruded, read_cells, times, write_dictionary, write_mesh
from .solver import SolverFailed

PROGRAM = "rhoCentralFoam"
PATCHES = ("inflow", "wall", "outflow", "symmetry")
WEIGHT = 11640.3
"""g/mol: the gas constant is 1 / 1.4."""
HEAT = 2.5
"""Specific heat at constant pressure."""


@dataclass(frozen=True)
class Looks:
    """When a flow is looked at [length / speed of sound]: first, every so much `more`, at last; and
    how many states since the look before are averaged."""

    first: float = 6.0
    more: float = 2.0
    last: float = 30.0
    states: int = 5


STEP = re.compile(r"^deltaT = (\S+)", re.MULTILINE)
"""In the log."""
UNITS = {"p": "[1 -1 -2 0 0 0 0]", "T": "[0 0 0 1 0 0 0]", "U": "[0 1 -1 0 0 0 0]"}


@dataclass(frozen=True, eq=False)
class Start:
    """How a field begins, a value of all cells or one of each, (cell,) or (cell, 3), and what it is
    at each of `PATCHES`."""

    values: Float[np.ndarray, "*cell"]
    faces: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Flow:
    """A flow to be run: viscosity, Prandtl number, and the starts of "p", "T" and "U"."""

    viscosity: float
    prandtl: float
    starts: Mapping[str, Start]


@dataclass(frozen=True)
class CentralFlow(Command):
    """Run until the mean pressure of the last states changes by less than `steady` between two
    `looks`. The answer is that mean: shocks may go to and fro between two cells for ever. Plane
    meshes whose boundary is made of the regions inflow, wall, outflow and symmetry."""

    steady: float = 0.01

    looks: ClassVar[Looks] = Looks()

    programs: ClassVar = (PROGRAM,)
    install: ClassVar = INSTALL
    outputs: ClassVar = {"rho": "", "u": "", "v": "", "p": "", "T": ""}

    @abstractmethod
    def flow(self, case: Case) -> Flow:
        """What is to be run.

        Raises:
            ValueError: parameters for which there is no such flow.
        """

    def scalars(self, case: Case, fields: Mapping[str, np.ndarray]) -> dict[str, Scalar]:
        """What is told beside the fields (cell,)."""
        return {}

    def write(self, case: Case, folder: Path) -> None:
        flow = self.flow(case)
        write_mesh(extruded(case.mesh, PATCHES, thickness=0.1), folder, {"wall": "wall"})
        _write_case(folder, flow)

    def steps(self, case: Case, folder: Path) -> Iterator[Step]:
        looks, change = self.looks, np.inf
        count = int((looks.last - looks.first) / looks.more + 1e-9) + 1
        for k in range(count):
            _write_control(folder, looks.first + k * looks.more, looks)
            yield Step((PROGRAM, "-case", str(folder)), "", environment())
            change = _change(folder, case.mesh.n_cells, looks.states)
            # What is seen first may be the start.
            if k and change < self.steady:
                return
        raise SolverFailed(
            f"expected a steady flow, the pressure still changes by {change:.1%} at time "
            f"{looks.last:g}",
            "convergence",
        )

    def read(self, case: Case, folder: Path) -> Sample:
        found = _fields(times(folder)[-self.looks.states :], case.mesh.n_cells)
        fields = {k: Field.steady(found[k], "", "cell") for k in self.outputs if k in found}
        return Sample(case, fields, self.scalars(case, found))


def seconds_of(solver: CentralFlow, case: Case, trial: float = 0.2) -> float:
    """About how long a case will take, from its first `trial` units of time: at the time step that
    it has come to, until the second look."""
    with tempfile.TemporaryDirectory(prefix="fieldcast_foam_") as name:
        folder = Path(name)
        solver.write(case, folder)
        step = next(solver.steps(case, folder))
        _write_control(folder, trial, solver.looks)
        start = time.perf_counter()
        step.run(folder, solver.limits, solver.install)
        took = time.perf_counter() - start
        steps = [float(x) for x in STEP.findall((folder / f"log.{PROGRAM}").read_text())]
    if not steps:
        raise SolverFailed(f"case {case.label}: expected time steps in the log, got none")
    return took / len(steps) * (solver.looks.first + solver.looks.more) / steps[-1]


def _change(folder: Path, cells: int, states: int) -> float:
    """Of the pressure, relative: from the mean of the states of the look before to the last."""
    kept = times(folder)
    if len(kept) < 2 * states - 1:
        return np.inf
    now, before = (
        _fields(part, cells)["p"] for part in (kept[-states:], kept[-2 * states + 1 : 1 - states])
    )
    return float(np.linalg.norm(now - before) / np.linalg.norm(now))


def _fields(states: Sequence[Path], cells: int) -> dict[str, Float[np.ndarray, " cell"]]:
    """Means over some states."""
    parts = []
    for state in states:
        p, t, u = (read_cells(state / name, cells) for name in ("p", "T", "U"))
        parts.append(np.stack([1.4 * p[:, 0] / t[:, 0], u[:, 0], u[:, 1], p[:, 0], t[:, 0]]))
    return dict(zip(("rho", "u", "v", "p", "T"), np.mean(parts, axis=0), strict=True))


def _write_control(folder: Path, end: float, looks: Looks) -> None:
    control = {
        "application": PROGRAM,
        "startFrom": "latestTime",
        "startTime": 0,
        "stopAt": "endTime",
        "endTime": end,
        "deltaT": 1e-5,
        "writeControl": "adjustable",
        "writeInterval": looks.more / (looks.states - 1),
        "purgeWrite": 2 * looks.states - 1,
        "writeFormat": "ascii",
        "writePrecision": 9,
        "timePrecision": 9,
        "adjustTimeStep": "yes",
        "maxCo": 0.4,
        "maxDeltaT": 1,
    }
    write_dictionary(folder / "system" / "controlDict", control)


def _write_case(folder: Path, flow: Flow) -> None:
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
        "thermodynamics": {"Cp": HEAT, "Hf": 0},
        "transport": {"mu": flow.viscosity, "Pr": flow.prandtl},
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
    for name, start in flow.starts.items():
        kind = "volVectorField" if name == "U" else "volScalarField"
        value = {"dimensions": UNITS[name], "internalField": foam_values(start.values, name == "U")}
        faces = {**start.faces, "frontAndBack": {"type": "empty"}}
        write_dictionary(folder / "0" / name, {**value, "boundaryField": faces}, kind)


def foam_values(values: Float[np.ndarray, "*cell"], vector: bool) -> str:
    """In OpenFOAM's notation."""
    rows = np.atleast_2d(values) if vector else np.atleast_1d(values)[:, None]
    text = [" ".join(f"{x:.12g}" for x in row) for row in rows.tolist()]
    text = [f"({row})" for row in text] if vector else text
    if len(text) == 1:
        return f"uniform {text[0]}"
    kind, lines = "vector" if vector else "scalar", "\n".join(text)
    return f"nonuniform List<{kind}>\n{len(text)}\n(\n{lines}\n)"


def sheet(points: Float[np.ndarray, "along across 2"], sides: Sequence[str]) -> Mesh:
    """Quadrilaterals; the regions `sides` are the first and last along, first and last across."""
    along, across, _ = points.shape
    id_ = np.arange(along * across).reshape(along, across)
    corners = (id_[:-1, :-1], id_[1:, :-1], id_[1:, 1:], id_[:-1, 1:])
    cells = np.stack(corners, axis=2).reshape(-1, 4)
    rims = (id_[0], id_[-1], id_[:, 0], id_[:, -1])
    regions = {name: np.sort(ids) for name, ids in zip(sides, rims, strict=True)}
    return Mesh(points.reshape(-1, 2), {"quad": cells}, regions)
