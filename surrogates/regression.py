"""Maps from standardised inputs to reduced coefficients and scalars, with or without a variance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vmap

from .gp import TENSORS, GaussianProcess, Hyperparameters
from .networks import dense
from .surrogate import State


@dataclass(frozen=True, eq=False)
class Answer:
    """`mean` (case, output); `epistemic` variance and `noise` variance, each (case, output), None
    where not known; and where members of an ensemble differ together the `deviations` from their
    mean, (member, case, output), whose sums of squares are the epistemic variance."""

    mean: Tensor
    epistemic: Tensor | None = None
    noise: Tensor | None = None
    deviations: Tensor | None = None

    def steps(self) -> Iterator[Tensor]:
        """Independent ways (case, output) in which the mean may be wrong, each as far as one
        standard deviation."""
        assert self.epistemic is not None
        assert self.noise is not None
        alone = self.epistemic + self.noise
        if self.deviations is not None:
            yield from self.deviations
            alone = self.noise
        for k in range(alone.shape[1]):
            step = torch.zeros_like(alone)
            step[:, k] = alone[:, k].sqrt()
            yield step


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
        """Covariance (case, case) without noise between the points `x` (case, input), and the
        variance of the noise (case,), both summed over outputs; None where not known."""
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
        """Ridge regression with the strength of least leave-one-out error."""
        return cls(ridge_weight(x, y, ridge_strength(x, y, strengths)), y.mean(0))

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


def ridge_strength(x: Tensor, y: Tensor, strengths: Sequence[float]) -> float:
    """Of least leave-one-out error (closed form: residual over 1 - leverage)."""
    u, s, _ = torch.linalg.svd(x, full_matrices=False)
    centred = y - y.mean(0)
    errors = []
    for strength in strengths:
        shrink = s**2 / (s**2 + strength * len(x))
        leverage = (u**2 * shrink).sum(1) + 1.0 / len(x)
        residual = centred - u @ (shrink[:, None] * (u.T @ centred))
        errors.append(float(((residual / (1.0 - leverage).clamp(min=1e-6)[:, None]) ** 2).sum()))
    return strengths[min(range(len(errors)), key=errors.__getitem__)]


def ridge_weight(
    x: Float[Tensor, "*member case input"], y: Float[Tensor, "*member case output"], strength: float
) -> Float[Tensor, "*member input output"]:
    """(X^T X + strength n)^-1 X^T (Y - mean), for one data set or several side by side."""
    u, s, vt = torch.linalg.svd(x, full_matrices=False)
    gain = s / (s**2 + strength * x.shape[-2]).clamp(min=1e-300)
    return vt.mT @ (gain[..., None] * (u.mT @ (y - y.mean(-2, keepdim=True))))


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
    """Some outputs of trained networks (`networks.Dense`), one or an ensemble: their `layers`, each
    a weight (member, input, output) and a bias (member, output), of which all but the last are
    shared with those of other outputs, and their `linear` part (member, input, output).

    `spread` tells whether each network gives the logarithm of a variance behind each mean. Outputs
    are multiplied by `scale` and shifted by `shift`. `noise` (output,) is the variance that an
    ensemble leaves unexplained, or what the networks' own is multiplied by; without meaning for one
    network, which does not know its spread. `x` (case, input) and `y` (case, output) is the
    training set.
    """

    layers: Sequence[tuple[Tensor, Tensor]]
    linear: Float[Tensor, "member input column"]
    spread: bool
    shift: Float[Tensor, " output"]
    scale: Float[Tensor, " output"]
    noise: Float[Tensor, " output"]
    x: Float[Tensor, "case input"]
    y: Float[Tensor, "case output"]

    def __call__(self, x: Tensor) -> Answer:
        weights, biases = zip(*self.layers, strict=True)
        found = vmap(dense, in_dims=(None, 0, 0, 0))(x, list(weights), list(biases), self.linear)
        count = len(self.shift)
        means = found[..., :count] * self.scale + self.shift
        size = len(means)
        if size == 1:
            return Answer(means[0])
        mean = means.mean(0)
        deviations = (means - mean) / (size - 1) ** 0.5
        noise = self.noise.expand_as(mean)
        if self.spread:
            noise = noise * found[..., count:].exp().mean(0) * self.scale**2
        return Answer(mean, (deviations**2).sum(0), noise, deviations)

    def joint(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        found = self(x)
        if found.deviations is None or found.noise is None:
            return None
        covariance = torch.einsum("mio,mjo->ij", found.deviations, found.deviations)
        return covariance, found.noise.sum(1)

    def training(self) -> tuple[Tensor, Tensor]:
        return self.x, self.y

    def to(self, device: str) -> Network:
        return self.each(lambda t: t.to(device))

    def each(self, change: Callable[[Tensor], Tensor]) -> Network:
        """With every tensor changed."""
        layers = [(change(weight), change(bias)) for weight, bias in self.layers]
        changed = {k: change(getattr(self, k)) for k in _NETWORK}
        return Network(layers, spread=self.spread, **changed)

    def state(self) -> State:
        arrays = {k: getattr(self, k).cpu().numpy() for k in _NETWORK}
        for k, (weight, bias) in enumerate(self.layers):
            arrays |= {f"weight{k}": weight.cpu().numpy(), f"bias{k}": bias.cpu().numpy()}
        values = {"kind": "network", "layers": len(self.layers), "spread": self.spread}
        return State(arrays, values)

    @classmethod
    def restored(cls, state: State) -> Network:
        """From `state`."""
        tensors = {k: torch.as_tensor(a) for k, a in state.arrays.items()}
        count = state.values["layers"]
        layers = [(tensors[f"weight{k}"], tensors[f"bias{k}"]) for k in range(count)]
        return cls(layers, spread=state.values["spread"], **{k: tensors[k] for k in _NETWORK})


_NETWORK = ("linear", "shift", "scale", "noise", "x", "y")
_KINDS: Mapping[str, Any] = {
    "processes": Processes,
    "linear": Linear,
    "nearest": Nearest,
    "network": Network,
}


def restored(state: State) -> Regression:
    """The regression that `state` was taken from."""
    return _KINDS[state.values["kind"]].restored(state)
