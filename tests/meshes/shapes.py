"""Meshes of known shapes."""

import numpy as np
from scipy.spatial import Delaunay

from fieldcast.meshes import Mesh

UNIT_CORNERS = {
    "line": [[0], [1]],
    "triangle": [[0, 0], [1, 0], [0, 1]],
    "quad": [[0, 0], [1, 0], [1, 1], [0, 1]],
    "tetra": [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "hexahedron": [[x, y, z] for z in (0, 1) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))],
    # VTK's wedge: the normal of its first triangle points away from the second.
    "wedge": [[x, y, z] for z in (0, 1) for x, y in ((0, 0), (0, 1), (1, 0))],
    "pyramid": [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]],
}
MEASURES = {
    "line": 1.0,
    "triangle": 1 / 2,
    "quad": 1.0,
    "tetra": 1 / 6,
    "hexahedron": 1.0,
    "wedge": 1 / 2,
    "pyramid": 1 / 3,
}


def interval(n: int, seed: int = 0) -> Mesh:
    """[0, 1] in n - 1 uneven lines."""
    x = np.linspace(0.0, 1.0, n)
    x[1:-1] += 0.3 / n * np.random.default_rng(seed).uniform(-1, 1, n - 2)
    ids = np.arange(n)
    return Mesh(x[:, None], {"line": np.stack([ids[:-1], ids[1:]], 1)})


def quads(n: int, jitter: float = 0.2, seed: int = 0) -> Mesh:
    """[0, 1]^2 in (n - 1)^2 quadrilaterals, inner points moved."""
    x = np.linspace(0.0, 1.0, n)
    points = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1)
    rng = np.random.default_rng(seed)
    points[1:-1, 1:-1] += jitter / (n - 1) * rng.uniform(-1, 1, (n - 2, n - 2, 2))
    ids = np.arange(n * n).reshape(n, n)
    corners = (ids[:-1, :-1], ids[1:, :-1], ids[1:, 1:], ids[:-1, 1:])
    return Mesh(points.reshape(-1, 2), {"quad": np.stack([c.ravel() for c in corners], 1)})


def hexes(n: int, jitter: float = 0.15, seed: int = 0) -> Mesh:
    """[0, 1]^3 in (n - 1)^3 hexahedra, inner points moved."""
    x = np.linspace(0.0, 1.0, n)
    points = np.stack(np.meshgrid(x, x, x, indexing="ij"), axis=-1)
    rng = np.random.default_rng(seed)
    points[1:-1, 1:-1, 1:-1] += jitter / (n - 1) * rng.uniform(-1, 1, (n - 2, n - 2, n - 2, 3))
    ids = np.arange(n**3).reshape(n, n, n)
    low, high = slice(None, -1), slice(1, None)
    around = [(low, low), (high, low), (high, high), (low, high)]
    corners = [ids[i, j, k].ravel() for k in (low, high) for i, j in around]
    return Mesh(points.reshape(-1, 3), {"hexahedron": np.stack(corners, 1)})


def scattered(n: int, seed: int, stretch: float = 1.0) -> Mesh:
    """The unit square with `n` random inner points, Delaunay, stretched along x."""
    rng = np.random.default_rng(seed)
    side = np.linspace(0.0, 1.0, 6)
    rim = np.array([[x, y] for x in side for y in side if x in (0, 1) or y in (0, 1)])
    points = np.vstack([rim, rng.uniform(0.03, 0.97, (n, 2))])
    triangles = Delaunay(points).simplices
    return Mesh(points * [stretch, 1.0], {"triangle": triangles})


def disk(n: int, seed: int = 0, centre: tuple[float, float] = (0.0, 0.0)) -> Mesh:
    """The unit disk, n rings of points around the centre."""
    rng = np.random.default_rng(seed)
    rings = [np.zeros((1, 2))]
    for k in range(1, n + 1):
        angle = 2 * np.pi * (np.arange(6 * k) + rng.random()) / (6 * k)
        rings.append(k / n * np.stack([np.cos(angle), np.sin(angle)], 1))
    points = np.vstack(rings)
    return Mesh(points + np.array(centre), {"triangle": Delaunay(points).simplices})


def torus(n: int = 12, m: int = 8) -> Mesh:
    """A closed surface with a handle, in quadrilaterals."""
    u, v = np.meshgrid(2 * np.pi * np.arange(n) / n, 2 * np.pi * np.arange(m) / m, indexing="ij")
    ring = 1.0 + 0.3 * np.cos(v)
    points = np.stack([ring * np.cos(u), ring * np.sin(u), 0.3 * np.sin(v)], -1).reshape(-1, 3)
    ids = np.arange(n * m).reshape(n, m)
    ahead, up = np.roll(ids, -1, axis=0), np.roll(ids, -1, axis=1)
    cells = np.stack([ids, ahead, np.roll(ahead, -1, axis=1), up], -1).reshape(-1, 4)
    return Mesh(points, {"quad": cells})


def sphere(refinements: int = 2) -> Mesh:
    """The unit sphere's surface, an icosahedron subdivided, triangles counter-clockwise from
    outside."""
    from scipy.spatial import ConvexHull

    g = (1 + 5**0.5) / 2
    points = np.array(
        [p for s in (-1, 1) for t in (-g, g) for p in ((0, s, t), (s, t, 0), (t, 0, s))]
    )
    points = points / np.linalg.norm(points, axis=1, keepdims=True)
    for _ in range(refinements):
        cells = ConvexHull(points).simplices
        edges = np.unique(np.sort(cells[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1), axis=0)
        middle = points[edges].mean(axis=1)
        points = np.vstack([points, middle / np.linalg.norm(middle, axis=1, keepdims=True)])
    cells = ConvexHull(points).simplices
    a, b, c = points[cells].swapaxes(0, 1)
    inward = (np.cross(b - a, c - a) * a).sum(1) < 0
    cells[inward] = cells[inward][:, ::-1]
    return Mesh(points, {"triangle": cells})


def joined(one: Mesh, other: Mesh) -> Mesh:
    """Two meshes of the same cell types as one of two pieces."""
    shift = len(one.points)
    cells = {k: np.vstack([one.cells[k], other.cells[k] + shift]) for k in one.cells}
    return Mesh(np.vstack([one.points, other.points]), cells)
