"""Vortex shedding behind a cylinder, rolled out on meshes that were not seen: the graph transformer
beside MeshGraphNet, each trained for the same time.

Eight runs, 125 steps each; place and radius of the cylinder and the inflow vary. Two folds, each
leaves two saturated runs out. Every network is given the same data, in units of the largest inflow
velocity, mirrored copies and runs played faster (of the same Reynolds number) included: velocity
and pressure, of which the inflow and the walls keep their velocity and the outflow its pressure.
MeshGraphNet is the best of three sizes. Scores leave out nodes whose values are given. "1 step" is
over every step from its true state, "rollout" over all 125 steps from the first. The mean flow is
the run's own mean in time, which nobody has before the run. Every network is trained for as many
steps as 15 minutes of two quiet cores hold, by one thread or by both, whichever is faster. Trained
networks are kept in .cache, so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from bars import Bar, Clock, arguments, data_folder, finish, say, table
from budgets import at_once, seconds_per_step
from scipy.interpolate import CubicSpline

from fieldcast import surrogates
from fieldcast.meshes import Case, Field, Mesh, Sample, Scalar
from fieldcast.meshes.topology import boundary
from fieldcast.surrogates import GraphTransformer, MeshGraphNet, Predictor, Reach, Rollout, load
from fieldcast.surrogates.graph_surrogate import GraphSurrogate

REGIONS = {"inflow": 4, "outflow": 5, "wall": 6}
FREE = (0, 5)
FOLDS = ((3, 5), (6, 7))
HELD = ("velocity@inflow", "velocity@wall", "pressure@outflow")
HEIGHT, STEP, LENGTH = 0.41, 0.04, 62
FASTER = (1.25, 1.5, 1.75, 2.0)
MINUTES, STABLE = 15.0, 100
CACHE = Path(__file__).parent / ".cache"
TRAINING: dict[str, float] = {"noise": 0.003, "pushed": 0.7, "even": 0.5}
"""Of both networks; chosen by run 7, left out of the first fold's training runs, too (the second
fold tests it)."""
MESSAGES = {"MeshGraphNet 5x32": (5, 32), "10x64": (10, 64), "15x128": (15, 128)}


@dataclass(frozen=True)
class Run:
    """A simulation: `sample` in units of `speed` [m/s]; `cylinder` (x, y, radius) [m]."""

    sample: Sample
    speed: float
    viscosity: float
    free: np.ndarray
    cylinder: tuple[float, float, float]


def runs(numbers: Sequence[int] = range(8)) -> list[Run]:
    """From the reference data."""
    return [_run(k) for k in numbers]


def _run(number: int, mirrored: bool = False, faster: float = 1.0, first: float = 0.0) -> Run:
    """Upside down if `mirrored`; so many times as `faster`, which is a run of the same Reynolds
    number, from the state `first` on, between states by cubic splines."""
    with np.load(data_folder("cylinder_flow") / f"traj_{number:03d}.npz") as found:
        arrays = dict(found)
    meta = json.loads(str(arrays["meta"]))
    points, cells = arrays["mesh_pos"].astype(float), arrays["cells"]
    velocity, pressure = (arrays[k].astype(float) for k in ("velocity", "pressure"))
    if faster != 1.0 or first:
        known = np.arange(len(velocity))
        at = np.arange(first, len(velocity) - 1 + 1e-9, faster)
        velocity, pressure = (CubicSpline(known, u)(at) for u in (velocity, pressure))
    place = (meta["cx"], meta["cy"], meta["r"])
    if mirrored:
        points = np.stack([points[:, 0], HEIGHT - points[:, 1]], axis=1)
        cells, velocity = cells[:, ::-1], velocity * [1.0, -1.0]
        place = (place[0], HEIGHT - place[1], place[2])
    kinds, speed, viscosity = arrays["node_type"], meta["u_max"], meta["nu"]
    regions = {name: np.flatnonzero(kinds == code) for name, code in REGIONS.items()}
    mesh = Mesh(points, {"triangle": cells}, regions)
    series = {"velocity": Field(velocity / speed), "pressure": Field(pressure / speed**2)}
    known = {name: f.with_values(f.values[:1]) for name, f in series.items()}
    parameters = {
        "reynolds": Scalar(np.array([2.0 * place[2] * speed / viscosity]), ""),
        "inflow_speed": Scalar(np.array([faster * speed]), "m/s"),
    }
    name = f"{number:03d}" + "m" * mirrored
    case = Case(mesh, parameters, known, times=STEP * np.arange(len(velocity)), name=name)
    sample = Sample(case, series, {})
    return Run(sample, faster * speed, faster * viscosity, np.isin(kinds, FREE), place)


def examples(numbers: Sequence[int]) -> list[Sample]:
    """Of some runs to learn from: halves of each, mirrored, and played faster where that is about
    as fast as the fastest of them."""
    fastest, rng = max(r.speed for r in runs(numbers)), np.random.default_rng(0)
    found = []
    for k in numbers:
        for flip in (False, True):
            whole = _run(k, flip)
            found += [part(whole.sample, first) for first in (0, LENGTH)]
            for faster in FASTER:
                if faster * whole.speed < 1.2 * fastest:
                    first = rng.uniform(0.0, len(whole.sample.case.times) - 1 - faster * LENGTH)
                    found.append(part(_run(k, flip, faster, first).sample, 0))
    return found


def part(sample: Sample, first: int) -> Sample:
    """So many states from one on."""
    case, chosen = sample.case, slice(first, first + LENGTH)
    series = {k: f.with_values(f.values[chosen]) for k, f in sample.fields.items()}
    known = {k: f.with_values(f.values[:1]) for k, f in series.items()}
    times = STEP * np.arange(LENGTH)
    return Sample(Case(case.mesh, case.parameters, known, times=times, name=case.name), series, {})


def lift(run: Run, velocity: np.ndarray, pressure: np.ndarray) -> np.ndarray:
    """The force across the flow on the cylinder, per density and depth, (time,) [m3/s2]: pressure,
    and viscous stress by the gradient in the triangle at each edge."""
    mesh = run.sample.case.mesh
    edges = boundary(mesh)
    x, y, radius = run.cylinder
    far = np.linalg.norm(mesh.points[edges].mean(axis=1) - [x, y], axis=1)
    edges = edges[far < 1.2 * radius]
    cells = mesh.cells["triangle"]
    member = [np.flatnonzero((np.isin(cells, edge)).sum(axis=1) == 2)[0] for edge in edges]
    corners = mesh.points[cells[member]]
    ends = mesh.points[edges]
    along = ends[:, 1] - ends[:, 0]
    normal = np.stack([along[:, 1], -along[:, 0]], axis=1)
    outward = ends.mean(axis=1) - [x, y]
    normal *= np.sign((normal * outward).sum(axis=1))[:, None]
    inverse = np.linalg.inv(
        np.stack([corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]], axis=1)
    )
    u = velocity[:, cells[member]] * run.speed
    steps = np.stack([u[:, :, 1] - u[:, :, 0], u[:, :, 2] - u[:, :, 0]], axis=2)
    gradient = np.einsum("eij,tejc->teic", inverse, steps)
    stress = run.viscosity * (gradient + gradient.swapaxes(2, 3))
    p = pressure[:, edges, 0].mean(axis=2) * run.speed**2
    force = -p[..., None] * normal + np.einsum("teij,ej->tei", stress, normal)
    return force.sum(axis=1)[:, 1]


def shedding(series: np.ndarray) -> tuple[float, float]:
    """The mean period in steps, by upward crossings of the mean, and the amplitude."""
    x = series - series.mean()
    up = np.flatnonzero((x[:-1] < 0) & (x[1:] >= 0))
    if len(up) < 2:
        return float("inf"), float(np.sqrt(2.0) * x.std())
    at = up + x[up] / (x[up] - x[up + 1])
    return float(np.diff(at).mean()), float(np.sqrt(2.0) * x.std())


@dataclass(frozen=True)
class Scores:
    """Of one run: mean square errors [m2/s2] of each step, from the true state and rolled out, of
    rolling out by doing nothing and by the mean flow; relative errors of the Strouhal number and
    of the lift's amplitude."""

    one: np.ndarray
    rolled: np.ndarray
    stays: np.ndarray
    stays_one: np.ndarray
    mean: np.ndarray
    strouhal: float
    amplitude: float


def scores(run: Run, model: Predictor) -> Scores:
    """How well a run is answered."""
    sample = run.sample
    truth = {k: f.values for k, f in sample.fields.items()}
    free, u = run.free, truth["velocity"]

    def square(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        return np.square((found - wanted)[:, free] * run.speed).mean(axis=(1, 2))

    answer = model.predict([sample.case])[0].mean
    told = {k: answer[k].values for k in truth}
    steps = np.array([0.0, STEP])
    pairs = []
    for k in range(len(u) - 1):
        known = {name: Field(values[[k]]) for name, values in truth.items()}
        pairs.append(Case(sample.case.mesh, sample.case.parameters, known, times=steps))
    singles = np.stack([p.mean["velocity"].values[1] for p in model.predict(pairs)])
    mine, true = (shedding(lift(run, f["velocity"], f["pressure"])) for f in (told, truth))
    return Scores(
        square(singles, u[1:]),
        square(told["velocity"][1:], u[1:]),
        square(u[:1], u[1:]),
        square(u[:-1], u[1:]),
        square(u.mean(axis=0, keepdims=True), u[1:]),
        abs(true[0] / mine[0] - 1.0),
        abs(mine[1] / true[1] - 1.0),
    )


def rms(parts: Sequence[np.ndarray]) -> float:
    """The root of the mean of all."""
    return float(np.sqrt(np.mean(np.concatenate(parts))))


def transformer() -> GraphTransformer:
    """As it is scored."""
    rings = Reach(rings=(1, 1, 2, 4))
    return GraphTransformer(6, 64, 4, rings, None, held=HELD, **TRAINING)


def messages(depth: int, width: int) -> MeshGraphNet:
    """The same training."""
    return MeshGraphNet(depth, width, held=HELD, **TRAINING)


def steps_within(step: GraphSurrogate, minutes: float) -> int:
    """How many are trained in so long."""
    samples = examples([k for k in range(8) if k not in FOLDS[0]])

    def measure() -> float:
        estimate = Rollout(step).estimate(samples)
        assert estimate is not None
        return estimate[0] / step.descent.steps

    return max(int(60.0 * minutes / seconds_per_step(measure)), 50)


def kept(step: GraphSurrogate, fold: int, minutes: float) -> Path:
    """Where the trained network is."""
    known = hashlib.sha256(f"{code()} {step} {fold} {minutes}".encode()).hexdigest()[:12]
    return CACHE / f"rollout_{known}.fieldcast"


def train(step: GraphSurrogate, fold: int, minutes: float, steps: int) -> None:
    """A roll-out trained for so many steps on the runs outside a fold, where it is not kept."""
    path = kept(step, fold, minutes)
    if path.exists():
        return
    samples = examples([k for k in range(8) if k not in FOLDS[fold]])
    descent = replace(step.descent, steps=steps, every=max(steps // 20, 1))
    clock = Clock()
    model = Rollout(replace(step, descent=descent)).fit(samples, validation=(), seed=0)
    say(f"{type(step).__name__} {step.depth}x{step.width}: {steps} steps in {clock() / 60:.1f} min")
    CACHE.mkdir(exist_ok=True)
    model.save(path)


def code() -> str:
    """Of what the figures depend on."""
    names = ("attention*", "graph*", "mesh_graph_net", "rollout", "training")
    sources = sorted(p for n in names for p in Path(surrogates.__file__).parent.glob(f"{n}.py"))
    return hashlib.sha256(b"".join(p.read_bytes() for p in sources)).hexdigest()[:12]


def main() -> None:
    given = arguments(__doc__ or "")
    minutes = 0.75 if given.quick else MINUTES
    folds = range(1 if given.quick else len(FOLDS))
    recipes: dict[str, GraphSurrogate] = {"graph transformer": transformer()}
    sizes = list(MESSAGES.items())[: 1 if given.quick else None]
    recipes |= {name: messages(*size) for name, size in sizes}
    recipes = {k: placed(step, given.device) for k, step in recipes.items()}
    clock, tasks = Clock(), []
    for step in recipes.values():
        if not all(kept(step, fold, minutes).exists() for fold in folds):
            steps = steps_within(step, minutes)
            tasks += [(step, fold, minutes, steps) for fold in folds]
    at_once(train, tasks, given.device)
    found: dict[str, list[Scores]] = {}
    for name, step in recipes.items():
        for fold in folds:
            model = load(kept(step, fold, minutes))
            found.setdefault(name, []).extend(scores(r, model) for r in runs(FOLDS[fold]))
        say(f"{name}: rollout {rms([s.rolled for s in found[name]]):.4f} m/s")
    report(given, found, clock())


def placed(step: GraphSurrogate, device: str | None) -> GraphSurrogate:
    """Trained there."""
    return replace(step, descent=replace(step.descent, device=device))


def report(given: argparse.Namespace, found: dict[str, list[Scores]], seconds: float) -> None:
    """Tables and bars."""
    ours = found["graph transformer"]
    best = {
        kind: min(
            rms([getattr(s, kind) for s in parts])
            for name, parts in found.items()
            if name in MESSAGES
        )
        for kind in ("one", "rolled")
    }
    mine = {kind: rms([getattr(s, kind) for s in ours]) for kind in best}
    stays, mean = rms([s.stays for s in ours]), rms([s.mean for s in ours])
    n, loose = len(ours), 2.0 if given.quick else 1.0

    def bar(name: str, value: float, goal: float) -> Bar:
        full = goal if given.quick else None
        return Bar(name, value, goal * loose, n, seconds, full_goal=full)

    late = max(float(np.sqrt(s.rolled[STABLE - 1] / s.mean.mean())) for s in ours)
    bars = [
        bar("rollout RMSE, transformer / best MeshGraphNet", mine["rolled"] / best["rolled"], 0.6),
        bar("1-step RMSE, transformer / best MeshGraphNet", mine["one"] / best["one"], 0.6),
        bar("rollout RMSE, transformer / persistence", mine["rolled"] / stays, 1.0),
        bar("rollout RMSE, transformer / mean flow", mine["rolled"] / mean, 1.0),
        bar("rollout RMSE, best MeshGraphNet / persistence", best["rolled"] / stays, 1.0),
        bar("rollout RMSE, best MeshGraphNet / mean flow", best["rolled"] / mean, 1.0),
        bar("RMSE at step 100 / mean flow, worst run", late, 2.0),
        bar("Strouhal number off by, worst run", max(s.strouhal for s in ours), 0.05),
        bar("lift amplitude off by, worst run", max(s.amplitude for s in ours), 0.15),
    ]
    rows = [
        (
            name,
            rms([s.one for s in parts]),
            rms([s.rolled for s in parts]),
            ", ".join(f"{rms([s.rolled]):.3g}" for s in parts),
            ", ".join(f"{s.strouhal:.1%}" for s in parts),
            ", ".join(f"{s.amplitude:.0%}" for s in parts),
        )
        for name, parts in found.items()
    ]
    rows.append(("persistence", rms([s.stays_one for s in ours]), stays, "", "", ""))
    rows.append(("mean flow (of the run itself)", mean, mean, "", "", ""))
    head = ("surrogate", "1 step [m/s]", "rollout [m/s]", "each run", "Strouhal off", "lift off")
    finish("cylinder_rollout", given, bars, {"roll-outs": table(head, rows)})


if __name__ == "__main__":
    main()
