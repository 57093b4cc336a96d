"""Longwave heating in a warmer climate: RRTMG learnt from present-day columns, with and without
many cheap columns of grey radiation that span the warmth.

Columns are made from the RFMIP-IRF sites (warming_columns.py): 5000 dear ones with dT ~ N(0, 1) K,
20000 cheap ones with dT ~ U(-2, 9) K, tests in the present and at 4 ± 1 K; 5 members of two layers
of 96. Inputs are T, q (as published, arXiv:2309.10231) or relative humidity, and numbers of the
surface. The spread is calibrated on present-day columns held out of the training set. Settings were
chosen on the columns of seed 0; what is reported comes from those of other seeds.

Beside the grey scheme as it is and dear columns alone stand the published composition (the dear
network sees what the cheap one says, and nothing else), both side by side, and the dear network as
what is left of straight lines through what the cheap one says; in these, both learn together, step
by step. In the last row, which the bars are about, a larger cheap network learns first, for longer,
until it tells the grey scheme well. That costs time, but no dear column; what dear columns alone
gain by more time is in the second table.

Emanuel's convection is learnt from the same columns, and its energy and water are counted.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from bars import Bar, Clock, arguments, finish, say, table
from column_ensemble import EXACT, perfect_crps
from warming_columns import (
    Fidelities,
    Settings,
    WarmingColumns,
    drawn,
    physics_cases,
    sites,
    warming_columns,
)

from fieldcast.meshes import Predictions, Samples
from fieldcast.meshes.columns import column_cases
from fieldcast.solvers.convection import EmanuelConvection
from fieldcast.solvers.radiation import HEATING
from fieldcast.surrogates import ColumnNetwork, Descent, MultiFidelity, RandomizedPrior, Surrogate
from fieldcast.surrogates.column_scores import residuals, score_columns
from fieldcast.surrogates.surrogate import Predictor

INPUTS = {
    "T, q": ("air_temperature", "specific_humidity"),
    "T, RH": ("air_temperature", "relative_humidity"),
}
ALONE, BEST = "dear columns alone", "residual, cheap network first"
PUBLISHED = "as published: cheap answer alone"
COMPOSED = {
    PUBLISHED: "lf_only",
    "cheap answer beside the column": "concat",
    "residual": "residual",
    BEST: "residual",
}
GREY, MEAN = "grey scheme as it is", "their own mean"
REFERENCE = [
    ("grey scheme as it is", 1.361, 1.361, 1.455, 1.455, -12.3, "-"),
    ("dear columns alone", 0.244, 0.180, 0.335, 0.249, 0.44, 0.40),
    ("as published: cheap answer alone", 0.294, 0.218, 0.376, 0.286, 0.07, 0.46),
    ("cheap answer beside the column", 0.208, 0.144, 0.281, 0.196, 0.69, 0.60),
    ("residual", 0.285, 0.207, 0.365, 0.271, 0.13, 0.50),
]
"""As first measured with another code, one seed; its perturbations and rates are not known."""
GAINS = {"energy": "W/m^2", "water": "kg/m^2/day"}
DEAR = 5000
Scores = dict[str, float]


@dataclass(frozen=True)
class Size:
    """Of a run; `more` are steps and dear columns of further comparisons."""

    seeds: tuple[int, ...] = (1, 2, 3)
    steps: int = 1200
    cheap_steps: int = 6000
    tests: int = 2000
    more: tuple[tuple[int, int], ...] = ((8000, DEAR), (1200, 200), (1200, 50))
    convection: int = 4000


FULL = Size()
QUICK = Size((1,), 600, 2000, 500, (), 500)


def ensemble(steps: int, device: str | None) -> RandomizedPrior:
    """Five networks of two layers of 96."""
    descent = Descent(steps=steps, batch=128, rate=1e-3, every=100, device=device)
    return RandomizedPrior(ColumnNetwork(96, 2, descent), 5)


def cheap_network(size: Size, device: str | None) -> ColumnNetwork:
    """Three layers of 128, with steps of its own."""
    steps = size.cheap_steps
    descent = Descent(steps, batch=256, optimiser="soap", rate=5e-3, every=500, device=device)
    return ColumnNetwork(128, 3, descent)


def fitted(
    name: str, size: Size, found: WarmingColumns, dear: int, device: str | None
) -> Predictor:
    """One of the rows, learnt from so many dear columns."""
    one = ensemble(size.steps, device)
    high = found.high_train.high
    assert high is not None
    few = high.taken(np.arange(dear))
    if name in COMPOSED:
        low: Surrogate = cheap_network(size, device) if name == BEST else one
        both = MultiFidelity(low, one, COMPOSED[name])
        predictor = both.fit(few, seed=0, cheap=found.low_train.low)
    else:
        predictor = one.fit(few, seed=0)
    return predictor


def scored(predictor: Predictor, part: Fidelities, device: str | None) -> Scores:
    """Of the heating."""
    assert part.high is not None
    cases = part.high.cases
    predictions = predictor.predict(cases, device=device)
    members = predictor.member_answers(cases, device)
    return score_columns(part.high, predictions, members)[HEATING].summary()


def trivial(part: Fidelities) -> dict[str, Scores]:
    """The grey scheme's answers, and the mean profile of the very columns that are scored."""
    assert part.high is not None
    truth = part.high.fields[HEATING]
    mean = np.broadcast_to(truth.stacked().mean(axis=0), truth.stacked().shape)
    own = replace(truth, values=mean.reshape(truth.values.shape))
    found = {GREY: part.low.fields[HEATING], MEAN: own}
    return {
        name: score_columns(part.high, Predictions(part.high.cases, {HEATING: f}))[
            HEATING
        ].summary()
        for name, f in found.items()
    }


def one_seed(
    seed: int, known: tuple[str, ...], size: Size, device: str | None
) -> dict[str, dict[str, Scores]]:
    """Scores by row and climate."""
    found = warming_columns(Settings(seed=seed, known=known, tests=size.tests))
    climates = {"present": found.historical, "warm": found.warm}
    scores: dict[str, dict[str, Scores]] = {GREY: {}, MEAN: {}}
    for label, part in climates.items():
        for name, own in trivial(part).items():
            scores[name][label] = own
    for name in (ALONE, *COMPOSED):
        clock = Clock()
        predictor = fitted(name, size, found, DEAR, device)
        scores[name] = {k: scored(predictor, part, device) for k, part in climates.items()}
        say(f"seed {seed}, {known[-1]}: {name}, {told(scores[name])}, {clock():.0f} s")
    return scores


def told(own: Mapping[str, Scores]) -> str:
    """In brief."""
    return ", ".join(f"{k} {s['mae']:.3f} {s['fair_crps']:.3f}" for k, s in own.items())


def averaged(runs: list[dict[str, dict[str, Scores]]]) -> dict[str, dict[str, Scores]]:
    """Means over seeds; of the worst R2 the least."""
    found: dict[str, dict[str, Scores]] = {}
    for name, climates in runs[0].items():
        found[name] = {}
        for label, own in climates.items():
            values = {k: [r[name][label][k] for r in runs] for k in own}
            found[name][label] = {k: statistics.fmean(v) for k, v in values.items()}
            found[name][label]["worst_r2"] = min(values["worst_r2"])
    return found


HEAD = (
    "inputs",
    "network",
    "MAE now",
    "CRPS now",
    "MAE +4K",
    "CRPS +4K",
    "median R2 +4K",
    "worst R2 +4K",
    "spread/RMSE +4K",
)


def row(inputs: str, name: str, own: Mapping[str, Scores]) -> tuple[object, ...]:
    """In the table; without a spread the CRPS is the MAE."""
    now, warm = own["present"], own["warm"]
    return (
        inputs,
        name,
        now["mae"],
        now.get("fair_crps", now["mae"]),
        warm["mae"],
        warm.get("fair_crps", warm["mae"]),
        warm["median_r2"],
        warm["worst_r2"],
        warm.get("spread_per_rmse", "-"),
    )


def further(size: Size, device: str | None) -> str:
    """Trained for longer, and with few dear columns; the columns of seed 1, inputs T and q."""
    rows = []
    found = warming_columns(Settings(seed=1, known=INPUTS["T, q"], tests=size.tests))
    climates = {"present": found.historical, "warm": found.warm}
    for steps, dear in size.more:
        for name in (ALONE, BEST):
            predictor = fitted(name, replace(size, steps=steps), found, dear, device)
            own = {k: scored(predictor, part, device) for k, part in climates.items()}
            rows.append(row(f"{steps} steps, {dear} dear", name, own))
            say(f"{steps} steps, {dear} dear columns: {name}, {told(own)}")
    return table(("trained", *HEAD[1:]), rows) if rows else "not in a quick run"


def convection(size: Size, device: str | None) -> str:
    """Emanuel's scheme from T and q or relative humidity; columns as those of radiation, in the
    present and warmer by 4 ± 1 K."""
    settings, rng = Settings(seed=1), np.random.default_rng(1)
    at, scheme, sets = sites(settings), EmanuelConvection(), {}
    for label, warming, count in (
        ("train", 0.0, size.convection),
        ("present", 0.0, size.tests),
        ("warm", 4.0, size.tests),
    ):
        warmings = warming + rng.normal(size=count)
        sets[label] = scheme.solve_columns(
            physics_cases(settings, drawn(settings, at, warmings, rng))
        )
    rows = []
    for inputs, known in INPUTS.items():
        own = {k: known_alone(s, known) for k, s in sets.items()}
        predictor = ensemble(2 * size.steps, device).fit(own["train"], seed=0)
        for label in ("present", "warm"):
            predictions = predictor.predict(own[label].cases, device=device)
            members = predictor.member_answers(own[label].cases, device)
            scores = score_columns(own[label], predictions, members)
            whole = replace(own[label], cases=sets[label].cases)
            gained = residuals(whole, predictions)
            for name, score in scores.items():
                s = score.summary()
                figures = (
                    s["mae"],
                    s["median_r2"],
                    s["fair_crps"],
                    s["skill"],
                    s["spread_per_rmse"],
                )
                rows.append((inputs, label, name.partition("_due_")[0], *figures))
            for name, r in gained.items():
                what = f"column's {name}, of {r['truth']:.3g} {GAINS[name]}"
                rows.append((inputs, label, what, r["mae"], "-", "-", "-", "-"))
    head = ("inputs", "climate", "output", "MAE", "median R2", "CRPS", "skill", "spread/RMSE")
    return table(head, rows)


def known_alone(samples: Samples, known: tuple[str, ...]) -> Samples:
    """With those fields and the numbers of the surface as all that is known."""
    whole = samples.cases
    surface = ("surface_temperature", "surface_air_pressure")
    cases = column_cases(
        whole.meshes[""].distinct[0],
        {k: whole.fields[k] for k in known},
        {k: whole.parameters[k] for k in surface},
    )
    return replace(samples, cases=cases)


def against(every: list[dict[str, dict[str, Scores]]]) -> dict[str, float]:
    """The last row beside dear columns alone, at +4 K: ratios of means over seeds, and the extremes
    over seeds of spread / RMSE and of levels with a negative R2."""
    ours, alone = ([r[k]["warm"] for r in every] for k in (BEST, ALONE))
    means = {
        key: [statistics.fmean(s[key] for s in part) for part in (ours, alone)]
        for key in ("mae", "fair_crps")
    }
    spread = [s["spread_per_rmse"] for s in ours]
    return {
        "MAE": means["mae"][0] / means["mae"][1],
        "CRPS": means["fair_crps"][0] / means["fair_crps"][1],
        "least spread / RMSE": min(spread),
        "most spread / RMSE": max(spread),
        "levels below R2 = 0": max(s["levels_below_0"] for s in ours),
    }


def bars_of(given: argparse.Namespace, found: dict[str, float], n: int, took: float) -> list[Bar]:
    """Of the published inputs, T and q."""
    quick = {"MAE": 1.15, "CRPS": 1.15, "most spread / RMSE": 1.3}
    goals = {"MAE": 0.85, "CRPS": 0.8, "least spread / RMSE": 0.8, "most spread / RMSE": 1.2}
    bars = []
    for key, value in found.items():
        goal = goals.get(key, 0.0)
        name = f"+4K, T and q: {key}"
        if key in ("MAE", "CRPS"):
            name += ", two fidelities / dear columns alone"
        loose = quick.get(key) if given.quick else None
        full = None if loose is None else goal
        least = key.startswith("least")
        bars.append(Bar(name, value, loose or goal, n, took, least=least, full_goal=full))
    return bars


def main() -> None:
    given = arguments(__doc__ or "")
    size, clock = QUICK if given.quick else FULL, Clock()
    runs = {
        inputs: [one_seed(seed, known, size, given.device) for seed in size.seeds]
        for inputs, known in INPUTS.items()
    }
    ratios = {inputs: against(every) for inputs, every in runs.items()}
    bars = bars_of(given, ratios["T, q"], len(size.seeds), clock())
    clock = Clock()
    off = abs(perfect_crps(400_000) / EXACT - 1.0)
    name = "fair CRPS of a perfect N(0, 1), 32 members, error"
    bars.append(Bar(name, off, 0.01, 400_000, clock()))
    rows = [
        row(inputs, name, own)
        for inputs, every in runs.items()
        for name, own in averaged(every).items()
    ]
    head = ("network", "MAE now", "CRPS now", "MAE +4K", "CRPS +4K", "worst R2 +4K", HEAD[-1])
    tables = {
        f"{size.steps} steps, means over {len(size.seeds)} seeds [K/day]": table(HEAD, rows),
        f"{BEST} / {ALONE}, +4K": table(
            ("inputs", *ratios["T, q"]), [(k, *own.values()) for k, own in ratios.items()]
        ),
        "as the reference measured, one seed": table(head, REFERENCE),
        "trained for longer, and from few": further(size, given.device),
        "Emanuel's convection": convection(size, given.device),
    }
    finish("radiation_columns", given, bars, tables)


if __name__ == "__main__":
    main()
