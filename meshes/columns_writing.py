"""Columns' predictions as CF netCDF files that `compliance-checker` passes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from .columns import Columns, level_values
from .columns_reading import HYBRID, P0, formula_terms, hybrid_terms, place_of
from .packed import Predictions
from .units import to_cf

CONVENTIONS = "CF-1.11, CF-1.8"
"""Nothing in the files differs between the two; checkers look for their own."""
STANDARD_NAMES = frozenset(
    {
        "air_temperature",
        "air_pressure",
        "specific_humidity",
        "relative_humidity",
        "surface_air_pressure",
        "surface_temperature",
        "toa_outgoing_longwave_flux",
        "upwelling_longwave_flux_in_air",
        "downwelling_longwave_flux_in_air",
        "surface_downwelling_longwave_flux_in_air",
        "tendency_of_air_temperature",
        "tendency_of_air_temperature_due_to_longwave_heating",
        "tendency_of_air_temperature_due_to_convection",
        "tendency_of_specific_humidity",
        "tendency_of_specific_humidity_due_to_convection",
        "tendency_of_eastward_wind",
        "tendency_of_northward_wind",
        "convective_precipitation_flux",
        "atmosphere_upward_relative_vorticity",
    }
)
"""Names of outputs that are standard names of CF, too."""
MEMBER = "realization"
_AXES = {"latitude": "Y", "longitude": "X", "time": "T"}
_DEGREES = {"latitude": "degrees_north", "longitude": "degrees_east"}


@dataclass(frozen=True)
class Provenance:
    """What a file says about where it comes from."""

    title: str = "Predictions of columns of the atmosphere"
    institution: str = "unknown"
    source: str = "fieldcast surrogate"
    references: str = "https://cfconventions.org"
    standard_names: Mapping[str, str] = field(default_factory=dict)


def write_columns(
    path: str | Path,
    columns: Columns,
    predictions: Predictions,
    *,
    members: Mapping[str, Float[np.ndarray, "member column level"]] | None = None,
    provenance: Provenance | None = None,
) -> None:
    """Predictions on the dimensions that the columns came from, in their order of levels.

    A field is written as its `members` along "realization" where they are given, else as its mean
    and, where it is known, standard deviation (`<name>_std`). The file is written under a temporary
    name and renamed.

    Raises:
        ValueError: predictions or members of other columns.
    """
    import xarray

    about = provenance or Provenance()
    if len(predictions) != len(columns):
        raise ValueError(
            f"expected predictions of the {len(columns)} columns, got {len(predictions)}"
        )
    if columns.frame is None:
        columns = replace(columns, frame=xarray.Dataset())
    frame = _coordinates(columns)
    for values in (members or {}).values():
        frame[MEMBER] = _numbers(len(values))
    fields = _variables(columns, predictions, members or {}, about)
    data = xarray.Dataset({**frame, **fields})
    data.attrs = _global(about)
    for name, values in fields.items():
        values.attrs |= _located(data, name)
    path = Path(path)
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        data.to_netcdf(new, format="NETCDF4", encoding=_encoding(data, fields), **_growing(columns))
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _global(about: Provenance) -> dict[str, str]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "Conventions": CONVENTIONS,
        "title": about.title,
        "institution": about.institution,
        "source": about.source,
        "history": f"{now} written by fieldcast",
        "references": about.references,
    }


def _growing(columns: Columns) -> dict[str, Any]:
    return {"unlimited_dims": ["time"]} if "time" in columns.dims else {}


def _variables(
    columns: Columns,
    predictions: Predictions,
    members: Mapping[str, np.ndarray],
    about: Provenance,
) -> dict[str, Any]:
    unknown = set(members) - set(predictions.mean)
    if unknown:
        raise ValueError(f"expected members of {sorted(predictions.mean)}, got {sorted(unknown)}")
    found: dict[str, Any] = {}
    for name, mean in predictions.mean.items():
        values = level_values(mean)
        attrs = _named(name, mean.unit, about)
        if name in members:
            found[name] = _field(columns, _members(name, members[name], values.shape), attrs)
            continue
        found[name] = _field(columns, values, attrs)
        std = (predictions.std or {}).get(name)
        if std is not None:
            label = f"{name}_std"
            found[name].attrs["ancillary_variables"] = label
            found[label] = _field(columns, level_values(std), _spread_of(attrs))
    for name, estimate in predictions.scalars.items():
        attrs = _named(name, estimate.unit, about)
        found[name] = _field(columns, estimate.mean[:, 0], attrs)
        if estimate.std is not None:
            found[name].attrs["ancillary_variables"] = f"{name}_std"
            found[f"{name}_std"] = _field(columns, estimate.std[:, 0], _spread_of(attrs))
    return found


def _named(name: str, unit: str, about: Provenance) -> dict[str, str]:
    attrs = {"long_name": name.replace("_", " "), "units": to_cf(unit)}
    standard = about.standard_names.get(name, name if name in STANDARD_NAMES else "")
    if standard and "temperature" in standard:
        scale = "difference" if standard.startswith("tendency") else "on_scale"
        attrs["units_metadata"] = f"temperature: {scale}"
    return {"standard_name": standard, **attrs} if standard else attrs


def _spread_of(attrs: Mapping[str, str]) -> dict[str, str]:
    """Those of the standard deviation of a variable with `attrs`."""
    found = {"long_name": f"standard deviation of {attrs['long_name']}", "units": attrs["units"]}
    if "standard_name" in attrs:
        found["standard_name"] = f"{attrs['standard_name']} standard_error"
    return found


def _members(name: str, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if values.ndim != 3 or values.shape[1:] != shape:
        raise ValueError(
            f"members of {name!r}: expected (member, column, level) = (any, {shape[0]}, "
            f"{shape[1]}), got {values.shape}"
        )
    return values


def _field(columns: Columns, values: np.ndarray, attrs: Mapping[str, str]) -> Any:
    """Of (column,), (column, level) or (member, column, level): unflattened, levels after time."""
    import xarray

    lead = (MEMBER,) if values.ndim == 3 else ()
    last = (columns.level,) if values.ndim > 1 else ()
    if last and columns.upended:
        values = values[..., ::-1]
    shape = (*values.shape[: len(lead)], *columns.dims.values(), *values.shape[len(lead) + 1 :])
    array = xarray.DataArray(values.reshape(shape), dims=(*lead, *columns.dims, *last))
    array.attrs = dict(attrs)
    outer = [d for d in columns.dims if d not in _horizontal(columns)]
    inner = [d for d in columns.dims if d in _horizontal(columns)]
    return array.transpose(*lead, *outer, *last, *inner)


def _numbers(members: int) -> Any:
    import xarray

    attrs = {"standard_name": MEMBER, "long_name": "member of the ensemble", "units": "1"}
    return xarray.Variable((MEMBER,), np.arange(members, dtype=np.int32), attrs)


def _horizontal(columns: Columns) -> set[str]:
    """The dimensions that latitudes and longitudes lie along."""
    along = set()
    for name, variable in columns.frame.variables.items():
        if place_of(name, variable.attrs) in _DEGREES:
            along |= {str(d) for d in variable.dims}
    return along & set(columns.dims)


def _coordinates(columns: Columns) -> dict[str, Any]:
    """Those of the file read, with what CF asks of them, and of members and levels."""
    found = {str(name): data.copy() for name, data in columns.frame.variables.items()}
    bounds = {data.attrs.get("bounds") for data in found.values()}
    for name, variable in found.items():
        if name in bounds:
            variable.attrs = {}  # those of what they bound
            continue
        standard = place_of(name, variable.attrs)
        if standard in _AXES:
            variable.attrs |= {"standard_name": standard, "long_name": standard}
        if standard in _DEGREES:
            variable.attrs["units"] = _DEGREES[standard]
        if variable.dims == (name,) and standard in _AXES:
            variable.attrs["axis"] = _AXES[standard]
        variable.attrs.setdefault("long_name", name)
        variable.attrs.pop("cell_methods", None)
    _levels(columns, found)
    return {k: v for k, v in found.items() if k != "area" or _is_area(v)}


def _is_area(variable: Any) -> bool:
    return variable.attrs.get("units", "") in ("m2", "m^2", "km2")


def _levels(columns: Columns, found: dict[str, Any]) -> None:
    """Hybrid levels are a + b [-], with their terms in the units of CF's appendix D."""
    import xarray

    level = columns.level
    if level not in found:
        mesh = columns.cases.meshes[""].distinct[0]
        values = np.arange(len(mesh.points), dtype=float)
        attrs = {"long_name": "level number", "units": "1", "axis": "Z", "positive": "down"}
        found[level] = xarray.Variable((level,), values, attrs)
        return
    attrs = found[level].attrs
    attrs["axis"] = "Z"
    attrs.setdefault("positive", "down")
    if attrs.get("standard_name") == HYBRID:
        _hybrid_levels(columns, found)


def _hybrid_levels(columns: Columns, found: dict[str, Any]) -> None:
    """Terms ap [Pa], b [-] and ps [Pa], the form that `compliance-checker` knows."""
    import xarray

    level, attrs = columns.level, found[columns.level].attrs
    try:
        ap, b, ps = hybrid_terms(columns.frame, level)
    except ValueError:
        # Read without pressures: which pressure a level has is not known.
        for key in ("formula_terms", "standard_name"):
            attrs.pop(key, None)
        return
    for name in formula_terms(columns.frame, level).values():
        found.pop(name)
    attrs |= {"units": "1", "formula_terms": "ap: ap b: b ps: ps", "long_name": "hybrid level"}
    found[level] = xarray.Variable(
        (level,), ap / P0 + b, {**attrs, "computed_standard_name": "air_pressure"}
    )
    found["ap"] = xarray.Variable((level,), ap, {"long_name": "hybrid a p0", "units": "Pa"})
    found["b"] = xarray.Variable((level,), b, {"long_name": "hybrid b", "units": "1"})
    named = {"standard_name": "surface_air_pressure", "long_name": "surface pressure"}
    found["ps"] = xarray.Variable(ps.dims, ps.values, {**named, "units": "Pa"})


def _located(data: Any, name: str) -> dict[str, str]:
    """`coordinates` and `cell_measures` of a variable: what is not a dimension of it."""
    dims = set(data[name].dims)
    places = [
        str(k)
        for k, v in data.variables.items()
        if v.attrs.get("standard_name") in _AXES and k not in data.dims and set(v.dims) <= dims
    ]
    found = {"coordinates": " ".join(sorted(places))} if places else {}
    if "area" in data.variables and set(data["area"].dims) <= dims:
        found["cell_measures"] = "area: area"
    return found


def _encoding(data: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    packed = {
        "zlib": True,
        "complevel": 4,
        "dtype": "float32",
        "_FillValue": np.float32(9.96921e36),
    }
    return {str(k): packed if k in fields else {"_FillValue": None} for k in data.variables}
