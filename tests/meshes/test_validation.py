"""Our own checks of what a decoder found."""

from dataclasses import replace

import numpy as np
import pytest

from fieldcast.meshes.raw import RawField, raw_of_blocks
from fieldcast.meshes.validation import InvalidMesh, check

POINTS = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
GOOD = raw_of_blocks(POINTS, [(5, np.array([[0, 1, 2], [0, 2, 3]]))])


def with_field(values, on="point"):
    return replace(GOOD, fields=(RawField("p", np.asarray(values, float)[None, :, None], on),))


def test_a_good_mesh_has_no_warning():
    assert check(with_field([1, 2, 3, 4])) == []


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (replace(GOOD, points=np.zeros((0, 3))), "at least one point"),
        (replace(GOOD, points=np.where(POINTS == 1, np.nan, POINTS)), "finite"),
        (replace(GOOD, points=np.where(POINTS == 1, np.inf, POINTS)), "finite"),
        (replace(GOOD, connectivity=np.array([0, 1, 2, 0, 2, 99])), "point 99 in cell 1"),
        (replace(GOOD, connectivity=np.array([0, 1, 2, 0, 2, -1])), "point -1 in cell 1"),
        (replace(GOOD, types=np.array([5, 250], np.uint8)), "250"),
        (replace(GOOD, types=np.array([5, 9], np.uint8)), "number 9 with 3 nodes"),
        (replace(GOOD, offsets=np.array([0, 3, 5])), "offsets"),
        (replace(GOOD, offsets=np.array([0, 7, 6])), "offsets"),
        (with_field([1, 2, 3]), "expected 4 values"),
        (with_field([1, 2, 3], "cell"), "expected 2 values"),
        (replace(GOOD, fields=(RawField("p", np.zeros((2, 4, 1))),)), "times"),
    ],
)
def test_what_no_mesh_can_be_made_of_is_an_error(broken, says):
    with pytest.raises(InvalidMesh, match=says):
        check(broken)


@pytest.mark.parametrize(
    ("odd", "says"),
    [
        (
            raw_of_blocks(
                np.vstack([POINTS, [[9.0, 9, 9]]]), [(5, np.array([[0, 1, 2], [0, 2, 3]]))]
            ),
            "no cell",
        ),
        (raw_of_blocks(POINTS, [(5, np.array([[0, 1, 2], [0, 2, 3], [2, 0, 1]]))]), "twice"),
        (
            raw_of_blocks(POINTS, [(5, np.array([[0, 1, 2], [0, 2, 3], [2, 2, 1]]))]),
            "names? a point twice|name a point",
        ),
        (raw_of_blocks(POINTS * [1, 0, 0], [(5, np.array([[0, 1, 2], [0, 2, 3]]))]), "no area"),
        (replace(GOOD, points=1e12 * POINTS), "coordinates up to"),
        (with_field([1, 2, 3, 1e300]), "values up to"),
        (with_field([1, 2, 3, np.nan]), "NaN"),
        (raw_of_blocks(POINTS, []), "no cells"),
    ],
)
def test_what_is_odd_is_a_warning(odd, says):
    assert any(__import__("re").search(says, line) for line in check(odd))


def test_tiny_scales_are_not_degenerate():
    assert check(replace(GOOD, points=1e-9 * POINTS)) == []
