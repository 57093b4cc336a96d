"""Closures to beat: one coefficient, searched; that of Germano's identity; laws of two and three
numbers; a network taught offline by what a finer grid says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldcast.meshes import Sample

from .closure import TENDENCY, ClosureRecipe
from .closure_environment import VORTICITY, Environment, State, Task, Wanted, seen, side
from .closure_laws import Constant, Germano, Law, Learned, Policy, Steered
from .closure_runs import Protocol, run
from .training import Descent, Objective, train

SHORT = Protocol(rows=8, units=40.0, spin=15.0)


@dataclass(frozen=True)
class StaticCoefficient(ClosureRecipe):
    """nu_e = C^2 Delta^2 <|S|^2>^1/2 with the one C of `candidates` that runs with the highest mean
    reward; `protocol` says how each is run."""

    environment: Environment
    candidates: tuple[float, ...] = (0.079, 0.082, 0.085, 0.088, 0.091, 0.094)
    protocol: Protocol = SHORT

    def __post_init__(self) -> None:
        object.__setattr__(self, "candidates", tuple(self.candidates))

    def found(self, task: Task) -> tuple[Law, Mapping[str, Any]]:
        laws: list[Law] = [Constant(c**2) for c in self.candidates]
        return searched(self, laws, task)


@dataclass(frozen=True)
class DynamicCoefficient(ClosureRecipe):
    """The dynamic Smagorinsky closure, which nothing is learned of."""

    environment: Environment

    def found(self, task: Task) -> tuple[Law, Mapping[str, Any]]:
        return Germano(), {}


@dataclass(frozen=True)
class Feedback(ClosureRecipe):
    """c from the small scales' mean log Z / Z_t and, where `pulls` are not 0, from each agent's own
    pull (see `Steered`): the setting of highest mean reward among all `offsets`, `gains` and
    `pulls`."""

    environment: Environment
    offsets: tuple[float, ...] = (0.0065,)
    gains: tuple[float, ...] = (0.02, 0.03, 0.04)
    pulls: tuple[float, ...] = (0.0,)
    protocol: Protocol = SHORT

    def __post_init__(self) -> None:
        for name in ("offsets", "gains", "pulls"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def found(self, task: Task) -> tuple[Law, Mapping[str, Any]]:
        laws: list[Law] = [
            Steered(o, g, p) for o in self.offsets for g in self.gains for p in self.pulls
        ]
        return searched(self, laws, task)


def searched(
    recipe: StaticCoefficient | Feedback,
    laws: Sequence[Law],
    task: Task,
) -> tuple[Law, Mapping[str, Any]]:
    """The law of the highest mean reward, and the rewards of all with their standard errors."""
    if len(laws) == 1:
        return laws[0], {"law": dict(laws[0].numbers())}
    found, tried = [], []
    for n, law in enumerate(laws):
        reward = run(recipe.environment, law, task.aim, recipe.protocol, seed=task.seed).reward
        found.append(float(reward.mean()))
        error = float(reward.std() / math.sqrt(max(len(reward) - 1, 1)))
        tried.append({**law.numbers(), "reward": found[-1], "error": error})
        task.progress(f"search: reward {max(found):.3f}", n + 1, len(laws))
    best = laws[int(np.argmax(found))]
    return best, {"law": dict(best.numbers()), "tried": tried}


@dataclass(frozen=True)
class OfflineClosure(ClosureRecipe):
    """A policy taught by samples that tell the true "tendency" beside the vorticity, on the points
    of the environment: each agent's answer is its part in the coefficients that make that tendency
    best, by ridge regression, without any run of the flow."""

    environment: Environment
    width: int = 64
    ridge: float = 1e-2
    centre: float = 0.0077
    scale: float = 0.02
    descent: Descent = field(
        default_factory=lambda: Descent(steps=1500, batch=64, rate=3e-3, every=100)
    )

    def found(self, task: Task) -> tuple[Law, Mapping[str, Any]]:
        own = [s for s in task.samples if TENDENCY in s.fields]
        if not own:
            raise ValueError("expected samples with the true 'tendency' of the closure, got none")
        rows, goals = self._lessons(task.aim, own)
        held = max(len(rows) // 5, 1) if len(rows) > 1 else 0
        policy = Policy(rows.shape[2], self.width, task.seed)
        lessons = _Lessons(rows[held:], goals[held:], rows[:held], goals[:held])
        done = train(policy, lessons, self.descent, seed=task.seed, progress=task.progress)
        assert isinstance(done.module, Policy)
        law = Learned(done.module.cpu(), self.centre, self.scale, chance=False)
        told = {"steps": done.steps, "error": done.error, "constant": float(goals[:held].std())}
        return law, told

    def _lessons(self, aim: Wanted, samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
        """What agents see, and what their actions should be."""
        environment, target = self.environment, aim.on(self.environment)
        rows, goals = [], []
        for sample in samples:
            n = side(sample.case.mesh, sample.case.label)
            if n != environment.points:
                raise ValueError(
                    f"case {sample.case.label}: expected {environment.points} points a side, as "
                    f"those of the environment, got {n}"
                )
            known = {**sample.case.fields, **sample.fields}
            w, truth = (
                torch.tensor(known[k].values.reshape(-1, n, n)) for k in (VORTICITY, TENDENCY)
            )
            spectra = environment.spectra_of(w)
            for k in range(len(w)):
                state = environment.state(spectra[k : k + 1])
                rows.append(seen(environment, state, target))
                goals.append(self._best(state, truth[k]))
        return torch.cat(rows), (torch.stack(goals) - self.centre) / self.scale

    def _best(self, state: State, truth: Tensor) -> Tensor:
        """The coefficients whose tendency is nearest to the true one."""
        agents = self.environment.agents**2
        own = torch.eye(agents, device=state.vorticity.device)
        spectrum = state.vorticity.expand(agents, -1, -1)
        basis = self.environment.tendency(spectrum, own).flatten(1).double()
        gram = basis @ basis.T
        gram = gram + self.ridge * gram.diagonal().mean() * torch.eye(agents, dtype=gram.dtype)
        right = basis @ truth.flatten().to(basis)
        return torch.linalg.solve(gram, right).float()


@dataclass(frozen=True, eq=False)
class _Lessons(Objective):
    """Mean squares of what policies miss."""

    rows: Tensor
    goals: Tensor
    held_rows: Tensor
    held_goals: Tensor

    @property
    def cases(self) -> int:
        return len(self.rows)

    def loss(self, module: torch.nn.Module, rows: Tensor) -> Tensor:
        found: Tensor = module(self.rows[rows])
        return (found - self.goals[rows]).square().mean()

    def error(self, module: torch.nn.Module) -> float:
        if not len(self.held_rows):
            return math.nan
        return float((module(self.held_rows) - self.held_goals).square().mean().sqrt())
