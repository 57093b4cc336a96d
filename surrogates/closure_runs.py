"""Runs of a flow with a closure, many side by side, and what is measured of them after a spin-up:
spectra, the distribution of the vorticity, budgets, and whether the flow stays finite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .closure_environment import Environment, Line, State, Wanted, limit, mismatch
from .closure_laws import Law
from .surrogate import Progress, quiet

BINS, SIGMAS = 320, 8.0
"""Bins of the vorticity over so many standard deviations either side."""
RENEWED = 8.0
"""Units of time after which one more row begins anew in training."""
EVERY = 5
"""Budgets are told at every so many actions."""


@dataclass(frozen=True)
class Protocol:
    """`rows` flows for `units` of time, of which `spin` are not measured (reference: 16, 150 and
    20). `deviation` is the standard deviation of the vorticity that its distribution is told
    in."""

    rows: int = 16
    units: float = 150.0
    spin: float = 20.0
    deviation: float = 6.0705


@dataclass(frozen=True, eq=False)
class Climate:
    """What was measured, row by row: the mean `reward` 1/|k (Z - Z_t)|^2 and its logarithm's mean,
    mean spectra and their standard deviations in time, shares of points in bins of w / deviation,
    mean squares of w, terms of the budget by name, mean and standard deviation of c, and the time
    at which a row was lost (infinite: never)."""

    reward: Float[np.ndarray, " row"]
    log_reward: Float[np.ndarray, " row"]
    spectrum: Float[np.ndarray, "row wavenumber"]
    varies: Float[np.ndarray, "row wavenumber"]
    shares: Float[np.ndarray, "row bin"]
    square: Float[np.ndarray, " row"]
    budget: Mapping[str, Float[np.ndarray, " row"]]
    coefficient: Float[np.ndarray, "row 2"]
    lost: Float[np.ndarray, " row"]

    def arrays(self) -> dict[str, np.ndarray]:
        """All by name, for a file."""
        own = {k: v for k, v in vars(self).items() if k != "budget"}
        return {**own, **{f"budget {k}": v for k, v in self.budget.items()}}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Climate:
        """What `arrays` came from."""
        start = "budget "
        budget = {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}
        return cls(budget=budget, **{k: v for k, v in arrays.items() if not k.startswith(start)})


def edges() -> Float[np.ndarray, " edge"]:
    """Of the bins, in standard deviations."""
    return np.linspace(-SIGMAS, SIGMAS, BINS + 1)


@dataclass
class _Sums:
    """Sums in time, and how many times."""

    of: dict[str, Tensor] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, values: Tensor) -> None:
        self.of[name] = self.of[name] + values if name in self.of else values.double()
        self.times[name] = self.times.get(name, 0) + 1

    def mean(self, name: str) -> np.ndarray:
        return (self.of[name] / self.times[name]).cpu().numpy()


def shares(vorticity: Float[Tensor, "row y x"], deviation: float) -> Float[Tensor, "row bin"]:
    """The share of points in each bin; those beyond the ends in the last."""
    place = (vorticity.flatten(1) / deviation + SIGMAS) * (BINS / (2.0 * SIGMAS))
    bins = place.nan_to_num().long().clamp(0, BINS - 1)
    found = torch.zeros((len(bins), BINS), dtype=torch.float64, device=bins.device)
    one = torch.full(bins.shape, 1.0 / bins.shape[1], dtype=torch.float64, device=bins.device)
    return found.scatter_add(1, bins, one)


def run(
    environment: Environment,
    law: Law,
    aim: Wanted,
    protocol: Protocol,
    *,
    seed: int = 0,
    progress: Progress = quiet,
) -> Climate:
    """Run a law in an environment and measure; a row that is lost starts anew and counts as lost.

    Deterministic: the middle of what a policy would do.
    """
    target = aim.on(environment)
    state = environment.starts(aim.snapshots, protocol.rows, seed)
    steps, spin = (round(t / environment.interval) for t in (protocol.units, protocol.spin))
    sums, lost = _Sums(), torch.full((protocol.rows,), torch.inf, device=target.device)
    first = state
    with torch.inference_mode():
        for n in range(steps):
            c = law.coefficients(environment, state, target)
            if n >= spin:
                _measure(sums, environment, state, c, target)
                if (n - spin) % EVERY == 0:
                    _measure_points(sums, environment, state, c, protocol.deviation)
            state = environment.acted(state, c)
            state, bad = recovered(environment, state, first, target)
            lost[bad & lost.isinf()] = (n + 1) * environment.interval
            if n % 1000 == 0:
                progress("run", n, steps)
    return _climate(sums, lost.cpu().numpy())


def recovered(
    environment: Environment, state: State, pool: State, target: Line
) -> tuple[State, Tensor]:
    """Rows that are lost as those of `pool`, and which they are."""
    bad = ~(mismatch(environment.line(state.vorticity), target) < limit(target))
    if bool(bad.any()):
        state = chosen(environment, bad, pool, state)
    return state, bad


def chosen(environment: Environment, rows: Bool[Tensor, " row"], one: State, other: State) -> State:
    """Some rows of one, the rest of another."""
    pairs = ((one.vorticity, other.vorticity), (one.before, other.before))
    return environment.state(*(torch.where(rows[:, None, None], a, b) for a, b in pairs))


def renewed(
    environment: Environment, state: State, pool: State, number: int, actions: int
) -> State:
    """Before the `number`-th piece of so many actions: one row each `RENEWED` units of time, in
    turn, as that of `pool`, so that a policy that trains sees states that it keeps away from."""
    turn, left = divmod(number, max(round(RENEWED / (actions * environment.interval)), 1))
    if left:
        return state
    row = torch.arange(len(pool.vorticity), device=pool.vorticity.device)
    return chosen(environment, row == turn % len(row), pool, state)


def _measure(sums: _Sums, environment: Environment, state: State, c: Tensor, target: Line) -> None:
    line = environment.line(state.vorticity)
    missed = mismatch(line, target)
    sums.add("reward", 1.0 / missed)
    sums.add("log_reward", -missed.log())
    sums.add("spectrum", line)
    sums.add("squared spectrum", line.double().square())
    sums.add("c", c.mean(dim=1))
    sums.add("squared c", c.square().mean(dim=1))


def _measure_points(
    sums: _Sums, environment: Environment, state: State, c: Tensor, deviation: float
) -> None:
    w = environment.vorticity(state.vorticity)
    sums.add("shares", shares(w, deviation))
    sums.add("square", w.square().mean(dim=(1, 2)))
    for name, values in environment.budget(state, c).items():
        sums.add(f"budget {name}", values)


def _climate(sums: _Sums, lost: np.ndarray) -> Climate:
    spectrum, c = sums.mean("spectrum"), sums.mean("c")
    varies = np.sqrt(np.maximum(sums.mean("squared spectrum") - spectrum**2, 0.0))
    spread = np.sqrt(np.maximum(sums.mean("squared c") - c**2, 0.0))
    start = "budget "
    return Climate(
        sums.mean("reward"),
        sums.mean("log_reward"),
        spectrum,
        varies,
        sums.mean("shares"),
        sums.mean("square"),
        {k.removeprefix(start): sums.mean(k) for k in sums.of if k.startswith(start)},
        np.stack([c, spread], axis=1),
        lost,
    )
