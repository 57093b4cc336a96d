"""Cases on equal meshes as rows of numbers: all inputs of a case side by side, and all outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from fieldcast.meshes import Cases, Mesh, Predictions, Samples
from fieldcast.meshes.mesh import digest
from fieldcast.meshes.packed import PackedEstimate, PackedField
from fieldcast.meshes.sample import Location

from .case_data import STILL, Scaling, known_key
from .features import Features
from .guard import Guard, Place
from .signature import Signature
from .surrogate import State

NONE = Scaling(np.zeros(0), np.ones(0))
JUDGED = 2000
"""So many cases of the training set, at most, tell what is usual."""


@dataclass(frozen=True, eq=False)
class ColumnReading:
    """How cases become rows and rows become answers, every column with mean 0 and variance 1 in the
    training set. Inputs are the parameters, then the known fields, then, where `shaped`, the
    coordinates of the points, entry by entry; outputs the fields, then the scalars, of which those
    that do not vary are answered as they are. All meshes have the same `cells`, as `numbering`
    tells them."""

    signature: Signature
    sizes: Mapping[Location, int]
    cells: str
    shaped: bool
    inputs: Scaling
    outputs: Scaling
    varies: Bool[np.ndarray, " column"]

    @classmethod
    def fit(cls, signature: Signature, samples: Samples) -> ColumnReading:
        """From the training set.

        Raises:
            ValueError: meshes with other cells each, fields of parts, or several times.
        """
        _check_rows(signature)
        first = samples.cases.meshes[""].distinct[0]
        sizes: dict[Location, int] = {"point": len(first.points), "cell": first.n_cells}
        found = cls(signature, sizes, numbering(first), False, NONE, NONE, np.zeros(0, bool))
        found.check(samples.cases)
        points = np.stack([m.points for m in samples.cases.meshes[""].distinct])
        found = replace(found, shaped=bool(np.ptp(points, axis=0).max() > 0))
        rows = found.raw_inputs(samples.cases), found.raw_outputs(samples)
        inputs, outputs = (Scaling.of([part]) for part in rows)
        varies = rows[1].std(axis=0) > STILL * np.abs(outputs.shift)
        return replace(found, inputs=inputs, outputs=outputs, varies=varies)

    def rescaled(self, samples: Samples) -> ColumnReading:
        """With the scales of other samples' inputs."""
        return replace(self, inputs=Scaling.of([self.raw_inputs(samples.cases)]))

    def check(self, cases: Cases) -> None:
        """Raise a ValueError for meshes with other cells than those of the training set."""
        meshes = cases.meshes[""]
        for k, mesh in enumerate(meshes.distinct):
            if len(mesh.points) != self.sizes["point"] or numbering(mesh) != self.cells:
                label = cases[int(np.argmax(meshes.which == k))].label
                raise ValueError(
                    f"case {label}: expected the {self.sizes['point']} points and "
                    f"{self.sizes['cell']} cells that all cases have, in their order, got "
                    f"{len(mesh.points)} and {mesh.n_cells}; interpolate to common levels, or "
                    "choose a surrogate for any mesh"
                )

    def raw_inputs(self, cases: Cases) -> Float[np.ndarray, "case column"]:
        """In their units.

        Raises:
            ValueError: meshes with other cells than those of the training set.
        """
        self.check(cases)
        parts = [cases.parameters[name].values for name in self.signature.parameters]
        parts += [_row(cases.fields[name]) for name in self.signature.known]
        if self.shaped:
            meshes = cases.meshes[""]
            points = np.stack([m.points.ravel() for m in meshes.distinct])
            parts.append(points[meshes.which])
        return np.hstack(parts) if parts else np.zeros((len(cases), 0))

    def raw_outputs(self, samples: Samples) -> Float[np.ndarray, "case column"]:
        """In their units."""
        parts = [_row(samples.fields[name]) for name in self.signature.fields]
        parts += [samples.scalars[name].values for name in self.signature.scalars]
        return np.hstack(parts)

    def answer(
        self,
        cases: Cases,
        mean: Float[np.ndarray, "case column"],
        std: Float[np.ndarray, "case column"] | None,
    ) -> Predictions:
        """From standardised outputs, and their standard deviations where they are known."""
        moved = self.outputs.inverse(np.where(self.varies, mean, 0.0))
        spread = None if std is None else std * np.where(self.varies, self.outputs.scale, 0.0)
        fields, spreads, scalars = {}, {}, {}
        start = 0
        for name, kind in self.signature.fields.items():
            own = slice(start, start + self.sizes[kind.on] * kind.components)
            start = own.stop
            offsets = cases.meshes[""].offsets(kind.on)
            shape = 1, offsets[-1], kind.components
            fields[name] = PackedField(moved[:, own].reshape(shape), offsets, kind.unit, kind.on)
            if spread is not None:
                values = spread[:, own].reshape(shape)
                spreads[name] = PackedField(values, offsets, kind.unit, kind.on)
        for name, scalar in self.signature.scalars.items():
            told = None if spread is None else spread[:, [start]]
            scalars[name] = PackedEstimate(moved[:, [start]], told, scalar.unit)
            start += 1
        return Predictions(cases, fields, None if spread is None else spreads, scalars)

    def state(self) -> State:
        """For `restored`."""
        values = {"sizes": dict(self.sizes), "cells": self.cells, "shaped": self.shaped}
        own = State({"varies": self.varies.astype(np.uint8)}, values)
        scales = {"inputs": self.inputs.state(), "outputs": self.outputs.state()}
        return State.nested({"own": own, **scales})

    @classmethod
    def restored(cls, signature: Signature, state: State) -> ColumnReading:
        """From `state`."""
        parts = state.parts()
        values = parts["own"].values
        inputs, outputs = (Scaling.restored(parts[name]) for name in ("inputs", "outputs"))
        cells, shaped = str(values["cells"]), bool(values["shaped"])
        varies = parts["own"].arrays["varies"].astype(bool)
        return cls(signature, values["sizes"], cells, shaped, inputs, outputs, varies)


def guard_of(cases: Cases) -> tuple[Features, Guard]:
    """What is usual, by parameters and by mean and spread of each known field."""
    rows = np.random.default_rng(0).permutation(len(cases))[:JUDGED]
    some = cases.taken(np.sort(rows))
    features = Features.fit(some, summed_up(some))
    units = {k: s.unit for k, s in cases.parameters.items()}
    return features, Guard.fit(features, place_of(features, some), units)


def place_of(features: Features, cases: Cases) -> Place:
    """Where cases lie, for the guard."""
    return Place(features.raw(cases, summed_up(cases)), {}, np.zeros(len(cases)))


def summed_up(cases: Cases) -> dict[str, Float[np.ndarray, "case column"]]:
    """Mean and spread of each known field."""
    found = {}
    for name, packed in cases.fields.items():
        values = packed.stacked()[:, 0]
        found[known_key(name)] = np.hstack([values.mean(axis=1), values.std(axis=1)])
    return found


def _row(packed: PackedField) -> Float[np.ndarray, "case column"]:
    return packed.stacked().reshape(len(packed.offsets) - 1, -1)


def numbering(mesh: Mesh) -> str:
    """Tells meshes with other cells apart."""
    return digest(*(a for kind in sorted(mesh.cells) for a in (kind, mesh.cells[kind])))


def _check_rows(signature: Signature) -> None:
    kinds = {**signature.known, **signature.fields}
    apart = sorted(name for name, kind in kinds.items() if kind.part or not kind.steady)
    if apart or len(signature.times) > 1:
        raise ValueError(
            f"expected steady fields on the case's own mesh, got {apart or 'several times'}; for "
            "series in time use Rollout"
        )
