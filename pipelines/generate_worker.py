"""A worker that makes simulations: it is told a solver and numbers, solves and writes, one case
after the other. It speaks as `batch_worker` does."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fieldcast.meshes import Sample
from fieldcast.meshes.writing import write_sample
from fieldcast.solvers import Solver, SolverFailed

from .batch_worker import NO_ROOM, begun, guarded
from .manifest import Outcome, Timings
from .options import make_solver

Message = dict[str, Any]
LOGS = "logs"


@dataclass(frozen=True)
class Maker:
    """Solves cases and writes them to `staging` first, then to `out`."""

    solver: Solver
    staging: Path
    out: Path

    @classmethod
    def of(cls, solver: Solver, told: Message) -> Maker:
        """As the supervisor says."""
        staging = Path(told["staging"])
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        return cls(solver, staging, Path(told["out"]))

    def made(self, name: str, values: Mapping[str, float], key: str) -> Message:
        """The row of a case, whose sample is in its place if there is one."""
        start = time.perf_counter()
        sample: Sample | None = None
        try:
            sample = self.solver.solve(self.solver.case(values, name))
            outcome = Outcome(name, "ok", "", "", _numbers(sample), None, _nodes(sample), key)
        except SolverFailed as error:
            self._keep_log(name, error)
            reason = f"{error.stage}: {_told(error, name)}"
            outcome = Outcome(name, "failed", "", reason, key=key)
        except ValueError as error:
            outcome = Outcome(name, "invalid-input", "", _told(error, name), key=key)
        except MemoryError:
            outcome = Outcome(name, "out-of-memory", "", "the solver had no memory left", key=key)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise
            outcome = Outcome(name, "crashed", "", str(error), key=key)
        except Exception as error:  # whatever a solver stops with is the case's, not the batch's
            outcome = Outcome(name, "crashed", "", f"{type(error).__name__}: {error}", key=key)
        solved = time.perf_counter()
        row = asdict(outcome)
        if sample is not None:
            row["output"] = self._written(sample, name)
        spent = Timings(0.0, solved - start, time.perf_counter() - solved)
        return {"outcome": row, "timings": asdict(spent)}

    def _written(self, sample: Sample, name: str) -> str:
        suffix = ".vtu" if len(sample.case.times) == 1 else ".pvd"
        main = write_sample(sample, self.staging / f"{name}{suffix}")
        others = [path for path in self.staging.iterdir() if path != main]
        for path in (*others, main):
            path.replace(self.out / path.name)
        return main.name

    def _keep_log(self, name: str, error: SolverFailed) -> None:
        if error.log:
            folder = self.out / LOGS
            folder.mkdir(exist_ok=True)
            (folder / f"{name}.txt").write_text(error.log)


def _told(error: Exception, name: str) -> str:
    """Without the case's name: it stands beside."""
    return str(error).removeprefix(f"case {name}: ")


def _numbers(sample: Sample) -> dict[str, Any]:
    """Scalars as the manifest has them."""
    return {name: {"mean": s.value.tolist(), "unit": s.unit} for name, s in sample.scalars.items()}


def _nodes(sample: Sample) -> int:
    return len(sample.case.mesh.points)


def main() -> None:
    """Solves what it is told until its input ends."""
    tongue, orders = begun()

    def work() -> None:
        hello = orders.get()
        try:
            solver = make_solver(hello["solver"], hello["settings"])
        except (ValueError, TypeError) as error:
            tongue.say(fatal=str(error))
            os._exit(1)
        tongue.say(ready={})
        maker = Maker.of(solver, orders.get())
        while True:
            order = orders.get()
            cases = [json.loads(case) for case in order["cases"]]
            rows = [maker.made(*case) for case in cases]
            tongue.say(done=order["group"], rows=rows)

    guarded(tongue, work)


if __name__ == "__main__":
    main()
