"""Makes tests/data/semi_ellipses.npz: 36 semi-ellipses in a Mach 6 flow, each run by OpenFOAM until
it is steady. Semi-axes by a Latin hypercube, a in [0.4, 1.2], b in [0.5, 1.2]; about 2,000
quadrilaterals each. Needs rhoCentralFoam; about five minutes on two cores."""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from bars import say
from scipy.stats import qmc

from fieldcast.meshes import Sample
from fieldcast.solvers.hypersonic import InviscidFlow, semi_ellipse

CASES, MACH, SPACING = 36, 6.0, 0.06
LOW, HIGH = (0.4, 0.5), (1.2, 1.2)
TARGET = Path(__file__).parents[1] / "tests" / "data" / "semi_ellipses.npz"


def solved(axes: tuple[float, float]) -> Sample:
    """One of them."""
    return InviscidFlow().solve(semi_ellipse(*axes, MACH, SPACING))


def main() -> None:
    reason = InviscidFlow().available()
    if reason:
        raise SystemExit(f"expected rhoCentralFoam, which is not there: {reason}")
    design = qmc.scale(qmc.LatinHypercube(2, seed=0).random(CASES), LOW, HIGH).round(4)
    start, samples = time.perf_counter(), []
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for sample in pool.map(solved, [tuple(row) for row in design.tolist()]):
            samples.append(sample)
            say(f"{len(samples)} of {CASES}, {time.perf_counter() - start:.0f} s")
    fields = [
        np.column_stack([s.fields[k].values[0, :, 0] for k in ("rho", "u", "v", "p")])
        for s in samples
    ]
    np.savez_compressed(
        TARGET,
        axes=design,
        mach=MACH,
        spacing=SPACING,
        counts=[len(f) for f in fields],
        fields=np.concatenate(fields).astype(np.float32),
    )
    say(f"{TARGET}: {TARGET.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
