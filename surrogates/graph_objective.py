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
from .graph_sites import HELD_BYTES, Item, Together
from .training import Descent, Objective, counted

NODES = 8192
"""Nodes that are answered together: more are no faster on a CPU."""
LOST = 0.5
"""Error of a state, in standard deviations, from which training does not go on."""


@dataclass(frozen=True)
class GraphTraining:
    """`descent` and, of outputs that are known fields, too: `noise` that is added to them, in their
    standard deviations, and to be undone; the share of steps that are `pushed`, started from the
    network's own answer; and where they are `held`: "region" or "field@region". Of meshes of more
    nodes than `sampled` (0: never) a step looks at so many, in a row. `even` 1: squares count
    relative to those of each sample's own targets; 0: as they are."""

    descent: Descent
    noise: float = 0.0
    pushed: float = 0.0
    held: tuple[str, ...] = ()
    sampled: int = 0
    multi_node: MultiNode | None = None
    masking: Masking | None = None
    even: float = 0.0


class GraphObjective(Objective):
    """The mean over outputs of the mean square error, standardised, held nodes left out.

    Known fields that are predicted are disturbed, and targets undo it: by noise, and in a share of
    the steps by the error of the network's own answer when it was last trained on the step
    `before`. That answer may itself have started so: the pushforward of Brandstetter et al. 2022
    (arXiv:2202.03376) over several steps, without a pass more.
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
        self._errors: dict[int, dict[str, Tensor]] = {}
        kinds = reading.signature.fields
        self._pushed = [
            name for name in reading.differences if training.pushed and kinds[name].on == "point"
        ]

    @property
    def cases(self) -> int:
        return len(self.own)

    def loss(self, module: nn.Module, rows: Tensor) -> Tensor:
        steps = counted(module)
        seed = (self.seed << 32) + int(steps)
        rng = np.random.default_rng(seed)
        training, numbers = self.training, rows.tolist()
        items = [self.own[i] for i in numbers]
        spans = [self._span(len(item.x), rng) for item in items]
        kinds = list(self.reading.signature.fields.values())
        items = [i.part(kinds, *s) if s else i for i, s in zip(items, spans, strict=True)]
        together = Together(items)
        if training.even:
            together.even_out(items, training.even)
        if self._pushed:
            together.disturb(self.reading, self._pushes(numbers, spans, together, rng))
        if training.noise:
            generator = torch.Generator(together.x.device).manual_seed(seed)
            together.disturb(self.reading, self._noise(together, generator))
        centres = None
        if training.multi_node is not None:
            count = min(training.multi_node.centres, len(together.x))
            chosen = rng.choice(len(together.x), count, replace=False)
            centres = torch.as_tensor(chosen, device=together.x.device)
        nodes, scalars, *around = module(together.x, together.batch, centres)
        fields = together.fields(self.reading, nodes)
        if self._pushed:
            self._keep_errors(numbers, spans, together, fields)
        loss = self._mean(together, fields, scalars)
        if training.multi_node is not None and centres is not None:
            loss = loss + training.multi_node.weight * self._around(together, around[0], centres)
        return loss

    def _span(self, nodes: int, rng: np.random.Generator) -> tuple[int, int] | None:
        """The nodes of a sample to look at; None: all."""
        count = self.training.sampled
        if not 0 < count < nodes:
            return None
        first = int(rng.integers(nodes - count + 1))
        return first, first + count

    def _mean(self, given: Together, fields: Sequence[Tensor], scalars: Tensor) -> Tensor:
        """The mean over cases and outputs."""
        total = given.x.new_zeros(())
        for values, truth, weight in zip(fields, given.targets, given.weights, strict=True):
            total = total + (weight * (values - truth) ** 2).sum()
        if scalars.shape[1]:
            total = total + (scalars - given.scalars).square().mean(1).sum()
        return total / (len(given.placed) * (len(fields) + bool(scalars.shape[1])))

    def _around(self, given: Together, around: Tensor, centres: Tensor) -> Tensor:
        """That of the outputs that nodes tell of their neighbours."""
        nodes, there = given.batch.graphs[0].lists(centres)
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
        return total / max(len(kinds), 1)

    def _noise(self, given: Together, generator: torch.Generator) -> dict[str, Tensor]:
        """Of each output that is known, too, in its standard deviations as known field, at
        nodes."""
        known, x = self.reading.signature.known, given.x
        return {
            name: self.training.noise
            * torch.randn((len(x), known[name].components), generator=generator, device=x.device)
            for name in self.reading.differences
        }

    def _pushes(
        self,
        rows: Sequence[int],
        spans: Sequence[tuple[int, int] | None],
        given: Together,
        rng: np.random.Generator,
    ) -> dict[str, Tensor]:
        """The errors of the steps before, in standard deviations of the known fields, at nodes; 0
        where a step is not pushed."""
        kept = [
            self._errors.get(self.before[row], {}) if rng.random() < self.training.pushed else {}
            for row in rows
        ]
        found = {}
        for name in self._pushed:
            components = self.reading.signature.known[name].components
            found[name] = torch.cat(
                [
                    errors[name][slice(*span) if span else slice(None)]
                    if name in errors
                    else given.x.new_zeros(len(placed.points), components)
                    for errors, span, placed in zip(kept, spans, given.placed, strict=True)
                ]
            )
        return found

    @torch.no_grad()
    def _keep_errors(
        self,
        rows: Sequence[int],
        spans: Sequence[tuple[int, int] | None],
        given: Together,
        fields: Sequence[Tensor],
    ) -> None:
        """Of answers that are not lost: from there no step leads back."""
        names, sizes = list(self.reading.signature.fields), given.batch.sizes
        found: list[dict[str, Tensor]] = [{} for _ in rows]
        for name in self._pushed:
            k = names.index(name)
            off = (fields[k] - given.targets[k]) * (given.weights[k] > 0)
            off = off / torch.as_tensor(self.reading.ratio(name)).to(off)
            for errors, span, row, part in zip(
                found, spans, rows, off.split(list(sizes)), strict=True
            ):
                errors[name] = part.clone()
                if span:
                    errors[name] = off.new_zeros(len(self.own[row].x), off.shape[1])
                    errors[name][slice(*span)] = part
        squares = [torch.stack([e.square().mean() for e in errors.values()]) for errors in found]
        lost = (torch.stack(squares).amax(1) > LOST**2).tolist()
        for row, errors, strayed in zip(rows, found, lost, strict=True):
            self._errors.pop(row, None)
            if not strayed:
                self._errors[row] = errors
        each = sum(4 * e.numel() for errors in found for e in errors.values()) / len(rows)
        while len(self._errors) > max(HELD_BYTES / max(each, 1.0), 1):
            del self._errors[next(iter(self._errors))]

    @torch.no_grad()
    def error(self, module: nn.Module) -> float:
        if not self.held:
            return float("nan")
        parts = split_by_nodes([len(item.placed.points) for item in self.held], NODES)
        total = 0.0
        for part in parts:
            given = Together([self.held[i] for i in part])
            nodes, scalars = module(given.x, given.batch)
            loss = self._mean(given, given.fields(self.reading, nodes), scalars)
            total += float(loss) * len(part)
        return (total / len(self.held)) ** 0.5


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
