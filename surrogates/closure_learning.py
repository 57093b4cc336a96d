"""Policies learned in their environment: by multi-agent reinforcement learning, and through the
differentiable solver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .closure import ClosureRecipe
from .closure_checkpoint import Reached, restore, save
from .closure_environment import Environment, State, Task, Uses, limit, mismatch, seen
from .closure_laws import Law, Learned, Policy, Start
from .closure_ppo import Ppo, ppo
from .closure_runs import recovered, renewed

KEPT = 20
"""A checkpoint is written each so many updates; the live reward is their mean."""


@dataclass(frozen=True)
class Acting:
    """How a policy acts: `width` units in either of its two layers; c = `centre` + `scale` a, first
    about the centre; `rows` flows side by side, `spin` units after their start; whether agents see
    the `invariants` of their place and their own `pulls`. A larger scale follows the spectrum more
    closely and gives back more, which makes the tails of the vorticity too heavy; see `tails` of
    `ThroughSolver`."""

    width: int = 64
    centre: float = 0.0077
    scale: float = 0.01
    rows: int = 16
    spin: float = 20.0
    invariants: bool = True
    pulls: bool = True

    def begun(
        self, environment: Environment, task: Task, log_spread: float, tails: bool = False
    ) -> Start:
        """The policy before training, and states to start from."""
        target = task.aim.on(environment)
        state = spun(environment, task, self)
        uses = Uses(self.invariants, self.pulls, tails)
        inputs = seen(environment, state, target, uses).shape[2]
        policy = Policy(inputs, self.width, task.seed, log_spread).to(target.device)
        law = Learned(policy, self.centre, self.scale, uses)
        return Start(law, state, target)


def spun(environment: Environment, task: Task, acting: Acting) -> State:
    """States of the flow, in turn with the coefficient that the policy starts from, none, and four
    times as much: a policy that saw the first alone would not find back from where it errs."""
    target = task.aim.on(environment)
    times = torch.tensor([1.0, 0.0, 1.0, 4.0], device=target.device).repeat(-(-acting.rows // 4))
    c = (acting.centre * times[: acting.rows, None]).expand(-1, environment.agents**2)
    first = state = environment.starts(task.aim.snapshots, acting.rows, task.seed)
    steps = round(acting.spin / environment.interval)
    with torch.no_grad():
        for n in range(steps):
            state = environment.acted(state, c)
            if n % 100 == 0:
                state, _ = recovered(environment, state, first, target)
    return state


@dataclass(frozen=True)
class Smarl(ClosureRecipe):
    """Scientific multi-agent reinforcement learning (Mojgani et al. 2023, arXiv:2312.00907): agents
    of one policy, by the spectrum of a few snapshots. The optimiser is PPO, see `Ppo`; the answer's
    spread is that of the policy."""

    environment: Environment
    acting: Acting = field(default_factory=Acting)
    optimiser: Ppo = field(default_factory=Ppo)

    def found(self, task: Task) -> tuple[Law, Mapping[str, Any]]:
        start = self.acting.begun(self.environment, task, self.optimiser.log_spread)
        return ppo(self.environment, self.optimiser, start, task)


@dataclass(frozen=True)
class ThroughSolver(ClosureRecipe):
    """A policy trained through the solver: `updates` of Adam, each by the gradient of the mean log
    |k (Z - Z_t)|^2 after each of `actions` actions; states go on from one to the next. The rate
    falls to a twentieth by a line. There is no chance in it, so no spread.

    `tails` times the squared logarithm of the flows' flatness over that of the snapshots joins, and
    agents see what they do to it: the spectrum is followed less closely, extremes more."""

    environment: Environment
    acting: Acting = field(default_factory=Acting)
    updates: int = 600
    actions: int = 6
    rate: float = 2e-3
    clip: float = 1.0
    tails: float = 0.0

    def __post_init__(self) -> None:
        if not self.tails >= 0.0:
            raise ValueError(f"expected tails, a weight of at least 0, got {self.tails}")

    def found(self, task: Task) -> tuple[Law, Mapping[str, Any]]:
        start = self.acting.begun(self.environment, task, -1.0, self.tails > 0)
        flatness = self.environment.flatness(task.aim.snapshots)
        policy, state, history = start.law.policy, start.state, list[float]()
        adam = torch.optim.Adam(policy.actor.parameters(), lr=self.rate)
        first = 0
        if task.checkpoint is not None and task.checkpoint.exists():
            first, state, history = restore(
                task.checkpoint, self.environment, policy, adam, (self, task.seed)
            )
        for n in range(first, self.updates):
            for group in adam.param_groups:
                group["lr"] = self.rate * max(0.05, 1.0 - n / self.updates)
            state = renewed(self.environment, state, start.state, n, self.actions)
            state, reward = self._update(start, state, adam, flatness)
            history.append(reward)
            if task.checkpoint is not None and (n % KEPT == KEPT - 1 or n + 1 == self.updates):
                reached = Reached(n + 1, state, history)
                save(task.checkpoint, reached, policy, adam, (self, task.seed))
            recent = history[-KEPT:]
            told = f"train: reward {sum(recent) / len(recent):.3f}"
            task.progress(told, n + 1, self.updates)
        law = Learned(
            policy.cpu(), self.acting.centre, self.acting.scale, start.law.uses, chance=False
        )
        tail = history[-50:]
        return law, {"updates": len(history), "reward": sum(tail) / max(len(tail), 1)}

    def _update(
        self, start: Start, state: State, adam: torch.optim.Optimizer, flatness: Tensor
    ) -> tuple[State, float]:
        """One window; the states at its end and the mean reward within."""
        environment, target = self.environment, start.target
        total, reward = torch.zeros((), device=target.device), 0.0
        for _ in range(self.actions):
            c = start.law.coefficients(environment, state, target)
            state = environment.acted(state, c)
            missed = mismatch(environment.line(state.vorticity), target)
            # Rows that were lost have no gradient worth following.
            fine = missed.detach().isfinite() & (missed.detach() < limit(target))
            total = total + torch.where(fine, missed, 1.0).log().mean()
            if self.tails:
                own = environment.flatness(state.vorticity[fine])
                total = total + self.tails * (own / flatness).log().square()
            reward += float((1.0 / missed.detach()[fine]).mean())
        adam.zero_grad(set_to_none=True)
        (total / self.actions).backward()
        size = nn.utils.clip_grad_norm_(start.law.policy.actor.parameters(), self.clip)
        if bool(torch.isfinite(size)):
            adam.step()
        state = environment.state(state.vorticity.detach(), state.before.detach())
        state, _ = recovered(environment, state, start.state, target)
        return state, reward / self.actions
