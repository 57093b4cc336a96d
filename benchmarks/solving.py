"""Many cases run by a solver, kept in .cache, so that a run that was stopped goes on."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from bars import say

from fieldcast.meshes import Case, Field, Sample, Scalar
from fieldcast.solvers import Solver, SolverFailed

CACHE = Path(__file__).parent / ".cache"


def solved(solver: Solver, case: Case) -> Sample:
    """One, on cells or points as the solver answers."""
    parameters = {k: s.value.tolist() for k, s in case.parameters.items()}
    known = hashlib.sha256(f"{solver} {case.mesh.id} {parameters}".encode()).hexdigest()[:16]
    path = CACHE / f"{type(solver).__name__}_{known}.npz"
    if not path.exists():
        sample = solver.solve(case)
        arrays = {f"{f.on}/{k}": f.values for k, f in sample.fields.items()}
        arrays |= {f"scalar/{k}": s.value for k, s in sample.scalars.items()}
        CACHE.mkdir(exist_ok=True)
        new = path.with_suffix(".new.npz")
        np.savez_compressed(new, **arrays)
        new.replace(path)
    fields, scalars = {}, {}
    with np.load(path) as found:
        for key in found:
            on, _, name = key.partition("/")
            if on == "scalar":
                scalars[name] = Scalar(found[key])
            else:
                fields[name] = Field(found[key], "", "cell" if on == "cell" else "point")
    return Sample(case, fields, scalars)


def all_solved(solver: Solver, cases: Sequence[Case]) -> list[Sample]:
    """All of them, on all cores; ends the program where the solver is missing or gives up."""
    reason = solver.available()
    if reason:
        raise SystemExit(f"expected a solver that is not there: {reason}")
    start, found, failed = time.perf_counter(), {}, []
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        tasks = {pool.submit(solved, solver, case): k for k, case in enumerate(cases)}
        for done in as_completed(tasks):
            try:
                found[tasks[done]] = done.result()
            except SolverFailed as error:
                failed.append(str(error))
            say(f"solved {len(found)} of {len(cases)}, {time.perf_counter() - start:.0f} s")
    if failed:
        raise SystemExit("expected all cases to be solved, got:\n" + "\n".join(failed))
    return [found[k] for k in range(len(cases))]
