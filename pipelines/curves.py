"""Learning curves: how the error falls with the number of simulations, and what more of them would
bring."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from fieldcast.meshes.files import replace_file
from fieldcast.surrogates.scores import score
from fieldcast.surrogates.surrogate import Progress, Trials, quiet

from . import pictures

LEAST_CASES = 10
STEEPEST = 4.0
"""The largest exponent of a power law."""
FLAT = 0.15
"""-d log e / d log n below which more simulations don't help much: twice as many cut a tenth."""
RISING = 0.02
"""The same from which on they surely help some."""
DRAWS = 200
WILD = 100.0
"""Errors count as at most so many times their median."""
TINY = 1e-15
"""Errors below are rounding."""
INTERVAL = (0.05, 0.95)
Verdict = Literal["improves", "floor", "noisy"]


@dataclass(frozen=True)
class Law:
    """e(n) = floor + factor n^-rate, the relative error of a surrogate fitted to n simulations
    (power laws of learning curves: Viering and Loog 2022, doi:10.1109/TPAMI.2022.3220744)."""

    floor: float
    factor: float
    rate: float

    def at(self, n: float | int | np.ndarray) -> Any:
        """The error expected of n simulations."""
        return self.floor + self.factor * np.asarray(n, dtype=float) ** -self.rate

    def slope(self, n: float | int) -> float:
        """-d log e / d log n."""
        part = self.factor * n**-self.rate
        return self.rate * part / max(self.floor + part, 1e-300)


@dataclass(frozen=True)
class Forecast:
    """The error of one output `now` and with `more` simulations (`then`); `low` and `high` hold the
    latter with 90 %, as far as the scatter of repeats tells and if `now` is right."""

    output: str
    more: int
    now: float
    then: float
    low: float
    high: float
    verdict: Verdict

    def __str__(self) -> str:
        now, then, low, high = (_told(e) for e in (self.now, self.then, self.low, self.high))
        if self.verdict == "improves":
            return (
                f"{self.more} more simulations should cut the {self.output} error from {now} to "
                f"{then} ({low} to {high})"
            )
        if self.verdict == "floor":
            return (
                f"{self.output}: more simulations of this kind should not help much: the error is "
                f"at its floor of {now}"
            )
        return (
            f"{self.output}: the curve is too noisy to tell: with {self.more} more simulations the "
            f"error of {now} may become anything from {low} to {high}"
        )


@dataclass(frozen=True, eq=False)
class Trend:
    """What one output's errors say: `law` fitted to them, and `draws` of laws that would do as
    well."""

    law: Law
    draws: tuple[Law, ...]

    def band(self, n: Float[np.ndarray, " n"]) -> Float[np.ndarray, "end n"]:
        """The ends of the interval of the error expected of n simulations."""
        return np.quantile([law.at(n) for law in self.draws], INTERVAL, axis=0)

    def cut(self, n: int, more: int) -> tuple[float, float]:
        """The ends of the interval of e(n + more) / e(n)."""
        ratios = [float(law.at(n + more) / law.at(n)) for law in self.draws]
        low, high = np.quantile(ratios, INTERVAL)
        return float(low), float(high)

    def verdict(self, n: int) -> Verdict:
        """What more than n simulations would do."""
        low, high = np.quantile([law.slope(n) for law in self.draws], INTERVAL)
        if high < FLAT or self.law.at(n) < TINY:
            return "floor"
        return "improves" if low > RISING else "noisy"


@dataclass(frozen=True, eq=False)
class Curve:
    """Errors (RRMSE) by output, (size, repeat), of surrogates fitted to `sizes` of `cases`
    simulations and tested on `held` others."""

    sizes: Int[np.ndarray, " size"]
    errors: Mapping[str, Float[np.ndarray, "size repeat"]]
    trends: Mapping[str, Trend]
    cases: int
    held: int

    def forecasts(self, more: int) -> list[Forecast]:
        """What `more` simulations would bring, by output.

        Raises:
            ValueError: fewer than one.
        """
        if more < 1:
            raise ValueError(f"expected at least 1 more simulation to forecast, got {more}")
        found = []
        for name, trend in self.trends.items():
            now, then = (float(trend.law.at(n)) for n in (self.cases, self.cases + more))
            low, high = trend.cut(self.cases, more)
            # The law fitted to the means need not lie inside what the draws say.
            low, high = min(low * now, then), max(high * now, then)
            verdict = trend.verdict(self.cases)
            found.append(Forecast(name, more, now, then, low, high, verdict))
        return found

    def lines(self, more: int) -> list[str]:
        """A table of mean errors by size, and the forecasts in words."""
        width = max(len(name) for name in self.errors)
        head = "  ".join(f"{n:>9}" for n in self.sizes)
        repeats = len(next(iter(self.errors.values()))[0])
        rows = [
            f"{name:{width}}  " + "  ".join(f"{_mean(row):9.2e}" for row in errors)
            for name, errors in self.errors.items()
        ]
        return [
            f"relative error (RRMSE) on {self.held} cases by number of training cases, mean of "
            f"{repeats} repeats:",
            f"{'':{width}}  {head}",
            *rows,
            *(str(f) for f in self.forecasts(more)),
        ]

    def to_json(self, more: int) -> dict[str, Any]:
        """As JSON-able values."""
        outputs = {}
        for forecast in self.forecasts(more):
            law = self.trends[forecast.output].law
            outputs[forecast.output] = {
                "errors": self.errors[forecast.output].tolist(),
                "law": {"floor": law.floor, "factor": law.factor, "rate": law.rate},
                "now": forecast.now,
                "then": forecast.then,
                "interval": [forecast.low, forecast.high],
                "verdict": forecast.verdict,
                "says": str(forecast),
            }
        return {
            "cases": self.cases,
            "held_out": self.held,
            "sizes": self.sizes.tolist(),
            "more": more,
            "outputs": outputs,
        }


def learning_curve(
    trials: Trials,
    *,
    sizes: Sequence[int] | None = None,
    repeats: int = 3,
    held: float = 0.2,
    seed: int = 0,
    progress: Progress = quiet,
) -> Curve:
    """Errors of fits to nested subsets. Every repeat holds out a share `held` of the cases at
    random and draws the subsets from the others, each within the next. `sizes`: of the subsets; by
    default up to five, in equal ratios, up to all that are not held out.

    Raises:
        ValueError: too few samples, sizes or repeats.
    """
    samples = trials.samples
    count = _held(len(samples), held)
    steps = _sizes(len(samples) - count, sizes)
    if repeats < 2:
        raise ValueError(f"expected at least 2 repeats, to tell trend from scatter, got {repeats}")
    found: dict[str, np.ndarray] = {}
    rng = np.random.default_rng(seed)
    for r in range(repeats):
        order = rng.permutation(len(samples))
        tests = [samples[int(i)] for i in order[:count]]
        for s, size in enumerate(steps):
            rows = sorted(order[count : count + size].tolist())
            predictor = trials.fit(rows, seed=seed)
            for name, told in score(tests, predictor.predict([t.case for t in tests])).items():
                errors = found.setdefault(name, np.empty((len(steps), repeats)))
                errors[s, r] = told.rrmse
            progress("curve", r * len(steps) + s + 1, repeats * len(steps))
    trends = {name: trend_of(steps, errors, seed) for name, errors in found.items()}
    return Curve(steps, found, trends, len(samples), count)


def _held(n: int, share: float) -> int:
    if n < LEAST_CASES:
        raise ValueError(
            f"expected at least {LEAST_CASES} solved cases for a learning curve, got {n}; solve "
            "some more first"
        )
    if not 0.0 < share < 1.0:
        raise ValueError(f"expected a share of cases to hold out between 0 and 1, got {share}")
    return max(round(share * n), 2)


def _sizes(pool: int, sizes: Sequence[int] | None) -> Int[np.ndarray, " size"]:
    if sizes is None:
        sizes = np.geomspace(max(4, pool / 8), pool, 5).round().astype(int).tolist()
    steps = np.unique(np.array(sizes, dtype=np.int64))
    if len(steps) < 3 or steps[0] < 2 or steps[-1] > pool:
        raise ValueError(
            f"expected at least 3 sizes from 2 to the {pool} cases that are not held out, got "
            f"{[int(s) for s in steps]}"
        )
    return steps


def trend_of(
    sizes: Int[np.ndarray, " size"], errors: Float[np.ndarray, "size repeat"], seed: int = 0
) -> Trend:
    """The power law through errors, by least squares of logarithms, and draws of it.

    log e_sr = log e(n_s) + r_r + z_sr: an offset r of each repeat (its test cases may be easy) and
    scatter z, both normal with the variance observed; means over the repeats are drawn anew and
    fitted again. Where the law misses the means by more than the scatter would, that is taken for
    z.
    """
    y = np.log(np.maximum(np.nan_to_num(errors, nan=np.inf, posinf=1e300), TINY))
    # A fit gone wrong is not a measure of the others.
    y = np.minimum(y, np.median(y) + np.log(WILD))
    repeats = y.shape[1]
    means = y.mean(axis=1)
    law = _polished(sizes, means, _laws(sizes, means[None])[0])
    offsets = y.mean(axis=0) - y.mean()
    rest = y - means[:, None] - offsets
    freedoms = max((len(sizes) - 1) * (repeats - 1), 1)
    scatter = float((rest**2).sum()) / freedoms / repeats
    if len(sizes) > 3:
        misses = float(((means - np.log(law.at(sizes))) ** 2).sum()) / (len(sizes) - 3)
        scatter = max(scatter, misses)
    common = float((offsets**2).sum()) / max(repeats - 1, 1) / repeats
    rng = np.random.default_rng(seed)
    drawn = means + np.sqrt(scatter) * rng.normal(size=(DRAWS, len(sizes)))
    drawn += np.sqrt(common) * rng.normal(size=(DRAWS, 1))
    return Trend(law, tuple(_laws(sizes, drawn)))


@lru_cache(maxsize=1)
def _grid() -> tuple[np.ndarray, np.ndarray]:
    """Exponents b and floors c / a, at the middle of the sizes, to choose from."""
    rates = np.linspace(0.0, STEEPEST, 201)
    floors = np.concatenate([[0.0], np.geomspace(1e-3, 1e3, 40)])
    b, c = np.meshgrid(rates, floors, indexing="ij")
    return b.ravel(), c.ravel()


def _laws(sizes: Int[np.ndarray, " size"], means: Float[np.ndarray, "draw size"]) -> list[Law]:
    """The best of a grid of laws, for each row of logarithms. Given b and c / a, log a is a
    mean."""
    b, c = _grid()
    middle = float(np.exp(np.log(sizes).mean()))
    shapes = np.log((sizes / middle)[:, None] ** -b + c)
    centred = shapes - shapes.mean(axis=0)
    # |y - shape|^2 without the part that all shapes share.
    cost = (centred**2).sum(axis=0) - 2.0 * means @ centred
    best = cost.argmin(axis=1)
    a = np.exp(means.mean(axis=1) - shapes[:, best].mean(axis=0))
    return [
        Law(float(a[i] * c[k]), float(a[i] * middle ** b[k]), float(b[k]))
        for i, k in enumerate(best)
    ]


def _polished(
    sizes: Int[np.ndarray, " size"], means: Float[np.ndarray, " size"], start: Law
) -> Law:
    """The law of least squares near `start`."""
    from scipy.optimize import least_squares

    middle = float(np.exp(np.log(sizes).mean()))
    factor = start.factor * middle**-start.rate
    ratio = start.floor / factor

    def residuals(theta: np.ndarray) -> np.ndarray:
        return theta[0] + np.log((sizes / middle) ** -theta[1] + theta[2]) - means

    found = least_squares(
        residuals,
        [np.log(factor), start.rate, ratio],
        bounds=([-np.inf, 0.0, 0.0], [np.inf, STEEPEST, np.inf]),
        x_scale=[1.0, 1.0, max(ratio, 1e-3)],
        xtol=1e-14,
        ftol=1e-14,
        gtol=1e-14,
    )
    a, b, c = np.exp(found.x[0]), float(found.x[1]), float(found.x[2])
    return Law(float(a * c), float(a * middle**b), b)


def _mean(errors: np.ndarray) -> float:
    """The geometric mean, which the law is fitted to."""
    return float(np.exp(np.log(np.maximum(errors, TINY)).mean()))


def _told(error: float) -> str:
    """Such as 1.2e-3."""
    digits, _, power = f"{error:.1e}".partition("e")
    return f"{digits}e{int(power)}"


def drawn(curve: Curve, more: int) -> bytes:
    """The picture: points, law and forecast of every output, as PNG."""
    last = 1.5 * (curve.cases + more)
    n = np.geomspace(0.8 * curve.sizes[0], last, 80)
    lines = {
        name: np.vstack([n, trend.law.at(n), trend.band(n)]) for name, trend in curve.trends.items()
    }
    marks = (curve.cases, curve.cases + more)
    return pictures.learning_curve(curve.sizes, curve.errors, lines, marks)


def check_target(path: Path) -> None:
    """
    Raises:
        ValueError: not a .png or .html file in a folder that is there.
    """
    if path.suffix.lower() not in (".png", ".html"):
        raise ValueError(f"expected a .html or .png file for the curve, got {path.name!r}")
    if not path.parent.is_dir():
        raise ValueError(f"expected the folder {path.parent} to exist, it does not")


def write_curve(curve: Curve, more: int, path: Path) -> Path:
    """The picture as .png, or with the forecasts in words as one .html page; returns the path.

    Raises:
        ValueError: as `check_target`.
    """
    check_target(path)
    picture = drawn(curve, more)
    if path.suffix.lower() == ".png":
        replace_file(path, picture)
        return path
    items = "".join(f"<li>{html.escape(str(f))}</li>" for f in curve.forecasts(more))
    table = html.escape("\n".join(curve.lines(more)[: 2 + len(curve.errors)]))
    data = base64.b64encode(picture).decode()
    page = (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>learning curve</title>"
        "<style>body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;"
        "padding:0 1em;color:#222}img{max-width:100%}pre{overflow-x:auto}</style><body>"
        f"<h1>Learning curve of {curve.cases} simulations</h1><ul>{items}</ul>"
        f"<p><img alt='learning curve' src='data:image/png;base64,{data}'></p>"
        f"<pre>{table}</pre></body></html>"
    )
    replace_file(path, page.encode())
    return path
