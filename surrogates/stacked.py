"""Several dense networks as one: their weights are stacked, each layer is one batched product."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

SLOPE = 0.15
"""Of the rectifiers below 0."""


class StackedMlp(nn.Module):
    """`count` multilayer perceptrons with leaky rectifiers, each with weights of its own: normal by
    Glorot and Bengio (2010), biases 0."""

    def __init__(self, count: int, sizes: Sequence[int], generator: torch.Generator) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for before, after in pairwise(sizes):
            spread = (2.0 / max(before + after, 1)) ** 0.5
            weight = torch.empty(count, before, after).normal_(0.0, spread, generator=generator)
            self.weights.append(weight)
            self.biases.append(torch.zeros(count, 1, after))

    def forward(
        self, x: Float[Tensor, "#member case input"]
    ) -> Float[Tensor, "member case output"]:
        h = x.expand(len(self.weights[0]), -1, -1)
        last = len(self.weights) - 1
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(bias, h, weight)
            if k < last:
                h = nn.functional.leaky_relu(h, SLOPE, inplace=True)
        return h


class RandomizedPriorNet(nn.Module):
    """f(x) = g(x) + beta p(x), p of the same kind as g and never trained (Osband, Aslanides,
    Cassirer 2018, arXiv:1806.03335); without a prior where beta is 0."""

    def __init__(
        self, count: int, sizes: Sequence[int], beta: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.beta = beta
        self.learned = StackedMlp(count, sizes, generator)
        self.prior = StackedMlp(count, sizes, generator) if beta else None
        if self.prior is not None:
            self.prior.requires_grad_(False)

    def forward(
        self, x: Float[Tensor, "#member case input"]
    ) -> Float[Tensor, "member case output"]:
        found: Tensor = self.learned(x)
        if self.prior is None:
            return found
        return found + self.beta * self.prior(x)
