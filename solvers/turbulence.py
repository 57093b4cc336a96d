"""Forced, dragged turbulence in two dimensions on the f- and beta-plane, in torch.

w_t + J(psi, w) + beta v = nu lap w - alpha w + F - Pi on the square [0, 2 pi)^2, with
w = v_x - u_y = lap psi, F = kf (cos kf x + cos kf y) and Pi what scales that the grid does not hold
do, told by a closure. Nothing has a dimension. Cases and scheme are those of Mojgani et al. 2023
(arXiv:2312.00907), whose w has the other sign. A step is a function of tensors alone: it can be
differentiated, and rows are flows side by side.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float

from .spectral import Grid, Physical, Spectrum


@dataclass(frozen=True)
class Flow:
    """The numbers of the equation: kf, beta, nu and alpha."""

    forcing_wavenumber: int = 4
    beta: float = 0.0
    viscosity: float = 1.0 / 20000.0
    drag: float = 0.1


CASES: Mapping[int, Flow] = {1: Flow(), 2: Flow(beta=20.0), 4: Flow(forcing_wavenumber=25)}
"""By the numbers that Mojgani et al. give them."""


@dataclass(frozen=True, eq=False)
class Resolved:
    """A state as closures see it: its spectrum, and fields at points, each made when first asked
    for and kept, since the advection and the closure share most of them."""

    grid: Grid
    spectrum: Spectrum

    @cached_property
    def _velocity_half(self) -> torch.Tensor:
        """(2, row, y, k)."""
        return self.grid.along_y(self.grid.to_velocity * self.spectrum)

    @cached_property
    def _vorticity_half(self) -> torch.Tensor:
        return self.grid.along_y(self.spectrum)

    @cached_property
    def velocity(self) -> tuple[Physical, Physical]:
        """(u, v)."""
        u, v = self.grid.along_x(self._velocity_half)
        return u, v

    @cached_property
    def vorticity(self) -> Physical:
        """w = v_x - u_y."""
        return self.grid.along_x(self._vorticity_half)

    @cached_property
    def gradient(self) -> tuple[Physical, Physical]:
        """(w_x, w_y)."""
        return (
            self.grid.along_x(self.grid.dx_half * self._vorticity_half),
            self.grid.physical(self.grid.dy * self.spectrum),
        )

    @cached_property
    def strain(self) -> tuple[Physical, Physical]:
        """(S11, S12) = (u_x, (u_y + v_x) / 2); S22 = -S11. As u_y = v_x - w, no derivative along y
        is taken."""
        s11, v_x = self.grid.along_x(self.grid.dx_half * self._velocity_half)
        return s11, torch.sub(v_x, self.vorticity, alpha=0.5)

    def stressed(
        self, difference: Physical, t12: Physical, factors: tuple[float, float] = (1.0, 1.0)
    ) -> Spectrum:
        """-curl div tau of a stress, (t11 - t22)_xy - t12_xx + t12_yy, both times factors."""
        one, other = factors
        found = (one * self.grid.dxy) * self.grid.spectral(difference)
        return torch.addcmul(found, self.grid.dxx_dyy, self.grid.spectral(t12), value=-other)


Closure = Callable[[Resolved], Spectrum]
"""What unresolved scales do to the vorticity, -Pi, from what is resolved."""
Viscosity = Float[torch.Tensor, "row ..."]
"""(row, y, x), or (row, 1, 1) where it is the same everywhere."""


class EddyViscosity(ABC):
    """The closure of tau = -2 nu_e S: -Pi = curl div (2 nu_e S); nu_e lap w where nu_e is the same
    everywhere."""

    @abstractmethod
    def viscosity(self, flow: Resolved) -> Viscosity:
        """nu_e."""

    def __call__(self, flow: Resolved) -> Spectrum:
        nu = self.viscosity(flow)
        if nu.shape[-1] == 1:
            return nu * flow.grid.laplacian(flow.spectrum)
        s11, s12 = flow.strain
        return flow.stressed(nu * s11, nu * s12, factors=(-4.0, -2.0))

    def with_stress(self, flow: Resolved, difference: Physical, t12: Physical) -> Spectrum:
        """The tendency of this and of another stress, by as many transforms as one of them."""
        nu = self.viscosity(flow)
        if nu.shape[-1] == 1:
            return flow.stressed(difference, t12) + nu * flow.grid.laplacian(flow.spectrum)
        s11, s12 = flow.strain
        difference = torch.addcmul(difference, nu, s11, value=-4.0)
        return flow.stressed(difference, torch.addcmul(t12, nu, s12, value=-2.0))


class Form(ABC):
    """A way to write the advection, which aliases differently."""

    @abstractmethod
    def rate(self, flow: Resolved, closure: Closure | None) -> Spectrum:
        """-J(psi, w) - Pi."""

    @abstractmethod
    def kept(self, grid: Grid) -> Float[torch.Tensor, "k l"]:
        """1 for the modes that are stepped."""


@dataclass(frozen=True)
class Skew(Form):
    """Half of div(u w) and half of u . grad w (Zang 1991, doi:10.1016/0168-9274(91)90102-6): with
    all modes it neither makes nor loses enstrophy. Five transforms to points, three back."""

    def rate(self, flow: Resolved, closure: Closure | None) -> Spectrum:
        grid, (w_x, w_y) = flow.grid, flow.gradient
        (u, v), w = flow.velocity, flow.vorticity
        # Two of the three transforms along y are one, as they are linear.
        along = grid.back_x(torch.addcmul(u * w_x, v, w_y))
        total = grid.back_y(torch.addcmul(along, grid.dx_half, grid.back_x(u * w)))
        total = torch.addcmul(total, grid.dy, grid.spectral(v * w))
        return -0.5 * total if closure is None else torch.sub(closure(flow), total, alpha=0.5)

    def kept(self, grid: Grid) -> Float[torch.Tensor, "k l"]:
        return grid.below


@dataclass(frozen=True)
class Flux(Form):
    """-curl div (u u) (Basdevant 1983, doi:10.1016/0021-9991(83)90064-5) with the modes of the 2/3
    rule alone, without which it blows up: two transforms each way, and those back also serve the
    stress of an eddy viscosity."""

    def rate(self, flow: Resolved, closure: Closure | None) -> Spectrum:
        u, v = flow.velocity
        difference, t12 = torch.addcmul(u * u, v, v, value=-1), u * v
        if isinstance(closure, EddyViscosity):
            return closure.with_stress(flow, difference, t12)
        total = flow.stressed(difference, t12)
        return total if closure is None else total + closure(flow)

    def kept(self, grid: Grid) -> Float[torch.Tensor, "k l"]:
        return grid.cut(grid.n / 3)


class State(NamedTuple):
    """The vorticity, and the explicit part of its rate one step before: all that a step needs."""

    vorticity: Spectrum
    before: Spectrum


@dataclass(frozen=True)
class Stepper:
    """Steps of size `step`: Adams-Bashforth of order 2 for advection, beta and closure,
    Crank-Nicolson for the viscosity, backward Euler for the drag (which makes the order 1 where
    the drag is not 0, as in Mojgani et al.).

    u_max k_max step must stay below about 0.4.
    """

    flow: Flow
    grid: Grid
    step: float
    form: Form = Skew()

    @cached_property
    def _kept(self) -> torch.Tensor:
        return self.form.kept(self.grid)

    @cached_property
    def _factors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of the vorticity, of the explicit rate, and the part of the forcing, in each step."""
        grid, dt, flow = self.grid, self.step, self.flow
        half = 0.5 * dt * flow.viscosity * grid.square
        share = self._kept / (1.0 + dt * flow.drag + half)
        zero = torch.zeros_like(grid.square)
        gain = torch.complex(dt * share, zero)
        return torch.complex((1.0 - half) * share, zero), gain, gain * self.forcing

    @cached_property
    def _beta(self) -> torch.Tensor:
        return self.flow.beta * self.grid.to_velocity[1, 0]

    @cached_property
    def forcing(self) -> torch.Tensor:
        """The coefficients of F, (k, l)."""
        k, half = self.flow.forcing_wavenumber, 0.5 * self.flow.forcing_wavenumber
        found = torch.zeros_like(self.grid.dy)
        if 0 < k < self.grid.n // 2:
            found[k, 0] = found[0, k] = found[0, -k] = half
        return found

    def rate(self, vorticity: Spectrum, closure: Closure | None = None) -> Spectrum:
        """What is stepped explicitly: -J - beta v - Pi."""
        resolved = Resolved(self.grid, vorticity)
        found = self.form.rate(resolved, closure)
        if self.flow.beta:
            found = torch.addcmul(found, self._beta, vorticity, value=-1)
        return found

    def start(self, vorticity: Spectrum, closure: Closure | None = None) -> State:
        """A state whose first step is Euler's."""
        kept = vorticity * self._kept
        return State(kept, self.rate(kept, closure))

    def at_points(self, vorticity: Physical, closure: Closure | None = None) -> State:
        """As `start`, from values at points."""
        given = vorticity.to(self.grid.device, self.grid.dtype)
        return self.start(self.grid.spectral(given), closure)

    def __call__(self, state: State, closure: Closure | None = None) -> State:
        """One step on."""
        keep, gain, forced = self._factors
        now = self.rate(state.vorticity, closure)
        # As pairs of real numbers: of complex ones this takes four times as long.
        pairs = torch.lerp(torch.view_as_real(state.before), torch.view_as_real(now), 1.5)
        explicit = torch.view_as_complex(pairs)
        moved = torch.addcmul(torch.addcmul(forced, state.vorticity, keep), explicit, gain)
        return State(moved, now)

    def advanced(
        self,
        state: State,
        steps: int,
        closure: Closure | None = None,
        seen: Callable[[State], object] | None = None,
    ) -> State:
        """`steps` steps on; each state is shown to `seen`."""
        for _ in range(steps):
            state = self(state, closure)
            if seen is not None:
                seen(state)
        return state
