"""Aerodynamics of a surrogate as HTML pages: errors, forces integrated and learnt, pressure along
sections, polars and sensitivities."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from fieldcast.meshes import Field, Mesh, Sample
from fieldcast.meshes.loop import is_loop, ordered
from fieldcast.surrogates.scores import relative_l2
from fieldcast.surrogates.surrogate import Predictor
from fieldcast.surrogates.wrapper import layers

from .aerodynamics import LEVEL, Agreement, Comparison, Flow
from .learning import MODEL
from .page import html_table, image, write_page
from .pictures import figure_of, png
from .polars import Polar
from .report import summary
from .walls import critical_pressure

TRUTH, SAID, BAND = "#222", "#1f6f8b", "#9ecae1"


def write_comparison(predictor: Predictor, found: Comparison, flow: Flow, out: Path) -> Path:
    """The page of a comparison."""
    lost = [f"{t.name} ({t.lost})" for t in found.terms if t.lost]
    parts = [
        f"<h1>Aerodynamics: {html.escape(_inner(predictor))} on {len(found.samples)} cases</h1>",
        _terms(found),
    ]
    if lost:
        parts.append(
            "<p class='warn'>A trivial baseline is better than the model for "
            f"{html.escape(', '.join(lost))}: more simulations or another surrogate are needed "
            "there.</p>"
        )
    parts += [*_agreements(found), *_forces(found), *_sections(found, flow), _doubts(found)]
    return write_page(out, [*parts, summary(predictor)])


def _inner(predictor: Predictor) -> str:
    """The name of the surrogate that is inside of all wrappers."""
    return type([*layers(predictor)][-1].recipe).__name__


def _terms(found: Comparison) -> str:
    names = list(found.terms[0].errors)
    rows = []
    for t in found.terms:
        best = min(t.errors.values())
        cells = []
        for e in t.errors.values():
            text = f"{e:.2%}" if t.relative else f"{e:.4g}"
            cells.append(f"<span class='best'>{text}</span>" if e == best else text)
        rank = "" if t.spearman is None else f"{t.spearman:.3f}"
        inside = "" if t.coverage is None else f"{t.coverage:.0%}"
        rows.append([html.escape(t.name), *cells, rank, inside])
    head = ("mean error", *names, "rank correlation", "truth in the 95 % interval")
    return (
        html_table(head, rows)
        + "<p><small>Fields: relative L2 error, mean of cases; numbers: mean absolute error. "
        f"The last two columns are of the {MODEL}.</small></p>"
    )


def _agreements(found: Comparison) -> Iterator[str]:
    if not found.agreements:
        return
    yield "<h2>Integrated and learnt forces</h2>"
    rows = [
        [
            html.escape(f"{a.name} and {a.other}"),
            f"{a.share:.0%}",
            f"{np.median(a.gaps):.3g}",
            f"{np.median(a.widths):.3g}",
        ]
        for a in found.agreements
    ]
    yield html_table(("", "agree within the joint 95 %", "median gap", "median half width"), rows)
    yield image(_gaps(found.agreements), "gaps of integrated and learnt forces")


def _gaps(agreements: tuple[Agreement, ...]) -> bytes:
    figure = figure_of(3.4 * len(agreements), 2.8)
    panels = figure.subplots(1, len(agreements), squeeze=False)[0]
    for ax, a in zip(panels, agreements, strict=True):
        order = np.argsort(a.gaps)
        ax.fill_between(np.arange(len(order)), a.widths[order], color=BAND, alpha=0.5, lw=0)
        outside = a.gaps[order] > a.widths[order]
        ax.plot(np.arange(len(order)), a.gaps[order], "o", ms=3, color=SAID)
        ax.plot(np.flatnonzero(outside), a.gaps[order][outside], "o", ms=4, color="#b00")
        ax.set_title(f"{a.name} - {a.other}", fontsize=9)
        ax.set_xlabel("case, by gap (band: joint 95 %)", fontsize=8)
        ax.tick_params(labelsize=7)
    return png(figure)


def _forces(found: Comparison) -> Iterator[str]:
    names = list(found.predictions[0].scalars)
    if not names:
        return
    yield "<h2>Forces and other numbers</h2>"
    try:
        bounds = [p.interval(LEVEL) for p in found.predictions]
    except ValueError:
        bounds = []
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    figure = figure_of(3.4 * columns, 3.0 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in panels[len(names) :]:
        ax.set_axis_off()
    for ax, name in zip(panels, names, strict=False):
        truth = np.array([float(s.scalars[name].value[0]) for s in found.samples])
        mean = np.array([float(p.scalars[name].mean[0]) for p in found.predictions])
        ax.axline((truth.mean(), truth.mean()), slope=1.0, color=TRUTH, lw=0.8)
        if bounds and all(name in low.scalars for low, _ in bounds):
            ends = [[float(end.scalars[name].value[0]) for end in pair] for pair in bounds]
            spread = np.abs(np.array(ends).T - mean)
            ax.errorbar(truth, mean, yerr=spread, fmt="none", ecolor="0.7", lw=1)
        ax.plot(truth, mean, "o", ms=3, color=SAID)
        ax.set_title(name, fontsize=9)
        ax.set_xlabel("truth", fontsize=8)
        ax.locator_params(axis="x", nbins=4)
        ax.tick_params(labelsize=7)
    yield image(png(figure), "predictions over truth, with 95 % intervals")


def _sections(found: Comparison, flow: Flow) -> Iterator[str]:
    """cp along the median and the worst closed curve."""
    name = flow.forces.pressure
    rows = []
    for sample, prediction in zip(found.samples, found.predictions, strict=True):
        if name not in prediction.mean or name not in sample.fields:
            return
        mesh = sample.case.mesh_of(sample.fields[name].part)
        if not is_loop(mesh) or sample.fields[name].on != "point":
            return
        truth, said = sample.fields[name].values, prediction.mean[name].values
        rows.append(relative_l2([truth], [said]))
    yield "<h2>Pressure coefficients</h2>"
    order = np.argsort(rows)
    for label, k in (("median", int(order[len(order) // 2])), ("worst", int(order[-1]))):
        sample, prediction = found.samples[k], found.predictions[k]
        title = f"{label} case: {sample.case.label} (error {rows[k]:.1%})"
        std = (prediction.std or {}).get(name)
        yield image(section_picture(sample, prediction.mean[name], std, flow, title), title)


def section_picture(
    sample: Sample, mean: Field, std: Field | None, flow: Flow, title: str
) -> bytes:
    """cp over x / chord, true and predicted with twice the standard deviation, above the shape."""
    known = sample.fields[flow.forces.pressure]
    mesh, scale = sample.case.mesh_of(known.part), flow.forces.stream.pressure(sample.case)
    order = np.append(o := ordered(mesh), o[0])
    x, y = _unit(mesh)[order].T
    figure = figure_of(6.4, 4.2)
    top, low = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    said = mean.values[0, order, 0] / scale
    if std is not None:
        spread = 2.0 * std.values[0, order, 0] / scale
        # Both sides alone: a band that runs around would cross itself.
        for half in np.array_split(np.arange(len(order)), [int(x.argmin())]):
            top.fill_between(
                x[half], (said - spread)[half], (said + spread)[half], color=BAND, alpha=0.5, lw=0
            )
    top.plot(x, known.values[0, order, 0] / scale, color=TRUTH, lw=1.0, label="simulation")
    top.plot(x, said, "--", color=SAID, lw=1.2, label="surrogate")
    if flow.mach:
        mach = float(sample.case.parameters[flow.mach])
        if mach > 0:
            top.axhline(critical_pressure(mach), color="#b00", lw=0.7, label="sonic")
    top.invert_yaxis()
    top.set_ylabel("cp", fontsize=8)
    top.set_title(title, fontsize=9)
    top.legend(fontsize=7, frameon=False)
    low.plot(x, y, color=TRUTH, lw=1.0)
    low.set_xlabel("x / chord", fontsize=8)
    for ax in (top, low):
        ax.tick_params(labelsize=7)
    return png(figure)


def _unit(mesh: Mesh) -> np.ndarray:
    low, chord = mesh.points[:, 0].min(), max(float(np.ptp(mesh.points[:, 0])), 1e-300)
    shifted: np.ndarray = (mesh.points - np.array([low, 0.0])) / chord
    return shifted


def _doubts(found: Comparison) -> str:
    rows = [
        [html.escape(p.case.label), p.trust.status, html.escape(p.trust.reason)]
        for p in found.predictions
        if p.trust.status != "ok"
    ]
    if not rows:
        return "<h2>Trust</h2><p>No answer is doubted.</p>"
    return f"<h2>Trust</h2>{html_table(('case', 'trust', 'reason'), rows)}"


def write_polar(
    predictor: Predictor,
    found: Polar,
    sensitive: Mapping[str, Mapping[str, float]],
    experiment: tuple[Mapping[str, np.ndarray], Mapping[str, float]] | None,
    out: Path,
) -> Path:
    """The page of a polar: scalars over its parameter with twice the standard deviation, lift over
    drag, what they are sensitive to, and an experiment beside them."""
    measured, gaps = experiment or ({}, {})
    doubted = sum(t != "ok" for t in found.trust)
    parts = [f"<h1>Polar over {html.escape(found.name)}</h1>"]
    if doubted:
        parts.append(
            f"<p class='warn'>{doubted} of {len(found.trust)} answers lie where the training data "
            "support them badly (open circles).</p>"
        )
    parts.append(image(polar_picture(found, measured), "polar"))
    if gaps:
        rows = [[html.escape(k), f"{v:.4g}"] for k, v in gaps.items()]
        parts.append(html_table(("experiment", "root mean square gap"), rows))
    if sensitive:
        parts += ["<h2>Sensitivities</h2>", image(_bars(sensitive), "sensitivities")]
        parts.append(
            "<p><small>Change per half of the training range of a parameter, to first order, in "
            "the middle of the polar.</small></p>"
        )
    return write_page(out, [*parts, summary(predictor)])


def polar_picture(found: Polar, measured: Mapping[str, np.ndarray]) -> bytes:
    """One panel a scalar; where there are lift and drag one of both."""
    names = list(found.mean)
    lift, drag = _named(names, "cl"), _named(names, "cd")
    count = len(names) + bool(lift and drag)
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = figure_of(3.5 * columns, 2.8 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    trusted = np.array([t == "ok" for t in found.trust])
    measured = _within(found, measured)
    for ax, name in zip(panels, names, strict=False):
        mean, std = found.mean[name], found.std[name]
        if std is not None:
            ax.fill_between(
                found.values, mean - 2 * std, mean + 2 * std, color=BAND, alpha=0.5, lw=0
            )
        ax.plot(found.values, mean, color=SAID, lw=1.2)
        ax.plot(found.values[~trusted], mean[~trusted], "o", mfc="none", mec="#b00", ms=5)
        if name in measured:
            ax.plot(measured[found.name], measured[name], "k.", ms=4, label="experiment")
            ax.legend(fontsize=7, frameon=False)
        ax.set_title(name, fontsize=9)
        ax.set_xlabel(found.name, fontsize=8)
    if lift and drag:
        ax = panels[len(names)]
        ax.plot(found.mean[drag], found.mean[lift], color=SAID, lw=1.2)
        if {lift, drag} <= set(measured):
            ax.plot(measured[drag], measured[lift], "k.", ms=4)
        ax.set_title(f"{lift} over {drag}", fontsize=9)
    for ax in panels[count:]:
        ax.set_axis_off()
    for ax in panels:
        ax.tick_params(labelsize=7)
    return png(figure)


def _within(found: Polar, measured: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Measurements in the polar's range."""
    if not measured:
        return {}
    at = measured[found.name]
    inside = (at >= found.values.min()) & (at <= found.values.max())
    return {k: v[inside] for k, v in measured.items()}


def _named(names: list[str], wanted: str) -> str:
    """The name that is `wanted` whatever its case; empty where there is none."""
    return next((n for n in names if n.lower() == wanted), "")


def _bars(sensitive: Mapping[str, Mapping[str, float]]) -> bytes:
    figure = figure_of(3.4 * len(sensitive), 2.6)
    panels = figure.subplots(1, len(sensitive), squeeze=False)[0]
    for ax, (name, slopes) in zip(panels, sensitive.items(), strict=True):
        order = sorted(slopes, key=lambda k: abs(slopes[k]))[-10:]
        ax.barh(order, [slopes[k] for k in order], color=SAID)
        ax.axvline(0.0, color=TRUTH, lw=0.7)
        ax.set_title(f"change of {name}", fontsize=9)
        ax.tick_params(labelsize=7)
    return png(figure)
