"""A folder of cases answered and written back onto their own meshes, with a manifest; and cases
answered as they come."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from fieldcast.meshes.case_files import CaseFiles
from fieldcast.meshes.case_reading import (
    content_key,
    folder_cases,
    folder_tables,
    stamp_of,
)
from fieldcast.meshes.files import replace_file
from fieldcast.meshes.roles import Settings
from fieldcast.meshes.tables import Table

from .batch import Message, Pool, Rows, Task, reading_patience
from .batch_worker import files_from, files_to
from .groups import Budget
from .manifest import DONE, PENDING, Entry, Manifest, Outcome
from .shards import MANIFEST, Shard
from .sinks import Sink, sink_at
from .sources import Source, source_at
from .stores import file_at, is_remote

if TYPE_CHECKING:
    from fieldcast.meshes import Case, Prediction
    from fieldcast.surrogates.surrogate import Predictor

Progress = Callable[[str, int, int], None]
"""Called with a stage, how much of it is done, and how much there is."""

TABLE = "manifest.json"
# Beyond so many cases the table as JSON is left out; `fieldcast export` writes it as CSV.
LARGEST_TABLE = 10_000
LOCAL = "local"
_STAGING = ".staging"


@dataclass(frozen=True)
class Job:
    """How a batch is answered: `level` of the intervals, torch `device` (several, one per worker:
    "cuda:0,cuda:1"), how many `workers` (0: one per device or core), and what is answered
    together. Reading a file may take `time_limit` [s] and `memory_limit` [bytes]. `executor`:
    local, or an engine such as "dask" or "dask:tcp://head:8786". `precision`: "bf16" or "fp16" for
    networks on devices that are faster in it."""

    level: float = 0.95
    device: str | None = None
    workers: int = 0
    budget: Budget = field(default_factory=Budget)
    time_limit: float = 60.0
    memory_limit: int = 4 * 2**30
    executor: str = LOCAL
    precision: str = ""

    @property
    def slots(self) -> int:
        """How many workers there may be."""
        devices = self.devices
        own = len(devices) if devices[0] not in (None, "cpu") else len(os.sched_getaffinity(0))
        return self.workers or own

    @property
    def threads(self) -> int:
        """How many cores each worker has."""
        return max(len(os.sched_getaffinity(0)) // self.slots, 1)

    @property
    def devices(self) -> Sequence[str | None]:
        """The devices that workers take in turns."""
        return self.device.split(",") if self.device else [None]

    def to_json(self) -> str:
        """For the manifest."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The inverse of `to_json`."""
        values = json.loads(text)
        return cls(**{**values, "budget": Budget(**values["budget"])})


@dataclass(frozen=True)
class Batch:
    """A batch that has ended: its manifest, how many cases have each status, and the folder of
    answers, which holds the manifest of one elsewhere."""

    manifest: Path
    counts: Mapping[str, int]
    sink: Sink | None = None

    @property
    def failed(self) -> int:
        """How many cases have no answer."""
        return sum(n for status, n in self.counts.items() if status not in DONE)

    def outcomes(self) -> Iterator[Outcome]:
        """What became of each case, in the order of the input."""
        with Manifest(self.manifest) as manifest:
            for outcome, _ in manifest.rows():
                yield outcome


def predict_folder(
    model: Predictor | Path | str,
    source: Path | str,
    sink: Path | str,
    *,
    job: Job | None = None,
    shard: Shard | None = None,
    progress: Progress | None = None,
) -> Batch:
    """Answer every case of `source` and write it below `sink`, paths or URLs such as
    "s3://bucket/folder"; a case that fails does not stop the others, and what an earlier call with
    the same model has done is not done again.

    Raises:
        ValueError: no case there; a level that the model's intervals do not support.
    """
    job, shard = job or Job(), shard or Shard()
    _check(source, sink, job)
    with source_at(source) as cases, sink_at(sink) as answers, _saved(model) as (path, name):
        with alone(answers.path, shard):
            run = _Run(path, cases, answers, job, shard, name)
            return run.done(progress or quiet)


def _check(source: Path | str, sink: Path | str, job: Job) -> None:
    if job.executor != LOCAL and (is_remote(source) or is_remote(sink)):
        raise ValueError(
            f"--executor {job.executor}: expected folders that all machines see, got {source} and "
            f"{sink}; divide the work by --shard there"
        )
    same = [p if is_remote(p) else Path(p).resolve() for p in (source, sink)]
    if same[0] == same[1]:
        raise ValueError(f"expected another folder for the answers than that of the cases, {sink}")
    if not is_remote(source):
        path = Path(source)
        if not path.exists() and not path.parent.is_file():
            raise ValueError(f"expected a folder with cases, {source} does not exist")
    if not is_remote(sink):
        path = Path(sink)
        if path.exists() and not path.is_dir():
            raise ValueError(f"expected a folder for the answers, {sink} is a file")
        if not is_remote(source) and path.resolve() == Path(source).resolve():
            raise ValueError(
                f"expected another folder for the answers than that of the cases, {sink}"
            )
        path.mkdir(parents=True, exist_ok=True)


def retry_folder(
    sink: Path | str,
    statuses: Sequence[str],
    *,
    model: Path | str | None = None,
    progress: Progress | None = None,
) -> Batch:
    """Answer the cases of a batch again that ended with one of `statuses`, as they were asked
    before.

    Raises:
        ValueError: no batch there.
    """
    with sink_at(sink) as answers:
        path = batch_in(answers)
        with alone(answers.path, Shard()):
            with Manifest(path) as manifest:
                if not manifest.about("places"):
                    raise ValueError(f"{sink}: made by generate; ask it with --again STATUS")
                places = json.loads(manifest.about("places"))
                job = Job.from_json(manifest.about("job"))
                manifest.retry(statuses, job.budget)
            named = model or places["model"]
            with source_at(places["source"]) as cases, _saved(named) as (found, name):
                run = _Run(found, cases, answers, job, Shard(), name)
                return run.done(progress or quiet)


def batch_in(sink: Sink) -> Path:
    """The manifest of a batch.

    Raises:
        ValueError: none there.
    """
    path = sink.manifest(MANIFEST)
    if not path.is_file():
        raise ValueError(f"{sink.url}: expected a batch, got no {MANIFEST}; merge its shards first")
    return path


def predict_stream(
    model: Predictor,
    cases: Iterable[Case],
    *,
    job: Job | None = None,
) -> Iterator[Prediction | ValueError]:
    """An answer per case, in order, as they come; a case that has none gives the reason as an
    error. Groups are consecutive cases within the job's budget; no more than one is held.

    Raises:
        ValueError: a level that the model's intervals do not support.
    """
    from .answering import Refusal, answering

    job = job or Job()
    asked = answering(model, job.devices[0], job.level, job.budget.nodes, job.precision)
    for group in _groups(cases, job.budget):
        for answer in asked.answers(group):
            if isinstance(answer, Refusal):
                yield ValueError(f"{answer.message} ({answer.status})")
            else:
                yield answer


def _groups(cases: Iterable[Case], budget: Budget) -> Iterator[list[Case]]:
    group: list[Case] = []
    nodes = 0
    for case in cases:
        size = len(case.mesh.points)
        if group and (nodes + size > budget.nodes or len(group) == budget.cases):
            yield group
            group, nodes = [], 0
        group.append(case)
        nodes += size
    if group:
        yield group


@contextmanager
def staged(sink: Sink, shard: Shard) -> Iterator[Path]:
    """Where files are written before they move to their place; gone afterwards."""
    staging = sink.path / _STAGING / shard.manifest
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        with suppress(OSError):  # other shards still use it
            staging.parent.rmdir()


def ended(sink: Sink, shard: Shard, counts: Mapping[str, int]) -> Batch:
    """A shard leaves its manifest alone, the whole its page and table, too."""
    if shard.count > 1:
        return Batch(sink.path / shard.manifest, counts, sink)
    return finished(sink, counts)


def finished(sink: Sink, counts: Mapping[str, int]) -> Batch:
    """A batch whose manifest is whole, with its page, and its table where it is not too long."""
    from .batch_report import NAME, write_batch_report

    batch = Batch(sink.path / MANIFEST, counts, sink)
    write_batch_report(batch, sink.path / NAME, PurePosixPath(sink.url).name)
    if sum(counts.values()) <= LARGEST_TABLE:
        content = [asdict(outcome) for outcome in batch.outcomes()]
        replace_file(sink.path / TABLE, json.dumps(content, indent=1).encode())
    return batch


@dataclass(frozen=True)
class _Run:
    """One batch, or one shard of it."""

    model: Path
    source: Source
    sink: Sink
    job: Job
    shard: Shard
    named: str
    """The model as asked for."""

    def done(self, progress: Progress) -> Batch:
        """Answers what is not answered yet."""
        path = self.sink.manifest(self.shard.manifest)
        with (
            staged(self.sink, self.shard) as staging,
            Pool(self._hello, self._likely(), self.job.threads) as pool,
            Manifest(path) as manifest,
        ):
            self._answer(pool, manifest, staging, progress)
            counts = manifest.counts()
        return ended(self.sink, self.shard, counts)

    def _likely(self) -> int:
        """How many workers there will be something to do for, as far as a look at the folder
        tells."""
        if not self.source.path.is_dir() or self.job.executor != LOCAL:
            return 1
        slots, cases = self.job.slots, self.job.budget.cases
        with os.scandir(self.source.path) as entries:
            found = sum(1 for _ in islice(entries, slots * cases * self.shard.count))
        return max(min(found // cases // self.shard.count, slots), 1)

    def _hello(self, slot: int) -> Message:
        devices = self.job.devices
        return {
            "model": str(self.model),
            "device": devices[slot % len(devices)],
            "level": self.job.level,
            "nodes": self.job.budget.nodes,
            "precision": self.job.precision,
        }

    def _answer(
        self,
        pool: Pool,
        manifest: Manifest,
        staging: Path,
        progress: Progress,
    ) -> None:
        asked = Settings.from_dict(pool.settings(), "the model's settings")
        files, settings = folder_cases(self.source.path, asked)
        context = self._context(settings)
        self._enter(manifest, files, context)
        del files
        groups = manifest.pending()
        counts = manifest.counts()
        total, done = sum(counts.values()), sum(counts.values()) - counts.get(PENDING, 0)

        def begin(slot: int) -> Message:
            return {
                "source": str(self.source.path),
                "out": str(self.sink.path),
                "staging": str(staging / str(slot)),
                "settings": settings.as_dict(),
                "context": context,
                "time_limit": self.job.time_limit,
                "memory_limit": self.job.memory_limit,
            }

        tasks = (Task(g, tuple(files for _, files in manifest.group(g))) for g in groups)
        answers = self._answers(pool, self.source.brought(tasks), begin, max(len(groups), 1))
        for rows in self.sink.kept(answers):
            manifest.record(rows)
            self.source.done([outcome.case for outcome, _ in rows])
            self.sink.save()
            done = min(done + len(rows), total)
            progress("predict", done, total)

    def _answers(
        self, pool: Pool, tasks: Iterator[Task], begin: Callable[[int], Message], most: int
    ) -> Iterator[Rows]:
        job = self.job
        if job.executor == LOCAL:
            patience = reading_patience(job.time_limit)
            yield from pool.run(tasks, begin, min(job.slots, most), patience)
            return
        from .executors import answer_order, executor_called, orders_of, rows_in

        executor = executor_called(job.executor)
        try:
            limits = {"threads": 1, "time_limit": job.time_limit, "module": "batch_worker"}
            orders = orders_of(list(tasks), self._hello(0), begin, limits, executor.slots)
            for text in executor.map(answer_order, orders):
                yield rows_in(text)
        finally:
            executor.close()

    def _context(self, settings: Settings) -> str:
        """What answers depend on besides their case."""
        with self.model.open("rb") as file:
            model = hashlib.file_digest(file, "sha256").hexdigest()
        asked = (self.job.level, asdict(self.job.budget), self.job.precision)
        parts = [model, settings.as_dict(), *asked]
        text = json.dumps([*parts, version("fieldcast")], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _enter(self, manifest: Manifest, files: Sequence[CaseFiles], context: str) -> None:
        tables = folder_tables(self.source.path)
        if manifest.about("context") != context:
            manifest.clear()
        places = json.dumps({"model": self.named, "source": self.source.url})
        manifest.tell(context=context, job=self.job.to_json(), places=places)
        shard = (self.shard.index, self.shard.count)
        manifest.enter(_entries(files, self.source.path, tables), self.job.budget, shard)

        def key(text: str) -> str:
            with self.source.holding(text):
                return content_key(files_from(text, self.source.path), tables, context)

        manifest.changed(key)
        there = self.sink.names()
        manifest.lost(lambda name: name in there)


def _entries(
    files: Sequence[CaseFiles], source: Path, tables: Mapping[str, Table]
) -> Iterator[Entry]:
    for case in files:
        size, stamp = stamp_of(case, tables)
        yield Entry(case.name, files_to(case, source), size, stamp)


@contextmanager
def _saved(model: Any) -> Iterator[tuple[Path, str]]:
    """The model as a file of this machine, and as asked for."""
    if not isinstance(model, (Path, str)):
        with tempfile.TemporaryDirectory() as folder:
            path = model.save(Path(folder) / "model.fieldcast")
            yield path, str(path)
        return
    with file_at(model) as path:
        if not path.is_file():
            raise FileNotFoundError(f"{model}: expected a model that fit has made, got no file")
        yield path, str(model if is_remote(model) else path)


@contextmanager
def alone(sink: Path, shard: Shard) -> Iterator[None]:
    """No other process writes the same manifest meanwhile; a lock ends with its process."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    with (sink / f".{shard.manifest}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"{sink}: another batch is writing there; wait for it") from None
        yield


def quiet(stage: str, done: int, total: int) -> None:
    """Progress that nobody sees."""
