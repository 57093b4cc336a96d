"""XDMF with its heavy data in HDF5, in binary files or inline; steady or in time on one mesh.
Nothing outside its folder is opened."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from .hdf5 import opened
from .raw import (
    LINE,
    POLY_LINE,
    POLY_VERTEX,
    POLYGON,
    VERTEX,
    RawField,
    RawMesh,
    lattice,
    raw_of_blocks,
)
from .sample import Scalar
from .validation import InvalidMesh
from .vtkxml import grid_points, linked, stacked

# XDMF's name and number: (VTK number, nodes); 0 nodes are told by the file.
_TOPOLOGIES = {
    "polyvertex": (1, VERTEX, 1),
    "polyline": (2, POLY_LINE, 0),
    "polygon": (3, POLYGON, 0),
    "triangle": (4, 5, 3),
    "quadrilateral": (5, 9, 4),
    "tetrahedron": (6, 10, 4),
    "pyramid": (7, 14, 5),
    "wedge": (8, 13, 6),
    "hexahedron": (9, 12, 8),
    "edge_3": (34, 21, 3),
    "quadrilateral_9": (35, 28, 9),
    "triangle_6": (36, 22, 6),
    "quadrilateral_8": (37, 23, 8),
    "tetrahedron_10": (38, 24, 10),
    "pyramid_13": (39, 27, 13),
    "wedge_15": (40, 26, 15),
    "wedge_18": (41, 32, 18),
    "hexahedron_20": (48, 25, 20),
    "hexahedron_27": (50, 29, 27),
}
_ALIASES = {
    "edge_2": "polyline",
    "tri_6": "triangle_6",
    "tet_10": "tetrahedron_10",
    "hex_20": "hexahedron_20",
}
_ALIASES |= {
    "quad_8": "quadrilateral_8",
    "quad_9": "quadrilateral_9",
    "hex_27": "hexahedron_27",
    "tet_4": "tetrahedron",
}
_BY_NUMBER = {number: (vtk, nodes) for number, vtk, nodes in _TOPOLOGIES.values()}
_BY_VTK = {vtk: (name, number) for name, (number, vtk, _) in _TOPOLOGIES.items()}
_LISTED = {POLY_VERTEX, POLY_LINE, POLYGON, VERTEX, LINE}
_KINDS = {"float": "f", "int": "i", "uint": "u", "char": "i", "uchar": "u"}
_UNIT = "Unit"
_WIDTHS = {"scalar": 1, "vector": 3, "tensor": 9, "tensor6": 6}


def decode(path: Path) -> RawMesh:
    """The first grid of an XDMF file, or its series in time.

    Raises:
        InvalidMesh: what is wrong with it.
    """
    data = path.read_bytes()
    if b"<!ENTITY" in data:
        raise InvalidMesh("expected plain XML, got entities; remove them")
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise InvalidMesh(f"expected whole XML, got {error}; the file is truncated") from None
    grids = root.findall("Domain/Grid")
    if not grids:
        raise InvalidMesh("expected a <Domain> with a <Grid>, got none")
    series = [g for g in grids if (g.get("CollectionType") or "").lower() == "temporal"]
    with ExitStack() as stack:
        return _Xdmf(path, root, stack).read((series or grids)[0])


class _Xdmf:
    """One file and the HDF5 files that it has opened."""

    def __init__(self, path: Path, root: ElementTree.Element, stack: ExitStack) -> None:
        self._path = path
        self._root = root
        self._stack = stack
        self._files: dict[Path, Any] = {}
        self._known: dict[bytes, RawMesh] = {}

    def read(self, grid: ElementTree.Element) -> RawMesh:
        """A uniform grid, or a collection of them in time."""
        kind = grid.get("GridType", "Uniform").lower()
        if kind == "uniform":
            return replace(self._uniform(grid), times=np.array([_time(grid, 0.0)]))
        if kind != "collection" or grid.get("CollectionType", "Spatial").lower() != "temporal":
            raise InvalidMesh(f"expected a uniform grid or a temporal collection, got {kind}")
        steps = grid.findall("Grid")
        if not steps:
            raise InvalidMesh("expected at least one grid in the collection, got none")
        times = [_time(step, float(i)) for i, step in enumerate(steps)]
        return stacked([self._uniform(step) for step in steps], np.array(times))

    def _uniform(self, grid: ElementTree.Element) -> RawMesh:
        """A grid on its own mesh, or on the first of the file that is whole (included, as meshio
        and FEniCS write series)."""
        own = _mesh_in(grid)
        both = own or next((m for g in self._root.iter("Grid") if (m := _mesh_in(g))), None)
        if both is None:
            raise InvalidMesh("expected <Topology> and <Geometry>, got not both")
        key = b"".join(ElementTree.tostring(element) for element in both)
        if key not in self._known:
            topology, geometry = both
            self._known[key] = self._cells(topology, self._points(geometry, topology))
        raw = self._known[key]
        return replace(
            raw, fields=tuple(self._fields(grid, raw)), scalars=dict(self._scalars(grid))
        )

    def _scalars(self, grid: ElementTree.Element) -> Iterator[tuple[str, Scalar]]:
        for attribute in grid.findall("Attribute"):
            item = attribute.find("DataItem")
            if (attribute.get("Center") or "").lower() == "grid" and item is not None:
                values = self._item(item).ravel()
                if values.size == 1:
                    yield attribute.get("Name", ""), Scalar(values.astype(float), _unit(attribute))

    def _points(self, geometry: ElementTree.Element, topology: ElementTree.Element) -> np.ndarray:
        kind = (geometry.get("GeometryType") or geometry.get("Type") or "XYZ").upper()
        items = [self._item(item) for item in geometry.findall("DataItem")]
        if kind in ("XYZ", "XY") and items:
            width = len(kind)
            if items[0].size % width:
                raise InvalidMesh(f"expected {width} coordinates per point, got {items[0].size}")
            points = items[0].reshape(-1, width)
            return np.pad(points, ((0, 0), (0, 3 - width)))
        if kind in ("X_Y_Z", "X_Y") and len({len(i.ravel()) for i in items}) == 1:
            found = np.column_stack([i.ravel() for i in items])
            return np.pad(found, ((0, 0), (0, 3 - found.shape[1])))
        if kind == "VXVYVZ" and len(items) == 3:
            return grid_points([i.ravel() for i in items])
        if kind.startswith("ORIGIN") and len(items) == 2:
            dims = self._dims(topology)
            origin, spacing = items[0].ravel()[::-1], items[1].ravel()[::-1]
            axes = [o + s * np.arange(d) for o, s, d in zip(origin, spacing, dims, strict=False)]
            return grid_points([*axes, np.zeros(1)][:3])
        raise InvalidMesh(
            f"expected points as XYZ, XY, X_Y_Z or a lattice, got {kind} of {len(items)} arrays"
        )

    def _dims(self, topology: ElementTree.Element) -> list[int]:
        text = topology.get("Dimensions") or topology.get("NumberOfElements") or ""
        return [int(w) for w in text.split()][::-1]

    def _cells(self, topology: ElementTree.Element, points: np.ndarray) -> RawMesh:
        name = (topology.get("TopologyType") or topology.get("Type") or "").lower()
        name = _ALIASES.get(name, name)
        if name.endswith("mesh"):
            number, cells = lattice(self._dims(topology))
            return raw_of_blocks(points, [(number, cells)])
        item = topology.find("DataItem")
        if item is None:
            raise InvalidMesh("expected connectivity in <Topology>, got none")
        flat = self._item(item).ravel().astype(np.int64)
        if name == "mixed":
            return _mixed(points, flat)
        if name not in _TOPOLOGIES:
            raise InvalidMesh(
                f"expected a topology of {sorted(_TOPOLOGIES)} or mixed, got {name!r}"
            )
        _, vtk, nodes = _TOPOLOGIES[name]
        nodes = nodes or int(topology.get("NodesPerElement", "2"))
        vtk = LINE if vtk == POLY_LINE and nodes == 2 else vtk
        declared = topology.get("NumberOfElements")
        if len(flat) % nodes or (declared and len(flat) != int(declared) * nodes):
            raise InvalidMesh(
                f"expected {declared} cells of {nodes} nodes, got {len(flat)} numbers"
            )
        return raw_of_blocks(points, [(vtk, flat.reshape(-1, nodes))])

    def _fields(self, grid: ElementTree.Element, raw: RawMesh) -> Iterator[RawField]:
        counts = {"node": ("point", len(raw.points)), "cell": ("cell", raw.n_cells)}
        for attribute in grid.findall("Attribute"):
            center = (attribute.get("Center") or "Node").lower()
            item = attribute.find("DataItem")
            if center not in counts or item is None:
                continue
            on, n = counts[center]
            values = self._item(item)
            name = attribute.get("Name", "")
            if n == 0 or values.size % n or values.size == 0:
                raise InvalidMesh(
                    f"field {name!r}: expected {n} values (one per {on}), got {values.shape}"
                )
            width = values.size // n
            kind = (attribute.get("AttributeType") or attribute.get("Type") or "").lower()
            if kind in _WIDTHS and width not in (_WIDTHS[kind], 2):
                raise InvalidMesh(
                    f"field {name!r}: expected {_WIDTHS[kind] * n} values ({kind}), got "
                    f"{values.size}"
                )
            yield RawField(name, values.reshape(1, n, width), on, _unit(attribute))  # type: ignore[arg-type]

    def _item(self, item: ElementTree.Element) -> np.ndarray:
        if item.get("Reference"):
            found = self._root.find("." + (item.text or "").strip().removeprefix("/Xdmf"))
            if found is None or found.get("Reference"):
                raise InvalidMesh(f"expected the array at {item.text!r}, got none")
            item = found
        if item.get("ItemType", "Uniform").lower() != "uniform":
            raise InvalidMesh(f"expected uniform data items, got {item.get('ItemType')}")
        dims = [int(w) for w in (item.get("Dimensions") or "").split()]
        form = item.get("Format", "XML").upper()
        text = (item.text or "").strip()
        if form == "HDF":
            values = self._hdf(text)
        elif form == "XML":
            values = self._inline(text, item)
        else:
            values = self._binary(text, item)
        if values.size != int(np.prod(dims)):
            raise InvalidMesh(f"expected {dims} values in {text[:60]!r}, got {values.shape}")
        return values.reshape(dims)

    def _dtype(self, item: ElementTree.Element) -> np.dtype:
        kind = (item.get("NumberType") or item.get("DataType") or "Float").lower()
        size = int(item.get("Precision", "1" if "char" in kind else "4"))
        if kind not in _KINDS or size not in (1, 2, 4, 8):
            raise InvalidMesh(
                f"expected a number type of {sorted(_KINDS)}, got {kind!r} of {size} bytes"
            )
        order = ">" if item.get("Endian", "").lower() == "big" else "<"
        return np.dtype(f"{order}{_KINDS[kind]}{size}")

    def _inline(self, text: str, item: ElementTree.Element) -> np.ndarray:
        try:
            return np.array(text.split()).astype(self._dtype(item).newbyteorder("="))
        except (ValueError, OverflowError) as error:
            raise InvalidMesh(f"expected numbers, got {error}") from None

    def _binary(self, text: str, item: ElementTree.Element) -> np.ndarray:
        data = linked(self._path, text).read_bytes()[int(item.get("Seek", "0")) :]
        dtype = self._dtype(item)
        n = int(np.prod([int(w) for w in (item.get("Dimensions") or "").split()]))
        if len(data) < n * dtype.itemsize:
            raise InvalidMesh(f"expected {n * dtype.itemsize} bytes in {text!r}, got {len(data)}")
        return np.frombuffer(data, dtype, n).astype(dtype.newbyteorder("="))

    def _hdf(self, text: str) -> np.ndarray:
        name, _, inner = text.rpartition(":")
        path = linked(self._path, name)
        if path not in self._files:
            self._files[path] = self._stack.enter_context(opened(path))
        if inner not in self._files[path]:
            raise InvalidMesh(f"expected {inner!r} in {name!r}, got none")
        return np.asarray(self._files[path][inner][()])


def _time(grid: ElementTree.Element, fallback: float) -> float:
    time = grid.find("Time")
    return fallback if time is None else float(time.get("Value", fallback))


def _mesh_in(
    grid: ElementTree.Element,
) -> tuple[ElementTree.Element, ElementTree.Element] | None:
    topology, geometry = grid.find("Topology"), grid.find("Geometry")
    return None if topology is None or geometry is None else (topology, geometry)


def _unit(attribute: ElementTree.Element) -> str:
    found = (i.get("Value", "") for i in attribute.findall("Information") if i.get("Name") == _UNIT)
    return next(found, "")


def _mixed(points: np.ndarray, flat: np.ndarray) -> RawMesh:
    values, place = flat.tolist(), 0
    types, offsets, nodes = [], [0], []
    while place < len(values):
        if values[place] not in _BY_NUMBER:
            raise InvalidMesh(
                f"expected XDMF cell numbers of {sorted(_BY_NUMBER)}, got {values[place]}"
            )
        vtk, n = _BY_NUMBER[values[place]]
        place += 1
        if vtk in _LISTED:
            n = values[place] if place < len(values) else -1
            place += 1
            vtk = LINE if vtk == POLY_LINE and n == 2 else vtk
        own = values[place : place + n]
        if n < 1 or len(own) != n:
            raise InvalidMesh(
                f"expected {n} nodes in the last cell, got {len(own)}; the topology is truncated"
            )
        place += n
        types.append(vtk)
        nodes += own
        offsets.append(len(nodes))
    return RawMesh(points, np.array(types, np.uint8), np.array(offsets), np.array(nodes, np.int64))


def encode(raw: RawMesh, name: str, source: Path | None = None) -> dict[str, bytes]:
    """An XDMF file with its heavy data in an HDF5 file beside it; a temporal collection where
    there are several times."""
    import h5py

    side = f"{Path(name).stem}.h5"
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        light = _Light(file, side)
        domain = light.domain(raw)
    head = b'<?xml version="1.0"?>\n'
    return {side: buffer.getvalue(), name: head + ElementTree.tostring(domain)}


class _Light:
    """Builds the XML and puts the arrays aside."""

    def __init__(self, file: Any, side: str) -> None:
        self._file = file
        self._side = side

    def domain(self, raw: RawMesh) -> ElementTree.Element:
        """The whole tree."""
        root = ElementTree.Element("Xdmf", Version="3.0")
        grids = ElementTree.SubElement(root, "Domain")
        n = len(raw.times)
        if n > 1:
            grids = ElementTree.SubElement(
                grids, "Grid", Name="series", GridType="Collection", CollectionType="Temporal"
            )
        mesh = self._mesh(raw)
        for i, time in enumerate(raw.times):
            grid = ElementTree.SubElement(grids, "Grid", Name="mesh", GridType="Uniform")
            if n > 1 or time:
                ElementTree.SubElement(grid, "Time", Value=repr(float(time)))
            grid.extend(mesh)
            for key, scalar in raw.scalars.items():
                self._scalar(grid, key, scalar, i)
            for j, f in enumerate(raw.fields):
                now = min(i, len(f.values) - 1)
                self._attribute(grid, f, f"field{j}_{now}", f.values[now])
        return root

    def _item(self, parent: ElementTree.Element, key: str, values: np.ndarray) -> None:
        if key not in self._file:
            self._file.create_dataset(key, data=values)
        kind = {"f": "Float", "i": "Int", "u": "UInt"}[values.dtype.kind]
        item = ElementTree.SubElement(
            parent,
            "DataItem",
            NumberType=kind,
            Precision=str(values.dtype.itemsize),
            Dimensions=" ".join(str(d) for d in values.shape),
            Format="HDF",
        )
        item.text = f"{self._side}:/{key}"

    def _mesh(self, raw: RawMesh) -> Sequence[ElementTree.Element]:
        geometry = ElementTree.Element("Geometry", GeometryType="XYZ")
        points = np.pad(raw.points, ((0, 0), (0, 3 - raw.points.shape[1])))
        self._item(geometry, "points", points)
        kinds = np.unique(raw.types)
        if len(kinds) == 1 and int(kinds[0]) in _BY_VTK and int(kinds[0]) not in _LISTED:
            name = _BY_VTK[int(kinds[0])][0]
            topology = ElementTree.Element("Topology", TopologyType=name.capitalize())
            cells = raw.connectivity.reshape(raw.n_cells, -1)
        else:
            topology = ElementTree.Element("Topology", TopologyType="Mixed")
            cells = _stream(raw)
        topology.set("NumberOfElements", str(raw.n_cells))
        self._item(topology, "cells", cells)
        return geometry, topology

    def _scalar(self, grid: ElementTree.Element, name: str, scalar: Scalar, time: int) -> None:
        attribute = ElementTree.SubElement(
            grid, "Attribute", Name=name, AttributeType="Scalar", Center="Grid"
        )
        item = ElementTree.SubElement(
            attribute, "DataItem", NumberType="Float", Precision="8", Dimensions="1", Format="XML"
        )
        item.text = repr(float(scalar.value[min(time, len(scalar.value) - 1)]))
        _add_unit(attribute, scalar.unit)

    def _attribute(
        self, grid: ElementTree.Element, f: RawField, key: str, values: np.ndarray
    ) -> None:
        kind = {1: "Scalar", 3: "Vector", 6: "Tensor6", 9: "Tensor"}.get(values.shape[1], "Matrix")
        attribute = ElementTree.SubElement(
            grid,
            "Attribute",
            Name=f.name,
            AttributeType=kind,
            Center="Node" if f.on == "point" else "Cell",
        )
        self._item(attribute, key, values[:, 0] if values.shape[1] == 1 else values)
        _add_unit(attribute, f.unit)


def _add_unit(attribute: ElementTree.Element, unit: str) -> None:
    if unit:
        ElementTree.SubElement(attribute, "Information", Name=_UNIT, Value=unit)


def _stream(raw: RawMesh) -> np.ndarray:
    found: list[int] = []
    names = {**{vtk: number for vtk, (_, number) in _BY_VTK.items()}, LINE: 2, VERTEX: 1}
    for i, number in enumerate(raw.types.tolist()):
        nodes = raw.connectivity[raw.offsets[i] : raw.offsets[i + 1]].tolist()
        if number not in names:
            raise InvalidMesh(
                f"expected cells that XDMF has, got VTK type {number}; written as VTU"
            )
        found += [names[number], *([len(nodes)] if number in _LISTED else []), *nodes]
    return np.array(found, np.int64)
