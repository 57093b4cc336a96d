"""Inputs on their way to a device, answers on their way back."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


def placed(inputs: Tensor, where: torch.device) -> Tensor:
    """Inputs on a device. To a GPU they go through pinned memory, on a stream of its own: neither
    this thread nor what the GPU computes meanwhile waits for the copy, only what uses it."""
    if where.type != "cuda" or inputs.device.type != "cpu":
        return inputs.to(where)
    stream, now = _copies(where), torch.cuda.current_stream(where)
    with torch.cuda.stream(stream):
        # The allocator of pinned memory keeps the buffer until the copy is done.
        found = inputs.pin_memory().to(where, non_blocking=True)
    now.wait_stream(stream)
    found.record_stream(now)
    return found


def returned(answer: Tensor) -> np.ndarray:
    """An answer, in single precision where it is in half."""
    return answer.to(torch.promote_types(answer.dtype, torch.float32)).cpu().numpy()


@lru_cache(maxsize=16)
def _copies(where: torch.device) -> torch.cuda.Stream:
    """The stream of copies to a device."""
    return torch.cuda.Stream(where)
