"""Walls in a flow: where they are, how far points lie above them, and shocks along them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Mesh
from fieldcast.meshes.topology import boundary, boundary_loops

GAMMA = 1.4
STEEP = 3.0
"""A shock is the steepest rise of pressure behind supersonic flow, by so many times the range of cp
per chord at least."""


def wall_facets(mesh: Mesh, region: str = "") -> np.ndarray:
    """Boundary facets of a region of a mesh that fills its space; in the plane, without a region,
    of all boundaries but the outer one. None of curves and surfaces."""
    if mesh.cell_dim != mesh.dim or mesh.dim < 2:
        return np.empty((0, mesh.dim), dtype=int)
    faces = boundary(mesh)
    if region:
        return faces[np.isin(faces, mesh.regions.get(region, np.empty(0))).all(axis=1)]
    if mesh.dim > 2:
        return np.empty((0, mesh.dim), dtype=int)
    loops = boundary_loops(mesh)[1:]
    inner = np.concatenate(loops) if loops else np.empty(0, dtype=int)
    return faces[np.isin(faces, inner).all(axis=1)]


def height_above(mesh: Mesh, wall: np.ndarray) -> Float[np.ndarray, " point"]:
    """Distance from the wall [m]."""
    from fieldcast.meshes.transfer import closest_on_facets

    found: np.ndarray = closest_on_facets(mesh.points, wall, mesh.points)[2]
    return found


def critical_pressure(mach: float) -> float:
    """cp where flow is sonic: 2 / (g M^2) ((1 + (g - 1) / 2 M^2) / ((g + 1) / 2))^(g / (g - 1)) -
    2 / (g M^2) (Anderson, Fundamentals of Aerodynamics, 11.6)."""
    ratio = (1.0 + 0.5 * (GAMMA - 1.0) * mach**2) / (0.5 * (GAMMA + 1.0))
    return float(2.0 / (GAMMA * mach**2) * (ratio ** (GAMMA / (GAMMA - 1.0)) - 1.0))


def shock_position(mesh: Mesh, cp: Float[np.ndarray, " point"], mach: float) -> float:
    """x / chord of the shock on the upper side of an airfoil's curve: the steepest rise of pressure
    behind supersonic flow; nan where there is none."""
    if mach <= 0:
        return float("nan")
    x, y = mesh.points.T
    nose, tail = int(x.argmin()), int(x.argmax())
    share = (x - x[nose]) / (x[tail] - x[nose])
    upper = y - (y[nose] + share * (y[tail] - y[nose])) > 0
    order = np.flatnonzero(upper)[np.argsort(share[upper])]
    at, values = share[order], cp[order]
    at, kept = np.unique(at, return_index=True)
    values = values[kept]
    if len(at) < 5:
        return float("nan")
    rise = np.diff(values) / np.diff(at)
    ahead = np.minimum.accumulate(values)[:-1] < critical_pressure(mach)
    inside = ahead & (at[:-1] > 0.02) & (at[1:] < 0.98)
    if not inside.any() or rise[inside].max() < STEEP * float(np.ptp(values)):
        return float("nan")
    k = int(np.flatnonzero(inside)[rise[inside].argmax()])
    return float(0.5 * (at[k] + at[k + 1]))
