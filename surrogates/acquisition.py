"""Which cases to simulate next: those that tell most, promise most, or lie furthest from all seen.

A criterion values every candidate at once; the best is taken, what it would tell is taken into
account, and the rest are valued again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case
from fieldcast.meshes.topology import signed_measures

from .surrogate import Joint, Predictor

TINY = 1e-300
NAMED = 3
"""Outputs that a reason names."""
STILL = 1e-9
"""What varies by less, relative to its size, does not vary."""


@dataclass(frozen=True)
class Suggestion:
    """A candidate to simulate: its `index` among the candidates, its `value` by the criterion (per
    second where costs are given) when it was taken, and why, in words."""

    index: int
    case: Case
    value: float
    reason: str


@dataclass(frozen=True, eq=False)
class Asked:
    """What a criterion judges: candidates by a predictor, beside cases that were `known` before."""

    predictor: Predictor
    candidates: Sequence[Case]
    known: Sequence[Case]

    def joint(self, cases: Sequence[Case], output: str) -> Joint:
        """What is known of `output` at `cases` together.

        Raises:
            ValueError: the surrogate can't tell.
        """
        found = self.predictor.joint(cases, output)
        if found is None:
            raise ValueError(
                f"expected a surrogate that knows how its errors at several cases hang together, "
                f"such as mmgp, got {type(self.predictor.recipe).__name__}; suggest by "
                "SpaceFilling (--criterion space), or fit another"
            )
        return found

    def inputs(self, cases: Sequence[Case]) -> Float[np.ndarray, "case input"]:
        """What tells `cases` apart, standardised.

        Raises:
            ValueError: the surrogate has none.
        """
        found = self.predictor.inputs(cases)
        if found is None:
            raise ValueError(
                "expected a surrogate that tells cases apart by numbers, such as mmgp, got "
                f"{type(self.predictor.recipe).__name__}; fit another"
            )
        return found


class Ranking(ABC):
    """Candidates as they are valued after some of them were taken; a value itself."""

    @property
    @abstractmethod
    def values(self) -> Float[np.ndarray, " case"]:
        """What each candidate is worth; never negative."""

    @abstractmethod
    def after(self, index: int) -> Ranking:
        """Once this candidate is taken."""

    @abstractmethod
    def reason(self, index: int) -> str:
        """Why this candidate, in words."""


class Criterion(ABC):
    """What makes a case worth its simulation. A frozen dataclass of settings."""

    @abstractmethod
    def ranking(self, asked: Asked) -> Ranking:
        """All candidates, none taken yet.

        Raises:
            ValueError: a predictor that does not know what the criterion needs.
        """


@dataclass(frozen=True)
class VarianceReduction(Criterion):
    """The share of the variance over all candidates that a simulation would remove,

    v(c) = mean_o sum_r C_o(r, c)^2 / (C_o(c, c) + noise_o(c)) / sum_r C_o(r, r),

    C_o the joint covariance of output o (Cohn 1996, doi:10.1016/0893-6080(95)00137-9; ALC, IMSE).
    `outputs` empty: all that are predicted. What is taken is conditioned on, which for a Gaussian
    process needs no answer: C - C(., c) C(c, .) / (C(c, c) + noise(c)).
    """

    outputs: tuple[str, ...] = ()

    def ranking(self, asked: Asked) -> Ranking:
        signature = asked.predictor.signature
        outputs = self.outputs or (*signature.fields, *signature.scalars)
        found = {name: asked.joint(asked.candidates, name) for name in outputs}
        return _Reduction(
            {k: j.covariance for k, j in found.items()},
            {k: j.noise for k, j in found.items()},
            {k: max(float(np.trace(j.covariance)), TINY) for k, j in found.items()},
        )


@dataclass(frozen=True, eq=False)
class _Reduction(Ranking):
    covariances: dict[str, np.ndarray]
    noises: dict[str, np.ndarray]
    totals: dict[str, float]

    @property
    def values(self) -> Float[np.ndarray, " case"]:
        return np.mean(list(self._shares().values()), axis=0)

    def after(self, index: int) -> Ranking:
        covariances = {
            k: conditioned(c, self.noises[k], index) for k, c in self.covariances.items()
        }
        return replace(self, covariances=covariances)

    def reason(self, index: int) -> str:
        shares = {k: float(v[index]) for k, v in self._shares().items()}
        names = sorted(shares, key=lambda k: -shares[k])[:NAMED]
        said = ", ".join(f"{shares[k]:.2g} of {k}" for k in names)
        return f"would remove this share of the variance over the candidates: {said}"

    def _shares(self) -> dict[str, np.ndarray]:
        return {
            k: np.square(c).sum(axis=0) / _variances(c, self.noises[k]) / self.totals[k]
            for k, c in self.covariances.items()
        }


def conditioned(
    covariance: Float[np.ndarray, "case case"], noise: Float[np.ndarray, " case"], index: int
) -> Float[np.ndarray, "case case"]:
    """C - C(., i) C(i, .) / (C(i, i) + noise(i)): once case i is answered."""
    row = covariance[index]
    return covariance - np.outer(row, row) / _variances(covariance, noise)[index]


def _variances(
    covariance: Float[np.ndarray, "case case"], noise: Float[np.ndarray, " case"]
) -> Float[np.ndarray, " case"]:
    return np.maximum(np.diagonal(covariance) + noise, TINY)


@dataclass(frozen=True)
class ExpectedImprovement(Criterion):
    """How much less (`minimise`) or more than the best a scalar is expected to be,

    E max(b - Y, 0) = (b - m) Phi(z) + s phi(z), z = (b - m) / s   (Jones, Schonlau, Welch 1998,
    doi:10.1023/A:1008306431147),

    with mean m and standard deviation s, noise excluded, in the scale that the output was learnt
    in: of a logarithm it is the relative improvement. `best` is the best value so far; None takes
    the predictor's best mean over the known cases, or over the candidates where none are named.
    Batches take each candidate's mean for its answer (kriging believer, Ginsbourger et al. 2010,
    doi:10.1007/978-3-642-10701-6_6).
    """

    output: str
    minimise: bool = True
    best: float | None = None

    def ranking(self, asked: Asked) -> Ranking:
        count = len(asked.candidates)
        joint = asked.joint([*asked.candidates, *asked.known], self.output)
        if joint.mean is None:
            raise ValueError(
                f"expected a scalar to improve, {self.output!r} is a field; name one of "
                f"{sorted(asked.predictor.signature.scalars)}"
            )
        sign = _sign(asked, self.output) if joint.logarithmic else 0
        towards = -1.0 if self.minimise else 1.0
        # Promises that are to be large, whichever way the output is to go.
        means = (sign or 1) * towards * joint.mean
        best = float(means[count:].max() if asked.known else means.max())
        if self.best is not None:
            size = np.log(max(sign * self.best, TINY)) if sign else self.best
            best = float((sign or 1) * towards * size)
        covariance, noise = joint.covariance[:count, :count], joint.noise[:count]
        return _Improvement(means[:count], covariance, noise, best, bool(sign))


def _sign(asked: Asked, output: str) -> int:
    """Of an output whose logarithm was learnt."""
    [answer] = asked.predictor.predict(asked.candidates[:1])
    return -1 if answer.scalars[output].mean.mean() < 0 else 1


@dataclass(frozen=True, eq=False)
class _Improvement(Ranking):
    means: np.ndarray
    covariance: np.ndarray
    noise: np.ndarray
    best: float
    relative: bool

    @property
    def values(self) -> Float[np.ndarray, " case"]:
        spread = np.sqrt(np.maximum(np.diagonal(self.covariance), 0.0))
        return expected_improvement(self.means - self.best, spread)

    def after(self, index: int) -> Ranking:
        covariance = conditioned(self.covariance, self.noise, index)
        return replace(self, covariance=covariance, best=max(self.best, float(self.means[index])))

    def reason(self, index: int) -> str:
        gap = self.means[index] - self.best
        spread = np.sqrt(max(self.covariance[index, index], 0.0))
        kind = " (relative)" if self.relative else ""
        side = "better" if gap > 0 else "worse"
        return f"expected {abs(gap):.2g} {side} than the best, give or take {spread:.2g}{kind}"


def expected_improvement(
    gap: Float[np.ndarray, " case"], spread: Float[np.ndarray, " case"]
) -> Float[np.ndarray, " case"]:
    """gap Phi(z) + spread phi(z), z = gap / spread; max(gap, 0) without a spread."""
    from scipy.special import ndtr

    known = spread > 1e-12 * np.maximum(np.abs(gap), TINY)
    size = np.where(known, spread, 1.0)
    # Beyond 40 standard deviations nothing is left of the density.
    z = np.clip(np.where(known, gap / size, 0.0), -40.0, 40.0)
    density = np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)
    return np.maximum(np.where(known, gap * ndtr(z) + size * density, gap), 0.0)


@dataclass(frozen=True)
class SpaceFilling(Criterion):
    """The distance to the nearest case, known or taken, in the standardised inputs (maximin;
    Johnson, Moore, Ylvisaker 1990, doi:10.1016/0378-3758(90)90122-B). Where no known cases are
    named, that to the middle of the training set."""

    def ranking(self, asked: Asked) -> Ranking:
        inputs = asked.inputs([*asked.candidates, *asked.known])
        own, known = np.split(inputs, [len(asked.candidates)])
        if not len(known):
            known = np.zeros((1, own.shape[1]))
        nearest = distances(own, known).min(axis=1)
        return _Spread(own, nearest)


@dataclass(frozen=True, eq=False)
class _Spread(Ranking):
    inputs: np.ndarray
    nearest: np.ndarray

    @property
    def values(self) -> Float[np.ndarray, " case"]:
        return self.nearest

    def after(self, index: int) -> Ranking:
        closer = distances(self.inputs, self.inputs[[index]])[:, 0]
        return replace(self, nearest=np.minimum(self.nearest, closer))

    def reason(self, index: int) -> str:
        return f"{self.nearest[index]:.2g} standard deviations of the inputs from the nearest case"


def distances(
    some: Float[np.ndarray, "case input"], others: Float[np.ndarray, "other input"]
) -> Float[np.ndarray, "case other"]:
    """Euclidean."""
    from scipy.spatial.distance import cdist

    return cdist(some, others)


def suggest(
    predictor: Predictor,
    candidates: Sequence[Case],
    n: int = 1,
    criterion: Criterion | None = None,
    *,
    cost: Sequence[float] | Float[np.ndarray, " case"] | None = None,
    known: Sequence[Case] = (),
) -> list[Suggestion]:
    """The `n` candidates to simulate next, the best first; fewer where fewer are left.

    `criterion` None is `VarianceReduction` of all outputs. `cost` is the time that each candidate
    takes [s]: values are divided by it. `known` are the cases that were simulated before, solved
    or not; none of them is suggested, and none twice.

    Raises:
        ValueError: no candidate that is not known; costs that are not positive; a predictor that
            does not know what the criterion needs.
    """
    if n < 1:
        raise ValueError(f"expected to suggest at least one case, got {n}")
    price = _prices(cost, len(candidates))
    seen = {case.id for case in known}
    identities = np.array([case.id for case in candidates], dtype=object)
    free = np.array([i not in seen for i in identities], dtype=bool)
    if not free.any():
        raise ValueError(
            f"expected a candidate that was not simulated before, all {len(candidates)} were; "
            "make more"
        )
    ranking = (criterion or VarianceReduction()).ranking(Asked(predictor, candidates, known))
    found: list[Suggestion] = []
    while len(found) < n and free.any():
        values = np.where(free, ranking.values / price, -1.0)
        best = int(values.argmax())
        reason = ranking.reason(best)
        found.append(Suggestion(best, candidates[best], float(values[best]), reason))
        free &= identities != identities[best]
        ranking = ranking.after(best)
    return found


def _prices(
    cost: Sequence[float] | Float[np.ndarray, " case"] | None, count: int
) -> Float[np.ndarray, " case"]:
    if cost is None:
        return np.ones(count)
    price = np.asarray(cost, dtype=float)
    if price.shape != (count,) or not (np.isfinite(price) & (price > 0)).all():
        raise ValueError(
            f"expected {count} positive costs [s], one per candidate, got {price.shape} of them "
            f"from {price.min(initial=np.inf):.3g} to {price.max(initial=-np.inf):.3g}"
        )
    return price


def first_design(candidates: Sequence[Case], count: int, seed: int = 0) -> list[int]:
    """Numbers of `count` candidates that are spread evenly, before any predictor knows what
    matters: one drawn by `seed`, then greedily those of least

    sum_j prod_k 1 / ((x_k - x_jk)^2 + 1 / N^2)

    over those taken, N the number of candidates. Unlike distances it spreads them in every
    projection, too (maximum projection; Joseph, Gul, Ba 2015, doi:10.1093/biomet/asv002). x are
    the columns that `described` gives, scaled to [0, 1]. More of them begin with the same.
    """
    count = min(count, len(candidates))
    columns = described(candidates)
    low, span = columns.min(axis=0), np.ptp(columns, axis=0)
    varies = span > STILL * np.abs(columns).max(axis=0)
    x = (columns - low)[:, varies] / span[varies]
    taken = [int(np.random.default_rng(seed).integers(len(candidates)))]
    crowding = np.full(len(candidates), -np.inf)
    while len(taken) < count:
        close = -np.log((x - x[taken[-1]]) ** 2 + 1.0 / len(x) ** 2).sum(axis=1)
        crowding = np.logaddexp(crowding, close)
        crowding[taken] = np.inf
        taken.append(int(crowding.argmin()))
    return taken


def described(cases: Sequence[Case]) -> Float[np.ndarray, "case column"]:
    """Cases by numbers that need no predictor: their parameters, and the extents and the measure
    (length, area or volume) of their mesh."""
    names = set.intersection(*(set(case.parameters) for case in cases))
    rows = []
    for case in cases:
        points, (cells, _) = case.mesh.points, case.mesh.simplices
        measure = float(np.abs(signed_measures(points, cells)).sum()) if len(cells) else 0.0
        numbers = [float(case.parameters[k].value.mean()) for k in sorted(names)]
        rows.append([*numbers, *np.ptp(points, axis=0), measure])
    return np.array(rows)
