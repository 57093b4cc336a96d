"""Scores and pictures of columns as one HTML page or a folder of PNG files."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from pathlib import Path

from fieldcast.meshes.files import replace_file
from fieldcast.surrogates.surrogate import Predictor, Progress, quiet

from .climate import HEAD, Climate, lines, row
from .column_pictures import lat_lon, pressure_lat, profiles, ranks
from .page import html_table, image, write_page
from .report import summary

PAGES = (".html", ".htm")


def drawn(found: Mapping[str, Climate], progress: Progress = quiet) -> Iterator[tuple[str, bytes]]:
    """Pictures with what they are, output by output: by pressure and rank for all climates, then
    maps and sections of each, where the columns have places."""
    names = list(next(iter(found.values())).scores)
    for k, name in enumerate(names):
        if len(next(iter(found.values())).scores[name].mae) > 1:
            yield f"{name} by pressure", profiles(found, name)
        if picture := ranks(found, name):
            yield f"{name} ranks", picture
        for label, own in found.items():
            if picture := lat_lon(own, name):
                yield f"{name} map {label}", picture
            if picture := pressure_lat(own, name):
                yield f"{name} section {label}", picture
        progress("draw", k + 1, len(names))


def write_figures(
    predictor: Predictor, found: Mapping[str, Climate], out: Path, progress: Progress = quiet
) -> list[Path]:
    """A page where `out` ends in .html, else PNG files in the folder `out`; returns the files."""
    if out.suffix.lower() in PAGES:
        return [_page(predictor, found, out, progress)]
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for title, picture in drawn(found, progress):
        paths.append(out / ("".join(c if c.isalnum() else "_" for c in title) + ".png"))
        replace_file(paths[-1], picture)
    return paths


def _page(
    predictor: Predictor, found: Mapping[str, Climate], out: Path, progress: Progress
) -> Path:
    rows = [
        [html.escape(c) for c in row(label, name, own)]
        for label, own in found.items()
        for name in own.scores
    ]
    notes = lines(found)[1 + len(rows) :]
    items = "".join(f"<li>{html.escape(line)}</li>" for line in notes)
    parts = [
        f"<h1>{html.escape(out.stem)}: columns in {len(found)} climates</h1>",
        summary(predictor),
        f"<h2>Scores</h2>{html_table(HEAD, rows)}<ul>{items}</ul>",
        f"<p><small>{EXPLAINED}</small></p><h2>Pictures</h2>",
        *(image(picture, title) for title, picture in drawn(found, progress)),
    ]
    return write_page(out, parts)


EXPLAINED = (
    "R2 is about the mean of the columns scored, level by level; below 0 that mean is the better "
    "answer. CRPS is the fair one, of endlessly many members; skill is 1 - CRPS / that of these "
    "columns' own climatology. Spread/RMSE is 1 where an ensemble knows how wrong it is."
)
