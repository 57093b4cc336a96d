"""Lorenz 96: closures of the slow level, offline and online, in four parameter sets; and models of
the slow level alone by their rate of change and by their next state.

Each set: 32 members x 6 time units, 0.01 apart, to learn from; 256 others for the error of X after
1 and 2 units (root mean square over members and points); climates of 100 members x 100 units, so
that 1e4 units are shared by 100 runs, compared by the Kolmogorov-Smirnov distance of X to that of
the truth. "truth again" is another 1e4 units of the truth: the distance that chance makes. The
closed models take Runge-Kutta steps of 0.01, closures asked at every stage; the neural operator's
climate asks once a step, as it is 20 times slower. Networks select their weights by runs held out
of the 32; the tests select nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from bars import Bar, Clock, arguments, finish, say, table

from fieldcast.meshes import Case, Sample
from fieldcast.solvers import SolverFailed
from fieldcast.solvers.lorenz96 import Lorenz96, continued, start_case
from fieldcast.solvers.lorenz96_closed import ClosedLorenz96, RedNoise
from fieldcast.surrogates import (
    Autoregressive,
    Polynomial,
    RingFNO,
    Rollout,
    StencilNetwork,
    Surrogate,
    Tendency,
    closure,
)
from fieldcast.surrogates.red_noise import AutoregressivePredictor


@dataclass(frozen=True)
class Setting:
    """K, J, F and c; h = 1, b = 10. `anchor` is what the reference measured: R2 of poly4, and RMSE
    at 1 and 2 units and KS distance of none, poly4 and poly4 + AR(1)."""

    points: int
    each: int
    forcing: float
    c: float
    anchor: tuple[str, str, str, str]

    @property
    def numbers(self) -> dict[str, float]:
        """The parameters of a case."""
        return {"F": self.forcing, "h": 1.0, "b": 10.0, "c": self.c}

    @property
    def name(self) -> str:
        """In tables."""
        return f"{self.points}, {self.each}, F {self.forcing:g}, c {self.c:g}"


SETS = (
    Setting(8, 32, 18.0, 10.0, (".859", "7.8 8.4 .127", "1.16 3.46 .010", "1.94 3.69 .010")),
    Setting(8, 32, 20.0, 10.0, (".845", "8.9 8.8 .112", "1.86 5.05 .014", "2.64 5.32 .011")),
    Setting(36, 10, 10.0, 10.0, (".834", "2.2 4.8 .056", ".38 1.50 .006", ".67 2.08 .004")),
    Setting(8, 32, 20.0, 4.0, (".716", "8.4 9.6 .042", "4.63 8.73 .009", "4.79 9.78 .008")),
)
SPIN_UP, FINE = 5.0, 0.005
"""Units before anything is kept, and the step of the truth there and of climates."""
SPACING, WHERE = 0.01, (10, 20)
"""Of what is learned from, and the numbers of the times of 1 and 2 units among those tested."""
NETWORK, OPERATOR = "network", "neural operator"
NONE, BEST, NOISY = "none", "poly4", "poly4 + AR(1)"
ENSEMBLE = 16


@dataclass(frozen=True)
class Size:
    """Of a run."""

    sets: Sequence[Setting]
    tests: int
    members: int
    units: float
    network: int
    operator: int


FULL = Size(SETS, 256, 100, 100.0, 3000, 1000)
QUICK = Size((SETS[0], SETS[3]), 128, 50, 30.0, 1000, 200)


def spun_up(setting: Setting, seeds: Sequence[int]) -> list[Sample]:
    """Runs that have forgotten how they started."""
    sizes, times = (setting.points, setting.each), np.array([0.0, SPIN_UP])
    cases = [start_case(setting.numbers, sizes, times, seed) for seed in seeds]
    return Lorenz96(step=FINE).solve_all(cases)


def truth(setting: Setting, seeds: Sequence[int], times: np.ndarray) -> list[Sample]:
    """Series of both levels."""
    return Lorenz96().solve_all([continued(s, times) for s in spun_up(setting, seeds)])


def asked(sample: Sample) -> Sample:
    """What a closure is to tell: U from X at every time."""
    case = replace(sample.case, fields={"X": sample.fields["X"]})
    return Sample(case, {"U": sample.fields["U"]})


def slow(sample: Sample, **more: float) -> Case:
    """The start of the slow level alone."""
    given = {**sample.case.parameters, **more}
    return replace(sample.case, parameters=given, fields={"X": sample.case.fields["X"]})


def of(samples: Sequence[Sample], name: str = "X") -> np.ndarray:
    """(member, time, point)."""
    return np.stack([s.fields[name].values[:, :, 0] for s in samples])


def climate_of_truth(setting: Setting, size: Size, first: int) -> np.ndarray:
    """X at every tenth of a unit, in pieces, as Y would fill the memory."""
    samples = spun_up(setting, range(first, first + size.members))
    pieces = []
    for _ in range(int(size.units / 5.0)):
        cases = [continued(s, np.linspace(0.0, 5.0, 51)) for s in samples]
        samples = Lorenz96(step=FINE).solve_all(cases)
        pieces.append(of(samples)[:, 1:])
    return np.concatenate(pieces, axis=1)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Of Kolmogorov and Smirnov, the largest gap between two distributions."""
    from scipy.stats import ks_2samp

    return float(ks_2samp(one.ravel(), other.ravel(), method="asymp").statistic)


def models(
    setting: Setting, size: Size, train: Sequence[Sample], device: str | None
) -> tuple[dict[str, ClosedLorenz96], dict[str, AutoregressivePredictor]]:
    """The closed models of a set by name, and what was fitted."""
    network, operator = StencilNetwork(), RingFNO()

    def short(recipe: StencilNetwork | RingFNO, steps: int) -> StencilNetwork | RingFNO:
        descent = replace(recipe.descent, steps=steps, every=steps // 10, device=device)
        return replace(recipe, descent=descent)

    recipes = {
        "poly1": Polynomial(1),
        BEST: Polynomial(4),
        NETWORK: short(network, size.network),
        OPERATOR: short(operator, size.operator),
    }
    closed, fitted = {NONE: ClosedLorenz96()}, {}
    for name, recipe in recipes.items():
        clock = Clock()
        closed[name], fitted[name] = closed_by(recipe, train)
        say(f"{setting.name}: {name} fitted in {clock():.0f} s")
    for name in (BEST, NETWORK):
        closed[f"{name} + AR(1)"] = replace(closed[name], noise=noise(fitted[name]))
    return closed, fitted


def closed_by(
    recipe: Surrogate, train: Sequence[Sample]
) -> tuple[ClosedLorenz96, AutoregressivePredictor]:
    """The slow level with a closure learned from runs of both, and what was fitted."""
    model = Autoregressive(recipe).fit([asked(s) for s in train], seed=0)
    start = replace(slow(train[0]), times=np.zeros(1))
    return ClosedLorenz96(closure(model.inner, start, "X", "U")), model


def noise(model: AutoregressivePredictor) -> RedNoise:
    """What a fitted closure misses."""
    found = model.residuals["U"]
    assert found.interval is not None
    return RedNoise(found.sigma[0], found.correlation[0], found.interval)


def run(model: ClosedLorenz96, cases: Sequence[Case]) -> np.ndarray | None:
    """X (member, time, point); None where a member leaves all bounds."""
    try:
        return of(model.solve_all(cases))
    except SolverFailed as error:
        say(str(error))
        return None


def forecast(model: ClosedLorenz96, tests: Sequence[Sample]) -> tuple[float, float]:
    """The error of X after 1 and 2 units."""
    found = run(model, [slow(s, member=float(k)) for k, s in enumerate(tests)])
    if found is None:
        return np.inf, np.inf
    error = np.sqrt(np.square(found - of(tests)).mean(axis=(0, 2)))
    return float(error[WHERE[0]]), float(error[WHERE[1]])


def climate(model: ClosedLorenz96, tests: Sequence[Sample], size: Size) -> np.ndarray | None:
    """X at every tenth of a unit after a spin-up."""
    times = np.arange(0.0, SPIN_UP + size.units + 0.05, 0.1)
    starts = [
        replace(slow(s, member=float(k)), times=times) for k, s in enumerate(tests[: size.members])
    ]
    found = run(model, starts)
    return None if found is None else found[:, round(SPIN_UP / 0.1) + 1 :]


def crps(model: ClosedLorenz96, tests: Sequence[Sample]) -> float:
    """Fair continuous ranked probability score of X after 1 unit, of an ensemble of `ENSEMBLE`."""
    try:
        import scoringrules
    except ImportError:
        say("expected scoringrules for the CRPS: pip install 'fieldcast[climate]'; it is left out")
        return float("nan")
    cases = [slow(s, member=float(m)) for s in tests for m in range(ENSEMBLE)]
    short = [replace(c, times=c.times[: WHERE[0] + 1]) for c in cases]
    found = run(model, short)
    if found is None:
        return np.inf
    ends = found[:, -1].reshape(len(tests), ENSEMBLE, -1)
    observed = of(tests)[:, WHERE[0]]
    return float(scoringrules.crps_ensemble(observed, ends, m_axis=1, estimator="fair").mean())


Scores = Mapping[str, Mapping[str, float]]


def one_set(setting: Setting, size: Size, device: str | None) -> tuple[Scores, dict[str, float]]:
    """By model: R2, RMSE, KS distance, the largest |X| of the climate over that of the truth, CRPS;
    and the errors of models of F = 18 at others."""
    train = truth(setting, range(32), SPACING * np.arange(601))
    tests = truth(setting, range(1000, 1000 + size.tests), 0.1 * np.arange(21))
    closed, fitted = models(setting, size, train, device)
    wanted = climate_of_truth(setting, size, 5000)
    again = climate_of_truth(setting, size, 9000)
    largest = float(np.abs(wanted).max())
    found = {"truth again": {"ks": distance(again, wanted)}}
    frames = [asked(s) for s in tests]
    for name, model in closed.items():
        clock, rmse = Clock(), forecast(model, tests)
        held = replace(model, held=True) if name == OPERATOR else model
        long = climate(held, tests, size)
        found[name] = {
            "rmse1": rmse[0],
            "rmse2": rmse[1],
            "ks": np.inf if long is None else distance(long, wanted),
            "largest": np.inf if long is None else float(np.abs(long).max()) / largest,
        }
        if name in fitted:
            answers = fitted[name].inner.predict([s.case for s in frames])
            told = np.stack([p.mean["U"].values[:, :, 0] for p in answers])
            gap = np.square(told - of(frames, "U"))
            found[name]["r2"] = 1.0 - float(gap.mean() / of(frames, "U").var())
        if name in (BEST, NOISY, NETWORK, f"{NETWORK} + AR(1)"):
            found[name]["crps"] = crps(model, tests[:64])
        say(f"{setting.name}: {name} {found[name]}, {clock():.0f} s")
    return found, elsewhere(setting, size, closed)


def elsewhere(
    setting: Setting, size: Size, closed: Mapping[str, ClosedLorenz96]
) -> dict[str, float]:
    """Errors after 1 unit of models fitted at F = 18, at 20 and 24; of the first set alone."""
    if setting != SETS[0]:
        return {}
    found = {}
    for forcing in (20.0, 24.0):
        there = replace(setting, forcing=forcing)
        tests = truth(there, range(1000, 1000 + size.tests), 0.1 * np.arange(21))
        own = truth(there, range(32), SPACING * np.arange(601))
        refit = closed_by(Polynomial(4), own)[0]
        for name in (NONE, "poly1", BEST, NETWORK, OPERATOR):
            found[f"{name} at {forcing:g}"] = forecast(closed[name], tests)[0]
        found[f"poly4 refitted at {forcing:g}"] = forecast(refit, tests)[0]
    return found


def changes(size: Size, device: str | None) -> dict[str, float]:
    """Errors after 1 unit of models of X alone, the same network and training, that tell the next
    state or the rate of change."""
    train = truth(SETS[0], range(32), SPACING * np.arange(601))
    tests = truth(SETS[0], range(1000, 1032), np.array([0.0, 0.5, 1.0]))
    own = [Sample(slow(s), {"X": s.fields["X"]}) for s in train]
    steps = size.network
    step = StencilNetwork(descent=replace(StencilNetwork().descent, steps=steps, device=device))
    ways: dict[str, Tendency | None] = {
        "next state": None,
        "rate, forward differences, Euler": Tendency("euler", "forward"),
        "rate, central differences, AB2": Tendency("ab2", "central"),
        "rate, central differences, Heun": Tendency("heun", "central"),
        "rate, Richardson, RK4": Tendency(),
    }
    found = {}
    for name, tendency in ways.items():
        clock = Clock()
        model = Rollout(step, tendency).fit(own, seed=0)
        answers = model.predict([slow(s) for s in tests], device=device)
        ends = np.stack([p.mean["X"].values[-1, :, 0] for p in answers])
        found[name] = float(np.sqrt(np.square(ends - of(tests)[:, -1]).mean()))
        say(f"{name}: {found[name]:.3f}, {clock():.0f} s")
    return found


def main() -> None:
    given = arguments(__doc__ or "")
    size, clock = QUICK if given.quick else FULL, Clock()
    found, moved = {}, {}
    for setting in size.sets:
        found[setting], other = one_set(setting, size, given.device)
        moved |= other
    report(given, size, found, moved, changes(size, given.device), clock)


def report(
    given: argparse.Namespace,
    size: Size,
    found: Mapping[Setting, Scores],
    moved: Mapping[str, float],
    rates: Mapping[str, float],
    clock: Callable[[], float],
) -> None:
    """Tables and bars."""
    loose = 1.5 if given.quick else 1.0
    full = 1.0 if given.quick else None
    bars, rows, anchors = [], [], []
    for setting, scores in found.items():
        ours, best = scores[NETWORK], scores[BEST]
        for what, key in (("RMSE at 1 unit", "rmse1"), ("KS distance", "ks")):
            name = f"{what}, network / poly4, {setting.name}"
            share = ours[key] / best[key]
            bars.append(Bar(name, share, loose, size.tests, clock(), full_goal=full))
        learned = [scores[k]["largest"] for k in scores if k not in (NONE, "truth again")]
        name = f"largest |X| / truth, worst learned closure, {setting.name}"
        bars.append(Bar(name, max(learned), 1.5, size.members, clock()))
        keys = ("r2", "rmse1", "rmse2", "ks", "largest", "crps")
        for name, own in scores.items():
            cells = (f"{own[k]:.3f}" if k in own else "" for k in keys)
            rows.append((setting.name, name, *cells))
        anchors.append((setting.name, *setting.anchor))
    best_rate = rates["rate, Richardson, RK4"] / rates["next state"]
    bars.append(Bar("rate / next state, RMSE at 1 unit", best_rate, 1.0, 32, clock()))
    head = ("K, J, F, c", "closure", "R2", "RMSE 1", "RMSE 2", "KS", "largest X", "fair CRPS 1")
    told = ("K, J, F, c", "R2 poly4", "none", "poly4", "poly4 + AR(1)")
    tables = {
        "closures": table(head, rows),
        "as the reference measured (RMSE 1, RMSE 2, KS)": table(told, anchors),
        "closures of F = 18 elsewhere": table(("closure", "RMSE 1"), list(moved.items())),
        "X alone, F = 18": table(("step", "RMSE 1"), list(rates.items())),
    }
    finish("lorenz96", given, bars, tables)


if __name__ == "__main__":
    main()
