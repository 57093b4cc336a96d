"""ClimSim (Yu et al. 2023, arXiv:2306.08754): its files, orders of variables and normalisation.

A pair of files, `*.mli.*.nc` and `*.mlo.*.nc`, holds the columns of one time step before and after
the physics. Columns become samples: fields on levels from the top down, tendencies as answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from .columns import column_cases, column_scalar, level_field, line_mesh
from .packed import PackedField, PackedScalar, Samples

STEP = 1200.0
"""Time between `mli` and `mlo` [s]."""

_TRACERS = ("state_q0001", "state_q0002", "state_q0003")
_RADIATION = ("pbuf_SOLIN", "pbuf_LHFLX", "pbuf_SHFLX")
_SURFACE = (
    *("ALDIF", "ALDIR", "ASDIF", "ASDIR", "LWUP"),
    *("ICEFRAC", "LANDFRAC", "OCNFRAC", "SNOWHICE", "SNOWHLAND"),
)
_FLUXES = ("NETSW", "FLWDS", "PRECSC", "PRECC", "SOLS", "SOLL", "SOLSD", "SOLLD")
_OUT = tuple(f"cam_out_{name}" for name in _FLUXES)

UNITS = {
    "state_t": "K",
    **dict.fromkeys(_TRACERS, "kg/kg"),
    "state_u": "m/s",
    "state_v": "m/s",
    "state_ps": "Pa",
    **dict.fromkeys(_RADIATION, "W/m^2"),
    "pbuf_TAUX": "N/m^2",
    "pbuf_TAUY": "N/m^2",
    "pbuf_COSZRS": "1",
    **{f"cam_in_{name}": "1" for name in _SURFACE},
    "cam_in_LWUP": "W/m^2",
    "cam_in_SNOWHICE": "m",
    "cam_in_SNOWHLAND": "m",
    **dict.fromkeys(("pbuf_ozone", "pbuf_CH4", "pbuf_N2O"), "mol/mol"),
    "ptend_t": "K/s",
    **{f"ptend_q000{i}": "kg/kg/s" for i in (1, 2, 3)},
    "ptend_u": "m/s^2",
    "ptend_v": "m/s^2",
    **dict.fromkeys(_OUT, "W/m^2"),
    "cam_out_PRECSC": "m/s",
    "cam_out_PRECC": "m/s",
}
ON_LEVELS = {"pbuf_ozone", "pbuf_CH4", "pbuf_N2O"}
ON_LEVELS |= {k for k in UNITS if k.startswith(("state_", "ptend_")) and k != "state_ps"}
"""Those with a value on each level; the others are one number of a column."""


@dataclass(frozen=True)
class Variables:
    """Inputs and outputs in the order in which networks, also online, take and give them."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


V1 = Variables(
    ("state_t", "state_q0001", "state_ps", *_RADIATION), ("ptend_t", "ptend_q0001", *_OUT)
)
"""124 numbers in, 128 out, on 60 levels."""
V2 = Variables(
    (
        *("state_t", *_TRACERS, "state_u", "state_v", "state_ps", *_RADIATION),
        *("pbuf_TAUX", "pbuf_TAUY", "pbuf_COSZRS"),
        *(f"cam_in_{name}" for name in _SURFACE),
        *("pbuf_ozone", "pbuf_CH4", "pbuf_N2O"),
    ),
    ("ptend_t", "ptend_q0001", "ptend_q0002", "ptend_q0003", "ptend_u", "ptend_v", *_OUT),
)
"""557 numbers in, 368 out, on 60 levels."""


def read_climsim(
    files: Sequence[str | Path], grid: str | Path | Any, variables: Variables = V1
) -> Samples:
    """Samples of all columns of all files, those of a file together, in the order of the files.

    Args:
        files: the `mli` files; their `mlo` lie beside them.
        grid: the grid's file or xarray data set, for the levels.
        variables: which to take.

    Raises:
        ValueError: a file or variable that isn't there, sizes that differ, values that aren't
            finite.
    """
    if not files:
        raise ValueError("expected at least one file '*.mli.*.nc', got none")
    inputs: dict[str, list[np.ndarray]] = {name: [] for name in variables.inputs}
    outputs: dict[str, list[np.ndarray]] = {name: [] for name in variables.outputs}
    for path in map(Path, files):
        before, after = _pair(path)
        for name, found in inputs.items():
            found.append(_values(before, name, path))
        for name, found in outputs.items():
            found.append(_answer(before, after, name, path))
    levels = _levels(grid)
    known, parameters = _packed(inputs, len(levels))
    fields, scalars = _packed(outputs, len(levels))
    return Samples(column_cases(line_mesh(levels), known, parameters), fields, scalars)


def _pair(path: Path) -> tuple[Any, Any]:
    other = path.with_name(path.name.replace(".mli.", ".mlo."))
    if other == path or not other.is_file() or not path.is_file():
        raise ValueError(f"expected a file '*.mli.*.nc' and its '.mlo.' beside it, got {path}")
    return _loaded(path), _loaded(other)


def _loaded(path: Path) -> Any:
    import xarray

    with xarray.open_dataset(path, decode_times=False) as data:
        return data.load()


def _values(data: Any, name: str, path: Path) -> np.ndarray:
    """(column, level) or (column,)."""
    if name not in data.variables:
        raise ValueError(f"{path}: expected the variable {name!r}, got {sorted(data.variables)}")
    dims = ("ncol", "lev") if name in ON_LEVELS else ("ncol",)
    array = data[name]
    if set(array.dims) != set(dims):
        raise ValueError(f"{path}, {name!r}: expected dimensions {dims}, got {array.dims}")
    values = np.asarray(array.transpose(*dims).values, dtype=float)
    bad = ~np.isfinite(values)
    if bad.any():
        where = ", ".join(f"{d} {i}" for d, i in zip(dims, np.argwhere(bad)[0], strict=True))
        raise ValueError(
            f"{path}, {name!r}: expected finite values, got {int(bad.sum())} that are not, the "
            f"first at {where}"
        )
    return values


def _answer(before: Any, after: Any, name: str, path: Path) -> np.ndarray:
    if not name.startswith("ptend_"):
        return _values(after, name, path)
    state = name.replace("ptend_", "state_")
    return (_values(after, state, path) - _values(before, state, path)) / STEP


def _levels(grid: Any) -> np.ndarray:
    """Nominal pressures over 1000 hPa."""
    data = _loaded(Path(grid)) if isinstance(grid, str | Path) else grid
    return np.asarray(data["hyam"].values + data["hybm"].values, dtype=float)


def _packed(
    found: Mapping[str, Sequence[np.ndarray]], levels: int
) -> tuple[dict[str, PackedField], dict[str, PackedScalar]]:
    fields, scalars = {}, {}
    for name, parts in found.items():
        values = np.concatenate(parts)
        if name not in ON_LEVELS:
            scalars[name] = column_scalar(values, UNITS[name])
        elif values.shape[1] == levels:
            fields[name] = level_field(values, UNITS[name])
        else:
            raise ValueError(
                f"{name!r}: expected the {levels} levels of the grid, got {values.shape[1]}"
            )
    return fields, scalars


def stacked(
    names: Sequence[str], values: Mapping[str, Float[np.ndarray, "column ..."]]
) -> Float[np.ndarray, "column feature"]:
    """The variables side by side in the order of `names`, levels from the top down.

    Raises:
        ValueError: one is missing.
    """
    absent = sorted(set(names) - set(values))
    if absent:
        raise ValueError(f"expected the variables {list(names)}, {absent} are missing")
    return np.concatenate([values[k].reshape(len(values[k]), -1) for k in names], axis=1)


def split(
    names: Sequence[str], matrix: Float[np.ndarray, "*sample feature"]
) -> dict[str, Float[np.ndarray, "*sample ..."]]:
    """The inverse of `stacked`: (..., level) or (...,) for each name.

    Raises:
        ValueError: a number of features that is no number of levels.
    """
    deep = sum(name in ON_LEVELS for name in names)
    levels, rest = divmod(matrix.shape[-1] - (len(names) - deep), max(deep, 1))
    if rest or levels < 1:
        raise ValueError(
            f"expected {deep} variables on levels and {len(names) - deep} others, got "
            f"{matrix.shape[-1]} features"
        )
    widths = [levels if name in ON_LEVELS else 1 for name in names]
    parts = np.split(matrix, np.cumsum(widths)[:-1], axis=-1)
    return {
        name: part if name in ON_LEVELS else part[..., 0]
        for name, part in zip(names, parts, strict=True)
    }


@dataclass(frozen=True, eq=False)
class Normalization:
    """x' = (x - mean) / (max - min) and y' = y scale, one number per feature in the order of
    `variables`; where max = min, x' = x - mean."""

    variables: Variables
    mean: Float[np.ndarray, " input"]
    width: Float[np.ndarray, " input"]
    scale: Float[np.ndarray, " output"]

    @classmethod
    def read(
        cls,
        mean: str | Path,
        largest: str | Path,
        smallest: str | Path,
        scale: str | Path,
        variables: Variables = V1,
    ) -> Normalization:
        """From ClimSim's four files (`input_mean`, `input_max`, `input_min`, `output_scale`)."""
        rows = [_row(Path(p), variables.inputs) for p in (mean, largest, smallest)]
        width = rows[1] - rows[2]
        width = np.where(width == 0.0, 1.0, width)
        return cls(variables, rows[0], width, _row(Path(scale), variables.outputs))

    def inputs(self, x: Float[np.ndarray, "*sample input"]) -> Float[np.ndarray, "*sample input"]:
        """Normalised."""
        return (x - self.mean) / self.width

    def outputs(
        self, y: Float[np.ndarray, "*sample output"]
    ) -> Float[np.ndarray, "*sample output"]:
        """Normalised."""
        return y * self.scale

    def undone(self, y: Float[np.ndarray, "*sample output"]) -> Float[np.ndarray, "*sample output"]:
        """Outputs in their units; those of scale 0, which are always 0, stay 0."""
        scale = np.where(self.scale == 0.0, 1.0, self.scale)
        return np.where(self.scale == 0.0, 0.0, y / scale)


def _row(path: Path, names: Sequence[str]) -> np.ndarray:
    data = _loaded(path)
    absent = sorted(set(names) - set(data.variables))
    if absent:
        raise ValueError(f"{path}: expected the variables {list(names)}, {absent} are missing")
    levels = data.sizes["lev"]
    sizes = {name: levels if name in ON_LEVELS else 1 for name in names}
    return np.concatenate([np.broadcast_to(data[k].values, (n,)) for k, n in sizes.items()])
