"""Attention along edges as fused loops: what numba compiles. Two passes of rows over cores, no
atomics, no temporaries but the scores of one row."""

# mypy: disable-error-code="no-untyped-def,call-arg,attr-defined"
from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence

import numba
import numpy as np
import torch
from torch import Tensor

from .attention import LEAST, Kernel
from .graph import Graph


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Numba wants the function itself, not what a checker of types made of it."""
    return numba.njit(parallel=True, fastmath=True, cache=True)(inspect.unwrap(function))


@_compiled
def _forward(start, column, q, k, v, out, logsum, scale, least):
    n, heads, width = q.shape
    # Bare numbers are wide, and would make all they touch so.
    zero, one = scale - scale, scale / scale
    for i in numba.prange(n):
        first, last = start[i], start[i + 1]
        p = np.empty(last - first, q.dtype)
        for h in range(heads):
            most = least
            for t in range(last - first):
                j = column[first + t]
                dot = zero
                for c in range(width):
                    dot += q[i, h, c] * k[j, h, c]
                p[t] = dot * scale
                most = max(most, p[t])
            total = zero
            for t in range(last - first):
                p[t] = math.exp(p[t] - most)
                total += p[t]
            for c in range(width):
                out[i, h, c] = zero
            if total > 0:
                share = one / total
                for t in range(last - first):
                    j = column[first + t]
                    weight = p[t] * share
                    for c in range(width):
                        out[i, h, c] += weight * v[j, h, c]
                logsum[i, h] = most + math.log(total)
            else:
                logsum[i, h] = least


@_compiled
def _by_rows(start, column, q, k, v, logsum, delta, g, gq, scale):
    n, heads, width = q.shape
    # Bare numbers are wide, and would make all they touch so.
    zero = scale - scale
    for i in numba.prange(n):
        for h in range(heads):
            for c in range(width):
                gq[i, h, c] = 0
            for t in range(start[i], start[i + 1]):
                j = column[t]
                dot, pull = zero, zero
                for c in range(width):
                    dot += q[i, h, c] * k[j, h, c]
                    pull += g[i, h, c] * v[j, h, c]
                weight = math.exp(dot * scale - logsum[i, h]) * (pull - delta[i, h]) * scale
                for c in range(width):
                    gq[i, h, c] += weight * k[j, h, c]


@_compiled
def _by_columns(start, row, q, k, v, logsum, delta, g, gk, gv, scale):
    n, heads, width = q.shape
    # Bare numbers are wide, and would make all they touch so.
    zero = scale - scale
    for j in numba.prange(n):
        for h in range(heads):
            for c in range(width):
                gk[j, h, c] = 0
                gv[j, h, c] = 0
            for t in range(start[j], start[j + 1]):
                i = row[t]
                dot, pull = zero, zero
                for c in range(width):
                    dot += q[i, h, c] * k[j, h, c]
                    pull += g[i, h, c] * v[j, h, c]
                p = math.exp(dot * scale - logsum[i, h])
                weight = p * (pull - delta[i, h]) * scale
                for c in range(width):
                    gk[j, h, c] += weight * q[i, h, c]
                    gv[j, h, c] += p * g[i, h, c]


def _threads() -> None:
    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [t.detach().numpy() for t in tensors]


def _scale(q: np.ndarray) -> np.floating:
    return q.dtype.type(q.shape[-1] ** -0.5)


class Numba(Kernel):
    """Loops over rows, side by side on the cores."""

    def refusal(self, device: torch.device) -> str | None:
        if device.type != "cpu":
            return f'it is made for the CPU, got {device}; use "triton" or "chunks"'
        return None

    def forward(self, graph: Graph, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        _threads()
        out, logsum = torch.empty_like(q), q.new_empty(q.shape[:2])
        arrays = _arrays(graph.start, graph.column, q, k, v, out, logsum)
        scale = _scale(arrays[2])
        _forward(*arrays, scale, type(scale)(LEAST))
        return out, logsum

    def backward(
        self, graph: Graph, saved: Sequence[Tensor], g: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        _threads()
        gq, gk, gv = (torch.empty_like(g) for _ in range(3))
        arrays = _arrays(*saved, g)
        scale, turned = _scale(arrays[0]), graph.transpose
        _by_rows(*_arrays(graph.start, graph.column), *arrays, *_arrays(gq), scale)
        _by_columns(*_arrays(turned.start, turned.column), *arrays, *_arrays(gk, gv), scale)
        return gq, gk, gv


BACKEND = Numba
