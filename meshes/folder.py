"""Folders of simulations: a mesh file or a folder per case, scalars beside them, roles by settings
or guessed and said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from .assembling import Assembly, Content, Folder, in_time, known_in, question_in, sample_of
from .case_files import CaseFiles, family_of, files_of_one, find_cases
from .reading import MeshFile, MeshFileError, Reader
from .roles import SETTINGS_FILE, Settings, resolved
from .sample import Case, Sample, Scalar
from .tables import TABLE, Found, Table, read_scalars, read_tables, row_of

Progress = Callable[[int, int], None]


def read_folder(
    path: str | Path,
    settings: Settings | None = None,
    *,
    progress: Progress | None = None,
    reader: Reader | None = None,
    first: int | None = None,
) -> Folder:
    """All cases of a folder (or of a PLAID dataset), or the `first` of them. `settings` override
    the folder's `fieldcast.toml`.

    Files that cannot be used are in `broken`, oddities in `warnings`; neither stops the reading of
    the others. `progress(done, total)` is called after each case.

    Raises:
        ValueError: no case there; settings that name what no case has.
    """
    from .plaid import is_plaid, read_plaid

    path = Path(path)
    settings = settings_of(path).overridden(settings or Settings())
    if reader is None:
        with Reader() as own:
            return read_folder(path, settings, progress=progress, reader=own, first=first)
    if is_plaid(path):
        return read_plaid(path, settings=settings, progress=progress, reader=reader, first=first)
    return read_files(find_cases(path, settings)[:first], settings, path, progress, reader)


def read_files(
    files: Sequence[CaseFiles],
    settings: Settings,
    path: Path,
    progress: Progress | None,
    reader: Reader,
) -> Folder:
    """The content of cases whose files are known; `path` holds the table of parameters, if there
    is one."""
    contents, broken = _read_all(files, settings, path, progress, reader)
    return Assembly(settings, files, broken, _mesh_notes(files, settings)).folder(contents)


def settings_of(path: Path) -> Settings:
    toml = folder_beside(path) / SETTINGS_FILE
    return Settings.from_toml(toml) if toml.is_file() else Settings()


def folder_beside(path: Path) -> Path:
    """The folder that settings and tables for a path lie in."""
    return next(p for p in (path, *path.absolute().parents) if p.is_dir())


def _mesh_notes(files: Sequence[CaseFiles], settings: Settings) -> list[str]:
    if settings.mesh:
        return []
    series = Counter(family_of(f.mesh) for f in files if f.later)
    notes = [f"mesh {name}: the times of {n} cases by their numbers" for name, n in series.items()]
    if not any(f.parts for f in files):
        return notes
    counts = Counter(f.mesh.name for f in files)
    others = sorted({part for f in files for part in f.parts})
    return notes + [
        f"mesh {name}: the main mesh of {n} cases by its name and type; beside it {others}"
        for name, n in counts.items()
    ]


def _read_all(
    files: Sequence[CaseFiles],
    settings: Settings,
    path: Path,
    progress: Progress | None,
    reader: Reader,
) -> tuple[list[Content], dict[Path, MeshFileError]]:
    tables = read_tables(folder_beside(path))
    shared = shared_parts(files, settings)
    paths = [
        p
        for f in files
        for p in (f.mesh, *f.later, *(f.parts[name] for name in shared if name in f.parts))
    ]
    answers = reader.read_many(paths)
    contents, broken = [], {}
    for i, f in enumerate(files):
        steps = [next(answers) for _ in (f.mesh, *f.later)]
        parts = {name: next(answers) for name in shared if name in f.parts}
        errors = [a for a in (*steps, *parts.values()) if isinstance(a, MeshFileError)]
        try:
            if not errors:
                contents.append(content_of(f, in_time(steps), parts, tables))  # type: ignore[arg-type]
        except ValueError as error:
            errors = [MeshFileError(f.mesh, "invalid-input", str(error))]
        broken.update({error.path: error for error in errors})
        if progress:
            progress(i + 1, len(files))
    return contents, broken


def shared_parts(files: Sequence[CaseFiles], settings: Settings) -> list[str]:
    """The parts to read: those named in the settings, else those that every case has."""
    if settings.parts is not None:
        return list(settings.parts)
    named = {n.removeprefix("field:").partition("/") for n in (*settings.inputs, *settings.outputs)}
    wanted = {part for part, slash, _ in named if slash}
    every = set.intersection(*(set(f.parts) for f in files)) if files else set()
    return sorted(every | (wanted & {p for f in files for p in f.parts}))


def content_of(
    files: CaseFiles, main: MeshFile, parts: Mapping[str, MeshFile], tables: Mapping[str, Table]
) -> Content:
    table = Table({name: Found(s, "field data") for name, s in main.scalars.items()})
    for p in files.scalars:
        if files.mesh.parent != p.parent or p.stem != TABLE or files.mesh.stem != files.name:
            table = table.joined(read_scalars(p, len(main.times)))
    return Content(files, main, parts, table.joined(row_of(tables, files.name, files.mesh)))


def _single(
    path: Path, settings: Settings | None, reader: Reader | None
) -> tuple[Content, Settings]:
    """The one case in `path`, with the settings that hold for it."""
    beside = folder_beside(path)
    own = settings_of(beside).overridden(settings or Settings())
    files = files_of_one(path, own)
    if reader is None:
        with Reader() as started:
            contents, broken = _read_all([files], own, beside, None, started)
    else:
        contents, broken = _read_all([files], own, beside, None, reader)
    for error in broken.values():
        raise error
    return contents[0], own


def case_in(
    path: Path,
    parameters: Mapping[str, Scalar | float | int],
    settings: Settings | None,
    reader: Reader | None,
) -> Case:
    """The case in a file or folder; see `reading.read_case`."""
    content, own = _single(path, settings, reader)
    given = {name: _as_scalar(value) for name, value in parameters.items()}
    extra = {name: Found(s, "parameters") for name, s in given.items()}
    content = replace(content, table=content.table.joined(Table(extra)))
    try:
        return question_in(content, own, named=settings is not None)
    except ValueError as error:
        raise MeshFileError(path, "invalid-input", str(error)) from None


def _as_scalar(value: Scalar | float | int) -> Scalar:
    return value if isinstance(value, Scalar) else Scalar(np.array([float(value)]))


def sample_in(path: Path, settings: Settings | None, reader: Reader | None) -> Sample:
    """The sample in a file or folder; see `reading.read_sample`."""
    content, own = _single(path, settings, reader)
    try:
        roles, _ = resolved(own, known_in([content]))
        return sample_of(content, roles, own)
    except ValueError as error:
        raise MeshFileError(path, "invalid-input", str(error)) from None
