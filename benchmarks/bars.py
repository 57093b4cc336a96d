"""What every benchmark prints: a table for people, a JSON line per bar, and the results file."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

# numba looks for a package of this name, and would find the benchmark.
sys.modules.setdefault("coverage", None)  # type: ignore[arg-type]

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Bar:
    """One measured figure beside its goal. `least`: the goal is a lower bound. In a quick run
    `goal` may be up to twice looser than `full_goal`."""

    name: str
    value: float
    goal: float
    n: int
    seconds: float
    least: bool = False
    full_goal: float | None = None

    @property
    def ok(self) -> bool:
        return bool(self.value >= self.goal if self.least else self.value <= self.goal)

    def line(self) -> dict[str, Any]:
        found = {
            "bar": self.name,
            "value": self.value,
            "goal": self.goal,
            "ok": self.ok,
            "n": self.n,
            "seconds": round(self.seconds, 3),
            "least": self.least,
        }
        return found if self.full_goal is None else {**found, "full_goal": self.full_goal}


def arguments(description: str) -> argparse.Namespace:
    """The options that all benchmarks share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a smaller case, within 5 minutes")
    parser.add_argument("--json", action="store_true", help="one JSON line per bar")
    parser.add_argument("--device", default=None, help="torch device for predictions")
    return parser.parse_args()


def say(*words: object) -> None:
    """Progress, on stderr."""
    print(*words, file=sys.stderr, flush=True)


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def __call__(self) -> float:
        return time.perf_counter() - self._start


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    text = [[f"{c:.3g}" if isinstance(c, float) else str(c) for c in row] for row in rows]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in text)])


def finish(
    name: str, given: argparse.Namespace, bars: Sequence[Bar], tables: dict[str, str]
) -> None:
    """Print everything; keep the results of a full run."""
    rows = [
        (
            b.name,
            b.value,
            ("≥ " if b.least else "≤ ") + f"{b.goal:.3g}",
            "yes" if b.ok else "MISSED",
            b.n,
        )
        for b in bars
    ]
    tables = {**tables, "bars": table(("bar", "value", "goal", "met", "n"), rows)}
    out = sys.stderr if given.json else sys.stdout
    for title, text in tables.items():
        print(f"\n{title}\n\n{text}", file=out)
    if given.json:
        for bar in bars:
            print(json.dumps(bar.line()))
    if not given.quick:
        RESULTS.mkdir(exist_ok=True)
        content = {
            "name": name,
            "date": time.strftime("%Y-%m-%d"),
            "machine": f"{platform.system()} {platform.machine()}, {_cores()} cores",
            "commit": _commit(),
            "versions": {
                k: version(k)
                for k in ("fieldcast", "numpy", "scipy", "torch", "gpytorch", "scikit-learn")
            },
            "bars": [b.line() for b in bars],
            "tables": tables,
        }
        (RESULTS / f"{name}.json").write_text(
            json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        )


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0))


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=RESULTS.parent,
    )
    return found.stdout.strip() or "unknown"


def data_folder(name: str) -> Path:
    """A folder of the reference data; ends the benchmark with a message where it is absent."""
    import os

    root = Path(os.environ.get("FIELDCAST_DATA", RESULTS.parents[2] / "shared" / "data"))
    if not (root / name).is_dir():
        say(f"skipped: expected the data set {name!r} in {root}; set FIELDCAST_DATA to where it is")
        raise SystemExit(0)
    return root / name
