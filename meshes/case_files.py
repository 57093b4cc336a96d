"""Which files make a case: found by their names, without reading a mesh."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from .formats import is_trajectory
from .reading import MeshFileError
from .roles import Settings

# Suffixes that are meshes without doubt, the likeliest main mesh first.
MESH_SUFFIXES = (
    *(".pvd", ".vtm", ".pvtu", ".vtkhdf", ".xdmf", ".xmf", ".case", ".encas", ".cgns"),
    *(".exo", ".e", ".ex2", ".vtu", ".vtk", ".vtp", ".vts", ".vtr", ".vti", ".med", ".msh"),
    *(".su2", ".inp", ".bdf", ".mesh", ".ply", ".obj", ".off", ".stl", ".avs"),
)
_LISTS = (".pvd", ".vtm", ".pvtu", ".case", ".encas", ".xdmf", ".xmf")
_LARGEST_LIST = 2**20
_GLOB = "*?["


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case: the main mesh, other meshes by name of their part, files with
    scalars, and the files of later times where each time has its own."""

    name: str
    mesh: Path
    parts: Mapping[str, Path] = field(default_factory=dict)
    scalars: tuple[Path, ...] = ()
    later: tuple[Path, ...] = ()


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


def family_of(path: Path) -> str:
    """The pattern of the files that have the same name but for the number at its end."""
    return (
        path.name if path.stem == _prefix(path) else f"{glob.escape(_prefix(path))}*{path.suffix}"
    )


def _prefix(path: Path) -> str:
    return path.stem.rstrip("0123456789")


def _numbered(meshes: Sequence[Path]) -> list[Path]:
    """The first and its family, by their numbers: a series in time."""
    same = [p for p in meshes if family_of(p) == family_of(meshes[0])]
    if len(same) == 1:
        return same
    return sorted(same, key=lambda p: int(p.stem.removeprefix(_prefix(p))))


def main_mesh(folders: Mapping[Path, Sequence[Path]]) -> str:
    """The name of the file that is the mesh of most cases, a pattern where it is one of numbered
    files; among equals the likeliest suffix, then the largest."""
    counts: Counter[str] = Counter()
    first: dict[str, Path] = {}
    for meshes in folders.values():
        families = Counter(family_of(p) for p in meshes)
        names = {p: f if families[f := family_of(p)] > 1 else p.name for p in meshes}
        counts.update(set(names.values()))
        for p, name in names.items():
            first.setdefault(name, p)
    if counts.most_common(1)[0][1] == 1 and len(folders) > 1:
        suffixes = Counter(p.suffix for meshes in folders.values() for p in meshes)
        return f"*{max(suffixes, key=lambda s: (suffixes[s], -_preference(Path('x' + s))[0]))}"

    def rank(name: str) -> tuple[int, int, int]:
        return counts[name], -_preference(first[name])[0], first[name].stat().st_size

    return max(counts, key=rank)


def files_of_one(path: Path, settings: Settings) -> CaseFiles:
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
