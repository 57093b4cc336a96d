"""Column networks as one module that a host model calls: what is in the host's units goes in and
comes out.

The methods name no function of a module, only tensors' own: they can then be scripted, wrapped by a
run-time checker or not.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from .column_network import ColumnPredictor
from .multi_fidelity_columns import JointNet
from .stability import Bounds
from .stacked import SLOPE, RandomizedPriorNet

SCALES = ("x_low", "x_high", "x_shift", "x_scale", "y_shift", "y_scale", "y_low", "y_high")


class Products(nn.Module):
    """x W + b of many networks, (network, row, column)."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach().clone())
        self.register_buffer("bias", bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.bias.baddbmm(x, self.weight)


class Networks(nn.Module):
    """A RandomizedPriorNet: learned networks, then those that are never trained, whose last layer
    is multiplied by beta; a member is the sum of one of either. `shared`: all are given the
    same."""

    def __init__(self, net: RandomizedPriorNet, shared: bool) -> None:
        super().__init__()
        self.shared = shared
        stacks = [net.learned] if net.prior is None else [net.learned, net.prior]
        self.parts = len(stacks)
        self.members = len(net.learned.weights[0])
        layers = []
        for k in range(len(net.learned.weights)):
            last = k == len(net.learned.weights) - 1
            times = [1.0, net.beta if last else 1.0][: self.parts]
            weight = torch.cat([c * s.weights[k] for c, s in zip(times, stacks, strict=True)])
            bias = torch.cat([c * s.biases[k] for c, s in zip(times, stacks, strict=True)])
            layers.append(Products(weight, bias))
        self.hidden = nn.ModuleList(layers[:-1])
        self.last = layers[-1]
        self.bend = nn.LeakyReLU(SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        if self.shared:
            h = x.expand(self.parts * self.members, -1, -1)
        else:
            h = x.repeat(self.parts, 1, 1)
        for layer in self.hidden:
            h = self.bend(layer(h))
        h = self.last(h)
        return h.view(self.parts, self.members, h.size(1), h.size(2)).sum(0)


class Told(nn.Module):
    """Networks that are told what others say, member by member, or all by one."""

    slope: Tensor
    offset: Tensor

    def __init__(self, net: JointNet) -> None:
        super().__init__()
        one = len(net.low.learned.weights[0]) == 1
        self.low, self.high = Networks(net.low, True), Networks(net.high, one)
        self.beside = net.beside
        line = net.slope is not None and net.offset is not None
        outputs = net.high.learned.weights[-1].shape[2]
        self.line = line
        slope = net.slope if net.slope is not None else torch.zeros(outputs)
        offset = net.offset if net.offset is not None else torch.zeros(outputs)
        self.register_buffer("slope", slope.detach().clone())
        self.register_buffer("offset", offset.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        said = self.low(x)
        given = said
        if self.beside:
            # [x, said] side by side, without the name of a function that does it.
            wide = x.size(2) + said.size(2)
            given = said.new_empty(said.size(0), said.size(1), wide)
            given[:, :, : x.size(2)] = x
            given[:, :, x.size(2) :] = said
        found = self.high(given)
        if self.line:
            found = found + self.slope * said + self.offset
        return found


class WithSpread(nn.Module):
    """Clip, normalise, ask every member, return to units, clip: mean and standard deviation.

    Scales are applied in double precision, as `predict` does, whatever that of the networks is.
    """

    x_low: Tensor
    x_high: Tensor
    x_shift: Tensor
    x_scale: Tensor
    y_shift: Tensor
    y_scale: Tensor
    y_low: Tensor
    y_high: Tensor
    mark: Tensor

    def __init__(
        self, net: nn.Module, scales: Mapping[str, np.ndarray], widening: float, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.net = net.to(dtype)
        for name in SCALES:
            values = torch.as_tensor(np.array(scales[name], dtype=np.float64))
            self.register_buffer(name, values)
        self.register_buffer("mark", torch.zeros((), dtype=dtype))
        self.widening = float(widening)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = x.double().maximum(self.x_low).minimum(self.x_high)
        z = (z - self.x_shift) / self.x_scale
        every = self.net(z.type_as(self.mark).unsqueeze(0)).double()
        mean = every.mean(0)
        square = (every - mean).square().sum(0) / max(every.size(0) - 1, 1)
        y = (mean * self.y_scale + self.y_shift).maximum(self.y_low).minimum(self.y_high)
        spread = square.sqrt() * (self.widening * self.y_scale)
        return y.type_as(self.mark), spread.type_as(self.mark)


class MeanAlone(nn.Module):
    """The mean; `spread` answers both."""

    def __init__(self, spread: WithSpread) -> None:
        super().__init__()
        self.spread = spread

    def forward(self, x: Tensor) -> Tensor:
        mean, _ = self.spread(x)
        return mean


def column_module(predictor: ColumnPredictor, limits: Bounds, dtype: torch.dtype) -> WithSpread:
    """What `predictor` answers, as one module of its own weights."""
    reading, net = predictor.reading, predictor.net
    scales = {
        "x_shift": reading.inputs.shift,
        "x_scale": reading.inputs.scale,
        "y_shift": reading.outputs.shift,
        "y_scale": np.where(reading.varies, reading.outputs.scale, 0.0),
        "x_low": limits.inputs[0],
        "x_high": limits.inputs[1],
        "y_low": limits.outputs[0],
        "y_high": limits.outputs[1],
    }
    if isinstance(net, JointNet):
        return WithSpread(Told(net), scales, predictor.widening, dtype).eval()
    if not isinstance(net, RandomizedPriorNet):
        raise TypeError(f"expected networks side by side, got {type(net).__name__}")
    return WithSpread(Networks(net, True), scales, predictor.widening, dtype).eval()
