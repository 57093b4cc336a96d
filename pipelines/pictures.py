"""Pictures of fields, scalars and calibration as PNG bytes, and of series in time as GIF or
MP4."""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from fieldcast.meshes import Mesh, Prediction, Sample
from fieldcast.meshes.chart import cells_to_points
from fieldcast.meshes.files import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

DPI, MOVIE_DPI = 110, 75
MOST_FRAMES, FRAMES_PER_SECOND = 32, 8
SHARED, OWN = "viridis", "magma"
BANDS = {SHARED: 22, OWN: 18, "gray": 8}
# Below this ratio of height to width, panels lie one below another.
_WIDE = 0.5
MOST_NAMES = 8


def figure_of(width: float, height: float) -> Figure:
    """An empty one, width and height in inches."""
    # The object interface: no display, no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """As a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def point_values(mesh: Mesh, values: Float[np.ndarray, " entity"]) -> Float[np.ndarray, " point"]:
    """Values on points, from points or cells."""
    return values if len(values) == len(mesh.points) else cells_to_points(mesh) @ values


def magnitude(values: Float[np.ndarray, "... component"]) -> Float[np.ndarray, ...]:
    """The one component, or the length of a vector."""
    return values[..., 0] if values.shape[-1] == 1 else np.linalg.norm(values, axis=-1)


@dataclass(frozen=True)
class Panels:
    """Fields on one mesh, a panel each, at `times` [s] (steady: one). Those in `shared` have the
    range of colours of the first of them."""

    mesh: Mesh
    values: Mapping[str, Float[np.ndarray, "time entity"]]
    times: Float[np.ndarray, " time"]
    title: str
    shared: tuple[str, ...] = ()

    @classmethod
    def comparing(cls, sample: Sample, prediction: Prediction, name: str, title: str) -> Panels:
        """Truth, prediction and error of a field, and its standard deviation where it is known."""
        truth, found = sample.fields[name].values, prediction.mean[name].values
        values = {
            "truth": magnitude(truth),
            "prediction": magnitude(found),
            "error": np.linalg.norm(found - truth, axis=-1),
        }
        if prediction.std is not None and name in prediction.std:
            values["sigma"] = np.linalg.norm(prediction.std[name].values, axis=-1)
        mesh = sample.case.mesh_of(prediction.mean[name].part)
        times = sample.case.times[: len(truth)]
        return cls(mesh, values, times, title, ("truth", "prediction"))

    def span(self, name: str) -> tuple[float, float]:
        """Of its colours: all times of it, or of the first that shares them."""
        values = self.values[self.shared[0] if name in self.shared else name]
        finite = values[np.isfinite(values)]
        low = float(finite.min(initial=np.inf)) if finite.size else 0.0
        return low, max(float(finite.max(initial=low)), low + 1e-300)


def still(panels: Panels) -> bytes:
    """Its first time, the panels side by side (one below another where the mesh is wide)."""
    return png(_Stage(panels).figure)


def gif(panels: Panels) -> bytes:
    """In few colours, so that it stays small: bands of the panels' colours, and greys."""
    from matplotlib import colormaps
    from PIL import Image

    bands = np.concatenate([colormaps[name](np.linspace(0, 1, n)) for name, n in BANDS.items()])
    palette = Image.new("P", (1, 1))
    palette.putpalette((255 * bands[:, :3]).round().astype(np.uint8).tobytes())
    first, *rest = (
        Image.fromarray(pixels).quantize(palette=palette, dither=Image.Dither.NONE)
        for pixels in _Stage(panels).frames(MOVIE_DPI)
    )
    buffer, pause = io.BytesIO(), 1000 // FRAMES_PER_SECOND
    first.save(buffer, "gif", save_all=True, append_images=rest, duration=pause, loop=0)
    return buffer.getvalue()


def write_movie(panels: Panels, path: str | Path) -> Path:
    """As MP4 where ffmpeg is found, else as GIF, which is logged. Returns the file written."""
    from matplotlib.animation import FFMpegWriter

    path = Path(path)
    if not FFMpegWriter.isAvailable():
        path = path.with_suffix(".gif")
        log.warning("%s: written as GIF, for MP4 install ffmpeg", path)
        replace_file(path, gif(panels))
        return path
    path, stage, writer = path.with_suffix(".mp4"), _Stage(panels), FFMpegWriter(FRAMES_PER_SECOND)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / path.name
        with writer.saving(stage.figure, str(made), DPI):
            for _ in stage.frames(DPI):
                writer.grab_frame()
        replace_file(path, made.read_bytes())
    return path


class _Stage:
    """The figure, which shows one time."""

    def __init__(self, panels: Panels) -> None:
        self._panels = panels
        points, cells = _flat(panels.mesh)
        rows, columns, size = _layout(points, len(panels.values))
        self.figure = figure_of(*size)
        axes: Any = self.figure.subplots(rows, columns, squeeze=False).ravel()
        self._drawn = {}
        for ax, (name, values) in zip(axes, panels.values.items(), strict=True):
            low, high = panels.span(name)
            self._drawn[name] = ax.tripcolor(
                *points.T,
                cells,
                point_values(panels.mesh, values[0]),
                shading="gouraud",
                vmin=low,
                vmax=high,
                cmap=SHARED if name in panels.shared else OWN,
            )
            self.figure.colorbar(self._drawn[name], ax=ax, shrink=0.8, format="%.3g")
            ax.set_title(name, fontsize=9)
            ax.set_aspect("equal")
            ax.set_axis_off()
        self._title = self.figure.suptitle(panels.title, fontsize=10)

    def frames(self, dpi: int) -> Iterator[UInt8[np.ndarray, "high wide 3"]]:
        """At most 32 pictures, evenly spread over the times, with the time in the title."""
        panels = self._panels
        canvas: Any = self.figure.canvas
        self.figure.set_dpi(dpi)
        count = min(MOST_FRAMES, len(panels.times))
        for time in np.linspace(0, len(panels.times) - 1, count).round().astype(int):
            for name, drawn in self._drawn.items():
                drawn.set_array(point_values(panels.mesh, panels.values[name][time]))
            self._title.set_text(f"{panels.title}, t = {panels.times[time]:.4g} s")
            canvas.draw()
            self.figure.set_layout_engine("none")  # places stay as they are now
            yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _layout(points: np.ndarray, count: int) -> tuple[int, int, tuple[float, float]]:
    """(rows, columns, (width, height) in inches): wide meshes lie one below another."""
    wide, high = np.ptp(points, axis=0)
    ratio = float(high / wide) if wide > 0 else 1.0
    if ratio < _WIDE:
        return count, 1, (8.0, count * (6.5 * ratio + 0.35) + 0.4)
    return 1, count, (3.6 * count, min(max(2.6 * ratio, 1.6), 5.0) + 0.7)


def _flat(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Points in the plane of the picture and triangles: a plane mesh as it is, a surface in space
    seen along its shortest side, nearer triangles drawn last."""
    cells, _ = mesh.simplices
    if mesh.cell_dim == 3:
        from fieldcast.meshes.topology import boundary

        cells = boundary(mesh)
    if mesh.dim == 2:
        return mesh.points, cells
    depth = int(np.ptp(mesh.points, axis=0).argmin())
    keep = [k for k in range(3) if k != depth]
    order = np.argsort(mesh.points[cells, depth].mean(axis=1))
    return mesh.points[:, keep], cells[order]


def can_draw(mesh: Mesh) -> bool:
    """Whether a mesh has surfaces to look at."""
    return mesh.dim >= 2 and mesh.cell_dim >= 2


def parity(
    truth: Float[np.ndarray, " case"],
    mean: Float[np.ndarray, " case"],
    bounds: tuple[Float[np.ndarray, " case"], Float[np.ndarray, " case"]] | None,
    title: str,
) -> bytes:
    """Prediction over truth with intervals, and the line on which they are equal."""
    figure = figure_of(3.6, 3.4)
    ax: Axes = figure.subplots()
    if bounds is not None:
        spread = np.abs(np.stack([mean - bounds[0], bounds[1] - mean]))
        ax.errorbar(truth, mean, yerr=spread, fmt="none", ecolor="0.7", lw=1)
    ax.plot(truth, mean, "o", ms=3, color="tab:blue")
    ends = [min(truth.min(), mean.min()), max(truth.max(), mean.max())]
    ax.plot(ends, ends, "k-", lw=0.8)
    ax.set_xlabel("truth", fontsize=8)
    ax.set_ylabel("prediction", fontsize=8)
    ax.tick_params(labelsize=7)
    ax.set_title(title, fontsize=9)
    return png(figure)


def calibration(
    levels: Sequence[float], observed: Mapping[str, Sequence[float]], cases: int
) -> bytes:
    """Share of simulations inside the interval over its level; the band is what chance allows (95
    %) with this many cases."""
    figure = figure_of(4.2, 3.6)
    ax: Axes = figure.subplots()
    p = np.linspace(0, 1, 101)
    chance = 1.96 * np.sqrt(p * (1 - p) / max(cases, 1))
    ax.fill_between(p, np.clip(p - chance, 0, 1), np.clip(p + chance, 0, 1), color="0.9")
    ax.plot([0, 1], [0, 1], "k-", lw=0.8)
    for name, shares in observed.items():
        ax.plot(levels, shares, "o-", ms=3, lw=1, label=name)
    ax.set_xlabel("level of the interval", fontsize=8)
    ax.set_ylabel("share of simulations inside", fontsize=8)
    ax.tick_params(labelsize=7)
    ax.legend(fontsize=7)
    return png(figure)


def learning_curve(
    sizes: Int[np.ndarray, " size"],
    errors: Mapping[str, Float[np.ndarray, "size repeat"]],
    lines: Mapping[str, Float[np.ndarray, "4 n"]],
    marks: tuple[int, int],
) -> bytes:
    """Errors over the number of simulations, one panel per output: those observed, the law fitted
    to them with its interval (`lines`: n, law, low, high), and its values at the two `marks`, now
    and then."""
    columns = min(len(errors), 4)
    rows = -(-len(errors) // columns)
    figure = figure_of(3.4 * columns, 3.0 * rows)
    panels: Any = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in panels[len(errors) :]:
        ax.set_axis_off()
    for ax, (name, observed) in zip(panels, errors.items(), strict=False):
        n, law, low, high = lines[name]
        ax.fill_between(n, low, high, color="tab:blue", alpha=0.15, lw=0)
        ax.loglog(n, law, "-", lw=1, color="tab:blue")
        ax.loglog(sizes, observed, "o", ms=3, color="0.4")
        for mark, style in zip(marks, ("o", "*"), strict=True):
            ax.loglog(mark, np.interp(mark, n, law), style, ms=7, color="tab:red")
        ticks = sorted({int(sizes[0]), int(sizes[-1]), marks[1]})
        ax.set_xticks(ticks, [str(t) for t in ticks])
        ax.set_xticks([], minor=True)
        ax.set_title(name, fontsize=9)
        ax.set_xlabel("simulations", fontsize=8)
        ax.tick_params(labelsize=7)
    panels[0].set_ylabel("relative error", fontsize=8)
    return png(figure)


def spectra(
    sizes: Sequence[Sequence[Float[np.ndarray, " function"]]], names: Sequence[str]
) -> bytes:
    """Singular values relative to the largest, of each case and each of its layers."""
    layers = len(sizes[0])
    figure = figure_of(3.2 * layers, 3.0)
    panels: Any = figure.subplots(1, layers, squeeze=False, sharey=True).ravel()
    for k, ax in enumerate(panels):
        for own, name in zip(sizes, names, strict=True):
            values = own[k] / max(own[k].max(initial=0.0), 1e-300)
            ax.semilogy(np.arange(1, len(values) + 1), values.clip(min=1e-12), lw=0.8, label=name)
        ax.set_title(f"layer {k + 1}", fontsize=9)
        ax.set_xlabel("function", fontsize=8)
        ax.tick_params(labelsize=7)
    panels[0].set_ylabel("singular value / largest", fontsize=8)
    if len(names) <= MOST_NAMES:
        panels[-1].legend(fontsize=6)
    return png(figure)
