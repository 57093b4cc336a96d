"""Triangles that fill what curves enclose, made with numpy and scipy alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from fieldcast.meshes import Mesh

ROUNDS = 4  # relaxations; the smallest angle gains little after
Points = Float[np.ndarray, "_point 2"]
Inside = Callable[[Points], Bool[np.ndarray, " _point"]]


def relaxed_mesh(loops: Sequence[Points], inside: Inside, size: float, seed: int = 0) -> Mesh:
    """Triangles of edge about `size` between closed loops of boundary points with the body on
    their left, the outermost first; `inside` says which points lie in it.

    A row of points lies along the boundary, a hexagonal lattice fills the rest, at an angle and
    origin drawn from `seed`, and all inner points are relaxed.
    """
    inner = _inner_points(loops, inside, size, np.random.default_rng(seed))
    return _numbered(*_relaxed(np.vstack(loops), inner, inside))


def straight(start: tuple[float, float], end: tuple[float, float], size: float) -> np.ndarray:
    """Even steps of about `size` from `start` to `end`, both left out."""
    n = max(1, round(np.linalg.norm(np.subtract(end, start)) / size))
    return np.linspace(start, end, n + 1)[1:-1]


def _inner_points(
    loops: Sequence[Points], inside: Inside, size: float, rng: np.random.Generator
) -> Points:
    """A row of equilateral triangles' tips over the boundary, and a lattice inside it."""
    from scipy.spatial import cKDTree

    boundary = np.vstack(loops)
    edge = np.vstack([np.roll(loop, -1, axis=0) - loop for loop in loops])
    tip = boundary + edge / 2 + np.sqrt(0.75) * edge[:, ::-1] * [-1.0, 1.0]
    tip = tip[inside(tip)]
    away, _ = cKDTree(boundary).query(tip)
    tip = tip[away > 0.75 * size]
    tip = tip[_sparse(tip, 0.7 * size)]
    lattice = _lattice(loops[0], size, rng)
    lattice = lattice[inside(lattice)]
    finer = np.vstack([boundary + f * edge for f in (0.0, 0.25, 0.5, 0.75)])
    row, _ = cKDTree(tip).query(lattice)
    wall, _ = cKDTree(finer).query(lattice)
    return np.vstack([tip, lattice[(row > 0.65 * size) & (wall > 1.05 * size)]])


def _sparse(points: Points, distance: float) -> Bool[np.ndarray, " point"]:
    """Marks points, none of them within `distance` of another marked one."""
    from scipy.spatial import cKDTree

    kept = np.ones(len(points), dtype=bool)
    for i, j in sorted(cKDTree(points).query_pairs(distance)):
        kept[j] &= not kept[i]
    return kept


def _lattice(rim: Points, size: float, rng: np.random.Generator) -> Points:
    """A hexagonal lattice of step `size` over all within the rim, at a random angle and origin."""
    low, high = rim.min(axis=0), rim.max(axis=0)
    n = int((high - low).max() / size) + 2
    i, j = np.meshgrid(np.arange(-n, n + 1), np.arange(-n, n + 1))
    grid = np.column_stack([(i + 0.5 * (j % 2)).ravel(), np.sqrt(0.75) * j.ravel()])
    grid = size * (grid + rng.uniform(-0.5, 0.5, 2))
    angle = rng.uniform(0.0, np.pi / 3)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return grid @ turn.T + (low + high) / 2


def _relaxed(
    boundary: Points, inner: Points, inside: Inside
) -> tuple[Points, Int[np.ndarray, "triangle 3"]]:
    """x_i = sum_t |t| c_t / sum_t |t| over the triangles t at point i, c_t their circumcentres.

    Optimal Delaunay triangulations: L. Chen, J. Xu, J. Comput. Math. 22 (2004) 299. Boundary points
    stay.
    """
    points = np.vstack([boundary, inner])
    fixed = len(boundary)
    for _ in range(ROUNDS):
        triangles = _triangulated(points, inside)
        centre, area = _circumcentres(points[triangles])
        weight = np.bincount(triangles.ravel(), np.repeat(area, 3), len(points))[fixed:]
        for k in (0, 1):
            pull = np.bincount(triangles.ravel(), np.repeat(area * centre[:, k], 3), len(points))
            points[fixed:, k] = pull[fixed:] / weight
    return points, _triangulated(points, inside)


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


def _triangulated(points: Points, inside: Inside) -> Int[np.ndarray, "triangle 3"]:
    """Delaunay triangles inside."""
    from scipy.spatial import Delaunay

    triangles = Delaunay(points).simplices
    return triangles[inside(points[triangles].mean(axis=1))]


def _numbered(points: Points, triangles: Int[np.ndarray, "triangle 3"]) -> Mesh:
    """Counter-clockwise triangles, without unused points."""
    a, b, c = points[triangles].swapaxes(0, 1)
    u, v = b - a, c - a
    clockwise = u[:, 0] * v[:, 1] < u[:, 1] * v[:, 0]
    triangles[clockwise] = triangles[clockwise][:, ::-1]
    used, renumbered = np.unique(triangles, return_inverse=True)
    return Mesh(points[used], {"triangle": renumbered.reshape(triangles.shape)})
