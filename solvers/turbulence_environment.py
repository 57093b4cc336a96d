"""Turbulence in two dimensions as an environment of agents that set the coefficient of its closure.

Agents stand on a square of `agents` x `agents` points; c(x, y), of nu_e = c Delta^2 <|S|^2>^1/2, is
made smooth between them and held for some steps (Mojgani et al. 2023, arXiv:2312.00907). What they
see has no dimension and is relative to the flow's own means or to a target spectrum, so that the
same rule can be asked on other grids and of other flows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .spectral import Grid, Other, Physical, Spectrum, line_spectrum, random_spectrum
from .turbulence import Flow, Resolved, State, Stepper, Viscosity
from .turbulence_closures import CoefficientField, Dynamic, Strain

FLOOR = 1e-2
"""Of invariants over their means, before the logarithm."""
REACH = 3.0
"""Pulls are held to so many of their own standard deviations."""
Coefficients = Float[Tensor, "row agent"]
Line = Float[Tensor, " wavenumber"]


@dataclass(frozen=True)
class TurbulenceEnvironment:
    """A flow on `points` x `points` points by steps of `step`, of which each action lasts `hold`.
    Rows are flows side by side."""

    points: int = 32
    agents: int = 4
    hold: int = 5
    step: float = 0.004
    forcing_wavenumber: int = 4
    beta: float = 0.0
    viscosity: float = 1.0 / 20000.0
    drag: float = 0.1
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.agents < 2 or self.points % self.agents or self.hold < 1 or self.step <= 0:
            raise ValueError(
                "expected at least 2 agents a side that divide the points, one step an action and "
                f"a positive step, got {self}"
            )

    @property
    def interval(self) -> float:
        """How long an action lasts."""
        return self.hold * self.step

    def resized(self, points: int) -> TurbulenceEnvironment:
        """The same flow and as many agents on another grid, by steps as far from blowing up; an
        action lasts as long."""
        times = points / self.points
        hold = max(round(self.hold * times), 1)
        return replace(self, points=points, hold=hold, step=self.interval / hold)

    def at(self, device: str) -> TurbulenceEnvironment:
        """The same on a device."""
        return replace(self, device=device)

    @cached_property
    def grid(self) -> Grid:
        """Of the flow."""
        return Grid(self.points, device=self.device)

    @cached_property
    def stepper(self) -> Stepper:
        """Of the flow."""
        flow = Flow(self.forcing_wavenumber, self.beta, self.viscosity, self.drag)
        return Stepper(flow, self.grid, self.step)

    @cached_property
    def between(self) -> Float[Tensor, "point agent"]:
        """Periodic cubic splines through the agents of a line, at its points."""
        from scipy.interpolate import CubicSpline

        own = np.eye(self.agents)
        around = np.concatenate([own, own[:1]])
        spline = CubicSpline(np.arange(self.agents + 1), around, bc_type="periodic")
        values = spline(np.arange(self.points) * (self.agents / self.points))
        return torch.as_tensor(values, dtype=self.grid.dtype, device=self.device)

    def starts(self, snapshots: Other, rows: int, seed: int) -> State:
        """`rows` states from spectra on any grid in turn, each with a disturbance of its own that
        chaos makes a flow of its own."""
        chosen = self.grid.resampled(snapshots, Grid(2 * (snapshots.shape[1] - 1)))
        chosen = chosen[torch.arange(rows, device=chosen.device) % len(chosen)]
        size = self.grid.mean_product(chosen, chosen).sqrt()[:, None, None]
        noise = random_spectrum(self.grid, rows, seed, deviation=0.1)
        return self.stepper.start(chosen + size * noise)

    def spectra_of(self, vorticity: Float[Tensor, "row _ _"]) -> Other:
        """Of fields on any grid."""
        grid = Grid(int(vorticity.shape[-1]), device=self.device)
        return grid.spectral(vorticity.to(self.device, grid.dtype))

    def line(self, spectra: Other) -> Float[Tensor, "row wavenumber"]:
        """The enstrophy by wavenumber, see `line_spectrum`, of spectra on any grid."""
        grid = Grid(2 * (int(spectra.shape[1]) - 1), device=self.device)
        return line_spectrum(grid, spectra)

    def state(self, vorticity: Spectrum, before: Spectrum | None = None) -> State:
        """Of a spectrum alone: a state to look at, whose `before` means nothing."""
        return State(vorticity, vorticity if before is None else before)

    def acted(self, state: State, coefficients: Coefficients) -> State:
        """One action on."""
        closure = CoefficientField(self.field(coefficients))
        return self.stepper.advanced(state, self.hold, closure)

    def field(self, coefficients: Coefficients) -> Physical:
        """c at the points, smooth between the agents."""
        a = self.agents
        return self.between @ coefficients.reshape(-1, a, a) @ self.between.T

    def agents_of(self, values: Physical) -> Coefficients:
        """The mean of values with the share that each agent has in c there, times the number of
        points of an agent."""
        share = self.between.T @ values @ self.between
        return share.flatten(1) * (self.agents / self.points) ** 2

    def tendency(self, spectrum: Spectrum, coefficients: Coefficients) -> Physical:
        """-Pi at the points."""
        flow = Resolved(self.grid, spectrum)
        return self.grid.physical(CoefficientField(self.field(coefficients))(flow))

    def vorticity(self, spectrum: Spectrum) -> Physical:
        """At the points."""
        return self.grid.physical(spectrum)

    def germano(self, state: State) -> Float[Tensor, " row"]:
        """c by Germano's identity; see `Dynamic`."""
        return Dynamic(Strain()).coefficient(Resolved(self.grid, state.vorticity))[:, 0, 0]

    def invariants(self, state: State) -> Float[Tensor, "row agent feature"]:
        """What an agent sees of its place: tr S^2 and tr R^2 of the gradient of (u, v), of its
        symmetric and other part; tr S^2, tr R^2 and tr M of M = [[u_xx, v_xx], [u_yy, v_yy]]. The
        traces of squares are logarithms over their means, tr M is over its standard deviation."""
        every = self.points // self.agents
        fields = self._invariants(Resolved(self.grid, state.vorticity))
        return torch.stack([f[:, ::every, ::every].flatten(1) for f in fields], dim=-1)

    def pulls(self, state: State, target: Line) -> Float[Tensor, "row agent feature"]:
        """By how much each agent's coefficient makes the spectrum worse, see `pull`: by the errors
        k^2 (Z - Z_t), which the reward goes by, and by log Z / Z_t, in which all scales are
        alike."""
        flow, z = Resolved(self.grid, state.vorticity), line_spectrum(self.grid, state.vorticity)
        k = torch.arange(len(target), dtype=z.dtype, device=z.device)
        ratio = torch.log((z + 1e-9) / target.clamp(min=1e-9)) * (k > 0)
        errors = (k**2 * (z - target), ratio)
        return torch.stack([self.pull(flow, error) for error in errors], dim=-1)

    def sharpens(self, state: State) -> Float[Tensor, "row agent feature"]:
        """By how much each agent's coefficient makes the fourth moment of the vorticity larger, see
        `pull`."""
        flow = Resolved(self.grid, state.vorticity)
        return self._pull(flow, self.grid.spectral(flow.vorticity**3))[..., None]

    def flatness(self, spectra: Other) -> Float[Tensor, ""]:
        """<w^4> / <w^2>^2 over points and rows, on the environment's grid, of spectra on any grid:
        3 of a normal distribution, more where the tails are heavy."""
        own = self.grid.resampled(spectra, Grid(2 * (spectra.shape[1] - 1), device=self.device))
        squares = self.grid.physical(own).square()
        return squares.square().mean() / squares.mean().square()

    def _invariants(self, flow: Resolved) -> list[Physical]:
        grid = self.grid
        u, v = grid.to_velocity * flow.spectrum
        xx, yy = grid.dx**2, grid.dy**2
        half = (xx * u, xx * v, yy * u, yy * v)
        a, b, c, d = (grid.physical(s) for s in half)
        s11, s12 = flow.strain
        squares = (
            2.0 * (s11 * s11 + s12 * s12),
            0.5 * flow.vorticity.square(),
            a * a + d * d + 0.5 * (b + c).square(),
            0.5 * (b - c).square(),
        )
        trace = a + d
        return [*(_relative(s) for s in squares), trace / _spread(trace)]

    def pull(self, flow: Resolved, error: Float[Tensor, "row wavenumber"]) -> Coefficients:
        """How fast each agent's coefficient would raise sum_k `error` Z(k), over its standard
        deviation among the agents.

        Z(k) is a sum of |w|^2 over modes, so with w_e, the modes of w times their errors, the rate
        is <w_e, curl div (2 nu_e S)> = <nu_e G>, G = -4 S11 (w_e)_xy + 2 S12 ((w_e)_xx - (w_e)_yy),
        by parts: a product at each place of what is resolved there. `error` of wavenumber 0 is 0.
        With w_e = w^3 it is that of <w^4> / 4.
        """
        return self._pull(flow, self._by_mode(error) * flow.spectrum)

    def _pull(self, flow: Resolved, weighted: Spectrum) -> Coefficients:
        grid = self.grid
        s11, s12 = flow.strain
        bent, turned = grid.physical(grid.dxy * weighted), grid.physical(grid.dxx_dyy * weighted)
        own = self.agents_of(torch.add(2.0 * s12 * turned, s11 * bent, alpha=-4.0))
        size = own.square().mean(dim=1, keepdim=True).sqrt() + 1e-12
        return (own / size).clamp(-REACH, REACH)

    def _by_mode(self, error: Float[Tensor, "row wavenumber"]) -> Float[Tensor, "row k l"]:
        """Half the errors of |k| and |l|: a mode is counted in either line."""
        last = self.points // 2 - 1
        k = self.grid.k_all.long().clamp(max=last)[:, 0]
        line = self.grid.l_all.abs().long().clamp(max=last)[0]
        return 0.5 * (error[:, k, None] + error[:, None, line]) * self.grid.below

    def budget(self, state: State, coefficients: Coefficients) -> Mapping[str, Tensor]:
        """Means over the square, (row,): energy, enstrophy, and the rates at which forcing, drag,
        viscosity, beta and the closure change either."""
        grid, w = self.grid, state.vorticity
        flow = self.stepper.flow
        closure = CoefficientField(self.field(coefficients))(Resolved(grid, w))
        rates = {
            "forcing": self.stepper.forcing.expand_as(w),
            "drag": -flow.drag * w,
            "viscosity": flow.viscosity * grid.laplacian(w),
            "closure": closure,
        }
        psi = grid.inverse * w
        found = {"enstrophy": 0.5 * grid.mean_product(w, w)}
        found["energy"] = 0.5 * grid.mean_product(w, psi)
        for name, rate in rates.items():
            found[f"enstrophy by {name}"] = grid.mean_product(w, rate)
            found[f"energy by {name}"] = grid.mean_product(psi, rate)
        return found


def _relative(values: Physical) -> Physical:
    """log(values / mean + FLOOR), about its middle."""
    mean = values.mean(dim=(-2, -1), keepdim=True) + 1e-12
    return torch.log(values / mean + FLOOR) + 1.0


def _spread(values: Physical) -> Viscosity:
    return values.square().mean(dim=(-2, -1), keepdim=True).sqrt() + 1e-12
