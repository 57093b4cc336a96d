"""What a physics-informed surrogate is given: equations with a domain, an ansatz that keeps
conditions exactly, and residuals; and how cases are answered by their solutions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fieldcast.meshes import Cases, Predictions, Samples

from .jets import Jet, Residual, joined
from .signature import Signature

Points = Float[Tensor, "row coordinate"]
Solution = Callable[[Points], Float[Tensor, "row unknown"]]
"""Unknowns at points, in the equations' units."""


@dataclass(frozen=True, eq=False)
class Ansatz:
    """u = base + amplitude N(features), with sigmoid(N) for the last `bounded` unknowns: what holds
    for any network N is in `base`, and `amplitude` vanishes where it must hold."""

    features: Jet
    base: Jet
    amplitude: Jet
    bounded: int = 0

    def __call__(self, network: Jet) -> Jet:
        """With a network's outputs."""
        if self.bounded:
            free = network.value.shape[1] - self.bounded
            sides = network.columns(0, free), network.columns(free).sigmoid()
            network = joined(sides)
        return self.base + self.amplitude * network

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """All numbers."""
        return self.features.parts, self.base.parts, self.amplitude.parts

    def of(self, tensors: tuple[Tensor, Tensor, Tensor]) -> Ansatz:
        """At other points."""
        first, second = self.base.first, self.base.second
        features, base, amplitude = (Jet(parts, first, second) for parts in tensors)
        return Ansatz(features, base, amplitude, self.bounded)


@dataclass(frozen=True, eq=False)
class Term:
    """One kind of residual: `points` from rows of the unit cube, (row, node, coordinate); what the
    solution at a row's nodes leaves of an equation; its `weight` in the loss, and how many points
    it gets as a `share`. Several nodes are those of a rule for integrals."""

    name: str
    points: Callable[[Float[Tensor, "row coordinate"]], Float[Tensor, "row node coordinate"]]
    residual: Residual
    weight: float = 1.0
    share: float = 1.0


class Equations(ABC):
    """Coupled equations whose unknowns one network has as its outputs. Coordinates are those of
    space, of which derivatives are known up to the second, then time with its first derivative,
    then parameters."""

    space: int
    coordinates: int
    unknowns: int

    @abstractmethod
    def ansatz(self, at: Jet) -> Ansatz:
        """From the coordinates."""

    @abstractmethod
    def terms(self) -> tuple[Term, ...]:
        """What is to vanish."""

    def ansatz_at(self, points: Points) -> Ansatz:
        """With derivatives by the coordinates of space and time."""
        return self.ansatz(Jet.coordinates(points, self.space + 1, self.space))


class Problem(ABC):
    """A frozen dataclass of numbers. Its equations are solved one after the other, by name."""

    @abstractmethod
    def equations(self) -> Mapping[str, Equations]:
        """To be solved."""

    @abstractmethod
    def signature(self) -> Signature:
        """What cases are asked for, and what they have."""

    @abstractmethod
    def bounds(self) -> Mapping[str, tuple[float, float]]:
        """Of the parameters, and of "time"."""

    @abstractmethod
    def answer(self, cases: Cases, solutions: Mapping[str, Solution]) -> Predictions:
        """Fields and scalars of the cases."""

    @abstractmethod
    def columns(self, cases: Cases, name: str) -> Float[Tensor, "case parameter"]:
        """The parameters of each case as coordinates of the equations `name`."""

    def data(self, samples: Samples) -> Mapping[str, tuple[Term, ...]]:
        """Terms by the name of equations that ask solutions to be what samples say; `known` makes
        them.

        Raises:
            ValueError: a problem that takes no samples.
        """
        raise ValueError(
            f"expected no samples, as {type(self).__name__} is solved from equations alone, got "
            f"{len(samples)}; give a correction=..., which learns what they leave"
        )


def known(points: Points, values: Float[Tensor, "row 1"], weight: float = 1.0) -> Term:
    """A term that asks the solution of one unknown to have these values at these points."""
    table = torch.cat([points, values], dim=1)

    def some(unit: Float[Tensor, "row coordinate"]) -> Float[Tensor, "row node _"]:
        return table[(unit[:, 0] * len(table)).long()][:, None]

    def left(u: Jet, x: Float[Tensor, "row _"]) -> Float[Tensor, " row"]:
        return (u.value - x[:, -1:])[:, 0]

    return Term("data", some, left, weight)


def sobol(count: int, dimensions: int, seed: int) -> Float[Tensor, "row coordinate"]:
    """Scrambled points that fill the unit cube evenly (Owen 1998)."""
    engine = torch.quasirandom.SobolEngine(dimensions, scramble=True, seed=seed)
    # Never on the faces, where coordinates may be singular.
    return engine.draw(count, dtype=torch.float64).clamp(1e-6, 1.0 - 1e-6)
