"""Sequences of cases, samples and predictions over concatenated arrays with offsets.

A million columns are not a million Python objects: values of all cases lie one behind another, and
a single case, sample or prediction is made as a view when it is indexed. Equal meshes are held
once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, overload

import numpy as np
from jaxtyping import Float, Int

from .mesh import Mesh
from .prediction import Band, Estimate, Normal, Prediction, Trust, Values
from .sample import Case, Field, Location, Sample, Scalar

T = TypeVar("T")


class Views(Sequence[T]):
    """A sequence whose items are made when asked for."""

    def _at(self, i: int) -> T:
        raise TypeError("abstract")

    @overload
    def __getitem__(self, i: int) -> T: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[T]: ...
    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self._at(j) for j in range(*i.indices(len(self)))]
        if not -len(self) <= i < len(self):
            raise IndexError(f"expected an index below {len(self)}, got {i}")
        return self._at(int(i) % len(self))


@dataclass(frozen=True, eq=False)
class Meshes(Views[Mesh]):
    """One mesh per case; `which[case]` says which of the `distinct` meshes it is."""

    distinct: tuple[Mesh, ...]
    which: Int[np.ndarray, " case"]

    @classmethod
    def pack(cls, meshes: Iterable[Mesh]) -> Meshes:
        """Equal meshes are kept once, but for those whose cells have another order in their
        files."""
        place: dict[tuple[str, bytes], int] = {}
        distinct: list[Mesh] = []
        index = []
        for mesh in meshes:
            key = mesh.id, b"" if mesh.order is None else mesh.order.tobytes()
            if key not in place:
                place[key] = len(distinct)
                distinct.append(mesh)
            index.append(place[key])
        return cls(tuple(distinct), np.array(index, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.which)

    def _at(self, i: int) -> Mesh:
        return self.distinct[self.which[i]]

    def taken(self, rows: Int[np.ndarray, " row"]) -> Meshes:
        """Those of some cases."""
        return Meshes(self.distinct, self.which[rows])

    def span(self, rows: range) -> Meshes:
        """Those of consecutive cases, of the distinct meshes only those that they have."""
        which = self.which[rows.start : rows.stop]
        if len(self.distinct) == 1:
            return Meshes(self.distinct, which)
        kept, index = np.unique(which, return_inverse=True)
        return Meshes(tuple(self.distinct[k] for k in kept.tolist()), index)

    def offsets(self, on: Location) -> Int[np.ndarray, " bound"]:
        """Where each case begins in an array of all points (or cells), and where the last one
        ends."""
        sizes = np.array([mesh.size_of(on) for mesh in self.distinct], dtype=np.int64)
        return np.concatenate([[0], np.cumsum(sizes[self.which])])


@dataclass(frozen=True, eq=False)
class PackedField:
    """One field of all cases: `values` (time, point of all cases, component) with the cases'
    `offsets`."""

    values: Float[np.ndarray, "time point component"]
    offsets: Int[np.ndarray, " bound"]
    unit: str = ""
    on: Location = "point"
    part: str = ""

    def at(self, i: int) -> Field:
        """The field of case `i`, a view."""
        return Field(
            self.values[:, self.offsets[i] : self.offsets[i + 1]], self.unit, self.on, self.part
        )

    def taken(self, rows: Int[np.ndarray, " row"]) -> PackedField:
        """The field of some cases, packed."""
        sizes = np.diff(self.offsets)[rows]
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        where = np.repeat(self.offsets[rows] - bounds[:-1], sizes) + np.arange(bounds[-1])
        return replace(self, values=self.values[:, where], offsets=bounds)

    def span(self, rows: range) -> PackedField:
        """The field of consecutive cases, a view."""
        bounds = self.offsets[rows.start : rows.stop + 1]
        return replace(
            self, values=self.values[:, bounds[0] : bounds[-1]], offsets=bounds - bounds[0]
        )

    def stacked(self) -> Float[np.ndarray, "case time point component"]:
        """All cases in one array, without a copy; for cases of equal length."""
        n = len(self.offsets) - 1
        t, _, c = self.values.shape
        return self.values.reshape(t, n, -1, c).swapaxes(0, 1)


@dataclass(frozen=True, eq=False)
class PackedScalar:
    """One scalar of all cases: `values` of shape (case, time)."""

    values: Float[np.ndarray, "case time"]
    unit: str = ""

    def at(self, i: int) -> Scalar:
        """The scalar of case `i`."""
        return Scalar(self.values[i], self.unit)

    def taken(self, rows: Int[np.ndarray, " row"]) -> PackedScalar:
        """The scalar of some cases, packed."""
        return replace(self, values=self.values[rows])

    def span(self, rows: range) -> PackedScalar:
        """The scalar of consecutive cases, a view."""
        return replace(self, values=self.values[rows.start : rows.stop])


def _same_names(cases: Sequence[Case], maps: Sequence[Mapping[str, Any]], what: str) -> list[str]:
    names = list(maps[0]) if maps else []
    for case, other in zip(cases, maps, strict=True):
        if set(other) != set(names):
            raise ValueError(
                f"expected every case to have the {what} {sorted(names)} that case "
                f"{cases[0].label} has; "
                f"case {case.label} has {sorted(other)}"
            )
    return names


def _pack_fields(
    cases: Sequence[Case], maps: Sequence[Mapping[str, Field]], meshes: Mapping[str, Meshes]
) -> dict[str, PackedField]:
    packed = {}
    for name in _same_names(cases, maps, "fields"):
        fields = [m[name] for m in maps]
        first = fields[0]
        for case, other in zip(cases, fields, strict=True):
            want = (len(first.values), first.values.shape[2], first.unit, first.on, first.part)
            got = (len(other.values), other.values.shape[2], other.unit, other.on, other.part)
            if want != got:
                raise ValueError(
                    f"field {name!r}: expected (times, components, unit, on, part) = {want} as "
                    "in case "
                    f"{cases[0].label}, got {got} in case {case.label}"
                )
        values = np.concatenate([f.values for f in fields], axis=1)
        packed[name] = PackedField(
            values, meshes[first.part].offsets(first.on), first.unit, first.on, first.part
        )
    return packed


def _pack_scalars(
    cases: Sequence[Case], maps: Sequence[Mapping[str, Scalar]], what: str
) -> dict[str, PackedScalar]:
    packed = {}
    for name in _same_names(cases, maps, what):
        scalars = [m[name] for m in maps]
        first = scalars[0]
        for case, other in zip(cases, scalars, strict=True):
            if (len(other.value), other.unit) != (len(first.value), first.unit):
                raise ValueError(
                    f"{what} {name!r}: expected {len(first.value)} values in {first.unit!r} as "
                    "in case "
                    f"{cases[0].label}, got {len(other.value)} in {other.unit!r} in case "
                    f"{case.label}"
                )
        packed[name] = PackedScalar(np.stack([s.value for s in scalars]), first.unit)
    return packed


@dataclass(frozen=True, eq=False)
class Cases(Views[Case]):
    """Packed cases, all with the same names, units and times. `meshes[""]` are the cases' own,
    others their parts."""

    meshes: Mapping[str, Meshes]
    parameters: Mapping[str, PackedScalar] = field(default_factory=dict)
    fields: Mapping[str, PackedField] = field(default_factory=dict)
    times: Float[np.ndarray, " time"] = field(default_factory=lambda: np.zeros(1))
    names: tuple[str, ...] = ()

    @classmethod
    def pack(cls, cases: Sequence[Case]) -> Cases:
        """The same cases packed; packed ones are returned as they are.

        Raises:
            ValueError: none given, or cases whose names, units, times or components differ; says
                which and how.
        """
        if isinstance(cases, Cases):
            return cases
        cases = list(cases)
        if not cases:
            raise ValueError("expected at least one case, got none")
        for case in cases:
            if not np.array_equal(case.times, cases[0].times):
                raise ValueError(
                    f"expected all cases to have the times of case {cases[0].label} "
                    f"({len(cases[0].times)} times); "
                    f"case {case.label} has {len(case.times)} others"
                )
        meshes = {"": Meshes.pack(c.mesh for c in cases)}
        for part in _same_names(cases, [c.parts for c in cases], "parts"):
            meshes[part] = Meshes.pack(c.parts[part] for c in cases)
        return cls(
            meshes,
            _pack_scalars(cases, [c.parameters for c in cases], "parameters"),
            _pack_fields(cases, [c.fields for c in cases], meshes),
            cases[0].times,
            tuple(c.name for c in cases),
        )

    def __len__(self) -> int:
        return len(self.meshes[""])

    def taken(self, rows: Int[np.ndarray, " row"]) -> Cases:
        """Some of the cases, in the order of `rows`, still packed."""
        return Cases(
            {part: m.taken(rows) for part, m in self.meshes.items()},
            {name: s.taken(rows) for name, s in self.parameters.items()},
            {name: f.taken(rows) for name, f in self.fields.items()},
            self.times,
            tuple(self.names[i] for i in rows) if self.names else (),
        )

    def span(self, rows: range) -> Cases:
        """Consecutive cases, still packed; their values are views."""
        return Cases(
            {part: m.span(rows) for part, m in self.meshes.items()},
            {name: s.span(rows) for name, s in self.parameters.items()},
            {name: f.span(rows) for name, f in self.fields.items()},
            self.times,
            self.names[rows.start : rows.stop],
        )

    def _at(self, i: int) -> Case:
        return Case(
            self.meshes[""][i],
            {name: s.at(i) for name, s in self.parameters.items()},
            {name: f.at(i) for name, f in self.fields.items()},
            {part: m[i] for part, m in self.meshes.items() if part},
            self.times,
            self.names[i] if self.names else "",
        )


@dataclass(frozen=True, eq=False)
class Samples(Views[Sample]):
    """Packed samples."""

    cases: Cases
    fields: Mapping[str, PackedField] = field(default_factory=dict)
    scalars: Mapping[str, PackedScalar] = field(default_factory=dict)

    @classmethod
    def pack(cls, samples: Sequence[Sample]) -> Samples:
        """The same samples packed; packed ones are returned as they are. Errors as `Cases.pack`."""
        if isinstance(samples, Samples):
            return samples
        samples = list(samples)
        plain = [s.case for s in samples]
        cases = Cases.pack(plain)
        return cls(
            cases,
            _pack_fields(plain, [s.fields for s in samples], cases.meshes),
            _pack_scalars(plain, [s.scalars for s in samples], "scalars"),
        )

    def __len__(self) -> int:
        return len(self.cases)

    def taken(self, rows: Int[np.ndarray, " row"]) -> Samples:
        """Some of the samples, in the order of `rows`, still packed."""
        return Samples(
            self.cases.taken(rows),
            {name: f.taken(rows) for name, f in self.fields.items()},
            {name: s.taken(rows) for name, s in self.scalars.items()},
        )

    def _at(self, i: int) -> Sample:
        return Sample(
            self.cases[i],
            {name: f.at(i) for name, f in self.fields.items()},
            {name: s.at(i) for name, s in self.scalars.items()},
        )


@dataclass(frozen=True, eq=False)
class PackedEstimate:
    """One predicted scalar of all cases: `mean` and `std` of shape (case, time)."""

    mean: Float[np.ndarray, "case time"]
    std: Float[np.ndarray, "case time"] | None = None
    unit: str = ""

    def at(self, i: int) -> Estimate:
        """The estimate of case `i`."""
        return Estimate(self.mean[i], None if self.std is None else self.std[i], self.unit)


@dataclass(frozen=True, eq=False)
class PackedValues:
    """One part of the standard deviation of all cases."""

    fields: Mapping[str, PackedField] = field(default_factory=dict)
    scalars: Mapping[str, PackedScalar] = field(default_factory=dict)

    def at(self, i: int) -> Values:
        """The values of case `i`."""
        return Values(
            {name: f.at(i) for name, f in self.fields.items()},
            {name: s.at(i) for name, s in self.scalars.items()},
        )


@dataclass(frozen=True, eq=False)
class Predictions(Views[Prediction]):
    """Packed predictions, in the order of the cases."""

    cases: Sequence[Case]
    mean: Mapping[str, PackedField]
    std: Mapping[str, PackedField] | None = None
    scalars: Mapping[str, PackedEstimate] = field(default_factory=dict)
    parts: Mapping[str, PackedValues] | None = None
    trust: Sequence[Trust] = ()
    band: Band = field(default_factory=Normal)

    def __len__(self) -> int:
        return len(self.cases)

    def _at(self, i: int) -> Prediction:
        return Prediction(
            self.cases[i],
            {name: f.at(i) for name, f in self.mean.items()},
            None if self.std is None else {name: f.at(i) for name, f in self.std.items()},
            {name: e.at(i) for name, e in self.scalars.items()},
            None if self.parts is None else {name: v.at(i) for name, v in self.parts.items()},
            self.trust[i] if self.trust else Trust(),
            self.band.at(i),
        )


def split_by_nodes(sizes: Sequence[int] | Int[np.ndarray, " case"], budget: int) -> list[range]:
    """Consecutive ranges of cases whose sizes add up to at most `budget`; one case alone may
    exceed it."""
    ends = np.cumsum(sizes, dtype=np.int64)
    found, start, done = [], 0, 0
    while start < len(ends):
        stop = max(int(np.searchsorted(ends, done + budget, side="right")), start + 1)
        found.append(range(start, stop))
        start, done = stop, int(ends[stop - 1])
    return found
