"""Elastic morphing: boundaries land on the reference's in the plane and in space, nothing flips."""

import numpy as np
import pytest
from shapes import hexes, sphere

from fieldcast.conformance.families import box, bulged, ring, square
from fieldcast.meshes.elastic import Elastic, _Body
from fieldcast.meshes.quality import distortion
from fieldcast.meshes.topology import boundary
from fieldcast.meshes.transfer import closest_on_facets

PAIRS = {
    "square": (square(8, 0), bulged(square(8, 1), 1.1, 0.1)),
    "ring": (ring(6, 0, 0.4), ring(6, 1, 0.55)),
    "box": (box(5, 0), box(5, 1).moved(box(5, 1).points * [1.15, 1.05, 1.1])),
    "hexes": (hexes(4), hexes(5).moved(hexes(5).points * [1.1, 1.05, 1.02])),
}
EVERY = pytest.mark.parametrize(("reference", "mesh"), PAIRS.values(), ids=list(PAIRS))


@EVERY
def test_boundaries_land_on_the_reference_and_nothing_flips(reference, mesh):
    moved = Elastic().to(reference).points(mesh)
    rim = np.unique(boundary(mesh))
    distance = closest_on_facets(reference.points, boundary(reference), moved[rim])[2]
    assert distance.max() < 2e-3
    assert distortion(mesh, moved).flipped == 0


@EVERY
def test_the_reference_itself_stays(reference, mesh):
    assert mesh.dim == reference.dim
    np.testing.assert_allclose(
        Elastic().to(reference).points(reference), reference.points, atol=1e-9
    )


@pytest.mark.parametrize("mesh", [square(5, 0), box(3, 0)], ids=["2-D", "3-D"])
def test_stiffness_is_symmetric_and_knows_rigid_motions(mesh):
    """K u = 0 for translations and (small) rotations, and for nothing else."""
    d, n = mesh.dim, len(mesh.points)
    k = _Body(mesh)._stiffness().toarray()
    np.testing.assert_allclose(k, k.T, atol=1e-12 * np.abs(k).max())
    motions = [np.tile(np.eye(d)[i], n) for i in range(d)]
    for i in range(d):
        for j in range(i):
            turn = np.zeros((n, d))
            turn[:, i], turn[:, j] = mesh.points[:, j], -mesh.points[:, i]
            motions.append(turn.ravel())
    for u in motions:
        np.testing.assert_allclose(k @ u, 0.0, atol=1e-10 * np.abs(k).max())
    values = np.linalg.eigvalsh(k)
    assert (values < 1e-9 * values[-1]).sum() == len(motions)


def test_other_families_are_refused_in_words():
    assert "fill a space of 2 or 3 dimensions" in Elastic().refusal([square(4, 0), sphere(1)])
    assert Elastic().refusal([square(4, 0), ring(4, 0, 0.5)]) is None


@pytest.mark.parametrize("odd", [ring(4, 0, 0.5), box(3, 0)], ids=["hole", "volume"])
def test_another_topology_is_refused_when_asked(odd):
    with pytest.raises(ValueError, match="expected a mesh like the reference"):
        Elastic().to(square(5, 0)).points(odd)
