"""VTKHDF: unstructured grids, poly-data and images, steady or in time on one mesh."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .hdf5 import opened
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

_SECTIONS = {"Vertices": POLY_VERTEX, "Lines": POLY_LINE, "Polygons": POLYGON, "Strips": STRIP}
# The cell arrays of poly-data follow VTK's order of sections.
_ORDER = ("Vertices", "Lines", "Polygons", "Strips")


def decode(path: Path) -> RawMesh:
    """A VTKHDF file.

    Raises:
        InvalidMesh: what is wrong with it.
    """
    with opened(path) as file:
        if "VTKHDF" not in file:
            raise InvalidMesh(f"expected a group VTKHDF, got {sorted(file) or 'nothing'}")
        root = file["VTKHDF"]
        kind = root.attrs.get("Type", b"")
        kind = kind.decode() if isinstance(kind, bytes) else str(kind)
        if kind not in _KINDS:
            raise InvalidMesh(f"expected a VTKHDF type of {sorted(_KINDS)}, got {kind!r}")
        try:
            return _KINDS[kind](root)
        except KeyError as error:
            raise InvalidMesh(f"expected whole VTKHDF data, got {error}") from None


def _array(group: Any, name: str) -> np.ndarray:
    return np.asarray(group[name][()])


def _times(root: Any) -> np.ndarray:
    if "Steps" not in root:
        return np.zeros(1)
    times = _array(root["Steps"], "Values").ravel().astype(float)
    if not len(times):
        raise InvalidMesh("expected at least one time in Steps, got none")
    return times


def _same_mesh(root: Any) -> None:
    """All steps lie on one mesh: their offsets into points and cells are equal."""
    for name in ("PointOffsets", "CellOffsets", "PartOffsets"):
        if "Steps" in root and name in root["Steps"]:
            offsets = _array(root["Steps"], name)
            if len(offsets) and (offsets != offsets[0]).any():
                raise InvalidMesh(
                    "expected one mesh for all times, got several; split the series into one "
                    "file per time"
                )


def _fields(root: Any, counts: dict[str, int]) -> Iterator[RawField]:
    times = len(_times(root))
    for on, tag in (("point", "PointData"), ("cell", "CellData")):
        for name in root.get(tag, ()):
            values = _array(root[tag], name)
            if values.dtype.kind not in "fiub":
                continue
            n = counts[on]
            width = int(np.prod(values.shape[1:])) if len(values) else 1
            starts = _starts(root, f"{tag}Offsets", name, times)
            if len(values) < (max(starts) + n):
                raise InvalidMesh(
                    f"field {name!r}: expected {max(starts) + n} values, got {len(values)}; the "
                    "file is truncated"
                )
            if "Steps" not in root and len(values) != n:
                raise InvalidMesh(
                    f"field {name!r}: expected {n} values (one per {on}), got {len(values)}"
                )
            steps = [values[s : s + n].reshape(n, width) for s in dict.fromkeys(starts)]
            stacked = (
                np.stack(steps)
                if len(steps) in (1, times)
                else np.stack([values[s : s + n].reshape(n, width) for s in starts])
            )
            yield RawField(name, stacked, on)  # type: ignore[arg-type]


def _starts(root: Any, group: str, name: str, times: int) -> list[int]:
    if "Steps" not in root:
        return [0]
    offsets = root["Steps"].get(group, {})
    return [int(o) for o in _array(offsets, name).ravel()] if name in offsets else [0] * times


def _scalars(root: Any) -> dict[str, Scalar]:
    found, times = {}, len(_times(root))
    for name in root.get("FieldData", ()):
        values = _array(root["FieldData"], name)
        if values.dtype.kind in "fiu" and values.size in (1, times):
            found[name] = Scalar(values.ravel().astype(float))
    return found


def _parts(root: Any, n: str, m: str, ids: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of points, cells and connectivity entries of the parts of the (first) step."""
    parts = slice(None)
    if "Steps" in root and "NumberOfParts" in root["Steps"]:
        parts = slice(0, int(_array(root["Steps"], "NumberOfParts")[0]))
    found = (_array(root, name).ravel()[parts].astype(np.int64) for name in (n, m, ids))
    a, b, c = found
    return a, b, c


def _unstructured(root: Any) -> RawMesh:
    _same_mesh(root)
    points, cells, ids = _parts(root, "NumberOfPoints", "NumberOfCells", "NumberOfConnectivityIds")
    n, m = int(points.sum()), int(cells.sum())
    offsets, flat = _joined(root, points, cells, ids)
    found = _exactly(root, "Points", n)
    return RawMesh(
        found.reshape(n, -1),
        _exactly(root, "Types", m).astype(np.uint8),
        offsets,
        flat,
        tuple(_fields(root, {"point": n, "cell": m})),
        _scalars(root),
        _times(root),
    )


def _exactly(root: Any, name: str, n: int) -> np.ndarray:
    values = _array(root, name)
    if len(values) < n:
        raise InvalidMesh(f"{name}: expected {n} entries, got {len(values)}; the file is truncated")
    return values[:n]


def _joined(
    group: Any, points: np.ndarray, cells: np.ndarray, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(offsets, connectivity) of all parts over the points of all parts."""
    offsets = _exactly(group, "Offsets", int((cells + 1).sum())).astype(np.int64)
    flat = _exactly(group, "Connectivity", int(ids.sum())).astype(np.int64)
    starts = np.cumsum(points) - points
    flat = flat + np.repeat(starts, ids)
    ends = np.cumsum(cells + 1)
    parts = [offsets[e - c : e] for e, c in zip(ends, cells, strict=True)]
    before = np.cumsum(ids) - ids
    return np.concatenate([[0], *(p + b for p, b in zip(parts, before, strict=True))]), flat


def _poly(root: Any) -> RawMesh:
    _same_mesh(root)
    points = _array(root, "NumberOfPoints").ravel()[:1].astype(np.int64)
    if len(_array(root, "NumberOfPoints").ravel()) > 1 and "Steps" not in root:
        raise InvalidMesh("expected poly-data of one part, got several; write it in one part")
    n, total = int(points[0]), 0
    types, offsets, flat = [], [np.zeros(1, np.int64)], []
    for name in _ORDER:
        group = root[name]
        cells = _array(group, "NumberOfCells").ravel()[:1].astype(np.int64)
        ids = _array(group, "NumberOfConnectivityIds").ravel()[:1].astype(np.int64)
        own, nodes = _joined(group, points, cells, ids)
        types.append(poly_types(_SECTIONS[name], np.diff(own)))
        offsets.append(own[1:] + total)
        flat.append(nodes)
        total += len(nodes)
    kinds = np.concatenate(types)
    return RawMesh(
        _exactly(root, "Points", n).reshape(n, -1),
        kinds,
        np.concatenate(offsets),
        np.concatenate(flat),
        tuple(_fields(root, {"point": n, "cell": len(kinds)})),
        _scalars(root),
        _times(root),
    )


def _image(root: Any) -> RawMesh:
    e = [int(v) for v in root.attrs["WholeExtent"]]
    origin, spacing = root.attrs.get("Origin", np.zeros(3)), root.attrs.get("Spacing", np.ones(3))
    axes = [origin[i] + spacing[i] * np.arange(e[2 * i], e[2 * i + 1] + 1) for i in range(3)]
    dims = [len(a) for a in axes]
    if min(dims) < 1 or np.prod(np.array(dims, float)) > 2**31:
        raise InvalidMesh(f"expected a grid of 1 to 2^31 points, got {dims}")
    if "Steps" in root:
        raise InvalidMesh("expected a steady image, got one in time; write an unstructured grid")
    number, cells = lattice(dims)
    fields = []
    for on, tag, n in (
        ("point", "PointData", int(np.prod(dims))),
        ("cell", "CellData", len(cells)),
    ):
        for name in root.get(tag, ()):
            values = _array(root[tag], name)
            if values.size % n:
                raise InvalidMesh(f"field {name!r}: expected {n} values, got {values.size}")
            fields.append(RawField(name, values.reshape(1, n, -1), on))  # type: ignore[arg-type]
    return raw_of_blocks(
        grid_points(axes), [(number, cells)], fields=tuple(fields), scalars=_scalars(root)
    )


_KINDS = {"UnstructuredGrid": _unstructured, "PolyData": _poly, "ImageData": _image}


def encode(raw: RawMesh, name: str, source: Path | None = None) -> dict[str, bytes]:
    """An unstructured grid, with steps where there are several times."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        root = file.create_group("VTKHDF")
        root.attrs["Version"] = np.array([2, 0], np.int64)
        root.attrs.create("Type", np.array(b"UnstructuredGrid", dtype="S16"))
        n, m = len(raw.points), raw.n_cells
        for key, count in (
            ("NumberOfPoints", n),
            ("NumberOfCells", m),
            ("NumberOfConnectivityIds", len(raw.connectivity)),
        ):
            root.create_dataset(key, data=np.array([count], np.int64))
        root.create_dataset(
            "Points", data=np.pad(raw.points, ((0, 0), (0, 3 - raw.points.shape[1])))
        )
        root.create_dataset("Types", data=raw.types.astype(np.uint8))
        root.create_dataset("Offsets", data=raw.offsets.astype(np.int64))
        root.create_dataset("Connectivity", data=raw.connectivity.astype(np.int64))
        if len(raw.times) > 1 or raw.times.any():
            _write_steps(root, raw)
        _write_data(root, raw)
    return {name: buffer.getvalue()}


def _write_data(root: Any, raw: RawMesh) -> None:
    for on, tag in (("point", "PointData"), ("cell", "CellData")):
        group = root.create_group(tag)
        for f in raw.fields:
            if f.on == on:
                values = f.values.reshape(-1, f.values.shape[2])
                group.create_dataset(
                    f.name.replace("/", "|"), data=values[:, 0] if values.shape[1] == 1 else values
                )
    group = root.create_group("FieldData")
    for key, s in raw.scalars.items():
        group.create_dataset(key.replace("/", "|"), data=s.value)


def _write_steps(root: Any, raw: RawMesh) -> None:
    t = len(raw.times)
    steps = root.create_group("Steps")
    steps.attrs["NSteps"] = np.int64(t)
    steps.create_dataset("Values", data=raw.times.astype(float))
    zeros = np.zeros(t, np.int64)
    for key in ("PartOffsets", "PointOffsets"):
        steps.create_dataset(key, data=zeros)
    for key in ("CellOffsets", "ConnectivityIdOffsets"):
        steps.create_dataset(key, data=zeros[:, None])
    steps.create_dataset("NumberOfParts", data=np.ones(t, np.int64))
    for on, tag in (("point", "PointDataOffsets"), ("cell", "CellDataOffsets")):
        group = steps.create_group(tag)
        n = len(raw.points) if on == "point" else raw.n_cells
        for f in raw.fields:
            if f.on == on:
                step = n if len(f.values) > 1 else 0
                group.create_dataset(f.name.replace("/", "|"), data=step * np.arange(t))
    group = steps.create_group("FieldDataOffsets")
    sizes = steps.create_group("FieldDataSizes")
    for key, s in raw.scalars.items():
        many = len(s.value) > 1
        group.create_dataset(key.replace("/", "|"), data=np.arange(t) if many else zeros)
        sizes.create_dataset(key.replace("/", "|"), data=np.ones((t, 2), np.int64))
