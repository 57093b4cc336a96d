"""VTK's XML files, read with numpy alone: VTU, VTP, VTI, VTS, VTR; and the files that list others:
VTM, PVD, PVTU.

Every array is checked against the number of values that the file declares, before anything of that
size is allocated.
"""

from __future__ import annotations

import lzma
import zlib
from binascii import a2b_base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

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
    lattice,
    merged,
    raw_of_blocks,
    unchanging,
)
from .sample import Scalar
from .validation import InvalidMesh

DTYPES = {
    **{f"Int{8 * n}": f"i{n}" for n in (1, 2, 4, 8)},
    **{f"UInt{8 * n}": f"u{n}" for n in (1, 2, 4, 8)},
    "Float32": "f4",
    "Float64": "f8",
}
_UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "vtkZLibDataCompressor": zlib.decompress,
    "vtkLZMADataCompressor": lzma.decompress,
}
# A packed block may not grow by more than this, whatever the file declares.
_LARGEST_GROWTH = 2000
_LINK_DEPTH = 4


class UnsupportedEncoding(ValueError):
    """A rare way of writing arrays that is left to VTK's own reader."""


@dataclass(frozen=True)
class _Document:
    """A parsed file: its elements and how its arrays are encoded."""

    root: ElementTree.Element
    order: Literal["<", ">"]
    header: np.dtype
    compressor: str
    appended: bytes
    appended_encoding: str

    @property
    def body(self) -> ElementTree.Element:
        """The element that holds the pieces."""
        found = self.root.find(self.root.get("type", ""))
        if found is None:
            raise InvalidMesh(
                f"expected an element <{self.root.get('type')}> in the file, got none"
            )
        return found

    def array(self, element: ElementTree.Element, tuples: int | None = None) -> np.ndarray:
        """Values of shape (tuple, component); `tuples`: how many the mesh needs.

        Raises:
            InvalidMesh: fewer or more values than that, or data that ends early.
        """
        name = element.get("Name", "Points")
        kind = element.get("type", "")
        if kind not in DTYPES:
            raise UnsupportedEncoding(f"array {name!r}: type {kind!r}")
        dtype = np.dtype(DTYPES[kind]).newbyteorder(self.order)
        width = _whole(element.get("NumberOfComponents", "1"), "NumberOfComponents")
        declared = element.get("NumberOfTuples")
        if tuples is None and declared is not None:
            tuples = _whole(declared, "NumberOfTuples")
        values = self._values(element, dtype, name)
        if values.size % max(width, 1) or (tuples is not None and values.size != tuples * width):
            wanted = "whole rows" if tuples is None else f"{tuples * width} values"
            raise InvalidMesh(
                f"array {name!r}: expected {wanted} ({width} per entity), got {values.size}; "
                "the file is truncated or its counts are wrong"
            )
        return values.reshape(-1, max(width, 1))

    def _values(self, element: ElementTree.Element, dtype: np.dtype, name: str) -> np.ndarray:
        form = element.get("format", "ascii").lower()
        if form == "ascii":
            return _numbers(element.text or "", dtype, name)
        if form == "binary":
            text = "".join((element.text or "").split()).encode()
            data = self._unpacked(*_split_base64(text, self._header_size, self._body_size), name)
        elif form == "appended":
            start = _whole(element.get("offset", "0"), "offset")
            data = self._appended(start, name)
        else:
            raise UnsupportedEncoding(f"array {name!r}: format {form!r}")
        if len(data) % dtype.itemsize:
            raise InvalidMesh(
                f"array {name!r}: expected whole numbers of {dtype.itemsize} bytes, got {len(data)}"
            )
        values = np.frombuffer(data, dtype)
        return values.astype(dtype.newbyteorder("="), copy=False)

    def _appended(self, start: int, name: str) -> bytes:
        if start >= len(self.appended):
            raise InvalidMesh(
                f"array {name!r}: expected data at byte {start} of the appended block, got "
                f"{len(self.appended)} bytes; "
                "the file is truncated"
            )
        if self.appended_encoding == "base64":
            text = self.appended[start:]
            return self._unpacked(*_split_base64(text, self._header_size, self._body_size), name)
        view = memoryview(self.appended)[start:]
        size = self._header_size(bytes(view[: self.header.itemsize]))
        header = bytes(view[:size])
        body = view[size : size + self._body_size(header)]
        return self._unpacked(header, body, name)

    def _header_size(self, beginning: bytes) -> int:
        if not self.compressor:
            return self.header.itemsize
        if len(beginning) < self.header.itemsize:
            raise InvalidMesh("expected the sizes of an array's blocks, got the end of the file")
        blocks = int(np.frombuffer(beginning[: self.header.itemsize], self.header)[0])
        return (3 + blocks) * self.header.itemsize

    def _body_size(self, header: bytes) -> int:
        size = self._header_size(header)
        if len(header) < size:
            raise InvalidMesh("expected the sizes of an array's blocks, got the end of the file")
        numbers = np.frombuffer(header[:size], self.header)
        return int(numbers[3:].sum()) if self.compressor else int(numbers[0])

    def _unpacked(self, header: bytes, body: bytes | memoryview, name: str) -> bytes:
        expected = self._body_size(header)
        if len(body) < expected:
            raise InvalidMesh(
                f"array {name!r}: expected {expected} bytes, got {len(body)}; the file is truncated"
            )
        if not self.compressor:
            return bytes(body[:expected])
        numbers = np.frombuffer(header, self.header).astype(np.int64)
        blocks, size, last = (int(n) for n in numbers[:3])
        total = blocks * size if last == 0 else (blocks - 1) * size + last
        if blocks and (total < 0 or total > _LARGEST_GROWTH * max(expected, 64)):
            raise InvalidMesh(f"array {name!r}: {expected} packed bytes claim to unpack to {total}")
        unpack, ends = self._unpacker(), np.cumsum(numbers[3:])
        try:
            parts = [unpack(bytes(body[e - n : e])) for e, n in zip(ends, numbers[3:], strict=True)]
        except (zlib.error, lzma.LZMAError) as error:
            raise InvalidMesh(f"array {name!r}: expected packed data, got {error}") from None
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if blocks and len(data) != total:
            raise InvalidMesh(f"array {name!r}: expected {total} bytes, got {len(data)}")
        return data

    def _unpacker(self) -> Callable[[bytes], bytes]:
        if self.compressor not in _UNPACK:
            raise UnsupportedEncoding(f"compressor {self.compressor!r}")
        return _UNPACK[self.compressor]


def _whole(text: str, what: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise InvalidMesh(f"expected a whole number as {what}, got {text!r}") from None
    if number < 0:
        raise InvalidMesh(f"expected {what} of 0 or more, got {number}")
    return number


def _numbers(text: str, dtype: np.dtype, name: str) -> np.ndarray:
    """Numbers written as text."""
    words = text.split()
    native = dtype.newbyteorder("=")
    try:
        if native.kind == "f":
            return np.array(words, dtype=np.float64).astype(native)
        return np.array(words, dtype=np.int64 if native.kind == "i" else np.uint64).astype(native)
    except (ValueError, OverflowError) as error:
        raise InvalidMesh(f"array {name!r}: expected numbers, got {error}") from None


def _split_base64(
    text: bytes, header_size: Callable[[bytes], int], body_size: Callable[[bytes], int]
) -> tuple[bytes, bytes]:
    """(header, body) of one array; the two are encoded separately or in one go."""
    size = header_size(_decoded(text[:24]))
    chars = -(-size // 3) * 4
    header = _decoded(text[:chars])
    if len(header) < size:
        raise InvalidMesh("expected the sizes of an array's blocks, got the end of the data")
    length = body_size(header[:size])
    if text[:chars].endswith(b"="):
        return header[:size], _decoded(text[chars : chars + -(-length // 3) * 4])
    whole = _decoded(text[: -(-(size + length) // 3) * 4 + 4])
    return whole[:size], whole[size:]


def _decoded(text: bytes) -> bytes:
    cut = text[: len(text) // 4 * 4]
    stop = cut.find(b"=")
    if stop >= 0:
        cut = cut[: -(-(stop + 1) // 4) * 4]
    try:
        return a2b_base64(cut)
    except ValueError as error:
        raise InvalidMesh(f"expected base64 data, got {error}") from None


def parsed(data: bytes) -> _Document:
    """The document in `data`.

    Raises:
        InvalidMesh: not whole XML, or one with a document type (which could name other files).
    """
    appended, encoding = b"", ""
    start = data.find(b"<AppendedData")
    if start >= 0:
        if b"</VTKFile>" not in data[-64:]:
            raise InvalidMesh("expected </VTKFile> at the end, got none; the file is truncated")
        begin = data.find(b">", start) + 1
        mark = data.find(b"_", begin, begin + 64)
        if mark < 0:
            raise InvalidMesh("expected '_' before the appended data, got none")
        encoding = "base64" if b"base64" in data[start:begin] else "raw"
        appended = data[mark + 1 : data.rfind(b"</AppendedData>")]
        data = data[:begin] + b"</AppendedData></VTKFile>"
    if b"<!DOCTYPE" in data[:4096] or b"<!ENTITY" in data:
        raise InvalidMesh("expected plain XML, got a document type; remove it")
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise InvalidMesh(
            f"expected whole XML, got {error}; the file is truncated or damaged"
        ) from None
    if root.tag != "VTKFile":
        raise InvalidMesh(f"expected <VTKFile>, got <{root.tag}>")
    order: Literal["<", ">"] = ">" if root.get("byte_order") == "BigEndian" else "<"
    header = np.dtype(DTYPES.get(root.get("header_type", "UInt32"), "u4")).newbyteorder(order)
    return _Document(root, order, header, root.get("compressor", ""), appended, encoding)


def decode(path: Path, depth: int = 0) -> RawMesh:
    """Any of VTK's XML files.

    Raises:
        InvalidMesh: what is wrong with it.
        UnsupportedEncoding: let VTK try.
    """
    document = parsed(path.read_bytes())
    kind = document.root.get("type", "")
    listing = {
        "vtkMultiBlockDataSet": _multiblock,
        "Collection": _collection,
        "PUnstructuredGrid": _parallel,
        "PPolyData": _parallel,
    }
    if kind in listing:
        if depth >= _LINK_DEPTH:
            raise InvalidMesh(f"expected files nested at most {_LINK_DEPTH} deep, got more")
        return listing[kind](document, path, depth)
    if kind not in _PIECES:
        raise InvalidMesh(
            f"expected a VTK file type of {sorted([*listing, *_PIECES])}, got {kind!r}"
        )
    body = document.body
    pieces = [_PIECES[kind](document, body, piece) for piece in body.findall("Piece")]
    if not pieces:
        raise InvalidMesh("expected at least one <Piece>, got none")
    raw = merged([p for p in pieces if len(p.points)] or pieces[:1])
    scalars, times = _field_data(document, body.find("FieldData"))
    return replace(raw, scalars=scalars, times=times, regions={})


def _field_data(
    document: _Document, element: ElementTree.Element | None
) -> tuple[dict[str, Scalar], np.ndarray]:
    """Numbers in the field data: scalars of one value, and the time."""
    scalars, times = {}, np.zeros(1)
    for array in element if element is not None else ():
        if array.tag not in ("DataArray", "Array") or array.get("type") not in DTYPES:
            continue
        values = document.array(array)
        name = array.get("Name", "")
        if name in ("TimeValue", "TIME") and values.size == 1:
            times = values.ravel().astype(float)
        elif values.size == 1:
            scalars[name] = Scalar(values.ravel().astype(float), _unit(array))
    return scalars, times


def _unit(array: ElementTree.Element) -> str:
    for key in array.findall("InformationKey"):
        if key.get("name") == "UNITS_LABEL":
            return (key.text or "").strip()
    return ""


def _fields(
    document: _Document, piece: ElementTree.Element, counts: Mapping[str, int]
) -> tuple[RawField, ...]:
    found = []
    for on, tag in (("point", "PointData"), ("cell", "CellData")):
        element = piece.find(tag)
        for i, array in enumerate(element if element is not None else ()):
            if array.get("type") not in DTYPES:
                continue
            values = document.array(array, counts[on])
            name = array.get("Name") or f"{on}_{i}"
            found.append(RawField(name, values[None], on, _unit(array)))  # type: ignore[arg-type]
    return tuple(found)


def _points(document: _Document, piece: ElementTree.Element, n: int) -> np.ndarray:
    array = piece.find("Points/DataArray")
    if array is None:
        if n:
            raise InvalidMesh(f"expected {n} points, got no <Points>")
        return np.zeros((0, 3))
    return document.array(array, n)


def _section(
    document: _Document, element: ElementTree.Element | None, n: int
) -> dict[str, np.ndarray]:
    """The arrays of <Cells>, <Polys>, ... by name."""
    if element is None:
        if n:
            raise InvalidMesh(f"expected {n} cells, got no element that holds them")
        return {"connectivity": np.zeros(0, np.int64), "offsets": np.zeros(0, np.int64)}
    arrays = {a.get("Name", ""): a for a in element.findall("DataArray")}
    missing = {"connectivity", "offsets"} - set(arrays)
    if missing:
        raise InvalidMesh(f"expected arrays connectivity and offsets, got no {sorted(missing)}")
    found = {"offsets": document.array(arrays["offsets"], n).ravel()}
    entries = int(found["offsets"][-1]) if n else 0
    found["connectivity"] = document.array(arrays["connectivity"], max(entries, 0)).ravel()
    if "types" in arrays:
        found["types"] = document.array(arrays["types"], n).ravel()
    return found


def _count(piece: ElementTree.Element, name: str) -> int:
    return _whole(piece.get(name, "0"), name)


def _unstructured(
    document: _Document, body: ElementTree.Element, piece: ElementTree.Element
) -> RawMesh:
    n, m = _count(piece, "NumberOfPoints"), _count(piece, "NumberOfCells")
    points = _points(document, piece, n)
    cells = _section(document, piece.find("Cells"), m)
    if m and "types" not in cells:
        raise InvalidMesh("expected an array 'types' in <Cells>, got none")
    return RawMesh(
        points,
        cells.get("types", np.zeros(0)).astype(np.uint8),
        np.concatenate([[0], cells["offsets"].astype(np.int64)]),
        cells["connectivity"].astype(np.int64),
        _fields(document, piece, {"point": n, "cell": m}),
    )


def _poly(document: _Document, body: ElementTree.Element, piece: ElementTree.Element) -> RawMesh:
    n = _count(piece, "NumberOfPoints")
    points = _points(document, piece, n)
    types, offsets, connectivity, total = [], [np.zeros(1, np.int64)], [], 0
    numbers = {"Verts": POLY_VERTEX, "Lines": POLY_LINE, "Strips": STRIP, "Polys": POLYGON}
    for section, number in numbers.items():
        m = _count(piece, f"NumberOf{section}")
        cells = _section(document, piece.find(section), m)
        types.append(poly_types(number, np.diff(cells["offsets"], prepend=0)))
        offsets.append(cells["offsets"].astype(np.int64) + total)
        connectivity.append(cells["connectivity"].astype(np.int64))
        total += len(connectivity[-1])
    kinds = np.concatenate(types)
    fields = _fields(document, piece, {"point": n, "cell": len(kinds)})
    return RawMesh(points, kinds, np.concatenate(offsets), np.concatenate(connectivity), fields)


def poly_types(number: int, counts: np.ndarray) -> np.ndarray:
    """VTK numbers of the cells of one section of a poly-data: the plain type where the number of
    nodes allows it."""
    plain = {POLY_VERTEX: {1: VERTEX}, POLY_LINE: {2: LINE}, POLYGON: {3: 5, 4: 9}, STRIP: {3: 5}}
    types = np.full(len(counts), number, dtype=np.uint8)
    for nodes, simple in plain[number].items():
        types[counts == nodes] = simple
    return types


def _extent(text: str | None) -> list[int]:
    numbers = [int(word) for word in (text or "").split()]
    if len(numbers) != 6:
        raise InvalidMesh(f"expected an extent of six numbers, got {text!r}")
    return numbers


def _gridded(
    document: _Document, piece: ElementTree.Element, points: Callable[[list[int]], np.ndarray]
) -> RawMesh:
    e = _extent(piece.get("Extent"))
    dims = [e[1] - e[0] + 1, e[3] - e[2] + 1, e[5] - e[4] + 1]
    if min(dims) < 1 or np.prod([float(d) for d in dims]) > 2**31:
        raise InvalidMesh(f"expected a grid of 1 to 2^31 points, got {dims}")
    number, cells = lattice(dims)
    fields = _fields(document, piece, {"point": int(np.prod(dims)), "cell": len(cells)})
    return raw_of_blocks(points(e), [(number, cells)], fields=fields)


def _image(document: _Document, body: ElementTree.Element, piece: ElementTree.Element) -> RawMesh:
    origin = [float(w) for w in body.get("Origin", "0 0 0").split()]
    spacing = [float(w) for w in body.get("Spacing", "1 1 1").split()]

    def points(e: list[int]) -> np.ndarray:
        axes = [origin[i] + spacing[i] * np.arange(e[2 * i], e[2 * i + 1] + 1) for i in range(3)]
        return grid_points(axes)

    return _gridded(document, piece, points)


def _rectilinear(
    document: _Document, body: ElementTree.Element, piece: ElementTree.Element
) -> RawMesh:
    arrays = piece.findall("Coordinates/DataArray")

    def points(e: list[int]) -> np.ndarray:
        counts = [e[2 * i + 1] - e[2 * i] + 1 for i in range(3)]
        return grid_points(
            [document.array(a, n).ravel() for a, n in zip(arrays, counts, strict=True)]
        )

    return _gridded(document, piece, points)


def _structured(
    document: _Document, body: ElementTree.Element, piece: ElementTree.Element
) -> RawMesh:
    def points(e: list[int]) -> np.ndarray:
        n = (e[1] - e[0] + 1) * (e[3] - e[2] + 1) * (e[5] - e[4] + 1)
        return _points(document, piece, n)

    return _gridded(document, piece, points)


def grid_points(axes: Sequence[np.ndarray]) -> np.ndarray:
    """Points of a grid from its axes, x fastest."""
    z, y, x = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    return np.column_stack([x.ravel(), y.ravel(), z.ravel()]).astype(float)


_PIECES = {
    "UnstructuredGrid": _unstructured,
    "PolyData": _poly,
    "ImageData": _image,
    "RectilinearGrid": _rectilinear,
    "StructuredGrid": _structured,
}


def linked(path: Path, name: str) -> Path:
    """The file called `name` beside `path`.

    Raises:
        InvalidMesh: it would leave the folder of `path`, or is not there.
    """
    folder = path.resolve().parent
    target = (folder / name).resolve()
    if folder not in target.parents:
        raise InvalidMesh(f"expected files within the folder of {path.name}, got {name!r}")
    if not target.is_file():
        raise InvalidMesh(f"expected the file {name!r} beside {path.name}, got none")
    return target


def _multiblock(document: _Document, path: Path, depth: int) -> RawMesh:
    raws: list[RawMesh] = []
    names: list[str] = []
    for element in document.body.iter("DataSet"):
        if element.get("file"):
            raws.append(decode(linked(path, element.get("file", "")), depth + 1))
            names.append(element.get("name") or f"block{element.get('index', len(names))}")
    return merged(raws, names)


def _parallel(document: _Document, path: Path, depth: int) -> RawMesh:
    sources = [piece.get("Source", "") for piece in document.body.findall("Piece")]
    raws = [decode(linked(path, name), depth + 1) for name in sources if name]
    return replace(merged([r for r in raws if len(r.points)]), regions={})


def _collection(document: _Document, path: Path, depth: int) -> RawMesh:
    """A series in time (PVD): equal meshes with their fields stacked; parts of one time lie side
    by side."""
    steps: dict[float, list[Path]] = {}
    for element in document.body.iter("DataSet"):
        time = float(element.get("timestep", "0"))
        steps.setdefault(time, []).append(linked(path, element.get("file", "")))
    if not steps:
        raise InvalidMesh("expected at least one <DataSet>, got none")
    times = sorted(steps)
    raws = [merged([decode(p, depth + 1) for p in steps[t]]) for t in times]
    return stacked(raws, np.array(times))


def stacked(raws: Sequence[RawMesh], times: np.ndarray) -> RawMesh:
    """A series in time from one raw mesh per time.

    Raises:
        InvalidMesh: meshes that differ.
    """
    first = raws[0]
    for time, raw in zip(times, raws, strict=True):
        same = np.array_equal(raw.points, first.points)
        if not same or not np.array_equal(raw.connectivity, first.connectivity):
            raise InvalidMesh(
                f"expected one mesh for all times, got another at time {time:g}; "
                "split the series into one file per time"
            )
    if len(raws) == 1:
        return replace(first, times=times)
    fields = []
    for f in first.fields:
        series = [[g for g in raw.fields if (g.name, g.on) == (f.name, f.on)] for raw in raws]
        if not all(series):
            continue
        fields.append(replace(f, values=np.concatenate([found[0].values for found in series])))
    scalars = {
        name: Scalar(unchanging([raw.scalars[name].value for raw in raws]), scalar.unit)
        for name, scalar in first.scalars.items()
        if all(name in raw.scalars for raw in raws)
    }
    return replace(first, fields=tuple(fields), scalars=scalars, times=times)
