"""Time and memory of MMGP: 500 plates of 10,000 nodes to fit, 200 to predict; and 20 plates of
10^4, 10^5, 10^6 nodes.

The fit is the published setting (six fields, four scalars, 16 + 16 modes, one kernel per field),
reading apart. Published MMGP: 112 s to prepare and 1,396 s to train, 86 s to predict.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from bars import Bar, Clock, arguments, finish, say, table
from plates import plate_sets

from fieldcast.meshes import Case, Field, Mesh, Sample, Samples, Scalar
from fieldcast.meshes.sample import scalars_of
from fieldcast.solvers.plate_mesh import plate_mesh
from fieldcast.surrogates import MMGP, Training

PUBLISHED = MMGP(shared_kernel=True, shape_tolerance=0.0)
BASE_SIZES = {10_000: (0.0195, 0), 100_000: (0.0248, 2), 1_000_000: (0.0155, 3)}


class PeakMemory:
    """The most resident memory [GiB] of this process while it runs, sampled."""

    def __init__(self) -> None:
        self.peak = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.peak = max(self.peak, pages * 4096 / 2**30)


def six_fields(sample: Sample) -> Sample:
    """The published outputs: von Mises stress as the sixth field, its mean as the fourth scalar."""
    s11, s22, s12 = (sample.fields[k].values for k in ("sig11", "sig22", "sig12"))
    mises = np.sqrt(s11**2 - s11 * s22 + s22**2 + 3 * s12**2)
    fields = {**sample.fields, "mises": Field(mises)}
    return replace(
        sample,
        fields=fields,
        scalars={**sample.scalars, "mean_mises": Scalar(mises.mean(keepdims=True)[0, 0])},
    )


def published(train: int, test: int) -> dict[str, float]:
    """Seconds to fit and to predict, peak memory [GiB]; run in a process of its own."""
    fitted, asked = plate_sets("P1", "10k" if train == 500 else "2k", train, test)
    fitted, asked = [six_fields(s) for s in fitted], [six_fields(s).case for s in asked]
    samples = Samples.pack(fitted)
    del fitted
    with PeakMemory() as memory:
        clock = Clock()
        predictor = PUBLISHED.fit(samples, progress=_tell)
        fit = clock()
        clock = Clock()
        predictor.predict(asked)
        predict = clock()
    return {"fit": fit, "predict": predict, "memory": memory.peak}


def _tell(stage: str, done: int, total: int) -> None:
    if done == total:
        say(stage, done)


def refined(mesh: Mesh) -> Mesh:
    """Every triangle cut in four."""
    t = mesh.cells["triangle"].astype(np.int64)
    n = len(mesh.points)
    ends = np.sort(np.concatenate([t[:, [0, 1]], t[:, [1, 2]], t[:, [2, 0]]]), axis=1)
    keys, place = np.unique(ends[:, 0] * n + ends[:, 1], return_inverse=True)
    middle = 0.5 * (mesh.points[keys // n] + mesh.points[keys % n])
    a, b, c = (n + place).reshape(3, -1)
    parts = ((t[:, 0], a, c), (a, t[:, 1], b), (c, b, t[:, 2]), (a, b, c))
    cells = np.concatenate([np.stack(p, axis=1) for p in parts])
    return Mesh(np.concatenate([mesh.points, middle]), {"triangle": cells})


def plates_of(nodes: int, count: int) -> Sequence[Sample]:
    """Plates of about so many nodes with a smooth field and a scalar that follow the shape and a
    parameter."""
    size, times = BASE_SIZES[nodes]
    found = []
    for i, radius in enumerate(np.linspace(0.25, 0.75, count)):
        mesh = plate_mesh(float(radius), size, seed=i)
        for _ in range(times):
            mesh = refined(mesh)
        load = 40.0 + (7 * i) % 11
        x, y = mesh.points.T
        field = load * np.exp(-((np.hypot(x, y - 1.0) / radius - 1.0) ** 2)) * (1.0 + 0.1 * y)
        case = Case(mesh, scalars_of({"load": load}))
        found.append(
            Sample(case, {"u": Field.steady(field)}, scalars_of({"top": float(field.max())}))
        )
    return found


def scaling(sizes: Sequence[int], count: int) -> list[tuple[int, float]]:
    """(mean nodes, seconds to fit) by size; the mesh making is not counted."""
    found = []
    for nodes in sizes:
        samples = Samples.pack(plates_of(nodes, count))
        mean = int(np.mean([len(m.points) for m in samples.cases.meshes[""].distinct]))
        clock = Clock()
        MMGP(training=Training(starts=1)).fit(samples)
        found.append((mean, clock()))
        say(f"{mean} nodes: {found[-1][1]:.1f} s")
    return found


def main() -> None:
    if sys.argv[1:2] == ["--published"]:
        print(json.dumps(published(int(sys.argv[2]), int(sys.argv[3]))))
        return
    given = arguments(__doc__ or "")
    cases = (120, 60) if given.quick else (500, 200)
    command = [sys.executable, __file__, "--published", *map(str, cases)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(answer.stdout.strip().splitlines()[-1])
    goals = (60.0, 10.0, 2.0)
    labels = ("fit, s", "predict, s", "peak memory, GiB")
    what = (
        f"{cases[0]} fitted, {cases[1]} predicted, "
        + ("2,000" if given.quick else "10,000")
        + " nodes"
    )
    bars = [
        Bar(
            f"{what}: {label}",
            found[key],
            goal,
            cases[0],
            found["fit"],
            full_goal=goal if given.quick else None,
        )
        for label, key, goal in zip(labels, ("fit", "predict", "memory"), goals, strict=True)
    ]
    sizes = (10_000, 100_000) if given.quick else (10_000, 100_000, 1_000_000)
    steps = scaling(sizes, 20 if not given.quick else 6)
    per_node = [seconds / nodes for nodes, seconds in steps]
    rows = [(n, s, f"{p * 1e6 / 20:.2f}") for (n, s), p in zip(steps, per_node, strict=True)]
    bars.append(
        Bar(
            f"{len(steps)} sizes: time per node, largest / smallest",
            per_node[-1] / per_node[0],
            2.0,
            20,
            steps[-1][1],
        )
    )
    head = ("nodes", "seconds for 20 cases", "microseconds per node and case")
    finish("mmgp_scale", given, bars, {"scaling": table(head, rows)})


if __name__ == "__main__":
    main()
