"""Maps from standardised inputs to reduced coefficients and scalars, with or without a variance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .gp import TENSORS, GaussianProcess, Hyperparameters
from .networks import Dense, dense
from .surrogate import State


@dataclass(frozen=True, eq=False)
class Answer:
    """`mean` (case, output); `epistemic` variance (case, output) and `noise` variance (output,),
    None where not known."""

    mean: Tensor
    epistemic: Tensor | None = None
    noise: Tensor | None = None


class Regression(ABC):
    """Fitted: from inputs (case, input) to outputs (case, output)."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Answer:
        """Differentiable by `x`."""

    @abstractmethod
    def to(self, device: str) -> Regression:
        """The same on another device."""

    def training(self) -> tuple[Tensor, Tensor] | None:
        """Inputs and outputs it was fitted to, where it keeps them."""
        return None

    def joint(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """Covariance without noise between the points `x` (case, input), summed over outputs, (case,
        case), and the variance of the noise, summed too, (case,); None where not known."""
        return None

    @abstractmethod
    def state(self) -> State:
        """What `restored` needs."""


@dataclass(frozen=True, eq=False)
class Processes(Regression):
    """Gaussian processes, each for some of the outputs, one behind the other."""

    members: Sequence[GaussianProcess]

    def __call__(self, x: Tensor) -> Answer:
        found = [process(x) for process in self.members]
        return Answer(
            torch.cat([mean for mean, _, _ in found], dim=1),
            torch.cat([variance for _, variance, _ in found], dim=1),
            torch.cat([noise for _, _, noise in found], dim=1),
        )

    def joint(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found = [process.joint(x) for process in self.members]
        none = x.new_zeros(len(x), len(x)), x.new_zeros(len(x))
        return sum((c for c, _ in found), none[0]), sum((n for _, n in found), none[1])

    def training(self) -> tuple[Tensor, Tensor] | None:
        if not self.members:
            return None
        return self.members[0].x, torch.cat([p.outputs() for p in self.members], dim=1)

    def to(self, device: str) -> Processes:
        return Processes([p.to(device) for p in self.members])

    def state(self) -> State:
        arrays = {}
        for k, p in enumerate(self.members):
            # The training inputs are the same in all members; the bundle keeps equal arrays once.
            for name in TENSORS:
                arrays[f"{k}/{name}"] = getattr(p, name).cpu().numpy()
        kernels = [
            {**asdict(p.hyperparameters), "lengthscale": p.hyperparameters.lengthscale.tolist()}
            for p in self.members
        ]
        return State(arrays, {"kind": "processes", "kernels": kernels})

    @classmethod
    def restored(cls, state: State) -> Processes:
        """From `state`."""
        members = []
        for k, kernel in enumerate(state.values["kernels"]):
            tensors = {name: torch.as_tensor(state.arrays[f"{k}/{name}"]) for name in TENSORS}
            h = Hyperparameters(
                np.array(kernel["lengthscale"]), kernel["signal"], kernel["linear"], kernel["noise"]
            )
            members.append(GaussianProcess(**tensors, hyperparameters=h, nll=float("nan")))
        return cls(members)


@dataclass(frozen=True, eq=False)
class Linear(Regression):
    """y = x W + b; the training mean alone where W is zero."""

    weight: Float[Tensor, "input output"]
    bias: Float[Tensor, " output"]

    @classmethod
    def ridge(cls, x: Tensor, y: Tensor, strengths: Sequence[float]) -> Linear:
        """Ridge regression with the strength of least leave-one-out error (closed form: residual
        over 1 - leverage)."""
        u, s, vt = torch.linalg.svd(x, full_matrices=False)
        mean = y.mean(0)
        best, least = cls(torch.zeros_like(vt.T @ (u.T @ y)), mean), float("inf")
        for strength in strengths:
            shrink = s**2 / (s**2 + strength * len(x))
            leverage = (u**2 * shrink).sum(1) + 1.0 / len(x)
            residual = (y - mean - u @ (shrink[:, None] * (u.T @ (y - mean)))) / (
                1.0 - leverage
            ).clamp(min=1e-6)[:, None]
            error = float((residual**2).sum())
            if error < least:
                gain = shrink / s.clamp(min=1e-300)
                best, least = cls(vt.T @ (gain[:, None] * (u.T @ (y - mean))), mean), error
        return best

    @classmethod
    def constant(cls, x: Tensor, y: Tensor) -> Linear:
        """The mean, whatever the input."""
        return cls(torch.zeros((x.shape[1], y.shape[1]), dtype=y.dtype), y.mean(0))

    def __call__(self, x: Tensor) -> Answer:
        return Answer(x @ self.weight + self.bias)

    def to(self, device: str) -> Linear:
        return Linear(self.weight.to(device), self.bias.to(device))

    def state(self) -> State:
        arrays = {"weight": self.weight.cpu().numpy(), "bias": self.bias.cpu().numpy()}
        return State(arrays, {"kind": "linear"})

    @classmethod
    def restored(cls, state: State) -> Linear:
        """From `state`."""
        return cls(*(torch.as_tensor(state.arrays[k]) for k in ("weight", "bias")))


@dataclass(frozen=True, eq=False)
class Nearest(Regression):
    """The outputs of the training case whose inputs are closest."""

    x: Float[Tensor, "case input"]
    y: Float[Tensor, "case output"]

    def __call__(self, x: Tensor) -> Answer:
        return Answer(self.y[torch.cdist(x, self.x).argmin(1)])

    def to(self, device: str) -> Nearest:
        return Nearest(self.x.to(device), self.y.to(device))

    def state(self) -> State:
        return State({"x": self.x.cpu().numpy(), "y": self.y.cpu().numpy()}, {"kind": "nearest"})

    @classmethod
    def restored(cls, state: State) -> Nearest:
        """From `state`."""
        return cls(*(torch.as_tensor(state.arrays[k]) for k in ("x", "y")))


@dataclass(frozen=True, eq=False)
class Network(Regression):
    """Some outputs of a trained network (`networks.Dense`): its layers, of which all but the last
    are shared with those of other outputs; `shift` and `scale` of the outputs; and the training
    set, `x` (case, input) and `y` (case, output)."""

    weights: Sequence[Tensor]
    biases: Sequence[Tensor]
    linear: Float[Tensor, "input output"]
    shift: Float[Tensor, " output"]
    scale: Float[Tensor, " output"]
    x: Float[Tensor, "case input"]
    y: Float[Tensor, "case output"]

    @classmethod
    def of(
        cls,
        module: Dense,
        columns: slice,
        scaling: tuple[Tensor, Tensor],
        training: tuple[Tensor, Tensor],
    ) -> Network:
        """The outputs `columns` of a trained module."""
        weights, biases = ([p.detach() for p in group] for group in (module.weights, module.biases))
        weights[-1], biases[-1] = weights[-1][:, columns], biases[-1][columns]
        parts = (weights, biases, module.linear.detach()[:, columns], *scaling, *training)
        return cls(*parts).laid_out()

    def laid_out(self) -> Network:
        """In the layout that a saved network has: products then round alike."""
        return self._each(lambda t: t.clone(memory_format=torch.contiguous_format))

    def __call__(self, x: Tensor) -> Answer:
        return Answer(dense(x, self.weights, self.biases, self.linear) * self.scale + self.shift)

    def training(self) -> tuple[Tensor, Tensor]:
        return self.x, self.y

    def to(self, device: str) -> Network:
        return self._each(lambda t: t.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Network:
        weights, biases = ([change(t) for t in group] for group in (self.weights, self.biases))
        return Network(weights, biases, *(change(getattr(self, k)) for k in _NETWORK))

    def state(self) -> State:
        arrays = {k: getattr(self, k).cpu().numpy() for k in _NETWORK}
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            arrays |= {f"weight{k}": weight.cpu().numpy(), f"bias{k}": bias.cpu().numpy()}
        return State(arrays, {"kind": "network", "layers": len(self.weights)})

    @classmethod
    def restored(cls, state: State) -> Network:
        """From `state`."""
        weights, biases = (
            [torch.as_tensor(state.arrays[f"{name}{k}"]) for k in range(state.values["layers"])]
            for name in ("weight", "bias")
        )
        return cls(weights, biases, *(torch.as_tensor(state.arrays[k]) for k in _NETWORK))


_NETWORK = ("linear", "shift", "scale", "x", "y")
_KINDS: Mapping[str, Any] = {
    "processes": Processes,
    "linear": Linear,
    "nearest": Nearest,
    "network": Network,
}


def restored(state: State) -> Regression:
    """The regression that `state` was taken from."""
    return _KINDS[state.values["kind"]].restored(state)
