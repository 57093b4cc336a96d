"""A network of many cheap simulations, and then an ensemble of few dear ones that it tells what it
says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fieldcast.meshes import Sample, Samples

from .column_network import ColumnNetwork, ColumnObjective, Parted, RandomizedPrior, moments
from .multi_fidelity_columns import JointNet, JointPredictor, joined, readings, restored, widening
from .pod_network import told
from .signature import Signature, describe
from .stacked import StackedMlp
from .surrogate import Card, Progress, State, Surrogate
from .training import train

LEAST = 0.01


@dataclass(frozen=True, eq=False)
class Line:
    """y = slope x + offset + scale r of standardised outputs, r of variance 1."""

    slope: Float[Tensor, " output"]
    offset: Float[Tensor, " output"]
    scale: Float[Tensor, " output"]

    @classmethod
    def through(
        cls, x: Float[Tensor, "case output"], y: Float[Tensor, "case output"], residual: bool
    ) -> Line:
        """By least squares, output by output; y as it is where it's not the `residual` that is
        learnt."""
        if not residual:
            nothing = torch.zeros(y.shape[1])
            return cls(nothing, nothing, torch.ones(y.shape[1]))
        gap = x - x.mean(0)
        slope = (gap * (y - y.mean(0))).sum(0) / (gap * gap).sum(0).clamp(min=1e-12)
        offset = y.mean(0) - slope * x.mean(0)
        scale = (y - slope * x - offset).square().mean(0).sqrt()
        return cls(slope, offset, torch.where(scale > 1e-6, scale, torch.ones_like(scale)))

    def left(self, x: Tensor, y: Tensor) -> Tensor:
        """r."""
        return (y - self.slope * x - self.offset) / self.scale

    def put_into(self, net: JointNet) -> None:
        """So that the networks that tell r tell y."""
        with torch.no_grad():
            for stack in stacks(net):
                stack.weights[-1] *= self.scale
                stack.biases[-1] *= self.scale
            if net.slope is not None and net.offset is not None:
                net.slope.copy_(self.slope)
                net.offset.copy_(self.offset)


@dataclass(frozen=True, eq=False)
class Standard:
    """(x - shift) / scale, of mean 0 and variance 1 over the dear cases. Cheap ones reach further:
    by their scales the dear ones would differ less than networks are good at. What varies a hundred
    times less among the dear than among the cheap ones keeps the scale of those."""

    shift: Float[Tensor, " input"]
    scale: Float[Tensor, " input"]

    @classmethod
    def of(cls, x: Float[Tensor, "case input"]) -> Standard:
        scale = x.std(0, correction=0)
        return cls(x.mean(0), torch.where(scale > LEAST, scale, torch.ones_like(scale)))

    def __call__(self, x: Tensor) -> Tensor:
        return (x - self.shift) / self.scale

    def put_into(self, net: JointNet) -> None:
        """So that the networks that are given standardised inputs are given them as they are."""
        with torch.no_grad():
            for stack in stacks(net):
                stack.weights[0] /= self.scale[:, None]
                stack.biases[0] -= self.shift @ stack.weights[0][:, None]


def stacks(net: JointNet) -> list[StackedMlp]:
    """Learned dear networks, and those that are never trained."""
    return [s for s in (net.high.learned, net.high.prior) if s is not None]


@dataclass(frozen=True)
class InTurn:
    """How a network of the cheap simulations and an ensemble of the dear ones are fitted, one after
    the other. All members are told by the same network."""

    low: ColumnNetwork
    high: RandomizedPrior
    composition: str

    def fit(
        self,
        recipe: Surrogate,
        data: tuple[Samples, Samples],
        validation: Sequence[Sample] | None,
        seed: int,
        progress: Progress,
    ) -> JointPredictor:
        """From dear samples and cheap ones."""
        dear, cheap = data
        reading, low = readings(dear, cheap)
        own = Parted.read(reading, dear, validation, seed)
        many = Parted.read(low, cheap, None, seed)
        net = self.net(own.x.shape[1], many.y.shape[1], own.y.shape[1], seed)
        place = self.low.descent.place
        objective = ColumnObjective(many.x, many.y, torch.arange(len(many.x))[None], many.held)
        first = train(net.low, objective.to(place), self.low.descent, seed=seed, progress=progress)
        net.low.cpu().eval().requires_grad_(False)
        said = moments(net.low, own.x)[0]
        line = Line.through(said, own.y, net.slope is not None)
        standard = Standard.of(self._given(own.x, said))
        told_of = standard(self._given(own.x, said)), line.left(said, own.y)
        held = None
        if own.held is not None:
            said = moments(net.low, own.held[0])[0]
            held = standard(self._given(own.held[0], said)), line.left(said, own.held[1])
        rows = self.high.rows(len(own.x), seed)
        descent = self.high.descent
        descent = replace(descent, clip=descent.clip * self.high.size**0.5)
        objective = ColumnObjective(*told_of, rows, held).to(descent.place)
        found = train(net.high, objective, descent, seed=seed, progress=progress)
        net = net.cpu().eval()
        line.put_into(net)
        standard.put_into(net)
        fit = {
            "parameters": sum(p.numel() for p in net.parameters()),
            "members": self.high.size,
            "spread_times": widening(net, own),
            "cheap_samples": len(cheap),
            "cheap_training": told(first),
            "training": told(found),
        }
        return joined(recipe, net, own, low, Card(describe(dear), fit, seed=seed))

    def _given(self, x: Tensor, said: Tensor) -> Tensor:
        """Inputs of the dear networks, (case, input)."""
        return said if self.composition == "lf_only" else torch.cat([x, said], dim=1)

    def net(self, inputs: int, said: int, outputs: int, seed: int) -> JointNet:
        """Not trained."""
        beside = self.composition != "lf_only"
        line = outputs if self.composition == "residual" else 0
        if line and said != outputs:
            raise ValueError(
                f'expected cheap samples with the outputs of the others for "residual", got {said} '
                f"values instead of {outputs}"
            )
        seeds = np.random.SeedSequence(seed).generate_state(2).tolist()
        low = self.low.networks(inputs, said, 1, 0.0, seeds[0])
        high = self.high.networks(said + (inputs if beside else 0), outputs, seeds[1])
        return JointNet(low, high, beside, line, True)

    def restored(
        self, recipe: Surrogate, signature: Signature, card: Card, state: State
    ) -> JointPredictor:
        """A predictor that was saved."""
        saved = signature, card, state
        return restored(recipe, saved, lambda x, said, y: self.net(x, said, y, 0))
