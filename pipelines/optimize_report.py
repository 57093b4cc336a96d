"""A search for the best design as lines and as one HTML page."""

from __future__ import annotations

import html
from pathlib import Path

import numpy as np

from fieldcast.meshes import Sample

from .optimizing import Search
from .page import html_table, image, write_page
from .pictures import figure_of, png
from .trials import LEVEL, Optimum, agrees

SHOWN = 12
"""Designs in the table: the last ones."""


def lines(found: Optimum, search: Search) -> list[str]:
    """For people."""
    best, k = found.trials[found.best], found.best
    told = [f"{name} = {value:.5g}" for name, value in best.numbers.items()]
    failed = sum(bool(t.message) for t in found.trials)
    rows = [
        f"{search.goal} = {found.goals[k]:.6g} by the solver, design {k + 1} of "
        f"{len(found.trials)} ({failed} failed)",
        "  " + ", ".join(told),
    ]
    if best.expected is not None and best.spread is not None:
        inside = "within" if agrees(best, float(found.goals[k])) else "outside of"
        rows.append(
            f"  expected {best.expected:.6g} ± {LEVEL * best.spread:.2g}: the solver is {inside} it"
        )
    if not found.feasible:
        rows.append(
            f"warning: no design keeps all constraints; this one misses by {found.gaps[k]:.3g} "
            "times what counts as nothing"
        )
    return [*rows, f"stopped: {found.stopped}"]


def write_search(found: Optimum, search: Search, out: Path) -> Path:
    """The page."""
    text = lines(found, search)
    warnings = "".join(
        f"<p class='warn'>{html.escape(t)}</p>" for t in text if t.startswith("warning")
    )
    plain = "".join(f"<p>{html.escape(t)}</p>" for t in text if not t.startswith("warning"))
    wanted = "; ".join(search.constraints) or "no constraints"
    parts = [
        f"<h1>least {html.escape(search.goal)}</h1>",
        f"<p>under {html.escape(wanted)}</p>",
        warnings,
        plain,
        "<h2>History</h2>",
        image(_history(found, search), "goal and gaps of constraints by design"),
        html_table(*_table(found)),
    ]
    curves = {k: found.samples[k] for k in {min(found.samples), found.best} if _curve(found, k)}
    if curves:
        parts += ["<h2>Shapes</h2>", image(_shapes(found), "shapes of designs")]
        if all("cp" in s.fields for s in curves.values()):
            parts.append(image(_pressure(found), "pressure coefficients by the solver"))
    return write_page(out, parts)


def _table(found: Optimum) -> tuple[list[str], list[list[str]]]:
    names = list(found.trials[0].numbers)
    shown = range(max(0, len(found.trials) - SHOWN), len(found.trials))
    rows = []
    for k in shown:
        trial = found.trials[k]
        goal = f"{found.goals[k]:.6g}" if np.isfinite(found.goals[k]) else "failed"
        expected = "" if trial.expected is None else f"{trial.expected:.6g}"
        if trial.spread is not None:
            expected += f" ± {LEVEL * trial.spread:.2g}"
        numbers = [f"{trial.numbers[n]:.4g}" for n in names]
        note = "best" if k == found.best else html.escape(trial.message[:80])
        rows.append([str(k + 1), goal, f"{found.gaps[k]:.3g}", expected, *numbers, note])
    return ["design", "goal", "gap", "expected", *names, ""], rows


def _history(found: Optimum, search: Search) -> bytes:
    figure = figure_of(9.0, 3.4)
    left, right = figure.subplots(1, 2)
    at = np.arange(1, len(found.trials) + 1)
    held = found.gaps <= 1.0
    left.plot(at[~held], found.goals[~held], "o", color="#bbb", ms=4, label="constraints missed")
    left.plot(at[held], found.goals[held], "o", color="#1f6f8b", ms=4, label="constraints kept")
    told = [(k + 1, t.expected, t.spread) for k, t in enumerate(found.trials) if t.expected]
    if told:
        x, y, s = (np.array(c, dtype=float) for c in zip(*told, strict=True))
        left.errorbar(x, y, LEVEL * s, fmt="none", ecolor="#e08e45", lw=1, label="expected")
    left.axvline(search.first + 0.5, color="#ddd", lw=1)
    left.plot([found.best + 1], [found.goals[found.best]], "*", color="#b00", ms=11, label="best")
    left.set(xlabel="design", ylabel=search.goal)
    left.legend(fontsize=7, frameon=False)
    finite = np.isfinite(found.gaps)
    right.semilogy(at[finite], np.maximum(found.gaps[finite], 1e-3), "o", color="#555", ms=4)
    right.axhline(1.0, color="#b00", lw=1)
    right.set(xlabel="design", ylabel="largest gap / what counts as nothing")
    return png(figure)


def _curve(found: Optimum, k: int) -> bool:
    """Whether its mesh is a curve in the plane."""
    mesh = found.samples[k].case.mesh if k in found.samples else None
    return mesh is not None and mesh.dim == 2 and set(mesh.cells) == {"line"}


def _closed(sample: Sample) -> np.ndarray:
    points = sample.case.mesh.points
    return np.vstack([points, points[:1]])


def _shapes(found: Optimum) -> bytes:
    figure = figure_of(9.0, 2.6)
    axes = figure.subplots()
    for k in sorted(found.samples):
        if k != found.best:
            axes.plot(*_closed(found.samples[k]).T, color="#ccc", lw=0.6)
    if found.best in found.samples:
        axes.plot(*_closed(found.samples[found.best]).T, color="#b00", lw=1.6, label="best")
    axes.set_aspect("equal")
    axes.legend(fontsize=8, frameon=False)
    return png(figure)


def _pressure(found: Optimum) -> bytes:
    figure = figure_of(6.0, 3.4)
    axes = figure.subplots()
    other = min(k for k in found.samples if k != found.best)
    for k, color in ((other, "#bbb"), (found.best, "#b00")):
        sample = found.samples[k]
        x = sample.case.mesh.points[:, 0]
        label = "best" if k == found.best else f"design {k + 1}"
        axes.plot(x, sample.fields["cp"].values[0, :, 0], color=color, lw=1.2, label=label)
    axes.invert_yaxis()
    axes.set(xlabel="x / chord", ylabel="cp")
    axes.legend(fontsize=8, frameon=False)
    return png(figure)
