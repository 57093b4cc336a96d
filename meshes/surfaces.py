"""Surface formats: STL, PLY, OBJ and OFF, with their counts checked against what is there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .raw import LINE, POLYGON, TRIANGLE, VERTEX, RawField, RawMesh
from .validation import InvalidMesh
from .vtkxml import poly_types

_STL_RECORD = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_PLY_DTYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_FACET = re.compile(rb"^\s*facet\b", re.MULTILINE)
_VERTEX = re.compile(rb"^\s*vertex\s+(\S+)\s+(\S+)\s+(\S+)\s*$", re.MULTILINE)


def polygons(
    points: np.ndarray, faces: list[list[int]], fields: tuple[RawField, ...] = ()
) -> RawMesh:
    """A raw mesh of polygons."""
    counts = np.array([len(face) for face in faces], dtype=np.int64)
    flat = np.array([node for face in faces for node in face], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return RawMesh(points, poly_types(POLYGON, counts), offsets, flat, fields)


def decode_stl(path: Path) -> RawMesh:
    """An STL; corners with equal coordinates become one point, numbered as they first appear.

    Raises:
        InvalidMesh: what is wrong with it.
    """
    data = path.read_bytes()
    n = int.from_bytes(data[80:84], "little") if len(data) >= 84 else -1
    if len(data) == 84 + 50 * n:
        corners = np.frombuffer(data, _STL_RECORD, n, 84)["corners"].reshape(-1, 3)
    elif data.lstrip()[:5].lower() == b"solid":
        corners = _stl_text(data)
    else:
        raise InvalidMesh(
            f"expected {84 + 50 * n if n >= 0 else 84} bytes for {max(n, 0)} triangles, got "
            f"{len(data)}; the file is truncated"
        )
    if not len(corners):
        raise InvalidMesh("expected at least one triangle, got none")
    points, inverse = _first_seen(corners)
    triangles = inverse.reshape(-1, 3)
    offsets = 3 * np.arange(len(triangles) + 1)
    return RawMesh(points, np.full(len(triangles), TRIANGLE, np.uint8), offsets, triangles.ravel())


def _stl_text(data: bytes) -> np.ndarray:
    text = data.lower()
    facets, ends, found = len(_FACET.findall(text)), text.count(b"endfacet"), _VERTEX.findall(text)
    if facets != ends or len(found) != 3 * facets or b"endsolid" not in text[-200:]:
        raise InvalidMesh(
            f"expected 3 corners for each of {facets} facets and endsolid, got {len(found)} "
            f"corners and {ends} whole facets; "
            "the file is truncated or damaged"
        )
    try:
        return np.array(found, dtype="S32").astype(np.float64).reshape(-1, 3)
    except ValueError as error:
        raise InvalidMesh(f"expected coordinates, got {error}") from None


def _first_seen(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(distinct points in order of appearance, which of them each is)."""
    keys = np.ascontiguousarray(points + 0.0).view(f"V{points.itemsize * 3}").ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return points[first[order]], rank[inverse]


@dataclass
class _Element:
    """An element of a PLY header: (name, type, type of the list's length or "")."""

    name: str
    count: int
    properties: list[tuple[str, str, str]]


def decode_ply(path: Path) -> RawMesh:
    """A PLY, text or binary; vertex properties beside the coordinates become fields.

    Raises:
        InvalidMesh: what is wrong with it.
    """
    data = path.read_bytes()
    stop = data.find(b"end_header")
    if stop < 0:
        raise InvalidMesh("expected a PLY header up to end_header, got none; the file is truncated")
    body = data[data.find(b"\n", stop) + 1 :]
    form, elements = _ply_header(data[:stop].decode("latin-1"))
    tables = _ply_text(body, elements) if form == "ascii" else _ply_binary(body, elements, form)
    vertex = tables.get("vertex")
    if not isinstance(vertex, np.ndarray) or not {"x", "y", "z"} <= set(vertex.dtype.names or ()):
        raise InvalidMesh("expected vertices with x, y and z, got none")
    points = np.column_stack([vertex[axis] for axis in "xyz"])
    names = [name for name in vertex.dtype.names or () if name not in ("x", "y", "z")]
    fields = tuple(RawField(name, vertex[name].reshape(1, -1, 1)) for name in names)
    faces = tables.get("face", [])
    return polygons(points, [list(face) for face in faces], fields)


def _ply_header(text: str) -> tuple[str, list[_Element]]:
    form, elements = "", []
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "format":
            form = {"binary_little_endian": "<", "binary_big_endian": ">"}.get(words[1], words[1])
        elif words[0] == "element":
            elements.append(_Element(words[1], int(words[2]), []))
        elif words[0] == "property":
            lengths = words[2] if words[1] == "list" else ""
            kind = words[3] if lengths else words[1]
            if not {kind, lengths or kind} <= set(_PLY_DTYPES):
                raise InvalidMesh(f"expected property types of {sorted(_PLY_DTYPES)}, got {line!r}")
            elements[-1].properties.append(
                (words[-1], _PLY_DTYPES[kind], _PLY_DTYPES.get(lengths, ""))
            )
    if form not in ("ascii", "<", ">"):
        raise InvalidMesh(f"expected format ascii or binary, got {form!r}")
    return form, elements


def _short(element: _Element, got: int) -> InvalidMesh:
    return InvalidMesh(
        f"expected {element.count} entries of {element.name!r}, got {got}; the file is truncated "
        "or damaged"
    )


def _ply_binary(body: bytes, elements: list[_Element], order: str) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    place = 0
    for e in elements:
        if not any(lengths for _, _, lengths in e.properties):
            dtype = np.dtype([(name, order + kind) for name, kind, _ in e.properties])
            if e.count < 0 or place + e.count * dtype.itemsize > len(body):
                raise _short(e, (len(body) - place) // max(dtype.itemsize, 1))
            tables[e.name] = np.frombuffer(body, dtype, e.count, place)
            place += e.count * dtype.itemsize
            continue
        tables[e.name], place = _ply_lists(body, place, e, order)
    return tables


def _ply_lists(body: bytes, place: int, e: _Element, order: str) -> tuple[Any, int]:
    uniform = _ply_uniform(body, place, e, order)
    if uniform is not None:
        return uniform
    rows, view = [], memoryview(body)
    for i in range(e.count):
        for name, kind, lengths in e.properties:
            dtype, n = np.dtype(order + kind), 1
            if lengths:
                count = np.dtype(order + lengths)
                if place + count.itemsize > len(body):
                    raise _short(e, i)
                n = int(np.frombuffer(view, count, 1, place)[0])
                place += count.itemsize
            if n < 0 or place + n * dtype.itemsize > len(body):
                raise _short(e, i)
            if lengths and name.startswith("vert"):
                rows.append(np.frombuffer(view, dtype, n, place).tolist())
            place += n * dtype.itemsize
    return rows, place


def _ply_uniform(body: bytes, place: int, e: _Element, order: str) -> tuple[Any, int] | None:
    """All faces at once, if all have as many corners as the first and nothing else is listed."""
    if len(e.properties) != 1 or not e.count or place >= len(body):
        return None
    _, kind, lengths = e.properties[0]
    n = int(np.frombuffer(body[place : place + 8].ljust(8, b"\0"), order + lengths, 1)[0])
    if n > 1000:
        return None
    dtype = np.dtype([("n", order + lengths), ("nodes", order + kind, (n,))])
    if place + e.count * dtype.itemsize > len(body):
        return None
    rows = np.frombuffer(body, dtype, e.count, place)
    if not (rows["n"] == n).all():
        return None
    return rows["nodes"].tolist(), place + e.count * dtype.itemsize


def _ply_text(body: bytes, elements: list[_Element]) -> dict[str, Any]:
    lines = [line for line in body.decode("latin-1").splitlines() if line.strip()]
    tables: dict[str, Any] = {}
    place = 0
    for e in elements:
        rows = [line.split() for line in lines[place : place + e.count]]
        place += e.count
        if len(rows) < e.count or (
            not body.endswith((b"\n", b"\r")) and place >= len(lines) and not _whole_row(e, rows)
        ):
            raise _short(e, len(rows))
        try:
            tables[e.name] = _ply_rows(e, rows)
        except (ValueError, IndexError):
            raise _short(e, len(rows)) from None
    return tables


def _whole_row(e: _Element, rows: list[list[str]]) -> bool:
    """Whether the last row has all of its numbers; its last number may still be cut."""
    if not rows:
        return True
    if not any(lengths for _, _, lengths in e.properties):
        return len(rows[-1]) == len(e.properties)
    return len(rows[-1]) >= int(rows[-1][0]) + 1


def _ply_rows(e: _Element, rows: list[list[str]]) -> Any:
    if not any(lengths for _, _, lengths in e.properties):
        dtype = np.dtype([(name, kind) for name, kind, _ in e.properties])
        if any(len(row) != len(e.properties) for row in rows):
            raise ValueError(e.name)
        table = np.zeros(len(rows), dtype)
        for i, (name, kind, _) in enumerate(e.properties):
            table[name] = np.array([float(row[i]) for row in rows]).astype(kind)
        return table
    faces = []
    for row in rows:
        place = 0
        for name, _, lengths in e.properties:
            n = int(row[place]) if lengths else 1
            place += 1 if lengths else 0
            if place + n > len(row):
                raise ValueError(e.name)
            if lengths and name.startswith("vert"):
                faces.append([int(word) for word in row[place : place + n]])
            place += n
    return faces


def decode_off(path: Path) -> RawMesh:
    """An OFF.

    Raises:
        InvalidMesh: what is wrong with it.
    """
    lines = [line.split("#")[0].split() for line in path.read_text("latin-1").splitlines()]
    words = [row for row in lines if row]
    head = words[0][1:] if len(words[0]) > 1 else words[1] if len(words) > 1 else []
    rows = words[1:] if len(words[0]) > 1 else words[2:]
    try:
        n, m = int(head[0]), int(head[1])
        points = np.array([[float(w) for w in row[:3]] for row in rows[:n]]).reshape(-1, 3)
        faces = [[int(w) for w in row[1 : 1 + int(row[0])]] for row in rows[n : n + m]]
    except (ValueError, IndexError) as error:
        raise InvalidMesh(f"expected counts, points and faces, got {error}") from None
    whole = all(len(f) == int(row[0]) for f, row in zip(faces, rows[n : n + m], strict=True))
    if len(points) != n or len(faces) != m or not whole:
        raise InvalidMesh(
            f"expected {n} points and {m} faces, got {len(points)} and {len(faces)}; the file is "
            "truncated"
        )
    return polygons(points, faces)


def decode_obj(path: Path) -> RawMesh:
    """A Wavefront OBJ: its vertices, faces, lines and points; textures, normals and groups are
    left.

    Raises:
        InvalidMesh: what is wrong with it.
    """
    points: list[list[float]] = []
    cells: list[tuple[int, list[int]]] = []
    kinds = {"f": POLYGON, "l": LINE, "p": VERTEX}
    for number, line in enumerate(path.read_text("latin-1").replace("\\\n", " ").splitlines(), 1):
        words = line.split("#")[0].split()
        try:
            if words and words[0] == "v":
                points.append([float(words[i]) for i in (1, 2, 3)])
            elif words and words[0] in kinds:
                ids = [int(w.split("/")[0]) for w in words[1:]]
                cells.append((kinds[words[0]], [i - 1 if i > 0 else len(points) + i for i in ids]))
        except (ValueError, IndexError):
            raise InvalidMesh(
                f"line {number}: expected coordinates or corners, got {line[:60]!r}"
            ) from None
    counts = np.array([len(ids) for _, ids in cells], dtype=np.int64)
    base = np.array([kind for kind, _ in cells], dtype=np.int64)
    types = np.zeros(len(cells), np.uint8)
    for kind, many in ((POLYGON, POLYGON), (LINE, 4), (VERTEX, 2)):
        types[base == kind] = poly_types(many, counts[base == kind])
    flat = np.array([i for _, ids in cells for i in ids], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return RawMesh(np.array(points).reshape(-1, 3), types, offsets, flat)
