"""Folders of simulations: a mesh file or a folder per case, scalars beside them, roles by settings
or guessed and said."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import TypeVar

import numpy as np

from .formats import is_trajectory
from .mesh import Frozen, Mesh
from .raw import unchanging
from .reading import MeshFile, MeshFileError, Reader
from .roles import SETTINGS_FILE, Known, Roles, Settings, resolved
from .sample import Case, Field, Sample, Scalar
from .tables import TABLE, Found, Origin, Table, read_scalars, read_tables, row_of

# Suffixes that are meshes without doubt, the likeliest main mesh first.
MESH_SUFFIXES = (
    *(".pvd", ".vtm", ".pvtu", ".vtkhdf", ".xdmf", ".xmf", ".case", ".encas", ".cgns"),
    *(".exo", ".e", ".ex2", ".vtu", ".vtk", ".vtp", ".vts", ".vtr", ".vti", ".med", ".msh"),
    *(".su2", ".inp", ".bdf", ".mesh", ".ply", ".obj", ".off", ".stl", ".avs"),
)
_LISTS = (".pvd", ".vtm", ".pvtu", ".case", ".encas", ".xdmf", ".xmf")
_LARGEST_LIST = 2**20
_GLOB = "*?["
_MOST = 0.5
Progress = Callable[[int, int], None]
T = TypeVar("T")


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case: the main mesh, other meshes by name of their part, files with
    scalars, and the files of later times where each time has its own."""

    name: str
    mesh: Path
    parts: Mapping[str, Path] = field(default_factory=dict)
    scalars: tuple[Path, ...] = ()
    later: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Folder:
    """What a folder holds. `samples` are the cases with their outputs; `cases` all cases, also
    those without.

    `settings` are the resolved roles, to read new cases in the same way; `notes` say what was
    guessed and why; `broken` and `warnings` are by path; `paths` are the main mesh files by case
    name.
    """

    samples: list[Sample]
    cases: list[Case]
    settings: Settings
    notes: tuple[str, ...] = ()
    broken: Mapping[Path, MeshFileError] = field(default_factory=dict)
    warnings: Mapping[Path, tuple[str, ...]] = field(default_factory=dict)
    paths: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Content:
    """One case as read, before roles are known. Fields of parts are `part/name`."""

    files: CaseFiles
    main: MeshFile
    parts: Mapping[str, MeshFile]
    table: Table

    @property
    def fields(self) -> dict[str, Field]:
        found = dict(self.main.fields)
        for part, file in self.parts.items():
            for name, f in file.fields.items():
                found[f"{part}/{name}"] = replace(f, part=part)
        return found

    @property
    def scalars(self) -> dict[str, Found]:
        return dict(self.table.scalars)


def find_cases(path: str | Path, settings: Settings | None = None) -> list[CaseFiles]:
    """The cases of a folder, by name, without reading a mesh. A file is one case, or those of its
    trajectories; mesh files in the folder are one case each, and so is what only has the name of
    one (a folder, a link to nowhere), to be told of; else each folder in it that holds mesh files
    is one.

    Raises:
        ValueError: no mesh file there.
    """
    path, settings = Path(path), settings or Settings()
    runs = _trajectories_in(path, settings)
    if runs:
        return [_trajectory_case(p) for p in runs]
    if path.is_file():
        return [_flat_case(path, [path])]
    if not path.is_dir():
        raise ValueError(f"{path}: expected a folder with mesh files, got no such folder")
    flat = _meshes_in(path, settings.mesh)
    if flat:
        return _flat_cases([*flat, *_no_files_in(path, settings.mesh, {p.stem for p in flat})])
    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = {p: _meshes_in(p, "") for p in folders}
    found = {p: meshes for p, meshes in found.items() if meshes}
    if not found:
        raise ValueError(
            f"{path}: expected mesh files ({', '.join(MESH_SUFFIXES)}) or folders that hold "
            "some, got none; "
            'name them by --mesh or `mesh = "*.dat"` in fieldcast.toml if theirs is a rare suffix'
        )
    main = settings.mesh or main_mesh(found)
    return [case for p, meshes in found.items() if (case := _folder_case(p, meshes, main))]


def _trajectories_in(path: Path, settings: Settings) -> list[Path]:
    if is_trajectory(path):
        return [path]
    if path.is_dir() and _meshes_in(path, ""):
        return []  # HDF5 beside meshes is theirs
    from .trajectories import trajectories

    return trajectories(path, settings.mesh)


def _meshes_in(folder: Path, pattern: str) -> list[Path]:
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    if pattern:
        return [p for p in files if fnmatch(p.name, pattern)]
    meshes = [p for p in files if p.suffix.lower() in MESH_SUFFIXES]
    listed = "\n".join(p.read_text(errors="replace") for p in meshes if is_list(p))
    return [p for p in meshes if p.name not in listed] if listed else meshes


def is_list(path: Path) -> bool:
    """Whether it is a small file that names others."""
    return path.suffix.lower() in _LISTS and path.is_file() and path.stat().st_size < _LARGEST_LIST


def _no_files_in(folder: Path, pattern: str, taken: set[str]) -> list[Path]:
    """What is named as a mesh file and is none."""
    suffixes = {Path(pattern).suffix} if pattern else set(MESH_SUFFIXES)
    return [
        p
        for p in folder.iterdir()
        if p.suffix and p.suffix.lower() in suffixes and not p.is_file()
        if not p.name.startswith(".") and p.stem not in taken and fnmatch(p.name, pattern or "*")
    ]


def _flat_cases(meshes: Sequence[Path]) -> list[CaseFiles]:
    by_stem: dict[str, list[Path]] = {}
    for p in meshes:
        by_stem.setdefault(p.stem, []).append(p)
    cases = [_flat_case(min(files, key=_preference), files) for files in by_stem.values()]
    return sorted(cases, key=lambda case: case.mesh.name)


def _trajectory_case(path: Path) -> CaseFiles:
    return CaseFiles(f"{path.parent.stem}_{path.name}", path)


def _preference(path: Path) -> tuple[int, str]:
    suffix = path.suffix.lower()
    place = MESH_SUFFIXES.index(suffix) if suffix in MESH_SUFFIXES else len(MESH_SUFFIXES)
    return place, path.name


def _flat_case(mesh: Path, files: Sequence[Path]) -> CaseFiles:
    beside = mesh.with_suffix(".json")
    return CaseFiles(mesh.stem, mesh, {}, (beside,) if beside.is_file() else ())


def _folder_case(folder: Path, meshes: Sequence[Path], main: str) -> CaseFiles | None:
    chosen = [p for p in meshes if fnmatch(p.name, main)]
    several = any(c in main for c in _GLOB)
    if not chosen and not several and (folder / main).is_file():
        chosen = [folder / main]
    if not chosen:
        return None
    series = _numbered(chosen) if several else chosen[:1]
    parts = {p.stem: p for p in meshes if p not in series}
    scalars = tuple(sorted(p for p in folder.glob("*.json") if p.is_file()))
    return CaseFiles(folder.name, series[0], parts, scalars, tuple(series[1:]))


def _family(path: Path) -> str:
    """The pattern of the files that have the same name but for the number at its end."""
    return (
        path.name if path.stem == _prefix(path) else f"{glob.escape(_prefix(path))}*{path.suffix}"
    )


def _prefix(path: Path) -> str:
    return path.stem.rstrip("0123456789")


def _numbered(meshes: Sequence[Path]) -> list[Path]:
    """The first and its family, by their numbers: a series in time."""
    same = [p for p in meshes if _family(p) == _family(meshes[0])]
    if len(same) == 1:
        return same
    return sorted(same, key=lambda p: int(p.stem.removeprefix(_prefix(p))))


def main_mesh(folders: Mapping[Path, Sequence[Path]]) -> str:
    """The name of the file that is the mesh of most cases, a pattern where it is one of numbered
    files; among equals the likeliest suffix, then the largest."""
    counts: Counter[str] = Counter()
    first: dict[str, Path] = {}
    for meshes in folders.values():
        families = Counter(_family(p) for p in meshes)
        names = {p: f if families[f := _family(p)] > 1 else p.name for p in meshes}
        counts.update(set(names.values()))
        for p, name in names.items():
            first.setdefault(name, p)
    if counts.most_common(1)[0][1] == 1 and len(folders) > 1:
        suffixes = Counter(p.suffix for meshes in folders.values() for p in meshes)
        return f"*{max(suffixes, key=lambda s: (suffixes[s], -_preference(Path('x' + s))[0]))}"

    def rank(name: str) -> tuple[int, int, int]:
        return counts[name], -_preference(first[name])[0], first[name].stat().st_size

    return max(counts, key=rank)


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
    return _Assembly(settings, files, broken, _mesh_notes(files, settings)).folder(contents)


def settings_of(path: Path) -> Settings:
    toml = folder_beside(path) / SETTINGS_FILE
    return Settings.from_toml(toml) if toml.is_file() else Settings()


def folder_beside(path: Path) -> Path:
    """The folder that settings and tables for a path lie in."""
    return next(p for p in (path, *path.absolute().parents) if p.is_dir())


def _mesh_notes(files: Sequence[CaseFiles], settings: Settings) -> list[str]:
    if settings.mesh:
        return []
    series = Counter(_family(f.mesh) for f in files if f.later)
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


def in_time(steps: Sequence[MeshFile]) -> MeshFile:
    """One file of several that hold one time each.

    Raises:
        ValueError: meshes that differ.
    """
    first = steps[0]
    if len(steps) == 1:
        return first
    if any(step.mesh != first.mesh for step in steps):
        raise ValueError("expected one mesh for all times, got several; make a case of each time")
    fields = {
        name: f.with_values(np.concatenate([step.fields[name].values for step in steps]))
        for name, f in first.fields.items()
        if all(name in step.fields for step in steps)
    }
    scalars = {
        name: Scalar(unchanging([step.scalars[name].value[:1] for step in steps]), s.unit)
        for name, s in first.scalars.items()
        if all(name in step.scalars for step in steps)
    }
    times = np.concatenate([step.times[:1] for step in steps])
    odd = tuple(dict.fromkeys(w for step in steps for w in step.warnings))
    if not (np.diff(times) > 0).all():
        odd = (*odd, f"no rising times in the {len(steps)} files: counted 0, 1, 2, ...")
        times = np.arange(float(len(steps)))
    return replace(first, fields=fields, scalars=scalars, times=times, warnings=odd)


def known_in(contents: Sequence[Content]) -> Known:
    fields = Counter(name for c in contents for name in c.fields)
    scalars = Counter(name for c in contents for name in c.scalars)
    origins: dict[str, Origin] = {}
    values: dict[str, set[bytes]] = {}
    for c in contents:
        for name, found in c.scalars.items():
            origins.setdefault(name, found.origin)
            values.setdefault(name, set()).add(found.scalar.value.tobytes())
    most = _MOST * len(contents)
    constant = {name for name, seen in values.items() if len(seen) == 1 and len(contents) > 1}
    return Known(
        tuple(name for name, n in fields.items() if n >= most),
        {name: origins[name] for name, n in scalars.items() if n >= most},
        frozenset(constant),
    )


def _rare(contents: Sequence[Content], known: Known) -> list[str]:
    notes = []
    scalars = Counter(name for c in contents for name in c.scalars)
    fields = Counter(name for c in contents for name in c.fields)
    kinds = (("field", fields, known.fields), ("scalar", scalars, known.scalars))
    for kind, counts, kept in kinds:
        notes += [
            f"ignored {kind} {name}: only {n} of {len(contents)} cases have it"
            for name, n in counts.items()
            if name not in kept
        ]
    ignored: dict[str, str] = {}
    for c in contents:
        ignored |= c.table.ignored
    named = set(scalars)
    return notes + [f"ignored {name}: {why}" for name, why in ignored.items() if name not in named]


class _Assembly:
    """Makes samples of contents once roles are known, and collects what does not fit."""

    def __init__(
        self,
        settings: Settings,
        files: Sequence[CaseFiles],
        broken: dict[Path, MeshFileError],
        notes: list[str],
    ) -> None:
        self._settings = settings
        self._files = files
        self._broken = dict(broken)
        self._notes = list(notes)
        self._warnings: dict[Path, tuple[str, ...]] = {}

    def folder(self, contents: Sequence[Content]) -> Folder:
        """The folder's content.

        Raises:
            ValueError: settings that name what no case has.
        """
        known = known_in(contents)
        roles, guessed = resolved(self._settings, known, strict=bool(contents))
        self._notes += guessed + _rare(contents, known)
        for c in contents:
            found = tuple(w for file in (c.main, *c.parts.values()) for w in file.warnings)
            if found:
                self._warnings[c.files.mesh] = found
        contents = self._of_one_shape(contents, roles)
        made = [(c, m) for c in contents if (m := self._made(c, roles)) is not None]
        has_outputs = bool(roles.output_fields or roles.output_scalars)
        samples = [m for _, m in made] if has_outputs else []
        if not has_outputs:
            self._notes.append("no outputs found: these are cases to predict, not samples to learn")
        self._report_twins(made)
        return Folder(
            samples,
            [m.case for _, m in made],
            self._resolved_settings(contents, roles),
            tuple(self._notes),
            Frozen(self._broken),
            Frozen(self._warnings),
            Frozen({c.files.name: c.files.mesh for c, _ in made}),
        )

    def _of_one_shape(self, contents: Sequence[Content], roles: Roles) -> list[Content]:
        """The contents whose fields have the components and place that most have; others are
        broken."""
        kept = list(contents)
        for name in (*roles.input_fields, *roles.output_fields):
            shapes = Counter(_shape(c, name) for c in kept if name in c.fields)
            if len(shapes) < 2:
                continue
            usual = shapes.most_common(1)[0][0]
            for c in [c for c in kept if name in c.fields and _shape(c, name) != usual]:
                text = (
                    f"expected field {name!r} of (components, place) {usual} as in most cases, "
                    f"got {_shape(c, name)}"
                )
                self._break(c, text)
                kept.remove(c)
        return kept

    def _break(self, content: Content, text: str) -> None:
        path = content.files.mesh
        self._broken[path] = MeshFileError(path, "invalid-input", text)

    def _made(self, c: Content, roles: Roles) -> Sample | None:
        try:
            return sample_of(c, roles, self._settings)
        except ValueError as error:
            self._break(c, str(error))
            return None

    def _report_twins(self, made: Sequence[tuple[Content, Sample]]) -> None:
        seen: dict[str, Content] = {}
        for c, sample in made:
            if sample.id in seen:
                path = c.files.mesh
                twin = f"the same content as {seen[sample.id].files.name}"
                self._warnings[path] = (*self._warnings.get(path, ()), twin)
                self._notes.append(f"{c.files.name}: {twin}")
            seen.setdefault(sample.id, c)

    def _resolved_settings(self, contents: Sequence[Content], roles: Roles) -> Settings:
        parts = sorted({part for c in contents for part in c.parts})
        return replace(
            self._settings,
            mesh=self._resolved_mesh(),
            inputs=roles.names("input"),
            outputs=roles.names("output"),
            parts=tuple(parts),
        )

    def _resolved_mesh(self) -> str:
        if any(is_trajectory(f.mesh) for f in self._files):
            return ""
        if self._settings.mesh or all(f.mesh.stem == f.name for f in self._files):
            return self._settings.mesh
        names = {_family(f.mesh) if f.later else f.mesh.name for f in self._files}
        return names.pop() if len(names) == 1 else f"*{self._files[0].mesh.suffix}"


def _shape(c: Content, name: str) -> tuple[int, str]:
    f = c.fields[name]
    return f.values.shape[2], f.on


def sample_of(c: Content, roles: Roles, settings: Settings) -> Sample:
    """The sample in a content under resolved roles.

    Raises:
        ValueError: a field or scalar that is not there, or values that are not finite.
    """
    fields, scalars = c.fields, {name: found.scalar for name, found in c.scalars.items()}
    kinds = (roles.input_fields, roles.output_fields, roles.input_scalars, roles.output_scalars)
    taken = {*roles.input_fields, *roles.output_fields}
    chosen: list[dict[str, Field]] = [
        {n: _labelled(_needed(fields, n, "field"), n, settings) for n in names}
        for names in kinds[:2]
    ]
    for name in settings.start:
        first = _needed(fields, name, "field")
        first = first.with_values(first.values[:1])
        chosen[0][name] = _labelled(first, name, settings)
    numbers: list[dict[str, Scalar]] = [
        {n: _measured(_needed(scalars, n, "scalar"), n, settings, n in taken) for n in names}
        for names in kinds[2:]
    ]
    factor = _metres(settings.length_unit)
    mesh = _with_regions(c.main.mesh, fields, settings)
    case = Case(
        mesh if factor == 1.0 else mesh.scaled(factor),
        numbers[0],
        chosen[0],
        {
            part: file.mesh if factor == 1.0 else file.mesh.scaled(factor)
            for part, file in c.parts.items()
        },
        c.main.times,
        c.files.name,
    )
    return Sample(case, chosen[1], numbers[1])


def _with_regions(mesh: Mesh, fields: Mapping[str, Field], settings: Settings) -> Mesh:
    """Points whose number in a field names a region belong to it."""
    found = dict(mesh.regions)
    for name, named in settings.regions.items():
        numbers = _needed(fields, name, "field")
        if numbers.on != "point" or numbers.part or numbers.values.shape[2] != 1:
            raise ValueError(f"field {name!r}: expected a number on each point to name regions by")
        for region in named.values():
            wanted = [float(number) for number, other in named.items() if other == region]
            found[region] = np.flatnonzero(np.isin(numbers.values[0, :, 0], wanted))
    return replace(mesh, regions=found) if settings.regions else mesh


def _metres(length_unit: str) -> float:
    if not length_unit:
        return 1.0
    from .units import conversion

    return conversion(length_unit, "m")[0]


def _needed(found: Mapping[str, T], name: str, kind: str) -> T:
    if name not in found:
        raise ValueError(
            f"expected {kind} {name!r}, got {sorted(found) or 'none'}; add it, or take it out of "
            "the settings"
        )
    return found[name]


def _labelled(f: Field, name: str, settings: Settings) -> Field:
    if not np.isfinite(f.values).all():
        raise ValueError(f"field {name!r}: expected finite values, got NaN or infinity")
    unit = settings.unit_of(name, "field", f.unit)
    return f if unit == f.unit else replace(f, unit=unit)


def _measured(s: Scalar, name: str, settings: Settings, shared: bool) -> Scalar:
    unit = settings.unit_of(name, "scalar", s.unit, shared)
    return s if unit == s.unit else replace(s, unit=unit)


def _single(
    path: Path, settings: Settings | None, reader: Reader | None
) -> tuple[Content, Settings]:
    """The one case in `path`, with the settings that hold for it."""
    beside = folder_beside(path)
    own = settings_of(beside).overridden(settings or Settings())
    files = _files_of_one(path, own)
    if reader is None:
        with Reader() as started:
            contents, broken = _read_all([files], own, beside, None, started)
    else:
        contents, broken = _read_all([files], own, beside, None, reader)
    for error in broken.values():
        raise error
    return contents[0], own


def _files_of_one(path: Path, settings: Settings) -> CaseFiles:
    if is_trajectory(path):
        return _trajectory_case(path)
    if path.is_file():
        return _flat_case(path, [path])
    if not path.is_dir():
        raise MeshFileError(path, "invalid-input", "expected a file or folder, got no such path")
    meshes = _meshes_in(path, "")
    found = (
        _folder_case(path, meshes, settings.mesh or main_mesh({path: meshes})) if meshes else None
    )
    if found is None:
        wanted = settings.mesh or "a mesh file"
        raise MeshFileError(path, "invalid-input", f"expected {wanted} in the folder, got none")
    return found


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


def question_in(content: Content, settings: Settings, named: bool = True) -> Case:
    """The case in a content, without what is to be predicted. `named`: inputs that the settings
    name must be there.

    Raises:
        ValueError: an input that is not there, or values that are not finite.
    """
    known = known_in([content])
    wanted = replace(settings, outputs=())
    if named and settings.inputs:
        roles = _named_inputs(wanted, known)
    else:
        roles, _ = resolved(wanted, known)
    roles = Roles(roles.input_fields, (), roles.input_scalars, ())
    return sample_of(content, roles, settings).case


def _as_scalar(value: Scalar | float | int) -> Scalar:
    return value if isinstance(value, Scalar) else Scalar(np.array([float(value)]))


def _named_inputs(settings: Settings, known: Known) -> Roles:
    """The inputs that the settings name, also where the case lacks them (the error then names
    them)."""
    plain = [n for n in settings.inputs if not n.startswith(("field:", "scalar:"))]
    missing = [n for n in plain if n not in known.fields and n not in known.scalars]
    roles, _ = resolved(settings, known, strict=False)
    prefixed = [n.partition(":") for n in settings.inputs if n not in plain]
    fields = [rest for kind, _, rest in prefixed if kind == "field" and rest not in known.fields]
    scalars = [rest for kind, _, rest in prefixed if kind == "scalar" and rest not in known.scalars]
    return Roles((*roles.input_fields, *fields), (), (*roles.input_scalars, *scalars, *missing), ())


def sample_in(path: Path, settings: Settings | None, reader: Reader | None) -> Sample:
    """The sample in a file or folder; see `reading.read_sample`."""
    content, own = _single(path, settings, reader)
    try:
        roles, _ = resolved(own, known_in([content]))
        return sample_of(content, roles, own)
    except ValueError as error:
        raise MeshFileError(path, "invalid-input", str(error)) from None
