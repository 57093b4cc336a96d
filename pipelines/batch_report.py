"""One HTML page on a batch: how the cases ended, which are not to be trusted and why, how the
answers are distributed, and which files took longest."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .manifest import DONE, STATUSES, Manifest, Outcome, Timings
from .page import html_table, write_page

if TYPE_CHECKING:
    from .predicting import Batch

NAME = "report.html"
_BAD = [status for status in STATUSES if status not in DONE]
_SHOWN, _SLOWEST, _BINS = 100, 10, 30
_WIDTH, _HEIGHT = 360, 120
# Beyond so many cases the distributions are those of every k-th.
_SAMPLED = 100_000


def write_batch_report(batch: Batch, path: Path, title: str) -> Path:
    """Write the page on the batch of that title; returns its path."""
    total = sum(batch.counts.values())
    with Manifest(batch.manifest) as manifest:
        parts = [
            f"<h1>{html.escape(title)}: {total} cases</h1>",
            _counted(batch.counts, total),
            _listed("Without an answer", manifest, _BAD),
            _listed("Answered, not to be trusted", manifest, ["flagged"]),
            *_distributions(manifest, max(total // _SAMPLED, 1)),
            _slowest(manifest),
        ]
    return write_page(path, parts)


def _counted(counts: Mapping[str, int], total: int) -> str:
    rows = [[html.escape(s), str(n), f"{n / total:.1%}"] for s, n in counts.items()]
    return html_table(("status", "cases", "share"), rows)


def _listed(title: str, manifest: Manifest, statuses: Sequence[str]) -> str:
    """Cases with one of the statuses, the first of them, and their reasons."""
    count = sum(n for status, n in manifest.counts().items() if status in statuses)
    if not count:
        return ""
    rows = [
        [html.escape(o.case), o.status, _score(o), html.escape(o.message)]
        for o, _ in manifest.rows(limit=_SHOWN, statuses=statuses)
    ]
    more = count - len(rows)
    note = f"<p>... and {more} more: <code>fieldcast export</code> writes all.</p>" if more else ""
    table = html_table(("case", "status", "trust", "reason"), rows)
    return f"<h2>{title}</h2><div class='words'>{table}</div>{note}"


def _score(outcome: Outcome) -> str:
    return "" if outcome.trust is None else f"{outcome.trust:.2f}"


def _slowest(manifest: Manifest) -> str:
    slow = manifest.rows("coalesce(read_s + predict_s + write_s, 0) DESC", _SLOWEST)
    rows = [
        [html.escape(o.case), str(o.nodes or ""), *(f"{s:.3f}" for s in _seconds(t))]
        for o, t in slow
    ]
    head = ("case", "nodes", "read, s", "predict, s", "write, s")
    return f"<h2>The slowest</h2>{html_table(head, rows)}"


def _seconds(spent: Timings) -> tuple[float, float, float]:
    return spent.read, spent.predict, spent.write


def _distributions(manifest: Manifest, step: int) -> Iterator[str]:
    """A histogram of each steady scalar, and of the trust score."""
    values: dict[str, list[float]] = {}
    units: dict[str, str] = {}
    for i, (outcome, _) in enumerate(manifest.rows()):
        if i % step or outcome.scalars is None:
            continue
        if outcome.trust is not None:  # a solver's answers have none
            values.setdefault("trust score", []).append(outcome.trust)
        for name, found in outcome.scalars.items():
            if len(found["mean"]) == 1:
                values.setdefault(name, []).append(found["mean"][0])
                units[name] = found["unit"]
    if values:
        yield "<h2>Distributions</h2>"
    for name, found in values.items():
        yield histogram(name, units.get(name, ""), found)


def histogram(name: str, unit: str, values: Sequence[float]) -> str:
    """Bars as an SVG picture inside the page, with the range, mean and median in words."""
    finite = np.array([value for value in values if np.isfinite(value)])
    if not finite.size:
        return ""
    counts, edges = np.histogram(finite, _BINS)
    wide, top = _WIDTH / _BINS, counts.max()
    bars = "".join(
        f"<rect x='{i * wide:.1f}' y='{_HEIGHT * (1 - n / top):.1f}' width='{wide - 1:.1f}' "
        f"height='{_HEIGHT * n / top:.1f}'/>"
        for i, n in enumerate(counts)
        if n
    )
    span = f"{edges[0]:.4g} to {edges[-1]:.4g} {unit}".strip()
    said = f"{span}, mean {finite.mean():.4g}, median {np.median(finite):.4g}"
    label = html.escape(name)
    return (
        f"<p><b>{label}</b><br><svg role='img' aria-label='{label}' width='{_WIDTH}' "
        f"height='{_HEIGHT}' fill='#46a'>{bars}</svg><br><small>{html.escape(said)}</small></p>"
    )
