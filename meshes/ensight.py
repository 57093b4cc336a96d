"""EnSight Gold: read through VTK, written as C binary in one part, steady or in time on one
mesh."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from .foreign import Messages, joined_blocks
from .raw import POLYGON, RawField, RawMesh
from .sample import Scalar
from .validation import InvalidMesh
from .vtkxml import linked, stacked

_NAMES = {
    1: "point",
    3: "bar2",
    21: "bar3",
    5: "tria3",
    22: "tria6",
    9: "quad4",
    23: "quad8",
    10: "tetra4",
}
_NAMES |= {
    24: "tetra10",
    14: "pyramid5",
    27: "pyramid13",
    13: "penta6",
    26: "penta15",
    12: "hexa8",
    25: "hexa20",
}
_NAMES |= {POLYGON: "nsided"}
_FILES = re.compile(
    r"^\s*(?:model|(?:scalar|vector|tensor)\s.*per\s(?:node|element)):\s*(.*)$",
    re.IGNORECASE | re.MULTILINE,
)
_CONSTANT = re.compile(r"^\s*constant per case:\s+(\S+)\s+([-+.0-9eE]+)\s*$", re.MULTILINE)
_WIDTHS = {1: "scalar", 3: "vector", 6: "tensor symm", 9: "tensor asym"}


def decode(path: Path) -> RawMesh:
    """A `.case` with the files that it names, which lie in its folder.

    Raises:
        InvalidMesh: what is wrong with it.
    """
    import pyvista

    _check_files(path)
    messages = Messages()
    reader = pyvista.get_reader(str(path), force_ext=".case")
    times = np.array(reader.time_values or [0.0], dtype=float)
    raws = []
    for time in times if len(times) > 1 else [None]:
        if time is not None:
            reader.set_active_time_value(time)
        raws.append(joined_blocks(reader.read()))
    messages.check()
    raw = stacked(raws, times)
    constants = _CONSTANT.findall(path.read_text(errors="replace"))
    scalars = {name: Scalar(np.array([float(value)])) for name, value in constants}
    return replace(raw, regions={} if len(raw.regions) == 1 else raw.regions, scalars=scalars)


def _check_files(path: Path) -> None:
    text = path.read_text(errors="replace")
    if "GEOMETRY" not in text:
        raise InvalidMesh("expected a section GEOMETRY, got none; the file is truncated")
    for line in _FILES.findall(text):
        name = line.split()[-1].strip('"') if line.split() else ""
        if "*" not in name:
            linked(path, name)
            continue
        pattern = Path(name).name.replace("*", "[0-9]")
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InvalidMesh(f"expected files within the folder of {path.name}, got {name!r}")
        if not any((path.parent / name).parent.glob(pattern)):
            raise InvalidMesh(f"expected files {name!r} beside {path.name}, got none")


def encode(raw: RawMesh, name: str, source: Path | None = None) -> dict[str, bytes]:
    """EnSight Gold in C binary, which holds 32-bit numbers. Cells lie in blocks by type, as the
    format wants."""
    stem, files = Path(name).stem, {}
    unknown = set(raw.types.tolist()) - set(_NAMES)
    if unknown:
        raise InvalidMesh(
            f"expected cells that EnSight has, got VTK types {sorted(unknown)}; written as VTU"
        )
    blocks = [(int(n), np.flatnonzero(raw.types == n)) for n in dict.fromkeys(raw.types.tolist())]
    files[f"{stem}.geo"] = b"".join(_geometry(raw, blocks))
    lines = ["FORMAT", "type: ensight gold", "", "GEOMETRY", f"model: {stem}.geo", "", "VARIABLE"]
    many = len(raw.times) > 1
    for s, scalar in raw.scalars.items():
        if len(scalar.value) == 1:
            lines.append(f"constant per case: {_plain(s)} {float(scalar.value[0])!r}")
    for i, f in enumerate(_split(raw)):
        kind = _WIDTHS[f.values.shape[2]]
        place = "node" if f.on == "point" else "element"
        pattern = f"{stem}.{i:03d}{'.****' if many else ''}.var"
        lines.append(f"{kind} per {place}: {'1 ' if many else ''}{_plain(f.name)} {pattern}")
        for t in range(len(raw.times)):
            values = f.values[min(t, len(f.values) - 1)]
            files[pattern.replace("****", f"{t:04d}")] = b"".join(_variable(f, values, blocks))
    if many:
        lines += ["", "TIME", "time set: 1", f"number of steps: {len(raw.times)}"]
        lines += ["filename start number: 0", "filename increment: 1", "time values:"]
        lines += [repr(float(t)) for t in raw.times]
    files[name] = ("\n".join(lines) + "\n").encode()
    return files


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.:/()%-]", "_", name)


def _text(line: str) -> bytes:
    return line.encode("latin-1", "replace")[:80].ljust(80, b"\0")


def _ints(*values: int) -> bytes:
    return np.array(values, "<i4").tobytes()


def _geometry(raw: RawMesh, blocks: list[tuple[int, np.ndarray]]) -> Iterator[bytes]:
    for line in ("C Binary", "fieldcast", "", "node id off", "element id off", "part"):
        yield _text(line)
    points = np.pad(raw.points, ((0, 0), (0, 3 - raw.points.shape[1])))
    yield _ints(1) + _text("mesh") + _text("coordinates") + _ints(len(points))
    yield points.T.astype("<f4").tobytes()
    counts = np.diff(raw.offsets)
    for number, ids in blocks:
        yield _text(_NAMES[number]) + _ints(len(ids))
        if number == POLYGON:
            yield counts[ids].astype("<i4").tobytes()
        for i in ids if number == POLYGON else ():
            nodes = raw.connectivity[raw.offsets[i] : raw.offsets[i + 1]] + 1
            yield nodes.astype("<i4").tobytes()
        if number != POLYGON:
            width = int(counts[ids[0]])
            nodes = raw.connectivity[raw.offsets[ids][:, None] + np.arange(width)] + 1
            yield nodes.astype("<i4").tobytes()


def _split(raw: RawMesh) -> Iterator[RawField]:
    """Fields of the widths that EnSight has; two components are filled up, others are written one
    by one."""
    for f in raw.fields:
        width = f.values.shape[2]
        if width in _WIDTHS:
            yield f
        elif width == 2:
            yield replace(f, values=np.pad(f.values, ((0, 0), (0, 0), (0, 1))))
        else:
            for i in range(width):
                yield replace(f, name=f"{f.name}_c{i}", values=f.values[:, :, i : i + 1])


def _variable(
    f: RawField, values: np.ndarray, blocks: list[tuple[int, np.ndarray]]
) -> Iterator[bytes]:
    yield _text(f.name) + _text("part") + _ints(1)
    if f.on == "point":
        yield _text("coordinates") + values.T.astype("<f4").tobytes()
        return
    for number, ids in blocks:
        yield _text(_NAMES[number]) + values[ids].T.astype("<f4").tobytes()
