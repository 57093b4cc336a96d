"""Lorenz 96's slow level alone: what the fast ones do to it is told by a closure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Field, Sample
from fieldcast.meshes.time_stepping import runge_kutta

from .lorenz96 import Advance, Numbers, RingSolver, advected, start_case

Slow = Float[np.ndarray, "member point"]
Closure = Callable[[Slow], Slow]
"""U from X, for all members at once."""
DRAWN = 256
"""Steps whose noise is drawn at a time."""


@dataclass(frozen=True)
class RedNoise:
    """What a closure misses, as an autoregressive process of order 1 for each point (Wilks 2005,
    doi:10.1256/qj.04.03; Arnold et al. 2013, doi:10.1098/rsta.2011.0479): e(t + s) =
    r e(t) + `sigma` sqrt(1 - r^2) N(0, 1), with r = `correlation` after s = `interval`."""

    sigma: float
    correlation: float
    interval: float
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sigma < 0 or not 0 <= self.correlation < 1 or self.interval <= 0:
            raise ValueError(
                f"expected sigma >= 0, a correlation in [0, 1) and an interval above 0, got {self}"
            )


@dataclass(frozen=True)
class ClosedLorenz96(RingSolver):
    """dX_k/dt = X_{k-1} (X_{k+1} - X_{k-2}) - X_k + F + U_k(X) + e_k by the classical Runge-Kutta
    method.

    The `closure` U (None: 0) is asked at every stage, so that the order is that of the method;
    with `held` once a step, which costs a quarter and is of order 1, as where a host model calls
    its physics. The `noise` e is held over a step. Each member has noise of its own, which depends
    on its seed and the case's parameter "member" (0 where it has none) alone.
    """

    closure: Closure | None = None
    noise: RedNoise | None = None
    held: bool = False
    step: float = 0.01

    parameters: ClassVar = {"F": ""}
    outputs: ClassVar = {"X": ""}
    state: ClassVar = ("X",)

    def advance(self, cases: Sequence[Case], numbers: Numbers, sizes: Sequence[int]) -> Advance:
        noise = None
        if self.noise is not None:
            members = [
                int(float(c.parameters["member"])) if "member" in c.parameters else 0 for c in cases
            ]
            noise = _Process(self.noise, members, len(cases[0].mesh.points))
        return _Closed(self.closure, numbers["F"], self.held, noise)

    def answer(
        self, case: Case, numbers: Mapping[str, float], found: Mapping[str, np.ndarray]
    ) -> Sample:
        return Sample(case, {"X": Field(found["X"])})

    def example(self) -> Case:
        return start_case({"F": 8.0}, (8,), np.linspace(0.0, 0.2, 5))


@dataclass(frozen=True, eq=False)
class _Closed:
    """A step of all members."""

    closure: Closure | None
    forcing: Float[np.ndarray, "member 1"]
    held: bool
    noise: _Process | None

    def __call__(self, state: Slow, t: float, h: float) -> Slow:
        given = self.forcing
        if self.noise is not None:
            given = given + self.noise.after(h)
        closure = self.closure
        if self.held and closure is not None:
            given = given + closure(state)
            closure = None

        def rate(x: Slow, t: float) -> Slow:
            resolved = advected(x) - x + given
            return resolved if closure is None else resolved + closure(x)

        return runge_kutta(rate, state, t, h)[0]


@dataclass
class _Process:
    """The noise of a run, drawn in advance from a generator for each member."""

    law: RedNoise
    members: Sequence[int]
    points: int
    drawn: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.generators = [np.random.default_rng([self.law.seed, m]) for m in self.members]
        self.now = self.law.sigma * self._draw()

    def _draw(self) -> Slow:
        if not self.drawn:
            # A stream for each member: none depends on who else is in the batch.
            blocks = [g.standard_normal((DRAWN, self.points)) for g in self.generators]
            self.drawn = list(np.stack(blocks, axis=1)[::-1])
        return self.drawn.pop()

    def after(self, h: float) -> Slow:
        """One step on."""
        r = self.law.correlation ** (h / self.law.interval)
        self.now = r * self.now + self.law.sigma * math.sqrt(1.0 - r * r) * self._draw()
        return self.now
