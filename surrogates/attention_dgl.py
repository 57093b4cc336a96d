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


class Dgl(Backend):
    """`dgl.sparse` where it loads, else `dgl.ops`; dgl differentiates by itself."""

    def refusal(self, device: torch.device) -> str | None:
        return None

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, graph: Graph) -> Tensor:
        attend = by_ops if sparse is None else by_sparse
        return attend(graph, *(wide(part).contiguous() for part in (q, k, v))).to(q.dtype)


def by_sparse(graph: Graph, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """By the products of `dgl.sparse`."""
    edges = torch.stack([graph.row, graph.column.long()])
    pattern = sparse.spmatrix(edges, shape=(graph.nodes, graph.nodes))
    # dgl wants the heads last.
    q, k, v = (part.transpose(1, 2).contiguous() for part in (q * q.shape[-1] ** -0.5, k, v))
    weights = sparse.bsddmm(pattern, q, k.transpose(0, 1)).softmax()
    return sparse.bspmm(weights, v).transpose(1, 2)


def by_ops(graph: Graph, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """By the products of `dgl.ops`."""
    found = to_dgl(graph)
    scores = ops.u_dot_v(found, k, q * q.shape[-1] ** -0.5)
    return ops.u_mul_e_sum(found, v, ops.edge_softmax(found, scores))


def to_dgl(graph: Graph) -> Any:
    """As a DGLGraph: its edges lead from the key to the query."""
    return dgl.graph((graph.column.long(), graph.row), num_nodes=graph.nodes)


def from_dgl(found: Any) -> Graph:
    """Of a homogeneous DGLGraph; edges that are there twice count once."""
    keys, queries = found.edges()
    graph = Graph.of(found.num_nodes(), queries.cpu().numpy(), keys.cpu().numpy())
    return graph.to(found.device)


BACKEND = Dgl
