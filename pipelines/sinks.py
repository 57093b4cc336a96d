"""Where answers go: a folder of this machine, or of another filesystem.

What writes answers works on folders of this machine. For another filesystem that is one on the way:
what appears in it is handed on before its rows are recorded. The manifest is written here and saved
there every half minute, so a machine that is lost costs what was done since.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .batch import Rows
from .stores import AHEAD, Store, is_remote, when_done

_BESIDE = ("report.html", "manifest.json")
_SAVED_S = 30.0
# Saving the manifest takes at most this share of the time.
_SHARE = 0.05


class Sink(ABC):
    """Where answers go: `url` as asked for, `path` to write to on this machine."""

    url: str
    path: Path

    @abstractmethod
    def manifest(self, name: str) -> Path:
        """Where a manifest is to be written, which goes on where there is one already."""

    @abstractmethod
    def bring(self) -> None:
        """All manifests that are there are to be read."""

    @abstractmethod
    def names(self) -> set[str]:
        """Of the files that are there."""

    @abstractmethod
    def kept(self, found: Iterator[Rows]) -> Iterator[Rows]:
        """The rows, once their answers are in their place."""

    @abstractmethod
    def save(self) -> None:
        """Manifests may be saved, where that has not been done for long."""

    @abstractmethod
    def close(self) -> None:
        """What lies here and is to stay is brought to its place."""


@dataclass(frozen=True)
class LocalSink(Sink):
    """A folder of this machine."""

    url: str
    path: Path

    def manifest(self, name: str) -> Path:
        return self.path / name

    def bring(self) -> None:
        return

    def names(self) -> set[str]:
        return set(os.listdir(self.path))

    def kept(self, found: Iterator[Rows]) -> Iterator[Rows]:
        yield from found

    def save(self) -> None:
        return

    def close(self) -> None:
        return


@dataclass
class RemoteSink(Sink):
    """A folder elsewhere; that of this machine holds manifests and page, and answers on their
    way, as long as somebody holds this."""

    url: str
    store: Store
    path: Path
    _own: set[str] = field(default_factory=set)
    _next: float = field(default_factory=lambda: time.monotonic() + _SAVED_S)

    def manifest(self, name: str) -> Path:
        if name not in self._own and name in self.names():
            self.store.get([name], self.path)
        self._own.add(name)
        return self.path / name

    def bring(self) -> None:
        self.store.get([name for name in self.names() if _is_manifest(name)], self.path)

    def names(self) -> set[str]:
        return self.store.names()

    def kept(self, found: Iterator[Rows]) -> Iterator[Rows]:
        waiting: deque[tuple[Rows, Future[None]]] = deque()
        with ThreadPoolExecutor(1) as pool:
            for rows in found:
                waiting.append((rows, pool.submit(self._hand_on)))
                while waiting and (len(waiting) > AHEAD or waiting[0][1].done()):
                    yield when_done(waiting.popleft())
            while waiting:
                yield when_done(waiting.popleft())

    def _hand_on(self) -> None:
        """Every answer that lies here; one whose files are not all here yet follows whole."""
        paths = [p for p in sorted(self.path.iterdir()) if p.is_file() and _is_answer(p.name)]
        self.store.put(paths)
        for path in paths:
            path.unlink()

    def save(self) -> None:
        start = time.monotonic()
        if start < self._next:
            return
        with tempfile.TemporaryDirectory() as name:
            found = [path for own in self._own if (path := self.path / own).exists()]
            copies = [_copied(path, Path(name) / path.name) for path in found]
            self.store.put(copies)
        end = time.monotonic()
        self._next = end + max(_SAVED_S, (end - start) / _SHARE)

    def close(self) -> None:
        self._next = 0.0
        self.save()
        self.store.put([p for name in _BESIDE if (p := self.path / name).exists()])


def _copied(manifest: Path, copy: Path) -> Path:
    """A manifest that may be being written, as one file."""
    there, here = sqlite3.connect(manifest), sqlite3.connect(copy)
    try:
        there.backup(here)
    finally:
        there.close()
        here.close()
    return copy


def _is_manifest(name: str) -> bool:
    return name.startswith("manifest.") and name.endswith(".sqlite")


def _is_answer(name: str) -> bool:
    return not name.startswith((".", "manifest.")) and name not in _BESIDE


@contextmanager
def sink_at(place: str | Path) -> Iterator[Sink]:
    """The folder of answers at a path or URL, which has all that is to stay when this ends."""
    if not is_remote(place):
        path = Path(place).absolute()
        yield LocalSink(str(path), path)
        return
    store = Store.at(str(place))
    sink = RemoteSink(str(place), store, Path(tempfile.mkdtemp(prefix="fieldcast_answers_")))
    weakref.finalize(sink, shutil.rmtree, sink.path, ignore_errors=True)
    try:
        yield sink
    finally:
        sink.close()
