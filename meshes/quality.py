"""How good the cells are, and what a morphing did to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .mesh import Mesh
from .topology import signed_measures


def cell_quality(mesh: Mesh) -> Float[np.ndarray, " simplex"]:
    """Mean-ratio quality of the simplices of a mesh's cells: 1 equilateral, 0 flat, negative
    inverted. q = d (d! V sqrt(d + 1) / 2^(d/2))^(2/d) * 2 / ((sum of squared edges) 2 / (d + 1))
    up to normalisation; for triangles 4 sqrt(3) A / sum l^2, for tetrahedra 12 (3 V)^(2/3) / sum
    l^2 (Liu and Joe 1994, doi:10.1007/BF01934268)."""
    cells, _ = mesh.simplices
    if not len(cells) or mesh.cell_dim < 2:
        return np.ones(len(cells))
    measure = signed_measures(mesh.points, cells)
    corners = cells.shape[1]
    squares = sum(
        ((mesh.points[cells[:, i]] - mesh.points[cells[:, j]]) ** 2).sum(1)
        for i in range(corners)
        for j in range(i + 1, corners)
    )
    size = (
        4 * np.sqrt(3) * np.abs(measure) if corners == 3 else 12 * np.cbrt(3 * np.abs(measure)) ** 2
    )
    return np.sign(measure) * size / np.maximum(squares, 1e-300)


@dataclass(frozen=True)
class Distortion:
    """What a morphing did: how many of the `cells` changed orientation, and the median and worst
    ratio of the largest to the smallest stretch."""

    flipped: int
    cells: int
    median: float
    worst: float

    def __str__(self) -> str:
        return (
            f"{self.flipped} of {self.cells} cells flipped, stretch ratio median "
            f"{self.median:.3g}, "
            f"worst {self.worst:.3g}"
        )


def distortion(mesh: Mesh, moved: Float[np.ndarray, "point dim2"]) -> Distortion:
    """Compare a mesh with itself at other points (of the same or, for a parametrised surface, of a
    lower dimension). Stretches are singular values of dx_moved/dx per simplex."""
    cells, _ = mesh.simplices
    before = mesh.points[cells[:, 1:]] - mesh.points[cells[:, :1]]
    after = moved[cells[:, 1:]] - moved[cells[:, :1]]
    # Singular values of F in the metric of the old simplex: eigenvalues of G_old^-1 G_new.
    gram_old, gram_new = before @ before.swapaxes(1, 2), after @ after.swapaxes(1, 2)
    good = np.abs(np.linalg.det(gram_old)) > 0
    values = np.linalg.eigvals(np.linalg.solve(gram_old[good], gram_new[good])).real
    ratio = np.sqrt(np.abs(values).max(1) / np.maximum(np.abs(values).min(1), 1e-300))
    flips = flipped_cells(mesh, moved)
    return Distortion(flips, len(cells), float(np.median(ratio)), float(ratio.max()))


def flipped_cells(mesh: Mesh, moved: Float[np.ndarray, "point dim2"]) -> int:
    """How many simplices of the cells change orientation, or of a parametrised surface have
    another than most."""
    cells, _ = mesh.simplices
    new = np.sign(signed_measures(moved, cells))
    if mesh.points.shape[1] == mesh.cell_dim == moved.shape[1]:
        old = np.sign(signed_measures(mesh.points, cells))
        return int((old * new <= 0).sum())
    return int(min((new <= 0).sum(), (new >= 0).sum()))
