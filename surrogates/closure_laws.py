"""Laws from what agents see to the coefficients that they set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from .closure_environment import (
    USUAL,
    Coefficients,
    Environment,
    Line,
    State,
    Uses,
    log_ratio,
    seen,
)
from .surrogate import State as Kept

BOUND = 0.125
"""Of |c|; c may be negative, which gives back."""
REACH = 3.0
"""Learned actions lie within so many scales of the centre."""
SMALL = 0.4
"""Wavenumbers above this share of the largest are small scales."""


class Law(ABC):
    """From a state to the coefficient of each agent."""

    @abstractmethod
    def coefficients(self, environment: Environment, state: State, target: Line) -> Coefficients:
        """c, (row, agent)."""

    def kept(self) -> Kept:
        """What a file keeps."""
        return Kept(values={"law": type(self).__name__, **self.numbers()})

    def numbers(self) -> Mapping[str, float]:
        """Its constants by name."""
        return {}

    def spread(self) -> float | None:
        """The standard deviation of each agent's coefficient; None where not known."""
        return None


def _everywhere(values: Float[Tensor, " row"], environment: Environment) -> Coefficients:
    return values.clamp(-BOUND, BOUND)[:, None].expand(-1, environment.agents**2)


@dataclass(frozen=True)
class Constant(Law):
    """One coefficient C^2 for all places and times."""

    value: float

    def coefficients(self, environment: Environment, state: State, target: Line) -> Coefficients:
        rows = state.vorticity.real.new_full((len(state.vorticity),), self.value)
        return _everywhere(rows, environment)

    def numbers(self) -> Mapping[str, float]:
        return {"value": self.value}


@dataclass(frozen=True)
class Germano(Law):
    """One coefficient for all places, by Germano's identity."""

    def coefficients(self, environment: Environment, state: State, target: Line) -> Coefficients:
        return _everywhere(environment.germano(state), environment)


@dataclass(frozen=True)
class Steered(Law):
    """c = offset + gain <log Z / Z_t>, the mean over small scales, the same at all places, minus
    `pull` times each agent's own: more where that lowers the mismatch of the spectrum. With no pull
    it is a law of two numbers without anything local."""

    offset: float
    gain: float
    pull: float = 0.0

    def coefficients(self, environment: Environment, state: State, target: Line) -> Coefficients:
        ratio = log_ratio(environment.line(state.vorticity), target)
        small = ratio[:, round(SMALL * ratio.shape[1]) - 1 :].mean(dim=1)
        every = _everywhere(self.offset + self.gain * small, environment)
        if self.pull == 0.0:
            return every
        own = environment.pulls(state, target)[:, :, 0]
        own = own - own.mean(dim=1, keepdim=True)
        return (every - self.pull * own).clamp(-BOUND, BOUND)

    def numbers(self) -> Mapping[str, float]:
        return {"offset": self.offset, "gain": self.gain, "pull": self.pull}


class Policy(nn.Module):
    """One perceptron for all agents, from what each sees to the middle of its action, another from
    the mean of all to the value of a state, and one spread of actions (its logarithm)."""

    def __init__(self, inputs: int, width: int, seed: int, log_spread: float = -1.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.actor, self.critic = (_perceptron(inputs, width, generator) for _ in range(2))
        with torch.no_grad():
            last = self.actor[-1]
            assert isinstance(last, nn.Linear)
            last.weight.mul_(0.01)
        self.log_spread = nn.Parameter(torch.tensor(log_spread))

    def forward(self, rows: Float[Tensor, "row agent input"]) -> Coefficients:
        """The middles of the actions."""
        found: Tensor = self.actor(rows)[..., 0]
        return found

    def value(self, rows: Float[Tensor, "row agent input"]) -> Float[Tensor, " row"]:
        """Of states."""
        found: Tensor = self.critic(rows.mean(dim=-2))[..., 0]
        return found


def _perceptron(inputs: int, width: int, generator: torch.Generator) -> nn.Sequential:
    sizes, layers = (inputs, width, width, 1), []
    for before, after in pairwise(sizes):
        layer = nn.Linear(before, after)
        nn.init.orthogonal_(layer.weight, gain=2.0**0.5, generator=generator)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


@dataclass(frozen=True, eq=False)
class Learned(Law):
    """c = centre + 3 scale tanh a/3, a the policy's action. It has a spread where it was learned
    with actions by `chance`."""

    policy: Policy
    centre: float
    scale: float
    uses: Uses = USUAL
    chance: bool = True

    def coefficients(self, environment: Environment, state: State, target: Line) -> Coefficients:
        return self.of_actions(self.policy(seen(environment, state, target, self.uses)))

    def of_actions(self, actions: Coefficients) -> Coefficients:
        """Within their bounds."""
        return self.centre + self.scale * REACH * torch.tanh(actions / REACH)

    def spread(self) -> float | None:
        return self.scale * float(self.policy.log_spread.detach().exp()) if self.chance else None

    def numbers(self) -> Mapping[str, float]:
        return {"centre": self.centre, "scale": self.scale}

    def kept(self) -> Kept:
        arrays = {k: v.detach().cpu().numpy() for k, v in self.policy.state_dict().items()}
        more = {"uses": list(self.uses), "chance": self.chance}
        return Kept(arrays, {"law": "Learned", **self.numbers(), **more})


@dataclass(frozen=True, eq=False)
class Start:
    """Where training starts."""

    law: Learned
    state: State
    target: Tensor


@dataclass(frozen=True, eq=False)
class Averaged(Law):
    """Another law's coefficients, the same at all places: the mean over its agents."""

    inner: Law

    def coefficients(self, environment: Environment, state: State, target: Line) -> Coefficients:
        found = self.inner.coefficients(environment, state, target)
        return found.mean(dim=1, keepdim=True).expand_as(found)

    def kept(self) -> Kept:
        return self.inner.kept()


PLAIN: Mapping[str, type[Law]] = {c.__name__: c for c in (Constant, Germano, Steered)}


def restored(kept: Kept) -> Law:
    """The law that `kept` came from."""
    values: dict[str, Any] = dict(kept.values)
    name = values.pop("law")
    if name in PLAIN:
        return PLAIN[name](**values)
    weights = {k: torch.as_tensor(np.array(v)) for k, v in kept.arrays.items()}
    width, inputs = weights["actor.0.weight"].shape
    policy = Policy(inputs, width, 0)
    policy.load_state_dict(weights)
    uses = Uses(*map(bool, values["uses"]))
    return Learned(policy, values["centre"], values["scale"], uses, bool(values["chance"]))
