"""The trust flag on plates (P1, 2,000 nodes): false alarms beside the stated rate, and detection of
what the training set does not hold.

20 random splits of 700 plates, into 50, 100 or 200 to fit and 200 to ask. Asked besides: notches
that are ellipses of axis ratio 0.25 to 0.5 (deep or flat), wedges, and plates with one parameter
(the radius among them) 20 % of its range outside. Flagged: warned of or rejected.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from bars import Bar, Clock, arguments, finish, say, table
from plates import SIZES, plate_sets

from fieldcast.meshes import Case, Sample
from fieldcast.meshes.sample import scalars_of
from fieldcast.solvers.plate import RANGES, plate_design
from fieldcast.solvers.plate_mesh import Ellipse, Notch, Wedge, notched_mesh
from fieldcast.surrogates import PodRidge, Predictor
from fieldcast.surrogates.guard import REJECT, WARN

TRAIN, TEST, STRANGE = (50, 100, 200), 200, 60
LOOKED_AT, WORST = 3, ("reject", "refused")
HEAD = ("plates", "asked", "flagged (stated)", "rejected (stated)", "refused")


def notched(make: type[Notch], count: int, ratios: tuple[float, float]) -> list[Case]:
    """Plates with parameters inside the training ranges and notches of other shapes."""
    rng = np.random.default_rng(7)
    found = []
    for i, row in enumerate(plate_design(count, seed=11)):
        radius = row.pop("radius")
        ratio = rng.uniform(*ratios)
        # Deep and narrow, or flat and tall.
        depth, half = (radius, ratio * radius) if i % 2 else (ratio * radius, radius)
        size = min(SIZES["2k"], depth / 2.01, half)
        mesh = notched_mesh(make(depth, 2.0 * half), size, seed=i)
        found.append(Case(mesh, scalars_of(row), name=f"{make.__name__}_{i}"))
    return found


def outside(count: int) -> list[Case]:
    """Plates with one parameter a fifth of its range above or below."""
    rng = np.random.default_rng(5)
    names, found = list(RANGES), []
    for i, row in enumerate(plate_design(count, seed=12)):
        name = names[i % len(names)]
        low, high = RANGES[name]
        # A notch of less than a radius of 0.1 m is a few triangles.
        above = name == "radius" or bool(rng.integers(2))
        row[name] = high + 0.2 * (high - low) if above else low - 0.2 * (high - low)
        radius = row.pop("radius")
        mesh = notched_mesh(
            Ellipse(radius, 2.0 * radius), min(SIZES["2k"], (1.0 - radius) / 2.01), i
        )
        found.append(Case(mesh, scalars_of(row), name=f"{name}_{i}"))
    return found


def flags(predictor: Predictor, cases: Sequence[Case]) -> tuple[list[float], list[str]]:
    """Shares flagged, rejected and refused (no common shape can be found: the strongest flag), and
    some reasons."""
    status, reasons = [], []
    for case in cases:
        try:
            [p] = predictor.predict([case])
            status.append(p.trust.status)
            reasons.append(f"{case.name}: {p.trust.reason}")
        except ValueError as error:
            status.append("refused")
            reasons.append(str(error))
    asked = np.array(status)
    shares = [float((asked != "ok").mean()), *(float((asked == k).mean()) for k in WORST)]
    return shares, reasons[:LOOKED_AT]


def main() -> None:
    given = arguments(__doc__)
    splits, detected_in = (5, 2) if given.quick else (20, 5)
    count = 20 if given.quick else STRANGE
    train, test = plate_sets("P1", "2k", 500, 200)
    plates = [Sample(s.case, {}, {"max_U2_top": s.scalars["max_U2_top"]}) for s in (*train, *test)]
    say("morphing")
    trials = PodRidge().trials(plates)
    strange = {
        "ellipses": notched(Ellipse, count, (0.25, 0.5)),
        "wedges": notched(Wedge, count, (0.5, 1.0)),
        "parameters": outside(7 * (count // 7)),
    }
    bars, rows, words = [], [], []
    for n in TRAIN[:2] if given.quick else TRAIN:
        clock = Clock()
        shares, found = [], {k: [] for k in strange}
        for seed in range(splits):
            order = np.random.default_rng([seed, n]).permutation(len(plates))
            model = trials.fit(np.sort(order[:n]).tolist())
            asked = order[n : n + (60 if given.quick else TEST)]
            shares.append(flags(model, [plates[int(i)].case for i in asked])[0])
            for kind, cases in strange.items() if seed < detected_in else ():
                share, reasons = flags(model, cases)
                found[kind].append(share)
                words += [(n, r) for r in reasons] if not seed else []
            say(f"{n} plates: split {seed + 1} of {splits}, {clock():.0f} s")
        alarm, wrong, _ = np.mean(shares, axis=0)
        rows.append((n, "like training", f"{alarm:.3f} ({WARN})", f"{wrong:.3f} ({REJECT})", "0"))
        goal, full = (0.04, 0.02) if given.quick else (0.02, None)
        off = abs(alarm - WARN)
        bars.append(
            Bar(
                f"{n} plates: false alarms off {WARN:.0%} by",
                off,
                goal,
                splits,
                clock(),
                full_goal=full,
            )
        )
        for kind, values in found.items():
            mean = np.mean(values, axis=0)
            rows.append((n, kind, *(f"{share:.3f}" for share in mean)))
            bars.append(
                Bar(f"{n} plates: {kind} flagged", float(mean[0]), 0.95, count, clock(), True)
            )
    tables = {
        "trust": table(HEAD, rows),
        "reasons": table(("plates", "reason"), words),
    }
    finish("trust", given, bars, tables)


if __name__ == "__main__":
    main()
