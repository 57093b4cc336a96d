"""Small deformations of elastic bodies, in the plane and in space, by linear finite elements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Field, Mesh, Sample, Scalar

from .families import Family
from .perforated import perforated_plate
from .simplices import averaged_at_points, checked, facets_in, fem_mesh, missing, nodes_in
from .solver import Range, Solver, SolverFailed, parameter_values

AXES = ("x", "y", "z")


@dataclass(frozen=True)
class Elasticity(Solver):
    """div sigma = 0, sigma = lambda tr(eps) I + 2 mu eps.

    Regions of points: `fixed` (no displacement), `roller_x`, `roller_y`, `roller_z` (none along an
    axis), `pressed` (pressure on the surface), `loaded` (traction along the axes); the rest of
    the surface is free. Any of them may be left out, as long as the body is held.
    """

    dim: ClassVar[int]
    order: ClassVar[float | None] = 2.0

    def available(self) -> str | None:
        return missing()

    def solve(self, case: Case) -> Sample:
        values = parameter_values(self, case)
        checked(case, values, ("young",))
        if not -1.0 < values["poisson"] < 0.5:
            raise ValueError(
                f"case {case.label}: expected a poisson ratio in (-1, 0.5), got {values['poisson']}"
            )
        u = _displacement(case, self.dim, values)
        stress = averaged_at_points(case.mesh, _stresses(case.mesh, u, values))
        mises = _von_mises(stress)
        fields = {
            "displacement": Field.steady(u, "m"),
            "stress": Field.steady(stress, "Pa"),
            "von_mises": Field.steady(mises, "Pa"),
        }
        peaks = {"max_displacement": (np.linalg.norm(u, axis=1).max(), "m")}
        peaks["max_von_mises"] = (mises.max(), "Pa")
        return Sample(
            case, fields, {k: Scalar(np.array([v]), unit) for k, (v, unit) in peaks.items()}
        )


_OUTPUTS = {
    "displacement": "m",
    "stress": "Pa",
    "von_mises": "Pa",
    "max_displacement": "m",
    "max_von_mises": "Pa",
}
_MATERIAL = {"young": "Pa", "poisson": "", "pressure": "Pa"}


_LOADS = {"pressure": Range(1e6, 50e6, "Pa")}
_METALS = {"young": Range(50e9, 250e9, "Pa"), "poisson": Range(0.2, 0.35)}
BODIES: Mapping[str, Family] = {
    "pipe": Family(
        lambda v: pipe_quarter(v["ratio"], 10), {"ratio": Range(1.5, 3.0), **_METALS, **_LOADS}
    ),
    "perforated": Family(
        lambda v: perforated_plate(v["radius"], v["pitch"]),
        {
            "radius": Range(0.05, 0.09, "m"),
            "pitch": Range(0.24, 0.28, "m"),
            **_METALS,
            "traction_y": Range(1e6, 50e6, "Pa"),
        },
    ),
    "shell": Family(
        lambda v: shell_octant(v["ratio"], 5), {"ratio": Range(1.5, 3.0), **_METALS, **_LOADS}
    ),
}
"""A quarter of a pipe pressed inside, a plate with nine holes pulled up, and an eighth of a hollow
sphere."""


@dataclass(frozen=True)
class PlaneElasticity(Elasticity):
    """Plane strain. `stress` has the components xx, yy, zz, xy. Designs are of the `family` pipe or
    perforated."""

    family: str = "pipe"

    dim: ClassVar = 2
    parameters: ClassVar = {**_MATERIAL, "traction_x": "Pa", "traction_y": "Pa"}
    outputs: ClassVar = _OUTPUTS

    def __post_init__(self) -> None:
        if self.family not in ("pipe", "perforated"):
            raise ValueError(f"expected a family, pipe or perforated, got {self.family!r}")

    @property
    def space(self) -> Mapping[str, Range]:
        return BODIES[self.family].space

    def example(self) -> Case:
        values = {"ratio": 2.0, "young": 210e9, "poisson": 0.3, "pressure": 1e7}
        return _case(self, BODIES["pipe"], values, "pipe")

    def case(self, values: Mapping[str, float], name: str = "") -> Case:
        return _case(self, BODIES[self.family], values, name)


@dataclass(frozen=True)
class SolidElasticity(Elasticity):
    """In space. `stress` has the components xx, yy, zz, xy, yz, xz."""

    dim: ClassVar = 3
    parameters: ClassVar = {**PlaneElasticity.parameters, "traction_z": "Pa"}
    outputs: ClassVar = _OUTPUTS
    space: ClassVar = BODIES["shell"].space

    def example(self) -> Case:
        return self.case({"ratio": 2.0, "young": 210e9, "poisson": 0.3, "pressure": 1e7}, "shell")

    def case(self, values: Mapping[str, float], name: str = "") -> Case:
        return _case(self, BODIES["shell"], values, name)


def _case(solver: Elasticity, body: Family, values: Mapping[str, float], name: str) -> Case:
    """Loads that are not told of are none."""
    asked = {k: Scalar(np.array([values.get(k, 0.0)]), u) for k, u in solver.parameters.items()}
    return Case(body.shape(values), asked, name=name)


def _displacement(
    case: Case, dim: int, values: Mapping[str, float]
) -> Float[np.ndarray, "point axis"]:
    import skfem
    from skfem.models.elasticity import lame_parameters, linear_elasticity

    fem = fem_mesh(case, dim)
    scalar = skfem.ElementTriP1() if dim == 2 else skfem.ElementTetP1()
    element = skfem.ElementVector(scalar)
    basis = skfem.CellBasis(fem, element)
    stiffness = linear_elasticity(*lame_parameters(values["young"], values["poisson"])).assemble(
        basis
    )
    load = np.zeros(basis.N)
    traction = [values[f"traction_{axis}"] for axis in AXES[:dim]]

    @skfem.LinearForm
    def pressed(v: Any, w: Any) -> Any:
        return -values["pressure"] * sum(w.n[i] * v[i] for i in range(dim))

    @skfem.LinearForm
    def loaded(v: Any, w: Any) -> Any:
        return sum(traction[i] * v[i] for i in range(dim))

    for region, form in (("pressed", pressed), ("loaded", loaded)):
        facets = facets_in(fem, case.mesh, region)
        if len(facets):
            load += form.assemble(skfem.FacetBasis(fem, element, facets=facets))
    held = _held(case.mesh, dim)
    try:
        found = skfem.solve(*skfem.condense(stiffness, load, D=held))
    except RuntimeError as error:
        raise SolverFailed(f"case {case.label}: {error}") from error
    if not np.isfinite(found).all():
        raise SolverFailed(f"case {case.label}: expected a body that is held, it moves freely")
    return found.reshape(-1, dim)


def _held(mesh: Mesh, dim: int) -> np.ndarray:
    """Freedoms without displacement; dim i + k is that of point i along axis k.

    Raises:
        ValueError: none.
    """
    found = [dim * nodes_in(mesh, "fixed") + k for k in range(dim)]
    found += [dim * nodes_in(mesh, f"roller_{AXES[k]}") + k for k in range(dim)]
    held = np.unique(np.concatenate(found))
    if not len(held):
        raise ValueError("expected a region `fixed`, or rollers, that hold the body, got none")
    return held


def _stresses(
    mesh: Mesh, u: Float[np.ndarray, "point axis"], values: Mapping[str, float]
) -> Float[np.ndarray, "simplex component"]:
    """Of each simplex: xx, yy, zz, xy and, in space, yz, xz [Pa]."""
    simplices, _ = mesh.simplices
    corners = mesh.points[simplices]
    edges, moved = corners[:, 1:] - corners[:, :1], u[simplices][:, 1:] - u[simplices][:, :1]
    slope = np.zeros((len(simplices), 3, 3))
    dim = mesh.dim
    slope[:, :dim, :dim] = np.linalg.solve(edges, moved)
    strain = 0.5 * (slope + slope.swapaxes(1, 2))
    young, nu = values["young"], values["poisson"]
    mu, lam = young / 2 / (1 + nu), young * nu / (1 + nu) / (1 - 2 * nu)
    trace = np.trace(strain, axis1=1, axis2=2)[:, None, None]
    stress = lam * trace * np.eye(3) + 2 * mu * strain
    places = [(0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (0, 2)][: 4 if dim == 2 else 6]
    return np.stack([stress[:, i, j] for i, j in places], axis=1)


def _von_mises(stress: Float[np.ndarray, "point component"]) -> Float[np.ndarray, " point"]:
    """sqrt(((a-b)^2 + (b-c)^2 + (c-a)^2) / 2 + 3 sum of squared shears)."""
    a, b, c, *shears = stress.T
    normal = 0.5 * ((a - b) ** 2 + (b - c) ** 2 + (c - a) ** 2)
    return np.sqrt(normal + 3.0 * sum(s**2 for s in shears))


def pipe_quarter(ratio: float, steps: int) -> Mesh:
    """A quarter of a pipe of inner radius 1 and outer radius `ratio`, in so many steps across;
    pressed inside."""
    around = max(int(np.ceil(np.pi / 2 * 0.5 * (1 + ratio) / (ratio - 1) * steps)), 2)
    r, phi = np.meshgrid(np.linspace(1, ratio, steps + 1), np.linspace(0, np.pi / 2, around + 1))
    points = np.stack([r * np.cos(phi), r * np.sin(phi)], axis=-1).reshape(-1, 2)
    points[np.abs(points) < 1e-14] = 0.0
    ids = np.arange(len(points)).reshape(r.shape)
    a, b, c, d = ids[:-1, :-1], ids[:-1, 1:], ids[1:, 1:], ids[1:, :-1]
    cells = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], axis=2).reshape(-1, 3)
    regions = {"pressed": ids[:, 0], "roller_y": ids[0], "roller_x": ids[-1]}
    return Mesh(points, {"triangle": cells}, {k: np.sort(v) for k, v in regions.items()})


def shell_octant(ratio: float, steps: int) -> Mesh:
    """An eighth of a hollow sphere of inner radius 1 and outer radius `ratio`; pressed inside. Each
    of the three faces of a cube's corner is a sheet of the shell."""
    t = np.linspace(0.0, 1.0, 2 * steps + 1)
    u, v = np.meshgrid(np.tan(np.pi / 4 * t), np.tan(np.pi / 4 * t), indexing="ij")
    sheets = [
        np.stack(part, axis=-1)
        for part in ((np.ones_like(u), u, v), (v, np.ones_like(u), u), (u, v, np.ones_like(u)))
    ]
    radii = np.linspace(1.0, ratio, steps + 1)
    blocks, cells = [], []
    start = 0
    for sheet in sheets:
        unit = sheet / np.linalg.norm(sheet, axis=-1, keepdims=True)
        blocks.append((radii[:, None, None, None] * unit).reshape(-1, 3))
        ids = start + np.arange(len(blocks[-1])).reshape(len(radii), len(t), len(t))
        cells.append(_tetrahedra(ids))
        start += len(blocks[-1])
    points, number = _merged(np.concatenate(blocks))
    radius = np.linalg.norm(points, axis=1)
    regions = {"pressed": np.flatnonzero(radius < 1 + 1e-9)}
    regions |= {f"roller_{a}": np.flatnonzero(points[:, k] < 1e-12) for k, a in enumerate(AXES)}
    return Mesh(points, {"tetra": number[np.concatenate(cells)]}, regions)


def _tetrahedra(ids: np.ndarray) -> np.ndarray:
    """Six in each box, along its diagonal, so that neighbours fit."""
    corner = {
        (i, j, k): ids[i : ids.shape[0] - 1 + i, j : ids.shape[1] - 1 + j, k : ids.shape[2] - 1 + k]
        for i in (0, 1)
        for j in (0, 1)
        for k in (0, 1)
    }
    found = []
    for first in range(3):
        for second in range(3):
            if first == second:
                continue
            way = [(0, 0, 0)]
            for axis in (first, second, 3 - first - second):
                step = list(way[-1])
                step[axis] = 1
                way.append((step[0], step[1], step[2]))
            found.append(np.stack([corner[p].ravel() for p in way], axis=1))
    return np.concatenate(found)


def _merged(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points without twins, and where each has gone."""
    points = np.where(np.abs(points) < 1e-12, 0.0, points)
    _, first, number = np.unique(points.round(9), axis=0, return_index=True, return_inverse=True)
    return points[first], number.ravel()
