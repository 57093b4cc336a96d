"""Points along a line."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def growing(count: int, first: float) -> Float[np.ndarray, " end"]:
    """From 0 to 1 in so many steps, each longer than the one before by the same ratio."""
    from scipy.optimize import brentq

    if first * count >= 1:
        return np.linspace(0.0, 1.0, count + 1)
    ratio = brentq(lambda r: first * (r**count - 1) / (r - 1) - 1, 1 + 1e-9, 10.0)
    found = first * (ratio ** np.arange(count + 1) - 1) / (ratio - 1)
    return found / found[-1]
