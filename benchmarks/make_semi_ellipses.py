"""Makes tests/data/semi_ellipses.npz: 36 semi-ellipses in a Mach 6 flow, each run by OpenFOAM until
it is steady. Semi-axes by a Latin hypercube, a in [0.4, 1.2], b in [0.5, 1.2]; about 2,000
quadrilaterals each. Needs rhoCentralFoam; about five minutes on two cores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from bars import say
from scipy.stats import qmc
from solving import all_solved

from fieldcast.solvers.hypersonic import InviscidFlow, semi_ellipse

CASES, MACH, SPACING = 36, 6.0, 0.06
LOW, HIGH = (0.4, 0.5), (1.2, 1.2)
FIELDS = ("rho", "u", "v", "p")
TARGET = Path(__file__).parents[1] / "tests" / "data" / "semi_ellipses.npz"


def main() -> None:
    design = qmc.scale(qmc.LatinHypercube(2, seed=0).random(CASES), LOW, HIGH).round(4)
    cases = [semi_ellipse(a, b, MACH, SPACING) for a, b in design.tolist()]
    samples = all_solved(InviscidFlow(), cases)
    fields = [np.column_stack([s.fields[k].values[0, :, 0] for k in FIELDS]) for s in samples]
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
