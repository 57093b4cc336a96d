"""Double-notched plate (Tensile2d): accuracy of MMGP beside its floors and the trivial baselines.

q, the cumulated plastic strain, is nil in most plates: its relative error has no meaning, see its
Q2. RRMSE as in arXiv:2305.12871. "noise": scatter of the labels themselves, 20 cases re-meshed
five times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from bars import Bar, Clock, arguments, finish, say, table
from plates import SIZES, plate_sets, solved

from fieldcast.meshes import Sample, Samples
from fieldcast.meshes.transfer import Interpolant
from fieldcast.pipelines.learning import evaluate
from fieldcast.solvers.plate import plate_design
from fieldcast.surrogates import MMGP, Predictor
from fieldcast.surrogates.scores import Score

REMESHED, SEEDS = 20, 5


@dataclass(frozen=True)
class Setting:
    """One table: a law of the material and element, a mesh size, and the goals."""

    name: str
    law: str
    size: str
    goals: dict[str, float]
    quick: tuple[int, int] = (0, 0)


SETTINGS = (
    Setting(
        "P1, 2,000 nodes",
        "P1",
        "2k",
        {
            "U1": 1e-3,
            "U2": 1e-3,
            "sig11": 1.2e-2,
            "sig22": 6e-3,
            "sig12": 9e-3,
            "max_U2_top": 5e-4,
        },
        (120, 60),
    ),
    Setting(
        "P1, 10,000 nodes",
        "P1",
        "10k",
        {
            "U1": 2e-4,
            "U2": 2e-4,
            "sig11": 4.5e-3,
            "sig22": 2.3e-3,
            "sig12": 3.5e-3,
            "max_von_mises": 6e-3,
            "max_U2_top": 1e-4,
            "max_sig22_top": 1.3e-3,
        },
    ),
    Setting(
        "P2, 2,000 nodes (moonshot)",
        "P2",
        "2k",
        {"max_von_mises": 4e-3, "max_sig22_top": 1.5e-3},
        (60, 40),
    ),
    Setting("elasto-viscoplastic, 2,000 nodes", "EVP", "2k", {}),
)
PUBLISHED = {
    "U1": 3.4e-3,
    "U2": 5.5e-3,
    "sig11": 3.7e-3,
    "sig22": 1.4e-3,
    "sig12": 2.4e-3,
    "max_von_mises": 5.0e-3,
    "max_U2_top": 5.0e-3,
    "max_sig22_top": 1.7e-3,
}


def label_scatter(law: str, size: str) -> dict[str, float]:
    """RRMSE by which the labels of one case differ between meshes of it (fields: compared on the
    first mesh)."""
    meshed = remeshed(law, size)
    terms: dict[str, list[float]] = {}
    for group in zip(*meshed, strict=True):
        for name in group[0].scalars:
            values = np.array([float(s.scalars[name]) for s in group])
            terms.setdefault(name, []).append(values.var(ddof=1) / values.mean() ** 2)
        for name, variance in _field_scatter(group).items():
            terms.setdefault(name, []).append(variance)
    return {name: float(np.sqrt(np.mean(t))) for name, t in terms.items()}


def remeshed(law: str, size: str) -> list[list[Sample]]:
    """The same cases on meshes that differ, one list per mesh."""
    rows = plate_design(REMESHED, seed=2)
    return [
        solved(law, SIZES[size], rows, f"noise{k}_{size}", 10_000 + k * REMESHED)
        for k in range(SEEDS)
    ]


def _field_scatter(group: Sequence[Sample]) -> dict[str, float]:
    first = group[0]
    x = first.case.mesh.points
    there = [first.fields] + [None] * (len(group) - 1)
    found = {}
    operators = [Interpolant(s.case.mesh).to(x).operator for s in group[1:]]
    for name in first.fields:
        columns = [there[0][name].values[0]]  # type: ignore[index]
        columns += [
            op @ s.fields[name].values[0] for op, s in zip(operators, group[1:], strict=True)
        ]
        stack = np.stack(columns)
        size = np.abs(stack[0]).max()
        found[name] = float(stack.var(axis=0, ddof=1).mean() / max(size, 1e-300) ** 2)
    return found


def run(setting: Setting, train: int, test: int, device: str | None) -> tuple[str, list[Bar]]:
    """The table of one setting, and its bars."""
    clock = Clock()
    fitted, asked = plate_sets(setting.law, setting.size, train, test)
    noise = label_scatter(setting.law, setting.size)
    say("noise", clock())
    predictor = MMGP().fit(Samples.pack(fitted))
    say("fit", clock())
    evaluation = evaluate(predictor, asked)
    seconds = clock()
    say("evaluated", seconds)
    errors = predictor.card.fit["fields"]
    own = evaluation.scores["model"]
    rows = []
    for name, score in own.items():
        floors = errors.get(name, {})
        rows.append(
            (
                name,
                f"{score.rrmse:.2e}",
                _short(setting.goals.get(name)),
                _short(PUBLISHED.get(name)),
                f"{noise[name]:.1e}",
                _short(floors.get("round_trip")),
                _short(floors.get("projection")),
                *(f"{s[name].rrmse:.1e}" for k, s in evaluation.scores.items() if k != "model"),
                f"{score.q2:.5f}",
                f"{score.coverage:.3f}",
            )
        )
    baselines = [k for k in evaluation.scores if k != "model"]
    head = (
        "output",
        "RRMSE",
        "goal",
        "published",
        "noise",
        "round trip",
        "projection",
        *baselines,
        "Q2",
        "in 95 %",
    )
    title = f"{setting.name}, {train} train / {test} test"
    bars = _bars(setting, own, noise, (test, seconds), train < 500)
    bars += _width(setting, predictor, noise, (test, seconds))
    return title + "\n\n" + table(head, rows), bars


def _bars(
    setting: Setting,
    own: dict[str, Score],
    noise: dict[str, float],
    run: tuple[int, float],
    quick: bool,
) -> list[Bar]:
    bars = []
    test, seconds = run
    for name, goal in setting.goals.items():
        relaxed = 2 * goal if quick else goal
        label = f"{setting.name}: {name}"
        bars.append(
            Bar(label, own[name].rrmse, relaxed, test, seconds, full_goal=goal if quick else None)
        )
        if name in ("max_von_mises", "max_U2_top", "max_sig22_top") and noise[name] <= goal:
            # Sampling error of a share of 95 % in `test` cases widens the range in a quick run.
            slack = 0.03 if not quick else 0.06
            covered = own[name].coverage
            assert covered is not None
            bars.append(
                Bar(
                    f"{label}, coverage off 95 % by",
                    abs(covered - 0.95),
                    slack + 1e-9,
                    test,
                    seconds,
                    full_goal=0.03 if quick else None,
                )
            )
    return bars


def _width(
    setting: Setting, predictor: Predictor, noise: dict[str, float], run: tuple[int, float]
) -> list[Bar]:
    """Where labels scatter by more than the goal, or none is set, sigma on the re-meshed cases is
    no less than their scatter (both as root mean squares, relative to the label)."""
    predictions = predictor.predict([s.case for s in remeshed(setting.law, setting.size)[0]])
    bars = []
    for name in predictions[0].scalars:
        goal = setting.goals.get(name)
        if name != "max_q" and (goal is None or noise[name] > goal):
            answers = [p.scalars[name] for p in predictions]
            sigma = [float(e.std.item() / abs(e.mean.item())) for e in answers if e.std is not None]
            ratio = float(np.sqrt(np.mean(np.square(sigma)))) / noise[name]
            label = f"{setting.name}: {name}, sigma / label scatter"
            bars.append(Bar(label, ratio, 1.0, run[0], run[1], least=True))
    return bars


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def main() -> None:
    given = arguments(__doc__ or "")
    bars: list[Bar] = []
    tables = {}
    for setting in SETTINGS:
        train, test = setting.quick if given.quick else (500, 200)
        if not train:
            continue
        text, found = run(setting, train, test, given.device)
        tables[setting.name] = text
        bars += found
    finish("plate", given, bars, tables)


if __name__ == "__main__":
    main()
