"""Quadrilaterals around an airfoil in a C: along the lower side of the wake, around the airfoil and
back along the upper side; the wake's two sides share their points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Mesh

from .airfoils import around, spaced
from .spacing import growing

REGIONS = ("wall", "far")
_NEAR, _FAR = 0.05, 5.0
"""Lines leave the airfoil along its normal, and go their way to the far boundary in between
[chord]."""
_EVENNESS = 0.5
"""Of the spacing at the trailing edge: 0 as dense as at the nose, 1 four times the mean."""
_SMOOTH = 30
_WAKE, _LAST = 0.5, 0.02
"""The first cells of the wake thicken by this rate [1/chord], up to so much [chord]: faster, and
their sides would lean."""


@dataclass(frozen=True)
class GridSize:
    """Cells along each side of the airfoil, along the wake and across; the thickness of the first
    at the wall and the distance of the far boundary [chord]."""

    side: int = 96
    wake: int = 40
    across: int = 80
    first: float = 6e-6
    far: float = 100.0

    def __post_init__(self) -> None:
        if min(self.side, self.wake, self.across) < 8 or not 0 < self.first < 0.1 < 10 < self.far:
            raise ValueError(
                "expected at least 8 cells along and across, a first thickness below .1 and a far "
                f"boundary beyond 10, got {self}"
            )

    def refined(self, factor: float) -> GridSize:
        """So many times as many cells along each way, thinner at the wall alike."""
        side, wake, across = (round(n * factor) for n in (self.side, self.wake, self.across))
        return GridSize(side, wake, across, self.first / factor, self.far)


def c_grid(airfoil: Mesh, size: GridSize) -> Mesh:
    """Around a closed curve as `fieldcast.solvers.airfoils` makes them, of chord 1 from x = 0, its
    trailing edge made sharp; regions `wall` and `far`.

    Raises:
        ValueError: a curve whose grid would overlap itself.
    """
    curve = airfoil.points[around(airfoil)]
    tail, half = 0.5 * (curve[0] + curve[-1]), len(curve) // 2
    gap = np.where(np.arange(len(curve))[:, None] < half, tail - curve[0], tail - curve[-1])
    curve = curve + np.clip(curve[:, :1], 0.0, 1.0) * gap
    sharp = spaced(curve, 2 * size.side, _EVENNESS)
    body = sharp.points[around(sharp)][::-1]
    behind = _wake(body, size)
    inner = np.concatenate([behind[::-1], body[1:-1], behind])
    way, start = _directions(inner, body, len(behind)), _starts(inner, size)
    rows = _across(start, size)
    share = np.clip(np.log(np.maximum(rows, 1e-12) / _NEAR) / np.log(_FAR / _NEAR), 0.0, 1.0)
    share = share * share * (3.0 - 2.0 * share)
    angle = (1 - share) * way[0][:, None] + share * way[1][:, None]
    points = inner[:, None] + rows[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return _mesh(points, len(behind))


def _wake(body: Float[np.ndarray, "point 2"], size: GridSize) -> Float[np.ndarray, "end 2"]:
    """From the trailing edge straight on, in growing steps that begin as those of the airfoil."""
    first = float(np.linalg.norm(body[-1] - body[-2]))
    share = growing(size.wake, first / size.far)
    return body[-1] + share[:, None] * np.array([size.far, 0.0])


def _directions(
    inner: Float[np.ndarray, "point 2"], body: Float[np.ndarray, "own 2"], wake: int
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """Angles in which lines leave, and in which they arrive; both fall from -90 deg of the lower
    wake over -180 at the nose to -270 of the upper one."""
    along = np.gradient(body, axis=0)
    normal = np.unwrap(np.arctan2(along[:, 1], along[:, 0])) + np.pi / 2
    normal -= 2 * np.pi * np.round((normal[len(body) // 2] + np.pi) / (2 * np.pi))
    low, high = -np.pi / 2, -3 * np.pi / 2
    near = np.full(len(inner), low)
    # Lines that lean downstream would cross those of the wake.
    normal = np.clip(normal, high, low)
    near[wake - 1 : wake - 1 + len(body)] = normal
    near[:wake], near[wake - 2 + len(body) :] = low, high
    far = np.full(len(inner), low)
    share = np.linspace(0.0, 1.0, len(body))
    arrive = 0.5 * (low + (high - low) * share) + 0.5 * normal
    far[wake - 1 : wake - 1 + len(body)] = arrive
    far[wake - 2 + len(body) :] = high
    return _smoothed(near, 3), _smoothed(far, _SMOOTH)


def _smoothed(values: Float[np.ndarray, " point"], times: int) -> Float[np.ndarray, " point"]:
    for _ in range(times):
        values = values.copy()
        values[1:-1] = 0.25 * values[:-2] + 0.5 * values[1:-1] + 0.25 * values[2:]
    return values


def _starts(inner: Float[np.ndarray, "point 2"], size: GridSize) -> Float[np.ndarray, " point"]:
    """The thickness of the first cell."""
    behind = np.maximum(inner[:, 0] - 1.0, 0.0)
    return size.first * np.exp(np.minimum(_WAKE * behind, np.log(max(_LAST / size.first, 1.0))))


def _across(start: Float[np.ndarray, " point"], size: GridSize) -> Float[np.ndarray, "point layer"]:
    """Distances of the layers; equal starts are reckoned once."""
    values, place = np.unique(start.round(12), return_inverse=True)
    return size.far * np.stack([growing(size.across, v / size.far) for v in values])[place.ravel()]


def _mesh(points: Float[np.ndarray, "along layer 2"], wake: int) -> Mesh:
    along, layers, _ = points.shape
    ids = np.arange(along * layers).reshape(along, layers)
    # The upper side of the wake takes the points of the lower one.
    ids[along - wake :, 0] = ids[:wake, 0][::-1]
    a, b, c, d = ids[:-1, :-1], ids[1:, :-1], ids[1:, 1:], ids[:-1, 1:]
    cells = np.stack([a, b, c, d], axis=2).reshape(-1, 4)
    flat = points.reshape(-1, 2)
    x, y = flat[cells][..., 0], flat[cells][..., 1]
    area = 0.5 * (x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y).sum(axis=1)
    if not (area < 0).all() and not (area > 0).all():
        raise ValueError("expected an airfoil that a grid fits around, cells would overlap")
    if (area < 0).all():
        cells = cells[:, ::-1]
    kept, number = np.unique(cells, return_inverse=True)
    place = np.full(len(flat), -1)
    place[kept] = np.arange(len(kept))
    rims = {"wall": ids[wake - 1 : along - wake + 1, 0]}
    rims["far"] = np.concatenate([ids[:, -1], ids[0], ids[-1]])
    regions = {name: np.unique(place[rim]) for name, rim in rims.items()}
    return Mesh(flat[kept], {"quad": number.reshape(cells.shape)}, regions)
