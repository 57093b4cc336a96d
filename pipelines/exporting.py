"""The table of a batch for other programs: CSV, or Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .manifest import Manifest, Outcome, Timings

_PLAIN = ("case", "status", "output", "message", "trust", "nodes", "key")
_SECONDS = ("read", "predict", "write")
_ENDS = ("", "_std", "_lower", "_upper")


def export_table(manifest: Path, path: Path, timings: bool = False) -> int:
    """Write a row per case of a batch, in the order of the input; returns how many.

    Scalars are columns of their names with `_std`, `_lower` and `_upper`, series in time as JSON.
    Without `timings` equal batches give equal files.
    """
    with Manifest(manifest) as found:
        names = sorted({name for outcome, _ in found.rows() for name in outcome.scalars or ()})
        head = [*_PLAIN, *(name + end for name in names for end in _ENDS)]
        head += [f"{name}_s" for name in _SECONDS] if timings else []
        rows = (_cells(outcome, spent, names, timings) for outcome, spent in found.rows())
        hidden = path.with_name(f".{path.name}.tmp")
        write = _parquet if path.suffix.lower() == ".parquet" else _csv
        try:
            count = write(hidden, head, rows)
            hidden.replace(path)
        finally:
            hidden.unlink(missing_ok=True)
    return count


def _cells(outcome: Outcome, spent: Timings, names: list[str], timings: bool) -> list[Any]:
    cells: list[Any] = [getattr(outcome, name) for name in _PLAIN]
    for name in names:
        found = (outcome.scalars or {}).get(name, {})
        lower, upper = found.get("interval", ([], []))
        cells += [_number(v) for v in (found.get("mean", []), found.get("std", []), lower, upper)]
    return cells + ([getattr(spent, name) for name in _SECONDS] if timings else [])


def _number(values: list[float]) -> float | str | None:
    if len(values) > 1:
        return json.dumps(values)
    return values[0] if values else None


def _csv(path: Path, head: list[str], rows: Iterator[list[Any]]) -> int:
    count = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(head)
        for row in rows:
            table.writerow(row)
            count += 1
        file.flush()
        os.fsync(file.fileno())
    return count


def _parquet(path: Path, head: list[str], rows: Iterator[list[Any]]) -> int:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ValueError(
            "expected pyarrow to write Parquet: pip install 'fieldcast[parquet]'"
        ) from None
    columns = list(zip(*rows, strict=True)) or [()] * len(head)
    found = pyarrow.table(dict(zip(head, map(list, columns), strict=True)))
    parquet.write_table(found, path)
    return len(columns[0])
