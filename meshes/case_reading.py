"""Cases of a folder read one by one by settings that are known beforehand: what becomes of a case
does not depend on its neighbours."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .assembling import in_time, question_in
from .case_files import CaseFiles, find_cases, is_list
from .folder import content_of, folder_beside, settings_of, shared_parts
from .plaid import is_plaid, plaid_cases
from .raw import RawMesh
from .reading import MeshFileError, Reader, mesh_file
from .roles import Settings
from .sample import Case
from .tables import Table, read_tables, row_of

_CHUNK = 2**20
# What stands between the names of files in lists: XDMF has `data.h5:/path`.
_WORDS = re.compile(r"[\s\"'<>=,;:]+")
_FILE = re.compile(r"[^*?]{1,200}\.\w+")


@dataclass(frozen=True)
class ReadCase:
    """A case, and what lies in its main mesh file, without fields."""

    case: Case
    raw: RawMesh


@dataclass(frozen=True)
class CaseReader:
    """Reads the cases of one folder. `tables` are the folder's, read once."""

    settings: Settings
    tables: Mapping[str, Table]
    reader: Reader

    def read(self, files: CaseFiles) -> ReadCase:
        """The case in `files`; what the settings do not name as an input is left out.

        Raises:
            MeshFileError: a file that cannot be used, or an input that is not there.
        """
        raw = self.reader.read_raw(files.mesh)
        steps = [mesh_file(files.mesh, raw), *(self.reader.read(p) for p in files.later)]
        wanted = shared_parts([files], self.settings)
        parts = {n: self.reader.read(files.parts[n]) for n in wanted if n in files.parts}
        try:
            content = content_of(files, in_time(steps), parts, self.tables)
            case = question_in(content, self.settings)
            return ReadCase(case, replace(raw, fields=()))
        except (ValueError, OSError) as error:
            raise MeshFileError(files.mesh, "invalid-input", str(error)) from None


def folder_cases(path: Path, settings: Settings) -> tuple[list[CaseFiles], Settings]:
    """(cases, settings): the cases of a folder (of a PLAID dataset its training split) without
    reading them, and the folder's settings overridden by `settings`.

    Raises:
        ValueError: no case there.
    """
    own = settings_of(path).overridden(settings)
    if is_plaid(path):
        files, own, _ = plaid_cases(path, "train", own)
        return files, own
    return find_cases(path, own), own


def folder_tables(path: Path) -> dict[str, Table]:
    """The tables of parameters that lie beside the cases of `path`, by case."""
    return read_tables(folder_beside(path))


def paths_of(files: CaseFiles) -> tuple[Path, ...]:
    """All files of a case, the main mesh first, with those that a list such as a PVD names."""
    meshes = (files.mesh, *files.later, *files.parts.values())
    named = [other for path in meshes for other in named_in(path)]
    return tuple(dict.fromkeys((*meshes, *named, *files.scalars)))


def named_in(path: Path) -> list[Path]:
    """The files that a list such as a PVD, XDMF or EnSight case names, and what these name."""
    found: dict[Path, None] = {}
    waiting = [path]
    while waiting:
        there = waiting.pop()
        if not (is_list(there) and there.is_file()):
            continue
        words = set(_WORDS.split(there.read_text(errors="replace")))
        # EnSight writes the numbers of times as stars.
        named = [p for w in words if w for p in _there(there.parent, w)]
        new = sorted(p for p in named if p not in found and p != path)
        found |= dict.fromkeys(new)
        waiting += new
    return sorted(found)


def _there(folder: Path, word: str) -> list[Path]:
    """Files of a name as a list gives it."""
    if "**" in word:
        return [p for p in folder.glob(word.replace("*", "[0-9]")) if p.is_file()]
    if not _FILE.fullmatch(word):
        return []
    found = folder / word
    return [found] if found.is_file() else []


def stamp_of(files: CaseFiles, tables: Mapping[str, Table]) -> tuple[int, str]:
    """(bytes, stamp): the size of a case's files, and a text that changes when one of them or its
    row in the tables does, as far as sizes and times of change tell."""
    found = [_found(path) for path in paths_of(files)]
    text = " ".join(f"{size}:{time}" for size, time in found)
    return sum(size for size, _ in found), f"{text} {_row(files, tables)}".strip()


def _found(path: Path) -> tuple[int, int]:
    """(bytes, time of change in ns); of a path into a file those of the file."""
    for there in (path, path.parent):
        try:
            state = there.stat()
        except OSError:
            continue
        return (state.st_size, state.st_mtime_ns) if there.is_file() else (0, state.st_mtime_ns)
    return 0, 0


def _row(files: CaseFiles, tables: Mapping[str, Table]) -> str:
    row = row_of(tables, files.name, files.mesh) if tables else None
    return "" if row is None else hashlib.sha256(_text(row).encode()).hexdigest()[:16]


def _text(row: Table) -> str:
    return repr(sorted((n, f.scalar.value.tolist(), f.scalar.unit) for n, f in row.scalars.items()))


def content_key(files: CaseFiles, tables: Mapping[str, Table], context: str) -> str:
    """sha256 of what a case's files and its row in the tables hold, and of `context`."""
    found = hashlib.sha256(f"{context} {files.name} {_row(files, tables)}".encode())
    for path in paths_of(files):
        found.update(f" {path.name} ".encode())
        there = path if path.is_file() else path.parent  # a path into a file is of the file
        if there.is_file():
            with there.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    found.update(chunk)
    return found.hexdigest()
