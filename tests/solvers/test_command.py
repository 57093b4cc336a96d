"""Programs that hang, fail, are killed or leave rubbish."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from fieldcast.meshes import Case, Field, Sample
from fieldcast.solvers import SolverFailed
from fieldcast.solvers.command import Command, Limits, Step
from fieldcast.solvers.heat import slab

PROGRAM = """
import sys, time, subprocess, os
what = open("in.txt").read()
if what == "hang":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    open("child", "w").write(str(child.pid))
    time.sleep(60)
if what == "spin":
    open("child", "w").write(str(os.getpid()))
    while True: pass
if what == "crash":
    print("about to crash"); os._exit(3)
if what == "eat":
    held = bytearray(4 * 2**30)
open("out.txt", "w").write("rubbish" if what == "rubbish" else "2.5")
open("runs", "a").write("x")
"""


@dataclass(frozen=True)
class Script(Command):
    """Runs PROGRAM with a word."""

    word: str = "fine"

    parameters: ClassVar = {}
    outputs: ClassVar = {"u": ""}
    programs: ClassVar = (sys.executable,)
    install: ClassVar = "install Python"

    def example(self) -> Case:
        return Case(slab(1.0, 1.0, 1), {})

    def write(self, case: Case, folder: Path) -> None:
        (folder / "in.txt").write_text(self.word)

    def steps(self, case: Case, folder: Path) -> Sequence[Step]:
        return (Step((sys.executable, "-c", PROGRAM)),)

    def read(self, case: Case, folder: Path) -> Sample:
        value = float((folder / "out.txt").read_text())
        return Sample(case, {"u": Field.steady(np.full(len(case.mesh.points), value))})


def failure(solver: Script) -> SolverFailed:
    with pytest.raises(SolverFailed) as found:
        solver.solve(solver.example())
    return found.value


def test_it_answers():
    sample = Script().solve(Script().example())
    assert np.ptp(sample.fields["u"].values) == 0


def test_a_program_that_hangs_ends_with_all_that_it_started(tmp_path):
    solver = Script("hang", limits=Limits(seconds=3.0), scratch=str(tmp_path))
    start = time.monotonic()
    error = failure(solver)
    assert time.monotonic() - start < 20
    assert error.stage == "run"
    assert "within 3 s" in str(error)
    child = int(next(tmp_path.glob("*/child")).read_text())
    time.sleep(0.2)
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
def test_a_program_ends_soon_after_its_caller_was_killed(tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_command import Limits, Script\n"
        f"solver = Script('spin', limits=Limits(seconds=0.5), scratch={str(tmp_path)!r})\n"
        "solver.solve(solver.example())"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as caller:
        while not list(tmp_path.glob("*/child")) and caller.poll() is None:
            time.sleep(0.005)
        caller.kill()
    child = Path(f"/proc/{next(tmp_path.glob('*/child')).read_text()}")
    deadline = time.monotonic() + 60
    while child.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not child.exists()


def test_failures_say_when_and_keep_the_log():
    error = failure(Script("crash"))
    assert (error.stage, "code 3" in str(error)) == ("run", True)
    assert "about to crash" in error.log
    assert failure(Script("rubbish")).stage == "read"


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_memory_is_limited():
    assert "MemoryError" in failure(Script("eat", limits=Limits(memory=2**30))).log


def test_a_missing_program_names_what_to_install(tmp_path):
    with pytest.raises(SolverFailed, match="install it") as found:
        Step(("no_such_program",)).run(tmp_path, Limits(), "install it")
    assert found.value.stage == "set-up"


def test_a_case_goes_on_after_its_last_step(tmp_path):
    solver = Script(scratch=str(tmp_path))
    solver.solve(solver.example())
    solver.solve(solver.example())
    assert next(tmp_path.glob("*/runs")).read_text() == "x"
