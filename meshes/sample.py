"""What a solver is asked (Case) and what it answers (Sample), with their fields and scalars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from .mesh import Frozen, Mesh, digest, frozen

Location = Literal["point", "cell"]


@dataclass(frozen=True, eq=False)
class Field:
    """Values on the points or cells of a mesh, in time.

    `values` has shape (time, point, component); steady has one time, a scalar field one component.
    `unit` is a pint string ("" = not stated). `part` names the mesh among `Case.parts` ("" = the
    case's own).
    """

    values: Float[np.ndarray, "time point component"]
    unit: str = ""
    on: Location = "point"
    part: str = ""

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if values.ndim != 3:
            raise ValueError(
                f"expected field values of shape (time, point, component), got {values.shape}; "
                "for a steady field use Field.steady(values)"
            )
        object.__setattr__(self, "values", frozen(_floating(values)))

    @classmethod
    def steady(
        cls, values: np.ndarray, unit: str = "", on: Location = "point", part: str = ""
    ) -> Field:
        """A field of one time from values of shape (point,) or (point, component)."""
        values = _floating(np.asarray(values))
        return cls(values.reshape(1, len(values), -1), unit, on, part)

    def with_values(self, values: Float[np.ndarray, "time point component"]) -> Field:
        """Other values with the same unit and place."""
        return replace(self, values=values)


def _floating(values: np.ndarray) -> np.ndarray:
    return values if values.dtype.kind == "f" else values.astype(float)


@dataclass(frozen=True, eq=False)
class Scalar:
    """A number, or a series in time: `value` has shape (time,), steady has length 1. `unit` is a
    pint string."""

    value: Float[np.ndarray, " time"]
    unit: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "value", frozen(np.atleast_1d(np.asarray(self.value, dtype=float)))
        )
        if self.value.ndim != 1:
            raise ValueError(f"expected a scalar of shape (time,), got {self.value.shape}")

    def __float__(self) -> float:
        """The one value of a steady scalar."""
        return float(self.value.item())


# int beside float: the run-time checker of the tests tells them apart.
Numbers = Mapping[str, Scalar | float | int | np.ndarray]
NONE: Mapping[str, Any] = Frozen({})
STEADY = frozen(np.zeros(1))


def scalars_of(values: Numbers) -> Mapping[str, Scalar]:
    """Bare numbers become scalars without a stated unit."""
    return Frozen(
        {
            name: v if isinstance(v, Scalar) else Scalar(np.atleast_1d(np.asarray(v, float)))
            for name, v in values.items()
        }
    )


@dataclass(frozen=True, eq=False)
class Case:
    """A question: where (mesh, parts), under which parameters and known fields, at which times [s].

    Equality and hash go by `id`, a hash of the content; `name` is a label for messages and not
    part of it.

    Raises:
        ValueError: a field or parameter whose length fits neither its mesh nor the times.
    """

    mesh: Mesh
    parameters: Mapping[str, Scalar]
    fields: Mapping[str, Field]
    parts: Mapping[str, Mesh]
    times: Float[np.ndarray, " time"]
    name: str

    # By hand, because it takes bare numbers where the attribute holds scalars.
    def __init__(
        self,
        mesh: Mesh,
        parameters: Numbers = NONE,
        fields: Mapping[str, Field] = NONE,
        parts: Mapping[str, Mesh] = NONE,
        times: Float[np.ndarray, " time"] = STEADY,
        name: str = "",
    ) -> None:
        content = {
            "mesh": mesh,
            "parameters": scalars_of(parameters),
            "fields": Frozen(dict(fields)),
            "parts": Frozen(dict(parts)),
            "times": frozen(np.atleast_1d(np.asarray(times, dtype=float))),
            "name": name,
        }
        for attribute, value in content.items():
            object.__setattr__(self, attribute, value)
        check_fields(self, self.fields, "known field")
        check_scalars(self, self.parameters, "parameter")

    @cached_property
    def id(self) -> str:
        """Content hash of everything but the name."""
        parts: list[object] = [self.mesh.id, self.times]
        for label, mesh in sorted(self.parts.items()):
            parts += [label, mesh.id]
        for label, scalar in sorted(self.parameters.items()):
            parts += [label, scalar.value, scalar.unit]
        for label, known in sorted(self.fields.items()):
            parts += [label, known.values, known.unit, known.on, known.part]
        return digest(*parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Case) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def label(self) -> str:
        """The name, or the first digits of the id."""
        return self.name or self.id[:8]

    def mesh_of(self, part: str) -> Mesh:
        """The mesh that a field with this `part` lives on."""
        if part and part not in self.parts:
            raise ValueError(
                f"case {self.label}: expected a part of {sorted(self.parts)}, got {part!r}"
            )
        return self.parts[part] if part else self.mesh

    def with_parameters(self, **values: float | int) -> Case:
        """The same case with some parameters changed; each keeps its unit."""
        unknown = set(values) - set(self.parameters)
        if unknown:
            raise ValueError(
                f"expected parameters of {sorted(self.parameters)}, got {sorted(unknown)}"
            )
        changed = {
            name: Scalar(np.atleast_1d(float(v)), self.parameters[name].unit)
            for name, v in values.items()
        }
        return replace(self, parameters={**self.parameters, **changed})


@dataclass(frozen=True, eq=False)
class Sample:
    """An answer: the case with the fields and scalars that a solver found for it."""

    case: Case
    fields: Mapping[str, Field]
    scalars: Mapping[str, Scalar]

    def __init__(
        self, case: Case, fields: Mapping[str, Field] = NONE, scalars: Numbers = NONE
    ) -> None:
        object.__setattr__(self, "case", case)
        object.__setattr__(self, "fields", Frozen(dict(fields)))
        object.__setattr__(self, "scalars", scalars_of(scalars))
        check_fields(self.case, self.fields, "field")
        check_scalars(self.case, self.scalars, "scalar")

    @cached_property
    def id(self) -> str:
        """Content hash of case and answer."""
        parts: list[object] = [self.case.id]
        for label, found in sorted(self.fields.items()):
            parts += [label, found.values, found.unit, found.on, found.part]
        for label, scalar in sorted(self.scalars.items()):
            parts += [label, scalar.value, scalar.unit]
        return digest(*parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sample) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)


def check_fields(case: Case, fields: Mapping[str, Field], what: str) -> None:
    """Every field is as long as its mesh has points or cells, with one time or the case's times."""
    for name, found in fields.items():
        expected = case.mesh_of(found.part).size_of(found.on)
        if found.values.shape[1] != expected:
            raise ValueError(
                f"case {case.name or '?'}, {what} {name!r}: expected {expected} values "
                f"(one per {found.on}), got {found.values.shape[1]}"
            )
        _check_times(case, name, len(found.values), what)


def check_scalars(case: Case, scalars: Mapping[str, Scalar], what: str) -> None:
    """Every scalar has one value or one per time."""
    for name, scalar in scalars.items():
        _check_times(case, name, len(scalar.value), what)


def _check_times(case: Case, name: str, n: int, what: str) -> None:
    if n not in (1, len(case.times)):
        raise ValueError(
            f"case {case.name or '?'}, {what} {name!r}: expected 1 or {len(case.times)} times, "
            f"got {n}"
        )
