"""Ensembles of networks: how far they disagree is what more simulations would tell.

All members are one batched network (`networks.Batched`). Each begins with weights of its own and
learns from a bootstrap sample of the simulations (Breiman 1996, doi:10.1007/BF00058655;
Lakshminarayanan, Pritzel, Blundell 2017, arXiv:1612.01474); the cases that a member has not seen
tell how much of the error their disagreement explains. The rest is noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from fieldcast.meshes import Sample
from fieldcast.meshes.morphing import Morphing

from .embedding import Sizes
from .networks import Batched
from .pod_network import (
    Members,
    PodNetwork,
    Targets,
    estimate_with_training,
    train_networks,
)
from .reduced import Model, Reduced, Task
from .surrogate import Progress
from .training import Descent

LEAST = 0.01
"""Share of the error that is noise, at least."""


@dataclass(frozen=True)
class Ensemble(Reduced):
    """`size` networks like `member`, whose mean answers.

    The standard deviation has two parts: "epistemic", between the members, which grows away from
    the simulations and which more of them would lower; and "aleatoric", what the members leave
    unexplained, everywhere alike or, where `member` is heteroscedastic, as they have learnt it.
    """

    validated: ClassVar[bool] = True

    member: PodNetwork = field(default_factory=PodNetwork)
    size: int = 8

    def __post_init__(self) -> None:
        if self.size < 2:
            raise ValueError(f"expected at least 2 members, got {self.size}")

    def layout(self) -> tuple[Morphing | None, Sizes]:
        return self.member.layout()

    def learn(self, task: Task, seed: int, progress: Progress) -> tuple[Model, dict[str, Any]]:
        targets = Targets.of(task)
        y, n = targets.standardised(task), len(task.x)
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randint(n, (self.size, n), generator=generator)
        held = None
        if task.validation is not None:
            held = task.validation.x, targets.standardised(task.validation)
        members = Members(task.x, y, targets.weight, rows, held)
        module, told = train_networks(self.member, targets, members, seed, progress)
        with torch.no_grad():
            noise = unexplained(module, members)
        model = targets.model(module, self.member.heteroscedastic, task, noise)
        return model, {**told, "members": self.size}

    def estimate(self, samples: Sequence[Sample]) -> tuple[float, int] | None:
        return estimate_with_training(self, self.member, samples, self.size)

    @classmethod
    def tiny(cls) -> Ensemble:
        descent = Descent(steps=200, rate=1e-2)
        return cls(PodNetwork(modes=4, shape_modes=4, width=16, descent=descent), size=4)


def unexplained(module: Batched, members: Members) -> Tensor:
    """By what the members' own variance (1 where they give none) is to be multiplied, (output,), so
    that with the variance between them it is the mean square error on cases they have not seen."""
    found = members.out_of_bag(module)
    squares = (found.mean - members.y[found.known]) ** 2
    if not len(squares):
        return torch.ones_like(members.y[0])
    left = torch.maximum((squares - found.between).mean(0), LEAST * squares.mean(0))
    return left / found.noise.mean(0).clamp(min=1e-12)
