"""The main job, from end to end: solve plates, fit a surrogate to the folder, predict new ones,
report.

    python examples/demo.py --out demo_output
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from fieldcast.meshes.writing import write_sample
from fieldcast.solvers.plate import DoubleNotchedPlate, plate_cases

SETTINGS = """inputs = ["P", "E", "R0", "K", "C", "D"]
outputs = ["U1", "U2", "sig11", "sig22", "sig12", "max_von_mises", "max_U2_top", "max_sig22_top"]
"""


def solve_folder(folder: Path, count: int, seed: int, size: float) -> None:
    """`count` solved plates as VTU files in `folder`, parameters and scalars inside."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fieldcast.toml").write_text(SETTINGS)
    solver = DoubleNotchedPlate()
    for case in plate_cases(count, seed=seed, size=size):
        write_sample(solver.solve(case), folder / f"{case.name}.vtu")


def run(*arguments: str) -> None:
    """One fieldcast command, shown."""
    print(f"\n$ fieldcast {' '.join(arguments)}", flush=True)
    code = "from fieldcast.pipelines.cli import main; main()"
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)


def demo(out: Path, train: int, new: int, size: float) -> None:
    """Everything, below `out`."""
    started = time.perf_counter()
    print(f"solving {train} + {new} plates by finite elements ...", flush=True)
    solve_folder(out / "simulations", train, seed=0, size=size)
    solve_folder(out / "new", new, seed=1, size=size)
    model = str(out / "plate.fieldcast")
    run("inspect", str(out / "simulations"))
    run("fit", str(out / "simulations"), "-o", model, "--set", "training.starts=1")
    run("predict", model, str(out / "new"), "-o", str(out / "predictions"))
    run("report", model, str(out / "new"), "-o", str(out / "report.html"))
    print(f"\n{time.perf_counter() - started:.0f} s. Open {out / 'report.html'} in a browser, and")
    print(f"{out / 'predictions'} in ParaView.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo_output"))
    parser.add_argument("--train", type=int, default=120)
    parser.add_argument("--new", type=int, default=20)
    parser.add_argument("--size", type=float, default=0.05, help="edge of the triangles [m]")
    given = parser.parse_args()
    np.seterr(all="raise", under="ignore")
    demo(given.out, given.train, given.new, given.size)
