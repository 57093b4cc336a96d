"""Where cases come from: a folder of this machine, or of another filesystem.

What reads cases works on folders of this machine. For another filesystem that is a stand-in, with
files of the right names and sizes that are empty holes: the content of a case is brought while
those before it are answered, and let go of once it is. So no disk has to hold all of it, and
workers know nothing of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from fieldcast.meshes.case_files import is_list
from fieldcast.meshes.case_reading import paths_of
from fieldcast.meshes.tables import TABLE

from .batch import Task
from .batch_worker import files_from
from .stores import AHEAD, Store, is_remote, when_done

_CHANGES = ("mtime", "LastModified", "last_modified", "updated", "created", "ETag", "etag")
_TOLD_BEFORE = (".toml", ".csv")


class Source(ABC):
    """Where cases come from: `url` as asked for, `path` to look at on this machine."""

    url: str
    path: Path

    @abstractmethod
    def brought(self, tasks: Iterable[Task]) -> Iterator[Task]:
        """The tasks, once their files are there."""

    @abstractmethod
    def holding(self, case: str) -> AbstractContextManager[None]:
        """While it lasts the files of a case (as JSON) are there."""

    @abstractmethod
    def done(self, names: Sequence[str]) -> None:
        """The files of these cases are needed no more."""


@dataclass(frozen=True)
class LocalSource(Source):
    """A folder of this machine."""

    url: str
    path: Path

    def brought(self, tasks: Iterable[Task]) -> Iterator[Task]:
        yield from tasks

    def holding(self, case: str) -> AbstractContextManager[None]:
        return nullcontext()

    def done(self, names: Sequence[str]) -> None:
        return


@dataclass
class RemoteSource(Source):
    """A folder or file elsewhere, and its stand-in `folder` here."""

    url: str
    store: Store
    folder: Path
    path: Path
    _stamps: dict[Path, tuple[int, int]] = field(default_factory=dict)
    _held: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    _users: Counter[Path] = field(default_factory=Counter)

    @classmethod
    def mirrored(cls, url: str, folder: Path) -> RemoteSource:
        """With a stand-in of each file there; settings, tables and lists are brought.

        Raises:
            ValueError: nothing there.
        """
        store = Store.at(url)
        found = store.found()
        if not found:
            raise ValueError(f"{url}: expected a folder with cases, got no file there")
        one = len(found) == 1 and store.files.isfile(store.root)
        source = cls(url, store, folder, folder / next(iter(found)) if one else folder)
        for name, info in found.items():
            source._stand_in(folder / name, info)
        first = [n for n in found if PurePosixPath(n).suffix in _TOLD_BEFORE]
        first += [n for n in found if n == f"{TABLE}.json" or is_list(folder / n)]
        if first:
            source._get([folder / name for name in first])
        return source

    def _stand_in(self, path: Path, info: Mapping[str, Any]) -> None:
        size = int(info.get("size") or 0)
        text = f"{size} {[str(info[k]) for k in _CHANGES if k in info]}"
        # Files look changed when this does; it needs not be a time.
        stamp = int(hashlib.sha256(text.encode()).hexdigest()[:14], 16)
        self._stamps[path] = (size, stamp)
        self._empty(path)

    def _empty(self, path: Path) -> None:
        size, stamp = self._stamps[path]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(size)
        os.utime(path, ns=(stamp, stamp))

    def _get(self, paths: Sequence[Path]) -> None:
        self.store.get([path.relative_to(self.folder).as_posix() for path in paths], self.folder)
        for path in paths:
            if path.exists():
                stamp = self._stamps[path][1]
                os.utime(path, ns=(stamp, stamp))

    def brought(self, tasks: Iterable[Task]) -> Iterator[Task]:
        waiting: deque[tuple[Task, Future[None]]] = deque()
        with ThreadPoolExecutor(1) as pool:
            for task in tasks:
                waiting.append((task, pool.submit(self._get, self._hold(task.cases))))
                if len(waiting) > AHEAD:
                    yield when_done(waiting.popleft())
            while waiting:
                yield when_done(waiting.popleft())

    def _hold(self, cases: Sequence[str]) -> list[Path]:
        """What is to be brought for some cases."""
        new = []
        for case in cases:
            files = files_from(case, self.path)
            paths = tuple(path for path in paths_of(files) if path in self._stamps)
            self._held[files.name] = paths
            new += [p for p in paths if not self._users[p] and not _told(p)]
            self._users.update(paths)
        return list(dict.fromkeys(new))

    @contextmanager
    def holding(self, case: str) -> Iterator[None]:
        self._get(self._hold([case]))
        try:
            yield
        finally:
            self.done([json.loads(case)[0]])

    def done(self, names: Sequence[str]) -> None:
        for name in names:
            paths = self._held.pop(name, ())
            self._users.subtract(paths)
            for path in paths:
                if not self._users[path]:
                    del self._users[path]
                    if not _told(path):
                        self._empty(path)


def _told(path: Path) -> bool:
    """Whether it was brought before all others, and stays."""
    return is_list(path)


@contextmanager
def source_at(place: str | Path) -> Iterator[Source]:
    """The folder or file of cases at a path or URL."""
    if not is_remote(place):
        path = Path(place).absolute()
        yield LocalSource(str(path), path)
        return
    with tempfile.TemporaryDirectory(prefix="fieldcast_cases_") as folder:
        yield RemoteSource.mirrored(str(place), Path(folder))
