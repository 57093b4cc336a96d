"""Answers on periodic grids as xarray data sets and netCDF files, to look at and to go on from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fieldcast.meshes import Case, Field, Mesh, Sample, Scalar

from .periodic import periodic_mesh

if TYPE_CHECKING:
    import xarray

AXES = ("x", "y")
STARTED, PARAMETER = "start_", "parameter_"


def dataset(sample: Sample) -> xarray.Dataset:
    """Fields (time, y, x) or (time, y, x, <name>_component), scalars (time), and what the case was:
    known fields as start_<name>, parameters as parameter_<name>.

    Raises:
        ValueError: a mesh that is no periodic grid, parts, or fields on cells.
    """
    import xarray

    case = sample.case
    axes = _axes(case)
    fields = {**{STARTED + k: f for k, f in case.fields.items()}, **sample.fields}
    variables = {k: _variable(k, f, axes, len(case.times)) for k, f in fields.items()}
    scalars = {**{PARAMETER + k: s for k, s in case.parameters.items()}, **sample.scalars}
    for name, scalar in scalars.items():
        series = len(scalar.value) == len(case.times) and not name.startswith(PARAMETER)
        dims, values = (("time",), scalar.value) if series else ((), scalar.value.item())
        variables[name] = xarray.Variable(dims, values, {"units": scalar.unit})
    named = dict(zip(AXES, axes, strict=False))
    coordinates = {"time": np.asarray(case.times), **named}
    told = {"Conventions": "CF-1.11", "title": "Flow on a periodic grid", "case": case.name}
    return xarray.Dataset(variables, coordinates, told)


def _axes(case: Case) -> tuple[np.ndarray, ...]:
    """The coordinates along x (and y) of a periodic grid."""
    axes = tuple(np.unique(column) for column in case.mesh.points.T)
    if case.parts or any(len(x) < 2 for x in axes):
        raise ValueError(f"case {case.label}: expected one periodic grid, got parts or a point")
    if case.mesh != periodic_mesh(*axes):
        raise ValueError(
            f"case {case.label}: expected the points of a periodic grid; make them by "
            "fieldcast.solvers.periodic.periodic_mesh"
        )
    return axes


def _variable(name: str, field: Field, axes: tuple[np.ndarray, ...], times: int) -> xarray.Variable:
    import xarray

    if field.on != "point":
        raise ValueError(f"expected {name} on points, got it on {field.on}s")
    shape = tuple(len(x) for x in reversed(axes))
    dims: tuple[str, ...] = tuple(reversed(AXES[: len(axes)]))
    values = field.values.reshape(len(field.values), *shape, -1)
    if values.shape[-1] == 1:
        values = values[..., 0]
    else:
        dims = (*dims, f"{name}_component")
    if name.startswith(STARTED):
        return xarray.Variable(dims, values[0], {"units": field.unit})
    return xarray.Variable(("time", *dims), values, {"units": field.unit})


def sample_of(data: xarray.Dataset) -> Sample:
    """What `dataset` was made of."""
    mesh = periodic_mesh(*(data[k].values for k in AXES if k in data.dims))
    known: dict[str, Field] = {}
    fields: dict[str, Field] = {}
    parameters: dict[str, Scalar] = {}
    scalars: dict[str, Scalar] = {}
    for key, array in data.data_vars.items():
        name, unit = str(key), str(array.attrs.get("units", ""))
        if name.startswith(PARAMETER):
            parameters[name.removeprefix(PARAMETER)] = Scalar(array.values.reshape(1), unit)
        elif name.startswith(STARTED):
            known[name.removeprefix(STARTED)] = _field(array.values[None], mesh, unit)
        elif "x" in array.dims:
            fields[name] = _field(array.values, mesh, unit)
        else:
            scalars[name] = Scalar(np.atleast_1d(array.values), unit)
    times = data["time"].values
    case = Case(mesh, parameters, known, times=times, name=str(data.attrs["case"]))
    return Sample(case, fields, scalars)


def _field(values: np.ndarray, mesh: Mesh, unit: str) -> Field:
    return Field(values.reshape(len(values), len(mesh.points), -1), unit)


def write(path: str | Path, sample: Sample) -> None:
    """To a netCDF file, under a temporary name until it is whole."""
    path = Path(path)
    data = dataset(sample)
    coding: Mapping[str, Mapping[str, object]] = {
        str(k): {"_FillValue": None, **({"zlib": True, "complevel": 1} if v.ndim else {})}
        for k, v in data.variables.items()
    }
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        data.to_netcdf(new, encoding=coding, engine="netcdf4")
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def read(path: str | Path) -> Sample:
    """From a file that `write` made; its case goes on by the solver's `continued`."""
    import xarray

    with xarray.open_dataset(path, decode_times=False, engine="netcdf4") as data:
        return sample_of(data.load())
