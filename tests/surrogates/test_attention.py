"""Attention along edges: every backend beside a dense masked softmax in double precision."""

import os
import subprocess
import sys
from importlib.util import find_spec
from shutil import which

import numpy as np
import pytest
import torch

from fieldcast.surrogates.attention import attention, kernel_of
from fieldcast.surrogates.graph import Graph, cuthill_mckee, packed

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
HERE = ["chunks", "sparse", *(["numba"] if find_spec("numba") else [])]
NODES = 60


def directed(seed=0, nodes=NODES):
    """Some rows and some columns empty, no symmetry."""
    rng = np.random.default_rng(seed)
    return Graph.of(nodes, rng.integers(0, nodes - 4, 400), rng.integers(3, nodes, 400))


def tensors(dtype=torch.float64, nodes=NODES, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (4, nodes, 3, 8)
    return list(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype))


def dense(q, k, v, graph):
    mask = torch.from_numpy(graph.matrix.toarray() > 0)
    scores = torch.einsum("ihc,jhc->hij", q, k) * q.shape[-1] ** -0.5
    weights = scores.masked_fill(~mask, -1e300).softmax(-1) * mask.any(1)[:, None]
    return torch.einsum("hij,jhc->ihc", weights, v)


def with_gradients(attend, q, k, v, g):
    inputs = [t.clone().requires_grad_() for t in (q, k, v)]
    out = attend(*inputs)
    out.backward(g)
    return [out.detach(), *(t.grad for t in inputs)]


def check(backend, dtype, tolerance, graph, device="cpu"):
    *inputs, g = tensors(dtype, graph.nodes)
    expected = with_gradients(
        lambda *a: dense(*a, graph), *(t.double() for t in inputs), g.double()
    )
    there = graph.to(device)
    found = with_gradients(
        lambda *a: attention(*a, there, backend), *(t.to(device) for t in inputs), g.to(device)
    )
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        scale = float(other.abs().max())
        assert float((one.cpu().double() - other).abs().max()) <= tolerance * scale


@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)],
)
def test_values_and_gradients_are_those_of_a_dense_softmax(backend, dtype, tolerance):
    check(backend, dtype, tolerance, directed())


@pytest.mark.parametrize("device", DEVICES)
def test_auto_is_right_everywhere(device):
    check("auto", torch.float32, 1e-5, directed(), device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("backend", ["chunks", "triton"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)],
)
def test_on_a_gpu_it_is_that_of_the_cpu(backend, dtype, tolerance):
    check(backend, dtype, tolerance, directed(), "cuda")
    check(backend, dtype, tolerance, directed(1, 700), "cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("backend", ["triton"])
def test_on_a_gpu_it_is_deterministic(backend):
    graph = directed(2, 3000).to("cuda")
    q, k, v, g = (t.to("cuda") for t in tensors(torch.float32, 3000))
    first, second = (
        with_gradients(lambda *a: attention(*a, graph, backend), q, k, v, g) for _ in range(2)
    )
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.slow
@pytest.mark.skipif(not which("g++"), reason="torch.compile needs g++")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_compiled_form_is_right():
    check("compiled", torch.float32, 1e-5, directed())


@pytest.mark.skipif(not find_spec("triton"), reason="triton is not installed")
def test_the_kernels_for_gpus_are_right_where_an_interpreter_runs_them():
    code = (
        "import torch; from test_attention import check, directed\n"
        "check('triton', torch.float32, 1e-5, directed(nodes=16))\n"
        "check('triton', torch.float64, 1e-12, directed(nodes=16))\n"
        "check('triton', torch.bfloat16, 3e-2, directed(nodes=16))\n"
    )
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    subprocess.run(
        [sys.executable, "-c", code], cwd=os.path.dirname(__file__), env=environment, check=True
    )


@pytest.mark.skipif(not find_spec("triton"), reason="triton is not installed")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("number", ["fp32", "fp64"])
def test_the_kernels_for_gpus_compile(number):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from fieldcast.surrogates.attention_triton import KERNELS

    types = {"start": "*i64", "column": "*i32", "row": "*i32", "heads": "i32"}
    constants = {"scale": 24**-0.5, "width": 24, "room": 32, "block": 16}
    for kernel in KERNELS.values():
        signature = {
            name: "constexpr" if name in constants else types.get(name, f"*{number}")
            for name in kernel.arg_names
        }
        source = ASTSource(kernel, signature, constants)
        built = triton.compile(source, target=GPUTarget("cuda", 90, 32))
        assert len(built.asm["cubin"]) > 1000


@pytest.mark.parametrize("backend", HERE)
def test_rows_without_neighbours_give_zero(backend):
    graph = directed()
    q, k, v, g = tensors()
    out, gq, gk, gv = with_gradients(lambda *a: attention(*a, graph, backend), q, k, v, g)
    alone = graph.degree == 0
    unseen = graph.transpose.degree == 0
    assert alone.any()
    assert unseen.any()
    assert float(out[alone].abs().max()) == float(gq[alone].abs().max()) == 0.0
    assert float(gk[unseen].abs().max()) == float(gv[unseen].abs().max()) == 0.0
    none = Graph.of(NODES, np.empty(0, int), np.empty(0, int))
    assert not attention(q, k, v, none, backend).any()


@pytest.mark.parametrize("backend", HERE)
def test_a_row_with_very_many_neighbours_and_large_scores_is_right(backend):
    n = 3000
    rows = np.concatenate([np.zeros(n - 1, int), np.arange(1, n)])
    columns = np.concatenate([np.arange(1, n), np.zeros(n - 1, int)])
    graph = Graph.of(n, rows, columns)
    q, k, v, _ = tensors(torch.float32, n)
    q = 100.0 * q
    expected = dense(q.double(), k.double(), v.double(), graph)
    torch.testing.assert_close(
        attention(q, k, v, graph, backend).double(), expected, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("backend", HERE)
def test_the_same_call_gives_the_same_bits(backend):
    q, k, v, g = tensors(torch.float32)
    first, second = (
        with_gradients(lambda *a: attention(*a, directed(), backend), q, k, v, g) for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("backend", HERE)
def test_another_order_of_nodes_gives_the_same(backend):
    graph = directed()
    q, k, v, _ = tensors(torch.float32)
    order = cuthill_mckee(graph)
    turned = graph.reordered(order)
    found = attention(q[order], k[order], v[order], turned, backend)
    torch.testing.assert_close(found, attention(q, k, v, graph, backend)[order])


@pytest.mark.parametrize("backend", HERE)
def test_a_batch_gives_what_its_graphs_give(backend):
    graphs = [directed(seed) for seed in range(3)]
    parts = [tensors(torch.float32, seed=seed)[:3] for seed in range(3)]
    apart = [attention(*p, g, backend) for p, g in zip(parts, graphs, strict=True)]
    together = attention(*(torch.cat(t) for t in zip(*parts, strict=True)), packed(graphs), backend)
    torch.testing.assert_close(together, torch.cat(apart))


@pytest.mark.parametrize("backend", HERE)
def test_gradients_by_finite_differences(backend):
    graph = directed(nodes=12)
    q, k, v, _ = (t[:, :2, :3].requires_grad_() for t in tensors(nodes=12))
    assert torch.autograd.gradcheck(lambda *a: attention(*a, graph, backend), (q, k, v))


def test_what_does_not_fit_or_is_not_there_is_refused():
    q, k, v, _ = tensors()
    with pytest.raises(ValueError, match="of one shape"):
        attention(q[:-1], k, v, directed())
    with pytest.raises(ValueError, match="expected a backend of"):
        attention(q, k, v, directed(), "cudnn")
    if not torch.cuda.is_available() and find_spec("triton"):
        with pytest.raises(ValueError, match="made for GPUs"):
            kernel_of("triton", torch.device("cpu"))
    if not find_spec("dgl"):
        with pytest.raises(ValueError, match=r"does not load beside torch .*make dgl-check"):
            attention(q, k, v, directed(), "dgl")
