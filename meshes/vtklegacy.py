"""VTK's legacy format (`.vtk`), text and binary, versions 1 to 5.1, with every count checked
against what is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np

from .raw import (
    POLY_LINE,
    POLY_VERTEX,
    POLYGON,
    STRIP,
    RawField,
    RawMesh,
    lattice,
    raw_of_blocks,
)
from .sample import Scalar
from .validation import InvalidMesh
from .vtkxml import grid_points, poly_types
from .vtkxml_writing import at_time

_DTYPES = {
    "bit": "u1",
    "unsigned_char": "u1",
    "char": "i1",
    "unsigned_short": "u2",
    "short": "i2",
    "unsigned_int": "u4",
    "int": "i4",
    "unsigned_long": "u8",
    "long": "i8",
    "float": "f4",
    "double": "f8",
    "vtkidtype": "i4",
    "vtktypeint64": "i8",
    "vtktypeuint64": "u8",
    "vtktypeint32": "i4",
    "signed_char": "i1",
    "long_long": "i8",
}
_WIDTHS = {"VECTORS": 3, "NORMALS": 3, "TENSORS": 9, "TENSORS6": 6}
_SECTIONS = {
    "VERTICES": POLY_VERTEX,
    "LINES": POLY_LINE,
    "TRIANGLE_STRIPS": STRIP,
    "POLYGONS": POLYGON,
}


class _Cursor:
    """Reads words, lines and arrays one behind another."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0
        self.binary = False

    def line(self) -> str:
        """The next line, without its end; "" at the end of the file."""
        end = self._data.find(b"\n", self._place)
        end = len(self._data) if end < 0 else end
        text = self._data[self._place : end]
        self._place = end + 1
        return text.decode("latin-1").strip()

    def header(self) -> list[str]:
        """The words of the next line that is not empty; none at the end of the file."""
        while self._place < len(self._data):
            words = self.line().split()
            if words:
                return words
        return []

    def peek(self) -> str:
        """The first word of the next line that is not empty, in capitals."""
        here = self._place
        words = self.header()
        self._place = here
        return words[0].upper() if words else ""

    def numbers(self, n: int, kind: str, what: str) -> np.ndarray:
        """The next n numbers of a VTK type."""
        code = _DTYPES.get(kind.lower())
        if code is None:
            raise InvalidMesh(f"{what}: expected a type of {sorted(_DTYPES)}, got {kind!r}")
        left = len(self._data) - self._place
        if kind.lower() == "bit" and self.binary:
            raise InvalidMesh(
                f"{what}: arrays of bits are not supported; write them as unsigned_char"
            )
        needed = n * np.dtype(code).itemsize if self.binary else 2 * n - 1
        if n < 0 or needed > left:
            raise InvalidMesh(
                f"{what}: expected {n} numbers, got the end of the file ({max(left, 0)} bytes "
                "are left); "
                "it is truncated or its counts are wrong"
            )
        return self._packed(n, code) if self.binary else self._written(n, code, what)

    def _packed(self, n: int, code: str) -> np.ndarray:
        values = np.frombuffer(self._data, np.dtype(code).newbyteorder(">"), n, self._place)
        self._place += values.nbytes
        return values.astype(code)

    def _written(self, n: int, code: str, what: str) -> np.ndarray:
        if n == 0:
            return np.zeros(0, code)
        rest = self._data[self._place :]
        words = rest.split(None, n)
        after = len(words[n]) if len(words) > n else 0
        if len(words) < n:
            raise InvalidMesh(
                f"{what}: expected {n} numbers, got {len(words)}; the file is truncated"
            )
        try:
            values = np.array(words[:n]).astype(np.float64 if code[0] == "f" else np.int64)
        except (ValueError, OverflowError) as error:
            raise InvalidMesh(f"{what}: expected {n} numbers, got {error}") from None
        self._place = len(self._data) - after
        return values.astype(code)


@dataclass
class _Parts:
    """What has been read so far."""

    kind: str
    points: np.ndarray | None = None
    cells: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    types: np.ndarray | None = None
    dims: list[int] = field(default_factory=list)
    origin: list[float] = field(default_factory=lambda: [0.0] * 3)
    spacing: list[float] = field(default_factory=lambda: [1.0] * 3)
    axes: list[np.ndarray] = field(default_factory=list)
    fields: list[RawField] = field(default_factory=list)
    scalars: dict[str, Scalar] = field(default_factory=dict)
    times: np.ndarray = field(default_factory=lambda: np.zeros(1))
    on: str = ""
    n: int = 0


def decode(path: Path) -> RawMesh:
    """A legacy VTK file.

    Raises:
        InvalidMesh: what is wrong with it.
    """
    cursor = _Cursor(path.read_bytes())
    cursor.line()
    cursor.line()
    form = " ".join(cursor.header()).upper()
    if form not in ("ASCII", "BINARY"):
        raise InvalidMesh(f"expected ASCII or BINARY in the third line, got {form[:40]!r}")
    cursor.binary = form == "BINARY"
    parts = _Parts("")
    while words := cursor.header():
        keyword = words[0].upper()
        if keyword not in _KEYWORDS:
            raise InvalidMesh(
                f"expected a keyword such as POINTS or CELLS, got {words[0][:40]!r}; "
                "an array before it is too short or too long"
            )
        try:
            _KEYWORDS[keyword](cursor, parts, words)
        except (IndexError, ValueError) as error:
            if isinstance(error, InvalidMesh):
                raise
            raise InvalidMesh(
                f"expected numbers behind {keyword}, got {' '.join(words)!r}"
            ) from None
    return _assembled(parts)


def _dataset(cursor: _Cursor, parts: _Parts, words: list[str]) -> None:
    parts.kind = words[1].upper()


def _points(cursor: _Cursor, parts: _Parts, words: list[str]) -> None:
    parts.points = cursor.numbers(3 * int(words[1]), words[2], "points").reshape(-1, 3)


def _cells(cursor: _Cursor, parts: _Parts, words: list[str]) -> None:
    keyword, n, size = words[0].upper(), int(words[1]), int(words[2])
    if cursor.peek() == "OFFSETS":
        offsets = cursor.numbers(n, cursor.header()[1], "cell offsets").astype(np.int64)
        if cursor.peek() != "CONNECTIVITY":
            raise InvalidMesh(
                "expected CONNECTIVITY behind OFFSETS, got the end or another keyword"
            )
        flat = cursor.numbers(size, cursor.header()[1], "connectivity").astype(np.int64)
    else:
        flat = cursor.numbers(size, "int", keyword.lower()).astype(np.int64)
        offsets, flat = _split(flat, n)
    parts.cells.append((offsets if len(offsets) else np.zeros(1, np.int64), flat))
    parts.numbers.append(_SECTIONS.get(keyword, 0))


def _split(flat: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(offsets, connectivity) of the old layout, where each cell's nodes follow their number."""
    if n == 0:
        return np.zeros(1, np.int64), np.zeros(0, np.int64)
    width = int(flat[0]) + 1
    if len(flat) == n * width and (flat[::width] == width - 1).all():
        return np.arange(n + 1) * (width - 1), flat.reshape(n, width)[:, 1:].ravel()
    heads, place = np.zeros(n + 1, np.int64), 0
    values = flat.tolist()
    for i in range(n):
        if place >= len(values) or values[place] < 0:
            raise InvalidMesh(f"expected {n} cells, got {i} in {len(values)} numbers")
        heads[i] = place
        place += values[place] + 1
    heads[n] = place
    if place != len(values):
        raise InvalidMesh(f"expected cells of {place} numbers, got {len(values)}")
    keep = np.ones(len(flat), bool)
    keep[heads[:-1]] = False
    return np.concatenate([[0], np.cumsum(np.diff(heads) - 1)]), flat[keep]


def _cell_types(cursor: _Cursor, parts: _Parts, words: list[str]) -> None:
    parts.types = cursor.numbers(int(words[1]), "int", "cell types").astype(np.uint8)


def _dimensions(cursor: _Cursor, parts: _Parts, words: list[str]) -> None:
    parts.dims = [int(w) for w in words[1:4]]


def _origin(cursor: _Cursor, parts: _Parts, words: list[str]) -> None:
    parts.origin = [float(w) for w in words[1:4]]


def _spacing(cursor: _Cursor, parts: _Parts, words: list[str]) -> None:
    parts.spacing = [float(w) for w in words[1:4]]


def _axis(cursor: _Cursor, parts: _Parts, words: list[str]) -> None:
    parts.axes.append(cursor.numbers(int(words[1]), words[2], words[0].lower()))


def _point_data(cursor: _Cursor, parts: _Parts, words: list[str]) -> None:
    parts.on, parts.n = "point", int(words[1])


def _cell_data(cursor: _Cursor, parts: _Parts, words: list[str]) -> None:
    parts.on, parts.n = "cell", int(words[1])


def _add(parts: _Parts, name: str, values: np.ndarray, width: int) -> None:
    shaped = values.reshape(1, -1, width)
    parts.fields.append(RawField(unquote(name), shaped, parts.on))  # type: ignore[arg-type]


def _scalars(cursor: _Cursor, parts: _Parts, words: list[str]) -> None:
    width = int(words[3]) if len(words) > 3 else 1
    if cursor.peek() == "LOOKUP_TABLE":
        cursor.header()
    _add(parts, words[1], cursor.numbers(parts.n * width, words[2], f"field {words[1]!r}"), width)


def _vectors(cursor: _Cursor, parts: _Parts, words: list[str]) -> None:
    width = _WIDTHS[words[0].upper()]
    _add(parts, words[1], cursor.numbers(parts.n * width, words[2], f"field {words[1]!r}"), width)


def _ids(cursor: _Cursor, parts: _Parts, words: list[str]) -> None:
    cursor.numbers(parts.n, words[2], words[0].lower())


def _texture(cursor: _Cursor, parts: _Parts, words: list[str]) -> None:
    width = int(words[2])
    _add(parts, words[1], cursor.numbers(parts.n * width, words[3], f"field {words[1]!r}"), width)


def _colors(cursor: _Cursor, parts: _Parts, words: list[str]) -> None:
    width = int(words[2])
    kind = "unsigned_char" if cursor.binary else "float"
    _add(parts, words[1], cursor.numbers(parts.n * width, kind, f"field {words[1]!r}"), width)


def _lookup(cursor: _Cursor, parts: _Parts, words: list[str]) -> None:
    kind = "unsigned_char" if cursor.binary else "float"
    cursor.numbers(4 * int(words[2]), kind, "lookup table")


def _field(cursor: _Cursor, parts: _Parts, words: list[str]) -> None:
    for _ in range(int(words[2])):
        if cursor.peek() == "METADATA":
            _metadata(cursor, parts, [])
        head = cursor.header()
        if len(head) < 4:
            raise InvalidMesh("expected name, components, tuples and type of an array, got the end")
        width, n = int(head[1]), int(head[2])
        if head[3].lower() == "string":
            for _ in range(n * width):
                cursor.line()
        else:
            _field_array(cursor, parts, head)


def _field_array(cursor: _Cursor, parts: _Parts, head: list[str]) -> None:
    name, width, n = unquote(head[0]), int(head[1]), int(head[2])
    if parts.on and n != parts.n:
        raise InvalidMesh(
            f"field {name!r}: expected {parts.n} values (one per {parts.on}), got {n}"
        )
    values = cursor.numbers(n * width, head[3], f"field {name!r}")
    if parts.on:
        _add(parts, head[0], values, width)
    elif name in ("TIME", "TimeValue") and values.size == 1:
        parts.times = values.astype(float)
    elif values.size == 1:
        parts.scalars[name] = Scalar(values.astype(float))


def _metadata(cursor: _Cursor, parts: _Parts, words: list[str]) -> None:
    """Ends at an empty line."""
    if not words:
        cursor.header()
    while cursor.line():
        continue


_KEYWORDS: dict[str, Callable[[_Cursor, _Parts, list[str]], None]] = {
    "DATASET": _dataset,
    "POINTS": _points,
    "CELLS": _cells,
    **dict.fromkeys(_SECTIONS, _cells),
    "CELL_TYPES": _cell_types,
    "DIMENSIONS": _dimensions,
    "ORIGIN": _origin,
    "SPACING": _spacing,
    "ASPECT_RATIO": _spacing,
    **dict.fromkeys(("X_COORDINATES", "Y_COORDINATES", "Z_COORDINATES"), _axis),
    "POINT_DATA": _point_data,
    "CELL_DATA": _cell_data,
    "SCALARS": _scalars,
    **dict.fromkeys(_WIDTHS, _vectors),
    **dict.fromkeys(("GLOBAL_IDS", "PEDIGREE_IDS"), _ids),
    "TEXTURE_COORDINATES": _texture,
    "COLOR_SCALARS": _colors,
    "LOOKUP_TABLE": _lookup,
    "FIELD": _field,
    "METADATA": _metadata,
}


def _assembled(parts: _Parts) -> RawMesh:
    others = {"fields": tuple(parts.fields), "scalars": parts.scalars, "times": parts.times}
    if parts.kind in ("STRUCTURED_POINTS", "RECTILINEAR_GRID", "STRUCTURED_GRID"):
        number, cells = lattice(_checked_dims(parts))
        return raw_of_blocks(_grid(parts), [(number, cells)], **others)
    if parts.kind not in ("UNSTRUCTURED_GRID", "POLYDATA"):
        raise InvalidMesh(
            "expected DATASET UNSTRUCTURED_GRID, POLYDATA or a structured grid, got "
            f"{parts.kind or 'none'!r}"
        )
    if parts.points is None:
        raise InvalidMesh("expected POINTS, got none")
    starts = np.cumsum([0] + [len(flat) for _, flat in parts.cells])
    offsets = np.concatenate(
        [[0], *(o[1:] + s for (o, _), s in zip(parts.cells, starts[:-1], strict=True))]
    ).astype(np.int64)
    flat = np.concatenate([np.zeros(0, np.int64), *(f for _, f in parts.cells)])
    if parts.kind == "POLYDATA":
        kinds = [
            poly_types(k, np.diff(o)) for k, (o, _) in zip(parts.numbers, parts.cells, strict=True)
        ]
        types = np.concatenate([np.zeros(0, np.uint8), *kinds])
    elif parts.types is None and len(offsets) > 1:
        raise InvalidMesh("expected CELL_TYPES, got none; the file is truncated")
    else:
        types = np.zeros(0, np.uint8) if parts.types is None else parts.types
    return RawMesh(parts.points, types, offsets, flat, **others)  # type: ignore[arg-type]


def _checked_dims(parts: _Parts) -> list[int]:
    if len(parts.dims) != 3 or min(parts.dims) < 1 or np.prod(np.array(parts.dims, float)) > 2**31:
        raise InvalidMesh(f"expected three DIMENSIONS of 1 and above, got {parts.dims}")
    return parts.dims


def _grid(parts: _Parts) -> np.ndarray:
    n = int(np.prod(parts.dims))
    if parts.kind == "STRUCTURED_GRID":
        if parts.points is None or len(parts.points) != n:
            got = 0 if parts.points is None else len(parts.points)
            raise InvalidMesh(f"expected {n} points as DIMENSIONS say, got {got}")
        return parts.points
    if parts.kind == "RECTILINEAR_GRID":
        if [len(a) for a in parts.axes] != parts.dims:
            raise InvalidMesh(
                f"expected axes of {parts.dims} coordinates, got {[len(a) for a in parts.axes]}"
            )
        return grid_points(parts.axes)
    return grid_points(
        [
            o + s * np.arange(d)
            for o, s, d in zip(parts.origin, parts.spacing, parts.dims, strict=True)
        ]
    )


def encode(raw: RawMesh, name: str, source: Path | None = None) -> dict[str, bytes]:
    """A binary legacy file of version 4.2, as unstructured grid; of the first time."""
    raw = at_time(raw, 0)
    counts = np.diff(raw.offsets)
    table = np.insert(raw.connectivity, raw.offsets[:-1], counts)
    points = np.pad(raw.points, ((0, 0), (0, 3 - raw.points.shape[1])))
    chunks = [
        b"# vtk DataFile Version 4.2\nfieldcast\nBINARY\nDATASET UNSTRUCTURED_GRID\n",
        *_arrays("", [(n, s.value[None, :1]) for n, s in raw.scalars.items()]),
        f"POINTS {len(points)} {_type_of(points)}\n".encode(),
        _big(points),
        f"\nCELLS {raw.n_cells} {len(table)}\n".encode(),
        table.astype(">i4").tobytes(),
        f"\nCELL_TYPES {raw.n_cells}\n".encode(),
        raw.types.astype(">i4").tobytes(),
        b"\n",
    ]
    for on, keyword, n in (
        ("point", "POINT_DATA", len(points)),
        ("cell", "CELL_DATA", raw.n_cells),
    ):
        found = [(f.name, f.values[0]) for f in raw.fields if f.on == on]
        chunks += _arrays(f"{keyword} {n}\n", found)
    return {name: b"".join(chunks)}


def _arrays(before: str, found: list[tuple[str, np.ndarray]]) -> list[bytes]:
    if not found:
        return []
    chunks = [f"{before}FIELD FieldData {len(found)}\n".encode()]
    for name, values in found:
        head = (
            f"{quote(name, safe='():/,;=+*^')} {values.shape[1]} {len(values)} {_type_of(values)}\n"
        )
        chunks += [head.encode(), _big(values), b"\n"]
    return chunks


def _type_of(values: np.ndarray) -> str:
    return "float" if values.dtype == np.float32 else "double"


def _big(values: np.ndarray) -> bytes:
    return values.astype(">f4" if values.dtype == np.float32 else ">f8").tobytes()
