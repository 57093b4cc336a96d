"""What a surface is like at each point, told to any surrogate: normals, curvature, and of a chart
the metric and the connection (after Hu, Wang, Xiang and Sommer, arXiv:2401.09452)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Cases, Mesh, Predictions, Sample, Samples
from fieldcast.meshes.curvature import Curvature, chart_geometry, curvature
from fieldcast.meshes.packed import PackedField

from .deeponet import DeepONet, FusionDeepONet
from .signature import Signature
from .surrogate import Card, Predictor, Progress, State, Surrogate, quiet
from .wrapper import Wrapped, Wrapper

Values = Float[np.ndarray, "point component"]


def signed_log(values: np.ndarray) -> np.ndarray:
    """sign(v) log(1 + |v|): edges would drown all else."""
    return np.sign(values) * np.log1p(np.abs(values))


FEATURES: Mapping[str, Callable[[Curvature, float], Values]] = {
    "normal": lambda c, size: c.normal,
    "mean": lambda c, size: signed_log(size * c.mean)[:, None],
    "gaussian": lambda c, size: signed_log(size**2 * c.gaussian)[:, None],
    "principal": lambda c, size: signed_log(size * c.principal),
}
"""By name, of the curvature and the size of a mesh, without units."""
CHARTED = ("metric", "christoffel")
"""What a chart tells, by logarithms as well."""


@dataclass(frozen=True)
class SurfaceFeatures(Wrapper):
    """`inner` told `features` of the surface at each point as known fields, of those in `FEATURES`
    and, where `chart` names the known fields that are its coordinates, "metric" and "christoffel".
    In the coordinates of space the metric is 1 - n n^T: there normals say what it would.

    Off the surface of meshes that fill their space features are 0. Lengths are in the diagonal of
    the mesh's box.
    """

    any_mesh: ClassVar[bool] = True
    transient: ClassVar[bool] = False
    tolerance: ClassVar[float] = 1e-5

    inner: Surrogate = field(default_factory=FusionDeepONet)
    features: tuple[str, ...] = ("normal", "mean", "gaussian")
    chart: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        known = [*FEATURES, *(CHARTED if self.chart else ())]
        absent = sorted(set(self.features) - set(known))
        if absent or not self.features:
            raise ValueError(
                f"expected features of {known}, got {list(self.features)}"
                + ("; metric and christoffel need a chart" if set(absent) & set(CHARTED) else "")
            )

    def cases(self, cases: Cases) -> Cases:
        """With the features as known fields.

        Raises:
            ValueError: meshes without a surface, or without the chart.
        """
        own = cases.meshes[""]
        columns: dict[str, list[np.ndarray]] = {name: [] for name in self.features}
        kept: dict[int, dict[str, Values]] = {}
        for i, which in enumerate(own.which.tolist()):
            if which not in kept or self.chart:
                kept[which] = self._of(cases[i] if self.chart else Case(own.distinct[which]))
            for name, values in kept[which].items():
                columns[name].append(values)
        offsets = own.offsets("point")
        more = {
            f"surface {name}": PackedField(np.concatenate(parts)[None], offsets)
            for name, parts in columns.items()
        }
        return replace(cases, fields={**cases.fields, **more})

    def _of(self, case: Case) -> dict[str, Values]:
        mesh = case.mesh
        try:
            bent = curvature(mesh)
        except ValueError as error:
            raise ValueError(f"case {case.label}: {error}") from None
        size = _size(mesh)
        charted = self._charted(case, size) if self.chart else {}
        every = {k: charted[k] if k in charted else FEATURES[k](bent, size) for k in self.features}
        return every

    def _charted(self, case: Case, size: float) -> dict[str, Values]:
        absent = [name for name in self.chart if name not in case.fields]
        if absent:
            raise ValueError(
                f"case {case.label}: expected the chart's coordinates as known fields {absent}, "
                f"got {sorted(case.fields)}"
            )
        columns = [case.fields[name].values[0] for name in self.chart]
        found = chart_geometry(case.mesh, np.concatenate(columns, axis=1))
        return {
            "metric": signed_log(found.metric / size**2),
            "christoffel": signed_log(found.christoffel),
        }

    def fit(
        self,
        samples: Sequence[Sample],
        *,
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
    ) -> SurfaceFeaturesPredictor:
        packed = Samples.pack(samples)
        own = Signature.of(packed)
        held = None
        if validation is not None:
            held = self._told(Samples.pack(validation)) if len(validation) else []
        whole = self.inner.fit(self._told(packed), validation=held, seed=seed, progress=progress)
        return SurfaceFeaturesPredictor(self, own, whole.card, whole)

    def _told(self, samples: Samples) -> Samples:
        return replace(samples, cases=self.cases(samples.cases))

    def restore(self, signature: Signature, card: Card, state: State) -> SurfaceFeaturesPredictor:
        parts = state.parts()
        inner = Signature.from_json(parts["signature"].values)
        whole = self.inner.restore(inner, card, parts["whole"])
        return SurfaceFeaturesPredictor(self, signature, card, whole)

    def estimate(self, samples: Sequence[Sample]) -> tuple[float, int] | None:
        return self.inner.estimate(self._told(Samples.pack(samples)))

    @classmethod
    def tiny(cls) -> SurfaceFeatures:
        return cls(DeepONet.tiny())


def _size(mesh: Mesh) -> float:
    return float(np.linalg.norm(np.ptp(mesh.points, axis=0))) or 1.0


@dataclass(frozen=True, eq=False)
class SurfaceFeaturesPredictor(Wrapped):
    """`whole` is told the features, too."""

    def _told(self, cases: Cases) -> Cases:
        assert isinstance(self.recipe, SurfaceFeatures)
        return self.recipe.cases(cases)

    def answer(self, cases: Cases, device: str | None) -> Predictions:
        return replace(self.whole.answer(self._told(cases), device), cases=cases)

    def ways(self, cases: Cases, device: str | None = None) -> Iterator[Predictions]:
        return self.whole.ways(self._told(cases), device)

    def inputs(self, cases: Sequence[Case]) -> np.ndarray | None:
        return self.whole.inputs(self._told(self.signature.checked_cases(Cases.pack(cases))))

    def state(self) -> State:
        own = State({}, self.whole.signature.to_json())
        return State.nested({"whole": self.whole.state(), "signature": own})

    def baselines(self) -> Mapping[str, Predictor]:
        return {name: replace(self, whole=p) for name, p in self.whole.baselines().items()}
