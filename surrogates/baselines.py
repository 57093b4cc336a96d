"""The trivial answers that a surrogate has to beat: mean field, nearest case, POD with ridge
regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fieldcast.meshes.morphing import Morphing

from .embedding import Sizes
from .reduced import Model, Reduced, Task
from .regression import Linear, Nearest
from .surrogate import Progress

ALL = 1_000_000_000
STRENGTHS = (1e-8, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True)
class MeanField(Reduced):
    """The mean of the training fields on the common mesh, and of the scalars."""

    morphing: Morphing | None = None

    def layout(self) -> tuple[Morphing | None, Sizes]:
        return self.morphing, Sizes(modes=1)

    def learn(self, task: Task, seed: int, progress: Progress) -> tuple[Model, dict[str, Any]]:
        fields = {k: Linear.constant(task.x, y) for k, y in task.fields.items()}
        return Model(
            fields, {k: Linear.constant(task.x, y) for k, y in task.scalars.items()}, {}
        ), {}


@dataclass(frozen=True)
class NearestCase(Reduced):
    """The training case with the closest standardised inputs, carried by the same morphing."""

    morphing: Morphing | None = None

    def layout(self) -> tuple[Morphing | None, Sizes]:
        return self.morphing, Sizes(modes=ALL)

    def learn(self, task: Task, seed: int, progress: Progress) -> tuple[Model, dict[str, Any]]:
        fields = {k: Nearest(task.x, y) for k, y in task.fields.items()}
        return Model(fields, {k: Nearest(task.x, y) for k, y in task.scalars.items()}, {}), {}


@dataclass(frozen=True)
class PodRidge(Reduced):
    """Ridge regression of POD coefficients and scalars; strengths by leave-one-out."""

    morphing: Morphing | None = None
    modes: int = 16

    def layout(self) -> tuple[Morphing | None, Sizes]:
        return self.morphing, Sizes(modes=self.modes)

    def learn(self, task: Task, seed: int, progress: Progress) -> tuple[Model, dict[str, Any]]:
        fields = {k: Linear.ridge(task.x, y, STRENGTHS) for k, y in task.fields.items()}
        scalars = {k: Linear.ridge(task.x, y, STRENGTHS) for k, y in task.scalars.items()}
        return Model(fields, scalars, {}), {}
