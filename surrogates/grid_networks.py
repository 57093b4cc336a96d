"""Networks that map the fields of one time on grids of latitudes and longitudes: what nonlocal
parametrizations of gravity waves are made of (Gupta et al. 2024, arXiv:2406.14775).

A case is a whole grid; levels are the components of its fields. Besides the known fields each point
is told its latitude, never its longitude. Grids that go once around are closed in longitude, so
that a shift by any number of columns commutes with the answer. Elsewhere, and at the poles, the
nearest row or column stands for those beyond: across a pole, components of vectors would change
their sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fieldcast.meshes import Cases, LatLon, Mesh

from .field_map import Frames, PointMap, frames_at_once
from .field_networks import FieldNetwork
from .networks import Dense
from .training import Descent

OF_PLACE = 2
"""What a point is told of where it lies: sine and cosine of its latitude."""
CLOSEST = 0.01
"""Of the distance between rows: points that are closer, as those of a pole, count as so far
apart."""
LEAST = 1e-4
"""Differences per distance [1/rad] that are smaller, of inputs of variance 1, are left as they
are."""


def default_descent() -> Descent:
    """Batches are of grids, each of many points. Slopes of neighbours are much alike, which an
    optimiser that turns the weights to its own axes copes with best."""
    return Descent(steps=500, batch=2, optimiser="soap", rate=1e-2, decay=0.6, every=100)


class GridNetwork(FieldNetwork):
    """A recipe for cases on grids of latitudes and longitudes, of any sizes."""

    any_mesh: ClassVar[bool] = False
    grids: ClassVar[bool] = True

    def check(self, cases: Cases) -> None:
        meshes = cases.meshes[""]
        for k, mesh in enumerate(meshes.distinct):
            try:
                LatLon.of(mesh)
            except ValueError as error:
                label = cases[int(np.argmax(meshes.which == k))].label
                raise ValueError(
                    f"case {label}: {error}; make grids by lat_lon_mesh or read_grids, or choose a "
                    "surrogate for any mesh"
                ) from error


@dataclass(frozen=True)
class PatchNetwork(GridNetwork):
    """A multilayer perceptron, `depth` layers of `width` units beside a linear map, of the inputs
    of a point and of those up to `reach` rows and columns away: 0 sees the column alone, 1 a patch
    of 3 x 3, 2 one of 5 x 5 (M1 and M2 of Gupta et al. 2024)."""

    reach: int = 1
    width: int = 64
    depth: int = 2
    descent: Descent = field(default_factory=default_descent)

    def __post_init__(self) -> None:
        if self.reach < 0 or self.width < 1 or self.depth < 1:
            raise ValueError(
                "expected a reach of at least 0 and at least one layer of at least one unit, got "
                f"{self.reach}, {self.depth} and {self.width}"
            )

    def network(self, inputs: int, outputs: int) -> PointMap:
        return Patch(inputs, outputs, self)

    @classmethod
    def tiny(cls) -> PatchNetwork:
        return cls(1, 16, 1, Descent(steps=60, batch=16, rate=2e-2, every=30))


@dataclass(frozen=True)
class AttentionUNet(GridNetwork):
    """Encoder and decoder of double 3 x 3 convolutions, as many levels as `widths` (their
    channels), with attention gates on what goes across (Oktay et al. 2018, arXiv:1804.03999; M3 of
    Gupta et al. 2024).

    Nothing is decimated: each level down reaches twice as far, by convolutions and maxima of every
    second point. So grids may have any numbers of rows and columns, a shift by one column commutes
    too, and channels need not double.
    """

    widths: tuple[int, ...] = (16, 16, 16)
    descent: Descent = field(default_factory=default_descent)

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"expected at least one level of channels, got {self.widths}")

    def network(self, inputs: int, outputs: int) -> PointMap:
        return UNet(inputs, outputs, self.widths)

    @classmethod
    def tiny(cls) -> AttentionUNet:
        return cls((8, 8), Descent(steps=60, batch=16, rate=2e-2, every=30))


@dataclass(frozen=True, eq=False)
class Table:
    """A grid as tensors: the points `ids`, the latitudes of rows and the `step` between columns
    [rad], and whether the last column is followed by the first."""

    ids: Int[Tensor, "row column"]
    phi: Float[Tensor, " row"]
    step: float
    closed: bool

    @classmethod
    def of(cls, mesh: Mesh) -> Table:
        """That of a mesh."""
        grid = LatLon.of(mesh)
        phi, lam = (torch.as_tensor(np.deg2rad(x)) for x in (grid.latitudes, grid.longitudes))
        step = float(lam.diff().mean()) if len(lam) > 1 else 0.0
        return cls(torch.as_tensor(grid.ids), phi, step, grid.closed)

    def to(self, device: torch.device) -> Table:
        """Elsewhere."""
        return replace(self, ids=self.ids.to(device), phi=self.phi.to(device))

    def beyond(self, reach: int) -> tuple[Int[Tensor, " _"], Int[Tensor, " _"]]:
        """The rows and columns, and those that stand for `reach` more on either side."""
        device = self.ids.device
        rows, columns = (torch.arange(-reach, n + reach, device=device) for n in self.ids.shape)
        height, width = self.ids.shape
        columns = columns % width if self.closed else columns.clamp(0, width - 1)
        return rows.clamp(0, height - 1), columns

    def padded(
        self, image: Float[Tensor, "frame channel row column"], reach: int
    ) -> Float[Tensor, "frame channel _ _"]:
        """A picture, and `reach` rows and columns more on either side."""
        rows, columns = self.beyond(reach)
        return image.index_select(2, rows).index_select(3, columns)

    def told(self, like: Float[Tensor, "frame point _"]) -> Float[Tensor, "frame row column told"]:
        """What every point is told of where it lies."""
        place = torch.stack([self.phi.sin(), self.phi.cos()], 1).to(like.dtype)
        return place[None, :, None].expand(len(like), -1, self.ids.shape[1], -1)

    def near(self, reach: int) -> Int[Tensor, "row column neighbour"]:
        """The points of the patch around each, row by row."""
        rows, columns = self.beyond(reach)
        side = 2 * reach + 1
        return self.ids[rows][:, columns].unfold(0, side, 1).unfold(1, side, 1).flatten(2)

    def distances(self, reach: int) -> Float[Tensor, "row neighbour"]:
        """From the points of a row to those of its patch [rad], of small patches: the root of the
        squares of the way north and of that east at the point's own latitude."""
        rows, side = self.beyond(reach)[0], 2 * reach + 1
        phi = self.phi
        north = phi[rows].unfold(0, side, 1) - phi[:, None]
        steps = torch.arange(-reach, reach + 1, device=phi.device)
        east = phi.cos()[:, None] * self.step * steps
        found = (north[:, :, None].square() + east[:, None].square()).sqrt().flatten(1)
        between = float(phi.diff().mean()) if len(phi) > 1 else self.step
        return found.clamp(min=CLOSEST * max(between, self.step, LEAST))

    def in_order(
        self, rows: Float[Tensor, "frame row column channel"]
    ) -> Float[Tensor, "frame point channel"]:
        """Values of the table in the order of the mesh's points."""
        return rows.flatten(1, 2)[:, self.ids.flatten().argsort()]


class Surroundings(nn.Module):
    """What is known at a point, the differences from it to what is known up to `reach` rows and
    columns away, per distance, and where it lies. Differences are divided by their root mean square
    over the training set: neighbours differ by little, and it is the differences that tell."""

    def __init__(self, inputs: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        side = 2 * reach + 1
        self.around = [k for k in range(side**2) if k != side**2 // 2]
        self.count = inputs * side**2 + OF_PLACE
        self.register_buffer("scale", torch.ones(inputs * len(self.around)))

    def adjust(self, frames: Sequence[Frames], tables: Sequence[Table]) -> None:
        """Take the scale of differences from a training set."""
        if not self.around:
            return
        squares, count = torch.zeros(len(self.get_buffer("scale")), dtype=torch.float64), 0
        for f, table in zip(frames, tables, strict=True):
            for part in f.x.split(frames_at_once(f.mesh)):
                slopes = self.slopes(part, table)
                squares += slopes.square().sum((0, 1, 2))
                count += slopes[..., 0].numel()
        scale = (squares / count).sqrt()
        self.get_buffer("scale").copy_(torch.where(scale > LEAST, scale, 1.0))

    def slopes(
        self, x: Float[Tensor, "frame point input"], table: Table
    ) -> Float[Tensor, "frame row column told"]:
        """Differences per distance [1/rad], neighbour by neighbour."""
        near, apart = table.near(self.reach), table.distances(self.reach).to(x.dtype)
        here = x[:, table.ids]
        parts = [(x[:, near[..., k]] - here) / apart[:, k, None, None] for k in self.around]
        return torch.cat(parts, dim=3)

    def forward(
        self, x: Float[Tensor, "frame point input"], table: Table
    ) -> Float[Tensor, "frame row column told"]:
        parts = [x[:, table.ids], table.told(x)]
        if self.around:
            parts.append(self.slopes(x, table) / self.get_buffer("scale"))
        return torch.cat(parts, dim=3)


class GridMap(PointMap):
    """A map of grids that begins with `near`."""

    near: Surroundings

    def places(self, mesh: Mesh) -> Table:
        return Table.of(mesh)

    def adjust(self, frames: Sequence[Frames]) -> None:
        self.near.adjust(frames, [self.places(f.mesh) for f in frames])


class Patch(GridMap):
    """See `PatchNetwork`."""

    def __init__(self, inputs: int, outputs: int, recipe: PatchNetwork) -> None:
        super().__init__()
        self.near = Surroundings(inputs, recipe.reach)
        sizes = [self.near.count, *[recipe.width] * recipe.depth, outputs]
        generator = torch.Generator().manual_seed(int(torch.randint(1 << 31, ())))
        self.dense = Dense(sizes, generator, torch.float32)

    def forward(
        self, x: Float[Tensor, "frame point input"], places: Table
    ) -> Float[Tensor, "frame point output"]:
        rows = self.near(x, places)
        found = self.dense(rows.flatten(0, 2)).view(*rows.shape[:3], -1)
        return places.in_order(found)


class UNet(GridMap):
    """See `AttentionUNet`."""

    def __init__(self, inputs: int, outputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.near = Surroundings(inputs, 1)
        self.first = nn.Conv2d(self.near.count, widths[0], 1)
        levels = list(enumerate(pairwise(widths)))
        self.top = Double(widths[0], widths[0], 1)
        self.down = nn.ModuleList(Double(a, b, 2 ** (k + 1)) for k, (a, b) in levels)
        self.up = nn.ModuleList(Up(a, b, 2**k) for k, (a, b) in levels)
        self.head = nn.Conv2d(widths[0], outputs, 1)
        self.linear = nn.Conv2d(self.near.count, outputs, 1)

    def forward(
        self, x: Float[Tensor, "frame point input"], places: Table
    ) -> Float[Tensor, "frame point output"]:
        image = self.near(x, places).permute(0, 3, 1, 2)
        found = [self.top(self.first(image), places)]
        for k, block in enumerate(self.down):
            wide = places.padded(found[-1], 2**k)
            found.append(block(nn.functional.max_pool2d(wide, 3, 1, 0, 2**k), places))
        low = found.pop()
        for step in reversed(self.up):
            low = step(low, found.pop(), places)
        answer = self.head(low) + self.linear(image)
        return places.in_order(answer.permute(0, 2, 3, 1))


class Convolution(nn.Module):
    """3 x 3 points, `apart` rows and columns from each other, and a smooth rectifier."""

    def __init__(self, before: int, after: int, apart: int) -> None:
        super().__init__()
        self.apart = apart
        self.inner = nn.Conv2d(before, after, 3, dilation=apart)

    def forward(
        self, x: Float[Tensor, "frame before row column"], table: Table
    ) -> Float[Tensor, "frame after row column"]:
        return nn.functional.silu(self.inner(table.padded(x, self.apart)))


class Double(nn.Module):
    """Two convolutions."""

    def __init__(self, before: int, after: int, apart: int) -> None:
        super().__init__()
        self.one = Convolution(before, after, apart)
        self.other = Convolution(after, after, apart)

    def forward(
        self, x: Float[Tensor, "frame before row column"], table: Table
    ) -> Float[Tensor, "frame after row column"]:
        found: Tensor = self.other(self.one(x, table), table)
        return found


class Up(nn.Module):
    """From a level of `below` channels to the one above it of `channels`; what comes across, h,
    counts sigmoid(psi(relu(W_h h + W_g g))) times, g what comes from below."""

    def __init__(self, channels: int, below: int, apart: int) -> None:
        super().__init__()
        inner = max(channels // 2, 1)
        self.lift = Convolution(below, channels, apart)
        self.across = nn.Conv2d(channels, inner, 1)
        self.gate = nn.Conv2d(channels, inner, 1)
        self.psi = nn.Conv2d(inner, 1, 1)
        self.both = Double(2 * channels, channels, apart)

    def forward(
        self,
        low: Float[Tensor, "frame below row column"],
        across: Float[Tensor, "frame channel row column"],
        table: Table,
    ) -> Float[Tensor, "frame channel row column"]:
        g = self.lift(low, table)
        told = nn.functional.relu(self.across(across) + self.gate(g))
        share = torch.sigmoid(self.psi(told))
        found: Tensor = self.both(torch.cat([share * across, g], dim=1), table)
        return found
