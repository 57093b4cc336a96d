"""Checks of what a decoder found, whichever library it used: what makes a mesh unusable is an
error, what makes it odd a warning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .cells import cell_type_of_vtk
from .raw import PIXEL, POLY_LINE, POLY_VERTEX, POLYGON, STRIP, VERTEX, VOXEL, RawField, RawMesh

HUGE_COORDINATE = 1e9
HUGE_VALUE = 1e30
_LATTICE_NODES = {PIXEL: 4, VOXEL: 8}
_FREE_LENGTH = {POLY_VERTEX: 1, POLY_LINE: 2, STRIP: 3, POLYGON: 3}
_TOO_THIN = 1e-12
_FEW_NODES = 8
_SUSPECT = 1e-10


class InvalidMesh(ValueError):
    """The content of a file that no mesh can be made of."""


def check(raw: RawMesh) -> list[str]:
    """Warnings about an odd mesh, in words.

    Raises:
        InvalidMesh: no points, coordinates that are not finite, unknown cell types, connectivity
        out of range, arrays of
            the wrong length; says what was expected and what came.
    """
    check_points(raw.points)
    check_cells(raw.types, raw.offsets, raw.connectivity, len(raw.points))
    check_arrays(raw.fields, len(raw.points), raw.n_cells, len(raw.times))
    found = [
        *_huge_coordinates(raw.points),
        *_lone_points(raw.types, raw.connectivity, len(raw.points)),
        *_degenerate_cells(raw),
        *_twin_cells(raw),
    ]
    for f in raw.fields:
        found += _odd_values(f)
    return found


def check_points(points: np.ndarray) -> None:
    """Points are there and finite."""
    if points.ndim != 2 or points.shape[1] not in (1, 2, 3):
        raise InvalidMesh(f"expected points of shape (point, 3), got {points.shape}")
    if len(points) == 0:
        raise InvalidMesh("expected at least one point, got an empty mesh")
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(bad):
        raise InvalidMesh(
            f"expected finite coordinates, got {len(bad)} points with NaN or infinity, first "
            f"point {bad[0]}"
        )


def check_cells(
    types: np.ndarray, offsets: np.ndarray, connectivity: np.ndarray, n_points: int
) -> None:
    """Cells are of known types, have the nodes of their type and name points that are there."""
    if len(offsets) != len(types) + 1 or offsets[0] != 0:
        raise InvalidMesh(
            f"expected {len(types) + 1} cell offsets from 0, got {len(offsets)} from {offsets[:1]}"
        )
    counts = np.diff(offsets)
    if (counts < 0).any() or offsets[-1] != len(connectivity):
        raise InvalidMesh(
            f"expected cell offsets that rise to {len(connectivity)} (the length of the "
            "connectivity), "
            f"got {int(offsets[-1])} at the end"
        )
    for number in np.unique(types):
        _check_counts(int(number), counts[types == number])
    bad = np.flatnonzero((connectivity < 0) | (connectivity >= n_points))
    if len(bad):
        cell = int(np.searchsorted(offsets, bad[0], side="right")) - 1
        raise InvalidMesh(
            f"expected cells that name points 0 to {n_points - 1}, got point "
            f"{int(connectivity[bad[0]])} in cell {cell} "
            f"({len(bad)} such entries)"
        )


def _check_counts(number: int, counts: np.ndarray) -> None:
    if number in _FREE_LENGTH:
        if counts.min() < _FREE_LENGTH[number]:
            raise InvalidMesh(
                f"expected at least {_FREE_LENGTH[number]} nodes in cells of VTK type {number}, "
                f"got {counts.min()}"
            )
        return
    for nodes in np.unique(counts):
        if _LATTICE_NODES.get(number) == nodes:
            continue
        try:
            cell_type_of_vtk(number, int(nodes))
        except ValueError as error:
            raise InvalidMesh(
                f"{error}; convert such cells (polyhedra: tetrahedralise) before reading"
            ) from None


def check_arrays(fields: Sequence[RawField], n_points: int, n_cells: int, n_times: int = 1) -> None:
    """Every array has a value per entity, and one time or all."""
    for f in fields:
        n = n_points if f.on == "point" else n_cells
        if f.values.ndim != 3 or f.values.shape[1] != n:
            raise InvalidMesh(
                f"field {f.name!r}: expected {n} values (one per {f.on}), got an array of shape "
                f"{f.values.shape}"
            )
        if len(f.values) not in (1, n_times):
            raise InvalidMesh(
                f"field {f.name!r}: expected 1 or {n_times} times, got {len(f.values)}"
            )


def _huge_coordinates(points: np.ndarray) -> list[str]:
    largest = float(np.abs(points).max())
    return [f"coordinates up to {largest:.3g}: check the unit"] if largest > HUGE_COORDINATE else []


def _lone_points(types: np.ndarray, connectivity: np.ndarray, n_points: int) -> list[str]:
    if not len(types):
        return [f"no cells, only {n_points} points"]
    if (types == VERTEX).all() and n_points == 1:
        return ["the mesh is a single point"]
    used = np.zeros(n_points, dtype=bool)
    used[connectivity] = True
    lone = n_points - int(used.sum())
    if not lone:
        return []
    return [f"{lone} points belong to no cell, first point {int(np.flatnonzero(~used)[0])}"]


def _degenerate_cells(raw: RawMesh) -> list[str]:
    repeated = flat = 0
    for _, _, block in _blocks(raw):
        twice = _names_twice(block)
        repeated += int(twice.sum())
        if block.shape[1] == 3:
            flat += int((_thin(raw.points[block[~twice]])).sum())
    found = [f"{repeated} cells name a point twice"] if repeated else []
    return found + ([f"{flat} triangles have no area"] if flat else [])


def _names_twice(block: np.ndarray) -> np.ndarray:
    columns = block.T
    if len(columns) > _FEW_NODES:
        nodes = np.sort(block, axis=1)
        found: np.ndarray = (nodes[:, 1:] == nodes[:, :-1]).any(axis=1)
        return found
    found = np.zeros(len(block), dtype=bool)
    for i in range(len(columns)):
        for j in range(i):
            found |= columns[i] == columns[j]
    return found


def _thin(corners: np.ndarray) -> np.ndarray:
    """Triangles whose height is nothing beside their longest side."""
    edges = corners[:, 1:].astype(float) - corners[:, :1]
    a, b = edges[:, 0], edges[:, 1]
    a2, b2, ab = (np.einsum("ij,ij->i", x, y) for x, y in ((a, a), (b, b), (a, b)))
    # |a x b|^2 = a^2 b^2 - (a.b)^2 loses half of the digits, so the suspects are looked at again.
    thin = a2 * b2 - ab * ab <= _SUSPECT * np.maximum(a2, b2) ** 2
    suspects = np.flatnonzero(thin)
    padded = np.pad(edges[suspects], ((0, 0), (0, 0), (0, 3 - edges.shape[2])))
    cross = np.cross(padded[:, 0], padded[:, 1])
    side = np.maximum(a2, b2)[suspects]
    thin[suspects] = (cross * cross).sum(axis=1) <= (_TOO_THIN * side) ** 2
    return thin


def _twin_cells(raw: RawMesh) -> list[str]:
    twins = 0
    mixer = np.random.default_rng(0).integers(1, 2**62, size=len(raw.points), dtype=np.uint64)
    for _, _, block in _blocks(raw):
        keys = mixer[block].sum(axis=1, dtype=np.uint64)  # equal for equal sets of nodes
        keys.sort()
        twins += int((keys[1:] == keys[:-1]).sum())
    return [f"{twins} cells occur twice"] if twins else []


def _blocks(raw: RawMesh) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """(type, cell numbers, connectivity) of the cells with a fixed number of nodes above one."""
    counts = np.diff(raw.offsets)
    found = []
    for number in np.unique(raw.types):
        if number in (POLY_VERTEX, POLY_LINE, STRIP, VERTEX):
            continue
        for nodes in np.unique(counts[raw.types == number]):
            ids = np.flatnonzero((raw.types == number) & (counts == nodes))
            block = raw.connectivity[raw.offsets[ids][:, None] + np.arange(nodes)]
            found.append((int(number), ids, block))
    return found


def _odd_values(f: RawField) -> list[str]:
    if f.values.size == 0:
        return []
    if f.values.dtype.kind != "f":
        return []
    finite = np.isfinite(f.values)
    bad = int(f.values.size - finite.sum())
    if bad:
        return [f"field {f.name!r}: {bad} of {f.values.size} values are NaN or infinite"]
    largest = float(max(f.values.max(), -f.values.min()))
    return [f"field {f.name!r}: values up to {largest:.3g}"] if largest > HUGE_VALUE else []
