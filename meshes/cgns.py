"""CGNS in HDF5: zones with their coordinates, elements and solutions; predictions are added as
solutions to a copy."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .cells import cell_type_of_vtk
from .hdf5 import opened
from .raw import (
    POLYGON,
    RawField,
    RawMesh,
    lattice,
    merged,
    raw_of_blocks,
)
from .sample import Location, Scalar
from .validation import InvalidMesh

# CGNS element number: (VTK number, nodes). 13 (PYRA_14) has no VTK type.
_ELEMENTS = {
    2: (1, 1),
    3: (3, 2),
    4: (21, 3),
    5: (5, 3),
    6: (22, 6),
    7: (9, 4),
    8: (23, 8),
    9: (28, 9),
    10: (10, 4),
    11: (24, 10),
    12: (14, 5),
    14: (13, 6),
    15: (26, 15),
    16: (32, 18),
    17: (12, 8),
    18: (25, 20),
    19: (29, 27),
    21: (27, 13),
}
_NUMBERS = {vtk: number for number, (vtk, _) in _ELEMENTS.items()}
_MIXED, _NGON, _NFACE = 20, 22, 23
# CGNS numbers the middles of vertical edges before those of the upper ring, VTK after.
TO_VTK = {
    25: [*range(12), 16, 17, 18, 19, 12, 13, 14, 15],
    26: [*range(9), 12, 13, 14, 9, 10, 11],
    32: [*range(9), 12, 13, 14, 9, 10, 11, 15, 16, 17],
    29: [*range(12), 16, 17, 18, 19, 12, 13, 14, 15, 24, 22, 21, 23, 20, 25, 26],
}
SOLUTION = "Prediction"


def _label(node: Any) -> str:
    label = node.attrs.get("label", b"")
    return (
        bytes(label).decode().strip("\0 ") if isinstance(label, bytes | np.bytes_) else str(label)
    )


def _children(node: Any, label: str, fallback: Sequence[str] = ()) -> Iterator[tuple[str, Any]]:
    """Child groups with a label; files of some writers have names only."""
    import h5py

    for name in node:
        child = node[name]
        if isinstance(child, h5py.Group) and (
            _label(child) == label or (not _label(child) and name in fallback)
        ):
            yield name, child


def _data(node: Any) -> np.ndarray:
    if " data" not in node:
        return np.zeros(0)
    return np.asarray(node[" data"][()])


def _text(node: Any) -> str:
    return bytes(_data(node).astype(np.uint8)).decode("latin-1").strip("\0 ")


def decode(path: Path) -> RawMesh:
    """The zones of the base with the cells of highest dimension, side by side.

    Raises:
        InvalidMesh: what is wrong with it.
    """
    with opened(path) as file:
        bases = [(name, b) for name, b in _children(file, "CGNSBase_t", ["Base"])]
        zoned = [(name, b) for name, b in bases if any(_zones(b))]
        if not zoned:
            raise InvalidMesh("expected a base with a zone, got none")
        name, base = max(
            zoned, key=lambda item: int(_data(item[1])[0]) if len(_data(item[1])) else 0
        )
        zones = list(_zones(base))
        raws = [_zone(zone) for _, zone in zones]
        scalars = {key: s for _, b in bases for key, s in _globals(b).items()}
        raw = merged(raws, [key for key, _ in zones])
        if len(raws) == 1:
            raw = replace(raw, regions=raws[0].regions)
        if len(zoned) > 1:
            raw = raw.warned(f"of {len(zoned)} bases with zones only {name!r} was read")
        return replace(raw, scalars=scalars, times=_times(base, raw))


def _zones(base: Any) -> Iterator[tuple[str, Any]]:
    yield from _children(base, "Zone_t", [k for k in base if k.startswith("Zone")])


def _times(base: Any, raw: RawMesh) -> np.ndarray:
    n = max((len(f.values) for f in raw.fields), default=1)
    for _, node in _children(base, "BaseIterativeData_t"):
        if "TimeValues" in node and len(_data(node["TimeValues"])) == n:
            return _data(node["TimeValues"]).astype(float)
    return np.zeros(1) if n == 1 else np.arange(float(n))


def _globals(base: Any) -> dict[str, Scalar]:
    found = {}
    for name, node in _children(base, "DataArray_t"):
        values = _data(node)
        if values.size == 1 and values.dtype.kind in "fi":
            found[name] = Scalar(values.ravel().astype(float))
    return found


def _zone(zone: Any) -> RawMesh:
    size = _data(zone)
    structured = "ZoneType" in zone and _text(zone["ZoneType"]) == "Structured"
    points = _coordinates(zone)
    if structured:
        dims = [int(d) for d in size.reshape(-1, size.shape[-1])[0]]
        number, cells = lattice([*dims, 1, 1][:3])
        raw = raw_of_blocks(points, [(number, cells)])
    else:
        raw = _unstructured(zone, points)
    if len(points) != (
        int(np.prod(dims)) if structured else int(size[0, 0]) if size.ndim == 2 else len(points)
    ):
        raise InvalidMesh(
            f"expected {size.tolist()} (points, cells) in the zone, got {len(points)} points"
        )
    regions = dict(raw.regions) | _boundary_conditions(zone, len(points))
    return replace(raw, fields=tuple(_solutions(zone, raw)), regions=regions)


def _coordinates(zone: Any) -> np.ndarray:
    if "GridCoordinates" not in zone:
        raise InvalidMesh("expected GridCoordinates in the zone, got none")
    grid = zone["GridCoordinates"]
    axes = [f"Coordinate{axis}" for axis in "XYZ"]
    found = [_data(grid[a]).ravel() for a in axes if a in grid]
    if not found or len({len(a) for a in found}) != 1:
        raise InvalidMesh(f"expected CoordinateX, Y and Z of one length, got {sorted(grid)}")
    return np.column_stack(found + [np.zeros(len(found[0]))] * (3 - len(found)))


def _unstructured(zone: Any, points: np.ndarray) -> RawMesh:
    sections = []
    for name, node in _children(zone, "Elements_t", ["GridElements"]):
        kind = int(_data(node)[0]) if len(_data(node)) else 10
        if kind == _NFACE:
            raise InvalidMesh(
                "expected cells of fixed shapes, got polyhedra (NFACE_n); tetrahedralise them"
            )
        start = int(_data(node["ElementRange"])[0]) if len(_data(node["ElementRange"])) else 1
        sections.append((start, name, _section(node, kind)))
    sections.sort(key=lambda s: s[0])
    filled = [(name, raw) for _, name, raw in sections if raw.n_cells]
    if not filled:
        return raw_of_blocks(points, [])
    top = max(_dim(raw) for _, raw in filled)
    cells = [replace(raw, points=points) for _, raw in filled if _dim(raw) == top]
    regions = {name: np.unique(raw.connectivity) for name, raw in filled if _dim(raw) < top}
    offsets = np.cumsum([0] + [len(raw.connectivity) for raw in cells])
    return RawMesh(
        points,
        np.concatenate([raw.types for raw in cells]),
        np.concatenate(
            [[0], *(r.offsets[1:] + o for r, o in zip(cells, offsets[:-1], strict=True))]
        ),
        np.concatenate([raw.connectivity for raw in cells]),
        regions={n: ids[(ids >= 0) & (ids < len(points))] for n, ids in regions.items()},
    )


def _dim(raw: RawMesh) -> int:
    counts = np.diff(raw.offsets)
    kinds = {(int(t), int(c)) for t, c in zip(raw.types, counts, strict=True)}
    return max(cell_type_of_vtk(*kind).dim for kind in kinds)


def _section(node: Any, kind: int) -> RawMesh:
    empty = np.zeros((0, 3))
    flat = _data(node["ElementConnectivity"]).ravel().astype(np.int64)
    if kind == _MIXED:
        return _mixed(flat)
    if kind == _NGON:
        if "ElementStartOffset" not in node:
            raise InvalidMesh(
                "expected ElementStartOffset in NGON_n, got none; save it with CGNS 4"
            )
        offsets = _data(node["ElementStartOffset"]).ravel().astype(np.int64)
        types = np.full(len(offsets) - 1, POLYGON, np.uint8)
        return RawMesh(empty, types, offsets, flat - 1)
    if kind not in _ELEMENTS:
        raise InvalidMesh(f"expected element types of {sorted(_ELEMENTS)}, got {kind}")
    number, nodes = _ELEMENTS[kind]
    if len(flat) % nodes:
        raise InvalidMesh(f"expected {nodes} nodes per element, got {len(flat)} in all")
    block = flat.reshape(-1, nodes) - 1
    return raw_of_blocks(empty, [(number, block[:, TO_VTK.get(number, range(nodes))])])


def _mixed(flat: np.ndarray) -> RawMesh:
    types, offsets, nodes, place = [], [0], [], 0
    values = flat.tolist()
    while place < len(values):
        if values[place] not in _ELEMENTS:
            raise InvalidMesh(f"expected element types of {sorted(_ELEMENTS)}, got {values[place]}")
        number, n = _ELEMENTS[values[place]]
        own = values[place + 1 : place + 1 + n]
        if len(own) != n:
            raise InvalidMesh(f"expected {n} nodes in the last element, got {len(own)}")
        nodes += [own[i] - 1 for i in TO_VTK.get(number, range(n))]
        types.append(number)
        offsets.append(len(nodes))
        place += n + 1
    return RawMesh(
        np.zeros((0, 3)), np.array(types, np.uint8), np.array(offsets), np.array(nodes, np.int64)
    )


def _boundary_conditions(zone: Any, n: int) -> dict[str, np.ndarray]:
    found = {}
    for _, holder in _children(zone, "ZoneBC_t"):
        for name, node in _children(holder, "BC_t"):
            place = _text(node["GridLocation"]) if "GridLocation" in node else "Vertex"
            if place == "Vertex" and "PointList" in node:
                ids = _data(node["PointList"]).ravel().astype(np.int64) - 1
                found[name] = ids[(ids >= 0) & (ids < n)]
    return found


def _solutions(zone: Any, raw: RawMesh) -> Iterator[RawField]:
    """Fields of the zone's solutions; those that a list of pointers names are one series in
    time."""
    nodes = dict(_children(zone, "FlowSolution_t"))
    steps: list[list[str]] = []
    for _, iterative in _children(zone, "ZoneIterativeData_t"):
        for name in iterative:
            if name.startswith("FlowSolution") and name.endswith("Pointers"):
                steps.append(_pointers(iterative[name]))
    series = {name for names in steps for name in names}
    for names in steps or []:
        yield from _series([nodes[n] for n in names if n in nodes], raw)
    for name, node in nodes.items():
        if name not in series:
            yield from _series([node], raw)


def _pointers(node: Any) -> list[str]:
    text = _data(node).astype(np.uint8)
    return [bytes(row).decode("latin-1").strip("\0 ") for row in text.reshape(-1, 32)]


def _series(solutions: Sequence[Any], raw: RawMesh) -> Iterator[RawField]:
    if not solutions:
        return
    place = _text(solutions[0]["GridLocation"]) if "GridLocation" in solutions[0] else "Vertex"
    if place not in ("Vertex", "CellCenter"):
        return
    on: Location = "point" if place == "Vertex" else "cell"
    n = len(raw.points) if on == "point" else raw.n_cells
    for name, first in _children(solutions[0], "DataArray_t"):
        arrays = [_data(s[name]).ravel() for s in solutions if name in s]
        if any(a.size != n or a.dtype.kind not in "fiu" for a in arrays):
            raise InvalidMesh(
                f"field {name!r}: expected {n} values (one per {on}), got {_data(first).size}"
            )
        if len(arrays) == len(solutions):
            yield RawField(name, np.stack(arrays)[:, :, None], on)


@dataclass(frozen=True)
class _Tree:
    """Writes CGNS nodes into an HDF5 file."""

    group: Any

    def add(self, name: str, label: str, data: np.ndarray | str | None = None) -> _Tree:
        """A child node; one of that name is replaced."""
        if name in self.group:
            del self.group[name]
        child = self.group.create_group(name, track_order=True)
        values = np.frombuffer(data.encode(), np.int8) if isinstance(data, str) else data
        code = (
            "C1"
            if isinstance(data, str)
            else _CODES[values.dtype.str[1:]]
            if values is not None
            else "MT"
        )
        _attributes(child, name, label, code)
        if values is not None:
            child.create_dataset(" data", data=values)
        return _Tree(child)


_CODES = {"i4": "I4", "i8": "I8", "f4": "R4", "f8": "R8"}


def _attributes(node: Any, name: str, label: str, code: str) -> None:
    """CGNS wants strings that end with a zero, which h5py's own are not."""
    import h5py

    for key, text, size in (("name", name, 33), ("label", label, 33), ("type", code, 3)):
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(size)
        kind.set_strpad(h5py.h5t.STR_NULLTERM)
        space = h5py.h5s.create(h5py.h5s.SCALAR)
        attribute = h5py.h5a.create(node.id, key.encode(), kind, space)
        attribute.write(np.array(text.encode()[: size - 1], dtype=f"S{size}"))
    node.attrs["flags"] = np.array([0], dtype=np.int32)


def encode(raw: RawMesh, name: str, source: Path | None) -> dict[str, bytes]:
    """A copy of `source` with the fields as solutions of their zones; without one, a new file of
    one zone."""
    import h5py

    buffer = io.BytesIO(source.read_bytes() if source else b"")
    with h5py.File(buffer, "r+" if source else "w", track_order=True) as file:
        if source is None:
            _new_file(file, raw)
        bases = [b for _, b in _children(file, "CGNSBase_t", ["Base"]) if any(_zones(b))]
        base = max(bases, key=lambda b: int(_data(b)[0]) if len(_data(b)) else 0)
        point = cell = 0
        for _, zone in _zones(base):
            own = _zone(zone) if source else raw
            spans = {
                "point": slice(point, point + len(own.points)),
                "cell": slice(cell, cell + own.n_cells),
            }
            _add_solutions(_Tree(zone), raw, spans)
            point, cell = spans["point"].stop, spans["cell"].stop
        for key, s in raw.scalars.items():
            if source is None or key not in base:
                _Tree(base).add(key[:32], "DataArray_t", s.value[:1].astype(np.float64))
        _add_times(_Tree(base), raw.times, source is None)
    return {name: buffer.getvalue()}


def _add_times(base: _Tree, times: np.ndarray, new: bool) -> None:
    if len(times) > 1 or new:
        node = base.add("Time", "BaseIterativeData_t", np.array([len(times)], np.int32))
        node.add("TimeValues", "DataArray_t", times.astype(np.float64))


def _add_solutions(zone: _Tree, raw: RawMesh, spans: dict[str, slice]) -> None:
    n = len(raw.times)
    iterative = zone.add("FieldcastTimes", "ZoneIterativeData_t") if n > 1 else None
    for on, location in (("point", "Vertex"), ("cell", "CellCenter")):
        fields = [f for f in raw.fields if f.on == on]
        if not fields:
            continue
        names = [f"{SOLUTION}{location}{f'{i:05d}' if n > 1 else ''}" for i in range(n)]
        for i, name in enumerate(names):
            node = _solution(zone, name, location, n == 1)
            for f in fields:
                values = f.values[min(i, len(f.values) - 1), spans[on]]
                for label, column in _columns(f.name, values):
                    node.add(label, "DataArray_t", column)
        if iterative is not None:
            text = b"".join(name.encode().ljust(32) for name in names)
            iterative.add(f"FlowSolution{location}Pointers", "DataArray_t", text.decode())


def _solution(zone: _Tree, name: str, location: str, steady: bool) -> _Tree:
    """A new solution; of a steady case the one that the zone has at this place, for most readers
    look into one only."""
    for _, node in _children(zone.group, "FlowSolution_t") if steady else ():
        if (_text(node["GridLocation"]) if "GridLocation" in node else "Vertex") == location:
            return _Tree(node)
    node = zone.add(name, "FlowSolution_t")
    node.add("GridLocation", "GridLocation_t", location)
    return node


def _columns(name: str, values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """CGNS holds vectors as one array per component, X, Y and Z behind their name."""
    width = values.shape[1]
    labels = (
        [""]
        if width == 1
        else list("XYZ")[:width]
        if width <= 3
        else [f"_{i}" for i in range(width)]
    )
    kind = np.float32 if values.dtype == np.float32 else np.float64
    for i, label in enumerate(labels):
        yield f"{name[: 32 - len(label)]}{label}", np.ascontiguousarray(values[:, i], kind)


def _new_file(file: Any, raw: RawMesh) -> None:
    _attributes(file, "HDF5 MotherNode", "Root Node of HDF5 File", "MT")
    file.create_dataset(" format", data=np.frombuffer(b"IEEE_LITTLE_32\0", np.int8))
    version = b"HDF5 Version 1.10.0".ljust(33, b"\0")
    file.create_dataset(" hdf5version", data=np.frombuffer(version, np.int8))
    root = _Tree(file)
    root.add("CGNSLibraryVersion", "CGNSLibraryVersion_t", np.array([4.0], np.float32))
    dim = _dim(raw) if raw.n_cells else 0
    base = root.add("Base", "CGNSBase_t", np.array([max(dim, 1), 3], np.int32))
    size = np.array([[len(raw.points)], [raw.n_cells], [0]], np.int64)
    zone = base.add("Zone", "Zone_t", size)
    zone.add("ZoneType", "ZoneType_t", "Unstructured")
    grid = zone.add("GridCoordinates", "GridCoordinates_t")
    points = np.pad(raw.points, ((0, 0), (0, 3 - raw.points.shape[1])))
    for axis, column in zip("XYZ", points.T, strict=True):
        grid.add(f"Coordinate{axis}", "DataArray_t", np.ascontiguousarray(column, np.float64))
    if raw.n_cells:
        _new_elements(zone, raw)


def _new_elements(zone: _Tree, raw: RawMesh) -> None:
    counts = np.diff(raw.offsets)
    polygons = bool((raw.types == POLYGON).any())
    kinds = np.unique(raw.types)
    if not polygons and not set(kinds.tolist()) <= set(_NUMBERS):
        raise InvalidMesh(
            f"expected cells that CGNS has, got VTK types {kinds.tolist()}; written as VTU"
        )
    kind = _NGON if polygons else _MIXED if len(kinds) > 1 else _NUMBERS[int(kinds[0])]
    node = zone.add("Elements", "Elements_t", np.array([kind, 0], np.int32))
    node.add("ElementRange", "IndexRange_t", np.array([1, raw.n_cells], np.int64))
    flat, offsets = [], [0]
    for i, number in enumerate(raw.types.tolist()):
        nodes = raw.connectivity[raw.offsets[i] : raw.offsets[i + 1]] + 1
        back = np.argsort(TO_VTK[number]) if number in TO_VTK else slice(None)
        head = [_NUMBERS[number]] if kind == _MIXED else []
        flat += [*head, *nodes[back].tolist()]
        offsets.append(offsets[-1] + int(counts[i]) + len(head))
    node.add("ElementConnectivity", "DataArray_t", np.array(flat, np.int64))
    if kind in (_MIXED, _NGON):
        node.add("ElementStartOffset", "DataArray_t", np.array(offsets, np.int64))
