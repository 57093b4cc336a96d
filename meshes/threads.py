"""Independent pieces of work on all cores, each with one thread of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

from threadpoolctl import ThreadpoolController

THREADS = "FIELDCAST_THREADS"
"""Environment variable: how many cores this process may use, where it shares them with others of
its kind; all that are there without it."""

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Results in the order of the items. Linear algebra libraries get one thread per worker
    meanwhile: nested threads wait for each other. Few results are held at a time. The answers do
    not depend on the number of cores.
    """
    workers = int(os.environ.get(THREADS, "0")) or len(os.sched_getaffinity(0))
    with (
        _libraries(len(sys.modules)).limit(limits=1),
        ThreadPoolExecutor(workers, initializer=_one_thread) as pool,
    ):
        waiting: list[Future[R]] = []
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 2 * workers:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()


@lru_cache(maxsize=1)
def _libraries(modules: int) -> ThreadpoolController:
    """The linear algebra libraries that are loaded; looked for again when modules were imported
    since."""
    return ThreadpoolController()


def _one_thread() -> None:
    # torch counts threads per calling thread; it is left alone where nobody has imported it.
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
