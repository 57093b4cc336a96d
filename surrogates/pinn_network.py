"""Networks that carry derivatives by their inputs: what a physics-informed surrogate is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .jets import Jet, joined

Weights = Mapping[str, Tensor]


class Layout(ABC):
    """The shape of a network, as a setting: `shapes` names its weights, `jet` runs it."""

    @abstractmethod
    def shapes(self, inputs: int, outputs: int) -> dict[str, tuple[int, int]]:
        """Rows and columns of each weight; biases have one row."""

    @abstractmethod
    def jet(self, weights: Weights, x: Jet) -> Jet:
        """The outputs at rows of inputs."""

    def drawn(self, inputs: int, outputs: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Random weights after Glorot and Bengio 2010 for tanh, biases and the last layer's weights
        a tenth of that."""
        found = {}
        for name, (rows, columns) in self.shapes(inputs, outputs).items():
            size = (2.0 / (rows + columns)) ** 0.5 * (0.1 if "last" in name else 1.0)
            found[name] = size * torch.randn(
                rows, columns, generator=generator, dtype=torch.float64
            )
        return found


def dense(weights: Weights, name: str, x: Jet) -> Jet:
    """x W + b of a layer."""
    return x.linear(weights[f"{name} weight"], weights[f"{name} bias"])


def _layer(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, int]]:
    return {f"{name} weight": (inputs, outputs), f"{name} bias": (1, outputs)}


@dataclass(frozen=True)
class Perceptron(Layout):
    """`depth` layers of `width` units, tanh."""

    width: int = 20
    depth: int = 3

    def shapes(self, inputs: int, outputs: int) -> dict[str, tuple[int, int]]:
        found = _layer("layer 0", inputs, self.width)
        for k in range(1, self.depth):
            found |= _layer(f"layer {k}", self.width, self.width)
        return found | _layer("last", self.width, outputs)

    def jet(self, weights: Weights, x: Jet) -> Jet:
        for k in range(self.depth):
            x = dense(weights, f"layer {k}", x).tanh()
        return dense(weights, "last", x)


@dataclass(frozen=True)
class PathologyBlocks(Layout):
    """Wang, Teng, Perdikaris 2021 (doi:10.1137/20M1318043): U, V and H0 are layers of the inputs,
    then `depth` - 1 times Z = tanh(H W + b), H <- (1 - Z) U + Z V."""

    width: int = 20
    depth: int = 3

    def shapes(self, inputs: int, outputs: int) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for name in ("u", "v", "layer 0"):
            found |= _layer(name, inputs, self.width)
        for k in range(1, self.depth):
            found |= _layer(f"layer {k}", self.width, self.width)
        return found | _layer("last", self.width, outputs)

    def jet(self, weights: Weights, x: Jet) -> Jet:
        u, v, h = (dense(weights, name, x).tanh() for name in ("u", "v", "layer 0"))
        for k in range(1, self.depth):
            z = dense(weights, f"layer {k}", h).tanh()
            h = u + z * (v - u)
        return dense(weights, "last", h)


@dataclass(frozen=True)
class Split(Layout):
    """A network of an `inner` layout for each output; the first `blind` ones don't see the first
    input."""

    inner: Layout
    blind: int = 0

    def shapes(self, inputs: int, outputs: int) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for k in range(outputs):
            own = self.inner.shapes(inputs - self._start(k), 1)
            found |= {f"{k} {name}": shape for name, shape in own.items()}
        return found

    def jet(self, weights: Weights, x: Jet) -> Jet:
        outputs = 1 + max(int(name.split(" ", 1)[0]) for name in weights)
        found = []
        for k in range(outputs):
            start = f"{k} "
            own = {n.removeprefix(start): w for n, w in weights.items() if n.startswith(start)}
            found.append(self.inner.jet(own, x.columns(self._start(k))))
        return joined(found)

    def _start(self, k: int) -> int:
        return int(k < self.blind)
