"""Cases as pictures on a regular grid, and networks that read them: where shapes have no
parameters, or fields live in a box."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_array
from torch import Tensor, nn

from fieldcast.meshes import Mesh
from fieldcast.meshes.transfer import Interpolant, closest_on_facets

from .operator_layers import OperatorNet, tanh_mlp

MARGIN = 0.05
"""Of the box of all shapes, on each side."""
SLOPE = 0.01
"""Of leaky rectifiers below 0."""


@dataclass(frozen=True)
class Image:
    """What a picture of about `pixels` along the longest side shows: the channels "mask" (1 where
    the mesh is), "distance" (to its boundary, negative outside), or names of known fields (0
    outside)."""

    pixels: int = 32
    channels: tuple[str, ...] = ("mask", "distance")

    def __post_init__(self) -> None:
        if self.pixels < 4 or not self.channels:
            raise ValueError(
                f"expected at least 4 pixels and a channel, got {self.pixels} and {self.channels}"
            )


@dataclass(frozen=True, eq=False)
class Grid:
    """Square pixels of the side `size` [m] from the corner `low` on, `counts` of them each way."""

    low: Float[np.ndarray, " dim"]
    size: float
    counts: tuple[int, ...]

    @classmethod
    def of(cls, points: Float[np.ndarray, "point dim"], pixels: int) -> Grid:
        """Around points.

        Raises:
            ValueError: points on a line.
        """
        if points.shape[1] not in (2, 3):
            raise ValueError(
                f"expected meshes in 2 or 3 dimensions to make pictures of, got {points.shape[1]}"
            )
        low, sides = points.min(axis=0), np.ptp(points, axis=0)
        margin = MARGIN * float(sides.max())
        size = (float(sides.max()) + 2 * margin) / pixels
        counts = np.maximum(np.ceil((sides + 2 * margin) / size - 1e-9).astype(int), 4)
        middle = low + sides / 2
        return cls(middle - counts * size / 2, size, tuple(counts.tolist()))

    @property
    def centres(self) -> Float[np.ndarray, "pixel dim"]:
        """The middles of the pixels, the last coordinate running fastest."""
        steps = np.indices(self.counts).reshape(len(self.counts), -1).T + 0.5
        return self.low + self.size * steps

    def shape(self, mesh: Mesh) -> Shape:
        """Where the pixels lie in a mesh."""
        x = self.centres
        if mesh.cell_dim < mesh.dim:
            raise ValueError(
                f"expected meshes that fill their space to make pictures of, got cells of "
                f"dimension {mesh.cell_dim} in {mesh.dim}"
            )
        interpolant = Interpolant(mesh)
        transfer = interpolant.to(x)
        inside = ~transfer.clamped
        distance = -transfer.distance
        if inside.any():
            distance[inside] = closest_on_facets(mesh.points, interpolant.rim, x[inside])[2]
        return Shape(inside, distance / (self.size * max(self.counts)), transfer.operator)


@dataclass(frozen=True, eq=False)
class Shape:
    """Of pixels: whether they lie `inside` a mesh, their signed `distance` to its boundary in
    lengths of the picture, and the operator that carries values of points there."""

    inside: np.ndarray
    distance: Float[np.ndarray, " pixel"]
    operator: csr_array

    def channel(self, values: Float[np.ndarray, "point component"]) -> np.ndarray:
        """A field of points there, 0 outside, (component, pixel)."""
        found = self.operator @ values
        return (found * self.inside[:, None]).T


class ImageNet(OperatorNet):
    """A DeepONet whose branch sees a picture: convolutions of 5 pixels with `filters` and averages
    of two, then dense layers that are told the other inputs, too (MT-DeepONet; Kumar et al. 2025,
    doi:10.1016/j.neunet.2024.107113)."""

    def __init__(
        self,
        ends: tuple[int, int, int, int],
        picture: tuple[int, ...],
        filters: Sequence[int],
        width: int,
        depth: int,
        latent: int,
    ) -> None:
        inputs, dim, fields, scalars = ends
        super().__init__(fields, latent, width, scalars)
        self.picture = picture
        channels, *sides = picture
        convolution, pool = (
            (nn.Conv2d, nn.AvgPool2d) if len(sides) == 2 else (nn.Conv3d, nn.AvgPool3d)
        )
        layers: list[nn.Module] = []
        for before, after in pairwise([channels, *filters]):
            layers += [convolution(before, after, 5, padding=2), nn.ReLU()]
            if min(sides) > 1:
                layers.append(pool(2))
                sides = [side // 2 for side in sides]
        self.image = nn.Sequential(*layers)
        flat = filters[-1] * math.prod(sides)
        told = inputs - math.prod(picture)
        self.branch = nn.Sequential(tanh_mlp([flat + told, width, width]), nn.Tanh())
        self.branch_out = nn.Linear(width, latent * self.fields)
        trunk: list[nn.Module] = []
        for before, after in pairwise([dim, *[width] * depth]):
            trunk += [nn.Linear(before, after), nn.LeakyReLU(SLOPE)]
        self.trunk = nn.Sequential(*trunk, nn.Linear(width, latent))

    def branched(self, v: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        size = math.prod(self.picture)
        told, picture = v[:, :-size], v[:, -size:]
        seen = self.image(picture.reshape(len(v), *self.picture)).flatten(1)
        h = self.branch(torch.cat([seen, told], dim=1))
        return self.branch_out(h).view(len(v), self.latent, self.fields), h, []

    def basis(self, x: Tensor, told: Sequence[Tensor]) -> Tensor:
        return self.trunk(x)


@contextmanager
def one_thread(like: Tensor) -> Iterator[None]:
    """Answers on a CPU by one thread: MKL's transforms take as many as are idle, and round by
    that."""
    before = torch.get_num_threads()
    if like.device.type == "cpu" and not torch.is_grad_enabled():
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class GridNet(OperatorNet):
    """A network from pictures to pictures, read off at points linearly. `operator` maps (case,
    channel, ...) to (case, field + width, ...); the other inputs are channels of one value each.
    Points (..., dim) are told in the coordinates that `low` and `high`, the corners of the
    picture, are told in."""

    low: Tensor
    high: Tensor

    def __init__(
        self,
        ends: tuple[int, int, int, int],
        picture: tuple[int, ...],
        corners: tuple[np.ndarray, np.ndarray],
        operator: nn.Module,
        width: int,
    ) -> None:
        _, _, fields, scalars = ends
        super().__init__(fields, width, width, scalars)
        self.picture, self.operator = picture, operator
        for name, corner in zip(("low", "high"), corners, strict=True):
            self.register_buffer(name, torch.as_tensor(corner, dtype=torch.float32))

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        found = super().state_dict(*args, **kwargs)
        # neuraloperator adds its settings to the weights.
        found.pop("_metadata", None)
        return found

    @property
    def read_off(self) -> int:
        """Channels of the operator that are read off; the others tell scalars."""
        return self.fields

    def channels(self, v: Tensor) -> Tensor:
        """What the operator is told, (case, channel, ...)."""
        size = math.prod(self.picture)
        picture = v[:, -size:].reshape(len(v), *self.picture)
        told = v[:, :-size].reshape(len(v), -1, *[1] * (len(self.picture) - 1))
        return torch.cat([picture, told.expand(-1, -1, *self.picture[1:])], dim=1)

    def branched(self, v: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        with one_thread(v):
            found = self.operator(self.channels(v))
        return found[:, : self.read_off], found[:, self.read_off :].flatten(2).mean(2), []

    def basis(self, x: Tensor, told: Sequence[Tensor]) -> Tensor:
        raise ValueError("expected a network with a trunk, got one from pictures to pictures")

    def forward(
        self, v: Tensor, x: Tensor, counts: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        if counts is not None:
            return self.at(v, x, counts)
        found, h, _ = self.branched(v)
        return self.read(found, x), self.scalars(h)

    def at(self, v: Tensor, x: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
        found, h, _ = self.branched(v)
        parts = zip(found, torch.split(x, list(counts)), strict=True)
        fields = [self.read(image[None], part[None])[0] for image, part in parts]
        return torch.cat(fields), self.scalars(h)

    def at_most(
        self, v: Tensor, x: Tensor, counts: Sequence[int], most: int
    ) -> tuple[Tensor, Tensor]:
        # A case's picture is made once, however many points are asked for.
        return self.at(v, x, counts)

    def read(self, found: Tensor, x: Tensor) -> Tensor:
        """(case, point, field) of pictures (case, field, ...) at points (case, point, dim)."""
        dim = len(self.low)
        place = 2 * (x[..., :dim] - self.low) / (self.high - self.low) - 1
        # Coordinates are wanted in the reverse order of the picture's sides.
        place = place.flip(-1)[(slice(None), *[None] * (dim - 1))]
        read = nn.functional.grid_sample(
            found, place, mode="bilinear", padding_mode="border", align_corners=False
        )
        return read.flatten(2).mT
