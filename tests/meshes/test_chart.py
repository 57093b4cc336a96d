"""Charts: two linear maps between a mesh and the common one."""

import numpy as np
import pytest
from shapes import quads

from fieldcast.conformance.families import bulged, ring, square
from fieldcast.meshes.chart import Chart, Passage, cells_to_points, spread
from fieldcast.meshes.disk import Harmonic
from fieldcast.meshes.morphing import Identity
from fieldcast.meshes.radial_basis import RadialBasis

REFERENCE = square(8, 0)
CHART = Chart(Harmonic(), REFERENCE)


def test_the_reference_lands_on_itself():
    passage = CHART.passage(REFERENCE)
    values = np.random.default_rng(0).normal(size=(len(REFERENCE.points), 3))
    np.testing.assert_allclose(passage.to_common(values), values, atol=1e-9)
    np.testing.assert_allclose(passage.from_common(values), values, atol=1e-9)
    assert passage.clamped == 0.0
    assert passage.distortion.flipped == 0


def test_both_ways_are_linear():
    passage = CHART.passage(bulged(square(7, 2), 1.3, 0.1))
    rng = np.random.default_rng(1)
    for apply, n in (
        (passage.to_common, len(passage.mesh.points)),
        (passage.from_common, len(REFERENCE.points)),
    ):
        u, v = rng.normal(size=(2, n, 2))
        np.testing.assert_allclose(apply(2 * u - 3 * v), 2 * apply(u) - 3 * apply(v), atol=1e-12)


def test_no_value_beyond_those_there_are():
    passage = CHART.passage(bulged(square(7, 2), 1.3, 0.1))
    values = np.random.default_rng(2).uniform(-1, 1, (len(passage.mesh.points), 4))
    moved = passage.to_common(values)
    assert (moved.min(0) >= values.min(0) - 1e-9).all()
    assert (moved.max(0) <= values.max(0) + 1e-9).all()


def test_shared_numbering_copies_values():
    reference = square(6, 0)
    chart = Chart(Identity(), reference)
    passage = chart.passage(bulged(reference, 1.5, 0.3))
    values = np.random.default_rng(3).normal(size=(len(reference.points), 2))
    assert chart.shared_numbering
    assert passage.to_common(values) is values
    assert passage.from_common(values) is values
    assert passage.clamped == 0.0
    assert (chart.size("point"), chart.size("cell")) == (36, 50)
    assert CHART.size("cell") == CHART.size("point")
    with pytest.raises(ValueError, match="expected the numbering of the training meshes"):
        chart.passage(square(7, 0))


def test_fields_on_cells_need_equal_cells():
    passage = Chart(Identity(), square(6, 0)).passage(square(6, 1))
    values = np.random.default_rng(3).normal(size=(36, 2))
    assert passage.to_common(values) is values
    for apply in (passage.to_common, passage.from_common):
        with pytest.raises(ValueError, match="expected equal cells"):
            apply(np.ones((50, 1)), "cell")


def test_points_outside_the_common_shape_are_counted():
    """A ring with a smaller hole that was not morphed reaches into the other's hole."""
    chart = Chart(RadialBasis(), ring(12, 0, 0.5))
    assert chart.passage(ring(12, 1, 0.45)).clamped == 0.0
    wide = ring(12, 0, 0.2)
    outside = Passage(chart, wide, wide.points)
    share = (np.linalg.norm(wide.points, axis=1) < 0.499).mean()
    assert outside.clamped == pytest.approx(share, abs=0.05)
    assert outside.clamped > 0.2


@pytest.mark.parametrize("mesh", [square(6, 0), quads(5)], ids=["triangles", "quads"])
def test_cells_to_points_averages(mesh):
    operator = cells_to_points(mesh)
    np.testing.assert_allclose(operator.sum(axis=1), 1.0, rtol=1e-12)
    assert operator.data.min() > 0
    centre = mesh.points[next(iter(mesh.cells.values()))].mean(1)
    inner = ((mesh.points > 0) & (mesh.points < 1)).all(1)
    found = (operator @ centre)[inner]
    assert np.abs(found - mesh.points[inner]).max() < 0.1


def test_cell_fields_go_there_and_back():
    mesh = bulged(square(25, 2), 1.2, 0.1)
    passage = Chart(Harmonic(), square(25, 0)).passage(mesh)
    centre = mesh.points[mesh.cells["triangle"]].mean(1)
    values = np.sin(2 * centre[:, :1]) + centre[:, 1:]
    back = passage.from_common(passage.to_common(values, "cell"), "cell")
    assert np.sqrt(np.mean((back - values) ** 2)) < 0.02 * np.ptp(values)


def test_values_spread_to_every_point_whatever_the_order_of_the_cells():
    # A row of triangles; the last written knows nothing at first.
    n = 30
    cells = np.stack([np.arange(n), np.arange(1, n + 1), np.arange(2, n + 2)], axis=1)
    for order in (cells, cells[::-1]):
        for known in (0, n + 1):
            values = np.full(n + 2, -1, dtype=np.int32)
            values[known] = 7
            np.testing.assert_array_equal(spread(values, order), 7)
