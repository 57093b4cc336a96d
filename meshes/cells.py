"""Cell types: names, VTK numbers, and the edges and faces of each, in VTK's node order."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CellType:
    """One kind of cell.

    `corners` are the nodes of the linear cell, which come first in VTK's order; `faces` (of volume
    cells, outwards) and `edges` name corners. `simplices` splits a surface cell into triangles.
    """

    name: str
    vtk: int
    nodes: int
    corners: int
    dim: int
    edges: tuple[tuple[int, int], ...] = ()
    faces: tuple[tuple[int, ...], ...] = ()
    simplices: tuple[tuple[int, ...], ...] = ()


_RING3 = ((0, 1), (1, 2), (2, 0))
_RING4 = ((0, 1), (1, 2), (2, 3), (3, 0))
_TETRA_EDGES = ((0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3))
_TETRA_FACES = ((0, 1, 3), (1, 2, 3), (2, 0, 3), (0, 2, 1))
_HEX_EDGES = (*_RING4, (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))
_HEX_FACES = (
    (0, 4, 7, 3),
    (1, 2, 6, 5),
    (0, 1, 5, 4),
    (3, 7, 6, 2),
    (0, 3, 2, 1),
    (4, 5, 6, 7),
)
# VTK's wedge: the normal of (0, 1, 2) points outwards.
_WEDGE_EDGES = (*_RING3, (3, 4), (4, 5), (5, 3), (0, 3), (1, 4), (2, 5))
_WEDGE_FACES = ((0, 1, 2), (3, 5, 4), (0, 3, 4, 1), (1, 4, 5, 2), (2, 5, 3, 0))
_PYRAMID_EDGES = (*_RING4, (0, 4), (1, 4), (2, 4), (3, 4))
_PYRAMID_FACES = ((0, 3, 2, 1), (0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4))


def _quad(name: str, vtk: int, nodes: int) -> CellType:
    return CellType(name, vtk, nodes, 4, 2, _RING4, (), ((0, 1, 2), (0, 2, 3)))


def _hexahedron(name: str, vtk: int, nodes: int) -> CellType:
    return CellType(name, vtk, nodes, 8, 3, _HEX_EDGES, _HEX_FACES)


def _tetra(name: str, vtk: int, nodes: int) -> CellType:
    return CellType(name, vtk, nodes, 4, 3, _TETRA_EDGES, _TETRA_FACES)


def _wedge(name: str, vtk: int, nodes: int) -> CellType:
    return CellType(name, vtk, nodes, 6, 3, _WEDGE_EDGES, _WEDGE_FACES)


def _pyramid(name: str, vtk: int, nodes: int) -> CellType:
    return CellType(name, vtk, nodes, 5, 3, _PYRAMID_EDGES, _PYRAMID_FACES)


def _triangle(name: str, vtk: int, nodes: int) -> CellType:
    return CellType(name, vtk, nodes, 3, 2, _RING3, (), ((0, 1, 2),))


_TYPES = (
    CellType("vertex", 1, 1, 1, 0),
    CellType("line", 3, 2, 2, 1, ((0, 1),)),
    CellType("line3", 21, 3, 2, 1, ((0, 1),)),
    _triangle("triangle", 5, 3),
    _triangle("triangle6", 22, 6),
    _triangle("triangle7", 34, 7),
    _quad("quad", 9, 4),
    _quad("quad8", 23, 8),
    _quad("quad9", 28, 9),
    _tetra("tetra", 10, 4),
    _tetra("tetra10", 24, 10),
    _hexahedron("hexahedron", 12, 8),
    _hexahedron("hexahedron20", 25, 20),
    _hexahedron("hexahedron27", 29, 27),
    _wedge("wedge", 13, 6),
    _wedge("wedge15", 26, 15),
    _wedge("wedge18", 32, 18),
    _pyramid("pyramid", 14, 5),
    _pyramid("pyramid13", 27, 13),
)
_BY_NAME = {t.name: t for t in _TYPES}
_BY_VTK = {t.vtk: t for t in _TYPES}
_POLYGON = 7


def cell_type(name: str) -> CellType:
    """The type called `name`; polygons are named by their number of corners, `polygon5` and up.

    Raises:
        ValueError: no such type.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    sides = name.removeprefix("polygon")
    if sides != name and sides.isdigit() and int(sides) >= 3:
        n = int(sides)
        ring = tuple((i, (i + 1) % n) for i in range(n))
        fan = tuple((0, i, i + 1) for i in range(1, n - 1))
        return CellType(name, _POLYGON, n, n, 2, ring, (), fan)
    raise ValueError(f"expected a cell type of {sorted(_BY_NAME)} or polygonN, got {name!r}")


def cell_type_of_vtk(number: int, nodes: int) -> CellType:
    """The type with VTK's `number`, of `nodes` nodes (polygons need it)."""
    if number == _POLYGON:
        plain = {3: "triangle", 4: "quad"}
        return cell_type(plain.get(nodes, f"polygon{nodes}"))
    if number not in _BY_VTK or _BY_VTK[number].nodes != nodes:
        raise ValueError(
            f"expected a VTK cell number of {sorted(_BY_VTK)} with its number of nodes, "
            f"got number {number} with {nodes} nodes"
        )
    return _BY_VTK[number]
