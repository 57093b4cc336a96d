"""Errors of predictions, counted per simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fieldcast.meshes import Prediction, Sample

NIL = 1e-12
"""A truth below this share of the largest counts as if it were this share."""


@dataclass(frozen=True)
class Score:
    """Of one output over a set of cases. `rrmse` and `q2` as published with MMGP (arXiv:2305.12871,
    section 4), `r2` per simulation set; `coverage` is the share of simulations whose truth lies in
    the 95 % interval (fields: the share of points, averaged over simulations); None where not
    known."""

    rrmse: float
    q2: float
    coverage: float | None = None


def rrmse_field(truth: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> float:
    """sqrt(mean_i(mean(|u_i - v_i|^2) / max|u_i|^2)) over cases i; arrays (time, point,
    component), |.| the length of the vector at a point."""
    sizes = np.array([float((u**2).sum(axis=-1).max()) for u in truth])
    terms = [np.mean(((u - v) ** 2).sum(axis=-1)) for u, v in zip(truth, found, strict=True)]
    return float(np.sqrt(np.mean(np.array(terms) / _not_nil(sizes, NIL**2))))


def rrmse_scalar(truth: np.ndarray, found: np.ndarray) -> float:
    """sqrt(mean_i(|w_i - v_i|^2 / |w_i|^2))."""
    return float(np.sqrt(np.mean(((truth - found) / _not_nil(np.abs(truth), NIL)) ** 2)))


def _not_nil(sizes: np.ndarray, share: float) -> np.ndarray:
    """Sizes to divide by: none below `share` of the largest."""
    return np.maximum(sizes, max(share * float(sizes.max(initial=0.0)), 1e-100))


def q2(truth: np.ndarray, found: np.ndarray) -> float:
    """1 - sum (u - v)^2 / sum (u - mean u)^2 over all values of all cases."""
    spread = float(((truth - truth.mean()) ** 2).sum())
    return 1.0 - float(((truth - found) ** 2).sum()) / max(spread, 1e-300)


def score(samples: Sequence[Sample], predictions: Sequence[Prediction]) -> dict[str, Score]:
    """Scores of every predicted output, by name."""
    if not len(samples):
        raise ValueError("expected at least one sample to score, got none")
    pairs = list(zip(samples, predictions, strict=True))
    bands = [p.interval(0.95) for p in predictions]
    first = predictions[0]
    scores = {}
    for name in first.mean:
        truth = [s.fields[name].values for s in samples]
        found = [p.mean[name].values for p in predictions]
        covered = None
        if first.std is not None and name in first.std:
            covered = float(
                np.mean(
                    [
                        np.mean((low.fields[name].values <= u) & (u <= high.fields[name].values))
                        for u, (low, high) in zip(truth, bands, strict=True)
                    ]
                )
            )
        flat = (np.concatenate([u.ravel() for u in v]) for v in (truth, found))
        scores[name] = Score(rrmse_field(truth, found), q2(*flat), covered)
    for name in first.scalars:
        u = np.array([s.scalars[name].value for s, _ in pairs])
        v = np.array([p.scalars[name].mean for _, p in pairs])
        covered = None
        if first.scalars[name].std is not None:
            low = np.array([b.scalars[name].value for b, _ in bands])
            high = np.array([b.scalars[name].value for _, b in bands])
            covered = float(np.mean(np.all((low <= u) & (u <= high), axis=1)))
        scores[name] = Score(rrmse_scalar(u, v), q2(u, v), covered)
    return scores
