"""Airfoils, and XFOIL against its own published figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fieldcast.meshes import Case, Mesh
from fieldcast.solvers import SolverFailed
from fieldcast.solvers.airfoils import (
    around,
    class_shape,
    class_shapes,
    naca,
    naca_called,
    read_airfoil,
)
from fieldcast.solvers.neural_foil import NeuralFoil, NeuralFoilAtLift
from fieldcast.solvers.xfoil import InviscidXfoil, Xfoil, XfoilAtLift, physical, polar

ASKED = {"reynolds": 1e6, "mach": 0.0, "n_crit": 9.0}


@pytest.fixture(scope="module")
def xfoil() -> Xfoil:
    reason = Xfoil().available()
    if reason:
        pytest.skip(reason)
    return Xfoil()


def area(mesh: Mesh) -> float:
    x, y = mesh.points[around(mesh)].T
    return float(0.5 * (x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


def test_sections_are_those_of_the_reports():
    x, y = naca_called("0012", sharp=False).points.T
    assert np.ptp(y) == pytest.approx(0.12, abs=2e-4)
    assert y[x > 1 - 1e-9].max() == pytest.approx(0.00126, abs=1e-6)
    # Abbott and von Doenhoff's ordinates of NACA 2412, and the largest camber of 23012.
    mesh = naca_called("2412", 400, sharp=False)
    upper = mesh.points[mesh.regions["upper"]]
    upper = upper[upper[:, 0].argsort()]
    assert np.interp(0.3, *upper.T) == pytest.approx(0.0788, abs=2e-4)
    five = naca_called("NACA 23012", 400)
    ids = {k: five.points[five.regions[k]] for k in ("upper", "lower")}
    ends = [np.interp(0.15, *side[side[:, 0].argsort()].T) for side in ids.values()]
    assert 0.5 * sum(ends) == pytest.approx(0.0184, abs=3e-4)


def test_sides_regions_and_order():
    mesh = naca(0.02, 0.4, 0.12)
    ids = around(mesh)
    assert ids[0] == ids[-1] == mesh.regions["trailing"][0]
    assert area(mesh) > 0
    open_ = naca(0.02, 0.4, 0.12, sharp=False)
    assert len(open_.regions["trailing"]) == 2
    for wrong in ({"thickness": 0.0}, {"camber": -0.1}, {"position": 1.2}):
        with pytest.raises(ValueError, match="thickness"):
            naca(**{"camber": 0.02, "position": 0.4, "thickness": 0.12, **wrong})
    with pytest.raises(ValueError, match="four or five digits"):
        naca_called("23112")
    with pytest.raises(ValueError, match="closed curve"):
        around(replace(mesh, regions={}))


def test_class_shapes():
    mesh = class_shape([0.17, 0.17, 0.17], [-0.17, -0.17, -0.17])
    x, y = mesh.points.T
    expected = 0.17 * np.sqrt(x) * (1 - x)
    np.testing.assert_allclose(np.abs(y), expected, atol=1e-12)
    with pytest.raises(ValueError, match="cross"):
        class_shape([0.1, 0.1], [0.2, 0.2])


@pytest.mark.parametrize("order", ["selig", "lednicer"])
def test_files_of_coordinates(order, tmp_path):
    mesh = naca(0.02, 0.4, 0.12, 80)
    curve = mesh.points[around(mesh)]
    nose = int(curve[:, 0].argmin())
    upper, lower = curve[: nose + 1][::-1], curve[nose:]
    rows = curve if order == "selig" else np.concatenate([upper, lower])
    lines = ["NACA 2412", *(f" {x:.6f} {y:.6f}" for x, y in 2.0 * rows)]
    if order == "lednicer":
        lines.insert(1, f"  {len(upper)}.   {len(lower)}.\n")
    (tmp_path / "a.dat").write_text("\n".join(lines))
    found = read_airfoil(tmp_path / "a.dat", 80)
    assert area(found) == pytest.approx(area(mesh), rel=2e-3)
    assert np.ptp(found.points[:, 0]) == pytest.approx(1.0, abs=1e-3)
    (tmp_path / "b.dat").write_text("no numbers")
    with pytest.raises(ValueError, match="rows of x and y"):
        read_airfoil(tmp_path / "b.dat")


def test_the_manual_s_section(xfoil):
    """NACA 2412, Re 1e6, 4 degrees, as XFOIL makes the section itself."""
    mesh = naca_called("2412", sharp=False)
    [found] = polar(xfoil, mesh, [4.0], **ASKED)
    assert not isinstance(found, SolverFailed)
    assert float(found.scalars["cl"]) == pytest.approx(0.7146, rel=0.01)
    assert float(found.scalars["cd"]) == pytest.approx(0.0069, rel=0.03)


def test_pressure_adds_up_to_the_lift():
    if InviscidXfoil().available():
        pytest.skip(str(InviscidXfoil().available()))
    sample = InviscidXfoil().solve(InviscidXfoil().example())
    ids = around(sample.case.mesh)
    curve, cp = sample.case.mesh.points[ids], sample.fields["cp"].values[0, ids, 0]
    ends = np.diff(curve, axis=0)
    middle = 0.5 * (cp[1:] + cp[:-1])[:, None] * np.stack([-ends[:, 1], ends[:, 0]], axis=1)
    force = middle.sum(axis=0)
    alpha = np.radians(4.0)
    lift = force[1] * np.cos(alpha) - force[0] * np.sin(alpha)
    assert lift == pytest.approx(float(sample.scalars["cl"]), rel=0.01)
    # Thin-airfoil theory: 2 pi per radian, thickness adds some.
    slope = polar(InviscidXfoil(), naca(0.0, 0.4, 0.06), [0.0, 2.0], mach=0.0)
    cl = [float(s.scalars["cl"]) for s in slope if not isinstance(s, SolverFailed)]
    assert (cl[1] - cl[0]) / np.radians(2.0) == pytest.approx(2 * np.pi * 1.047, rel=0.01)


def test_what_does_not_converge_says_so(xfoil):
    [found] = polar(xfoil, naca_called("0012"), [40.0], **ASKED)
    assert isinstance(found, SolverFailed)
    assert found.stage == "convergence"


def test_scale_does_not_matter(xfoil):
    case = xfoil.example()
    big = Case(case.mesh.scaled(3.0), case.parameters)
    one, other = (xfoil.solve(c).scalars["cl"].value for c in (case, big))
    np.testing.assert_allclose(one, other, rtol=1e-3)


def test_at_a_lift_it_finds_the_angle(xfoil):
    given = {"reynolds": 1e6, "mach": 0.0, "n_crit": 9.0}
    found = XfoilAtLift().solve(Case(naca_called("2412"), {"cl": 0.6, **given}))
    alpha = float(found.scalars["alpha"].value[0])
    again = xfoil.solve(Case(naca_called("2412"), {"alpha": round(alpha, 3), **given}))
    assert again.scalars["cl"].value[0] == pytest.approx(0.6, abs=2e-3)
    assert again.scalars["cd"].value[0] == pytest.approx(found.scalars["cd"].value[0], rel=0.02)


def test_drag_below_friction_is_no_answer():
    row = [1.0, 0.5, 0.0035, -0.0003, -0.1, 0.7, 0.9]
    assert physical(row) == row
    with pytest.raises(SolverFailed, match="not less than friction"):
        physical([1.0, 0.5, 0.00148, -0.0022, -0.1, 0.7, 0.9])


def test_the_network_finds_the_angle_of_a_lift_too():
    given = {"reynolds": 1e6, "n_crit": 9.0}
    found = NeuralFoilAtLift().solve(Case(naca_called("2412"), {"cl": 0.6, **given}))
    alpha = float(found.scalars["alpha"].value[0])
    again = NeuralFoil().solve(Case(naca_called("2412"), {"alpha": alpha, **given}))
    assert again.scalars["cl"].value[0] == pytest.approx(0.6, abs=1e-4)
    assert again.scalars["cd"].value[0] == pytest.approx(found.scalars["cd"].value[0], rel=1e-6)
    with pytest.raises(SolverFailed, match="a lift of 9"):
        NeuralFoilAtLift().solve(Case(naca_called("2412"), {"cl": 9.0, **given}))


def test_many_sections_have_the_points_of_each():
    upper, lower = np.full((2, 4), 0.2), np.full((2, 4), -0.1)
    upper[1, 2] = 0.25
    every = class_shapes(upper, lower)
    for points, u, low in zip(every, upper.tolist(), lower.tolist(), strict=True):
        np.testing.assert_allclose(points, class_shape(u, low).points, atol=1e-15)
