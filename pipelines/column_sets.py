"""Columns of CF files as what a surrogate learns from: which variables are inputs and outputs."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from fieldcast.meshes import Cases, Columns, Samples, read_columns
from fieldcast.meshes.columns import INTERFACE_PRESSURE, INTERFACES, joined_columns

PRESSURES = ("air_pressure", INTERFACE_PRESSURE)
"""What `read_columns` adds of hybrid levels."""


@dataclass(frozen=True)
class ColumnFiles:
    """What is read of files, by name or standard name, with the pint unit that each is wanted in
    ("": as stated).

    `beside` are variables that no surrogate sees, for scores and figures: pressures of layers or
    interfaces. `names` is what some variables are called from then on. `pressure` adds those of
    hybrid levels, `top_down` is the order of levels.
    """

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    beside: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    pressure: bool = True
    top_down: bool = True

    def __post_init__(self) -> None:
        if not self.inputs or not self.outputs:
            raise ValueError(
                "expected at least one input and one output with their units, got inputs "
                f"{dict(self.inputs)} and outputs {dict(self.outputs)}"
            )
        every = {**self.inputs, **self.outputs, **self.beside}
        if len(every) < len(self.inputs) + len(self.outputs) + len(self.beside):
            raise ValueError("expected each variable as input, output or beside, got one as two")
        unknown = sorted(set(self.names) - set(every))
        if unknown:
            raise ValueError(f"expected names of {sorted(every)}, got those of {unknown}")

    @classmethod
    def read(cls, path: Path) -> ColumnFiles:
        """From a TOML file with the tables inputs, outputs, and the others where needed."""
        try:
            found = tomllib.loads(path.read_text())
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise ValueError(f"{path}: expected a TOML file, got {error}") from error
        return cls.from_dict(found, str(path))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], origin: str = "the model") -> ColumnFiles:
        """The inverse of `to_dict`."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"{origin}: expected keys of {sorted(known)}, got {unknown}")
        if missing := sorted({"inputs", "outputs"} - set(values)):
            raise ValueError(f"{origin}: expected the tables {missing}, they are not there")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, for the card of a model."""
        return asdict(self)

    def called(self, name: str) -> str:
        """What a variable is called once it is read."""
        return self.names.get(name, name)

    def columns(self, source: Any, solved: bool = True) -> ColumnSet:
        """The columns of a file or xarray data set, `solved` with their outputs; errors as
        `read_columns`, with the file's name."""
        path = Path(source) if isinstance(source, (str, Path)) else Path("data set")
        wanted = {**self.inputs, **self.beside, **(self.outputs if solved else {})}
        names = {k: v for k, v in self.names.items() if k in wanted}
        try:
            found = read_columns(
                source, wanted, names=names, pressure=self.pressure, top_down=self.top_down
            )
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        inputs = {self.called(k) for k in self.inputs}
        outputs = {self.called(k) for k in self.outputs} if solved else set()
        apart = sorted(k for k in inputs if k in found.cases.fields and found.cases.fields[k].part)
        if apart:
            raise ValueError(f"{path}: expected inputs on levels, {apart} are on interfaces")
        return ColumnSet(path.stem, found, _samples(found.cases, inputs, outputs))


@dataclass(frozen=True, eq=False)
class ColumnSet:
    """Columns with their place in a file, and the samples that they make."""

    label: str
    columns: Columns
    samples: Samples

    def __len__(self) -> int:
        return len(self.columns)


def _samples(cases: Cases, inputs: set[str], outputs: set[str]) -> Samples:
    """Cases that know their inputs alone, with outputs as truth."""
    own = replace(
        cases,
        meshes={k: m for k, m in cases.meshes.items() if k != INTERFACES},
        parameters={k: s for k, s in cases.parameters.items() if k in inputs},
        fields={k: f for k, f in cases.fields.items() if k in inputs},
    )
    return Samples(
        own,
        {k: f for k, f in cases.fields.items() if k in outputs},
        {k: s for k, s in cases.parameters.items() if k in outputs},
    )


def read_sets(files: ColumnFiles, paths: Sequence[Path]) -> list[ColumnSet]:
    """One set of each file, labelled by its name."""
    sets = [files.columns(path) for path in paths]
    labels = [s.label for s in sets]
    twice = sorted({k for k in labels if labels.count(k) > 1})
    if twice:
        sets = [
            replace(s, label=str(path)) if s.label in twice else s
            for s, path in zip(sets, paths, strict=True)
        ]
    return sets


def read_samples(files: ColumnFiles, paths: Sequence[Path]) -> Samples:
    """The columns of several files as one set of samples.

    Raises:
        ValueError: as `ColumnFiles.columns`, or files on other levels.
    """
    sets = read_sets(files, paths)
    try:
        return joined_columns([s.samples for s in sets])
    except ValueError as error:
        raise ValueError(f"{', '.join(map(str, paths))}: {error}") from error
