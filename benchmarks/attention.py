"""Attention along the edges of a tetrahedral mesh, and layers of networks on graphs: time and
memory on one thread.

20,000 random points in the unit cube, Delaunay, in Cuthill-McKee order, four heads. "naive" gathers
queries, keys and values of every edge, takes the softmax by scatters and adds up. Layers are those
of the transformer (with our attention and with the naive one), our message passing and the same
with all inputs of an edge side by side, and the message passing of graph-physics (four linear
layers each). All run in turn, the first run of each not counted; times are medians of processor
time. Memory is the growth of the peak over the tensors that were there, in a process of its own.

With --device cuda the same with 200,000 points on a GPU, times by the clock; the bars are those of
a CPU and left out.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from bars import Bar, Clock, arguments, finish, say, table
from torch import Tensor, nn

from fieldcast.surrogates.attention import attention, kernel_of
from fieldcast.surrogates.graph import Graph, both_ways, cuthill_mckee
from fieldcast.surrogates.graph_layers import Batch, Block, MaskedAttention, Message, mlp

NODES, WIDTH, HEADS, REPEATS = 20_000, 128, 4, 5
ON_GPU = 200_000
NAMES = ("chunks", "sparse", "numba", "compiled", "triton")


def tetrahedra(nodes: int, seed: int = 0) -> Graph:
    """The edges of a Delaunay mesh, those of slivers at its hull left out."""
    from scipy.spatial import Delaunay

    points = np.random.default_rng(seed).random((nodes, 3))
    cells = Delaunay(points).simplices
    pairs = np.concatenate([cells[:, [a, b]] for a in range(4) for b in range(a + 1, 4)])
    length = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    graph = both_ways(nodes, pairs[length < 3.0 * nodes ** (-1 / 3)])
    return graph.reordered(cuthill_mckee(graph))


def naive(q: Tensor, k: Tensor, v: Tensor, graph: Graph) -> Tensor:
    """What one writes first."""
    row, column = graph.row, graph.column.long()
    scores = (q[row] * k[column]).sum(-1) * q.shape[-1] ** -0.5
    most = torch.full((graph.nodes, q.shape[1]), -torch.inf, dtype=q.dtype, device=q.device)
    most = most.scatter_reduce(0, row[:, None].expand_as(scores), scores.detach(), "amax")
    p = (scores - most[row]).exp()
    total = torch.zeros_like(most).index_add(0, row, p)
    weights = p / total[row].clamp(min=1e-16)
    return torch.zeros_like(v).index_add(0, row, weights[..., None] * v[column])


class NaiveAttention(nn.Module):
    """`MaskedAttention` with the naive form."""

    def __init__(self, like: MaskedAttention) -> None:
        super().__init__()
        self.like = like

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        q, k, v = (
            part(x).view(len(x), self.like.heads, -1)
            for part in (self.like.asked, self.like.key, self.like.value)
        )
        return self.like.outer(naive(q, k, v, batch.graphs[0]).flatten(1))


class PlainMessage(nn.Module):
    """`Message` with the inputs of an edge side by side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.edges = nn.Sequential(mlp([3 * width, width, width, width]), nn.LayerNorm(width))
        self.nodes = nn.Sequential(mlp([2 * width, width, width, width]), nn.LayerNorm(width))

    def forward(self, h: Tensor, e: Tensor, graph: Graph) -> tuple[Tensor, Tensor]:
        row, column = graph.row, graph.column.long()
        e = e + self.edges(torch.cat([e, h[row], h[column]], dim=1))
        total = torch.zeros_like(h).index_add(0, row, e)
        return h + self.nodes(torch.cat([h, total], dim=1)), e


class TheirMessage(PlainMessage):
    """As in graph-physics: four linear layers, RMS norm."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.edges = nn.Sequential(mlp([3 * width] + [width] * 4), nn.RMSNorm(width))
        self.nodes = nn.Sequential(mlp([2 * width] + [width] * 4), nn.RMSNorm(width))


def seconds(run: Callable[[], object], gpu: bool) -> float:
    """Processor time; with a GPU that by the clock until it is done."""
    if not gpu:
        start = time.process_time()
        run()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turn(
    runs: dict[str, Callable[[], object]], repeats: int, gpu: bool = False
) -> dict[str, float]:
    """Medians; the first run of each is not counted."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            taken = seconds(run, gpu)
            if turn:
                times[name].append(taken)
    return {name: statistics.median(taken) for name, taken in times.items()}


def forward(function: Callable[..., object], *given: object) -> Callable[[], object]:
    """A run without gradients."""

    def run() -> None:
        with torch.no_grad():
            function(*given)

    return run


def training(
    function: Callable[..., object], *given: object, module: nn.Module | None = None
) -> Callable[[], object]:
    """A run forward and back, to all tensors given and all weights."""

    def run() -> None:
        inputs = [g.detach().requires_grad_() if isinstance(g, Tensor) else g for g in given]
        if module is not None:
            module.zero_grad()
        found = function(*inputs)
        outputs = found if isinstance(found, tuple) else (found,)
        sum(out.sum() for out in outputs).backward()

    return run


def tensors(nodes: int, width: int, device: str = "cpu") -> list[Tensor]:
    """q, k and v."""
    generator = torch.Generator().manual_seed(0)
    return list(torch.randn((3, nodes, HEADS, width // HEADS), generator=generator).to(device))


def backends(given: list[str], device: str = "cpu") -> dict[str, Callable[..., Tensor]]:
    """Those that can be used there."""
    found = {}
    for name in given:
        try:
            kernel = kernel_of(name, torch.device(device))
        except ValueError as error:
            say(str(error))
            continue
        found[name] = lambda q, k, v, graph, kernel=kernel: attention(q, k, v, graph, kernel)
    return found


def growth(job: tuple[str, int, int]) -> float:
    """MiB by which the peak grows in training."""
    name, nodes, width = job
    torch.set_num_threads(1)
    graph, given = tetrahedra(nodes), tensors(nodes, width)
    few = tetrahedra(500)
    function = naive if name == "naive" else backends([name])[name]
    # What is compiled or loaded at the first call is no part of it.
    training(function, *tensors(500, width), few)()
    _ = graph.row, graph.transpose, graph.mirror
    run = training(function, *given, graph)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    run()
    return (resident("VmHWM") - before) / 1024


def growth_on_gpu(run: Callable[[], object]) -> float:
    """MiB by which the peak grows."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def resident(what: str) -> int:
    """KiB of memory held now (VmRSS), or at most since the mark was reset (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1])


def layers(
    graph: Graph, repeats: int, device: str = "cpu"
) -> tuple[dict[str, float], dict[str, float]]:
    """Times forward and in training."""
    torch.manual_seed(0)
    batch = Batch((graph,), (graph.nodes,), torch.zeros(graph.nodes, 3, device=device))
    seeing = MaskedAttention(WIDTH, HEADS, "auto")
    ours, plain = Block(WIDTH, seeing, None), Block(WIDTH, seeing, None)
    plain.seeing = NaiveAttention(seeing)
    h, e = (torch.randn(rows, WIDTH, device=device) for rows in (graph.nodes, graph.edges))
    modules = {
        "transformer": (ours, (h, batch)),
        "transformer, naive attention": (plain, (h, batch)),
        "messages": (Message(WIDTH), (h, e, graph)),
        "messages, side by side": (PlainMessage(WIDTH), (h, e, graph)),
        "messages of graph-physics": (TheirMessage(WIDTH), (h, e, graph)),
    }
    for module, _ in modules.values():
        module.to(device)
    ahead = {k: forward(m, *given) for k, (m, given) in modules.items()}
    both = {k: training(m, *given, module=m) for k, (m, given) in modules.items()}
    gpu = device != "cpu"
    return in_turn(ahead, repeats, gpu), in_turn(both, repeats, gpu)


def attention_bars(given: Given) -> tuple[list[Bar], str]:
    """Attention alone."""
    graph, n = tetrahedra(given.nodes), given.repeats
    _ = graph.row, graph.transpose, graph.mirror
    found = backends([name for name in NAMES if not (given.quick and name == "compiled")])
    forms = {"naive": naive, **found}
    inputs = tensors(given.nodes, WIDTH)
    ahead = in_turn({k: forward(f, *inputs, graph) for k, f in forms.items()}, n)
    say(f"attention forward, {given.clock():.0f} s")
    both = in_turn({k: training(f, *inputs, graph) for k, f in forms.items()}, n)
    say(f"attention in training, {given.clock():.0f} s")
    memory = {}
    for name in forms:
        with get_context("spawn").Pool(1) as pool:
            memory[name] = pool.apply(growth, ((name, given.nodes, WIDTH),))
    say(f"memory, {given.clock():.0f} s")
    ratios = {k: (ahead["naive"] / ahead[k], both["naive"] / both[k]) for k in forms}
    rows = [
        (k, 1e3 * ahead[k], ratios[k][0], 1e3 * both[k], ratios[k][1], memory[k]) for k in forms
    ]
    fastest = min(found, key=both.__getitem__)
    many = given.nodes * (4 if given.quick else 10)
    large = tetrahedra(many)
    _ = large.row, large.transpose, large.mirror
    slow = in_turn({"": training(found[fastest], *tensors(many, WIDTH), large)}, 3)[""]
    per_edge = (slow / large.edges) / (both[fastest] / graph.edges)
    best = [max(ratios[k][way] for k in found) for way in (0, 1)]
    what = "times faster than naive"
    bars = [
        given.bar(f"best backend, {what}, forward", best[0], 16.0, least=True),
        given.bar(f"best backend, {what}, training", best[1], 13.0, least=True),
        given.bar(f"plain torch, {what}, forward", ratios["chunks"][0], 4.0, least=True),
        given.bar(f"plain torch, {what}, training", ratios["chunks"][1], 2.0, least=True),
        given.bar("best backend, MiB over the tensors in training", memory[fastest], 70.0),
        given.bar(f"time per edge, {many:,} nodes / {given.nodes:,}", per_edge, 1.5),
    ]
    head = ("backend", "forward [ms]", "naive / it", "training [ms]", "naive / it", "MiB")
    return bars, table(head, rows)


def layer_bars(given: Given) -> tuple[list[Bar], str]:
    """Whole layers."""
    graph = tetrahedra(given.nodes)
    _ = graph.row, graph.transpose, graph.mirror
    times = dict(zip(("forward", "training"), layers(graph, given.repeats), strict=True))
    say(f"layers, {given.clock():.0f} s")
    bars = []
    for way, share, tricked in (("forward", 0.38, 1.5), ("training", 0.64, 1.4)):
        t = times[way]
        with_naive = t["transformer"] / t["transformer, naive attention"]
        theirs = t["messages of graph-physics"] / t["transformer"]
        beside = t["messages, side by side"] / t["messages"]
        label = "transformer layer"
        bars += [
            given.bar(f"{label} / with naive attention, {way}", with_naive, share),
            given.bar(f"graph-physics' messages / {label}, {way}", theirs, 8.0, least=True),
            given.bar(f"messages side by side / ours, {way}", beside, tricked, least=True),
        ]
    return bars, layer_table(times)


def layer_table(times: dict[str, dict[str, float]]) -> str:
    """Times of layers."""
    rows = [
        (
            name,
            1e3 * times["forward"][name],
            1e3 * times["training"][name],
            times["forward"][name] / times["forward"]["transformer"],
            times["training"][name] / times["training"]["transformer"],
        )
        for name in times["forward"]
    ]
    head = ("layer", "forward [ms]", "training [ms]", "/ transformer, forward", "training")
    return table(head, rows)


def on_gpu(options: argparse.Namespace) -> None:
    """Tables of a GPU."""
    nodes = NODES if options.quick else ON_GPU
    device, repeats = options.device, 4 * REPEATS
    graph = tetrahedra(nodes).to(device)
    _ = graph.row, graph.transpose, graph.mirror
    inputs = tensors(nodes, WIDTH, device)
    forms = {"naive": naive, **backends([n for n in NAMES if n != "compiled"], device)}
    ahead = in_turn({k: forward(f, *inputs, graph) for k, f in forms.items()}, repeats, True)
    both = in_turn({k: training(f, *inputs, graph) for k, f in forms.items()}, repeats, True)
    rows = [
        (
            name,
            1e3 * ahead[name],
            ahead["naive"] / ahead[name],
            1e3 * both[name],
            both["naive"] / both[name],
            growth_on_gpu(training(form, *inputs, graph)),
        )
        for name, form in forms.items()
    ]
    head = ("backend", "forward [ms]", "naive / it", "training [ms]", "naive / it", "MiB")
    alone = f"attention, {nodes:,} nodes, width {WIDTH}, {torch.cuda.get_device_name()}"
    times = dict(zip(("forward", "training"), layers(graph, repeats, device), strict=True))
    finish("attention_gpu", options, [], {alone: table(head, rows), "layers": layer_table(times)})


@dataclass(frozen=True)
class Given:
    """The size of the run."""

    nodes: int
    repeats: int
    quick: bool
    clock: Clock

    def bar(self, label: str, value: float, goal: float, least: bool = False) -> Bar:
        """In a quick run twice as loose."""
        loose = 2.0 if self.quick else 1.0
        bound = goal / loose if least else goal * loose
        full = goal if self.quick else None
        return Bar(label, value, bound, self.repeats, self.clock(), least, full)


def main() -> None:
    options = arguments(__doc__)
    if (options.device or "cpu") != "cpu":
        on_gpu(options)
        return
    torch.set_num_threads(1)
    size = (5_000, 3) if options.quick else (NODES, REPEATS)
    given = Given(*size, options.quick, Clock())
    alone, alone_table = attention_bars(given)
    whole, whole_table = layer_bars(given)
    label = f"attention, {given.nodes:,} nodes, width {WIDTH}, {HEADS} heads"
    finish("attention", options, alone + whole, {label: alone_table, "layers": whole_table})


if __name__ == "__main__":
    main()
