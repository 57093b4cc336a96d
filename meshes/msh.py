"""Gmsh: read through meshio once its sections are whole; predictions are added to a copy of a text
file, or to a new one."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .foreign import by_meshio
from .raw import POLYGON, RawField, RawMesh
from .validation import InvalidMesh

_SECTION = re.compile(rb"^\$(End)?([A-Za-z]+)\s*$", re.MULTILINE)
_DATA = re.compile(
    rb"^\$(NodeData|ElementData|ElementNodeData)\s*$.*?^\$End\1\s*$\n?", re.MULTILINE | re.DOTALL
)
# VTK's number: Gmsh's, and the place of Gmsh's nodes in VTK's order where they differ.
_NUMBERS = {
    1: 15,
    3: 1,
    21: 8,
    5: 2,
    22: 9,
    9: 3,
    23: 16,
    28: 10,
    10: 4,
    24: 11,
    12: 5,
    25: 17,
    29: 12,
}
_NUMBERS |= {13: 6, 26: 18, 32: 13, 14: 7, 27: 19}
_TO_GMSH = {
    24: [0, 1, 2, 3, 4, 5, 6, 7, 9, 8],
    25: [*range(8), 8, 11, 16, 9, 17, 10, 18, 19, 12, 15, 13, 14],
    29: [*range(8), 8, 11, 16, 9, 17, 10, 18, 19, 12, 15, 13, 14, 24, 22, 20, 21, 23, 25, 26],
    26: [*range(6), 6, 8, 12, 7, 13, 14, 9, 11, 10],
}


def decode(path: Path) -> RawMesh:
    """A Gmsh file; physical groups become regions.

    Raises:
        InvalidMesh: a section that does not end, or one that meshio refuses.
    """
    data = path.read_bytes()
    _check_sections(data)
    version = _text_version(data)
    if version is None:
        raw = by_meshio(path, "gmsh")
    else:
        with tempfile.TemporaryDirectory() as folder:
            bare = Path(folder) / path.name
            bare.write_bytes(_DATA.sub(b"", data))
            raw = by_meshio(bare, "gmsh")
    if not len(raw.points):
        raise InvalidMesh("expected nodes, got none")
    return raw if version is None else _with_data(raw, data, version)


def _text_version(data: bytes) -> int | None:
    """2 or 4 of a text file; None of others."""
    plain = re.match(rb"\$MeshFormat\s+(\d)\.\d+ 0 8\s", data)
    return int(plain[1]) if plain and int(plain[1]) in (2, 4) else None


def _with_data(raw: RawMesh, data: bytes, version: int) -> RawMesh:
    """The fields of the text sections, each with all of its times: meshio keeps one time, and
    mixes cells up that do not lie by type."""
    read = _tags_of_2 if version == 2 else _tags_of_4
    nodes, elements = read(_section(data, b"Nodes")), read(_section(data, b"Elements"))
    series: dict[tuple[str, str], dict[float, np.ndarray]] = {}
    for match in _DATA.finditer(data):
        if match[1] == b"ElementNodeData":
            raw = raw.warned("values per node of each element (ElementNodeData) were left out")
            continue
        on, tags = ("point", nodes) if match[1] == b"NodeData" else ("cell", elements)
        name, time, values = _parsed(match[0].splitlines()[1:-1], tags)
        series.setdefault((name, on), {})[time] = values
    times = np.unique([time for steps in series.values() for time in steps] or [0.0])
    fields = [f for f in raw.fields if f.name in ("gmsh:physical", "gmsh:geometrical")]
    for (name, on), steps in series.items():
        if len(steps) in (1, len(times)):
            values = np.stack([steps[time] for time in sorted(steps)])
            fields.append(RawField(name, values, on))  # type: ignore[arg-type]
        else:
            raw = raw.warned(f"field {name!r} is not there at all times and was left out")
    return replace(raw, fields=tuple(fields), times=times)


def _parsed(lines: list[bytes], tags: np.ndarray) -> tuple[str, float, np.ndarray]:
    """(name, time, values in the order of the mesh) of a data section; what it leaves out is
    NaN."""
    try:
        n = int(lines[0])
        name = lines[1].decode("latin-1").strip().strip('"')
        reals = int(lines[1 + n])
        time = float(lines[2 + n]) if reals else 0.0
        start = 2 + n + reals
        whole = int(lines[start])
        width, count = int(lines[start + 2]), int(lines[start + 3])
        rows = np.array([line.split() for line in lines[start + 1 + whole :]], dtype=float)
        rows = rows.reshape(count, width + 1)
    except (ValueError, IndexError) as error:
        raise InvalidMesh(f"expected a whole data section, got {error}") from None
    order = np.argsort(tags)
    place = np.minimum(np.searchsorted(tags[order], rows[:, 0]), len(tags) - 1)
    if (tags[order[place]] != rows[:, 0]).any():
        raise InvalidMesh(f"field {name!r}: expected tags of the mesh, got others")
    values = np.full((len(tags), width), np.nan)
    values[order[place]] = rows[:, 1:]
    return name, time, values


def _check_sections(data: bytes) -> None:
    """Every section has an end: meshio loops for ever on one that has none."""
    opened = None
    for match in _SECTION.finditer(data):
        end, name = bool(match[1]), match[2]
        if end and opened == name:
            opened = None
        elif not end and opened is None:
            opened = name
    if opened is not None:
        text = opened.decode()
        raise InvalidMesh(f"expected $End{text} behind ${text}, got none; the file is truncated")
    for name in (b"$Nodes", b"$Elements"):
        if name not in data:
            raise InvalidMesh(
                f"expected a section {name.decode()}, got none; the file is truncated"
            )


def encode(raw: RawMesh, name: str, source: Path | None) -> dict[str, bytes]:
    """A copy of `source`, if it is text, with the fields in place of its data; else a new file of
    version 2.2."""
    data = source.read_bytes() if source else b""
    version = _text_version(data)
    if version is None:
        nodes, elements = np.arange(1, len(raw.points) + 1), np.arange(1, raw.n_cells + 1)
        return {name: _new_mesh(raw) + b"".join(_data(raw, nodes, elements))}
    mesh = _DATA.sub(b"", data).rstrip() + b"\n"
    read = _tags_of_2 if version == 2 else _tags_of_4
    nodes, elements = read(_section(data, b"Nodes")), read(_section(data, b"Elements"))
    if len(nodes) != len(raw.points) or len(elements) != raw.n_cells:
        raise InvalidMesh(
            f"expected {len(raw.points)} nodes and {raw.n_cells} elements in {source}, got "
            f"{len(nodes)} and {len(elements)}"
        )
    return {name: mesh + b"".join(_data(raw, nodes, elements))}


def _section(data: bytes, name: bytes) -> list[bytes]:
    start = data.index(b"$" + name) + len(name) + 1
    return data[start : data.index(b"$End" + name)].strip().splitlines()


def _tags_of_2(lines: list[bytes]) -> np.ndarray:
    return np.array([int(line.split(None, 1)[0]) for line in lines[1:]], dtype=np.int64)


def _tags_of_4(lines: list[bytes]) -> np.ndarray:
    """Tags of nodes (alone on their lines, before the coordinates) or of elements (first on
    theirs)."""
    tags: list[int] = []
    place = 1
    while place < len(lines):
        words = lines[place].split()
        n = int(words[3])
        tags += [int(line.split(None, 1)[0]) for line in lines[place + 1 : place + 1 + n]]
        coordinates = len(lines[place + 1].split()) == 1 if n else False
        place += 1 + (2 * n if coordinates else n)
    return np.array(tags, dtype=np.int64)


def _new_mesh(raw: RawMesh) -> bytes:
    if (raw.types == POLYGON).any() or not set(raw.types.tolist()) <= set(_NUMBERS):
        raise InvalidMesh(
            f"expected cells that Gmsh has, got VTK types {np.unique(raw.types).tolist()}; "
            "written as VTU"
        )
    points = np.pad(raw.points, ((0, 0), (0, 3 - raw.points.shape[1]))).tolist()
    lines = ["$MeshFormat", "2.2 0 8", "$EndMeshFormat", "$Nodes", str(len(points))]
    lines += [f"{i} {x!r} {y!r} {z!r}" for i, (x, y, z) in enumerate(points, 1)]
    lines += ["$EndNodes", "$Elements", str(raw.n_cells)]
    for i, number in enumerate(raw.types.tolist()):
        nodes = raw.connectivity[raw.offsets[i] : raw.offsets[i + 1]] + 1
        nodes = nodes[_TO_GMSH.get(number, slice(None))]
        lines.append(f"{i + 1} {_NUMBERS[number]} 2 1 1 {' '.join(map(str, nodes.tolist()))}")
    return ("\n".join([*lines, "$EndElements"]) + "\n").encode()


def _data(raw: RawMesh, nodes: np.ndarray, elements: np.ndarray) -> Iterator[bytes]:
    """A section per field and time. Gmsh knows 1, 3 and 9 components; others are filled up with
    zeros."""
    for f in raw.fields:
        section, tags = ("NodeData", nodes) if f.on == "point" else ("ElementData", elements)
        for i, values in enumerate(f.values):
            yield from _field(
                section, f.name, values, tags, (float(raw.times[min(i, len(raw.times) - 1)]), i)
            )


def _field(
    section: str, name: str, values: np.ndarray, tags: np.ndarray, step: tuple[float, int]
) -> Iterator[bytes]:
    width = next((w for w in (1, 3, 9) if w >= values.shape[1]), values.shape[1])
    padded: Any = np.pad(values, ((0, 0), (0, width - values.shape[1]))).astype(float).tolist()
    head = [
        f"${section}",
        "1",
        f'"{name}"',
        "1",
        repr(step[0]),
        "3",
        str(step[1]),
        str(width),
        str(len(tags)),
    ]
    rows = [
        f"{tag} {' '.join(map(repr, row))}" for tag, row in zip(tags.tolist(), padded, strict=True)
    ]
    yield ("\n".join([*head, *rows, f"$End{section}"]) + "\n").encode()
