"""Perforated plates: a square with round holes in rows and columns."""

from __future__ import annotations

import numpy as np

from fieldcast.meshes import Mesh

from .relaxed_mesh import Points, relaxed_mesh, straight

SIDE = 1.0
"""Of the plate [m]; its lower left corner is the origin."""


def perforated_plate(
    radius: float, pitch: float, holes: int = 3, size: float = 0.02, seed: int = 0
) -> Mesh:
    """`holes` times as many round holes of `radius` [m] around the middle of the plate, their
    centres `pitch` [m] apart, in triangles of edge about `size` [m].

    Regions: `fixed` and `loaded`, the lower and the upper side; `left`, `right`; `holes`.

    Raises:
        ValueError: holes that meet or leave the plate, or triangles too coarse for what is left.
    """
    rim = (SIDE - (holes - 1) * pitch) / 2 - radius
    between = pitch - 2 * radius if holes > 1 else rim
    if holes < 1 or radius <= 0 or not 0 < 2 * size <= min(rim, between, 2 * radius):
        raise ValueError(
            f"expected at least one hole, and a size of at most half of the narrowest part, got "
            f"{holes} x {holes} holes of radius {radius:g} m, {between:.3g} m between them and "
            f"{rim:.3g} m to the rim, and a size of {size:g} m"
        )
    at = SIDE / 2 + pitch * (np.arange(holes) - (holes - 1) / 2)
    centres = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)

    def inside(points: Points) -> np.ndarray:
        square = ((points > 0) & (points < SIDE)).all(axis=1)
        away = np.linalg.norm(points[:, None] - centres, axis=2).min(axis=1)
        return square & (away > radius)

    # Clockwise, so that the plate is on the left.
    turn = -np.linspace(0, 2 * np.pi, max(round(2 * np.pi * radius / size), 12), endpoint=False)
    circle = radius * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    mesh = relaxed_mesh([_square(size), *(c + circle for c in centres)], inside, size, seed)
    return Mesh(mesh.points, mesh.cells, _regions(mesh.points, centres, radius))


def _square(size: float) -> Points:
    corners = [(0.0, 0.0), (SIDE, 0.0), (SIDE, SIDE), (0.0, SIDE)]
    ends = [*corners[1:], corners[0]]
    sides = [np.vstack([a, straight(a, b, size)]) for a, b in zip(corners, ends, strict=True)]
    return np.vstack(sides)


def _regions(points: Points, centres: Points, radius: float) -> dict[str, np.ndarray]:
    away = np.linalg.norm(points[:, None] - centres, axis=2).min(axis=1)
    marks = {
        "fixed": points[:, 1] == 0,
        "loaded": points[:, 1] == SIDE,
        "left": points[:, 0] == 0,
        "right": points[:, 0] == SIDE,
        "holes": np.abs(away - radius) < 1e-9,
    }
    return {name: np.flatnonzero(mark) for name, mark in marks.items()}
