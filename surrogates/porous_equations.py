"""The porous-electrode model of a cell with the electrolyte's current as unknown, so that kinetics
and the conservation of charge hold exactly, whatever a network says."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fieldcast.meshes.battery import FARADAY, Cell, Electrode

from .jets import Jet, joined
from .particle_equations import Particle
from .pinn_problem import Ansatz, Equations, Points, Term
from .porous_layers import MODES, SHAPES, Layers

EMPTY = 1e-3
"""A stoichiometry that no surface falls below, as kinetics end there; networks may stray so far."""
EARLIEST = 1e-9
"""In units of the discharge."""
SPREAD = 0.5
"""How much reactions may differ from their mean before the network is large."""


@dataclass(frozen=True, eq=False)
class State:
    """At rows of (t, parameters): `reaction` / mean at the nodes of each electrode (row, node),
    the mean `stoichiometry` of the particles there, and at their surfaces; salt c / c0 - 1 (row,
    layer, node) with its `gradient` [1/m]; the electrolyte's `current` [A/m^2] and its `potential`
    [V] above that at the negative collector; and `driving` [V] (row, node), by which each
    electrode's potentials differ from the kinetics', a constant along it where all is right."""

    reaction: tuple[Tensor, Tensor]
    stoichiometry: tuple[Tensor, Tensor]
    surface: tuple[Tensor, Tensor]
    salt: Tensor
    gradient: Tensor
    current: Tensor
    potential: Tensor
    driving: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class PorousCell(Equations):
    """Doyle, Fuller, Newman 1993 (doi:10.1149/1.2221597) in x by Galerkin's method, with the
    profile within each particle that of the ansatz of `particles` with the flux of its place.

    Unknowns, of time alone and the logarithms of two factors: the charges Q_m that have passed more
    than in the mean, in `SHAPES` shapes along each electrode, so that reactions are 1 + sum P_m
    dQ_m / dt and lithium is conserved; and salt in `MODES` modes, which conserve it. What is to
    vanish are the variations of the driving potential along each electrode, and what the balance of
    salt leaves in each mode, as the error of salt that follows from it.
    """

    cell: Cell
    particles: tuple[Particle, Particle]
    slowest: float
    """Factor of the negative exchange current density where its logarithm is 0."""
    fastest: tuple[float, float]
    """Ratios of the largest factors to the least ones."""

    space = 0
    coordinates = 3
    unknowns = 2 * SHAPES + MODES

    @property
    def layers(self) -> Layers:
        """Of the cell."""
        return Layers.of(self.cell)

    def ansatz(self, at: Jet) -> Ansatz:
        t = at.column(0).above(EARLIEST)
        rates = (self.layers.rates * self.cell.duration).to(at.parts)
        grown = 1.0 - joined([(-(t * rate)).exp() for rate in rates.tolist()])
        steady = self._steady().to(at.parts)
        charge = joined([t * SPREAD] * (2 * SHAPES))
        columns = [2.0 * t**0.5 - 1.0, 2.0 * (t * (2.0 * float(rates[0]))) ** 0.5]
        columns[1] = 2.0 * columns[1].tanh() - 1.0
        for k, most in enumerate(self.fastest):
            size = 2.0 / float(torch.tensor(most).log())
            columns.append(at.column(1 + k) * size - 1.0)
        base = joined([charge * 0.0, grown * steady])
        room = 0.5 * float(steady.abs().max()) * (rates[0] / rates) ** 0.5
        return Ansatz(joined(columns), base, joined([charge, grown * room]))

    def _steady(self) -> Float[Tensor, " mode"]:
        """Salt where reactions are even and its properties those at rest."""
        current = self._current(torch.zeros(1, 2, SHAPES, dtype=torch.float64))
        return (self._forcing(current, torch.zeros_like(current)) / self.layers.rates)[0]

    def _forcing(self, current: Tensor, salt: Tensor) -> Float[Tensor, "row mode"]:
        """-int Z' (1 - t0) i / F dx / (c0 pores) [1/s]."""
        own, rest = self.layers, self.cell.electrolyte.concentration
        share = (1.0 - self.cell.electrolyte.transference.at(rest / 1e3 * (1.0 + salt))) / FARADAY
        return -self._weighed(share * current) / (rest * own.pores)

    def _weighed(self, flux: Tensor) -> Float[Tensor, "row mode"]:
        """int Z' flux dx."""
        own = self.layers
        slopes = own.slopes * own.weights * own.thickness[:, None]
        return torch.einsum("rln,mln->rm", flux, slopes.to(flux))

    def _current(self, shares: Float[Tensor, "row side shape"]) -> Float[Tensor, "row layer node"]:
        """The electrolyte's [A/m^2]: from 0 to all of it, all in the separator, and back to 0."""
        own = self.layers
        past = own.shapes @ own.sums.T
        even = own.sums.sum(dim=1)
        first, last = (even + shares[:, k] @ past for k in (0, 1))
        middle = torch.ones_like(first)
        return self.cell.density * torch.stack([first, middle, 1.0 - last], dim=1)

    def state(self, u: Tensor, rate: Tensor, x: Points) -> State:
        """From unknowns, their derivatives by time and (t, parameters, the excess of both
        particles' surfaces)."""
        own, cell = self.layers, self.cell
        charges, shares = (v[:, : 2 * SHAPES].unflatten(1, (2, SHAPES)) for v in (u, rate))
        current = self._current(shares)
        salt = torch.einsum("rm,mln->rln", u[:, 2 * SHAPES :], own.modes)
        gradient = torch.einsum("rm,mln->rln", u[:, 2 * SHAPES :], own.slopes)
        sides = [self._particle(k, charges[:, k], shares[:, k], x) for k in (0, 1)]
        reaction, mean, surface = zip(*sides, strict=True)
        potential = self._potential(current, salt, gradient)
        driving = []
        for k, electrode in enumerate((cell.negative, cell.positive)):
            layer = 2 * k
            faster = self.slowest * x[:, 1:2].exp() if k == 0 else 1.0
            eta = self._overpotential(k, reaction[k], surface[k], salt[:, layer], faster)
            solid = self.solid(electrode, current[:, layer], k)
            ocp = electrode.potential.at(surface[k])
            driving.append(solid - potential[:, layer] - ocp - eta)
        return State(reaction, mean, surface, salt, gradient, current, potential, tuple(driving))

    def _particle(
        self, k: int, charges: Tensor, shares: Tensor, x: Points
    ) -> tuple[Tensor, Tensor, Tensor]:
        own, particle = self.layers, self.particles[k]
        t = x[:, :1]
        reaction = 1.0 + shares @ own.shapes
        even = particle.start + 3.0 * particle.flux * t
        mean = even + 3.0 * particle.flux * (charges @ own.shapes)
        # The excess is that of an even flux, where diffusion goes by the even mean.
        speed = particle.curve.at(even) / particle.curve.at(mean)
        surface = mean + reaction * speed * x[:, 3 + k : 4 + k]
        return reaction, mean, surface.clamp(EMPTY, 1.0 - EMPTY)

    def _overpotential(
        self, k: int, reaction: Tensor, surface: Tensor, salt: Tensor, faster: Tensor | float
    ) -> Tensor:
        """2 R T / F asinh(F j / (2 i0)) [V]."""
        electrode = (self.cell.negative, self.cell.positive)[k]
        exchange = faster * electrode.exchange.at(surface) * (1.0 + salt) ** 0.5
        j = FARADAY * self.cell.fluxes[k] * reaction
        return 2.0 * self.cell.thermal * (0.5 * j / exchange).arcsinh()

    def shares(self, k: int, state: State, x: Points) -> Float[Tensor, "row node"]:
        """Of the excess of an even flux in that of each place."""
        particle = self.particles[k]
        even = particle.start + 3.0 * particle.flux * x[:, :1]
        return state.reaction[k] * (
            particle.curve.at(even) / particle.curve.at(state.stoichiometry[k])
        )

    def solid(self, electrode: Electrode, current: Tensor, k: int) -> Tensor:
        """The solid's potential [V] above that at its collector."""
        own = self.layers
        drop = (self.cell.density - current) * (electrode.thickness / electrode.conductivity)
        passed = drop @ own.sums.T
        return -passed if k == 0 else (drop @ own.weights)[:, None] - passed

    def _potential(self, current: Tensor, salt: Tensor, gradient: Tensor) -> Tensor:
        """int_0^x -i / (e kappa) + 2 (R T / F) (1 + dln f / dln c) (1 - t0) dln c / dx."""
        own, liquid = self.layers, self.cell.electrolyte
        c = liquid.concentration / 1e3 * (1.0 + salt)
        ohmic = current / (own.efficiency[:, None] * liquid.conductivity.at(c))
        diffusive = (
            2.0 * self.cell.thermal * liquid.factor.at(c) * (1.0 - liquid.transference.at(c))
        )
        slope = (diffusive * gradient / (1.0 + salt) - ohmic) * own.thickness[:, None]
        whole = slope @ own.weights
        before = torch.cumsum(whole, dim=1) - whole
        return before[:, :, None] + slope @ own.sums.T

    def left(self, u: Tensor, rate: Tensor, x: Points) -> Float[Tensor, "row equation"]:
        """Residuals, in thermal voltages and shares of the resting salt."""
        own, liquid = self.layers, self.cell.electrolyte
        state = self.state(u, rate, x)
        odd = own.shapes * own.weights * (2.0 * torch.arange(1, SHAPES + 1)[:, None] + 1.0) ** 0.5
        kinetics = [d @ odd.T / self.cell.thermal for d in state.driving]
        c = liquid.concentration / 1e3 * (1.0 + state.salt)
        spread = own.efficiency[:, None] * liquid.diffusivity.at(c) * state.gradient
        gain = self._forcing(state.current, state.salt) - self._weighed(spread) / own.pores
        salt = rate[:, 2 * SHAPES :] / self.cell.duration - gain
        return torch.cat([*kinetics, salt / own.rates], dim=1)

    def placed(self, unit: Float[Tensor, "row coordinate"]) -> Float[Tensor, "row _"]:
        """From the unit cube, more points early; with the excess of the surfaces behind."""
        logs = [unit[:, 1 + k] * float(torch.tensor(m).log()) for k, m in enumerate(self.fastest)]
        return self.known(torch.stack([unit[:, 0] ** 2, *logs], dim=1))

    def known(self, points: Points) -> Float[Tensor, "row _"]:
        """With how far the surface of each particle is ahead of its mean where reactions are
        even."""
        return torch.cat([points, *(self.excess(k, points, 1.0) for k in (0, 1))], dim=1)

    def excess(self, k: int, points: Points, r: float | Tensor) -> Float[Tensor, "row 1"]:
        """At a radius."""
        particle = self.particles[k]
        t = points[:, :1].clamp(min=EARLIEST)
        rows = [torch.zeros_like(t) + r, t, points[:, 2:3]][: particle.coordinates]
        base = particle.ansatz(Jet.coordinates(torch.cat(rows, dim=1), 0, 0)).base.value
        return base - particle.start - 3.0 * particle.flux * t

    def terms(self) -> tuple[Term, ...]:
        return (Term("balances", self._drawn, self._one, share=2.0),)

    def _drawn(self, unit: Float[Tensor, "row coordinate"]) -> Float[Tensor, "row node _"]:
        """Each row has one balance at random, whose number is kept behind the point."""
        # By far digits of the place: by its turn, it would go by the strata of even points.
        lot = (unit @ unit.new_tensor([7919.3, 10473.7, 15487.1])) % 1.0
        number = (lot * self.unknowns).floor()
        return torch.cat([self.placed(unit), number[:, None]], dim=1)[:, None]

    def _one(self, u: Jet, x: Points) -> Float[Tensor, " row"]:
        every = self.left(u.value, u.by(0), x)
        return every.gather(1, x[:, -1:].long())[:, 0]
