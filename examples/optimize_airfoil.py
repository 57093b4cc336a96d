"""An airfoil of least drag at a lift of 0.5 and a thickness of 12 %, found by a surrogate and
verified by the solver: XFOIL, or NeuralFoil where that is missing.

    python examples/optimize_airfoil.py FOLDER [BUDGET]
"""

from __future__ import annotations

import sys
from pathlib import Path

from fieldcast.pipelines.measures import measured
from fieldcast.pipelines.optimize import Space
from fieldcast.pipelines.optimize_report import lines, write_search
from fieldcast.pipelines.optimizing import Search, optimised
from fieldcast.solvers.neural_foil import NeuralFoil
from fieldcast.solvers.solver import Range
from fieldcast.solvers.xfoil import Xfoil
from fieldcast.surrogates import MMGP


def main(folder: Path, budget: int = 40) -> None:
    """Search; write a page."""
    solver: Xfoil | NeuralFoil = Xfoil(family="naca4")
    if solver.available():
        print(f"NeuralFoil instead of XFOIL: {solver.available()}")
        solver = NeuralFoil(family="naca4")
    ranges = {**solver.space, "alpha": Range(-1.0, 5.0, "deg"), "reynolds": Range(3e6, 3e6)}
    search = Search(
        "1000 * cd",
        ("cl = 0.5", "thickness >= 0.12"),
        measured(["thickness"]),
        first=min(12, budget),
        budget=budget,
        small={"cl = 0.5": 5e-3, "thickness >= 0.12": 1e-3},
    )
    found = optimised(solver, MMGP(), Space.of(solver, ranges), search, folder)
    print(*lines(found, search), sep="\n")
    print("wrote", write_search(found, search, folder / "report.html"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
