"""Meshes of periodic lines and boxes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Mesh


def periodic_mesh(*axes: Float[np.ndarray, " _"]) -> Mesh:
    """The grid of coordinates along x (and y), x running fastest, joined by lines or
    quadrilaterals; what crosses the ends of the period is left out."""
    points = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, len(axes))
    ids = np.arange(len(points)).reshape([len(x) for x in reversed(axes)])
    if len(axes) == 1:
        return Mesh(points, {"line": np.stack([ids[:-1], ids[1:]], axis=1)})
    corners = (ids[:-1, :-1], ids[:-1, 1:], ids[1:, 1:], ids[1:, :-1])
    return Mesh(points, {"quad": np.stack([c.ravel() for c in corners], axis=1)})


def periodic_axis(length: float, n: int) -> Float[np.ndarray, " point"]:
    """`n` points of [0, length)."""
    return length * np.arange(n) / n


def periodic_square(n: int) -> Mesh:
    """`n` x `n` points of [0, 2 pi)^2."""
    x = periodic_axis(2.0 * np.pi, n)
    return periodic_mesh(x, x)
