"""Shapes changed by moving the space around them: free-form boxes, and radial functions of points.

Any mesh may be moved, of any cells; its connectivity stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
from jaxtyping import Float

from .mesh import Mesh


@dataclass(frozen=True, eq=False)
class FreeForm:
    """A box from `low` to `high` with a lattice of control points whose `shifts` (control point
    along each axis, dim) are lengths; x moves by sum_ijk B_i(s) B_j(t) B_k(u) shift_ijk, with
    Bernstein polynomials of its place in the box (Sederberg and Parry, doi:10.1145/15886.15903).
    Points outside of the box stay."""

    low: Float[np.ndarray, " dim"]
    high: Float[np.ndarray, " dim"]
    shifts: Float[np.ndarray, "*lattice dim"]

    def __post_init__(self) -> None:
        dim = len(self.low)
        if self.shifts.ndim != dim + 1 or self.shifts.shape[-1] != dim:
            raise ValueError(
                f"expected shifts of a lattice along {dim} axes, (n,) * {dim} + ({dim},), got "
                f"{self.shifts.shape}"
            )
        if not (np.asarray(self.high) > np.asarray(self.low)).all():
            raise ValueError(f"expected a box from low to high, got {self.low} to {self.high}")

    def moved(self, mesh: Mesh) -> Mesh:
        """The mesh in the changed space.

        Raises:
            ValueError: a mesh of other dimensions than the box.
        """
        if mesh.dim != len(self.low):
            raise ValueError(f"expected a mesh in {len(self.low)} dimensions, got {mesh.dim}")
        place = (mesh.points - self.low) / (self.high - self.low)
        inside = ((place >= 0) & (place <= 1)).all(axis=1)
        shift = self.shifts
        # One axis of the lattice after the other is summed up.
        weights = _bernstein(shift.shape[0] - 1, place[inside, 0])
        found = np.tensordot(weights, shift, axes=1)
        for axis in range(1, mesh.dim):
            weights = _bernstein(shift.shape[axis] - 1, place[inside, axis])
            found = (weights.reshape(*weights.shape, *[1] * (found.ndim - 2)) * found).sum(axis=1)
        points = mesh.points.copy()
        points[inside] += found
        return mesh.moved(points)


def _bernstein(degree: int, x: Float[np.ndarray, " point"]) -> Float[np.ndarray, "point term"]:
    terms = [comb(degree, i) * x**i * (1 - x) ** (degree - i) for i in range(degree + 1)]
    return np.stack(terms, axis=1)


def moved_by_handles(
    mesh: Mesh,
    handles: Float[np.ndarray, "handle dim"],
    shifts: Float[np.ndarray, "handle dim"],
    radius: float,
) -> Mesh:
    """The mesh after handles are pulled along, space between by Wendland's function of `radius`
    [length]: what is farther from all handles stays (de Boer et al.,
    doi:10.1016/j.compstruc.2007.01.013).

    Raises:
        ValueError: handles that coincide, or a radius that isn't positive.
    """
    from scipy.spatial.distance import cdist, pdist

    if not radius > 0 or (len(handles) > 1 and pdist(handles).min() == 0):
        raise ValueError("expected a positive radius and handles apart from each other")

    def wendland(distance: np.ndarray) -> np.ndarray:
        r = np.minimum(distance / radius, 1.0)
        return (1 - r) ** 4 * (4 * r + 1)

    weights = np.linalg.solve(wendland(cdist(handles, handles)), shifts)
    return mesh.moved(mesh.points + wendland(cdist(mesh.points, handles)) @ weights)
