"""Heat conduction in time, in the plane and in space, by linear finite elements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Field, Mesh, Sample, Scalar
from fieldcast.meshes.sample import scalars_of

from .simplices import checked, facets_in, fem_mesh, missing, nodes_in
from .solver import Range, Solver, parameter_values

_STEPS = 8
"""Within each interval of the times that are asked for, at least."""
_FIRST = 2
"""Steps of the implicit Euler method at the start, in halves: they damp what a jump there excites
(Rannacher, doi:10.1007/BF01397555)."""


@dataclass(frozen=True)
class Heat(Solver):
    """rho c dT/dt = div(k grad T) + q, by Crank and Nicolson's method, from `initial` on at the
    times of the case.

    Regions of points: `held` at the temperature `held`, `cooled` with the heat flux h (T - T_a);
    nothing flows through the rest of the surface. `steps` are taken in each interval of time.
    """

    steps: int = _STEPS

    parameters: ClassVar = {
        "conductivity": "W/m/K",
        "heat_capacity": "J/m^3/K",
        "source": "W/m^3",
        "initial": "K",
        "held": "K",
        "transfer": "W/m^2/K",
        "ambient": "K",
    }
    outputs: ClassVar = {"temperature": "K", "mean_temperature": "K", "max_temperature": "K"}
    order: ClassVar[float | None] = 2.0
    space: ClassVar = {
        "conductivity": Range(1.0, 50.0, "W/m/K", logarithmic=True),
        "heat_capacity": Range(1e6, 4e6, "J/m^3/K"),
        "source": Range(0.0, 1e5, "W/m^3"),
        "held": Range(300.0, 400.0, "K"),
    }

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"expected at least one step in each interval, got {self.steps}")

    def available(self) -> str | None:
        return missing()

    def example(self) -> Case:
        values = {"conductivity": 10.0, "heat_capacity": 2e6, "source": 1e4, "held": 350.0}
        return self.case(values, "slab")

    def case(self, values: Mapping[str, float], name: str = "") -> Case:
        asked = {"initial": 300.0, "transfer": 0.0, "ambient": 300.0, **values}
        mesh = slab(0.1, 0.05, 10)
        times = np.linspace(0.0, 600.0, 5)
        numbers = scalars_of({k: asked[k] for k in self.parameters})
        return Case(mesh, numbers, times=times, name=name)

    def solve(self, case: Case) -> Sample:
        values = parameter_values(self, case)
        checked(case, values, ("conductivity", "heat_capacity"))
        if len(case.times) > 1 and not (np.diff(case.times) > 0).all():
            raise ValueError(f"case {case.label}: expected rising times, got {case.times}")
        system = _System.of(case, values)
        found = system.marched(case.times, self.steps)
        size = system.weights / system.weights.sum()
        scalars = {"mean_temperature": found @ size, "max_temperature": found.max(axis=1)}
        temperature = Field(found[:, :, None], "K")
        numbers = {k: Scalar(v, "K") for k, v in scalars.items()}
        return Sample(case, {"temperature": temperature}, numbers)


@dataclass(frozen=True, eq=False)
class _System:
    """C dT/dt + K T = f, with the values of the points that are held."""

    capacity: Any
    conduction: Any
    load: Float[np.ndarray, " point"]
    weights: Float[np.ndarray, " point"]
    start: Float[np.ndarray, " point"]
    held: np.ndarray

    @classmethod
    def of(cls, case: Case, values: Mapping[str, float]) -> _System:
        import skfem
        from skfem.models.poisson import laplace, mass, unit_load

        fem = fem_mesh(case, case.mesh.dim)
        element = skfem.ElementTriP1() if case.mesh.dim == 2 else skfem.ElementTetP1()
        basis = skfem.CellBasis(fem, element)
        conduction = values["conductivity"] * laplace.assemble(basis)
        weights = unit_load.assemble(basis)
        load = values["source"] * weights
        cooled = facets_in(fem, case.mesh, "cooled")
        if len(cooled):
            rim = skfem.FacetBasis(fem, element, facets=cooled)
            conduction = conduction + values["transfer"] * mass.assemble(rim)
            load = load + values["transfer"] * values["ambient"] * unit_load.assemble(rim)
        start = np.full(basis.N, values["initial"])
        held = nodes_in(case.mesh, "held")
        start[held] = values["held"]
        capacity = values["heat_capacity"] * mass.assemble(basis)
        return cls(capacity, conduction, load, weights, start, held)

    def marched(
        self, times: Float[np.ndarray, " time"], steps: int
    ) -> Float[np.ndarray, "time point"]:
        """Temperatures at the times, the first of which is the start."""
        found: list[np.ndarray] = [self.start]
        solvers: dict[tuple[float, float], _Step] = {}
        for number, gap in enumerate(np.diff(times)):
            size, now = round(float(gap) / steps, 12), found[-1]
            for step in range(steps):
                first = number == 0 and step < _FIRST
                key = (round(size, 12), first)
                if key not in solvers:
                    solvers[key] = _Step.of(
                        self, size / 2 if first else size, 1.0 if first else 0.5
                    )
                for _ in range(2 if first else 1):
                    now = solvers[key].taken(now)
            found.append(now)
        return np.stack(found)


@dataclass(frozen=True, eq=False)
class _Step:
    """One step in time, factorised: theta 1 is the implicit Euler method, 1/2 Crank and
    Nicolson's."""

    system: _System
    factors: Any
    right: Any
    free: np.ndarray
    size: float

    @classmethod
    def of(cls, system: _System, size: float, theta: float) -> _Step:
        from scipy.sparse.linalg import splu

        left = (system.capacity + theta * size * system.conduction).tocsc()
        right = (system.capacity - (1 - theta) * size * system.conduction).tocsr()
        free = np.setdiff1d(np.arange(len(system.start)), system.held)
        pinned = left[:, system.held] @ system.start[system.held]
        factors = splu(left[free][:, free])
        return cls(system, factors, (right, pinned), free, size)

    def taken(self, now: Float[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
        """The state after it."""
        right, pinned = self.right
        load = right @ now + self.size * self.system.load - pinned
        after = self.system.start.copy()
        after[self.free] = self.factors.solve(load[self.free])
        return after


def slab(length: float, height: float, steps: int) -> Mesh:
    """A rectangle in triangles, so many steps along its height; regions `held` at the left and
    `cooled` at the right."""
    along = max(round(steps * length / height), 1)
    x, y = np.meshgrid(np.linspace(0, length, along + 1), np.linspace(0, height, steps + 1))
    ids = np.arange(x.size).reshape(x.shape)
    a, b, c, d = ids[:-1, :-1], ids[:-1, 1:], ids[1:, 1:], ids[1:, :-1]
    cells = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], axis=2).reshape(-1, 3)
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    return Mesh(points, {"triangle": cells}, {"held": ids[:, 0], "cooled": ids[:, -1]})
