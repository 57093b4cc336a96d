"""Writes docs/benchmarks.md and the README's table from benchmarks/results."""

from __future__ import annotations

import json
from pathlib import Path

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
    rows = ["| benchmark | figure | measured | goal | met |", "|---|---|---|---|---|"]
    for r in results:
        versions = ", ".join(f"{k} {v}" for k, v in r["versions"].items())
        parts.append(
            f"## {r['name']}\n\n{r['date']}, {r['machine']}, commit {r['commit']}; {versions}\n"
        )
        parts += [f"### {title}\n\n{text}\n" for title, text in r["tables"].items()]
        for b in r["bars"]:
            sign = "≥" if b.get("least") else "≤"
            met = "yes" if b["ok"] else "no"
            rows.append(
                f"| {r['name']} | {b['bar']} | {b['value']:.3g} | {sign} {b['goal']:.3g} | {met} |"
            )
    return "\n".join(parts), "\n".join(rows)


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
