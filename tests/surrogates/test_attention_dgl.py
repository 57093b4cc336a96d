"""Attention by dgl, graphs to and from it, and our plain forms beside the torch it needs (`make
dgl-check`)."""

import subprocess
import sys

import numpy as np
import pytest
import torch

try:
    import dgl
except Exception as error:
    # It fails in many ways beside a torch that it was not built for.
    reason = f"dgl does not load here ({type(error).__name__}: {error}); make dgl-check"
    pytest.skip(reason, allow_module_level=True)

from test_attention import NODES, check, directed, tensors, with_gradients

from fieldcast.surrogates.attention import attention, kernel_of
from fieldcast.surrogates.attention_dgl import ByOps, BySparse, from_dgl, sparse, to_dgl
from fieldcast.surrogates.graph import Graph, both_ways, packed

WAYS = [pytest.param(ByOps(), id="ops")]
if sparse is not None:
    WAYS.append(pytest.param(BySparse(), id="sparse"))
BACKENDS = [*WAYS, "dgl", "chunks", pytest.param("sparse", id="torch-sparse"), "auto"]
PRECISIONS = [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)]


def sides(nodes=200):
    pairs = np.random.default_rng(0).integers(nodes, size=(4 * nodes, 2))
    return both_ways(nodes, pairs)


def pairs(graph):
    return list(zip(graph.row.tolist(), graph.column.tolist(), strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("graph", [directed(), sides()], ids=["directed", "both ways"])
def test_values_and_gradients_are_those_of_a_dense_softmax(backend, dtype, tolerance, graph):
    check(backend, dtype, tolerance, graph)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_without_neighbours_give_zero(backend):
    graph = directed()
    q, k, v, g = tensors()
    out, gq, gk, gv = with_gradients(lambda *a: attention(*a, graph, backend), q, k, v, g)
    alone, unseen = graph.degree == 0, graph.transpose.degree == 0
    assert alone.any()
    assert unseen.any()
    assert float(out[alone].abs().max()) == float(gq[alone].abs().max()) == 0.0
    assert float(gk[unseen].abs().max()) == float(gv[unseen].abs().max()) == 0.0
    none = Graph.of(NODES, np.empty(0, int), np.empty(0, int))
    assert not attention(q, k, v, none, backend).any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_large_scores_do_not_overflow(backend):
    q, k, v, _ = tensors(torch.float32)
    found = attention(1e3 * q, k, v, directed(), backend)
    expected = attention(1e3 * q.double(), k.double(), v.double(), directed(), "chunks")
    torch.testing.assert_close(found.double(), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_gives_what_its_graphs_give(backend):
    graphs = [directed(seed) for seed in range(3)]
    parts = [tensors(torch.float32, seed=seed)[:3] for seed in range(3)]
    apart = [attention(*p, g, backend) for p, g in zip(parts, graphs, strict=True)]
    whole = (torch.cat(t) for t in zip(*parts, strict=True))
    together = attention(*whole, packed(graphs), backend)
    torch.testing.assert_close(together, torch.cat(apart))


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_by_finite_differences(backend):
    graph = directed(nodes=12)
    q, k, v, _ = (t[:, :2, :3].requires_grad_() for t in tensors(nodes=12))
    assert torch.autograd.gradcheck(lambda *a: attention(*a, graph, backend), (q, k, v))


def test_by_name_it_is_the_sparse_form_where_that_loads():
    wanted = ByOps if sparse is None else BySparse
    assert isinstance(kernel_of("dgl", torch.device("cpu")), wanted)


def test_without_the_sparse_library_it_goes_by_ops():
    code = (
        "import sys; sys.modules['dgl.sparse'] = None\n"
        "import torch; from fieldcast.surrogates.attention import kernel_of\n"
        "print(type(kernel_of('dgl', torch.device('cpu'))).__name__)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split()[-1] == "ByOps"


def test_edges_lead_from_the_key_to_the_query():
    graph = directed()
    found = to_dgl(graph)
    keys, queries = (ends.tolist() for ends in found.edges())
    assert sorted(zip(queries, keys, strict=True)) == pairs(graph)
    assert found.num_nodes() == graph.nodes
    assert torch.equal(found.in_degrees(), graph.degree)


@pytest.mark.parametrize("graph", [directed(), sides(), packed([directed(0), directed(1)])])
def test_there_and_back_is_the_same_graph(graph):
    back = from_dgl(to_dgl(graph))
    assert torch.equal(back.start, graph.start)
    assert torch.equal(back.column, graph.column)


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
def test_a_graph_of_dgl_comes_in_any_order_and_goes_back_without_repeats(kind):
    ends = (torch.tensor([2, 0, 2, 1], dtype=kind), torch.tensor([0, 1, 0, 3], dtype=kind))
    graph = from_dgl(dgl.graph(ends, num_nodes=5))
    assert graph.nodes == 5
    assert pairs(graph) == [(0, 2), (1, 0), (3, 1)]
    back = to_dgl(graph)
    assert back.num_nodes() == 5
    assert back.num_edges() == 3


def test_a_graph_of_several_types_is_refused():
    found = dgl.heterograph({("wall", "touches", "fluid"): ([0, 1], [1, 2])})
    with pytest.raises(ValueError, match=r"one type of nodes .*dgl\.to_homogeneous"):
        from_dgl(found)
