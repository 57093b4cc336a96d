"""Calibration of a cell by a separable head: coverage, effective draws, the published case, the
posterior by PyBaMM itself and by PyBOP, and the cost of a discharge curve.

The head is a Chebyshev expansion of 49 discharges by PyBaMM's porous-electrode model (DFN), within
the negative exchange current 0.5 to 4 and the positive diffusivity 1 to 10 times the reference.
Curves have 100 times. Costs are CPU seconds of one thread; PyBaMM's are those of IDAKLU at rtol
1e-4, its model built. PyBOP samples by PyBaMM where it is installed (it asks for numpy below 2.4);
everywhere, draws are weighed by PyBaMM's own likelihood. Nothing was chosen by these figures.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from bars import Bar, Clock, arguments, finish, say, table
from cells import BOX, timed

from fieldcast.meshes import Case, Cases, Sample, Scalar
from fieldcast.meshes.battery import RATES, VOLTAGE, discharge
from fieldcast.pipelines.battery import Calibration, Noise, calibrate
from fieldcast.pipelines.discharges import placed
from fieldcast.solvers.battery import DFN, graphite_nmc
from fieldcast.solvers.battery.pybamm_models import parameter_set, silent
from fieldcast.surrogates import (
    Chebyshev,
    LevenbergMarquardt,
    Particles,
    Perceptron,
    Pinn,
    Predictor,
)
from fieldcast.surrogates.inference import Draws, Hamiltonian
from fieldcast.surrogates.pinn import PinnPredictor
from fieldcast.surrogates.posterior_checks import answered, coverage
from fieldcast.surrogates.separable import SeparableHead, grid

TRUTH = dict.fromkeys(RATES, 2.0)
SIGMA = 1e-3
"""Of the synthetic noise [V]."""
HEAD = (
    "curve by",
    "alone [us]",
    "of 1,000 [us]",
    "times faster",
    "of 1,000",
    "made in [s]",
    "even after",
)
DEGREE = 6
"""Of the expansion, 49 runs."""
KNOWN = (SIGMA * (1 - 1e-6), SIGMA * (1 + 1e-6))
WIDE = (1e-4, 1e-2)


@dataclass(frozen=True)
class Size:
    """Of a run."""

    truths: int
    weighed: int
    steps: int
    """Of the network's training."""
    pybop: int
    looser: float


FULL = Size(1000, 300, 100, 4000, 1.0)
QUICK = Size(100, 60, 30, 600, 2.0)


def cost(work: Callable[[], object], least: float = 1.0) -> float:
    """CPU seconds of one call, called until so many have passed."""
    work()
    count, start = 0, time.process_time()
    while (passed := time.process_time() - start) < least:
        work()
        count += 1
    return passed / count


def asked() -> Case:
    """100 times; few radii, as voltages are asked for."""
    return discharge(graphite_nmc(), dict.fromkeys(RATES, 1.0), 100, radii=3)


def expansion(case: Case) -> Predictor:
    """Of 49 discharges."""
    runs = DFN().solve_all(grid(case, BOX, dict.fromkeys(BOX, DEGREE)))
    return Chebyshev((DEGREE, DEGREE)).fit(runs)


def network(steps: int) -> PinnPredictor:
    """The single-particle model by its equations, without data."""
    method = LevenbergMarquardt(steps=steps, points=800)
    return Pinn(Particles(graphite_nmc()), Perceptron(16, 3), (method,)).fit(())


@dataclass(frozen=True)
class Costs:
    """CPU seconds of a curve, by what gives it, and of making the two models."""

    curves: dict[str, tuple[float, float]]
    head: float
    network: float

    def rows(self) -> list[tuple[object, ...]]:
        """Microseconds alone and in a batch, the ratio to the solver, and after how many curves a
        model has paid for itself."""
        solver = self.curves["PyBaMM DFN"][0]
        made = {"separable head": self.head, "network": self.network}
        found: list[tuple[object, ...]] = []
        for name, (one, many) in self.curves.items():
            even = made[name] / (solver - many) if name in made else ""
            cells = (1e6 * one, 1e6 * many, solver / one, solver / many, made.get(name, ""), even)
            found.append((name, *cells))
        return found


def costs(head: SeparableHead, net: PinnPredictor, case: Case, made: tuple[float, float]) -> Costs:
    """Of curves alone and in batches of 1,000 (the solver: alone)."""
    rng = np.random.default_rng(0)
    low, high = np.array([BOX[k] for k in head.names]).T
    p = low + (high - low) * rng.random((1000, len(low)))
    cases = [placed(case, dict(zip(head.names, row, strict=True))) for row in p.tolist()]
    solver = DFN(accuracy=1e-4)
    turns = iter(cases * 100)
    dfn = cost(lambda: _alone(solver, next(turns)), 2.0)
    one, every = Cases.pack(cases[:1]), Cases.pack(cases)
    found = {
        "PyBaMM DFN": (dfn, dfn),
        "network": (cost(lambda: net.physics(one)), cost(lambda: net.physics(every)) / 1e3),
        "network with trust": (
            cost(lambda: net.predict(cases[:1])),
            cost(lambda: net.predict(cases)) / 1e3,
        ),
        "separable head": (
            cost(lambda: answered(head, p[:1])),
            cost(lambda: answered(head, p)) / 1e3,
        ),
    }
    return Costs(found, *made)


def _alone(solver: DFN, case: Case) -> Any:
    """As a user of PyBaMM asks: the voltage alone."""
    from fieldcast.solvers.battery.pybamm_models import _simulation

    times = np.asarray(case.times)
    inputs = {k: float(case.parameters[k]) for k in RATES}
    simulation = _simulation(solver, (), ())
    return simulation.solve([0.0, times[-1]], t_interp=times, inputs=inputs)["Voltage [V]"].data


def measured(case: Case, seed: int, noise: float = SIGMA) -> Sample:
    """The published case, by the solver, with noise."""
    v = DFN().solve(placed(case, TRUTH)).scalars[VOLTAGE].value
    v = v + noise * np.random.default_rng(seed).normal(size=len(v))
    return Sample(case, {}, {VOLTAGE: Scalar(v, "V")})


def weighed(found: Calibration, count: int) -> tuple[float, float]:
    """Draws weighed by PyBaMM's likelihood over the head's: how far means move, in standard
    deviations, and the share of draws that the weights leave."""
    flat = found.draws.values.reshape(-1, len(found.draws.names))
    rows = flat[np.random.default_rng(0).choice(len(flat), count, replace=False)]
    names = found.posterior.bounds
    cases = [placed(found.data.case, dict(zip(names, r[:-1], strict=True))) for r in rows.tolist()]
    v = np.stack([s.scalars[VOLTAGE].value for s in DFN().solve_all(cases)])
    theirs = _gaps(found.measured - v, rows)
    own = _gaps(found.measured - answered(found.posterior.model, rows[:, :-1]), rows)
    w = np.exp(theirs - own - (theirs - own).max())
    w /= w.sum()
    moved = np.abs(w @ rows - rows.mean(axis=0))[:-1] / rows.std(axis=0)[:-1]
    return float(moved.max()), float(1.0 / (w**2).sum() / count)


def _gaps(gap: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Log likelihoods, sigma being the last column."""
    return -0.5 * (gap**2).sum(axis=1) / rows[:, -1] ** 2


def by_pybop(data: Sample, count: int) -> Draws | None:
    """Drawn by PyBOP's adaptive Metropolis with PyBaMM's DFN, noise known; None where it is
    missing."""
    if not find_spec("pybop"):
        say("PyBOP is not installed: pip install 'fieldcast[pybop]' in an environment of its own")
        return None
    pybamm = silent()
    import pybop

    t, cell = np.asarray(data.case.times), graphite_nmc()
    values = parameter_set(cell)
    own = {k: pybop.Parameter(distribution=pybop.Uniform(*BOX[k])) for k in RATES}
    values.update(own, check_already_exists=False)
    simulator = pybop.pybamm.Simulator(
        pybamm.lithium_ion.DFN(),
        parameter_values=values,
        protocol=t,
        solver=pybamm.IDAKLUSolver(rtol=1e-6, atol=1e-8),
        var_pts=dict.fromkeys(("x_n", "x_s", "x_p", "r_n", "r_p"), 20),
    )
    v = data.scalars[VOLTAGE].value
    dataset = pybop.Dataset({"Time [s]": t, "Voltage [V]": v, "Current function [A]": 0 * v})
    likelihood = pybop.GaussianLogLikelihoodKnownSigma(dataset, SIGMA)
    options = pybop.PintsSamplerOptions(
        n_chains=1, max_iterations=count, log_to_screen=False, warm_up_iterations=count // 4
    )
    posterior = pybop.LogPosterior(simulator, likelihood)
    sampler = pybop.HaarioBardenetACMC(posterior, options=options)
    np.random.seed(0)  # noqa: NPY002 - theirs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chains = np.asarray(sampler.run().chains)
    return Draws(tuple(posterior.parameters.names), chains)


def apart(one: Draws, other: Draws, names: list[str]) -> float:
    """The largest distance of means in Monte-Carlo errors."""
    found = []
    for name in names:
        a, b = one.of(name), other.of(name)
        error = np.sqrt(a.var() / one.effective(name) + b.var() / other.effective(name))
        found.append(abs(a.mean() - b.mean()) / error)
    return float(np.max(found))


def posterior_rows(draws: dict[str, Draws]) -> list[tuple[object, ...]]:
    """By sampler."""
    return [
        (label, name, float(d.of(name).mean()), float(d.of(name).std()), *d.interval(name))
        for label, d in draws.items()
        for name in RATES
    ]


def main(given: argparse.Namespace) -> None:
    """Measure, print."""
    size, clock, case = QUICK if given.quick else FULL, Clock(), asked()
    torch.set_num_threads(1)
    DFN().solve(placed(case, TRUTH))  # imports are nobody's training
    predictor, made = timed(partial(expansion, case))
    net, trained = timed(partial(network, size.steps))
    head = SeparableHead.of(predictor, VOLTAGE)  # type: ignore[arg-type]
    spent = costs(head, net, case, (made, trained))
    say(spent.curves)
    bounds = {k: BOX[k] for k in head.names}
    shares = coverage(head, bounds, WIDE, SIGMA, size.truths, seed=1)
    say(shares)
    data = measured(case, 0)
    found = calibrate(predictor, data, BOX)
    chains, seconds = timed(partial(Hamiltonian().drawn, found.posterior))
    speed = min(chains.effective(k) for k in RATES) / seconds
    moved, kept = weighed(found, size.weighed)
    say(f"weighed by PyBaMM: moved {moved:.3g}, kept {kept:.3g}")
    known = calibrate(predictor, data, BOX, Noise(KNOWN))
    draws = {"grid": found.draws, "Hamiltonian": chains, "grid, sigma known": known.draws}
    bars = [
        Bar("batched separable head against PyBaMM DFN [times]",
            spent.curves["PyBaMM DFN"][0] / spent.curves["separable head"][1],
            2250.0 / size.looser, 1000, clock(), True, 2250.0),
        *(
            Bar(f"coverage of {label} at 90 %, distance from 90 %", abs(share - 0.9),
                0.03 * size.looser, size.truths, clock(), full_goal=0.03)
            for label, share in {**shares.intervals, "joint regions": shares.region}.items()
        ),
        Bar("effective draws per CPU second", speed, 5000.0 / size.looser, 1, clock(), True,
            5000.0),
        Bar("(2, 2): truth from the mean [standard deviations]",
            max(abs(found.draws.of(k).mean() - 2.0) / found.draws.of(k).std() for k in RATES),
            2.0, 1, clock()),
        Bar("weighed by PyBaMM: means moved [Monte-Carlo errors]", moved * size.weighed**0.5,
            1.0, size.weighed, clock()),
    ]  # fmt: skip
    theirs = by_pybop(data, size.pybop)
    if theirs is not None:
        draws["PyBOP with PyBaMM, sigma known"] = theirs
        gap = apart(known.draws, theirs, list(RATES))
        bars.append(Bar("PyBOP with PyBaMM: means apart [Monte-Carlo errors]", gap, 3.0,
                        theirs.values.shape[1], clock()))  # fmt: skip
    title = f"{len(case.times)} times a curve; weights of PyBaMM leave {kept:.0%} of the draws"
    finish("battery_calibration", given, bars, {
        title: table(HEAD, spent.rows()),
        "posteriors of (2, 2), 1 mV": table(("by", "parameter", "mean", "std", "5 %", "95 %"),
                                            posterior_rows(draws)),
    })  # fmt: skip


if __name__ == "__main__":
    main(arguments(__doc__ or ""))
