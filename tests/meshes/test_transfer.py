"""Interpolation between meshes: exact where it can be, located as brute force does, clamped
outside."""

import numpy as np
import pytest
from scipy.spatial import cKDTree
from shapes import disk, hexes, interval, quads, scattered, sphere, torus

from fieldcast.conformance.families import box, ring, square
from fieldcast.meshes import Mesh, transfer
from fieldcast.meshes.topology import boundary, oriented, simplices
from fieldcast.meshes.transfer import Interpolant, closest_on_facets

SLOPE = np.array([1.3, -0.7, 0.4])
FILLED = {
    "lines": interval(9),
    "triangles": square(7, 0),
    "quads": quads(6),
    "tets": box(4, 0),
    "hexes": hexes(4),
}


def linear(x):
    return 2.0 + x @ SLOPE[: x.shape[1]]


def brute_force(mesh, x):
    """The largest least barycentric weight of each point over all simplices."""
    cells = oriented(mesh.points, simplices(mesh)[0])
    first = mesh.points[cells[:, 0]]
    edges = (mesh.points[cells[:, 1:]] - first[:, None]).swapaxes(1, 2)
    inner = np.einsum("sij,psj->psi", np.linalg.inv(edges), x[:, None] - first)
    return np.minimum(inner.min(-1), 1.0 - inner.sum(-1)).max(1)


@pytest.mark.parametrize("mesh", FILLED.values(), ids=list(FILLED))
def test_exact_for_linear_fields_inside(mesh):
    x = np.random.default_rng(1).uniform(0, 1, (400, mesh.dim))
    found = Interpolant(mesh).to(x)
    assert not found.clamped.any()
    assert (found.distance == 0).all()
    np.testing.assert_allclose(found.operator @ linear(mesh.points), linear(x), rtol=1e-12)


@pytest.mark.parametrize("mesh", FILLED.values(), ids=list(FILLED))
def test_rows_are_weights(mesh):
    """They add up to 1 and none is negative, inside and out: no value beyond those around."""
    x = np.random.default_rng(2).uniform(-0.5, 1.5, (300, mesh.dim))
    operator = Interpolant(mesh).to(x).operator
    np.testing.assert_allclose(operator.sum(axis=1), 1.0, rtol=1e-12)
    assert operator.data.min() >= -1e-9


@pytest.mark.parametrize("mesh", FILLED.values(), ids=list(FILLED))
def test_nodes_keep_their_values(mesh):
    values = np.random.default_rng(3).normal(size=len(mesh.points))
    np.testing.assert_allclose(
        Interpolant(mesh).to(mesh.points).operator @ values, values, atol=1e-9
    )


@pytest.mark.parametrize("mesh", FILLED.values(), ids=list(FILLED))
def test_outside_takes_the_nearest_boundary_point(mesh):
    """All fill a unit box: the nearest point is the clipped one."""
    x = np.random.default_rng(4).uniform(-0.6, 1.6, (300, mesh.dim))
    nearest = x.clip(0.0, 1.0)
    outside = (x != nearest).any(axis=1)
    found = Interpolant(mesh).to(x)
    np.testing.assert_array_equal(found.clamped, outside)
    np.testing.assert_allclose(found.operator @ linear(mesh.points), linear(nearest), rtol=1e-9)
    expected = np.linalg.norm(x - nearest, axis=1)
    np.testing.assert_allclose(found.distance, expected, atol=1e-12)


def test_quads_and_hexes_carry_bilinear_fields_of_their_own_coordinates():
    """On parallelepipeds the isoparametric map is affine: products of coordinates are exact."""
    for mesh in (quads(5, jitter=0.0), hexes(4, jitter=0.0)):
        x = np.random.default_rng(5).uniform(0, 1, (200, mesh.dim))
        found = Interpolant(mesh).to(x).operator @ mesh.points.prod(axis=1)
        np.testing.assert_allclose(found, x.prod(axis=1), atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("stretch", [1.0, 1e3, 1e-4])
def test_located_as_brute_force_does_in_anisotropic_cells(seed, stretch):
    mesh = scattered(200, seed, stretch)
    x = np.random.default_rng(seed).uniform(-0.05, 1.05, (500, 2)) * [stretch, 1.0]
    _, inside = Interpolant(mesh).locate(x)
    np.testing.assert_array_equal(inside, brute_force(mesh, x) >= -1e-10)
    values = linear(mesh.points)
    moved = Interpolant(mesh).to(x)
    size = np.abs(values).max()
    error = (moved.operator @ values - linear(x))[inside]
    np.testing.assert_allclose(error, 0.0, atol=1e-10 * size)


def horseshoe(n=40):
    """A thin bent strip whose ends nearly touch."""
    angle = np.linspace(0.05, 2 * np.pi - 0.05, 6 * n)
    radius = np.linspace(0.9, 1.0, 4)
    points = np.stack(
        [radius[None] * np.cos(angle)[:, None], radius[None] * np.sin(angle)[:, None]], -1
    ).reshape(-1, 2)
    ids = np.arange(len(points)).reshape(len(angle), 4)
    a, b, c, d = (v.ravel() for v in (ids[:-1, :-1], ids[:-1, 1:], ids[1:, 1:], ids[1:, :-1]))
    return Mesh(points, {"triangle": np.vstack([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])})


def angle():
    """The unit square without its upper right quarter."""
    mesh = square(13, 0, 0.0)
    cells = mesh.cells["triangle"]
    return Mesh(mesh.points, {"triangle": cells[(mesh.points[cells].mean(1) < 0.5).any(1)]})


CONCAVE = {"ring": ring(6, 0, 0.3), "horseshoe": horseshoe(), "angle": angle()}


@pytest.mark.parametrize("mesh", CONCAVE.values(), ids=list(CONCAVE))
def test_located_as_brute_force_does_in_concave_domains(mesh):
    used = mesh.points[np.unique(mesh.cells["triangle"])]
    low, high = used.min(0) - 0.1, used.max(0) + 0.1
    x = np.random.default_rng(6).uniform(low, high, (1500, 2))
    _, inside = Interpolant(mesh).locate(x)
    np.testing.assert_array_equal(inside, brute_force(mesh, x) >= -1e-10)
    assert inside.any()
    assert not inside.all()


@pytest.mark.parametrize(
    "mesh", [square(6, 0), box(4, 0), ring(5, 0, 0.4)], ids=["2-D", "3-D", "ring"]
)
def test_closest_on_facets_as_brute_force_does(mesh):
    x = np.random.default_rng(7).uniform(-1.5, 1.5, (200, mesh.dim))
    faces = boundary(mesh)
    corners, weights, distance = closest_on_facets(mesh.points, faces, x)
    at = np.einsum("pc,pcd->pd", weights, mesh.points[corners])
    np.testing.assert_allclose(np.linalg.norm(at - x, axis=1), distance, rtol=1e-12)
    # Many points of every facet; none is closer.
    share = np.random.default_rng(8).dirichlet(np.full(mesh.dim, 0.6), 300)
    cloud = np.einsum("sc,fcd->sfd", share, mesh.points[faces]).reshape(-1, mesh.dim)
    sampled = cKDTree(np.vstack([cloud, mesh.points[faces].reshape(-1, mesh.dim)])).query(x)[0]
    assert (distance <= sampled + 1e-12).all()
    assert (sampled - distance).max() < 0.1


def test_long_facets_between_short_ones_are_found():
    """A long facet whose centre is far is the closest all the same."""
    short = np.stack([np.linspace(0, 1, 101), np.full(101, 0.2)], axis=1)
    points = np.vstack([short, [[-50.0, 0.0], [50.0, 0.0]]])
    faces = np.vstack([np.stack([np.arange(100), np.arange(1, 101)], 1), [[101, 102]]])
    _, _, distance = closest_on_facets(
        points, faces, np.array([[0.5, 0.05], [0.5, -1.0], [0.3, 0.19]])
    )
    np.testing.assert_allclose(distance, [0.05, 1.0, 0.01], rtol=1e-12)


def test_second_order_for_smooth_fields():
    def wave(x):
        return np.sin(3 * x[:, 0]) * np.cos(2 * x[:, 1])

    x = np.random.default_rng(9).uniform(0, 1, (2000, 2))
    sizes, errors = np.array([9, 17, 33]), []
    for n in sizes:
        mesh = square(int(n), 0)
        errors.append(np.abs(Interpolant(mesh).to(x).operator @ wave(mesh.points) - wave(x)).max())
    order = -np.polyfit(np.log(sizes - 1), np.log(errors), 1)[0]
    assert order == pytest.approx(2.0, abs=0.4)


@pytest.mark.parametrize("mesh", [sphere(1), torus()], ids=["sphere", "torus"])
def test_surfaces_in_space_are_refused(mesh):
    with pytest.raises(ValueError, match="expected cells that fill the space of 3 dimensions"):
        Interpolant(mesh)


def test_unused_points_and_flat_cells_do_no_harm():
    mesh = disk(4)
    points = np.vstack([mesh.points, [[0.1, 0.1], [9.0, 9.0]]])
    cells = np.vstack([mesh.cells["triangle"], [[0, 0, 1]]])
    odd = Mesh(points, {"triangle": cells})
    x = np.random.default_rng(10).uniform(-0.6, 0.6, (200, 2))
    found = Interpolant(odd).to(x)
    assert not found.clamped.any()
    np.testing.assert_allclose(found.operator @ linear(points), linear(x), rtol=1e-10)


@pytest.mark.parametrize("n", [4, 9])
def test_told_that_a_mesh_is_convex_it_finds_the_same(n):
    mesh = disk(n)
    x = np.random.default_rng(11).uniform(-1.2, 1.2, (500, 2))
    told, untold = (Interpolant(mesh, convex).to(x) for convex in (True, False))
    np.testing.assert_array_equal(told.clamped, untold.clamped)
    assert abs(told.operator - untold.operator).max() < 1e-12


def test_walks_that_begin_too_far_away_begin_again(monkeypatch):
    monkeypatch.setattr(transfer, "MAX_STEPS", 20)
    mesh = square(60, 0)
    interpolant = Interpolant(mesh, convex=True)
    x = mesh.points[mesh.cells["triangle"]].mean(axis=1)
    simplex, inside = interpolant.locate(x, np.zeros(len(x), dtype=np.int32))
    assert inside.all()
    np.testing.assert_array_equal(simplex, np.arange(len(x)))


def test_a_thin_mesh_has_a_small_table():
    mesh = box(6, 0)
    thin = mesh.moved(mesh.points * np.array([1.0, 1.0, 1e-7]))
    interpolant = Interpolant(thin)
    assert interpolant.locate(thin.points, interpolant.near(thin.points))[1].all()
    assert len(interpolant._boxes[3]) < 10 * len(thin.points)
