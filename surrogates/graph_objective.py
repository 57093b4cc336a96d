"""What networks on graphs are trained by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fieldcast.meshes.packed import split_by_nodes

from .graph_data import Reading
from .graph_options import Masking, MultiNode
from .graph_sites import Item, Together
from .training import Descent, Objective, counted

NODES = 8192
"""Nodes that are answered together: more are no faster on a CPU."""


@dataclass(frozen=True)
class GraphTraining:
    """`descent` and, of outputs that are known fields, too: `noise` that is added to them, in their
    standard deviations, and to be undone; the share of steps that are `pushed`, started from the
    network's own answer; and where they are `held`: "region" or "field@region". Of meshes of more
    nodes than `sampled` (0: never) a step looks at so many, in a row."""

    descent: Descent
    noise: float = 0.0
    pushed: float = 0.0
    held: tuple[str, ...] = ()
    sampled: int = 0
    multi_node: MultiNode | None = None
    masking: Masking | None = None


class GraphObjective(Objective):
    """The mean over outputs of the mean square error, standardised, held nodes left out.

    Known fields that are predicted are disturbed, and targets undo it: by noise, and in a share of
    the steps by the network's own error of the step `before` (the pushforward of Brandstetter et
    al. 2022, arXiv:2202.03376).
    """

    def __init__(
        self,
        reading: Reading,
        own: Sequence[Item],
        held: Sequence[Item],
        training: GraphTraining,
        seed: int,
        before: Sequence[int],
    ) -> None:
        self.reading, self.own, self.held = reading, own, held
        self.training, self.seed, self.before = training, seed, before

    @property
    def cases(self) -> int:
        return len(self.own)

    def loss(self, module: nn.Module, rows: Tensor) -> Tensor:
        steps = counted(module)
        seed = (self.seed << 32) + int(steps)
        rng = np.random.default_rng(seed)
        noise, pushed = self.training.noise, self.training.pushed
        items = [self.own[i] for i in rows.tolist()]
        spans = [self._span(len(item.x), rng) for item in items]
        kinds = list(self.reading.signature.fields.values())
        together = Together(
            [i.part(kinds, *s) if s else i for i, s in zip(items, spans, strict=True)]
        )
        if (noise or pushed) and self.reading.differences:
            parents: list[Item | None] = []
            for i, span in zip(rows.tolist(), spans, strict=True):
                parent = self.before[i] if rng.random() < pushed else -1
                found = self.own[parent] if parent >= 0 else None
                parents.append(found.part(kinds, *span) if found and span else found)
            if any(parents):
                together.disturb(self.reading, self._errors(module, together, parents))
            if noise:
                generator = torch.Generator(together.x.device).manual_seed(seed)
                together.disturb(self.reading, self._noise(together, generator))
        if self.training.multi_node is None:
            return self._square(module, together)
        return self._square_around(module, together, self.training.multi_node, rng)

    def _span(self, nodes: int, rng: np.random.Generator) -> tuple[int, int] | None:
        """The nodes of a sample to look at; None: all."""
        count = self.training.sampled
        if not 0 < count < nodes:
            return None
        first = int(rng.integers(nodes - count + 1))
        return first, first + count

    def _square(self, module: nn.Module, given: Together) -> Tensor:
        """The mean over cases and outputs."""
        return self._mean(given, *module(given.x, given.batch))

    def _mean(self, given: Together, nodes: Tensor, scalars: Tensor) -> Tensor:
        fields = given.fields(self.reading, nodes)
        total = given.x.new_zeros(())
        for values, truth, weight in zip(fields, given.targets, given.weights, strict=True):
            total = total + (weight * (values - truth) ** 2).sum()
        if scalars.shape[1]:
            total = total + (scalars - given.scalars).square().mean(1).sum()
        return total / (len(given.placed) * (len(fields) + bool(scalars.shape[1])))

    def _square_around(
        self, module: nn.Module, given: Together, multi: MultiNode, rng: np.random.Generator
    ) -> Tensor:
        """The same and, weighted, that of the outputs that random nodes tell of their
        neighbours."""
        graph = given.batch.graphs[0]
        chosen = rng.choice(len(given.x), min(multi.centres, len(given.x)), replace=False)
        centres = torch.as_tensor(chosen, device=given.x.device)
        *outputs, around = module(given.x, given.batch, centres)
        nodes, there = graph.lists(centres)
        total = around.new_zeros(())
        kinds = list(self.reading.signature.fields.values())
        parts = torch.split(around, self.reading.channels(), dim=2)
        for kind, values, truth, weight in zip(
            kinds, parts, given.targets, given.weights, strict=True
        ):
            if kind.on == "cell":
                continue
            counts = (there & (weight[nodes, 0] > 0))[..., None]
            square = (values - truth[nodes]) ** 2 * counts
            each = square.sum((1, 2)) / (counts.sum((1, 2)) * values.shape[2]).clamp(min=1)
            total = total + each.mean()
        return self._mean(given, *outputs) + multi.weight * total / max(len(kinds), 1)

    def _noise(self, given: Together, generator: torch.Generator) -> dict[str, Tensor]:
        """Of each output that is known, too, in its standard deviations as known field, at
        nodes."""
        known, x = self.reading.signature.known, given.x
        return {
            name: self.training.noise
            * torch.randn((len(x), known[name].components), generator=generator, device=x.device)
            for name in self.reading.differences
        }

    @torch.no_grad()
    def _errors(
        self, module: nn.Module, given: Together, parents: Sequence[Item | None]
    ) -> dict[str, Tensor]:
        """The same of the network's own errors in the step before, 0 where there is none."""
        there = Together([item for item in parents if item is not None])
        fields = there.fields(self.reading, module(there.x, there.batch)[0])
        found = {}
        names = list(self.reading.signature.fields)
        sizes = [0 if item is None else len(item.x) for item in parents]
        for name in self.reading.differences:
            k = names.index(name)
            if self.reading.signature.fields[name].on == "cell":
                continue
            ratio = self.reading.ratio(name)
            off = (fields[k] - there.targets[k]) / torch.as_tensor(ratio).to(given.x)
            parts = iter(torch.split(off, [size for size in sizes if size]))
            found[name] = torch.cat(
                [
                    next(parts) if size else off.new_zeros(len(p.points), off.shape[1])
                    for size, p in zip(sizes, given.placed, strict=True)
                ]
            )
        return found

    @torch.no_grad()
    def error(self, module: nn.Module) -> float:
        if not self.held:
            return float("nan")
        parts = split_by_nodes([len(item.placed.points) for item in self.held], NODES)
        squares = [
            self._square(module, Together([self.held[i] for i in part])) * len(part)
            for part in parts
        ]
        return float(sum(squares) / len(self.held)) ** 0.5


class MaskedObjective(Objective):
    """The mean square error of inputs that are hidden, standardised."""

    def __init__(self, own: Sequence[Item], held: Sequence[Item], share: float, seed: int) -> None:
        self.own, self.held, self.share, self.seed = own, held, share, seed

    @property
    def cases(self) -> int:
        return len(self.own)

    def loss(self, module: nn.Module, rows: Tensor) -> Tensor:
        steps = counted(module)
        return self._square(module, [self.own[i] for i in rows.tolist()], int(steps))

    def _square(self, module: nn.Module, items: Sequence[Item], step: int) -> Tensor:
        given = Together(items)
        rng = np.random.default_rng((self.seed << 32) + step)
        hidden = rng.random(len(given.x)) < self.share
        hidden[rng.integers(len(hidden))] = True
        mask = torch.as_tensor(hidden, device=given.x.device)
        return (module(given.x, given.batch, mask) - given.x[mask]).square().mean()

    @torch.no_grad()
    def error(self, module: nn.Module) -> float:
        if not self.held:
            return float("nan")
        squares = [float(self._square(module, [item], k)) for k, item in enumerate(self.held)]
        return float(np.mean(squares)) ** 0.5
