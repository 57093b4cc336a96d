"""Exodus II through netCDF: element blocks, node and element variables in time, node sets."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from .cgns import TO_VTK as CGNS_TO_VTK
from .raw import POLYGON, RawField, RawMesh, merged, unchanging
from .sample import Scalar
from .validation import InvalidMesh

# First letters of an element type, and VTK's number by how many nodes it has.
_TYPES = {
    "SPH": {1: 1},
    "CIR": {1: 1},
    "BAR": {2: 3, 3: 21},
    "BEA": {2: 3, 3: 21},
    "TRU": {2: 3, 3: 21},
    "EDG": {2: 3, 3: 21},
    "TRI": {3: 5, 6: 22, 7: 34},
    "SHE": {3: 5, 4: 9, 8: 23, 9: 28},
    "QUA": {4: 9, 8: 23, 9: 28},
    "TET": {4: 10, 10: 24},
    "HEX": {8: 12, 20: 25, 27: 29},
    "WED": {6: 13, 15: 26, 18: 32},
    "PYR": {5: 14, 13: 27},
}
_NAMES = {
    1: "SPHERE",
    3: "BAR2",
    21: "BAR3",
    5: "TRI3",
    22: "TRI6",
    34: "TRI7",
    9: "QUAD4",
    23: "QUAD8",
    28: "QUAD9",
}
_NAMES |= {
    10: "TET4",
    24: "TET10",
    12: "HEX8",
    25: "HEX20",
    29: "HEX27",
    13: "WEDGE6",
    26: "WEDGE15",
    32: "WEDGE18",
}
_NAMES |= {14: "PYRAMID5", 27: "PYRAMID13", POLYGON: "NSIDED"}
# Exodus has the middle of a hexahedron before its faces below, above, left, right, in front,
# behind.
TO_VTK = {
    **CGNS_TO_VTK,
    29: [*range(12), 16, 17, 18, 19, 12, 13, 14, 15, 23, 24, 25, 26, 21, 22, 20],
}
_COMPONENT = re.compile(r"^(.*)_([xyzXYZ]|c\d+)$")
_LONGEST_NAME = 256
_MOST_BLOCKS = 1000


def decode(path: Path) -> RawMesh:
    """An Exodus file; components `U_x, U_y, U_z` become one field U.

    Raises:
        InvalidMesh: what is wrong with it.
    """
    import netCDF4

    try:
        file = netCDF4.Dataset(str(path))
    except OSError as error:
        raise InvalidMesh(f"expected a whole netCDF file, got {error}") from None
    with file:
        file.set_auto_mask(False)
        try:
            return _mesh(file)
        except (KeyError, IndexError, RuntimeError) as error:
            raise InvalidMesh(f"expected whole Exodus data, got {error}") from None


def _mesh(file: Any) -> RawMesh:
    v = file.variables
    if "coord" in v:
        axes = list(np.asarray(v["coord"][:]))
    else:
        axes = [np.asarray(v[name][:]) for name in ("coordx", "coordy", "coordz") if name in v]
    if not axes:
        raise InvalidMesh("expected coordinates, got none")
    n = len(axes[0])
    points = np.column_stack([*axes, *[np.zeros(n)] * (3 - len(axes))])
    times = np.asarray(v["time_whole"][:], float) if "time_whole" in v else np.zeros(1)
    times = times if len(times) else np.zeros(1)
    found = [_block(v, i) for i in range(1, len(file.dimensions.get("num_el_blk", ())) + 1)]
    blocks = [block for block in found if block is not None]
    empty = np.zeros((0, 3))
    raw = merged([RawMesh(empty, a, b, c) for a, b, c in blocks]) if blocks else None
    types, offsets, flat = (raw.types, raw.offsets, raw.connectivity) if raw else _NO_CELLS
    fields = [*_node_fields(v, n, len(times)), *_cell_fields(v, blocks, len(times))]
    return RawMesh(
        points,
        types,
        offsets,
        flat,
        tuple(fields),
        _global_scalars(v, len(times)),
        times,
        _node_sets(file),
    )


_NO_CELLS = (np.zeros(0, np.uint8), np.zeros(1, np.int64), np.zeros(0, np.int64))


def _block(v: Any, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    if f"connect{i}" not in v:
        return None
    variable = v[f"connect{i}"]
    kind, nodes = str(variable.elem_type).upper(), np.asarray(variable[:], np.int64)
    if kind.startswith("NSIDED"):
        counts = np.asarray(v[f"ebepecnt{i}"][:], np.int64)
        types = np.full(len(counts), POLYGON, np.uint8)
        return types, np.concatenate([[0], np.cumsum(counts)]), nodes.ravel() - 1
    number = _TYPES.get(kind[:3], {}).get(nodes.shape[1])
    if number is None:
        raise InvalidMesh(
            f"expected an element type of {sorted(_TYPES)}, got {kind!r} of {nodes.shape[1]} nodes"
        )
    if number in TO_VTK:
        nodes = nodes[:, TO_VTK[number]]
    offsets = nodes.shape[1] * np.arange(len(nodes) + 1)
    return np.full(len(nodes), number, np.uint8), offsets, nodes.ravel() - 1


def _names(v: Any, key: str) -> list[str]:
    if key not in v:
        return []
    rows = np.asarray(v[key][:])
    return [b"".join(np.atleast_1d(row)).decode("latin-1").strip("\0 ") for row in rows]


def _node_fields(v: Any, n: int, times: int) -> Iterator[RawField]:
    columns: dict[str, np.ndarray] = {}
    for i, name in enumerate(_names(v, "name_nod_var")):
        key = "vals_nod_var" if "vals_nod_var" in v else f"vals_nod_var{i + 1}"
        if key not in v:
            continue
        values = np.asarray(v[key][:])
        values = values[:, i] if key == "vals_nod_var" else values
        columns[name] = _checked(name, values, times, n)
    yield from _vectors(columns, "point")


def _checked(name: str, values: np.ndarray, times: int, n: int) -> np.ndarray:
    if len(values) > times or values.size % (max(len(values), 1) * n) or values.shape[1] != n:
        raise InvalidMesh(f"field {name!r}: expected {times} x {n} values, got {values.shape}")
    return values.reshape(len(values), n, -1)


def _cell_fields(v: Any, blocks: Sequence[Any], times: int) -> Iterator[RawField]:
    columns: dict[str, np.ndarray] = {}
    for i, name in enumerate(_names(v, "name_elem_var")):
        keys = [f"vals_elem_var{i + 1}eb{b + 1}" for b in range(len(blocks))]
        if all(key in v for key in keys) and keys:
            parts = [
                _checked(name, np.asarray(v[key][:]), times, len(block[0]))
                for key, block in zip(keys, blocks, strict=True)
            ]
            columns[name] = np.concatenate(parts, axis=1)
    yield from _vectors(columns, "cell")


def _vectors(columns: dict[str, np.ndarray], on: str) -> Iterator[RawField]:
    """Fields, those called NAME_x, NAME_y, ... as components of one."""
    groups: dict[str, list[str]] = {}
    for name in columns:
        match = _COMPONENT.match(name)
        groups.setdefault(match[1] if match else name, []).append(name)
    for base, names in groups.items():
        if len(names) > 1 and base not in columns:
            yield RawField(base, np.concatenate([columns[n] for n in names], axis=2), on)  # type: ignore[arg-type]
        else:
            for name in names:
                yield RawField(name, columns[name], on)  # type: ignore[arg-type]


def _global_scalars(v: Any, times: int) -> dict[str, Scalar]:
    names = _names(v, "name_glo_var")
    if not names or "vals_glo_var" not in v:
        return {}
    values = np.asarray(v["vals_glo_var"][:], float)
    if len(values) != times:
        return {}
    return {name: Scalar(unchanging([values[:, i]])) for i, name in enumerate(names)}


def _node_sets(file: Any) -> dict[str, np.ndarray]:
    v = file.variables
    names = _names(v, "ns_names")
    found = {}
    for i in range(1, len(file.dimensions.get("num_node_sets", ())) + 1):
        if f"node_ns{i}" in v:
            name = names[i - 1] if i <= len(names) and names[i - 1] else f"nodeset{i}"
            found[name] = np.asarray(v[f"node_ns{i}"][:], np.int64).ravel() - 1
    return found


def encode(raw: RawMesh, name: str, source: Path | None = None) -> dict[str, bytes]:
    """An Exodus file; each run of cells of one type is an element block, so that their order is
    kept."""
    import netCDF4

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exodus"
        with netCDF4.Dataset(str(path), "w", format="NETCDF4") as file:
            _write_all(file, raw)
        return {name: path.read_bytes()}


def _write_all(file: Any, raw: RawMesh) -> None:
    file.setncatts(
        {"title": "fieldcast", "version": np.float32(5.1), "api_version": np.float32(5.1)}
    )
    file.setncatts({"floating_point_word_size": np.int32(8), "file_size": np.int32(1)})
    sizes = {"num_dim": 3, "num_nodes": len(raw.points), "num_elem": raw.n_cells}
    sizes |= {"len_string": 33, "len_line": 81, "four": 4, "len_name": _LONGEST_NAME}
    file.createDimension("time_step", None)
    for key, size in sizes.items():
        file.createDimension(key, size)
    times = file.createVariable("time_whole", "f8", ("time_step",))
    times[:] = raw.times
    points = np.pad(raw.points, ((0, 0), (0, 3 - raw.points.shape[1])))
    for axis, column in zip("xyz", points.T, strict=True):
        file.createVariable(f"coord{axis}", "f8", ("num_nodes",))[:] = column
    runs = _runs(raw)
    if runs:
        _write_blocks(file, raw, runs)
    _write_variables(file, raw, runs)
    _write_sets(file, raw)


def _runs(raw: RawMesh) -> list[slice]:
    """Stretches of cells of one type and number of nodes (polygons: of any)."""
    if not raw.n_cells:
        return []
    counts = np.where(raw.types == POLYGON, 0, np.diff(raw.offsets))
    new = (np.diff(raw.types.astype(np.int64)) != 0) | (np.diff(counts) != 0)
    bounds = [0, *(np.flatnonzero(new) + 1).tolist(), raw.n_cells]
    if len(bounds) > _MOST_BLOCKS:
        raise InvalidMesh(
            f"expected cells that lie in at most {_MOST_BLOCKS} runs of one type, got "
            f"{len(bounds) - 1}; written as VTU"
        )
    return [slice(a, b) for a, b in pairwise(bounds)]


def _write_blocks(file: Any, raw: RawMesh, runs: Sequence[slice]) -> None:
    file.createDimension("num_el_blk", len(runs))
    prop = file.createVariable("eb_prop1", "i4", ("num_el_blk",))
    prop.setncattr("name", "ID")
    prop[:] = np.arange(1, len(runs) + 1)
    file.createVariable("eb_status", "i4", ("num_el_blk",))[:] = 1
    for i, run in enumerate(runs, 1):
        number = int(raw.types[run.start])
        counts = np.diff(raw.offsets[run.start : run.stop + 1])
        nodes = raw.connectivity[raw.offsets[run.start] : raw.offsets[run.stop]] + 1
        file.createDimension(f"num_el_in_blk{i}", len(counts))
        if number == POLYGON:
            file.createDimension(f"num_nod_per_el{i}", len(nodes))
            variable = file.createVariable(f"connect{i}", "i4", (f"num_nod_per_el{i}",))
            file.createVariable(f"ebepecnt{i}", "i4", (f"num_el_in_blk{i}",))[:] = counts
        else:
            nodes = nodes.reshape(len(counts), -1)
            if number in TO_VTK:
                nodes = nodes[:, np.argsort(TO_VTK[number])]
            file.createDimension(f"num_nod_per_el{i}", nodes.shape[1])
            variable = file.createVariable(
                f"connect{i}", "i4", (f"num_el_in_blk{i}", f"num_nod_per_el{i}")
            )
        variable.setncattr("elem_type", _NAMES[number])
        variable[:] = nodes


def _columns(fields: Sequence[RawField]) -> Iterator[tuple[str, np.ndarray]]:
    for f in fields:
        width = f.values.shape[2]
        labels = (
            [""]
            if width == 1
            else ["_x", "_y", "_z"][:width]
            if width <= 3
            else [f"_c{i}" for i in range(width)]
        )
        for i, label in enumerate(labels):
            yield f.name + label, f.values[:, :, i]


def _write_names(file: Any, dimension: str, variable: str, names: Sequence[str]) -> None:
    file.createDimension(dimension, len(names))
    rows = np.zeros((len(names), _LONGEST_NAME), "S1")
    for row, name in zip(rows, names, strict=True):
        text = name.encode("latin-1", "replace")[: _LONGEST_NAME - 1]
        row[: len(text)] = np.frombuffer(text, "S1")
    file.createVariable(variable, "S1", (dimension, "len_name"))[:] = rows


def _write_variables(file: Any, raw: RawMesh, runs: Sequence[slice]) -> None:
    t = len(raw.times)
    points = dict(_columns([f for f in raw.fields if f.on == "point"]))
    cells = dict(_columns([f for f in raw.fields if f.on == "cell"]))
    if points:
        _write_names(file, "num_nod_var", "name_nod_var", list(points))
    for i, values in enumerate(points.values(), 1):
        variable = file.createVariable(f"vals_nod_var{i}", "f8", ("time_step", "num_nodes"))
        variable[:] = np.broadcast_to(values, (t, values.shape[1]))
    if cells and runs:
        _write_names(file, "num_elem_var", "name_elem_var", list(cells))
        file.createVariable("elem_var_tab", "i4", ("num_el_blk", "num_elem_var"))[:] = 1
    for i, values in enumerate(cells.values(), 1):
        for b, run in enumerate(runs, 1):
            variable = file.createVariable(
                f"vals_elem_var{i}eb{b}", "f8", ("time_step", f"num_el_in_blk{b}")
            )
            variable[:] = np.broadcast_to(values[:, run], (t, run.stop - run.start))
    if raw.scalars:
        _write_names(file, "num_glo_var", "name_glo_var", list(raw.scalars))
        variable = file.createVariable("vals_glo_var", "f8", ("time_step", "num_glo_var"))
        variable[:] = np.stack([np.broadcast_to(s.value, t) for s in raw.scalars.values()], axis=1)


def _write_sets(file: Any, raw: RawMesh) -> None:
    regions = {name: ids for name, ids in raw.regions.items() if len(ids)}
    if not regions:
        return
    _write_names(file, "num_node_sets", "ns_names", list(regions))
    file.createVariable("ns_prop1", "i4", ("num_node_sets",)).setncattr("name", "ID")
    file["ns_prop1"][:] = np.arange(1, len(regions) + 1)
    file.createVariable("ns_status", "i4", ("num_node_sets",))[:] = 1
    for i, ids in enumerate(regions.values(), 1):
        file.createDimension(f"num_nod_ns{i}", len(ids))
        file.createVariable(f"node_ns{i}", "i4", (f"num_nod_ns{i}",))[:] = ids + 1
