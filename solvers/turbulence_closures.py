"""Closures of turbulence in two dimensions: eddy viscosities nu_e, with tau = -2 nu_e S.

Delta is the spacing 2 pi / n of the points (others write 4 pi / n, which halves the coefficients).
A closure is any function from what is resolved to a tendency of the vorticity; those here are
values, that hash and compare.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .spectral import Grid, Other, Physical, Spectrum
from .turbulence import Closure, EddyViscosity, Resolved, Viscosity

TINY = 1e-12
"""Added under square roots: their derivative is finite where a flow is at rest."""


class Measure(ABC):
    """nu_e of coefficient 1; `power` p is that of Delta, and nu_e goes with C^p."""

    power: ClassVar[int]

    @abstractmethod
    def local(self, flow: Resolved) -> Physical:
        """The rate at each point, without Delta^p."""

    @abstractmethod
    def mean(self, flow: Resolved) -> Viscosity:
        """Its mean, (row, 1, 1)."""


@dataclass(frozen=True)
class Strain(Measure):
    """|S| = 2 (S11^2 + S12^2)^1/2 (Smagorinsky 1963,
    doi:10.1175/1520-0493(1963)091<0099:GCEWTP>2.3.CO;2); its mean is the root mean square."""

    power: ClassVar[int] = 2

    def local(self, flow: Resolved) -> Physical:
        s11, s12 = flow.strain
        return 2.0 * torch.sqrt(torch.addcmul(s11 * s11, s12, s12) + TINY)

    def mean(self, flow: Resolved) -> Viscosity:
        # On a periodic square <|S|^2> = <w^2>.
        return (flow.vorticity.square().mean(dim=(-2, -1), keepdim=True) + TINY).sqrt()


@dataclass(frozen=True)
class Gradient(Measure):
    """|grad w| (Leith 1968, doi:10.1063/1.1691968)."""

    power: ClassVar[int] = 3

    def local(self, flow: Resolved) -> Physical:
        w_x, w_y = flow.gradient
        return torch.sqrt(torch.addcmul(w_x * w_x, w_y, w_y) + TINY)

    def mean(self, flow: Resolved) -> Viscosity:
        return self.local(flow).mean(dim=(-2, -1), keepdim=True)


@dataclass(frozen=True)
class Static(EddyViscosity):
    """nu_e = (C Delta)^p times the mean of the measure, or, `local`, its value at each point."""

    coefficient: float
    measure: Measure = Strain()
    local: bool = False

    def viscosity(self, flow: Resolved) -> Viscosity:
        scale = (self.coefficient * flow.grid.spacing) ** self.measure.power
        return scale * (self.measure.local if self.local else self.measure.mean)(flow)


def smagorinsky(coefficient: float, local: bool = False) -> Static:
    """nu_e = C^2 Delta^2 <|S|^2>^1/2, or |S| of each point."""
    return Static(coefficient, Strain(), local)


def leith(coefficient: float, local: bool = False) -> Static:
    """nu_e = C^3 Delta^3 <|grad w|>, or |grad w| of each point."""
    return Static(coefficient, Gradient(), local)


@dataclass(frozen=True, eq=False)
class CoefficientField(EddyViscosity):
    """nu_e = c(x, y) Delta^p times the mean of the measure or its local values, with c = C^p, of
    any sign, (row, y, x) or (row, 1, 1). It is what an agent acts by; c may need a gradient."""

    values: Viscosity
    measure: Measure = Strain()
    local: bool = False

    def viscosity(self, flow: Resolved) -> Viscosity:
        scale = flow.grid.spacing**self.measure.power
        rate = (self.measure.local if self.local else self.measure.mean)(flow)
        return (scale * rate) * self.values


@dataclass(frozen=True)
class Dynamic(EddyViscosity):
    """nu_e = c Delta^p times the mean of the measure, c from the flow itself by Germano's identity
    (Germano et al. 1991, doi:10.1063/1.857955) with a sharp filter at n/4, averaged over the square
    where it is positive:

    c = <(L M)^+> / <M^2>, L = [J(psi, w)]~ - J(psi~, w~),
    M = Delta^p [s lap w]~ - (2 Delta)^p s~ lap w~, s the measure.
    """

    measure: Measure = Strain()

    def coefficient(self, flow: Resolved) -> Viscosity:
        """c = C^p, (row, 1, 1)."""
        grid, power = flow.grid, self.measure.power
        passed = grid.cut(grid.n / 4)
        filtered = Resolved(grid, flow.spectrum * passed)

        def twice(values: Physical) -> Physical:
            return grid.physical(grid.spectral(values) * passed)

        left = grid.physical(passed * jacobian(flow)) - grid.physical(jacobian(filtered))
        rate = self.measure.local(flow)
        fine = twice(rate * grid.physical(grid.laplacian(flow.spectrum)))
        coarse = twice(rate) * grid.physical(grid.laplacian(filtered.spectrum))
        right = grid.spacing**power * fine - (2.0 * grid.spacing) ** power * coarse
        up = (left * right).clamp(min=0.0).mean(dim=(-2, -1), keepdim=True)
        return up / (right.square().mean(dim=(-2, -1), keepdim=True) + TINY)

    def viscosity(self, flow: Resolved) -> Viscosity:
        scale = flow.grid.spacing**self.measure.power
        return scale * self.coefficient(flow) * self.measure.mean(flow)


@dataclass(frozen=True)
class Backscatter:
    """Takes enstrophy at the smallest scales and gives a share of the energy back at large ones
    (Jansen and Held 2014, doi:10.1016/j.ocemod.2014.06.002): -Pi = -nu_4 lap lap w - nu_2 lap w
    with nu_4 = C^2 Delta^4 <|S|^2>^1/2 and nu_2 such that <nu_2 w^2> is `returned` times the
    energy that nu_4 takes, <nu_4 |grad w|^2>."""

    coefficient: float
    returned: float = 0.9

    def __call__(self, flow: Resolved) -> Spectrum:
        grid, w = flow.grid, flow.spectrum
        nu_4 = self.coefficient**2 * grid.spacing**4 * Strain().mean(flow)
        bent = grid.laplacian(w)
        share = grid.mean_product(w, -bent) / (grid.mean_product(w, w) + TINY)
        nu_2 = self.returned * nu_4 * share[:, None, None]
        return -nu_4 * grid.laplacian(bent) - nu_2 * bent


@dataclass(frozen=True)
class Summed:
    """The tendencies of several closures."""

    parts: tuple[Closure, ...]

    def __call__(self, flow: Resolved) -> Spectrum:
        return torch.stack([part(flow) for part in self.parts]).sum(dim=0)


@dataclass(frozen=True)
class FromPoints:
    """A closure of a function from the vorticity at points to its tendency there, such as a
    network."""

    function: Callable[[Physical], Physical]

    def __call__(self, flow: Resolved) -> Spectrum:
        return flow.grid.spectral(self.function(flow.vorticity))


@dataclass(frozen=True)
class AtPoints:
    """The other way round: what another solver adds to the tendency of the vorticity at its points,
    the same square and units of time given."""

    closure: Closure
    grid: Grid

    def __call__(self, vorticity: Physical) -> Physical:
        tendency = self.closure(Resolved(self.grid, self.grid.spectral(vorticity)))
        return self.grid.physical(tendency)


def jacobian(flow: Resolved) -> Spectrum:
    """J(psi, w) = div (u w)."""
    grid, (u, v), w = flow.grid, flow.velocity, flow.vorticity
    found = grid.dx * grid.spectral(u * w)
    return torch.addcmul(found, grid.dy, grid.spectral(v * w))


def subgrid_tendency(spectrum: Other, fine: Grid, coarse: Grid) -> Spectrum:
    """-Pi that a flow on a fine grid makes on a coarse one, in the modes of the coarse:
    J(psi~, w~) - [J(psi, w)]~, ~ the sharp filter. Products are taken on the fine grid, so that it
    is what is not resolved, without errors of aliasing on the coarse one."""
    passed = fine.cut(coarse.n / 2)
    whole = jacobian(Resolved(fine, spectrum))
    seen = jacobian(Resolved(fine, spectrum * passed))
    return coarse.resampled(seen - whole, fine)


def subgrid_stress(spectrum: Other, fine: Grid, coarse: Grid) -> tuple[Physical, Physical]:
    """(t11 - t22, t12), t_ij = [u_i u_j]~ - [u_i~ u_j~]~, at the points of the coarse grid:
    minus its curl div is `subgrid_tendency`."""
    passed = fine.cut(coarse.n / 2)
    (u, v), (u_f, v_f) = (Resolved(fine, part).velocity for part in (spectrum, spectrum * passed))

    def coarsened(values: Tensor) -> Tensor:
        return coarse.physical(coarse.resampled(fine.spectral(values), fine))

    return coarsened(u**2 - v**2 - u_f**2 + v_f**2), coarsened(u * v - u_f * v_f)
