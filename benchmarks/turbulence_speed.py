"""How fast turbulence of 64 x 64 points is stepped on one core, beside pyqg-jax and jax-cfd.

Each solver has a process of its own, with one thread on the same core; they take turns, and what
is told is the median over turns of rows x steps per second of processor time. All are in single
precision and sum the steps in one call (jax: one compiled loop). A step of jax-cfd has four stages,
one of the others one. Each peer counts with its best number of rows, and so does fieldcast.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bars import Bar, Clock, arguments, finish, say, table

BARE, VARYING, PYQG, CFD = "bare", "skew, varying", "pyqg-jax", "jax-cfd"
OWN = (BARE, "flux, local", "skew", "skew, mean", VARYING, "skew, local")
PEERS = {PYQG: "pyqg_jax", CFD: "jax_cfd"}
TOLD = {
    BARE: "fieldcast, no closure, flux form, 2/3 rule",
    "flux, local": "fieldcast, coefficient field, local strain, flux form",
    "skew": "fieldcast, no closure, skew form",
    "skew, mean": "fieldcast, one coefficient, mean strain, skew form",
    VARYING: "fieldcast, coefficient field, mean strain, skew form",
    "skew, local": "fieldcast, coefficient field, local strain, skew form",
    PYQG: "pyqg-jax, barotropic",
    CFD: "jax-cfd, spectral, 4 stages a step",
}


@dataclass(frozen=True)
class Entry:
    """Who runs, and how many flows side by side."""

    name: str
    rows: int


class Runner:
    """A process that runs when it is told to."""

    def __init__(self, entry: Entry, steps: int) -> None:
        script = Path(__file__).with_name("turbulence_runs.py")
        self.work = entry.rows * steps
        command = [sys.executable, str(script), entry.name, str(entry.rows), str(steps)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"expected an answer of {self.process.args}, it ended")
        return line

    def __call__(self) -> float:
        """Rows x steps per second of processor time."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self.work / float(self._answer())

    def close(self) -> None:
        """Ends the process."""
        self.process.communicate()


def speeds(entries: Sequence[Entry], turns: int, work: int) -> dict[Entry, float]:
    """Medians, the entries taking turns; each turn has about `work` rows x steps."""
    runners = {e: Runner(e, max(10, work // e.rows)) for e in entries}
    found: dict[Entry, list[float]] = {e: [] for e in entries}
    for turn in range(turns):
        for entry, runner in runners.items():
            found[entry].append(runner())
        say(f"turn {turn + 1} of {turns}")
    for runner in runners.values():
        runner.close()
    return {e: statistics.median(v) for e, v in found.items()}


def main() -> None:
    given, clock = arguments(__doc__ or ""), Clock()
    turns, work, counts = (5, 1600, (8, 16)) if given.quick else (15, 4800, (1, 4, 8, 16))
    there = [name for name, module in PEERS.items() if find_spec(module) is not None]
    for name in PEERS.keys() - set(there):
        say(f"{name} is not installed: pip install 'fieldcast[peers]'; its bar is left out")
    entries = [Entry(name, rows) for name in (*OWN, *there) for rows in counts]
    found = speeds(entries, turns, work)
    best = {n: max(v for e, v in found.items() if e.name == n) for n in (*OWN, *there)}
    bars = [share("varying closure, skew form / bare", best[VARYING] / best[BARE], 0.33, turns)]
    if PYQG in best:
        bars.append(share("bare / pyqg-jax", best[BARE] / best[PYQG], 1.0, turns))
    if CFD in best:
        bars.append(share("bare / jax-cfd", best[BARE] / best[CFD], 5.0, turns))
    bars = [Bar(b.name, b.value, b.goal, b.n, clock(), b.least) for b in bars]
    rows = [
        (TOLD[n], *(f"{found[Entry(n, k)] / 1e3:.1f}" for k in counts), best[n] / best[BARE])
        for n in best
    ]
    head = ("64 x 64, thousands of steps a second", *(f"{k} row(s)" for k in counts), "best / bare")
    finish("turbulence_speed", given, bars, {"speed on one core": table(head, rows)})


def share(name: str, value: float, goal: float, turns: int) -> Bar:
    """A ratio that is to be large; no looser in a quick run."""
    return Bar(name, value, goal, turns, 0.0, least=True)


if __name__ == "__main__":
    main()
