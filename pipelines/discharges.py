"""Discharges that models answer, and those that were measured."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Sample, Scalar
from fieldcast.meshes.battery import RATES, VOLTAGE, Cell, discharge, line
from fieldcast.solvers.battery import DFN, SPM, SingleParticle, SPMe
from fieldcast.solvers.battery.pybamm_models import PybammModel
from fieldcast.surrogates import Chebyshev, LevenbergMarquardt, Particles, Perceptron, Pinn
from fieldcast.surrogates.separable import grid
from fieldcast.surrogates.surrogate import Predictor, Progress, quiet

SETTINGS = "battery"
"""Where the card of a model keeps the discharge it answers."""
HELD = 8
"""Discharges to measure a model's error by."""
STEPS, POINTS = 100, 800
"""Of the training without data; benchmarks/battery_spm.py has its errors."""


@dataclass(frozen=True)
class Training:
    """What to learn of a `cell`: its discharge at so many `times`, over a `box` of parameters, from
    runs of a `solver` by polynomials of a `degree`, or, where that is "", from the equations of the
    single-particle model alone."""

    cell: Cell
    box: Mapping[str, tuple[float, float]]
    solver: str = ""
    degree: int = 4
    times: int = 101


def trained(training: Training, seed: int = 0, progress: Progress = quiet) -> Predictor:
    """The model, with the discharge it answers and its error of `HELD` others in its card.

    Raises:
        ValueError: no such solver, or parameters that it has not.
    """
    cell, box = training.cell, training.box
    case = discharge(cell, dict.fromkeys(RATES, 1.0), training.times)
    solver = _solver(training)
    if training.solver:
        degrees = dict.fromkeys(box, training.degree)
        runs = solver.solve_all(grid(case, box, degrees))
        order = tuple(degrees[k] for k in runs[0].case.parameters if k in degrees)
        predictor: Predictor = Chebyshev(order).fit(runs, seed=seed, progress=progress)
    else:
        if set(box) != set(RATES):
            raise ValueError(
                f"expected the parameters {list(RATES)} without a solver, got {list(box)}"
            )
        problem = Particles(cell, *(box[k] for k in RATES))
        method = LevenbergMarquardt(steps=STEPS, points=POINTS)
        recipe = Pinn(problem, Perceptron(16, 3), (method,))
        predictor = recipe.fit((), seed=seed, progress=progress)
    rng = np.random.default_rng(seed)
    low, high = np.array(list(box.values())).T
    places = low + (high - low) * rng.random((HELD, len(box)))
    cases = [placed(case, dict(zip(box, row, strict=True))) for row in places.tolist()]
    error = missed(predictor, solver.solve_all(cases))
    return remembered(predictor, case, box, error)


def _solver(training: Training) -> SingleParticle | PybammModel:
    """The one named, or finite volumes."""
    cell = training.cell
    made = {
        "": SingleParticle,
        "single_particle": SingleParticle,
        "spm": SPM,
        "spme": SPMe,
        "dfn": DFN,
    }
    if training.solver not in made:
        raise ValueError(f"--solver: expected one of {list(made)[1:]}, got {training.solver!r}")
    solver: SingleParticle | PybammModel = made[training.solver](cell)
    problem = solver.available()
    if problem:
        raise ValueError(f"--solver {training.solver}: {problem}")
    return solver


def missed(predictor: Predictor, held: Sequence[Sample]) -> Float[np.ndarray, " time"]:
    """The root of the mean square of what a predictor misses of samples it has not seen [V]."""
    answers = predictor.predict([s.case for s in held])
    gap = [
        p.scalars[VOLTAGE].mean - s.scalars[VOLTAGE].value
        for p, s in zip(answers, held, strict=True)
    ]
    return np.sqrt(np.mean(np.square(gap), axis=0))


def placed(case: Case, values: Mapping[str, float]) -> Case:
    """The case with these parameters."""
    unit = {k: s.unit for k, s in case.parameters.items()}
    scalars = {k: Scalar(np.array([v]), unit.get(k, "")) for k, v in values.items()}
    return replace(case, parameters={**case.parameters, **scalars})


def remembered(
    predictor: Predictor,
    case: Case,
    box: Mapping[str, tuple[float, float]],
    error: Float[np.ndarray, " time"],
) -> Predictor:
    """The model with the discharge that it answers, the box it learnt and its error [V] in its
    card."""
    parts = {k: m.points[:, 0].tolist() for k, m in case.parts.items()}
    kept = {
        "radii": case.mesh.points[:, 0].tolist(),
        "parts": parts,
        "times": case.times.tolist(),
        "parameters": {k: float(s) for k, s in case.parameters.items()},
        "box": {k: list(v) for k, v in box.items()},
        "error": error.tolist(),
    }
    return predictor.with_settings({SETTINGS: kept})


def _kept(predictor: Predictor) -> Any:
    if SETTINGS not in predictor.card.settings:
        raise ValueError(
            "expected a model made by `fieldcast battery train`, got one that does not say which "
            "discharge it answers"
        )
    return predictor.card.settings[SETTINGS]


def box_of(predictor: Predictor) -> dict[str, tuple[float, float]]:
    """The ranges that a model learnt."""
    return {k: (low, high) for k, (low, high) in _kept(predictor)["box"].items()}


def error_of(predictor: Predictor, sample: Sample) -> tuple[float, ...]:
    """What a model missed of discharges that it had not learnt [V], at the sample's times."""
    kept = _kept(predictor)
    return tuple(np.interp(sample.case.times, kept["times"], kept["error"]).tolist())


def discharge_of(predictor: Predictor) -> Case:
    """What `remembered` keeps.

    Raises:
        ValueError: a model without.
    """
    kept = _kept(predictor)
    parts = {k: line(np.array(x)) for k, x in kept["parts"].items()}
    mesh, times = line(np.array(kept["radii"])), np.array(kept["times"])
    return Case(mesh, kept["parameters"], parts=parts, times=times)


def read_discharge(path: str | Path, case: Case) -> Sample:
    """A measured discharge as a sample of the case: a CSV file with a column of times [s] and one
    of voltages [V], by their heads, interpolated to the case's times, and cut where it ends. With a
    column of currents, rows at rest, by less than half of the median current, are left out.

    Raises:
        ValueError: no such columns, or fewer than three of the case's times within.
    """
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        head, *rows = list(csv.reader(file))
    where = [_column(path, head, starts) for starts in (("time", "t"), ("u", "v"))]
    current = [k for k, name in enumerate(head) if name.strip().lower().startswith(("i", "curr"))]
    values = np.array([[float(row[k]) for k in (*where, *current[:1])] for row in rows if row])
    if current:
        drawn = np.abs(values[:, 2])
        values = values[drawn >= 0.5 * np.median(drawn), :2]
    t, v = values[np.argsort(values[:, 0], kind="stable")].T
    times = np.asarray(case.times)
    times = times[(times >= t[0]) & (times <= t[-1])]
    if len(times) < 3:
        raise ValueError(
            f"{path}: expected times that the model answers, {case.times[0]:g} to "
            f"{case.times[-1]:g} s, got {t[0]:g} to {t[-1]:g} s"
        )
    return Sample(replace(case, times=times), {}, {VOLTAGE: Scalar(np.interp(times, t, v), "V")})


def _column(path: str | Path, head: Sequence[str], starts: tuple[str, ...]) -> int:
    for k, name in enumerate(head):
        if name.strip().lower().startswith(starts):
            return k
    raise ValueError(
        f"{path}: expected columns such as 'Time [s]' and 'Voltage [V]', got {list(head)}"
    )
