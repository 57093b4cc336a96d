"""The mass matrix integrates products of linear functions exactly."""

import numpy as np
import pytest
from shapes import hexes, interval, quads, scattered, sphere, torus

from fieldcast.conformance.families import box, square
from fieldcast.meshes import Mesh
from fieldcast.meshes.mass import mass_matrix

UNIT = {
    "lines": interval(9),
    "triangles": square(7, 0),
    "scattered": scattered(60, 0),
    "quads": quads(6),
    "tets": box(4, 0),
    "hexes": hexes(4),
}
A, B = np.array([1.0, -0.5, 0.3]), np.array([0.2, 2.0, -1.0])


@pytest.mark.parametrize("mesh", UNIT.values(), ids=list(UNIT))
def test_integrals_over_the_unit_box(mesh):
    """int 1 = 1, int (a.x) = sum(a) / 2, int (a.x)(b.x) = sum_ij a_i b_j (1/4 + delta_ij / 12)."""
    m, d = mass_matrix(mesh), mesh.dim
    one, a, b = np.ones(len(mesh.points)), A[:d], B[:d]
    u, v = mesh.points @ a, mesh.points @ b
    assert m.sum() == pytest.approx(1.0, rel=1e-13)
    assert one @ (m @ u) == pytest.approx(a.sum() / 2, rel=1e-12)
    exact = a @ (np.full((d, d), 0.25) + np.eye(d) / 12) @ b
    assert u @ (m @ v) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("mesh", UNIT.values(), ids=list(UNIT))
def test_symmetric_and_positive_definite(mesh):
    m = mass_matrix(mesh).toarray()
    np.testing.assert_allclose(m, m.T, rtol=1e-15)
    assert np.linalg.eigvalsh(m)[0] > 0


def test_scales_with_the_measure():
    for mesh in (square(5, 0), box(4, 0)):
        expected = 2.0**mesh.dim * mass_matrix(mesh).toarray()
        np.testing.assert_allclose(mass_matrix(mesh.scaled(2.0)).toarray(), expected, rtol=1e-13)


def test_surfaces_in_space_measure_their_area():
    fine = mass_matrix(sphere(4)).sum()
    assert fine == pytest.approx(4 * np.pi, rel=5e-3)
    assert mass_matrix(torus(64, 48)).sum() == pytest.approx(4 * np.pi**2 * 0.3, rel=1e-2)


def test_orientation_does_not_matter():
    mesh = square(5, 0)
    turned = Mesh(mesh.points, {"triangle": mesh.cells["triangle"][:, ::-1]})
    assert abs(mass_matrix(turned) - mass_matrix(mesh)).max() < 1e-16


def test_points_without_cells_weigh_nothing():
    mesh = square(4, 0)
    more = Mesh(np.vstack([mesh.points, [[5.0, 5.0]]]), mesh.cells)
    m = mass_matrix(more).toarray()
    assert (m[-1] == 0).all()
    assert m.sum() == pytest.approx(1.0, rel=1e-13)
