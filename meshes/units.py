"""Units are pint strings; this is the one place where they are converted."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import numpy as np


@lru_cache(maxsize=1)
def _registry() -> Any:
    import pint

    return pint.UnitRegistry(autoconvert_offset_to_baseunit=True)


@lru_cache(maxsize=1024)
def conversion(source: str, target: str) -> tuple[float, float]:
    """(a, b) with value[target] = a value[source] + b. A unit that is not stated ("") converts to
    anything unchanged.

    Raises:
        ValueError: unknown units, or units of different dimensions.
    """
    if not source or not target or source == target:
        return 1.0, 0.0
    unit = _registry()
    try:
        zero = unit.Quantity(0.0, source).to(target).magnitude
        one = unit.Quantity(1.0, source).to(target).magnitude
    except Exception as error:  # as in check_unit
        raise ValueError(
            f"expected a unit that converts to {target!r}, got {source!r}: {error}"
        ) from error
    return float(one - zero), float(zero)


def converted(values: np.ndarray, source: str, target: str) -> np.ndarray:
    """`values` in `source`, expressed in `target`."""
    a, b = conversion(source, target)
    return values if (a, b) == (1.0, 0.0) else a * values + b


def check_unit(text: str) -> str:
    """`text` if pint knows it ("" is "not stated").

    Raises:
        ValueError: it does not.
    """
    try:
        _registry().parse_units(text)
    except Exception as error:  # its parser raises whatever Python's tokenizer and arithmetic do
        raise ValueError(
            f"expected a unit such as 'Pa', 'm/s' or 'degC', got {text!r}: {error}"
        ) from error
    return text


_FACTOR = re.compile(r"^\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*)$")
_POWER = re.compile(r"([A-Za-z%°])(?:\^|\*\*)?([-+]?[0-9]+)")
_SYMBOLS = {"degree_Celsius": "degC", "degree": "degree", "micrometer": "um"}


def cf_conversion(source: str, target: str) -> tuple[float, float]:
    """(a, b) with value[target] = a value[source] + b, where `source` is written as in CF files
    ("K s-1", "1.e-6", "degrees_north"; none is dimensionless) and `target` is a pint string.

    Raises:
        ValueError: as `conversion`.
    """
    factor, unit = _from_cf(source)
    if not target:
        return factor, 0.0
    a, b = conversion(unit or "dimensionless", target)
    return a * factor, b


def from_cf(text: str) -> str:
    """A CF (udunits) unit as a pint string, a leading factor left out.

    Raises:
        ValueError: pint does not know it.
    """
    return check_unit(_from_cf(text)[1])


def _from_cf(text: str) -> tuple[float, str]:
    found = _FACTOR.match(text)
    factor, rest = (float(found[1]), found[2]) if found else (1.0, text.strip())
    rest = re.sub(r"\bdegrees?_(?:north|east|[NE])\b", "degree", rest)
    rest = _POWER.sub(r"\1**\2", rest.replace(".", " "))
    return factor, re.sub(r"\s+(?![*/^])(?<![*/^]\s)", " * ", rest)


def to_cf(unit: str) -> str:
    """A pint string as CF (udunits) writes it: "W/m^2" is "W m-2", "" and ratios are "1"."""
    registry = _registry()
    parts = []
    for name, power in registry.parse_units(check_unit(unit))._units.items():
        symbol = _SYMBOLS.get(name) or registry.get_symbol(name)
        parts.append(symbol if power == 1 else f"{symbol}{power:g}")
    return " ".join(parts) or "1"
