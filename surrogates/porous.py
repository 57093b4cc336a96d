"""The porous-electrode model of a discharge as a problem: one network of time and parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fieldcast.meshes import Cases, Predictions
from fieldcast.meshes.battery import (
    CELL,
    CONCENTRATIONS,
    LOCAL,
    PARTICLES,
    RATES,
    SALT,
    VOLTAGE,
    Cell,
)
from fieldcast.meshes.packed import PackedEstimate, PackedField

from .particle_equations import Particle
from .particles import NEGATIVE, POSITIVE, Particles
from .pinn_problem import Equations, Problem, Solution
from .porous_equations import EARLIEST, PorousCell, State
from .porous_layers import SHAPES
from .signature import FieldKind, Signature

POROUS = "porous electrodes"
STEP = 1e-4
"""Of differences in time, in shares of it."""


@dataclass(frozen=True)
class Porous(Problem):
    """A discharge of a `cell` by the model of Doyle, Fuller, Newman, with ranges of the factors of
    the negative exchange current density, `kinetics`, and of the positive diffusivity,
    `diffusion`.

    Cases are those of `fieldcast.meshes.battery.discharge`: asked for the voltage [V], for
    concentrations in particles [mol/m^3], means over each electrode, on the part "cell" for the
    electrolyte's concentration [mol/m^3] and potential [V], and on the part "particles" for
    concentrations within the particles of each place, and the solid's potential there.
    """

    cell: Cell
    kinetics: tuple[float, float] = (0.5, 4.0)
    diffusion: tuple[float, float] = (1.0, 10.0)

    @property
    def particles(self) -> Particles:
        """The single-particle model of the same cell."""
        return Particles(self.cell, self.kinetics, self.diffusion)

    def equations(self) -> Mapping[str, Equations]:
        return {POROUS: self.porous()}

    def porous(self) -> PorousCell:
        """The equations."""
        both = self.particles.equations()
        negative, positive = both[NEGATIVE], both[POSITIVE]
        assert isinstance(negative, Particle)
        assert isinstance(positive, Particle)
        ratios = self.kinetics[1] / self.kinetics[0], self.diffusion[1] / self.diffusion[0]
        return PorousCell(self.cell, (negative, positive), self.kinetics[0], ratios)

    def signature(self) -> Signature:
        own = self.particles.signature()
        more = {
            name: FieldKind(unit, "point", part, 1, False)
            for part, told in ((CELL, SALT), (PARTICLES, LOCAL))
            for name, unit in told.items()
        }
        fields = {**own.fields, **more}
        return Signature(1, own.times, own.parameters, {}, fields, own.scalars, own_times=True)

    def bounds(self) -> Mapping[str, tuple[float, float]]:
        return self.particles.bounds()

    def columns(self, cases: Cases, name: str) -> Float[Tensor, "case parameter"]:
        lows = (self.kinetics[0], self.diffusion[0])
        values = [cases.parameters[k].values / low for k, low in zip(RATES, lows, strict=True)]
        return torch.as_tensor(np.log(np.hstack(values)))

    def answer(self, cases: Cases, solutions: Mapping[str, Solution]) -> Predictions:
        equations, count = self.porous(), len(cases)
        times = torch.as_tensor(np.array(cases.times)) / self.cell.duration
        t = times.clamp(min=EARLIEST).repeat(count)[:, None]
        columns = self.columns(cases, POROUS).repeat_interleave(len(times), dim=0)
        points = torch.cat([t, columns], dim=1)
        u, rate = _with_rate(solutions[POROUS], points)
        state = equations.state(u, rate, equations.known(points))
        weights = equations.layers.weights
        ends = [d @ weights for d in state.driving]
        # Where the positive collector is above the negative one, whose potential is 0.
        v = (ends[0] - ends[1]).reshape(count, -1).numpy()
        fields = self._particles(cases, equations, state, points)
        if CELL in cases.meshes:
            fields |= self._salt(cases, equations, state, u, ends[0])
        if PARTICLES in cases.meshes:
            fields |= self._local(cases, equations, state, points, (ends[0] - ends[1]).numpy())
        return Predictions(cases, fields, None, {VOLTAGE: PackedEstimate(v, None, "V")})

    def _particles(
        self, cases: Cases, equations: PorousCell, state: State, points: Tensor
    ) -> dict[str, PackedField]:
        """Means over each electrode."""
        offsets, found = cases.meshes[""].offsets("point"), {}
        sides = (self.cell.negative, self.cell.positive)
        for k, (name, side) in enumerate(zip(CONCENTRATIONS, sides, strict=True)):
            particle = equations.particles[k]
            even = particle.start + 3.0 * particle.flux * points[:, :1]
            share = equations.shares(k, state, points) @ equations.layers.weights
            rows = []
            for i, mesh in enumerate(cases.meshes[""]):
                own = slice(i * len(cases.times), (i + 1) * len(cases.times))
                each = [
                    equations.excess(k, points[own], float(r))[:, 0] * share[own]
                    for r in mesh.points[:, 0]
                ]
                rows.append(torch.stack(each, dim=1) + even[own])
            values = side.largest * torch.cat(rows, dim=1).numpy()
            found[name] = PackedField(values[:, :, None], offsets, "mol/m^3")
        return found

    def _salt(
        self, cases: Cases, equations: PorousCell, state: State, u: Tensor, ground: Tensor
    ) -> dict[str, PackedField]:
        """Of the electrolyte, at the points of the part."""
        meshes, count = cases.meshes[CELL], len(cases.times)
        nodes = _places(equations)
        c, phi = [], []
        for i, mesh in enumerate(meshes):
            own, x = slice(i * count, (i + 1) * count), mesh.points[:, 0]
            modes = equations.layers.modes_at(x)
            c.append(1.0 + u[own, 2 * SHAPES :].numpy() @ modes)
            known = (state.potential + ground[:, None, None])[own].numpy()
            layer = _layer(x, equations)
            potential = np.empty((count, len(x)))
            for k in range(3):
                potential[:, layer == k] = _through(nodes[k], known[:, k], x[layer == k])
            phi.append(potential)
        rest, offsets = self.cell.electrolyte.concentration, meshes.offsets("point")
        values = dict(zip(SALT, (rest * np.hstack(c), np.hstack(phi)), strict=True))
        return {
            k: PackedField(v[:, :, None], offsets, SALT[k], "point", CELL)
            for k, v in values.items()
        }

    def _local(
        self,
        cases: Cases,
        equations: PorousCell,
        state: State,
        points: Tensor,
        voltage: Float[np.ndarray, " row"],
    ) -> dict[str, PackedField]:
        """At x and r of the part."""
        meshes, count, nodes = cases.meshes[PARTICLES], len(cases.times), _places(equations)
        sides = (self.cell.negative, self.cell.positive)
        offsets = meshes.offsets("point")
        found = np.empty((2, count, int(offsets[-1])))
        shares = [equations.shares(k, state, points).numpy() for k in (0, 1)]
        for i, mesh in enumerate(meshes):
            own, (x, r) = slice(i * count, (i + 1) * count), mesh.points.T
            values = found[:, :, offsets[i] : offsets[i + 1]]
            layer = _layer(x, equations)
            for k, side in enumerate(sides):
                at = layer == 2 * k if k else layer < 2
                (xs, ix), (rs, ir) = (np.unique(a[at], return_inverse=True) for a in (x, r))
                known = (state.stoichiometry[k][own].numpy(), shares[k][own])
                mean, share = (_through(nodes[2 * k], a, xs)[:, ix] for a in known)
                ahead = [equations.excess(k, points[own], float(one)) for one in rs]
                values[0][:, at] = side.largest * (
                    mean + share * torch.cat(ahead, 1).numpy()[:, ir]
                )
                solid = equations.solid(side, state.current[own, 2 * k], k).numpy()
                ground = k * voltage[own, None]
                values[1][:, at] = ground + _through(nodes[2 * k], solid, xs)[:, ix]
        return {
            name: PackedField(each[:, :, None], offsets, unit, "point", PARTICLES)
            for (name, unit), each in zip(LOCAL.items(), found, strict=True)
        }


def _with_rate(solution: Solution, points: Tensor) -> tuple[Tensor, Tensor]:
    """Values and their derivatives by time."""
    t = points[:, :1]
    later, sooner = (torch.cat([t * (1.0 + s), points[:, 1:]], dim=1) for s in (STEP, -STEP))
    return solution(points), (solution(later) - solution(sooner)) / (2.0 * STEP * t)


def _places(equations: PorousCell) -> Float[np.ndarray, "layer node"]:
    """x of the nodes [m]."""
    own = equations.layers
    within = own.sums.sum(dim=1).numpy()
    thickness = own.thickness.numpy()
    starts = np.cumsum(thickness) - thickness
    return starts[:, None] + thickness[:, None] * within


def _layer(x: np.ndarray, equations: PorousCell) -> np.ndarray:
    """The layer that places lie in."""
    ends = np.cumsum(equations.layers.thickness.numpy())
    return np.clip(np.searchsorted(ends, x, side="right"), 0, 2)


def _through(
    nodes: Float[np.ndarray, " node"], known: Float[np.ndarray, "time node"], x: np.ndarray
) -> Float[np.ndarray, "time point"]:
    """By the polynomial through the nodes of a layer."""
    from scipy.interpolate import BarycentricInterpolator

    if not len(x):
        return np.empty((len(known), 0))
    found: np.ndarray = BarycentricInterpolator(nodes, known.T)(x).T
    return found
