"""A worker of a batch: reads, answers and writes one group after another, each of the three at the
same time as the others.

Started by `batch.Workers` as `python -m fieldcast.pipelines.batch_worker`. It is told what to do in
lines of JSON on its standard input and tells what became of it in such lines on its standard
output. Nothing is pickled. It ends at once when its input ends, so it outlives nobody.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import queue
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from fieldcast.meshes.case_files import CaseFiles
from fieldcast.meshes.case_reading import CaseReader, ReadCase, content_key, folder_tables
from fieldcast.meshes.formats import format_called
from fieldcast.meshes.reading import MeshFileError, Reader
from fieldcast.meshes.roles import Settings
from fieldcast.meshes.writing import write_prediction

from .manifest import Outcome, Timings

if TYPE_CHECKING:
    from fieldcast.meshes import Prediction

    from .answering import Answering, Refusal

Message = dict[str, Any]
# What no case is to blame for: the batch stops, and goes on when there is room.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)


@dataclass(frozen=True)
class _Work:
    """A group as read: for each case its files, key, what was read or why not, and seconds."""

    number: int
    files: Sequence[CaseFiles]
    keys: Sequence[str]
    found: Sequence[ReadCase | MeshFileError]
    seconds: Sequence[float]


@dataclass(frozen=True)
class _Answered:
    """A group as answered; `seconds` for each case."""

    work: _Work
    answers: Sequence[Prediction | Refusal]
    seconds: float


@dataclass(frozen=True)
class _Place:
    """Where cases come from and where answers go: `staging` first, then `out`."""

    reader: CaseReader
    source: Path
    staging: Path
    out: Path
    context: str

    @classmethod
    def of(cls, told: Message) -> _Place:
        source = Path(told["source"])
        reader = Reader(time_limit=told["time_limit"], memory_limit=told["memory_limit"])
        settings = Settings.from_dict(told["settings"])
        staging = Path(told["staging"])
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        tables = folder_tables(source)
        return cls(
            CaseReader(settings, tables, reader), source, staging, Path(told["out"]),
            told["context"],
        )  # fmt: skip

    def read(self, told: Message) -> _Work:
        """A group as it lies on disk."""
        files = [files_from(text, self.source) for text in told["cases"]]
        keys, found, seconds = [], [], []
        for case in files:
            start = time.perf_counter()
            found.append(self._try(case))
            keys.append(content_key(case, self.reader.tables, self.context))
            seconds.append(time.perf_counter() - start)
        return _Work(told["group"], files, keys, found, seconds)

    def _try(self, files: CaseFiles) -> ReadCase | MeshFileError:
        try:
            return self.reader.read(files)
        except MeshFileError as error:
            return error

    def write(self, answered: _Answered, answering: Answering) -> Iterator[Message]:
        """Writes what can be, and gives the outcome of each case."""
        answers = iter(answered.answers)
        work = answered.work
        for files, key, found, read in zip(
            work.files, work.keys, work.found, work.seconds, strict=True
        ):
            start = time.perf_counter()
            if isinstance(found, MeshFileError):
                # Tables of equal folders are equal wherever they lie.
                text = str(found).replace(f"{self.source}{os.sep}", "")
                outcome = Outcome(files.name, found.status, "", text)
                spent = Timings(read)
            else:
                outcome = self._outcome(files, found, next(answers), answering)
                spent = Timings(read, answered.seconds, time.perf_counter() - start)
            yield {"outcome": asdict(replace(outcome, key=key)), "timings": asdict(spent)}

    def _outcome(
        self, files: CaseFiles, read: ReadCase, answer: Prediction | Refusal, answering: Answering
    ) -> Outcome:
        from .answering import Refusal

        nodes = len(read.case.mesh.points)
        if isinstance(answer, Refusal):
            return Outcome(files.name, answer.status, "", answer.message, nodes=nodes)
        try:
            output = self._written(files, read, answer, answering.level)
        except (ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                raise
            for path in self.staging.iterdir():
                path.unlink()
            return Outcome(files.name, "invalid-input", "", str(error), nodes=nodes)
        trust = answer.trust
        return Outcome(
            files.name,
            "ok" if trust.status == "ok" else "flagged",
            output,
            trust.reason,
            answering.numbers(answer),
            float(trust.score),
            nodes,
        )

    def _written(
        self, files: CaseFiles, read: ReadCase, prediction: Prediction, level: float
    ) -> str:
        """Writes all files of an answer apart, then moves them to their place, the main one last;
        returns its name."""
        found = format_called(read.raw.format)
        suffix = found.suffixes[0] if found else files.mesh.suffix
        # A suffix that the format knows stays the user's.
        if found and files.mesh.suffix.lower() in found.suffixes:
            suffix = files.mesh.suffix
        main = write_prediction(
            prediction,
            self.staging / f"{files.name}{suffix}",
            source=files.mesh,
            levels=(level,),
            native=read.raw,
        )
        others = [path for path in self.staging.iterdir() if path != main]
        for path in (*others, main):
            path.replace(self.out / path.name)
        return main.name


def files_to(files: CaseFiles, source: Path) -> str:
    """The files of a case as JSON, relative to the source where they lie below it."""

    def told(path: Path) -> str:
        return str(path.relative_to(source) if path.is_relative_to(source) else path)

    content: list[Any] = [files.name, told(files.mesh)]
    if files.parts or files.scalars or files.later:
        parts = {name: told(path) for name, path in files.parts.items()}
        content += [parts, [told(p) for p in files.scalars], [told(p) for p in files.later]]
    return json.dumps(content)


def files_from(text: str, source: Path) -> CaseFiles:
    """The inverse of `files_to`."""
    name, mesh, *rest = json.loads(text)
    parts, scalars, later = rest or ({}, (), ())
    return CaseFiles(
        name,
        source / mesh,
        {name: source / path for name, path in parts.items()},
        tuple(source / path for path in scalars),
        tuple(source / path for path in later),
    )


class Tongue:
    """Lines of JSON to the supervisor; any thread may speak."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._lock = out, threading.Lock()

    def say(self, **message: Any) -> None:
        with self._lock:
            self._out.write(json.dumps(message) + "\n")
            self._out.flush()


class Notes(logging.Handler):
    """What is said aloud here is said aloud by the supervisor."""

    def __init__(self, tongue: Tongue) -> None:
        super().__init__(logging.WARNING)
        self._tongue = tongue

    def emit(self, record: logging.LogRecord) -> None:
        self._tongue.say(note=record.getMessage())


def guarded(tongue: Tongue, work: Callable[[], None]) -> None:
    """What nothing foresaw ends the whole process: the supervisor sees it and goes on."""
    try:
        work()
    except OSError as error:
        if error.errno in NO_ROOM:
            tongue.say(fatal=str(error))
        traceback.print_exc()
        os._exit(1)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _start(told: Message) -> Answering:
    import torch

    from fieldcast.surrogates import load

    from .answering import answering

    # Answers must not depend on how many workers share the machine.
    torch.set_num_threads(1)
    asked = (told["device"], told["level"], told["nodes"], told["precision"])
    return answering(load(told["model"]), *asked)


def _serve(tongue: Tongue, answering: Answering, place: _Place, orders: queue.Queue[Any]) -> None:
    read: queue.Queue[_Work] = queue.Queue(1)
    done: queue.Queue[_Answered] = queue.Queue(1)

    def reading() -> None:
        while True:
            read.put(place.read(orders.get()))

    def writing() -> None:
        while True:
            answered = done.get()
            rows = list(place.write(answered, answering))
            tongue.say(done=answered.work.number, rows=rows)

    for work in (reading, writing):
        threading.Thread(target=guarded, args=(tongue, work), daemon=True).start()
    while True:
        group = read.get()
        start = time.perf_counter()
        cases = [found.case for found in group.found if isinstance(found, ReadCase)]
        answers = answering.answers(cases)
        done.put(_Answered(group, answers, (time.perf_counter() - start) / max(len(cases), 1)))


def listen(orders: queue.Queue[Any]) -> None:
    """What comes by standard input; the process ends with it."""
    for line in sys.stdin:
        orders.put(json.loads(line))
    os._exit(0)


def begun() -> tuple[Tongue, queue.Queue[Any]]:
    """A worker's ears and mouth. The real standard output is kept for answers; whatever libraries
    print goes to standard error."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # Ctrl-C reaches the whole group of processes; the supervisor decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tongue = Tongue(out)
    logging.getLogger("fieldcast").addHandler(Notes(tongue))
    orders: queue.Queue[Any] = queue.Queue()
    threading.Thread(target=guarded, args=(tongue, lambda: listen(orders)), daemon=True).start()
    return tongue, orders


def main() -> None:
    """Answers what it is told until its input ends."""
    tongue, orders = begun()

    def work() -> None:
        from .answering import asked_settings

        try:
            answering = _start(dict(orders.get()))
        except (ValueError, OSError) as error:
            tongue.say(fatal=str(error))
            os._exit(1)
        tongue.say(ready=asked_settings(answering.predictor).as_dict())
        _serve(tongue, answering, _Place.of(dict(orders.get())), orders)

    guarded(tongue, work)


if __name__ == "__main__":
    main()
