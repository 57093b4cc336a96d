"""Errors of predictions, counted per simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from fieldcast.meshes import Prediction, Sample
from fieldcast.meshes.prediction import Values

from .conservation import NIL, Measures, integral_defects

_Pairs: TypeAlias = Sequence[tuple[Sample, Prediction]]
_Bands: TypeAlias = Sequence[tuple[Values, Values]]


@dataclass(frozen=True)
class Score:
    """Of one output over a set of cases; None where not known.

    `rrmse` and `q2` as published with MMGP (arXiv:2305.12871, section 4); `relative_l2` the mean of
    |u - v| / |u| over cases. `coverage` is the share of simulations whose truth lies in the 95 %
    interval (fields: the share of points, averaged over simulations), `width` that interval's mean
    length, and `crps` the mean continuous ranked probability score (Gneiting and Raftery 2007,
    doi:10.1198/016214506000001437), both in the output's unit; without a spread the latter is the
    mean absolute error. `spearman` is the rank correlation of a scalar. `defect` of a field is the
    mean over cases of the relative error of its integral over the mesh
    (`conservation.integral_defects`).
    """

    rrmse: float
    q2: float
    coverage: float | None = None
    relative_l2: float = float("nan")
    width: float | None = None
    crps: float = float("nan")
    spearman: float | None = None
    defect: float | None = None


def rrmse_field(truth: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> float:
    """sqrt(mean_i(mean(|u_i - v_i|^2) / max|u_i|^2)) over cases i; arrays (time, point,
    component), |.| the length of the vector at a point."""
    return float(np.sqrt(np.mean(squares_of_field(truth, found))))


def squares_of_field(truth: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> np.ndarray:
    """mean(|u_i - v_i|^2) / max|u_i|^2 of every case, (case,)."""
    sizes = np.array([float((u**2).sum(axis=-1).max()) for u in truth])
    terms = [np.mean(((u - v) ** 2).sum(axis=-1)) for u, v in zip(truth, found, strict=True)]
    return np.array(terms) / _not_nil(sizes, NIL**2)


def rrmse_scalar(truth: np.ndarray, found: np.ndarray) -> float:
    """sqrt(mean_i(|w_i - v_i|^2 / |w_i|^2))."""
    return float(np.sqrt(np.mean(squares_of_scalar(truth, found))))


def squares_of_scalar(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """|w - v|^2 / |w|^2 of every value."""
    return ((truth - found) / _not_nil(np.abs(truth), NIL)) ** 2


def _not_nil(sizes: np.ndarray, share: float) -> np.ndarray:
    """Sizes to divide by: none below `share` of the largest."""
    return np.maximum(sizes, max(share * float(sizes.max(initial=0.0)), 1e-100))


def q2(truth: np.ndarray, found: np.ndarray) -> float:
    """1 - sum (u - v)^2 / sum (u - mean u)^2 over all values of all cases."""
    spread = float(((truth - truth.mean()) ** 2).sum())
    return 1.0 - float(((truth - found) ** 2).sum()) / max(spread, 1e-300)


def relative_l2(truth: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> float:
    """mean_i(|u_i - v_i| / |u_i|) with the Euclidean norm over all values of a case."""
    sizes = np.array([float(np.linalg.norm(u)) for u in truth])
    gaps = np.array([float(np.linalg.norm(u - v)) for u, v in zip(truth, found, strict=True)])
    return float(np.mean(gaps / _not_nil(sizes, NIL)))


def crps_normal(gap: np.ndarray, std: np.ndarray) -> np.ndarray:
    """std (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)), z = gap / std, of a normal distribution
    whose mean is `gap` away from the truth; |gap| where std is zero."""
    from scipy.special import ndtr

    known = std > 1e-12 * np.abs(gap)
    size = np.where(known, std, 1.0)
    z = np.where(known, gap / size, 0.0)
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    spread = size * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))
    return np.where(known, spread, np.abs(gap))


def spearman(truth: np.ndarray, found: np.ndarray) -> float | None:
    """The correlation of ranks; None where there are fewer than three values or all are alike."""
    from scipy.stats import spearmanr

    if len(truth) < 3 or np.ptp(truth) == 0 or np.ptp(found) == 0:
        return None
    return float(spearmanr(truth, found).statistic)


@dataclass(frozen=True, eq=False)
class _Compared:
    """One output over cases: truth and mean of each, and the ends of its interval and its standard
    deviation where they are known."""

    truth: Sequence[np.ndarray]
    mean: Sequence[np.ndarray]
    ends: Sequence[tuple[np.ndarray, np.ndarray]] | None = None
    std: Sequence[np.ndarray] | None = None

    def coverage(self, whole: bool) -> float | None:
        """Share of values inside, averaged over cases; `whole`: of cases inside at all times."""
        if self.ends is None:
            return None
        inside = [
            (low <= u) & (u <= high) for u, (low, high) in zip(self.truth, self.ends, strict=True)
        ]
        return float(np.mean([x.all() if whole else x.mean() for x in inside]))

    def width(self) -> float | None:
        """Mean length of the intervals."""
        if self.ends is None:
            return None
        return float(np.mean([np.mean(high - low) for low, high in self.ends]))

    def crps(self) -> float:
        """Mean over values, averaged over cases."""
        spreads = self.std or [np.zeros_like(v) for v in self.mean]
        both = zip(self.truth, self.mean, spreads, strict=True)
        return float(np.mean([crps_normal(u - v, s).mean() for u, v, s in both]))

    def flat(self) -> tuple[np.ndarray, np.ndarray]:
        """All values of all cases."""
        truth, mean = (np.concatenate([x.ravel() for x in v]) for v in (self.truth, self.mean))
        return truth, mean


def score(samples: Sequence[Sample], predictions: Sequence[Prediction]) -> dict[str, Score]:
    """Scores of every predicted output, by name."""
    if not len(samples):
        raise ValueError("expected at least one sample to score, got none")
    pairs = list(zip(samples, predictions, strict=True))
    bands = intervals(predictions, 0.95)
    kept = Measures()
    scores = {}
    for name in predictions[0].mean:
        found = _of_field(name, pairs, bands)
        scores[name] = Score(
            rrmse_field(found.truth, found.mean),
            q2(*found.flat()),
            found.coverage(whole=False),
            relative_l2(found.truth, found.mean),
            found.width(),
            found.crps(),
            defect=_defect(name, pairs, kept),
        )
    for name in predictions[0].scalars:
        found = _of_scalar(name, pairs, bands)
        truth, mean = np.array(found.truth), np.array(found.mean)
        scores[name] = Score(
            rrmse_scalar(truth, mean),
            q2(truth, mean),
            found.coverage(whole=True),
            relative_l2(found.truth, found.mean),
            found.width(),
            found.crps(),
            spearman(truth.mean(axis=1), mean.mean(axis=1)),
        )
    return scores


def _of_field(name: str, pairs: _Pairs, bands: _Bands) -> _Compared:
    truth = [s.fields[name].values for s, _ in pairs]
    mean = [p.mean[name].values for _, p in pairs]
    known = bool(bands) and name in bands[0][0].fields
    ends = [(low.fields[name].values, high.fields[name].values) for low, high in bands if known]
    std = [(p.std or {})[name].values for _, p in pairs if name in (p.std or {})]
    return _Compared(truth, mean, ends or None, std or None)


def _defect(name: str, pairs: _Pairs, kept: Measures) -> float:
    truth = [s.fields[name] for s, _ in pairs]
    meshes = [s.case.mesh_of(u.part) for (s, _), u in zip(pairs, truth, strict=True)]
    return float(integral_defects(meshes, truth, [p.mean[name] for _, p in pairs], kept).mean())


def _of_scalar(name: str, pairs: _Pairs, bands: _Bands) -> _Compared:
    truth = [s.scalars[name].value for s, _ in pairs]
    mean = [p.scalars[name].mean for _, p in pairs]
    spreads = [p.scalars[name].std for _, p in pairs]
    std = [spread for spread in spreads if spread is not None]
    known = bool(bands) and name in bands[0][0].scalars
    ends = [(low.scalars[name].value, high.scalars[name].value) for low, high in bands if known]
    return _Compared(truth, mean, ends or None, std or None)


def intervals(predictions: Sequence[Prediction], level: float) -> Sequence[tuple[Values, Values]]:
    """Intervals of all predictions; none where they do not support the level."""
    try:
        return [p.interval(level) for p in predictions]
    except ValueError:
        return []


def calibration(
    samples: Sequence[Sample], predictions: Sequence[Prediction], levels: Sequence[float]
) -> dict[str, list[float]]:
    """For each scalar with a known interval: the share of simulations whose truth lies in it, by
    level; NaN where the level is not supported."""
    pairs = list(zip(samples, predictions, strict=True))
    by_level = [intervals(predictions, level) for level in levels]
    known = {k for bands in by_level for low, _ in bands for k in low.scalars}
    observed: dict[str, list[float]] = {k: [] for k in predictions[0].scalars if k in known}
    for bands in by_level:
        for name, shares in observed.items():
            share = _of_scalar(name, pairs, bands).coverage(whole=True)
            shares.append(float("nan") if share is None else share)
    return observed
