"""From points to a regular grid and back by learned kernels: the ends of a geometry-informed neural
operator (Li et al. 2023, arXiv:2309.00583)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .operator_images import GridNet

AT_A_TIME = 2**18
"""Pairs of a point and a pixel that are read at a time."""


class Kernels(NamedTuple):
    """Their channels, how many pixels they reach, and over how many sensors."""

    width: int
    radius: float
    sensors: int


class GeometryNet(GridNet):
    """A network from sensors on the boundary, a picture and other inputs to fields at points. A
    pixel feels the mean of a kernel over the sensors within reach; a point reads the mean
    of kernel times state over the pixels within that."""

    offsets: Tensor

    def __init__(
        self,
        ends: tuple[int, int, int, int],
        picture: tuple[int, ...],
        corners: tuple[np.ndarray, np.ndarray],
        operator: nn.Module,
        kernels: Kernels,
    ) -> None:
        width, radius, sensors = kernels
        super().__init__(ends, picture, corners, operator, width)
        if radius < 1.0:
            raise ValueError(f"expected kernels that reach at least a pixel, got {radius}")
        dim = len(picture) - 1
        self.width, self.radius, self.sensors = width, radius, sensors
        self.feel, self.see = (gelu_mlp([2 * dim, width, width]) for _ in range(2))
        self.answer = gelu_mlp([width, 4 * width, self.fields])
        reach = torch.arange(-math.ceil(radius), math.ceil(radius) + 1)
        self.register_buffer("offsets", torch.cartesian_prod(*[reach] * dim))

    @property
    def read_off(self) -> int:
        return self.width

    def channels(self, v: Tensor) -> Tensor:
        dim, size = len(self.low), math.prod(self.picture)
        cut = v.shape[1] - size - self.sensors * dim
        at = v[:, cut : v.shape[1] - size].reshape(-1, dim)
        others = torch.cat([v[:, :cut], v[:, v.shape[1] - size :]], dim=1)
        return torch.cat([super().channels(others), self._felt(at, len(v))], dim=1)

    def _felt(self, at: Tensor, cases: int) -> Tensor:
        """(case, channel, ...) of places (case x sensor, dim)."""
        pixel, kernel, near = self._pairs(at, self.feel)
        pixels = math.prod(self.picture[1:])
        first = pixels * torch.arange(cases, device=at.device).repeat_interleave(self.sensors)
        place = (first[:, None] + pixel)[near]
        felt = at.new_zeros(cases * pixels, self.width).index_add(0, place, kernel[near])
        count = at.new_zeros(cases * pixels).index_add(0, place, at.new_ones(len(place)))
        felt = felt / count.clamp(min=1.0)[:, None]
        return felt.view(cases, pixels, -1).mT.reshape(cases, -1, *self.picture[1:])

    def read(self, found: Tensor, x: Tensor) -> Tensor:
        states = found.flatten(2).mT
        at = x[..., : len(self.low)]
        block = max(AT_A_TIME // (len(self.offsets) * len(x)), 1)
        return torch.cat([self._seen(states, part) for part in at.split(block, dim=1)], dim=1)

    def _seen(self, states: Tensor, at: Tensor) -> Tensor:
        """(case, point, field) of states (case, pixel, channel)."""
        pixel, kernel, near = self._pairs(at, self.see)
        case = torch.arange(len(at), device=at.device)[:, None, None]
        weight = near / near.sum(dim=-1, keepdim=True).clamp(min=1)
        mean = (kernel * states[case, pixel] * weight[..., None]).sum(dim=-2)
        found: Tensor = self.answer(mean)
        return found

    def _pairs(self, at: Tensor, kernel: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels around places (..., dim), (..., pair), the kernel there, and which of them are in
        the picture and within reach."""
        sides = torch.tensor(self.picture[1:], device=at.device)
        share = (at - self.low) / (self.high - self.low)
        place = share * sides - 0.5
        pixel = place.round().long()[..., None, :] + self.offsets
        way = (pixel - place[..., None, :]) / self.radius
        near = ((pixel >= 0) & (pixel < sides)).all(-1) & (way.square().sum(-1) <= 1)
        pixel = torch.minimum(pixel.clamp(min=0), sides - 1)
        flat = pixel[..., 0]
        for k in range(1, len(sides)):
            flat = flat * sides[k] + pixel[..., k]
        where = share[..., None, :].expand_as(way)
        return flat, kernel(torch.cat([way, where], dim=-1)), near


def gelu_mlp(sizes: list[int]) -> nn.Sequential:
    """Linear layers with GELU between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.GELU()]
    return nn.Sequential(*layers[:-1])
