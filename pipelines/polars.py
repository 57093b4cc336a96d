"""Scalars of one shape along a parameter, what they are sensitive to, and measurements of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case
from fieldcast.meshes.prediction import Estimate
from fieldcast.surrogates.surrogate import Differentiable, Predictor
from fieldcast.surrogates.wrapper import layers


@dataclass(frozen=True, eq=False)
class Polar:
    """Scalars along one parameter of a case: `values` of it, means and standard deviations (None:
    not known) by name, and how far each answer is trusted."""

    name: str
    values: Float[np.ndarray, " point"]
    mean: Mapping[str, Float[np.ndarray, " point"]]
    std: Mapping[str, Float[np.ndarray, " point"] | None]
    trust: tuple[str, ...]


def polar(predictor: Predictor, case: Case, name: str, values: Sequence[float]) -> Polar:
    """A case at values of the parameter `name`, in one batch.

    Raises:
        ValueError: a parameter that the case doesn't have.
    """
    answers = predictor.predict([case.with_parameters(**{name: float(v)}) for v in values])
    names = list(answers[0].scalars)
    every = {k: [p.scalars[k] for p in answers] for k in names}
    return Polar(
        name,
        np.asarray(values, dtype=float),
        {k: np.array([float(e.mean[0]) for e in rows]) for k, rows in every.items()},
        {k: _stds(rows) for k, rows in every.items()},
        tuple(p.trust.status for p in answers),
    )


def _stds(rows: Sequence[Estimate]) -> np.ndarray | None:
    if any(e.std is None for e in rows):
        return None
    return np.array([float(np.asarray(e.std)[0]) for e in rows])


def sensitivities(
    predictor: Predictor, case: Case, outputs: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Of scalars by the parameters of a case: what they change by per change of half the training
    range of one, to first order.

    Raises:
        ValueError: a predictor without derivatives, or another output.
    """
    asked = set(predictor.signature.known)
    inner = [
        at
        for at in layers(predictor)
        if isinstance(at, Differentiable) and set(at.signature.known) == asked
    ]
    if not inner:
        raise ValueError(
            f"expected a predictor with derivatives, got {type(predictor.recipe).__name__}"
        )
    whole = inner[0]
    known = [k for k in outputs if k in whole.signature.scalars]
    ranges = predictor.card.training.get("parameters", {})
    found = {}
    for name in known:
        pulled = whole.pulled(case, {name: np.ones(len(case.times))})
        found[name] = {
            k: float(slope.sum()) * _half(ranges.get(k)) for k, slope in pulled.parameters.items()
        }
    return found


def _half(span: Any) -> float:
    """Half of a range [low, high] as cards tell it; 1 where they don't."""
    try:
        low, high = float(span[0]), float(span[1])
    except (TypeError, KeyError, IndexError, ValueError):
        return 1.0
    return 0.5 * (high - low) or 1.0


def measured(path: Path, names: Sequence[str]) -> dict[str, Float[np.ndarray, " row"]]:
    """Columns of a table of experiments (CSV with a heading).

    Raises:
        ValueError: a table without the first of the names.
    """
    table = np.atleast_1d(np.genfromtxt(path, delimiter=",", names=True))
    columns = list(table.dtype.names or ())
    if names[0] not in columns:
        raise ValueError(f"{path}: expected a column {names[0]!r}, got {columns}")
    rows = np.isfinite(table[names[0]])
    return {k: np.asarray(table[k], dtype=float)[rows] for k in names if k in columns}


def gaps(found: Polar, experiment: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Root mean square of prediction less experiment, within the polar's range."""
    at = experiment[found.name]
    inside = (at >= found.values.min()) & (at <= found.values.max())
    order = np.argsort(found.values)
    result = {}
    for name, values in experiment.items():
        if name != found.name and name in found.mean and inside.any():
            said = np.interp(at[inside], found.values[order], found.mean[name][order])
            result[name] = float(np.sqrt(np.mean((said - values[inside]) ** 2)))
    return result
