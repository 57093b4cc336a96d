"""Steady flow through a converging-diverging nozzle, by OpenFOAM's rhoCentralFoam."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Scalar
from fieldcast.meshes.sample import scalars_of

from .central_flow import CentralFlow, Flow, Looks, Start, sheet
from .hypersonic import Wall
from .solver import Range, parameter_values

LENGTH, THROAT = 4.0, 1.5
"""Of the nozzle, and where its throat is."""
SIDES = ("inflow", "outflow", "wall", "symmetry")
"""First and last along x, first and last from the wall down."""


@dataclass(frozen=True)
class NozzleFlow(CentralFlow):
    """The Euler equations in a plane nozzle, at its inflow total pressure and temperature 1, at its
    outflow supersonic. Scalars: the mass flow through half of it, `mass_flow`, and the momentum and
    pressure there that push it, `thrust`."""

    # Sound goes to and fro between throat and inflow.
    looks: ClassVar = Looks(first=10.0, more=10.0, last=100.0, states=21)
    parameters: ClassVar = {"throat": "", "outlet": ""}
    space: ClassVar = {"throat": Range(0.4, 0.8), "outlet": Range(0.9, 1.4)}

    def case(self, values: Mapping[str, float], name: str = "") -> Case:
        return replace(nozzle(values["throat"], values["outlet"]), name=name)

    def example(self) -> Case:
        return nozzle(0.6, 1.1, cells=(32, 6))

    def flow(self, case: Case) -> Flow:
        parameter_values(self, case)
        mach = _one_dimensional(case)
        t = 1.0 / (1.0 + 0.2 * mach**2)
        speed = np.column_stack([mach * np.sqrt(t), np.zeros((len(t), 2))])
        level, slip = {"type": "zeroGradient"}, {"type": "slip"}

        def start(values: np.ndarray, given: dict[str, str], mirror: dict[str, str]) -> Start:
            faces = {"inflow": given, "wall": mirror, "symmetry": mirror, "outflow": level}
            return Start(values, faces)

        total = {"type": "totalPressure", "p0": "uniform 1", "gamma": "1.4", "psi": "thermo:psi"}
        heat = {"type": "totalTemperature", "T0": "uniform 1", "gamma": "1.4", "psi": "thermo:psi"}
        starts = {
            "p": start(t**3.5, {**total, "value": "uniform 1"}, level),
            "T": start(t, {**heat, "value": "uniform 1"}, level),
            "U": start(speed, level, slip),
        }
        return Flow(0.0, 1.0, starts)

    def scalars(self, case: Case, fields: Mapping[str, np.ndarray]) -> dict[str, Scalar]:
        out = Wall.of(case.mesh, "outflow")
        rho, u, p = (fields[name][out.cell] for name in ("rho", "u", "p"))
        return {
            "mass_flow": Scalar(np.array([(rho * u) @ out.length])),
            "thrust": Scalar(np.array([(rho * u**2 + p) @ out.length])),
        }


def nozzle(throat: float, outlet: float, cells: tuple[int, int] = (100, 20)) -> Case:
    """The upper half of a nozzle of length 4: half heights 1 at its inflow, `throat` at x = 1.5,
    `outlet` at its end, cosines between them."""
    if not 0 < throat < min(1.0, outlet) or min(cells) < 4:
        raise ValueError(
            f"expected a throat lower than the inflow, 1, and the outlet, and at least 4 x 4 "
            f"cells, got {throat}, {outlet} and {cells}"
        )
    x = np.linspace(0.0, LENGTH, cells[0] + 1)
    high = height(x, throat, outlet)
    share = np.linspace(1.0, 0.0, cells[1] + 1)
    points = np.stack(np.broadcast_arrays(x[:, None], high[:, None] * share), axis=2)
    parameters = {"throat": throat, "outlet": outlet}
    return Case(
        sheet(points, SIDES), scalars_of(parameters), name=f"nozzle_{throat:.3f}_{outlet:.3f}"
    )


def height(
    x: Float[np.ndarray, " point"], throat: float, outlet: float
) -> Float[np.ndarray, " point"]:
    """Half the height of the nozzle."""
    before, after = x / THROAT, (x - THROAT) / (LENGTH - THROAT)
    narrow = throat + (1.0 - throat) * 0.5 * (1 + np.cos(np.pi * before))
    wide = throat + (outlet - throat) * 0.5 * (1 - np.cos(np.pi * after))
    return np.where(x < THROAT, narrow, wide)


def mach_number(
    ratio: Float[np.ndarray, " place"], supersonic: bool
) -> Float[np.ndarray, " place"]:
    """Of a flow that is sonic at the throat, where the area is so many times that there."""
    from scipy.optimize import brentq

    ends = (1.0, 50.0) if supersonic else (1e-6, 1.0)

    def one(wanted: float) -> float:
        if wanted <= 1.0 + 1e-12:
            return 1.0
        return float(brentq(lambda m: ((1 + 0.2 * m * m) / 1.2) ** 3 / m - wanted, *ends))

    return np.array([one(float(r)) for r in ratio])


def _one_dimensional(case: Case) -> Float[np.ndarray, " cell"]:
    """The Mach number of each cell if the flow were the same all over each cross-section."""
    mesh = case.mesh
    x = np.concatenate([mesh.points[block].mean(axis=1) for block in mesh.cells.values()])[:, 0]
    wall = mesh.points[mesh.regions["wall"]]
    wall = wall[np.argsort(wall[:, 0])]
    high = np.interp(x, wall[:, 0], wall[:, 1])
    lowest = int(wall[:, 1].argmin())
    throat, at = float(wall[lowest, 1]), float(wall[lowest, 0])
    table = np.linspace(1.0, float(high.max()) / throat, 400)
    before, after = (np.interp(high / throat, table, mach_number(table, s)) for s in (False, True))
    return np.where(x < at, before, after)
