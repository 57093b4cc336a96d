"""Space that is bent carries meshes along."""

import numpy as np
import pytest

from fieldcast.meshes import Mesh
from fieldcast.meshes.deformation import FreeForm, moved_by_handles


@pytest.fixture
def cloud() -> Mesh:
    points = np.random.default_rng(0).uniform(size=(200, 3))
    cells = np.arange(200).reshape(-1, 4)
    return Mesh(points, {"tetra": cells})


def test_equal_shifts_move_all_alike(cloud):
    box = FreeForm(np.zeros(3), np.ones(3), np.full((3, 2, 4, 3), 0.25))
    np.testing.assert_allclose(box.moved(cloud).points, cloud.points + 0.25)


def test_linear_shifts_are_kept(cloud):
    """Bernstein polynomials reproduce linear functions."""
    lattice = np.stack(np.meshgrid(*[np.linspace(0, 1, n) for n in (3, 4, 2)], indexing="ij"), -1)
    matrix = np.array([[0.1, 0.2, 0.0], [0.0, -0.1, 0.3], [0.05, 0.0, 0.2]])
    box = FreeForm(np.zeros(3), np.ones(3), lattice @ matrix)
    np.testing.assert_allclose(box.moved(cloud).points, cloud.points @ (np.eye(3) + matrix))


def test_outside_of_the_box_nothing_moves(cloud):
    box = FreeForm(np.full(3, 2.0), np.full(3, 3.0), np.ones((2, 2, 2, 3)))
    assert box.moved(cloud) == cloud
    with pytest.raises(ValueError, match="from low to high"):
        FreeForm(np.ones(2), np.zeros(2), np.ones((2, 2, 2)))
    with pytest.raises(ValueError, match="dimensions"):
        FreeForm(np.zeros(2), np.ones(2), np.ones((2, 2, 2))).moved(cloud)


def test_handles_pull(cloud):
    handles, shifts = cloud.points[:5], np.full((5, 3), 0.1)
    moved = moved_by_handles(cloud, handles, shifts, 0.5).points
    np.testing.assert_allclose(moved[:5], handles + 0.1)
    far = np.linalg.norm(cloud.points[:, None] - handles, axis=2).min(axis=1) > 0.5
    assert far.any()
    np.testing.assert_array_equal(moved[far], cloud.points[far])
    with pytest.raises(ValueError, match="radius"):
        moved_by_handles(cloud, handles, shifts, 0.0)
