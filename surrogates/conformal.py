"""Intervals that hold: any surrogate, calibrated on simulations that it was not fitted to.

The score of a simulation is how far its truth lies from an answer that had no part of it, in
standard deviations of that answer; for a field the largest over its points, components and times,
so that a band holds the whole field. With the scores R_i of n simulations an interval of level
1 - a takes the ceil((n + 1)(1 - a))-th smallest, and is refused where there is none. Simulations
are held out whole, never points of them.

Up to as many simulations as there are folds each is left out alone (jackknife), up to `MANY` a
fold at a time (cross-validation), beyond that a part of them is held out once (split). An interval
is m(x) +- R s(x), with mean m and standard deviation s of the answer by all simulations and R the
score of that rank (split: Lei et al. 2018, doi:10.1080/01621459.2017.1307116; jackknife and
cross-validation hold their level where an answer changes little by leaving a fold out). With `plus`
it ends at the order statistics of m_i(x) +- R_i s_i(x), m_i and s_i of the answer that had no part
of simulation i (jackknife+, CV+; Barber, Candes, Ramdas, Tibshirani 2021, doi:10.1214/20-AOS1965):
never below 1 - 2a whatever the surrogate, but wider, as the answers without a fold differ, too.
Taken at every point, they hold the field as a whole: where the truth leaves the band anywhere, it
lost against as many simulations as a number would have. By points: conformal risk control,
Angelopoulos et al. 2022, arXiv:2208.02814.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Cases, Field, Prediction, Predictions, Sample, Scalar
from fieldcast.meshes.packed import Samples
from fieldcast.meshes.prediction import Band, Normal, Values, check_level

from .baselines import PodRidge
from .cross_validation import split
from .mmgp import MMGP
from .signature import Signature
from .surrogate import Card, Joint, Predictor, Progress, State, Surrogate, Trials, quiet
from .wrapper import Wrapped, Wrapper

MANY = 500
HELD = 0.2
"""Of more than `MANY` simulations, the share that is held out; never fewer than 99."""
REFIT = 0.3
"""Time of a fit without a fold beside that of the first, as observed."""
FLOOR = 0.1
"""Spreads of a field are not taken below this share of their mean square root over the case: where
a boundary holds it, neither the spread nor the error is more than rounding."""
SHARES = 400
"""Quantiles of the scores over the points of a case that are kept for bands by points."""


@dataclass(frozen=True)
class Conformal(Wrapper):
    """`inner` with calibrated intervals, of any level that the number of simulations supports (9
    for 90 %, 19 for 95 %, 99 for 99 %).

    `folds` of cross-validation: fewer are faster, but the surrogates without a fold then err more
    than the whole, and intervals are too wide. `plus` keeps those surrogates, whose answers widen
    the intervals so far that a lower bound of coverage is proven. Bands of fields hold the field as
    a whole in a share of simulations that is the level; with `pointwise` they are narrower and hold
    that share of the points, averaged over simulations.
    """

    inner: Surrogate = field(default_factory=MMGP)
    folds: int = 25
    plus: bool = False
    pointwise: bool = False

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ValueError(f"expected at least 2 folds, got {self.folds}")
        super().__post_init__()

    def fit(
        self,
        samples: Sequence[Sample],
        *,
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
    ) -> ConformalPredictor:
        samples = Samples.pack(samples)
        Signature.of(samples)
        if len(samples) < 3:
            raise ValueError(f"expected at least 3 training cases to calibrate, got {len(samples)}")
        if len(samples) > MANY:
            return self._split(samples, validation, seed, progress)
        trials = self.inner.trials(samples, progress)
        if validation is None:
            everything = list(range(len(samples)))
            whole = trials.fit(everything, seed=seed, progress=progress)
        else:
            whole = self.inner.fit(samples, validation=validation, seed=seed, progress=progress)
        return self.calibrated(whole, trials, seed=seed, progress=progress)

    def calibrated(
        self, whole: Predictor, trials: Trials, *, seed: int = 0, progress: Progress = quiet
    ) -> ConformalPredictor:
        """By cross-validation, `whole` fitted to all samples of `trials`."""
        n = len(trials.samples)
        parts = split(n, min(n, self.folds), seed=seed)
        members, scores = [], []
        for k, part in enumerate(parts):
            rest = np.setdiff1d(np.arange(n), part)
            member = trials.fit(rest.tolist(), seed=seed, like=whole)
            held = [trials.samples[int(i)] for i in part]
            answers = member.predict([s.case for s in held])
            scores.append(scored(held, answers, self.pointwise))
            members += [member] if self.plus else []
            progress("calibrate", k + 1, len(parts))
        alone, folds = len(parts) == n, f"with {len(parts)} folds"
        if self.plus:
            method = "jackknife+" if alone else f"CV+ {folds}"
            return self._predictor(whole, tuple(members), scores, method)
        every = {k: np.concatenate([s[k] for s in scores]) for k in scores[0]}
        method = "jackknife" if alone else f"cross-validation {folds}"
        return self._predictor(whole, (), [every], method)

    def _split(
        self,
        samples: Samples,
        validation: Sequence[Sample] | None,
        seed: int,
        progress: Progress,
    ) -> ConformalPredictor:
        n = len(samples)
        order = np.random.default_rng(seed).permutation(n)
        count = max(round(HELD * n), 99)
        rest, part = np.sort(order[count:]), np.sort(order[:count])
        chosen = Samples.pack([samples[int(i)] for i in rest])
        whole = self.inner.fit(chosen, validation=validation, seed=seed, progress=progress)
        held = [samples[int(i)] for i in part]
        scores = scored(held, whole.predict([s.case for s in held]), self.pointwise)
        progress("calibrate", 1, 1)
        return self._predictor(whole, (), [scores], f"split, {count} simulations held out")

    def _predictor(
        self,
        whole: Predictor,
        members: tuple[Predictor, ...],
        scores: Sequence[Mapping[str, np.ndarray]],
        method: str,
    ) -> ConformalPredictor:
        calibration = Calibration(scores, self.pointwise)
        n = calibration.n
        told = {"method": method, "simulations": n, "largest_level": n / (n + 1)}
        card = replace(whole.card, fit={**whole.card.fit, "conformal": told})
        return ConformalPredictor(self, whole.signature, card, whole, members, calibration)

    def restore(self, signature: Signature, card: Card, state: State) -> ConformalPredictor:
        parts = state.parts()
        scores = [s.arrays for s in parts.pop("scores").parts().values()]
        found = {k: self.inner.restore(signature, card, s) for k, s in parts.items()}
        whole = found.pop("whole")
        calibration = Calibration(scores, self.pointwise)
        return ConformalPredictor(self, signature, card, whole, tuple(found.values()), calibration)

    def estimate(self, samples: Sequence[Sample]) -> tuple[float, int] | None:
        found, n = self.inner.estimate(samples), len(samples)
        if found is None:
            return None
        more = min(n, self.folds) if n <= MANY else 0
        return found[0] * (1.0 + REFIT * more), found[1]

    @classmethod
    def tiny(cls) -> Conformal:
        return cls(PodRidge(), folds=3)


@dataclass(frozen=True, eq=False)
class ConformalPredictor(Wrapped):
    """`whole` answers; `members` and `calibration` say how wide its intervals are."""

    members: tuple[Predictor, ...]
    calibration: Calibration

    def answer(self, cases: Cases, device: str | None) -> Predictions:
        found, *others = self.whole.beside(self.members, cases, device)
        plain = [replace(p, parts=None, trust=()) for p in others]
        return replace(found, band=Conformed(self.calibration, found.band, tuple(plain)))

    def state(self) -> State:
        scores = {str(k): State(dict(s)) for k, s in enumerate(self.calibration.scores)}
        members = {f"member{k}": member.state() for k, member in enumerate(self.members)}
        parts = {"scores": State.nested(scores), "whole": self.whole.state(), **members}
        return State.nested(parts)

    def joint(self, cases: Sequence[Case], output: str) -> Joint | None:
        return self.whole.joint(cases, output)

    @property
    def largest_level(self) -> float:
        return self.calibration.n / (self.calibration.n + 1)


def scored(
    samples: Sequence[Sample], predictions: Sequence[Prediction], pointwise: bool
) -> dict[str, Float[np.ndarray, "case share"]]:
    """Scores of each output; of a field with `pointwise` `SHARES` quantiles over its values, else
    one."""
    found: dict[str, list[np.ndarray]] = {}
    for sample, prediction in zip(samples, predictions, strict=True):
        places = _places(prediction, sample)
        for name, z in places.items():
            size = np.abs(np.where(np.isnan(z), np.inf, z)).ravel()
            if pointwise and name in prediction.mean:
                at = (np.arange(SHARES) + 0.5) / SHARES
                size = np.quantile(size, at, method="inverted_cdf")
            else:
                size = size.max(keepdims=True)
            found.setdefault(name, []).append(size)
    return {name: np.array(rows) for name, rows in found.items()}


def _places(prediction: Prediction, sample: Sample) -> dict[str, np.ndarray]:
    """Where the truth of each output lies, in standard deviations."""
    normal = _normal(prediction.band)
    places = {}
    for name, mean in prediction.mean.items():
        truth = sample.fields[name].values
        places[name] = normal.place(name, mean.values, _spread(prediction, name), truth)
    for name, e in prediction.scalars.items():
        truth = sample.scalars[name].value
        places[name] = normal.place(name, e.mean, _spread(prediction, name), truth)
    return places


def _normal(band: Band) -> Normal:
    """The distribution that scores are told in: that of the inner surrogate, where it has one."""
    return band if isinstance(band, Normal) else Normal()


def _spread(prediction: Prediction, name: str) -> np.ndarray:
    """The standard deviation that the scores of an output are told in; 1 where none is known."""
    if name in prediction.scalars:
        e = prediction.scalars[name]
        return np.ones_like(e.mean) if e.std is None else np.maximum(e.std, 1e-300)
    if name not in (prediction.std or {}):
        return np.ones_like(prediction.mean[name].values)
    std = (prediction.std or {})[name].values
    return np.maximum(std, max(FLOOR * float(np.sqrt(np.mean(std**2))), 1e-300))


@dataclass(frozen=True, eq=False)
class Calibration:
    """Scores of the simulations that each member had no part of, by output, (case, share);
    `pointwise` says what the shares of fields are."""

    scores: Sequence[Mapping[str, np.ndarray]]
    pointwise: bool

    @property
    def n(self) -> int:
        """How many simulations were held out."""
        return sum(len(next(iter(s.values()))) for s in self.scores)

    def rank(self, level: float) -> int:
        """ceil((n + 1) level).

        Raises:
            ValueError: a level that n simulations can't support.
        """
        check_level(level)
        rank = math.ceil((self.n + 1) * level - 1e-9)
        if rank > self.n:
            least = math.ceil(level / (1.0 - level) - 1e-9)
            raise ValueError(
                f"expected a level of at most {self.n / (self.n + 1):.3g}, which {self.n} "
                f"simulations can support, got {level}: that takes {least}; ask for a lower level "
                "or fit to more simulations"
            )
        return rank

    def width(self, name: str, level: float) -> float:
        """By how many standard deviations a band by points reaches to both sides: the least q for
        which (n R(q) + 1) / (n + 1) <= 1 - level, R the mean share of points beyond q."""
        self.rank(level)
        every = np.sort(np.concatenate([s[name].ravel() for s in self.scores]))
        share = 1.0 - ((1.0 - level) * (self.n + 1) - 1.0) / self.n
        return float(every[min(math.ceil(share * len(every) - 1e-9), len(every)) - 1])


@dataclass(frozen=True, eq=False)
class Conformed(Band):
    """Calibrated intervals. `members` are the answers of those that had no part of some simulations
    each, to all cases or, after `at`, to one; none where the scores are those of the answer
    itself."""

    calibration: Calibration
    inner: Band
    members: tuple[Any, ...]

    def at(self, i: int) -> Band:
        inner, members = self.inner.at(i), tuple(p[i] for p in self.members)
        return Conformed(self.calibration, inner, members)

    def joined(self, bands: Sequence[Band]) -> Band:
        from .joining import joined

        found = [b for b in bands if isinstance(b, Conformed)]
        members = []
        for k in range(len(self.members)):
            parts = [b.members[k] for b in found]
            cases = [case for p in parts for case in p.cases]
            members.append(joined(cases, parts))
        inner = self.inner.joined([b.inner for b in found])
        return Conformed(self.calibration, inner, tuple(members))

    def interval(self, prediction: Prediction, level: float) -> tuple[Values, Values]:
        self.calibration.rank(level)
        fields = {name: self._field(prediction, name, level) for name in prediction.mean}
        scalars = {}
        for name, e in prediction.scalars.items():
            ends = self._ends(prediction, name, level)
            scalars[name] = [Scalar(end, e.unit) for end in ends]
        low, high = (
            Values(
                {k: v[side] for k, v in fields.items()}, {k: v[side] for k, v in scalars.items()}
            )
            for side in (0, 1)
        )
        return low, high

    def _field(self, prediction: Prediction, name: str, level: float) -> list[Field]:
        mean = prediction.mean[name]
        if not self.calibration.pointwise:
            return [mean.with_values(end) for end in self._ends(prediction, name, level)]
        q = self.calibration.width(name, level)
        normal, spread = _normal(self.inner), _spread(prediction, name)
        return [mean.with_values(normal.moved(name, mean.values, spread, z)) for z in (-q, q)]

    def _ends(self, prediction: Prediction, name: str, level: float) -> tuple[np.ndarray, ...]:
        """The rank-th smallest of m_i + R_i s_i, and as many from the other end of m_i - R_i s_i;
        the prediction's mean is kept inside."""
        rank = self.calibration.rank(level)
        # Of each member's scores none below its own rank-th from above can be that one.
        count = self.calibration.n - rank + 1
        normal = _normal(self.inner)
        upper, lower = [], []
        for member, scores in zip(
            self.members or (prediction,), self.calibration.scores, strict=True
        ):
            mean, spread = _mean(member, name), _spread(member, name)
            largest = np.sort(scores[name][:, 0])[-count:].reshape(-1, *[1] * mean.ndim)
            upper.append(normal.moved(name, mean, spread, largest))
            lower.append(normal.moved(name, mean, spread, -largest))
        high, low = np.concatenate(upper), np.concatenate(lower)
        last = len(high) - count
        high.partition(last, axis=0)
        low.partition(count - 1, axis=0)
        high, low = high[last], low[count - 1]
        mean = _mean(prediction, name)
        return np.minimum(low, mean), np.maximum(high, mean)


def _mean(prediction: Prediction, name: str) -> np.ndarray:
    if name in prediction.scalars:
        return prediction.scalars[name].mean
    return prediction.mean[name].values
