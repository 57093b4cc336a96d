"""Surrogates of columns, from CF files to scores by level and climate, figures, predictions and
modules for host models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fieldcast.meshes import Predictions, Samples, write_columns
from fieldcast.meshes.columns import level_values
from fieldcast.surrogates import MultiFidelity
from fieldcast.surrogates.column_scores import (
    ColumnScore,
    residuals,
    score_columns,
    score_mean,
    truths,
)
from fieldcast.surrogates.surrogate import Predictor, Progress, Surrogate, quiet

from .column_sets import ColumnFiles, ColumnSet

SETTINGS = "columns"
"""Where the card of a model keeps how its files are read."""
REFERENCE = 100
"""So many columns go into the file to compare an exported module with."""


@dataclass(frozen=True, eq=False)
class Learning:
    """Columns to learn from, `cheap` ones of a lower fidelity where there are any, and those to
    select weights and calibrate by (some of the first, where none are given)."""

    samples: Samples
    cheap: Samples | None = None
    validation: Samples | None = None


def train(
    recipe: Surrogate,
    files: ColumnFiles,
    data: Learning,
    *,
    seed: int = 0,
    progress: Progress = quiet,
) -> Predictor:
    """Fit `recipe` to columns of `files`.

    Raises:
        ValueError: cheap columns for a surrogate that has no use for them.
    """
    held = data.validation
    if data.cheap is None:
        predictor = recipe.fit(data.samples, validation=held, seed=seed, progress=progress)
    elif isinstance(recipe, MultiFidelity):
        predictor = recipe.fit(
            data.samples, validation=held, seed=seed, progress=progress, cheap=data.cheap
        )
    else:
        raise ValueError(
            "expected the surrogate multi_fidelity to learn from columns of a lower fidelity, got "
            f"{type(recipe).__name__}"
        )
    return predictor.with_settings({SETTINGS: files.to_dict()})


def files_of(predictor: Predictor) -> ColumnFiles:
    """How the files that a model was trained on were read.

    Raises:
        ValueError: a model that was not trained on columns of files.
    """
    if SETTINGS not in predictor.card.settings:
        raise ValueError(
            "expected a model made by `fieldcast climate train`, got one that does not say which "
            "variables it reads"
        )
    return ColumnFiles.from_dict(predictor.card.settings[SETTINGS])


@dataclass(frozen=True, eq=False)
class Climate:
    """One set of columns with its answers: scores by output, those of the mean of these very
    columns as `baseline`, what they gain wrongly (`residuals`), and the share that the model
    doesn't warn of."""

    columns: ColumnSet
    predictions: Predictions
    scores: Mapping[str, ColumnScore]
    baseline: Mapping[str, ColumnScore]
    residuals: Mapping[str, Mapping[str, float]]
    trusted: float

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values, without the columns."""
        return {
            "columns": len(self.columns),
            "scores": {k: s.to_json() for k, s in self.scores.items()},
            "their_mean": {k: s.summary() for k, s in self.baseline.items()},
            "residuals": {k: dict(v) for k, v in self.residuals.items()},
            "trusted": self.trusted,
        }


def evaluate(
    predictor: Predictor, sets: Sequence[ColumnSet], progress: Progress = quiet
) -> dict[str, Climate]:
    """Predict sets of columns whose truth is known, and score each as a climate of its own."""
    found = {}
    for k, columns in enumerate(sets):
        found[columns.label] = climate(predictor, columns)
        progress("evaluate", k + 1, len(sets))
    return found


def climate(predictor: Predictor, columns: ColumnSet) -> Climate:
    """One set, predicted and scored."""
    samples = columns.samples
    predictions = predictor.predict(samples.cases)
    scores = score_columns(samples, predictions, predictor.member_answers(samples.cases))
    means = {k: truths(samples, k).mean(axis=0, keepdims=True) for k in scores}
    baseline = {
        k: score_mean(truths(samples, k), np.broadcast_to(m, truths(samples, k).shape))
        for k, m in means.items()
    }
    whole = Samples(columns.columns.cases, samples.fields, samples.scalars)
    trusted = (
        float(np.mean([t.status == "ok" for t in predictions.trust]))
        if len(predictions.trust)
        else 1.0
    )
    return Climate(columns, predictions, scores, baseline, residuals(whole, predictions), trusted)


def lines(found: Mapping[str, Climate]) -> list[str]:
    """A table for people: a row for each climate and output."""
    rows: list[tuple[str, ...]] = [HEAD]
    for label, own in found.items():
        rows += [row(label, name, own) for name in own.scores]
    widths = [max(len(r[k]) for r in rows) for k in range(len(HEAD))]
    table = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows]
    for label, own in found.items():
        table += [
            f"{label}: {name} gained, error {r['mae']:.3g} (bias {r['bias']:.2g}) of "
            f"{r['truth']:.3g} {GAINS[name]}"
            for name, r in own.residuals.items()
        ]
        table.append(f"{label}: {own.trusted:.0%} of {len(own.columns)} columns as those learnt")
        table += [
            f"warning: {label}: {name}: R2 is below 0 at {int(s.summary()['levels_below_0'])} "
            "levels: their mean would be the better answer there"
            for name, s in own.scores.items()
            if s.summary()["levels_below_0"]
        ]
    return table


HEAD = (
    "climate",
    "output",
    "MAE",
    "of their mean",
    "RMSE",
    "median R2",
    "worst R2",
    "fair CRPS",
    "skill",
    "spread/RMSE",
    "in 90 %",
)
GAINS = {"energy": "W/m^2", "water": "kg/m^2/day"}


def row(label: str, name: str, own: Climate) -> tuple[str, ...]:
    """One output's figures in few digits."""
    s = own.scores[name].summary()
    first = (s["mae"], own.baseline[name].summary()["mae"], s["rmse"], s["median_r2"])
    more = [s.get(k) for k in ("fair_crps", "skill", "spread_per_rmse", "coverage_90")]
    figures = [*first, s["worst_r2"], *more]
    return (label, name, *("-" if v is None or np.isnan(v) else f"{v:.3g}" for v in figures))


def write_predictions(
    predictor: Predictor, columns: ColumnSet, path: Path, members: bool = False
) -> Path:
    """Answers to the columns of a file as CF netCDF on its dimensions: mean and standard deviation,
    or the `members` of an ensemble.

    Raises:
        ValueError: members of a model that has none.
    """
    cases = columns.samples.cases
    predictions = predictor.predict(cases)
    told = {}
    if members:
        every = predictor.member_answers(cases)
        if not every:
            raise ValueError(
                "expected an ensemble of column networks to write the members of, got "
                f"{type(predictor.recipe).__name__}"
            )
        told = {k: np.stack([level_values(m.mean[k]) for m in every]) for k in predictions.mean}
    write_columns(path, columns.columns, predictions, members=told)
    return path
