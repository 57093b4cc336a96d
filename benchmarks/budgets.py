"""Trainings of equal length: the time of a step is measured with nothing beside it, by one thread
and by all, and the least counts. Trainings then run at once, one a core, which ends sooner than one
after the other and changes no figure: their steps are told before."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch

TRIES = 3


def seconds_per_step(measure: Callable[[], float]) -> float:
    """The least of some tries by one thread and by all."""
    before, found = torch.get_num_threads(), []
    for threads in (1, before):
        torch.set_num_threads(threads)
        found += [measure() for _ in range(TRIES)]
    return min(found)


def at_once(work: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], device: str | None) -> None:
    """Do `work` with the arguments of each task, one a core; one after the other on a device."""
    if device not in (None, "cpu"):
        for task in tasks:
            work(*task)
        return
    cores = len(os.sched_getaffinity(0))
    context = get_context("spawn")
    with ProcessPoolExecutor(cores, context, torch.set_num_threads, (1,)) as pool:
        for waiting in [pool.submit(work, *task) for task in tasks]:
            waiting.result()
