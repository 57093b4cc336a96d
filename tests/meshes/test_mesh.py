"""Meshes: frozen, checked, equal by content."""

import dataclasses

import numpy as np
import pytest
from shapes import quads

from fieldcast.meshes import Mesh
from fieldcast.meshes.mesh import digest, frozen

POINTS = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
TRIANGLES = {"triangle": np.array([[0, 1, 2], [0, 2, 3]])}


def test_equal_by_content():
    one, other = Mesh(POINTS, TRIANGLES), Mesh(POINTS.copy(), dict(TRIANGLES))
    assert one is not other
    assert one == other
    assert len({one, other}) == 1
    assert one.id == other.id


@pytest.mark.parametrize(
    "changed",
    [
        Mesh(POINTS + 1e-12, TRIANGLES),
        Mesh(POINTS, {"triangle": TRIANGLES["triangle"][::-1]}),
        Mesh(POINTS, {"triangle": TRIANGLES["triangle"][:1]}),
        Mesh(POINTS, {"quad": np.array([[0, 1, 2, 3]])}),
        Mesh(POINTS, TRIANGLES, {"left": np.array([0, 3])}),
        Mesh(np.pad(POINTS, ((0, 0), (0, 1))), TRIANGLES),
    ],
    ids=["points", "order of cells", "fewer cells", "type", "region", "dimension"],
)
def test_what_differs_is_not_equal(changed):
    assert changed != Mesh(POINTS, TRIANGLES)
    assert changed != "mesh"


def test_types_of_integers_do_not_matter():
    small = {"triangle": TRIANGLES["triangle"].astype(np.int16)}
    assert Mesh(POINTS, small) == Mesh(POINTS, TRIANGLES)


def test_connectivity_forgets_where_points_are():
    mesh = quads(5)
    assert mesh.moved(mesh.points * 3.0).connectivity == mesh.connectivity
    assert quads(6).connectivity != mesh.connectivity


def test_arrays_are_read_only_and_the_callers_stay_theirs():
    points, cells = POINTS.copy(), {"triangle": TRIANGLES["triangle"].copy()}
    mesh = Mesh(points, cells, {"left": np.array([0, 3])})
    with pytest.raises(ValueError, match="read-only"):
        mesh.points[0] = 7.0
    with pytest.raises(ValueError, match="read-only"):
        mesh.cells["triangle"][0] = 1
    with pytest.raises(TypeError):
        mesh.cells["quad"] = np.zeros((0, 4), dtype=int)
    with pytest.raises(TypeError):
        mesh.regions["right"] = np.zeros(1, dtype=int)
    with pytest.raises(dataclasses.FrozenInstanceError):
        mesh.points = points
    assert points.flags.writeable
    assert cells["triangle"].flags.writeable


def test_changes_return_copies():
    mesh = Mesh(POINTS, TRIANGLES)
    fine = mesh.scaled(0.5)
    assert fine is not mesh
    np.testing.assert_array_equal(fine.points, POINTS / 2)
    np.testing.assert_array_equal(mesh.points, POINTS)
    assert fine.scaled(2.0) == mesh


def test_sizes():
    mixed = Mesh(
        np.vstack([POINTS, [[2.0, 0.0]]]),
        {"quad": np.array([[0, 1, 2, 3]]), "triangle": np.array([[1, 4, 2]])},
    )
    assert (mixed.dim, mixed.cell_dim, mixed.n_cells) == (2, 2, 2)
    assert (mixed.size_of("point"), mixed.size_of("cell")) == (5, 2)
    assert [t.name for t in mixed.types] == ["quad", "triangle"]
    assert Mesh(POINTS).cell_dim == 0


def test_order_is_a_place_for_each_cell():
    mesh = Mesh(POINTS, TRIANGLES, order=np.array([1, 0]))
    assert mesh.order.tolist() == [1, 0]
    with pytest.raises(ValueError, match="expected an order for 2 cells, got 3"):
        Mesh(POINTS, TRIANGLES, order=np.array([1, 0, 2]))


def test_coordinates_that_are_not_finite():
    points = POINTS.copy()
    points[2, 1] = np.nan
    with pytest.raises(ValueError, match="1 points that are not, first point 2"):
        Mesh(points, TRIANGLES)


@pytest.mark.parametrize("bad", [-1, 4])
def test_cells_and_regions_that_name_absent_points(bad):
    with pytest.raises(ValueError, match="triangle cells to name points 0 to 3"):
        Mesh(POINTS, {"triangle": np.array([[0, 1, bad]])})
    with pytest.raises(ValueError, match="region 'left' to name points 0 to 3"):
        Mesh(POINTS, TRIANGLES, {"left": np.array([0, bad])})


def test_cells_of_the_wrong_width_or_type():
    with pytest.raises(ValueError, match="triangle cells of shape"):
        Mesh(POINTS, {"triangle": np.array([[0, 1, 2, 3]])})
    with pytest.raises(ValueError, match="pentagon"):
        Mesh(POINTS, {"pentagon": np.array([[0, 1, 2, 3, 0]])})


def test_four_dimensions_are_too_many():
    with pytest.raises(ValueError, match=r"shape \(point, 1..3\), got \(3, 4\)"):
        Mesh(np.zeros((3, 4)))


def test_digest_sees_types_shapes_and_values():
    a = np.arange(6.0)
    assert digest(a) == digest(a.copy())
    assert digest(a[::2]) == digest(a[::2].copy())
    different = [digest(a), digest(a.reshape(2, 3)), digest(a.astype(np.float32)), digest(a, "")]
    assert len(set(different)) == len(different)


def test_frozen_is_a_view():
    a = np.arange(3.0)
    view = frozen(a)
    assert view.base is a
    assert not view.flags.writeable
    assert a.flags.writeable


def test_meshes_cases_and_samples_go_to_another_process_and_back():
    """What a pool of processes does with its answers; equal by content, still frozen."""
    from multiprocessing.reduction import ForkingPickler

    from fieldcast.meshes import Case, Field, Sample

    mesh = Mesh(np.eye(3)[:, :2], {"triangle": np.array([[0, 1, 2]])}, {"rim": np.array([0, 1])})
    sample = Sample(Case(mesh, {"load": 2.0}), {"u": Field.steady(np.arange(3.0))}, {"w": 1.0})
    again = ForkingPickler.loads(ForkingPickler.dumps(sample))
    assert again == sample
    with pytest.raises(TypeError):
        again.fields["u"] = sample.fields["u"]
