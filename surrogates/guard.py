"""Whether a case lies where the training set can support an answer, with a measured rate of false
alarms.

Several detectors give a score each: how far inputs of one source lie outside their range, how far
the nearest training cases are, how unusual the combination of all inputs is, what of a shape or
known field no mode can tell, and the share of points outside the common shape. All are scored on
training cases that were held out. The survival function of those scores, with an exponential tail
beyond their upper fifth, turns a score into a surprise, -log p; the largest of a case's surprises
is judged, at the quantile of that same quantity over the held-out cases.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Trust
from fieldcast.meshes.packed import Views
from fieldcast.meshes.prediction import Status

from .features import Features
from .surrogate import State

WARN, REJECT = 0.05, 0.01
"""Shares of cases like those of training that are warned of, and rejected."""
NEIGHBOURS, FOLDS, TAIL = 3, 40, 0.2
FLOORS = {"range": 0.02, "nearest": 0.05, "combination": 0.2, "residual": 0.1, "clamped": 0.0025}
"""The least length of a tail: a share of a range, of the typical score, or of the points."""
STILL = 5e-3
"""By how much of its size a shape may differ where all training shapes are alike."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where cases lie: the columns of `Features.raw`, the part of each shape and known field that
    its modes leave out, and the share of points outside the common shape."""

    raw: Float[np.ndarray, "case column"]
    residuals: Mapping[str, Float[np.ndarray, " case"]]
    clamped: Float[np.ndarray, " case"]

    def rows(self, rows: np.ndarray) -> Place:
        """Some of the cases."""
        residuals = {k: r[rows] for k, r in self.residuals.items()}
        return Place(self.raw[rows], residuals, self.clamped[rows])


@dataclass(frozen=True, eq=False)
class Detectors:
    """What cases, given by the columns of `Features.raw`, say of where they lie. Ranges and nearest
    cases are told source by source."""

    features: Features
    raw: Float[np.ndarray, "case column"]

    def scores(self, place: Place) -> dict[str, Float[np.ndarray, " case"]]:
        """By detector, "kind source"."""
        outside = self.outside(place.raw)
        own, asked = (self.features.standardised(raw) for raw in (self.raw, place.raw))
        found = {}
        for source in dict.fromkeys(self.features.sources):
            at = np.array([s == source for s in self.features.sources])
            found[f"range {source}"] = outside[:, at].max(axis=1)
            found[f"nearest {source}"] = nearest(own[:, at], asked[:, at])
        # Shrunk, so that many inputs of few cases have a covariance.
        covariance = 0.9 * own.T @ own / len(own) + 0.1 * np.eye(own.shape[1])
        solved = np.linalg.solve(covariance, asked.T).T
        found["combination"] = np.sqrt((solved * asked).mean(axis=1))
        found |= {f"residual {name}": r for name, r in place.residuals.items()}
        return found | {"clamped": place.clamped}

    def outside(self, raw: Float[np.ndarray, "case column"]) -> Float[np.ndarray, "case column"]:
        """How far each column lies outside the range here, in ranges of the whole training set."""
        low, high = self.raw.min(axis=0), self.raw.max(axis=0)
        return np.maximum(raw - high, low - raw) / (self.features.high - self.features.low)


def nearest(
    own: Float[np.ndarray, "known column"], asked: Float[np.ndarray, "case column"]
) -> Float[np.ndarray, " case"]:
    """Mean distance to the nearest `NEIGHBOURS` of `own`."""
    from scipy.spatial import cKDTree

    count = min(NEIGHBOURS, len(own))
    distance = cKDTree(own).query(asked, k=count)[0]
    return distance.reshape(len(asked), -1).mean(axis=1)


@dataclass(frozen=True, eq=False)
class Tail:
    """Scores of one detector on held-out cases, ascending; `length` that of the tail beyond."""

    scores: Float[np.ndarray, " case"]
    length: float

    @classmethod
    def of(cls, detector: str, scores: Float[np.ndarray, " case"]) -> Tail:
        """From held-out cases."""
        ordered = np.sort(scores)
        floor = FLOORS[detector.split(" ")[0]]
        if detector.startswith(("nearest", "combination", "residual")):
            floor = max(floor * float(np.median(ordered)), 1e-12)
        if detector == "residual shape" and not ordered.any():
            floor = STILL
        top = ordered[-max(round(TAIL * len(ordered)), 1) :]
        return cls(ordered, max(float(top.mean() - top[0]), floor))

    def surprise(self, scores: Float[np.ndarray, " case"]) -> Float[np.ndarray, " case"]:
        """-log of the share of cases with such a score."""
        n = len(self.scores)
        count = max(round(TAIL * n), 1)
        edge = self.scores[-count]
        above = n - np.searchsorted(self.scores, scores, side="left")
        inside = -np.log((np.maximum(above, count) + 1) / (n + 1))
        return inside + np.maximum(scores - edge, 0.0) / self.length


@dataclass(frozen=True, eq=False)
class Guard:
    """Judges cases. `units` are those of the parameters; `limits` the surprises above which a case
    is warned of and rejected."""

    units: Mapping[str, str]
    detectors: Detectors
    tails: Mapping[str, Tail]
    limits: tuple[float, float]

    @classmethod
    def fit(
        cls,
        features: Features,
        place: Place,
        units: Mapping[str, str],
        groups: Sequence[int] | None = None,
    ) -> Guard:
        """From the training cases; `residuals` of each are from modes that it had no part in. Cases
        of one of the `groups`, such as steps of one simulation, are held out together."""
        n = len(place.raw)
        group = np.unique(groups if groups is not None else np.arange(n), return_inverse=True)[1]
        if group.max() == 0:
            group = np.arange(n)
        order = np.random.default_rng(n).permutation(group.max() + 1)
        rows: dict[str, np.ndarray] = {}
        for chosen in np.array_split(order, min(FOLDS, len(order))):
            part = np.flatnonzero(np.isin(group, chosen))
            rest = Detectors(features, np.delete(place.raw, part, axis=0))
            for name, scores in rest.scores(place.rows(part)).items():
                rows.setdefault(name, np.empty(n))[part] = scores
        tails = {name: Tail.of(name, scores) for name, scores in rows.items()}
        surprises = np.max([tails[k].surprise(s) for k, s in rows.items()], axis=0)
        limits = limit(surprises, WARN), limit(surprises, REJECT)
        return cls(dict(units), Detectors(features, place.raw), tails, limits)

    def state(self) -> State:
        """For `restored`; the features apart."""
        tails = {f"tails/{name}": tail.scores for name, tail in self.tails.items()}
        values = {
            "units": dict(self.units),
            "lengths": {name: tail.length for name, tail in self.tails.items()},
            "limits": list(self.limits),
        }
        return State({"raw": self.detectors.raw, **tails}, values)

    @classmethod
    def restored(cls, state: State, features: Features) -> Guard:
        """From `state`."""
        v = state.values
        tails = {k: Tail(state.arrays[f"tails/{k}"], length) for k, length in v["lengths"].items()}
        warn, reject = v["limits"]
        return cls(v["units"], Detectors(features, state.arrays["raw"]), tails, (warn, reject))

    def judge(self, place: Place) -> Verdicts:
        """A verdict per case, with a reason where it is not ok."""
        return Verdicts(self, place)

    def reason(
        self, surprises: Mapping[str, float], scores: Mapping[str, np.ndarray], place: Place, i: int
    ) -> str:
        """Why a case is not ok, the most surprising first; what one detector says better is said
        once."""
        reasons: list[str] = []
        for detector in sorted(surprises, key=lambda k: -surprises[k]):
            kind, _, source = detector.partition(" ")
            score, typical = float(scores[detector][i]), self.tails[detector]
            if kind == "range":
                reasons += self._outside(source, place.raw[i])
            elif kind == "clamped":
                reasons.append(f"{score:.0%} of the points lie outside the common shape")
            elif kind == "residual":
                most = float(typical.scores[-1])
                much = f"{score / most:.2g} times" if most > 1e-12 * score else "far"
                reasons.append(f"its {source} differs {much} more from all seen than any of them")
            elif kind == "nearest" and f"range {source}" not in surprises:
                usual = max(float(np.median(typical.scores)), 1e-300)
                reasons.append(
                    f"the nearest {source} seen is {score / usual:.2g} times as far as usual"
                )
            elif kind == "combination" and not reasons:
                reasons.append("no case seen combines its inputs like this")
        return "; ".join(reasons)

    def _outside(self, source: str, raw: Float[np.ndarray, " column"]) -> list[str]:
        """The columns of a source that lie outside their range, the furthest first."""
        far = self.detectors.outside(raw[None])[0]
        features, high = self.detectors.features, self.detectors.raw.max(axis=0)
        far[[s != source for s in features.sources]] = 0.0
        said = []
        for k in np.argsort(-far)[:3].tolist():
            if far[k] > 0:
                side = "above" if raw[k] > high[k] else "below"
                what = self._told(features, k, raw[k])
                said.append(f"{what} is {far[k]:.2g} ranges {side} the training set")
        return said

    def _told(self, features: Features, k: int, raw: float) -> str:
        """A column by its name, a parameter with its value."""
        name = features.names[k]
        parameter = name.partition("[")[0]
        if parameter not in self.units:
            return name
        value = float(features.transforms[parameter].inverse(np.array(raw)))
        return f"{name} {value:.4g} {self.units[parameter]}".rstrip()


@dataclass(frozen=True, eq=False)
class Verdicts(Views[Trust]):
    """What the guard says of cases. All are scored when the first is asked for, and put into words
    one by one."""

    guard: Guard
    place: Place

    def __len__(self) -> int:
        return len(self.place.raw)

    @cached_property
    def scores(self) -> dict[str, Float[np.ndarray, " case"]]:
        """By detector."""
        return self.guard.detectors.scores(self.place)

    @cached_property
    def surprises(self) -> dict[str, Float[np.ndarray, " case"]]:
        """By detector."""
        return {k: self.guard.tails[k].surprise(s) for k, s in self.scores.items()}

    def _at(self, i: int) -> Trust:
        warn, reject = self.guard.limits
        surprise = max(float(s[i]) for s in self.surprises.values())
        score = float(surprise / warn)
        if surprise <= warn:
            return Trust("ok", score)
        own = {k: float(s[i]) for k, s in self.surprises.items() if s[i] > warn}
        status: Status = "reject" if surprise > reject else "warn"
        return Trust(status, score, self.guard.reason(own, self.scores, self.place, i))


def limit(surprises: Float[np.ndarray, " case"], rate: float) -> float:
    """The surprise that a share `rate` of new cases exceeds: an order statistic of the held-out
    ones, and where they are too few for that their largest, moved on by the exponential tail that
    surprises have."""
    n = len(surprises)
    rank = math.ceil((n + 1) * (1.0 - rate) - 1e-9)
    if rank <= n:
        return float(np.sort(surprises)[rank - 1])
    return float(surprises.max() + math.log(1.0 / ((n + 1) * rate)))


def told(n: int) -> dict[str, object]:
    """Of the guard of `n` training cases, for the fit report."""
    return {
        "false_alarms_warn": WARN,
        "false_alarms_reject": REJECT,
        "held_out": n,
        "extrapolated": [rate for rate in (WARN, REJECT) if (n + 1) * rate < 1.0],
    }
