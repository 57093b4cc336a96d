"""What was read of cases, made samples of once the roles of fields and scalars are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from .case_files import CaseFiles, family_of
from .formats import is_trajectory
from .mesh import Frozen, Mesh
from .raw import unchanging
from .reading import MeshFile, MeshFileError
from .roles import Known, Roles, Settings, resolved
from .sample import Case, Field, Sample, Scalar
from .tables import Found, Origin, Table

_MOST = 0.5
T = TypeVar("T")


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


class Assembly:
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
        names = {family_of(f.mesh) if f.later else f.mesh.name for f in self._files}
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
