"""Mesh files, read in a child process that may be killed.

Readers of mesh formats hang, crash and end the process on files that are damaged. So a file is
decoded in a child with a limit on time and memory, checked there, and its arrays come back over a
pipe. The child is kept for the next file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
from jaxtyping import Float

from .mesh import Mesh
from .raw import RawMesh, fields_of, mesh_of
from .sample import Case, Field, Sample, Scalar

if TYPE_CHECKING:
    from .roles import Settings

FileStatus = Literal["invalid-input", "crashed", "timeout", "out-of-memory"]
_START_S = 120.0
_TAIL = 400
_ADVICE = {
    "invalid-input": "repair or re-export the file",
    "crashed": "the file is probably damaged; re-export it, or convert it to VTU",
    "timeout": "the file is damaged, or raise the reader's time_limit",
    "out-of-memory": "its counts are damaged, or raise the reader's memory_limit",
}


class MeshFileError(ValueError):
    """A mesh file that cannot be used. `status` says how it ended, `path` which file."""

    def __init__(self, path: str | Path, status: FileStatus, message: str) -> None:
        super().__init__(f"{path}: {message} ({status}: {_ADVICE[status]})")
        self.path = Path(path)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class MeshFile:
    """What a mesh file holds. `scalars` are the single numbers in its field data; `warnings` say
    what is odd about it.

    A name that is on points and on cells is `name` on the points and `name (cell)` on the cells.
    """

    path: Path
    mesh: Mesh
    fields: Mapping[str, Field] = field(default_factory=dict)
    scalars: Mapping[str, Scalar] = field(default_factory=dict)
    times: Float[np.ndarray, " time"] = field(default_factory=lambda: np.zeros(1))
    warnings: tuple[str, ...] = ()


class _Child:
    """One process that decodes files. Answers one request at a time."""

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile()
        env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.decoding"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=env,
            start_new_session=True,
        )
        with _Deadline(self._process, _START_S):
            self._ready = bool(self._output.read(1))

    @property
    def _output(self) -> BinaryIO:
        assert self._process.stdout is not None
        return self._process.stdout  # type: ignore[return-value]

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can take another file."""
        return self._ready and self._process.poll() is None

    def ask(self, path: Path, time_limit: float, memory_limit: int) -> RawMesh:
        """The checked raw mesh in the file.

        Raises:
            MeshFileError: it has none, or the child did not survive it.
        """
        request = {"path": os.fspath(path), "seconds": time_limit, "memory": memory_limit}
        deadline = _Deadline(self._process, time_limit)
        try:
            with deadline:
                header, arrays = self._exchange(request)
        except (EOFError, OSError):
            raise self._obituary(path, deadline.passed, time_limit) from None
        if header["status"] != "ok":
            raise MeshFileError(path, header["status"], header["message"])
        from .decoding import unpacked

        return unpacked(header, arrays)

    def _exchange(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[np.ndarray]]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        size = int.from_bytes(self._exactly(8), "little")
        header = json.loads(self._exactly(size))
        arrays = []
        for dtype, shape in header.get("arrays", ()):
            array = np.empty(shape, dtype)
            if array.size and self._output.readinto(array.data.cast("B")) != array.nbytes:  # type: ignore[attr-defined]
                raise EOFError
            arrays.append(array)
        return header, arrays

    def _exactly(self, n: int) -> bytes:
        data = self._output.read(n)
        if len(data) != n:
            raise EOFError
        return data

    def _obituary(self, path: Path, late: bool, time_limit: float) -> MeshFileError:
        code = self._stop()
        tail = self._last_words()
        self.close()
        if late:
            return MeshFileError(
                path, "timeout", f"expected an answer within {time_limit:g} s, got none"
            )
        said = f", saying {tail!r}" if tail else ""
        short = any(word in tail for word in ("bad_alloc", "MemoryError", "Unable to allocate"))
        status: FileStatus = "out-of-memory" if short else "crashed"
        return MeshFileError(
            path, status, f"expected a mesh, got a reader that ended with code {code}{said}"
        )

    def _last_words(self) -> str:
        end = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(end - _TAIL, 0))
        return self._errors.read().decode(errors="replace").strip()

    def _stop(self) -> int:
        self._process.kill()
        return self._process.wait()

    def close(self) -> None:
        """Ends the process and waits for it."""
        self._stop()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # what was still to be sent has nobody to go to
                    continue
        self._errors.close()


class _Deadline:
    """Kills a process that takes longer than allowed; `passed` says that it did."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        self.passed = False
        self._process = process
        self._timer = threading.Timer(seconds, self._kill)
        self._timer.daemon = True

    def _kill(self) -> None:
        self.passed = True
        self._process.kill()

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


class Reader:
    """Guarded child processes that decode mesh files; a context manager. A child that died is
    replaced.

    `time_limit` [s] and `memory_limit` [bytes] hold for one file; `n_workers` children work at the
    same time in `read_many`.
    """

    def __init__(
        self, n_workers: int = 1, *, time_limit: float = 60.0, memory_limit: int = 4 * 2**30
    ) -> None:
        if n_workers < 1:
            raise ValueError(f"expected at least one worker, got {n_workers}")
        self.n_workers = n_workers
        self.time_limit = time_limit
        self.memory_limit = memory_limit
        self._idle: deque[_Child] = deque()
        self._all: list[_Child] = []
        self._end = weakref.finalize(self, _close_all, self._all)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all children."""
        _close_all(self._all)
        self._idle.clear()

    @property
    def pids(self) -> tuple[int, ...]:
        """Numbers of the children that are there."""
        return tuple(child.pid for child in self._all)

    def read_raw(self, path: str | Path) -> RawMesh:
        """What lies in the file, in its own order.

        Raises:
            MeshFileError: a file that cannot be used.
        """
        child = self._take()
        try:
            return child.ask(Path(path).absolute(), self.time_limit, self.memory_limit)
        except MeshFileError as error:
            raise MeshFileError(path, error.status, error.message) from None
        except BaseException:  # Ctrl-C between request and answer: what comes next is not ours
            child.close()
            raise
        finally:
            self._give_back(child)

    def read(self, path: str | Path) -> MeshFile:
        """The mesh and fields in the file.

        Raises:
            MeshFileError: a file that cannot be used; says why and how it ended.
        """
        return mesh_file(Path(path), self.read_raw(path))

    def read_many(self, paths: Iterable[str | Path]) -> Iterator[MeshFile | MeshFileError]:
        """One answer per file, in order; a file that cannot be used answers with its error."""
        if self.n_workers == 1:
            for path in paths:
                yield self._try(path)
            return
        waiting: deque[Future[MeshFile | MeshFileError]] = deque()
        with ThreadPoolExecutor(self.n_workers) as pool:
            try:
                for path in paths:
                    waiting.append(pool.submit(self._try, path))
                    if len(waiting) > 2 * self.n_workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _try(self, path: str | Path) -> MeshFile | MeshFileError:
        try:
            return self.read(path)
        except MeshFileError as error:
            return error

    def _take(self) -> _Child:
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                return child
            self._drop(child)
        child = _Child()
        self._all.append(child)
        return child

    def _give_back(self, child: _Child) -> None:
        if child.alive:
            self._idle.append(child)
        else:
            self._drop(child)

    def _drop(self, child: _Child) -> None:
        if child in self._all:
            self._all.remove(child)
        child.close()


def _close_all(children: list[_Child]) -> None:
    while children:
        children.pop().close()


def mesh_file(path: Path, raw: RawMesh) -> MeshFile:
    """A raw mesh as the types of this package.

    Raises:
        MeshFileError: a cell type that is not supported.
    """
    try:
        mesh = mesh_of(raw)
    except ValueError as error:
        raise MeshFileError(path, "invalid-input", str(error)) from None
    return MeshFile(path, mesh, fields_of(raw, mesh), raw.scalars, raw.times, raw.warnings)


def read_mesh(path: str | Path, reader: Reader | None = None) -> MeshFile:
    """The mesh and fields in a file. For many files share one `reader`: starting a child takes a
    while.

    Raises:
        MeshFileError: a file that cannot be used.
    """
    if reader is not None:
        return reader.read(path)
    with Reader() as own:
        return own.read(path)


def read_case(
    path: str | Path,
    *,
    parameters: Mapping[str, Scalar | float | int] | None = None,
    settings: Settings | None = None,
    reader: Reader | None = None,
) -> Case:
    """The case in a mesh file, or in a folder with mesh files and a `.json` of scalars.
    `parameters` override those found.

    `settings` say which scalars and fields are inputs; without them only names that are known as
    inputs are taken.

    Raises:
        MeshFileError: a mesh file that cannot be used.
    """
    from .folder import case_in

    return case_in(Path(path), parameters or {}, settings, reader)


def read_sample(
    path: str | Path, *, settings: Settings | None = None, reader: Reader | None = None
) -> Sample:
    """The sample in a mesh file, or in a folder with mesh files and a `.json` of scalars; roles by
    `settings` or guessed.

    Raises:
        MeshFileError: a mesh file that cannot be used.
    """
    from .folder import sample_in

    return sample_in(Path(path), settings, reader)
