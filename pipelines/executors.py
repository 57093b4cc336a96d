"""Engines that batches can run on instead of our own workers on this machine.

An engine gets orders, texts that name files; whatever reads or answers a case still runs in
processes of ours below the engine's, so a file that kills its reader does not kill the engine's
worker and is not retried by it for ever. Folders and model must be the same on all machines.
"""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .batch import Message, Pool, Rows, Task, reading_patience, row_of

Work = Callable[[str], str]
_RETRIES = 2
# Orders per slot: enough that slots end together, few enough that loading the model is no matter.
_ORDERS = 4


class Executor(ABC):
    """Where orders are answered; what it holds ends with `close`."""

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many orders are answered at a time."""

    @abstractmethod
    def map(self, work: Work, orders: Sequence[str]) -> Iterator[str]:
        """What `work` gives for each order, as they are done."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of the engine."""


@dataclass(frozen=True)
class DaskExecutor(Executor):
    """Tasks of `dask.distributed`, on the cluster of a client."""

    client: Any

    @classmethod
    def connected(cls, address: str) -> DaskExecutor:
        """To a scheduler such as tcp://head:8786, to a cluster on this machine where none is
        named."""
        try:
            from distributed import Client
        except ImportError:
            raise ValueError(
                "--executor dask: expected dask.distributed: pip install 'fieldcast[cluster]'"
            ) from None
        if address:
            return cls(Client(address))
        return cls(Client(threads_per_worker=1, dashboard_address=None))

    @property
    def slots(self) -> int:
        return max(sum(self.client.nthreads().values()), 1)

    def map(self, work: Work, orders: Sequence[str]) -> Iterator[str]:
        from distributed import as_completed

        futures = self.client.map(work, list(orders), pure=False, retries=_RETRIES)
        for future in as_completed(futures):
            yield future.result()

    def close(self) -> None:
        self.client.close()


@dataclass(frozen=True)
class RayExecutor(Executor):
    """Tasks of Ray, on the cluster that this process is connected to."""

    ray: Any
    slots_there: int

    @classmethod
    def connected(cls, address: str) -> RayExecutor:
        """To a cluster such as ray://head:10001, to one on this machine where none is named."""
        try:
            import ray
        except ImportError:
            raise ValueError("--executor ray: expected Ray: pip install 'fieldcast[ray]'") from None
        if address:
            ray.init(address, logging_level=logging.ERROR)
        else:
            ray.init("local", include_dashboard=False, logging_level=logging.ERROR)
        return cls(ray, max(int(ray.cluster_resources().get("CPU", 1)), 1))

    @property
    def slots(self) -> int:
        return self.slots_there

    def map(self, work: Work, orders: Sequence[str]) -> Iterator[str]:
        task = self.ray.remote(num_cpus=1, max_retries=_RETRIES)(work)
        waiting = [task.remote(order) for order in orders]
        while waiting:
            done, waiting = self.ray.wait(waiting)
            yield from self.ray.get(done)

    def close(self) -> None:
        self.ray.shutdown()


def executor_called(name: str) -> Executor:
    """The engine in a text such as "dask", "dask:tcp://head:8786" or "ray:ray://head:10001".

    Raises:
        ValueError: no such engine, or one that is not installed.
    """
    kind, _, address = name.partition(":")
    known: dict[str, Callable[[str], Executor]] = {
        "dask": DaskExecutor.connected,
        "ray": RayExecutor.connected,
    }
    if kind not in known:
        raise ValueError(f"--executor: expected local or {', '.join(known)}, got {name!r}")
    return known[kind](address)


def orders_of(
    tasks: Sequence[Task], hello: Message, begin: Callable[[int], Message], job: Message, slots: int
) -> list[str]:
    """The tasks of a batch as texts, each of some groups."""
    size = max(len(tasks) // (_ORDERS * slots), 1)
    return [
        json.dumps(
            {
                "hello": hello,
                # Each order has a place of its own for what is not finished.
                "begin": begin(tasks[i].group),
                "tasks": [asdict(task) for task in tasks[i : i + size]],
                **job,
            }
        )
        for i in range(0, len(tasks), size)
    ]


def answer_order(order: str) -> str:
    """Answers the groups of an order by a worker of ours; returns their rows."""
    told = json.loads(order)
    tasks = [Task(t["group"], tuple(t["cases"])) for t in told["tasks"]]
    found: Rows = []
    patience = reading_patience(told["time_limit"])
    with Pool(lambda slot: told["hello"], 1, told["threads"], told["module"]) as pool:
        pool.settings()
        for rows in pool.run(tasks, lambda slot: told["begin"], 1, patience):
            found += rows
    return json.dumps([{"outcome": asdict(o), "timings": asdict(t)} for o, t in found])


def rows_in(text: str) -> Rows:
    """The inverse of what `answer_order` returns."""
    return [row_of(row) for row in json.loads(text)]
