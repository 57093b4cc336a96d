"""Batches of small meshes: what supervision, the manifest and safe writing cost beside the same
work one step after the other, two cores beside one, and a manifest of a million rows.

The meshes are coarse plates (some 500 nodes, VTU), the model `pod_ridge` on harmonic morphings. One
core at a time is allowed where "one core" is said. Start-up and the loading of the model are left
out: a rate is that after the first quarter of the folder. The plain loop is pyvista.read, predict,
save, one mesh at a time. All take turns, and ratios are medians over the rounds.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bars import Bar, Clock, arguments, finish, say, table

from fieldcast.meshes import Case, Mesh, Reader, Sample, write_mesh
from fieldcast.meshes.case_reading import CaseReader, folder_cases, folder_tables
from fieldcast.meshes.writing import write_prediction
from fieldcast.pipelines.answering import answering, asked_settings
from fieldcast.pipelines.groups import Budget
from fieldcast.pipelines.manifest import Manifest
from fieldcast.pipelines.predicting import Job, predict_folder
from fieldcast.solvers.plate import DoubleNotchedPlate, plate_cases
from fieldcast.surrogates import PodRidge, load

TRAIN, SIZE, LEVEL = 24, 0.09, 0.95
ROUNDS = 5
ROWS = Path(__file__).with_name("batch_rows.py")
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Rate:
    """Meshes per second of a batch, and its manifest."""

    meshes: float
    manifest: Path


def make_folder(folder: Path, count: int) -> Path:
    """`count` plates as VTU, no two the same (few shapes, scaled by some 1e-6 each: answers of
    equal meshes would be made once); returns the model's path."""
    solver = DoubleNotchedPlate()
    samples = [solver.solve(case) for case in plate_cases(TRAIN, seed=0, size=SIZE)]
    samples = [Sample(s.case, {"U2": s.fields["U2"]}, s.scalars) for s in samples]
    asked = folder / "asked"
    asked.mkdir()
    for i in range(count):
        case = samples[i % TRAIN].case
        path = asked / f"plate_{i:05d}.vtu"
        write_mesh(case.mesh.scaled(1.0 + 1e-6 * i), path, scalars=case.parameters)
    return PodRidge().fit(samples).save(folder / "plate.fieldcast")


def apart(model: Path, folder: Path, out: Path, device: str | None) -> dict[str, float]:
    """Milliseconds per mesh of reading, predicting and writing, one after the other, a group at a
    time."""
    import torch

    torch.set_num_threads(1)
    predictor = load(model)
    asked = answering(predictor, device, LEVEL, Budget().nodes)
    files, settings = folder_cases(folder, asked_settings(predictor))
    out.mkdir()
    spent = dict.fromkeys(("reading", "predicting", "writing"), 0.0)
    with Reader() as reader:
        cases = CaseReader(settings, folder_tables(folder), reader)
        asked.answers([cases.read(files[0]).case])  # what is made once is made before
        for start in range(0, len(files), Budget().cases):
            group = files[start : start + Budget().cases]
            read, seconds = _timed(lambda group=group: [cases.read(f) for f in group])
            spent["reading"] += seconds
            answers, seconds = _timed(lambda read=read: asked.answers([r.case for r in read]))
            spent["predicting"] += seconds
            _, seconds = _timed(
                lambda found=(answers, group, read): [
                    write_prediction(
                        a, out / f.mesh.name, source=f.mesh, levels=(LEVEL,), native=r.raw
                    )
                    for a, f, r in zip(*found, strict=True)
                ]
            )
            spent["writing"] += seconds
    return {step: 1e3 * seconds / len(files) for step, seconds in spent.items()}


def plain_loop(model: Path, folder: Path, out: Path) -> float:
    """Milliseconds per mesh of pyvista.read, predict, save."""
    import pyvista

    predictor = load(model)
    out.mkdir()

    def answer(path: Path) -> None:
        grid = pyvista.read(path)
        mesh = Mesh(grid.points[:, :2], {"triangle": grid.cells_dict[5]})
        scalars = {n: float(grid.field_data[n][0]) for n in predictor.signature.parameters}
        [found] = predictor.predict([Case(mesh, scalars)])
        for name, field in found.mean.items():
            grid.point_data[name] = field.values[0]
        grid.save(out / path.name)

    paths = sorted(folder.glob("*.vtu"))
    answer(paths[0])
    _, spent = _timed(lambda: [answer(p) for p in paths])
    return 1e3 * spent / len(paths)


def batch_rate(model: Path, folder: Path, out: Path, job: Job) -> Rate:
    """Of the whole machinery, after a quarter of the folder."""
    told: list[tuple[float, int]] = []

    def progress(stage: str, done: int, total: int) -> None:
        if 4 * done >= total:
            told.append((time.perf_counter(), done))

    batch = predict_folder(model, folder, out, job=job, progress=progress)
    assert not batch.failed, batch.counts
    (start, first), (end, last) = told[0], told[-1]
    return Rate((last - first) / (end - start), batch.manifest)


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    found = work()
    return found, time.perf_counter() - start


def _percentiles(rate: Rate) -> tuple[float, float, float, int]:
    """(p50, p95) of ms per mesh, the share of input and output, and nodes per mesh."""
    with Manifest(rate.manifest) as manifest:
        rows = list(manifest.rows())
    spent = [1e3 * (t.read + t.predict + t.write) for _, t in rows]
    moving = sum(t.read + t.write for _, t in rows) / sum(
        t.read + t.predict + t.write for _, t in rows
    )
    cuts = statistics.quantiles(spent, n=20)
    return cuts[9], cuts[18], moving, int(statistics.mean(o.nodes or 0 for o, _ in rows))


def rows_bars(given: Any) -> tuple[list[Bar], str]:
    """Of a manifest of many rows."""
    count = 200_000 if given.quick else 1_000_000
    say(f"a manifest of {count} rows")
    clock = Clock()
    done = subprocess.run(
        [sys.executable, str(ROWS), str(count)], check=True, capture_output=True, text=True
    )
    found = json.loads(done.stdout)
    bars = [
        Bar(f"{count} rows: {name}, s", found[name], 30.0, 1, clock())
        for name in ("start", "resume", "merge")
    ]
    bars.append(Bar(f"{count} rows: peak memory, MB", found["peak_mb"], 500.0, 1, clock()))
    rows = [(name, value) for name, value in found.items()]
    return bars, table(("step", "s or MB"), rows)


@dataclass(frozen=True)
class Round:
    """Milliseconds per mesh of each step apart, of the plain loop, and rates on one core and on
    two."""

    steps: dict[str, float]
    loop: float
    one: Rate
    two: Rate

    @property
    def overhead(self) -> float:
        """The cost of the batch beside its steps."""
        return 1e3 / self.one.meshes / sum(self.steps.values())

    @property
    def gain(self) -> float:
        """Two cores beside one."""
        return self.two.meshes / self.one.meshes


def measured(model: Path, folder: Path, root: Path, device: str | None) -> Round:
    """All ways, one after the other."""
    cores = sorted(os.sched_getaffinity(0))
    jobs = [Job(level=LEVEL, device=device, workers=n) for n in (1, 2)]
    os.sched_setaffinity(0, cores[:1])
    try:
        one = batch_rate(model, folder, root / "one", jobs[0])
        steps = apart(model, folder, root / "apart", device)
        loop = plain_loop(model, folder, root / "loop")
    finally:
        os.sched_setaffinity(0, cores)
    return Round(steps, loop, one, batch_rate(model, folder, root / "two", jobs[1]))


def throughput(rounds: list[Round], nodes: int) -> str:
    """The table of what a mesh takes."""
    every = [{**r.steps, "the three together": sum(r.steps.values())} for r in rounds]
    ms = {step: statistics.median(r[step] for r in every) for step in every[0]}
    ms["pyvista.read, predict, save"] = statistics.median(r.loop for r in rounds)
    ms["batch, one core"] = statistics.median(1e3 / r.one.meshes for r in rounds)
    ms["batch, two cores"] = statistics.median(1e3 / r.two.meshes for r in rounds)
    rows = [(name, spent, 1e3 / spent, 1e3 * nodes / spent) for name, spent in ms.items()]
    return table(("what", "ms per mesh", "meshes per second", "nodes per second"), rows)


def main() -> None:
    given = arguments(__doc__)
    count = 480 if given.quick else 2000
    goal, full = (1.35, 1.7) if given.quick else (1.7, None)
    clock, rounds = Clock(), []
    with tempfile.TemporaryDirectory() as name:
        model = make_folder(Path(name), count)
        for k in range(ROUNDS):
            with tempfile.TemporaryDirectory(dir=name) as root:
                rounds.append(measured(model, Path(name) / "asked", Path(root), given.device))
                p50, p95, moving, nodes = _percentiles(rounds[-1].one)
            say(f"round {k + 1}: {rounds[-1].overhead:.2f} of the steps, {rounds[-1].gain:.2f}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
    overhead = statistics.median(r.overhead for r in rounds)
    gain = statistics.median(r.gain for r in rounds)
    bars = [
        Bar(f"{count} meshes, one core: cost beside its steps", overhead, 1.3, ROUNDS, clock()),
        Bar("two cores beside one", gain, goal, ROUNDS, clock(), True, full),
    ]
    more, listed = rows_bars(given)
    figures = [
        ("nodes per mesh", nodes),
        ("share of input and output, one core", moving),
        ("p50 of a mesh, ms", p50),
        ("p95 of a mesh, ms", p95),
        ("peak memory of a process, MB", peak),
    ]
    tables = {
        "throughput": throughput(rounds, nodes),
        "the batch": table(("figure", "value"), figures),
        "manifest": listed,
    }
    finish("batch", given, [*bars, *more], tables)


if __name__ == "__main__":
    main()
