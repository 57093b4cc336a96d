"""Outputs that follow from others: gradients of fields, and what flows into a wall. As outputs they
are scored, calibrated and drawn like any."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Cases, Field, Mesh, Predictions, Sample, Samples, Scalar, Trust
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

APART = 3.0
"""Joint standard deviations that twins may lie apart before an answer is doubted."""


class Quantity(ABC):
    """What follows from fields."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Of the outputs."""

    @property
    @abstractmethod
    def needs(self) -> tuple[str, ...]:
        """The fields that it follows from."""

    @property
    def twins(self) -> Mapping[str, str]:
        """Scalars that are learnt from samples as well and should agree with those of `names`."""
        return {}

    @abstractmethod
    def of(
        self, case: Case, fields: Mapping[str, Field]
    ) -> tuple[dict[str, Field], dict[str, Scalar]]:
        """Fields and scalars of a case with these fields.

        Raises:
            ValueError: a case that it can't be told of.
        """


@dataclass(frozen=True)
class GradientOf(Quantity):
    """The field "grad NAME", per metre, of a `field`: of each component the derivatives by all
    coordinates, by least squares over the `neighbours` fewest steps away within the mesh."""

    field: str
    neighbours: int = 12

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.field,)

    @property
    def names(self) -> tuple[str, ...]:
        return (f"grad {self.field}",)

    def of(
        self, case: Case, fields: Mapping[str, Field]
    ) -> tuple[dict[str, Field], dict[str, Scalar]]:
        known = fields[self.field]
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

    field: str
    region: str = "wall"
    conductivity: str = ""
    at_wall: str = ""
    neighbours: int = 12

    @property
    def names(self) -> tuple[str, ...]:
        return f"{self.field} flux", f"{self.field} peak flux"

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.field,)

    def of(
        self, case: Case, fields: Mapping[str, Field]
    ) -> tuple[dict[str, Field], dict[str, Scalar]]:
        known = fields[self.field]
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
        facets, normal, size = region_facets(case, self.region)
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


def region_facets(case: Case, region: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
            absent = sorted(set(q.needs) - set(sample.fields))
            if absent:
                raise ValueError(
                    f"sample {sample.case.label}: expected the fields {absent}, got "
                    f"{sorted(sample.fields)}"
                )
            more = q.of(sample.case, sample.fields)
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
        twins = tuple(
            Twin.of(samples, name, other)
            for q in self.quantities
            for name, other in q.twins.items()
            if other in signature.scalars
        )
        found = DerivedPredictor(self, signature, whole.card, whole, twins)
        return replace(found, floors=found.left(samples))

    def restore(self, signature: Signature, card: Card, state: State) -> DerivedPredictor:
        parts = state.parts()
        own = Signature.from_json(parts["signature"].values)
        whole = self.inner.restore(own, card, parts["whole"])
        if "derived" not in parts:
            return DerivedPredictor(self, signature, card, whole)
        kept = parts["derived"].values
        twins = tuple(Twin(*row) for row in kept["twins"])
        return DerivedPredictor(self, signature, card, whole, twins, kept["floors"])

    def estimate(self, samples: Sequence[Sample]) -> tuple[float, int] | None:
        return self.inner.estimate([self._without(s) for s in samples])

    @classmethod
    def tiny(cls) -> Derived:
        return cls(NearestCase())


@dataclass(frozen=True)
class Twin:
    """Two scalars that tell the same: `name`, which follows from fields, and `other`, which is
    learnt. In the training set the first was `shift` above the second, give or take `spread`."""

    name: str
    other: str
    shift: float
    spread: float

    @classmethod
    def of(cls, samples: Sequence[Sample], name: str, other: str) -> Twin:
        """From a training set."""
        gaps = np.array([s.scalars[name].value - s.scalars[other].value for s in samples])
        return cls(name, other, float(gaps.mean()), float(gaps.std(ddof=min(1, len(gaps) - 1))))

    def apart(self, scalars: Mapping[str, PackedEstimate]) -> Float[np.ndarray, " case"] | None:
        """How far they are apart at most, in standard deviations of their difference as if their
        errors had nothing in common; None where a deviation is not known."""
        one, two = scalars[self.name], scalars[self.other]
        if one.std is None or two.std is None:
            return None
        joint = np.sqrt(one.std**2 + two.std**2 + self.spread**2)
        gap = np.abs(one.mean - two.mean - self.shift)
        found: np.ndarray = (gap / np.maximum(joint, 1e-300)).max(axis=1)
        return found


@dataclass(frozen=True, eq=False)
class DerivedPredictor(Wrapped):
    """`whole` answers. Standard deviations are of first order in those of fields, and at least the
    `floors`: what fields leave of them in the training set. Where `twins` disagree the answer is
    not trusted."""

    twins: tuple[Twin, ...] = ()
    floors: Mapping[str, float] = field(default_factory=dict)

    def left(self, samples: Sequence[Sample]) -> dict[str, float]:
        """The root mean square errors of scalars in a training set: of fields that are told by a
        few modes not all is told."""
        names = [n for q in self._recipe.quantities for n in q.names if n in samples[0].scalars]
        if not names:
            return {}
        cases = self.whole.signature.checked_cases(Cases.pack([s.case for s in samples]))
        _, found = self._derived(cases, self.whole.predict(cases))
        return {
            k: float(
                np.sqrt(np.mean((found[k].value - [s.scalars[k].value for s in samples]) ** 2))
            )
            for k in names
        }

    @property
    def _recipe(self) -> Derived:
        assert isinstance(self.recipe, Derived)
        return self.recipe

    def answer(self, cases: Cases, device: str | None) -> Predictions:
        found = self.whole.answer(cases, device)
        fields, numbers = self._derived(cases, found)
        square = {
            k: np.full_like(s.value, self.floors.get(k, 0.0) ** 2) for k, s in numbers.items()
        }
        count = 0
        for moved in self.whole.ways(cases, device):
            count += 1
            _, off = self._derived(cases, moved)
            for k, s in off.items():
                square[k] += (s.value - numbers[k].value) ** 2
        told = {
            k: PackedEstimate(s.value, np.sqrt(square[k]) if count else None, s.unit)
            for k, s in numbers.items()
        }
        mean, every = {**found.mean, **fields}, {**found.scalars, **told}
        return replace(
            found,
            mean={k: mean[k] for k in self.signature.fields},
            scalars={k: every[k] for k in self.signature.scalars},
            trust=self._judged(found.trust, every),
        )

    def _derived(
        self, cases: Cases, found: Predictions
    ) -> tuple[dict[str, PackedField], dict[str, _Rows]]:
        """Fields and scalars of all cases."""
        fields: dict[str, list[Field]] = {}
        scalars: dict[str, list[Scalar]] = {}
        for i in range(len(cases)):
            known = {k: f.at(i) for k, f in found.mean.items()}
            for q in self._recipe.quantities:
                more = q.of(cases[i], known)
                for name, value in more[0].items():
                    fields.setdefault(name, []).append(value)
                for name, told in more[1].items():
                    scalars.setdefault(name, []).append(told)
        rows = {
            k: _Rows(np.stack([s.value for s in parts]), parts[0].unit)
            for k, parts in scalars.items()
        }
        return {k: _packed(parts, cases) for k, parts in fields.items()}, rows

    def _judged(
        self, trust: Sequence[Trust], scalars: Mapping[str, PackedEstimate]
    ) -> Sequence[Trust]:
        """A warning where twins lie too far apart."""
        judged = list(trust)
        for twin in self.twins:
            apart = twin.apart(scalars)
            if apart is None or not judged:
                continue
            for i in np.flatnonzero(apart > APART).tolist():
                if judged[i].status == "ok":
                    reason = (
                        f"{twin.name!r} and {twin.other!r} lie {apart[i]:.1f} joint standard "
                        "deviations apart"
                    )
                    judged[i] = replace(judged[i], status="warn", reason=reason)
        return judged

    def state(self) -> State:
        own = State({}, self.whole.signature.to_json())
        rows = [[t.name, t.other, t.shift, t.spread] for t in self.twins]
        derived = State({}, {"twins": rows, "floors": dict(self.floors)})
        return State.nested({"whole": self.whole.state(), "signature": own, "derived": derived})

    def baselines(self) -> Mapping[str, Predictor]:
        return {name: replace(self, whole=p) for name, p in self.whole.baselines().items()}


@dataclass(frozen=True, eq=False)
class _Rows:
    """One scalar of all cases."""

    value: Float[np.ndarray, "case time"]
    unit: str


def _packed(parts: Sequence[Field], cases: Cases) -> PackedField:
    offsets = cases.meshes[""].offsets(parts[0].on)
    values = np.concatenate([f.values for f in parts], axis=1)
    return PackedField(values, offsets, parts[0].unit, parts[0].on)
