"""Units as CF files write them."""

from __future__ import annotations

import pytest

from fieldcast.meshes.units import cf_conversion, from_cf, to_cf


@pytest.mark.parametrize(
    ("text", "unit", "factor"),
    [
        ("K s-1", "K/day", 86400.0),
        ("kg kg-1", "g/kg", 1000.0),
        ("1.e-6", "1", 1e-6),
        ("W m-2", "W/m^2", 1.0),
        ("m**2 s**-2", "J/kg", 1.0),
        ("percent", "", 1.0),
        ("percent", "1", 0.01),
        ("", "1", 1.0),
        ("g/kg /s", "1/s", 1e-3),
    ],
)
def test_conversion(text, unit, factor):
    assert cf_conversion(text, unit) == pytest.approx((factor, 0.0))


def test_there_and_back():
    for text in ("K s-1", "W m-2", "kg m-2 s-1", "hPa", "1", "m2 s-2"):
        assert to_cf(from_cf(text)) == text
    assert to_cf("kg/kg/s") == "s-1"
    assert to_cf("degC") == "degC"
    assert cf_conversion("degC", "K") == pytest.approx((1.0, 273.15))


def test_other_dimensions_are_refused():
    with pytest.raises(ValueError, match="'Pa'"):
        cf_conversion("K", "Pa")
    with pytest.raises(ValueError, match="candle"):
        cf_conversion("candles_of", "Pa")
