"""Makes tests/data/semi_ellipses.npz: 36 semi-ellipses in a Mach 6 flow, each run by OpenFOAM until
it is steady. Semi-axes by a Latin hypercube, a in [0.4, 1.2], b in [0.5, 1.2]; about 2,000
quadrilaterals each. Needs rhoCentralFoam; about five minutes on two cores."""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from bars import say
from scipy.stats import qmc

from fieldcast.solvers.hypersonic import InviscidFlow, semi_ellipse
from fieldcast.solvers.solver import SolverFailed

CASES, MACH, SPACING = 36, 6.0, 0.06
LOW, HIGH = (0.4, 0.5), (1.2, 1.2)
FIELDS = ("rho", "u", "v", "p")
CACHE = Path(__file__).parent / ".cache"
TARGET = Path(__file__).parents[1] / "tests" / "data" / "semi_ellipses.npz"


def solved(axes: tuple[float, float]) -> np.ndarray:
    """The fields of one of them, (cell, field); kept, so that a run that was stopped goes on."""
    path = CACHE / f"semi_ellipse_{axes[0]}_{axes[1]}.npy"
    if not path.exists():
        sample = InviscidFlow().solve(semi_ellipse(*axes, MACH, SPACING))
        columns = [sample.fields[name].values[0, :, 0] for name in FIELDS]
        CACHE.mkdir(exist_ok=True)
        new = path.with_suffix(".new.npy")
        np.save(new, np.column_stack(columns).astype(np.float32))
        new.replace(path)
    return np.load(path)


def main() -> None:
    reason = InviscidFlow().available()
    if reason:
        raise SystemExit(f"expected rhoCentralFoam, which is not there: {reason}")
    design = qmc.scale(qmc.LatinHypercube(2, seed=0).random(CASES), LOW, HIGH).round(4)
    start, found, failed = time.perf_counter(), {}, []
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        tasks = {pool.submit(solved, tuple(row)): k for k, row in enumerate(design.tolist())}
        for done in as_completed(tasks):
            try:
                found[tasks[done]] = done.result()
            except SolverFailed as error:
                failed.append(str(error))
            say(f"{len(found)} of {CASES}, {time.perf_counter() - start:.0f} s")
    if failed:
        raise SystemExit("expected all cases to be solved, got:\n" + "\n".join(failed))
    fields = [found[k] for k in range(CASES)]
    np.savez_compressed(
        TARGET,
        axes=design,
        mach=MACH,
        spacing=SPACING,
        counts=[len(f) for f in fields],
        fields=np.concatenate(fields),
    )
    say(f"{TARGET}: {TARGET.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
