"""Units: round trips, offsets, what is not stated, what does not convert."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldcast.conformance.refusals import refusal
from fieldcast.meshes.units import check_unit, conversion, converted

PAIRS = [("Pa", "kPa"), ("degC", "K"), ("degF", "degC"), ("mm", "m"), ("W/m/K", "W/cm/K")]


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        (101325.0, "Pa", "bar", 1.01325),
        (25.0, "degC", "K", 298.15),
        (212.0, "degF", "degC", 100.0),
        (1.0, "inch", "mm", 25.4),
        (1.0, "N/mm^2", "MPa", 1.0),
        (90.0, "deg", "rad", np.pi / 2),
        (5.0, "percent", "", 5.0),
        (3.0, "", "Pa", 3.0),
        (3.0, "Pa", "", 3.0),
    ],
)
def test_known_values(value, source, target, expected):
    assert converted(np.array([value]), source, target)[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("one", "other"), PAIRS)
@given(value=st.floats(-1e6, 1e6))
def test_round_trip(one, other, value):
    back = converted(converted(np.array([value]), one, other), other, one)
    np.testing.assert_allclose(back, value, rtol=1e-12, atol=1e-9)


def test_the_same_unit_is_the_same_array():
    values = np.arange(3.0)
    assert converted(values, "Pa", "Pa") is values
    assert conversion("m", "m") == (1.0, 0.0)


def test_the_given_array_stays_as_it_is():
    values = np.arange(3.0)
    values.flags.writeable = False
    np.testing.assert_allclose(converted(values, "m", "mm"), [0.0, 1e3, 2e3])


@pytest.mark.parametrize(("source", "target"), [("m", "Pa"), ("nonsense", "Pa"), ("m", "m^^2")])
def test_what_does_not_convert(source, target):
    with pytest.raises(ValueError, match=f"converts to '{target[0]}.*got '{source}'"):
        conversion(source, target)


@pytest.mark.parametrize("unit", ["", "Pa", "m/s^2", "degC", "W/m/K", "kg*m^2/s"])
def test_units_that_exist(unit):
    assert check_unit(unit) == unit


@pytest.mark.parametrize("unit", ["Paa", "3 +", "m^", "(m", "1/0", "\\0", "m\n/s)"])
def test_units_that_do_not_exist(unit):
    with pytest.raises(ValueError, match="expected a unit such as"):
        check_unit(unit)
    with pytest.raises(ValueError, match="converts to 'Pa'"):
        conversion(unit, "Pa")


@settings(max_examples=200, deadline=None)
@given(st.text("aAmPs0159.()[]^*/+-% _'\n\\é°µ,:=", max_size=8))
def test_any_text_is_a_unit_or_refused(text):
    message = refusal(lambda: check_unit(text))
    assert message is None or repr(text) in message
