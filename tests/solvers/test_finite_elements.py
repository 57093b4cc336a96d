"""Elasticity, heat and Darcy flow against what is known exactly, and their orders."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fieldcast.meshes import Case, Field, Scalar
from fieldcast.meshes.topology import boundary
from fieldcast.solvers.darcy import Darcy
from fieldcast.solvers.elasticity import (
    PlaneElasticity,
    SolidElasticity,
    pipe_quarter,
    shell_octant,
)
from fieldcast.solvers.heat import Heat, slab

pytest.importorskip("skfem", reason="pip install 'fieldcast[solvers]'")
YOUNG, NU, PRESSURE = 210e9, 0.3, 1e7
INNER, OUTER = 1.0, 2.0


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x))))


def observed(errors: list[float]) -> float:
    return float(np.log2(errors[-2] / errors[-1]))


def pipe_error(steps: int) -> float:
    """Lame's pipe in plane strain, relative."""
    case = replace(PlaneElasticity().example(), mesh=pipe_quarter(OUTER, steps))
    u = PlaneElasticity().solve(case).fields["displacement"].values[0]
    r = np.linalg.norm(case.mesh.points, axis=1)
    share = PRESSURE * INNER**2 / (YOUNG * (OUTER**2 - INNER**2)) * (1 + NU)
    exact = share * ((1 - 2 * NU) * r + OUTER**2 / r)
    return rms(u - (exact / r)[:, None] * case.mesh.points) / rms(exact)


def shell_error(steps: int) -> float:
    """Lame's hollow sphere, relative."""
    case = replace(SolidElasticity().example(), mesh=shell_octant(OUTER, steps))
    u = SolidElasticity().solve(case).fields["displacement"].values[0]
    r = np.linalg.norm(case.mesh.points, axis=1)
    share = PRESSURE * INNER**3 / (YOUNG * (OUTER**3 - INNER**3))
    exact = share * ((1 - 2 * NU) * r + (1 + NU) * OUTER**3 / (2 * r**2))
    return rms(u - (exact / r)[:, None] * case.mesh.points) / rms(exact)


def test_a_pipe_under_pressure():
    errors = [pipe_error(n) for n in (8, 16, 32)]
    assert errors[-1] < 1e-3
    assert observed(errors) == pytest.approx(PlaneElasticity.order, abs=0.2)


def test_a_hollow_sphere_under_pressure():
    errors = [shell_error(n) for n in (4, 8)]
    assert errors[-1] < 0.03
    assert observed(errors) == pytest.approx(SolidElasticity.order, abs=0.4)


def test_sheets_of_the_shell_fit():
    mesh = shell_octant(2.0, 3)
    facets = boundary(mesh)
    corners = mesh.points[facets]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = 0.5 * np.linalg.norm(across, axis=1).sum()
    exact = 3 * np.pi / 4 * (4 - 1) + np.pi / 2 * (4 + 1)
    assert area == pytest.approx(exact, rel=0.02)


def test_pulled_bar_is_exact():
    mesh = slab(2.0, 1.0, 4)
    x, y = mesh.points.T
    regions = {
        "roller_x": np.flatnonzero(x == 0),
        "roller_y": np.flatnonzero(y == 0),
        "loaded": np.flatnonzero(x == 2.0),
    }
    values = {"young": 1e9, "poisson": 0.25, "pressure": 0.0, "traction_x": 1e6, "traction_y": 0.0}
    sample = PlaneElasticity().solve(Case(replace(mesh, regions=regions), values))
    u = sample.fields["displacement"].values[0]
    np.testing.assert_allclose(u[:, 0], 1e-3 * (1 - 0.25**2) * x, rtol=1e-9, atol=1e-15)
    stress = sample.fields["stress"].values[0]
    np.testing.assert_allclose(stress, np.tile([1e6, 0, 0.25e6, 0], (len(x), 1)), atol=1e-3)


def test_a_body_that_is_not_held_is_refused():
    case = PlaneElasticity().example()
    with pytest.raises(ValueError, match="hold the body"):
        PlaneElasticity().solve(replace(case, mesh=replace(case.mesh, regions={})))
    with pytest.raises(ValueError, match="dimension"):
        PlaneElasticity().solve(replace(case, mesh=shell_octant(2.0, 2)))


def slab_temperature(x: np.ndarray, t: float) -> np.ndarray:
    """Of a slab of length 1 and diffusivity 1, insulated at x = 1, at 1 K above its start at 0."""
    k = np.arange(200) + 0.5
    waves = np.sin(np.pi * np.outer(x, k)) * np.exp(-((np.pi * k) ** 2) * t)
    return 1.0 - 2.0 / np.pi * (waves / k).sum(axis=1)


def heat_error(steps: int, interval: int) -> float:
    mesh = slab(1.0, 0.1, steps)
    values = {"conductivity": 1.0, "heat_capacity": 1.0, "source": 0.0, "initial": 0.0}
    values |= {"held": 1.0, "transfer": 0.0, "ambient": 0.0}
    times = np.array([0.0, 0.1, 0.2])
    sample = Heat(steps=interval).solve(Case(mesh, values, times=times))
    found = sample.fields["temperature"].values[-1, :, 0]
    return rms(found - slab_temperature(mesh.points[:, 0], 0.2))


def test_a_slab_heats_up():
    errors = [heat_error(n, 4 * n) for n in (1, 2, 4)]
    assert errors[-1] < 1e-4
    assert observed(errors) == pytest.approx(Heat.order, abs=0.4)


def test_a_cooled_slab_settles():
    """T = T_held + x / l (T_a - T_held) Bi / (1 + Bi)."""
    mesh = slab(0.1, 0.05, 4)
    values = {"conductivity": 2.0, "heat_capacity": 1e6, "source": 0.0, "initial": 300.0}
    values |= {"held": 400.0, "transfer": 40.0, "ambient": 300.0}
    times = np.array([0.0, 5e4, 1e5])
    found = Heat().solve(Case(mesh, values, times=times)).fields["temperature"].values[-1, :, 0]
    biot = 40.0 * 0.1 / 2.0
    exact = 400.0 - 100.0 * biot / (1 + biot) * mesh.points[:, 0] / 0.1
    np.testing.assert_allclose(found, exact, atol=1e-3)


def bed(permeability: np.ndarray, on: str = "point") -> Case:
    mesh = slab(2.0, 1.0, 8)
    named = {"inlet": mesh.regions["held"], "outlet": mesh.regions["cooled"]}
    values = {"viscosity": 2e-3, "inlet": 1e5, "outlet": 0.0}
    field = Field.steady(permeability, "m^2", on)
    return Case(replace(mesh, regions=named), values, {"permeability": field})


def test_a_uniform_bed_is_exact():
    mesh = slab(2.0, 1.0, 8)
    sample = Darcy().solve(bed(np.full(len(mesh.points), 1e-12)))
    pressure = sample.fields["pressure"].values[0, :, 0]
    np.testing.assert_allclose(pressure, 1e5 * (1 - mesh.points[:, 0] / 2), atol=1e-5)
    speed = 1e-12 / 2e-3 * 1e5 / 2
    np.testing.assert_allclose(sample.fields["velocity"].values[0, :, 0], speed)
    assert float(sample.scalars["flow_rate"]) == pytest.approx(speed)


def test_layers_behind_each_other_resist_in_series():
    mesh = slab(2.0, 1.0, 8)
    middle = mesh.points[mesh.cells["triangle"]].mean(axis=1)[:, 0]
    k = np.where(middle < 1.0, 1e-12, 1e-13)
    sample = Darcy().solve(bed(k, "cell"))
    resistance = 2e-3 * (1 / 1e-12 + 1 / 1e-13)
    assert float(sample.scalars["flow_rate"]) == pytest.approx(1e5 / resistance)


def test_a_bed_needs_a_positive_permeability():
    case = bed(np.full(len(slab(2.0, 1.0, 8).points), 1e-12))
    with pytest.raises(ValueError, match="permeability"):
        Darcy().solve(replace(case, fields={}))
    still = {**case.parameters, "viscosity": Scalar(np.zeros(1))}
    with pytest.raises(ValueError, match=r"positive .*viscosity"):
        Darcy().solve(replace(case, parameters=still))
