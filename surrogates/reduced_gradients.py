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
from .network_gradients import check_weights
from .regression import Answer
from .surrogate import Gradient, Pulled

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
    chain = _Chain.of(predictor, case)
    return {
        name: chain.scalar(name) if name in signature.scalars else chain.field(name)
        for name in outputs
    }


def pulled(predictor: ReducedPredictor, case: Case, weights: Mapping[str, np.ndarray]) -> Pulled:
    """See `Differentiable.pulled`. What a morphing makes each point correspond to is held."""
    [told] = predictor.predict([case])
    means = {k: f.values for k, f in told.mean.items()}
    means |= {k: e.mean for k, e in told.scalars.items()}
    check_weights(weights, {k: v.shape for k, v in means.items()})
    embedding = predictor.embedding
    chain = _Chain.of(predictor, case)
    total = np.zeros(len(predictor.features.keep))
    for name, weight in weights.items():
        slopes = chain.slopes(name)
        total += np.asarray(weight).ravel() @ slopes.reshape(-1, slopes.shape[-1])
    parameters, shape = chain.split(total)
    points = None if embedding.normals else np.zeros_like(case.mesh.points)
    if embedding.shape is not None and not embedding.normals:
        points = np.einsum("k,kpd->pd", shape, chain.shape_by_points())
    value = sum(float((np.asarray(w) * means[k]).sum()) for k, w in weights.items())
    return Pulled(value, parameters, points)


class _Chain:
    """The chain rule for one case."""

    def __init__(
        self, predictor: ReducedPredictor, cases: Cases, passage: Passage, raw: np.ndarray
    ) -> None:
        self.predictor, self.cases, self.passage = predictor, cases, passage
        self.x = torch.as_tensor(predictor.features.standardised(raw))

    @classmethod
    def of(cls, predictor: ReducedPredictor, case: Case) -> _Chain:
        """For a case that has not been checked."""
        cases = Cases.pack([predictor.signature.checked(case)])
        [passage] = predictor.embedding.passages(cases)
        columns = predictor.embedding.inputs(cases, [passage]).columns
        return cls(predictor, cases, passage, predictor.features.raw(cases, columns))

    def slopes(self, name: str) -> np.ndarray:
        """Derivatives of an output by all raw columns: (time, column) of a scalar, (time, entity,
        component, column) of a field."""
        if name in self.predictor.signature.scalars:
            return self._scalar_slopes(name)
        return self._field_slopes(name)

    def _by_columns(self, values: Callable[[Tensor], Tensor]) -> np.ndarray:
        """Derivatives (output, all columns) of `values` (output,) by the raw columns."""
        features = self.predictor.features
        if not values(self.x).numel():  # a field that is the same in all cases has no modes
            return np.zeros((0, len(features.keep)))
        jacobian = torch.autograd.functional.jacobian(values, self.x)
        every = np.zeros((jacobian.shape[0], len(features.keep)))
        every[:, features.keep] = jacobian[:, 0].numpy() / features.scale
        return every

    def split(self, every: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Derivatives (..., time) by each parameter and (..., coefficient) by the shape, from
        those by all raw columns (..., column)."""
        embedding, features = self.predictor.embedding, self.predictor.features
        start = 0 if embedding.shape is None else len(embedding.shape.modes)
        shape = every[..., :start]
        start += sum(len(pod.modes) for pod in embedding.known.values())
        parameters = {}
        for name, scalar in self.cases.parameters.items():
            stop = start + scalar.values.shape[1]
            slope = features.transforms[name].slope(scalar.values[0])
            parameters[name] = every[..., start:stop] * slope
            start = stop
        return parameters, shape

    def _scalar_slopes(self, name: str) -> np.ndarray:
        regression = self.predictor.model.scalars[name]
        sign = self.predictor.model.transforms.get(name, Transform()).sign

        def values(x: Tensor) -> Tensor:
            found = regression(x)
            if not sign:
                return found.mean[0]
            # The mean of a log-normal, as predicted.
            return sign * torch.exp(found.mean[0] + 0.5 * _variance(found))

        return self._by_columns(values)

    def scalar(self, name: str) -> Gradient:
        """Of a predicted scalar."""
        parameters, shape = self.split(self._scalar_slopes(name))
        points = None
        # Normals depend on the points in another way; then go by the shape coefficients.
        embedding = self.predictor.embedding
        if embedding.shape is not None and not embedding.normals:
            points = np.einsum("tk,kpd->tpd", shape, self.shape_by_points())
        return Gradient({k: v.sum(1) for k, v in parameters.items()}, shape, points)

    def field(self, name: str) -> Gradient:
        """Of a predicted field."""
        parameters, shape = self.split(self._field_slopes(name))
        return Gradient(
            {k: v.sum(axis=-1) for k, v in parameters.items()}, np.moveaxis(shape, -1, 0), None
        )

    def _field_slopes(self, name: str) -> np.ndarray:
        """d mean = modes d coefficient; for a logarithm mean (modes d
        coefficient + modes^2 d variance / 2), the mean being a log-normal's."""
        from .reduced import decode

        embedding = self.predictor.embedding
        basis = embedding.fields[name]
        regression = self.predictor.model.fields[name]
        stack, places = embedding.stacks[basis.kind.on]
        columns = self.passage.from_common(stack[:, places[name]], basis.kind.on)
        channels = len(basis.pod.mean)
        modes = columns[:, 2 * channels :].reshape(len(columns), -1, channels)
        every = self._by_columns(lambda x: regression(x).mean[0])
        slope = np.einsum("nkc,kj->jnc", modes, every)
        if basis.logarithmic:
            answer = regression(self.x)
            mean, _, _ = decode(basis, columns, answer, 0)
            if answer.epistemic is not None:
                spread = self._by_columns(lambda x: _variance(regression(x)))
                slope += 0.5 * np.einsum("nkc,kj->jnc", np.square(modes), spread)
            slope *= mean
        times, components = channels // basis.kind.components, basis.kind.components
        whole = slope.reshape(len(slope), -1, times, components).swapaxes(1, 2)
        return np.moveaxis(whole, 0, -1)

    def shape_by_points(self) -> np.ndarray:
        """d coefficient / d coordinates (coefficient, point, dim), the correspondence held
        fixed."""
        pod = self.predictor.embedding.shape
        assert pod is not None
        dual = pod.dual.transpose(2, 0, 1).reshape(pod.dual.shape[2], -1)
        if not self.predictor.embedding.chart.shared_numbering:
            dual = self.passage.inward.T @ dual
        return dual.reshape(len(dual), len(pod.modes), -1).transpose(1, 0, 2)


def _variance(answer: Answer) -> Tensor:
    """Of the one case, noise included."""
    if answer.epistemic is None or answer.noise is None:
        return answer.mean[0] * 0.0
    return answer.epistemic[0] + answer.noise[0]
