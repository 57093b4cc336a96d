"""Radial basis morphing: boundaries land on the reference's, nothing flips, the outside stays."""

import numpy as np
import pytest
from shapes import hexes

from fieldcast.conformance.families import bulged, ring, square
from fieldcast.meshes import Mesh
from fieldcast.meshes.quality import distortion
from fieldcast.meshes.radial_basis import RadialBasis, wendland_c2
from fieldcast.meshes.topology import boundary_loops
from fieldcast.meshes.transfer import closest_on_facets


def in_a_box(hole, seed=0, n=6, shift=(0.0, 0.0)):
    """A square of side 4 with a hole of `hole` (radii along x and y), all of one outer boundary."""
    made = ring(n, seed, 0.3)
    r = np.linalg.norm(made.points, axis=1, keepdims=True)
    way = made.points / r
    share = (r - 0.3) / 0.7
    inner = way * np.array(hole) + np.array(shift)
    outer = 2.0 * way / np.abs(way).max(axis=1, keepdims=True)
    return made.moved((1 - share) * inner + share * outer)


def gap(mesh, moved, reference):
    """The largest distance of moved boundary points from the reference's boundary."""
    loops = boundary_loops(reference)
    edges = np.concatenate([np.stack([loop, np.roll(loop, -1)], 1) for loop in loops])
    rim = np.concatenate(boundary_loops(mesh))
    return closest_on_facets(reference.points, edges, moved[rim])[2].max()


REFERENCE = in_a_box((0.5, 0.5), n=8)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.2)])
@pytest.mark.parametrize("hole", [(0.7, 0.4), (0.35, 0.6), (0.5, 0.5)])
def test_boundaries_land_on_the_reference(hole, shift):
    mesh = in_a_box(hole, seed=1, shift=shift)
    moved = RadialBasis().to(REFERENCE).points(mesh)
    assert gap(mesh, moved, REFERENCE) < 0.01
    assert distortion(mesh, moved).flipped == 0


def test_the_outer_boundary_that_all_share_stays():
    mesh = in_a_box((0.7, 0.4), seed=0, n=8)
    moved = RadialBasis().to(REFERENCE).points(mesh)
    outer = boundary_loops(mesh)[0]
    np.testing.assert_array_equal(moved[outer], mesh.points[outer])


def test_the_reference_itself_stays():
    np.testing.assert_array_equal(RadialBasis().to(REFERENCE).points(REFERENCE), REFERENCE.points)


def test_the_outer_boundary_moves_where_it_differs():
    reference = square(8, 0)
    mesh = bulged(square(9, 1), 1.3, 0.15)
    moved = RadialBasis().to(reference).points(mesh)
    assert gap(mesh, moved, reference) < 1e-6
    assert distortion(mesh, moved).flipped == 0


def test_more_steps_keep_thin_cells_from_turning_over():
    thin = in_a_box((0.5, 0.5), n=20)
    r = np.linalg.norm(thin.points, axis=1, keepdims=True)
    layered = thin.moved(thin.points * (0.5 + (r - 0.5).clip(0) ** 2 / 1.5) / r.clip(0.5))
    reference = in_a_box((0.9, 0.3), n=8)
    flips = [
        distortion(layered, RadialBasis(steps=k).to(reference).points(layered)).flipped
        for k in (1, 8)
    ]
    assert flips[1] <= flips[0]
    assert flips[1] == 0


def test_wendland_function():
    """1 at 0, 0 from 1 on, with two continuous derivatives there: (1 - r)^4 beats any cube."""
    r = np.linspace(0.0, 2.0, 2001)
    phi = wendland_c2(r)
    assert phi[0] == 1.0
    np.testing.assert_array_equal(phi[r >= 1], 0.0)
    assert (np.diff(phi[r <= 1]) < 0).all()
    near = r[(r > 0.9) & (r < 1)]
    assert (wendland_c2(near) <= 5.0 * (1 - near) ** 4).all()


def test_other_families_are_refused_in_words():
    assert "plane meshes in one piece" in RadialBasis().refusal([hexes(3)])
    flat = square(4, 0)
    lifted = Mesh(np.pad(flat.points, ((0, 0), (0, 1))), flat.cells)
    assert "3 dimensions" in RadialBasis().refusal([flat, lifted])
    assert RadialBasis().refusal([flat, REFERENCE]) is None


def test_a_hole_more_is_refused_when_asked():
    with pytest.raises(ValueError, match="2 closed boundaries as the reference, got 1"):
        RadialBasis().to(REFERENCE).points(square(5, 0))
