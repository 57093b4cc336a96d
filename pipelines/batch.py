"""The supervisor of a batch: workers that may die, and the groups that they hold."""

from __future__ import annotations

import json
import logging
import math
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from fieldcast.meshes.threads import THREADS

from .manifest import Outcome, Timings

log = logging.getLogger(__name__)

Message = dict[str, Any]
Rows = list[tuple[Outcome, Timings]]
# Groups that a worker holds: one is read, one answered and one written while a fourth waits.
_DEPTH = 4
# Beyond the time to read its files a group has that of so many files more to be answered.
_ANSWER_FILES = 10
_TICK_S = 0.5
_TAIL = 400
_NOTES = 5
_KILLED = -9


@dataclass(frozen=True)
class Task:
    """The cases of a group, each as JSON. `alone`: the worker gets nothing else meanwhile, so that
    it is to blame if the worker dies."""

    group: int
    cases: tuple[str, ...]
    alone: bool = False

    def accused(self) -> list[Task]:
        """What is tried next when a worker died: all once more, then each."""
        if not self.alone:
            return [replace(self, alone=True)]
        return [replace(self, cases=(case,)) for case in self.cases]


Patience = Callable[[Task], float]
"""How many seconds a task may take."""


def reading_patience(time_limit: float) -> Patience:
    """Of tasks whose files may take so many seconds each to be read; answering them may take as
    long as ten more."""
    return lambda task: time_limit * (len(task.cases) + _ANSWER_FILES)


def _no_end(task: Task) -> float:
    return math.inf


class _Worker:
    """A process that answers groups on so many `threads`; its lines come to `events` as (worker,
    message), None at its end."""

    def __init__(
        self,
        slot: int,
        threads: int,
        module: str,
        events: queue.Queue[tuple[_Worker, Message | None]],
    ) -> None:
        self.slot = slot
        self.held: deque[Task] = deque()
        self.ready = self.late = False
        self._since = time.monotonic()
        self._errors = tempfile.TemporaryFile()
        limits = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
        limits[THREADS] = str(threads)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.{module}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **limits},
            text=True,
        )
        self._ears = threading.Thread(target=self._listen, args=(events,), daemon=True)
        self._ears.start()

    def _listen(self, events: queue.Queue[tuple[_Worker, Message | None]]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            events.put((self, json.loads(line)))
        events.put((self, None))

    def tell(self, message: Message) -> None:
        """One line; one that died before it could hear is told of by its end."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except OSError:
            log.debug("worker %d has gone", self.slot)

    def give(self, task: Task) -> None:
        if not self.held:
            self._since = time.monotonic()
        self.held.append(task)
        self.tell({"group": task.group, "cases": task.cases})

    def takes(self, task: Task) -> bool:
        """Whether it may have the task now."""
        alone = task.alone or any(held.alone for held in self.held)
        return self.ready and len(self.held) < (1 if alone else _DEPTH)

    def finished(self) -> Task:
        """The task that it has held longest is done."""
        self._since = time.monotonic()
        return self.held.popleft()

    def check(self, patience: Patience) -> None:
        """Kills the process when its task takes too long."""
        if not self.held or self.late:
            return
        if time.monotonic() - self._since > patience(self.held[0]):
            self.late = True
            self._process.kill()

    def close(self) -> tuple[int, str]:
        """(exit code, last words); ends the process."""
        self._process.kill()
        code = self._process.wait()
        self._ears.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # what was still to be sent has nobody to go to
                    continue
        end = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(end - _TAIL, 0))
        said = self._errors.read().decode(errors="replace").strip()
        self._errors.close()
        return code, said


class Pool:
    """Workers that answer groups; a context manager. One that dies is replaced.

    `hello` is the first message to a worker of a slot, which loads the model; `first` so many are
    started before it is known how much there is to do. Each works on so many `threads`, and runs a
    `module` of this package.
    """

    def __init__(
        self,
        hello: Callable[[int], Message],
        first: int = 1,
        threads: int = 1,
        module: str = "batch_worker",
    ) -> None:
        self._hello, self._first, self._threads = hello, first, threads
        self._module = module
        self._events: queue.Queue[tuple[_Worker, Message | None]] = queue.Queue()
        self._workers: dict[int, _Worker] = {}
        self._begin: Callable[[int], Message] | None = None
        self._notes = 0

    def __enter__(self) -> Pool:
        for slot in range(self._first):
            self._start(slot)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def settings(self) -> Message:
        """How the model wants cases to be read; waits for the first worker.

        Raises:
            ValueError: a model that cannot be used.
        """
        while True:
            _, message = self._heard(None)
            if message and "ready" in message:
                found: Message = message["ready"]
                return found

    def run(
        self,
        tasks: Iterable[Task],
        begin: Callable[[int], Message],
        workers: int,
        patience: Patience,
    ) -> Iterator[Rows]:
        """The rows of group after group, as they are done. `begin` is the second message to the
        worker of a slot.

        Raises:
            ValueError: what no case is to blame for: no room on the disk, no model.
        """
        self._begin = begin
        for worker in self._workers.values():
            worker.tell(begin(worker.slot))
        for slot in range(len(self._workers), workers):
            self._start(slot)
        waiting, rest = deque[Task](), iter(tasks)
        while self._feed(waiting, rest):
            worker, message = self._heard(patience)
            if message is None:
                rows = self._buried(worker, waiting)
            elif "done" in message:
                worker.finished()
                rows = [row_of(row) for row in message["rows"]]
            else:
                continue
            if rows:
                yield rows

    def _start(self, slot: int) -> None:
        worker = _Worker(slot, self._threads, self._module, self._events)
        self._workers[slot] = worker
        worker.tell(self._hello(slot))
        if self._begin:
            worker.tell(self._begin(slot))

    def _feed(self, waiting: deque[Task], rest: Iterator[Task]) -> bool:
        """Gives out tasks, in turns, to the workers that hold least; False when all is done."""
        while True:
            if not waiting:
                waiting.extend(task for task in [next(rest, None)] if task is not None)
            if not waiting:
                return any(worker.held for worker in self._workers.values())
            free = [w for w in self._workers.values() if w.takes(waiting[0])]
            if not free:
                return True
            min(free, key=lambda w: len(w.held)).give(waiting.popleft())

    def _heard(self, patience: Patience | None) -> tuple[_Worker, Message | None]:
        """The next event, what is no row dealt with."""
        while True:
            try:
                worker, message = self._events.get(timeout=_TICK_S)
            except queue.Empty:
                for worker in self._workers.values() if patience else ():
                    worker.check(patience or _no_end)
                continue
            if message is None and not worker.ready:
                code, said = worker.close()
                raise ChildProcessError(f"expected a worker, it ended with code {code}: {said}")
            if message and "fatal" in message:
                raise ValueError(message["fatal"])
            if message and "note" in message:
                self._note(message["note"])
            if message and "ready" in message:
                worker.ready = True
            return worker, message

    def _note(self, text: str) -> None:
        self._notes += 1
        if self._notes <= _NOTES:
            log.warning("%s%s", text, " (and more like it)" if self._notes == _NOTES else "")

    def _buried(self, worker: _Worker, waiting: deque[Task]) -> Rows:
        """The rows of a worker that died over one case; else what it held is tried again."""
        code, said = worker.close()
        self._start(worker.slot)
        if [len(task.cases) for task in worker.held if task.alone] == [1]:
            name = json.loads(worker.held[0].cases[0])[0]
            return [(_obituary(name, code, worker.late, said), Timings())]
        for task in reversed(worker.held):
            waiting.extendleft(reversed(task.accused()))
        return []


def _obituary(name: str, code: int, late: bool, said: str) -> Outcome:
    if late:
        return Outcome(name, "timeout", "", "no answer within the time limit, raise it")
    if code == _KILLED:
        text = "the worker was killed, as systems do when memory runs out; take fewer workers"
        return Outcome(name, "out-of-memory", "", text)
    # Last words hold addresses and times; a table is the same each time.
    log.warning("%s: the worker ended with code %d, saying %r", name, code, said)
    return Outcome(name, "crashed", "", f"the worker ended with code {code}")


def row_of(row: Message) -> tuple[Outcome, Timings]:
    """A row as a worker tells it."""
    return Outcome(**row["outcome"]), Timings(**row["timings"])
