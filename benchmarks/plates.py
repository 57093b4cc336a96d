"""Solved plates for benchmarks: made by all cores once, then kept in benchmarks/.cache."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from bars import Clock, say

from fieldcast.meshes import Case, Field, Mesh, Sample, Samples, Scalar
from fieldcast.meshes.sample import scalars_of
from fieldcast.solvers.plate import DoubleNotchedPlate, plate_design
from fieldcast.solvers.plate_mesh import plate_mesh
from fieldcast.solvers.viscoplastic import ElastoViscoplastic

CACHE = Path(__file__).parent / ".cache"
SIZES = {"2k": 0.0433, "10k": 0.0195}
SOLVERS = {
    "P1": DoubleNotchedPlate(),
    "P2": DoubleNotchedPlate(degree=2),
    "EVP": DoubleNotchedPlate(law=ElastoViscoplastic()),
}


def plate_sets(law: str, size: str, train: int, test: int) -> tuple[list[Sample], list[Sample]]:
    """Training plates (optimised Latin hypercube) and test plates (another one)."""
    clock = Clock()
    sets = [
        solved(
            law, SIZES[size], plate_design(train, seed=0, spread=True), f"train{train}_{size}", 0
        ),
        solved(law, SIZES[size], plate_design(test, seed=1), f"test{test}_{size}", train),
    ]
    say(f"plates {law} {size}: {clock():.0f} s")
    return sets[0], sets[1]


def solved(
    law: str, size: float, rows: Sequence[dict[str, float]], label: str, seed: int
) -> list[Sample]:
    """One sample per row of a design; mesh seeds count from `seed`."""
    path = CACHE / f"{law}_{label}.npz"
    if not path.exists():
        jobs = [(law, size, row, seed + i) for i, row in enumerate(rows)]
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            found = list(pool.map(_solve, jobs, chunksize=8))
        CACHE.mkdir(exist_ok=True)
        named = {f"{i}/{k}": v for i, arrays in enumerate(found) for k, v in arrays.items()}
        np.savez(path, **named)
    with np.load(path, allow_pickle=False) as stored:
        entries: list[dict[str, np.ndarray]] = [{} for _ in rows]
        for key in stored.files:
            i, name = key.split("/", 1)
            entries[int(i)][name] = stored[key]
    return [_sample(e, f"{label}_{i:04d}") for i, e in enumerate(entries)]


def _solve(job: tuple[str, float, dict[str, float], int]) -> dict[str, np.ndarray]:
    law, size, row, seed = job
    row = dict(row)
    mesh = plate_mesh(row.pop("radius"), size, seed=seed)
    return _arrays(SOLVERS[law].solve(Case(mesh, scalars_of(row))))


def _arrays(sample: Sample) -> dict[str, np.ndarray]:
    mesh = sample.case.mesh
    found = {"points": mesh.points, "triangle": mesh.cells["triangle"]}
    found |= {f"p/{k}": v.value for k, v in sample.case.parameters.items()}
    found |= {f"f/{k}": v.values for k, v in sample.fields.items()}
    return found | {f"s/{k}": v.value for k, v in sample.scalars.items()}


def _sample(e: dict[str, np.ndarray], name: str) -> Sample:
    def group(mark: str) -> dict[str, np.ndarray]:
        return {k.removeprefix(mark): v for k, v in e.items() if k.startswith(mark)}

    case = Case(
        Mesh(e["points"], {"triangle": e["triangle"]}),
        {k: Scalar(v) for k, v in group("p/").items()},
        name=name,
    )
    fields = {k: Field(v) for k, v in group("f/").items()}
    return Sample(case, fields, {k: Scalar(v) for k, v in group("s/").items()})


def one_numbering(samples: Sequence[Sample]) -> list[Sample]:
    """The samples on one numbering: each on the common mesh, which is moved to its own shape, so
    that many fits to parts of them need not morph again."""
    from fieldcast.surrogates.embedding import carry

    carried = carry(Samples.pack(samples), None)
    reference, found = carried.chart.reference, []
    for i, sample in enumerate(samples):
        points = reference.points if carried.coordinates is None else carried.coordinates[i].T
        case = Case(reference.moved(points), sample.case.parameters, name=sample.case.name)
        fields = {
            k: Field.steady(values[i].T, sample.fields[k].unit)
            for k, values in carried.fields.items()
        }
        found.append(Sample(case, fields, sample.scalars))
    return found
