"""Airfoils of least drag at a lift of 0.5 and a thickness of 12 %, flow that turns turbulent by
itself: eight weights of class and shape functions, Reynolds number 3e6, XFOIL at this lift (in a
quick run NeuralFoil).

Directly: SLSQP with finite differences of 2 % of the ranges, and CMA-ES with penalties. By the loop
of `fieldcast optimize`: it starts about the best design by a cheaper solver (NeuralFoil's largest
network, which was fitted to runs of XFOIL on other airfoils and was taken as it agrees best with
XFOIL on designs of earlier runs; in a quick run one of middle size), then a surrogate, the best
design by it verified, learned from; seeds are other first designs. The same loop is run with
proposals by the optimisers of scipy, OpenMDAO and BoTorch through their views, and once without a
cheaper solver. For all of them a thickness that lacks up to 1e-4 of the chord counts as held. Every
run of the solver counts, failed ones too, those of the cheaper one don't; told is after how many
the drag was first within 1 % of the best by direct optimisation (where never, the bar takes all
runs and one more).

And 1,000 descents of 50 steps side by side, beside `scipy.optimize.minimize` (SLSQP, 50 iterations)
over the same objective with the same gradients, of which some of the starts are timed; the goals at
the ends are printed beside, and what four rounds of so many steps take, in which multipliers move
between. Solved cases are kept in .cache.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bars import Bar, Clock, arguments, finish, say, table
from scipy.optimize import minimize

from fieldcast.meshes import Sample
from fieldcast.meshes.sample import scalars_of
from fieldcast.pipelines import optimize_views as views
from fieldcast.pipelines.measures import measured, thickness
from fieldcast.pipelines.optimize import Objective, Space
from fieldcast.pipelines.optimizing import Search, optimised
from fieldcast.pipelines.warm_start import Cheaper
from fieldcast.solvers import Solver, SolverFailed
from fieldcast.solvers.command import Limits
from fieldcast.solvers.neural_foil import NeuralFoilAtLift
from fieldcast.solvers.solver import Range
from fieldcast.solvers.xfoil import XfoilAtLift
from fieldcast.surrogates import MMGP
from fieldcast.surrogates.descent import Found, Minimiser, MultiStart, Program, Rows
from fieldcast.surrogates.surrogate import Progress, quiet

CACHE = Path(__file__).parent / ".cache"
LIFT, THICK, STEP = 0.5, 0.12, 0.02
GOAL = "1000 * cd"
THICKNESS = f"thickness >= {THICK}"
SMALL = {THICKNESS: 1e-4}
HEAD = ("by", "best 1000 cd", "solves", "first", "within 1 % of its own after", "of direct after")


@dataclass(frozen=True)
class Size:
    """Of a run: budgets of the loop, of SLSQP and of CMA-ES, seeds of the loop, and starts of scipy
    that are timed, in rounds."""

    budget: int
    direct: int
    evolution: int
    seeds: int
    timed: int
    rounds: int
    looser: float


FULL = Size(40, 400, 600, 3, 10, 5, 1.0)
QUICK = Size(30, 400, 600, 1, 2, 3, 2.0)


@dataclass(frozen=True, eq=False)
class Problem:
    """A `solver`, a cheaper one, and the ranges of their numbers."""

    solver: Solver
    cheap: Solver
    ranges: Mapping[str, Range]
    kept: dict[str, dict[str, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, quick: bool) -> Problem:
        """XFOIL, or in a quick run NeuralFoil."""
        fixed = {"cl": LIFT, "reynolds": 3e6, "n_crit": 9.0}
        if quick:
            solver: Solver = NeuralFoilAtLift(family="class_shape")
            cheap = NeuralFoilAtLift(size="medium", family="class_shape")
        else:
            solver = XfoilAtLift(family="class_shape", limits=Limits(seconds=20.0))
            cheap = NeuralFoilAtLift(size="xxxlarge", family="class_shape")
            fixed = {**fixed, "mach": 0.0}
        ranges = {**solver.space, **{k: Range(v, v) for k, v in fixed.items()}}
        found = cls(solver, cheap, ranges)
        if found.path.exists():
            found.kept.update(json.loads(found.path.read_text()))
        return found

    @property
    def path(self) -> Path:
        """Where scalars of solved cases are kept."""
        return CACHE / f"airfoil_{type(self.solver).__name__}.json"

    @property
    def space(self) -> Space:
        """Of designs."""
        return Space.of(self.solver, self.ranges)

    def scalars(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """By the solver; none where it fails."""
        key = sha256(repr(sorted(numbers.items())).encode()).hexdigest()[:24]
        if key not in self.kept:
            try:
                sample = self.solver.solve(self.solver.case(numbers))
                told = {k: float(s.value[0]) for k, s in sample.scalars.items()}
            except (SolverFailed, ValueError):
                told = {}
            self.kept[key] = told
            CACHE.mkdir(exist_ok=True)
            if len(self.kept) % 10 == 0:
                self.path.write_text(json.dumps(self.kept))
        return self.kept[key]


@dataclass
class Direct:
    """The problem in the unit cube as optimisers of functions see it: every run of the solver is
    counted, `history` has the drag (infinite where constraints are missed by more than what counts
    as nothing)."""

    problem: Problem
    history: list[float] = field(default_factory=list)
    last: tuple[bytes, dict[str, float]] = (b"", {})

    def __post_init__(self) -> None:
        self.space = self.problem.space

    def row(self, z: np.ndarray) -> np.ndarray:
        """Numbers."""
        return self.space.low + (self.space.high - self.space.low) * np.clip(z, 0.0, 1.0)

    def told(self, z: np.ndarray) -> dict[str, float]:
        """Scalars; one run of the solver for the goal and the constraints together."""
        key = np.asarray(z, dtype=float).tobytes()
        if key != self.last[0]:
            found = self.problem.scalars(self.space.numbers(self.row(z)))
            self.last = key, found
            held = bool(found) and self.gap(z) <= 1.0
            self.history.append(1000.0 * found["cd"] if held else np.inf)
        return self.last[1]

    def thick(self, z: np.ndarray) -> float:
        """What the thickness is above what it must be."""
        return float(thickness(self.space.shapes(self.row(z)[None]))[0]) - THICK

    def gap(self, z: np.ndarray) -> float:
        """In units of what counts as nothing."""
        return max(-self.thick(z) / SMALL[THICKNESS], 0.0)

    def drag(self, z: np.ndarray) -> float:
        """1000 cd; where the solver fails worse than all before."""
        found = self.told(z)
        worst = max((h for h in self.history if np.isfinite(h)), default=20.0)
        return 1000.0 * found["cd"] if found else 1.5 * worst


def by_slsqp(problem: Problem, size: Size) -> list[float]:
    """Finite differences; from the middle, and again from random places until runs are spent."""
    direct, rng = Direct(problem), np.random.default_rng(0)
    n = len(direct.space.names)
    start = np.full(n, 0.5)
    while len(direct.history) < size.direct:
        constraints = [{"type": "ineq", "fun": lambda z: 100.0 * direct.thick(z)}]
        left = size.direct - len(direct.history)
        options = {"eps": STEP, "maxiter": max(left // (n + 1), 1), "ftol": 1e-4}
        minimize(
            direct.drag,
            start,
            method="SLSQP",
            bounds=[(0.0, 1.0)] * n,
            constraints=constraints,
            options=options,
        )
        start = rng.random(n)
        say(f"SLSQP: {len(direct.history)} runs, best {min(direct.history):.4f}")
    return direct.history


def by_evolution(problem: Problem, size: Size) -> list[float]:
    """CMA-ES with squares of gaps as penalties."""
    import cma

    direct = Direct(problem)

    def penalised(z: np.ndarray) -> float:
        drag = direct.drag(z)
        return drag * (1.0 + 0.001 * min(max(direct.gap(z) - 1.0, 0.0), 1000.0))

    options = {"bounds": [0.0, 1.0], "maxfevals": size.evolution, "seed": 1, "verbose": -9}
    cma.fmin(penalised, np.full(len(direct.space.names), 0.5), 0.2, options)
    say(f"CMA-ES: {len(direct.history)} runs, best {min(direct.history):.4f}")
    return direct.history


@dataclass(frozen=True)
class ByScipy:
    """Proposals by SLSQP through the view, from the best of the starts."""

    tried: int = 3

    def minimised(self, program: Program, starts: Rows, progress: Progress = quiet) -> Found:
        """See `MultiStart`."""
        assert isinstance(program, Objective)
        view = views.as_scipy(program)
        best = Found.of(program, starts).x[: self.tried]
        found = [minimize(x0=x, method="SLSQP", options={"maxiter": 60}, **view).x for x in best]
        return Found.of(program, np.clip(np.array(found), program.low, program.high))


@dataclass(frozen=True)
class ByOpenMDAO:
    """Proposals by OpenMDAO's driver of SLSQP over the component."""

    tried: int = 3

    def minimised(self, program: Program, starts: Rows, progress: Progress = quiet) -> Found:
        """See `MultiStart`."""
        import openmdao.api as om

        assert isinstance(program, Objective)
        names, ends = program.space.names, []
        problem = om.Problem(reports=None)
        component = views.as_openmdao(program)
        problem.model.add_subsystem("design", component, promotes=["*"])
        problem.driver = om.ScipyOptimizeDriver(optimizer="SLSQP", disp=False, maxiter=60)
        for name, low, high in zip(names, program.low, program.high, strict=True):
            problem.model.add_design_var(name, lower=low, upper=high, ref0=low, ref=high)
        problem.model.add_objective("goal")
        for name, told in (("equal", {"equals": 0.0}), ("above", {"lower": 0.0})):
            if name in component.sizes:
                problem.model.add_constraint(name, **told)
        problem.setup()
        for x in Found.of(program, starts).x[: self.tried]:
            for name, value in zip(names, x, strict=True):
                problem.set_val(name, value)
            problem.run_driver()
            ends.append([float(problem.get_val(name)[0]) for name in names])
        return Found.of(program, np.clip(np.array(ends), program.low, program.high))


@dataclass(frozen=True)
class ByBotorch:
    """Proposals by BoTorch's optimiser of acquisition functions over the posterior, inequalities as
    penalties (there are no equalities here)."""

    restarts: int = 6

    def minimised(self, program: Program, starts: Rows, progress: Progress = quiet) -> Found:
        """See `MultiStart`."""
        from botorch.acquisition import PosteriorMean
        from botorch.acquisition.objective import PosteriorTransform
        from botorch.optim import optimize_acqf
        from botorch.posteriors.gpytorch import GPyTorchPosterior
        from gpytorch.distributions import MultivariateNormal

        assert isinstance(program, Objective)
        goal, _, above = program.sizes
        sizes = torch.tensor(above)

        class Penalised(PosteriorTransform):  # type: ignore[misc]
            """A gap of what counts as nothing costs 30 times what does of the goal."""

            def evaluate(self, Y: Any) -> Any:
                gaps = (-Y[..., 1:] / sizes).clamp(min=0.0).sum(-1, keepdim=True)
                return Y[..., :1] - 30.0 * goal * gaps

            def forward(self, posterior: Any) -> Any:
                mean = self.evaluate(posterior.mean)[..., 0]
                variance = torch.diag_embed(posterior.variance[..., 0])
                return GPyTorchPosterior(MultivariateNormal(mean, variance))

        asked = PosteriorMean(views.as_botorch(program), posterior_transform=Penalised())
        n = len(program.low)
        bounds = torch.stack([torch.zeros(n), torch.ones(n)]).double()
        ends, _ = optimize_acqf(
            asked, bounds, q=1, num_restarts=self.restarts, raw_samples=64, return_best_only=False
        )
        x = program.low + (program.high - program.low) * ends.reshape(-1, n).numpy()
        return Found.of(program, x)


ALONE = "alone"
VIEWS: Mapping[str, Minimiser] = {
    "scipy": ByScipy(),
    "OpenMDAO": ByOpenMDAO(),
    "BoTorch": ByBotorch(),
}


def by_loop(
    problem: Problem, size: Size, name: str, seed: int, descent: Minimiser | None = None
) -> list[float]:
    """1000 cd of each design tried; infinite where constraints are missed."""
    cheaper = None if name == ALONE else Cheaper(problem.cheap)
    search = Search(
        GOAL,
        (THICKNESS,),
        measured(["thickness"]),
        first=16 if cheaper is None else 6,
        budget=size.budget,
        tolerance=0.0,
        patience=size.budget,
        seed=seed,
        small=SMALL,
        descent=descent or MultiStart(rounds=4, steps=30),
        cheaper=cheaper,
    )
    kind = type(problem.solver).__name__
    folder = CACHE / f"airfoil_{kind}_{name}_{seed}"
    found = optimised(problem.solver, MMGP(), problem.space, search, folder)
    history = np.where(found.gaps <= 1.0, found.goals, np.inf).tolist()
    say(f"{name}, seed {seed}: {len(history)} runs, best {min(history):.4f}")
    return history


def reached(history: list[float], best: float) -> int | None:
    """After how many runs the drag was first within 1 %."""
    at = np.flatnonzero(np.array(history) <= 1.01 * best)
    return int(at[0]) + 1 if len(at) else None


def speed(problem: Problem, size: Size) -> tuple[float, list[tuple[object, ...]]]:
    """Seconds of a loop over scipy by those of the same number of descents side by side."""
    space = problem.space
    samples = []
    for case, row in zip(space.cases(x := space.latin(40, 5)), x, strict=True):
        told = problem.scalars(space.numbers(row))
        if told:
            samples.append(Sample(case, {}, scalars_of({"cd": told["cd"]})))
    model = MMGP().fit(samples)
    objective = Objective(model, space, GOAL, (THICKNESS,), measured(["thickness"]), small=SMALL)
    starts = space.random(1000, 3)
    together, longer = (MultiStart(rounds=r, steps=50, polished=0) for r in (1, 4))
    each: dict[str, list[float]] = {"loop": [], "together": [], "longer": []}
    ends: list[np.ndarray] = []
    _ = objective.sizes
    for k in range(size.rounds):
        each["together"].append(cpu(lambda: together.minimised(objective, starts)))
        each["longer"].append(cpu(lambda: longer.minimised(objective, starts)))
        own = starts[k * size.timed : (k + 1) * size.timed]

        def loop(own: np.ndarray = own) -> None:
            for x0 in own:
                view = views.as_scipy(objective)
                ends.append(minimize(x0=x0, method="SLSQP", options={"maxiter": 50}, **view).x)

        each["loop"].append(cpu(loop) * len(starts) / size.timed)
        say(f"round {k + 1} of {size.rounds}: {each['together'][-1]:.1f} s together")
    loop_time, *own_times = (statistics.median(v) for v in each.values())
    rows: list[tuple[object, ...]] = [
        (
            "loop over scipy.optimize.minimize",
            loop_time,
            1.0,
            *spread(Found.of(objective, np.array(ends))),
        )
    ]
    own = ("side by side", together), ("side by side, four rounds for the constraint", longer)
    for (name, descent), seconds in zip(own, own_times, strict=True):
        found = descent.minimised(objective, starts[: len(ends)])
        rows.append((name, seconds, loop_time / seconds, *spread(found)))
    return loop_time / own_times[0], rows


def spread(found: Found) -> tuple[float, float]:
    """Least and median goal of what holds the constraint, infinite where it does not."""
    goals = np.where(found.feasible, found.goal, np.inf)
    return float(goals.min()), float(np.median(goals))


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main(given: argparse.Namespace) -> None:
    """Solve, compare, print."""
    size, clock, problem = QUICK if given.quick else FULL, Clock(), Problem.of(given.quick)
    torch.set_num_threads(1)
    ratio, fast = speed(problem, size)
    direct = {"SLSQP": by_slsqp(problem, size), "CMA-ES": by_evolution(problem, size)}
    problem.path.write_text(json.dumps(problem.kept))
    loops = {
        f"fieldcast optimize, seed {seed}": by_loop(problem, size, "own", seed)
        for seed in range(size.seeds)
    }
    for name, descent in VIEWS.items():
        loops[f"the loop by {name}"] = by_loop(problem, size, name, 0, descent)
    loops["the loop without a cheaper solver"] = by_loop(problem, size, ALONE, 0)
    top = min(min(h) for h in direct.values())
    rows = [
        (k, min(h), len(h), h[0], reached(h, min(h)), reached(h, top) or "never")
        for k, h in {**direct, **loops}.items()
    ]
    fewest = min(reached(h, min(h)) or len(h) for h in direct.values())
    own = [h for k, h in loops.items() if k.startswith("fieldcast")]
    after = [reached(h, top) or len(h) + 1 for h in own]
    worst = max(min(h) for h in own) / top
    made = [
        ("best drag / that of direct optimisation, worst seed", worst, 1.01),
        ("runs of the solver / the fewest directly, worst seed", max(after) / fewest, 0.1),
    ]
    for name in VIEWS:
        least = min(loops[f"the loop by {name}"])
        made.append((f"best drag by {name} / that of direct optimisation", least / top, 1.01))
    bars = []
    for name, value, goal in made:
        looser = 1 + (goal - 1) * size.looser if goal > 1 else goal * size.looser
        bars.append(Bar(name, value, looser, len(own), clock(), full_goal=goal))
    faster, goal = "1,000 starts x 50 steps / loop over scipy", 50.0 / size.looser
    bars.append(Bar(faster, ratio, goal, size.rounds, clock(), True, 50.0))
    tables = {
        "drag": table(HEAD, rows),
        "1,000 starts": table(
            ("by", "CPU seconds", "times faster", "least goal", "median goal"), fast
        ),
    }
    finish("airfoil_optimization", given, bars, tables)


if __name__ == "__main__":
    main(arguments(__doc__ or ""))
