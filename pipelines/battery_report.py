"""A calibration as one HTML page."""

from __future__ import annotations

import html
import math
from pathlib import Path

import numpy as np

from fieldcast.surrogates.inference import Draws
from fieldcast.surrogates.surrogate import Predictor

from .battery import Calibration
from .page import html_table, image, write_page
from .pictures import figure_of, png
from .report import summary

HEAD = ("parameter", "mean", "std", "5 %", "95 %", "most probable", "Fisher", "R-hat", "effective")
MOST_DOTS = 3000


def lines(found: Calibration) -> list[str]:
    """A table for people, identifiability first, and warnings."""
    told = found.told
    rows = ["what the data tell, by Fisher's information:"]
    for k, name in enumerate(told.names):
        share = told.std[k] / abs(found.peak[name])
        others = [
            f"{told.correlation[k, i]:+.2f} with {other}"
            for i, other in enumerate(told.names)
            if i != k
        ]
        rows.append(f"  {name}: {found.peak[name]:.4g} within {share:.0%}; {', '.join(others)}")
    table = [HEAD, *_cells(found)]
    widths = [max(len(r[k]) for r in table) for k in range(len(HEAD))]
    rows += ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in table]
    gap = 1e3 * float(np.std(found.measured - found.fitted))
    own = 1e3 * float(np.sqrt(np.mean(found.own**2)))
    rows.append(
        f"residual {gap:.3g} mV; {found.held:.0%} of the data lie within 90 % of the posterior "
        f"predictive; error of the model against its solver {own:.2g} mV"
    )
    for label, other in found.others.items():
        each = [f"{k} {a:.4g} to {b:.4g}" for k in other.names for a, b in (other.interval(k),)]
        rows.append(f"by {label}: {', '.join(each)}")
    return [*rows, *(f"warning: {w}" for w in found.warnings())]


def _cells(found: Calibration) -> list[tuple[str, ...]]:
    return [
        (name, *("-" if math.isnan(v) else f"{v:.4g}" for v in figures.values()))
        for name, figures in found.rows().items()
    ]


def write_calibration(predictor: Predictor, found: Calibration, out: Path) -> Path:
    """The page."""
    told = found.told
    names = [html.escape(k) for k in told.names]
    fisher = [
        [name, f"{told.std[k]:.3g}", *(f"{c:+.3f}" for c in told.correlation[k])]
        for k, name in enumerate(names)
    ]
    warnings = "".join(f"<p class='warn'>{html.escape(w)}</p>" for w in found.warnings())
    cells = [[html.escape(c) for c in row] for row in _cells(found)]
    notes = [line for line in lines(found) if line.startswith(("residual", "by "))]
    parts = [
        f"<h1>{html.escape(out.stem)}: calibration of {len(found.priors)} parameters</h1>",
        warnings,
        "<h2>What the data can tell</h2>",
        html_table(("parameter", "std", *(f"corr. {k}" for k in names)), fisher),
        f"<p><small>{FISHER}</small></p><h2>Posterior</h2>",
        html_table(HEAD, cells),
        "".join(f"<p>{html.escape(line)}</p>" for line in notes),
        image(pairs(found), "posterior"),
        "<h2>Posterior predictive</h2>",
        image(voltages(found), "voltage and residuals"),
        summary(predictor),
    ]
    return write_page(out, parts)


FISHER = (
    "By Fisher's information at the most probable place, before any prior: what data of this noise "
    "would tell if the model were exact. sigma is in V."
)


def pairs(found: Calibration) -> bytes:
    """Histograms of each column, and each pair of them as dots."""
    names, n = found.draws.names, len(found.draws.names)
    figure = figure_of(2.1 * n + 0.6, 2.0 * n + 0.4)
    axes = figure.subplots(n, n, squeeze=False)
    flat = found.draws.values.reshape(-1, n)[
        :: max(found.draws.values[..., 0].size // MOST_DOTS, 1)
    ]
    for i in range(n):
        for k in range(n):
            ax = axes[i, k]
            ax.tick_params(labelsize=6)
            if k > i:
                ax.set_axis_off()
            elif k == i:
                ax.hist(flat[:, i], 40, density=True, color="0.6")
                for label, other in found.others.items():
                    _outline(ax, other, names[i], label)
                ax.set_yticks([])
            else:
                ax.plot(flat[:, k], flat[:, i], ".", ms=1, alpha=0.3)
            if i == n - 1:
                ax.set_xlabel(names[k], fontsize=8)
            if k == 0 and i:
                ax.set_ylabel(names[i], fontsize=8)
    return png(figure)


def _outline(ax, other: Draws, name: str, label: str) -> None:  # type: ignore[no-untyped-def]
    ax.hist(other.of(name).ravel(), 40, density=True, histtype="step", label=label)
    ax.legend(fontsize=6)


def voltages(found: Calibration) -> bytes:
    """The measured voltage within 90 % of the predictive, and residuals below it."""
    figure = figure_of(7.0, 4.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    t = found.data.case.times
    low, high = np.quantile(found.again, [0.05, 0.95], axis=0)
    upper.fill_between(t, low, high, color="C0", alpha=0.3, label="90 % predictive")
    upper.plot(t, found.measured, "k.", ms=2, label="measured")
    upper.set_ylabel("voltage [V]", fontsize=8)
    upper.legend(fontsize=7)
    lower.fill_between(
        t, 1e3 * (low - found.fitted), 1e3 * (high - found.fitted), color="C0", alpha=0.3
    )
    lower.plot(t, 1e3 * (found.measured - found.fitted), "k.", ms=2)
    lower.axhline(0.0, color="0.5", lw=0.6)
    lower.set_ylabel("residual [mV]", fontsize=8)
    lower.set_xlabel("time [s]", fontsize=8)
    for ax in (upper, lower):
        ax.tick_params(labelsize=7)
    return png(figure)
