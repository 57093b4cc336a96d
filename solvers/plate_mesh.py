"""Meshes of the double-notched plate, made with numpy and scipy alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from fieldcast.meshes import Mesh

SIDE = 2.0  # length of the plate's sides, L [m]
ROUNDS = 4  # relaxations; the smallest angle gains little after


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
    boundary = _boundary(notch, size)
    rng = np.random.default_rng(seed)
    inner = _inner_points(notch, boundary, size, rng)
    points, triangles = _relaxed(notch, boundary, inner, size)
    return _numbered(points, triangles)


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


def _straight(start: tuple[float, float], end: tuple[float, float], size: float) -> np.ndarray:
    """Even steps from `start` to `end`, both left out."""
    n = max(1, round(np.linalg.norm(np.subtract(end, start)) / size))
    return np.linspace(start, end, n + 1)[1:-1]


def _boundary(notch: Notch, size: float) -> Float[np.ndarray, "point 2"]:
    """The boundary's points, counter-clockwise from the lower left corner."""
    arc = _notch_points(notch, size)
    low, high = SIDE / 2 - notch.height / 2, SIDE / 2 + notch.height / 2
    left = np.add(arc, [0.0, SIDE / 2])
    right = left * [-1.0, 1.0] + [SIDE, 0.0]
    corners = np.array([[0.0, 0.0], [SIDE, 0.0], [SIDE, SIDE], [0.0, SIDE]])
    sides = [
        corners[:1],
        _straight((0.0, 0.0), (SIDE, 0.0), size),
        corners[1:2],
        _straight((SIDE, 0.0), (SIDE, low), size),
        right,
        _straight((SIDE, high), (SIDE, SIDE), size),
        corners[2:3],
        _straight((SIDE, SIDE), (0.0, SIDE), size),
        corners[3:],
        _straight((0.0, SIDE), (0.0, high), size),
        left[::-1],
        _straight((0.0, low), (0.0, 0.0), size),
    ]
    return np.vstack(sides)


def _inside(notch: Notch, points: Float[np.ndarray, "point 2"]) -> Bool[np.ndarray, " point"]:
    """Which points lie in the plate."""
    x, y = points.T
    square = (x > 0.0) & (x < SIDE) & (y > 0.0) & (y < SIDE)
    mouth = np.column_stack([np.minimum(x, SIDE - x), y - SIDE / 2])
    return square & ~notch.covers(mouth)


def _inner_points(
    notch: Notch, boundary: Float[np.ndarray, "edge 2"], size: float, rng: np.random.Generator
) -> Float[np.ndarray, "point 2"]:
    """A row of equilateral triangles' tips over the boundary, and a lattice inside it."""
    from scipy.spatial import cKDTree

    edge = np.roll(boundary, -1, axis=0) - boundary
    tip = boundary + edge / 2 + np.sqrt(0.75) * edge[:, ::-1] * [-1.0, 1.0]
    tip = tip[_inside(notch, tip)]
    away, _ = cKDTree(boundary).query(tip)
    tip = tip[away > 0.75 * size]
    tip = tip[_sparse(tip, 0.7 * size)]
    lattice = _lattice(size, rng)
    lattice = lattice[_inside(notch, lattice)]
    finer = np.vstack([boundary + f * edge for f in (0.0, 0.25, 0.5, 0.75)])
    row, _ = cKDTree(tip).query(lattice)
    wall, _ = cKDTree(finer).query(lattice)
    return np.vstack([tip, lattice[(row > 0.65 * size) & (wall > 1.05 * size)]])


def _sparse(points: Float[np.ndarray, "point 2"], distance: float) -> Bool[np.ndarray, " point"]:
    """Marks points, none of them within `distance` of another marked one."""
    from scipy.spatial import cKDTree

    kept = np.ones(len(points), dtype=bool)
    for i, j in sorted(cKDTree(points).query_pairs(distance)):
        kept[j] &= not kept[i]
    return kept


def _lattice(size: float, rng: np.random.Generator) -> Float[np.ndarray, "point 2"]:
    """A hexagonal lattice of step `size` over the square, at a random angle and origin."""
    n = int(SIDE / size) + 2
    i, j = np.meshgrid(np.arange(-n, n + 1), np.arange(-n, n + 1))
    grid = np.column_stack([(i + 0.5 * (j % 2)).ravel(), np.sqrt(0.75) * j.ravel()])
    grid = size * (grid + rng.uniform(-0.5, 0.5, 2))
    angle = rng.uniform(0.0, np.pi / 3)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return grid @ turn.T + SIDE / 2


def _relaxed(
    notch: Notch,
    boundary: Float[np.ndarray, "edge 2"],
    inner: Float[np.ndarray, "inner 2"],
    size: float,
) -> tuple[Float[np.ndarray, "point 2"], Int[np.ndarray, "triangle 3"]]:
    """x_i = sum_t |t| c_t / sum_t |t| over the triangles t at point i, c_t their circumcentres.

    Optimal Delaunay triangulations: L. Chen, J. Xu, J. Comput. Math. 22 (2004) 299. Boundary points
    stay.
    """
    points = np.vstack([boundary, inner])
    fixed = len(boundary)
    for _ in range(ROUNDS):
        triangles = _triangulated(notch, points)
        centre, area = _circumcentres(points[triangles])
        weight = np.bincount(triangles.ravel(), np.repeat(area, 3), len(points))[fixed:]
        for k in (0, 1):
            pull = np.bincount(triangles.ravel(), np.repeat(area * centre[:, k], 3), len(points))
            points[fixed:, k] = pull[fixed:] / weight
    return points, _triangulated(notch, points)


def _circumcentres(
    corners: Float[np.ndarray, "triangle 3 2"],
) -> tuple[Float[np.ndarray, "triangle 2"], Float[np.ndarray, " triangle"]]:
    """Circumcentres (of obtuse triangles, where they lie outside, centroids) and areas."""
    a, b, c = corners.swapaxes(0, 1)
    u, v = b - a, c - a
    cross = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    uu, vv, uv = (u**2).sum(axis=1), (v**2).sum(axis=1), (u * v).sum(axis=1)
    normal = uu[:, None] * v[:, ::-1] - vv[:, None] * u[:, ::-1]
    centre = a + normal * [1.0, -1.0] / (2.0 * cross[:, None])
    obtuse = (uv < 0.0) | (uv > uu) | (uv > vv)
    centre[obtuse] = corners[obtuse].mean(axis=1)
    return centre, np.abs(cross) / 2


def _triangulated(
    notch: Notch, points: Float[np.ndarray, "point 2"]
) -> Int[np.ndarray, "triangle 3"]:
    """Delaunay triangles inside the plate."""
    from scipy.spatial import Delaunay

    triangles = Delaunay(points).simplices
    return triangles[_inside(notch, points[triangles].mean(axis=1))]


def _numbered(
    points: Float[np.ndarray, "point 2"], triangles: Int[np.ndarray, "triangle 3"]
) -> Mesh:
    """Counter-clockwise triangles, without unused points."""
    a, b, c = points[triangles].swapaxes(0, 1)
    u, v = b - a, c - a
    clockwise = u[:, 0] * v[:, 1] < u[:, 1] * v[:, 0]
    triangles[clockwise] = triangles[clockwise][:, ::-1]
    used, renumbered = np.unique(triangles, return_inverse=True)
    return Mesh(points[used], {"triangle": renumbered.reshape(triangles.shape)})
