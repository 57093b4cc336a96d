"""Which surrogate to take: those that are installed, tried on the user's own simulations."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Sample, Samples
from fieldcast.meshes.plugins import plugin, plugin_names
from fieldcast.surrogates import MeanField, NearestCase, PodRidge
from fieldcast.surrogates.cross_validation import case_errors, split
from fieldcast.surrogates.reduced import CarriedTrials, Reduced
from fieldcast.surrogates.surrogate import Predictor, Progress, Surrogate, Trials, quiet

LEAST_CASES = 6
NEGLIGIBLE = 1e-8
"""Relative errors below are as good as none."""
TRIVIAL: Mapping[type, str] = {
    MeanField: "the mean",
    NearestCase: "the nearest case",
    PodRidge: "ridge regression",
}
"""Baselines, the simplest first, and what they are called."""


class _OutOfTime(Exception):
    """The budget ended in the middle of a fit."""


@dataclass(frozen=True)
class _Clock:
    """Seconds since the choice began, and what is left of the budget."""

    start: float
    budget: float

    def spent(self) -> float:
        return time.perf_counter() - self.start

    def left(self) -> float:
        return self.budget - self.spent()

    def short_of(self, seconds: float) -> bool:
        """Whether a fit of so many seconds (infinite: not known) has no time left."""
        return self.left() <= 0 or math.inf > seconds > self.left()

    def told(self, seconds: float) -> str:
        if self.left() <= 0 or not math.isfinite(seconds):
            return f"the budget of {self.budget:.0f} s was spent"
        return f"a fit takes about {seconds:.3g} s, {self.left():.3g} s of the budget are left"


@dataclass(frozen=True)
class Row:
    """What became of one candidate. `merit` is the geometric mean over outputs of its RRMSE over
    the mean field's (over 1 where the mean field can't answer), in `folds` parts of a
    cross-validation; `errors` are the RRMSE; `seconds` one fit took; `remark` why it has no more
    folds."""

    name: str
    merit: float | None = None
    errors: Mapping[str, float] = field(default_factory=dict)
    folds: int = 0
    seconds: float | None = None
    remark: str = ""


@dataclass(frozen=True)
class Choice:
    """The `recipe` chosen, called `name`, and the table it was chosen from, the best first.
    `relative`: merits are relative to the mean field."""

    name: str
    recipe: Surrogate
    rows: tuple[Row, ...]
    says: str
    relative: bool = True

    def lines(self) -> list[str]:
        """The table, and what it says."""
        width = max(len(row.name) for row in self.rows)
        what = "of the mean" if self.relative else "RRMSE"
        lines = [f"{'':{width}}  {what:>11}  folds  s per fit"]
        for row in self.rows:
            merit = "-" if row.merit is None else f"{row.merit:.3g}"
            seconds = "-" if row.seconds is None else f"{row.seconds:.2g}"
            mark = "*" if row.name == self.name else " "
            lines.append(
                f"{row.name:{width}}  {merit:>11}{mark} {row.folds:>5}  {seconds:>9}  "
                f"{row.remark}".rstrip()
            )
        return [*lines, self.says]

    def noted(self, predictor: Predictor) -> Predictor:
        """The same predictor with this choice on its card."""
        card = predictor.card
        fit = {**card.fit, "auto": self.to_json()}
        return replace(predictor, card=replace(card, fit=fit))

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        rows = [
            {
                "name": row.name,
                "merit": row.merit,
                "errors": dict(row.errors),
                "folds": row.folds,
                "seconds": row.seconds,
                "remark": row.remark,
            }
            for row in self.rows
        ]
        return {"chosen": self.name, "says": self.says, "relative": self.relative, "rows": rows}


@dataclass(frozen=True, eq=False)
class _Trial:
    """One candidate under way: `squares` of its relative errors by fold and output, (case,);
    `remark` why it goes no further."""

    name: str
    recipe: Surrogate
    expected: float
    trials: Trials | None = None
    seconds: tuple[float, ...] = ()
    squares: tuple[dict[str, np.ndarray], ...] = ()
    remark: str = ""

    @property
    def trivial(self) -> bool:
        return type(self.recipe) in TRIVIAL

    def next_seconds(self) -> float:
        """What the next fold is expected to take."""
        return float(np.mean(self.seconds)) if self.seconds else self.expected

    def logs(self, folds: int) -> Float[np.ndarray, " draw"]:
        """mean over outputs of log RRMSE in the first folds: of all cases, then without each."""
        by_output = []
        for name in self.squares[0]:
            terms = np.concatenate([fold[name] for fold in self.squares[:folds]])
            total = np.append(terms.sum(), terms.sum() - terms)
            count = np.append(len(terms), np.full(len(terms), len(terms) - 1))
            by_output.append(0.5 * np.log(np.maximum(total / np.maximum(count, 1), NEGLIGIBLE**2)))
        return np.mean(by_output, axis=0)

    def errors(self) -> dict[str, float]:
        """RRMSE by output."""
        return {
            name: float(np.sqrt(np.mean(np.concatenate([f[name] for f in self.squares]))))
            for name in (self.squares[0] if self.squares else ())
        }


def installed() -> tuple[dict[str, Surrogate], dict[str, str]]:
    """Default recipes of the installed surrogates by name, and why some can't be tried. Wrappers,
    which hold another surrogate, are left out of both."""
    recipes, reasons = {}, {}
    for name in plugin_names("surrogates"):
        try:
            recipe = plugin("surrogates", name)()
        except ImportError as error:
            reasons[name] = f"can't be imported: {error}"
        except TypeError:
            reasons[name] = "has settings without a default: name it by --surrogate"
        else:
            if not wraps(recipe):
                recipes[name] = recipe
    return recipes, reasons


def wraps(recipe: Any) -> bool:
    """Whether a recipe holds another surrogate, or several."""
    for f in fields(recipe):
        value = getattr(recipe, f.name)
        held = value if isinstance(value, (tuple, list)) else (value,)
        if any(isinstance(v, Surrogate) for v in held):
            return True
    return False


def choose(
    samples: Sequence[Sample],
    candidates: Mapping[str, Surrogate] | None = None,
    *,
    budget: float = 300.0,
    folds: int = 3,
    seed: int = 0,
    progress: Progress = quiet,
) -> Choice:
    """The best of `candidates` (None: of those installed) for these samples, by cross-validation in
    about `budget` seconds.

    The cheapest come first, one fold each, then further folds while time lasts; what is not
    expected to end in time is left out, and a fit that doesn't is stopped (baselines are always
    tried). Of those that are within one standard error of the best, told from the differences
    case by case, the simplest is taken.

    Raises:
        ValueError: too few samples; no candidate that can be fitted to them; says why.
    """
    clock = _Clock(time.perf_counter(), budget)
    samples = Samples.pack(samples)
    if len(samples) < LEAST_CASES:
        raise ValueError(
            f"expected at least {LEAST_CASES} cases to choose a surrogate by, got {len(samples)}; "
            "name one (--surrogate), or solve more"
        )
    parts = split(len(samples), min(folds, len(samples)), seed=seed)
    recipes, reasons = installed() if candidates is None else (dict(candidates), {})
    queue = _queue(recipes, samples)
    shared = _Round(samples, clock, seed, [])
    total = len(parts) * len(queue)
    for k, part in enumerate(parts):
        for i, trial in enumerate(queue):
            if not trial.remark:
                queue[i] = shared.advanced(trial, part)
            progress(f"choose: {trial.name}", k * len(queue) + i + 1, total)
    return _chosen(queue, reasons)


def _queue(recipes: Mapping[str, Surrogate], samples: Samples) -> list[_Trial]:
    """Baselines first, then by what they are expected to take; those that can't say so last."""
    order = list(TRIVIAL)
    queue = []
    for name, recipe in recipes.items():
        if type(recipe) in TRIVIAL:
            queue.append(_Trial(name, recipe, 0.0))
            continue
        try:
            expected, remark = recipe.estimate(samples), ""
        except ValueError as error:
            expected, remark = None, str(error)
        seconds = math.inf if expected is None else expected[0]
        queue.append(_Trial(name, recipe, seconds, remark=remark))
    queue.sort(key=lambda t: (order.index(type(t.recipe)) if t.trivial else len(order), t.expected))
    return queue


@dataclass(frozen=True, eq=False)
class _Round:
    """What candidates have in common: samples, clock, seed and the trials `made` before, which
    share their morphing with those that morph alike."""

    samples: Samples
    clock: _Clock
    seed: int
    made: list[Trials]

    def advanced(self, trial: _Trial, part: np.ndarray) -> _Trial:
        """The candidate with one more fold, or the remark why not. Baselines are always tried; what
        can't say how long it takes may use what is left."""
        needed = trial.next_seconds()
        if not trial.trivial and self.clock.short_of(needed):
            return replace(trial, remark=self.clock.told(needed))
        try:
            return self._fitted(trial, part)
        except _OutOfTime:
            remark = f"stopped: the budget of {self.clock.budget:.0f} s was spent"
            return replace(trial, remark=remark)
        except ValueError as error:
            return replace(trial, remark=str(error), squares=())

    def _fitted(self, trial: _Trial, part: np.ndarray) -> _Trial:
        def watch(stage: str, done: int, total: int) -> None:
            if not trial.trivial and self.clock.left() < 0:
                raise _OutOfTime

        trials = trial.trials or self._trials(trial.recipe, watch)
        start = time.perf_counter()
        rest = np.setdiff1d(np.arange(len(self.samples)), part).tolist()
        predictor = trials.fit(rest, seed=self.seed, progress=watch)
        seconds = time.perf_counter() - start
        held = [self.samples[int(i)] for i in part]
        errors = case_errors(held, predictor.predict([s.case for s in held]))
        if not all(np.isfinite(e).all() for e in errors.values()):
            raise ValueError("gave answers that are not finite")
        return replace(
            trial,
            trials=trials,
            seconds=(*trial.seconds, seconds),
            squares=(*trial.squares, {k: e**2 for k, e in errors.items()}),
        )

    def _trials(self, recipe: Surrogate, progress: Progress) -> Trials:
        if isinstance(recipe, Reduced):
            for other in self.made:
                if isinstance(other, CarriedTrials) and _alike(other.recipe, recipe):
                    return CarriedTrials(recipe, other.carried, other.samples)
        found = recipe.trials(self.samples, progress)
        self.made.append(found)
        return found


def _alike(one: Reduced, other: Reduced) -> bool:
    """Whether two recipes morph alike."""
    (morphing, sizes), (theirs, others) = one.layout(), other.layout()
    return (morphing, sizes.normals) == (theirs, others.normals)


def _chosen(queue: Sequence[_Trial], reasons: Mapping[str, str]) -> Choice:
    ranked = [t for t in queue if t.squares]
    if not ranked:
        why = {t.name: t.remark for t in queue} | dict(reasons)
        raise ValueError(
            "expected a surrogate that can be fitted to these samples, got none: "
            + "; ".join(f"{name}: {reason}" for name, reason in why.items())
        )
    mean = next((t for t in ranked if isinstance(t.recipe, MeanField)), None)
    merits = {t.name: _merit(t, mean) for t in ranked}
    ranked.sort(key=lambda t: merits[t.name])
    best = ranked[0]
    tied = [t for t in ranked if _tied(t, best)]
    chosen = min(tied, key=lambda t: (not t.trivial, _simplicity(t)))
    rows = [
        Row(t.name, merits[t.name], t.errors(), len(t.squares), float(np.mean(t.seconds)), t.remark)
        for t in ranked
    ]
    rows += [Row(t.name, remark=t.remark) for t in queue if not t.squares]
    rows += [Row(name, remark=reason) for name, reason in reasons.items()]
    says = _verdict(chosen, best, ranked)
    return Choice(chosen.name, chosen.recipe, tuple(rows), says, mean is not None)


def _merit(trial: _Trial, mean: _Trial | None) -> float:
    """Geometric mean over outputs of RRMSE, over that of the mean field in the same folds."""
    folds = len(trial.squares)
    own = trial.logs(folds)[0]
    return float(np.exp(own - (mean.logs(folds)[0] if mean else 0.0)))


def _tied(trial: _Trial, best: _Trial) -> bool:
    """Whether a candidate is within one standard error of the best: of the difference of their
    logarithms in the folds that both have, by leaving out one case after the other (jackknife:
    Efron and Stein 1981, doi:10.1214/aos/1176345462)."""
    folds = min(len(trial.squares), len(best.squares))
    gap, *without = trial.logs(folds) - best.logs(folds)
    n = len(without)
    error = math.sqrt((n - 1) * float(np.var(without)))
    return bool(gap <= error)


def _simplicity(trial: _Trial) -> float:
    """Baselines in their order, others by the time they take."""
    if trial.trivial:
        return float(list(TRIVIAL).index(type(trial.recipe)))
    return float(np.mean(trial.seconds))


def _verdict(chosen: _Trial, best: _Trial, ranked: Sequence[_Trial]) -> str:
    if chosen.trivial:
        name = TRIVIAL[type(chosen.recipe)]
        if all(t.trivial for t in ranked):
            return f"no surrogate could be tried: {name} is the best of the baselines"
        return f"{name} is as good as any surrogate here: more simulations are needed"
    if chosen is best:
        return f"{chosen.name} is the best here"
    return (
        f"{chosen.name} is taken: {best.name} is not better by more than one standard error, and "
        "takes longer"
    )
