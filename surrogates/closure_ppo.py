"""Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347) of one policy that all
agents of all flows share: agents are rows, the reward is that of their flow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .closure_checkpoint import Reached, restore, save
from .closure_environment import Environment, State, Task, limit, mismatch, seen
from .closure_laws import Law, Learned, Start
from .closure_runs import recovered, renewed

LEAST, MOST = -3.0, 1.0
"""Of the logarithm of the spread of actions."""
SHOWN = 10
"""The live reward is the mean of so many iterations."""
KEPT = 2
"""A checkpoint is written each so many."""


@dataclass(frozen=True)
class Ppo:
    """`iterations`, each of `actions` actions of every flow and `epochs` passes over them in parts
    of `batch` states; returns are discounted by `discount`, advantages by `trace` beside it (GAE,
    arXiv:1506.02438). The `rate` falls to a twentieth by a line; `log_spread` is that of the first
    actions. Rewards are -log |k (Z - Z_t)|^2, or 1 over it (`inverse`), of a flow. To its advantage
    `credit` times each agent's own joins: minus its pull (`Environment.pulls`) times what its
    action is off the policy's mean, the first order of a difference reward (Wolpert and Tumer 2001,
    doi:10.1142/S0219525901000188)."""

    iterations: int = 200
    actions: int = 96
    epochs: int = 4
    batch: int = 128
    rate: float = 1e-3
    discount: float = 0.98
    trace: float = 0.95
    clip: float = 0.2
    log_spread: float = 0.0
    reward: Literal["log", "inverse"] = "log"
    credit: float = 1.0

    def rewards(self, missed: Float[Tensor, " row"]) -> Float[Tensor, " row"]:
        """Of mismatches."""
        return -missed.log() if self.reward == "log" else 1.0 / missed


@dataclass(frozen=True, eq=False)
class Played:
    """What was seen and done: rows (action, flow, agent, input), actions, their log-densities and
    the agents' own credit (action, flow, agent), rewards and ends (action, flow), and what is seen
    at the end."""

    rows: Tensor
    actions: Tensor
    density: Tensor
    credit: Tensor
    rewards: Tensor
    ends: Tensor
    last: Tensor


def log_density(actions: Tensor, middle: Tensor, log_spread: Tensor) -> Tensor:
    """Of a normal distribution, but for a constant."""
    return -0.5 * ((actions - middle) / log_spread.exp()).square() - log_spread


def ppo(
    environment: Environment, settings: Ppo, start: Start, task: Task
) -> tuple[Law, Mapping[str, Any]]:
    """The learned law, and what to say of how it was learned."""
    law, reached = start.law, Reached(0, start.state, [])
    adam = torch.optim.Adam(law.policy.parameters(), lr=settings.rate, eps=1e-5)
    run = (environment, settings, law.centre, law.scale, law.uses, task.seed)
    if task.checkpoint is not None and task.checkpoint.exists():
        reached = restore(task.checkpoint, environment, law.policy, adam, run)
    state, history = reached.state, reached.history
    for n in range(reached.step, settings.iterations):
        for group in adam.param_groups:
            group["lr"] = settings.rate * max(0.05, 1.0 - n / settings.iterations)
        # Of the seed and the number alone, so that a run that goes on is the same.
        generator = torch.Generator().manual_seed((task.seed << 32) + n)
        state = renewed(environment, state, start.state, n, settings.actions)
        played, state, reward = play(environment, settings, start, state, generator)
        improve(settings, law, played, adam, generator)
        history.append(reward)
        recent = history[-SHOWN:]
        if task.checkpoint is not None and (n % KEPT == KEPT - 1 or n + 1 == settings.iterations):
            save(task.checkpoint, Reached(n + 1, state, history), law.policy, adam, run)
        live = f"train: reward {sum(recent) / len(recent):.3f}"
        task.progress(live, n + 1, settings.iterations)
    law.policy.cpu()
    tail = history[-50:]
    told = {"iterations": len(history), "reward_by_chance": sum(tail) / max(len(tail), 1)}
    return law, told


@torch.no_grad()
def play(
    environment: Environment,
    settings: Ppo,
    start: Start,
    state: State,
    generator: torch.Generator,
) -> tuple[Played, State, float]:
    """Let the flows go on, agents acting by chance; the mean of 1 / |k (Z - Z_t)|^2 with it."""
    law, target, found = start.law, start.target, []
    raw = torch.zeros((), device=target.device)
    for _ in range(settings.actions):
        rows = seen(environment, state, target, law.uses)
        middle, spread = law.policy(rows), law.policy.log_spread
        noise = torch.randn(middle.shape, generator=generator).to(middle.device)
        actions = middle + spread.exp() * noise
        own = torch.zeros_like(actions)
        if settings.credit:
            own = -environment.pulls(state, target)[..., 0] * noise
        state = environment.acted(state, law.of_actions(actions))
        missed = mismatch(environment.line(state.vorticity), target)
        state, bad = recovered(environment, state, start.state, target)
        missed = torch.where(bad, limit(target), missed)
        raw += (1.0 / missed).mean() / settings.actions
        density = log_density(actions, middle, spread)
        found.append((rows, actions, density, own, settings.rewards(missed), bad.float()))
    last = seen(environment, state, target, law.uses)
    rows, did, density, credit, rewards, ends = (torch.stack(p) for p in zip(*found, strict=True))
    return Played(rows, did, density, credit, rewards, ends, last), state, float(raw)


@torch.no_grad()
def advantages(
    settings: Ppo, policy: nn.Module, played: Played
) -> tuple[Float[Tensor, "action flow"], Float[Tensor, "action flow"]]:
    """Advantages, standardised, and the returns that values are fitted to; rewards are times
    1 - discount, so that returns are of their size."""
    value: Any = policy.get_submodule("critic")
    seen_by = torch.cat([played.rows, played.last[None]]).mean(dim=-2)
    values: Tensor = value(seen_by)[..., 0]
    found, later = torch.zeros_like(played.rewards), torch.zeros_like(played.rewards[0])
    for t in reversed(range(len(found))):
        goes_on = settings.discount * (1.0 - played.ends[t])
        gap = (1.0 - settings.discount) * played.rewards[t] + goes_on * values[t + 1] - values[t]
        later = gap + goes_on * settings.trace * later
        found[t] = later
    return (found - found.mean()) / (found.std() + 1e-6), found + values[:-1]


def improve(
    settings: Ppo,
    law: Learned,
    played: Played,
    adam: torch.optim.Optimizer,
    generator: torch.Generator,
) -> None:
    """Passes over what was played; they end where the policy is too far from that which played."""
    policy = law.policy
    gains, returns = advantages(settings, policy, played)
    rows, actions, density = (
        p.flatten(0, 1) for p in (played.rows, played.actions, played.density)
    )
    every = gains.flatten()[:, None] + settings.credit * played.credit.flatten(0, 1)
    returns = returns.flatten()
    for _ in range(settings.epochs):
        moved = 0.0
        for part in torch.randperm(len(rows), generator=generator).split(settings.batch):
            own = part.to(rows.device)
            change = log_density(actions[own], policy(rows[own]), policy.log_spread) - density[own]
            ratio, gain = change.exp(), every[own]
            held = ratio.clamp(1.0 - settings.clip, 1.0 + settings.clip)
            loss = -torch.minimum(ratio * gain, held * gain).mean()
            loss = loss + 0.5 * (policy.value(rows[own]) - returns[own]).square().mean()
            adam.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
            adam.step()
            with torch.no_grad():
                policy.log_spread.clamp_(LEAST, MOST)
                moved += float((ratio - 1.0 - change).mean()) * len(own) / len(rows)
        if moved > 0.02:
            break
