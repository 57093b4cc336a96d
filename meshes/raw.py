"""A mesh as it lies in its file: points, VTK cell numbers and arrays in file order, before it
becomes a `Mesh`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

from .cells import cell_type, cell_type_of_vtk
from .mesh import Mesh
from .sample import Field, Location, Scalar

VERTEX, POLY_VERTEX, LINE, POLY_LINE, TRIANGLE, STRIP = 1, 2, 3, 4, 5, 6
POLYGON, PIXEL, QUAD, TETRA, VOXEL, HEXAHEDRON, WEDGE, PYRAMID = 7, 8, 9, 10, 11, 12, 13, 14
# VTK's lattice cells number their corners row by row.
_LATTICE = {PIXEL: (QUAD, [0, 1, 3, 2]), VOXEL: (HEXAHEDRON, [0, 1, 3, 2, 4, 5, 7, 6])}
CELL_MARK = " (cell)"
# Follow from the geometry; not missed where blocks are joined.
_DERIVED = frozenset({"Normals", "GlobalIds", "TCoords", "TextureCoordinates"})


@dataclass(frozen=True)
class RawField:
    """One array of a file: `values` (time, entity, component), entities in file order."""

    name: str
    values: np.ndarray
    on: Location = "point"
    unit: str = ""


@dataclass(frozen=True)
class RawMesh:
    """What a decoder finds. `types` are VTK's cell numbers; cell i names
    `connectivity[offsets[i]:offsets[i + 1]]`.

    `format` is the name of the format that the content has, such as "VTU".
    """

    points: np.ndarray
    types: np.ndarray
    offsets: np.ndarray
    connectivity: np.ndarray
    fields: tuple[RawField, ...] = ()
    scalars: Mapping[str, Scalar] = field(default_factory=dict)
    times: np.ndarray = field(default_factory=lambda: np.zeros(1))
    regions: Mapping[str, np.ndarray] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    format: str = ""

    @property
    def n_cells(self) -> int:
        """Number of cells, as the file counts them."""
        return len(self.types)

    def warned(self, *lines: str) -> RawMesh:
        """The same with more warnings."""
        return replace(self, warnings=(*self.warnings, *lines))


def raw_of_blocks(
    points: np.ndarray, blocks: Sequence[tuple[int, np.ndarray]], **others: object
) -> RawMesh:
    """A raw mesh from (VTK number, connectivity) blocks, one behind another."""
    counts = [np.full(len(block), block.shape[1], dtype=np.int64) for _, block in blocks]
    types = [np.full(len(block), number, dtype=np.uint8) for number, block in blocks]
    flat = [np.asarray(block, dtype=np.int64).ravel() for _, block in blocks]
    return RawMesh(
        points,
        np.concatenate([np.zeros(0, np.uint8), *types]),
        np.concatenate([[0], np.cumsum(np.concatenate([np.zeros(0, np.int64), *counts]))]),
        np.concatenate([np.zeros(0, np.int64), *flat]),
        **others,  # type: ignore[arg-type]
    )


def merged(raws: Sequence[RawMesh], names: Sequence[str] = ()) -> RawMesh:
    """One mesh of several that lie side by side; fields that all have are kept, blocks become
    regions by their names.

    Raises:
        ValueError: none given.
    """
    if not raws:
        raise ValueError("expected at least one block with points, got none")
    if len(raws) == 1:
        return raws[0]
    starts = np.cumsum([0] + [len(raw.points) for raw in raws])
    ends = np.cumsum([0] + [len(raw.connectivity) for raw in raws])
    regions = {name: np.arange(a, b) for name, (a, b) in zip(names, pairwise(starts), strict=False)}
    shared = [f for f in raws[0].fields if all(_twin(f, raw) is not None for raw in raws)]
    fields = tuple(
        replace(f, values=np.concatenate([_twin(f, raw).values for raw in raws], axis=1))  # type: ignore[union-attr]
        for f in shared
    )
    every = sorted(
        {f.name for raw in raws for f in raw.fields} - {f.name for f in shared} - _DERIVED
    )
    lost = (f"fields {every} are not on every block and were left out",) if every else ()
    return RawMesh(
        np.concatenate([raw.points for raw in raws]),
        np.concatenate([raw.types for raw in raws]),
        np.concatenate([[0], *(r.offsets[1:] + e for r, e in zip(raws, ends[:-1], strict=True))]),
        np.concatenate([r.connectivity + s for r, s in zip(raws, starts[:-1], strict=True)]),
        fields,
        {k: v for raw in raws for k, v in raw.scalars.items()},
        raws[0].times,
        regions,
        tuple(dict.fromkeys(w for raw in raws for w in raw.warnings)) + lost,
        raws[0].format,
    )


def _twin(wanted: RawField, raw: RawMesh) -> RawField | None:
    for f in raw.fields:
        same = f.values.shape[::2] == wanted.values.shape[::2]
        if (f.name, f.on) == (wanted.name, wanted.on) and same:
            return f
    return None


def _exploded(raw: RawMesh) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(types, starts, connectivity, source): poly-lines, poly-vertices and strips as single cells;
    `source` says of each which cell of the file it is a piece of."""
    counts = np.diff(raw.offsets)
    types = raw.types.copy()
    types[(types == POLY_LINE) & (counts == 2)] = LINE
    types[(types == POLY_VERTEX) & (counts == 1)] = VERTEX
    types[(types == STRIP) & (counts == 3)] = TRIANGLE
    many = np.isin(types, (POLY_VERTEX, POLY_LINE, STRIP))
    if not many.any():
        return types, raw.offsets, raw.connectivity, np.arange(raw.n_cells)
    size = np.where(types == STRIP, 3, np.where(types == POLY_LINE, 2, 1))
    pieces = np.where(many, np.maximum(counts - size + 1, 0), 1)
    source = np.repeat(np.arange(raw.n_cells), pieces)
    place = np.arange(len(source)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    single = np.array([0, VERTEX, VERTEX, LINE, LINE, TRIANGLE, TRIANGLE])
    new_types = types[source]
    new_types[many[source]] = single[new_types[many[source]]]
    lengths = np.where(many, size, counts)[source]
    starts = raw.offsets[:-1][source] + place * many[source]
    index = np.repeat(starts, lengths) + _ramps(lengths)
    connectivity = raw.connectivity[index]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    odd = (types[source] == STRIP) & (place % 2 == 1)
    first, second = offsets[:-1][odd], offsets[:-1][odd] + 1
    connectivity[first], connectivity[second] = connectivity[second], connectivity[first].copy()
    return new_types, offsets, connectivity, source


def _ramps(lengths: np.ndarray) -> np.ndarray:
    """0..n-1 for each n, one behind another."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)


def mesh_of(raw: RawMesh) -> Mesh:
    """The mesh with cells in blocks by type, in the order in which types first appear. Points are
    2-D where all z are 0.

    Where poly-lines or strips were split, several cells have the same place in `order`.

    Raises:
        ValueError: a cell type that is not supported; connectivity out of range.
    """
    types, offsets, connectivity, source = _exploded(raw)
    counts = np.diff(offsets)
    key = types.astype(np.int64) * (int(counts.max(initial=0)) + 1) + counts
    kinds, first = np.unique(key, return_index=True)
    cells: dict[str, list[np.ndarray]] = {}
    order: dict[str, list[np.ndarray]] = {}
    for kind in kinds[np.argsort(first)]:
        ids = np.flatnonzero(key == kind)
        number, permutation = _LATTICE.get(int(types[ids[0]]), (int(types[ids[0]]), None))
        name = cell_type_of_vtk(number, int(counts[ids[0]])).name
        block = connectivity[offsets[ids][:, None] + np.arange(counts[ids[0]])]
        cells.setdefault(name, []).append(block if permutation is None else block[:, permutation])
        order.setdefault(name, []).append(source[ids])
    places = np.concatenate([np.zeros(0, np.int64), *(i for ids in order.values() for i in ids)])
    plain = np.array_equal(places, np.arange(raw.n_cells))
    return Mesh(
        _flat(raw.points),
        {name: np.concatenate(blocks) for name, blocks in cells.items()},
        raw.regions,
        None if plain else places,
    )


def _flat(points: np.ndarray) -> np.ndarray:
    flat = points.shape[1] == 3 and not points[:, 2].any()
    return np.asarray(points[:, :2] if flat else points, dtype=np.float64)


def fields_of(raw: RawMesh, mesh: Mesh) -> dict[str, Field]:
    """Fields by name, cell values in the mesh's block order. A name on points and on cells: the
    cell field is `name (cell)`."""
    on_points = {f.name for f in raw.fields if f.on == "point"}
    found = {}
    for f in raw.fields:
        cell = f.on == "cell"
        values = f.values if f.values.dtype.kind == "f" else f.values.astype(float)
        values = values if not cell or mesh.order is None else values[:, mesh.order]
        name = f.name + CELL_MARK if cell and f.name in on_points else f.name
        found[name] = Field(values, f.unit, f.on)
    return found


def raw_fields(fields: Mapping[str, Field], mesh: Mesh, n_cells: int) -> tuple[RawField, ...]:
    """Fields of a mesh in the order of the file it came from; the inverse of `fields_of`."""
    found = []
    for name, f in fields.items():
        values = f.values
        if f.on == "cell" and mesh.order is not None:
            values = np.zeros((values.shape[0], n_cells, values.shape[2]), values.dtype)
            values[:, mesh.order] = f.values
        found.append(RawField(name.removesuffix(CELL_MARK), values, f.on, f.unit))
    return tuple(found)


def raw_of(mesh: Mesh) -> RawMesh:
    """A mesh as a file would hold it: three coordinates, cells in the order of the file it came
    from."""
    points = np.pad(mesh.points, ((0, 0), (0, 3 - mesh.dim)))
    blocks = [(cell_type(name).vtk, block) for name, block in mesh.cells.items()]
    raw = raw_of_blocks(points, blocks, regions=mesh.regions)
    order = mesh.order
    if order is None or len(np.unique(order)) != len(order) or order.max() >= len(order):
        return raw
    back = np.argsort(order)
    counts = np.diff(raw.offsets)[back]
    index = np.repeat(raw.offsets[:-1][back], counts) + _ramps(counts)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return replace(
        raw, types=raw.types[back], offsets=offsets, connectivity=raw.connectivity[index]
    )


def unchanging(values: Sequence[np.ndarray]) -> np.ndarray:
    """One value of a scalar that never changes, else that of all times."""
    joined = np.concatenate(values)
    return joined[:1] if (joined == joined[:1]).all() else joined


def steady_values(values: Float[np.ndarray, ...], n: int) -> np.ndarray:
    """Values of n entities as (1, entity, component)."""
    return np.asarray(values).reshape(1, n, -1)


def lattice(dims: Sequence[int]) -> tuple[int, Int[np.ndarray, "cell node"]]:
    """(VTK number, cells) of a grid of nx x ny x nz points, x fastest; axes of one point are
    dropped."""
    kept = [n for n in dims if n > 1]
    if not kept:
        return VERTEX, np.zeros((1, 1), dtype=np.int64)
    steps = np.concatenate([[1], np.cumprod(kept)])[: len(kept)]
    axes = [np.arange(n - 1) * step for n, step in zip(kept, steps, strict=True)]
    base = np.zeros(1, dtype=np.int64)
    for axis in axes:
        base = (axis[:, None] + base[None, :]).ravel()
    corners = np.array([0, 1])
    if len(kept) > 1:
        corners = np.array([0, 1, 1 + steps[1], steps[1]])
    if len(kept) > 2:
        corners = np.concatenate([corners, corners + steps[2]])
    number = {1: LINE, 2: QUAD, 3: HEXAHEDRON}[len(kept)]
    return number, base[:, None] + corners[None, :]
