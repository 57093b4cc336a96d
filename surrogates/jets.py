"""Values with their first and second derivatives by coordinates, carried forward through formulas
and networks: one pass where nested reverse differentiation takes three."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Jet:
    """`parts` (part, row, column): the values, the derivatives by `first` coordinates, then the
    second derivatives by the first `second` of those, without mixed ones."""

    parts: Float[Tensor, "part row column"]
    first: int
    second: int

    @classmethod
    def coordinates(cls, x: Float[Tensor, "row column"], first: int, second: int) -> Jet:
        """Each coordinate as a column; derivatives by the first of them."""
        slopes = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)[:first, None]
        slopes = slopes.expand(first, *x.shape)
        return cls(torch.cat([x[None], slopes, x.new_zeros(second, *x.shape)]), first, second)

    @property
    def value(self) -> Float[Tensor, "row column"]:
        """What it is."""
        return self.parts[0]

    def by(self, k: int) -> Float[Tensor, "row column"]:
        """The derivative by coordinate `k`."""
        return self.parts[1 + k]

    def twice(self, k: int) -> Float[Tensor, "row column"]:
        """The second derivative by coordinate `k`."""
        return self.parts[1 + self.first + k]

    def column(self, k: int) -> Jet:
        """One column alone."""
        return self.columns(k, k + 1)

    def columns(self, start: int, stop: int | None = None) -> Jet:
        """Some columns."""
        return self._with(self.parts[:, :, start:stop])

    def above(self, least: float) -> Jet:
        """As it is, where its value is at least this, else with this as its value."""
        return self._with(torch.cat([self.parts[:1].clamp(min=least), self.parts[1:]]))

    def truncated(self, first: int) -> Jet:
        """Without second derivatives, and with those by the first coordinates alone."""
        return Jet(self.parts[: 1 + first], first, 0)

    def through(self, value: Tensor, slope: Tensor, bend: Tensor) -> Jet:
        """f of this, by f, f' and f'' at its value (Faà di Bruno)."""
        one, two = self._derivatives
        tail = bend * one[: self.second].square() + slope * two
        return self._with(torch.cat([value[None], slope * one, tail]))

    def linear(self, weight: Tensor, bias: Tensor) -> Jet:
        """x W + b."""
        found = self.parts @ weight
        return self._with(torch.cat([found[:1] + bias, found[1:]]))

    def tanh(self) -> Jet:
        """tanh x."""
        y = self.value.tanh()
        slope = 1.0 - y.square()
        return self.through(y, slope, -2.0 * y * slope)

    def sigmoid(self) -> Jet:
        """1 / (1 + exp(-x))."""
        y = self.value.sigmoid()
        slope = y * (1.0 - y)
        return self.through(y, slope, slope * (1.0 - 2.0 * y))

    def sine(self) -> Jet:
        """sin x."""
        y = self.value.sin()
        return self.through(y, self.value.cos(), -y)

    def exp(self) -> Jet:
        """e^x."""
        y = self.value.exp()
        return self.through(y, y, y)

    def __pow__(self, power: float) -> Jet:
        x = self.value
        slope, bend = power * x ** (power - 1.0), power * (power - 1.0) * x ** (power - 2.0)
        return self.through(x**power, slope, bend)

    def __rpow__(self, base: float) -> Jet:
        return (float(torch.log(torch.tensor(base, dtype=torch.float64))) * self).exp()

    def __add__(self, other: Any) -> Jet:
        if isinstance(other, Jet):
            return self._with(self.parts + other.parts)
        return self._with(torch.cat([self.parts[:1] + other, self.parts[1:]]))

    def __mul__(self, other: Any) -> Jet:
        """A product of two, or by what does not vary with the coordinates."""
        if not isinstance(other, Jet):
            return self._with(self.parts * other)
        (u, v), (one, two), (ones, twos) = (
            (self.value, other.value),
            self._derivatives,
            other._derivatives,
        )
        bend = u * twos + 2.0 * one[: self.second] * ones[: self.second] + v * two
        return self._with(torch.cat([(u * v)[None], u * ones + v * one, bend]))

    def __neg__(self) -> Jet:
        return self * -1.0

    def __sub__(self, other: Any) -> Jet:
        return self + (-other)

    def __rsub__(self, other: Any) -> Jet:
        return -self + other

    def __truediv__(self, other: Any) -> Jet:
        return self * (other**-1.0 if isinstance(other, Jet) else 1.0 / other)

    def __rtruediv__(self, other: Any) -> Jet:
        return self**-1.0 * other

    __radd__, __rmul__ = __add__, __mul__

    @property
    def _derivatives(self) -> tuple[Tensor, Tensor]:
        return self.parts[1 : 1 + self.first], self.parts[1 + self.first :]

    def _with(self, parts: Tensor) -> Jet:
        return Jet(parts, self.first, self.second)


def joined(jets: Sequence[Jet]) -> Jet:
    """Columns side by side."""
    one = jets[0]
    return Jet(torch.cat([j.parts for j in jets], dim=2), one.first, one.second)


Residual = Callable[[Jet, Float[Tensor, "node coordinate"]], Float[Tensor, " _"]]
"""Of a solution at the nodes of one row, and where they are."""
