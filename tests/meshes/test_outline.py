"""Closed curves: arc length, corners, and what of one curve corresponds to what of another."""

import numpy as np
import pytest

from fieldcast.meshes.outline import (
    CORNER,
    Outline,
    Sections,
    closest_start,
    fractions,
    matched_corners,
    matched_loops,
    resampled,
)


def circle(n, start=0.0, radius=1.0, centre=(0.0, 0.0)):
    angle = start + 2 * np.pi * np.arange(n) / n
    points = radius * np.stack([np.cos(angle), np.sin(angle)], 1)
    return Outline(points + np.array(centre))


def rectangle(n, width=1.0, height=1.0, start=0):
    """4 n points, from the lower left corner, or `start` points after."""
    t = np.arange(n) / n
    sides = [(t, 0 * t), (1 + 0 * t, t), (1 - t, 1 + 0 * t), (0 * t, 1 - t)]
    points = np.vstack([np.stack(side, 1) for side in sides]) * [width, height]
    return Outline(np.roll(points, -start, axis=0))


def ellipse(n, start=0.0):
    angle = start + 2 * np.pi * np.arange(n) / n
    return Outline(np.stack([2 * np.cos(angle), np.sin(angle)], 1))


def test_arc_length():
    outline = rectangle(5, 2.0, 1.0)
    assert outline.arc[0] == 0
    assert outline.arc[-1] == pytest.approx(6.0, rel=1e-14)
    assert (np.diff(outline.arc) > 0).all()
    np.testing.assert_allclose(np.diff(outline.arc), outline.steps)
    assert circle(500).arc[-1] == pytest.approx(2 * np.pi, rel=1e-4)


def test_turning_adds_up_to_a_full_turn():
    for outline in (circle(17), rectangle(4), ellipse(40)):
        assert outline.turning().sum() == pytest.approx(2 * np.pi, rel=1e-9)


@pytest.mark.parametrize("start", [0, 3, 7])
def test_corners_of_a_rectangle(start):
    outline = rectangle(5, 2.0, 1.0, start)
    corners = outline.corners(CORNER)
    found = {tuple(p) for p in outline.points[corners].round(9)}
    assert found == {(0, 0), (2, 0), (2, 1), (0, 1)}


def test_smooth_curves_have_no_corner():
    assert len(circle(30).corners(CORNER)) == 0
    assert Sections.of(circle(30)).smooth
    assert not Sections.of(rectangle(4)).smooth


def test_corners_are_matched_whatever_the_first_point():
    target = rectangle(5, 2.0, 1.0)
    corners = target.corners(CORNER)
    goals = target.normalised[corners]
    for start in (1, 6, 13):
        other = rectangle(9, 2.2, 0.9, start)
        found = matched_corners(other, other.corners(CORNER), goals)
        np.testing.assert_allclose(other.normalised[found], goals, atol=1e-12)


def test_another_number_of_corners_is_refused():
    with pytest.raises(ValueError, match=r"a boundary with 4 corners .* got one with 0"):
        matched_corners(circle(40), np.empty(0, dtype=int), np.zeros((4, 2)))


def test_fractions_run_from_anchor_to_anchor():
    outline = rectangle(4, 2.0, 1.0, start=2)
    anchors = outline.corners(CORNER)
    share, section = fractions(outline, anchors)
    assert share.min() >= 0.0
    assert share.max() < 1.0
    np.testing.assert_array_equal(share[anchors], 0.0)
    np.testing.assert_array_equal(section[anchors], np.arange(4))
    for k in range(4):
        np.testing.assert_allclose(np.sort(share[section == k]), np.arange(4) / 4, atol=1e-12)


@pytest.mark.parametrize("start", [0.0, 0.4, 3.0])
def test_points_of_another_circle_go_to_the_same_angle(start):
    """Same share of arc length on a spline through a circle: the same direction from its
    centre."""
    target, other = circle(64), circle(50, start, radius=3.0, centre=(1.0, 2.0))
    found = Sections.of(target).matched(other)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)
    directions = (other.points - [1.0, 2.0]) / 3.0
    lag = np.arctan2(*(found[:, ::-1] * [1, 1]).T) - np.arctan2(*(directions[:, ::-1]).T)
    lag = (lag + np.pi) % (2 * np.pi) - np.pi
    assert np.ptp(lag) < 1e-4
    assert np.abs(lag).max() < 2 * np.pi / 50


def test_rectangles_are_matched_side_by_side():
    target, other = rectangle(6), rectangle(10, 3.0, 1.5, start=7)
    found = Sections.of(target).matched(other)
    np.testing.assert_allclose(found, other.points / [3.0, 1.5], atol=1e-9)


def test_the_distance_to_a_curve():
    sections = Sections.of(circle(200))
    x = np.random.default_rng(0).uniform(-1.5, 1.5, (100, 2))
    exact = np.abs(np.linalg.norm(x, axis=1) - 1)
    np.testing.assert_allclose(sections.distance(x), exact, atol=2e-4)


def test_resampled_at_equal_arcs():
    points = resampled(rectangle(5, 2.0, 1.0, start=3), 60, first=17)
    steps = np.abs(np.diff(points, axis=0)).sum(1)
    np.testing.assert_allclose(steps, 0.1, rtol=1e-12)


@pytest.mark.parametrize("start", [0.3, 1.0, 2.5])
def test_closest_start_finds_the_same_place(start):
    first = closest_start(ellipse(200, start), ellipse(120))
    np.testing.assert_allclose(ellipse(200, start).points[first], [2.0, 0.0], atol=0.05)


def test_holes_are_matched_by_their_places():
    outer = circle(60, radius=5.0)
    places = [(2.0, 0.0), (-2.0, 0.5), (0.0, -3.0)]
    targets = [outer, *(circle(20, radius=0.5, centre=c) for c in places)]
    loops = [outer, *(circle(25, radius=0.6, centre=places[k]) for k in (2, 0, 1))]
    assert matched_loops(loops, targets) == [0, 3, 1, 2]
    assert matched_loops(loops[:2], targets[:2]) == [0, 1]
