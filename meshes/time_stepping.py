"""Explicit schemes for du/dt = f(u, t), on arrays of any shape.

Each takes the rate f, the state u at time t, the step h and the rate one step before (None at
first), and gives the state at t + h and the rate at t.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

Rate = Callable[[np.ndarray, float], np.ndarray]
Scheme = Callable[
    [Rate, np.ndarray, float, float, np.ndarray | None], tuple[np.ndarray, np.ndarray]
]


def euler(
    rate: Rate, u: np.ndarray, t: float, h: float, before: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """u + h f(u, t), of order 1."""
    now = rate(u, t)
    return u + h * now, now


def adams_bashforth(
    rate: Rate, u: np.ndarray, t: float, h: float, before: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """u + h (3/2 f(t) - 1/2 f(t - h)), of order 2; the first step is Euler's."""
    now = rate(u, t)
    return u + h * (now if before is None else 1.5 * now - 0.5 * before), now


def heun(
    rate: Rate, u: np.ndarray, t: float, h: float, before: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """u + h/2 (k1 + k2), k2 at the end of Euler's step; of order 2."""
    now = rate(u, t)
    return u + 0.5 * h * (now + rate(u + h * now, t + h)), now


def runge_kutta(
    rate: Rate, u: np.ndarray, t: float, h: float, before: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """u + h/6 (k1 + 2 k2 + 2 k3 + k4), the classical one of order 4."""
    k1 = rate(u, t)
    k2 = rate(u + 0.5 * h * k1, t + 0.5 * h)
    k3 = rate(u + 0.5 * h * k2, t + 0.5 * h)
    k4 = rate(u + h * k3, t + h)
    return u + (h / 6.0) * (k1 + 2.0 * (k2 + k3) + k4), k1


SCHEMES: Mapping[str, Scheme] = {
    "euler": euler,
    "ab2": adams_bashforth,
    "heun": heun,
    "rk4": runge_kutta,
}
"""By the names that recipes give them."""


def lawson(
    rate: Callable[[np.ndarray], np.ndarray], u: np.ndarray, half: np.ndarray, h: float
) -> np.ndarray:
    """A step of du/dt = L u + f(u) by the classical Runge-Kutta method on exp(-L t) u, with
    `half` = exp(L h / 2) for a diagonal L (Lawson 1967, doi:10.1137/0704033); of order 4, exact
    without f, for any h."""
    full, moved = half * half, half * u
    k1 = rate(u)
    k2 = rate(moved + (0.5 * h) * (half * k1))
    k3 = rate(moved + (0.5 * h) * k2)
    k4 = rate(full * u + h * (half * k3))
    return full * (u + (h / 6.0) * k1) + (h / 3.0) * (half * (k2 + k3)) + (h / 6.0) * k4
