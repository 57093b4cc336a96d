"""The mesh: points, cells by type, named regions. Frozen; changes return copies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from jaxtyping import Float, Int

from .cells import CellType, cell_type

if TYPE_CHECKING:
    from .topology import Topology


K = TypeVar("K")
V = TypeVar("V")


class Frozen(Mapping[K, V]):
    """A mapping that can't be changed, but, unlike a mapping proxy, copied to another process."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[K, V]) -> None:
        self._items = dict(items)

    def __getitem__(self, name: K) -> V:
        return self._items[name]

    def __iter__(self) -> Iterator[K]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return repr(self._items)


def frozen(array: np.ndarray) -> np.ndarray:
    """A read-only view; the caller's array stays theirs."""
    view = array.view()
    view.flags.writeable = False
    return view


def digest(*parts: object) -> str:
    """A hash of arrays and strings by content, 32 hexadecimal digits."""
    h = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, np.ndarray):
            h.update(f"{part.dtype.str}{part.shape}".encode())
            h.update(np.ascontiguousarray(part).data)
        else:
            h.update(repr(part).encode())
    return h.hexdigest()


@dataclass(frozen=True, eq=False)
class Mesh:
    """Points [m] and the cells that join them.

    `cells` maps a type's name to its connectivity, one row a cell, in VTK's node order; cell
    fields follow the blocks in the mapping's order. `regions` maps a name to point numbers.
    `order` is, for each cell in block order, its place in the file it came from (None: the same),
    so that answers can be written back in the user's order.

    Raises:
        ValueError: coordinates that are not finite, cells that name points which are not there.
    """

    points: Float[np.ndarray, "point dim"]
    cells: Mapping[str, Int[np.ndarray, "cell node"]] = field(default_factory=dict)
    regions: Mapping[str, Int[np.ndarray, " id"]] = field(default_factory=dict)
    order: Int[np.ndarray, " cells"] | None = None

    def __post_init__(self) -> None:
        points = np.asarray(self.points, dtype=float)
        if points.ndim != 2 or points.shape[1] not in (1, 2, 3):
            raise ValueError(f"expected points of shape (point, 1..3), got {points.shape}")
        if not np.isfinite(points).all():
            bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
            raise ValueError(
                f"expected finite coordinates, got {len(bad)} points that are not, first point "
                f"{bad[0]}"
            )
        cells = {
            name: _checked_cells(name, block, len(points)) for name, block in self.cells.items()
        }
        regions = {
            name: frozen(np.asarray(ids, dtype=np.int32)) for name, ids in self.regions.items()
        }
        for name, ids in regions.items():
            _check_range(f"region {name!r}", ids, len(points))
        object.__setattr__(self, "points", frozen(points))
        object.__setattr__(self, "cells", Frozen(cells))
        object.__setattr__(self, "regions", Frozen(regions))
        if self.order is not None:
            object.__setattr__(self, "order", frozen(np.asarray(self.order, dtype=np.int32)))
            if len(self.order) != self.n_cells:
                raise ValueError(
                    f"expected an order for {self.n_cells} cells, got {len(self.order)}"
                )

    @property
    def dim(self) -> int:
        """Number of coordinates of a point."""
        return self.points.shape[1]

    @cached_property
    def types(self) -> tuple[CellType, ...]:
        """The cell types, in block order."""
        return tuple(cell_type(name) for name in self.cells)

    @property
    def cell_dim(self) -> int:
        """Dimension of the cells of highest dimension: 3 volume, 2 surface, 1 line, 0 points
        only."""
        return max((t.dim for t in self.types), default=0)

    @property
    def n_cells(self) -> int:
        """Number of cells of all types."""
        return sum(len(block) for block in self.cells.values())

    @cached_property
    def id(self) -> str:
        """Content hash of points, cells and regions."""
        parts: list[object] = [self.points]
        for kind in (self.cells, self.regions):
            for name in kind:
                parts += [name, kind[name]]
        return digest(*parts)

    @cached_property
    def connectivity(self) -> str:
        """Content hash of the numbering alone: equal for meshes that differ only in where their
        points are."""
        return digest(
            len(self.points),
            self.dim,
            *(part for name in self.cells for part in (name, self.cells[name])),
        )

    @cached_property
    def simplices(self) -> tuple[Int[np.ndarray, "simplex corner"], Int[np.ndarray, " simplex"]]:
        """The cells of highest dimension split into simplices, and the cell that each came
        from."""
        from .topology import simplices

        return simplices(self)

    @cached_property
    def edges(self) -> Int[np.ndarray, "edge 2"]:
        """Pairs of points that an edge of a cell joins, each once."""
        from .topology import edges

        return edges(self)

    @cached_property
    def across(self) -> Int[np.ndarray, "simplex corner"]:
        """The simplex across the facet opposite to each corner, -1 at the boundary."""
        from .topology import neighbours

        return neighbours(self.simplices[0])[0]

    @cached_property
    def topology(self) -> Topology:
        """What no morphing can change: pieces, closed boundaries, Euler characteristic."""
        from .topology import topology

        return topology(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mesh) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def moved(self, points: Float[np.ndarray, "point dim"]) -> Mesh:
        """The same cells with other coordinates."""
        other = replace(self, points=points)
        kept = ("types", "simplices", "edges", "across", "topology")
        for name in (*kept, "connectivity") if other.dim == self.dim else kept:
            if name in self.__dict__:
                # What the cells alone tell is kept.
                other.__dict__[name] = self.__dict__[name]
        return other

    def scaled(self, factor: float) -> Mesh:
        """Coordinates times `factor`."""
        return self.moved(self.points * factor)

    def size_of(self, on: str) -> int:
        """Number of entities that a field lives on: "point" or "cell"."""
        return {"point": len(self.points), "cell": self.n_cells}[on]


def _checked_cells(name: str, block: np.ndarray, n_points: int) -> np.ndarray:
    kind = cell_type(name)
    block = np.asarray(block)
    if block.ndim != 2 or block.shape[1] != kind.nodes:
        raise ValueError(f"expected {name} cells of shape (cell, {kind.nodes}), got {block.shape}")
    _check_range(f"{name} cells", block, n_points)
    return frozen(np.asarray(block, dtype=np.int32))


def _check_range(what: str, ids: np.ndarray, n_points: int) -> None:
    if ids.size and (ids.min() < 0 or ids.max() >= n_points):
        raise ValueError(
            f"expected {what} to name points 0 to {n_points - 1}, got {int(ids.min())} to "
            f"{int(ids.max())}"
        )
