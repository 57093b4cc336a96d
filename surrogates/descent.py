"""Many descents side by side: projected gradients with momentum for bounds, the augmented
Lagrangian for constraints, all starts as rows of one array."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .surrogate import Progress, quiet

Rows = Float[np.ndarray, "row number"]
GROWTH, LARGEST = 4.0, 1e8
"""Of the penalty after each round that left a constraint more than half as wrong as before."""
LATE, SLOW = 0.5, 0.02
"""Steps shrink over the last share of each round to so much."""


@dataclass(frozen=True, eq=False)
class Valued:
    """Of rows: what is to be least, `goal` (row,), and what is to be 0, `equal` (row, constraint),
    or not negative, `above` (row, constraint); tensors with gradients."""

    goal: Tensor
    equal: Tensor
    above: Tensor


@runtime_checkable
class Program(Protocol):
    """A problem of minimisation between `low` and `high`."""

    @property
    def low(self) -> Float[np.ndarray, " number"]:
        """The least of each number."""

    @property
    def high(self) -> Float[np.ndarray, " number"]:
        """The largest."""

    @property
    def sizes(self) -> tuple[float, Float[np.ndarray, " equal"], Float[np.ndarray, " above"]]:
        """What is small of the goal and of each constraint: a change or a gap of so much counts."""

    def valued(self, x: Tensor) -> Valued:
        """At rows (row, number)."""


@dataclass(frozen=True, eq=False)
class Found:
    """Where the descents ended, best first: numbers, goals, and the largest gap of a constraint in
    units of what is small of it; `feasible` where that is at most 1."""

    x: Rows
    goal: Float[np.ndarray, " row"]
    gap: Float[np.ndarray, " row"]

    @classmethod
    def of(cls, program: Program, x: Rows) -> Found:
        """Of some rows."""
        with torch.no_grad():
            valued = program.valued(torch.as_tensor(x))
        goal = valued.goal.numpy()
        gap = _Multipliers.of(program, len(x), 1.0).gaps(valued).numpy()
        goal = np.where(np.isfinite(goal), goal, np.inf)
        order = np.lexsort((goal, np.maximum(gap, 1.0)))
        return cls(x[order], goal[order], gap[order])

    @property
    def feasible(self) -> Bool[np.ndarray, " row"]:
        """Whether constraints hold."""
        return self.gap <= 1.0


@runtime_checkable
class Minimiser(Protocol):
    """Solves a `Program`."""

    def minimised(self, program: Program, starts: Rows, progress: Progress = quiet) -> Found:
        """From some starts."""


@dataclass(frozen=True)
class MultiStart:
    """`rounds` of `steps` steps by Adam, of length `rate` in ranges of the numbers at first; after
    each round the multipliers of constraints are moved (Nocedal and Wright 2006, algorithm
    17.4)."""

    rounds: int = 6
    steps: int = 40
    rate: float = 0.03
    penalty: float = 10.0

    def minimised(self, program: Program, starts: Rows, progress: Progress = quiet) -> Found:
        """From all starts at once; a row whose goal is not finite stays where it was."""
        low, high = (torch.as_tensor(np.array(e, dtype=float)) for e in (program.low, program.high))
        width = (high - low).clamp(min=1e-300)
        x = torch.as_tensor(np.array(starts, dtype=float)).clamp(low, high)
        x = (x - low) / width
        state = _Multipliers.of(program, len(x), self.penalty)
        for n in range(self.rounds):
            rate = self.rate * (0.5**n)
            x = self._round(lambda z: program.valued(low + width * z), x, state, rate)
            with torch.no_grad():
                state.moved(program.valued(low + width * x))
            progress("descent", n + 1, self.rounds)
        return Found.of(program, (low + width * x).numpy())

    def _round(
        self, valued: Callable[[Tensor], Valued], x: Tensor, state: _Multipliers, rate: float
    ) -> Tensor:
        mean, square = torch.zeros_like(x), torch.zeros_like(x)
        best, least = x.clone(), torch.full((len(x),), torch.inf, dtype=x.dtype)
        for k in range(self.steps):
            z = x.detach().requires_grad_()
            total = state.total(valued(z))
            [slope] = torch.autograd.grad(total.sum(), z)
            better = total.detach() < least
            best = torch.where(better[:, None], x, best)
            least = torch.where(better, total.detach(), least)
            slope = torch.where(torch.isfinite(slope), slope, 0.0)
            # At a bound that the way leads beyond there is nothing to gain.
            held = ((x <= 0.0) & (slope > 0.0)) | ((x >= 1.0) & (slope < 0.0))
            slope = torch.where(held, 0.0, slope)
            mean = 0.9 * mean + 0.1 * slope
            square = 0.99 * square + 0.01 * slope.square()
            way = mean / (1.0 - 0.9 ** (k + 1))
            size = (square / (1.0 - 0.99 ** (k + 1))).sqrt() + 1e-12
            late = max(0.0, (k / self.steps - LATE) / (1.0 - LATE))
            x = (x - rate * (1.0 - (1.0 - SLOW) * late) * way / size).clamp(0.0, 1.0)
        with torch.no_grad():
            total = state.total(valued(x))
        return torch.where((total < least)[:, None], x, best)


@dataclass
class _Multipliers:
    """Of each row: multipliers of constraints, the penalty, and the gap before."""

    equal: Tensor
    above: Tensor
    penalty: Tensor
    before: Tensor
    sizes: tuple[float, Tensor, Tensor]

    @classmethod
    def of(cls, program: Program, rows: int, penalty: float) -> _Multipliers:
        goal, equal, above = program.sizes
        two = [torch.as_tensor(np.asarray(s, dtype=float)) for s in (equal, above)]
        zeros = [torch.zeros(rows, len(s), dtype=torch.float64) for s in two]
        whole = torch.full((rows,), penalty, dtype=torch.float64)
        before = torch.full((rows,), torch.inf, dtype=torch.float64)
        return cls(zeros[0], zeros[1], whole, before, (goal, two[0], two[1]))

    def _scaled(self, valued: Valued) -> tuple[Tensor, Tensor, Tensor]:
        goal, equal, above = self.sizes
        return valued.goal / goal, valued.equal / equal, valued.above / above

    def total(self, valued: Valued) -> Tensor:
        """The augmented Lagrangian of each row."""
        goal, equal, above = self._scaled(valued)
        rho = self.penalty[:, None]
        first = (self.equal * equal + 0.5 * rho * equal.square()).sum(1)
        short = (self.above - rho * above).clamp(min=0.0)
        return goal + first + ((short.square() - self.above.square()) / (2.0 * rho)).sum(1)

    def gaps(self, valued: Valued) -> Tensor:
        """The largest of each row."""
        _, equal, above = self._scaled(valued)
        every = torch.cat([equal.abs(), (-above).clamp(min=0.0)], dim=1)
        found = every.amax(1) if every.shape[1] else torch.zeros(len(every), dtype=every.dtype)
        return torch.where(torch.isfinite(found), found, torch.inf)

    def moved(self, valued: Valued) -> None:
        """By what is left of constraints."""
        _, equal, above = self._scaled(valued)
        rho, gap = self.penalty[:, None], self.gaps(valued)
        self.equal = self.equal + rho * torch.nan_to_num(equal)
        self.above = (self.above - rho * torch.nan_to_num(above)).clamp(min=0.0)
        slow = (gap > 0.5 * self.before) & (gap > 0.5)
        self.penalty = torch.where(slow, self.penalty * GROWTH, self.penalty).clamp(max=LARGEST)
        self.before = gap
