"""Writes docs/benchmarks.md and the README's table from benchmarks/results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
START, END = "<!-- figures: benchmarks -->", "<!-- end of figures -->"


def pages() -> tuple[str, str]:
    """(benchmarks.md, the README's table)."""
    results = [
        json.loads(p.read_text()) for p in sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    ]
    parts = [
        "# Benchmarks\n\nMade by `python docs/make_tables.py` from `benchmarks/results`; do not "
        "edit.\n"
    ]
    rows = ["| benchmark | first figure (goal) | goals met | missed (goal) |", "|---|---|---|---|"]
    for r in results:
        versions = ", ".join(f"{k} {v}" for k, v in r["versions"].items())
        parts.append(
            f"## {r['name']}\n\n{r['date']}, {r['machine']}, commit {r['commit']}; {versions}\n"
        )
        parts += [f"### {title}\n\n{text}\n" for title, text in r["tables"].items()]
        bars = r["bars"]
        missed = [b for b in bars if not b["ok"]]
        rows.append(
            f"| [{r['name']}](docs/benchmarks.md#{r['name']}) | {told(bars[0])} | "
            f"{len(bars) - len(missed)} of {len(bars)} | {'; '.join(map(told, missed))} |"
        )
    return "\n".join(parts), "\n".join(rows)


def told(bar: dict[str, Any]) -> str:
    """A figure and its goal."""
    sign = "≥" if bar.get("least") else "≤"
    return f"{bar['bar']}: {bar['value']:.3g} ({sign} {bar['goal']:.3g})"


def main() -> None:
    """Write both."""
    benchmarks, rows = pages()
    (ROOT / "docs" / "benchmarks.md").write_text(benchmarks)
    readme = (ROOT / "README.md").read_text()
    head, rest = readme.split(START)
    tail = rest.split(END)[1]
    (ROOT / "README.md").write_text(f"{head}{START}\n{rows}\n{END}{tail}")


if __name__ == "__main__":
    main()
