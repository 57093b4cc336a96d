"""Runs of turbulence with learned closures as one HTML page: rewards, spectra, the distribution of
the vorticity, and budgets."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from fieldcast.surrogates.closure import ClosurePredictor
from fieldcast.surrogates.closure_environment import unseen
from fieldcast.surrogates.closure_laws import Constant, Law
from fieldcast.surrogates.closure_runs import Climate, Protocol, edges, run
from fieldcast.surrogates.closure_scores import Measured, scores
from fieldcast.surrogates.surrogate import Progress, quiet

from .page import html_table, image, write_page
from .pictures import figure_of, png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STATIC = 0.088
"""The coefficient beside which closures are run: near the best of the coarse flow of case 1."""
OF_SPECTRA = ("reward", "reward of mean", "log error", "variability", "lost")
OF_VORTICITY = ("sigma", "flatness", "P3", "P4")
COLUMNS = (*OF_SPECTRA, *OF_VORTICITY)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs by name, and the spectrum that all aim at."""

    ran: Mapping[str, Climate]
    target: Float[np.ndarray, " wavenumber"]

    def scored(self) -> dict[str, Mapping[str, Measured]]:
        """By name."""
        return {name: scores(own, self.target, None) for name, own in self.ran.items()}


def compare(
    models: Mapping[str, ClosurePredictor],
    protocol: Protocol,
    *,
    points: int | None = None,
    seed: int = 0,
    progress: Progress = quiet,
) -> Comparison:
    """Run closures of one flow, each also with the mean of its agents, beside a static coefficient
    and none, on the grid of the first or on `points` a side; starts are drawn by chance."""
    first = next(iter(models.values()))
    laws: dict[str, tuple[ClosurePredictor, Law]] = {
        "none": (first, Constant(0.0)),
        f"static {STATIC:g}": (first, Constant(STATIC**2)),
    }
    for name, model in models.items():
        laws |= {name: (model, model.law), f"{name}, agent mean": (model, model.averaged().law)}
    found = {}
    for n, (name, (model, law)) in enumerate(laws.items()):
        environment = model.environment.resized(points or model.environment.points)
        aim = unseen(environment, model.aim(environment), protocol.rows, seed)
        found[name] = run(environment, law, aim, protocol, seed=seed)
        progress("run", n + 1, len(laws))
    half = (points or first.environment.points) // 2
    return Comparison(found, np.asarray(first.target[:half], dtype=float))


def lines(found: Comparison) -> list[str]:
    """A table for people."""
    rows = [("closure", *COLUMNS), *(_row(k, s, COLUMNS) for k, s in found.scored().items())]
    widths = [max(len(r[k]) for r in rows) for k in range(len(rows[0]))]
    return ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows]


def _row(name: str, own: Mapping[str, Measured], columns: Sequence[str]) -> tuple[str, ...]:
    return (name, *(f"{own[k].value:.3g} ± {own[k].error:.1g}" for k in columns))


def _table(scored: Mapping[str, Mapping[str, Measured]], columns: Sequence[str]) -> str:
    rows = [[html.escape(c) for c in _row(k, s, columns)] for k, s in scored.items()]
    return html_table(("closure", *columns), rows)


def write_report(found: Comparison, out: Path) -> Path:
    """The page."""
    scored = found.scored()
    parts = [
        f"<h1>{html.escape(out.stem)}: turbulence with {len(found.ran)} closures</h1>",
        _table(scored, OF_SPECTRA),
        image(png(_spectra(found)), "Enstrophy by wavenumber"),
        _table(scored, OF_VORTICITY),
        image(png(_vorticity(found)), "Distribution of the vorticity"),
        f"<p><small>{EXPLAINED}</small></p>",
        f"<h2>Budgets</h2>{html_table(*_budgets(found.ran))}",
    ]
    return write_page(out, parts)


def _budgets(ran: Mapping[str, Climate]) -> tuple[Sequence[str], list[list[str]]]:
    names = list(next(iter(ran.values())).budget)
    rows = [
        [html.escape(k), *(f"{own.budget[n].mean():.3g}" for n in names)] for k, own in ran.items()
    ]
    return ("closure", *names), rows


def _spectra(found: Comparison) -> Figure:
    figure = figure_of(6.0, 4.0)
    ax: Any = figure.subplots()
    k = np.arange(1, len(found.target))
    ax.loglog(k, found.target[1:], "k", lw=2.0, label="target")
    for name, own in found.ran.items():
        ax.loglog(k, own.spectrum.mean(axis=0)[1:], lw=1.0, label=name)
    ax.set_xlabel("wavenumber")
    ax.set_ylabel("enstrophy")
    ax.legend(fontsize=7)
    return figure


def _vorticity(found: Comparison) -> Figure:
    figure = figure_of(6.0, 4.0)
    ax: Any = figure.subplots()
    ends = edges()
    middle = 0.5 * (ends[1:] + ends[:-1])
    near = np.abs(middle) <= 5.0
    for name, own in found.ran.items():
        density = own.shares.mean(axis=0) / np.diff(ends)
        shown = near & (density > 0)
        ax.semilogy(middle[shown], density[shown], lw=1.0, label=name)
    ax.set_xlabel("vorticity / standard deviation")
    ax.set_ylabel("density")
    ax.legend(fontsize=7)
    return figure


EXPLAINED = (
    "Reward is the mean of 1 / |k (Z - Z_t)|^2, Z the enstrophy by wavenumber, with its standard "
    "error over flows; others are bootstrapped over flows. Log error is that of log Z of the mean "
    "spectrum, variability the mean standard deviation of Z in time: what is below that of the "
    "truth is held too still. Sigma is the standard deviation of the vorticity, flatness its mean "
    "fourth power over the square of its mean square, P3 and P4 the shares of points beyond 3 and "
    "4 standard deviations of the direct simulation. Lost flows left all bounds. Agent mean: the "
    "same closure with all agents doing what they do on average; what that loses was local."
)
