"""The single-particle model as PINNSTRIPES poses it (Hassanaly et al. 2024,
doi:10.1016/j.est.2024.113103, and its published code): four networks for two potentials and two
concentrations, linear kinetics and boundaries as residuals, to compare with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fieldcast.meshes import Cases, Predictions
from fieldcast.meshes.battery import CONCENTRATIONS, FARADAY, RATES, VOLTAGE, Cell, Electrode
from fieldcast.meshes.packed import PackedEstimate, PackedField

from .jets import Jet, Residual, joined
from .particles import Particles
from .pinn_descent import Gradients, QuasiNewton
from .pinn_network import PathologyBlocks, Split
from .pinn_problem import Ansatz, Equations, Points, Problem, Solution, Term
from .pinn_training import Method
from .signature import Signature
from .training import Descent

SCALES = 0.0735464, 0.310916
"""Of the networks of the electrolyte's and the positive electrode's potential [V]."""
STARTING = 1.0
"""The time by which the start is left [s]."""
USUAL = 1800.0
"""The time that residuals of diffusion are measured by [s]."""


@dataclass(frozen=True)
class SoftCell(Equations):
    """phi_e, phi_s, c_a and c_c, the last two in shares of the largest ones, of (r, t, i0, D), r in
    shares of each particle's own radius, t of the duration."""

    cell: Cell
    kinetics: tuple[float, float]
    diffusion: tuple[float, float]

    space = 1
    coordinates = 4
    unknowns = 4

    @property
    def sides(self) -> tuple[Electrode, Electrode]:
        """Negative and positive."""
        return self.cell.negative, self.cell.positive

    def ansatz(self, at: Jet) -> Ansatz:
        r, t, i0, d = (at.column(k) for k in range(4))
        scaled = [
            2.0 * (p - low) / (low + high)
            for p, (low, high) in ((i0, self.kinetics), (d, self.diffusion))
        ]
        left = 1.0 - ((-self.cell.duration / STARTING) * t).exp()
        starts = [e.start + 0.0 * t for e in self.sides]
        base = joined([*self._potentials(i0, t), *starts])
        sizes = (*SCALES, -self.sides[0].start, 1.0 - self.sides[1].start)
        amplitude = joined([size * left for size in sizes])
        return Ansatz(joined([r, t, *scaled]), base, amplitude, bounded=2)

    def _potentials(self, i0: Jet, t: Jet) -> list[Jet]:
        """At the start, by linear kinetics: phi_e = -U_a - eta_a, phi_s = U_c + eta_c + phi_e."""
        a, c = (torch.tensor(e.start, dtype=i0.parts.dtype) for e in self.sides)
        negative, positive = self.sides
        eta_a, eta_c = (
            self.cell.thermal * FARADAY * j / e.exchange(x)
            for j, e, x in zip(self.cell.fluxes, self.sides, (a, c), strict=True)
        )
        electrolyte = -(eta_a / i0) - negative.potential(a)
        return [electrolyte, electrolyte + (positive.potential(c) + eta_c)]

    def terms(self) -> tuple[Term, ...]:
        inside, centre, surface = self._placed(None), self._placed(0.0), self._placed(1.0)
        found = [
            Term("kinetics a", surface, self._kinetics(0)),
            Term("kinetics c", surface, self._kinetics(1)),
        ]
        for side in (0, 1):
            found += [
                Term(f"diffusion {side}", inside, self._diffusion(side), 10.0),
                Term(f"centre {side}", centre, self._slope(side, 0.0), 1.0, 0.5),
                Term(f"surface {side}", surface, self._slope(side, 1.0), 250.0, 0.5),
            ]
        return tuple(found)

    def _placed(self, radius: float | None) -> Callable[[Tensor], Tensor]:
        def points(unit: Float[Tensor, "row coordinate"]) -> Float[Tensor, "row 1 coordinate"]:
            r = unit[:, 0] if radius is None else torch.full_like(unit[:, 0], radius)
            (a, b), (c, d) = self.kinetics, self.diffusion
            columns = [r, unit[:, 1], a + (b - a) * unit[:, 2], c + (d - c) * unit[:, 3]]
            return torch.stack(columns, dim=1)[:, None]

        return points

    def _kinetics(self, side: int) -> Residual:
        """i0 F eta / (R T) = F j."""
        electrode, j = self.sides[side], FARADAY * self.cell.fluxes[side]

        def residual(u: Jet, x: Points) -> Float[Tensor, " row"]:
            electrolyte, solid, *c = u.value.unbind(1)
            own = c[side].clip(1e-6, 1.0 - 1e-6)
            potential = 0.0 if side == 0 else solid
            eta = potential - electrolyte - electrode.potential(own)
            faster = x[:, 2] if side == 0 else 1.0
            return faster * electrode.exchange(own) * eta / (self.cell.thermal * j) - 1.0

        return residual

    def _diffusion(self, side: int) -> Residual:
        electrode = self.sides[side]
        span = electrode.start if side == 0 else 1.0 - electrode.start

        def residual(u: Jet, x: Points) -> Float[Tensor, " row"]:
            c = u.column(2 + side)
            d = electrode.diffusivity.at(c.truncated(1)) * self._rate(side, x)
            spread = d.value * (c.twice(0) + 2.0 * c.by(0) / x[:, :1]) + d.by(0) * c.by(0)
            return ((c.by(1) - spread) * (USUAL / self.cell.duration / span))[:, 0]

        return residual

    def _slope(self, side: int, radius: float) -> Residual:
        electrode = self.sides[side]
        flux = -self.cell.fluxes[side] * self.cell.duration
        flux /= electrode.radius * electrode.largest

        def residual(u: Jet, x: Points) -> Float[Tensor, " row"]:
            c = u.column(2 + side)
            d = electrode.diffusivity(c.value) * self._rate(side, x)
            if radius == 0.0:
                return (d * c.by(0) / flux)[:, 0]
            left = 1.0 - torch.exp(-x[:, 1] * (self.cell.duration / STARTING))
            return left * (d * c.by(0) / flux - 1.0)[:, 0]

        return residual

    def _rate(self, side: int, x: Points) -> Float[Tensor, "row 1"]:
        rate = self.cell.duration / self.sides[side].radius ** 2
        return rate * (x[:, 3:4] if side else torch.ones_like(x[:, 3:4]))


@dataclass(frozen=True)
class SoftParticles(Problem):
    """The same cases as those of `Particles`."""

    cell: Cell
    kinetics: tuple[float, float] = (0.5, 4.0)
    diffusion: tuple[float, float] = (1.0, 10.0)

    @property
    def hard(self) -> Particles:
        """The problem that this one is compared with."""
        return Particles(self.cell, self.kinetics, self.diffusion)

    def equations(self) -> Mapping[str, Equations]:
        return {"cell": SoftCell(self.cell, self.kinetics, self.diffusion)}

    def signature(self) -> Signature:
        return self.hard.signature()

    def bounds(self) -> Mapping[str, tuple[float, float]]:
        return self.hard.bounds()

    def columns(self, cases: Cases, name: str) -> Float[Tensor, "case parameter"]:
        return torch.cat([torch.as_tensor(cases.parameters[k].values.copy()) for k in RATES], dim=1)

    def answer(self, cases: Cases, solutions: Mapping[str, Solution]) -> Predictions:
        inside, surface = self.hard.points(cases, self.columns(cases, "cell"))
        found = solutions["cell"](torch.cat([inside, surface])).numpy()
        offsets, times = cases.meshes[""].offsets("point"), len(cases.times)
        fields = {}
        sides = (self.cell.negative, self.cell.positive)
        for k, (name, side) in enumerate(zip(CONCENTRATIONS, sides, strict=True)):
            values = side.largest * found[: len(inside), 2 + k].reshape(times, -1, 1)
            fields[name] = PackedField(values, offsets, "mol/m^3")
        volts = found[len(inside) :, 1].reshape(times, len(cases)).T
        return Predictions(cases, fields, None, {VOLTAGE: PackedEstimate(volts, None, "V")})


def paper(share: float = 1.0) -> tuple[Split, tuple[Method, ...]]:
    """The published network, 4 x 3 blocks of 20 units, and a `share` of its training: 30,000 steps
    of Adam at 128 points, then 10,000 of L-BFGS, here with line searches."""
    descent = Descent(
        steps=math.ceil(30_000 * share), batch=128, rate=1e-3, final=0.1, average=0.0, device="cpu"
    )
    first = Gradients(descent, points=1280)
    second = QuasiNewton(steps=math.ceil(10_000 * share), points=1280)
    return Split(PathologyBlocks(20, 3), blind=2), (first, second)
