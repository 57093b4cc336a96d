"""An airfoil of least drag at a lift of 0.5 and a thickness of 12 %, found by a surrogate and
verified by the solver: XFOIL, about the best design by NeuralFoil; or NeuralFoil where XFOIL is
missing.

    python examples/optimize_airfoil.py FOLDER [BUDGET]
"""

from __future__ import annotations

import sys
from pathlib import Path

from fieldcast.pipelines.measures import measured
from fieldcast.pipelines.optimize import Space
from fieldcast.pipelines.optimize_report import lines, write_search
from fieldcast.pipelines.optimizing import Search, optimised
from fieldcast.pipelines.warm_start import Cheaper
from fieldcast.solvers.neural_foil import NeuralFoilAtLift
from fieldcast.solvers.solver import Range
from fieldcast.solvers.xfoil import XfoilAtLift
from fieldcast.surrogates import MMGP


def main(folder: Path, budget: int = 40) -> None:
    """Search; write a page."""
    network = NeuralFoilAtLift(family="class_shape")
    solver: XfoilAtLift | NeuralFoilAtLift = XfoilAtLift(family="class_shape")
    cheaper: Cheaper | None = Cheaper(network, starts=1, solves=400)
    if solver.available():
        print(f"NeuralFoil instead of XFOIL: {solver.available()}")
        solver, cheaper = network, None
    ranges = {**solver.space, "cl": Range(0.5, 0.5), "reynolds": Range(3e6, 3e6)}
    search = Search(
        "1000 * cd",
        ("thickness >= 0.12",),
        measured(["thickness"]),
        first=min(6 if cheaper else 12, budget),
        budget=budget,
        small={"thickness >= 0.12": 1e-3},
        cheaper=cheaper,
    )
    found = optimised(solver, MMGP(), Space.of(solver, ranges), search, folder)
    print(*lines(found, search), sep="\n")
    print("wrote", write_search(found, search, folder / "report.html"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
