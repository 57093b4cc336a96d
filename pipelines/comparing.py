"""The same solved cases through several models, and whether the difference means anything."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Prediction, Sample
from fieldcast.surrogates.cross_validation import case_errors
from fieldcast.surrogates.scores import Score, score
from fieldcast.surrogates.surrogate import Predictor, Progress, quiet

LEVEL = 0.05
"""Probability of chance below which a difference is called one."""


@dataclass(frozen=True, eq=False)
class Contender:
    """A model and the solved cases as it reads them."""

    predictor: Predictor
    samples: Sequence[Sample]


@dataclass(frozen=True)
class Entry:
    """How one model did: `scores` by output, how many answers were flagged `warn` and `reject`,
    and the seconds that a case took it."""

    scores: Mapping[str, Score]
    warned: int
    rejected: int
    seconds: float


@dataclass(frozen=True)
class Difference:
    """Of the `best` model for an output from another one: in how many of the `cases` its error is
    lower, and the probability `p` that chance alone makes such a difference (None: the cases can't
    tell any)."""

    output: str
    best: str
    other: str
    lower: int
    cases: int
    p: float | None

    @property
    def significant(self) -> bool:
        """Whether it is more than chance."""
        return self.p is not None and self.p < LEVEL

    def __str__(self) -> str:
        if self.p is None:
            return (
                f"{self.output}: {self.cases} cases are too few to tell {self.best} from "
                f"{self.other}"
            )
        count = f"lower error in {self.lower} of {self.cases} cases, p = {self.p:.2g}"
        if self.significant:
            return f"{self.output}: {self.best} is better than {self.other} ({count})"
        return f"{self.output}: {self.best} and {self.other} can't be told apart ({count})"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Entries by model, the best model by output, differences of the others from it, and why cases
    were `left_out`, by name."""

    entries: Mapping[str, Entry]
    best: Mapping[str, str]
    differences: tuple[Difference, ...]
    cases: int
    left_out: Mapping[str, str]

    def lines(self) -> list[str]:
        """Tables of errors and of the intervals, then what the differences mean."""
        names = list(self.entries)
        width = max(len(text) for text in (*self.best, "seconds per case"))
        columns = [max(len(name) + 1, 12) for name in names]

        def row(label: str, cells: Sequence[str]) -> str:
            told = (f"{c:>{w}}" for c, w in zip(cells, columns, strict=True))
            return f"{label:{width}}  " + "  ".join(told)

        lines = [f"relative error (RRMSE) on {self.cases} cases, * the best:", row("", names)]
        for output in self.best:
            lines.append(row(output, [self._error(name, output) for name in names]))
        lines.append("inside the 95 % interval, and its mean width:")
        for output in self.best:
            lines.append(row(output, [self._interval(name, output) for name in names]))
        entries = self.entries.values()
        lines += [
            row("warned", [str(e.warned) for e in entries]),
            row("rejected", [str(e.rejected) for e in entries]),
            row("seconds per case", [f"{e.seconds:.2g}" for e in entries]),
            *(str(d) for d in self.differences),
        ]
        return lines

    def _error(self, name: str, output: str) -> str:
        found = self.entries[name].scores.get(output)
        if found is None:
            return "-"
        return f"{found.rrmse:.2e}{'*' if self.best[output] == name else ' '}"

    def _interval(self, name: str, output: str) -> str:
        found = self.entries[name].scores.get(output)
        if found is None or found.coverage is None or found.width is None:
            return "-"
        return f"{found.coverage:.0%} {found.width:.2g}"

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "cases": self.cases,
            "models": {
                name: {
                    "scores": {k: asdict(s) for k, s in e.scores.items()},
                    "warned": e.warned,
                    "rejected": e.rejected,
                    "seconds_per_case": e.seconds,
                }
                for name, e in self.entries.items()
            },
            "best": dict(self.best),
            "differences": [
                {**asdict(d), "significant": d.significant, "says": str(d)}
                for d in self.differences
            ],
            "left_out": dict(self.left_out),
        }


def labels(paths: Sequence[Path]) -> list[str]:
    """A name for each model file: its stem, or its path where two have one stem.

    Raises:
        ValueError: fewer than two files, or one of them twice.
    """
    if len(paths) < 2:
        raise ValueError(f"expected at least 2 models to compare, got {len(paths)}")
    if len({p.resolve() for p in paths}) < len(paths):
        raise ValueError(f"expected different models, got {[str(p) for p in paths]}")
    stems = [p.stem for p in paths]
    return [p.stem if stems.count(p.stem) == 1 else str(p) for p in paths]


def compare(contenders: Mapping[str, Contender], progress: Progress = quiet) -> Comparison:
    """Every model's answers to the cases that all have and can answer, by name of the case.

    Differences are judged case by case by the signed ranks of logarithms of errors (Wilcoxon 1945,
    doi:10.2307/3001968), the probabilities multiplied by the number of models beaten (Bonferroni).

    Raises:
        ValueError: fewer than two models; no case that all can answer; a model whose outputs were
            not solved for.
    """
    if len(contenders) < 2:
        raise ValueError(f"expected at least 2 models to compare, got {len(contenders)}")
    shared, left_out = _shared(contenders)
    entries, errors = {}, {}
    for k, (name, contender) in enumerate(contenders.items()):
        by_name = {s.case.label: s for s in contender.samples}
        samples = [by_name[label] for label in shared]
        entries[name], errors[name] = _entry(name, contender.predictor, samples)
        progress("compare", k + 1, len(contenders))
    outputs = list(dict.fromkeys(o for e in entries.values() for o in e.scores))
    best = {o: _best(o, entries) for o in outputs}
    differences = []
    for output in outputs:
        others = [n for n in entries if output in entries[n].scores and n != best[output]]
        own = errors[best[output]][output]
        for other in others:
            p = probability(own, errors[other][output])
            p = None if p is None else min(p * len(others), 1.0)
            lower = int((own < errors[other][output]).sum())
            differences.append(Difference(output, best[output], other, lower, len(own), p))
    return Comparison(entries, best, tuple(differences), len(shared), left_out)


def probability(one: Float[np.ndarray, " case"], other: Float[np.ndarray, " case"]) -> float | None:
    """That errors which don't differ but by chance look so different; None where there are too few
    for any difference to have less than `LEVEL`."""
    from scipy.stats import wilcoxon

    ratio = np.log(np.maximum(one, 1e-300)) - np.log(np.maximum(other, 1e-300))
    ratio = ratio[ratio != 0.0]
    if 2.0 ** (1 - len(ratio)) >= LEVEL:
        return None if 2.0 ** (1 - len(one)) >= LEVEL else 1.0
    return float(wilcoxon(ratio).pvalue)


def _shared(contenders: Mapping[str, Contender]) -> tuple[list[str], dict[str, str]]:
    """Names of the cases that all models can answer, and why others are left out."""
    found = {name: [s.case.label for s in c.samples] for name, c in contenders.items()}
    everything = list(dict.fromkeys(label for names in found.values() for label in names))
    left_out = {}
    for label in everything:
        lacking = [name for name, names in found.items() if label not in names]
        if lacking:
            left_out[label] = f"{', '.join(lacking)}: can't be read as its training cases were"
    for name, contender in contenders.items():
        cases = [s.case for s in contender.samples if s.case.label not in left_out]
        left_out |= {k: f"{name}: {v}" for k, v in _refusals(contender.predictor, cases).items()}
    shared = [label for label in everything if label not in left_out]
    if not shared:
        reasons = "; ".join(f"{k}: {v}" for k, v in list(left_out.items())[:3])
        raise ValueError(f"expected solved cases that all models can answer, got none ({reasons})")
    return shared, left_out


def _refusals(predictor: Predictor, cases: Sequence[Case]) -> dict[str, str]:
    """The cases that a model can't answer, and why; one by one only where there are some."""
    found: dict[str, str] = {}
    if _refusal(predictor, cases) is None:
        return found
    for case in cases:
        reason = _refusal(predictor, [case])
        if reason is not None:
            found[case.label] = reason
    return found


def _refusal(predictor: Predictor, cases: Sequence[Case]) -> str | None:
    if not cases:
        return None
    try:
        predictor.predict(cases)
    except ValueError as error:
        return str(error)
    return None


def _entry(
    name: str, predictor: Predictor, samples: Sequence[Sample]
) -> tuple[Entry, dict[str, np.ndarray]]:
    cases = [s.case for s in samples]
    start = time.perf_counter()
    answers = list(predictor.predict(cases))
    seconds = (time.perf_counter() - start) / len(cases)
    first = samples[0]
    solved = [k for k in answers[0].mean if k in first.fields]
    solved += [k for k in answers[0].scalars if k in first.scalars]
    if not solved:
        raise ValueError(
            f"{name}: expected solved cases with some of its outputs "
            f"{[*answers[0].mean, *answers[0].scalars]}, got {[*first.fields, *first.scalars]}"
        )
    known = [_only(a, solved) for a in answers]
    status = [a.trust.status for a in answers]
    entry = Entry(score(samples, known), status.count("warn"), status.count("reject"), seconds)
    return entry, case_errors(samples, known)


def _only(answer: Prediction, outputs: Sequence[str]) -> Prediction:
    """An answer of these outputs alone."""
    std = answer.std
    return replace(
        answer,
        mean={k: v for k, v in answer.mean.items() if k in outputs},
        std=None if std is None else {k: v for k, v in std.items() if k in outputs},
        scalars={k: v for k, v in answer.scalars.items() if k in outputs},
        parts=None,
    )


def _best(output: str, entries: Mapping[str, Entry]) -> str:
    errors = {n: e.scores[output].rrmse for n, e in entries.items() if output in e.scores}
    return min(errors, key=lambda n: errors[n])
