"""What goes in and what comes out: names, units and places, fixed when a surrogate is fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from fieldcast.meshes import Case, Cases, Field, Samples, Scalar
from fieldcast.meshes.packed import PackedField
from fieldcast.meshes.sample import Location
from fieldcast.meshes.units import converted


@dataclass(frozen=True)
class FieldKind:
    """A field without its values."""

    unit: str
    on: Location
    part: str
    components: int
    steady: bool

    @classmethod
    def of(cls, packed: PackedField) -> FieldKind:
        """The kind of a packed field."""
        times, _, components = packed.values.shape
        return cls(packed.unit, packed.on, packed.part, components, times == 1)


@dataclass(frozen=True)
class ScalarKind:
    """A scalar without its value."""

    unit: str
    steady: bool


@dataclass(frozen=True)
class Signature:
    """Names, units and places of inputs (`parameters`, `known` fields) and outputs (`fields`,
    `scalars`), the `dim` of points and the `times` [s]; `own_times`: cases are answered at
    theirs."""

    dim: int
    times: tuple[float, ...]
    parameters: Mapping[str, ScalarKind]
    known: Mapping[str, FieldKind]
    fields: Mapping[str, FieldKind]
    scalars: Mapping[str, ScalarKind]
    own_times: bool = False

    @classmethod
    def of(cls, samples: Samples) -> Signature:
        """The signature of a training set.

        Raises:
            ValueError: values that are not finite, or nothing to predict.
        """
        _check_finite(samples)
        cases = samples.cases
        if not samples.fields and not samples.scalars:
            raise ValueError("expected samples with fields or scalars to learn, got none of either")
        return cls(
            cases.meshes[""].distinct[0].dim,
            tuple(float(t) for t in cases.times),
            {k: ScalarKind(s.unit, s.values.shape[1] == 1) for k, s in cases.parameters.items()},
            {k: FieldKind.of(f) for k, f in cases.fields.items()},
            {k: FieldKind.of(f) for k, f in samples.fields.items()},
            {k: ScalarKind(s.unit, s.values.shape[1] == 1) for k, s in samples.scalars.items()},
        )

    def check_names(self, other: Signature) -> None:
        """Raise a ValueError for another's inputs and outputs that are not these."""
        for kind in ("parameters", "known", "fields", "scalars"):
            theirs, own = (set(getattr(of, kind)) for of in (other, self))
            if theirs != own:
                raise ValueError(
                    f"expected samples with the {kind} that the model has, {sorted(own)}, got "
                    f"{sorted(theirs)}"
                )

    def checked(self, case: Case) -> Case:
        """The case reduced to this signature's inputs, in its units.

        Raises:
            ValueError: an input is missing, has another shape or a unit that does not convert.
        """
        if case.mesh.dim != self.dim:
            raise ValueError(
                f"case {case.label}: expected points with {self.dim} coordinates as in the "
                "training "
                f"set, got {case.mesh.dim}"
            )
        times = self._times(case)
        parameters = {}
        for name, kind in self.parameters.items():
            given = self._found(case, case.parameters, name, "parameter", kind.unit)
            parameters[name] = self._parameter(case, name, given, kind, len(times))
        known = {}
        for name, spec in self.known.items():
            value = self._found(case, case.fields, name, "known field", spec.unit)
            known[name] = self._known(case, name, value, spec, len(times))
        return replace(case, parameters=parameters, fields=known, times=times)

    def checked_cases(self, cases: Cases) -> Cases:
        """As `checked`, of packed cases, and without copies of what is in the right unit.

        Raises:
            ValueError: as `checked` of the first case that it refuses.
        """
        # Names, units and kinds are those of all.
        first = self.checked(cases[0])
        for row in np.sort(_refused(cases, self)).tolist():
            self.checked(cases[row])
        parameters = {
            k: replace(s, values=converted(s.values, s.unit, kind.unit), unit=kind.unit)
            for k, kind in self.parameters.items()
            for s in (cases.parameters[k],)
        }
        known = {
            k: replace(f, values=converted(f.values, f.unit, kind.unit), unit=kind.unit)
            for k, kind in self.known.items()
            for f in (cases.fields[k],)
        }
        return replace(cases, parameters=parameters, fields=known, times=first.times)

    def _times(self, case: Case) -> np.ndarray:
        same = len(self.times) == len(case.times) and len(self.times) > 1
        if same or (self.own_times and len(case.times) > 1):
            return case.times
        return np.array(self.times)

    def _found(self, case: Case, given: Mapping[str, Any], name: str, what: str, unit: str) -> Any:
        if name not in given:
            raise ValueError(
                f"case {case.label}: expected the {what} {name!r}{f' [{unit}]' if unit else ''}, "
                f"got {sorted(given) or 'none'}"
            )
        return given[name]

    def _parameter(
        self, case: Case, name: str, given: Scalar, kind: ScalarKind, times: int
    ) -> Scalar:
        expected = 1 if kind.steady else times
        if len(given.value) != expected or not np.isfinite(given.value).all():
            raise ValueError(
                f"case {case.label}, parameter {name!r}: expected {expected} finite value(s), "
                f"got {given.value}"
            )
        what = f"case {case.label}, parameter {name!r}"
        return Scalar(_in_unit(what, given.value, given.unit, kind.unit), kind.unit)

    def _known(self, case: Case, name: str, given: Field, kind: FieldKind, times: int) -> Field:
        shape = (1 if kind.steady else times, kind.components, kind.on, kind.part)
        got = (len(given.values), given.values.shape[2], given.on, given.part)
        if got != shape or not np.isfinite(given.values).all():
            raise ValueError(
                f"case {case.label}, known field {name!r}: expected finite values with (times, "
                f"components, on, part) = {shape}, got {got}"
            )
        what = f"case {case.label}, known field {name!r}"
        values = _in_unit(what, given.values, given.unit, kind.unit)
        return Field(values, kind.unit, kind.on, kind.part)

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Signature:
        """From what `to_json` gave."""
        return cls(
            int(values["dim"]),
            tuple(float(t) for t in values["times"]),
            {k: ScalarKind(**v) for k, v in values["parameters"].items()},
            {k: FieldKind(**v) for k, v in values["known"].items()},
            {k: FieldKind(**v) for k, v in values["fields"].items()},
            {k: ScalarKind(**v) for k, v in values["scalars"].items()},
            bool(values.get("own_times", False)),
        )


def _in_unit(what: str, values: np.ndarray, source: str, target: str) -> np.ndarray:
    try:
        return converted(values, source, target)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error


def _refused(cases: Cases, signature: Signature) -> np.ndarray:
    """The first case, of each kind of fault, that `checked` refuses, or that can't be made."""
    meshes = cases.meshes[""]
    found = [np.array([mesh.dim != signature.dim for mesh in meshes.distinct])[meshes.which]]
    found += [~np.isfinite(cases.parameters[k].values).all(axis=1) for k in signature.parameters]
    for k in signature.known:
        packed = cases.fields[k]
        bounds = cases.meshes[packed.part].offsets(packed.on)
        found.append(np.diff(packed.offsets) != np.diff(bounds))
        holes = np.flatnonzero(~np.isfinite(packed.values).all(axis=(0, 2)))
        bad = np.zeros(len(cases), dtype=bool)
        bad[np.searchsorted(packed.offsets, holes, side="right") - 1] = True
        found.append(bad)
    return np.array([bad.argmax() for bad in found if bad.any()], dtype=np.int64)


def _check_finite(samples: Samples) -> None:
    cases = samples.cases
    for what, fields in (("field", samples.fields), ("known field", cases.fields)):
        for name, found in fields.items():
            _raise_if_bad(samples, what, name, ~np.isfinite(found.values).all(axis=(0, 2)), found)
    for what, scalars in (("scalar", samples.scalars), ("parameter", cases.parameters)):
        for name, scalar in scalars.items():
            _raise_if_bad(samples, what, name, ~np.isfinite(scalar.values).all(axis=1), None)


def _raise_if_bad(
    samples: Samples, what: str, name: str, bad: np.ndarray, packed: PackedField | None
) -> None:
    if not bad.any():
        return
    rows = np.flatnonzero(bad)
    if packed is not None:
        rows = np.unique(np.searchsorted(packed.offsets, rows, side="right") - 1)
    names = [samples.cases[int(i)].label for i in rows[:5]]
    raise ValueError(
        f"{what} {name!r}: expected finite values, got NaN or infinity in {len(rows)} case(s): "
        f"{', '.join(names)}; leave those out or repair them"
    )


def describe(samples: Samples) -> dict[str, Any]:
    """A summary of a training set: how many cases, node counts, ranges of parameters, a content
    hash."""
    from fieldcast.meshes.mesh import digest

    sizes = [len(m.points) for m in samples.cases.meshes[""].distinct]
    ranges = {
        name: [float(s.values.min()), float(s.values.max())]
        for name, s in samples.cases.parameters.items()
    }
    parts: list[object] = [m.id for m in samples.cases.meshes[""].distinct]
    parts += [f.values for f in samples.fields.values()]
    parts += [s.values for s in (*samples.cases.parameters.values(), *samples.scalars.values())]
    return {
        "cases": len(samples),
        "distinct_meshes": len(sizes),
        "nodes": [int(min(sizes)), int(np.mean(sizes)), int(max(sizes))],
        "parameters": ranges,
        "hash": digest(*parts),
    }
