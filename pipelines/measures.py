"""What designs are measured by that follows from shapes alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from fieldcast.surrogates.designs import Measure


def measured(names: Sequence[str]) -> dict[str, Measure]:
    """Measures of closed curves by name: "thickness", the largest distance of sides at one x, and
    "area".

    Raises:
        ValueError: another name.
    """
    known = {"thickness": thickness, "area": area}
    absent = sorted(set(names) - set(known))
    if absent:
        raise ValueError(f"expected measures of {sorted(known)}, got {absent}")
    return {k: known[k] for k in names}


def thickness(shapes: Float[np.ndarray, "row point 2"]) -> Float[np.ndarray, " row"]:
    """The largest distance [chord] between the sides of sections as `fieldcast.solvers.airfoils`
    makes them, both sides at the same stations; a maximum over stations has kinks."""
    half = shapes.shape[1] // 2
    upper, lower = shapes[:, half:0:-1, 1], shapes[:, half:, 1]
    return (upper - lower).max(axis=1)


def area(shapes: Float[np.ndarray, "row point 2"]) -> Float[np.ndarray, " row"]:
    """Within closed curves, as their points go around."""
    x, y = shapes[..., 0], shapes[..., 1]
    return 0.5 * (x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y).sum(axis=1)
