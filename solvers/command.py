"""Solvers that are programs of their own: a scratch folder each, limits, and a log that is kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from fieldcast.meshes import Case, Sample

from .solver import Solver, SolverFailed

TOLD = 15
"""Lines of a log that an error shows."""
_DONE = ".done"


@dataclass(frozen=True)
class Limits:
    """What a program may take: `seconds` of the clock and, where not 0, bytes of `memory`."""

    seconds: float = 600.0
    memory: int = 0


@dataclass(frozen=True)
class Step:
    """A program with its arguments; `said` is given to it as input, and `environment` beside that
    of this process."""

    words: tuple[str, ...]
    said: str = ""
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def program(self) -> str:
        """Its name."""
        return Path(self.words[0]).name

    def run(self, folder: Path, limits: Limits, install: str = "") -> None:
        """Run it there; what it says goes to log.PROGRAM. When it takes too long, or is
        interrupted, all that it has started ends with it.

        Raises:
            SolverFailed: it is not there, fails or takes too long; with the end of its log.
        """
        if shutil.which(self.words[0]) is None:
            raise SolverFailed(
                f"expected the program {self.words[0]}, which is not there: {install}", "set-up"
            )
        log = folder / f"log.{self.program}"
        with log.open("ab") as out:
            process = subprocess.Popen(
                self.words,
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )
            try:
                _limit(process, limits)
                process.communicate(self.said.encode(), timeout=limits.seconds)
            except subprocess.TimeoutExpired:
                raise SolverFailed(
                    f"expected {self.program} to end within {limits.seconds:.0f} s, it did not; a "
                    "coarser mesh or more time",
                    "run",
                    _end(log),
                ) from None
            finally:
                _stop(process)
        if process.returncode:
            end = _end(log)
            raise SolverFailed(
                f"{self.program} failed with code {process.returncode}:\n{end}", "run", end
            )


def _limit(process: subprocess.Popen[bytes], limits: Limits) -> None:
    """Of memory; and of processor time, so that a program whose caller was killed ends, too."""
    if sys.platform != "linux":
        return
    import resource

    cores = len(os.sched_getaffinity(0))
    most = {resource.RLIMIT_CPU: int(limits.seconds * cores) + 1}
    if limits.memory:
        most[resource.RLIMIT_AS] = limits.memory
    with suppress(ProcessLookupError):  # it has ended by now
        for kind, size in most.items():
            resource.prlimit(process.pid, kind, (size, size))


def _stop(process: subprocess.Popen[bytes]) -> None:
    """The program and all that it has started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _end(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").strip().splitlines()[-TOLD:])


@dataclass(frozen=True)
class Command(Solver):
    """A solver that writes files, runs programs on them and reads what these leave.

    Each case has a folder of its own: one that is gone when it is solved, or, where `scratch` is
    given, one there that stays. A case that was interrupted then goes on after its last finished
    step, and one that has failed can be looked at.
    """

    limits: Limits = field(default_factory=Limits, kw_only=True)
    scratch: str = field(default="", kw_only=True)

    install: ClassVar[str]
    programs: ClassVar[tuple[str, ...]]

    @abstractmethod
    def write(self, case: Case, folder: Path) -> None:
        """Everything that the programs read.

        Raises:
            ValueError: a case that cannot be asked.
        """

    @abstractmethod
    def steps(self, case: Case, folder: Path) -> Iterable[Step]:
        """What is run, one after the other; an iterator can look at what the last one left."""

    @abstractmethod
    def read(self, case: Case, folder: Path) -> Sample:
        """What the programs have left.

        Raises:
            SolverFailed: they have not converged, or left what cannot be read.
        """

    def available(self) -> str | None:
        missing = [p for p in self.programs if shutil.which(p) is None]
        return f"{self.install} ({', '.join(missing)} not found)" if missing else None

    def solve(self, case: Case) -> Sample:
        with self._folder(case) as folder:
            try:
                self._run(case, folder)
                return self._answer(case, folder)
            except SolverFailed as error:
                raise SolverFailed(f"case {case.label}: {error}", error.stage, error.log) from error

    def _run(self, case: Case, folder: Path) -> None:
        done = folder / _DONE
        finished = int(done.read_text()) if done.exists() else -1
        if finished < 0:
            self.write(case, folder)
            _mark(done, 0)
        for number, step in enumerate(self.steps(case, folder), start=1):
            if number > finished:
                step.run(folder, self.limits, self.install)
                _mark(done, number)

    def _answer(self, case: Case, folder: Path) -> Sample:
        try:
            return self.read(case, folder)
        except (OSError, ValueError, IndexError, KeyError) as error:
            raise SolverFailed(
                f"expected answers in what {self.programs[-1]} has left, got: {error}",
                "read",
                _logs(folder),
            ) from error

    @contextmanager
    def _folder(self, case: Case) -> Iterator[Path]:
        if not self.scratch:
            with tempfile.TemporaryDirectory(prefix="fieldcast_solver_") as name:
                yield Path(name)
            return
        # Another solver, or the same by other settings, has another folder.
        known = hashlib.sha256(f"{type(self).__name__} {self!r} {case.id}".encode()).hexdigest()
        folder = Path(self.scratch) / known[:16]
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def _mark(path: Path, number: int) -> None:
    new = path.with_suffix(".new")
    new.write_text(str(number))
    new.replace(path)


def _logs(folder: Path) -> str:
    return "\n".join(_end(log) for log in sorted(folder.glob("log.*")))
