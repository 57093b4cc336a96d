"""Flow through a porous medium in the plane, by linear finite elements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Field, Sample, Scalar
from fieldcast.meshes.sample import scalars_of
from fieldcast.meshes.units import converted

from .heat import slab
from .simplices import averaged_at_points, checked, fem_mesh, missing, nodes_in
from .solver import Range, Solver, SolverFailed, parameter_values

PERMEABILITY = "permeability"
_WAVES = 6
_RATIO = 8.0


@dataclass(frozen=True)
class Darcy(Solver):
    """div(K / mu grad p) = 0, v = -K / mu grad p, of a known field `permeability` K [m^2] on cells
    or points.

    Regions of points: `inlet` and `outlet`, at their pressures; nothing flows through the rest of
    the surface. `flow_rate` is what leaves, per depth.
    """

    parameters: ClassVar = {"viscosity": "Pa s", "inlet": "Pa", "outlet": "Pa"}
    outputs: ClassVar = {"pressure": "Pa", "velocity": "m/s", "flow_rate": "m^2/s"}
    order: ClassVar[float | None] = 2.0
    space: ClassVar = {
        "log10_permeability": Range(-13.0, -11.0),
        "contrast": Range(0.0, 1.0),
        "pattern": Range(0.0, 1000.0),
        "viscosity": Range(1e-3, 1e-3, "Pa s"),
        "inlet": Range(1e5, 1e6, "Pa"),
        "outlet": Range(0.0, 0.0, "Pa"),
    }

    def available(self) -> str | None:
        return missing()

    def example(self) -> Case:
        values = {"log10_permeability": -12.0, "contrast": 0.5, "pattern": 1.0}
        return self.case({**values, "viscosity": 1e-3, "inlet": 1e5, "outlet": 0.0}, "bed")

    def case(self, values: Mapping[str, float], name: str = "") -> Case:
        """A bed of 2 m by 1 m whose permeability waves about its median by a factor of up to
        8^contrast; `pattern` seeds the waves."""
        mesh = slab(2.0, 1.0, 16)
        regions = {"inlet": mesh.regions["held"], "outlet": mesh.regions["cooled"]}
        mesh = replace(mesh, regions=regions)
        rng = np.random.default_rng(int(values["pattern"]))
        ways = rng.normal(size=(_WAVES, 2)) * 2 * np.pi
        phases = rng.uniform(0, 2 * np.pi, _WAVES)
        wave = np.sin(mesh.points @ ways.T + phases).sum(axis=1) / np.sqrt(_WAVES / 2)
        k = 10.0 ** values["log10_permeability"] * _RATIO ** (values["contrast"] * np.tanh(wave))
        numbers = scalars_of({key: values[key] for key in self.parameters})
        return Case(mesh, numbers, {PERMEABILITY: Field.steady(k, "m^2")}, name=name)

    def solve(self, case: Case) -> Sample:
        values = parameter_values(self, case)
        checked(case, values, ("viscosity",))
        mobility = _mobility(case, values["viscosity"])
        pressure, rate = _pressure(case, mobility, values)
        simplices, _ = case.mesh.simplices
        corners, p = case.mesh.points[simplices], pressure[simplices]
        slope = np.linalg.solve(corners[:, 1:] - corners[:, :1], (p[:, 1:] - p[:, :1])[..., None])
        velocity = averaged_at_points(case.mesh, -mobility[:, None] * slope[..., 0])
        fields = {
            "pressure": Field.steady(pressure, "Pa"),
            "velocity": Field.steady(velocity, "m/s"),
        }
        return Sample(case, fields, {"flow_rate": Scalar(np.array([rate]), "m^2/s")})


def _mobility(case: Case, viscosity: float) -> Float[np.ndarray, " simplex"]:
    """K / mu of each simplex [m^2/Pa/s].

    Raises:
        ValueError: no permeability, or some that isn't positive.
    """
    field = case.fields.get(PERMEABILITY)
    if field is None:
        raise ValueError(
            f"case {case.label}: expected a known field {PERMEABILITY!r} [m^2], got "
            f"{sorted(case.fields) or 'none'}"
        )
    values = converted(field.values[0, :, 0], field.unit, "m^2")
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError(f"case {case.label}: expected a positive permeability everywhere")
    simplices, cells = case.mesh.simplices
    # Flow crosses what lies behind each other: the harmonic mean of the corners.
    found = values[cells] if field.on == "cell" else 1.0 / (1.0 / values[simplices]).mean(axis=1)
    return found / viscosity


def _pressure(
    case: Case, mobility: Float[np.ndarray, " simplex"], values: Mapping[str, float]
) -> tuple[Float[np.ndarray, " point"], float]:
    """(pressure, what leaves)."""
    import skfem

    basis = skfem.CellBasis(fem_mesh(case, 2), skfem.ElementTriP1())

    @skfem.BilinearForm
    def conduction(u: Any, v: Any, w: Any) -> Any:
        return w["mobility"] * (u.grad[0] * v.grad[0] + u.grad[1] * v.grad[1])

    at_points = np.broadcast_to(mobility[:, None], (len(mobility), basis.dx.shape[1]))
    matrix = conduction.assemble(basis, mobility=at_points)
    inlet, outlet = (nodes_in(case.mesh, name) for name in ("inlet", "outlet"))
    if not (len(inlet) and len(outlet)):
        raise ValueError(f"case {case.label}: expected regions `inlet` and `outlet` of points")
    start = np.zeros(basis.N)
    start[inlet], start[outlet] = values["inlet"], values["outlet"]
    held = np.union1d(inlet, outlet)
    found = skfem.solve(*skfem.condense(matrix, x=start, D=held))
    if not np.isfinite(found).all():
        raise SolverFailed(f"case {case.label}: expected a finite pressure", "convergence")
    return found, float(-(matrix @ found)[outlet].sum())
