"""Outputs that follow from others: gradients of fields, and what flows into a wall. As outputs they
are scored, calibrated and drawn like any."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Cases, Field, Mesh, Predictions, Sample, Samples, Scalar
from fieldcast.meshes.normals import facet_normals
from fieldcast.meshes.packed import PackedEstimate, PackedField
from fieldcast.meshes.topology import boundary

from .baselines import NearestCase
from .deeponet import FusionDeepONet
from .operator_data import positions
from .operator_derivative import stencils_of
from .signature import Signature
from .surrogate import Card, Predictor, Progress, State, Surrogate, quiet
from .wrapper import Wrapped, Wrapper


@dataclass(frozen=True)
class Quantity:
    """What follows from a `field`."""

    field: str

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Of the outputs."""

    @abstractmethod
    def of(self, case: Case, known: Field) -> tuple[dict[str, Field], dict[str, Scalar]]:
        """Fields and scalars of a case whose field is `known`.

        Raises:
            ValueError: a case that it can't be told of.
        """


@dataclass(frozen=True)
class GradientOf(Quantity):
    """The field "grad NAME", per metre: of each component the derivatives by all coordinates, by
    least squares over the `neighbours` fewest steps away within the mesh."""

    neighbours: int = 12

    @property
    def names(self) -> tuple[str, ...]:
        return (f"grad {self.field}",)

    def of(self, case: Case, known: Field) -> tuple[dict[str, Field], dict[str, Scalar]]:
        found = np.stack([gradient(case.mesh, known, u, self.neighbours) for u in known.values])
        unit = f"({known.unit})/m" if known.unit else ""
        flat = np.moveaxis(found, 2, 3).reshape(*found.shape[:2], -1)
        return {self.names[0]: Field(flat, unit, known.on)}, {}


@dataclass(frozen=True)
class WallFlux(Quantity):
    """The scalars "NAME flux" and "NAME peak flux": a scalar field's derivative along the normal
    that points from the `region` into the mesh, times the case's parameter `conductivity` (1 where
    none is named), over the whole region and the largest by size. Where the parameter `at_wall`
    tells the value there, by the difference to the nearest point or cell, else by the gradient
    there."""

    region: str = "wall"
    conductivity: str = ""
    at_wall: str = ""
    neighbours: int = 12

    @property
    def names(self) -> tuple[str, ...]:
        return f"{self.field} flux", f"{self.field} peak flux"

    def of(self, case: Case, known: Field) -> tuple[dict[str, Field], dict[str, Scalar]]:
        if known.values.shape[2] != 1:
            raise ValueError(
                f"flux of {self.field!r}: expected a scalar field, got "
                f"{known.values.shape[2]} components"
            )
        absent = [n for n in (self.conductivity, self.at_wall) if n and n not in case.parameters]
        if absent:
            raise ValueError(
                f"case {case.label}: expected the parameters {absent}, got "
                f"{sorted(case.parameters)}"
            )
        facets, normal, size = _facets(case, self.region)
        middle = case.mesh.points[facets].mean(axis=1)
        nearest, height = self._nearest(case.mesh, known, middle, normal)
        scale = float(case.parameters[self.conductivity].value[0]) if self.conductivity else 1.0
        rows = []
        for u in known.values:
            if self.at_wall:
                wall = float(case.parameters[self.at_wall].value[0])
                rows.append((u[nearest, 0] - wall) / height)
            else:
                slopes = gradient(case.mesh, known, u, self.neighbours)[nearest, :, 0]
                rows.append((slopes * normal).sum(axis=1))
        flux = scale * np.stack(rows)
        most = np.abs(flux).argmax(axis=1)
        total, peak = self.names
        return {}, {
            total: Scalar(flux @ size),
            peak: Scalar(flux[np.arange(len(flux)), most]),
        }

    def _nearest(
        self, mesh: Mesh, known: Field, middle: np.ndarray, normal: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The point or cell nearest to each facet that does not lie on it, and its height."""
        from scipy.spatial import cKDTree

        at = positions(mesh, known.on)
        if known.on == "point":
            inside = np.setdiff1d(np.arange(len(at)), boundary(mesh))
            place = inside[cKDTree(at[inside]).query(middle)[1]]
        else:
            place = cKDTree(at).query(middle)[1]
        height = ((at[place] - middle) * normal).sum(axis=1)
        return place, np.maximum(height, 1e-300)


def gradient(
    mesh: Mesh, known: Field, values: Float[np.ndarray, "entity component"], neighbours: int
) -> Float[np.ndarray, "entity dim component"]:
    """By least squares, in double precision."""
    import torch

    stencils = stencils_of([mesh], known.on, lambda points: points, neighbours)
    double = replace(stencils, weights=stencils.weights.double())
    return double.gradient(torch.as_tensor(np.array(values, dtype=float))).numpy()


def _facets(case: Case, region: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The boundary facets of a region, unit normals into the mesh, and their sizes."""
    mesh = case.mesh
    faces = boundary(mesh) if mesh.cell_dim == mesh.dim else np.empty((0, mesh.dim), dtype=int)
    faces = faces[np.isin(faces, mesh.regions.get(region, np.empty(0))).all(axis=1)]
    if not len(faces):
        raise ValueError(
            f"case {case.label}: expected facets of the region {region!r}, got regions "
            f"{sorted(mesh.regions)}"
        )
    normals = -facet_normals(mesh.points, faces)
    length = np.linalg.norm(normals, axis=1)
    return faces, normals / length[:, None], length / max(mesh.dim - 1, 1)


@dataclass(frozen=True)
class Derived(Wrapper):
    """`inner`, which answers, and `quantities` of its answers. Samples must have them: `prepared`
    adds those of their own fields."""

    inner: Surrogate = field(default_factory=FusionDeepONet)
    quantities: tuple[Quantity, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the outputs that follow."""
        return tuple(name for q in self.quantities for name in q.names)

    def prepared(self, samples: Sequence[Sample]) -> list[Sample]:
        """The samples with the quantities of their own fields.

        Raises:
            ValueError: quantities of fields that they do not have.
        """
        return [self._with(s) for s in samples]

    def _with(self, sample: Sample) -> Sample:
        fields, scalars = dict(sample.fields), dict(sample.scalars)
        for q in self.quantities:
            if q.field not in sample.fields:
                raise ValueError(
                    f"sample {sample.case.label}: expected the field {q.field!r}, got "
                    f"{sorted(sample.fields)}"
                )
            more = q.of(sample.case, sample.fields[q.field])
            fields, scalars = {**fields, **more[0]}, {**scalars, **more[1]}
        return replace(sample, fields=fields, scalars=scalars)

    def _without(self, sample: Sample) -> Sample:
        names = set(self.names)
        fields = {k: f for k, f in sample.fields.items() if k not in names}
        scalars = {k: s for k, s in sample.scalars.items() if k not in names}
        return replace(sample, fields=fields, scalars=scalars)

    def fit(
        self,
        samples: Sequence[Sample],
        *,
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
    ) -> DerivedPredictor:
        plain = [self._without(s) for s in samples]
        signature = Signature.of(Samples.pack(samples))
        absent = sorted(set(self.names) - {*signature.fields, *signature.scalars})
        if absent:
            self.prepared(plain[:1])
            raise ValueError(
                f"expected samples with {absent}, got {sorted(signature.fields)} and "
                f"{sorted(signature.scalars)}; fit to recipe.prepared(samples)"
            )
        held = None if validation is None else [self._without(s) for s in validation]
        whole = self.inner.fit(plain, validation=held, seed=seed, progress=progress)
        return DerivedPredictor(self, signature, whole.card, whole)

    def restore(self, signature: Signature, card: Card, state: State) -> DerivedPredictor:
        parts = state.parts()
        own = Signature.from_json(parts["signature"].values)
        whole = self.inner.restore(own, card, parts["whole"])
        return DerivedPredictor(self, signature, card, whole)

    def estimate(self, samples: Sequence[Sample]) -> tuple[float, int] | None:
        return self.inner.estimate([self._without(s) for s in samples])

    @classmethod
    def tiny(cls) -> Derived:
        return cls(NearestCase())


@dataclass(frozen=True, eq=False)
class DerivedPredictor(Wrapped):
    """`whole` answers."""

    def answer(self, cases: Cases, device: str | None) -> Predictions:
        found = self.whole.answer(cases, device)
        recipe = self.recipe
        if not isinstance(recipe, Derived):
            raise TypeError(f"expected a Derived, got {type(recipe).__name__}")
        fields: dict[str, list[Field]] = {}
        scalars: dict[str, list[Scalar]] = {}
        for i in range(len(cases)):
            for q in recipe.quantities:
                more = q.of(cases[i], found.mean[q.field].at(i))
                for name, value in more[0].items():
                    fields.setdefault(name, []).append(value)
                for name, told in more[1].items():
                    scalars.setdefault(name, []).append(told)
        mean = {**found.mean, **{k: _packed(parts, cases) for k, parts in fields.items()}}
        told_of = {
            k: PackedEstimate(np.stack([s.value for s in parts]), None, parts[0].unit)
            for k, parts in scalars.items()
        }
        ordered = {k: mean[k] for k in self.signature.fields}
        every = {**found.scalars, **told_of}
        return replace(found, mean=ordered, scalars={k: every[k] for k in self.signature.scalars})

    def state(self) -> State:
        own = State({}, self.whole.signature.to_json())
        return State.nested({"whole": self.whole.state(), "signature": own})

    def baselines(self) -> Mapping[str, Predictor]:
        return {name: replace(self, whole=p) for name, p in self.whole.baselines().items()}


def _packed(parts: Sequence[Field], cases: Cases) -> PackedField:
    offsets = cases.meshes[""].offsets(parts[0].on)
    values = np.concatenate([f.values for f in parts], axis=1)
    return PackedField(values, offsets, parts[0].unit, parts[0].on)
