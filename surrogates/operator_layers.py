"""Operator networks: functions of what describes a case (branch) and of a point (trunk)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, cast

import torch
from torch import Tensor, nn

Gate = Literal["product", "residual"]
AT_ONCE = 200_000
"""Points that are answered at a time."""
BLOCK = 2048
"""Points of a case whose states fit into the cache."""


class Rowdy(nn.Module):
    """tanh(10 a z + c) + 10 a1 sin(10 f1 z + c1), five learned numbers (Jagtap et al. 2022,
    doi:10.1016/j.neucom.2021.10.036); begins as tanh(z + 0.1)."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = nn.Parameter(torch.tensor([0.1, 0.1, 0.0, 0.1, 0.0]))

    def forward(self, z: Tensor) -> Tensor:
        a, c, a1, f1, c1 = self.numbers
        return torch.tanh(10 * a * z + c) + 10 * a1 * torch.sin(10 * f1 * z + c1)

    def gated(self, layer: nn.Linear, x: Tensor, gate: Tensor) -> Tensor:
        """act(layer(x)) * gate; without gradients in the memory of two arrays, and by
        tanh(y) = 2 / (1 + exp(-2 y)) - 1, which CPUs are several times faster at."""
        if torch.is_grad_enabled():
            return self(layer(x)) * gate
        a, c, a1, f1, c1 = self.numbers
        z = layer(x)
        wave = (z * (10 * f1)).add_(c1).sin_().mul_(10 * a1).sub_(1.0)
        half = z.mul_(20 * a).add_(2 * c).sigmoid_()
        return wave.add_(half, alpha=2.0).mul_(gate)


def small_linear(inputs: int, outputs: int) -> nn.Linear:
    """With the weights and biases of Fusion-DeepONet's authors: normal, of standard deviation
    2 / (inputs + outputs) and sqrt(4 / (1 + outputs) / (inputs + outputs))."""
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, 0.0, 2 / (inputs + outputs))
    nn.init.normal_(layer.bias, 0.0, (4 / (1 + outputs) / (inputs + outputs)) ** 0.5)
    return layer


class OperatorNet(nn.Module):
    """u_f(v, x) = sum_g B_gf(v) T_g(x; v) for `fields` f, and `scalars` of v. `steps` counts
    losses, for points that depend on the step."""

    def __init__(self, fields: int, latent: int, width: int, scalars: int) -> None:
        super().__init__()
        self.fields, self.latent = max(fields, 1), latent
        self.summary = nn.Linear(width, scalars) if scalars else None
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @abstractmethod
    def branched(self, v: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """B (case, latent, field), the last hidden states (case, width), and what the trunk's
        layers are told (case, width)."""

    @abstractmethod
    def basis(self, x: Tensor, told: Sequence[Tensor]) -> Tensor:
        """T (..., latent) at points x (..., dim); `told` broadcasts with them."""

    def levels(self, x: Tensor, told: Sequence[Tensor]) -> list[Tensor]:
        """What the basis is made of, layer by layer, (..., width)."""
        return [self.basis(x, told)]

    def forward(
        self, v: Tensor, x: Tensor, counts: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Fields (case, point, field) of v (case, input) at points of their own x (case, point,
        dim), and scalars (case, scalar). With `counts` points of all cases lie one behind the
        other, x (point, dim), and so do fields."""
        if counts is not None:
            return self.at(v, x, counts)
        b, h, told = self.branched(v)
        t = self.basis(x, [part[:, None] for part in told])
        return t @ b, self.scalars(h)

    def at(self, v: Tensor, x: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """As `forward` with `counts`."""
        b, h, told = self.branched(v)
        if not torch.is_grad_enabled() and len(x) > BLOCK * len(counts):
            blocks = [
                self.basis(block, [part[k] for part in told]) @ b[k]
                for k, own in enumerate(torch.split(x, list(counts)))
                for block in torch.split(own, BLOCK)
            ]
            return torch.cat(blocks), self.scalars(h)
        sizes = torch.tensor(counts, device=x.device)
        case = torch.repeat_interleave(sizes, output_size=len(x))
        t = self.basis(x, [part[case] for part in told])
        parts = [part @ b[k] for k, part in enumerate(torch.split(t, list(counts)))]
        return torch.cat(parts), self.scalars(h)

    def at_most(
        self, v: Tensor, x: Tensor, counts: Sequence[int], most: int
    ) -> tuple[Tensor, Tensor]:
        """As `at`, no more than so many points at a time."""
        if len(x) <= most:
            return self.at(v, x, counts)
        fields = [
            self.at(v[[k]], part, [len(part)])[0]
            for k, own in enumerate(torch.split(x, list(counts)))
            for part in torch.split(own, most)
        ]
        return torch.cat(fields), self.scalars(self.branched(v)[1])

    def scalars(self, h: Tensor) -> Tensor:
        """(case, scalar)."""
        return h.new_zeros(len(h), 0) if self.summary is None else self.summary(h)


class FusionNet(OperatorNet):
    """Branch and trunk of the same depth; the sum of the branch's hidden states so far gates each
    of the trunk's (Peyvan, Kumar, Karniadakis 2025, arXiv:2501.01934). `gate` "residual" multiplies
    by 1 + the sum."""

    def __init__(
        self,
        ends: tuple[int, int, int, int],
        width: int,
        depth: int,
        latent: int,
        gate: Gate = "product",
    ) -> None:
        inputs, dim, fields, scalars = ends
        super().__init__(fields, latent, width, scalars)
        self.shift = float(gate == "residual")
        hidden = [width] * depth
        self.branch = nn.ModuleList(small_linear(*s) for s in pairwise([inputs, *hidden]))
        self.trunk = nn.ModuleList(small_linear(*s) for s in pairwise([dim, *hidden]))
        self.branch_out = small_linear(width, latent * self.fields)
        self.trunk_out = small_linear(width, latent)
        self.branch_acts = nn.ModuleList(Rowdy() for _ in hidden)
        self.trunk_acts = nn.ModuleList(Rowdy() for _ in hidden)

    def branched(self, v: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        h, total, gates = v, torch.zeros((), device=v.device), []
        for layer, act in zip(self.branch, self.branch_acts, strict=True):
            h = act(layer(h))
            total = total + h
            gates.append(total + self.shift)
        return self.branch_out(h).view(len(v), self.latent, self.fields), h, gates

    def basis(self, x: Tensor, told: Sequence[Tensor]) -> Tensor:
        return self.trunk_out(self.levels(x, told)[-1])

    def levels(self, x: Tensor, told: Sequence[Tensor]) -> list[Tensor]:
        """The gated states of each layer of the trunk, (..., width)."""
        found = []
        for layer, act, gate in zip(self.trunk, self.trunk_acts, told, strict=True):
            x = cast("Rowdy", act).gated(cast("nn.Linear", layer), x, gate)
            found.append(x)
        return found


class PlainNet(OperatorNet):
    """Branch and trunk know nothing of each other (DeepONet; Lu et al. 2021,
    doi:10.1038/s42256-021-00302-5). `groups` are inputs with branches
    of their own that are multiplied (MIONet; Jin, Meng, Lu 2022, doi:10.1137/22M1477751)."""

    def __init__(
        self,
        ends: tuple[int, int, int, int],
        width: int,
        depth: int,
        latent: int,
        groups: Sequence[int] = (),
    ) -> None:
        inputs, dim, fields, scalars = ends
        super().__init__(fields, latent, width, scalars)
        self.groups = list(groups) or [inputs]
        hidden = [width] * depth
        self.branches = nn.ModuleList(tanh_mlp([size, *hidden]) for size in self.groups)
        self.branch_outs = nn.ModuleList(linear(width, latent * self.fields) for _ in self.groups)
        self.trunk = tanh_mlp([dim, *hidden, latent])

    def branched(self, v: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        product = state = torch.ones((), device=v.device)
        parts = torch.split(v, self.groups, dim=1)
        for branch, out, part in zip(self.branches, self.branch_outs, parts, strict=True):
            h = torch.tanh(branch(part))
            product, state = product * out(h), state * h
        return product.view(len(v), self.latent, self.fields), state, []

    def basis(self, x: Tensor, told: Sequence[Tensor]) -> Tensor:
        return self.trunk(x)


def tanh_mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers with tanh between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [linear(before, after), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def linear(inputs: int, outputs: int) -> nn.Linear:
    """Glorot normal, no bias at first."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
