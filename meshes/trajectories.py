"""Trajectories as MeshGraphNets keeps them: a `meta.json`, and beside it HDF5 files with a group
per trajectory, or TFRecord files with a record per trajectory.

A trajectory goes by a path that leads on into its file: `train.h5/trajectory_0`,
`train.tfrecord/0`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .hdf5 import opened
from .raw import HEXAHEDRON, LINE, QUAD, TETRA, TRIANGLE, RawField, RawMesh, raw_of_blocks
from .tfrecord import count_records, features, read_record
from .validation import InvalidMesh

META = "meta.json"
TFRECORD = ".tfrecord"
SUFFIXES = (TFRECORD, ".h5", ".hdf5")
CELLS, POINTS, KINDS = "cells", "mesh_pos", "node_type"
REGIONS = {1: "obstacle", 2: "airfoil", 3: "handle", 4: "inflow", 5: "outflow", 6: "wall"}
"""Kinds of nodes that are not inside; others are called `node_type_7` and so on."""
_MOST_KINDS = 64
_LARGEST_META = 2**20
_LARGEST_WIDTH = 4096
_DTYPES = ("float32", "float64", "int32", "int64", "uint8", "int8", "int16")
# By (nodes of a cell, coordinates); None: any.
_TYPES = {(2, None): LINE, (3, None): TRIANGLE, (4, 2): QUAD, (4, 3): TETRA, (8, 3): HEXAHEDRON}
# A stored byte stands for no more than this many.
_LARGEST_GROWTH = 2000
_LEAST_STORED = 4096


@dataclass(frozen=True)
class Feature:
    """What `meta.json` says of one array: (`times`, point, `width`) numbers. What is `static` may
    be stored once or for every time."""

    name: str
    static: bool
    times: int
    width: int
    dtype: np.dtype

    def shaped(self, values: np.ndarray) -> np.ndarray:
        """Values as (time, point, component), one time of what is static.

        Raises:
            InvalidMesh: another number of them.
        """
        own = values.shape if values.ndim == 3 else (self.times, -1, self.width)
        row = self.times * self.width
        fits = values.size > 0 and (values.ndim == 3 or values.size % row == 0)
        if not fits or own[2] != self.width or (own[0] != self.times and not self.static):
            raise InvalidMesh(
                f"{self.name!r}: expected numbers of shape [{self.times}, -1, {self.width}] "
                f"({META}), got {values.shape}"
            )
        return values.reshape(own)[: 1 if self.static else None]


def meta_of(file: Path) -> tuple[float, dict[str, Feature]]:
    """(seconds between times, features by name) for the trajectories in a file; 0 s where nothing
    is said.

    Raises:
        InvalidMesh: no `meta.json` beside it, or one that says something else.
    """
    path = file.with_name(META)
    if not path.is_file():
        raise InvalidMesh(f"expected {META} beside {file.name}, got none")
    if path.stat().st_size > _LARGEST_META:
        raise InvalidMesh(f"{META}: expected at most 1 MiB, got {path.stat().st_size} bytes")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        listed = content["features"].items()
        size = float(content.get("dt") or 0.0)
        length = content["trajectory_length"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidMesh(
            f"{META}: expected an object with dt, trajectory_length and features, got {error!r}"
        ) from None
    if not math.isfinite(size) or size < 0:
        raise InvalidMesh(f"{META}: expected dt of 0 s or more, got {size}")
    found = {name: _feature(name, said, length) for name, said in listed}
    missing = {CELLS, POINTS, KINDS} - set(found)
    if missing:
        raise InvalidMesh(f"{META}: expected the features {sorted(missing)}, got {sorted(found)}")
    return size, found


def _feature(name: str, said: Any, length: Any) -> Feature:
    try:
        kind, dtype, (times, free, width) = said["type"], said["dtype"], said["shape"]
    except (KeyError, TypeError, ValueError):
        kind = dtype = times = free = width = None
    plain = type(times) is type(width) is int and free == -1
    if not plain or dtype not in _DTYPES or kind not in ("static", "dynamic"):
        raise InvalidMesh(
            f"{META}, {name!r}: expected type static or dynamic, shape [times, -1, width] and "
            f"dtype of {_DTYPES}, got {said!r:.200}"
        )
    if times < 1 or not 1 <= width <= _LARGEST_WIDTH or (kind == "dynamic" and times != length):
        raise InvalidMesh(
            f"{META}, {name!r}: expected {length} times (trajectory_length; of what is static 1 "
            f"or more) and a width of 1 to {_LARGEST_WIDTH}, got shape {said['shape']}"
        )
    return Feature(name, kind == "static", times, width, np.dtype(dtype))


def trajectories(path: Path, pattern: str = "") -> list[Path]:
    """All in a file, or in the files of a folder (those whose names fit `pattern`; of two with one
    stem the HDF5), by their paths, those that cannot be read included; none where there is no
    `meta.json`."""
    folder = path.parent if path.is_file() else path
    if not (folder / META).is_file():
        return []
    files = [path] if path.is_file() else folder.glob(pattern or "*")
    known = sorted((p for p in files if p.suffix.lower() in SUFFIXES), reverse=True)
    return [t for _, file in sorted({p.stem: p for p in known}.items()) for t in _listed(file)]


def _listed(file: Path) -> list[Path]:
    if file.suffix.lower() == TFRECORD:
        return [file / str(i) for i in range(count_records(file))]
    try:
        with opened(file) as found:
            return [file / name for name in sorted(found, key=_numbers)]
    except InvalidMesh:
        return [file / "0"]  # to be read, and said what is wrong


def _numbers(name: str) -> list[tuple[str, int]]:
    """For an order in which 2 comes before 10."""
    return [(text, int(digits or -1)) for text, digits in re.findall(r"(\D*)(\d*)", name)]


def decode(path: Path) -> RawMesh:
    """One trajectory: a mesh with regions by kinds of nodes, and a field for each feature that is
    not the mesh.

    Raises:
        InvalidMesh: what is wrong with it.
    """
    file = path.parent
    size, said = meta_of(file)
    if file.suffix.lower() == TFRECORD:
        arrays = _record(file, path.name, said)
    else:
        arrays = _group(file, path.name, said)
    cells, points = (_still(name, arrays.pop(name)) for name in (CELLS, POINTS))
    length = max([len(values) for values in arrays.values()], default=1)
    raw = raw_of_blocks(
        points.astype(float),
        [(_type(cells, points), cells)],
        fields=tuple(RawField(name, values) for name, values in arrays.items()),
        times=(size or 1.0) * np.arange(float(length)),
        regions=_regions(_still(KINDS, arrays[KINDS])),
    )
    return raw if size else raw.warned(f"no dt in {META}: times are counted 0, 1, 2, ...")


def _still(name: str, values: np.ndarray) -> np.ndarray:
    if (values != values[:1]).any():
        raise InvalidMesh(f"{name!r}: expected the same at all times, got one that changes")
    return values[0]


def _type(cells: np.ndarray, points: np.ndarray) -> int:
    nodes, dim = cells.shape[1], points.shape[1]
    number = _TYPES.get((nodes, None)) or _TYPES.get((nodes, dim))
    if number is None:
        raise InvalidMesh(
            f"expected cells of 2, 3, 4 or 8 nodes in 2 or 3 dimensions, got {nodes} nodes in {dim}"
        )
    return number


def _regions(kinds: np.ndarray) -> dict[str, np.ndarray]:
    numbers = [int(k) for k in np.unique(kinds) if k != 0]
    if kinds.shape[1] != 1 or len(numbers) > _MOST_KINDS:
        raise InvalidMesh(
            f"{KINDS!r}: expected one of at most {_MOST_KINDS} kinds at each point, got "
            f"{len(numbers)} kinds in {kinds.shape[1]} columns"
        )
    names = {k: REGIONS.get(k, f"{KINDS}_{k}") for k in numbers}
    return {name: np.flatnonzero(kinds[:, 0] == k) for k, name in names.items()}


def _record(file: Path, name: str, said: Mapping[str, Feature]) -> dict[str, np.ndarray]:
    if not name.isdecimal():
        raise InvalidMesh(f"expected the number of a record in {file.name}, got {name!r}")
    try:
        found = features(read_record(file, int(name)))
        _check_names(found, said)
        return {k: f.shaped(_numbers_in(found[k], f)) for k, f in said.items()}
    except InvalidMesh as error:
        start = "" if str(error).startswith("record") else f"record {name}: "
        raise InvalidMesh(f"{start}{error}") from None


def _check_names(found: Iterable[str], said: Mapping[str, Feature]) -> None:
    missing = set(said) - set(found)
    if missing:
        raise InvalidMesh(f"expected the features {sorted(missing)} ({META}), got {sorted(found)}")


def _numbers_in(data: bytes, feature: Feature) -> np.ndarray:
    if len(data) % feature.dtype.itemsize:
        raise InvalidMesh(
            f"{feature.name!r}: expected whole numbers of {feature.dtype}, got {len(data)} bytes"
        )
    return np.frombuffer(data, feature.dtype.newbyteorder("<"))


def _group(file: Path, name: str, said: Mapping[str, Feature]) -> dict[str, np.ndarray]:
    import h5py

    with opened(file, name) as content:
        group = content.get(name)
        if not isinstance(group, h5py.Group):
            raise InvalidMesh(f"expected a group {name!r} in {file.name}, got none")
        _check_names(group, said)
        return {k: f.shaped(_stored(group[k], f)) for k, f in said.items()}


def _stored(dataset: Any, feature: Feature) -> np.ndarray:
    """The numbers in a dataset, of which its bytes must be able to hold as many as it claims."""
    import h5py

    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "fiu":
        raise InvalidMesh(f"{feature.name!r}: expected a dataset of numbers, got {dataset}")
    stored = dataset.id.get_storage_size()
    if dataset.nbytes > _LARGEST_GROWTH * max(stored, _LEAST_STORED):
        raise InvalidMesh(f"{feature.name!r}: {stored} bytes claim to be {dataset.nbytes}")
    once = feature.static and dataset.ndim == 3
    return np.asarray(dataset[:1] if once else dataset[()]).astype(feature.dtype, copy=False)
