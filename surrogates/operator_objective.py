"""What operator networks are trained by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from fieldcast.meshes import Cases, Sample
from fieldcast.meshes.sample import Location

from .case_data import scalar_row
from .operator_data import OperatorReading, places
from .operator_derivative import (
    Derivative,
    Stencils,
    automatic_gradient,
    discrete_square,
    stencils_of,
)
from .operator_layers import AT_ONCE, OperatorNet
from .training import Objective, counted

Ends = tuple[int, int, int, int]
"""Columns of the branch and of the trunk, fields and scalars."""


@dataclass(frozen=True, eq=False)
class Part:
    """All cases' points of one kind, one behind the other: inputs `x` (point, column), targets `y`
    (point, column), `columns` of the network's outputs that they are; `firsts` and `counts` by
    case; `stencils` for derivatives, where they are asked for."""

    x: Tensor
    y: Tensor
    columns: Tensor
    firsts: Tensor
    counts: tuple[int, ...]
    stencils: Stencils | None = None

    @classmethod
    def of(
        cls,
        reading: OperatorReading,
        samples: Sequence[Sample],
        on: Location,
        device: torch.device,
        derivative: Derivative | None = None,
    ) -> Part:
        """Of samples."""
        x = [reading.trunk_inputs(s.case, on) for s in samples]
        y = [reading.targets(s, on) for s in samples]
        counts = tuple(len(part) for part in x)
        arrays = (torch.as_tensor(np.concatenate(a), dtype=torch.float32) for a in (x, y))
        firsts = np.cumsum([0, *counts[:-1]])
        ids = (torch.as_tensor(np.array(a)) for a in (reading.columns(on), firsts))
        made = [t.to(device) for t in (*arrays, *ids)]
        stencils = None
        if derivative is not None and derivative.kind != "discrete":
            meshes = [s.case.mesh for s in samples]
            told = derivative.neighbours, derivative.region
            stencils = stencils_of(meshes, on, reading.placed, *told).to(device)
        return cls(made[0], made[1], made[2], made[3], counts, stencils)

    @cached_property
    def needed(self) -> list[Tensor]:
        """The points of each case that derivatives are told from: all without stencils."""
        if self.stencils is not None:
            return self.stencils.needed()
        return list(torch.arange(len(self.x), device=self.x.device).split(self.counts))

    def near(self, rows: Sequence[int]) -> Part:
        """Some cases alone, with the points that derivatives are told from."""
        parts = [self.needed[r] for r in rows]
        ids, counts = torch.cat(parts), tuple(len(part) for part in parts)
        firsts = torch.as_tensor(np.cumsum([0, *counts[:-1]]), device=self.x.device)
        stencils = None
        if self.stencils is not None:
            place = torch.zeros(len(self.x), dtype=torch.int64, device=self.x.device)
            place[ids] = torch.arange(len(ids), device=self.x.device)
            stencils = self.stencils.of_cases(rows, place)
        return Part(self.x[ids], self.y[ids], self.columns, firsts, counts, stencils)


@dataclass(frozen=True, eq=False)
class Pack:
    """Samples as tensors: inputs of the branch `v` (case, column), `parts` where fields lie, and
    scalars (case, scalar)."""

    v: Tensor
    parts: tuple[Part, ...]
    scalars: Tensor
    fields: int
    dim: int

    @classmethod
    def of(
        cls,
        reading: OperatorReading,
        samples: Sequence[Sample],
        device: torch.device,
        derivative: Derivative | None = None,
    ) -> Pack:
        """Of samples."""
        signature = reading.signature
        v = reading.branch_inputs(Cases.pack([s.case for s in samples]))
        rows = np.zeros((len(samples), 0))
        if reading.scalars is not None:
            rows = reading.scalars(np.stack([scalar_row(s, signature) for s in samples]))
        tensors = [torch.as_tensor(a, dtype=torch.float32).to(device) for a in (v, rows)]
        parts = tuple(Part.of(reading, samples, on, device, derivative) for on in places(signature))
        fields = sum(kind.components for kind in signature.fields.values())
        return cls(tensors[0], parts, tensors[1], fields, signature.dim)


def ends_of(pack: Pack) -> Ends:
    """The sizes of a network for these."""
    columns = pack.parts[0].x.shape[1] if pack.parts else 1
    return pack.v.shape[1], columns, pack.fields, pack.scalars.shape[1]


class OperatorObjective(Objective):
    """The mean square error of fields in their ranges, at random points, plus that of scalars in
    their standard deviations. `relative`: of each case and field the norm of the error over that of
    the values."""

    def __init__(
        self,
        own: Pack,
        held: Pack | None,
        points: int,
        seed: int,
        derivative: Derivative | None = None,
        relative: bool = False,
    ) -> None:
        self.own, self.held, self.points, self.seed = own, held, points, seed
        self.derivative, self.relative = derivative, relative

    @property
    def cases(self) -> int:
        return len(self.own.v)

    def loss(self, module: nn.Module, rows: Tensor) -> Tensor:
        steps = counted(module)
        generator = torch.Generator(self.own.v.device)
        generator.manual_seed((self.seed << 32) + int(steps))
        rows = rows.to(self.own.v.device)
        v, total = self.own.v[rows], self.own.v.new_zeros(())
        scalars = self.own.scalars[:0]
        for part in self.own.parts:
            if self.derivative is not None:
                square, scalars = self._slopes(module, v, part, rows, self.derivative)
                total = total + square
                if not self.derivative.region:
                    continue
            ids = self._chosen(part, rows, generator)
            found, scalars = module(v, part.x[ids])
            gap, truth = found[..., part.columns] - part.y[ids], part.y[ids]
            if self.relative:
                size = truth.square().sum(1).clamp(min=1e-12)
                total = total + (gap.square().sum(1) / size).sqrt().mean()
            else:
                total = total + gap.square().mean()
        if self.own.scalars.shape[1]:
            if not self.own.parts:
                _, scalars = module(v, v.new_zeros(len(v), 1, 1))
            total = total + (scalars - self.own.scalars[rows]).square().mean()
        return total

    def _slopes(
        self, module: nn.Module, v: Tensor, part: Part, rows: Tensor, derivative: Derivative
    ) -> tuple[Tensor, Tensor]:
        """The mean square error of derivatives, and that of values where all points are asked for
        them; scalars."""
        near = part.near(rows.tolist())
        found, scalars = module(v, near.x, near.counts)
        error = found[:, near.columns] - near.y
        if derivative.kind == "discrete":
            slopes = discrete_square(error, near.x[:, : self.dim], near.counts)
        elif near.stencils is None:
            raise TypeError("expected samples packed with their stencils")
        elif derivative.kind == "least_squares":
            slopes = near.stencils.gradient(error).square().mean()
        else:
            if near.x.shape[1] > self.dim:
                raise ValueError(
                    'expected a trunk that reads coordinates alone with derivative "automatic", '
                    'got more columns; use "least_squares"'
                )
            own = automatic_gradient(
                lambda x: module(v, x, near.counts)[0][:, near.columns], near.x, self.dim
            )
            slopes = (own[near.stencils.at] - near.stencils.gradient(near.y)).square().mean()
        values = 0.0 if derivative.region else error.square().mean()
        return values + derivative.weight * slopes, scalars

    @property
    def dim(self) -> int:
        """Coordinates, the first columns of points."""
        return self.own.dim

    def _chosen(self, part: Part, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Numbers of points (case, point), drawn with repetition."""
        counts = torch.tensor(part.counts, device=rows.device)[rows]
        size = self.points or min(part.counts)
        share = torch.rand((len(rows), size), generator=generator, device=rows.device)
        within = (share * counts[:, None]).long().clamp(max=counts[:, None] - 1)
        return part.firsts[rows][:, None] + within

    @torch.no_grad()
    def error(self, module: nn.Module) -> float:
        held = self.held
        if held is None:
            return float("nan")
        net = cast("OperatorNet", getattr(module, "module", module))
        squares = []
        for part in held.parts:
            found, _ = net.at_most(held.v, part.x, part.counts, AT_ONCE)
            gaps = (found[:, part.columns] - part.y).square().mean(1)
            each = [g.mean() for g in torch.split(gaps, list(part.counts))]
            squares.append(torch.stack(each).mean())
        if held.scalars.shape[1]:
            told = net.scalars(net.branched(held.v)[1])
            squares.append((told - held.scalars).square().mean())
        return float(torch.stack(squares).mean().sqrt())
