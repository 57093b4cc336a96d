"""Lorenz 96 with two and three levels, and its slow level alone with a closure for the others.

Lorenz 1996 (doi:10.1017/CBO9780511617652.004); three levels by Thornes, Düben, Palmer 2017
(doi:10.1002/qj.2974). Times are in model time units, nothing has a dimension. All members of a
batch are one array.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Field, Mesh, Sample
from fieldcast.meshes.time_stepping import runge_kutta

from .solver import Solver, SolverFailed, parameter_values

State = Float[np.ndarray, "member variable"]
Numbers = Mapping[str, Float[np.ndarray, "member 1"]]
Advance = Callable[[State, float, float], State]
"""From the state at a time, over a step."""


def ring(count: int) -> Mesh:
    """`count` points on the unit circle, each joined to the next by a line."""
    angle = 2.0 * np.pi * np.arange(count) / count
    ids = np.arange(count)
    lines = np.stack([ids, np.roll(ids, -1)], axis=1)
    return Mesh(np.stack([np.cos(angle), np.sin(angle)], axis=1), {"line": lines})


def advected(x: Float[np.ndarray, "*all point"]) -> Float[np.ndarray, "*all point"]:
    """x_{k-1} (x_{k+1} - x_{k-2}) along closed rings."""
    wide = np.concatenate([x[..., -2:], x, x[..., :1]], axis=-1)
    return wide[..., 1:-2] * (wide[..., 3:] - wide[..., :-3])


def mirrored(y: Float[np.ndarray, "*all point"]) -> Float[np.ndarray, "*all point"]:
    """-y_{j+1} (y_{j+2} - y_{j-1}) along closed rings: the other way round."""
    return advected(y[..., ::-1])[..., ::-1]


def series(
    advance: Advance,
    start: State,
    times: Float[np.ndarray, " time"],
    step: float,
    keep: int | None = None,
) -> Float[np.ndarray, "time member variable"]:
    """The states at all `times`, the first `keep` variables of each (None: all), by equal steps of
    at most `step` between them.

    Raises:
        SolverFailed: a state that is not finite; says by when.
    """
    state = np.array(start)
    found = np.empty((len(times), len(state), state[:, :keep].shape[1]))
    found[0] = state[:, :keep]
    for k, gap in enumerate(np.diff(times).tolist()):
        count = max(math.ceil(gap / step - 1e-9), 1)
        size, now = gap / count, float(times[k])
        with np.errstate(over="ignore", invalid="ignore"):
            for n in range(count):
                state = advance(state, now + n * size, size)
        if not np.isfinite(state).all():
            lost = np.flatnonzero(~np.isfinite(state).all(axis=1))
            raise SolverFailed(
                f"expected finite states, {len(lost)} of {len(state)} members, first {lost[0]}, "
                f"left all bounds before time {times[k + 1]:.6g}; lower the step ({step}) or use "
                "another closure"
            )
        found[k + 1] = state[:, :keep]
    return found


class RingSolver(Solver):
    """What the solvers of this module share: cases of one ring and the same times are solved side
    by side. `state` names the known fields that a case starts from."""

    order: ClassVar[float | None] = 4.0
    state: ClassVar[tuple[str, ...]]
    step: float

    @abstractmethod
    def advance(self, cases: Sequence[Case], numbers: Numbers, sizes: Sequence[int]) -> Advance:
        """How the state goes on; `sizes` are the components of each field of the state."""

    @abstractmethod
    def answer(
        self, case: Case, numbers: Mapping[str, float], found: Mapping[str, np.ndarray]
    ) -> Sample:
        """From the series of the state, each (time, point, component)."""

    def solve(self, case: Case) -> Sample:
        return self.solve_all([case])[0]

    def solve_all(self, cases: Sequence[Case]) -> list[Sample]:
        """One sample per case; the cases' rings have the same size, their times are the same.

        Raises:
            ValueError: cases that differ in sizes or times, or lack a field to start from.
            SolverFailed: a state that is not finite.
        """
        if not cases:
            raise ValueError("expected at least one case, got none")
        values = [parameter_values(self, case) for case in cases]
        starts = [self._start(case) for case in cases]
        sizes = [part.shape[1] for part in starts[0]]
        for case, parts in zip(cases, starts, strict=True):
            self._check_same(case, cases[0], parts, starts[0])
        numbers = {k: np.array([[v[k]] for v in values]) for k in self.parameters}
        packed = np.stack([np.concatenate([p.ravel() for p in parts]) for parts in starts])
        advance = self.advance(cases, numbers, sizes)
        found = series(advance, packed, np.asarray(cases[0].times), self.step)
        count = len(cases[0].mesh.points)
        ends = np.cumsum([count * n for n in sizes])[:-1]
        states = dict(zip(self.state, np.split(found, ends, axis=2), strict=True))
        samples = []
        for i, case in enumerate(cases):
            own = {k: p[:, i].reshape(len(p), count, -1) for k, p in states.items()}
            samples.append(self.answer(case, values[i], own))
        return samples

    def _start(self, case: Case) -> list[np.ndarray]:
        """The state of a case, each (point, component)."""
        count = len(case.mesh.points)
        if case.mesh != ring(count):
            raise ValueError(
                f"case {case.label}: expected a closed ring of points; make it by "
                "fieldcast.solvers.lorenz96.ring"
            )
        found = []
        for name in self.state:
            given = case.fields.get(name)
            if given is None or given.values.shape[:2] != (1, count) or given.on != "point":
                got = sorted(case.fields) if given is None else (given.values.shape, given.on)
                raise ValueError(
                    f"case {case.label}: expected the known field {name!r} at one time on "
                    f"{count} points, got {got}"
                )
            found.append(np.asarray(given.values[0], dtype=float))
        if found[0].shape[1] != 1 or count < 4:
            raise ValueError(
                f"case {case.label}: expected X of one component on at least 4 points, got "
                f"{found[0].shape[1]} on {count}"
            )
        return found

    def _check_same(
        self, case: Case, first: Case, parts: Sequence[np.ndarray], own: Sequence[np.ndarray]
    ) -> None:
        same = [p.shape for p in parts] == [p.shape for p in own]
        times = np.asarray(case.times)
        if not same or not np.array_equal(times, first.times) or (np.diff(times) <= 0).any():
            raise ValueError(
                f"case {case.label}: expected rising times, and those and the sizes of case "
                f"{first.label}, {[p.shape for p in own]}, got {[p.shape for p in parts]}; solve "
                "others apart"
            )


def told(case: Case, numbers: Mapping[str, float], found: Mapping[str, np.ndarray]) -> Sample:
    """The series `found`, and what X feels of Y: U = -(hc/b) sum_j Y_j."""
    pull = numbers["h"] * numbers["c"] / numbers["b"]
    tendency = -pull * found["Y"].sum(axis=2, keepdims=True)
    return Sample(case, {k: Field(v) for k, v in {**found, "U": tendency}.items()})


@dataclass(frozen=True)
class Lorenz96(RingSolver):
    """Two levels: dX_k/dt = X_{k-1} (X_{k+1} - X_{k-2}) - X_k + F + U_k, U_k = -(hc/b) sum_j Y_jk,
    dY_j/dt = -cb Y_{j+1} (Y_{j+2} - Y_{j-1}) - c Y_j + (hc/b) X_k, the Y of all k one ring.

    Cases start from the known fields X and Y, whose components are the Y of each point; by the
    classical Runge-Kutta method with steps of at most `step`.
    """

    step: float = 0.0025

    parameters: ClassVar = {"F": "", "h": "", "b": "", "c": ""}
    outputs: ClassVar = {"X": "", "Y": "", "U": ""}
    state: ClassVar = ("X", "Y")

    def advance(self, cases: Sequence[Case], numbers: Numbers, sizes: Sequence[int]) -> Advance:
        rate = TwoLevels(numbers, len(cases[0].mesh.points), sizes[1])
        return lambda u, t, h: runge_kutta(rate, u, t, h)[0]

    def answer(
        self, case: Case, numbers: Mapping[str, float], found: Mapping[str, np.ndarray]
    ) -> Sample:
        return told(case, numbers, found)

    def example(self) -> Case:
        numbers = {"F": 10.0, "h": 1.0, "b": 10.0, "c": 10.0}
        return start_case(numbers, (8, 4), np.linspace(0.0, 0.2, 5))


@dataclass(frozen=True, eq=False)
class TwoLevels:
    """The rate of (X, Y) of `points` slow and `each` fast variables at each of them."""

    numbers: Numbers
    points: int
    each: int

    def __call__(self, state: State, t: float = 0.0) -> State:
        forcing, h, b, c = (self.numbers[k] for k in ("F", "h", "b", "c"))
        x, y = state[:, : self.points], state[:, self.points :]
        pull, rate = h * c / b, np.empty_like(state)
        felt = y.reshape(len(y), self.points, self.each).sum(axis=2)
        rate[:, : self.points] = advected(x) - x + forcing - pull * felt
        rate[:, self.points :] = c * b * mirrored(y) - c * y + np.repeat(pull * x, self.each, 1)
        return rate


@dataclass(frozen=True)
class ThreeLevelLorenz96(RingSolver):
    """Three levels, the form of Lütjens et al. 2022 (arXiv:2207.11417): as `Lorenz96`, but the Y of
    each X are a ring of their own, and so are the Z of each Y,
    dZ_i/dt = ed Z_{i-1} (Z_{i+1} - Z_{i-2}) - e Z_i + (he/d) Y_j; Y_j gets -(he/d) sum_i Z_ij.

    Components of the known field Z are those of the first Y, then those of the second, ...
    """

    step: float = 0.0025

    parameters: ClassVar = {"F": "", "h": "", "b": "", "c": "", "d": "", "e": ""}
    outputs: ClassVar = {"X": "", "Y": "", "Z": "", "U": ""}
    state: ClassVar = ("X", "Y", "Z")

    def advance(self, cases: Sequence[Case], numbers: Numbers, sizes: Sequence[int]) -> Advance:
        if sizes[2] % sizes[1]:
            raise ValueError(
                f"case {cases[0].label}: expected as many Z for each of {sizes[1]} Y, got "
                f"{sizes[2]} components"
            )
        rate = ThreeLevels(numbers, len(cases[0].mesh.points), sizes[1], sizes[2] // sizes[1])
        return lambda u, t, h: runge_kutta(rate, u, t, h)[0]

    def answer(
        self, case: Case, numbers: Mapping[str, float], found: Mapping[str, np.ndarray]
    ) -> Sample:
        return told(case, numbers, found)

    def example(self) -> Case:
        numbers = {"F": 20.0, "h": 0.5, "b": 10.0, "c": 8.0, "d": 10.0, "e": 10.0}
        return start_case(numbers, (4, 4, 4), np.linspace(0.0, 0.2, 5))


@dataclass(frozen=True, eq=False)
class ThreeLevels:
    """The rate of (X, Y, Z) of `points` slow variables, `each` Y for one X, `finest` Z for one
    Y."""

    numbers: Numbers
    points: int
    each: int
    finest: int

    def __call__(self, state: State, t: float = 0.0) -> State:
        forcing, h, b, c, d, e = (self.numbers[k] for k in ("F", "h", "b", "c", "d", "e"))
        members, rate = len(state), np.empty_like(state)
        ends = (self.points, self.points * (1 + self.each))
        x, y, z = np.split(state, ends, axis=1)
        y, z = y.reshape(members, self.points, -1), z.reshape(members, -1, self.finest)
        pull, fine = h * c / b, h * e / d
        told = np.repeat(fine * y.reshape(members, -1), self.finest, axis=1)
        rate[:, : ends[0]] = advected(x) - x + forcing - pull * y.sum(axis=2)
        felt = np.repeat(pull * x, self.each, axis=1) - fine * z.sum(axis=2)
        flat = (members, -1)
        rate[:, ends[0] : ends[1]] = c * b * mirrored(y).reshape(flat) - c * y.reshape(flat) + felt
        rate[:, ends[1] :] = e * d * advected(z).reshape(flat) - e * z.reshape(flat) + told
        return rate


def start_case(
    numbers: Mapping[str, float],
    sizes: Sequence[int],
    times: Float[np.ndarray, " time"],
    seed: int = 0,
) -> Case:
    """A case of K slow variables, J fast ones for each, I for each of those, as many as `sizes`
    has, that starts at random: X normal of standard deviation 3 about 2, the others of 0.1."""
    rng, count, each = np.random.default_rng(seed), sizes[0], 1
    fields = {"X": Field.steady(rng.normal(2.0, 3.0, (count, 1)))}
    for name, more in zip(("Y", "Z"), sizes[1:], strict=False):
        each *= more
        fields[name] = Field.steady(rng.normal(0.0, 0.1, (count, each)))
    return Case(ring(count), numbers, fields, times=times, name=f"seed{seed}")


def continued(sample: Sample, times: Float[np.ndarray, " time"]) -> Case:
    """The case that goes on where a sample ends."""
    last = {k: f.with_values(sample.fields[k].values[-1:]) for k, f in sample.case.fields.items()}
    case = sample.case
    return Case(case.mesh, case.parameters, last, times=times, name=case.name)
