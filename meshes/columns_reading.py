"""Columns from CF netCDF files and xarray data sets, checked on entry."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from .atmosphere import hybrid_pressure
from .columns import (
    AIR_PRESSURE,
    INTERFACE_PRESSURE,
    INTERFACES,
    Columns,
    column_cases,
    column_scalar,
    level_field,
    line_mesh,
)
from .packed import PackedField, PackedScalar
from .units import cf_conversion, from_cf

HYBRID = "atmosphere_hybrid_sigma_pressure_coordinate"
TERMS = ({"a", "b", "p0", "ps"}, {"ap", "b", "ps"})
P0 = 1e5
"""The pressure that levels are counted in [Pa]."""
PLACES = {"lat": "latitude", "lon": "longitude", "time": "time"}
_DEGREES = re.compile(r"degrees?_?(north|east|N|E)$")
_VERTICAL_NAMES = {"lev", "ilev", "level", "plev", "layer", "height", "altitude"}
_VERTICAL_NAMES |= {"mid_levels", "interface_levels"}


def read_columns(
    source: Any,
    variables: Mapping[str, str],
    *,
    names: Mapping[str, str] | None = None,
    pressure: bool = True,
    top_down: bool = True,
) -> Columns:
    """Columns of a CF netCDF file or xarray data set.

    Args:
        source: the file's path or the data set.
        variables: by name or standard name, with the pint unit that each is wanted in ("": as
            stated). Those with a vertical dimension become fields, others parameters; all other
            dimensions are flattened into columns.
        names: what some of the variables are called in the cases, such as {"T": "air_temperature"}.
        pressure: add `air_pressure` (and `air_pressure_on_interface_levels`) [Pa] of hybrid levels,
            by their `formula_terms`.
        top_down: levels from the top of the atmosphere down, else from the surface up.

    Raises:
        ValueError: a variable that isn't there, a unit that doesn't convert, missing values,
            formula terms that don't fit, levels whose order can't be told; says which and where.
    """
    with _opened(source) as data:
        taken = {name: _variable(data, name) for name in variables}
        axis = _Vertical.of(data, list(taken.values()))
        arrays, units = {}, {}
        for name, array in taken.items():
            label = (names or {}).get(name, name)
            arrays[label], units[label] = _converted(name, array, variables[name])
        if pressure:
            for name, array in axis.pressures(data).items():
                arrays[name], units[name] = array, "Pa"
        dims = _column_dims(arrays.values(), axis)
        upended = axis.downward(data, arrays) != top_down
        fields, parameters = _flattened(arrays, units, dims, axis, upended)
        levels = axis.nominal(data)
        cases = column_cases(line_mesh(levels[::-1] if upended else levels), fields, parameters)
        return Columns(cases, dims, axis.levels, upended, _frame(data, dims, axis))


def _opened(source: Any) -> Any:
    import xarray

    if isinstance(source, xarray.Dataset):
        return nullcontext(source)
    if not Path(source).is_file():
        raise ValueError(f"expected a netCDF file or an xarray data set, got {str(source)!r}")
    try:
        with warnings.catch_warnings():
            # Of fill values that are not a number: those are refused below.
            warnings.simplefilter("ignore", xarray.SerializationWarning)
            return xarray.open_dataset(source, decode_times=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"{source}: expected a netCDF file, got {error}") from error


def _variable(data: Any, name: str) -> Any:
    if name in data.variables:
        return data[name]
    same = [k for k, v in data.variables.items() if v.attrs.get("standard_name") == name]
    if len(same) != 1:
        what = f"{len(same)} variables of that standard name" if same else "it is not there"
        raise ValueError(
            f"expected a variable or standard name {name!r}, {what}; there are "
            f"{sorted(map(str, data.data_vars))}"
        )
    return data[same[0]]


def _converted(name: str, array: Any, unit: str) -> tuple[Any, str]:
    """Finite and in `unit`, or the stated one as a pint string."""
    stated = str(array.attrs.get("units", ""))
    try:
        a, b = cf_conversion(stated, unit)
        kept = unit or from_cf(stated)
    except ValueError as error:
        raise ValueError(f"variable {name!r}, in {stated or 'no unit'}: {error}") from error
    if array.dtype.kind not in "fiu":
        raise ValueError(f"variable {name!r}: expected numbers, got {array.dtype}")
    values = array.astype(float) if array.dtype.kind != "f" else array
    bad = ~np.isfinite(values.values)
    if bad.any():
        first = np.argwhere(bad)[0]
        where = ", ".join(f"{d} {i}" for d, i in zip(array.dims, first, strict=True))
        raise ValueError(
            f"variable {name!r}: expected finite values, got {int(bad.sum())} missing or not "
            f"finite of {bad.size}, the first at {where or 'its only place'}; fill or leave them "
            "out"
        )
    return (values if (a, b) == (1.0, 0.0) else a * values + b), kept


def _is_vertical(data: Any, dim: str) -> bool:
    """By its coordinate's attributes (CF 4.3), or, of one without attributes, by its name."""
    if dim not in data.coords:
        return dim in _VERTICAL_NAMES
    attrs = data[dim].attrs
    if attrs.get("axis", "").upper() == "Z" or "positive" in attrs or "formula_terms" in attrs:
        return True
    return _is_pressure(attrs) or (dim in _VERTICAL_NAMES and "axis" not in attrs)


def _is_pressure(attrs: Mapping[str, Any]) -> bool:
    try:
        return bool(cf_conversion(str(attrs.get("units", "")), "Pa"))
    except ValueError:
        return False


@dataclass(frozen=True)
class _Vertical:
    """The dimension of the levels, and that of the interfaces between them, where there is one."""

    levels: str
    interfaces: str | None
    count: int

    @classmethod
    def of(cls, data: Any, arrays: Sequence[Any]) -> _Vertical:
        found = {str(d): n for array in arrays for d, n in array.sizes.items()}
        found = {d: n for d, n in found.items() if _is_vertical(data, d)}
        if not found:
            raise ValueError(
                "expected a variable with a vertical dimension (a coordinate with axis 'Z', "
                "`positive`, or a unit of pressure), got dimensions "
                f"{sorted({str(d) for a in arrays for d in a.dims})}"
            )
        levels = min(found, key=lambda d: found[d])
        n = found[levels]
        others = {d: m for d, m in found.items() if d != levels}
        if any(m != n + 1 for m in others.values()) or len(others) > 1:
            raise ValueError(
                f"expected levels and, at most, the interfaces between them, got dimensions {found}"
            )
        # Interfaces that no variable lives on, but whose formula terms are there.
        free = [d for d, m in data.sizes.items() if m == n + 1 and _is_hybrid(data, str(d))]
        between = next(iter(others), None) or (str(free[0]) if free else None)
        return cls(levels, between, n)

    def part(self, array: Any) -> str | None:
        """Where a variable lives: "", "interfaces", or None for a number of each column."""
        if self.levels in array.dims:
            return ""
        return INTERFACES if self.interfaces in array.dims else None

    def nominal(self, data: Any) -> np.ndarray:
        """Pressure over 1000 hPa, height [m], or the number of the level."""
        if self.levels not in data.coords:
            return np.arange(self.count, dtype=float)
        values = np.asarray(data[self.levels].values, dtype=float)
        attrs = data[self.levels].attrs
        if _is_pressure(attrs):
            return _in_pascal(values, attrs) / P0
        return values

    def pressures(self, data: Any) -> dict[str, Any]:
        """Those of hybrid levels and interfaces [Pa]."""
        names = {AIR_PRESSURE: self.levels, INTERFACE_PRESSURE: self.interfaces}
        return {
            name: _hybrid(data, dim) for name, dim in names.items() if dim and _is_hybrid(data, dim)
        }

    def downward(self, data: Any, arrays: Mapping[str, Any]) -> bool:
        """Whether levels are stored from the top down."""
        for name, array in arrays.items():
            of_pressure = name == AIR_PRESSURE or array.attrs.get("standard_name") == AIR_PRESSURE
            if of_pressure and self.levels in array.dims:
                return _increasing(f"the pressures {name!r}", array.transpose(..., self.levels))
        if self.levels in data.coords:
            along = data[self.levels]
            down = str(along.attrs.get("positive", "")).lower()
            if not down and _is_pressure(along.attrs):
                down = "down"
            if down in ("up", "down"):
                return _increasing(f"the coordinate {self.levels!r}", along) == (down == "down")
        raise ValueError(
            f"expected levels {self.levels!r} to say which way is up, by a coordinate with "
            "`positive` or a variable of standard name air_pressure among those read; got neither"
        )


def _increasing(what: str, array: Any) -> bool:
    steps = np.diff(np.asarray(array.values, dtype=float), axis=-1)
    if (steps > 0).all():
        return True
    if (steps < 0).all():
        return False
    bad = int((steps * np.sign(steps.sum()) <= 0).sum())
    raise ValueError(f"expected {what} to increase or decrease along levels, {bad} steps do not")


def _in_pascal(values: np.ndarray, attrs: Mapping[str, Any]) -> np.ndarray:
    a, b = cf_conversion(str(attrs["units"]), "Pa")
    return a * values + b


def _is_hybrid(data: Any, dim: str) -> bool:
    return dim in data.coords and data[dim].attrs.get("standard_name") == HYBRID


def formula_terms(data: Any, dim: str) -> dict[str, str]:
    """The variables a, b, p0, ps, or ap, b, ps, of a hybrid coordinate of an xarray data set (CF
    appendix D).

    Raises:
        ValueError: terms that are missing or name variables that aren't there; a or b that aren't
            along the levels.
    """
    text, terms = data[dim].attrs.get("formula_terms", ""), _terms(data[dim].attrs)
    if set(terms) not in TERMS:
        raise ValueError(
            f"coordinate {dim!r}: expected formula_terms 'a: b: p0: ps:' or 'ap: b: ps:' with a "
            f"variable each, got {text!r}"
        )
    absent = sorted({v for v in terms.values() if v not in data.variables})
    if absent:
        raise ValueError(
            f"coordinate {dim!r}: expected the variables of its formula_terms {text!r}, {absent} "
            "are not there; add them, or read with pressure=False"
        )
    for term, name in terms.items():
        _check_term(term, name, data[name], dim)
    return terms


def _terms(attrs: Mapping[str, Any]) -> dict[str, str]:
    words = str(attrs.get("formula_terms", "")).replace(":", " ").split()
    return dict(zip(words[::2], words[1::2], strict=False))


def _check_term(term: str, name: str, array: Any, dim: str) -> None:
    expected = {"p0": "one value", "ps": "no levels"}.get(term, f"dimensions ({dim!r},)")
    fits = {"p0": array.size == 1, "ps": dim not in array.dims}.get(term, array.dims == (dim,))
    if not fits:
        raise ValueError(
            f"coordinate {dim!r}: expected its term {name!r} ({term}) to have {expected}, got "
            f"dimensions {array.dims}"
        )


def hybrid_terms(data: Any, dim: str) -> tuple[np.ndarray, np.ndarray, Any]:
    """a p0 [Pa], b [-] and the surface pressure [Pa], an array with dimensions; errors as
    `formula_terms`."""
    terms = formula_terms(data, dim)
    if "ap" in terms:
        ap = _converted(terms["ap"], data[terms["ap"]], "Pa")[0].values
    else:
        p0 = _converted(terms["p0"], data[terms["p0"]], "Pa")[0].values
        ap = _converted(terms["a"], data[terms["a"]], "1")[0].values * p0.item()
    b = _converted(terms["b"], data[terms["b"]], "1")[0].values
    return ap, b, _converted(terms["ps"], data[terms["ps"]], "Pa")[0]


def _hybrid(data: Any, dim: str) -> Any:
    import xarray

    ap, b, ps = hybrid_terms(data, dim)
    p = hybrid_pressure(ap / P0, b, P0, np.asarray(ps.values, dtype=float))
    return xarray.DataArray(p, dims=(*ps.dims, dim))


def _column_dims(arrays: Any, axis: _Vertical) -> dict[str, int]:
    """All dimensions but the vertical, in the order of the variable that has most."""
    dims: dict[str, int] = {}
    for array in sorted(arrays, key=lambda a: -a.ndim):
        dims |= {str(d): n for d, n in array.sizes.items() if str(d) not in dims}
    return {d: n for d, n in dims.items() if d not in (axis.levels, axis.interfaces)}


def _flattened(
    arrays: Mapping[str, Any],
    units: Mapping[str, str],
    dims: Mapping[str, int],
    axis: _Vertical,
    upended: bool,
) -> tuple[dict[str, PackedField], dict[str, PackedScalar]]:
    fields, parameters = {}, {}
    for name, array in arrays.items():
        part = axis.part(array)
        if part is None:
            parameters[name] = column_scalar(_spread(array, dims, ()).reshape(-1), units[name])
            continue
        along = axis.interfaces if part else axis.levels
        values = _spread(array, dims, (along,))
        values = values.reshape(-1, values.shape[-1])
        fields[name] = level_field(
            np.ascontiguousarray(values[:, ::-1]) if upended else values, units[name], part
        )
    return fields, parameters


def _spread(array: Any, dims: Mapping[str, int], last: Sequence[Any]) -> np.ndarray:
    """Values along all `dims` and `last`, repeated along those that the variable lacks."""
    order = [d for d in (*dims, *last) if d in array.dims]
    values = np.asarray(array.transpose(*order).values)
    inserted = [slice(None) if d in order else None for d in (*dims, *last)]
    shape = (*dims.values(), *(array.sizes[d] for d in last))
    return np.broadcast_to(values[tuple(inserted)], shape)


def _frame(data: Any, dims: Mapping[str, int], axis: _Vertical) -> Any:
    """The coordinates of columns and levels, with bounds, formula terms and areas."""
    import xarray

    own = {*dims, axis.levels}
    kept = {str(k) for k, v in data.variables.items() if k in own or _is_place(k, v, own)}
    for name in tuple(kept):
        attrs = data[name].attrs
        kept |= {str(attrs["bounds"])} & set(data.variables) if "bounds" in attrs else set()
        kept |= set(_terms(attrs).values()) & set(data.variables)
    return xarray.Dataset({k: data.variables[k] for k in sorted(kept)}, attrs=data.attrs).load()


def _is_place(name: Any, variable: Any, own: set[str]) -> bool:
    place = place_of(name, variable.attrs) or name == "area"
    return bool(place) and set(variable.dims) <= own


def place_of(name: Any, attrs: Mapping[str, Any]) -> str:
    """ "latitude", "longitude" or "time" (CF 4), by standard name, unit or usual name; "" for
    others."""
    standard = attrs.get("standard_name", "")
    if standard in PLACES.values():
        return str(standard)
    if found := _DEGREES.match(str(attrs.get("units", ""))):
        return "latitude" if found[1][0] in "nN" else "longitude"
    return PLACES.get(str(name), "")


def place_values(columns: Columns, place: str) -> Float[np.ndarray, " column"] | None:
    """The latitude [degree north], longitude [degree east] or time [as stated] of each column, from
    the coordinates that came with it; None where there are none."""
    if columns.frame is None:
        return None
    for name, variable in columns.frame.variables.items():
        if place_of(name, variable.attrs) == place and set(variable.dims) <= set(columns.dims):
            return _spread(variable, columns.dims, ()).reshape(-1).astype(float)
    return None
