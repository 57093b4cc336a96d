"""Answers that conserve what must be conserved: of all fields that do, the nearest to what a
surrogate answers, by its own uncertainty (ProbConserv; Hansen et al. 2023, arXiv:2302.11002)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Cases, Mesh, Predictions, Sample, Samples
from fieldcast.meshes.normals import facet_normals
from fieldcast.meshes.packed import PackedField, PackedValues
from fieldcast.meshes.topology import boundary, boundary_cells

from .baselines import NearestCase
from .conservation import measures
from .mmgp import MMGP
from .signature import FieldKind, Signature
from .surrogate import Card, Predictor, Progress, State, Surrogate, Trials, quiet
from .wrapper import Wrapped, Wrapper


@dataclass(frozen=True)
class Constraint:
    """sum_i,c rows[i, c] u[i, c] of a predicted `field` at each time equals the case's parameter
    `equals`, 0 where none is named."""

    field: str
    equals: str = ""

    @abstractmethod
    def rows(self, mesh: Mesh, kind: FieldKind) -> Float[np.ndarray, "entity component"]:
        """The weights of its values.

        Raises:
            ValueError: a field or a mesh that it can't be asked of.
        """


@dataclass(frozen=True)
class NetFlux(Constraint):
    """The flux outwards through the boundary, or through the facets whose points lie in `regions`:
    the integral of u.n over them, u linear on each, or that of its cell."""

    regions: tuple[str, ...] = ()

    def rows(self, mesh: Mesh, kind: FieldKind) -> Float[np.ndarray, "entity component"]:
        if kind.components != mesh.dim or mesh.cell_dim != mesh.dim:
            raise ValueError(
                f"flux of {self.field!r}: expected a vector on a mesh that fills its space, got "
                f"{kind.components} components in {mesh.dim} dimensions"
            )
        faces, cells = boundary(mesh), boundary_cells(mesh)
        if self.regions:
            absent = [name for name in self.regions if name not in mesh.regions]
            if absent:
                raise ValueError(
                    f"flux of {self.field!r}: expected regions {list(self.regions)}, got a mesh "
                    f"with {sorted(mesh.regions)}"
                )
            inside = [np.isin(faces, mesh.regions[name]).all(axis=1) for name in self.regions]
            faces, cells = (a[np.any(inside, axis=0)] for a in (faces, cells))
        # As long as the segment, or as twice the triangle's area.
        normals = facet_normals(mesh.points, faces) / max(mesh.dim - 1, 1)
        found = np.zeros((mesh.size_of(kind.on), mesh.dim))
        if kind.on == "cell":
            np.add.at(found, cells, normals)
        for corner in faces.T if kind.on == "point" else ():
            np.add.at(found, corner, normals / mesh.dim)
        return found


@dataclass(frozen=True)
class Total(Constraint):
    """The integral of a `component` over the mesh, as in `conservation`."""

    component: int = 0

    def rows(self, mesh: Mesh, kind: FieldKind) -> Float[np.ndarray, "entity component"]:
        if not 0 <= self.component < kind.components:
            raise ValueError(
                f"integral of {self.field!r}: expected a component below {kind.components}, got "
                f"{self.component}"
            )
        found = np.zeros((mesh.size_of(kind.on), kind.components))
        found[:, self.component] = measures(mesh, kind.on)
        return found


@dataclass(frozen=True)
class ConservationUpdate(Wrapper):
    """`inner`, its fields moved until all `constraints` G m = b hold exactly, by
    -S G' (G S G')^-1 (G m - b) with variances S as `inner` tells them (values taken as independent;
    all alike where it tells none). Standard deviations shrink along with it. To be wrapped in
    `Conformal`, not around it.
    """

    inner: Surrogate = field(default_factory=MMGP)
    constraints: tuple[Constraint, ...] = ()

    def fit(
        self,
        samples: Sequence[Sample],
        *,
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
    ) -> ConservationPredictor:
        samples = Samples.pack(samples)
        self.check(Signature.of(samples), samples.cases[0])
        whole = self.inner.fit(samples, validation=validation, seed=seed, progress=progress)
        return ConservationPredictor(self, whole.signature, whole.card, whole)

    def check(self, signature: Signature, case: Case) -> None:
        """Raise a ValueError for constraints that samples like this can't be held to."""
        for c in self.constraints:
            kind = signature.fields.get(c.field)
            if kind is None or kind.part:
                raise ValueError(
                    f"expected constraints of fields that are predicted, {sorted(signature.fields)}"
                    f" (on the case's own mesh), got one of {c.field!r}"
                )
            if c.equals and c.equals not in signature.parameters:
                raise ValueError(
                    f"constraint of {c.field!r}: expected a parameter of "
                    f"{sorted(signature.parameters)}, got {c.equals!r}"
                )
            c.rows(case.mesh, kind)

    def trials(self, samples: Sequence[Sample], progress: Progress = quiet) -> Trials:
        return _Trials(self, self.inner.trials(samples, progress))

    def restore(self, signature: Signature, card: Card, state: State) -> ConservationPredictor:
        whole = self.inner.restore(signature, card, state)
        return ConservationPredictor(self, signature, card, whole)

    @classmethod
    def tiny(cls) -> ConservationUpdate:
        return cls(NearestCase())


class _Trials(Trials):
    """Those of the inner surrogate."""

    def __init__(self, recipe: ConservationUpdate, inner: Trials) -> None:
        self.recipe, self.inner, self.samples = recipe, inner, inner.samples

    def fit(
        self,
        rows: Sequence[int],
        *,
        seed: int = 0,
        like: Predictor | None = None,
        progress: Progress = quiet,
    ) -> ConservationPredictor:
        whole = like.whole if isinstance(like, ConservationPredictor) else None
        found = self.inner.fit(rows, seed=seed, like=whole, progress=progress)
        return ConservationPredictor(self.recipe, found.signature, found.card, found)


@dataclass(frozen=True, eq=False)
class ConservationPredictor(Wrapped):
    """`whole` answers, and its answers are moved."""

    def answer(self, cases: Cases, device: str | None) -> Predictions:
        return self._moved(self.whole.answer(cases, device), cases)

    def beside(
        self, others: Sequence[Predictor], cases: Cases, device: str | None
    ) -> list[Predictions]:
        inner = [p.whole for p in others if isinstance(p, ConservationPredictor)]
        return [self._moved(found, cases) for found in self.whole.beside(inner, cases, device)]

    def _moved(self, found: Predictions, cases: Cases) -> Predictions:
        recipe = self.recipe
        if not isinstance(recipe, ConservationUpdate):
            raise TypeError(f"expected a ConservationUpdate, got {type(recipe).__name__}")
        mean, std, parts = dict(found.mean), dict(found.std or {}), dict(found.parts or {})
        for name in {c.field: None for c in recipe.constraints}:
            own = [c for c in recipe.constraints if c.field == name]
            moved, share = _conserving(own, mean[name], std.get(name), cases)
            mean[name] = replace(mean[name], values=moved)
            if name in std:
                std[name] = replace(std[name], values=std[name].values * share)
                parts = {k: _scaled(v, name, share) for k, v in parts.items()}
        return replace(
            found,
            mean=mean,
            std=std if found.std is not None else None,
            parts=parts if found.parts is not None else None,
        )

    def state(self) -> State:
        return self.whole.state()


def _conserving(
    constraints: Sequence[Constraint], mean: PackedField, std: PackedField | None, cases: Cases
) -> tuple[np.ndarray, np.ndarray]:
    """The values of one field for which all its constraints hold, and by what its standard
    deviations shrink, (time, entity, component)."""
    values = np.array(mean.values, dtype=float)
    share = np.ones_like(values)
    for i in range(len(cases)):
        case, own = cases[i], slice(mean.offsets[i], mean.offsets[i + 1])
        kind = FieldKind.of(mean)
        rows = np.stack([c.rows(case.mesh, kind) for c in constraints]).reshape(
            len(constraints), -1
        )
        wanted = np.array(
            [float(case.parameters[c.equals].value[0]) if c.equals else 0.0 for c in constraints]
        )
        for t in range(len(values)):
            u = values[t, own].ravel()
            known = None if std is None else np.square(std.values[t, own].ravel())
            u, less = _projected(u, known, rows, wanted)
            values[t, own] = u.reshape(values[t, own].shape)
            share[t, own] = less.reshape(values[t, own].shape)
    return values, share


def _projected(
    u: Float[np.ndarray, " value"],
    variance: Float[np.ndarray, " value"] | None,
    rows: Float[np.ndarray, "constraint value"],
    wanted: Float[np.ndarray, " constraint"],
) -> tuple[Float[np.ndarray, " value"], Float[np.ndarray, " value"]]:
    """The most likely values that fulfil the constraints, and by what standard deviations
    shrink."""
    if variance is None or not (rows**2 @ variance > 0).all():
        variance = np.ones_like(u)
    spread = rows * variance
    # One step of refinement takes what rounding leaves.
    inverse = np.linalg.pinv(rows @ spread.T, hermitian=True)
    for _ in range(2):
        u = u - spread.T @ (inverse @ (rows @ u - wanted))
    gone = np.einsum("cv,cd,dv->v", spread, inverse, spread)
    return u, np.sqrt(np.clip(1.0 - gone / np.maximum(variance, 1e-300), 0.0, 1.0))


def _scaled(part: PackedValues, name: str, share: np.ndarray) -> PackedValues:
    fields = dict(part.fields)
    if name in fields:
        fields[name] = replace(fields[name], values=fields[name].values * share)
    return replace(part, fields=fields)
