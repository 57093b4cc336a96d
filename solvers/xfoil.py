"""Airfoils in two dimensions by XFOIL: panels, and boundary layers by integral equations with
transition by e^n (Drela, doi:10.1007/978-3-642-84010-4_1)."""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Field, Mesh, Sample, Scalar
from fieldcast.meshes.sample import scalars_of

from .airfoils import Curve, around, naca_called
from .command import Command, Limits, Step
from .families import SectionSolver
from .solver import Range, SolverFailed, parameter_values

# As packaged by Debian it stops at the first division by zero, which it means to survive.
_NO_TRAPS = "void _gfortran_set_fpe(int options) { (void)options; }\n"
_STEP = 0.5
"""Angles are approached from 0 in steps of so much [deg], each from the one before."""
_LIFT = 0.05
"""And so is lift, where it isn't found at once."""
_ABOUT = (0.0, 2.0, 1.0, -1.0, 0.0, 0.1, 0.0)
"""Ways from a point and back to it, in such steps: it is tried first without a way from 0, which
may lead through flows that have no answer."""
_BELOW = 0.2
"""Pressure drag is drag less friction; below minus so much of the friction the answer is none."""
_NUDGES = (0.1, 0.0, -0.1, 0.0)
"""And left and come back to [deg], which finds the answer where it has not converged."""
_POLAR = "polar.txt"
_TABLE = re.compile(r"^[\s-]*-{5,}[\s-]*$", re.MULTILINE)


@dataclass(frozen=True)
class Panels(SectionSolver, Command):
    """A closed curve as `fieldcast.solvers.airfoils` makes them, as so many `panels`; the answer
    is on its points. Forces are per chord, `alpha` is to the x axis, the moment is about the
    quarter chord."""

    panels: int = 200
    # It answers in seconds, or, where it finds no way out of a menu, never.
    limits: Limits = field(default_factory=lambda: Limits(seconds=60.0), kw_only=True)

    programs: ClassVar = ("xfoil", "cc")
    install: ClassVar = "apt-get install xfoil gcc"

    @abstractmethod
    def script(self, values: Mapping[str, float]) -> Sequence[str]:
        """What XFOIL is told first in its menu OPER.

        Raises:
            ValueError: values that it cannot be asked for.
        """

    @abstractmethod
    def approaches(self, values: Mapping[str, float]) -> Sequence[Sequence[str]]:
        """Ways to the point that is asked for, which comes last, in the order they are tried."""

    @abstractmethod
    def answers(self, values: Mapping[str, float], folder: Path) -> Sequence[float]:
        """The row of the point that is asked for: the angle, CL, CD, CDp, CM, and where flow turns
        turbulent.

        Raises:
            SolverFailed: there is none.
        """

    def write(self, case: Case, folder: Path) -> None:
        curve, chord, nose = _unit(case)
        lines = [f"{x:.9f} {y:.9f}" for x, y in ((curve - nose) / chord).tolist()]
        (folder / "airfoil.dat").write_text("\n".join(["airfoil", *lines]) + "\n")
        (folder / "no_traps.c").write_text(_NO_TRAPS)

    def steps(self, case: Case, folder: Path) -> Iterator[Step]:
        values = parameter_values(self, case)
        panels = f"PPAR\nN {self.panels}\n\n\n"
        shim = folder / "no_traps.so"
        yield Step(("cc", "-shared", "-fPIC", "-o", shim.name, "no_traps.c"))
        for way in self.approaches(values):
            (folder / _POLAR).unlink(missing_ok=True)
            said = [
                f"PLOP\nG F\n\nLOAD airfoil.dat\n{panels}OPER",
                *self.script(values),
                *_accumulated(way),
                "",
                "QUIT",
                "",
            ]
            yield Step(("xfoil",), "\n".join(said), {"LD_PRELOAD": str(shim)})
            with suppress(SolverFailed, OSError):
                self.answers(values, folder)
                return


@dataclass(frozen=True)
class Xfoil(Panels):
    """With boundary layers: Reynolds number of the chord, Mach number, and `n_crit`, the logarithm
    of the amplification at which flow turns turbulent (9: a usual wind tunnel). `trip` is where it
    is made to at the latest, in chords, above and below.

    Fields: pressure coefficient `cp` and friction coefficient `cf`. Scalars: `cl`, `cd`, `cm` and
    where flow turns turbulent.
    """

    trip: tuple[float, float] = (1.0, 1.0)
    iterations: int = 200

    parameters: ClassVar = {"alpha": "deg", "reynolds": "", "mach": "", "n_crit": ""}
    outputs: ClassVar = {
        "cp": "",
        "cf": "",
        "cl": "",
        "cd": "",
        "cm": "",
        "transition_upper": "",
        "transition_lower": "",
    }
    conditions: ClassVar = {
        "alpha": Range(-4.0, 10.0, "deg"),
        "reynolds": Range(5e5, 1e7, "", logarithmic=True),
        "mach": Range(0.0, 0.0),
        "n_crit": Range(9.0, 9.0),
    }

    def example(self) -> Case:
        asked = {"alpha": 4.0, "reynolds": 1e6, "mach": 0.0, "n_crit": 9.0}
        return Case(naca_called("2412"), scalars_of(asked), name="naca2412")

    def script(self, values: Mapping[str, float]) -> Sequence[str]:
        if not (values["reynolds"] > 0 and 0 <= values["mach"] < 1 and values["n_crit"] > 0):
            raise ValueError(
                "expected positive reynolds and n_crit and a subsonic mach, got "
                f"{values['reynolds']}, {values['n_crit']}, {values['mach']}"
            )
        return [
            f"VISC {values['reynolds']:.9g}",
            f"MACH {values['mach']:.9g}",
            f"ITER {self.iterations}",
            f"VPAR\nN {values['n_crit']:.9g}\nXTR {self.trip[0]:.9g} {self.trip[1]:.9g}\n",
        ]

    def approaches(self, values: Mapping[str, float]) -> Sequence[Sequence[str]]:
        about = [f"ALFA {values['alpha'] + off * _STEP:.6f}" for off in _ABOUT]
        return [about, _angles(values["alpha"])]

    def answers(self, values: Mapping[str, float], folder: Path) -> Sequence[float]:
        return physical(_last(folder, 0, values["alpha"], f"{values['alpha']:g} deg"))

    def read(self, case: Case, folder: Path) -> Sample:
        row = self.answers(parameter_values(self, case), folder)
        _, cl, cd, _, cm, upper, lower = row[:7]
        scalars = {"cl": cl, "cd": cd, "cm": cm}
        scalars |= {"transition_upper": upper, "transition_lower": lower}
        return Sample(case, _both(case, folder), scalars_of(scalars))


@dataclass(frozen=True)
class XfoilAtLift(Xfoil):
    """As `Xfoil`, at a given lift coefficient `cl`; the angle `alpha` [deg] is an answer."""

    parameters: ClassVar = {"cl": "", "reynolds": "", "mach": "", "n_crit": ""}
    outputs: ClassVar = {
        **{k: u for k, u in Xfoil.outputs.items() if k != "cl"},
        "alpha": "deg",
    }
    conditions: ClassVar = {
        "cl": Range(0.0, 1.0),
        **{k: r for k, r in Xfoil.conditions.items() if k != "alpha"},
    }

    def example(self) -> Case:
        asked = {"cl": 0.7, "reynolds": 1e6, "mach": 0.0, "n_crit": 9.0}
        return Case(naca_called("2412"), scalars_of(asked), name="naca2412")

    def approaches(self, values: Mapping[str, float]) -> Sequence[Sequence[str]]:
        lift = values["cl"]
        count = max(math.ceil(abs(lift) / _LIFT), 1)
        steps = [*(lift * k / count for k in range(1, count + 1))]
        nudged = [lift + nudge * _LIFT for nudge in _NUDGES]
        ways = [lift + off * _LIFT for off in _ABOUT], [*steps, *nudged]
        return [[f"CL {c:.6f}" for c in way] for way in ways]

    def answers(self, values: Mapping[str, float], folder: Path) -> Sequence[float]:
        return physical(_last(folder, 1, values["cl"], f"cl = {values['cl']:g}"))

    def read(self, case: Case, folder: Path) -> Sample:
        row = self.answers(parameter_values(self, case), folder)
        alpha, _, cd, _, cm, upper, lower = row[:7]
        scalars = {"cd": cd, "cm": cm, "transition_upper": upper, "transition_lower": lower}
        told = {**scalars_of(scalars), "alpha": Scalar(np.array([alpha]), "deg")}
        return Sample(case, _both(case, folder), told)


@dataclass(frozen=True)
class InviscidXfoil(Panels):
    """Without friction: pressure coefficient `cp`, `cl` and `cm`."""

    parameters: ClassVar = {"alpha": "deg", "mach": ""}
    outputs: ClassVar = {"cp": "", "cl": "", "cm": ""}
    conditions: ClassVar = {"alpha": Range(-8.0, 12.0, "deg"), "mach": Range(0.0, 0.0)}

    def example(self) -> Case:
        asked = {"alpha": 4.0, "mach": 0.0}
        return Case(naca_called("2412"), scalars_of(asked), name="naca2412")

    def script(self, values: Mapping[str, float]) -> Sequence[str]:
        if not 0 <= values["mach"] < 1:
            raise ValueError(f"expected a subsonic mach, got {values['mach']}")
        return [f"MACH {values['mach']:.9g}"]

    def approaches(self, values: Mapping[str, float]) -> Sequence[Sequence[str]]:
        return [_angles(values["alpha"])]

    def answers(self, values: Mapping[str, float], folder: Path) -> Sequence[float]:
        return _last(folder, 0, values["alpha"], f"{values['alpha']:g} deg")

    def read(self, case: Case, folder: Path) -> Sample:
        _, cl, _, _, cm = self.answers(parameter_values(self, case), folder)[:5]
        share, _, cp = _surface(folder)
        return Sample(case, {"cp": _on_points(case, share, cp)}, scalars_of({"cl": cl, "cm": cm}))


def polar(
    solver: Panels, mesh: Mesh, alphas: Sequence[float], **others: float
) -> list[Sample | SolverFailed]:
    """An airfoil at angles [deg] and `others`, the further parameters; points that have no answer
    are there as the reason why."""
    found: list[Sample | SolverFailed] = []
    for alpha in alphas:
        try:
            found.append(solver.solve(Case(mesh, scalars_of({"alpha": alpha, **others}))))
        except SolverFailed as error:
            found.append(error)
    return found


def _angles(alpha: float) -> list[str]:
    """Up to an angle."""
    count = max(math.ceil(abs(alpha) / _STEP), 1)
    way = alpha * np.arange(count + 1) / count if alpha else np.zeros(1)
    angles = np.concatenate([way, alpha + np.array(_NUDGES)])
    return [f"ALFA {a:.6f}" for a in angles.tolist()]


def _accumulated(points: Sequence[str]) -> list[str]:
    """Points, and what is told of the last one."""
    told = ["CPWR cp.txt", "DUMP layer.txt", "PACC"]
    return [f"PACC\n{_POLAR}\n", *points, *told]


def _unit(case: Case) -> tuple[Curve, float, Float[np.ndarray, " 2"]]:
    """(curve, chord, nose) of an airfoil."""
    curve = case.mesh.points[around(case.mesh)]
    nose = curve[curve[:, 0].argmin()]
    return curve, float(np.ptp(curve[:, 0])), nose


def physical(row: Sequence[float]) -> Sequence[float]:
    """A row whose drag is possible."""
    cd, pressure = row[2], row[3]
    if cd <= 0 or pressure < -_BELOW * (cd - pressure):
        raise SolverFailed(
            f"expected drag that is not less than friction, got {cd:g} with {cd - pressure:g} of "
            "friction; other panels or more iterations",
            "convergence",
        )
    return row


def _last(folder: Path, column: int, wanted: float, point: str) -> list[float]:
    """The row of the last point, which has the `wanted` value in a column."""
    text = (folder / _POLAR).read_text()
    rows = [line.split() for line in _TABLE.split(text)[-1].splitlines() if line.strip()]
    if not rows or abs(float(rows[-1][column]) - wanted) > 1e-3:
        raise SolverFailed(
            f"expected the boundary layers at {point} to converge, they did not; a smaller "
            "angle or lift, more iterations, or other panels",
            "convergence",
        )
    return [float(w) for w in rows[-1]]


def _both(case: Case, folder: Path) -> dict[str, Field]:
    """The fields."""
    share, layer, cp = _surface(folder)
    return {"cp": _on_points(case, share, cp), "cf": _on_points(case, share, layer[:, 6])}


def _surface(
    folder: Path,
) -> tuple[
    Float[np.ndarray, " node"], Float[np.ndarray, "node column"], Float[np.ndarray, " node"]
]:
    """(share, layer, cp): shares of the way around the airfoil at XFOIL's own nodes, its table of
    boundary layers there, and the pressure coefficients."""
    cp = np.loadtxt(folder / "cp.txt")[:, -1]
    lines = (folder / "layer.txt").read_text().splitlines()
    rows = [line.split() for line in lines if not line.lstrip().startswith("#")][: len(cp)]
    layer = np.array([[float(w) for w in row[:7]] for row in rows])
    if layer.shape != (len(cp), 7) or not (np.isfinite(layer).all() and np.isfinite(cp).all()):
        raise SolverFailed(f"expected {len(cp)} finite rows of boundary layers", "read")
    return _share(layer[:, 1:3]), layer, cp


def _share(curve: Curve) -> Float[np.ndarray, " point"]:
    """Of the way around, up to the nose and from there on, so that both meet there: 0, 1, 2."""
    length = np.r_[0.0, np.linalg.norm(np.diff(curve, axis=0), axis=1).cumsum()]
    nose = length[curve[:, 0].argmin()]
    return np.where(length <= nose, length / nose, 1 + (length - nose) / (length[-1] - nose))


def _on_points(case: Case, share: Float[np.ndarray, " node"], values: np.ndarray) -> Field:
    """Values at XFOIL's nodes, on the points of the case; the mean at a sharp trailing edge."""
    ids = around(case.mesh)
    spread = np.interp(_share(case.mesh.points[ids]), share, values)
    if ids[0] == ids[-1]:
        spread[0] = spread[-1] = 0.5 * (spread[0] + spread[-1])
    found = np.empty(len(case.mesh.points))
    found[ids] = spread
    return Field.steady(found)
