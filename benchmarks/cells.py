"""What the benchmarks of batteries share: the box of parameters, places in it, CPU seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from fieldcast.meshes.battery import RATES

Made = TypeVar("Made")
BOX = {RATES[0]: (0.5, 4.0), RATES[1]: (1.0, 10.0)}
"""Of factors of the negative exchange current and of the positive diffusivity."""


def timed(work: Callable[[], Made]) -> tuple[Made, float]:
    """What it makes, and its CPU seconds."""
    start = time.process_time()
    made = work()
    return made, time.process_time() - start
