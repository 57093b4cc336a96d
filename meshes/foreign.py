"""Formats that are left to meshio and VTK. Only ever called in the guarded child."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from .cells import cell_type
from .raw import POLYGON, RawField, RawMesh, merged, raw_of_blocks
from .validation import InvalidMesh

# What the last lines of a whole file hold, by meshio's name of the format.
_ENDINGS = {
    "medit": b"end",
    "netgen": b"endmesh",
    "nastran": b"enddata",
    "permas": b"$fin",
    "mdpa": b"end ",
    "dolfin-xml": b"</dolfin>",
}
_NUMPY_SCALAR = re.compile(rb"np\.(?:float|int|uint)\d+\(([^()]*)\)")


def by_meshio(path: Path, name: str) -> RawMesh:
    """A file through meshio's reader called `name`.

    Raises:
        InvalidMesh: a file without its end, or one that meshio refuses.
    """
    data = path.read_bytes()
    if name == "ansys" and not data.rstrip().endswith(b")"):
        raise InvalidMesh("expected ')' at the end, got none; the file is truncated")
    ending = _ENDINGS.get(name)
    if ending and ending not in data[-200:].lower():
        raise InvalidMesh(
            f"expected {ending.decode()!r} at the end, got none; the file is truncated"
        )
    beside = sorted(path.parent.glob(f"{path.stem}_*.xml")) if name == "dolfin-xml" else []
    if not beside and _NUMPY_SCALAR.search(data[:200_000]) is None:
        return _meshio_raw(path, name)
    # meshio 5.3 under numpy 2 writes numbers as np.float64(1.0), which it cannot read back.
    with tempfile.TemporaryDirectory() as folder:
        for file in (path, *beside):
            plain = _NUMPY_SCALAR.sub(rb"\1", file.read_bytes())
            (Path(folder) / file.name).write_bytes(plain)
        return _meshio_raw(Path(folder) / path.name, name)


def _meshio_raw(path: Path, name: str) -> RawMesh:
    import meshio

    try:
        mesh = meshio.read(path, file_format=name)
    except SystemExit:
        raise InvalidMesh(f"expected a whole {name} file, got one that cannot be parsed") from None
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        raise InvalidMesh(f"expected a whole {name} file, got {text[:300]}") from None
    return raw_of_meshio(mesh)


def raw_of_meshio(mesh: Any) -> RawMesh:
    """A meshio mesh as a raw one; sets become regions."""
    points = np.asarray(mesh.points, dtype=float).reshape(len(mesh.points), -1)
    points = np.pad(points[:, :3], ((0, 0), (0, max(0, 3 - points.shape[1]))))
    blocks = [(_number(block.type), np.asarray(block.data)) for block in mesh.cells]
    fields = [RawField(n, _shaped(v, len(points)), "point") for n, v in mesh.point_data.items()]
    m = sum(len(block) for _, block in blocks)
    for name, parts in mesh.cell_data.items():
        values = np.concatenate([np.asarray(p).reshape(len(p), -1) for p in parts])
        fields.append(RawField(name, _shaped(values, m), "cell"))
    regions = {
        name: np.asarray(ids, dtype=np.int64).ravel() for name, ids in mesh.point_sets.items()
    }
    for name, parts in mesh.cell_sets.items():
        if not name.startswith("gmsh:"):
            members = [data[ids] for (_, data), ids in zip(blocks, parts, strict=True) if len(ids)]
            regions[name] = np.unique(np.concatenate([m.ravel() for m in members] or [[]]))
            regions[name] = regions[name].astype(np.int64)
    return raw_of_blocks(points, blocks, fields=tuple(fields), regions=regions)


def _shaped(values: Any, n: int) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiub" or len(array) != n:
        raise InvalidMesh(
            f"expected arrays of {n} numbers, got {array.dtype} of shape {array.shape}"
        )
    return array.reshape(1, n, -1)


def _number(name: str) -> int:
    if name == "polygon" or name.startswith("polygon"):
        return POLYGON
    try:
        return cell_type(name).vtk
    except ValueError as error:
        raise InvalidMesh(str(error)) from None


def by_vtk(path: Path, suffix: str) -> RawMesh:
    """A file through VTK's reader for `suffix`; blocks are joined, times stacked.

    Raises:
        InvalidMesh: what VTK said about it.
    """
    import pyvista

    messages = Messages()
    reader = pyvista.get_reader(str(path), force_ext=suffix)
    data = reader.read()
    raw = joined_blocks(data)
    messages.check()
    return raw


class Messages:
    """Collects what VTK has to say while a file is read."""

    def __init__(self) -> None:
        from vtkmodules.vtkCommonCore import vtkOutputWindow, vtkStringOutputWindow

        self._window = vtkStringOutputWindow()
        vtkOutputWindow.SetInstance(self._window)

    def check(self) -> None:
        """An error that VTK only prints is an error here."""
        said = self._window.GetOutput() or ""
        if "ERROR" in said or "Error" in said:
            line = next(part for part in said.splitlines() if part.strip())
            raise InvalidMesh(f"expected a whole file, got from VTK: {line.strip()[:300]}")


def joined_blocks(data: Any) -> RawMesh:
    raws, names = [], []
    for name, block in leaves("", data):
        raw = raw_of_pyvista(block)
        if len(raw.points):
            raws.append(raw)
            names.append(name)
    if not raws:
        raise InvalidMesh("expected a mesh, got an empty one; the file is truncated or damaged")
    return merged(raws, names)


def leaves(name: str, data: Any) -> list[tuple[str, Any]]:
    """(name, data set) of all blocks, depth first."""
    import pyvista

    if not isinstance(data, pyvista.MultiBlock):
        return [] if data is None else [(name, data)]
    found = []
    for i in range(data.n_blocks):
        label = data.get_block_name(i) or f"block{i}"
        found += leaves(label, data[i])
    return found


def raw_of_pyvista(data: Any) -> RawMesh:
    """A pyvista data set as a raw mesh."""
    grid = data.cast_to_unstructured_grid()
    n, m = grid.n_points, grid.n_cells
    fields = []
    for on, arrays, count in (("point", grid.point_data, n), ("cell", grid.cell_data, m)):
        for name in arrays.keys():
            values = np.asarray(arrays[name])
            if values.dtype.kind in "fiub" and not name.startswith("vtkOriginal"):
                fields.append(RawField(name, values.reshape(1, count, -1), on))  # type: ignore[arg-type]
    return RawMesh(
        np.array(grid.points),
        np.array(grid.celltypes, dtype=np.uint8),
        np.array(grid.offset, dtype=np.int64),
        np.array(grid.cell_connectivity, dtype=np.int64),
        tuple(fields),
    )
