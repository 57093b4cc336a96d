"""Operator networks: Fusion-DeepONet for few simulations of moving shocks, and its relatives."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from torch import nn

from .operator_data import OperatorReading, Trunk
from .operator_derivative import Derivative
from .operator_geometry import GeometryNet, Kernels
from .operator_images import GridNet, Image, ImageNet
from .operator_layers import FusionNet, Gate, OperatorNet, PlainNet
from .operator_objective import Ends
from .operator_surrogate import OperatorSurrogate
from .pod_network import PodNetwork
from .sensors import Sensors
from .training import Descent


def default_descent() -> Descent:
    """All cases in every step."""
    return Descent(steps=2000, batch=64, rate=1e-2, every=100, optimiser="soap")


@dataclass(frozen=True)
class FusionDeepONet(OperatorSurrogate):
    """Peyvan, Kumar, Karniadakis 2025, arXiv:2501.01934: the branch gates each layer of the trunk,
    so that the basis adapts to the case. `depth` layers of `width` units in both, `latent` basis
    functions; `gate` "product" as published, or "residual" (1 + the sum) where inputs hardly vary.
    """

    width: int = 64
    depth: int = 3
    latent: int = 64
    gate: Gate = "product"
    trunk: Trunk = field(default_factory=Trunk)
    points: int = 256
    derivative: Derivative | None = None
    sensors: Sensors | None = None
    descent: Descent = field(default_factory=default_descent)

    def network(self, ends: Ends, reading: OperatorReading) -> OperatorNet:
        return FusionNet(ends, self.width, self.depth, self.latent, self.gate)

    @classmethod
    def tiny(cls) -> FusionDeepONet:
        return cls(16, 2, 16, points=32, descent=Descent(steps=300, batch=16, rate=1e-2))


@dataclass(frozen=True)
class DeepONet(OperatorSurrogate):
    """Lu et al. 2021, doi:10.1038/s42256-021-00302-5: u(v, x) = sum_g B_g(v) T_g(x), tanh units;
    one trunk for all fields."""

    width: int = 64
    depth: int = 3
    latent: int = 64
    trunk: Trunk = field(default_factory=Trunk)
    points: int = 256
    derivative: Derivative | None = None
    sensors: Sensors | None = None
    descent: Descent = field(default_factory=default_descent)

    def network(self, ends: Ends, reading: OperatorReading) -> OperatorNet:
        return PlainNet(ends, self.width, self.depth, self.latent)

    @classmethod
    def tiny(cls) -> DeepONet:
        return cls(16, 2, 16, points=32, descent=Descent(steps=300, batch=16, rate=1e-2))


@dataclass(frozen=True)
class Mionet(DeepONet):
    """Jin, Meng, Lu 2022, doi:10.1137/22M1477751: a branch for each known field and each parameter,
    multiplied."""

    def network(self, ends: Ends, reading: OperatorReading) -> OperatorNet:
        return PlainNet(ends, self.width, self.depth, self.latent, reading.groups())


@dataclass(frozen=True)
class MultiTaskDeepONet(OperatorSurrogate):
    """Kumar et al. 2025, doi:10.1016/j.neunet.2024.107113: the branch sees the shape as a picture,
    and needs no parameters of it. `adapted` goes on from a fitted one with few new simulations, the
    layers that see kept as they are. Points of a mesh lie in the shape, so that output and loss
    are masked by the mesh itself."""

    width: int = 128
    depth: int = 3
    latent: int = 128
    filters: tuple[int, ...] = (16, 32, 64, 64)
    image: Image = field(default_factory=Image)
    trunk: Trunk = field(default_factory=Trunk)
    points: int = 256
    derivative: Derivative | None = None
    descent: Descent = field(default_factory=default_descent)

    def network(self, ends: Ends, reading: OperatorReading) -> OperatorNet:
        picture = reading.picture
        return ImageNet(ends, picture, self.filters, self.width, self.depth, self.latent)

    @classmethod
    def tiny(cls) -> MultiTaskDeepONet:
        descent = Descent(steps=150, batch=16, rate=1e-2)
        return cls(16, 2, 16, (4, 8), Image(8), points=32, descent=descent)


@dataclass(frozen=True)
class FNO(OperatorSurrogate):
    """Fourier neural operator (Li et al. 2021, arXiv:2010.08895; neuraloperator's): from a picture
    to fields on its pixels, with `modes` of waves each way and `width` channels in `depth` layers;
    read off at a case's own points linearly. Needs `fieldcast[operators]`."""

    single: ClassVar[bool] = True  # spectra of neuraloperator
    width: int = 32
    depth: int = 4
    modes: int = 16
    image: Image = field(default_factory=lambda: Image(64))
    trunk: Trunk = field(default_factory=Trunk)
    points: int = 256
    derivative: Derivative | None = None
    descent: Descent = field(
        default_factory=lambda: Descent(steps=1000, batch=8, rate=2e-3, every=50)
    )

    def network(self, ends: Ends, reading: OperatorReading) -> OperatorNet:
        picture = reading.picture
        told = ends[0] - math.prod(picture) + picture[0]
        operator = self.operator(picture, told, max(ends[2], 1) + self.width)
        return GridNet(ends, picture, reading.corners, operator, self.width)

    def operator(self, picture: tuple[int, ...], told: int, answered: int) -> nn.Module:
        """Between pictures of so many channels."""
        try:
            from neuralop.models import FNO as Fourier
        except ImportError as error:
            raise ImportError(
                f"{type(self).__name__} needs neuraloperator: pip install 'fieldcast[operators]'"
            ) from error
        modes = tuple(min(self.modes, side) for side in picture[1:])
        found: nn.Module = Fourier(modes, told, answered, self.width, self.depth)
        return found

    @classmethod
    def tiny(cls) -> FNO:
        descent = Descent(steps=60, batch=16, rate=2e-2)
        return cls(8, 2, 6, Image(12), points=32, descent=descent)


@dataclass(frozen=True)
class GINO(FNO):
    """Geometry-informed neural operator (Li et al. 2023, arXiv:2309.00583): from sensors on the
    boundary of plane meshes to a grid, there neuraloperator's Fourier operator, and from the grid
    to a case's own points, both by kernels that reach `radius` pixels."""

    image: Image = field(default_factory=lambda: Image(48))
    radius: float = 2.0
    sensors: Sensors = field(default_factory=Sensors)

    def network(self, ends: Ends, reading: OperatorReading) -> OperatorNet:
        picture, count = reading.picture, self.sensors.count
        placed = math.prod(picture) + count * (len(picture) - 1)
        told = ends[0] - placed + picture[0] + self.width
        operator = self.operator(picture, told, 2 * self.width)
        kernels = Kernels(self.width, self.radius, count)
        return GeometryNet(ends, picture, reading.corners, operator, kernels)

    @classmethod
    def tiny(cls) -> GINO:
        descent = Descent(steps=60, batch=16, rate=1e-2)
        return cls(8, 1, 4, Image(8), points=24, sensors=Sensors(16), descent=descent)


@dataclass(frozen=True)
class PodDeepONet(PodNetwork):
    """Lu et al. 2022, doi:10.1016/j.cma.2022.114778: the trunk is the mean and the POD modes of the
    training fields, on the common mesh that the morphing gives, and a network tells their
    coefficients; here on top of ridge regression (`PodNetwork`, wider and deeper)."""

    width: int = 128
    depth: int = 3
