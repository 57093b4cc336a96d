"""PyBaMM's models of a cell (Sulzer et al. 2021, doi:10.5334/jors.309): the single-particle model
without and with electrolyte, and the porous-electrode model of Doyle, Fuller, Newman.

A case is a discharge; parameters beside the declared ones may be any of PyBaMM's, by their names
there. Those that differ between cases asked at once become its inputs, which build nothing anew.
A parameter "current" [A], a series at the case's times and linear between them, drives the cell.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np

from fieldcast.meshes import Case, Field, Sample, Scalar
from fieldcast.meshes.battery import (
    CELL,
    CONCENTRATIONS,
    CURRENT,
    LOCAL,
    PARTICLES,
    RATES,
    SALT,
    VOLTAGE,
    Cell,
    Curve,
    Electrode,
    Expansion,
    discharge,
)
from fieldcast.meshes.units import converted

from ..solver import Solver, SolverFailed, parameter_values
from .graphite_nmc import graphite_nmc
from .single_particle import check_discharge

INSTALL = "expected the package pybamm: pip install 'fieldcast[battery]'"
LONG, KNOTS = 24, 2001
"""Terms of an expansion that are written out, and the knots of a spline in place of more."""
_PARTICLES = (
    "X-averaged negative particle concentration [mol.m-3]",
    "X-averaged positive particle concentration [mol.m-3]",
)
_WITHIN = ("{} particle concentration [mol.m-3]", "{} electrode potential [V]")
_THROUGH = ("Electrolyte concentration [mol.m-3]", "Electrolyte potential [V]")


class PybammModel(Solver):
    """What the models share: `layers` of each electrode and the separator, `shells` of a particle
    and the relative `accuracy` of the integrator IDAKLU (absolute: 1e-2 of that)."""

    model: ClassVar[str]
    parameters: ClassVar[Mapping[str, str]] = dict.fromkeys(RATES, "")
    outputs: ClassVar[Mapping[str, str]] = {
        VOLTAGE: "V",
        **dict.fromkeys(CONCENTRATIONS, "mol/m^3"),
    }
    cell: Cell
    layers: int
    shells: int
    accuracy: float

    def available(self) -> str | None:
        return None if find_spec("pybamm") else INSTALL

    def example(self) -> Case:
        return discharge(self.cell, dict(zip(RATES, (2.0, 2.0), strict=True)), 5)

    def solve(self, case: Case) -> Sample:
        return self.solve_all([case])[0]

    def solve_all(self, cases: Sequence[Case]) -> list[Sample]:
        """One sample per case; all are asked at the times of the first.

        Raises:
            ValueError: cases of other times or parameters, or a parameter that PyBaMM hasn't.
            SolverFailed: PyBaMM is missing or gives up.
        """
        if not cases:
            raise ValueError("expected at least one case, got none")
        for case in cases:
            check_discharge(case, self.cell)
            same = set(case.parameters) == set(cases[0].parameters)
            if not np.array_equal(case.times, cases[0].times) or not same:
                raise ValueError(
                    f"case {case.label}: expected the times and parameters of case "
                    f"{cases[0].label}; solve others apart"
                )
        if len(cases[0].times) < 2:
            raise ValueError(f"case {cases[0].label}: expected at least two times, got one")
        if self.available():
            raise SolverFailed(INSTALL)
        rows = [parameter_values(self, case) | _others(case) for case in cases]
        others = [k for k in rows[0] if k not in RATES]
        moving = tuple(k for k in others if len({row[k] for row in rows}) > 1)
        fixed = tuple((k, rows[0][k]) for k in others if k not in moving)
        asked: list[dict[str, Any]] = [{k: row[k] for k in (*RATES, *moving)} for row in rows]
        knots: tuple[float, ...] = ()
        if CURRENT in cases[0].parameters:
            knots = tuple(cases[0].times.tolist())
            for one, case in zip(asked, cases, strict=True):
                one[CURRENT] = _current(case)
        simulation = _simulation(self, moving, fixed, knots)
        found = _run(simulation, cases, asked)
        return [self._told(case, one) for case, one in zip(cases, found, strict=True)]

    def _told(self, case: Case, solution: Any) -> Sample:
        radii = case.mesh.points[:, 0]
        fields = {}
        sides = (self.cell.negative, self.cell.positive)
        for name, theirs, electrode in zip(CONCENTRATIONS, _PARTICLES, sides, strict=True):
            values = solution[theirs](t=case.times, r=radii * electrode.radius)
            fields[name] = Field(np.ascontiguousarray(values.T)[:, :, None], "mol/m^3")
        if CELL in case.parts and set(SALT) <= set(self.outputs):
            x = case.parts[CELL].points[:, 0]
            for (name, unit), theirs in zip(SALT.items(), _THROUGH, strict=True):
                values = np.ascontiguousarray(solution[theirs](t=case.times, x=x).T)
                fields[name] = Field(values[:, :, None], unit, part=CELL)
        if PARTICLES in case.parts and set(LOCAL) <= set(self.outputs):
            fields |= self._local(case, solution)
        v = solution["Voltage [V]"](t=case.times)
        return Sample(case, fields, {VOLTAGE: Scalar(v, "V")})

    def _local(self, case: Case, solution: Any) -> dict[str, Field]:
        """Within the particles of each place, and the solid's potential there."""
        x, r = case.parts[PARTICLES].points.T
        values = np.empty((2, len(case.times), len(x)))
        middle = self.cell.negative.thickness + 0.5 * self.cell.electrolyte.thickness
        for side, at in (("Negative", x < middle), ("Positive", x >= middle)):
            concentration, potential = (solution[name.format(side)] for name in _WITHIN)
            (xs, ix), (rs, ir) = (np.unique(a[at], return_inverse=True) for a in (x, r))
            radius = (self.cell.negative if side == "Negative" else self.cell.positive).radius
            values[0][:, at] = concentration(t=case.times, x=xs, r=rs * radius)[ir, ix].T
            values[1][:, at] = potential(t=case.times, x=xs)[ix].T
        return {
            name: Field(each[:, :, None], unit, part=PARTICLES)
            for (name, unit), each in zip(LOCAL.items(), values, strict=True)
        }


@dataclass(frozen=True)
class SPM(PybammModel):
    """The single-particle model by PyBaMM."""

    cell: Cell = field(default_factory=graphite_nmc)
    layers: int = 20
    shells: int = 100
    accuracy: float = 1e-6
    model: ClassVar[str] = "SPM"


@dataclass(frozen=True)
class SPMe(PybammModel):
    """The single-particle model with electrolyte (Marquis et al. 2019, doi:10.1149/2.0341915jes),
    by PyBaMM."""

    cell: Cell = field(default_factory=graphite_nmc)
    layers: int = 20
    shells: int = 100
    accuracy: float = 1e-6
    model: ClassVar[str] = "SPMe"


@dataclass(frozen=True)
class DFN(PybammModel):
    """The model of Doyle, Fuller, Newman 1993 (doi:10.1149/1.2221597), also called P2D, by PyBaMM.

    Concentrations in particles are means over each electrode; the electrolyte's fields lie on the
    case's part "cell", concentrations within the particles of each place, and the solid's potential
    there, on its part "particles"."""

    cell: Cell = field(default_factory=graphite_nmc)
    layers: int = 20
    shells: int = 20
    accuracy: float = 1e-6
    model: ClassVar[str] = "DFN"
    outputs: ClassVar[Mapping[str, str]] = {**PybammModel.outputs, **SALT, **LOCAL}

    def example(self) -> Case:
        numbers = dict(zip(RATES, (2.0, 2.0), strict=True))
        return discharge(self.cell, numbers, 5, along=3)


def _others(case: Case) -> dict[str, float]:
    """Parameters that carry PyBaMM's names, as they are, as their units are part of the names."""
    return {k: float(s) for k, s in case.parameters.items() if k not in (*RATES, CURRENT)}


def _current(case: Case) -> np.ndarray:
    """The current at the case's times [A]."""
    given = case.parameters[CURRENT]
    values = converted(given.value, given.unit, "A")
    return np.ascontiguousarray(np.broadcast_to(values, (len(case.times),)))


def _run(simulation: Any, cases: Sequence[Case], asked: Sequence[Mapping[str, Any]]) -> list[Any]:
    import pybamm

    times = np.asarray(cases[0].times)
    # The integrator starts anew where the current has a kink.
    stops = times if CURRENT in asked[0] else times[[0, -1]]
    try:
        found = simulation.solve(stops, t_interp=times, inputs=[dict(row) for row in asked])
    except pybamm.SolverError as error:
        raise SolverFailed(
            f"case {cases[0].label} or one of the {len(cases)} asked with it: {error}; end the "
            "discharge earlier or loosen the accuracy"
        ) from error
    solutions = found if isinstance(found, list) else [found]
    for case, one in zip(cases, solutions, strict=True):
        if one.t[-1] < times[-1] * (1.0 - 1e-9):
            raise SolverFailed(
                f"case {case.label}: PyBaMM stopped at {one.t[-1]:.4g} s ({one.termination}), "
                f"asked for {times[-1]:.4g} s; end the discharge earlier"
            )
    return solutions


def silent() -> Any:
    """PyBaMM, which would ask at its first import whether it may report its use, and does not."""
    os.environ.setdefault("PYBAMM_DISABLE_TELEMETRY", "true")
    import pybamm

    pybamm.telemetry.disable()
    return pybamm


@lru_cache(maxsize=8)
def _simulation(
    recipe: PybammModel,
    moving: tuple[str, ...],
    fixed: tuple[tuple[str, float], ...],
    knots: tuple[float, ...],
) -> Any:
    """A model that is built once for all inputs; currents have these `knots`, if any."""
    pybamm = silent()
    values = parameter_set(recipe.cell)
    unknown = [k for k in (*moving, *dict(fixed)) if k not in values]
    if unknown:
        raise ValueError(
            f"expected parameters {list(RATES)} or PyBaMM's names of its own, got {unknown}"
        )
    values.update({**dict(fixed), **dict.fromkeys(moving, "[input]")})
    if knots:
        values["Current function [A]"] = _driven(np.array(knots))
    layers = dict.fromkeys(("x_n", "x_s", "x_p"), recipe.layers)
    shells = dict.fromkeys(("r_n", "r_p"), recipe.shells)
    return pybamm.Simulation(
        getattr(pybamm.lithium_ion, recipe.model)(),
        parameter_values=values,
        var_pts=layers | shells,
        solver=pybamm.IDAKLUSolver(rtol=recipe.accuracy, atol=1e-2 * recipe.accuracy),
    )


def _driven(knots: np.ndarray) -> Callable[[Any], Any]:
    """A current of time that is linear between knots, its values there an input: the sum of the hat
    functions times them."""
    import pybamm

    steps = np.diff(knots)
    before = pybamm.Vector(np.r_[steps[:1], steps])
    after = pybamm.Vector(np.r_[steps, steps[-1:]])
    middle, ones = pybamm.Vector(knots), pybamm.Matrix(np.ones((1, len(knots))))
    values = pybamm.InputParameter(CURRENT, expected_size=len(knots))

    def current(t: Any) -> Any:
        rising, falling = 1.0 + (t - middle) / before, 1.0 - (t - middle) / after
        hats = pybamm.maximum(pybamm.minimum(rising, falling), 0.0)
        return ones @ (hats * values)

    return current


def parameter_set(cell: Cell) -> Any:
    """The cell as PyBaMM's ParameterValues, with inputs for the factors `RATES`."""
    pybamm = silent()
    # For what these models don't ask for, such as heat capacities.
    values = pybamm.ParameterValues("Chen2020")
    salt = cell.electrolyte
    own: dict[str, Any] = {
        "Current function [A]": cell.current,
        "Nominal cell capacity [A.h]": cell.current,
        "Electrode height [m]": math.sqrt(cell.area),
        "Electrode width [m]": math.sqrt(cell.area),
        "Number of electrodes connected in parallel to make a cell": 1.0,
        "Number of cells connected in series to make a battery": 1.0,
        "Lower voltage cut-off [V]": 0.0,
        "Upper voltage cut-off [V]": 10.0,
        "Contact resistance [Ohm]": 0.0,
        "Initial concentration in electrolyte [mol.m-3]": salt.concentration,
        "Separator thickness [m]": salt.thickness,
        "Separator porosity": salt.porosity,
        "Separator Bruggeman coefficient (electrolyte)": _bruggeman(salt.efficiency, salt.porosity),
        "Electrolyte diffusivity [m2.s-1]": _salt(salt.diffusivity),
        "Electrolyte conductivity [S.m-1]": _salt(salt.conductivity),
        "Cation transference number": _salt(salt.transference),
        "Thermodynamic factor": _salt(salt.factor),
    }
    for name in ("Reference", "Ambient", "Initial"):
        own[f"{name} temperature [K]"] = cell.temperature
    sides = {"Negative": cell.negative, "Positive": cell.positive}
    for side, electrode in sides.items():
        own |= _side(side, electrode, salt.concentration)
    values.update(own, check_already_exists=False)
    return values


def _side(side: str, electrode: Electrode, resting: float) -> dict[str, Any]:
    """The parameters of one electrode."""
    import pybamm

    exchange, diffusivity = _formula(electrode.exchange), _formula(electrode.diffusivity)

    def current(c_e: Any, c: Any, largest: Any, t: Any) -> Any:
        faster = pybamm.InputParameter(RATES[0]) if side == "Negative" else 1.0
        return faster * exchange(c / largest) * (c_e / resting) ** 0.5

    def diffusion(x: Any, t: Any) -> Any:
        faster = pybamm.InputParameter(RATES[1]) if side == "Positive" else 1.0
        return faster * diffusivity(x)

    lower = side.lower()
    return {
        f"{side} electrode thickness [m]": electrode.thickness,
        f"{side} particle radius [m]": electrode.radius,
        f"{side} electrode active material volume fraction": electrode.active,
        f"{side} electrode porosity": electrode.porosity,
        f"{side} electrode Bruggeman coefficient (electrolyte)": _bruggeman(
            electrode.efficiency, electrode.porosity
        ),
        f"{side} electrode Bruggeman coefficient (electrode)": 0.0,
        f"{side} electrode conductivity [S.m-1]": electrode.conductivity,
        f"Maximum concentration in {lower} electrode [mol.m-3]": electrode.largest,
        f"Initial concentration in {lower} electrode [mol.m-3]": electrode.start
        * electrode.largest,
        f"{side} electrode exchange-current density [A.m-2]": current,
        f"{side} particle diffusivity [m2.s-1]": diffusion,
        f"{side} electrode OCP [V]": _formula(electrode.potential),
        f"{side} electrode charge transfer coefficient": 0.5,
    }


def _salt(curve: Curve) -> Any:
    """Of c [mol/m^3] and the temperature."""
    formula = _formula(curve)
    return lambda c, t: formula(c / 1000.0)


def _formula(curve: Curve) -> Callable[[Any], Any]:
    """In PyBaMM's symbols: as it is, or a spline where an expansion is so long that PyBaMM, which
    recurs through its symbols, would not get through."""
    if not isinstance(curve, Expansion) or len(curve.coefficients) <= LONG:
        return curve.at
    import pybamm

    x = np.linspace(curve.low, curve.high, KNOTS)
    y = curve(x)
    return lambda at: pybamm.Interpolant(x, y, at, interpolator="cubic")


def _bruggeman(efficiency: float, porosity: float) -> float:
    return math.log(efficiency) / math.log(porosity)
