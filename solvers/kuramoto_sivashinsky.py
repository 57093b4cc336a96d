"""The Kuramoto-Sivashinsky equation on a periodic line, for many starts at once.

Nothing has a dimension. A closure is any function from u to a tendency, both (member, point).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Field, Sample
from fieldcast.meshes.time_stepping import lawson

from .lorenz96 import Advance, series
from .periodic import periodic_axis, periodic_mesh
from .solver import Solver, parameter_values

Line = Float[np.ndarray, "member point"]


@dataclass(frozen=True)
class KuramotoSivashinsky(Solver):
    """u_t = -advection u u_x - diffusion u_xx - hyperdiffusion u_xxxx + closure(u), all three 1 in
    the equation of that name; Fourier series with the 2/3 rule, Lawson's Runge-Kutta method of
    order 4 with steps of at most `step`."""

    closure: Callable[[Line], Line] | None = None
    step: float = 0.01

    parameters: ClassVar = {"advection": "", "diffusion": "", "hyperdiffusion": ""}
    outputs: ClassVar = {"u": ""}
    order: ClassVar[float | None] = 4.0

    def solve(self, case: Case) -> Sample:
        return self.solve_all([case])[0]

    def solve_all(self, cases: Sequence[Case]) -> list[Sample]:
        """One sample per case, all of one mesh, one set of parameters and the same times.

        Raises:
            ValueError: cases that differ or lack the field u.
            SolverFailed: a state that is not finite.
        """
        if not cases:
            raise ValueError("expected at least one case, got none")
        first = cases[0]
        numbers = parameter_values(self, first)
        for case in cases:
            _check(case, first, parameter_values(self, case) == numbers)
        start = np.stack([c.fields["u"].values[0, :, 0] for c in cases]).astype(float)
        advance = self.advance(numbers, _length(first), start.shape[1])
        found = series(advance, start, np.asarray(first.times), self.step)
        return [Sample(case, {"u": Field(found[:, i, :, None])}) for i, case in enumerate(cases)]

    def advance(self, numbers: Mapping[str, float], length: float, points: int) -> Advance:
        """How u goes on over a step, on so many points of a line of a length."""
        k = 2.0 * np.pi / length * np.arange(points // 2 + 1)
        kept = np.arange(len(k)) < points / 3
        linear = np.where(kept, numbers["diffusion"] * k**2 - numbers["hyperdiffusion"] * k**4, 0.0)
        slope, closure = (-0.5j * numbers["advection"]) * k * kept, self.closure

        def rate(spectrum: np.ndarray) -> np.ndarray:
            u = np.fft.irfft(spectrum, n=points)
            found = slope * np.fft.rfft(u * u)
            return found if closure is None else found + kept * np.fft.rfft(closure(u))

        def advance(u: Line, time: float, h: float) -> Line:
            moved = lawson(rate, kept * np.fft.rfft(u), np.exp((0.5 * h) * linear), h)
            return np.fft.irfft(moved, n=points)

        return advance

    def example(self) -> Case:
        return line_case(22.0, 32, np.linspace(0.0, 1.0, 3))


def _length(case: Case) -> float:
    """The period of a line of points."""
    x = case.mesh.points[:, 0]
    if case.mesh.dim != 1 or len(x) < 8 or len(x) % 2 or x[1] <= 0:
        raise ValueError(
            f"case {case.label}: expected an even number of points of a line from 8 on, got "
            f"{len(x)} in {case.mesh.dim} dimension(s)"
        )
    length = float(x[1]) * len(x)
    if np.abs(x - periodic_axis(length, len(x))).max() > 1e-9 * length:
        raise ValueError(
            f"case {case.label}: expected evenly spaced points from 0 on; make them by "
            "fieldcast.solvers.periodic.periodic_axis"
        )
    return length


def _check(case: Case, first: Case, same: bool) -> None:
    times, own = np.asarray(case.times), np.asarray(first.times)
    if not same or case.mesh != first.mesh or not np.array_equal(times, own):
        raise ValueError(
            f"case {case.label}: expected the mesh, the parameters and the times of case "
            f"{first.label}; solve others apart"
        )
    given = case.fields.get("u")
    if set(case.fields) != {"u"} or given is None or given.values.shape[::2] != (1, 1):
        raise ValueError(
            f"case {case.label}: expected the known field u of one time and component, got "
            f"{sorted(case.fields)}"
        )
    if (np.diff(times) <= 0).any():
        raise ValueError(f"case {case.label}: expected rising times, got {times}")


def line_case(
    length: float,
    points: int,
    times: Float[np.ndarray, " time"],
    seed: int = 0,
    numbers: Mapping[str, float] | None = None,
) -> Case:
    """A start of a few long waves of random phase and heights around 1; `numbers`: all 1 where
    None."""
    rng = np.random.default_rng(seed)
    x = periodic_axis(length, points)
    waves = np.arange(1, max(2, round(length / 10.0)) + 1)
    height, phase = rng.normal(size=len(waves)), rng.uniform(0.0, 2.0 * np.pi, len(waves))
    angle = 2.0 * np.pi / length * waves[:, None] * x + phase[:, None]
    u = (height[:, None] * np.cos(angle)).sum(axis=0)
    given = dict.fromkeys(KuramotoSivashinsky.parameters, 1.0) if numbers is None else numbers
    start = {"u": Field.steady(u)}
    return Case(periodic_mesh(x), given, start, times=times, name=f"seed{seed}")


def continued(sample: Sample, times: Float[np.ndarray, " time"]) -> Case:
    """The case that goes on where a sample ends."""
    case, u = sample.case, sample.fields["u"]
    last = {"u": u.with_values(u.values[-1:])}
    return Case(case.mesh, case.parameters, last, times=times, name=case.name)
