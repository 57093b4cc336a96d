"""Solver input decks: SU2 meshes and Abaqus-style `.inp` (also CalculiX)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .raw import RawMesh
from .validation import InvalidMesh

_SU2_NODES = {3: 2, 5: 3, 9: 4, 10: 4, 12: 8, 13: 6, 14: 5}
_SOLIDS = {4: 10, 5: 14, 6: 13, 8: 12, 10: 24, 15: 26, 20: 25, 27: 29}
_SURFACES = {3: 5, 4: 9, 6: 22, 8: 23, 9: 28}
# Prefixes of Abaqus element names by VTK number and number of nodes; the digits before a letter
# suffix are the nodes.
_ABAQUS = (
    (re.compile(r"(C3D|DC3D|AC3D|F3D|Q3D)"), _SOLIDS),
    (re.compile(r"(CP[SE]|C?AX|DC2D|DCAX|AC2D|ACAX|S|M3D|R3D|DS|CGAX|[FW]2D)"), _SURFACES),
    (re.compile(r"(T[23]D|B[23]|PIPE|R2D|RB[23]D|DC1D|AC1D|RAX)"), {1: 1, 2: 3, 3: 21}),
)
_ABAQUS_ORDER = {
    # Edges as in VTK; then the centre, the faces below, above, in front (y-), right (x+), behind,
    # left.
    29: [*range(20), 26, 24, 23, 25, 21, 22, 20],
}
_SOLID_SHELL = {"SC6": 13, "SC8": 12}
_LINE_MIDDLE = re.compile(r"(B32|T3D3|T2D3|B22|PIPE32|PIPE22|SAX2)")


class _Lines:
    """The lines of a deck that say something."""

    def __init__(self, path: Path, comment: str) -> None:
        text = path.read_text(encoding="latin-1")
        self._lines = [line.split(comment)[0].strip() for line in text.splitlines()]
        self._place = 0

    def __iter__(self) -> Iterator[str]:
        while self._place < len(self._lines):
            self._place += 1
            if self._lines[self._place - 1]:
                yield self._lines[self._place - 1]

    def take(self, n: int, what: str) -> list[list[str]]:
        """The words of the next n lines that say something."""
        found = []
        if n > len(self._lines) - self._place:
            raise InvalidMesh(
                f"expected {n} lines of {what}, got {len(self._lines) - self._place}; the file "
                "is truncated or its counts are wrong"
            )
        for line in self:
            if "=" in line:
                break
            found.append(line.split())
            if len(found) == n:
                return found
        if n == 0:
            return []
        raise InvalidMesh(
            f"expected {n} lines of {what}, got {len(found)}; the file is truncated or its "
            "counts are wrong"
        )


@dataclass
class _Su2:
    """What has been read of an SU2 mesh."""

    dim: int = 0
    points: np.ndarray | None = None
    cells: list[tuple[int, list[int]]] | None = None
    regions: dict[str, np.ndarray] = field(default_factory=dict)
    tag: str = ""


def decode_su2(path: Path) -> RawMesh:
    """An SU2 mesh; its markers become regions.

    Raises:
        InvalidMesh: what is wrong with it.
    """
    lines, found = _Lines(path, "%"), _Su2()
    for line in lines:
        key, _, value = (part.strip() for part in line.partition("="))
        if key in _SU2_KEYS:
            _SU2_KEYS[key](lines, found, value)
    if found.points is None or found.cells is None:
        raise InvalidMesh(
            "expected NDIME, NPOIN and NELEM with their lines, got not all; the file is truncated"
        )
    return _ordered(found.points, found.cells, found.regions)


def _su2_dimension(lines: _Lines, found: _Su2, value: str) -> None:
    found.dim = _su2_count(value)


def _su2_zones(lines: _Lines, found: _Su2, value: str) -> None:
    if _su2_count(value) > 1:
        raise InvalidMesh(f"expected one zone, got {value}; split the file by zone")


def _su2_elements(lines: _Lines, found: _Su2, value: str) -> None:
    found.cells = _su2_cells(lines.take(_su2_count(value), "elements"))


def _su2_all_points(lines: _Lines, found: _Su2, value: str) -> None:
    found.points = _su2_points(lines.take(_su2_count(value), "points"), found.dim)


def _su2_tag(lines: _Lines, found: _Su2, value: str) -> None:
    found.tag = value


def _su2_marker(lines: _Lines, found: _Su2, value: str) -> None:
    cells = _su2_cells(lines.take(_su2_count(value), f"marker {found.tag!r}"))
    nodes = [node for _, own in cells for node in own]
    found.regions[found.tag] = np.unique(np.array(nodes, dtype=np.int64))


_SU2_KEYS: dict[str, Callable[[_Lines, _Su2, str], None]] = {
    "NDIME": _su2_dimension,
    "NZONE": _su2_zones,
    "NELEM": _su2_elements,
    "NPOIN": _su2_all_points,
    "MARKER_TAG": _su2_tag,
    "MARKER_ELEMS": _su2_marker,
}


def _su2_count(value: str) -> int:
    try:
        return int(value.split()[0])
    except (ValueError, IndexError):
        raise InvalidMesh(f"expected a count behind '=', got {value!r}") from None


def _su2_points(rows: list[list[str]], dim: int) -> np.ndarray:
    if dim not in (2, 3):
        raise InvalidMesh(f"expected NDIME= 2 or 3 before the points, got {dim}")
    try:
        points = np.array([[float(w) for w in row[:dim]] for row in rows])
    except ValueError as error:
        raise InvalidMesh(f"expected coordinates, got {error}") from None
    if points.shape != (len(rows), dim):
        raise InvalidMesh(
            f"expected {dim} coordinates for each of {len(rows)} points, got {points.shape}"
        )
    return np.pad(points, ((0, 0), (0, 3 - dim)))


def _su2_nodes(row: list[str]) -> list[str]:
    if not row[0].isdigit() or int(row[0]) not in {1, *_SU2_NODES}:
        raise InvalidMesh(
            f"expected an element type of {sorted(_SU2_NODES)}, got {row[0]!r}; high-order SU2 "
            "meshes are not supported"
        )
    n = _SU2_NODES.get(int(row[0]), 1)
    if len(row) < n + 1:
        raise InvalidMesh(f"expected {n} nodes in an element of type {row[0]}, got {len(row) - 1}")
    return row[1 : n + 1]


def _su2_cells(rows: list[list[str]]) -> list[tuple[int, list[int]]]:
    try:
        return [(int(row[0]), [int(w) for w in _su2_nodes(row)]) for row in rows]
    except ValueError as error:
        if isinstance(error, InvalidMesh):
            raise
        raise InvalidMesh(f"expected node numbers, got {error}") from None


def _ordered(
    points: np.ndarray, cells: list[tuple[int, list[int]]], regions: dict[str, np.ndarray]
) -> RawMesh:
    counts = np.array([len(nodes) for _, nodes in cells], dtype=np.int64)
    flat = np.array([node for _, nodes in cells for node in nodes], dtype=np.int64)
    types = np.array([number for number, _ in cells], dtype=np.uint8)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return RawMesh(points, types, offsets, flat, regions=regions)


@dataclass
class _Deck:
    """What has been read of an Abaqus deck."""

    ids: list[int] = field(default_factory=list)
    points: list[list[float]] = field(default_factory=list)
    elements: dict[int, tuple[int, list[int]]] = field(default_factory=dict)
    node_sets: dict[str, list[int]] = field(default_factory=dict)
    element_sets: dict[str, list[int]] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)


def decode_abaqus(path: Path) -> RawMesh:
    """Nodes, elements, node and element sets of a deck without parts that are moved or repeated.

    Raises:
        InvalidMesh: what is wrong with it.
    """
    text = path.read_text(encoding="latin-1")
    deck = _Deck()
    for header, rows in _blocks(text):
        words = [w.strip() for w in header.split(",")]
        keyword = words[0].upper()
        options = {
            k.strip().upper(): v.strip() for k, _, v in (w.partition("=") for w in words[1:])
        }
        if keyword == "*INCLUDE":
            raise InvalidMesh(
                "expected a deck in one file, got *INCLUDE; paste the included file in its place"
            )
        try:
            _KEYWORDS.get(keyword, _skip)(deck, options, rows)
        except (ValueError, IndexError) as error:
            if isinstance(error, InvalidMesh):
                raise
            raise InvalidMesh(
                f"{keyword}: expected numbers, got {error}; the file is truncated or damaged"
            ) from None
    if deck.skipped and not deck.elements:
        raise InvalidMesh(f"expected continuum elements, got only {sorted(deck.skipped)}")
    if not deck.points or not deck.elements:
        raise InvalidMesh(
            f"expected *NODE and *ELEMENT, got {len(deck.points)} nodes and "
            f"{len(deck.elements)} elements; the file is truncated"
        )
    return _abaqus_mesh(deck)


def _blocks(text: str) -> Iterator[tuple[str, list[list[str]]]]:
    """(keyword line, rows of data) of a deck."""
    header, rows = "", []
    for line in _whole_lines(text):
        if not line.startswith("*"):
            rows.append([w.strip() for w in line.rstrip(",").split(",")])
            continue
        if header:
            yield header, rows
        header, rows = line, []
    if header:
        yield header, rows


def _whole_lines(text: str) -> list[str]:
    """A line that ends with a comma goes on in the next, but for nodes, which have a line each."""
    joined: list[str] = []
    keyword = ""
    for line in (line.strip() for line in text.splitlines()):
        if not line or line.startswith("**"):
            continue
        if line.startswith("*"):
            keyword = line.upper()
            joined.append(line)
            continue
        before = joined[-1] if joined else ""
        of_node = keyword.startswith("*NODE") and not before.startswith("*")
        if before.endswith(",") and not of_node:
            joined[-1] += line
        else:
            joined.append(line)
    return joined


def _skip(deck: _Deck, options: dict[str, str], rows: list[list[str]]) -> None:
    return


def _nodes(deck: _Deck, options: dict[str, str], rows: list[list[str]]) -> None:
    for row in rows:
        if len(row) < 2:
            raise InvalidMesh(
                f"*NODE: expected a number and coordinates, got {row}; the file is truncated"
            )
        deck.ids.append(int(row[0]))
        xyz = [float(w or 0.0) for w in row[1:4]]
        deck.points.append(xyz + [0.0] * (3 - len(xyz)))
    if "NSET" in options:
        deck.node_sets.setdefault(options["NSET"], []).extend(int(row[0]) for row in rows)


def _element_kind(name: str, nodes: int) -> int | None:
    """The VTK number of an Abaqus element."""
    name = name.upper()
    for prefix, number in _SOLID_SHELL.items():
        if name.startswith(prefix):
            return number
    for pattern, numbers in _ABAQUS:
        if pattern.match(name) and nodes in numbers:
            return numbers[nodes]
    return None


def _elements(deck: _Deck, options: dict[str, str], rows: list[list[str]]) -> None:
    name = options.get("TYPE", "")
    expected = _nodes_of_name(name)
    ids = []
    pending: list[int] = []
    for row in rows:
        pending += [int(w) for w in row if w]
        if expected and len(pending) - 1 < expected:
            continue
        number = _element_kind(name, len(pending) - 1)
        if number is None:
            deck.skipped.add(name)
        else:
            deck.elements[pending[0]] = (number, pending[1:])
        ids.append(pending[0])
        pending = []
    if pending:
        raise InvalidMesh(
            f"*ELEMENT, TYPE={name}: expected {expected} nodes, got {len(pending) - 1} in "
            f"element {pending[0]}; the file is truncated"
        )
    if "ELSET" in options:
        deck.element_sets.setdefault(options["ELSET"], []).extend(ids)


def _nodes_of_name(name: str) -> int:
    """The number of nodes that an element's name says: the last digits of C3D20R, S4, R3D3; 0
    where it does not."""
    name = name.upper()
    if _LINE_MIDDLE.match(name):
        return 3
    if name.startswith(
        ("B", "PIPE", "U", "SPRING", "MASS", "GAP", "DASHPOT", "CONN", "D", "SAX")
    ) and not name.startswith("DC"):
        return 0
    digits = re.sub(r"^(AC|DC|C|F|Q|R|M|SFM|T|W|RB)?\d?D", "", name)
    found = re.search(r"(\d+)", digits)
    return int(found[1]) if found else 0


def _set_members(options: dict[str, str], rows: list[list[str]]) -> list[int | str]:
    if "GENERATE" in options:
        found: list[int | str] = []
        for row in rows:
            numbers = [int(w) for w in row if w]
            step = numbers[2] if len(numbers) > 2 else 1
            found += range(numbers[0], numbers[1] + 1, step)
        return found
    return [int(w) if w.lstrip("-").isdigit() else w for row in rows for w in row if w]


def _joined(sets: dict[str, list[int]], name: str, members: list[int | str]) -> None:
    own = sets.setdefault(name, [])
    for member in members:
        if isinstance(member, int):
            own.append(member)
        else:
            own.extend(sets.get(member, []))


def _node_set(deck: _Deck, options: dict[str, str], rows: list[list[str]]) -> None:
    _joined(deck.node_sets, options.get("NSET", "nodes"), _set_members(options, rows))


def _element_set(deck: _Deck, options: dict[str, str], rows: list[list[str]]) -> None:
    _joined(deck.element_sets, options.get("ELSET", "elements"), _set_members(options, rows))


def _instance(deck: _Deck, options: dict[str, str], rows: list[list[str]]) -> None:
    if any(rows):
        raise InvalidMesh(
            "expected parts that lie where they are, got an *INSTANCE that is moved; export a "
            "flat deck"
        )


_KEYWORDS: dict[str, Callable[[_Deck, dict[str, str], list[list[str]]], None]] = {
    "*NODE": _nodes,
    "*ELEMENT": _elements,
    "*NSET": _node_set,
    "*ELSET": _element_set,
    "*INSTANCE": _instance,
}


def _abaqus_mesh(deck: _Deck) -> RawMesh:
    place = {node: i for i, node in enumerate(deck.ids)}
    if len(place) != len(deck.ids):
        raise InvalidMesh("expected each node once, got a node number twice; export a flat deck")
    cells, unknown = [], set()
    for number, nodes in deck.elements.values():
        unknown |= {n for n in nodes if n not in place}
        order = _ABAQUS_ORDER.get(number, range(len(nodes)))
        cells.append((number, [place.get(nodes[i], 0) for i in order]))
    if unknown:
        raise InvalidMesh(
            f"expected elements of nodes that are there, got node {min(unknown)} ({len(unknown)} "
            "such)"
        )
    regions = {
        name: np.array([place[n] for n in ids if n in place], dtype=np.int64)
        for name, ids in deck.node_sets.items()
    }
    for name, ids in deck.element_sets.items():
        own = {place[n] for e in ids if e in deck.elements for n in deck.elements[e][1]}
        regions.setdefault(name, np.array(sorted(own), dtype=np.int64))
    raw = _ordered(np.array(deck.points), cells, regions)
    if deck.skipped:
        return raw.warned(f"elements of types {sorted(deck.skipped)} were left out")
    return raw
