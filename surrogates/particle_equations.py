"""Diffusion in a particle whose surface takes up a constant flux, with a rate that depends on the
concentration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fieldcast.meshes.battery import Curve

from .jets import Jet, joined
from .pinn_problem import Ansatz, Equations, Points, Term

CENTRE, SOON = 0.01, 1e-12
"""The radius and the time below which all is as there, as the ansatz divides by them."""
HELD = 0.12
"""The Fourier number by which the layer at the surface has reached the centre."""
NODES = 12
EARLY = 0.1
"""Of Gauss's rule for the mean of a particle."""


@dataclass(frozen=True)
class Particle(Equations):
    """x_t = r^-2 (r^2 D x_r)_r in the unit ball and for a unit of time, D x_r = `flux` at r = 1,
    x = `start` at t = 0, with D = `rate` s `curve`(x). The logarithm of s is a parameter of [0,
    log `fastest`], unless `fastest` is 1.

    Both ends in time are in the ansatz. At first a layer at the surface grows as the root of time
    (Carslaw and Jaeger 1959, 2.9), with d = D(start): x - start = (flux / d) L, L = 2 sqrt(d t)
    ierfc((1 - r) / (2 sqrt(d t))); later the profile is 3 flux t + (flux / D(mean)) (r^2 / 2 - 0.3)
    about the mean, start + 3 flux t, which lithium fixes.
    """

    curve: Curve
    rate: float
    flux: float
    start: float
    fastest: float = 1.0

    space = 1
    unknowns = 1

    @property
    def coordinates(self) -> int:  # type: ignore[override]
        """r, t and, where it varies, log s."""
        return 2 if self.fastest == 1.0 else 3

    def ansatz(self, at: Jet) -> Ansatz:
        points, r, t = at.value, at.column(0).above(CENTRE), at.column(1).above(SOON)
        own, early = self.rate * self.speed(points), self.early(points)
        fourier = early * t
        mean = self.start + 3.0 * self.flux * t
        late = 3.0 * self.flux * t + (0.5 * r * r - 0.3) * (self.flux / (own * self.curve.at(mean)))
        near = _layer(r, fourier) * (self.flux / early)
        gone = (-(((1.0 / HELD) * fourier) ** 3.0)).exp()
        base = self.start + gone * near + (1.0 - gone) * late
        root = t**0.5
        columns = [2.0 * root - 1.0, 2.0 * r * r - 1.0, 2.0 * (1.4 * fourier**0.5).tanh() - 1.0]
        if self.coordinates == 3:
            columns.append(at.column(2) * (2.0 / np.log(self.fastest)) - 1.0)
        amplitude = (1.0 - (-10.0 * fourier).exp()) * (self.flux / early)
        return Ansatz(joined(columns), base, amplitude)

    def early(self, points: Points) -> Float[Tensor, "row 1"]:
        """D at the start."""
        return self.rate * self.speed(points) * self.curve.at(points.new_tensor(self.start))

    def speed(self, points: Points) -> Float[Tensor, "row 1"]:
        """s."""
        if self.coordinates == 2:
            return torch.ones_like(points[:, :1])
        return points[:, 2:3].exp()

    def placed(self, unit: Float[Tensor, "row coordinate"]) -> Points:
        """From the unit cube: more points early, and near the surface."""
        columns = [1.0 - (1.0 - CENTRE) * unit[:, 0] ** 1.5, unit[:, 1] ** 2]
        if self.coordinates == 3:
            columns.append(unit[:, 2] * np.log(self.fastest))
        return torch.stack(columns, dim=1)

    def terms(self) -> tuple[Term, ...]:
        return (
            Term("diffusion", lambda unit: self.placed(unit)[:, None], self._diffusion),
            Term("flux", self._on_surface, self._flux, weight=3.0, share=0.3),
            Term("lithium", self._along_radius, self._lithium, weight=10.0, share=0.2),
        )

    def _diffusion(self, u: Jet, x: Points) -> Float[Tensor, " row"]:
        d = self.curve.at(u.truncated(1)) * (self.rate * self.speed(x))
        r = x[:, :1]
        spread = d.value * (u.twice(0) + 2.0 * u.by(0) / r) + d.by(0) * u.by(0)
        return ((u.by(1) - spread) / (self.flux * (3.0 + self.early(x))))[:, 0]

    def _on_surface(self, unit: Float[Tensor, "row coordinate"]) -> Float[Tensor, "row node _"]:
        x = self.placed(unit)
        return torch.cat([torch.ones_like(x[:, :1]), x[:, 1:]], dim=1)[:, None]

    def _flux(self, u: Jet, x: Points) -> Float[Tensor, " row"]:
        d = self.rate * self.speed(x) * self.curve.at(u.value)
        return (d * u.by(0) / self.flux - 1.0)[:, 0]

    def _along_radius(self, unit: Float[Tensor, "row coordinate"]) -> Float[Tensor, "row node _"]:
        nodes, _ = _rule(unit)
        # Not so early that the rule misses the layer, whose lithium the ansatz keeps.
        late = torch.cat([unit[:, :1], EARLY + (1.0 - EARLY) * unit[:, 1:2], unit[:, 2:]], dim=1)
        x = self.placed(late)[:, None].expand(-1, NODES, -1)
        return torch.cat([nodes.expand(len(unit), -1)[:, :, None], x[:, :, 1:]], dim=2)

    def _lithium(self, u: Jet, x: Points) -> Float[Tensor, " 1"]:
        _, weights = _rule(x)
        excess = weights @ (u.value[:, 0] - self.start) / (3.0 * self.flux) - x[0, 1]
        return excess[None]


def _rule(like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights of 3 int_0^1 f r^2 dr by Gauss's in y, r = 1 - y^2."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    y = 0.5 * (nodes + 1.0)
    r = 1.0 - y**2
    return like.new_tensor(r), like.new_tensor(3.0 * weights * y * r**2)


def _layer(r: Jet, fourier: Jet) -> Jet:
    """L, with its image beyond the centre."""
    return (_robin(1.0 - r, fourier) - _robin(1.0 + r, fourier)) / r


def _robin(y: Jet, fourier: Jet) -> Jet:
    """exp(F - y) erfc(z - sqrt F) - erfc(z), z = y / (2 sqrt F): the half space whose surface gives
    back what it holds, which is what r x is at the surface of a ball."""
    root = fourier**0.5
    z = y / (2.0 * root)
    return (fourier - y).exp() * _erfc(z - root) - _erfc(z)


def _erfc(z: Jet) -> Jet:
    slope = (-z.value.square()).exp() * (-2.0 / np.sqrt(np.pi))
    return z.through(torch.special.erfc(z.value), slope, -2.0 * z.value * slope)
