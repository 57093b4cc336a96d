"""OpenFOAM as it is run here: dictionaries and plane meshes written, fields read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fieldcast.meshes import Mesh

from .solver import SolverFailed

INSTALL = "apt-get install openfoam (version 1912 of openfoam.com), or load your site's OpenFOAM"
DEBIAN_HOME = Path("/usr/share/openfoam")
NUMBER = re.compile(rb"nonuniform\s+List<(scalar|vector)>\s*(\d+)\s*\(")


def dictionary(entries: Mapping[str, Any], depth: int = 0) -> str:
    """Entries in OpenFOAM's notation."""
    lines, pad = [], "    " * depth
    for key, value in entries.items():
        if isinstance(value, Mapping):
            lines += [f"{pad}{key}", f"{pad}{{", dictionary(value, depth + 1), f"{pad}}}"]
        else:
            lines.append(f"{pad}{key} {value};")
    return "\n".join(lines)


def write_dictionary(path: Path, entries: Mapping[str, Any], kind: str = "dictionary") -> None:
    """A dictionary file with its header."""
    head = {"version": "2.0", "format": "ascii", "class": kind, "object": path.name}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dictionary({"FoamFile": head, **entries}) + "\n")


@dataclass(frozen=True, eq=False)
class PolyMesh:
    """One layer of cells over a plane mesh: `faces` (face, 4) and the caps as `caps`, `owner`
    (face,), `neighbour` of the inner ones, and the number of faces of each patch."""

    points: Float[np.ndarray, "point 3"]
    faces: Sequence[Int[np.ndarray, " _corner"]]
    owner: Int[np.ndarray, " face"]
    neighbour: Int[np.ndarray, " inner"]
    patches: Mapping[str, int]


def extruded(mesh: Mesh, patches: Sequence[str], thickness: float) -> PolyMesh:
    """A plane mesh of triangles and quadrilaterals as one layer of prisms, cells in their order;
    `patches` are the regions that its boundary is made of.

    Raises:
        ValueError: other meshes, or boundary edges in no region or in several.
    """
    cells = _turned_left(mesh)
    first = np.concatenate(cells)
    second = np.concatenate([np.roll(c, -1) for c in cells])
    cell = np.repeat(np.arange(len(cells)), [len(c) for c in cells])
    pair = np.sort(np.stack([first, second], axis=1), axis=1)
    _, number, count = np.unique(pair, axis=0, return_inverse=True, return_counts=True)
    number = number.ravel()
    if count.max(initial=0) > 2:
        raise ValueError("expected edges of at most two cells, got more: not a plane mesh")
    # Cells come in rising order, so the first of an edge's two sides is its owner's.
    order = np.argsort(number, kind="stable")
    starts = np.concatenate([[0], np.cumsum(count)[:-1]])
    own = order[starts]
    inner = count == 2
    other = cell[order[starts[inner] + 1]]
    inside, rank = own[inner], np.lexsort((other, cell[own[inner]]))
    rim = own[~inner]
    which = _patches_of(mesh, patches, np.stack([first[rim], second[rim]], axis=1))
    rim, which = rim[np.argsort(which, kind="stable")], np.sort(which)
    sides = np.concatenate([inside[rank], rim])
    n, ids = len(mesh.points), np.arange(len(cells))
    walls = np.stack([first[sides], second[sides], second[sides] + n, first[sides] + n], axis=1)
    faces = [*walls, *(c[::-1] for c in cells), *(c + n for c in cells)]
    flat = np.c_[mesh.points, np.zeros(n)]
    return PolyMesh(
        np.concatenate([flat, flat + np.array([0.0, 0.0, thickness])]),
        faces,
        np.concatenate([cell[sides], ids, ids]),
        other[rank],
        {name: int((which == k).sum()) for k, name in enumerate(patches)}
        | {"frontAndBack": 2 * len(cells)},
    )


def _turned_left(mesh: Mesh) -> list[np.ndarray]:
    """Cells with their corners counter-clockwise."""
    if mesh.dim != 2 or set(mesh.cells) - {"triangle", "quad"} or not mesh.n_cells:
        raise ValueError(
            f"expected a plane mesh of triangles and quadrilaterals, got {mesh.dim} coordinates "
            f"and cells {sorted(mesh.cells)}"
        )
    found = []
    for block in mesh.cells.values():
        corners = mesh.points[block]
        x, y = corners[..., 0], corners[..., 1]
        area = (x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y).sum(axis=1)
        turned = np.where((area < 0)[:, None], block[:, ::-1], block)
        found += list(turned.astype(np.int64))
    return found


def _patches_of(
    mesh: Mesh, patches: Sequence[str], edges: Int[np.ndarray, "edge 2"]
) -> Int[np.ndarray, " edge"]:
    absent = sorted(set(patches) - set(mesh.regions))
    if absent:
        raise ValueError(f"expected regions {list(patches)} of points, {absent} are missing")
    member = np.stack([np.isin(edges, mesh.regions[name]).all(axis=1) for name in patches])
    several = member.sum(axis=0) != 1
    if several.any():
        middle = mesh.points[edges[several][0]].mean(axis=0)
        raise ValueError(
            f"expected every boundary edge to lie in one region of {list(patches)}, got "
            f"{int(several.sum())} in none or several, one at {middle.round(4).tolist()}"
        )
    return member.argmax(axis=0)


def write_mesh(mesh: PolyMesh, folder: Path, kinds: Mapping[str, str]) -> None:
    """constant/polyMesh of a case; `kinds` are the types of patches other than "patch"."""
    home = folder / "constant" / "polyMesh"
    home.mkdir(parents=True)
    points = [f"({x:.12g} {y:.12g} {z:.12g})" for x, y, z in mesh.points.tolist()]
    faces = [f"{len(f)}({' '.join(map(str, f.tolist()))})" for f in mesh.faces]
    patches, start = [], len(mesh.neighbour)
    for name, count in mesh.patches.items():
        kind = "empty" if name == "frontAndBack" else kinds.get(name, "patch")
        body = dictionary({"type": kind, "nFaces": count, "startFace": start}, 1)
        patches.append(f"{name}\n{{\n{body}\n}}")
        start += count
    for name, kind, rows in (
        ("points", "vectorField", points),
        ("faces", "faceList", faces),
        ("owner", "labelList", [str(k) for k in mesh.owner.tolist()]),
        ("neighbour", "labelList", [str(k) for k in mesh.neighbour.tolist()]),
        ("boundary", "polyBoundaryMesh", patches),
    ):
        head = {"version": "2.0", "format": "ascii", "class": kind, "object": name}
        text = "\n".join([dictionary({"FoamFile": head}), str(len(rows)), "(", *rows, ")", ""])
        (home / name).write_text(text)


def environment() -> dict[str, str]:
    """What OpenFOAM's programs need beside the environment of this process."""
    return {} if "WM_PROJECT_DIR" in os.environ else {"WM_PROJECT_DIR": str(DEBIAN_HOME)}


def times(folder: Path) -> list[Path]:
    """The folders of the times that are kept, in order."""
    found = [(float(p.name), p) for p in folder.iterdir() if p.is_dir() and _is_number(p.name)]
    return [path for _, path in sorted(found)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_cells(path: Path, cells: int) -> Float[np.ndarray, "cell component"]:
    """The internal field of an ASCII field file.

    Raises:
        SolverFailed: another number of values, or some that are not finite.
    """
    text = path.read_bytes()
    start = text.index(b"internalField")
    found = NUMBER.search(text, start, text.index(b";", start))
    if found is None:
        raise SolverFailed(f"expected values of cells in {path.name}, got one for all")
    size = 1 if found[1] == b"scalar" else 3
    end = text.index(b";", found.end())
    plain = text[found.end() : end].translate(None, b"()")
    values = np.array(plain.split(), dtype=float)
    if len(values) != cells * size or not np.isfinite(values).all():
        raise SolverFailed(
            f"expected {cells} finite values of {path.name}, got {len(values) // size}"
        )
    return values.reshape(cells, size)
