"""A small network from parameters and shape coefficients to POD coefficients (POD-NN: Hesthaven and
Ubbiali 2018, doi:10.1016/j.jcp.2018.02.037), on morphed meshes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from fieldcast.meshes.morphing import Morphing

from .baselines import STRENGTHS
from .embedding import Sizes
from .gp import standardisation
from .networks import Dense
from .reduced import Model, Reduced, Task
from .regression import Linear, Network, Regression
from .surrogate import Progress
from .training import Descent, Objective, Trained, train

HELD = 6
"""Where no validation cases are given, one in so many of the training cases."""
FEW = 8
"""Below so many cases none is held out."""


@dataclass(frozen=True)
class PodNetwork(Reduced):
    """One network of `depth` hidden layers of `width` units for all coefficients and scalars, on
    top of the ridge regression that it begins with. Sizes as in `MMGP`."""

    validated: ClassVar[bool] = True

    morphing: Morphing | None = None
    modes: int = 16
    shape_modes: int = 16
    shape_tolerance: float = 1e-3
    width: int = 64
    depth: int = 2
    descent: Descent = field(default_factory=Descent)

    def layout(self) -> tuple[Morphing | None, Sizes]:
        return self.morphing, Sizes(self.modes, self.shape_modes, self.shape_tolerance)

    def learn(self, task: Task, seed: int, progress: Progress) -> tuple[Model, dict[str, Any]]:
        own, held = (task, task.validation) if task.validation else split(task, seed)
        targets = Targets.of(task)
        y = targets.standardised(own)
        generator = torch.Generator().manual_seed(seed)
        module = Dense(
            [own.x.shape[1], *[self.width] * self.depth, y.shape[1]], generator, own.x.dtype
        )
        start = Linear.ridge(own.x, y, STRENGTHS)
        with torch.no_grad():
            module.linear.copy_(start.weight)
            module.biases[-1].copy_(start.bias)
        objective = Coefficients(own.x, y, targets.weight, _pair(held, targets))
        objective = objective.to(self.descent.place)
        # It is trained in place: `module` holds the best weights.
        trained = train(module, objective, self.descent, seed=seed, progress=progress)
        return targets.model(module.cpu(), task), {"training": told(trained)}

    @classmethod
    def tiny(cls) -> PodNetwork:
        return cls(modes=4, shape_modes=4, width=16, descent=Descent(steps=200, rate=1e-2))


def split(task: Task, seed: int) -> tuple[Task, Task | None]:
    """Cases to train on and cases to select by."""
    n = len(task.x)
    if n < FEW:
        return task, None
    order = np.random.default_rng(seed).permutation(n)
    count = max(n // HELD, 1)
    return _rows(task, np.sort(order[count:])), _rows(task, np.sort(order[:count]))


def _rows(task: Task, rows: np.ndarray) -> Task:
    at = torch.as_tensor(rows)
    fields = {k: y[at] for k, y in task.fields.items()}
    return Task(task.x[at], fields, {k: y[at] for k, y in task.scalars.items()})


@dataclass(frozen=True, eq=False)
class Targets:
    """All outputs side by side, standardised; `weight` is each one's share in the loss: the
    variance of a coefficient over that of its field, so that fields and scalars count alike."""

    shift: Tensor
    scale: Tensor
    weight: Tensor

    @classmethod
    def of(cls, task: Task) -> Targets:
        """From the training set."""
        shifts, scales, weights = [], [], []
        for y in (*task.fields.values(), *task.scalars.values()):
            shift, scale = standardisation(y)
            shifts.append(shift)
            scales.append(scale)
        for y in task.fields.values():
            variance = y.var(0, correction=0)
            weights.append(variance / variance.sum().clamp(min=1e-300))
        weights += [torch.full((y.shape[1],), 1.0 / y.shape[1]) for y in task.scalars.values()]
        return cls(torch.cat(shifts), torch.cat(scales), torch.cat(weights).to(task.x))

    def standardised(self, task: Task) -> Tensor:
        """(case, output)."""
        y = torch.cat([*task.fields.values(), *task.scalars.values()], dim=1)
        return (y - self.shift) / self.scale

    def model(self, module: Dense, task: Task) -> Model:
        """The network, cut into one regression per field and scalar."""
        start = 0
        groups: list[dict[str, Regression]] = []
        for outputs in (task.fields, task.scalars):
            made: dict[str, Regression] = {}
            for name, y in outputs.items():
                columns = slice(start, start + y.shape[1])
                scaling = self.shift[columns], self.scale[columns]
                made[name] = Network.of(module, columns, scaling, (task.x, y))
                start = columns.stop
            groups.append(made)
        return Model(groups[0], groups[1], {})


@dataclass(frozen=True, eq=False)
class Coefficients(Objective):
    """Weighted mean square error of standardised outputs: the sum over fields and scalars of the
    relative square errors, over their number."""

    x: Tensor
    y: Tensor
    weight: Tensor
    held: tuple[Tensor, Tensor] | None

    @property
    def cases(self) -> int:
        return len(self.x)

    def loss(self, module: nn.Module, rows: Tensor) -> Tensor:
        return self._mean(module(self.x[rows]), self.y[rows])

    def error(self, module: nn.Module) -> float:
        if self.held is None:
            return float("nan")
        x, y = self.held
        return float(self._mean(module(x), y).sqrt())

    def _mean(self, found: Tensor, truth: Tensor) -> Tensor:
        return ((found - truth) ** 2 @ self.weight).mean() / self.weight.sum()

    def to(self, device: torch.device) -> Coefficients:
        """The same on another device."""
        held = None if self.held is None else (self.held[0].to(device), self.held[1].to(device))
        return Coefficients(self.x.to(device), self.y.to(device), self.weight.to(device), held)


def _pair(held: Task | None, targets: Targets) -> tuple[Tensor, Tensor] | None:
    return None if held is None else (held.x, targets.standardised(held))


def told(trained: Trained) -> dict[str, Any]:
    """Of a training run, for the fit report."""
    return {
        "steps": trained.steps,
        "best_step": trained.best_step,
        "validation_error": trained.error,
        "history": [list(row) for row in trained.history],
    }
