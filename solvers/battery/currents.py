"""Currents to drive cells by: constant, pulses, triangles and smooth random ones, the families of
Panahi et al. 2025 (arXiv:2508.08087)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Scalar
from fieldcast.meshes.battery import CURRENT, Cell, discharge

Shape = Float[np.ndarray, " time"]
LEAST, MOST = -0.08, 1.0
"""The charge that has passed stays between, in that of the cell's own discharge."""
TRIES = 1000


def driven(
    cell: Cell, parameters: Mapping[str, float], times: Shape, current: Shape, radii: int = 3
) -> Case:
    """A case of the cell under a current [A], linear between the times [s]."""
    case = discharge(cell, parameters, times.tolist(), radii)
    series = {CURRENT: Scalar(np.asarray(current, dtype=float), "A")}
    return replace(case, parameters={**case.parameters, **series})


def random_currents(
    cell: Cell, times: Shape, count: int, seed: int = 0
) -> Float[np.ndarray, "current time"]:
    """So many currents [A], of one family after the other, none of which takes or gives more charge
    than the cell's own discharge leaves room for.

    Raises:
        ValueError: times so long that hardly any current does that.
    """
    rng, families = np.random.default_rng(seed), (_constant, _pulses, _triangles, _smooth)
    steps = np.diff(times) / cell.duration
    found: list[Shape] = []
    for _ in range(TRIES * count):
        if len(found) == count:
            return cell.current * np.array(found)
        x = families[len(found) % len(families)](rng, len(times))
        charge = np.cumsum(0.5 * (x[1:] + x[:-1]) * steps)
        if LEAST <= charge.min() and charge.max() <= MOST:
            found.append(x)
    raise ValueError(
        f"expected times of about the cell's own discharge of {cell.duration:g} s, got "
        f"{times[-1] - times[0]:g} s: hardly any current keeps its charge in that"
    )


def _constant(rng: np.random.Generator, n: int) -> Shape:
    return np.full(n, rng.uniform(-0.3, 1.0))


def _pulses(rng: np.random.Generator, n: int) -> Shape:
    period = int(rng.integers(max(n // 15, 4), max(2 * n // 5, 6)))
    place = (np.arange(n) + rng.integers(period)) % period
    on = place < period * rng.uniform(0.2, 0.8)
    return np.where(on, rng.uniform(0.3, 1.2), rng.uniform(-0.6, 0.2))


def _triangles(rng: np.random.Generator, n: int) -> Shape:
    turns = np.arange(n) / (n * rng.uniform(0.1, 0.5)) + rng.uniform()
    wave = 2.0 * np.abs(2.0 * (turns % 1.0) - 1.0) - 1.0
    return rng.uniform(-0.2, 0.4) + rng.uniform(0.2, 0.9) * wave


def _smooth(rng: np.random.Generator, n: int) -> Shape:
    """Gaussian noise, blurred."""
    frequency = np.fft.rfftfreq(n)
    waves = rng.standard_normal((2, len(frequency)))
    waves[:, 0] = 0.0
    blur = np.exp(-0.5 * (frequency * n * rng.uniform(0.02, 0.2)) ** 2)
    x = np.fft.irfft((waves[0] + 1j * waves[1]) * blur, n)
    return rng.uniform(-0.1, 0.5) + rng.uniform(0.2, 1.0) * x / np.abs(x).max()
