"""Networks that map the fields of one time along lines and rings: neighbours by a stencil, or all
points by Fourier layers."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fieldcast.meshes import Mesh, Sample, Samples

from .field_map import (
    PLACES,
    FieldMap,
    FieldMapPredictor,
    Frames,
    PointMap,
    averaged,
    frame_signature,
    frames_at_once,
)
from .networks import Dense, partly_frozen
from .operator_images import one_thread
from .pod_network import told
from .surrogate import Progress, quiet
from .training import Descent, Objective, train


def default_descent() -> Descent:
    """Batches are of frames, so many times of any cases."""
    return Descent(steps=3000, batch=256, rate=5e-3, every=300)


class FieldNetwork(FieldMap):
    """A recipe whose map is trained by descent."""

    tolerance: ClassVar[float] = 1e-5
    descent: Descent

    @abstractmethod
    def network(self, inputs: int, outputs: int) -> PointMap: ...

    def adapted(
        self,
        model: FieldMapPredictor,
        samples: Sequence[Sample],
        *,
        frozen: Sequence[str] = (),
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
    ) -> FieldMapPredictor:
        """`model`, a predictor of this recipe but for its training, gone on with on other samples:
        its scalings stay, and the parts of its network that are `frozen` ("first", "down", ...).

        Raises:
            ValueError: samples of other inputs or outputs than the model's; parts that the network
                does not have.
        """
        every = Samples.pack(samples)
        self.check(every.cases)
        model.signature.check_names(frame_signature(every))
        net = partly_frozen(model.net, frozen)
        return self.fitted(model.reading, net, every, validation, seed, progress)

    def learn(
        self,
        net: PointMap,
        own: Sequence[Frames],
        held: Sequence[Frames],
        seed: int,
        progress: Progress,
    ) -> dict[str, Any]:
        device = self.descent.place
        parts = [[f.to(device, net.precision) for f in frames] for frames in (own, held)]
        objective = FrameObjective(*(Placed.of(net, part) for part in parts))
        found = train(net, objective, self.descent, seed=seed, progress=progress)
        return {"training": told(found)}


@dataclass(frozen=True)
class StencilNetwork(FieldNetwork):
    """A multilayer perceptron, `depth` layers of `width` units beside a linear map, of a point's
    inputs and those of the `reach` points before and after it along the lines of the mesh. Where
    lines end, or there are none, the last point stands for those beyond it."""

    reach: int = 2
    width: int = 32
    depth: int = 2
    descent: Descent = field(default_factory=default_descent)

    def network(self, inputs: int, outputs: int) -> PointMap:
        return Stencil(inputs, outputs, self)

    @classmethod
    def tiny(cls) -> StencilNetwork:
        return cls(1, 16, 1, Descent(steps=60, batch=16, rate=2e-2, every=30))


@dataclass(frozen=True)
class RingFNO(FieldNetwork):
    """Fourier neural operator (Li et al. 2021, arXiv:2010.08895; neuraloperator's) along a ring, as
    in Lütjens et al. 2022 (arXiv:2207.11417): `depth` layers of `width` channels with `modes`
    waves. Points are taken in their order along the lines of the mesh, or in their numbering where
    lines don't lead from the first to all, as if the last were before the first. Needs
    `fieldcast[operators]`."""

    width: int = 16
    depth: int = 2
    modes: int = 16
    descent: Descent = field(
        default_factory=lambda: replace(default_descent(), steps=1000, batch=128, every=100)
    )

    def network(self, inputs: int, outputs: int) -> PointMap:
        try:
            from neuralop.models import FNO
        except ImportError as error:
            raise ImportError(
                "RingFNO needs neuraloperator: pip install 'fieldcast[operators]'"
            ) from error
        # Without coordinates, so that the ring has no first point.
        inner = FNO(
            (self.modes,),
            max(inputs, 1),
            outputs,
            self.width,
            self.depth,
            positional_embedding=None,
        )
        return Around(inner, inputs)

    @classmethod
    def tiny(cls) -> RingFNO:
        return cls(8, 1, 4, Descent(steps=40, batch=16, rate=2e-2, every=20))


class Stencil(PointMap):
    """See `StencilNetwork`."""

    def __init__(self, inputs: int, outputs: int, recipe: StencilNetwork) -> None:
        super().__init__()
        self.reach = recipe.reach
        sizes = [inputs * (2 * recipe.reach + 1), *[recipe.width] * recipe.depth, outputs]
        generator = torch.Generator().manual_seed(int(torch.randint(1 << 31, ())))
        self.dense = Dense(sizes, generator, torch.float32)

    def places(self, mesh: Mesh) -> Int[Tensor, "point _"]:
        after, before = following(mesh)
        near = [np.arange(len(mesh.points))]
        for _ in range(self.reach):
            near = [before[near[0]], *near, after[near[-1]]]
        return torch.as_tensor(np.stack(near, axis=1))

    def forward(
        self, x: Float[Tensor, "frame point input"], places: Int[Tensor, "point _"]
    ) -> Float[Tensor, "frame point output"]:
        rows = x[:, places].flatten(2)
        return self.dense(rows.flatten(0, 1)).unflatten(0, x.shape[:2])


class Around(PointMap):
    """A network of pictures (frame, channel, point), points in their order around the ring."""

    def __init__(self, inner: nn.Module, inputs: int) -> None:
        super().__init__()
        self.inner, self.inputs = inner, inputs

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Of tensors alone."""
        found = super().state_dict(*args, **kwargs)
        # neuraloperator adds its settings to the weights.
        return {k: v for k, v in found.items() if not k.endswith("_metadata")}

    def places(self, mesh: Mesh) -> Int[Tensor, "point _"]:
        order = around(mesh)
        return torch.as_tensor(np.stack([order, np.argsort(order)], axis=1))

    def forward(
        self, x: Float[Tensor, "frame point input"], places: Int[Tensor, "point _"]
    ) -> Float[Tensor, "frame point output"]:
        if not self.inputs:
            x = x.new_zeros(*x.shape[:2], 1)
        with one_thread(x):
            found: Tensor = self.inner(x[:, places[:, 0]].mT)
        return found.mT[:, places[:, 1]]


def following(mesh: Mesh) -> tuple[Int[np.ndarray, " point"], Int[np.ndarray, " point"]]:
    """The points after and before each along the lines of a mesh, themselves where there are
    none."""
    after, before = np.arange(len(mesh.points)), np.arange(len(mesh.points))
    lines = mesh.cells.get("line", np.empty((0, 2), dtype=int))
    after[lines[:, 0]], before[lines[:, 1]] = lines[:, 1], lines[:, 0]
    return after, before


def around(mesh: Mesh) -> Int[np.ndarray, " point"]:
    """The points from the first on along the lines of a mesh, where they lead to all; else their
    numbering."""
    count = len(mesh.points)
    jump, order = following(mesh)[0], np.zeros(1, dtype=int)
    while len(order) < count:
        # As many more as are known, so many steps further on.
        order = np.concatenate([order, jump[order]])
        jump = jump[jump]
    order = order[:count]
    return order if len(np.unique(order)) == count else np.arange(count)


@dataclass(frozen=True, eq=False)
class Placed:
    """Frames with what the map needs to know of their meshes; `starts` number the first frame of
    each mesh, and all at last."""

    frames: Sequence[Frames]
    places: Sequence[Any]
    starts: Sequence[int]

    @classmethod
    def of(cls, net: PointMap, frames: Sequence[Frames]) -> Placed:
        """Where the frames lie."""
        starts = np.cumsum([0, *(len(f.x) for f in frames)]).tolist()
        return cls(frames, [net.places(f.mesh).to(f.x.device) for f in frames], starts)

    def squares(self, net: nn.Module, rows: Tensor) -> Tensor:
        """The sums over some frames of the mean squared error of all outputs."""
        total = torch.zeros((), device=rows.device)
        for k, f in enumerate(self.frames):
            inside = (rows >= self.starts[k]) & (rows < self.starts[k + 1])
            own = rows[inside] - self.starts[k]
            if len(own):
                total = total + self._of_mesh(net, f, self.places[k], own)
        return total

    def _of_mesh(self, net: nn.Module, f: Frames, places: Any, own: Tensor) -> Tensor:
        columns = [y.shape[2] for y in f.y]
        answers = net(f.x[own], places).split(columns, 2)
        total = torch.zeros((), device=own.device)
        for on, answer, y in zip(PLACES, answers, f.y, strict=True):
            if y.shape[2]:
                gap = averaged(f.mesh, answer, on) - y[own]
                total = total + gap.square().mean((1, 2)).sum() * (y.shape[2] / sum(columns))
        return total


@dataclass(frozen=True, eq=False)
class FrameObjective(Objective):
    """The mean squared error of standardised outputs."""

    own: Placed
    held: Placed

    @property
    def cases(self) -> int:
        return self.own.starts[-1]

    def loss(self, module: nn.Module, rows: Int[Tensor, " row"]) -> Tensor:
        return self.own.squares(module, rows) / len(rows)

    def error(self, module: nn.Module) -> float:
        count = self.held.starts[-1]
        if not count:
            return math.nan
        device = next(module.parameters()).device
        at_once = min(frames_at_once(f.mesh) for f in self.held.frames)
        parts = torch.arange(count, device=device).split(at_once)
        total = sum(float(self.held.squares(module, part)) for part in parts)
        return math.sqrt(total / count)
