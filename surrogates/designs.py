"""What a predictor says of many designs at once, each a row of numbers, and how it changes with
them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fieldcast.meshes import Case, Prediction

from .rows import Rows as ScalarsOfRows
from .rows import rows_of
from .surrogate import Differentiable, Predictor

Rows = Float[np.ndarray, "row number"]
Shapes = Float[np.ndarray, "row point dim"]
STEP, TINY = 1e-5, 1e-7
"""Of differences of shapes, in ranges of a number; of one ahead."""
LOOKED, ALIKE = 4, 1e-12
"""Designs by which shapes are found to be linear in the numbers, and how nearly they are then."""
COARSE = 1e-3
"""Of differences of predictors that have no derivatives."""
EXACT = "exact"
BY_SHAPES = "exact, but for central differences of the shapes"
BY_DIFFERENCES = "central differences of the predictor"


@runtime_checkable
class DesignSpace(Protocol):
    """Where designs lie."""

    @property
    def names(self) -> Sequence[str]:
        """Of the numbers of a row."""

    @property
    def low(self) -> Float[np.ndarray, " number"]:
        """The least of each."""

    @property
    def high(self) -> Float[np.ndarray, " number"]:
        """The largest."""

    def cases(self, x: Rows) -> list[Case]:
        """A case of each row."""

    def shapes(self, x: Rows) -> Shapes:
        """The points of the mesh of each row."""

    def parameters(self, x: Rows) -> Mapping[str, Float[np.ndarray, " row"]]:
        """The parameters of the case of each row."""

    def columns(self, x: Rows) -> Mapping[str, Float[np.ndarray, " row"]]:
        """All numbers by name, also those that don't vary."""


Measure = Callable[[Shapes], Float[np.ndarray, " row"]]
"""What follows from shapes alone, such as an area."""
Side = tuple[Shapes, Shapes, Float[np.ndarray, " row"]]
"""Shapes a little up and down one of the numbers, and how far they are apart."""
Functional = Callable[[Mapping[str, Tensor]], Tensor]
"""A number of predicted fields (time, entity, component), by name."""


@dataclass(frozen=True, eq=False)
class Told:
    """Of rows by name: `values` (row,), `slopes` by the numbers (row, number), standard deviations
    `std` (row,) of what is predicted with one, and their slopes where those are known."""

    values: Mapping[str, Float[np.ndarray, " row"]]
    slopes: Mapping[str, Rows]
    std: Mapping[str, Float[np.ndarray, " row"]]
    std_slopes: Mapping[str, Rows] = field(default_factory=dict)

    def with_given(self, columns: Mapping[str, np.ndarray]) -> Told:
        """With numbers that don't vary, too."""
        more = {k: v for k, v in columns.items() if k not in self.values}
        none = np.zeros_like(next(iter(self.slopes.values())))
        slopes = {**self.slopes, **dict.fromkeys(more, none)}
        return Told({**self.values, **more}, slopes, self.std, self.std_slopes)

    def around(self, shift: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Values and standard deviations as functions of a small `shift` (row, number)."""

        def line(values: np.ndarray, slopes: np.ndarray | None) -> Tensor:
            start = torch.as_tensor(np.ascontiguousarray(values, dtype=float))
            if slopes is None:
                return start
            return start + (torch.as_tensor(np.ascontiguousarray(slopes)) * shift).sum(1)

        values = {k: line(v, self.slopes[k]) for k, v in self.values.items()}
        return values, {k: line(v, self.std_slopes.get(k)) for k, v in self.std.items()}


@dataclass(frozen=True, eq=False)
class Designs:
    """A `predictor` in a `space`: its steady scalars, `functionals` of its fields, `measures` of
    shapes, and the numbers themselves, by name."""

    predictor: Predictor
    space: DesignSpace
    measures: Mapping[str, Measure] = field(default_factory=dict)
    functionals: Mapping[str, Functional] = field(default_factory=dict)

    @property
    def scalars(self) -> list[str]:
        """Predicted ones that have one value."""
        return [k for k, s in self.predictor.signature.scalars.items() if s.steady]

    @property
    def gradient(self) -> str:
        """How slopes come about."""
        if not isinstance(self.predictor, Differentiable):
            return BY_DIFFERENCES
        rough = self._moving and (self._affine is None or self.measures)
        return BY_SHAPES if rough else EXACT

    @cached_property
    def _moving(self) -> bool:
        """Whether shapes go by the numbers."""
        ends = self.space.shapes(np.stack([self.space.low, self.space.high]))
        return len(ends) > 1 and not np.array_equal(ends[0], ends[1])

    @cached_property
    def _affine(self) -> Float[np.ndarray, "number point dim"] | None:
        """What shapes change by with each number where that is the same everywhere, as some of
        them say; None where it is not."""
        low, high = self.space.low, self.space.high
        middle, half = 0.5 * (low + high), 0.5 * np.maximum(high - low, 1e-300)
        ends = self.space.shapes(np.vstack([middle, middle + np.diag(half)]))
        ways: np.ndarray = (ends[1:] - ends[0]) / half[:, None, None]
        off = half * np.random.default_rng(0).uniform(-1.0, 1.0, (LOOKED, len(half)))
        said = ends[0] + np.tensordot(off, ways, axes=1)
        gap = np.abs(said - self.space.shapes(middle + off)).max()
        return ways if gap <= ALIKE * np.abs(ends).max() else None

    def answers(self, x: Rows, device: str | None = None) -> list[Prediction]:
        """The predictor's own."""
        return list(self.predictor.predict(self.space.cases(x), device=device))

    @torch.enable_grad()
    def told(self, x: Rows, slopes: bool = True) -> Told:
        """Of rows; without `slopes` those are 0."""
        x = np.asarray(x, dtype=float)
        rows = rows_of(self.predictor, self._middle)
        together = rows is not None and not self.functionals
        # Of shapes that are linear in the numbers both are had without either side.
        linear = together and self._affine is not None
        sides = self._sides(x) if slopes and self._moving and not linear else []
        if rows is not None and together:
            found = self._together(rows, x, sides if rows.moving else [], slopes)
        elif isinstance(self.predictor, Differentiable) or not slopes:
            found = self._one_by_one(x, sides, slopes)
        else:
            found = self._by_differences(x)
        return self._with_numbers(found, x, sides, slopes and linear)

    @cached_property
    def _middle(self) -> Case:
        return self.space.cases(0.5 * (self.space.low + self.space.high)[None])[0]

    def _with_numbers(self, found: Told, x: Rows, sides: Sequence[Side], linear: bool) -> Told:
        """With numbers and measures."""
        values, ways = dict(found.values), dict(found.slopes)
        unit = np.eye(x.shape[1])
        for k, name in enumerate(self.space.names):
            values.setdefault(name, x[:, k])
            ways.setdefault(name, np.tile(unit[k], (len(x), 1)))
        if self.measures:
            shapes = self.space.shapes(x)
            values |= {name: measure(shapes) for name, measure in self.measures.items()}
            ways |= {name: np.zeros_like(x) for name in self.measures}
            for k, side in enumerate(self._ahead(shapes) if linear else sides):
                up, down, width = side
                for name, measure in self.measures.items():
                    before = values[name] if down is shapes else measure(down)
                    ways[name][:, k] = (measure(up) - before) / width
        return Told(values, ways, found.std, found.std_slopes)

    def _ahead(self, shapes: Shapes) -> Iterator[Side]:
        """A tiny step of each number on, of shapes that are linear in them."""
        assert self._affine is not None
        steps = TINY * np.maximum(self.space.high - self.space.low, 1e-300)
        for way, step in zip(self._affine, steps.tolist(), strict=True):
            yield shapes + step * way, shapes, np.full(len(shapes), step)

    def _sides(self, x: Rows) -> list[Side]:
        """Shapes on either side of each number, and how far the sides are apart: inside of the
        ranges, beyond which there may be no shape."""
        low, high = self.space.low, self.space.high
        found = []
        for k in range(x.shape[1]):
            step = STEP * max(high[k] - low[k], 1e-300)
            up, down = x.copy(), x.copy()
            up[:, k] = np.minimum(x[:, k] + step, high[k])
            down[:, k] = np.maximum(x[:, k] - step, low[k])
            width = np.maximum(up[:, k] - down[:, k], 1e-300)
            found.append((self.space.shapes(up), self.space.shapes(down), width))
        return found

    def _together(self, rows: ScalarsOfRows, x: Rows, sides: Sequence[Side], slopes: bool) -> Told:
        """All rows in one pass."""
        shape = rows.coefficients(self.space.shapes(x))
        found = rows.told(shape, self.space.parameters(x), slopes)
        if not slopes:
            none = {k: np.zeros_like(x) for k in found.mean}
            return Told(found.mean, none, found.std)
        turned = self._parameter_slopes(x)
        moved = self._moved(rows, sides)

        def chained(by_shape: np.ndarray, by_parameter: Mapping[str, np.ndarray]) -> Rows:
            way = np.zeros_like(x)
            for k, change in enumerate(moved):
                way[:, k] = (by_shape * change).sum(1)
            for p, change in turned.items():
                way += by_parameter[p][:, None] * change
            return way

        means, stds = (
            {k: chained(*slope) for k, slope in each.items()}
            for each in (found.mean_slopes, found.std_slopes)
        )
        return Told(found.mean, means, found.std, stds)

    def _moved(self, rows: ScalarsOfRows, sides: Sequence[Side]) -> list[np.ndarray]:
        """Changes of coefficients (row or 1, coefficient) by each number."""
        if self._moving and rows.moving and self._affine is not None:
            # Coefficients are linear in shapes.
            ends = rows.coefficients(self._middle.mesh.points + self._affine)
            return list((ends - rows.coefficients(self._middle.mesh.points[None]))[:, None])
        return [
            (rows.coefficients(up) - rows.coefficients(down)) / width[:, None]
            for up, down, width in sides
        ]

    def _parameter_slopes(self, x: Rows) -> dict[str, Rows]:
        """Of each parameter of a case by the numbers of a row."""
        names = self.space.parameters(x[:1])
        found = {p: np.zeros_like(x) for p in names}
        for k in range(x.shape[1]):
            step = STEP * max(self.space.high[k] - self.space.low[k], 1e-300)
            up, down = x.copy(), x.copy()
            up[:, k], down[:, k] = x[:, k] + step, x[:, k] - step
            sides = self.space.parameters(up), self.space.parameters(down)
            for p in names:
                found[p][:, k] = (sides[0][p] - sides[1][p]) / (2.0 * step)
        return found

    def _values(self, answers: Sequence[Prediction]) -> tuple[dict, dict]:
        """Means and standard deviations of scalars, and functionals."""
        values = {k: np.array([float(p.scalars[k].mean[0]) for p in answers]) for k in self.scalars}
        std = {
            k: np.array([float(np.asarray(p.scalars[k].std)[0]) for p in answers])
            for k in self.scalars
            if all(p.scalars[k].std is not None for p in answers)
        }
        for name, functional in self.functionals.items():
            fields = [{k: torch.tensor(f.values) for k, f in p.mean.items()} for p in answers]
            values[name] = np.array([float(functional(f)) for f in fields])
        return values, std

    def _one_by_one(self, x: Rows, sides: Sequence[Side], slopes: bool) -> Told:
        """By `Differentiable.pulled`, case by case."""
        cases = self.space.cases(x)
        answers = self.predictor.predict(cases)
        values, std = self._values(answers)
        ways = {k: np.zeros_like(x) for k in values}
        if slopes and isinstance(self.predictor, Differentiable):
            turned = self._parameter_slopes(x)
            for i, (case, answer) in enumerate(zip(cases, answers, strict=True)):
                for name in values:
                    pulled = self.predictor.pulled(case, self._weights(name, answer))
                    for p, change in turned.items():
                        ways[name][i] += float(pulled.parameters[p].sum()) * change[i]
                    for k, (up, down, width) in enumerate(sides):
                        if pulled.points is None:
                            raise ValueError(
                                "expected a predictor with derivatives by points, as shapes go by "
                                f"the numbers; {type(self.predictor).__name__} has none of them"
                            )
                        way = (up[i] - down[i]) / width[i]
                        ways[name][i, k] += float((pulled.points * way).sum())
        return Told(values, ways, std)

    def _weights(self, name: str, answer: Prediction) -> dict[str, np.ndarray]:
        """Derivatives of a scalar or functional by outputs."""
        if name not in self.functionals:
            return {name: np.ones(1)}
        fields = {k: torch.tensor(f.values, requires_grad=True) for k, f in answer.mean.items()}
        found = torch.autograd.grad(
            self.functionals[name](fields), list(fields.values()), allow_unused=True
        )
        given = zip(fields, found, strict=True)
        return {k: g.numpy() for k, g in given if g is not None}

    def _by_differences(self, x: Rows) -> Told:
        """By answers on either side of each number, all in one batch."""
        low, high, n = self.space.low, self.space.high, x.shape[1]
        rows, widths = [x], []
        for k in range(n):
            step = COARSE * max(high[k] - low[k], 1e-300)
            up, down = x.copy(), x.copy()
            up[:, k] = np.minimum(x[:, k] + step, high[k])
            down[:, k] = np.maximum(x[:, k] - step, low[k])
            rows += [up, down]
            widths.append(np.maximum(up[:, k] - down[:, k], 1e-300))
        every = self.predictor.predict(self.space.cases(np.concatenate(rows)))
        values, std = self._values(every)
        ways = {}
        for name, each in values.items():
            parts = each.reshape(1 + 2 * n, len(x))
            ways[name] = np.stack(
                [(parts[1 + 2 * k] - parts[2 + 2 * k]) / widths[k] for k in range(n)], axis=1
            )
        own = {k: v[: len(x)] for k, v in values.items()}
        return Told(own, ways, {k: v[: len(x)] for k, v in std.items()})
