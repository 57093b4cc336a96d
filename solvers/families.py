"""Families of shapes: meshes by numbers that have usual ranges and units."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Mesh, Scalar

from .airfoils import class_shape, class_shapes, naca, naca_five_digits, read_airfoil
from .solver import Range, Solver

Numbers = Mapping[str, float]
Columns = Mapping[str, Float[np.ndarray, " row"]]


@dataclass(frozen=True)
class Family:
    """`shape` makes the mesh of some numbers, one of each name of `space`."""

    shape: Callable[[Numbers], Mesh]
    space: Mapping[str, Range]
    points: Callable[[Columns], Float[np.ndarray, "row point dim"]] | None = None
    """Those of the meshes of many rows, where they are made at once."""


WEIGHTS = {
    **{f"upper_{i}": Range(0.10, 0.30) for i in range(1, 5)},
    **{f"lower_{i}": Range(-0.20, 0.02) for i in range(1, 5)},
}
"""Of Bernstein polynomials of degree 3 on either side, from the nose."""


def sides_of(numbers: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """(upper, lower) weights."""
    upper, lower = ([numbers[k] for k in WEIGHTS if k.startswith(s)] for s in ("upper", "lower"))
    return upper, lower


def _stacked(sides: tuple[list[Any], list[Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Columns of either side as rows."""
    return np.stack(sides[0], axis=1), np.stack(sides[1], axis=1)


AIRFOILS: Mapping[str, Family] = {
    "naca4": Family(
        lambda v: naca(v["camber"], v["position"], v["thickness"]),
        {
            "camber": Range(0.0, 0.06),
            "position": Range(0.2, 0.6),
            "thickness": Range(0.08, 0.18),
        },
    ),
    "naca5": Family(
        lambda v: naca_five_digits(v["design_lift"], 3, v["thickness"]),
        {"design_lift": Range(0.0, 0.6), "thickness": Range(0.08, 0.18)},
    ),
    "class_shape": Family(
        lambda v: class_shape(*sides_of(v)),
        WEIGHTS,
        lambda v: class_shapes(*_stacked(sides_of(v))),
    ),
}
"""Lengths in chords."""


def airfoil_family(name: str) -> Family:
    """One of `AIRFOILS`, or the one section of a file of coordinates.

    Raises:
        ValueError: neither.
    """
    if name in AIRFOILS:
        return AIRFOILS[name]
    if Path(name).is_file():
        return Family(lambda _: read_airfoil(Path(name)), {})
    raise ValueError(
        f"expected a family of airfoils, {list(AIRFOILS)}, or a file of coordinates, got {name!r}"
    )


@dataclass(frozen=True)
class SectionSolver(Solver):
    """Asked airfoils of a `family`, at `conditions`: numbers that are its parameters."""

    family: str = field(default="naca4", kw_only=True)

    conditions: ClassVar[Mapping[str, Range]]

    def __post_init__(self) -> None:
        airfoil_family(self.family)

    @property
    def space(self) -> Mapping[str, Range]:
        return {**airfoil_family(self.family).space, **self.conditions}

    def case(self, values: Numbers, name: str = "") -> Case:
        mesh = self.mesh_around(airfoil_family(self.family).shape(values))
        units = self.parameters
        return Case(
            mesh, {k: Scalar(np.array([values[k]]), u) for k, u in units.items()}, name=name
        )

    def points(self, values: Columns) -> Float[np.ndarray, "row point dim"] | None:
        made = airfoil_family(self.family).points
        if made is None or type(self).mesh_around is not SectionSolver.mesh_around:
            return None
        return made(values)

    def mesh_around(self, airfoil: Mesh) -> Mesh:
        """The mesh that is solved on: here the curve itself."""
        return airfoil
