"""The plate's mesher: quality, exact boundary, seeds, other notches."""

import time

import numpy as np
import pytest

from fieldcast.solvers.plate_mesh import SIDE, Ellipse, Wedge, notched_mesh, plate_mesh


def corners(mesh):
    return mesh.points[mesh.cells["triangle"]]


def angles(mesh):
    """Angles [degree], one row a triangle."""
    p = corners(mesh)
    found = []
    for k in range(3):
        u, v = p[:, (k + 1) % 3] - p[:, k], p[:, (k + 2) % 3] - p[:, k]
        lengths = np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1)
        found.append(np.degrees(np.arccos((u * v).sum(axis=1) / lengths)))
    return np.column_stack(found)


def areas(mesh):
    a, b, c = corners(mesh).swapaxes(0, 1)
    u, v = b - a, c - a
    return (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]) / 2


def outer_edges(mesh):
    """Edges of one triangle only; fails where an edge has more than two."""
    t = mesh.cells["triangle"]
    edges = np.sort(np.vstack([t[:, [0, 1]], t[:, [1, 2]], t[:, [2, 0]]]), axis=1)
    edges, count = np.unique(edges, axis=0, return_counts=True)
    assert count.max() == 2
    return edges[count == 1]


NOTCHES = [
    Ellipse(0.3, 1.0),
    Ellipse(0.6, 0.6),
    Ellipse(0.2, 1.4),
    Wedge(0.5, 1.0),
    Wedge(0.3, 0.8),
    Wedge(0.7, 0.7),
]


@pytest.mark.parametrize("size", [0.03, 0.0433, 0.06])
@pytest.mark.parametrize("radius", np.linspace(0.2, 0.8, 7))
def test_every_angle_is_above_25_degrees(radius, size):
    for seed in range(3):
        assert angles(plate_mesh(radius, size, seed)).min() > 25.0


@pytest.mark.parametrize("notch", NOTCHES, ids=str)
def test_other_notches_give_sound_meshes(notch):
    mesh = notched_mesh(notch, 0.0433)
    assert angles(mesh).min() > 20.0
    assert areas(mesh).min() > 0.0
    shape = np.pi / 2 if isinstance(notch, Ellipse) else 1.0
    cut = notch.depth * notch.height * shape
    np.testing.assert_allclose(areas(mesh).sum(), SIDE**2 - cut, rtol=2e-3)
    roots = [[notch.depth, SIDE / 2], [SIDE - notch.depth, SIDE / 2]]
    for root in roots:
        assert np.linalg.norm(mesh.points - root, axis=1).min() < 1e-12


@pytest.mark.parametrize("radius", [0.2, 0.37, 0.8])
def test_boundary_is_one_ring_on_the_plate_s_outline(radius):
    mesh = plate_mesh(radius, 0.05, 1)
    edges = outer_edges(mesh)
    assert (np.bincount(edges.ravel())[np.unique(edges)] == 2).all()
    assert len(np.unique(edges)) == len(edges)
    x, y = mesh.points[np.unique(edges)].T
    away = np.minimum(np.hypot(x, y - 1), np.hypot(x - SIDE, y - 1)) - radius
    straight = np.min([x, SIDE - x, y, SIDE - y], axis=0)
    assert np.minimum(np.abs(away), np.abs(straight)).max() < 1e-6
    ends = [[0, 0], [2, 0], [2, 2], [0, 2], [0, 1 - radius], [0, 1 + radius], [2, 1 + radius]]
    for end in ends:
        assert np.linalg.norm(mesh.points - end, axis=1).min() < 1e-12


def test_triangles_turn_counter_clockwise_and_use_every_point():
    mesh = plate_mesh(0.45, 0.05)
    assert areas(mesh).min() > 0.2 * np.sqrt(3) / 4 * 0.05**2
    assert len(np.unique(mesh.cells["triangle"])) == len(mesh.points)


def test_area_converges_with_the_square_of_the_size():
    sizes = [0.08, 0.04, 0.02]
    missing = [areas(plate_mesh(0.5, h)).sum() - (SIDE**2 - np.pi * 0.25) for h in sizes]
    assert abs(np.polyfit(np.log(sizes), np.log(missing), 1)[0] - 2.0) < 0.1


def test_node_counts_are_those_of_the_published_set():
    counts = [len(plate_mesh(r, 0.0195).points) for r in np.linspace(0.2, 0.8, 4)]
    assert abs(np.mean(counts) / 9428 - 1) < 0.1
    assert max(counts) > 1.5 * min(counts)


def test_a_seed_is_reproduced_and_another_gives_another_mesh_of_the_same_shape():
    one, again, other = (plate_mesh(0.5, 0.06, seed) for seed in (3, 3, 4))
    assert one == again
    assert one.connectivity != other.connectivity
    np.testing.assert_allclose(areas(one).sum(), areas(other).sum(), rtol=1e-12)


@pytest.mark.parametrize(
    ("radius", "size"), [(1.0, 0.05), (0.95, 0.05), (0.09, 0.05), (0.5, 0.0), (0.5, -0.1)]
)
def test_impossible_plates_are_refused(radius, size):
    with pytest.raises(ValueError, match="take a smaller size"):
        plate_mesh(radius, size)


def test_ten_thousand_points_take_less_than_two_seconds():
    start = time.process_time()
    plate_mesh(0.5, 0.0195)
    assert time.process_time() - start < 2.0
