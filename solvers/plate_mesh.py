"""Meshes of the double-notched plate, made with numpy and scipy alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float

from fieldcast.meshes import Mesh

from .relaxed_mesh import relaxed_mesh, straight

SIDE = 2.0  # length of the plate's sides, L [m]


class Notch(ABC):
    """What is cut from the middle of the left side, and mirrored from the right.

    `depth` and `height` in m; coordinates are told from the middle of the notch's mouth.
    """

    depth: float
    height: float

    @abstractmethod
    def curve(self, t: Float[np.ndarray, " t"]) -> Float[np.ndarray, "t 2"]:
        """Points from the lower end (t = -1) by the root (t = 0) to the upper end (t = 1)."""

    @abstractmethod
    def covers(self, points: Float[np.ndarray, "point 2"]) -> Bool[np.ndarray, " point"]:
        """Which points are cut away."""


@dataclass(frozen=True)
class Ellipse(Notch):
    """(x / depth)^2 + (2 y / height)^2 < 1; half a disk where height = 2 depth."""

    depth: float
    height: float

    def curve(self, t: Float[np.ndarray, " t"]) -> Float[np.ndarray, "t 2"]:
        angle = np.pi / 2 * t
        return np.column_stack([self.depth * np.cos(angle), self.height / 2 * np.sin(angle)])

    def covers(self, points: Float[np.ndarray, "point 2"]) -> Bool[np.ndarray, " point"]:
        return np.sum((points / [self.depth, self.height / 2]) ** 2, axis=1) < 1.0


@dataclass(frozen=True)
class Wedge(Notch):
    """A triangle whose tip is the root: x / depth + 2 |y| / height < 1."""

    depth: float
    height: float

    def curve(self, t: Float[np.ndarray, " t"]) -> Float[np.ndarray, "t 2"]:
        return np.column_stack([self.depth * (1.0 - np.abs(t)), self.height / 2 * t])

    def covers(self, points: Float[np.ndarray, "point 2"]) -> Bool[np.ndarray, " point"]:
        return np.sum(np.abs(points) / [self.depth, self.height / 2], axis=1) < 1.0


def plate_mesh(radius: float, size: float, seed: int = 0) -> Mesh:
    """The plate with half disks of `radius` [m] cut out, in triangles of edge about `size` [m]."""
    return notched_mesh(Ellipse(radius, 2.0 * radius), size, seed)


def notched_mesh(notch: Notch, size: float, seed: int = 0) -> Mesh:
    """The plate with any notch, in triangles of edge about `size` [m].

    The boundary is divided evenly; corners, notch ends and notch roots are points. A row of points
    lies along it, a hexagonal lattice fills the rest, at an angle and origin drawn from `seed`, and
    all inner points are relaxed. So a shape has one boundary, and many meshes inside it.

    Raises:
        ValueError: a notch that leaves no plate, or triangles too coarse for it.
    """
    _check(notch, size)
    return relaxed_mesh([_boundary(notch, size)], partial(_inside, notch), size, seed)


def _check(notch: Notch, size: float) -> None:
    ligament = min(SIDE - 2.0 * notch.depth, (SIDE - notch.height) / 2.0)
    narrowest = min(ligament, notch.depth, notch.height)
    if not 0.0 < 2.0 * size <= narrowest:
        raise ValueError(
            f"expected a size of at most half the narrowest part, {narrowest / 2.0:.3g} m, "
            f"got {size:.3g} m with {notch}; take a smaller size, or a notch that fits a plate of "
            f"{SIDE} m"
        )


def _notch_points(notch: Notch, size: float) -> Float[np.ndarray, "point 2"]:
    """Even steps of arc length from the lower to the upper end, the root among them."""
    t = np.linspace(-1.0, 1.0, 4001)
    chords = np.linalg.norm(np.diff(notch.curve(t), axis=0), axis=1)
    length = np.append(0.0, np.cumsum(chords))
    half = max(2, round(length[-1] / size / 2.0))
    steps = np.linspace(0.0, length[-1], 2 * half + 1)
    points = notch.curve(np.interp(steps, length, t))
    points[[0, half, -1]] = [[0.0, -notch.height / 2], [notch.depth, 0.0], [0.0, notch.height / 2]]
    return points


def _boundary(notch: Notch, size: float) -> Float[np.ndarray, "point 2"]:
    """The boundary's points, counter-clockwise from the lower left corner."""
    arc = _notch_points(notch, size)
    low, high = SIDE / 2 - notch.height / 2, SIDE / 2 + notch.height / 2
    left = np.add(arc, [0.0, SIDE / 2])
    right = left * [-1.0, 1.0] + [SIDE, 0.0]
    corners = np.array([[0.0, 0.0], [SIDE, 0.0], [SIDE, SIDE], [0.0, SIDE]])
    sides = [
        corners[:1],
        straight((0.0, 0.0), (SIDE, 0.0), size),
        corners[1:2],
        straight((SIDE, 0.0), (SIDE, low), size),
        right,
        straight((SIDE, high), (SIDE, SIDE), size),
        corners[2:3],
        straight((SIDE, SIDE), (0.0, SIDE), size),
        corners[3:],
        straight((0.0, SIDE), (0.0, high), size),
        left[::-1],
        straight((0.0, low), (0.0, 0.0), size),
    ]
    return np.vstack(sides)


def _inside(notch: Notch, points: Float[np.ndarray, "point 2"]) -> Bool[np.ndarray, " point"]:
    """Which points lie in the plate."""
    x, y = points.T
    square = (x > 0.0) & (x < SIDE) & (y > 0.0) & (y < SIDE)
    mouth = np.column_stack([np.minimum(x, SIDE - x), y - SIDE / 2])
    return square & ~notch.covers(mouth)
