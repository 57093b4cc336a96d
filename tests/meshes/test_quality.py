"""Quality of cells, and the stretch of a map."""

import numpy as np
import pytest
from shapes import UNIT_CORNERS, disk, interval, scattered, sphere

from fieldcast.conformance.families import box, square
from fieldcast.meshes import Mesh
from fieldcast.meshes.quality import cell_quality, distortion

EQUILATERAL = {
    "triangle": np.array([[0, 0], [1, 0], [0.5, np.sqrt(0.75)]]),
    "tetra": np.array([[1, 1, 1], [-1, 1, -1], [1, -1, -1], [-1, -1, 1]], dtype=float),
}


@pytest.mark.parametrize("name", EQUILATERAL)
def test_equilateral_cells_are_of_quality_one(name):
    points = EQUILATERAL[name]
    [quality] = cell_quality(Mesh(points, {name: np.arange(len(points))[None]}))
    assert quality == pytest.approx(1.0, rel=1e-14)


@pytest.mark.parametrize("name", EQUILATERAL)
def test_quality_is_of_shape_alone(name):
    """Not of size, place or direction; negative where the cell is turned over, 0 where flat."""
    points = np.array(UNIT_CORNERS[name], dtype=float)
    cells = {name: np.arange(len(points))[None]}
    [quality] = cell_quality(Mesh(points, cells))
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(points.shape[1],) * 2))[0]
    turn[:, 0] *= np.linalg.det(turn)
    [moved] = cell_quality(Mesh(7.0 * points @ turn.T + 3.0, cells))
    assert 0 < quality < 1
    assert moved == pytest.approx(quality, rel=1e-12)
    mirrored = points * np.array([-1.0, 1.0, 1.0])[: points.shape[1]]
    assert cell_quality(Mesh(mirrored, cells))[0] == pytest.approx(-quality, rel=1e-12)
    flat = points * np.array([1.0, 0.0, 1.0])[: points.shape[1]]
    assert cell_quality(Mesh(flat, cells))[0] == 0.0


def test_lines_have_no_quality_to_lose():
    np.testing.assert_array_equal(cell_quality(interval(5)), 1.0)


@pytest.mark.parametrize("mesh", [square(5, 0), box(4, 0)], ids=["2-D", "3-D"])
def test_affine_maps_stretch_by_their_singular_values(mesh):
    matrix = np.random.default_rng(1).normal(size=(mesh.dim, mesh.dim))
    matrix[:, 0] *= np.sign(np.linalg.det(matrix))
    found = distortion(mesh, mesh.points @ matrix.T)
    stretch = np.linalg.svd(matrix, compute_uv=False)
    assert found.flipped == 0
    assert found.median == pytest.approx(stretch[0] / stretch[-1], rel=1e-9)
    assert found.worst == pytest.approx(stretch[0] / stretch[-1], rel=1e-6)


def test_mirrored_and_flattened_cells_are_counted():
    mesh = square(5, 0)
    mirrored = distortion(mesh, mesh.points * [-1.0, 1.0])
    assert mirrored.flipped == mirrored.cells == mesh.n_cells
    assert "32 of 32 cells flipped" in str(mirrored)
    moved = mesh.points.copy()
    inner = int(np.flatnonzero(((mesh.points > 0) & (mesh.points < 1)).all(1))[0])
    moved[inner] += 0.5
    around = (mesh.cells["triangle"] == inner).any(1).sum()
    assert 0 < distortion(mesh, moved).flipped < around


def test_a_surface_unrolled_into_the_plane():
    """Orientation is told relative to the majority."""
    mesh = scattered(40, 0)
    lifted = Mesh(np.pad(mesh.points, ((0, 0), (0, 1))), mesh.cells)
    for sign in (1.0, -1.0):
        found = distortion(lifted, mesh.points * [sign, 1.0])
        assert found.flipped == 0
        assert found.worst == pytest.approx(1.0, rel=1e-6)


def test_turning_in_space_is_no_stretch():
    mesh = sphere(1)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    assert distortion(mesh, mesh.points @ turn).worst == pytest.approx(1.0, rel=1e-6)
    assert disk(3).dim == 2
