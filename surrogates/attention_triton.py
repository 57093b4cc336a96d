"""Attention along edges as fused kernels for GPUs: one program per row and head, its neighbours a
block at a time. Where there is no GPU the same kernels are run by triton's interpreter
(TRITON_INTERPRET=1), or only compiled (`sources`)."""

# mypy: disable-error-code=no-untyped-def
from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .attention import Kernel
from .graph import Graph

BLOCK = 16
"""Neighbours that a program looks at together."""


def _compiled(function: Callable[..., None]) -> Any:
    """Triton wants the function itself, not what a checker of types made of it."""
    return triton.jit(inspect.unwrap(function))


@_compiled
def _forward(
    start,
    column,
    q,
    k,
    v,
    out,
    logsum,
    heads,
    scale: tl.constexpr,
    width: tl.constexpr,
    room: tl.constexpr,
    block: tl.constexpr,
):
    """Softmax as it goes: the largest score so far, the sum and the weighted values."""
    i, h = tl.program_id(0), tl.program_id(1)
    first, last = tl.load(start + i), tl.load(start + i + 1)
    c = tl.arange(0, room)
    inside = c < width
    own = (i.to(tl.int64) * heads + h) * width + c
    query = tl.load(q + own, mask=inside, other=0.0) * scale
    most = tl.sum(query * 0.0) - 1e30
    total = tl.sum(query * 0.0)
    mean = query * 0.0
    for t in range(first, last, block):
        edge = t + tl.arange(0, block)
        there = edge < last
        j = tl.load(column + edge, mask=there, other=0).to(tl.int64)
        place = (j[:, None] * heads + h) * width + c[None, :]
        mask = there[:, None] & inside[None, :]
        keys = tl.load(k + place, mask=mask, other=0.0)
        scores = tl.where(there, tl.sum(keys * query[None, :], axis=1), -1e30)
        higher = tl.maximum(most, tl.max(scores, axis=0))
        p = tl.where(there, tl.exp(scores - higher), 0.0)
        shrink = tl.exp(most - higher)
        values = tl.load(v + place, mask=mask, other=0.0)
        mean = mean * shrink + tl.sum(p[:, None] * values, axis=0)
        total = total * shrink + tl.sum(p, axis=0)
        most = higher
    some = tl.maximum(total, 1e-30)
    tl.store(out + own, mean / some, mask=inside)
    tl.store(logsum + i * heads + h, most + tl.log(some))


@_compiled
def _by_rows(
    start,
    column,
    q,
    k,
    v,
    logsum,
    delta,
    g,
    gq,
    heads,
    scale: tl.constexpr,
    width: tl.constexpr,
    room: tl.constexpr,
    block: tl.constexpr,
):
    i, h = tl.program_id(0), tl.program_id(1)
    first, last = tl.load(start + i), tl.load(start + i + 1)
    c = tl.arange(0, room)
    inside = c < width
    own = (i.to(tl.int64) * heads + h) * width + c
    query = tl.load(q + own, mask=inside, other=0.0)
    given = tl.load(g + own, mask=inside, other=0.0)
    level, middle = tl.load(logsum + i * heads + h), tl.load(delta + i * heads + h)
    total = query * 0.0
    for t in range(first, last, block):
        edge = t + tl.arange(0, block)
        there = edge < last
        j = tl.load(column + edge, mask=there, other=0).to(tl.int64)
        place = (j[:, None] * heads + h) * width + c[None, :]
        mask = there[:, None] & inside[None, :]
        keys = tl.load(k + place, mask=mask, other=0.0)
        values = tl.load(v + place, mask=mask, other=0.0)
        p = tl.where(there, tl.exp(tl.sum(keys * query[None, :], axis=1) * scale - level), 0.0)
        pull = p * (tl.sum(values * given[None, :], axis=1) - middle) * scale
        total += tl.sum(pull[:, None] * keys, axis=0)
    tl.store(gq + own, total, mask=inside)


@_compiled
def _by_columns(
    start,
    row,
    q,
    k,
    v,
    logsum,
    delta,
    g,
    gk,
    gv,
    heads,
    scale: tl.constexpr,
    width: tl.constexpr,
    room: tl.constexpr,
    block: tl.constexpr,
):
    j, h = tl.program_id(0), tl.program_id(1)
    first, last = tl.load(start + j), tl.load(start + j + 1)
    c = tl.arange(0, room)
    inside = c < width
    own = (j.to(tl.int64) * heads + h) * width + c
    key = tl.load(k + own, mask=inside, other=0.0)
    value = tl.load(v + own, mask=inside, other=0.0)
    by_key, by_value = key * 0.0, key * 0.0
    for t in range(first, last, block):
        edge = t + tl.arange(0, block)
        there = edge < last
        i = tl.load(row + edge, mask=there, other=0).to(tl.int64)
        place = (i[:, None] * heads + h) * width + c[None, :]
        mask = there[:, None] & inside[None, :]
        queries = tl.load(q + place, mask=mask, other=0.0)
        given = tl.load(g + place, mask=mask, other=0.0)
        level = tl.load(logsum + i * heads + h, mask=there, other=0.0)
        middle = tl.load(delta + i * heads + h, mask=there, other=0.0)
        p = tl.where(there, tl.exp(tl.sum(queries * key[None, :], axis=1) * scale - level), 0.0)
        pull = p * (tl.sum(given * value[None, :], axis=1) - middle) * scale
        by_key += tl.sum(pull[:, None] * queries, axis=0)
        by_value += tl.sum(p[:, None] * given, axis=0)
    tl.store(gk + own, by_key, mask=inside)
    tl.store(gv + own, by_value, mask=inside)


KERNELS = {"forward": _forward, "rows": _by_rows, "columns": _by_columns}


def interpreted() -> bool:
    """Whether kernels are run by the interpreter, which needs no GPU."""
    return bool(triton.knobs.runtime.interpret)


def _settings(q: Tensor) -> dict[str, Any]:
    """What a kernel is compiled for; numbers that are not would be rounded to single precision."""
    width = q.shape[-1]
    room = triton.next_power_of_2(width)
    return {"scale": width**-0.5, "width": width, "room": room, "block": BLOCK}


class Triton(Kernel):
    """One program per row and head."""

    def refusal(self, device: torch.device) -> str | None:
        if device.type != "cuda" and not interpreted():
            return f'it is made for GPUs, got {device}; use "numba" or "chunks"'
        return None

    def forward(self, graph: Graph, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        out, logsum = torch.empty_like(q), q.new_empty(q.shape[:2])
        heads = q.shape[1]
        arrays = (graph.start, graph.column, q, k, v, out, logsum)
        _forward[(graph.nodes, heads)](*arrays, heads, **_settings(q))
        return out, logsum

    def backward(
        self, graph: Graph, saved: Sequence[Tensor], g: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        gq, gk, gv = (torch.empty_like(g) for _ in range(3))
        heads = g.shape[1]
        grid, settings, turned = (graph.nodes, heads), _settings(g), graph.transpose
        _by_rows[grid](graph.start, graph.column, *saved, g, gq, heads, **settings)
        _by_columns[grid](turned.start, turned.column, *saved, g, gk, gv, heads, **settings)
        return gq, gk, gv


BACKEND = Triton
