"""Scalars that lie beside mesh files: a `.json` per case, or a `parameters.csv` or `.json` for a
folder."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .sample import Scalar

Origin = Literal["parameters", "json", "field data", "outputs"]
TABLE = "parameters"
_WITH_UNIT = re.compile(r"^(.*?)\s*\[(.*)\]$")
_INPUT_SECTIONS = ("parameters", "inputs")
_OUTPUT_SECTIONS = ("outputs", "results", "scalars")
_LARGEST_TABLE = 256 * 2**20


@dataclass(frozen=True)
class Found:
    """A scalar and where it was found."""

    scalar: Scalar
    origin: Origin


@dataclass(frozen=True)
class Table:
    """Scalars of one case, and the names of what is there but is no number."""

    scalars: Mapping[str, Found] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)

    def joined(self, other: Table) -> Table:
        """Both; `other` counts where a name is in both."""
        return Table({**self.scalars, **other.scalars}, {**self.ignored, **other.ignored})


def _text(path: Path) -> str:
    size = path.stat().st_size
    if size > _LARGEST_TABLE:
        raise ValueError(f"{path}: expected a table of at most 256 MiB, got {size} bytes")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text in UTF-8, got {error}; save it as UTF-8") from None


def _loaded(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_text(path))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON, got {error}") from None
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: expected a JSON object of names and numbers, got a {type(content).__name__}"
        )
    return content


def read_json(path: Path, n_times: int = 1) -> Table:
    """The scalars of one case. A value is a number, a list with one number per time, or `{"value":
    1.5, "unit": "m/s"}`; the sections "parameters" and "outputs" say what role theirs have.

    Raises:
        ValueError: not a JSON object.
    """
    origin: Origin = "parameters" if path.stem == TABLE else "json"
    return table_of(_loaded(path), origin, n_times)


def read_scalars(path: Path, n_times: int = 1) -> Table:
    """The scalars of one case in a `.json`, or in a `.csv` of a header and one row of values.

    Raises:
        ValueError: neither.
    """
    if path.suffix.lower() != ".csv":
        return read_json(path, n_times)
    rows = [row for row in csv.reader(_text(path).splitlines()) if any(row)]
    if len(rows) != 2 or len(rows[0]) != len(rows[1]):
        raise ValueError(
            f"{path}: expected a header and one row of as many values, got {len(rows)} rows"
        )
    table = _row([_named(cell.strip()) for cell in rows[0]], rows[1])
    return Table({n: Found(f.scalar, "json") for n, f in table.scalars.items()}, table.ignored)


def table_of(content: Mapping[str, Any], origin: Origin, n_times: int = 1) -> Table:
    """The scalars in a JSON object."""
    scalars: dict[str, Found] = {}
    ignored: dict[str, str] = {}
    for name, value in content.items():
        if isinstance(value, dict) and "value" not in value:
            inner = _section_origin(name)
            if inner is None:
                ignored[name] = "an object"
                continue
            nested = table_of(value, inner, n_times)
            scalars |= nested.scalars
            ignored |= nested.ignored
            continue
        unit = str(value.get("unit", "")) if isinstance(value, dict) else ""
        plain = value["value"] if isinstance(value, dict) else value
        number = _number(plain, n_times)
        if number is None:
            ignored[name] = _kind(plain)
        else:
            scalars[name] = Found(Scalar(number, unit), origin)
    return Table(scalars, ignored)


def _section_origin(name: str) -> Origin | None:
    if name.lower() in _INPUT_SECTIONS:
        return "parameters"
    return "outputs" if name.lower() in _OUTPUT_SECTIONS else None


def _number(value: Any, n_times: int) -> np.ndarray | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return np.array([float(value)]) if math.isfinite(value) else None
    plain = isinstance(value, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in value
    )
    if plain and n_times > 1 and len(value) == n_times:
        return np.array(value, dtype=float)
    return None


def _kind(value: Any) -> str:
    kinds = {bool: "true or false", str: "text", list: "a list", type(None): "empty"}
    return kinds.get(type(value), "not a finite number")


def read_tables(folder: Path) -> dict[str, Table]:
    """`parameters.csv` or `parameters.json` of a folder: a table per file or folder name (with or
    without suffix).

    Raises:
        ValueError: a table that cannot be understood, or two rows for one name.
    """
    found = {p.name.lower(): p for p in folder.iterdir() if p.is_file()}
    if f"{TABLE}.csv" in found:
        return _read_csv(found[f"{TABLE}.csv"])
    if f"{TABLE}.json" in found:
        content = _loaded(found[f"{TABLE}.json"])
        return {
            name: table_of(row, "parameters")
            for name, row in content.items()
            if isinstance(row, dict)
        }
    return {}


def _read_csv(path: Path) -> dict[str, Table]:
    text = _text(path)
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if any(row)]
    if len(rows) < 2 or len(rows[0]) < 2:
        raise ValueError(
            f"{path}: expected a header and rows, the first column the file or folder name; got "
            f"{len(rows)} rows"
        )
    columns = [_named(cell.strip()) for cell in rows[0]]
    tables: dict[str, Table] = {}
    for number, row in enumerate(rows[1:], start=2):
        name = row[0].strip()
        if len(row) != len(columns):
            raise ValueError(
                f"{path}, row {number}: expected {len(columns)} columns, got {len(row)}"
            )
        if name in tables:
            raise ValueError(f"{path}, row {number}: expected one row per case, got {name!r} again")
        tables[name] = _row(columns[1:], row[1:])
    return tables


def _named(cell: str) -> tuple[str, str]:
    """(name, unit) of a column such as `U [m/s]`."""
    match = _WITH_UNIT.match(cell)
    return (match[1], match[2]) if match else (cell, "")


def _row(columns: list[tuple[str, str]], cells: list[str]) -> Table:
    scalars: dict[str, Found] = {}
    ignored: dict[str, str] = {}
    for (name, unit), cell in zip(columns, cells, strict=True):
        try:
            value = float(cell)
        except ValueError:
            ignored[name] = "text" if cell.strip() else "empty"
            continue
        if math.isfinite(value):
            scalars[name] = Found(Scalar(np.array([value]), unit), "parameters")
        else:
            ignored[name] = "not a finite number"
    return Table(scalars, ignored)


def row_of(tables: Mapping[str, Table], name: str, mesh: Path) -> Table:
    """The row of a case, by its name, its file's name or its file's stem."""
    for key in (name, mesh.name, mesh.stem):
        if key in tables:
            return tables[key]
    return Table()
