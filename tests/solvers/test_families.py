"""Families of shapes: every corner of their spaces is a mesh."""

from itertools import product

import numpy as np
import pytest

from fieldcast.meshes import Case
from fieldcast.solvers.airfoils import around, naca_called
from fieldcast.solvers.elasticity import BODIES, PlaneElasticity
from fieldcast.solvers.families import AIRFOILS, airfoil_family
from fieldcast.solvers.neural_foil import NeuralFoil
from fieldcast.solvers.perforated import perforated_plate
from fieldcast.solvers.wings import WINGS, Planform, wing
from fieldcast.solvers.xfoil import Xfoil


def corners(space, most=32):
    ends = product(*[{r.low, r.high} for r in space.values()])
    return [dict(zip(space, row, strict=True)) for row, _ in zip(ends, range(most), strict=False)]


@pytest.mark.parametrize("name", AIRFOILS)
def test_airfoils_are_closed_curves(name):
    family = AIRFOILS[name]
    for numbers in corners(family.space):
        mesh = family.shape(numbers)
        assert len(around(mesh)) >= len(mesh.points)
        assert np.ptp(mesh.points[:, 0]) == pytest.approx(1.0, abs=0.02)


def test_a_section_solver_has_the_numbers_of_its_family(tmp_path):
    assert list(Xfoil().space)[:3] == ["camber", "position", "thickness"]
    other = Xfoil(family="class_shape")
    case = other.case({k: (r.low + r.high) / 2 for k, r in other.space.items()}, "middle")
    assert set(case.parameters) == set(other.parameters)
    assert case.parameters["alpha"].unit == "deg"
    file = tmp_path / "mine.dat"
    np.savetxt(file, naca_called("2412").points[np.r_[:160, 0]])
    read = NeuralFoil(family=str(file))
    assert set(read.space) == {"alpha", "reynolds", "n_crit"}
    assert len(read.case({"alpha": 1.0, "reynolds": 1e6, "n_crit": 9.0}).mesh.points) == 160
    with pytest.raises(ValueError, match="expected a family of airfoils"):
        airfoil_family("naca6")
    with pytest.raises(ValueError, match="expected a family of airfoils"):
        Xfoil(family="none.dat")


def test_a_wing_has_its_planform():
    section = naca_called("2412", points=60)
    mesh = wing(section, section, Planform(4.0, 0.5, 30.0, 5.0, -3.0), stations=9)
    assert mesh.points[mesh.regions["root"]][:, 1].max() == 0.0
    tip = mesh.points[mesh.regions["tip"]]
    assert (tip[:, 1] == 4.0).all()
    nose, tail = (
        mesh.points[np.intersect1d(mesh.regions["tip"], mesh.regions[k])][0]
        for k in ("leading", "trailing")
    )
    assert np.linalg.norm(tail - nose) == pytest.approx(0.5)
    quarter = nose + 0.25 * (tail - nose)
    expected = [0.25 + 4 * np.tan(np.pi / 6), 4.0, 4 * np.tan(np.radians(5))]
    np.testing.assert_allclose(quarter, expected, atol=1e-9)
    assert np.degrees(np.arctan2(nose[2] - tail[2], tail[0] - nose[0])) == pytest.approx(-3.0)
    # Cells go around outwards: upper ones look up.
    quads = mesh.cells["quad"]
    x = mesh.points[quads]
    normal = np.cross(x[:, 2] - x[:, 0], x[:, 3] - x[:, 1])
    upper = np.isin(quads, mesh.regions["upper"]).all(axis=1)
    middle = np.abs(x[:, :, 0].mean(axis=1) - x[:, :, 0].mean()) < 0.4
    assert (normal[upper & middle, 2] > 0).all()
    with pytest.raises(ValueError, match="expected a positive span"):
        Planform(-1.0)
    with pytest.raises(ValueError, match="as many points each"):
        wing(section, naca_called("0012"), Planform(3.0))


def test_wings_of_the_family_are_whole():
    for numbers in corners(WINGS.space, most=4):
        mesh = WINGS.shape(numbers)
        assert np.isfinite(mesh.points).all()
        assert mesh.points[:, 1].max() == pytest.approx(numbers["span"])


def test_a_perforated_plate_is_the_square_without_its_holes():
    mesh = perforated_plate(0.08, 0.26, size=0.025)
    x = mesh.points[mesh.cells["triangle"]]
    u, v = x[:, 1] - x[:, 0], x[:, 2] - x[:, 0]
    area = 0.5 * (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
    assert area.min() > 0
    sides = len(mesh.regions["holes"]) / 9
    hole = 0.5 * sides * 0.08**2 * np.sin(2 * np.pi / sides)
    assert area.sum() == pytest.approx(1 - 9 * hole)
    with pytest.raises(ValueError, match="holes of radius"):
        perforated_plate(0.13, 0.26)


def test_a_hole_concentrates_stress_as_howland_says():
    """Gross concentration of 3.14 for a hole of a fifth of the width (Howland 1930,
    doi:10.1098/rsta.1930.0002); plane strain has plane stress's stresses in the plane."""
    pytest.importorskip("skfem", reason="pip install 'fieldcast[solvers]'")
    mesh = perforated_plate(0.1, 0.0, holes=1, size=0.012)
    values = {"young": 1e9, "poisson": 0.3, "traction_y": 1.0}
    asked = {k: values.get(k, 0.0) for k in PlaneElasticity.parameters}
    sample = PlaneElasticity().solve(Case(mesh, asked))
    pulled = sample.fields["stress"].values[0, :, 1]
    assert pulled.max() == pytest.approx(3.14, rel=0.06)


@pytest.mark.parametrize("body", ["pipe", "perforated"])
def test_bodies_are_solved(body):
    pytest.importorskip("skfem", reason="pip install 'fieldcast[solvers]'")
    solver = PlaneElasticity(family=body)
    numbers = {k: r.high for k, r in BODIES[body].space.items()}
    sample = solver.solve(solver.case(numbers, body))
    assert float(sample.scalars["max_von_mises"]) > 1e6
    with pytest.raises(ValueError, match="expected a family"):
        PlaneElasticity(family="shell")
