"""How fast operator networks train and answer, beside DeepXDE and beside their own products of
matrices alone; the bars are those of `semi_ellipse`."""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable

import torch
from bars import Bar, Clock, say
from torch import Tensor

from fieldcast.surrogates.operator_layers import FusionNet, PlainNet

CASES, POINTS, WIDTH, FIELDS, REPEATS = 24, 256, 64, 4, 15
ANSWERED = 20_000


def alternating(runs: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Medians of seconds, one after the other."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(REPEATS + 3):
        for name, run in runs.items():
            clock = Clock()
            run()
            if repeat >= 3:
                times[name].append(clock())
    return {name: statistics.median(t) for name, t in times.items()}


def training(net: torch.nn.Module, answer: Callable[[], Tensor]) -> Callable[[], None]:
    """A step of Adam on the mean square."""
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)

    def run() -> None:
        optimiser.zero_grad()
        answer().square().mean().backward()
        optimiser.step()

    return run


def peer() -> torch.nn.Module | None:
    """DeepXDE's, where it is installed."""
    os.environ.setdefault("DDE_BACKEND", "pytorch")
    # It talks on stdout, which is for results.
    out, sys.stdout = sys.stdout, sys.stderr
    try:
        import deepxde
    except ImportError:
        return None
    finally:
        sys.stdout = out
    hidden = [WIDTH] * 3
    found: torch.nn.Module = deepxde.nn.DeepONet(
        [2, *hidden, WIDTH * FIELDS],
        [2, *hidden, WIDTH],
        "tanh",
        "Glorot normal",
        num_outputs=FIELDS,
        multi_output_strategy="split_branch",
    )
    return found


def products(v: Tensor, x: Tensor) -> Callable[[], Tensor]:
    """The products of matrices of a FusionNet's answer, and nothing else."""
    first, middle = torch.randn(x.shape[2], WIDTH), torch.randn(WIDTH, WIDTH)
    b = torch.randn(len(v), WIDTH, FIELDS)

    def run() -> Tensor:
        with torch.no_grad():
            return (((x @ first) @ middle) @ middle) @ middle @ b

    return run


def speed_bars() -> list[Bar]:
    """A training step beside DeepXDE's, an answer beside its own products."""
    clock = Clock()
    ends = (2, 2, FIELDS, 0)
    v, x = torch.rand(CASES, 2), torch.rand(CASES, POINTS, 2)
    bars = []
    other = peer()
    if other is None:
        say("DeepXDE is not installed: pip install 'fieldcast[peers]'; its bar is left out")
    else:
        rows = v[:, None].expand(-1, POINTS, -1).reshape(-1, 2), x.reshape(-1, 2)
        plain = PlainNet(ends, WIDTH, 3, WIDTH)
        taken = alternating(
            {
                "own": training(plain, lambda: plain(v, x)[0]),
                "deepxde": training(other, lambda: other(rows)),
            }
        )
        ratio = taken["deepxde"] / taken["own"]
        bars.append(
            Bar("training step, deepxde.nn.DeepONet / DeepONet", ratio, 2.0, REPEATS, clock(), True)
        )
    fusion, many = FusionNet(ends, WIDTH, 3, WIDTH), torch.rand(ANSWERED, 2)

    def answer() -> Tensor:
        with torch.no_grad():
            return fusion.at(v[:1], many, [ANSWERED])[0]

    taken = alternating({"own": answer, "products": products(v[:1], many[None])})
    share = taken["products"] / taken["own"]
    bars.append(
        Bar("inference, products of matrices alone / all", share, 0.3, REPEATS, clock(), True)
    )
    return bars


if __name__ == "__main__":
    for bar in speed_bars():
        print(bar.line())
