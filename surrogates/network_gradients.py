"""Derivatives of networks by parameters and by the coordinates of points: automatic, in double
precision."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from fieldcast.meshes import Case

from .surrogate import Differentiable, Gradient, Pulled

N = TypeVar("N", bound=nn.Module)
STEP = 1e-6
"""Of differences, in half ranges of a parameter of the training set: short, as rectifiers have
kinks."""
Traced = Mapping[str, Tensor]


class DifferentiableNetwork(Differentiable):
    """A network whose answer is a function of tensors."""

    @abstractmethod
    def traced(self, case: Case, parameters: Traced, points: Tensor) -> Traced:
        """Means of all outputs, as `pulled` has them, of a checked case with other parameters
        (time,) and points (point, dim), in double precision."""

    @property
    @abstractmethod
    def told_by_points(self) -> bool:
        """Whether all that it is told of shapes goes by `traced`'s points."""

    @abstractmethod
    def spans(self) -> Mapping[str, float]:
        """Half the ranges of parameters in the training set."""

    def pulled(self, case: Case, weights: Mapping[str, np.ndarray]) -> Pulled:
        case = self.signature.checked(case)
        parameters, points = _leaves(case)
        found = self.traced(case, parameters, points)
        check_weights(weights, {k: tuple(v.shape) for k, v in found.items()})
        total = sum(
            ((found[k] * torch.as_tensor(np.array(w))).sum() for k, w in weights.items()),
            points.new_zeros(()),
        )
        asked = [*parameters.values(), points]
        slopes = torch.autograd.grad(total, asked, allow_unused=True, materialize_grads=True)
        by_name = dict(zip(parameters, (s.numpy() for s in slopes), strict=False))
        moved = slopes[-1].numpy() if self.told_by_points else None
        return Pulled(float(total.detach()), by_name, moved)

    def gradients(self, case: Case, outputs: Sequence[str]) -> Mapping[str, Gradient]:
        """See `Differentiable.gradients`. By parameters these are central differences of the
        network in double precision, good to about 1e-5; `pulled` is automatic. There are no shape
        coefficients."""
        case = self.signature.checked(case)
        known = [*self.signature.fields, *self.signature.scalars]
        if set(outputs) - set(known):
            raise ValueError(
                f"expected outputs of {known}, got {sorted(set(outputs) - set(known))}"
            )
        slopes = self._by_parameters(case)
        found = {}
        for name in outputs:
            parameters = {k: v[name] for k, v in slopes.items()}
            if name in self.signature.fields:
                found[name] = Gradient(parameters, np.zeros(0))
                continue
            pulled = self.pulled(case, {name: np.ones(1)})
            points = None if pulled.points is None else pulled.points[None]
            found[name] = Gradient(dict(pulled.parameters), np.zeros((1, 0)), points)
        return found

    def _by_parameters(self, case: Case) -> dict[str, dict[str, np.ndarray]]:
        """Derivatives of all outputs by each parameter."""
        parameters, points = _leaves(case)
        spans, found = self.spans(), {}
        for name in parameters:
            h = STEP * spans[name]
            with torch.no_grad():
                up, down = (
                    self.traced(case, {**parameters, name: parameters[name] + step}, points)
                    for step in (h, -h)
                )
            found[name] = {k: ((up[k] - v) / (2.0 * h)).numpy() for k, v in down.items()}
        return found


def _leaves(case: Case) -> tuple[dict[str, Tensor], Tensor]:
    """A case's parameters and points, with gradients."""
    parameters = {
        k: torch.tensor(s.value, dtype=torch.float64, requires_grad=True)
        for k, s in case.parameters.items()
    }
    return parameters, torch.tensor(case.mesh.points, dtype=torch.float64, requires_grad=True)


def check_weights(weights: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise a ValueError for weights of no output, or of another shape."""
    for name, weight in weights.items():
        if name not in shapes:
            raise ValueError(f"expected outputs of {sorted(shapes)}, got {name!r}")
        if np.shape(weight) != shapes[name]:
            raise ValueError(
                f"weights of {name!r}: expected the shape of the output, {shapes[name]}, got "
                f"{np.shape(weight)}"
            )


def doubled(net: N) -> N:
    """A copy on the CPU in double precision; of complex numbers, too."""
    found = copy.deepcopy(net).cpu().eval()
    for tensor in (*found.parameters(), *found.buffers()):
        if tensor.is_floating_point() or tensor.is_complex():
            tensor.data = tensor.data.to(torch.promote_types(tensor.dtype, torch.float64))
    return found
