"""Ranges that columns are held to, and a monitor that stops a loop that leaves them.

Inputs and outputs of a column are rows of numbers in a fixed order; a `Layout` says which is what.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from .column_data import ColumnReading

Range = tuple[float, float]


class Unstable(ArithmeticError):
    """A value that is not finite or lies outside what it is held to."""


@dataclass(frozen=True)
class Block:
    """One variable: its place in a row, and how many numbers each level has."""

    name: str
    unit: str
    start: int
    size: int
    components: int = 1


@dataclass(frozen=True)
class Layout:
    """The variables of a row in their order, level by level as the points of the mesh are."""

    blocks: tuple[Block, ...]

    @classmethod
    def of_inputs(cls, reading: ColumnReading) -> Layout:
        """Parameters, then known fields, then coordinates where they differ."""
        signature = reading.signature
        found = [(k, s.unit, 1, 1) for k, s in signature.parameters.items()]
        for name, kind in signature.known.items():
            size = reading.sizes[kind.on] * kind.components
            found.append((name, kind.unit, size, kind.components))
        if reading.shaped:
            found.append(
                ("coordinates", "m", reading.sizes["point"] * signature.dim, signature.dim)
            )
        return cls.of(found)

    @classmethod
    def of_outputs(cls, reading: ColumnReading) -> Layout:
        """Fields, then scalars."""
        found = []
        for name, kind in reading.signature.fields.items():
            size = reading.sizes[kind.on] * kind.components
            found.append((name, kind.unit, size, kind.components))
        found += [(k, s.unit, 1, 1) for k, s in reading.signature.scalars.items()]
        return cls.of(found)

    @classmethod
    def of(cls, found: list[tuple[str, str, int, int]]) -> Layout:
        """Of names, units, sizes and components, one behind the other."""
        starts = np.concatenate([[0], np.cumsum([size for _, _, size, _ in found])]).tolist()
        return cls(
            tuple(
                Block(name, unit, starts[k], size, components)
                for k, (name, unit, size, components) in enumerate(found)
            )
        )

    @property
    def size(self) -> int:
        """Numbers in a row."""
        return sum(block.size for block in self.blocks)

    def told(self, k: int) -> str:
        """What the number `k` of a row is."""
        block = next(b for b in self.blocks if b.start <= k < b.start + b.size)
        level, component = divmod(k - block.start, block.components)
        where = f", level {level}" if block.size > block.components else ""
        which = f", component {component}" if block.components > 1 else ""
        return f"{block.name}{where}{which}"

    def unit(self, k: int) -> str:
        """Of the number `k` of a row."""
        return next(b.unit for b in self.blocks if b.start <= k < b.start + b.size)

    def ends(self, ranges: Mapping[str, Range]) -> tuple[np.ndarray, np.ndarray]:
        """Least and largest value of each number; infinite where none is given.

        Raises:
            ValueError: a range of something else, or one that is empty.
        """
        names = [block.name for block in self.blocks]
        low, high = np.full(self.size, -np.inf), np.full(self.size, np.inf)
        for name, (least, most) in ranges.items():
            if name not in names or not least < most:
                raise ValueError(
                    f"expected ranges (least, most) of {names}, got {name!r}: ({least}, {most})"
                )
            block = self.blocks[names.index(name)]
            own = slice(block.start, block.start + block.size)
            low[own], high[own] = least, most
        return low, high

    def to_json(self) -> list[dict[str, Any]]:
        """As JSON-able values."""
        return [asdict(block) for block in self.blocks]


@dataclass(frozen=True)
class Limits:
    """What inputs and outputs are held to by name, (least, most) in the units of the training set;
    `sigmas`: inputs no further from their mean in it than so many standard deviations."""

    inputs: Mapping[str, Range] = field(default_factory=dict)
    outputs: Mapping[str, Range] = field(default_factory=dict)
    sigmas: float | None = None

    def bounds(self, reading: ColumnReading) -> Bounds:
        """Number by number.

        Raises:
            ValueError: as `Layout.ends`, or `sigmas` that are not positive.
        """
        low, high = Layout.of_inputs(reading).ends(self.inputs)
        if self.sigmas is not None:
            if self.sigmas <= 0:
                raise ValueError(f"expected positive sigmas, got {self.sigmas}")
            reach = self.sigmas * reading.inputs.scale
            low = np.maximum(low, reading.inputs.shift - reach)
            high = np.minimum(high, reading.inputs.shift + reach)
        return Bounds((low, high), Layout.of_outputs(reading).ends(self.outputs))


@dataclass(frozen=True, eq=False)
class Bounds:
    """Least and largest value of each input and output."""

    inputs: tuple[np.ndarray, np.ndarray]
    outputs: tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class StabilityMonitor:
    """For use inside a loop: raises where a row holds what is not finite or not within its ends."""

    layout: Layout
    low: Float[np.ndarray, " number"]
    high: Float[np.ndarray, " number"]

    @classmethod
    def of_inputs(cls, reading: ColumnReading, limits: Limits) -> StabilityMonitor:
        """Of what goes in."""
        return cls(Layout.of_inputs(reading), *limits.bounds(reading).inputs)

    @classmethod
    def of_outputs(cls, reading: ColumnReading, limits: Limits) -> StabilityMonitor:
        """Of what comes out."""
        return cls(Layout.of_outputs(reading), *limits.bounds(reading).outputs)

    def check(self, values: Float[np.ndarray, "column number"], when: str) -> None:
        """
        Args:
            values: rows in the order of the layout.
            when: said in the message, such as "step 12, inputs".

        Raises:
            ValueError: rows of another length.
            Unstable: says which variable, level and column, the value and what was expected.
        """
        if values.shape[1] != self.layout.size:
            raise ValueError(
                f"{when}: expected rows of {self.layout.size} numbers "
                f"({[b.name for b in self.layout.blocks]}), got {values.shape[1]}"
            )
        # Not (within), so that NaN counts.
        bad = ~((values >= self.low) & (values <= self.high) & np.isfinite(values))
        if not bad.any():
            return
        column, k = (int(i) for i in np.argwhere(bad)[0])
        unit = self.layout.unit(k)
        raise Unstable(
            f"{when}: expected {self.layout.told(k)} finite and from {self.low[k]:.6g} to "
            f"{self.high[k]:.6g}{f' {unit}' if unit else ''}, got {values[column, k]:.6g} in "
            f"column {column}; {int(bad.sum())} values in {int(bad.any(axis=1).sum())} column(s) "
            "are not: shorten the step, or fall back to the solver there"
        )
