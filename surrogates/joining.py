"""Predictions of batch after batch, written to where those of all cases lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from jaxtyping import Int

from fieldcast.meshes import Case, Cases, Predictions, Trust
from fieldcast.meshes.packed import PackedField, PackedValues, Views
from fieldcast.meshes.prediction import Band
from fieldcast.meshes.sample import Location


@dataclass
class Joining:
    """Predictions of consecutive batches as those of all `cases`. Room is made once, so that beside
    the whole no more than one batch is held."""

    cases: Sequence[Case]
    done: int = 0
    whole: Predictions | None = None
    trust: list[Sequence[Trust]] = field(default_factory=list)
    bands: list[Band] = field(default_factory=list)

    def add(self, part: Predictions) -> None:
        """Those of the next batch."""
        rows = slice(self.done, self.done + len(part))
        self.trust.append(part.trust)
        self.bands.append(part.band)
        if len(part) == len(self.cases):
            self.whole = part
        else:
            self.whole = self.whole or _room(part, self.cases)
            for into, new in zip(_fields(self.whole), _fields(part), strict=True):
                own = slice(into.offsets[rows.start], into.offsets[rows.stop])
                into.values[:, own] = new.values
            for target, values in zip(_rows(self.whole), _rows(part), strict=True):
                target[rows] = values
        self.done = rows.stop

    def joined(self) -> Predictions:
        """Those of all cases.

        Raises:
            ValueError: no cases, or not all of them.
        """
        if self.whole is None:
            raise ValueError("expected at least one case, got none")
        if self.done != len(self.cases):
            raise ValueError(
                f"expected predictions of {len(self.cases)} cases, got those of {self.done}"
            )
        trust: Sequence[Trust] = self.trust[0]
        if len(self.trust) > 1:
            trust = Chained(tuple(self.trust)) if all(map(len, self.trust)) else ()
        band = self.bands[0].joined(self.bands)
        return replace(self.whole, cases=self.cases, trust=trust, band=band)


def joined(cases: Sequence[Case], parts: Sequence[Predictions]) -> Predictions:
    """Predictions of consecutive batches as those of all `cases`.

    Raises:
        ValueError: no cases, or not all of them.
    """
    found = Joining(cases)
    for part in parts:
        found.add(part)
    return found.joined()


@dataclass(frozen=True, eq=False)
class Chained(Views[Trust]):
    """Verdicts of consecutive batches."""

    parts: tuple[Sequence[Trust], ...]

    @cached_property
    def starts(self) -> Int[np.ndarray, " bound"]:
        """Where each batch begins, and where the last one ends."""
        return np.concatenate([[0], np.cumsum([len(part) for part in self.parts])])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def _at(self, i: int) -> Trust:
        k = int(np.searchsorted(self.starts, i, side="right")) - 1
        return self.parts[k][i - int(self.starts[k])]


def _fields(p: Predictions) -> list[PackedField]:
    """All, in an order of their own."""
    parts = p.parts or {}
    maps = [p.mean, p.std or {}, *(parts[k].fields for k in sorted(parts))]
    return [fields[k] for fields in maps for k in sorted(fields)]


def _rows(p: Predictions) -> list[np.ndarray]:
    """What has a row for each case, in an order of its own."""
    estimates = [p.scalars[k] for k in sorted(p.scalars)]
    found = [e.mean for e in estimates] + [e.std for e in estimates if e.std is not None]
    parts = p.parts or {}
    maps = [parts[k].scalars for k in sorted(parts)]
    return found + [scalars[k].values for scalars in maps for k in sorted(scalars)]


def _room(first: Predictions, cases: Sequence[Case]) -> Predictions:
    """The names, units and kinds of `first`, with room for all cases."""
    bounds: dict[tuple[str, Location], Int[np.ndarray, " bound"]] = {}

    def of_field(own: PackedField) -> PackedField:
        place = own.part, own.on
        if place not in bounds:
            bounds[place] = _offsets(cases, *place)
        times, _, components = own.values.shape
        room = np.empty((times, int(bounds[place][-1]), components), own.values.dtype)
        return replace(own, values=room, offsets=bounds[place])

    def of_rows(own: np.ndarray) -> np.ndarray:
        return np.empty((len(cases), *own.shape[1:]), own.dtype)

    return _mapped(first, of_field, of_rows)


def _offsets(cases: Sequence[Case], part: str, on: Location) -> Int[np.ndarray, " bound"]:
    if isinstance(cases, Cases):
        return cases.meshes[part].offsets(on)
    sizes = [case.mesh_of(part).size_of(on) for case in cases]
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])


def _mapped(
    p: Predictions,
    of_field: Callable[[PackedField], PackedField],
    of_rows: Callable[[np.ndarray], np.ndarray],
) -> Predictions:
    """The same predictions with other values."""

    def of_values(own: PackedValues) -> PackedValues:
        scalars = {k: replace(s, values=of_rows(s.values)) for k, s in own.scalars.items()}
        return PackedValues({k: of_field(f) for k, f in own.fields.items()}, scalars)

    scalars = {
        k: replace(e, mean=of_rows(e.mean), std=None if e.std is None else of_rows(e.std))
        for k, e in p.scalars.items()
    }
    std = None if p.std is None else {k: of_field(f) for k, f in p.std.items()}
    parts = None if p.parts is None else {k: of_values(v) for k, v in p.parts.items()}
    mean = {k: of_field(f) for k, f in p.mean.items()}
    return replace(p, mean=mean, std=std, scalars=scalars, parts=parts)
