"""Shapes without a common topology or parametrisation: the graph transformer beside MeshGraphNet, a
pointwise network and the trivial answers.

26 RANS airfoils, less the one that has not settled, and 36 plates with one or two elliptical holes.
Fifths are left out, once each; the settings of the networks were chosen on the first. All learn
from mirrored copies, too; what answers without a network also without them, and the best counts.
All networks read the same inputs of a node, learn by the same loop and for as many steps as the
same time of two quiet cores holds, by one thread or by both, whichever is faster. The pointwise
network is the transformer without its attention; as it overfits, it also learns for a third of the
time. Answers of trained networks are kept in .cache, so a run that was stopped goes on. Nearest
case and mean field of the airfoils are carried by MMGP's morphing, those of the plates by
interpolation in x/L, y/H. Plates are in units of their nominal stress, the problem being linear.
MMGP is fitted to all airfoils, to plates apart by their number of holes.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
from bars import Bar, Clock, arguments, data_folder, finish, say, table
from budgets import at_once, seconds_per_step
from scipy.spatial import cKDTree
from torch import Tensor, nn
from unparametrised import RECIPE, airfoils

from fieldcast import surrogates
from fieldcast.meshes import Field, Mesh, Prediction, Sample, Samples, Scalar
from fieldcast.meshes.folder import read_folder
from fieldcast.meshes.topology import boundary_loops
from fieldcast.meshes.transfer import Interpolant
from fieldcast.surrogates import (
    MMGP,
    Descent,
    GraphTransformer,
    MeanField,
    MeshGraphNet,
    NearestCase,
    Predictor,
)
from fieldcast.surrogates.embedding import carry
from fieldcast.surrogates.graph import Graph
from fieldcast.surrogates.graph_data import Reading
from fieldcast.surrogates.graph_layers import Batch, GatedMlp, RmsNorm, mlp
from fieldcast.surrogates.graph_network import GraphNet
from fieldcast.surrogates.graph_objective import GraphTraining
from fieldcast.surrogates.graph_surrogate import GraphSurrogate
from fieldcast.surrogates.scores import rrmse_field

FOLDS = 5
MODULUS = 210e9
EDGE = 1e-6
GRID = (48, 24)
NEAR = 1e-4
"""Distances are told apart down to here."""
PILOTS = (1, 4, 24)
"""Steps of the fits that tell the time of a step, the first of which compiles."""
CACHE = Path(__file__).parent / ".cache"
SIGNS = {
    "U": (1.0, -1.0),
    "p": (1.0,),
    "displacement": (1.0, -1.0),
    "stress_xx_yy_xy": (1.0, 1.0, -1.0),
    "von_mises": (1.0,),
}
ODD = ("alpha_deg", "alpha_lift", "bending")
"""Parameters that change sign in a mirror, and the signs of components."""
BASELINES = ("nearest", "mean field", "pointwise")
Answers: TypeAlias = list[Mapping[str, Field]]
"""Fields of each case."""


class PointwiseNet(GraphNet):
    """The transformer's encoder, gated layers and decoder: every node for itself."""

    def __init__(self, columns: int, outputs: int, width: int, depth: int) -> None:
        super().__init__(width, outputs, 0)
        self.encoder = nn.Sequential(mlp([columns] + [width] * 4), RmsNorm(width))
        self.layers = nn.ModuleList(
            nn.Sequential(RmsNorm(width), GatedMlp(width)) for _ in range(depth)
        )

    @property
    def values_kept(self) -> int:
        return self.width * len(self.layers)

    def states(self, x: Tensor, batch: Batch) -> Tensor:
        h = self.encoder(x)
        for layer in self.layers:
            h = h + layer(h)
        return h


@dataclass(frozen=True)
class Pointwise(GraphSurrogate):
    """A network that sees no neighbours."""

    depth: int = 4
    width: int = 64
    descent: Descent = field(default_factory=Descent)

    @property
    def training(self) -> GraphTraining:
        return GraphTraining(self.descent)

    def graphs(self, graph: Graph) -> tuple[Graph, ...]:
        return (graph,)

    def wants_sharing(self, graphs: Sequence[Graph]) -> bool:
        return False

    def network(self, reading: Reading, sharing: bool) -> GraphNet:
        return PointwiseNet(reading.width(), sum(reading.channels()), self.width, self.depth)


DESCENT = Descent(batch=1, rate=4e-3, decay=1e-4, optimiser="soap")
NETWORKS: dict[str, tuple[GraphSurrogate, float]] = {
    "transformer": (GraphTransformer(depth=2, sharing=None, descent=DESCENT), 1.0),
    "MeshGraphNet": (MeshGraphNet(depth=2, descent=DESCENT), 1.0),
    "pointwise": (Pointwise(descent=DESCENT), 1.0),
    "pointwise, a third of the time": (Pointwise(descent=DESCENT), 1 / 3),
}
"""And the share of the time that each learns."""


@dataclass(frozen=True)
class Family:
    """A data set, the region that its shapes differ by, what answers without networks given
    training and test samples, and how long each network learns a fold [s]."""

    name: str
    samples: list[Sample]
    body: str
    others: Callable[[list[Sample], list[Sample]], dict[str, Answers]]
    seconds: float


@dataclass
class Found:
    """Cases that were left out, all answers, and the steps that each network was trained for."""

    truth: list[Sample] = field(default_factory=list)
    answers: dict[str, Answers] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)

    def scores(self) -> dict[str, dict[str, float]]:
        """RRMSE of each field, by what answers."""
        return {
            name: {k: self._rrmse(k, answer) for k in self.truth[0].fields}
            for name, answer in self.answers.items()
        }

    def _rrmse(self, name: str, answer: Answers) -> float:
        truth = [s.fields[name].values for s in self.truth]
        return rrmse_field(truth, [a[name].values for a in answer])


def settled_airfoils() -> list[Sample]:
    """Velocity and pressure of those that have settled, with wall and far field as regions."""
    samples, settled = airfoils()
    found = []
    for sample, ok in zip(samples, settled, strict=True):
        mesh = sample.case.mesh
        far, wall = boundary_loops(mesh)
        marked = Mesh(mesh.points, mesh.cells, {"wall": wall, "far": far})
        if ok:
            found.append(Sample(replace(sample.case, mesh=marked), sample.fields))
    return found


def plates() -> list[Sample]:
    """In units of the nominal stress hypot(tx, 6 ty L / H), tension and bending at the clamped edge
    by beam theory; ends, edges and holes as regions."""
    found = []
    for s in read_folder(data_folder("perforated_plates")).samples:
        mesh, given = s.case.mesh, {k: float(v) for k, v in s.case.parameters.items()}
        edge, *holes = boundary_loops(mesh)
        x = mesh.points[edge, 0]
        ends = {"clamped": edge[x < EDGE], "loaded": edge[x > x.max() - EDGE]}
        regions = {**ends, "edge": edge, "hole": np.concatenate(holes)}
        bending = 6.0 * given["ty"] * np.ptp(mesh.points[:, 0]) / given["H"]
        nominal = float(np.hypot(given["tx"], bending))
        parameters = {
            "H": given["H"],
            "tension": given["tx"] / nominal,
            "bending": bending / nominal,
        }
        fields = {k: Field(f.values.astype(float) / nominal) for k, f in s.fields.items()}
        fields["displacement"] = Field(MODULUS * fields["displacement"].values[:, :, :2])
        case = replace(
            s.case,
            mesh=Mesh(mesh.points, mesh.cells, regions),
            parameters={k: Scalar(np.array([v])) for k, v in parameters.items()},
        )
        found.append(Sample(case, fields))
    return found


def carried(train: list[Sample], test: list[Sample]) -> dict[str, Answers]:
    """By MMGP's morphing: MMGP, the nearest case and the mean field."""
    common = carry(Samples.pack(train), RECIPE.morphing)
    recipes = {"MMGP": RECIPE, "nearest": NearestCase(), "mean field": MeanField()}
    cases = [s.case for s in test]
    return {k: means(r.fit_carried(common).predict(cases)) for k, r in recipes.items()}


def means(predictions: Sequence[Prediction]) -> Answers:
    """Of the fields."""
    return [p.mean for p in predictions]


@cache
def square(mesh: Mesh) -> Interpolant:
    """In x/L, y/H."""
    return Interpolant(mesh.moved(mesh.points / mesh.points.max(axis=0)))


@cache
def material(mesh: Mesh) -> np.ndarray:
    """Where a plate is, on a grid of the unit square."""
    axes = [(np.arange(n) + 0.5) / n for n in GRID]
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    return square(mesh).locate(grid)[1].astype(float)


def interpolated(train: list[Sample], test: list[Sample]) -> dict[str, Answers]:
    """In x/L, y/H, each a weighted sum over the training cases; MMGP within each topology."""
    found: dict[str, Answers] = {"MMGP": by_topology(train, test)}
    for s in test:
        x = square(s.case.mesh).mesh.points
        moved = [square(t.case.mesh).to(x).operator for t in train]
        stacks = {
            k: np.stack([m @ t.fields[k].values[0] for m, t in zip(moved, train, strict=True)])
            for k in s.fields
        }
        load, shape = distances(train, s)
        eye = np.eye(len(train))
        weights = {
            "nearest by load": eye[load.argmin()],
            "nearest by load and shape": eye[(load + shape).argmin()],
            "mean field": eye.mean(axis=0),
        }
        for name, w in weights.items():
            answer = {k: Field(np.tensordot(w, stack, 1)[None]) for k, stack in stacks.items()}
            found.setdefault(name, []).append(answer)
    return found


def distances(train: list[Sample], asked: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Squares, each relative to its mean over the training cases: of the parameters, and the share
    of the plate that one has and the other has not."""
    rows = np.array([[float(p) for p in s.case.parameters.values()] for s in [*train, asked]])
    load = np.square((rows[:-1] - rows[-1]) / rows[:-1].std(axis=0)).sum(axis=1)
    holes = np.array([np.mean(material(s.case.mesh) != material(asked.case.mesh)) for s in train])
    return load / load.mean(), holes / holes.mean()


def by_topology(train: list[Sample], test: list[Sample]) -> Answers:
    """MMGP, fitted to plates with as many holes."""
    loops = {s.case.mesh.topology.loops for s in test}
    models = {
        n: MMGP(modes=6, shape_modes=6).fit([s for s in train if s.case.mesh.topology.loops == n])
        for n in loops
    }
    return [models[s.case.mesh.topology.loops].predict([s.case])[0].mean for s in test]


def folds(n: int) -> list[np.ndarray]:
    """The cases left out, a fifth each."""
    return np.array_split(np.random.default_rng(0).permutation(n), FOLDS)


def mirrored(sample: Sample) -> Sample:
    """Upside down; the same physics."""
    case, mesh = sample.case, sample.case.mesh
    low, high = mesh.points[:, 1].min(), mesh.points[:, 1].max()
    points = np.stack([mesh.points[:, 0], low + high - mesh.points[:, 1]], axis=1)
    cells = {kind: block[:, ::-1] for kind, block in mesh.cells.items()}
    turned = {k: Scalar(-p.value, p.unit) if k in ODD else p for k, p in case.parameters.items()}
    return Sample(
        replace(case, mesh=Mesh(points, cells, mesh.regions), parameters=turned),
        {k: f.with_values(f.values * SIGNS[k]) for k, f in sample.fields.items()},
    )


def seen(sample: Sample, body: str) -> Sample:
    """With what a node knows of the body as known fields: log(d + 1e-4), d the distance to its
    nearest node, the direction there, and where that is."""
    mesh = sample.case.mesh
    rim = mesh.points[mesh.regions[body]]
    distance, place = cKDTree(rim).query(mesh.points)
    way = (rim[place] - mesh.points) / np.maximum(distance, NEAR)[:, None]
    columns = np.column_stack([np.log(distance + NEAR), way, rim[place]])
    return Sample(replace(sample.case, fields={"body": Field(columns[None])}), sample.fields)


def fitted(recipe: GraphSurrogate, train: list[Sample], steps: int) -> Predictor:
    """After so many steps. All cases are learnt from, none selects the weights."""
    descent = replace(recipe.training.descent, steps=steps, every=steps)
    return replace(recipe, descent=descent).fit(train, validation=[], seed=0)


def steps_within(recipe: GraphSurrogate, train: list[Sample], seconds: float) -> int:
    """How many are trained in so long, by the time that the first steps take."""

    def measure() -> float:
        taken = []
        for steps in PILOTS:
            clock = Clock()
            fitted(recipe, train[::10], steps)
            taken.append(clock())
        return max(taken[-1] - taken[-2], 1e-3) / (PILOTS[-1] - PILOTS[-2])

    return max(int(seconds / seconds_per_step(measure)), PILOTS[-1])


@dataclass(frozen=True)
class Training:
    """One network on one fold of a family, for so many steps."""

    family: Family
    fold: int
    name: str
    steps: int
    device: str | None

    @property
    def kept(self) -> Path:
        """Where its answers are."""
        family, network = self.family, (self.name, NETWORKS[self.name])
        told = f"{sources()} {family.name} {self.fold} {network} {family.seconds} {self.device}"
        return CACHE / f"shapes_{hashlib.sha256(told.encode()).hexdigest()[:12]}.npz"

    def run(self) -> None:
        """Trains and answers, where that is not kept."""
        if self.kept.exists():
            return
        recipe, _ = NETWORKS[self.name]
        placed = replace(recipe, descent=replace(recipe.training.descent, device=self.device))
        train, test = parted(self.family, self.fold)
        learnt = [seen(s, self.family.body) for s in train]
        asked = [seen(s, self.family.body).case for s in test]
        clock = Clock()
        model = fitted(placed, learnt, self.steps)
        say(f"{self.family.name} {self.fold}, {self.name}: {self.steps} steps, {clock():.0f} s")
        arrays = {}
        for i, answer in enumerate(means(model.predict(asked))):
            arrays |= {f"{i}/{name}": f.values for name, f in answer.items()}
        CACHE.mkdir(exist_ok=True)
        new = self.kept.with_suffix(".new.npz")
        np.savez_compressed(new, **arrays)
        new.replace(self.kept)

    def answers(self) -> Answers:
        """Those that are kept."""
        found: list[dict[str, Field]] = []
        with np.load(self.kept) as arrays:
            for key in arrays:
                number, _, name = key.partition("/")
                while len(found) <= int(number):
                    found.append({})
                found[int(number)][name] = Field(arrays[key])
        return list(found)


def sources() -> str:
    """A digest of what networks depend on."""
    names = ("attention*", "graph*", "mesh_graph_net", "training")
    paths = sorted(p for n in names for p in Path(surrogates.__file__).parent.glob(f"{n}.py"))
    return hashlib.sha256(b"".join(p.read_bytes() for p in paths)).hexdigest()[:12]


def parted(family: Family, fold: int, mirror: bool = True) -> tuple[list[Sample], list[Sample]]:
    """(training, test) samples of a fold; mirrored copies of the former, too."""
    samples = family.samples
    part = folds(len(samples))[fold]
    plain = [s for k, s in enumerate(samples) if k not in part]
    copies = [mirrored(s) for s in plain] if mirror else []
    return [*plain, *copies], [samples[k] for k in part]


def train_one(training: Training) -> None:
    """In a process of its own."""
    training.run()


def measured(family: Family, count: int, device: str | None) -> Found:
    """Some folds."""
    found, tasks = Found(), []
    learnt = [seen(s, family.body) for s in parted(family, 0)[0]]
    for name, (recipe, share) in NETWORKS.items():
        runs = [Training(family, fold, name, 0, device) for fold in range(count)]
        steps = 0
        if not all(run.kept.exists() for run in runs):
            steps = steps_within(recipe, learnt, share * family.seconds)
        found.steps[name] = steps
        tasks += [replace(run, steps=steps) for run in runs]
    at_once(train_one, [(task,) for task in tasks], device)
    for fold in range(count):
        say(f"{family.name}, fold {fold + 1} of {count}: the others")
        train, test = parted(family, fold)
        plain, _ = parted(family, fold, mirror=False)
        given = family.others(train, test)
        given |= {f"{k}, no mirror": a for k, a in family.others(plain, test).items()}
        given |= {task.name: task.answers() for task in tasks if task.fold == fold}
        found.truth += test
        for name, answer in given.items():
            found.answers.setdefault(name, []).extend(answer)
    return found


def report(family: Family, count: int, given: argparse.Namespace) -> tuple[str, list[Bar]]:
    """The table of a family, and a bar for each field."""
    clock = Clock()
    found = measured(family, count, given.device)
    scores, fields = found.scores(), list(found.truth[0].fields)
    rows = []
    for name, own in scores.items():
        rows.append((name, *(own[k] for k in fields), found.steps.get(name) or ""))
    bars = []
    for k in fields:
        best = min(own[k] for name, own in scores.items() if name.startswith(BASELINES))
        bars.append(
            Bar(
                f"{family.name}: {k}, transformer / best of nearest, mean, pointwise",
                scores["transformer"][k] / best,
                2.0 if given.quick else 1.0,
                len(found.truth),
                clock(),
                full_goal=1.0 if given.quick else None,
            )
        )
    head = ("RRMSE", *fields, "steps")
    return f"{len(found.truth)} cases left out\n\n{table(head, rows)}", bars


def main() -> None:
    given = arguments(__doc__ or "")
    seconds, count = ((30.0, 25.0), 1) if given.quick else ((75.0, 60.0), FOLDS)
    families = (
        Family("airfoils", settled_airfoils(), "wall", carried, seconds[0]),
        Family("plates", plates(), "hole", interpolated, seconds[1]),
    )
    tables, bars = {}, []
    for family in families:
        tables[family.name], own = report(family, count, given)
        bars += own
    finish("graph_shapes", given, bars, tables)


if __name__ == "__main__":
    main()
