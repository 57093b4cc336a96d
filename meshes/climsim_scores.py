"""ClimSim's scores (arXiv:2306.08754, section 4): energy units, then time, then the globe.

Arrays are (time, column, level) or (time, column), by name of output. Errors are those of each
column and level over time, averaged plainly over columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from .atmosphere import (
    HEAT_CAPACITY,
    VAPORIZATION,
    WATER_DENSITY,
    area_weights,
    hybrid_pressure,
    layer_mass,
)

Outputs = Mapping[str, Float[np.ndarray, "time column ..."]]

ENERGY = {
    "ptend_t": HEAT_CAPACITY,
    **dict.fromkeys(("ptend_q0001", "ptend_q0002", "ptend_q0003"), VAPORIZATION),
    **dict.fromkeys(("cam_out_PRECSC", "cam_out_PRECC"), VAPORIZATION * WATER_DENSITY),
}
"""What turns an output (times dp/g) to W/m^2; 1 for fluxes. Winds stay N/m^2: the published code
multiplies them with the speed of the normalised tendency, which is no energy."""


@dataclass(frozen=True, eq=False)
class Grid:
    """The columns' areas (any unit) and the interfaces a P0 + b PS of their layers."""

    area: Float[np.ndarray, " column"]
    a: Float[np.ndarray, " interface"]
    b: Float[np.ndarray, " interface"]
    p0: float

    @classmethod
    def read(cls, path: str | Path) -> Grid:
        """From ClimSim's `grid-info` file."""
        import xarray

        with xarray.open_dataset(path, decode_times=False) as data:
            area, a, b = (np.asarray(data[k].values, float) for k in ("area", "hyai", "hybi"))
            return cls(area, a, b, float(data["P0"].values))

    def energy(
        self, outputs: Outputs, ps: Float[np.ndarray, "time column"]
    ) -> dict[str, np.ndarray]:
        """Outputs in their units, weighted by dp/g, area / mean area, and turned to W/m^2.

        Args:
            outputs: by name.
            ps: surface pressure [Pa].

        Raises:
            ValueError: arrays that are not of these columns.
        """
        mass = layer_mass(hybrid_pressure(self.a, self.b, self.p0, ps))
        weights = area_weights(self.area)
        found = {}
        for name, values in outputs.items():
            expected = mass.shape if values.ndim == 3 else ps.shape
            if values.shape != expected or ps.shape[1] != len(weights):
                raise ValueError(
                    f"{name!r}: expected shape {expected} for {len(weights)} columns, got "
                    f"{values.shape}"
                )
            weighted = values * mass * weights[:, None] if values.ndim == 3 else values * weights
            found[name] = weighted * ENERGY.get(name, 1.0)
        return found


@dataclass(frozen=True, eq=False)
class Score:
    """One output's errors, each of shape (level,), or (1,) where it has no levels."""

    mae: Float[np.ndarray, " level"]
    rmse: Float[np.ndarray, " level"]
    r2: Float[np.ndarray, " level"]
    bias: Float[np.ndarray, " level"]

    def mean(self) -> dict[str, float]:
        """Plain means over levels, as in the published tables."""
        return {k: float(v.mean()) for k, v in vars(self).items()}


def score(
    predicted: Float[np.ndarray, "time column ..."], true: Float[np.ndarray, "time column ..."]
) -> Score:
    """MAE, RMSE, R2 (about each column's and level's own mean over time; -inf or NaN where that
    never varies, as published) and bias of one output.

    Raises:
        ValueError: arrays of different shapes.
    """
    if predicted.shape != true.shape:
        raise ValueError(f"expected predictions of shape {true.shape}, got {predicted.shape}")
    gap = predicted - true
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = 1.0 - (gap**2).sum(axis=0) / ((true - true.mean(axis=0)) ** 2).sum(axis=0)
    over_time = {
        "mae": np.abs(gap).mean(axis=0),
        "rmse": np.sqrt((gap**2).mean(axis=0)),
        "r2": r2,
        "bias": gap.mean(axis=0),
    }
    return Score(**{k: np.atleast_1d(v.mean(axis=0)) for k, v in over_time.items()})


def fair_crps(
    members: Float[np.ndarray, "time column ..."], true: Float[np.ndarray, "time column ..."]
) -> Float[np.ndarray, " level"]:
    """mean |x - y| - `half_difference`, x the n members (last axis), y the truth: per level,
    unbiased for any n >= 2 (Ferro 2014, doi:10.1002/qj.2270).

    Raises:
        ValueError: fewer than two members, or of another shape.
    """
    n = members.shape[-1]
    if members.shape[:-1] != true.shape or n < 2:
        raise ValueError(
            f"expected at least two members of shape {true.shape} along a last axis, got "
            f"{members.shape}"
        )
    mae = np.abs(members - true[..., None]).mean(axis=-1)
    return np.atleast_1d((mae - half_difference(members)).mean(axis=0).mean(axis=0))


def half_difference(members: Float[np.ndarray, "*shape member"]) -> Float[np.ndarray, "*shape"]:
    """sum_k (x_{k+1} - x_k) k (n - k) / (n (n - 1)) of the n sorted members: half the mean distance
    between two of them."""
    n = members.shape[-1]
    k = np.arange(1, n)
    gaps = np.diff(np.sort(members, axis=-1), axis=-1)
    return (gaps * (k * (n - k))).sum(axis=-1) / (n * (n - 1))
