"""Goals and constraints of many designs, by formulas of what is told of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .descent import Valued
from .designs import Rows, Told
from .expressions import Constraint, Formula, Values


@dataclass(frozen=True, eq=False)
class Seen:
    """What is `told` of rows in one condition, of such a `weight`; `turned` (number, number there)
    gives the numbers there from those of the rows."""

    told: Told
    turned: Float[np.ndarray, "number there"]
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Valuation:
    """Of rows: the `goal` (row,), `equal` to be 0 and `above` not to be negative (row, constraint),
    each with slopes by the numbers (..., number); and the goal's standard deviation `spread`, 0
    where none is known."""

    goal: Float[np.ndarray, " row"]
    goal_slope: Rows
    equal: Float[np.ndarray, "row equal"]
    equal_slope: Float[np.ndarray, "row equal number"]
    above: Float[np.ndarray, "row above"]
    above_slope: Float[np.ndarray, "row above number"]
    spread: Float[np.ndarray, " row"]

    def around(self, x: Tensor) -> Valued:
        """As functions of `x`, where it was valued."""
        gap = x - x.detach()

        def line(value: np.ndarray, slope: np.ndarray) -> Tensor:
            return torch.as_tensor(value) + torch.einsum(
                "r...n,rn->r...", torch.as_tensor(slope), gap
            )

        return Valued(
            line(self.goal, self.goal_slope),
            line(self.equal, self.equal_slope),
            line(self.above, self.above_slope),
        )


@dataclass(frozen=True)
class Formulas:
    """The goal and constraints; `caution` and `quantile` as `Objective` has them."""

    goal: Formula
    constraints: tuple[Constraint, ...]
    caution: float = 0.0
    quantile: float | None = None

    @classmethod
    def of(
        cls, goal: str, constraints: Sequence[str], caution: float, quantile: float | None
    ) -> Formulas:
        """From texts."""
        if quantile is not None and not 0.0 <= quantile <= 1.0:
            raise ValueError(f"expected a quantile from 0 to 1, got {quantile}")
        return cls(
            Formula(goal), tuple(Constraint.of(text) for text in constraints), caution, quantile
        )

    def check(self, known: Iterable[str]) -> None:
        """Raise a ValueError for names that nothing has."""
        names = set(known)
        for text, formula in [(self.goal.text, self.goal)] + [
            (c.text, c.gap) for c in self.constraints
        ]:
            absent = sorted(formula.names - names)
            if absent:
                raise ValueError(f"{text!r}: expected names of {sorted(names)}, got {absent}")

    @torch.enable_grad()
    def valued(self, rows: int, numbers: int, seen: Sequence[Seen]) -> Valuation:
        """Of rows that were seen in some conditions."""
        shift = torch.zeros(rows, numbers, dtype=torch.float64, requires_grad=True)
        goals, spreads = list[Tensor](), list[Tensor]()
        equal, above = list[Tensor](), list[Tensor]()
        for one in seen:
            named, std = one.told.around(shift @ torch.as_tensor(one.turned))
            goals.append(self.goal(named))
            spreads.append(self._spread(named, std))
            for constraint in self.constraints:
                (equal if constraint.equal else above).append(constraint.gap(named))
        weights = torch.tensor([one.weight for one in seen], dtype=torch.float64)
        goal, spread = self._over(torch.stack(goals), torch.stack(spreads), weights)
        total = goal + self.caution * spread
        value, slope = _with_slope(total[:, None], shift)
        equals, aboves = (
            _with_slope(torch.stack(p, dim=1) if p else shift[:, :0], shift) for p in (equal, above)
        )
        return Valuation(value[:, 0], slope[:, 0], *equals, *aboves, spread.detach().numpy())

    def _spread(self, named: Values, std: Values) -> Tensor:
        """The goal's standard deviation, of independent errors of what is predicted."""
        asked = [k for k in std if k in self.goal.names]
        if not asked:
            return torch.zeros_like(next(iter(named.values())))
        own = {k: v.detach().requires_grad_(k in asked) for k, v in named.items()}
        slopes = torch.autograd.grad(self.goal(own).sum(), [own[k] for k in asked])
        square = sum(s.square() * std[k].square() for k, s in zip(asked, slopes, strict=True))
        return torch.sqrt(torch.as_tensor(square) + 1e-300)

    def _over(
        self,
        goals: Float[Tensor, "condition row"],
        spreads: Float[Tensor, "condition row"],
        weights: Float[Tensor, " condition"],
    ) -> tuple[Tensor, Tensor]:
        """Over conditions: means by weight, or a quantile."""
        if self.quantile is not None:
            order = torch.argsort(goals, dim=0)
            place = round(self.quantile * (len(goals) - 1))
            at = order[place : place + 1]
            return goals.gather(0, at)[0], spreads.gather(0, at)[0]
        share = (weights / weights.sum())[:, None]
        return (share * goals).sum(0), (share * spreads).sum(0)


@runtime_checkable
class Problem(Protocol):
    """What `maximised` is asked of."""

    @property
    def low(self) -> Float[np.ndarray, " number"]:
        """The least of each number."""

    @property
    def high(self) -> Float[np.ndarray, " number"]:
        """The largest."""

    def told(self, x: Rows) -> Valuation:
        """Of rows."""


def maximised(
    problem: Problem, unit: Float[Tensor, "row number"], least: float
) -> tuple[Tensor, Tensor]:
    """Means and variances (row, output), at least `least`: of minus the goal, of equalities and of
    inequalities, at rows of the unit cube; functions of them."""
    low, width = torch.as_tensor(problem.low), torch.as_tensor(problem.high - problem.low)
    x = low + width * unit.double()
    told = problem.told(x.detach().cpu().numpy())
    valued = told.around(x)
    mean = torch.cat([-valued.goal[:, None], valued.equal, valued.above], dim=1)
    variance = torch.full_like(mean, least)
    variance[:, 0] += torch.as_tensor(told.spread).square()
    return mean, variance


def _with_slope(values: Float[Tensor, "row value"], shift: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Values, and slopes (row, value, number); rows don't depend on each other."""
    slopes = []
    for k in range(values.shape[1]):
        [slope] = torch.autograd.grad(
            values[:, k].sum(), shift, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        slopes.append(slope.numpy())
    none = np.zeros((len(values), 0, shift.shape[1]))
    return values.detach().numpy(), np.stack(slopes, axis=1) if slopes else none
