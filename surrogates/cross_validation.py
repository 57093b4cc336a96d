"""Cross-validation: every simulation answered by a predictor that had no part of it, nor of any
simulation of its group."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fieldcast.meshes import Prediction, Sample

from .scores import Score, score, squares_of_field, squares_of_scalar
from .surrogate import Predictor, Progress, Trials, quiet

DIGITS = 12
"""Significant digits to which parameters have to agree to be of one group."""


@dataclass(frozen=True)
class Fold:
    """The samples `rows` were answered by a predictor fitted to all others; `scores` of these
    answers by output."""

    rows: tuple[int, ...]
    scores: Mapping[str, Score]


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """`predictions` in the samples' order, each by the predictor that had no part of its sample;
    `scores` of them all by output, `baselines` the same of the trivial predictors made in every
    fold, by name."""

    predictions: Sequence[Prediction]
    scores: Mapping[str, Score]
    folds: tuple[Fold, ...]
    baselines: Mapping[str, Mapping[str, Score]]

    def spread(self, output: str) -> float:
        """Standard error of an output's RRMSE: that of the folds' over the root of their number."""
        errors = [fold.scores[output].rrmse for fold in self.folds]
        return float(np.std(errors, ddof=1) / math.sqrt(len(errors)))

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values, without the predictions."""
        return {
            "scores": {k: asdict(s) for k, s in self.scores.items()},
            "baselines": {
                name: {k: asdict(s) for k, s in scores.items()}
                for name, scores in self.baselines.items()
            },
            "folds": [
                {"rows": list(f.rows), "scores": {k: asdict(s) for k, s in f.scores.items()}}
                for f in self.folds
            ],
        }


def cross_validate(
    trials: Trials,
    *,
    folds: int = 5,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
    progress: Progress = quiet,
    like: Predictor | None = None,
) -> CrossValidation:
    """Hold out one part of the samples after the other. `groups`: a label for each sample; samples
    of one label are held out together. `like` as in `Trials.fit`: quicker, but its
    hyper-parameters have seen all samples.

    Raises:
        ValueError: more folds than groups, labels for another number of samples.
    """
    samples = trials.samples
    parts = split(len(samples), folds, groups, seed)
    answers: dict[str, dict[int, Prediction]] = {}
    found = []
    for k, part in enumerate(parts):
        rest = np.setdiff1d(np.arange(len(samples)), part)
        predictor = trials.fit(rest.tolist(), seed=seed, like=like, progress=progress)
        held = [samples[int(i)] for i in part]
        for name, model in {"": predictor, **predictor.baselines()}.items():
            predictions = model.predict([s.case for s in held])
            answers.setdefault(name, {}).update(zip(part.tolist(), predictions, strict=True))
            if not name:
                found.append(Fold(tuple(part.tolist()), score(held, predictions)))
        progress("cross-validate", k + 1, len(parts))
    ordered = {name: [rows[i] for i in sorted(rows)] for name, rows in answers.items()}
    # A baseline that some fold lacks is left out.
    scores = {
        name: score(samples, rows) for name, rows in ordered.items() if len(rows) == len(samples)
    }
    return CrossValidation(ordered[""], scores.pop(""), tuple(found), scores)


def split(
    n: int, folds: int, groups: Sequence[Hashable] | None = None, seed: int = 0
) -> list[Int[np.ndarray, " part"]]:
    """`folds` parts of n samples, each in ascending order, as even as groups allow: the largest
    group first, each to the part that has the fewest samples, ties at random.

    Raises:
        ValueError: fewer than 2 folds or more than groups; not one label per sample.
    """
    labels = list(range(n)) if groups is None else list(groups)
    if len(labels) != n:
        raise ValueError(f"expected one group per sample ({n} samples), got {len(labels)}")
    rows: dict[Hashable, list[int]] = {}
    for i, label in enumerate(labels):
        rows.setdefault(label, []).append(i)
    if not 2 <= folds <= len(rows):
        what = "samples: ask for fewer folds, or give more samples"
        if groups is not None:
            what = "groups of samples: ask for fewer folds, or group by something finer"
        raise ValueError(
            f"expected 2 to {len(rows)} folds, got {folds}; there are {len(rows)} {what}"
        )
    rng = np.random.default_rng([seed, n])
    members = list(rows.values())
    order = sorted(rng.permutation(len(members)), key=lambda k: -len(members[k]))
    parts: list[list[int]] = [[] for _ in range(folds)]
    for k in order:
        min(parts, key=len).extend(members[k])
    return [np.sort(np.array(part, dtype=np.int64)) for part in parts]


def groups_by(samples: Sequence[Sample], by: str) -> list[str]:
    """A label for each sample: its mesh with `by` "mesh" (equal points and cells), else the value
    of the parameter of this name, to `DIGITS` digits.

    Raises:
        ValueError: a sample without this parameter, or whose value is not a number.
    """
    if by == "mesh":
        return [s.case.mesh.id for s in samples]
    labels = []
    for sample in samples:
        known = sample.case.parameters
        if by not in known:
            raise ValueError(
                f"case {sample.case.label}: expected a parameter of {sorted(known)} or 'mesh' to "
                f"group by, got {by!r}"
            )
        if np.isnan(known[by].value).any():
            raise ValueError(
                f"case {sample.case.label}: expected a value of {by!r} to group by, got NaN; leave "
                "the case out or repair it"
            )
        labels.append(" ".join(f"{v:.{DIGITS}g}" for v in known[by].value))
    return labels


def case_errors(
    samples: Sequence[Sample], predictions: Sequence[Prediction]
) -> dict[str, Float[np.ndarray, " case"]]:
    """The relative error of every case, by output: sqrt(mean(|u - v|^2) / max|u|^2) of a field,
    sqrt(mean(|w - z|^2 / |w|^2)) of a scalar. Its root mean square over cases is `Score.rrmse`."""
    found = {}
    for name in predictions[0].mean:
        fields = [s.fields[name].values for s in samples]
        found[name] = np.sqrt(squares_of_field(fields, [p.mean[name].values for p in predictions]))
    for name in predictions[0].scalars:
        truth = np.array([s.scalars[name].value for s in samples])
        mean = np.array([p.scalars[name].mean for p in predictions])
        found[name] = np.sqrt(squares_of_scalar(truth, mean).mean(axis=1))
    return found
