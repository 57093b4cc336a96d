"""Attention by dgl's own products, for those who have it, and graphs to and from it."""

from __future__ import annotations

from typing import Any

import dgl
import torch
from dgl import ops
from torch import Tensor

from .attention import Backend, wide
from .graph import Graph

try:
    from dgl import sparse
except (ImportError, OSError):
    # Its library is built for one version of torch (else FileNotFoundError); dgl.ops works beside
    # others, too.
    sparse = None


class BySparse(Backend):
    """By the products of `dgl.sparse`; dgl differentiates by itself."""

    def refusal(self, device: torch.device) -> str | None:
        return None

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, graph: Graph) -> Tensor:
        # dgl wants the heads last.
        asked, key, value = (wide(part).transpose(1, 2).contiguous() for part in (q, k, v))
        edges = torch.stack([graph.row, graph.column.long()])
        pattern = sparse.spmatrix(edges, shape=(graph.nodes, graph.nodes))
        scores = sparse.bsddmm(pattern, asked * q.shape[-1] ** -0.5, key.transpose(0, 1))
        return sparse.bspmm(scores.softmax(), value).transpose(1, 2).to(q.dtype)


class ByOps(Backend):
    """By the products of `dgl.ops`; dgl differentiates by itself."""

    def refusal(self, device: torch.device) -> str | None:
        return None

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, graph: Graph) -> Tensor:
        asked, key, value = (wide(part).contiguous() for part in (q, k, v))
        found = to_dgl(graph)
        scores = ops.u_dot_v(found, key, asked * q.shape[-1] ** -0.5)
        return ops.u_mul_e_sum(found, value, ops.edge_softmax(found, scores)).to(q.dtype)


def to_dgl(graph: Graph) -> Any:
    """As a DGLGraph: its edges lead from the key to the query."""
    return dgl.graph((graph.column.long(), graph.row), num_nodes=graph.nodes)


def from_dgl(found: Any) -> Graph:
    """Of a DGLGraph; edges that are there twice count once.

    Raises:
        ValueError: nodes or edges of several types.
    """
    if not found.is_homogeneous:
        raise ValueError(
            f"expected a graph of one type of nodes and edges, got nodes of {found.ntypes} and "
            f"edges of {found.etypes}; convert it first: dgl.to_homogeneous(graph)"
        )
    keys, queries = found.edges()
    graph = Graph.of(found.num_nodes(), queries.cpu().numpy(), keys.cpu().numpy())
    return graph.to(found.device)


BACKEND = ByOps if sparse is None else BySparse
