"""VTK's XML files, written with numpy alone: VTU, VTP, and the PVD that lists one VTU per time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from .raw import (
    LINE,
    POLY_LINE,
    POLY_VERTEX,
    POLYGON,
    STRIP,
    VERTEX,
    RawField,
    RawMesh,
)
from .sample import Scalar
from .vtkxml import DTYPES

_NAMES = {np.dtype(code): name for name, code in DTYPES.items()}


def encode(raw: RawMesh, poly: bool = False) -> bytes:
    """A VTU (or, of surfaces and lines, VTP) with appended raw data; of the first time."""
    return b"".join(_Writer().document(raw, poly))


def encode_vtu(raw: RawMesh, name: str, source: Path | None = None) -> dict[str, bytes]:
    """A VTU; of several times a PVD that lists one VTU each."""
    return {name: encode(raw)}


def encode_vtp(raw: RawMesh, name: str, source: Path | None = None) -> dict[str, bytes]:
    """A VTP."""
    return {name: encode(raw, poly=True)}


def encode_pvd(raw: RawMesh, name: str, source: Path | None = None) -> dict[str, bytes]:
    """A series in time: one VTU per time, and the PVD that lists them."""
    stem, files, lines = Path(name).stem, {}, []
    for i, time in enumerate(raw.times):
        part = f"{stem}_{i:05d}.vtu"
        files[part] = encode(at_time(raw, i))
        lines.append(f'<DataSet timestep="{float(time)!r}" part="0" file={quoteattr(part)}/>')
    head = '<?xml version="1.0"?>\n'
    head += '<VTKFile type="Collection" version="0.1" byte_order="LittleEndian">\n'
    files[name] = "\n".join(
        [f"{head}<Collection>", *lines, "</Collection>", "</VTKFile>\n"]
    ).encode()
    return files


def at_time(raw: RawMesh, i: int) -> RawMesh:
    """The raw mesh at one of its times."""
    fields = tuple(
        replace(f, values=f.values[i : i + 1] if len(f.values) > 1 else f.values)
        for f in raw.fields
    )
    scalars = {
        name: Scalar(s.value[i : i + 1] if len(s.value) > 1 else s.value, s.unit)
        for name, s in raw.scalars.items()
    }
    return replace(raw, fields=fields, scalars=scalars, times=raw.times[i : i + 1])


class _Writer:
    """Collects arrays behind one another and writes the elements that point at them."""

    def __init__(self) -> None:
        self._chunks: list[bytes | memoryview] = []
        self._offset = 0

    def document(self, raw: RawMesh, poly: bool) -> Iterator[bytes | memoryview]:
        """The file, piece by piece."""
        kind = "PolyData" if poly else "UnstructuredGrid"
        cells, order = self._polys(raw) if poly else (self._cells(raw), None)
        counts = f'NumberOfPoints="{len(raw.points)}"'
        counts += cells[0] if poly else f' NumberOfCells="{raw.n_cells}"'
        head = [
            '<?xml version="1.0"?>',
            f'<VTKFile type="{kind}" version="1.0" byte_order="LittleEndian" header_type="UInt64">',
            f"<{kind}>",
            *self._globals(raw),
            f"<Piece {counts}>",
            *self._data("PointData", [f for f in raw.fields if f.on == "point"], None),
            *self._data("CellData", [f for f in raw.fields if f.on == "cell"], order),
            "<Points>",
            self._array("Points", np.pad(raw.points, ((0, 0), (0, 3 - raw.points.shape[1])))),
            "</Points>",
            *(cells[1:] if poly else cells),
            "</Piece>",
            f"</{kind}>",
            '<AppendedData encoding="raw">\n_',
        ]
        yield "\n".join(head).encode()
        yield from self._chunks
        yield b"\n</AppendedData>\n</VTKFile>\n"

    def _array(self, name: str, values: np.ndarray, unit: str = "", extra: str = "") -> str:
        values = np.ascontiguousarray(values)
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
        if values.dtype.newbyteorder("=") not in _NAMES:
            values = values.astype("<f8")
        kind = _NAMES[values.dtype.newbyteorder("=")]
        width = values.shape[1] if values.ndim == 2 else 1
        offset = self._offset
        self._chunks += [np.uint64(values.nbytes).astype("<u8").tobytes(), values.data.cast("B")]
        self._offset += 8 + values.nbytes
        label = (
            f'<DataArray type="{kind}" Name={quoteattr(name)} NumberOfComponents="{width}"{extra}'
        )
        body = f' format="appended" offset="{offset}"'
        if not unit:
            return f"{label}{body}/>"
        opening = '<InformationKey name="UNITS_LABEL" location="vtkDataArray">'
        key = f"{opening}{escape(unit)}</InformationKey>"
        return f"{label}{body}>{key}</DataArray>"

    def _globals(self, raw: RawMesh) -> list[str]:
        found = [
            self._array(name, s.value[:1].astype(float), s.unit, ' NumberOfTuples="1"')
            for name, s in raw.scalars.items()
        ]
        if raw.times.any():
            found.append(self._array("TimeValue", raw.times[:1], "", ' NumberOfTuples="1"'))
        return ["<FieldData>", *found, "</FieldData>"] if found else []

    def _data(self, tag: str, fields: Sequence[RawField], order: np.ndarray | None) -> list[str]:
        lines = [
            self._array(f.name, f.values[0] if order is None else f.values[0][order], f.unit)
            for f in fields
        ]
        return [f"<{tag}>", *lines, f"</{tag}>"]

    def _cells(self, raw: RawMesh) -> list[str]:
        return [
            "<Cells>",
            self._array("connectivity", raw.connectivity.astype(np.int64, copy=False)),
            self._array("offsets", raw.offsets[1:].astype(np.int64, copy=False)),
            self._array("types", raw.types.astype(np.uint8, copy=False)),
            "</Cells>",
        ]

    def _polys(self, raw: RawMesh) -> tuple[list[str], np.ndarray]:
        """([counts, sections...], order of cells): VTP keeps vertices, lines, strips and polygons
        apart."""
        sections = {
            "Verts": (VERTEX, POLY_VERTEX),
            "Lines": (LINE, POLY_LINE),
            "Strips": (STRIP,),
            "Polys": (5, POLYGON, 9),
        }
        lengths, counts, lines, order = np.diff(raw.offsets), "", [], []
        for name, numbers in sections.items():
            ids = np.flatnonzero(np.isin(raw.types, numbers))
            order.append(ids)
            counts += f' NumberOf{name}="{len(ids)}"'
            mask = np.repeat(np.isin(raw.types, numbers), lengths)
            ends = np.cumsum(lengths[ids])
            lines += [
                f"<{name}>",
                self._array("connectivity", raw.connectivity[mask].astype(np.int64)),
                self._array("offsets", ends.astype(np.int64)),
                f"</{name}>",
            ]
        return [counts, *lines], np.concatenate(order)
