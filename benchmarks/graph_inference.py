"""How fast networks on graphs answer, and how large a mesh may be.

"Dense" is the same network without attention along edges: what its linear layers, norms and tokens
take. A packed batch is 64 cases answered by one call beside 64 calls. Large meshes: tetrahedra (the
first two rows) and triangles, in a process of its own, worked in parts of 100,000 nodes; a step of
training there looks at the whole mesh. Times are medians of runs in turn.
"""

from __future__ import annotations

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

from fieldcast.surrogates.graph import both_ways, cuthill_mckee, morton, packed
from fieldcast.surrogates.graph_layers import Batch, Block, MaskedAttention, Rotary, SliceTokens
from fieldcast.surrogates.graph_network import TransformerNet
from fieldcast.surrogates.graph_objective import NODES

COLUMNS, OUTPUTS, DEPTH, WIDTH, HEADS = 12, 3, 10, 64, 4
"""Size S."""
REPEATS, CASES = 5, 64
Row = tuple[str, float, float, float]
LARGE = {
    "300k tetrahedral, forward": (300_000, 3, False),
    "300k tetrahedral, training": (300_000, 3, True),
    "1M triangular, forward": (1_000_000, 2, False),
}


class Nothing(nn.Module):
    """Attention left out; its dense layers stay."""

    def __init__(self, like: MaskedAttention) -> None:
        super().__init__()
        self.like = like

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        parts = [part(x) for part in (self.like.asked, self.like.key, self.like.value)]
        return self.like.outer(parts[2].add_(parts[0]).add_(parts[1]))


def network(dim: int, dense: bool = False) -> TransformerNet:
    """With random weights."""
    torch.manual_seed(0)
    blocks = []
    for _ in range(DEPTH):
        seeing = MaskedAttention(WIDTH, HEADS, "auto", Rotary(WIDTH // HEADS, dim))
        block = Block(WIDTH, seeing, SliceTokens(WIDTH, HEADS, 16))
        if dense:
            block.seeing = Nothing(seeing)
        blocks.append(block)
    return TransformerNet(COLUMNS, OUTPUTS, 0, blocks, recompute=True)


def mesh(nodes: int, dim: int, seed: int = 0) -> Batch:
    """Random points, Delaunay, slivers at the hull left out."""
    from scipy.spatial import Delaunay

    points = np.random.default_rng(seed).random((nodes, dim))
    points = points[morton(points)]
    cells = Delaunay(points).simplices
    pairs = np.concatenate(
        [cells[:, [a, b]] for a in range(dim + 1) for b in range(a + 1, dim + 1)]
    )
    far = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    graph = both_ways(nodes, pairs[far < 3.0 * nodes ** (-1 / dim)])
    if nodes <= 100_000:
        order = cuthill_mckee(graph)
        graph, points = graph.reordered(order), points[order]
    scaled = torch.as_tensor(points * nodes ** (1 / dim), dtype=torch.float32)
    return Batch((graph,), (nodes,), scaled)


def side_by_side(parts: list[Batch]) -> Batch:
    """Several as one."""
    return Batch(
        (packed([p.graphs[0] for p in parts]),),
        tuple(len(p.points) for p in parts),
        torch.cat([p.points for p in parts]),
    )


def moved(batch: Batch, device: str) -> Batch:
    """Elsewhere."""
    return Batch(tuple(g.to(device) for g in batch.graphs), batch.sizes, batch.points.to(device))


def in_turn(runs: dict[str, Callable[[], object]], repeats: int, gpu: bool) -> dict[str, float]:
    """Medians [s]; the first run of each is not counted."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            with torch.no_grad():
                run()
            if gpu:
                torch.cuda.synchronize()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken) for name, taken in times.items()}


def large(job: tuple[int, int, bool]) -> tuple[int, float, float]:
    """Edges, seconds and the peak of memory [GiB] of one mesh."""
    nodes, dim, trained = job
    batch, net = mesh(nodes, dim), network(dim)
    x = torch.randn(nodes, COLUMNS)
    start = time.perf_counter()
    with torch.set_grad_enabled(trained):
        out, _ = net(x, batch)
        if trained:
            out.square().mean().backward()
    seconds = time.perf_counter() - start
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM"))
    return batch.graphs[0].edges, seconds, int(peak.split()[1]) / 2**20


@dataclass(frozen=True)
class Given:
    """The run: `device`, and half as strict if `quick`."""

    device: str
    quick: bool
    clock: Clock

    @property
    def gpu(self) -> bool:
        """Whether times are to wait for a GPU."""
        return self.device != "cpu"

    def bar(self, name: str, value: float, goal: float, least: bool = False) -> Bar:
        """In a quick run twice as loose."""
        loose = 2.0 if self.quick else 1.0
        bound, full = goal / loose if least else goal * loose, goal if self.quick else None
        return Bar(name, value, bound, REPEATS, self.clock(), least, full)

    def times(self, runs: dict[str, Callable[[], object]]) -> dict[str, float]:
        """As `in_turn`."""
        return in_turn(runs, REPEATS, self.gpu)


def single(given: Given) -> tuple[list[Bar], Row]:
    """One large case beside its dense layers."""
    nodes = 20_000 if given.quick else 100_000
    case = moved(mesh(nodes, 3), given.device)
    x = torch.randn(nodes, COLUMNS, device=given.device)
    whole, dense = (network(3, dense).to(given.device) for dense in (False, True))
    t = given.times({"whole": lambda: whole(x, case), "dense": lambda: dense(x, case)})
    ratio = t["whole"] / t["dense"]
    bar = given.bar(f"{nodes:,} nodes: time / that without attention", ratio, 1.6)
    return [bar], (f"one case, {nodes:,} nodes", t["whole"], t["dense"], ratio)


def packs(given: Given, size: int, goal: float) -> tuple[list[Bar], Row]:
    """Many small cases in one call beside one by one."""
    net = network(2).to(given.device)
    cases = [moved(mesh(size, 2, seed), given.device) for seed in range(CASES)]
    inputs = [torch.randn(size, COLUMNS, device=given.device) for _ in cases]
    step = CASES if given.gpu else max(NODES // size, 1)

    def alone() -> None:
        for x, case in zip(inputs, cases, strict=True):
            net(x, case)

    def together() -> None:
        for k in range(0, CASES, step):
            net(torch.cat(inputs[k : k + step]), side_by_side(cases[k : k + step]))

    t = given.times({"alone": alone, "together": together})
    ratio, what = t["alone"] / t["together"], f"{CASES} cases of {size:,} nodes"
    bar = given.bar(f"{what}: one by one / packed", ratio, goal, least=True)
    return [bar], (what, t["together"], t["alone"], ratio)


def main() -> None:
    options = arguments(__doc__ or "")
    given = Given(options.device or "cpu", options.quick, Clock())
    bars, rows = [], []
    for run in (
        lambda: single(given),
        lambda: packs(given, 2_000, 3.0 if given.gpu else 1.0),
        lambda: packs(given, 100, 3.0),
    ):
        found, row = run()
        bars += found
        rows.append(row)
        say(f"{row[0]}: {given.clock():.0f} s")
    tables = {"times": table(("what", "time [s]", "beside [s]", "ratio"), rows)}
    found = []
    for name, job in [] if given.quick else LARGE.items():
        with get_context("spawn").Pool(1) as pool:
            edges, seconds, peak = pool.apply(large, (job,))
        found.append((name, edges, seconds, peak))
        bars.append(given.bar(f"{name}: peak of memory [GiB]", peak, 24.0))
        say(f"{name}: {seconds:.0f} s, {peak:.1f} GiB")
    if found:
        tables["large meshes"] = table(("mesh", "edges", "time [s]", "peak [GiB]"), found)
    finish("graph_inference", options, bars, tables)


if __name__ == "__main__":
    main()
