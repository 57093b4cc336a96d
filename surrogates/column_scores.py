"""How well columns are told: errors level by level, ensembles by their members, and the energy and
water that a column gains.

Scores of one output over a set of columns; a climate is a set of its own. Arrays are (column,
level), members (member, column, level); a number of each column is one level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Predictions, Samples
from fieldcast.meshes.atmosphere import (
    SECONDS_PER_DAY,
    heating_power,
    layer_mass,
    moistening_power,
)
from fieldcast.meshes.climsim_scores import fair_crps, half_difference
from fieldcast.meshes.columns import INTERFACE_PRESSURE, level_values
from fieldcast.meshes.units import converted

COVERAGES = (0.5, 0.9)
HEATING, MOISTENING = "K/s", "1/s"
"""Units of tendencies of temperature and of specific humidity."""


@dataclass(frozen=True, eq=False)
class ColumnScore:
    """Errors of the mean by level, in the output's unit; `r2` about the mean of each level over all
    columns, NaN where that never varies."""

    mae: Float[np.ndarray, " level"]
    rmse: Float[np.ndarray, " level"]
    r2: Float[np.ndarray, " level"]
    bias: Float[np.ndarray, " level"]
    spread: SpreadScore | None = None

    def summary(self) -> dict[str, float]:
        """Means over levels, the RMSE over all values, and median and least R2."""
        known = self.r2[np.isfinite(self.r2)]
        found = {
            "mae": float(self.mae.mean()),
            "rmse": float(np.sqrt((self.rmse**2).mean())),
            "bias": float(self.bias.mean()),
            "median_r2": float(np.median(known)) if len(known) else float("nan"),
            "worst_r2": float(known.min()) if len(known) else float("nan"),
            "levels_below_0": int((known < 0).sum()),
        }
        return found if self.spread is None else {**found, **self.spread.summary(self.rmse)}

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON-able values; None for what is not a number."""
        own = {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name != "spread"}
        spread = {} if self.spread is None else self.spread.to_json()
        return {"summary": _plain(self.summary()), "levels": own, **spread}


@dataclass(frozen=True, eq=False)
class SpreadScore:
    """What an ensemble says of its own errors, by level.

    `fair` and `plain` are its continuous ranked probability score, as if of endlessly many members
    (Ferro 2014, doi:10.1002/qj.2270) and of those that there are; `skill` is 1 - fair / that of the
    climatology. `std` is the root mean square of the predicted standard deviation, `ranks` the
    share of columns whose truth has so many members below it, and `coverage` that of truths in the
    central interval of a normal distribution, by its level.
    """

    fair: Float[np.ndarray, " level"]
    plain: Float[np.ndarray, " level"]
    skill: Float[np.ndarray, " level"]
    std: Float[np.ndarray, " level"]
    ranks: Float[np.ndarray, "level rank"]
    coverage: Mapping[float, Float[np.ndarray, " level"]]

    def summary(self, rmse: Float[np.ndarray, " level"]) -> dict[str, float]:
        """Means over levels; `spread_per_rmse` over all values."""
        error = float(np.sqrt((rmse**2).mean()))
        skill = self.skill[np.isfinite(self.skill)]
        return {
            "fair_crps": float(self.fair.mean()),
            "plain_crps": float(self.plain.mean()),
            "skill": float(skill.mean()) if len(skill) else float("nan"),
            "spread_per_rmse": float(np.sqrt((self.std**2).mean())) / max(error, 1e-300),
            **{f"coverage_{round(100 * k)}": float(v.mean()) for k, v in self.coverage.items()},
        }

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "ensemble": {
                **{k: _plain(getattr(self, k)) for k in ("fair", "plain", "skill", "std")},
                "coverage": {f"{k:g}": _plain(v) for k, v in self.coverage.items()},
                "ranks": _plain(self.ranks.mean(axis=0)),
            }
        }


def score_columns(
    samples: Samples,
    predictions: Predictions,
    members: Sequence[Predictions] = (),
    climatology: Samples | None = None,
) -> dict[str, ColumnScore]:
    """Scores of every predicted output, by name.

    Args:
        samples: the columns with their truth.
        predictions: the answers to them.
        members: those of each member of an ensemble, if it is one, calibrated as its standard
            deviation is (`Predictor.member_answers`).
        climatology: columns whose truths are the forecast to beat; `samples` themselves, the
            hardest to beat, where not given.

    Raises:
        ValueError: an output without its truth.
    """
    found = {}
    for name in (*predictions.mean, *predictions.scalars):
        if name not in samples.fields and name not in samples.scalars:
            raise ValueError(
                f"expected the truth of {name!r} to compare with, got those of "
                f"{sorted([*samples.fields, *samples.scalars])}"
            )
        truth, mean = truths(samples, name), answers(predictions, name)
        spread = None
        std = spreads(predictions, name)
        if len(members) > 1 and std is not None:
            every = np.stack([answers(m, name) for m in members])
            usual = truth if climatology is None else truths(climatology, name)
            spread = score_spread(truth, mean, std, every, usual)
        found[name] = score_mean(truth, mean, spread)
    return found


def truths(samples: Samples, name: str) -> Float[np.ndarray, "column level"]:
    """One output's truth."""
    if name in samples.fields:
        return level_values(samples.fields[name])
    return samples.scalars[name].values


def answers(predictions: Predictions, name: str) -> Float[np.ndarray, "column level"]:
    """One output's mean."""
    if name in predictions.mean:
        return level_values(predictions.mean[name])
    return predictions.scalars[name].mean


def spreads(predictions: Predictions, name: str) -> Float[np.ndarray, "column level"] | None:
    """One output's standard deviation, where it is known."""
    if name in predictions.mean:
        return level_values(predictions.std[name]) if predictions.std is not None else None
    return predictions.scalars[name].std


def score_mean(
    truth: Float[np.ndarray, "column level"],
    mean: Float[np.ndarray, "column level"],
    spread: SpreadScore | None = None,
) -> ColumnScore:
    """Of one output."""
    gap = mean - truth
    about = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(about > 0, 1.0 - (gap**2).sum(axis=0) / about, np.nan)
    rmse = np.sqrt((gap**2).mean(axis=0))
    return ColumnScore(np.abs(gap).mean(axis=0), rmse, r2, gap.mean(axis=0), spread)


def score_spread(
    truth: Float[np.ndarray, "column level"],
    mean: Float[np.ndarray, "column level"],
    std: Float[np.ndarray, "column level"],
    members: Float[np.ndarray, "member column level"],
    usual: Float[np.ndarray, "some level"],
) -> SpreadScore:
    """Of one output; `usual` are the truths that a climatology is made of."""
    from scipy.special import ndtri

    fair = fair_crps(np.moveaxis(members, 0, -1)[None], truth[None])
    plain = fair + half_difference(np.moveaxis(members, 0, -1)).mean(axis=0) / len(members)
    base = climatological_crps(truth, usual)
    with np.errstate(divide="ignore", invalid="ignore"):
        skill = np.where(base > 0, 1.0 - fair / base, np.nan)
    gap = np.abs(mean - truth)
    return SpreadScore(
        fair,
        plain,
        skill,
        np.sqrt((std**2).mean(axis=0)),
        rank_histogram(truth, members),
        {p: (gap <= ndtri(0.5 + p / 2) * std).mean(axis=0) for p in COVERAGES},
    )


def climatological_crps(
    truth: Float[np.ndarray, "column level"], usual: Float[np.ndarray, "some level"]
) -> Float[np.ndarray, " level"]:
    """mean |x - y| - half the mean distance between two x, all `usual` values x the forecast of
    every truth y (fair; where the truths are the usual ones, each is left out of its own)."""
    n, same = len(usual), usual is truth
    if n < 2:
        return np.zeros(truth.shape[1])
    order = np.sort(usual, axis=0)
    below = np.concatenate([np.zeros((1, order.shape[1])), np.cumsum(order, axis=0)])
    base = half_difference(order.T)
    for level in range(truth.shape[1]):
        y = truth[:, level]
        k = np.searchsorted(order[:, level], y)
        total = below[-1, level] + (2 * k - n) * y - 2 * below[k, level]
        base[level] = (total / (n - 1 if same else n)).mean() - base[level]
    return base


def rank_histogram(
    truth: Float[np.ndarray, "column level"], members: Float[np.ndarray, "member column level"]
) -> Float[np.ndarray, "level rank"]:
    """The share of columns with 0, 1, ..., all members below the truth (Hamill 2001,
    doi:10.1175/1520-0493(2001)129<0550:IORHFV>2.0.CO;2); a truth that equals members counts in
    equal parts for all ranks that it could have."""
    below = (members < truth).sum(axis=0)
    equal = (members == truth).sum(axis=0)
    part = 1.0 / (equal + 1.0)
    ranks = range(len(members) + 1)
    shares = [np.where((below <= k) & (k <= below + equal), part, 0.0).mean(axis=0) for k in ranks]
    return np.stack(shares, axis=-1)


def widening(
    truth: Float[np.ndarray, "column level"],
    mean: Float[np.ndarray, "column level"],
    std: Float[np.ndarray, "column level"],
) -> float:
    """The number that makes a standard deviation as large as the error, root mean square over all
    columns and levels; to be found on columns that are not those of a test."""
    return float(np.sqrt(((mean - truth) ** 2).mean() / max(float((std**2).mean()), 1e-300)))


def residuals(samples: Samples, predictions: Predictions) -> dict[str, dict[str, float]]:
    """How far off what a column gains is: mean absolute error, bias, and mean size of the truth.

    "energy" [W/m^2] is the sum over layers of (c_p dT/dt + L_v dq/dt) dp/g over all outputs that
    are rates of temperature or humidity, "water" [kg/m^2/day] that of dq/dt dp/g. Empty where no
    output is one, or the cases don't know the pressures between layers.
    """
    if INTERFACE_PRESSURE not in samples.cases.fields:
        return {}
    edges = samples.cases.fields[INTERFACE_PRESSURE]
    mass = layer_mass(converted(level_values(edges).astype(float), edges.unit, "Pa"))
    true = gains({k: (truths(samples, k), f.unit) for k, f in predictions.mean.items()}, mass)
    told = gains({k: (answers(predictions, k), f.unit) for k, f in predictions.mean.items()}, mass)
    return {
        name: {
            "mae": float(np.abs(told[name] - value).mean()),
            "bias": float((told[name] - value).mean()),
            "truth": float(np.abs(value).mean()),
        }
        for name, value in true.items()
    }


def gains(
    outputs: Mapping[str, tuple[np.ndarray, str]], mass: Float[np.ndarray, "column level"]
) -> dict[str, Float[np.ndarray, " column"]]:
    """Energy [W/m^2] and water [kg/m^2/day] that columns gain by outputs (values, unit), with
    layers of so much `mass` [kg/m^2]."""
    found: dict[str, np.ndarray] = {}
    for values, unit in outputs.values():
        rate = _rate(values, unit, HEATING)
        if rate is not None:
            power = heating_power(rate, mass).sum(axis=1)
            found["energy"] = found.get("energy", 0.0) + power
        rate = _rate(values, unit, MOISTENING)
        if rate is not None:
            power = moistening_power(rate, mass).sum(axis=1)
            found["energy"] = found.get("energy", 0.0) + power
            water = (rate * mass).sum(axis=1) * SECONDS_PER_DAY
            found["water"] = found.get("water", 0.0) + water
    return found


def _rate(values: np.ndarray, unit: str, wanted: str) -> np.ndarray | None:
    """In `wanted`; None of anything else."""
    try:
        return converted(values, unit, wanted) if unit else None
    except ValueError:
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return [_plain(v) for v in value.tolist()]
    return None if isinstance(value, float) and not np.isfinite(value) else value
