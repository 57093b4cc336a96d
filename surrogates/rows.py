"""Steady scalars of many designs in one pass, where shapes go by coefficients and all else by
parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fieldcast.meshes import Case, Scalar

from .features import Transform
from .multi_fidelity import Line, MultiFidelityPredictor
from .reduced import ReducedPredictor
from .regression import Answer
from .surrogate import Predictor

Slopes = tuple[np.ndarray, dict[str, np.ndarray]]
"""By coefficients (row, coefficient), and by parameters (row,) by name."""


@runtime_checkable
class Rows(Protocol):
    """Designs on meshes of one numbering."""

    @property
    def moving(self) -> bool:
        """Whether answers go by shapes."""

    def coefficients(self, shapes: Float[np.ndarray, "row point dim"]) -> np.ndarray:
        """(row, coefficient)."""

    def told(
        self, shape: np.ndarray, parameters: Mapping[str, np.ndarray], slopes: bool
    ) -> ScalarRows:
        """Of rows of shape coefficients and parameters."""


def rows_of(predictor: Predictor, case: Case) -> Rows | None:
    """For designs on the numbering of a case; None where answers don't go by shapes and parameters
    alone."""
    if isinstance(predictor, ReducedPredictor):
        return RowsOfScalars.of(predictor, case)
    if isinstance(predictor, MultiFidelityPredictor):
        return RowsOfTwo.of(predictor, case)
    return None


@dataclass(frozen=True, eq=False)
class RowsOfScalars:
    """Steady scalars of many designs on meshes of one numbering at once: rows of shape coefficients
    and of parameters. `dual` (point, dim, coefficient) gives coefficients of what shapes differ
    from `mean` by."""

    predictor: ReducedPredictor
    mean: np.ndarray
    dual: np.ndarray

    @classmethod
    def of(cls, predictor: ReducedPredictor, case: Case) -> RowsOfScalars | None:
        """For designs on the numbering of a case; None where answers don't go by these alone."""
        signature, embedding = predictor.signature, predictor.embedding
        series = any(not s.steady for s in signature.parameters.values())
        if series or signature.known or embedding.normals:
            return None
        if not embedding.chart.shared_numbering or len(signature.times) > 1:
            return None
        checked = signature.checked(case)
        points = checked.mesh.points
        if len(points) != len(embedding.chart.reference.points):
            return None
        pod = embedding.shape
        if pod is None:
            return cls(predictor, points, np.zeros((*points.shape, 0)))
        return cls(predictor, pod.mean.T, pod.dual.transpose(2, 1, 0))

    @property
    def moving(self) -> bool:
        """Whether answers go by shapes."""
        return self.dual.shape[2] > 0

    def coefficients(self, shapes: Float[np.ndarray, "row point dim"]) -> np.ndarray:
        """(row, coefficient)."""
        points, dim, count = self.dual.shape
        dual = self.dual.reshape(points * dim, count)
        found: np.ndarray = (shapes.reshape(len(shapes), -1) - self.mean.ravel()) @ dual
        return found

    def told(
        self, shape: np.ndarray, parameters: Mapping[str, np.ndarray], slopes: bool
    ) -> ScalarRows:
        """Of rows of shape coefficients and parameters."""
        predictor = self.predictor
        features, names = predictor.features, list(predictor.signature.parameters)
        columns = [features.transforms[k](np.asarray(parameters[k], dtype=float)) for k in names]
        raw = np.column_stack([shape, *columns])[:, features.keep]
        x = torch.tensor(features.standardised(raw), requires_grad=slopes)

        def slope(values: Tensor) -> tuple[np.ndarray, dict[str, np.ndarray]]:
            [found] = torch.autograd.grad(
                values.sum(), x, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            every = np.zeros((len(raw), len(features.keep)))
            every[:, features.keep] = found.numpy() / features.scale
            rest = every[:, shape.shape[1] :]
            turned = {
                k: rest[:, i] * features.transforms[k].slope(parameters[k])
                for i, k in enumerate(names)
            }
            return every[:, : shape.shape[1]], turned

        found = ScalarRows({}, {}, {}, {})
        for name, regression in predictor.model.scalars.items():
            mean, variance = _row_scalar(regression(x), predictor.model.transforms.get(name))
            found.mean[name] = mean.detach().numpy()
            if slopes:
                found.mean_slopes[name] = slope(mean)
            if variance is not None:
                std = variance.clamp(min=1e-300).sqrt()
                found.std[name] = std.detach().numpy()
                if slopes:
                    found.std_slopes[name] = slope(std)
        return found


@dataclass(frozen=True, eq=False)
class ScalarRows:
    """Means and standard deviations (row,) by name, and slopes of both by coefficients (row,
    coefficient) and by parameters (row,) by name."""

    mean: dict[str, np.ndarray]
    std: dict[str, np.ndarray]
    mean_slopes: dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]
    std_slopes: dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]


def _row_scalar(found: Answer, transform: Transform | None) -> tuple[Tensor, Tensor | None]:
    """Mean and variance (row,) as predicted; of a log-normal where the logarithm was learned."""
    centre = found.mean[:, 0]
    variance = None
    if found.epistemic is not None and found.noise is not None:
        variance = found.epistemic[:, 0] + found.noise[:, 0]
    sign = 0 if transform is None else transform.sign
    if not sign:
        return centre, variance
    if variance is None:
        return sign * centre.exp(), None
    mean = sign * torch.exp(centre + 0.5 * variance)
    return mean, mean.square() * torch.expm1(variance)


@dataclass(frozen=True, eq=False)
class RowsOfTwo:
    """Of two fidelities: `low` is asked first, `high` told what it says."""

    low: Rows
    high: Rows
    split: int
    lines: Mapping[str, Line]

    @classmethod
    def of(cls, predictor: MultiFidelityPredictor, case: Case) -> RowsOfTwo | None:
        """As `rows_of`."""
        told = predictor.told
        names = [k for k, s in told.low.signature.scalars.items() if s.steady]
        if told.composition == "lf_only" or told.low.signature.fields:
            return None
        more = {f"low {k}": Scalar(np.ones(1)) for k in names}
        low = rows_of(told.low, case)
        high = rows_of(predictor.high, replace(case, parameters={**case.parameters, **more}))
        if low is None or high is None:
            return None
        split = low.coefficients(case.mesh.points[None]).shape[1]
        return cls(low, high, split, told.lines)

    @property
    def moving(self) -> bool:
        """Whether answers go by shapes."""
        return self.low.moving or self.high.moving

    def coefficients(self, shapes: Float[np.ndarray, "row point dim"]) -> np.ndarray:
        """(row, coefficient): those of the low one, then those of the high one."""
        return np.hstack([self.low.coefficients(shapes), self.high.coefficients(shapes)])

    def told(
        self, shape: np.ndarray, parameters: Mapping[str, np.ndarray], slopes: bool
    ) -> ScalarRows:
        """Of rows of shape coefficients and parameters."""
        low = self.low.told(shape[:, : self.split], parameters, slopes)
        said = {f"low {k}": v for k, v in low.mean.items()}
        high = self.high.told(shape[:, self.split :], {**parameters, **said}, slopes)
        mean = dict(high.mean)
        for name, line in self.lines.items():
            if name in mean:
                mean[name] = mean[name] + line(low.mean[name][:, None])[:, 0]
        if not slopes:
            return ScalarRows(mean, high.std, {}, {})
        return ScalarRows(
            mean,
            high.std,
            {k: self._chained(s, low, self.lines.get(k), k) for k, s in high.mean_slopes.items()},
            {k: self._chained(s, low, None, k) for k, s in high.std_slopes.items()},
        )

    def _chained(self, slope: Slopes, low: ScalarRows, line: Line | None, name: str) -> Slopes:
        """By all that the low one goes by, too."""
        by_shape, by_parameter = slope
        by_low = {k: by_parameter.get(f"low {k}", np.zeros(len(by_shape))) for k in low.mean}
        if line is not None:
            by_low[name] = by_low[name] + float(line.slope[0])
        shape = sum(by_low[k][:, None] * low.mean_slopes[k][0] for k in low.mean)
        own = {k: v for k, v in by_parameter.items() if not k.startswith("low ")}
        for k, weight in by_low.items():
            for p, change in low.mean_slopes[k][1].items():
                own[p] = own.get(p, 0.0) + weight * change
        return np.hstack([shape, by_shape]), own
