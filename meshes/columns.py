"""Columns of an atmosphere as packed cases: one line mesh of levels for all, arrays for the rest.

Fields on levels (layers) live on the points of the mesh; what is given between layers lives on the
part "interfaces", a line of one point more. A million columns are a few arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from .mesh import Mesh
from .packed import Cases, Meshes, PackedField, PackedScalar, Samples

T = TypeVar("T")

INTERFACES = "interfaces"
"""The part of a case between whose points the layers lie."""
AIR_PRESSURE = "air_pressure"
INTERFACE_PRESSURE = "air_pressure_on_interface_levels"


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns with their place in the data set that they come from.

    `dims` are the dimensions that were flattened into columns, outermost first, with their sizes;
    `level` is the vertical one, `upended` says that it is stored the other way round. `frame` is an
    xarray data set of the coordinates, without the fields.
    """

    cases: Cases
    dims: Mapping[str, int]
    level: str
    upended: bool = False
    frame: Any = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.cases)

    def place(self, column: int) -> str:
        """Where a column lies, in words."""
        where = np.unravel_index(column, tuple(self.dims.values())) if self.dims else ()
        return ", ".join(f"{d} {int(i)}" for d, i in zip(self.dims, where, strict=True))


def line_mesh(levels: Float[np.ndarray, " level"]) -> Mesh:
    """Points at `levels`, joined one to the next."""
    index = np.arange(len(levels))
    lines = np.column_stack([index[:-1], index[1:]])
    return Mesh(np.asarray(levels, dtype=float)[:, None], {"line": lines})


def level_field(
    values: Float[np.ndarray, "column level"], unit: str = "", part: str = ""
) -> PackedField:
    """A steady field on the levels of all columns."""
    columns, levels = values.shape
    offsets = np.arange(columns + 1, dtype=np.int64) * levels
    return PackedField(values.reshape(1, -1, 1), offsets, unit, part=part)


def level_values(packed: PackedField) -> Float[np.ndarray, "column level"]:
    """The inverse of `level_field`, a view.

    Raises:
        ValueError: a field with several times or components, or columns of unequal length.
    """
    sizes = np.unique(np.diff(packed.offsets))
    if packed.values.shape[0] != 1 or packed.values.shape[2] != 1 or len(sizes) > 1:
        raise ValueError(
            "expected columns of equal length with one time and one component, got (time, point, "
            f"component) = {packed.values.shape} and lengths {sizes.tolist()[:5]}"
        )
    return packed.values.reshape(len(packed.offsets) - 1, -1)


def column_scalar(values: Float[np.ndarray, " column"], unit: str = "") -> PackedScalar:
    """A steady number of all columns."""
    return PackedScalar(np.asarray(values, dtype=float)[:, None], unit)


def column_cases(
    mesh: Mesh,
    fields: Mapping[str, PackedField],
    parameters: Mapping[str, PackedScalar] | None = None,
) -> Cases:
    """Cases on one mesh of levels; fields of the part "interfaces" bring a line for it.

    Raises:
        ValueError: no field, or fields of other numbers of columns or levels.
    """
    if not fields:
        raise ValueError("expected at least one field on levels, got none")
    parameters = dict(parameters or {})
    n = len(next(iter(fields.values())).offsets) - 1
    sizes = {"": len(mesh.points), INTERFACES: len(mesh.points) + 1}
    for name, found in fields.items():
        expected = (1, n * sizes[found.part], 1)
        if found.values.shape != expected:
            raise ValueError(
                f"field {name!r}: expected {n} columns of {sizes[found.part]} values, shape "
                f"{expected}, got {found.values.shape}"
            )
    for name, scalar in parameters.items():
        if len(scalar.values) != n:
            raise ValueError(f"parameter {name!r}: expected {n} values, got {len(scalar.values)}")
    which = np.zeros(n, dtype=np.int64)
    meshes = {"": Meshes((mesh,), which)}
    if any(f.part for f in fields.values()):
        meshes[INTERFACES] = Meshes((line_mesh(_between(mesh.points[:, 0])),), which)
    return Cases(meshes, parameters, fields)


def joined_columns(parts: Sequence[Samples]) -> Samples:
    """Columns of several sets, one behind the other, on the levels of the first.

    Raises:
        ValueError: none, or sets of other names, units or numbers of levels.
    """
    if not parts:
        raise ValueError("expected at least one set of columns, got none")
    first = parts[0]
    if len(parts) == 1:
        return first
    mesh = first.cases.meshes[""].distinct[0]
    fields = _joined_fields([s.cases.fields for s in parts])
    if not fields:
        raise ValueError("expected columns with a field on levels, got none")
    parameters = _joined_scalars([s.cases.parameters for s in parts])
    return Samples(
        column_cases(mesh, fields, parameters),
        _joined_fields([s.fields for s in parts]),
        _joined_scalars([s.scalars for s in parts]),
    )


def _joined_fields(parts: Sequence[Mapping[str, PackedField]]) -> dict[str, PackedField]:
    found = {}
    for name, first in parts[0].items():
        own = [p[name] for p in _same(name, parts, lambda f: (f.unit, f.part, _levels(f)))]
        found[name] = level_field(
            np.concatenate([level_values(f) for f in own]), first.unit, first.part
        )
    return found


def _joined_scalars(parts: Sequence[Mapping[str, PackedScalar]]) -> dict[str, PackedScalar]:
    return {
        name: column_scalar(
            np.concatenate([p[name].values[:, 0] for p in _same(name, parts, lambda s: s.unit)]),
            first.unit,
        )
        for name, first in parts[0].items()
    }


def _levels(packed: PackedField) -> int:
    return level_values(packed).shape[1]


def _same(
    name: str, parts: Sequence[Mapping[str, T]], kind: Callable[[T], object]
) -> Sequence[Mapping[str, T]]:
    """All parts, which have what is called so, of one kind."""
    kinds = [kind(p[name]) if name in p else None for p in parts]
    if any(k != kinds[0] for k in kinds):
        k = next(i for i, other in enumerate(kinds) if other != kinds[0])
        raise ValueError(
            f"{name!r}: expected (unit, part, levels) = {kinds[0]} in all sets, got {kinds[k]} in "
            f"set {k + 1}"
        )
    return parts


def _between(levels: Float[np.ndarray, " level"]) -> Float[np.ndarray, " interface"]:
    """Midway between levels, half a spacing beyond the outermost."""
    if len(levels) == 1:
        return np.array([levels[0] - 0.5, levels[0] + 0.5])
    inner = 0.5 * (levels[1:] + levels[:-1])
    return np.concatenate([[2 * levels[0] - inner[0]], inner, [2 * levels[-1] - inner[-1]]])
