"""Which names are inputs and which are outputs: as the user says, else guessed from names, with
the reason."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from .tables import Origin
from .units import check_unit

Kind = Literal["field", "scalar"]
SETTINGS_FILE = "fieldcast.toml"
_UNIT_ENDING = re.compile(r"_(deg|rad|m|mm|pa|kpa|mpa|gpa|k|c|kg|n|kn|hz|ms)$", re.IGNORECASE)
_INPUT = re.compile(
    r"(alpha|aoa|angle.*|beta|re|reynolds.*|mach.*|ma|u|v|w|[uv]_?inf.*|velocity.*|inlet.*|.*_in|inflow.*|e|young.*|nu|poisson.*|rho|"
    r"density|mu|viscosity|k|kappa|.*conductivity|load.*|.*_load|p|thickness.*|length.*|width.*|height.*|radius.*|"
    r"diameter.*|r\d*|l\d*|h\d*|d|[tfp][xyz]|param.*|x\d+|theta\d*|c_?rate|source|heat_?flux|amplitude.*|omega|"
    r"input.*)",
    re.IGNORECASE,
)
_OUTPUT = re.compile(
    r"(c_?[ldmpfxyz]|(max|min|mean|avg|total|sum|rms|peak|drag|lift|compliance|force|moment|torque|efficiency|loss|output).*|"
    r".*_(max|min|mean|avg|total|rms|peak))",
    re.IGNORECASE,
)
_BOOKKEEPING = re.compile(
    r"(n_.*|num_.*|.*_s|.*_time|iter.*|.*converged.*|residual.*|seed|id|index|case|.*_std(_.*)?|version|node_type|.*globalnodeid|"
    r"globalelementid|objectid|elementid|globalids?|vtk.*ids?|gmsh:.*|cell_tags|medit:ref|global_id)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Settings:
    """What a folder's names mean. It travels with a model, so that new cases are read as the
    training cases were.

    `mesh` is the mesh file of a case folder, or a pattern of the mesh files in a flat folder ("" =
    guess). `inputs` and `outputs` name fields and scalars; `field:U` and `scalar:U` tell two of
    one name apart, a plain name is the field first. Fields of another mesh of a case are
    `part/name`, as in `airfoil/p`. `parts` are the other meshes to read (None = all that every
    case has). `start` names fields whose first time is known beforehand. `regions` maps a field of
    numbers on points to the region that each number names. `units` maps names to pint strings;
    `length_unit` is the unit of coordinates ("" = m).
    """

    mesh: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    parts: tuple[str, ...] | None = None
    start: tuple[str, ...] = ()
    regions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    length_unit: str = ""

    def __post_init__(self) -> None:
        both = set(self.inputs) & set(self.outputs)
        if both:
            raise ValueError(
                f"expected names that are inputs or outputs, got {sorted(both)} as both"
            )
        both = set(self.inputs) & set(self.start)
        if both:
            raise ValueError(
                f"expected names of inputs or of start, got {sorted(both)} as both; start gives "
                "the first time, inputs all"
            )
        for unit in (*self.units.values(), self.length_unit):
            if unit:
                check_unit(unit)

    def as_dict(self) -> dict[str, Any]:
        """As plain lists and dictionaries, for JSON."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        found["units"] = dict(self.units)
        found["regions"] = {name: dict(named) for name, named in self.regions.items()}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in found.items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], where: str = "settings") -> Settings:
        """The inverse of `as_dict`.

        Raises:
            ValueError: a key that is not known, or a value of another type.
        """
        known = {f.name for f in fields(cls)}
        unknown = set(content) - known
        if unknown:
            raise ValueError(f"{where}: expected keys of {sorted(known)}, got {sorted(unknown)}")
        values = dict(content)
        for name in ("inputs", "outputs", "parts", "start"):
            if values.get(name) is not None:
                values[name] = _names(values[name], f"{where}: {name}")
        for name in ("mesh", "length_unit"):
            if not isinstance(values.get(name, ""), str):
                raise ValueError(f"{where}: expected text as {name}, got {values[name]!r}")
        units = values.get("units", {})
        if not isinstance(units, Mapping) or not all(isinstance(u, str) for u in units.values()):
            raise ValueError(f"{where}: expected units such as U = 'm/s', got {units!r}")
        values["regions"] = _regions(values.get("regions", {}), where)
        return cls(**values)

    @classmethod
    def from_toml(cls, path: Path) -> Settings:
        """The settings in a `fieldcast.toml`.

        Raises:
            ValueError: not TOML, or a key that is not known.
        """
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: expected TOML, got {error}") from None
        return cls.from_dict(content, str(path))

    def overridden(self, other: Settings) -> Settings:
        """These settings, replaced by those of `other` that are set."""
        plain = Settings()
        changed = {
            f.name: getattr(other, f.name)
            for f in fields(self)
            if getattr(other, f.name) != getattr(plain, f.name)
        }
        for name in {"units", "regions"} & set(changed):
            changed[name] = {**getattr(self, name), **changed[name]}
        return replace(self, **changed)

    def unit_of(self, name: str, kind: Kind, fallback: str, shared: bool = False) -> str:
        """The unit of a field or scalar; `shared`: a field and a scalar have this name, a plain
        entry is the field's."""
        found = self.units.get(f"{kind}:{name}")
        if found is None and not (shared and kind == "scalar"):
            found = self.units.get(name)
        return fallback if found is None else found


def _names(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(v, str) for v in value):
        raise ValueError(f"{where}: expected a list of names, got {value!r}")
    return tuple(value)


def _regions(value: Any, where: str) -> dict[str, dict[str, str]]:
    """Numbers as text to names, by field."""
    try:
        found = {str(f): {str(k): str(v) for k, v in named.items()} for f, named in value.items()}
        for named in found.values():
            [float(number) for number in named]
    except (AttributeError, ValueError):
        raise ValueError(
            f"{where}: expected regions such as node_type = {{4 = 'inflow'}}, got {value!r}"
        ) from None
    return found


@dataclass(frozen=True)
class Known:
    """What the cases of a folder have. `scalars` maps a name to where it is from; `constant` are
    those that never vary."""

    fields: tuple[str, ...]
    scalars: Mapping[str, Origin]
    constant: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Roles:
    """Resolved names, told apart by kind."""

    input_fields: tuple[str, ...] = ()
    output_fields: tuple[str, ...] = ()
    input_scalars: tuple[str, ...] = ()
    output_scalars: tuple[str, ...] = ()

    def names(self, role: Literal["input", "output"]) -> tuple[str, ...]:
        """As in settings: `scalar:` stands before a scalar whose name a field has too."""
        taken = {*self.input_fields, *self.output_fields}
        kinds = {
            "input": (self.input_fields, self.input_scalars),
            "output": (self.output_fields, self.output_scalars),
        }
        on_mesh, scalars = kinds[role]
        return (*on_mesh, *(f"scalar:{s}" if s in taken else s for s in scalars))


def split_name(
    name: str, on_mesh: Iterable[str], scalars: Iterable[str]
) -> tuple[Kind, str] | None:
    """(kind, name) of a name in settings, among those that are there; None: it is not there."""
    kind, _, rest = name.partition(":")
    if kind == "field" and rest in on_mesh:
        return "field", rest
    if kind == "scalar" and rest in scalars:
        return "scalar", rest
    if name in on_mesh:
        return "field", name
    return ("scalar", name) if name in scalars else None


def resolved(settings: Settings, known: Known, strict: bool = True) -> tuple[Roles, list[str]]:
    """(roles, notes): names as the user gives them; the rest is guessed where the user gave none.

    Raises:
        ValueError: a name that no case has (unless not `strict`).
    """
    found: dict[tuple[str, Kind], list[str]] = {}
    for name in (*settings.start, *settings.regions) if strict else ():
        if name not in known.fields:
            raise ValueError(_unknown("start or region field", name, known))
    for role, names in (("input", settings.inputs), ("output", settings.outputs)):
        for name in names:
            place = split_name(name, known.fields, known.scalars)
            if place is None:
                if strict:
                    raise ValueError(_unknown(role, name, known))
                continue
            found.setdefault((role, place[0]), []).append(place[1])
    notes: list[str] = []
    if not (settings.inputs and settings.outputs):
        notes = _guess(settings, known, found)
    roles = Roles(
        tuple(found.get(("input", "field"), ())),
        tuple(found.get(("output", "field"), ())),
        tuple(found.get(("input", "scalar"), ())),
        tuple(found.get(("output", "scalar"), ())),
    )
    return roles, notes


def _unknown(role: str, name: str, known: Known) -> str:
    return (
        f"expected {role}s of fields {sorted(known.fields)} or scalars {sorted(known.scalars)}, "
        f"got {name!r}; "
        "name another, or write field:NAME or scalar:NAME"
    )


def _guess(settings: Settings, known: Known, found: dict[tuple[str, Kind], list[str]]) -> list[str]:
    """Adds guesses to `found` for the roles that the settings leave open; says what and why."""
    taken = {(kind, name) for (_, kind), names in found.items() for name in names}
    taken |= {("field", name) for name in settings.regions}
    open_roles = {"input": not settings.inputs, "output": not settings.outputs}
    notes = []
    for name in known.fields:
        role, reason = guessed_field(name)
        if ("field", name) not in taken and open_roles.get(role):
            found.setdefault((role, "field"), []).append(name)
        if ("field", name) not in taken and open_roles.get(role, True):
            notes.append(f"{role} field {name}: {reason}")
    for name, origin in known.scalars.items():
        role, reason = guessed_scalar(name, origin, name in known.constant)
        if ("scalar", name) not in taken and open_roles.get(role):
            found.setdefault((role, "scalar"), []).append(name)
        if ("scalar", name) not in taken and open_roles.get(role, True):
            notes.append(f"{role} scalar {name}: {reason}")
    return notes


def guessed_field(name: str) -> tuple[str, str]:
    """(role, reason) of a field: of the main mesh an output, of another mesh ignored."""
    if "/" in name:
        return "ignored", "on another mesh of the case; name it as an output to learn it"
    if _BOOKKEEPING.fullmatch(name):
        return "ignored", "the name of a label or counter"
    return "output", "a field on the mesh"


def guessed_scalar(name: str, origin: Origin, constant: bool) -> tuple[str, str]:
    """(role, reason) of a scalar."""
    bare = _UNIT_ENDING.sub("", name)
    if constant:
        return "ignored", "the same in all cases"
    if origin == "parameters":
        return "input", "listed in the parameters"
    if origin == "outputs":
        return "output", "listed in the outputs"
    if _BOOKKEEPING.fullmatch(name):
        return "ignored", "bookkeeping by its name"
    if _OUTPUT.fullmatch(bare):
        return "output", "a typical output by its name"
    if _INPUT.fullmatch(bare):
        return "input", "a typical input by its name"
    return "output", "not known as an input"
