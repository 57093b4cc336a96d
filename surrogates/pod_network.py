"""A small network from parameters and shape coefficients to POD coefficients (POD-NN: Hesthaven and
Ubbiali 2018, doi:10.1016/j.jcp.2018.02.037), on morphed meshes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from fieldcast.meshes import Sample, Samples
from fieldcast.meshes.morphing import Morphing

from .baselines import STRENGTHS
from .embedding import Sizes
from .features import Transform
from .gp import standardisation
from .networks import Batched, Dense
from .reduced import Model, Reduced, Task
from .regression import Network, Regression, ridge_strength, ridge_weight
from .surrogate import Progress
from .training import Descent, Objective, Trained, train

HELD = 6
"""Where no validation cases are given, one in so many of the training cases."""
FEW = 8
"""Below so many cases none is held out."""
TRIED = 10
"""Steps of training from which the time of all is told."""
PRECISION = torch.float32
"""Of training; answers are given in double precision."""


@dataclass(frozen=True)
class PodNetwork(Reduced):
    """One network of `depth` hidden layers of `width` units for all coefficients and scalars, on
    top of the ridge regression that it begins with. Sizes as in `MMGP`.

    With `heteroscedastic` it learns the variance of each output beside its mean; alone it still
    does not know its spread, an `Ensemble` of such networks does.
    """

    validated: ClassVar[bool] = True

    morphing: Morphing | None = None
    modes: int = 16
    shape_modes: int = 16
    shape_tolerance: float = 1e-3
    width: int = 64
    depth: int = 2
    heteroscedastic: bool = False
    descent: Descent = field(default_factory=Descent)

    def layout(self) -> tuple[Morphing | None, Sizes]:
        return self.morphing, Sizes(self.modes, self.shape_modes, self.shape_tolerance)

    def learn(self, task: Task, seed: int, progress: Progress) -> tuple[Model, dict[str, Any]]:
        own, held = (task, task.validation) if task.validation else split(task, seed)
        targets = Targets.of(task)
        found, told = train_networks(
            self, targets, Members.alone(own, held, targets), seed, progress
        )
        return targets.model(found, self.heteroscedastic, task), told

    def estimate(self, samples: Sequence[Sample]) -> tuple[float, int] | None:
        return estimate_with_training(self, self, samples, 1)

    @classmethod
    def tiny(cls) -> PodNetwork:
        return cls(modes=4, shape_modes=4, width=16, descent=Descent(steps=200, rate=1e-2))


def estimate_with_training(
    recipe: Reduced, member: PodNetwork, samples: Sequence[Sample], count: int
) -> tuple[float, int] | None:
    """(seconds, bytes) of a recipe that trains `count` networks like `member`; a few steps are
    tried."""
    from .reduced_estimate import estimate

    samples = Samples.pack(samples)
    seconds, size = estimate(recipe, samples)
    inputs = len(samples.cases.parameters) + 6
    outputs = member.modes * len(samples.fields) + len(samples.scalars)
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(len(samples), k, generator=generator) for k in (inputs, outputs))
    rows = torch.arange(len(samples)).expand(count, -1)
    members = Members(x, y, torch.ones(outputs) / max(outputs, 1), rows)
    sizes = [inputs, *[member.width] * member.depth, outputs]
    module = Batched([Dense(sizes, generator, PRECISION) for _ in range(count)])
    few = replace(member.descent, steps=TRIED, every=TRIED, device="cpu")
    train(module, members, few)
    started = time.perf_counter()
    train(module, members, few)
    return seconds + (time.perf_counter() - started) / TRIED * member.descent.steps, size


def train_networks(
    recipe: PodNetwork, targets: Targets, members: Members, seed: int, progress: Progress
) -> tuple[Batched, dict[str, Any]]:
    """The networks of a recipe, one per row of `members`, trained side by side; and what to say of
    it."""
    generator = torch.Generator().manual_seed(seed)
    outputs = len(targets.shift)
    ends = [members.x.shape[1], outputs * (2 if recipe.heteroscedastic else 1)]
    sizes = [ends[0], *[recipe.width] * recipe.depth, ends[1]]
    count = len(members.rows)
    module = Batched([Dense(sizes, generator, PRECISION) for _ in range(count)])
    strength = ridge_strength(members.x, members.y, STRENGTHS)
    x, y = members.x[members.rows], members.y[members.rows]
    with torch.no_grad():
        module.of("linear")[..., :outputs] = ridge_weight(x, y, strength)
        module.of(f"biases.{recipe.depth}")[..., :outputs] = y.mean(1)
    objective = members.to(recipe.descent.place, PRECISION)
    # The gradient of a mean over members is shorter than one member's.
    descent = replace(recipe.descent, clip=recipe.descent.clip / count**0.5)
    # It is trained in place: `module` holds the best weights.
    found = train(module, objective, descent, seed=seed, progress=progress)
    return module.cpu().double(), {"training": told(found)}


def split(task: Task, seed: int) -> tuple[Task, Task | None]:
    """Cases to train on and cases to select by."""
    n = len(task.x)
    if n < FEW:
        return task, None
    order = np.random.default_rng(seed).permutation(n)
    count = max(n // HELD, 1)
    return _rows(task, np.sort(order[count:])), _rows(task, np.sort(order[:count]))


def _rows(task: Task, rows: np.ndarray) -> Task:
    at = torch.as_tensor(rows)
    fields = {k: y[at] for k, y in task.fields.items()}
    return Task(task.x[at], fields, {k: y[at] for k, y in task.scalars.items()})


@dataclass(frozen=True, eq=False)
class Targets:
    """All outputs side by side, standardised, scalars of one sign as logarithms where that suits
    them; `weight` is each one's share in the loss: the variance of a coefficient over that of its
    field, so that fields and scalars count alike."""

    transforms: Mapping[str, Transform]
    shift: Tensor
    scale: Tensor
    weight: Tensor

    @classmethod
    def of(cls, task: Task) -> Targets:
        """From the training set."""
        transforms = {k: Transform.suited_to(y.numpy()) for k, y in task.scalars.items()}
        shift, scale = standardisation(_side_by_side(task, transforms))
        weights = []
        for y in task.fields.values():
            variance = y.var(0, correction=0)
            weights.append(variance / variance.sum().clamp(min=1e-300))
        weights += [torch.full((y.shape[1],), 1.0 / y.shape[1]) for y in task.scalars.values()]
        return cls(transforms, shift, scale, torch.cat(weights).to(task.x))

    def standardised(self, task: Task) -> Tensor:
        """(case, output)."""
        return (_side_by_side(task, self.transforms) - self.shift) / self.scale

    def model(
        self, module: Batched, spread: bool, task: Task, noise: Tensor | None = None
    ) -> Model:
        """The networks, cut into one regression per field and scalar; `noise` (output,) as in
        `Network`, standardised."""
        noise = torch.zeros_like(self.shift) if noise is None else noise
        noise = noise if spread else noise * self.scale**2
        start = 0
        groups: list[dict[str, Regression]] = []
        for outputs in (task.fields, task.scalars):
            made: dict[str, Regression] = {}
            for name, given in outputs.items():
                y = _moved(self.transforms.get(name, Transform()), given)
                columns = torch.arange(start, start + y.shape[1])
                start += y.shape[1]
                both = columns + len(self.shift)
                last = torch.cat([columns, both]) if spread else columns
                layers, linear = _layers(module, last)
                scaling = (self.shift[columns], self.scale[columns], noise[columns])
                made[name] = Network(layers, linear, spread, *scaling, task.x, y).each(
                    # In the layout that a saved network has: products then round alike.
                    lambda t: t.clone(memory_format=torch.contiguous_format)
                )
            groups.append(made)
        return Model(groups[0], groups[1], self.transforms)


def _moved(transform: Transform, y: Tensor) -> Tensor:
    return torch.as_tensor(transform(y.numpy()))


def _side_by_side(task: Task, transforms: Mapping[str, Transform]) -> Tensor:
    scalars = [_moved(transforms[k], y) for k, y in task.scalars.items()]
    return torch.cat([*task.fields.values(), *scalars], dim=1)


def _layers(module: Batched, last: Tensor) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """The layers and the linear part, with some columns of the last."""
    depth = sum(name.startswith("weights.") for name in module.names.values())
    layers = [
        (module.of(f"weights.{k}").detach(), module.of(f"biases.{k}").detach())
        for k in range(depth)
    ]
    weight, bias = layers[-1]
    layers[-1] = weight[..., last], bias[..., last]
    return layers, module.of("linear").detach()[..., last]


@dataclass(frozen=True, eq=False)
class Members(Objective):
    """Networks that learn side by side, each from its own `rows` (member, row) of the training
    cases. `x` (case, input), `y` (case, output) standardised; `weight` (output,).

    The loss is the weighted mean square error, the sum over fields and scalars of the relative
    square errors over their number; of networks that give variances the Gaussian negative log
    likelihood with gradients scaled by the square root of the variance (beta-NLL of Seitzer et al.
    2022, arXiv:2203.09168). Weights are selected by the error of the members' mean on cases that
    are `held`, else on each member's cases that are not in its rows.
    """

    x: Tensor
    y: Tensor
    weight: Tensor
    rows: Tensor
    held: tuple[Tensor, Tensor] | None = None

    @classmethod
    def alone(cls, own: Task, held: Task | None, targets: Targets) -> Members:
        """One member that learns from all of `own`."""
        rows = torch.arange(len(own.x))[None]
        pair = None if held is None else (held.x, targets.standardised(held))
        return cls(own.x, targets.standardised(own), targets.weight, rows, pair)

    @property
    def cases(self) -> int:
        return self.rows.shape[1]

    @property
    def unseen(self) -> Tensor:
        """Which cases are not in each member's rows, (member, case)."""
        seen = torch.zeros((len(self.rows), len(self.x)), dtype=torch.bool, device=self.x.device)
        return ~seen.scatter(1, self.rows, True)

    def loss(self, module: nn.Module, rows: Tensor) -> Tensor:
        own = self.rows[:, rows]
        found, truth = module(self.x[own]), self.y[own]
        mean, log_variance = self._parts(found)
        squares = (mean - truth) ** 2
        if log_variance is not None:
            # Bounded, or a point that is met exactly has no bound to its likelihood.
            log_variance = log_variance.clamp(-12.0, 6.0)
            likelihood = 0.5 * (squares * torch.exp(-log_variance) + log_variance)
            squares = likelihood * torch.exp(0.5 * log_variance).detach()
        return (squares @ self.weight).mean() / self.weight.sum()

    def _parts(self, found: Tensor) -> tuple[Tensor, Tensor | None]:
        """Means, and logarithms of variances where the networks give them."""
        count = self.y.shape[1]
        return found[..., :count], found[..., count:] if found.shape[-1] > count else None

    def error(self, module: nn.Module) -> float:
        if self.held is not None:
            x, y = self.held
            mean = self._parts(module(x.expand(len(self.rows), *x.shape)))[0].mean(0)
        elif self.unseen.any():
            found = self.out_of_bag(module)
            mean, y = found.mean, self.y[found.known]
        else:
            return float("nan")
        return float((((mean - y) ** 2 @ self.weight).mean() / self.weight.sum()).sqrt())

    def out_of_bag(self, module: nn.Module) -> OutOfBag:
        """What the members say of cases that they have not seen."""
        every = module(self.x.expand(len(self.rows), *self.x.shape))
        means, log_variances = self._parts(every)
        share = self.unseen.to(means)[..., None]
        known = self.unseen.any(0)
        mean = (means * share).sum(0) / share.sum(0).clamp(min=1.0)
        noise = torch.ones_like(mean) if log_variances is None else log_variances.exp().mean(0)
        spread = means.var(0, correction=1) if len(means) > 1 else torch.zeros_like(mean)
        return OutOfBag(mean[known], spread[known], noise[known], known)

    def to(self, device: torch.device, dtype: torch.dtype) -> Members:
        """The same on another device and in another precision."""
        x, y, weight = (t.to(device, dtype) for t in (self.x, self.y, self.weight))
        held = self.held
        if held is not None:
            held = held[0].to(device, dtype), held[1].to(device, dtype)
        return Members(x, y, weight, self.rows.to(device), held)


@dataclass(frozen=True, eq=False)
class OutOfBag:
    """Of the cases that are `known`, (case,), because some member has not seen them: the `mean` of
    those members, the variance `between` all of them, and their own variance (`noise`; 1 where they
    give none), each (known case, output)."""

    mean: Tensor
    between: Tensor
    noise: Tensor
    known: Tensor


def told(trained: Trained) -> dict[str, Any]:
    """Of a training run, for the fit report."""
    return {
        "steps": trained.steps,
        "best_step": trained.best_step,
        "validation_error": trained.error,
        "history": [list(row) for row in trained.history],
    }
