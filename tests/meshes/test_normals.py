"""Normals of circles and spheres, signed distances of shapes with a formula."""

import numpy as np
import pytest
from shapes import disk, hexes, interval, sphere, torus

from fieldcast.conformance.families import box, ring, square
from fieldcast.meshes import Mesh
from fieldcast.meshes.normals import facet_normals, point_normals, signed_distance
from fieldcast.meshes.topology import boundary


def test_normals_of_a_disk_point_away_from_its_middle():
    mesh = disk(8)
    normals = point_normals(mesh)
    rim = np.unique(boundary(mesh))
    np.testing.assert_allclose(normals[rim], mesh.points[rim], atol=1e-12)
    inner = np.setdiff1d(np.arange(len(mesh.points)), rim)
    np.testing.assert_array_equal(normals[inner], 0.0)


def test_normals_of_a_hole_point_into_it():
    mesh = ring(6, 0, 0.4)
    normals, radius = point_normals(mesh), np.linalg.norm(mesh.points, axis=1)
    radial = (normals * mesh.points).sum(1) / radius
    np.testing.assert_allclose(radial[np.isclose(radius, 1.0)], 1.0, rtol=1e-12)
    np.testing.assert_allclose(radial[np.isclose(radius, 0.4)], -1.0, rtol=1e-12)


@pytest.mark.parametrize("refinements", [1, 2, 3])
def test_normals_of_a_sphere_converge(refinements):
    mesh = sphere(refinements)
    error = np.abs(point_normals(mesh) - mesh.points).max()
    assert error < 0.25 * 0.5**refinements


def test_normals_of_a_turned_surface_point_inwards():
    mesh = sphere(2)
    turned = Mesh(mesh.points, {"triangle": mesh.cells["triangle"][:, ::-1]})
    np.testing.assert_allclose(point_normals(turned), -point_normals(mesh), atol=1e-14)


@pytest.mark.parametrize("mesh", [box(4, 0), hexes(4)], ids=["tets", "hexes"])
def test_normals_of_a_box(mesh):
    normals = point_normals(mesh)
    middle = (np.abs(mesh.points - 0.5) < 0.49).sum(1) == 2
    for axis in range(3):
        for side in (0.0, 1.0):
            on = middle & (mesh.points[:, axis] == side)
            expected = np.zeros(3)
            expected[axis] = 2 * side - 1
            np.testing.assert_allclose(normals[on], np.tile(expected, (on.sum(), 1)), atol=1e-12)


def test_facet_normals_are_as_long_as_facets_are_large():
    points = np.array([[0.0, 0.0], [3.0, 4.0]])
    np.testing.assert_allclose(facet_normals(points, np.array([[0, 1]])), [[4.0, -3.0]])
    corners = np.array([[0.0, 0, 0], [2.0, 0, 0], [0, 3.0, 0]])
    np.testing.assert_allclose(facet_normals(corners, np.array([[0, 1, 2]])), [[0, 0, 6.0]])
    with pytest.raises(ValueError, match="facets of 2 corners in 3"):
        facet_normals(corners, np.array([[0, 1]]))


def sample(dim, count=600):
    return np.random.default_rng(0).uniform(-1.6, 1.6, (count, dim))


def test_distance_of_a_disk():
    """|x| - 1, up to the sagitta of its polygon."""
    mesh = disk(20)
    x = sample(2)
    exact = np.linalg.norm(x, axis=1) - 1.0
    np.testing.assert_allclose(signed_distance(mesh, x), exact, atol=1 - np.cos(np.pi / 120))


def test_distance_of_a_ring_is_positive_in_its_hole():
    mesh = ring(12, 0, 0.4)
    x = sample(2)
    r = np.linalg.norm(x, axis=1)
    np.testing.assert_allclose(signed_distance(mesh, x), np.maximum(r - 1, 0.4 - r), atol=2e-3)


def box_distance(x):
    """To [0, 1]^d (Quilez)."""
    q = np.abs(x - 0.5) - 0.5
    outside = np.linalg.norm(np.maximum(q, 0.0), axis=1)
    return outside + np.minimum(q.max(axis=1), 0.0)


@pytest.mark.parametrize(
    "mesh", [square(7, 0), box(4, 0), hexes(4)], ids=["square", "tets", "hexes"]
)
def test_distance_of_a_box_is_exact(mesh):
    """Corners and edges included, where normals of single facets would give the wrong sign."""
    x = sample(mesh.dim)
    np.testing.assert_allclose(signed_distance(mesh, x), box_distance(x), atol=1e-12)


def test_distance_of_an_acute_corner_has_the_right_sign():
    mesh = Mesh(np.array([[0.0, 0.0], [10.0, -0.5], [10.0, 0.5]]), {"triangle": np.arange(3)[None]})
    found = signed_distance(mesh, np.array([[-1.0, 0.3], [-1.0, -0.3], [-0.1, 0.0], [5.0, 0.0]]))
    expected = [np.hypot(1, 0.3), np.hypot(1, 0.3), 0.1, -5.0 * 0.5 / np.hypot(10, 0.5)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_distance_of_a_ball():
    """A box of tetrahedra blown up to a ball: radius 1 up to the sagitta."""
    mesh = box(9, 0)
    y = 2 * mesh.points - 1
    size = np.abs(y).max(axis=1, keepdims=True)
    ball = mesh.moved(y * size / np.maximum(np.linalg.norm(y, axis=1, keepdims=True), 1e-300))
    x = sample(3, 300)
    exact = np.linalg.norm(x, axis=1) - 1.0
    np.testing.assert_allclose(signed_distance(ball, x), exact, atol=0.04)


@pytest.mark.parametrize("mesh", [sphere(1), torus(), interval(5)], ids=["sphere", "torus", "line"])
def test_what_does_not_fill_its_space_is_refused(mesh):
    with pytest.raises(ValueError, match="expected cells that fill a space of 2 or 3 dimensions"):
        signed_distance(mesh, np.zeros((1, mesh.dim)))
