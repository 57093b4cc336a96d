"""Pictures of fields, scalars and calibration, as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from fieldcast.meshes import Mesh
from fieldcast.meshes.chart import cells_to_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 110


def _figure(width: float, height: float) -> Figure:
    # The object interface: no display, no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def point_values(mesh: Mesh, values: Float[np.ndarray, " entity"]) -> Float[np.ndarray, " point"]:
    """Values on points, from points or cells."""
    return values if len(values) == len(mesh.points) else cells_to_points(mesh) @ values


def magnitude(values: Float[np.ndarray, "entity component"]) -> Float[np.ndarray, " entity"]:
    """The one component, or the length of a vector."""
    return values[:, 0] if values.shape[1] == 1 else np.linalg.norm(values, axis=1)


def field_panels(
    mesh: Mesh,
    panels: Mapping[str, Float[np.ndarray, " entity"]],
    title: str,
    shared: Sequence[str] = (),
) -> bytes:
    """One panel per field, side by side; those named in `shared` have one colour scale."""
    figure = _figure(3.6 * len(panels), 3.4)
    axes: Any = figure.subplots(1, len(panels), squeeze=False)[0]
    together = [point_values(mesh, panels[name]) for name in shared if name in panels]
    limits = (min(v.min() for v in together), max(v.max() for v in together)) if together else None
    points, cells = _flat(mesh)
    for ax, (name, values) in zip(axes, panels.items(), strict=True):
        values = point_values(mesh, values)
        low, high = limits if limits and name in shared else (values.min(), values.max())
        colours = "viridis" if name in shared else "magma"
        drawn = ax.tripcolor(
            *points.T,
            cells,
            values,
            shading="gouraud",
            vmin=low,
            vmax=max(high, low + 1e-300),
            cmap=colours,
        )
        figure.colorbar(drawn, ax=ax, shrink=0.8, format="%.3g")
        ax.set_title(name, fontsize=9)
        ax.set_aspect("equal")
        ax.set_axis_off()
    figure.suptitle(title, fontsize=10)
    return _png(figure)


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
    figure = _figure(3.6, 3.4)
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
    return _png(figure)


def calibration(
    levels: Sequence[float], observed: Mapping[str, Sequence[float]], cases: int
) -> bytes:
    """Share of simulations inside the interval over its level; the band is what chance allows (95
    %) with this many cases."""
    figure = _figure(4.2, 3.6)
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
    return _png(figure)


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
    figure = _figure(3.4 * columns, 3.0 * rows)
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
    return _png(figure)
