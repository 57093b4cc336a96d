"""Maps to the unit disk: no triangle flips, the boundary on the circle, shape alone counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.spatial import Delaunay
from shapes import disk, hexes, scattered, sphere

from fieldcast.conformance.families import bulged, ring, square
from fieldcast.meshes import Mesh
from fieldcast.meshes.disk import (
    Harmonic,
    TutteDisk,
    cotangent_weights,
    mean_value_weights,
    solve_interior,
    uniform_weights,
)
from fieldcast.meshes.topology import boundary_loops, signed_measures
from fieldcast.meshes.transfer import Interpolant

MORPHINGS = [
    TutteDisk(),
    TutteDisk(anchors=False),
    Harmonic(),
    Harmonic("mean_value"),
    Harmonic(anchors=False),
]
EVERY = pytest.mark.parametrize("morphing", MORPHINGS, ids=repr)


@EVERY
@settings(max_examples=10, deadline=None)
@given(n=st.integers(3, 80), seed=st.integers(0, 10**6))
def test_no_triangle_flips_on_random_meshes(morphing, n, seed):
    mesh = scattered(n, seed, stretch=1.7)
    at = morphing.to(mesh).points(mesh)
    areas = signed_measures(at, mesh.cells["triangle"])
    areas *= np.sign(signed_measures(mesh.points, mesh.cells["triangle"]))
    # Cells whose three corners lie on one side of the square are flat there, not in the disk.
    assert (areas > 0).all()
    assert areas.sum() < np.pi


@EVERY
def test_boundary_on_the_circle_inside_within(morphing):
    mesh = bulged(scattered(150, 0), 1.4, 0.2)
    at = morphing.to(mesh).points(mesh)
    radius = np.linalg.norm(at, axis=1)
    [loop] = boundary_loops(mesh)
    np.testing.assert_allclose(radius[loop], 1.0, rtol=1e-14)
    inner = np.setdiff1d(np.arange(len(at)), loop)
    assert radius[inner].max() < 1.0
    angle = np.unwrap(np.arctan2(*at[np.append(loop, loop[0])].T[::-1]))
    assert (np.diff(angle) > 0).all()
    assert angle[-1] - angle[0] == pytest.approx(2 * np.pi, rel=1e-12)


@pytest.mark.parametrize("morphing", [TutteDisk(), Harmonic()], ids=repr)
def test_corners_go_to_equal_arcs(morphing):
    """Of every member of the family to the same four places, whatever its proportions."""
    reference = square(6, 0)
    places = []
    for width, bulge, seed in ((1.0, 0.0, 0), (1.6, 0.1, 1), (0.7, 0.2, 2)):
        plain = square(6 + seed, seed)
        mesh = bulged(plain, width, bulge)
        at = morphing.to(reference).points(mesh)
        corners = [
            np.abs(plain.points - c).sum(1).argmin() for c in ((0, 0), (1, 0), (1, 1), (0, 1))
        ]
        places.append(at[corners])
    steps = np.diff(np.unwrap(np.arctan2(*places[0].T[::-1])))
    np.testing.assert_allclose(steps, np.pi / 2, rtol=1e-12)
    for other in places[1:]:
        np.testing.assert_allclose(other, places[0], atol=1e-12)


def test_boundary_points_between_corners_go_by_arc_length():
    mesh = square(5, 0)
    at = Harmonic().to(mesh).points(mesh)
    bottom = np.flatnonzero(mesh.points[:, 1] == 0)
    bottom = bottom[np.argsort(mesh.points[bottom, 0])]
    angle = np.unwrap(np.arctan2(*at[bottom].T[::-1]))
    np.testing.assert_allclose(np.diff(angle), np.pi / 8, rtol=1e-9)


@EVERY
def test_size_and_place_do_not_matter(morphing):
    mesh = bulged(scattered(60, 3), 1.3, 0.1)
    moved = mesh.moved(mesh.points * 250.0 + [3.0e3, -40.0])
    expected = morphing.to(mesh).points(mesh)
    np.testing.assert_allclose(morphing.to(mesh).points(moved), expected, atol=1e-8)


@EVERY
def test_the_reference_names_the_corners_alone(morphing):
    """Where a mesh goes does not depend on the resolution or numbering of the reference."""
    mesh = bulged(scattered(60, 4), 1.3, 0.1)
    one, other = (morphing.to(square(n, n)).points(mesh) for n in (5, 11))
    np.testing.assert_allclose(one, other, atol=1e-12)


def delaunay(points):
    cells = Delaunay(points).simplices
    return Mesh(points, {"triangle": cells[np.abs(signed_measures(points, cells)) > 1e-12]})


def test_two_meshings_of_one_shape_agree_better_as_they_are_refined():
    """The harmonic map belongs to the shape, Tutte's to the mesh."""
    x = np.random.default_rng(0).uniform(0.15, 0.85, (300, 2))

    def gap(morphing, n):
        maps = []
        for seed in (0, 1):
            mesh = delaunay(square(n, seed, jitter=0.35).points)
            at = morphing.to(mesh).points(mesh)
            maps.append(Interpolant(mesh).to(x).operator @ at)
        return np.abs(maps[0] - maps[1]).max()

    for morphing in (Harmonic(), Harmonic("mean_value")):
        coarse, fine = gap(morphing, 9), gap(morphing, 33)
        assert fine < 0.25 * coarse
        assert fine < 0.15 * gap(TutteDisk(), 33)


def test_harmonic_maps_reproduce_linear_functions():
    """Cotangent weights are the P1 Laplacian: linear data on the boundary stay linear inside."""
    mesh = disk(6)
    [loop] = boundary_loops(mesh)
    inside = np.ones(len(mesh.points), dtype=bool)
    inside[loop] = False
    weights = cotangent_weights(mesh)
    values = np.where(inside[:, None], 0.0, mesh.points @ np.array([[1.0, 0.3], [-0.5, 2.0]]))
    found = solve_interior(weights, inside, values)
    exact = mesh.points[inside] @ np.array([[1.0, 0.3], [-0.5, 2.0]])
    np.testing.assert_allclose(found, exact, atol=1e-7)


def matrix(weights, mesh):
    ways = weights.both_ways()
    return csr_array((ways.w, (ways.i, ways.j)), shape=(len(mesh.points),) * 2)


def test_mean_value_weights_reproduce_linear_functions_at_every_inner_point():
    mesh = scattered(80, 5)
    [loop] = boundary_loops(mesh)
    w = matrix(mean_value_weights(mesh), mesh)
    total = np.asarray(w.sum(axis=1)).ravel()
    mean = (w @ mesh.points) / total[:, None]
    inner = np.setdiff1d(np.arange(len(mesh.points)), loop)
    np.testing.assert_allclose(mean[inner], mesh.points[inner], atol=1e-10)


@pytest.mark.parametrize("weights", [uniform_weights, mean_value_weights])
def test_weights_are_positive_between_neighbours(weights):
    mesh = scattered(60, 6)
    w = matrix(weights(mesh), mesh)
    assert w.data.min() > 0
    pairs = {tuple(e) for e in np.stack(w.nonzero(), 1)}
    cells = mesh.cells["triangle"]
    expected = {tuple(e) for i in range(3) for j in range(3) if i != j for e in cells[:, [i, j]]}
    assert pairs == expected


def test_curved_surfaces_in_space_are_unrolled():
    ball = sphere(3)
    upper = ball.cells["triangle"][(ball.points[ball.cells["triangle"]][..., 2] > 0.1).all(1)]
    used, cells = np.unique(upper, return_inverse=True)
    cap = Mesh(ball.points[used], {"triangle": cells.reshape(-1, 3)})
    at = Harmonic(anchors=False).to(cap).points(cap)
    areas = signed_measures(at, cap.cells["triangle"])
    assert (areas > 0).all() or (areas < 0).all()


@pytest.mark.parametrize(
    ("mesh", "words"),
    [
        (ring(4, 0, 0.5), "2 closed boundary"),
        (sphere(1), "0 closed boundary"),
        (hexes(3), "volume"),
    ],
    ids=["ring", "sphere", "cube"],
)
def test_what_is_no_disk_is_refused_in_words(mesh, words):
    for morphing in (TutteDisk(), Harmonic()):
        assert words in morphing.refusal([square(4, 0), mesh])
        assert morphing.refusal([square(4, 0)]) is None


def test_a_hole_is_refused_when_asked():
    with pytest.raises(ValueError, match="one closed boundary, got 2"):
        Harmonic().to(square(5, 0)).points(ring(4, 0, 0.5))


def test_another_number_of_corners_is_refused_when_asked():
    with pytest.raises(ValueError, match="4 corners as in the reference mesh, got one with 0"):
        Harmonic().to(square(5, 0)).points(disk(6))


def test_points_that_no_cell_uses_do_no_harm():
    mesh = square(6, 0)
    more = Mesh(np.vstack([mesh.points, [[9.0, 9.0]]]), mesh.cells)
    at = Harmonic().to(mesh).points(more)
    np.testing.assert_allclose(at[:-1], Harmonic().to(mesh).points(mesh), atol=1e-12)
    assert np.isfinite(at).all()
