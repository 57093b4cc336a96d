"""Grids of latitudes and longitudes: meshes whose points are a table, and cases of whole grids from
CF files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from .columns import Columns, level_values
from .columns_reading import place_of, read_columns
from .mesh import Mesh
from .packed import Cases, Meshes, PackedField

CLOSE = 1e-3
"""Degrees, or a share of a step: what is nearer is the same, as files keep single precision."""


@dataclass(frozen=True, eq=False)
class LatLon:
    """The points `ids` (row, column) of a mesh as a table: rows of one latitude, from south to
    north, of the same longitudes, from west to east [degree]; `closed` where the last is followed
    by the first."""

    latitudes: Float[np.ndarray, " row"]
    longitudes: Float[np.ndarray, " column"]
    ids: Int[np.ndarray, "row column"]
    closed: bool

    @classmethod
    def of(cls, mesh: Mesh) -> LatLon:
        """That of a mesh with points (longitude, latitude) [degree], in any order.

        Raises:
            ValueError: points that are no such table, or longitudes that are not evenly spaced.
        """
        if mesh.dim != 2:
            raise ValueError(
                f"expected points (longitude, latitude) [degree], got {mesh.dim} coordinates"
            )
        (longitudes, column), (latitudes, row) = (_distinct(x) for x in mesh.points.T)
        shape = len(latitudes), len(longitudes)
        place = row * shape[1] + column
        if len(place) != shape[0] * shape[1] or len(np.unique(place)) != len(place):
            raise ValueError(
                "expected a grid, each latitude with the same longitudes, got "
                f"{len(mesh.points)} points at {shape[0]} latitudes and {shape[1]} longitudes"
            )
        if max(-latitudes[0], latitudes[-1]) > 90.0 + CLOSE:
            raise ValueError(
                "expected points (longitude, latitude) with latitudes from -90 to 90 degrees, got "
                f"{latitudes[0]:g} to {latitudes[-1]:g}"
            )
        ids = np.argsort(place).reshape(shape)
        return cls(latitudes, longitudes, ids, _closes(longitudes))


def _distinct(
    values: Float[np.ndarray, " point"],
) -> tuple[Float[np.ndarray, " value"], Int[np.ndarray, " point"]]:
    """Values that are not close to each other, in ascending order, and which each point has."""
    order = np.argsort(values, kind="stable")
    new = np.diff(values[order], prepend=-np.inf) > CLOSE
    which = np.empty(len(values), dtype=np.int64)
    which[order] = np.cumsum(new) - 1
    return values[order][new], which


def _closes(longitudes: Float[np.ndarray, " column"]) -> bool:
    """Whether evenly spaced longitudes go once around."""
    if len(longitudes) < 2:
        return False
    steps = np.diff(longitudes)
    step = float(steps.mean())
    if np.abs(steps - step).max() > CLOSE + CLOSE * step:
        raise ValueError(
            f"expected evenly spaced longitudes, got steps of {steps.min():g} to {steps.max():g} "
            "degrees; interpolate, or count on beyond 180 or 360 degrees"
        )
    left = 360.0 / step - len(longitudes)
    if left < -0.1:
        raise ValueError(
            f"expected longitudes that go once around at most, got {len(longitudes)} from "
            f"{longitudes[0]:g} to {longitudes[-1]:g} degrees; leave out those that come twice"
        )
    return left < 0.1


def lat_lon_mesh(
    latitudes: Float[np.ndarray, " row"], longitudes: Float[np.ndarray, " column"]
) -> Mesh:
    """Points (longitude, latitude) [degree], row by row, and quadrilaterals between them; none from
    the last longitude to the first, as they would lie over the others."""
    east, north = np.meshgrid(np.asarray(longitudes, float), np.asarray(latitudes, float))
    ids = np.arange(east.size).reshape(east.shape)
    corners = ids[:-1, :-1], ids[:-1, 1:], ids[1:, 1:], ids[1:, :-1]
    quads = np.stack([c.ravel() for c in corners], axis=1)
    if (np.diff(latitudes) < 0).any():
        quads = quads[:, ::-1]
    return Mesh(np.stack([east.ravel(), north.ravel()], axis=1), {"quad": quads})


def read_grids(
    source: Any,
    variables: Mapping[str, str],
    *,
    names: Mapping[str, str] | None = None,
    pressure: bool = True,
    top_down: bool = True,
) -> Cases:
    """Whole grids of a CF netCDF file or xarray data set with latitudes, longitudes and levels, one
    case for each entry of its other dimensions (times, members), in their order.

    Arguments and errors are those of `read_columns`. Levels become the components of the known
    fields, in the order that `top_down` says; what has no levels is a field of one component.
    """
    columns = read_columns(source, variables, names=names, pressure=pressure, top_down=top_down)
    return grids_of(columns)


def grids_of(columns: Columns) -> Cases:
    """Columns as whole grids.

    Raises:
        ValueError: columns that don't lie along a latitude and a longitude each.
    """
    along = {_place(columns, d): d for d in columns.dims}
    if not {"latitude", "longitude"} <= set(along):
        raise ValueError(
            "expected the dimensions latitude and longitude, with coordinates in degrees_north and "
            f"degrees_east, got {sorted(columns.dims)}"
        )
    own = [along["latitude"], along["longitude"]]
    order = [*(d for d in columns.dims if d not in own), *own]
    ways = [list(columns.dims).index(d) for d in order]
    sizes = tuple(columns.dims.values())

    def table(values: Float[np.ndarray, "column component"]) -> Float[np.ndarray, "1 point _"]:
        turned = values.reshape(*sizes, -1).transpose(*ways, len(sizes))
        return turned.reshape(1, -1, values.shape[1])

    mesh = lat_lon_mesh(*(np.asarray(columns.frame[d].values, dtype=float) for d in own))
    count = len(columns) // len(mesh.points)
    meshes = Meshes((mesh,), np.zeros(count, dtype=np.int64))
    cases, offsets = columns.cases, meshes.offsets("point")
    parts = {k: (level_values(f), f.unit) for k, f in cases.fields.items()}
    parts |= {k: (s.values, s.unit) for k, s in cases.parameters.items()}
    fields = {k: PackedField(table(v), offsets, unit) for k, (v, unit) in parts.items()}
    return Cases({"": meshes}, {}, fields)


def _place(columns: Columns, dim: str) -> str:
    """ "latitude", "longitude", or the dimension's own name."""
    found = place_of(dim, columns.frame[dim].attrs) if dim in columns.frame else ""
    return found if found in ("latitude", "longitude") else dim
