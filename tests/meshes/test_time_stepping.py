"""Explicit schemes converge at the order that they state."""

from __future__ import annotations

import numpy as np
import pytest

from fieldcast.meshes.time_stepping import SCHEMES

ORDERS = {"euler": 1, "ab2": 2, "heun": 2, "rk4": 4}


def end(name: str, steps: int) -> np.ndarray:
    """u' = -2 t u at t = 1, u(0) = 1 and 2."""
    u, before, h = np.array([1.0, 2.0]), None, 1.0 / steps
    for k in range(steps):
        u, before = SCHEMES[name](lambda u, t: -2.0 * t * u, u, k * h, h, before)
    return u


@pytest.mark.parametrize("name", SCHEMES)
def test_order(name):
    steps = np.array([20, 40, 80])
    truth = np.exp(-1.0) * np.array([1.0, 2.0])
    errors = [np.abs(end(name, n) - truth).max() for n in steps.tolist()]
    slope = np.polyfit(np.log(1.0 / steps), np.log(errors), 1)[0]
    assert abs(slope - ORDERS[name]) < 0.15
