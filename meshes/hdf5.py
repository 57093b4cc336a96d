"""HDF5 files opened for reading, without following links into other files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .validation import InvalidMesh

_MOST_OBJECTS = 100_000


@contextmanager
def opened(path: Path, only: str = "") -> Iterator[Any]:
    """The file; `only`: one of its objects is going to be read, others are not looked at.

    Raises:
        InvalidMesh: not a whole HDF5 file, or one that reaches into others.
    """
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InvalidMesh(f"expected a whole HDF5 file, got {error}") from None
    with file:
        _check_links(file, only)
        yield file


def _check_links(file: Any, only: str) -> None:
    import h5py

    # A link within the file may lead to what is not looked at.
    refused = (h5py.ExternalLink, h5py.SoftLink) if only else h5py.ExternalLink
    pending, seen = [(file, [only] if only in file else list(file))], 0
    while pending:
        group, names = pending.pop()
        for name in names:
            seen += 1
            if seen > _MOST_OBJECTS:
                raise InvalidMesh(f"expected at most {_MOST_OBJECTS} objects, got more")
            link = group.get(name, getlink=True)
            if isinstance(link, refused):
                raise InvalidMesh(f"expected all data in this file, got a link as {name!r}")
            if isinstance(link, h5py.SoftLink):
                continue
            item = group[name]
            if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
                raise InvalidMesh(f"expected data in this file, got dataset {name!r} outside of it")
            if isinstance(item, h5py.Group):
                pending.append((item, list(item)))
