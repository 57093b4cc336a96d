"""Attention along edges by gathers of padded neighbour lists, forward and backward, compiled by
torch: for those who have a compiler and no numba."""

from __future__ import annotations

import inspect
import math
import shutil
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .attention import LEAST, Kernel
from .graph import Graph

BUCKETS = 4
"""Groups of nodes of like degree, each padded on its own."""


class Compiled(Kernel):
    """Compiled once for graphs of any size, which takes half a minute or more."""

    def refusal(self, device: torch.device) -> str | None:
        if device.type == "cpu" and not (shutil.which("g++") or shutil.which("clang++")):
            return "torch.compile needs a C++ compiler on the CPU: apt install g++"
        return None

    def forward(self, graph: Graph, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        out, logsum = torch.empty_like(q), q.new_empty(q.shape[:2])
        ahead = _compiled(_ahead)
        for rows, columns, there in graph.buckets(BUCKETS):
            out[rows], logsum[rows] = ahead((rows, columns, there), q, k, v)
        return out, logsum

    def backward(
        self, graph: Graph, saved: Sequence[Tensor], g: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        gq, gk, gv = (torch.empty_like(g) for _ in range(3))
        for rows, columns, there in graph.buckets(BUCKETS):
            gq[rows] = _compiled(_by_rows)((rows, columns, there), tuple(saved), g)
        for columns, rows, there in graph.transpose.buckets(BUCKETS):
            found = _compiled(_by_columns)((columns, rows, there), tuple(saved), g)
            gk[columns], gv[columns] = found
        return gq, gk, gv


@lru_cache(maxsize=8)
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    # Not what a checker of types made of it.
    return torch.compile(inspect.unwrap(function), dynamic=True, fullgraph=True)


Bucket = tuple[Tensor, Tensor, Tensor]
"""Some nodes, their neighbours, and which are there."""


def _ahead(bucket: Bucket, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    rows, columns, there = bucket
    scores = (q[rows][:, None] * k[columns]).sum(-1) / math.sqrt(q.shape[-1])
    scores = torch.where(there[..., None], scores, -math.inf)
    most = scores.amax(1).clamp(min=LEAST)
    p = (scores - most[:, None]).exp()
    total = p.sum(1).clamp(min=1e-30)
    return (p[..., None] * v[columns]).sum(1) / total[..., None], most + total.log()


def _by_rows(bucket: Bucket, saved: tuple[Tensor, ...], g: Tensor) -> Tensor:
    rows, columns, there = bucket
    q, k, v, logsum, delta = saved
    scale, keys = 1.0 / math.sqrt(q.shape[-1]), k[columns]
    p = ((q[rows][:, None] * keys).sum(-1) * scale - logsum[rows][:, None]).exp()
    p = torch.where(there[..., None], p, 0.0)
    pull = p * ((g[rows][:, None] * v[columns]).sum(-1) - delta[rows][:, None]) * scale
    return (pull[..., None] * keys).sum(1)


def _by_columns(bucket: Bucket, saved: tuple[Tensor, ...], g: Tensor) -> tuple[Tensor, Tensor]:
    columns, rows, there = bucket
    q, k, v, logsum, delta = saved
    scale, asked, given = 1.0 / math.sqrt(q.shape[-1]), q[rows], g[rows]
    p = ((asked * k[columns][:, None]).sum(-1) * scale - logsum[rows]).exp()
    p = torch.where(there[..., None], p, 0.0)
    pull = p * ((given * v[columns][:, None]).sum(-1) - delta[rows]) * scale
    return (pull[..., None] * asked).sum(1), (p[..., None] * given).sum(1)


BACKEND = Compiled
