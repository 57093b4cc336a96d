"""Steady supersonic flow past bodies, without and with friction, by OpenFOAM's rhoCentralFoam."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from fieldcast.meshes import Case, Mesh, Scalar
from fieldcast.meshes.normals import facet_normals
from fieldcast.meshes.sample import scalars_of
from fieldcast.meshes.topology import boundary, boundary_cells

from .central_flow import HEAT, CentralFlow, Flow, Start, foam_values, sheet
from .solver import Range, parameter_values
from .spacing import growing

PRANDTL = 0.72
SIDES = ("symmetry", "outflow", "wall", "inflow")
"""Of a quarter around a body: first and last along it, first and last away from it."""


@dataclass(frozen=True)
class InviscidFlow(CentralFlow):
    """The Euler equations; the oncoming gas has pressure 1, temperature 1, density 1.4 and speed of
    sound 1, and flows along x."""

    parameters: ClassVar = {"mach": ""}
    outputs: ClassVar = {"rho": "", "u": "", "v": "", "p": ""}
    space: ClassVar = {
        "a": Range(0.5, 1.0, "m"),
        "b": Range(0.5, 1.0, "m"),
        "mach": Range(3.0, 8.0),
        "spacing": Range(0.05, 0.05, "m"),
    }

    def example(self) -> Case:
        return semi_ellipse(0.8, 0.8, 3.0, 0.3)

    def case(self, values: Mapping[str, float], name: str = "") -> Case:
        numbers = (values[k] for k in ("a", "b", "mach", "spacing"))
        return replace(semi_ellipse(*numbers), name=name)

    def flow(self, case: Case) -> Flow:
        mach = _supersonic(case, parameter_values(self, case)["mach"])
        return Flow(0.0, 1.0, _oncoming(mach, {"type": "slip"}, {"type": "zeroGradient"}))


@dataclass(frozen=True)
class ViscousFlow(CentralFlow):
    """The laminar Navier-Stokes equations, viscosity constant, Prandtl number 0.72; the oncoming
    gas as in `InviscidFlow`, `reynolds` of its speed and of the unit of length, walls at the
    temperature `wall_temperature`. Scalars: `heat`, the heat that flows into the wall per depth,
    and `peak_heat_flux`."""

    parameters: ClassVar = {"mach": "", "reynolds": "", "wall_temperature": ""}
    space: ClassVar = {
        "a": Range(0.4, 1.0),
        "blunt": Range(2.0, 3.0),
        "mach": Range(4.0, 8.0),
        "reynolds": Range(1000.0, 4000.0),
        "wall_temperature": Range(2.0, 2.0),
    }

    def example(self) -> Case:
        return capsule(0.8, 2.4, 5.0, 500.0, layers=(10, 12, 0.05))

    def case(self, values: Mapping[str, float], name: str = "") -> Case:
        a, blunt, mach, reynolds, wall = (values[k] for k in self.space)
        return replace(capsule(a, blunt, mach, reynolds, wall), name=name)

    def flow(self, case: Case) -> Flow:
        values = parameter_values(self, case)
        mach = _supersonic(case, values["mach"])
        for name in ("reynolds", "wall_temperature"):
            if not values[name] > 0:
                raise ValueError(
                    f"case {case.label}: expected a positive {name}, got {values[name]}"
                )
        held = {"type": "fixedValue", "value": f"uniform {values['wall_temperature']:.12g}"}
        starts = _oncoming(mach, {"type": "noSlip"}, held)
        return Flow(1.4 * mach / values["reynolds"], PRANDTL, starts)

    def scalars(self, case: Case, fields: Mapping[str, np.ndarray]) -> dict[str, Scalar]:
        flux, wall = heat_flux(case, fields["T"])
        return {
            "heat": Scalar(np.array([flux @ wall.length])),
            "peak_heat_flux": Scalar(np.array([flux.max()])),
        }


def _supersonic(case: Case, mach: float) -> float:
    if not 1.0 < mach < 50.0:
        raise ValueError(f"case {case.label}: expected a Mach number above 1, got {mach}")
    return mach


def _oncoming(
    mach: float, wall_speed: Mapping[str, Any], wall_temperature: Mapping[str, Any]
) -> dict[str, Start]:
    """A uniform stream, and what it meets."""
    level = {"type": "zeroGradient"}
    found = {}
    for name, start, wall in (
        ("p", np.array(1.0), level),
        ("T", np.array(1.0), wall_temperature),
        ("U", np.array([mach, 0.0, 0.0]), wall_speed),
    ):
        vector = name == "U"
        given = {"type": "fixedValue", "value": foam_values(start, vector)}
        mirror = {"type": "slip"} if vector else level
        faces = {"inflow": given, "wall": wall, "symmetry": mirror, "outflow": level}
        found[name] = Start(start, faces)
    return found


@dataclass(frozen=True, eq=False)
class Wall:
    """The facets of a region: the cell that each belongs to, its `middle`, its `length`, and how
    far above it the middle of that cell lies."""

    cell: Int[np.ndarray, " facet"]
    middle: Float[np.ndarray, "facet dim"]
    length: Float[np.ndarray, " facet"]
    height: Float[np.ndarray, " facet"]

    @classmethod
    def of(cls, mesh: Mesh, region: str = "wall") -> Wall:
        """Of a plane mesh."""
        facets, owner = boundary(mesh), boundary_cells(mesh)
        own = np.isin(facets, mesh.regions[region]).all(axis=1)
        facets, owner = facets[own], owner[own]
        centres = np.concatenate([mesh.points[c].mean(axis=1) for c in mesh.cells.values()])[owner]
        normal = facet_normals(mesh.points, facets)
        length, middle = np.linalg.norm(normal, axis=1), mesh.points[facets].mean(axis=1)
        height = np.abs(((centres - middle) * normal).sum(axis=1)) / length
        return cls(owner, middle, length, height)


def heat_flux(
    case: Case, temperature: Float[np.ndarray, " cell"]
) -> tuple[Float[np.ndarray, " facet"], Wall]:
    """Into the wall, from the temperature of the cells next to it, as `ViscousFlow` has it."""
    values = parameter_values(ViscousFlow, case)
    wall = Wall.of(case.mesh)
    conductivity = HEAT * 1.4 * values["mach"] / values["reynolds"] / PRANDTL
    rise = temperature[wall.cell] - values["wall_temperature"]
    return conductivity * rise / wall.height, wall


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
    points = np.stack([x, y], axis=2)
    points[np.abs(points) < 1e-12] = 0.0
    return Case(
        sheet(points, SIDES),
        scalars_of(
            {"a": Scalar(np.array([a]), "m"), "b": Scalar(np.array([b]), "m"), "mach": mach}
        ),
        name=f"semi_ellipse_{a:.3f}_{b:.3f}",
    )


def capsule(
    a: float,
    blunt: float,
    mach: float,
    reynolds: float,
    wall_temperature: float = 2.0,
    layers: tuple[int, int, float] = (40, 56, 0.005),
) -> Case:
    """The upper left quarter around a front |x / a|^blunt + |y|^blunt = 1, out to the ellipse with
    semi-axes a + 1.2 and 3.2. `layers`: cells along and across, the first at the wall so thick, the
    others thicker by a common ratio."""
    along, across, first = layers
    if a <= 0 or blunt < 2 or first <= 0 or min(along, across) < 4:
        raise ValueError(
            f"expected a front with a > 0 and an exponent of at least 2, in at least 4 x 4 cells "
            f"from a positive thickness on, got a = {a}, {blunt}, {layers}"
        )
    inner = _evenly(_quarter(a, 1.0, blunt), along)
    outer = _evenly(_quarter(a + 1.2, 3.2, 2.0), along)
    share = growing(across, first / float(np.linalg.norm(outer - inner, axis=1).min()))
    points = inner[:, None] + share[None, :, None] * (outer - inner)[:, None]
    parameters = {"a": a, "blunt": blunt, "mach": mach, "reynolds": reynolds}
    return Case(
        sheet(points, SIDES),
        scalars_of({**parameters, "wall_temperature": wall_temperature}),
        name=f"capsule_{a:.3f}_{blunt:.3f}_{mach:.2f}",
    )


def _quarter(a: float, b: float, exponent: float) -> Float[np.ndarray, "point 2"]:
    """Finely, from (-a, 0) to (0, b)."""
    angle = np.linspace(0.0, np.pi / 2, 4001)
    x, y = -a * np.cos(angle) ** (2 / exponent), b * np.sin(angle) ** (2 / exponent)
    x[-1] = y[0] = 0.0
    return np.stack([x, y], axis=1)


def _evenly(curve: Float[np.ndarray, "point 2"], count: int) -> Float[np.ndarray, "end 2"]:
    """So many pieces of equal length."""
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    at = np.linspace(0.0, arc[-1], count + 1)
    return np.stack([np.interp(at, arc, column) for column in curve.T], axis=1)
