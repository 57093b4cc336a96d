"""What a lithium-ion cell is made of: two porous electrodes and an electrolyte, with properties
that are functions of the stoichiometry, and the cases of a discharge.

Properties are written with operators alone, so that one formula serves numpy arrays, torch tensors
(float64: the polynomials cancel) and the symbols of PyBaMM.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from .mesh import Mesh
from .sample import Case, Numbers

FARADAY, GAS = 96485.3321, 8.3145
"""F [C/mol] and R [J/mol/K]."""
VOLTAGE = "voltage"
CONCENTRATIONS = ("negative_concentration", "positive_concentration")
"""Of lithium in the particles of the two electrodes [mol/m^3]."""
RATES = ("deg_i0_a", "deg_ds_c")
"""Factors of the negative exchange current density and of the positive diffusivity."""
CURRENT = "current"
"""A series in time [A], positive in discharge, that drives a cell."""
ACCURACY = 1e-7
"""Of expansions."""
CELL = "cell"
"""The part of a case that runs through the cell, from one collector to the other [m]."""
PARTICLES = "particles"
"""The part of a case that lies in both electrodes: x [m] through the cell and radii r / R [-]."""
SALT = {"electrolyte_concentration": "mol/m^3", "electrolyte_potential": "V"}
LOCAL = {"local_concentration": "mol/m^3", "solid_potential": "V"}
"""What models of porous electrodes answer on the two parts, and their units."""


class Curve(ABC):
    """A property as a function of the stoichiometry x = c / c_max, or of another number."""

    @abstractmethod
    def at(self, x: Any) -> Any:
        """The value at arrays, tensors or symbols, wherever they lie."""

    def __call__(self, x: Any) -> Any:
        """The value at arrays or tensors, which are clipped to [0, 1]."""
        return self.at(x.clip(0.0, 1.0))


@dataclass(frozen=True)
class Series(Curve):
    """A polynomial by Horner's rule, coefficients from the highest power down."""

    coefficients: tuple[float, ...]

    def at(self, x: Any) -> Any:
        value = self.coefficients[0] + 0.0 * x
        for coefficient in self.coefficients[1:]:
            value = value * x + coefficient
        return value


@dataclass(frozen=True)
class PowerOfTen(Curve):
    """scale 10^series(x)."""

    scale: float
    series: Series

    def at(self, x: Any) -> Any:
        return self.scale * 10.0 ** self.series.at(x)


@dataclass(frozen=True)
class Root(Curve):
    """scale sqrt(x (1 - x)), the exchange current density of a reaction of first order."""

    scale: float

    def at(self, x: Any) -> Any:
        return self.scale * (x * (1.0 - x)) ** 0.5


@dataclass(frozen=True)
class Expansion(Curve):
    """sum_k c_k T_k(2 (x - low) / (high - low) - 1) by Clenshaw's rule, Chebyshev's polynomials
    T_k."""

    coefficients: tuple[float, ...]
    low: float = 0.0
    high: float = 1.0

    def at(self, x: Any) -> Any:
        z = 2.0 * (x - self.low) / (self.high - self.low) - 1.0
        ahead, last = 0.0 * z, 0.0 * z
        for coefficient in self.coefficients[:0:-1]:
            ahead, last = coefficient + 2.0 * z * ahead - last, ahead
        return self.coefficients[0] + z * ahead - last

    def __call__(self, x: Any) -> Any:
        return self.at(x.clip(self.low, self.high))

    @classmethod
    def of(cls, function: Callable[[Any], Any], low: float = 0.0, high: float = 1.0) -> Expansion:
        """Of a smooth function of numpy arrays, to `ACCURACY` of its largest value.

        Raises:
            ValueError: a function that needs more than 256 terms.
        """
        from numpy.polynomial import Chebyshev

        # Nodes lie inside of the interval: the check, at both ends too, does not.
        asked = np.linspace(low, high, 1001)
        wanted = np.broadcast_to(np.asarray(function(asked), dtype=float), asked.shape)
        for degree in (4, 8, 16, 32, 64, 128, 255):
            found = Chebyshev.interpolate(
                lambda x: np.broadcast_to(function(x), x.shape), degree, [low, high]
            )
            error = np.abs(found(asked) - wanted).max()
            if error <= ACCURACY * np.abs(wanted).max():
                return cls(tuple(found.coef.tolist()), low, high)
        raise ValueError(
            f"expected a property that is smooth in [{low}, {high}], 256 Chebyshev polynomials "
            f"miss it by {error:.1e}"
        )


@dataclass(frozen=True)
class Electrode:
    """A porous electrode: lengths [m], volume fractions [-], `largest` concentration [mol/m^3],
    stoichiometry at the `start`; `diffusivity` [m^2/s], `exchange` current density [A/m^2] at the
    electrolyte's resting concentration (it goes with the root of it) and open-circuit `potential`
    [V] of the stoichiometry; `conductivity` [S/m] of the porous solid, and `efficiency` [-], what
    the pores leave of the electrolyte's transport."""

    thickness: float
    radius: float
    active: float
    porosity: float
    largest: float
    start: float
    diffusivity: Curve
    exchange: Curve
    potential: Curve
    conductivity: float
    efficiency: float

    @property
    def area(self) -> float:
        """3 eps_s / R [1/m], the particles' surface per volume."""
        return 3.0 * self.active / self.radius


@dataclass(frozen=True)
class Electrolyte:
    """A salt solution that rests at `concentration` [mol/m^3] in a separator of a `thickness` [m]
    of a `porosity` and an `efficiency` [-]. Of the concentration in kmol/m^3: `diffusivity`
    [m^2/s], `conductivity` [S/m], `transference` number and `factor`, 1 + d ln f / d ln c."""

    concentration: float
    thickness: float
    porosity: float
    diffusivity: Curve
    conductivity: Curve
    transference: Curve
    factor: Curve
    efficiency: float


@dataclass(frozen=True)
class Cell:
    """Two electrodes, an electrolyte, the `area` of the layers [m^2], the temperature [K] and the
    `current` of a discharge [A], `duration` [s] long."""

    negative: Electrode
    positive: Electrode
    electrolyte: Electrolyte
    area: float
    current: float
    duration: float
    temperature: float = 303.15

    @property
    def thermal(self) -> float:
        """R T / F [V]."""
        return GAS * self.temperature / FARADAY

    @property
    def density(self) -> float:
        """The current density [A/m^2] of the discharge."""
        return self.current / self.area

    @property
    def fluxes(self) -> tuple[float, float]:
        """j = +-I / (A F a L) [mol/m^2/s], out of the particles of each electrode."""
        negative, positive = (
            self.density / (FARADAY * e.area * e.thickness) for e in (self.negative, self.positive)
        )
        return negative, -positive

    def voltage(self, negative: Any, positive: Any, faster: Any) -> Any:
        """V = U_c(x_c) - U_a(x_a) + eta_c - eta_a [V], eta = (2 R T / F) asinh(F j / (2 i0(x))),
        of the stoichiometries at the particles' surfaces (Marquis et al. 2019,
        doi:10.1149/2.0341915jes); the negative exchange current is so many times `faster`."""
        j_a, j_c = (FARADAY * j for j in self.fluxes)
        a, c = self.negative, self.positive
        eta_a = 2.0 * self.thermal * _arcsinh(0.5 * j_a / (faster * a.exchange(negative)))
        eta_c = 2.0 * self.thermal * _arcsinh(0.5 * j_c / c.exchange(positive))
        return c.potential(positive) - a.potential(negative) + eta_c - eta_a


def _arcsinh(x: Any) -> Any:
    """Tensors have a method for it."""
    return np.arcsinh(x) if isinstance(x, np.ndarray) else x.arcsinh()


def particle(points: int = 41) -> Mesh:
    """Radii r / R of a particle [-] from its centre to its surface, closer towards it."""
    return line(np.sin(0.5 * np.pi * np.linspace(0.0, 1.0, points)))


def through(cell: Cell, each: int = 20) -> Mesh:
    """`each` middles of equal layers in each electrode and the separator [m]."""
    layers = [cell.negative.thickness, cell.electrolyte.thickness, cell.positive.thickness]
    inner = (np.arange(each) + 0.5) / each
    starts = np.cumsum([0.0, *layers[:-1]])
    return line(np.concatenate([s + t * inner for s, t in zip(starts, layers, strict=True)]))


def within(cell: Cell, along: int = 8, radii: int = 9) -> Mesh:
    """`along` middles of equal layers of each electrode by `radii` of the particles there."""
    each = (np.arange(along) + 0.5) / along
    start = cell.negative.thickness + cell.electrolyte.thickness
    sides = cell.negative.thickness * each, start + cell.positive.thickness * each
    r, cells = particle(radii).points[:, 0], []
    points = [np.stack(np.meshgrid(x, r, indexing="ij"), axis=-1).reshape(-1, 2) for x in sides]
    for k in (0, 1):
        ids = np.arange(along * radii).reshape(along, radii) + k * along * radii
        corners = ids[:-1, :-1], ids[1:, :-1], ids[1:, 1:], ids[:-1, 1:]
        cells.append(np.stack([c.ravel() for c in corners], axis=1))
    return Mesh(np.concatenate(points), {"quad": np.concatenate(cells)})


def line(x: Float[np.ndarray, " point"]) -> Mesh:
    """Points one after the other."""
    ids = np.arange(len(x))
    return Mesh(x[:, None], {"line": np.stack([ids[:-1], ids[1:]], axis=1)})


def discharge(
    cell: Cell,
    parameters: Numbers,
    times: int | Sequence[float] = 101,
    radii: int = 41,
    along: int = 0,
) -> Case:
    """A discharge of the cell, asked at so many times, or at those given [s]; with `along`, also
    within the particles at so many places along each electrode."""
    asked = np.linspace(0.0, cell.duration, times) if isinstance(times, int) else np.array(times)
    parts = {CELL: through(cell)} | ({PARTICLES: within(cell, along)} if along else {})
    return Case(particle(radii), parameters, parts=parts, times=asked)
