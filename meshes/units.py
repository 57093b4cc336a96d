"""Units are pint strings; this is the one place where they are converted."""

from __future__ import annotations

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
