"""The single-particle model by finite volumes, many cells at once: a converged reference.

    dc/dt = (1/r^2) d/dr (r^2 D dc/dr),  dc/dr = 0 at r = 0,  -D dc/dr = j at r = R

for one particle of each electrode (Haran, Popov, White 1998, doi:10.1016/S0378-7753(98)00092-5;
Marquis et al. 2019, doi:10.1149/2.0341915jes). The flux j follows from the current, so that
potentials are closed forms of the concentrations at the surface.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Field, Sample, Scalar
from fieldcast.meshes.battery import (
    CONCENTRATIONS,
    RATES,
    VOLTAGE,
    Cell,
    Electrode,
    discharge,
)

from ..solver import Solver, SolverFailed, parameter_values
from .graphite_nmc import graphite_nmc

GAMMA = 1.0 - math.sqrt(0.5)
"""Of the Runge-Kutta method."""
ITERATIONS = 2
"""Of a step's diffusivity; with fewer the order falls."""
Rows = Float[np.ndarray, "row shell"]
Property = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class SingleParticle(Solver):
    """`shells` of a particle, thinner towards its surface, and as many `steps`, equal in the square
    root of time, as resolve the surface at the start. Shells conserve lithium to rounding.

    Answers the voltage at the case's times, and concentrations at its points, radii r / R.
    """

    cell: Cell = field(default_factory=graphite_nmc)
    shells: int = 80
    steps: int = 80

    parameters: ClassVar = dict.fromkeys(RATES, "")
    outputs: ClassVar = {VOLTAGE: "V", **dict.fromkeys(CONCENTRATIONS, "mol/m^3")}
    order: ClassVar[float | None] = 2.0

    def solve(self, case: Case) -> Sample:
        return self.solve_all([case])[0]

    def solve_all(self, cases: Sequence[Case]) -> list[Sample]:
        """One sample per case; all have the times and the points of the first.

        Raises:
            ValueError: cases of other times or points.
            SolverFailed: an electrode that is emptied or filled.
        """
        if not cases:
            raise ValueError("expected at least one case, got none")
        first = cases[0]
        for case in cases:
            check_discharge(case, self.cell)
            if not np.array_equal(case.times, first.times) or case.mesh != first.mesh:
                raise ValueError(
                    f"case {case.label}: expected the times and points of case {first.label}; "
                    "solve others apart"
                )
        values = [parameter_values(self, case) for case in cases]
        rates = {name: np.array([v[name] for v in values]) for name in RATES}
        radii = first.mesh.points[:, 0]
        both = [self._particles(side, rates, first.times) for side in (0, 1)]
        surfaces = [surface for _, surface in both]
        self._check_inside(cases, surfaces)
        v = self.cell.voltage(surfaces[0], surfaces[1], rates[RATES[0]][:, None])
        told = [
            shells.at_radii(states, surface, radii) * electrode.largest
            for (states, surface), shells, electrode in zip(
                both, [Shells.of(self.shells)] * 2, self._electrodes, strict=True
            )
        ]
        return [
            Sample(
                case,
                {
                    name: Field(c[i][:, :, None], "mol/m^3")
                    for name, c in zip(CONCENTRATIONS, told, strict=True)
                },
                {VOLTAGE: Scalar(v[i], "V")},
            )
            for i, case in enumerate(cases)
        ]

    def example(self) -> Case:
        return discharge(self.cell, dict(zip(RATES, (2.0, 2.0), strict=True)), 11)

    @property
    def _electrodes(self) -> tuple[Electrode, Electrode]:
        return self.cell.negative, self.cell.positive

    def _check_inside(self, cases: Sequence[Case], surfaces: Sequence[np.ndarray]) -> None:
        inside = [((x > 0.0) & (x < 1.0)).all(axis=1) for x in surfaces]
        bad = np.flatnonzero(~(inside[0] & inside[1]))
        if len(bad):
            raise SolverFailed(
                f"case {cases[bad[0]].label}: expected concentrations between 0 and those of full "
                f"electrodes until {cases[0].times[-1]:g} s, {len(bad)} of {len(cases)} cases "
                "leave them; end the discharge earlier"
            )

    def _particles(
        self, side: int, rates: Mapping[str, np.ndarray], times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Stoichiometries (row, time, shell), and at the surface (row, time), of one electrode."""
        electrode = self._electrodes[side]
        speed = np.ones((1, 1)) if side == 0 else rates[RATES[1]][:, None]
        shells = Shells.of(self.shells)
        scale = speed / electrode.radius**2
        gradient = -self.cell.fluxes[side] / (electrode.radius * electrode.largest)

        def diffusivity(x: np.ndarray) -> np.ndarray:
            return electrode.diffusivity(x) * scale

        start = np.full((len(speed), self.shells), electrode.start)
        size = math.sqrt(self.cell.duration) / self.steps
        states = np.stack(marched(shells, diffusivity, gradient, start, times, size), axis=1)
        surface = np.stack(
            [shells.surface(x, diffusivity, gradient) for x in states.swapaxes(0, 1)], axis=1
        )
        surface[:, times == 0.0] = electrode.start  # before the flux begins
        count = len(rates[RATES[0]])
        return np.broadcast_to(states, (count, *states.shape[1:])), np.broadcast_to(
            surface, (count, len(times))
        )


def check_discharge(case: Case, cell: Cell) -> None:
    """Raise a ValueError for a case that is no discharge of the cell, from its start on."""
    r = case.mesh.points
    if r.shape[1] != 1 or (r < 0.0).any() or (r > 1.0).any():
        raise ValueError(
            f"case {case.label}: expected points that are radii r / R of a particle, from 0 to 1, "
            f"got {r.shape[1]} coordinates from {r.min():.3g} to {r.max():.3g}; make it by "
            "fieldcast.meshes.battery.discharge"
        )
    if (np.diff(case.times) <= 0.0).any() or case.times[0] < 0.0:
        raise ValueError(
            f"case {case.label}: expected rising times from 0 s on, got {case.times[:5]}"
        )


@dataclass(frozen=True, eq=False)
class Shells:
    """Of the unit ball: `faces` (shell + 1,), `volumes` over 4 pi, and the radii of their centres
    of mass, where the mean of a shell is its value, to second order."""

    faces: Float[np.ndarray, " face"]
    volumes: Float[np.ndarray, " shell"]
    centres: Float[np.ndarray, " shell"]

    @classmethod
    def of(cls, count: int) -> Shells:
        """Thinner towards the surface, as 1 / count^2 there."""
        r = np.sin(0.5 * np.pi * np.linspace(0.0, 1.0, count + 1))
        volumes = np.diff(r**3) / 3.0
        return cls(r, volumes, np.diff(r**4) / (4.0 * volumes))

    def conductances(self, x: Rows, diffusivity: Property) -> Float[np.ndarray, "row face"]:
        """r^2 D / dr at the inner faces."""
        d = diffusivity(0.5 * (x[:, 1:] + x[:, :-1]))
        return self.faces[1:-1] ** 2 * d / np.diff(self.centres)

    def surface(self, x: Rows, diffusivity: Property, gradient: float) -> Float[np.ndarray, " row"]:
        """The value at r = 1 of the parabola through the last two shells with the slope that the
        flux asks for."""
        near, far = 1.0 - self.centres[-1], 1.0 - self.centres[-2]
        found = x[:, -1:]
        for _ in range(4):  # D depends on the value; the shell is thin
            slope = gradient / diffusivity(found)
            ends = far**2 * (x[:, -1:] + slope * near) - near**2 * (x[:, -2:-1] + slope * far)
            found = ends / (far**2 - near**2)
        return found[:, 0]

    def at_radii(
        self,
        x: Float[np.ndarray, "row time shell"],
        surface: Float[np.ndarray, "row time"],
        radii: Float[np.ndarray, " point"],
    ) -> Float[np.ndarray, "row time point"]:
        """Splines in r^2 through the shells and the surface, whose slope at r = 0 vanishes."""
        from scipy.interpolate import make_interp_spline

        where = np.concatenate([self.centres, [1.0]]) ** 2
        values = np.concatenate([x, surface[:, :, None]], axis=2)
        return make_interp_spline(where, values, k=3, axis=2)(radii**2)


def marched(
    shells: Shells,
    diffusivity: Property,
    gradient: float,
    start: Rows,
    times: Float[np.ndarray, " time"],
    size: float,
) -> list[Rows]:
    """The states at `times` by SDIRK2 (Alexander 1977, doi:10.1137/0714068), L-stable, in steps of
    at most `size` in the root of time:

        x1 = x + g h f(x1),  x2 = x + (1 - g) h f(x1) + g h f(x2),  g = 1 - sqrt(1/2)
    """
    state, now, found = start, 0.0, []
    for root in np.sqrt(times).tolist():
        count = max(math.ceil((root - now) / size - 1e-9), 1)
        for h in np.diff(np.linspace(now, root, count + 1) ** 2).tolist():
            first = _implicit(shells, diffusivity, gradient, state, GAMMA * h)
            half = state + (1.0 / GAMMA - 1.0) * (first - state)
            state = _implicit(shells, diffusivity, gradient, half, GAMMA * h, first)
        found.append(state)
        now = root
    return found


def _implicit(
    shells: Shells,
    diffusivity: Property,
    gradient: float,
    known: Rows,
    h: float,
    guess: Rows | None = None,
) -> Rows:
    """x = known + h f(x), by solving with the diffusivity of the last guess; lithium is conserved
    whatever that is."""
    from scipy.linalg.lapack import dgtsv

    x = known if guess is None else guess
    volumes = np.tile(shells.volumes, len(x))
    source = known.copy()
    source[:, -1] += h * gradient / shells.volumes[-1]
    for _ in range(ITERATIONS):
        g = np.pad(shells.conductances(x, diffusivity), ((0, 0), (1, 1))) * h
        diagonal = 1.0 + (g[:, 1:] + g[:, :-1]).ravel() / volumes
        # Rows lie one behind the other, with nothing between them.
        lower, upper = -g[:, :-1].ravel()[1:] / volumes[1:], -g[:, 1:].ravel()[:-1] / volumes[:-1]
        x = dgtsv(lower, diagonal, upper, source.ravel())[3].reshape(known.shape)
    return x
