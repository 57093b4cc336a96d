"""Attention along the edges of a graph: one function, interchangeable backends.

o_i = sum_j p_ij v_j,   p_ij = exp(q_i . k_j / sqrt(d) - l_i),

l_i = log sum_j exp(q_i . k_j / sqrt(d)), j over the neighbours of i, head by head; 0 where there
are none. The way back has two passes over edges, by rows and by columns, and no atomics:

    gq_i = sum_j s_ij k_j,   gk_j = sum_i s_ij q_i,   gv_j = sum_i p_ij g_i,
    s_ij = p_ij (g_i . v_j - g_i . o_i) / sqrt(d).

A `Kernel` is these passes; dgl's backend differentiates by itself. This file and `graph.py` import
nothing but numpy, scipy and torch; backends that need more lie in files of their own.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from .graph import Graph

LEAST = -1e30
"""Stands for log 0."""
CHUNK = 2**18
"""Values of neighbours that the eager form gathers at a time: so many stay in a core's cache."""
FASTEST = ("triton", "numba", "sparse", "chunks")
"""What "auto" tries, the fastest first."""
MISSING = {
    "numba": "pip install 'fieldcast[graph]'",
    "triton": "pip install triton",
    "dgl": "its last packages are for torch 2.2.1 (make dgl-check) and 2.4.0 (its own index)",
}


class Backend(ABC):
    """One way to compute attention."""

    @abstractmethod
    def refusal(self, device: torch.device) -> str | None:
        """Why it can't be used there, and what to do; None where it can."""

    @abstractmethod
    def __call__(self, q: Tensor, k: Tensor, v: Tensor, graph: Graph) -> Tensor:
        """Attention, differentiable."""


class Kernel(Backend):
    """A backend with gradients of its own. q, k, v (node, head, channel), float32 or float64,
    contiguous."""

    @abstractmethod
    def forward(self, graph: Graph, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """o, and what the way back needs: l (node, head) or p (edge, head)."""

    @abstractmethod
    def backward(
        self, graph: Graph, saved: Sequence[Tensor], g: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients by q, k and v, from saved = (q, k, v, what was kept, g . o) and the gradient g
        by o."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, graph: Graph) -> Tensor:
        return _Attention.apply(q, k, v, graph, self)


class _Attention(torch.autograd.Function):
    """Half precision is computed in float32."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, graph: Graph, kernel: Kernel) -> Tensor:
        parts = [wide(part).contiguous() for part in (q, k, v)]
        out, kept = kernel.forward(graph, *parts)
        ctx.save_for_backward(q, k, v, out.to(q.dtype), kept)
        ctx.graph, ctx.kernel = graph, kernel
        return out.to(q.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, kept = ctx.saved_tensors
        q_, k_, v_, g_, out_ = (wide(part).contiguous() for part in (q, k, v, g, out))
        delta = (g_ * out_).sum(-1)
        found = ctx.kernel.backward(ctx.graph, (q_, k_, v_, kept, delta), g_)
        return *(part.to(q.dtype) for part in found), None, None


def wide(tensor: Tensor) -> Tensor:
    """Half precision as float32."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def attention(
    q: Tensor, k: Tensor, v: Tensor, graph: Graph, backend: str | Backend = "auto"
) -> Tensor:
    """Attention of q (node, head, channel) to k and v of the same shape along `graph`; (node, head,
    channel). Twice the same call gives the same bits.

    `backend` "auto" is the fastest that needs no compiler: "triton" on a GPU, else "numba",
    "sparse" or "chunks", whichever comes first and is there. By name also "compiled" and "dgl".

    Raises:
        ValueError: tensors that don't fit, an unknown backend or one that can't be used here; says
            why and what to do.
    """
    if not q.shape == k.shape == v.shape or q.dim() != 3 or len(q) != graph.nodes:
        raise ValueError(
            f"expected q, k and v of one shape ({graph.nodes} nodes, head, channel), got "
            f"{tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}"
        )
    if not graph.edges:
        return 0.0 * v
    return kernel_of(backend, q.device)(q, k, v, graph)


def kernel_of(backend: str | Backend, device: torch.device) -> Backend:
    """The kernel of a backend's name.

    Raises:
        ValueError: as `attention`.
    """
    if isinstance(backend, Backend):
        return backend
    if backend == "auto":
        return _fastest(str(device))
    kernel = _loaded(backend)
    refusal = kernel if isinstance(kernel, str) else kernel.refusal(device)
    if isinstance(kernel, Backend) and refusal is None:
        return kernel
    raise ValueError(f"backend {backend!r} can't be used: {refusal}")


@lru_cache(maxsize=8)
def _fastest(device: str) -> Backend:
    for name in FASTEST:
        kernel = _loaded(name)
        if isinstance(kernel, Backend) and kernel.refusal(torch.device(device)) is None:
            return kernel
    raise AssertionError("the eager form is always there")


@lru_cache(maxsize=8)
def _loaded(name: str) -> Backend | str:
    """The kernel, or why it does not load."""
    if name in PLAIN:
        return PLAIN[name]()
    if name not in ELSEWHERE:
        known = sorted((*PLAIN, *ELSEWHERE, "auto"))
        raise ValueError(f"expected a backend of {known}, got {name!r}")
    try:
        return import_module(f".attention_{name}", __package__).BACKEND()
    except Exception as error:
        # dgl's import fails in many ways beside a torch that it was not built for.
        what = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        return f"it does not load beside torch {torch.__version__} ({what}); {MISSING[name]}"


class Chunks(Kernel):
    """Rows in chunks whose neighbours fit into a core's cache; plain torch, always there."""

    def refusal(self, device: torch.device) -> str | None:
        return None

    def forward(self, graph: Graph, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        scale = q.shape[-1] ** -0.5
        out, logsum = torch.empty_like(q), q.new_empty(q.shape[:2])
        for first, last in _chunks(graph, q):
            row, column = graph.rows(first, last)
            ends = graph.start[first : last + 1] - graph.start[first]
            scores = _dots(q[first:last], row, k, column) * scale
            most = torch.segment_reduce(scores, "max", offsets=ends, axis=0, initial=LEAST)
            p = (scores - most.index_select(0, row)).exp_()
            total = _summed(p, row, ends)
            here = _summed(v.index_select(0, column).mul_(p[..., None]), row, ends)
            torch.div(here, total.clamp(min=1e-30)[..., None], out=out[first:last])
            logsum[first:last] = most + total.clamp(min=1e-30).log()
        return out, logsum

    def backward(
        self, graph: Graph, saved: Sequence[Tensor], g: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, logsum, delta = saved
        scale = q.shape[-1] ** -0.5
        gq, gk, gv = (torch.empty_like(q) for _ in range(3))
        for first, last in _chunks(graph, q):
            row, column = graph.rows(first, last)
            ends = graph.start[first : last + 1] - graph.start[first]
            keys = k.index_select(0, column)
            scores = (q[first:last].index_select(0, row) * keys).sum(-1) * scale
            p = (scores - logsum[first:last].index_select(0, row)).exp_()
            pull = _dots(g[first:last], row, v, column) - delta[first:last].index_select(0, row)
            gq[first:last] = _summed(keys.mul_((p * pull * scale)[..., None]), row, ends)
        turned = graph.transpose
        for first, last in _chunks(turned, q):
            column, row = turned.rows(first, last)
            ends = turned.start[first : last + 1] - turned.start[first]
            asked, given = q.index_select(0, row), g.index_select(0, row)
            scores = (asked * k[first:last].index_select(0, column)).sum(-1) * scale
            p = (scores - logsum.index_select(0, row)).exp_()
            pull = (given * v[first:last].index_select(0, column)).sum(-1)
            pull = (pull - delta.index_select(0, row)) * p * scale
            gk[first:last] = _summed(asked.mul_(pull[..., None]), column, ends)
            gv[first:last] = _summed(given.mul_(p[..., None]), column, ends)
        return gq, gk, gv


def _chunks(graph: Graph, q: Tensor) -> list[tuple[int, int]]:
    """First and last row of chunks with about `CHUNK` gathered values each."""
    size = max(CHUNK // max(q[0].numel(), 1), 1) if q.device.type == "cpu" else graph.edges
    marks = torch.arange(0, graph.edges, size, device=graph.device)
    firsts = torch.searchsorted(graph.start, marks, right=True) - 1
    firsts = torch.unique(torch.cat([firsts.new_zeros(1), firsts])).tolist()
    return list(zip(firsts, [*firsts[1:], graph.nodes], strict=True))


def _dots(a: Tensor, row: Tensor, b: Tensor, column: Tensor) -> Tensor:
    """a_row . b_column, (edge, head)."""
    return a.index_select(0, row).mul_(b.index_select(0, column)).sum(-1)


def _summed(values: Tensor, row: Tensor, ends: Tensor) -> Tensor:
    """Sums over the edges of each row; on a GPU in a fixed order."""
    if values.device.type == "cpu":
        shape = (len(ends) - 1, *values.shape[1:])
        return values.new_zeros(shape).index_add_(0, row, values)
    return torch.segment_reduce(values, "sum", offsets=ends, axis=0, initial=0)


class Sparse(Kernel):
    """Products of torch's compressed-row matrices, head by head; on CPUs with MKL."""

    def refusal(self, device: torch.device) -> str | None:
        if device.type != "cpu":
            return f'it is made for the CPU, got {device}; use "triton" or "chunks"'
        if not torch.backends.mkl.is_available():
            return 'this build of torch has no MKL; use "numba" or "chunks"'
        return None

    def forward(self, graph: Graph, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        scale = q.shape[-1] ** -0.5
        out, logsum = torch.empty_like(q), q.new_empty(q.shape[:2])
        for h in range(q.shape[1]):
            scores = _sampled(graph, q[:, h], k[:, h]).mul_(scale)
            most = torch.segment_reduce(scores, "max", offsets=graph.start, axis=0, initial=LEAST)
            p = scores.sub_(most.index_select(0, graph.row)).exp_()
            total = q.new_zeros(graph.nodes).index_add_(0, graph.row, p).clamp_(min=1e-30)
            out[:, h] = (_csr(graph, p) @ v[:, h].contiguous()).div_(total[:, None])
            logsum[:, h] = most + total.log()
        return out, logsum

    def backward(
        self, graph: Graph, saved: Sequence[Tensor], g: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, logsum, delta = saved
        scale = q.shape[-1] ** -0.5
        gq, gk, gv = (torch.empty_like(q) for _ in range(3))
        for h in range(q.shape[1]):
            qh, kh, vh, gh = (part[:, h].contiguous() for part in (q, k, v, g))
            p = _sampled(graph, qh, kh).mul_(scale)
            p = p.sub_(logsum[:, h].index_select(0, graph.row)).exp_()
            pull = _sampled(graph, gh, vh).sub_(delta[:, h].index_select(0, graph.row))
            pull.mul_(p).mul_(scale)
            gq[:, h] = _csr(graph, pull) @ kh
            gk[:, h] = _csr(graph.transpose, pull.index_select(0, graph.mirror)) @ qh
            gv[:, h] = _csr(graph.transpose, p.index_select(0, graph.mirror)) @ gh
        return gq, gk, gv


def _sampled(graph: Graph, a: Tensor, b: Tensor) -> Tensor:
    """a_i . b_j of every edge."""
    zeros = _csr(graph, a.new_zeros(graph.edges))
    return torch.sparse.sampled_addmm(zeros, a.contiguous(), b.T, beta=0.0).values()


@lru_cache(maxsize=1)
def _told_once() -> None:
    """Torch says once that this kind of tensor is in beta."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.eye(1).to_sparse_csr()


def _csr(graph: Graph, values: Tensor) -> Tensor:
    _told_once()
    return torch.sparse_csr_tensor(
        graph.start32, graph.column, values, (graph.nodes, graph.nodes), check_invariants=False
    )


PLAIN: dict[str, type[Kernel]] = {"chunks": Chunks, "sparse": Sparse}
ELSEWHERE = ("compiled", "numba", "triton", "dgl")
