"""Derivatives of a reduced predictor's means, by automatic differentiation of the regression and
the chain rule through the linear maps around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fieldcast.meshes import Case, Cases
from fieldcast.meshes.chart import Passage

from .features import Transform
from .surrogate import Gradient

if TYPE_CHECKING:
    from .reduced import ReducedPredictor


def gradients(
    predictor: ReducedPredictor, case: Case, outputs: Sequence[str]
) -> Mapping[str, Gradient]:
    """See `Differentiable.gradients`."""
    signature = predictor.signature
    unknown = set(outputs) - set(signature.fields) - set(signature.scalars)
    if unknown:
        raise ValueError(
            f"expected outputs of {[*signature.fields, *signature.scalars]}, got {sorted(unknown)}"
        )
    cases = Cases.pack([signature.checked(case)])
    [passage] = predictor.embedding.passages(cases)
    columns = predictor.embedding.columns(cases, [passage])
    raw = predictor.features.raw(cases, columns)
    chain = _Chain(predictor, cases, passage, raw)
    return {
        name: chain.scalar(name) if name in signature.scalars else chain.field(name)
        for name in outputs
    }


class _Chain:
    """The chain rule for one case."""

    def __init__(
        self, predictor: ReducedPredictor, cases: Cases, passage: Passage, raw: np.ndarray
    ) -> None:
        self.predictor, self.cases, self.passage = predictor, cases, passage
        self.x = torch.as_tensor(predictor.features.standardised(raw))

    def _by_columns(self, values: Callable[[Tensor], Tensor]) -> np.ndarray:
        """Derivatives (output, all columns) of `values` (output,) by the raw columns."""
        features = self.predictor.features
        if not values(self.x).numel():  # a field that is the same in all cases has no modes
            return np.zeros((0, len(features.keep)))
        jacobian = torch.autograd.functional.jacobian(values, self.x)
        every = np.zeros((jacobian.shape[0], len(features.keep)))
        every[:, features.keep] = jacobian[:, 0].numpy() / features.scale
        return every

    def _split(self, every: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Derivatives (output, time) by each parameter and (output, coefficient) by the shape."""
        embedding, features = self.predictor.embedding, self.predictor.features
        start = 0 if embedding.shape is None else len(embedding.shape.modes)
        shape = every[:, :start]
        start += sum(len(pod.modes) for pod in embedding.known.values())
        parameters = {}
        for name, scalar in self.cases.parameters.items():
            stop = start + scalar.values.shape[1]
            slope = features.transforms[name].slope(scalar.values[0])
            parameters[name] = every[:, start:stop] * slope
            start = stop
        return parameters, shape

    def scalar(self, name: str) -> Gradient:
        """Of a predicted scalar."""
        regression = self.predictor.model.scalars[name]
        sign = self.predictor.model.transforms.get(name, Transform()).sign

        def values(x: Tensor) -> Tensor:
            found = regression(x)
            if not sign or found.epistemic is None or found.noise is None:
                return found.mean[0]
            # The mean of a log-normal, as predicted.
            return sign * torch.exp(found.mean[0] + 0.5 * (found.epistemic[0] + found.noise[0]))

        parameters, shape = self._split(self._by_columns(values))
        points = None
        if self.predictor.embedding.shape is not None:
            points = np.einsum("tk,kpd->tpd", shape, self._shape_by_points())
        return Gradient({k: v.sum(1) for k, v in parameters.items()}, shape, points)

    def field(self, name: str) -> Gradient:
        """Of a predicted field."""
        embedding = self.predictor.embedding
        basis = embedding.fields[name]
        regression = self.predictor.model.fields[name]
        mean = regression(self.x).mean[0].numpy()
        every = self._by_columns(lambda x: regression(x).mean[0])
        stack, places = embedding.stacks[basis.kind.on]
        columns = self.passage.from_common(stack[:, places[name]], basis.kind.on)
        channels = len(basis.pod.mean)
        modes = columns[:, 2 * channels :].reshape(len(columns), -1, channels)
        if basis.logarithmic:
            centre = columns[:, :channels] + np.einsum("nkc,k->nc", modes, mean)
            modes = modes * np.exp(centre)[:, None]
        parameters, shape = self._split(every)
        times, components = channels // basis.kind.components, basis.kind.components

        def whole(by: np.ndarray) -> np.ndarray:
            found = np.einsum("nkc,kj->jnc", modes, by)
            values = found.reshape(by.shape[1], len(modes), times, components)
            return values.swapaxes(1, 2)

        return Gradient({k: whole(v).sum(0) for k, v in parameters.items()}, whole(shape), None)

    def _shape_by_points(self) -> np.ndarray:
        """d coefficient / d coordinates (coefficient, point, dim), the correspondence held
        fixed."""
        pod = self.predictor.embedding.shape
        assert pod is not None
        dual = pod.dual.transpose(2, 0, 1).reshape(pod.dual.shape[2], -1)
        if not self.predictor.embedding.chart.shared_numbering:
            dual = self.passage.inward.T @ dual
        return dual.reshape(len(dual), len(pod.modes), -1).transpose(1, 0, 2)
