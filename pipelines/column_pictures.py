"""Pictures of columns as PNG bytes: scores by pressure, maps, sections, rank histograms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from fieldcast.meshes.columns import AIR_PRESSURE, INTERFACE_PRESSURE, Columns, level_values
from fieldcast.meshes.columns_reading import place_values
from fieldcast.meshes.units import converted
from fieldcast.surrogates.column_scores import ColumnScore, answers, truths

from .climate import Climate
from .pictures import figure_of, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HECTO = 100.0
LEAST_R2 = -1.0
"""R2 below it is drawn at the edge."""
BANDS = 36
"""Of latitude, at most, where columns lie on no grid."""


def levels_of(columns: Columns) -> tuple[Float[np.ndarray, " level"], str]:
    """Where levels lie, for an axis that goes up to the top: mean pressures [hPa] where the columns
    know them, else their coordinates; and what to call that."""
    known = columns.cases.fields
    if AIR_PRESSURE in known:
        p = level_values(known[AIR_PRESSURE]).mean(axis=0)
        return converted(p, known[AIR_PRESSURE].unit, "Pa") / HECTO, "pressure [hPa]"
    if INTERFACE_PRESSURE in known:
        p = level_values(known[INTERFACE_PRESSURE]).mean(axis=0)
        middle = converted(0.5 * (p[1:] + p[:-1]), known[INTERFACE_PRESSURE].unit, "Pa")
        return middle / HECTO, "pressure [hPa]"
    return columns.cases.meshes[""].distinct[0].points[:, 0], "level"


def profiles(found: Mapping[str, Climate], name: str) -> bytes:
    """MAE, bias, R2 and, of an ensemble, CRPS and spread beside the error, by pressure, a line for
    each climate."""
    first = next(iter(found.values()))
    where, axis = levels_of(first.columns.columns)
    unit = _unit(first, name)
    panels = _panels(first.scores[name])
    figure = figure_of(2.6 * len(panels) + 0.6, 4.0)
    axes: Any = figure.subplots(1, len(panels), sharey=True, squeeze=False).ravel()
    for ax, panel in zip(axes, panels, strict=True):
        for k, (label, own) in enumerate(found.items()):
            _profile(ax, panel, own.scores[name], where, (label, f"C{k}"))
        stated = "" if panel in ("R2", "spread / RMSE") or not unit else f" [{unit}]"
        ax.set_xlabel(f"{panel}{stated}", fontsize=8)
        ax.tick_params(labelsize=7)
        ax.locator_params(axis="x", nbins=4)
        ax.grid(lw=0.3, color="0.85")
    _downward(axes[0], where, axis)
    axes[0].legend(fontsize=7)
    figure.suptitle(name.replace("_", " "), fontsize=9)
    return png(figure)


def _panels(score: ColumnScore) -> tuple[str, ...]:
    return ("MAE", "bias", "R2") if score.spread is None else ("MAE", "bias", "R2", "CRPS", RATIO)


RATIO = "spread / RMSE"


def _profile(
    ax: Axes, panel: str, score: ColumnScore, where: np.ndarray, look: tuple[str, str]
) -> None:
    label, color = look
    spread = score.spread
    values = {"MAE": score.mae, "bias": score.bias, "R2": score.r2.clip(min=LEAST_R2)}
    if spread is not None:
        values |= {"CRPS": spread.fair, RATIO: spread.std / np.maximum(score.rmse, 1e-300)}
    ax.plot(values[panel], where, "-", lw=1.2, color=color, label=label)
    if panel in ("bias", "R2", RATIO):
        ax.axvline(1.0 if panel == RATIO else 0.0, color="k", lw=0.6)


def _downward(ax: Axes, where: np.ndarray, axis: str) -> None:
    """Pressure grows downward; in equal steps, since they are equal masses."""
    ax.set_ylabel(axis, fontsize=8)
    if axis != "level":
        ax.set_ylim(float(where.max()), min(float(where.min()), 0.0))
    else:
        ax.set_ylim(float(where[-1]), float(where[0]))


def ranks(found: Mapping[str, Climate], name: str) -> bytes | None:
    """How often the truth has so many members below it, over all levels, beside an equal share;
    None where there is no ensemble."""
    spreads = {k: c.scores[name].spread for k, c in found.items()}
    known = {k: s for k, s in spreads.items() if s is not None}
    if not known:
        return None
    figure = figure_of(2.8 * len(known) + 0.6, 2.6)
    axes: Any = figure.subplots(1, len(known), sharey=True, squeeze=False).ravel()
    for k, (ax, (label, spread)) in enumerate(zip(axes, known.items(), strict=True)):
        shares = spread.ranks.mean(axis=0)
        ax.bar(np.arange(len(shares)), shares * len(shares), width=0.9, color=f"C{k}")
        ax.axhline(1.0, color="k", lw=0.8)
        ax.set_title(label, fontsize=9)
        ax.set_xlabel("members below the truth", fontsize=8)
        ax.tick_params(labelsize=7)
    axes[0].set_ylabel("share / equal share", fontsize=8)
    return png(figure)


def lat_lon(climate: Climate, name: str) -> bytes | None:
    """Maps of truth, prediction, mean absolute error and bias, averages over levels and all
    dimensions but the place; None where columns have no places or all are one."""
    places = _places(climate.columns.columns)
    if places is None:
        return None
    lat, lon, index = places
    columns = _four(climate, name)
    maps = {k: _averaged(v.mean(axis=1), index, len(lat)) for k, v in columns.items()}
    figure = figure_of(10.0, 4.6)
    axes: Any = figure.subplots(2, 2, sharex=True, sharey=True).ravel()
    grid = _grid(lat, lon)
    for ax, (label, values) in zip(axes, maps.items(), strict=True):
        look = _look(label, maps)
        if grid is None:
            drawn = ax.scatter(lon, lat, c=values, s=14, **look)
        else:
            drawn = ax.pcolormesh(*grid[:2], values[grid[2]], shading="nearest", **look)
        _bar(figure, drawn, ax, label)
    for ax in axes[2:]:
        ax.set_xlabel("longitude [°]", fontsize=8)
    for ax in axes[::2]:
        ax.set_ylabel("latitude [°]", fontsize=8)
    figure.suptitle(_title(climate, name, "mean over levels"), fontsize=9)
    return png(figure)


def pressure_lat(climate: Climate, name: str) -> bytes | None:
    """Sections of the same four, averages over all columns of a latitude; None where there are
    fewer than two."""
    columns = climate.columns.columns
    lat = place_values(columns, "latitude")
    values = _four(climate, name)
    if lat is None or np.ptp(lat) == 0 or values["truth"].shape[1] < 2:
        return None
    where, axis = levels_of(columns)
    circles, index = _circles(lat)
    sections = {k: _averaged(v, index, len(circles)) for k, v in values.items()}
    figure = figure_of(10.0, 5.4)
    axes: Any = figure.subplots(2, 2, sharex=True, sharey=True).ravel()
    for ax, (label, section) in zip(axes, sections.items(), strict=True):
        drawn = ax.pcolormesh(
            circles, where, section.T, shading="nearest", **_look(label, sections)
        )
        _bar(figure, drawn, ax, label)
    for ax in axes[::2]:
        _downward(ax, where, axis)
    for ax in axes[2:]:
        ax.set_xlabel("latitude [°]", fontsize=8)
    figure.suptitle(_title(climate, name, "mean over longitudes and times"), fontsize=9)
    return png(figure)


def _four(climate: Climate, name: str) -> dict[str, np.ndarray]:
    truth, mean = truths(climate.columns.samples, name), answers(climate.predictions, name)
    return {
        "truth": truth,
        "prediction": mean,
        "absolute error": np.abs(mean - truth),
        "bias": mean - truth,
    }


def _look(label: str, maps: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Colours: one range for truth and prediction, about 0 for what has either sign."""
    own = maps[label]
    if label == "absolute error":
        return {"cmap": "magma", "vmin": 0.0, "vmax": max(float(own.max()), 1e-300)}
    shared = maps["truth"] if label == "prediction" else own
    low, high = float(shared.min()), float(shared.max())
    if label == "bias" or low < 0 < high:
        size = max(abs(low), abs(high), 1e-300)
        return {"cmap": "RdBu_r", "vmin": -size, "vmax": size}
    return {"cmap": "viridis", "vmin": low, "vmax": max(high, low + 1e-300)}


def _bar(figure: Any, drawn: Any, ax: Axes, label: str) -> None:
    bar = figure.colorbar(drawn, ax=ax, format="%.3g", shrink=0.9)
    bar.ax.tick_params(labelsize=7)
    ax.set_title(label, fontsize=9)
    ax.tick_params(labelsize=7)


def _title(climate: Climate, name: str, how: str) -> str:
    unit = _unit(climate, name)
    stated = f" [{unit}]" if unit else ""
    return f"{climate.columns.label}: {name.replace('_', ' ')}{stated}, {how}"


def _unit(climate: Climate, name: str) -> str:
    found = climate.predictions
    return found.mean[name].unit if name in found.mean else found.scalars[name].unit


def _averaged(values: np.ndarray, index: np.ndarray, count: int) -> np.ndarray:
    """Means over the columns of each place."""
    sums = np.zeros((count, *values.shape[1:]))
    np.add.at(sums, index, values)
    sizes = np.bincount(index, minlength=count)
    return sums / sizes.reshape(-1, *[1] * (values.ndim - 1))


def _places(columns: Columns) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Latitudes and longitudes of the distinct places, and the place of each column."""
    lat, lon = (place_values(columns, k) for k in ("latitude", "longitude"))
    if lat is None or lon is None:
        return None
    distinct, index = np.unique(np.column_stack([lat, lon]), axis=0, return_inverse=True)
    if len(distinct) < 2:
        return None
    return distinct[:, 0], distinct[:, 1], index.ravel()


def _grid(lat: np.ndarray, lon: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """(longitudes, latitudes, which place each point of the grid is); None of scattered places."""
    x, y = np.unique(lon), np.unique(lat)
    if len(x) * len(y) != len(lat) or min(len(x), len(y)) < 2:
        return None
    # `np.unique` orders places by latitude, then longitude.
    return x, y, np.arange(len(lat)).reshape(len(y), len(x))


def _circles(lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Circles of latitude and that of each column; bands where there are too many."""
    circles, index = np.unique(lat, return_inverse=True)
    if len(circles) <= 2 * BANDS:
        return circles, index.ravel()
    edges = np.linspace(lat.min(), lat.max(), BANDS + 1)
    band = np.clip(np.digitize(lat, edges) - 1, 0, BANDS - 1)
    used, index = np.unique(band, return_inverse=True)
    return 0.5 * (edges[:-1] + edges[1:])[used], index.ravel()
