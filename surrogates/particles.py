"""The single-particle model of a cell as a problem: two networks, one for each electrode.

With a constant current the fluxes are constants, so that the two diffusion problems know nothing of
each other, the negative one of no parameter, and potentials follow from the concentrations at the
surfaces in closed form: what is left to learn is one function of (r, t) and one of (r, t, log s).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fieldcast.meshes import Cases, Predictions, Samples
from fieldcast.meshes.battery import CONCENTRATIONS, RATES, VOLTAGE, Cell
from fieldcast.meshes.packed import PackedEstimate, PackedField

from .particle_equations import Particle
from .pinn_problem import Equations, Points, Problem, Solution, Term, known
from .signature import FieldKind, ScalarKind, Signature

NEGATIVE, POSITIVE = "negative particle", "positive particle"


@dataclass(frozen=True)
class Particles(Problem):
    """A discharge of a `cell`, with ranges of the factors of the negative exchange current density,
    `kinetics`, and of the positive diffusivity, `diffusion`.

    Cases are those of `fieldcast.meshes.battery.discharge`, asked for the voltage [V] at any times
    until the cell's, and for concentrations [mol/m^3] at any radii r / R.
    """

    cell: Cell
    kinetics: tuple[float, float] = (0.5, 4.0)
    diffusion: tuple[float, float] = (1.0, 10.0)

    def __post_init__(self) -> None:
        for low, high in (self.kinetics, self.diffusion):
            if not 0.0 < low < high:
                raise ValueError(f"expected ranges of positive factors, got ({low}, {high})")

    def equations(self) -> Mapping[str, Equations]:
        low, high = self.diffusion
        return {NEGATIVE: self._particle(0, 1.0, 1.0), POSITIVE: self._particle(1, low, high / low)}

    def _particle(self, side: int, slowest: float, range_: float) -> Particle:
        """In units of the radius, the discharge's duration and the largest concentration."""
        electrode = (self.cell.negative, self.cell.positive)[side]
        rate = slowest * self.cell.duration / electrode.radius**2
        flux = -self.cell.fluxes[side] * self.cell.duration
        flux /= electrode.radius * electrode.largest
        return Particle(electrode.diffusivity, rate, flux, electrode.start, range_)

    def signature(self) -> Signature:
        times = tuple(np.linspace(0.0, self.cell.duration, 101).tolist())
        fields = {k: FieldKind("mol/m^3", "point", "", 1, False) for k in CONCENTRATIONS}
        return Signature(
            1,
            times,
            {k: ScalarKind("", True) for k in RATES},
            {},
            fields,
            {VOLTAGE: ScalarKind("V", False)},
            own_times=True,
        )

    def bounds(self) -> Mapping[str, tuple[float, float]]:
        faster, quicker = RATES
        ranges = {faster: self.kinetics, quicker: self.diffusion}
        return {**ranges, "time": (0.0, self.cell.duration)}

    def columns(self, cases: Cases, name: str) -> Float[Tensor, "case parameter"]:
        if name == NEGATIVE:
            return torch.zeros(len(cases), 0, dtype=torch.float64)
        factors = cases.parameters[RATES[1]].values
        return torch.as_tensor(np.log(factors / self.diffusion[0]))

    def answer(self, cases: Cases, solutions: Mapping[str, Solution]) -> Predictions:
        fields, surfaces = {}, []
        offsets, times = cases.meshes[""].offsets("point"), len(cases.times)
        sides = (self.cell.negative, self.cell.positive)
        for name, field, side in zip((NEGATIVE, POSITIVE), CONCENTRATIONS, sides, strict=True):
            inside, surface = self.points(cases, self.columns(cases, name))
            found = solutions[name](torch.cat([inside, surface])).numpy()
            values, ends = np.split(found, [len(inside)])
            packed = side.largest * values.reshape(times, -1, 1)
            fields[field] = PackedField(packed, offsets, "mol/m^3")
            surfaces.append(ends.reshape(times, len(cases)).T)
        v = self.cell.voltage(surfaces[0], surfaces[1], cases.parameters[RATES[0]].values)
        return Predictions(cases, fields, None, {VOLTAGE: PackedEstimate(v, None, "V")})

    def data(self, samples: Samples) -> Mapping[str, tuple[Term, ...]]:
        found = {}
        sides = (self.cell.negative, self.cell.positive)
        for name, field, side in zip((NEGATIVE, POSITIVE), CONCENTRATIONS, sides, strict=True):
            points, _ = self.points(samples.cases, self.columns(samples.cases, name))
            values = samples.fields[field].values.reshape(-1, 1) / side.largest
            equations = self.equations()[name]
            assert isinstance(equations, Particle)
            term = known(points, torch.as_tensor(values), weight=1.0 / abs(equations.flux))
            found[name] = (term,)
        return found

    def points(
        self, cases: Cases, columns: Float[Tensor, "case parameter"]
    ) -> tuple[Points, Float[Tensor, "end coordinate"]]:
        """(r, t, parameters) of all times of all the cases' points, and of their surfaces."""
        meshes = cases.meshes[""]
        radii = np.concatenate([mesh.points[:, 0] for mesh in meshes])
        which = np.repeat(np.arange(len(cases)), np.diff(meshes.offsets("point")))
        times = torch.as_tensor(np.array(cases.times)) / self.cell.duration
        every, surface = torch.as_tensor(radii), torch.ones(len(cases), dtype=torch.float64)
        return (
            _at_times(times, every, columns[torch.as_tensor(which)]),
            _at_times(times, surface, columns),
        )


def _at_times(
    times: Float[Tensor, " time"], r: Float[Tensor, " row"], columns: Float[Tensor, "row parameter"]
) -> Float[Tensor, "_ coordinate"]:
    place = torch.stack([r.repeat(len(times)), times.repeat_interleave(len(r))], dim=1)
    return torch.cat([place, columns.repeat(len(times), 1)], dim=1)
