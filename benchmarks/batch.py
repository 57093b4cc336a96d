"""Batches of small meshes: what supervision, the manifest and safe writing cost beside the same
work one step after the other, two cores beside one, and a manifest of a million rows.

The meshes are coarse plates (some 500 nodes, VTU), the model `pod_ridge` on harmonic morphings. One
core at a time is allowed where "one core" is said. Start-up and the loading of the model are left
out: a rate is that after the first quarter of the folder. The plain loop is pyvista.read, predict,
save, one mesh at a time.
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


def main() -> None:
    given = arguments(__doc__)
    count = 960 if given.quick else 2000
    goal, full = (1.35, 1.7) if given.quick else (1.7, None)
    cores = sorted(os.sched_getaffinity(0))
    clock = Clock()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        model = make_folder(root, count)
        folder = root / "asked"
        job = Job(level=LEVEL, device=given.device, workers=1)
        os.sched_setaffinity(0, cores[:1])
        say("one core: each step apart, and the plain loop")
        steps = apart(model, folder, root / "apart", given.device)
        loop = plain_loop(model, folder, root / "loop")
        say("one core: the batch")
        one = batch_rate(model, folder, root / "one", job)
        os.sched_setaffinity(0, cores)
        say("two cores: the batch")
        two = batch_rate(
            model, folder, root / "two", Job(level=LEVEL, device=given.device, workers=2)
        )
        p50, p95, moving, nodes = _percentiles(one)
    whole = sum(steps.values())
    overhead = 1e3 / one.meshes / whole
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
    bars = [
        Bar(f"{count} meshes, one core: cost beside its steps", overhead, 1.3, count, clock()),
        Bar("two cores beside one", two.meshes / one.meshes, goal, count, clock(), True, full),
    ]
    more, listed = rows_bars(given)
    rows = [(step, ms, 1e3 / ms) for step, ms in steps.items()]
    rows += [
        ("the three together", whole, 1e3 / whole),
        ("pyvista.read, predict, save", loop, 1e3 / loop),
        ("batch, one core", 1e3 / one.meshes, one.meshes),
        ("batch, two cores", 1e3 / two.meshes, two.meshes),
    ]
    figures = [
        ("nodes per mesh", nodes),
        ("nodes per second, two cores", nodes * two.meshes),
        ("share of input and output, one core", moving),
        ("p50 of a mesh, ms", p50),
        ("p95 of a mesh, ms", p95),
        ("peak memory of a process, MB", peak),
    ]
    tables = {
        "throughput": table(("what", "ms per mesh", "meshes per second"), rows),
        "the batch": table(("figure", "value"), figures),
        "manifest": listed,
    }
    finish("batch", given, [*bars, *more], tables)


if __name__ == "__main__":
    main()
