"""The geometry of curves in the plane and of surfaces in space: curvature, and what a chart of them
tells, its metric and connection (do Carmo 1976, 'Differential Geometry of Curves and Surfaces')."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from .mesh import Mesh
from .normals import point_normals
from .topology import boundary

NEIGHBOURS = 14
"""Points around each by which a chart is differentiated."""
RINGS = 2
"""Rings of points around each that a quadric is fitted to."""


@dataclass(frozen=True, eq=False)
class Curvature:
    """At the points of a mesh: outward unit `normal` (point, dim) and `principal` curvatures
    [1/m] (point, dim - 1), the larger first, positive where the surface is convex. `known` (point,)
    is false off the surface, on its rims and where it is no surface; all is 0 there."""

    normal: Float[np.ndarray, "point dim"]
    principal: Float[np.ndarray, "point way"]
    known: Bool[np.ndarray, " point"]

    @property
    def mean(self) -> Float[np.ndarray, " point"]:
        """H [1/m], the mean of the principal ones."""
        return self.principal.mean(axis=1)

    @property
    def gaussian(self) -> Float[np.ndarray, " point"]:
        """K [1/m^2], their product; a curve has none: 0."""
        if self.principal.shape[1] == 1:
            return np.zeros(len(self.principal))
        return self.principal.prod(axis=1)


@dataclass(frozen=True, eq=False)
class ChartGeometry:
    """Of a chart X(u) at its points, in 1 or 2 coordinates: `metric` g_ij = X_i . X_j as (g_11,
    g_12, g_22), `christoffel` symbols G^k_ij = g^kl X_l . X_ij as (k; 11, 12, 22) for k = 1, 2, and
    the `mean` and `gaussian` curvature as `Curvature` has them. For 1 coordinate g_11 and G^1_11.
    """

    metric: Float[np.ndarray, "point metric"]
    christoffel: Float[np.ndarray, "point symbol"]
    mean: Float[np.ndarray, " point"]
    gaussian: Float[np.ndarray, " point"]


def curvature(mesh: Mesh) -> Curvature:
    """Of a curve in the plane or a surface in space, or of the boundary of a mesh that fills its
    space. In space by quadrics through the points within two rings (Panozzo, Puppo and Rocca 2010,
    'Efficient multi-scale curvature and crease estimation'; libigl), in the plane by circles
    through three points.

    Raises:
        ValueError: a mesh that has no curve or surface; surfaces where libigl is not installed.
    """
    faces = _faces(mesh)
    tell = _of_curve if mesh.dim == 2 else _of_surface
    return Curvature(point_normals(mesh), *tell(mesh.points, faces))


def chart_geometry(
    mesh: Mesh, chart: Float[np.ndarray, "point coordinate"], neighbours: int = NEIGHBOURS
) -> ChartGeometry:
    """By quadratics through the `neighbours` of each point that are nearest in the chart, least
    squares; the chart has one coordinate for curves in the plane, two for surfaces in space.

    Raises:
        ValueError: a chart of another size, or fewer points than a quadratic needs.
    """
    points, chart = mesh.points, np.asarray(chart, dtype=float)
    wanted = mesh.dim - 1
    if chart.shape != (len(points), wanted) or wanted not in (1, 2):
        raise ValueError(
            f"expected a chart of {wanted} coordinates for each of {len(points)} points, got an "
            f"array {chart.shape}"
        )
    terms = wanted + wanted * (wanted + 1) // 2
    count = min(neighbours, len(points) - 1)
    if count < terms:
        raise ValueError(f"expected at least {terms + 1} points, got {len(points)}")
    first, second = _derivatives(points, chart, count)
    return _geometry(first, second)


def _faces(mesh: Mesh) -> Int[np.ndarray, "facet corner"]:
    faces: np.ndarray = mesh.simplices[0] if mesh.cell_dim == mesh.dim - 1 else np.empty((0, 2))
    if mesh.cell_dim == mesh.dim and mesh.dim > 1:
        faces = boundary(mesh)
    if not len(faces):
        raise ValueError(
            "expected a curve in the plane, a surface in space or cells that fill either, got "
            f"cells of dimension {mesh.cell_dim} in {mesh.dim}"
        )
    return faces


def _of_curve(
    points: Float[np.ndarray, "point 2"], segments: Int[np.ndarray, "segment 2"]
) -> tuple[np.ndarray, np.ndarray]:
    """2 sin(angle at b) / |c - a| of the circle through a, b and c (point, 1), and where known."""
    n = len(points)
    known = (np.bincount(segments[:, 0], minlength=n) == 1) & (
        np.bincount(segments[:, 1], minlength=n) == 1
    )
    before, after = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    before[segments[:, 1]], after[segments[:, 0]] = segments[:, 0], segments[:, 1]
    to, off = points - points[before], points[after] - points
    over = points[after] - points[before]
    sizes = np.prod([np.linalg.norm(e, axis=1) for e in (to, off, over)], axis=0)
    known &= sizes > 0
    turn = 2.0 * (to[:, 0] * off[:, 1] - to[:, 1] * off[:, 0])
    return np.where(known, turn / np.where(known, sizes, 1.0), 0.0)[:, None], known


def _of_surface(
    points: Float[np.ndarray, "point 3"], triangles: Int[np.ndarray, "triangle 3"]
) -> tuple[np.ndarray, np.ndarray]:
    """Principal curvatures (point, 2), and where they are known."""
    try:
        import igl
    except ImportError:
        raise ValueError(
            "expected libigl, which tells the curvature of surfaces: pip install "
            "'fieldcast[surfaces]'"
        ) from None
    ids, faces = np.unique(triangles, return_inverse=True)
    faces = faces.reshape(triangles.shape).astype(np.int64)
    own = points[ids]
    size = float(np.ptp(own, axis=0).max()) or 1.0
    _, _, larger, lesser, bad = igl.principal_curvature(own / size, faces, RINGS, True)
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    pairs, counts = np.unique(edges, axis=0, return_counts=True)
    found = np.stack([larger, lesser], axis=1) / size
    inner = np.asarray(np.isfinite(found).all(axis=1))
    inner[pairs[counts != 2].ravel()] = False
    inner[np.asarray(bad, dtype=np.int64)] = False
    principal, known = np.zeros((len(points), 2)), np.zeros(len(points), dtype=bool)
    principal[ids], known[ids] = np.where(inner[:, None], found, 0.0), inner
    return principal, known


def _derivatives(
    points: Float[np.ndarray, "point dim"],
    chart: Float[np.ndarray, "point coordinate"],
    count: int,
) -> tuple[Float[np.ndarray, "point coordinate dim"], Float[np.ndarray, "point pair dim"]]:
    """X_i and X_ij (11, 12, 22), or X_1 and X_11."""
    from scipy.spatial import cKDTree

    scale = np.maximum(np.ptp(chart, axis=0), 1e-300)
    unit = chart / scale
    near = cKDTree(unit).query(unit, count + 1)[1][:, 1:]
    step = unit[near] - unit[:, None]
    # Each in its own size, so that the squares are as large as the steps.
    reach = np.maximum(np.linalg.norm(step, axis=2).max(axis=1), 1e-300)[:, None, None]
    step = step / reach
    i, j = np.triu_indices(chart.shape[1])
    share = np.where(i == j, 0.5, 1.0)
    rows = np.concatenate([step, share * step[..., i] * step[..., j]], axis=2)
    weight = 1.0 / np.maximum(np.linalg.norm(step, axis=2, keepdims=True), 1e-6)
    fitted = np.linalg.pinv(weight * rows) @ (weight * (points[near] - points[:, None]))
    n = chart.shape[1]
    first = fitted[:, :n] / reach / scale[:, None]
    second = fitted[:, n:] / reach**2 / (scale[i] * scale[j])[:, None]
    return first, second


def _geometry(
    first: Float[np.ndarray, "point coordinate dim"], second: Float[np.ndarray, "point pair dim"]
) -> ChartGeometry:
    n = first.shape[1]
    i, j = np.triu_indices(n)
    metric = np.einsum("pid,pjd->pij", first, first)
    along = np.einsum("pld,pmd->plm", first, second)
    symbols = np.linalg.solve(metric, along)
    if n == 1:
        normal = np.stack([first[:, 0, 1], -first[:, 0, 0]], axis=1)
    else:
        normal = np.cross(first[:, 0], first[:, 1])
    normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)
    bent = -np.einsum("pd,pmd->pm", normal, second)
    shape = np.zeros_like(metric)
    shape[:, i, j] = shape[:, j, i] = bent
    mean = np.trace(np.linalg.solve(metric, shape), axis1=1, axis2=2) / n
    gaussian = np.linalg.det(shape) / np.linalg.det(metric) if n == 2 else np.zeros(len(mean))
    return ChartGeometry(metric[:, i, j], symbols.reshape(len(mean), -1), mean, gaussian)
