"""Gradient descent on residuals, with the ways to weigh them that the literature knows."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .pinn_problem import Term
from .pinn_training import HELD, Method, Network, Rows, Task, loss_of
from .surrogate import Progress, quiet
from .training import Descent, Objective, train


class Weigher(ABC):
    """How much each residual counts, as training goes on."""

    @abstractmethod
    def loss(
        self, residuals: Sequence[Tensor], rows: Int[Tensor, " row"], module: nn.Module
    ) -> Tensor:
        """One loss of the terms' residuals at the numbered rows; those of rows that don't count yet
        are 0."""


class Balance(ABC):
    """A way to weigh residuals, as a setting."""

    @abstractmethod
    def begin(self, terms: int, rows: int) -> Weigher:
        """For a training."""


@dataclass(frozen=True)
class Fixed(Balance):
    """The weights of the terms."""

    def begin(self, terms: int, rows: int) -> Weigher:
        return _Fixed()


class _Fixed(Weigher):
    def loss(
        self, residuals: Sequence[Tensor], rows: Int[Tensor, " row"], module: nn.Module
    ) -> Tensor:
        return torch.stack([r.square().mean() for r in residuals]).sum()


@dataclass(frozen=True)
class SelfAttention(Balance):
    """A weight per point and term, which grows by gradient ascent, at `rate`, where residuals stay
    large (McClenny and Braga-Neto 2023, doi:10.1016/j.jcp.2022.111722)."""

    rate: float = 1e-2

    def begin(self, terms: int, rows: int) -> Weigher:
        return _SelfAttention(terms, rows, self.rate)


class _SelfAttention(Weigher):
    def __init__(self, terms: int, rows: int, rate: float) -> None:
        self.weights = torch.ones(terms, rows, dtype=torch.float64, requires_grad=True)
        self.optimiser = torch.optim.Adam([self.weights], lr=rate, maximize=True)

    def loss(
        self, residuals: Sequence[Tensor], rows: Int[Tensor, " row"], module: nn.Module
    ) -> Tensor:
        if self.weights.grad is not None:  # what the last step's backward pass left
            self.optimiser.step()
            self.optimiser.zero_grad()
        pairs = zip(self.weights, residuals, strict=True)
        return torch.stack([(w[rows] * r).square().mean() for w, r in pairs]).sum()


@dataclass(frozen=True)
class Annealing(Balance):
    """A weight per term, moved by a `share` a step to where its mean gradient is as large as the
    largest one of the first term (Wang, Teng, Perdikaris 2021, doi:10.1137/20M1318043)."""

    share: float = 0.1

    def begin(self, terms: int, rows: int) -> Weigher:
        return _Annealing(terms, self.share)


class _Annealing(Weigher):
    def __init__(self, terms: int, share: float) -> None:
        self.weights, self.share = [1.0] * terms, share

    def loss(
        self, residuals: Sequence[Tensor], rows: Int[Tensor, " row"], module: nn.Module
    ) -> Tensor:
        losses = [r.square().mean() for r in residuals]
        own = list(module.parameters())
        sizes = []
        for loss in losses:
            slopes = torch.autograd.grad(loss, own, retain_graph=True)
            sizes.append(torch.cat([s.ravel() for s in slopes]).abs())
        largest = float(sizes[0].max())
        for k, size in enumerate(sizes[1:], 1):
            wanted = largest / max(float(size.mean()), 1e-300)
            moved = (1.0 - self.share) * self.weights[k] + self.share * wanted
            self.weights[k] = min(max(moved, 0.1), 1e6)
        return torch.stack([w * x for w, x in zip(self.weights, losses, strict=True)]).sum()


@dataclass(frozen=True)
class GradualTime:
    """Points until t_max count, which grows from the share `first` of all time to all of it over
    the first half of the steps, t_max = exp(k (2 step / steps - 1)), k = -log(first)."""

    first: float = 0.1

    def until(self, step: int, steps: int) -> float:
        """The share of time."""
        return math.exp(-math.log(self.first) * min(2.0 * step / max(steps, 1) - 1.0, 0.0))


SOAP = Descent(steps=1000, batch=1000, optimiser="soap", rate=3e-3, every=50, device="cpu")


@dataclass(frozen=True)
class Gradients(Method):
    """A `descent` on a pool of `points` collocation points, weighed by a `balance`, in the order of
    time where it is `gradual`."""

    descent: Descent = field(default=SOAP)
    points: int = 8000
    balance: Balance = Fixed()
    gradual: GradualTime | None = None
    validation: int = 2048

    def minimised(
        self,
        task: Task,
        weights: Float[Tensor, " weight"],
        seed: int = 0,
        progress: Progress = quiet,
    ) -> tuple[Float[Tensor, " weight"], dict[str, float]]:
        module = _Module(task, weights)
        objective = _Residuals(self, task, seed)
        found = train(module, objective, self.descent, seed=seed, progress=progress)
        return module.flat().detach(), {"steps": float(found.steps), "residual": found.error}


@dataclass(frozen=True)
class QuasiNewton(Method):
    """`steps` of L-BFGS (Liu and Nocedal 1989, doi:10.1007/BF01589116), a `history` of pairs and
    line searches for the strong Wolfe conditions, `fresh` of them at the same points."""

    steps: int = 500
    points: int = 2000
    history: int = 50
    fresh: int = 100
    validation: int = 2048

    def minimised(
        self,
        task: Task,
        weights: Float[Tensor, " weight"],
        seed: int = 0,
        progress: Progress = quiet,
    ) -> tuple[Float[Tensor, " weight"], dict[str, float]]:
        network, held = task.network, task.rows(self.validation, HELD + seed)
        best, least = weights, float(loss_of(network, held, weights))
        own = weights.clone().requires_grad_()
        for step in range(0, self.steps, self.fresh):
            rows = task.rows(self.points, seed + step)
            optimiser = torch.optim.LBFGS(
                [own],
                max_iter=min(self.fresh, self.steps - step),
                history_size=self.history,
                line_search_fn="strong_wolfe",
                tolerance_grad=0.0,
                tolerance_change=0.0,
            )
            optimiser.step(_closure(own, optimiser, network, rows))
            error = float(loss_of(network, held, own.detach()))
            if error < least:
                best, least = own.detach().clone(), error
            progress(f"train: residual {math.sqrt(error):.2e}", step + self.fresh, self.steps)
        return best, {"residual": math.sqrt(least)}


def _closure(
    own: Tensor, optimiser: torch.optim.Optimizer, network: Network, rows: Sequence[Rows]
) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = loss_of(network, rows, own)
        loss.backward()
        return loss

    return closure


class _Module(nn.Module):
    """The weights, each a matrix, as optimisers that look at their rows and columns want them."""

    def __init__(self, task: Task, weights: Tensor) -> None:
        super().__init__()
        parts = task.network.split(weights)
        self.weights = nn.ParameterDict({k: nn.Parameter(w.clone()) for k, w in parts.items()})

    def flat(self) -> Tensor:
        return torch.cat([w.ravel() for w in self.weights.values()])


class _Residuals(Objective):
    def __init__(self, recipe: Gradients, task: Task, seed: int) -> None:
        self.recipe, self.task, self.step = recipe, task, 0
        # As many rows for each term, so that a row's number is that of all terms.
        pools = [Task(task.equations, task.network, (t,)) for t in _even(task)]
        self.pools = [p.rows(recipe.points, seed + k)[0] for k, p in enumerate(pools)]
        self.held = task.rows(recipe.validation, HELD + seed)
        self.weigher = recipe.balance.begin(len(self.pools), recipe.points)

    @property
    def cases(self) -> int:
        return self.recipe.points

    def loss(self, module: nn.Module, rows: Int[Tensor, " row"]) -> Tensor:
        assert isinstance(module, _Module)
        weights, gradual = module.flat(), self.recipe.gradual
        residuals = []
        for pool in self.pools:
            some = pool.taken(rows)
            found = some.term.weight * some.residuals(self.task.network, weights)
            if gradual is not None:
                until = gradual.until(self.step, self.recipe.descent.steps)
                found = torch.where(self._when(some) <= until, found, torch.zeros_like(found))
            residuals.append(found)
        self.step += 1
        return self.weigher.loss(residuals, rows, module)

    def _when(self, rows: Rows) -> Tensor:
        return rows.points[:, 0, self.task.equations.space]

    def error(self, module: nn.Module) -> float:
        assert isinstance(module, _Module)
        return math.sqrt(float(loss_of(self.task.network, self.held, module.flat())))


def _even(task: Task) -> list[Term]:
    return [replace(term, share=1.0) for term in task.terms]
