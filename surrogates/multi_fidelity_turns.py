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
from .surrogate import Card, Progress, State, Surrogate
from .training import train


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
            for stack in (net.high.learned, net.high.prior):
                if stack is not None:
                    stack.weights[-1] *= self.scale
                    stack.biases[-1] *= self.scale
            if net.slope is not None and net.offset is not None:
                net.slope.copy_(self.slope)
                net.offset.copy_(self.offset)


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
        line = Line.through(self._said(net, own.x), own.y, net.slope is not None)
        told_of = self._told(net, line, own.x, own.y)
        held = None if own.held is None else self._told(net, line, *own.held)
        rows = self.high.rows(len(own.x), seed)
        descent = self.high.descent
        descent = replace(descent, clip=descent.clip * self.high.size**0.5)
        objective = ColumnObjective(*told_of, rows, held).to(descent.place)
        found = train(net.high, objective, descent, seed=seed, progress=progress)
        line.put_into(net.cpu())
        fit = {
            "parameters": sum(p.numel() for p in net.parameters()),
            "members": self.high.size,
            "spread_times": widening(net.eval(), own),
            "cheap_samples": len(cheap),
            "cheap_training": told(first),
            "training": told(found),
        }
        return joined(recipe, net, own, low, Card(describe(dear), fit, seed=seed))

    def _said(self, net: JointNet, x: Tensor) -> Tensor:
        """What the cheap network says, (case, output)."""
        return moments(net.low, x)[0]

    def _told(self, net: JointNet, line: Line, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and outputs of the dear networks."""
        said = self._said(net, x)
        given = torch.cat([x, said], dim=1) if net.beside else said
        return given, y if net.slope is None else line.left(said, y)

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
