"""Attention along edges as fused loops that numba compiles: rows in parts over cores, no atomics.
The weights p are kept for the way back, which then needs no products of queries and keys."""

# mypy: disable-error-code="no-untyped-def,call-arg,attr-defined"
from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from .attention import LEAST, Kernel
from .graph import Graph

LEAST_ROWS = 512
"""Rows that are worth a thread."""


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Numba wants the function itself, not what a checker of types made of it."""
    return numba.njit(nogil=True, fastmath=True, cache=True)(inspect.unwrap(function))


# What is written at every neighbour is a local array, which the compiler knows to be no other's.


@_compiled
def _forward(rows, start, column, q, k, v, out, weights, scale, least):
    _, heads, width = q.shape
    ends, mean = start[1:], np.empty(width, q.dtype)
    # Bare numbers are wide, and would make all they touch so.
    zero, one = scale - scale, scale / scale
    for i in range(np.uint64(rows[0]), np.uint64(rows[1])):
        for h in range(heads):
            most = least
            for t in range(start[i], ends[i]):
                j = column[t]
                dot = zero
                for c in range(width):
                    dot += q[i, h, c] * k[j, h, c]
                weights[t, h] = dot * scale
                most = max(most, dot * scale)
            total = zero
            for t in range(start[i], ends[i]):
                p = math.exp(weights[t, h] - most)
                weights[t, h] = p
                total += p
            share = one / total if total > 0 else zero
            mean[:] = zero
            for t in range(start[i], ends[i]):
                j = column[t]
                p = weights[t, h] * share
                weights[t, h] = p
                for c in range(width):
                    mean[c] += p * v[j, h, c]
            for c in range(width):
                out[i, h, c] = mean[c]


@_compiled
def _by_rows(rows, start, column, k, v, weights, delta, g, gq, pulls, scale):
    _, heads, width = g.shape
    ends, found = start[1:], np.empty((heads, width), g.dtype)
    zero = scale - scale
    for i in range(np.uint64(rows[0]), np.uint64(rows[1])):
        found[:] = zero
        for t in range(start[i], ends[i]):
            j = column[t]
            for h in range(heads):
                dot = zero
                for c in range(width):
                    dot += g[i, h, c] * v[j, h, c]
                pull = weights[t, h] * (dot - delta[i, h]) * scale
                pulls[t, h] = pull
                for c in range(width):
                    found[h, c] += pull * k[j, h, c]
        gq[i] = found


@_compiled
def _by_columns(rows, start, row, mirror, q, weights, g, gk, gv, pulls, scale):
    _, heads, width = g.shape
    by_key, by_value = np.empty((heads, width), g.dtype), np.empty((heads, width), g.dtype)
    ends, zero = start[1:], scale - scale
    for j in range(np.uint64(rows[0]), np.uint64(rows[1])):
        by_key[:] = zero
        by_value[:] = zero
        for t in range(start[j], ends[j]):
            i, edge = row[t], mirror[t]
            for h in range(heads):
                p, pull = weights[edge, h], pulls[edge, h]
                for c in range(width):
                    by_key[h, c] += pull * q[i, h, c]
                    by_value[h, c] += p * g[i, h, c]
        gk[j] = by_key
        gv[j] = by_value


def _in_parts(kernel: Callable[..., None], start: Tensor, *given: Any) -> None:
    """A kernel on rows in parts of about as many edges, side by side. numba's own threads would run
    other code when it is compiled than when it is loaded, which rounds otherwise."""
    count = min(torch.get_num_threads(), max(len(start) // LEAST_ROWS, 1))
    marks = torch.linspace(0, int(start[-1]), count + 1)[1:-1].long()
    cuts = [0, *torch.searchsorted(start, marks).tolist(), len(start) - 1]
    bounds = start.numpy()
    if count == 1:
        kernel((0, len(start) - 1), bounds, *given)
        return
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(lambda rows: kernel(rows, bounds, *given), pairwise(cuts)))


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
        out, weights = torch.empty_like(q), q.new_empty(graph.edges, q.shape[1])
        arrays = _arrays(graph.column, q, k, v, out, weights)
        scale = _scale(arrays[1])
        _in_parts(_forward, graph.start, *arrays, scale, type(scale)(LEAST))
        return out, weights

    def backward(
        self, graph: Graph, saved: Sequence[Tensor], g: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, weights, delta = saved
        gq, gk, gv = (torch.empty_like(g) for _ in range(3))
        pulls, turned = torch.empty_like(weights), graph.transpose
        scale = _scale(g.numpy())
        by_row = _arrays(graph.column, k, v, weights, delta, g, gq, pulls)
        _in_parts(_by_rows, graph.start, *by_row, scale)
        by_column = _arrays(turned.column, graph.mirror, q, weights, g, gk, gv, pulls)
        _in_parts(_by_columns, turned.start, *by_column, scale)
        return gq, gk, gv


BACKEND = Numba
