"""Chebyshev polynomials of the parameters: the surrogate to beat where parameters are few and
answers are smooth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from fieldcast.meshes import Cases, Predictions, Sample, Samples
from fieldcast.meshes.packed import PackedEstimate, PackedField

from .case_data import described, place
from .column_data import numbering
from .features import Features
from .guard import Guard
from .signature import Signature, describe
from .surrogate import Card, Predictor, Progress, State, Surrogate, quiet


@dataclass(frozen=True)
class Chebyshev(Surrogate):
    """Every value of every field and scalar is a sum of products of Chebyshev polynomials of the
    inputs (logarithms of positive ones that span much), y(t; p) = b(p) phi(t), by least squares:
    polynomial chaos for uniform inputs (Xiu and Karniadakis 2002, doi:10.1137/S1064827501387826).

    `degree` is the highest of a product in all, or one for each input where it is a tuple: with as
    many samples at cos(pi k / degree), ends included, this is interpolation. All meshes have the
    same cells.
    """

    degree: int | tuple[int, ...] = 3

    one_numbering: ClassVar[bool] = True
    transient: ClassVar[bool] = True
    tolerance: ClassVar[float] = 1e-8

    def __post_init__(self) -> None:
        if not isinstance(self.degree, int):
            object.__setattr__(self, "degree", tuple(self.degree))
        if np.min(self.degree) < 0:
            raise ValueError(f"expected degrees of at least 0, got {self.degree}")

    def fit(
        self,
        samples: Sequence[Sample],
        *,
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
    ) -> ChebyshevPredictor:
        every = Samples.pack(samples)
        signature = Signature.of(every)
        reading = Reading.of(every.cases, signature)
        features = Features.fit(every.cases, described(every.cases))
        units = {k: s.unit for k, s in every.cases.parameters.items()}
        guard = Guard.fit(features, place(features, every.cases), units)
        powers = self.powers(len(features.names))
        card, none = (
            Card(describe(every), {"terms": len(powers)}, seed=seed),
            np.zeros((len(powers), 0)),
        )
        bare = ChebyshevPredictor(self, signature, card, reading, features, guard, powers, none)
        y = reading.rows(every)
        basis = bare.basis(every.cases)
        # About the mean, so that the shortest solution of too few samples is near it.
        centre = y.mean(axis=0)
        weights = np.linalg.lstsq(basis, y - centre, rcond=1e-12)[0]
        weights[0] += centre
        return replace(bare, weights=weights)

    def powers(self, inputs: int) -> Int[np.ndarray, "term input"]:
        """The degrees of each product, the constant first.

        Raises:
            ValueError: another number of degrees than of inputs.
        """
        if isinstance(self.degree, int):
            every = product(range(self.degree + 1), repeat=inputs)
            found = [p for p in every if sum(p) <= self.degree]
        elif len(self.degree) == inputs:
            found = list(product(*(range(d + 1) for d in self.degree)))
        else:
            raise ValueError(
                f"expected a degree for each of {inputs} inputs that vary, got {self.degree}"
            )
        return np.array(sorted(found, key=sum), dtype=np.int64).reshape(len(found), inputs)

    def restore(self, signature: Signature, card: Card, state: State) -> ChebyshevPredictor:
        parts = state.parts()
        features = Features.restored(parts["features"])
        guard = Guard.restored(parts["guard"], features)
        own = parts["own"]
        reading = Reading(signature, own.values["cells"], own.values["sizes"])
        powers = self.powers(len(features.names))
        weights = own.arrays["weights"]
        return ChebyshevPredictor(self, signature, card, reading, features, guard, powers, weights)

    @classmethod
    def tiny(cls) -> Chebyshev:
        return cls(1)


@dataclass(frozen=True, eq=False)
class Reading:
    """Outputs of cases on equal meshes side by side: fields, then scalars. `cells` tells meshes
    with other cells, also those of parts, apart; `sizes` are those of the outputs."""

    signature: Signature
    cells: Mapping[str, str]
    sizes: Mapping[str, int]

    @classmethod
    def of(cls, cases: Cases, signature: Signature) -> Reading:
        """From the training set.

        Raises:
            ValueError: meshes with other cells each.
        """
        cells = {part: numbering(meshes.distinct[0]) for part, meshes in cases.meshes.items()}
        sizes = {}
        for name, kind in signature.fields.items():
            times = 1 if kind.steady else len(signature.times)
            mesh = cases.meshes[kind.part].distinct[0]
            sizes[name] = times * mesh.size_of(kind.on) * kind.components
        for name, scalar in signature.scalars.items():
            sizes[name] = 1 if scalar.steady else len(signature.times)
        found = cls(signature, cells, sizes)
        found.check(cases)
        return found

    def check(self, cases: Cases) -> None:
        """Raise a ValueError, by the case's name, for meshes with other cells."""
        for part, cells in self.cells.items():
            if part not in cases.meshes:
                raise ValueError(
                    f"case {cases[0].label}: expected the part {part!r} that training cases have, "
                    f"got {sorted(cases.meshes)}"
                )
            meshes = cases.meshes[part]
            for k, mesh in enumerate(meshes.distinct):
                if numbering(mesh) != cells:
                    label = cases[int(np.argmax(meshes.which == k))].label
                    raise ValueError(
                        f"case {label}: expected the cells that all training cases have, in their "
                        f"order, got {len(mesh.points)} points with others; interpolate to common "
                        "meshes, or choose a surrogate for any mesh"
                    )

    def rows(self, samples: Samples) -> Float[np.ndarray, "case output"]:
        """All outputs of each sample."""
        n = len(samples)
        parts = [samples.fields[k].stacked().reshape(n, -1) for k in self.signature.fields]
        return np.hstack([*parts, *(samples.scalars[k].values for k in self.signature.scalars)])

    def span(self, name: str) -> slice:
        """Where an output lies."""
        names = [*self.signature.fields, *self.signature.scalars]
        start = sum(self.sizes[k] for k in names[: names.index(name)])
        return slice(start, start + self.sizes[name])

    def answer(self, cases: Cases, rows: Float[np.ndarray, "case output"]) -> Predictions:
        """Back."""
        fields, scalars = {}, {}
        for name, kind in self.signature.fields.items():
            times = 1 if kind.steady else len(self.signature.times)
            values = rows[:, self.span(name)].reshape(len(rows), times, -1, kind.components)
            offsets = cases.meshes[kind.part].offsets(kind.on)
            flat = values.swapaxes(0, 1).reshape(times, -1, kind.components)
            fields[name] = PackedField(flat, offsets, kind.unit, kind.on, kind.part)
        for name, scalar in self.signature.scalars.items():
            scalars[name] = PackedEstimate(rows[:, self.span(name)], None, scalar.unit)
        return Predictions(cases, fields, None, scalars)


@dataclass(frozen=True, eq=False)
class ChebyshevPredictor(Predictor):
    """y = b(p) `weights`, (term, output)."""

    recipe: Chebyshev
    reading: Reading
    features: Features
    guard: Guard
    powers: Int[np.ndarray, "term input"]
    weights: Float[np.ndarray, "term output"]

    def basis(self, cases: Cases) -> Float[np.ndarray, "case term"]:
        """b, products of T_n(z), with z in [-1, 1] in the range of the training set."""
        raw = self.features.raw(cases, described(cases))
        low, high = self.features.low, self.features.high
        z = 2.0 * (raw - low) / (high - low) - 1.0
        found = np.ones((len(z), len(self.powers)))
        for k in range(z.shape[1]):
            one = np.polynomial.chebyshev.chebvander(z[:, k], int(self.powers[:, k].max()))
            found *= one[:, self.powers[:, k]]
        return found

    def answer(self, cases: Cases, device: str | None) -> Predictions:
        self.reading.check(cases)
        # One sum a case: products of matrices round by their number of rows.
        rows = np.einsum("ct,to->co", self.basis(cases), self.weights)
        trust = tuple(self.guard.judge(place(self.features, cases)))
        return replace(self.reading.answer(cases, rows), trust=trust)

    def state(self) -> State:
        values = {"cells": dict(self.reading.cells), "sizes": dict(self.reading.sizes)}
        own = State({"weights": self.weights}, values)
        parts = {"features": self.features.state(), "guard": self.guard.state()}
        return State.nested({"own": own, **parts})
