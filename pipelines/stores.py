"""Folders on any filesystem that fsspec knows, such as s3://bucket/folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

T = TypeVar("T")
# Groups of cases that are moved while others are answered.
AHEAD = 4
# These show an object whole or not at all; elsewhere it is written aside and moved.
_WHOLE = frozenset({"memory", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "oci"})


@dataclass(frozen=True)
class Store:
    """A folder, or one file, on a filesystem of fsspec."""

    url: str
    files: Any
    root: str

    @classmethod
    def at(cls, url: str) -> Store:
        """What a URL such as s3://bucket/folder names.

        Raises:
            ValueError: a filesystem that is unknown or whose package is not installed.
        """
        from fsspec.core import url_to_fs

        try:
            files, root = url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise ValueError(f"{url}: expected a filesystem of fsspec, got: {error}") from None
        return cls(url, files, root.rstrip("/"))

    def found(self) -> dict[str, Mapping[str, Any]]:
        """What is known of each file, by its name below the root; of one file by its own name."""
        if self.files.isfile(self.root):
            info = self.files.info(self.root)
            return {PurePosixPath(self.root).name: info}
        start = f"{self.root}/"
        return {
            name.removeprefix(start): info
            for name, info in self.files.find(self.root, detail=True).items()
            if not name.endswith("/") and ".." not in PurePosixPath(name).parts
        }

    def names(self) -> set[str]:
        """Of the files that lie directly in it."""
        if not self.files.isdir(self.root):
            return set()
        self.files.invalidate_cache()
        return {PurePosixPath(name).name for name in self.files.ls(self.root, detail=False)}

    def get(self, names: Sequence[str], folder: Path) -> None:
        """Bring files; those that are gone are left out."""
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        remote = [self._path(name) for name in names]
        local = [str(folder / name) for name in names]
        try:
            self.files.get(remote, local)
        except FileNotFoundError:
            for one, path in zip(remote, local, strict=True):
                if self.files.exists(one):
                    self.files.get_file(one, path)
                else:
                    Path(path).unlink(missing_ok=True)

    def put(self, paths: Sequence[Path]) -> None:
        """Files into the folder, each whole or not at all."""
        if not paths:
            return
        kinds = {self.files.protocol} if isinstance(self.files.protocol, str) else set()
        kinds |= set() if kinds else set(self.files.protocol)
        there = [self._path(path.name) for path in paths]
        if kinds & _WHOLE:
            self.files.put([str(path) for path in paths], there)
            return
        self.files.makedirs(self.root, exist_ok=True)
        for path, name in zip(paths, there, strict=True):
            hidden = self._path(f".{path.name}.part")
            self.files.put_file(str(path), hidden)
            self.files.mv(hidden, name)

    def _path(self, name: str) -> str:
        if PurePosixPath(self.root).name == name and self.files.isfile(self.root):
            return self.root
        return f"{self.root}/{name}"


@contextmanager
def file_at(place: str | Path) -> Iterator[Path]:
    """A file at a path or URL, as one of this machine."""
    if not is_remote(place):
        yield Path(place).absolute()
        return
    store = Store.at(str(place))
    name = PurePosixPath(store.root).name
    with tempfile.TemporaryDirectory(prefix="fieldcast_model_") as folder:
        store.get([name], Path(folder))
        yield Path(folder) / name


def is_remote(place: str | Path) -> bool:
    """Whether it is a URL."""
    return "://" in str(place)


def when_done(waiting: tuple[T, Future[None]]) -> T:
    """What waited for something, once that is done."""
    found, future = waiting
    future.result()
    return found
