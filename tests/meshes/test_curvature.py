"""Curvature, metric and connection against formulas."""

import numpy as np
import pytest

from fieldcast.meshes import Mesh
from fieldcast.meshes.curvature import chart_geometry, curvature

AXES = np.array([1.3, 1.0, 0.7])


def ellipsoid(halvings=4):
    """An icosahedron, halved and led onto the ellipsoid."""
    pyvista = pytest.importorskip("pyvista")
    sphere = pyvista.Icosphere(nsub=halvings)
    unit = np.asarray(sphere.points, dtype=float)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return Mesh(unit * AXES, {"triangle": sphere.regular_faces.astype(np.int64)})


def of_ellipsoid(points):
    """Mean and Gaussian curvature (do Carmo, 3.3)."""
    height = 1.0 / np.linalg.norm(points / AXES**2, axis=1)
    product = np.prod(AXES) ** 2
    mean = height**3 * ((AXES**2).sum() - (points**2).sum(axis=1)) / (2.0 * product)
    return mean, height**4 / product


def test_ellipsoid_within_one_percent_everywhere():
    pytest.importorskip("igl")
    mesh = ellipsoid(5)
    found = curvature(mesh)
    mean, gaussian = of_ellipsoid(mesh.points)
    assert found.known.all()
    np.testing.assert_allclose(found.mean, mean, rtol=0.01)
    np.testing.assert_allclose(found.gaussian, gaussian, rtol=0.01)
    assert ((found.normal * mesh.points).sum(axis=1) > 0).all()
    assert (found.principal[:, 0] >= found.principal[:, 1]).all()


def test_turned_inside_out_it_is_concave_and_sizes_scale():
    pytest.importorskip("igl")
    mesh = ellipsoid(3)
    inside = Mesh(mesh.points, {"triangle": mesh.cells["triangle"][:, ::-1]})
    own = curvature(mesh)
    np.testing.assert_allclose(curvature(inside).mean, -own.mean, rtol=1e-6)
    np.testing.assert_allclose(curvature(inside).gaussian, own.gaussian, rtol=1e-6)
    np.testing.assert_allclose(curvature(mesh.scaled(1e-3)).mean, 1e3 * own.mean, rtol=1e-6)


def test_nothing_is_told_on_rims():
    pytest.importorskip("igl")
    n = 9
    x, y = np.meshgrid(np.linspace(-0.4, 0.4, n), np.linspace(-0.4, 0.4, n), indexing="ij")
    points = np.stack([x, y, np.sqrt(1.0 - x**2 - y**2)], axis=-1).reshape(-1, 3)
    ids = np.arange(n * n).reshape(n, n)
    a, b, c, d = (p.ravel() for p in (ids[:-1, :-1], ids[1:, :-1], ids[1:, 1:], ids[:-1, 1:]))
    mesh = Mesh(
        points, {"triangle": np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])}
    )
    found = curvature(mesh)
    inner = np.zeros((n, n), dtype=bool)
    inner[1:-1, 1:-1] = True
    np.testing.assert_array_equal(found.known, inner.ravel())
    assert (found.mean[~found.known] == 0).all()
    np.testing.assert_allclose(found.mean[found.known], 1.0, rtol=0.02)


def circle(n=60, radius=2.0):
    angle = 2 * np.pi * np.arange(n) / n
    points = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return Mesh(points, {"line": np.stack([np.arange(n), (np.arange(n) + 1) % n], axis=1)})


def test_a_circle_is_told_exactly_and_boundaries_of_what_fills_the_plane_too():
    np.testing.assert_allclose(curvature(circle()).mean, 0.5, rtol=1e-10)
    n = 40
    angle = 2 * np.pi * np.arange(n) / n
    rim = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    fan = np.stack([np.full(n, n), np.arange(n), (np.arange(n) + 1) % n], axis=1)
    found = curvature(Mesh(np.vstack([rim, [[0.0, 0.0]]]), {"triangle": fan}))
    np.testing.assert_allclose(found.mean[:-1], 1.0, rtol=1e-10)
    assert not found.known[-1]


def test_points_and_lines_that_cannot_have_any_are_refused():
    mesh = Mesh(np.eye(3), {"line": np.array([[0, 1], [1, 2]])})
    with pytest.raises(ValueError, match="curve in the plane, a surface in space"):
        curvature(mesh)


def sphere_chart(n=50):
    """A part of the unit sphere by colatitude and longitude."""
    u, v = np.meshgrid(np.linspace(0.7, 2.2, n), np.linspace(0, 1.5, n), indexing="ij")
    u, v = u.ravel(), v.ravel()
    points = np.stack([np.sin(u) * np.cos(v), np.sin(u) * np.sin(v), np.cos(u)], axis=1)
    ids = np.arange(n * n).reshape(n, n)
    quads = np.stack([ids[:-1, :-1], ids[1:, :-1], ids[1:, 1:], ids[:-1, 1:]], axis=-1)
    return Mesh(points, {"quad": quads.reshape(-1, 4)}), np.stack([u, v], axis=1), ids[3:-3, 3:-3]


def test_metric_and_connection_of_a_sphere():
    mesh, chart, inner = sphere_chart()
    found, inside = chart_geometry(mesh, chart), inner.ravel()
    u = chart[inside, 0]
    metric = np.stack([np.ones_like(u), np.zeros_like(u), np.sin(u) ** 2], axis=1)
    np.testing.assert_allclose(found.metric[inside], metric, atol=2e-3)
    zero = np.zeros_like(u)
    symbols = [zero, zero, -np.sin(u) * np.cos(u), zero, np.cos(u) / np.sin(u), zero]
    np.testing.assert_allclose(found.christoffel[inside], np.stack(symbols, axis=1), atol=0.015)
    np.testing.assert_allclose(found.gaussian[inside], 1.0, rtol=0.01)
    np.testing.assert_allclose(found.mean[inside], 1.0, rtol=0.01)


def test_chart_of_a_curve():
    mesh = circle(80)
    turn = 2 * np.pi * np.arange(80) / 80
    found = chart_geometry(mesh, turn[:, None], 6)
    inside = slice(5, -5)
    np.testing.assert_allclose(found.metric[inside, 0], 4.0, rtol=0.01)
    np.testing.assert_allclose(found.christoffel[inside, 0], 0.0, atol=0.01)
    np.testing.assert_allclose(found.mean[inside], 0.5, rtol=0.01)
    with pytest.raises(ValueError, match="chart of 1 coordinates"):
        chart_geometry(mesh, np.zeros((80, 2)))
