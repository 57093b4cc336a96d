"""Small families of samples with known answers, the same numbers in every process.

Values are shifted and scaled on purpose: inputs and outputs around 1e5 with a spread of a few units
and around 1e-5. A normaliser that is forgotten somewhere shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from fieldcast.meshes import Case, Field, Mesh, Sample, Scalar, lat_lon_mesh

PRESSURE = (1.0e5, 40.0)
"""Middle and half range of the training set's pressure [Pa]."""
DEPTH = (2.0e-5, 0.8e-5)
"""Of its depth [m]."""
TRAINING = 9
QUERIES = 3


@dataclass(frozen=True, eq=False)
class Family:
    """`samples` to fit, `queries` of the same kind that are not among them; `near` in the middle of
    the training range, `far` with a pressure that lies several ranges outside."""

    name: str
    samples: tuple[Sample, ...]
    queries: tuple[Case, ...]
    near: Case
    far: Case


def square(n: int, seed: int, jitter: float = 0.25) -> Mesh:
    """[0, 1]^2 in triangles: n x n points, inner ones moved, diagonals at random."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0.0, 1.0, n)
    points = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1)
    points[1:-1, 1:-1] += jitter / (n - 1) * rng.uniform(-1.0, 1.0, (n - 2, n - 2, 2))
    ids = np.arange(n * n).reshape(n, n)
    a, b, c, d = (
        block.ravel() for block in (ids[:-1, :-1], ids[1:, :-1], ids[1:, 1:], ids[:-1, 1:])
    )
    falling = rng.random(len(a)) < 0.5
    first = np.where(falling[:, None], np.stack([a, b, d], 1), np.stack([a, b, c], 1))
    second = np.where(falling[:, None], np.stack([b, c, d], 1), np.stack([a, c, d], 1))
    return Mesh(points.reshape(-1, 2), {"triangle": np.concatenate([first, second])})


def ring(n: int, seed: int, hole: float) -> Mesh:
    """The annulus of radii `hole` and 1, n points across, about 6 n around, in triangles."""
    around = 6 * n + 3 * (seed % 4)
    rng = np.random.default_rng(seed)
    radius = np.linspace(hole, 1.0, n)[None] * np.ones((around, 1))
    radius[:, 1:-1] += 0.2 * (1.0 - hole) / (n - 1) * rng.uniform(-1, 1, (around, n - 2))
    angle = 2 * np.pi * (np.arange(around)[:, None] + 0.5 * rng.random()) / around
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1).reshape(-1, 2)
    ids = np.arange(around * n).reshape(around, n)
    ahead = np.roll(ids, -1, axis=0)
    a, b, c, d = (block.ravel() for block in (ids[:, :-1], ids[:, 1:], ahead[:, 1:], ahead[:, :-1]))
    cells = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return Mesh(points, {"triangle": cells})


def box(n: int, seed: int) -> Mesh:
    """[0, 1]^3 in tetrahedra, six per cube, inner points moved."""
    x = np.linspace(0.0, 1.0, n)
    points = np.stack(np.meshgrid(x, x, x, indexing="ij"), axis=-1)
    inner = points[1:-1, 1:-1, 1:-1]
    inner += 0.15 / (n - 1) * np.random.default_rng(seed).uniform(-1, 1, inner.shape)
    ids = np.arange(n**3).reshape(n, n, n)
    cells = []
    for way in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        even = np.linalg.det(np.eye(3)[list(way)]) > 0
        at = [np.zeros(3, dtype=int)]
        for axis in way:
            at.append(at[-1] + np.eye(3, dtype=int)[axis])
        corner = [ids[i : n - 1 + i, j : n - 1 + j, k : n - 1 + k].ravel() for i, j, k in at]
        cells.append(np.stack(corner if even else [corner[1], corner[0], *corner[2:]], axis=1))
    return Mesh(points.reshape(-1, 3), {"tetra": np.concatenate(cells)})


def bulged(mesh: Mesh, width: float, bulge: float) -> Mesh:
    """A unit square, its width [m] changed and its upper side bulging by `bulge` [m]."""
    x, y = mesh.points.T
    lifted = y * (1.0 + bulge * np.sin(np.pi * x))
    return mesh.moved(np.stack([width * x, lifted], axis=1))


def source(mesh: Mesh, strength: float) -> Field:
    """The known field: 3e4 W/m^3, rising or falling along x by at most 5."""
    x = (mesh.points[:, 0] - mesh.points[:, 0].min()) / np.ptp(mesh.points[:, 0])
    return Field.steady(3.0e4 + 5.0 * strength * x, "W/m^3")


def asked(mesh: Mesh, at: np.ndarray, name: str, times: int = 1) -> Case:
    """A case with two parameters and a known field, `at` their places in the training range, each
    within [-1, 1]."""
    values = {
        "pressure": Scalar(np.array([PRESSURE[0] + PRESSURE[1] * at[0]]), "Pa"),
        "depth": Scalar(np.array([DEPTH[0] + DEPTH[1] * at[1]]), "m"),
    }
    known = {"source": source(mesh, at[2])}
    return Case(mesh, values, known, times=np.linspace(0.0, 1.0, times), name=name)


def answered(case: Case) -> Sample:
    """Smooth functions of place, shape and parameters: a scalar and a vector field on points, a
    field on cells, and a scalar that depends on the shape."""
    p = (float(case.parameters["pressure"]) - PRESSURE[0]) / PRESSURE[1]
    d = float(case.parameters["depth"]) / DEPTH[0]
    q = (case.fields["source"].values.max() + case.fields["source"].values.min()) / 2e4 - 3.0
    low, size = case.mesh.points.min(axis=0), np.ptp(case.mesh.points, axis=0)
    x = (case.mesh.points - low) / size
    bump = np.sin(np.pi * x[:, 0]) * np.cos(0.5 * np.pi * x[:, 1])
    steps = (1.0 + 0.5 * np.arange(len(case.times)))[:, None]
    temperature = 1.0e5 + steps * (
        2.0 * p * x[:, 0] + (1.0 + p**2 + d) * bump + size[1] + 400.0 * q
    )
    moved = 1.0e-5 * steps[..., None] * np.stack([d * x[:, 0], (p + d) * bump], axis=-1)
    centre = np.concatenate([x[block].mean(axis=1) for block in case.mesh.cells.values()])
    flux = 7.0e5 + steps * (p + size[0] * d * centre[:, 0] ** 2)
    fields = {
        "temperature": Field(temperature[..., None], "K"),
        "displacement": Field(moved, "m"),
        "flux": Field(flux[..., None], "W/m^2", "cell"),
    }
    peak = 2.0e5 + steps[:, 0] * (3.0 * p + d + 4.0 * size[1])
    return Sample(case, fields, {"peak": Scalar(peak, "Pa")})


def _family(name: str, mesh: Callable[[int, float, float], Mesh], times: int = 1) -> Family:
    """Cases spread over the square of parameters by a lattice; `mesh` from the case's number and
    two shape parameters in [-1, 1]."""
    count = TRAINING + QUERIES
    k = np.arange(count)
    steps = [(k + 0.5) / count, *(((k + 1) * g) % 1.0 for g in (0.62, 0.44, 0.41, 0.27))]
    at = 2.0 * np.stack(steps) - 1.0
    # The last ones are asked; they stay within the range of the others.
    at = at[:, np.argsort(np.abs(at).max(axis=0))[::-1]]
    at[:, TRAINING:] *= 0.7
    cases = [
        asked(mesh(i, at[3, i], at[4, i]), at[:3, i], f"{name}_{i:02d}", times)
        for i in range(count)
    ]
    middle, outside = np.zeros(3), np.array([8.0, 0.0, 0.0])
    near, far = (
        asked(mesh(90, 0.0, 0.0), place, f"{name}_{label}", times)
        for label, place in (("near", middle), ("far", outside))
    )
    samples = tuple(answered(case) for case in cases[:TRAINING])
    return Family(name, samples, tuple(cases[TRAINING:]), near, far)


def _one_mesh(i: int, a: float, b: float) -> Mesh:
    return bulged(square(6, 0), 1.2, 0.1)


def _one_numbering(i: int, a: float, b: float) -> Mesh:
    return bulged(square(6, 0), 1.2 + 0.2 * a, 0.15 + 0.1 * b)


def _own_meshes(i: int, a: float, b: float) -> Mesh:
    return bulged(square(6 + i % 3, i), 1.2 + 0.2 * a, 0.15 + 0.1 * b)


def _any_topology(i: int, a: float, b: float) -> Mesh:
    return ring(4, i, 0.4 + 0.1 * a) if i % 2 else _own_meshes(i, a, b)


def _one_grid(i: int, a: float, b: float) -> Mesh:
    return _globe(5, 12)


def _grids(i: int, a: float, b: float) -> Mesh:
    if i % 3 < 2:
        return _globe(4 + i % 3, 9 + i % 2)
    return lat_lon_mesh(np.linspace(-30.0, 45.0, 6), np.linspace(-70.0, 80.0 + 20.0 * a, 7))


def _globe(rows: int, columns: int) -> Mesh:
    """Latitudes and longitudes, evenly spaced, once around."""
    step = 180.0 / rows
    north = np.linspace(90.0 - step / 2, -90.0 + step / 2, rows)
    return lat_lon_mesh(north, np.arange(columns) * 360.0 / columns)


_MAKERS: dict[str, tuple[Callable[[int, float, float], Mesh], int]] = {
    "one_mesh": (_one_mesh, 1),
    "one_numbering": (_one_numbering, 1),
    "own_meshes": (_own_meshes, 1),
    "transient": (_one_mesh, 3),
    "any_topology": (_any_topology, 1),
    "one_grid": (_one_grid, 1),
    "grids": (_grids, 1),
    "transient_grid": (_one_grid, 3),
}


@cache
def family(name: str) -> Family:
    """`one_mesh`; `one_numbering`: moved points; `own_meshes`: other triangulations of other
    shapes; `transient`: one mesh, three times; `any_topology`: squares and rings. Of latitudes and
    longitudes: `one_grid`, around the globe; `grids`: of several sizes, some of a region;
    `transient_grid`: three times."""
    mesh, times = _MAKERS[name]
    return _family(name, mesh, times)


def squares(n: int, count: int = 4) -> Sequence[Mesh]:
    """Bulged squares, each with a triangulation of its own, about n points a side."""
    return [bulged(square(n + i % 2, i), 1.2 + 0.1 * i, 0.1 + 0.05 * i) for i in range(count)]


def numbered_squares(n: int, count: int = 4) -> Sequence[Mesh]:
    """Bulged squares of one numbering."""
    return [bulged(square(n, 0), 1.2 + 0.1 * i, 0.1 + 0.05 * i) for i in range(count)]


def rings(n: int, count: int = 4) -> Sequence[Mesh]:
    """Annuli with holes of several sizes."""
    return [ring(n, i, 0.4 + 0.05 * i) for i in range(count)]


def boxes(n: int, count: int = 3) -> Sequence[Mesh]:
    """Boxes of tetrahedra, stretched."""
    stretch = np.array([0.1, 0.05, 0.02])
    return [
        made.moved(made.points * (1 + i * stretch))
        for i, made in ((i, box(n, i)) for i in range(count))
    ]


def loops(n: int, count: int = 4) -> Sequence[Mesh]:
    """Closed curves in the plane, thinner and thinner, of several numbers of points."""
    found = []
    for i in range(count):
        m = 4 * n + i
        angle = 2 * np.pi * (np.arange(m) + 0.3 * i) / m
        points = np.stack([np.cos(angle), (0.5 - 0.05 * i) * np.sin(angle)], axis=1)
        lines = np.stack([np.arange(m), (np.arange(m) + 1) % m], axis=1)
        found.append(Mesh(points, {"line": lines[:, ::-1].copy() if i % 2 else lines}))
    return found


def rods(n: int, count: int = 3) -> Sequence[Mesh]:
    """Lines, in one dimension, of several numbers of points."""
    found = []
    for i in range(count):
        ids = np.arange(n + i)
        points = np.linspace(0.0, 1.0 + 0.1 * i, n + i)[:, None]
        found.append(Mesh(points, {"line": np.stack([ids[:-1], ids[1:]], axis=1)}))
    return found
