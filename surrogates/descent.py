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
DIFFERENCE, SOFT = 0.01, 0.01
"""Steps of finite differences in the unit cube; what is small of constraints beside the goal's
size."""
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
    17.4). The best `polished` rows are led to their ends by SLSQP (scipy)."""

    rounds: int = 6
    steps: int = 40
    rate: float = 0.03
    penalty: float = 10.0
    polished: int = 4

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
        found = Found.of(program, (low + width * x).numpy())
        if not self.polished:
            return found
        ends = [polished(program, row) for row in found.x[: self.polished]]
        return Found.of(program, np.concatenate([found.x, np.array(ends)]))

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


def polished(program: Program, start: Float[np.ndarray, " number"]) -> Float[np.ndarray, " number"]:
    """The end of SLSQP from a row."""
    from scipy.optimize import minimize

    low, width = program.low, np.maximum(program.high - program.low, 1e-300)
    goal_size, equal_size, above_size = program.sizes
    kept: dict[bytes, list[tuple[np.ndarray, np.ndarray]]] = {}

    def told(z: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Values and slopes of the goal, equalities and inequalities, in units of what is small."""
        if z.tobytes() not in kept:
            kept.clear()
            x = torch.tensor((low + width * z)[None], requires_grad=True)
            valued = program.valued(x)
            parts = (
                (valued.goal[:, None], goal_size),
                (valued.equal, equal_size),
                (valued.above, above_size),
            )
            kept[z.tobytes()] = [_scaled(values, size, x, width) for values, size in parts]
        return kept[z.tobytes()]

    constraints = [
        {"type": kind, "fun": lambda z, k=k: told(z)[k][0], "jac": lambda z, k=k: told(z)[k][1]}
        for k, kind in ((1, "eq"), (2, "ineq"))
        if len((goal_size, equal_size, above_size)[k])  # type: ignore[arg-type]
    ]
    z = np.clip((start - low) / width, 0.0, 1.0)
    end = minimize(
        lambda z: float(told(z)[0][0][0]),
        z,
        jac=lambda z: told(z)[0][1][0],
        method="SLSQP",
        bounds=[(0.0, 1.0)] * len(z),
        constraints=constraints,
        options={"maxiter": 60},
    ).x
    inside: np.ndarray = low + width * np.clip(np.where(np.isfinite(end), end, z), 0.0, 1.0)
    return inside


@runtime_checkable
class BlackBox(Protocol):
    """Values at a place of the unit cube, without slopes."""

    def __call__(self, z: Float[np.ndarray, " number"]) -> Float[np.ndarray, " value"] | None:
        """The goal, then equalities, then inequalities in units of what is small of them; None
        where nothing can be told."""

    @property
    def equals(self) -> int:
        """How many values after the goal are to be 0."""


def polished_by_differences(box: BlackBox, start: Float[np.ndarray, " number"]) -> None:
    """SLSQP by finite differences from a place of the unit cube; the box remembers what it saw. A
    place of which nothing can be told is as bad as the worst before."""
    from scipy.optimize import minimize

    first = box(start)
    if first is None:
        return
    size = max(abs(float(first[0])), 1e-300)
    worst = first.copy()

    def told(z: np.ndarray) -> np.ndarray:
        values = box(z)
        if values is None:
            return worst
        worst[0] = max(worst[0], values[0])
        return values

    split = 1 + box.equals
    parts = (("eq", slice(1, split)), ("ineq", slice(split, None)))
    minimize(
        lambda z: float(told(z)[0]) / size,
        start,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * len(start),
        constraints=[
            {"type": kind, "fun": lambda z, part=part: SOFT * told(z)[part]}
            for kind, part in parts
            if len(first[part])
        ],
        options={"eps": DIFFERENCE, "maxiter": 60, "ftol": 1e-6},
    )


def _scaled(
    values: Float[Tensor, "1 value"], size: object, x: Tensor, width: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Values and slopes by the unit cube, in units of a size."""
    scaled = values[0] / torch.as_tensor(np.asarray(size, dtype=float))
    slopes = [
        torch.autograd.grad(v, x, retain_graph=True, materialize_grads=True)[0][0].numpy() * width
        for v in scaled
    ]
    none = np.zeros((0, len(width)))
    return scaled.detach().numpy(), np.array(slopes) if slopes else none


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
