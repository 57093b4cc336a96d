"""Small dense networks, initialised by a generator of their own."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

N = TypeVar("N", bound=nn.Module)


class Dense(nn.Module):
    """y = x L + b + f(x) with f a multilayer perceptron of SiLU units, whose last layer begins at
    zero: training starts from the linear map."""

    def __init__(
        self, sizes: Sequence[int], generator: torch.Generator, dtype: torch.dtype = torch.float64
    ) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for k in range(len(sizes) - 1):
            weight = torch.empty(sizes[k], sizes[k + 1], dtype=dtype)
            # Variance 2 / inputs keeps the size of signals through rectifiers (He et al. 2015).
            weight.normal_(0.0, (2.0 / max(sizes[k], 1)) ** 0.5, generator=generator)
            self.weights.append(weight if k < len(sizes) - 2 else torch.zeros_like(weight))
            self.biases.append(torch.zeros(sizes[k + 1], dtype=dtype))
        self.linear = nn.Parameter(torch.zeros(sizes[0], sizes[-1], dtype=dtype))

    def forward(self, x: Float[Tensor, "case input"]) -> Float[Tensor, "case output"]:
        return dense(x, list(self.weights), list(self.biases), self.linear)


class Batched(nn.Module):
    """Several modules of one kind as one: their parameters are stacked, and `torch.func` runs all
    of them in one pass."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        stacked, _ = stack_module_state(list(modules))
        self.names = {name.replace(".", "/"): name for name in stacked}
        self.stacked = nn.ParameterDict({k: stacked[name] for k, name in self.names.items()})
        # In a list, so that it is not a part: it lends its code alone.
        self.code = [copy.deepcopy(modules[0]).to("meta")]

    def forward(self, x: Float[Tensor, "member case input"]) -> Float[Tensor, "member case output"]:
        def one(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(self.code[0], parameters, (x,))

        return vmap(one)({name: self.stacked[k] for k, name in self.names.items()}, x)

    def of(self, name: str) -> Tensor:
        """A parameter of all modules, (member, ...)."""
        return self.stacked[name.replace(".", "/")]


def dense(
    x: Float[Tensor, "case input"],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    linear: Float[Tensor, "input output"],
) -> Float[Tensor, "case output"]:
    """What `Dense` computes, from its parameters."""
    hidden = x
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        hidden = nn.functional.silu(hidden @ weight + bias)
    return hidden @ weights[-1] + biases[-1] + x @ linear


def partly_frozen(net: N, frozen: Sequence[str]) -> N:
    """A copy to go on training, but for the parts `frozen` (names of modules, or of weights).

    Raises:
        ValueError: parts that the network does not have.
    """
    found = copy.deepcopy(net)
    names = [name for name, _ in found.named_parameters()]
    unknown = sorted(k for k in set(frozen) if not any(_inside(name, k) for name in names))
    if unknown:
        parts = sorted({name.partition(".")[0] for name in names})
        raise ValueError(f"expected parts of the network, {parts}, got {unknown}")
    for name, weight in found.named_parameters():
        weight.requires_grad_(not any(_inside(name, k) for k in frozen))
    return found


def _inside(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")
