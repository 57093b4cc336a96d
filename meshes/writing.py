"""Meshes, samples and predictions written to files: onto the points and cells of the file they
came from, whole or not at all."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .files import write_files
from .formats import PVD, VTP, VTU, Format, format_called, format_of_suffix, sniff
from .mesh import Mesh
from .prediction import Prediction
from .raw import RawMesh, raw_fields, raw_of
from .reading import MeshFileError, Reader
from .sample import Field, Sample, Scalar
from .validation import InvalidMesh

log = logging.getLogger(__name__)

STATUS_NUMBERS = {"ok": 0.0, "warn": 1.0, "reject": 2.0}
_SINGLE_TIME = (".vtu", ".vtp", ".vtk")
_LARGEST_POLY_TYPE = 9
_INSTEAD = "written as {} with the same points, cells and order"


@dataclass(frozen=True)
class Target:
    """Where and in which format something is written; `note` says why it is not the format asked
    for."""

    path: Path
    format: Format
    note: str = ""


def target_of(path: Path, source_format: Format | None, surface: bool, transient: bool) -> Target:
    """The file to write for `path`: its suffix's format, without a suffix that of the source; VTU
    or VTP where that format carries no fields."""
    wanted = format_of_suffix(path.suffix) if path.suffix else source_format
    suffix = path.suffix or (wanted.suffixes[0] if wanted else VTU.suffixes[0])
    plain = VTP if surface else VTU
    if wanted is None or not wanted.carries_fields:
        name = wanted.name if wanted else path.suffix
        note = f"{name} carries no fields: {_INSTEAD.format(plain.name)}"
        wanted, suffix = plain, plain.suffixes[0]
    else:
        note = ""
    if transient and suffix in _SINGLE_TIME:
        note = f"{wanted.name} holds one time: written as PVD with a VTU per time"
        wanted, suffix = PVD, PVD.suffixes[0]
    if wanted is VTP and not surface:
        note = f"VTP holds surfaces and lines only: {_INSTEAD.format(VTU.name)}"
        wanted, suffix = VTU, VTU.suffixes[0]
    return Target(path.with_suffix(suffix), wanted, note)


def native_format(source: str | Path) -> tuple[str, str]:
    """(suffix, note): the suffix that predictions for this file are written with, and, where it is
    another, why.

    Raises:
        MeshFileError: a file of no known format.
    """
    source = Path(source)
    found = _format_in(source)
    target = target_of(
        source.with_suffix(""), found, found.suffixes[0] in (".stl", ".ply", ".obj", ".off"), False
    )
    return target.path.suffix, target.note


def _format_in(source: Path) -> Format:
    try:
        return sniff(source)[0]
    except InvalidMesh as error:
        raise MeshFileError(source, "invalid-input", str(error)) from None


def write_mesh(
    mesh: Mesh,
    path: str | Path,
    fields: Mapping[str, Field] | None = None,
    scalars: Mapping[str, Scalar] | None = None,
) -> Path:
    """A mesh with fields and scalars, its cells in the order of the file it came from. Returns the
    file written."""
    times = max((len(f.values) for f in (fields or {}).values()), default=1)
    raw = raw_of(mesh)
    raw = replace(
        raw,
        fields=raw_fields(fields or {}, mesh, raw.n_cells),
        scalars=dict(scalars or {}),
        times=np.arange(float(times)) if times > 1 else np.zeros(1),
    )
    return _write(raw, Path(path), None, None)


def write_sample(sample: Sample, path: str | Path) -> Path:
    """A sample: known and found fields on the mesh, parameters and scalars as field data. Returns
    the file written.

    Fields of parts go to files beside it, called after the part.
    """
    fields = {**sample.case.fields, **sample.fields}
    scalars = {**sample.case.parameters, **sample.scalars}
    raw = _raw_on(sample.case.mesh, fields, scalars, sample.case.times, None)
    return _write_parts(
        sample.case.parts, fields, sample.case.times, _write(raw, Path(path), None, None)
    )


def write_prediction(
    prediction: Prediction,
    path: str | Path,
    *,
    source: str | Path | RawMesh | None = None,
    levels: Sequence[float] = (),
    reader: Reader | None = None,
    native: RawMesh | None = None,
) -> Path:
    """A prediction on its case's own points and cells. Returns the file written, which may have
    another suffix (logged).

    `source` is the file that the case was read from: its points and cells are kept bit for bit, in
    its order; `native` is what lies in it, where it has been read before. A `path` without suffix
    takes the source's format. Each field has its name, its standard deviation `NAME_std`, and per
    level such as 0.9 the bounds `NAME_lower90`, `NAME_upper90`; scalars, `trust_score` and
    `trust_status` (0 ok, 1 warn, 2 reject) are field data. Fields of the source are not copied, but
    for CGNS, where predictions are added to a copy.

    Raises:
        MeshFileError: a source that cannot be used, or that has other points or cells than the
            case.
    """
    fields, scalars = _answers(prediction, levels)
    case = prediction.case
    original = None if source is None or isinstance(source, RawMesh) else Path(source)
    native = source if isinstance(source, RawMesh) else native
    if original is not None and native is None:
        native = _native(original, case.mesh, reader)
    raw = _raw_on(case.mesh, fields, scalars, case.times, native)
    found = _write(raw, Path(path), original, format_called(native.format) if native else None)
    return _write_parts(case.parts, fields, case.times, found)


def _answers(
    prediction: Prediction, levels: Sequence[float]
) -> tuple[dict[str, Field], dict[str, Scalar]]:
    fields = dict(prediction.mean)
    scalars = {}
    for name, std in (prediction.std or {}).items():
        fields[f"{name}_std"] = std
    for name, e in prediction.scalars.items():
        scalars[name] = Scalar(e.mean, e.unit)
        if e.std is not None:
            scalars[f"{name}_std"] = Scalar(e.std, e.unit)
    for level in levels:
        for label, end in zip(("lower", "upper"), prediction.interval(level), strict=True):
            mark = f"_{label}{100 * level:g}"
            fields |= {name + mark: f for name, f in end.fields.items()}
            scalars |= {name + mark: s for name, s in end.scalars.items()}
    trust = prediction.trust
    scalars["trust_score"] = Scalar(np.array([trust.score]))
    scalars["trust_status"] = Scalar(np.array([STATUS_NUMBERS[trust.status]]))
    return fields, scalars


def _native(source: Path, mesh: Mesh, reader: Reader | None) -> RawMesh:
    if reader is None:
        with Reader() as own:
            raw = own.read_raw(source)
    else:
        raw = reader.read_raw(source)
    cells = mesh.n_cells if mesh.order is None else int(mesh.order.max(initial=-1)) + 1
    if len(raw.points) != len(mesh.points) or raw.n_cells != cells:
        raise MeshFileError(
            source,
            "invalid-input",
            f"expected the case's {len(mesh.points)} points and {cells} cells, "
            f"got {len(raw.points)} and {raw.n_cells}; name the file that the case was read from",
        )
    return raw


def _raw_on(
    mesh: Mesh,
    fields: Mapping[str, Field],
    scalars: Mapping[str, Scalar],
    times: np.ndarray,
    native: RawMesh | None,
) -> RawMesh:
    raw = raw_of(mesh) if native is None else native
    own = {name: f for name, f in fields.items() if not f.part}
    found = raw_fields(own, mesh, raw.n_cells)
    return replace(raw, fields=found, scalars=dict(scalars), times=times, warnings=())


def _write_parts(
    parts: Mapping[str, Mesh], fields: Mapping[str, Field], times: np.ndarray, main: Path
) -> Path:
    """Fields of parts beside the main file, without the part's name before theirs."""
    for part, mesh in parts.items():
        own = {
            name.removeprefix(f"{part}/"): replace(f, part="")
            for name, f in fields.items()
            if f.part == part
        }
        if own:
            raw = _raw_on(mesh, own, {}, times, None)
            _write(raw, main.with_name(f"{main.stem}_{part}.vtu"), None, None)
    return main


def _write(raw: RawMesh, path: Path, source: Path | None, source_format: Format | None) -> Path:
    surface = bool((raw.types <= _LARGEST_POLY_TYPE).all())
    target = target_of(path, source_format, surface, len(raw.times) > 1)
    if target.note:
        log.warning("%s: %s", target.path, target.note)
    same = source if source_format is target.format else None
    try:
        files = target.format.encode(raw, target.path.name, same)
    except InvalidMesh as error:
        if target.format is VTU or target.format is PVD:
            raise
        log.warning("%s: %s", target.path, error)
        return _write(raw, path.with_suffix(VTU.suffixes[0]), source, source_format)
    write_files(target.path.parent, files)
    return target.path
