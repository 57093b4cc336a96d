"""Ranges are told by name and level, and a loop that leaves them is stopped with both."""

import numpy as np
import pytest

from fieldcast.surrogates.stability import Layout, StabilityMonitor, Unstable

LAYOUT = Layout.of([("sun", "W/m^2", 1, 1), ("T", "K", 4, 1), ("wind", "m/s", 8, 2)])
MONITOR = StabilityMonitor(LAYOUT, *LAYOUT.ends({"T": (150.0, 350.0)}))


def test_numbers_are_told():
    assert LAYOUT.size == 13
    told = [LAYOUT.told(k) for k in (0, 1, 4, 5, 12)]
    assert told == [
        "sun",
        "T, level 0",
        "T, level 3",
        "wind, level 0, component 0",
        "wind, level 3, component 1",
    ]
    assert [LAYOUT.unit(k) for k in (0, 4, 5)] == ["W/m^2", "K", "m/s"]


def test_what_is_within_passes():
    MONITOR.check(np.full((3, 13), 200.0), "step 1")


@pytest.mark.parametrize("value", [np.nan, np.inf, 400.0, 149.0])
def test_what_is_not_is_raised_with_its_place(value):
    rows = np.full((5, 13), 200.0)
    rows[3, 2] = value
    with pytest.raises(Unstable, match="step 7, inputs: expected T, level 1 finite and from 150 "):
        MONITOR.check(rows, "step 7, inputs")
    with pytest.raises(Unstable, match=rf"got {value:.6g} in column 3; 1 values in 1 column"):
        MONITOR.check(rows, "step 7")


def test_holes_are_told_where_there_are_no_ranges():
    rows = np.full((2, 13), 200.0)
    rows[1, 12] = np.nan
    with pytest.raises(Unstable, match=r"wind, level 3, component 1 .* m/s, got nan in column 1"):
        MONITOR.check(rows, "step 7")


def test_other_rows_and_ranges_are_refused():
    with pytest.raises(ValueError, match="expected rows of 13 numbers"):
        MONITOR.check(np.zeros((2, 3)), "step 1")
    with pytest.raises(ValueError, match=r"got 'T': \(2\.0, 1\.0\)"):
        LAYOUT.ends({"T": (2.0, 1.0)})
