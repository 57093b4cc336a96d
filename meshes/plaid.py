"""PLAID datasets on disk: `infos.yaml`, `problem_definitions/*.yaml`,
`data/<split>/sample_*/meshes/*.cgns`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .assembling import Folder
from .case_files import CaseFiles
from .folder import read_files
from .reading import Reader
from .roles import Settings

_SAMPLE = re.compile(r"sample_(\d+)$")
_LARGEST_YAML = 64 * 2**20
_GEOMETRY = ("GridCoordinates", "ElementConnectivity", "ElementRange", "Elements_")


@dataclass(frozen=True)
class Problem:
    """A problem definition: what a model is given and asked for, and which samples are for what."""

    name: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    splits: Mapping[str, tuple[int, ...] | None] | None = None


def is_plaid(path: str | Path) -> bool:
    """Whether a folder is a PLAID dataset."""
    path = Path(path)
    return (path / "infos.yaml").is_file() and (path / "data").is_dir()


def _yaml(path: Path) -> Any:
    import yaml

    if path.stat().st_size > _LARGEST_YAML:
        raise ValueError(
            f"{path}: expected YAML of at most 64 MiB, got {path.stat().st_size} bytes"
        )
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected YAML, got {error}") from None


def problems(path: str | Path) -> list[Problem]:
    """The problem definitions of a dataset, by name."""
    found = []
    for file in sorted((Path(path) / "problem_definitions").glob("*.yaml")):
        content = _yaml(file) or {}
        if not isinstance(content, dict):
            raise ValueError(f"{file}: expected names and lists, got {type(content).__name__}")
        splits = {
            split: ids
            for key in ("train_split", "test_split")
            for split, ids in _splits(content.get(key)).items()
        }
        found.append(
            Problem(
                file.stem,
                _features(content, "input"),
                _features(content, "output"),
                splits,
            )
        )
    return found


def _features(content: Mapping[str, Any], role: str) -> tuple[str, ...]:
    """Names of fields and scalars; what is geometry is known anyway."""
    keys = (
        f"{role}_features",
        f"{role}_scalars",
        f"{role}_fields",
        f"{role}_scalars_names",
        f"{role}_fields_names",
    )
    named = [str(n) for key in keys for n in content.get(key) or ()]
    kept = [n for n in named if not any(mark in n for mark in _GEOMETRY)]
    return tuple(dict.fromkeys(n.rsplit("/", 1)[-1] for n in kept))


def _splits(content: Any) -> dict[str, tuple[int, ...] | None]:
    """Ids of each split; None is all of it."""
    if not isinstance(content, Mapping):
        return {}
    return {
        str(split): None if ids == "all" else tuple(int(i) for i in ids)
        for split, ids in content.items()
    }


def read_plaid(
    path: str | Path,
    split: str = "train",
    *,
    settings: Settings | None = None,
    progress: Callable[[int, int], None] | None = None,
    reader: Reader | None = None,
    first: int | None = None,
) -> Folder:
    """The samples of one split, or the `first` of them, with the roles of the first problem
    definition unless `settings` give others.

    Samples that the dataset declares and that are not there are a note, not an error.

    Raises:
        ValueError: no such split, or no sample in it.
    """
    path, settings = Path(path), settings or Settings()
    if reader is None:
        with Reader() as own:
            return read_plaid(
                path, split, settings=settings, progress=progress, reader=own, first=first
            )
    files, settings, notes = plaid_cases(path, split, settings)
    folder = read_files(files[:first], settings, path, progress, reader)
    return replace(folder, notes=(*notes, *folder.notes))


def plaid_cases(
    path: Path, split: str, settings: Settings
) -> tuple[list[CaseFiles], Settings, list[str]]:
    """(cases, settings, notes): the samples of one split without reading them, with the roles of
    the first problem definition unless `settings` give others.

    Raises:
        ValueError: no such split, or no sample in it.
    """
    defined = problems(path)
    notes = []
    if defined:
        chosen = defined[0]
        settings = Settings(inputs=chosen.inputs, outputs=chosen.outputs).overridden(settings)
        notes.append(f"roles: the problem definition {chosen.name!r}")
        if len(defined) > 1:
            notes.append(f"other problem definitions: {[p.name for p in defined[1:]]}")
    files, missing = _case_files(path, split, defined)
    return files, settings, [*notes, *missing]


def _case_files(
    path: Path, split: str, defined: Sequence[Problem]
) -> tuple[list[CaseFiles], list[str]]:
    there = {p.name for p in (path / "data").iterdir() if p.is_dir()}
    ids = next((p.splits[split] for p in defined if p.splits and split in p.splits), None)
    if split not in there:
        raise ValueError(
            f"{path}: expected a split of {sorted(there)}, got {split!r}; its samples are "
            "declared at best, not there"
        )
    found = {
        int(match[1]): p
        for p in sorted((path / "data" / split).iterdir())
        if (match := _SAMPLE.search(p.name))
    }
    chosen = found if ids is None else {i: found[i] for i in ids if i in found}
    files = [case for p in chosen.values() if (case := _sample_files(p))]
    if not files:
        raise ValueError(f"{path}: expected samples in data/{split}, got none")
    return files, _missing(path, there, {split: len(files)})


def _sample_files(sample: Path) -> CaseFiles | None:
    meshes = sorted((sample / "meshes").glob("*.cgns"))
    if not meshes:
        return None
    scalars = tuple(p for p in (sample / "scalars.csv", sample / "scalars.json") if p.is_file())
    return CaseFiles(sample.name, meshes[0], {}, scalars, tuple(meshes[1:]))


def _missing(path: Path, there: set[str], read: Mapping[str, int]) -> list[str]:
    infos = _yaml(path / "infos.yaml")
    declared = infos.get("num_samples") if isinstance(infos, dict) else None
    notes = []
    for split, n in (declared or {}).items():
        folder = path / "data" / str(split)
        got = len(list(folder.glob("sample_*"))) if split in there else 0
        if got != n:
            notes.append(f"warning: {n} samples of split {split!r} are declared, {got} are there")
    return notes
