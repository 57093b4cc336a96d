"""Closed curves onto the circle: any order and sense of lines, both ends where they belong, fields
there and back."""

import numpy as np
import pytest

from fieldcast.meshes import Mesh
from fieldcast.meshes.chart import Chart
from fieldcast.meshes.loop import Loop, is_loop, ordered


def section(n=90, camber=0.05, seed=0):
    """Nose at 0, tail at 1, points and lines in any order, lines in any sense."""
    rng = np.random.default_rng(seed)
    angle = np.sort(np.r_[0.0, np.pi, rng.uniform(0, 2 * np.pi, n - 2)])
    x = 0.5 * (1 + np.cos(angle))
    y = 0.08 * np.sin(angle) + camber * 4 * x * (1 - x)
    mixed = rng.permutation(n)
    points = np.empty((n, 2))
    points[mixed] = np.stack([x, y], axis=1)
    lines = np.stack([mixed, np.roll(mixed, -1)], axis=1)
    lines = lines[rng.permutation(n)]
    turned = rng.random(n) < 0.5
    lines[turned] = lines[turned][:, ::-1]
    return Mesh(points, {"line": lines}), mixed


def test_points_come_in_order_counter_clockwise():
    mesh, mixed = section()
    order = ordered(mesh)
    start = int(np.flatnonzero(order == mixed[0])[0])
    np.testing.assert_array_equal(np.roll(order, -start), mixed)


def test_tail_and_nose_go_to_both_ends():
    mesh, _ = section()
    placed = Loop().to(mesh).points(mesh)
    np.testing.assert_allclose(np.linalg.norm(placed, axis=1), 1.0)
    x = mesh.points[:, 0]
    np.testing.assert_allclose(placed[x.argmax()], [1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(placed[x.argmin()], [-1.0, 0.0], atol=1e-12)


def test_fields_survive_the_way_there_and_back():
    reference, _ = section(200, 0.02, 1)
    other, _ = section(160, 0.06, 2)
    chart = Chart(Loop(), reference)
    passage = chart.passage(other)
    smooth = np.sin(3.0 * other.points[:, :1]) + other.points[:, 1:]
    back = passage.from_common(passage.to_common(smooth))
    assert np.abs(back - smooth).max() < 0.02 * np.ptp(smooth)
    own = chart.passage(reference)
    values = np.random.default_rng(0).normal(size=(200, 1))
    np.testing.assert_allclose(own.to_common(values), values, atol=1e-9)
    np.testing.assert_allclose(own.from_common(values), values, atol=1e-9)


def test_open_and_several_curves_are_refused():
    mesh, _ = section(30)
    lines = mesh.cells["line"]
    assert not is_loop(Mesh(mesh.points, {"line": lines[1:]}))
    two = Mesh(
        np.vstack([mesh.points, mesh.points + 3.0]), {"line": np.vstack([lines, lines + 30])}
    )
    assert not is_loop(two)
    assert "one closed curve" in (Loop().refusal([two]) or "")
    with pytest.raises(ValueError, match="one closed curve"):
        Loop().to(mesh).points(two)
