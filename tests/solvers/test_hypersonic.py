"""Plane meshes for OpenFOAM, and supersonic flow by the real program where it is installed."""

import shutil
import time
from dataclasses import replace

import numpy as np
import pytest

from fieldcast.conformance.families import square
from fieldcast.meshes import Mesh
from fieldcast.solvers import Limits, SolverFailed
from fieldcast.solvers.central_flow import PATCHES, seconds_of
from fieldcast.solvers.foam import extruded, read_cells, times
from fieldcast.solvers.hypersonic import (
    InviscidFlow,
    ViscousFlow,
    Wall,
    capsule,
    heat_flux,
    semi_ellipse,
)
from fieldcast.solvers.nozzle import NozzleFlow, height, mach_number, nozzle

INSTALLED = pytest.mark.skipif(
    InviscidFlow().available() is not None, reason=f"{InviscidFlow().available()}"
)


def mixed():
    """Two quadrilaterals and two triangles, one of each the wrong way round."""
    points = np.array([[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1], [3, 0], [3, 1.0]])
    cells = {
        "quad": np.array([[0, 1, 4, 3], [1, 4, 5, 2]]),
        "triangle": np.array([[2, 6, 5], [5, 6, 7][::-1]]),
    }
    rim = {"low": [0, 1, 2, 6], "rest": [6, 7, 5, 4, 3, 0]}
    return Mesh(points, cells, {k: np.array(sorted(v)) for k, v in rim.items()})


def area(points, face):
    """The area vector of a plane face."""
    x = points[face]
    return 0.5 * sum(np.cross(x[k] - x[0], x[k + 1] - x[0]) for k in range(1, len(x) - 1))


def test_a_layer_of_cells_is_closed_and_in_openfoams_order():
    mesh = mixed()
    poly = extruded(mesh, ("low", "rest"), 0.5)
    inner = len(poly.neighbour)
    total = np.zeros((4, 3))
    volume = np.zeros(4)
    for k, face in enumerate(poly.faces):
        vector, middle = area(poly.points, face), poly.points[face].mean(axis=0)
        total[poly.owner[k]] += vector
        volume[poly.owner[k]] += vector @ middle / 3
        if k < inner:
            total[poly.neighbour[k]] -= vector
            volume[poly.neighbour[k]] -= vector @ middle / 3
    np.testing.assert_allclose(total, 0.0, atol=1e-14)
    np.testing.assert_allclose(volume, [0.5, 0.5, 0.25, 0.25])
    assert (poly.owner[:inner] < poly.neighbour).all()
    pairs = list(zip(poly.owner[:inner].tolist(), poly.neighbour.tolist(), strict=True))
    assert pairs == sorted(pairs)
    assert dict(poly.patches) == {"low": 3, "rest": 5, "frontAndBack": 8}
    assert inner + sum(poly.patches.values()) == len(poly.faces)


def test_meshes_that_it_cannot_use_are_refused():
    mesh = mixed()
    with pytest.raises(ValueError, match=r"regions \['low', 'top'\] of points, \['top'\]"):
        extruded(mesh, ("low", "top"), 0.1)
    with pytest.raises(ValueError, match="every boundary edge to lie in one region"):
        extruded(mesh, ("low",), 0.1)
    with pytest.raises(ValueError, match="expected a plane mesh"):
        extruded(Mesh(np.zeros((4, 3)), {"tetra": np.arange(4)[None]}), (), 0.1)
    case = semi_ellipse(0.8, 0.8, 3.0, 0.3)
    with pytest.raises(ValueError, match=r"expected a Mach number above 1, got 0\.5"):
        InviscidFlow().solve(case.with_parameters(mach=0.5))
    with pytest.raises(ValueError, match="are missing"):
        InviscidFlow().solve(replace(case, mesh=square(4, 0)))
    with pytest.raises(ValueError, match="expected positive semi-axes"):
        semi_ellipse(-1.0, 0.5, 3.0)


def test_a_program_that_is_not_there_is_named_with_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt-get install openfoam" in InviscidFlow().available()
    with pytest.raises(SolverFailed, match="rhoCentralFoam, which is not there: apt-get install"):
        InviscidFlow().solve(semi_ellipse(0.5, 1.0, 3.0, 0.4))


def test_the_mesh_around_a_semi_ellipse_has_its_regions():
    mesh = semi_ellipse(0.5, 1.0, 6.0, 0.2).mesh
    wall = mesh.points[mesh.regions["wall"]]
    np.testing.assert_allclose((wall[:, 0] / 0.5) ** 2 + wall[:, 1] ** 2, 1.0)
    far = mesh.points[mesh.regions["inflow"]]
    np.testing.assert_allclose((far[:, 0] / 1.7) ** 2 + (far[:, 1] / 3.6) ** 2, 1.0)
    assert (mesh.points[mesh.regions["symmetry"], 1] == 0).all()
    assert (mesh.points[mesh.regions["outflow"], 0] == 0).all()
    poly = extruded(mesh, PATCHES, 0.1)
    assert sum(poly.patches[name] for name in PATCHES) == 2 * (
        len(mesh.regions["wall"]) + len(mesh.regions["symmetry"]) - 2
    )


def test_fields_that_are_not_whole_are_refused(tmp_path):
    path = tmp_path / "p"
    path.write_text("internalField nonuniform List<scalar>\n3\n(\n1\nnan\n2\n)\n;\n")
    with pytest.raises(SolverFailed, match="expected 3 finite values of p"):
        read_cells(path, 3)
    path.write_text("internalField uniform 1;\n")
    with pytest.raises(SolverFailed, match="got one for all"):
        read_cells(path, 3)
    path.write_text("internalField nonuniform List<vector>\n2\n(\n(1 2 3)\n(4 5 6)\n)\n;\n")
    np.testing.assert_array_equal(read_cells(path, 2), [[1, 2, 3], [4, 5, 6]])


@INSTALLED
def test_the_pressure_at_the_nose_is_that_of_rayleighs_formula():
    mach, g = 3.0, 1.4
    found = InviscidFlow().solve(semi_ellipse(0.5, 1.0, mach, 0.12))
    ratio = ((g + 1) ** 2 * mach**2 / (4 * g * mach**2 - 2 * (g - 1))) ** (g / (g - 1)) * (
        (1 - g + 2 * g * mach**2) / (g + 1)
    )
    assert ratio == pytest.approx(12.061, abs=1e-3)
    assert found.fields["p"].values.max() == pytest.approx(ratio, rel=0.04)
    across = found.fields["v"].values[0, :, 0]
    assert across.max() > 0.5
    rho, p = found.fields["rho"].values, found.fields["p"].values
    assert rho.min() > 1.2
    assert p.min() > 0.9


@INSTALLED
def test_a_run_that_takes_too_long_says_so():
    with pytest.raises(SolverFailed, match=r"case semi_ellipse.*to end within 0 s, it did not"):
        InviscidFlow(limits=Limits(seconds=0.01)).solve(semi_ellipse(0.5, 1.0, 3.0, 0.2))


@INSTALLED
def test_a_run_that_was_interrupted_goes_on(tmp_path):
    """After its first look, as if killed in the second."""
    solver = InviscidFlow(scratch=str(tmp_path))
    case = semi_ellipse(0.5, 1.0, 3.0, 0.3)
    whole = solver.solve(case)
    [folder] = tmp_path.iterdir()
    (folder / ".done").write_text("1")
    for state in times(folder):
        if float(state.name) > solver.looks.first:
            shutil.rmtree(state)
    resumed = solver.solve(case)
    for name, field in whole.fields.items():
        np.testing.assert_allclose(resumed.fields[name].values, field.values, rtol=1e-4, atol=1e-4)


@INSTALLED
def test_a_flow_that_is_never_steady_says_so():
    with pytest.raises(SolverFailed, match="expected a steady flow") as found:
        InviscidFlow(steady=1e-12).solve(semi_ellipse(0.5, 1.0, 3.0, 0.5))
    assert found.value.stage == "convergence"


def test_layers_grow_away_from_a_capsule_by_one_ratio():
    case = capsule(0.6, 2.8, 6.0, 1000.0, layers=(12, 20, 0.01))
    points = case.mesh.points.reshape(13, 21, 2)
    np.testing.assert_allclose(
        abs(points[:, 0, 0] / 0.6) ** 2.8 + points[:, 0, 1] ** 2.8, 1.0, rtol=1e-3
    )
    steps = np.linalg.norm(np.diff(points, axis=1), axis=2)
    assert steps[:, 0].min() == pytest.approx(0.01)
    np.testing.assert_allclose(steps[:, 1:] / steps[:, :-1], steps[0, 1] / steps[0, 0])
    sides = np.linalg.norm(np.diff(points[:, 0], axis=0), axis=1)
    np.testing.assert_allclose(sides, sides.mean(), rtol=1e-2)
    with pytest.raises(ValueError, match="an exponent of at least 2"):
        capsule(0.6, 1.5, 6.0, 1000.0)
    with pytest.raises(ValueError, match="expected a positive reynolds, got -5"):
        ViscousFlow().flow(case.with_parameters(reynolds=-5.0))


def test_heat_flows_by_the_slope_at_the_wall():
    case = capsule(0.6, 2.0, 6.0, 1000.0, layers=(12, 20, 0.01))
    wall = Wall.of(case.mesh)
    assert len(wall.cell) == 12
    assert wall.length.sum() == pytest.approx(
        np.linalg.norm(np.diff(case.mesh.points[case.mesh.regions["wall"]], axis=0), axis=1).sum()
    )
    assert wall.height[0] == pytest.approx(0.005, rel=0.05)
    temperature = np.full(case.mesh.n_cells, 99.0)
    temperature[wall.cell] = 2.0 + 3.0 * wall.height
    flux, _ = heat_flux(case, temperature)
    np.testing.assert_allclose(flux, 3.0 * 2.5 * 1.4 * 6.0 / 1000.0 / 0.72)


@INSTALLED
def test_a_viscous_flow_stops_at_the_wall_and_heats_it():
    case = capsule(0.8, 2.0, 5.0, 500.0, layers=(12, 20, 0.02))
    start = time.perf_counter()
    found = ViscousFlow(steady=0.02).solve(case)
    took = time.perf_counter() - start
    assert 0.1 * took < seconds_of(ViscousFlow(), case) < 10 * took
    fields = {k: f.values[0, :, 0] for k, f in found.fields.items()}
    wall = Wall.of(case.mesh)
    speed = np.hypot(fields["u"], fields["v"]).reshape(12, 20)
    assert (speed[1:, 0] < 0.6 * speed[1:, 4]).all()
    assert 2.0 < fields["T"][wall.cell].min() < fields["T"].max() < 1.05 * (1 + 0.2 * 25)
    assert float(found.scalars["heat"]) > 0
    np.testing.assert_allclose(1.4 * fields["p"] / fields["T"], fields["rho"], rtol=1e-2)


def test_a_nozzle_is_a_channel_whose_flow_theory_tells():
    case = nozzle(0.5, 1.3, (20, 5))
    assert case.mesh.n_cells == 100
    x = np.array([0.0, 1.5, 4.0])
    np.testing.assert_allclose(height(x, 0.5, 1.3), [1.0, 0.5, 1.3])
    np.testing.assert_allclose(mach_number(np.array([1.0, 1.6875]), True), [1.0, 2.0], rtol=1e-4)
    np.testing.assert_allclose(mach_number(np.array([1.3398]), False), [0.5], rtol=1e-3)
    with pytest.raises(ValueError, match="a throat lower than the inflow"):
        nozzle(1.2, 1.5)


@INSTALLED
def test_a_nozzle_lets_the_critical_mass_flow_through():
    throat, outlet = 0.6, 1.1
    found = NozzleFlow().solve(nozzle(throat, outlet, (40, 8)))
    assert float(found.scalars["mass_flow"]) == pytest.approx(
        1.4 * (2 / 2.4) ** 3 * throat, rel=0.02
    )
    mach = (found.fields["u"].values / np.sqrt(found.fields["T"].values))[0].reshape(40, 8)
    theory = float(mach_number(np.array([outlet / throat]), True)[0])
    assert mach[-1].mean() == pytest.approx(theory, rel=0.04)
