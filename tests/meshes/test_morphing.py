"""Which morphing serves a family, and who is refused with which words."""

import numpy as np
import pytest
from shapes import disk, hexes, sphere

from fieldcast.conformance.families import box, bulged, ring, square
from fieldcast.meshes.disk import Harmonic
from fieldcast.meshes.elastic import Elastic
from fieldcast.meshes.mesh import Mesh
from fieldcast.meshes.morphing import (
    Identity,
    check_one_topology,
    choose_morphing,
    same_numbering,
)
from fieldcast.meshes.radial_basis import RadialBasis


def shuffled(mesh):
    """The same mesh with its points in another order."""
    order = np.random.default_rng(0).permutation(len(mesh.points))
    place = np.argsort(order)
    return Mesh(mesh.points[order], {k: place[block] for k, block in mesh.cells.items()})


@pytest.mark.parametrize(
    ("meshes", "expected", "word"),
    [
        ([square(5, 0), bulged(square(5, 0), 1.3, 0.1)], Identity, "one numbering"),
        ([square(5, 0), square(6, 1)], Harmonic, "one boundary"),
        ([ring(4, 0, 0.5), ring(4, 1, 0.4)], RadialBasis, "holes"),
        ([box(3, 0), box(4, 1)], Elastic, "distance"),
        ([hexes(3), hexes(4)], Elastic, "distance"),
    ],
    ids=["numbered", "disks", "rings", "boxes", "hexes"],
)
def test_the_morphing_that_suits(meshes, expected, word):
    morphing, why = choose_morphing(meshes, ["a", "b"])
    assert type(morphing) is expected
    assert word in why


def test_groups_of_topologies_are_named():
    meshes = [square(5, 0), ring(4, 0, 0.5), square(6, 1), ring(4, 1, 0.5), square(4, 2)]
    with pytest.raises(ValueError, match="got 2") as error:
        choose_morphing(meshes, ["s1", "r1", "s2", "r2", "s3"])
    text = str(error.value)
    assert "3 case(s) (s1, s2, s3): surface in 1 piece(s), 1 closed" in text
    assert "2 case(s) (r1, r2): surface in 1 piece(s), 2 closed" in text
    assert "Fit one surrogate per group" in text


def test_many_members_of_a_group_are_not_all_listed():
    meshes = [square(4, k) for k in range(5)] + [ring(4, 0, 0.5)]
    with pytest.raises(ValueError, match=r"5 case\(s\) \(m0, m1, m2, \.\.\.\)"):
        check_one_topology(meshes, [f"m{k}" for k in range(6)])


def test_one_topology_is_returned():
    assert check_one_topology([square(4, 0), disk(3)], ["a", "b"]) == square(5, 1).topology


def test_nobody_serves_spheres_of_different_meshes():
    with pytest.raises(ValueError, match="no morphing serves these meshes") as error:
        choose_morphing([sphere(1), sphere(2)], ["a", "b"])
    assert "Harmonic: it needs a surface" in str(error.value)
    assert "Elastic: it needs cells" in str(error.value)


def test_identity_gives_the_references_points():
    reference = square(5, 0)
    morph = Identity().to(reference)
    moved = bulged(reference, 1.4, 0.2)
    np.testing.assert_array_equal(morph.points(moved), reference.points)
    assert morph.shared_numbering
    assert Identity().refusal([reference, moved]) is None
    renumbered = shuffled(reference)
    assert "1 of 2 meshes are numbered" in Identity().refusal([reference, renumbered])
    for other in (renumbered, square(6, 0)):
        with pytest.raises(ValueError, match="cells with other numbers"):
            morph.points(other)


def test_points_are_the_same_where_quadrilaterals_are_cut_along_other_diagonals():
    one, other = square(9, 0), square(9, 1)
    assert one.connectivity != other.connectivity
    assert same_numbering(one, other)
    assert not same_numbering(one, shuffled(other))
    assert not same_numbering(Mesh(one.points), one)
