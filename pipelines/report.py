"""One self-contained HTML page: scores against baselines, calibration, and what the answers look
like."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from fieldcast.meshes import Prediction, Sample
from fieldcast.surrogates.scores import calibration, intervals, rrmse_field
from fieldcast.surrogates.surrogate import Predictor, Progress, quiet

from . import pictures
from .learning import MODEL, Evaluation
from .page import html_table, image, write_page

LEVELS = (0.5, 0.68, 0.8, 0.9, 0.95, 0.99)


def write_report(
    predictor: Predictor,
    samples: Sequence[Sample],
    evaluation: Evaluation,
    path: Path,
    progress: Progress = quiet,
) -> Path:
    """Write the page for `samples` that were evaluated before; returns its path."""
    predictions = evaluation.predictions
    if predictions is None:
        raise ValueError("expected an evaluation with its predictions, got one without")
    parts = [
        f"<h1>{html.escape(path.stem)}: {html.escape(type(predictor.recipe).__name__)} on "
        f"{evaluation.cases} cases</h1>",
        summary(predictor),
        _scores(evaluation),
        _calibration(samples, predictions),
        _cases(samples, predictions),
    ]
    progress("draw", 0, 3)
    parts += _fields(samples, predictions, progress)
    parts += _scalars(samples, predictions)
    return write_page(path, parts)


def summary(predictor: Predictor) -> str:
    """What a model was fitted to, and how that went."""
    training = predictor.card.training
    fit = {k: v for k, v in predictor.card.fit.items() if not isinstance(v, dict)}
    rows = [[html.escape(str(k)), html.escape(_told(v))] for k, v in {**training, **fit}.items()]
    recipe = html.escape(repr(predictor.recipe))
    return f"<h2>The model</h2><p><code>{recipe}</code></p>{html_table(('', ''), rows)}"


def _told(value: object) -> str:
    """A value of a card in few digits: mappings as "name value; ...", lists as "a, b"."""
    if isinstance(value, Mapping):
        return "; ".join(f"{k} {_told(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_told(v) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _scores(evaluation: Evaluation) -> str:
    names = list(evaluation.scores)
    rows = []
    for output, own in evaluation.scores[MODEL].items():
        errors = {k: evaluation.scores[k][output].rrmse for k in names}
        best = min(errors.values())
        cells = [
            f"<span class='best'>{e:.2e}</span>" if e == best else f"{e:.2e}"
            for e in errors.values()
        ]
        covered = "not known" if own.coverage is None else f"{own.coverage:.0%}"
        rows.append([html.escape(output), *cells, f"{own.q2:.4f}", covered])
    lost = evaluation.lost()
    warning = ""
    if lost:
        what = ", ".join(f"{html.escape(o)} ({html.escape(b)})" for o, b in lost.items())
        warning = (
            f"<p class='warn'>A trivial baseline is better than the model for {what}: more "
            "simulations or another surrogate are needed there.</p>"
        )
    head = ("output", *names, "Q2 of the model", "inside the 95 % interval")
    return (
        f"<h2>Scores on {evaluation.cases} "
        f"cases</h2>{html_table(head, rows)}{warning}<p><small>Relative "
        "root mean square error (RRMSE), lower is better. For fields the last column is the "
        "share of "
        "points, averaged over simulations; for scalars the share of simulations.</small></p>"
    )


def _calibration(samples: Sequence[Sample], predictions: Sequence[Prediction]) -> str:
    observed = calibration(samples, predictions, LEVELS)
    if not observed:
        return ""
    drawn = pictures.calibration(LEVELS, observed, len(samples))
    return f"<h2>Calibration</h2>{image(drawn, 'calibration')}"


def _cases(samples: Sequence[Sample], predictions: Sequence[Prediction]) -> str:
    rows = []
    for s, p in zip(samples, predictions, strict=True):
        mark = {"ok": "", "warn": "flag", "reject": "reject"}[p.trust.status]
        errors = [
            f"{rrmse_field([s.fields[k].values], [p.mean[k].values]):.1e}" for k in p.mean
        ] + [
            f"{html.escape(str(e))} ({s.scalars[k].value.mean():.5g})" for k, e in p.scalars.items()
        ]
        trust = f"<span class='{mark}'>{p.trust.status}</span> {html.escape(p.trust.reason)}"
        rows.append([html.escape(s.case.label), *errors, trust])
    first = predictions[0]
    head = ("case", *(f"{k} error" for k in first.mean), *(f"{k} (truth)" for k in first.scalars))
    table = html_table((*head, "trust"), rows)
    return f"<h2>Cases</h2><details open><summary>{len(rows)} cases</summary>{table}</details>"


def _fields(
    samples: Sequence[Sample], predictions: Sequence[Prediction], progress: Progress
) -> Iterator[str]:
    """The median and the worst case of each field; moving where it is a series."""
    first = predictions[0]
    if not first.mean or not pictures.can_draw(samples[0].case.mesh):
        return
    yield "<h2>Fields</h2>"
    for k, name in enumerate(first.mean):
        errors = [
            rrmse_field([s.fields[name].values], [p.mean[name].values])
            for s, p in zip(samples, predictions, strict=True)
        ]
        order = np.argsort(errors)
        for label, i in (("median", order[len(order) // 2]), ("worst", order[-1])):
            sample, prediction = samples[int(i)], predictions[int(i)]
            unit = f" [{sample.fields[name].unit}]" if sample.fields[name].unit else ""
            title = f"{name}{unit}, {label} case: {sample.case.label} (RRMSE {errors[i]:.1e})"
            panels = pictures.Panels.comparing(sample, prediction, name, title)
            if len(panels.times) > 1:
                yield image(pictures.gif(panels), title, "gif")
            else:
                yield image(pictures.still(panels), title)
        progress("draw", k + 1, len(first.mean))


def _scalars(samples: Sequence[Sample], predictions: Sequence[Prediction]) -> Iterator[str]:
    first = predictions[0]
    if first.scalars:
        yield "<h2>Scalars</h2>"
    bands = intervals(predictions, 0.95)
    for name, e in first.scalars.items():
        truth = np.concatenate([s.scalars[name].value for s in samples])
        mean = np.concatenate([p.scalars[name].mean for p in predictions])
        bounds = None
        if bands and name in bands[0][0].scalars:
            low = np.concatenate([b.scalars[name].value for b, _ in bands])
            high = np.concatenate([b.scalars[name].value for _, b in bands])
            bounds = (low, high)
        title = f"{name} [{e.unit}]" if e.unit else name
        yield image(pictures.parity(truth, mean, bounds, title), title)
