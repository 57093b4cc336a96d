"""Simulations made by a solver: a design becomes a folder that `fit` reads."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from fieldcast.meshes.files import replace_file
from fieldcast.meshes.roles import SETTINGS_FILE
from fieldcast.solvers import Solver

from .batch import Message, Pool, Rows, Task
from .designs import Row
from .groups import Budget
from .manifest import PENDING, Entry, Manifest
from .options import make_solver
from .predicting import LOCAL, Batch, Progress, alone, ended, quiet, staged
from .shards import Shard
from .sinks import Sink, sink_at

DESIGN = "design.csv"
_MODULE = "generate_worker"
_EACH = Budget(cases=1)


@dataclass(frozen=True)
class Making:
    """The solver of this `name` with `settings` such as "degree=2"; how many `workers` (0: one per
    core), the seconds that a case may take, and the `executor` as in `Job`."""

    name: str
    settings: tuple[str, ...] = ()
    workers: int = 0
    time_limit: float = 3600.0
    executor: str = LOCAL
    solver: Solver = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "solver", make_solver(self.name, self.settings))

    @property
    def slots(self) -> int:
        """How many cases are solved at a time."""
        return self.workers or len(os.sched_getaffinity(0))

    def key(self, row: Row) -> str:
        """sha256 of everything that a sample depends on."""
        parts = [self.name, self.settings, version("fieldcast"), sorted(row.items())]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def generate(
    making: Making,
    rows: Sequence[Row],
    folder: Path | str,
    *,
    again: Sequence[str] = (),
    shard: Shard | None = None,
    progress: Progress | None = None,
) -> Batch:
    """Solve a case of each row and write it to `folder` (a path or URL), with settings for `fit`; a
    case that fails does not stop the others, and what an earlier call has done is not done again,
    but for cases that ended with a status in `again`.

    Raises:
        ValueError: no rows, or a solver that cannot run here or makes no cases of them.
    """
    reason = making.solver.available()
    if reason:
        raise ValueError(f"{making.name}: expected a solver that can run here: {reason}")
    if not rows:
        raise ValueError("expected rows to solve cases of, got none")
    making.solver.case(rows[0], "first")
    with sink_at(folder) as sink:
        sink.path.mkdir(parents=True, exist_ok=True)
        with alone(sink.path, shard or Shard()):
            return _Run(making, rows, sink, shard or Shard(), again).done(progress or quiet)


@dataclass(frozen=True)
class _Run:
    """One design, or one shard of it."""

    making: Making
    rows: Sequence[Row]
    sink: Sink
    shard: Shard
    again: Sequence[str]

    def done(self, progress: Progress) -> Batch:
        """Solves what is not solved yet."""
        path = self.sink.manifest(self.shard.manifest)
        self._write_settings()
        with staged(self.sink, self.shard) as staging, Manifest(path) as manifest:
            self._enter(manifest)
            self._solve(manifest, staging, progress)
            counts = manifest.counts()
        return ended(self.sink, self.shard, counts)

    def _enter(self, manifest: Manifest) -> None:
        manifest.tell(job=json.dumps([self.making.name, self.making.settings]))
        manifest.enter(self._entries(), _EACH, (self.shard.index, self.shard.count))
        manifest.changed(lambda files: "")
        there = self.sink.names()
        manifest.lost(lambda name: name in there)
        if self.again:
            manifest.retry(list(self.again), _EACH)

    def _entries(self) -> Iterator[Entry]:
        digits = max(len(str(len(self.rows) - 1)), 4)
        for i, row in enumerate(self.rows):
            name, key = f"case_{i:0{digits}d}", self.making.key(row)
            yield Entry(name, json.dumps([name, row, key]), 1, key)

    def _solve(self, manifest: Manifest, staging: Path, progress: Progress) -> None:
        groups, counts = manifest.pending(), manifest.counts()
        total, done = sum(counts.values()), sum(counts.values()) - counts.get(PENDING, 0)
        if not groups:
            return

        def begin(slot: int) -> Message:
            return {"out": str(self.sink.path), "staging": str(staging / str(slot))}

        tasks = (Task(g, tuple(files for _, files in manifest.group(g))) for g in groups)
        for rows in self.sink.kept(self._answers(tasks, begin, len(groups))):
            manifest.record(rows)
            self.sink.save()
            done = min(done + len(rows), total)
            progress("solve", done, total)

    def _answers(
        self, tasks: Iterator[Task], begin: Callable[[int], Message], most: int
    ) -> Iterator[Rows]:
        making = self.making
        hello = {"solver": making.name, "settings": list(making.settings)}
        if making.executor == LOCAL:
            slots = min(making.slots, most)
            with Pool(lambda slot: hello, slots, 1, _MODULE) as pool:
                pool.settings()
                yield from pool.run(tasks, begin, slots, lambda task: making.time_limit)
            return
        from .executors import answer_order, executor_called, orders_of, rows_in

        executor = executor_called(making.executor)
        try:
            limits = {"threads": 1, "time_limit": making.time_limit, "module": _MODULE}
            orders = orders_of(list(tasks), hello, begin, limits, executor.slots)
            for text in executor.map(answer_order, orders):
                yield rows_in(text)
        finally:
            executor.close()

    def _write_settings(self) -> None:
        """What fit reads the folder by, and the design for people."""
        solver = self.making.solver
        units = {**solver.parameters, **solver.outputs}
        lines = [
            f"inputs = {json.dumps(list(solver.parameters))}",
            f"outputs = {json.dumps(list(solver.outputs))}",
            "",
            "[units]",
            *(f"{json.dumps(name)} = {json.dumps(unit)}" for name, unit in units.items() if unit),
        ]
        replace_file(self.sink.path / SETTINGS_FILE, ("\n".join(lines) + "\n").encode())
        text = io.StringIO()
        table = csv.DictWriter(text, list(self.rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        replace_file(self.sink.path / DESIGN, text.getvalue().encode())
