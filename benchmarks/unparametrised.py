"""Geometry without parameters: 26 RANS airfoils, every mesh different; plates whose topology
varies; ten cars.

Airfoils: fifths are left out, in several random splits; settings were fixed before. The nearest
case is carried by the same morphing. The zero-lift angle is computed from each contour by
thin-airfoil theory.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from bars import Bar, Clock, arguments, data_folder, finish, say, table

from fieldcast.meshes import Mesh, Prediction, Sample, Samples, Scalar
from fieldcast.meshes.folder import read_folder
from fieldcast.meshes.outline import Outline
from fieldcast.meshes.roles import Settings
from fieldcast.meshes.topology import boundary_loops
from fieldcast.pipelines.learning import evaluate
from fieldcast.surrogates import MMGP, MeanField, NearestCase
from fieldcast.surrogates.embedding import carry
from fieldcast.surrogates.scores import rrmse_field

RECIPE = MMGP(modes=5, shape_modes=4)
SETTLED = 1e-3
INPUTS, OUTPUTS = ("alpha_deg", "Re"), ("U", "p", "CL")


@dataclass(frozen=True)
class LeftOut:
    """A case that was left out, its prediction, and that of the carried nearest case and the
    mean."""

    truth: Sample
    model: Prediction
    nearest: Prediction
    mean: Prediction


def zero_lift_angle(mesh: Mesh) -> float:
    """alpha_L0 = -1/pi int_0^pi dz/dx (cos t - 1) dt [deg], x = (1 - cos t) / 2 along the chord, z
    the camber line (thin-airfoil theory; Anderson, Fundamentals of Aerodynamics, 4.8)."""
    wall = Outline(mesh.points[boundary_loops(mesh)[1]])
    x, z = wall.points.T
    tail, nose = int(x.argmax()), int(x.argmin())
    n = len(x)
    sides = []
    for first, last in ((tail, nose), (nose, tail)):
        ids = (first + np.arange((last - first) % n + 1)) % n
        order = ids[np.argsort(x[ids])]
        sides.append((x[order], z[order]))
    t = np.linspace(0.0, np.pi, 402)[1:-1]
    at = 0.5 * (1.0 - np.cos(t))
    camber = 0.5 * sum(np.interp(at, xs, zs) for xs, zs in sides)
    slope = np.gradient(camber, at)
    return float(np.rad2deg(-np.trapezoid(slope * (np.cos(t) - 1.0), t) / np.pi))


def airfoils() -> tuple[list[Sample], np.ndarray]:
    """Samples with the zero-lift angle's effect as a parameter, and which have settled."""
    path = data_folder("airfoil_rans")
    folder = read_folder(
        path, Settings(mesh="internal.vtu", inputs=INPUTS, outputs=OUTPUTS, parts=())
    )
    samples, settled = [], []
    for s in folder.samples:
        alpha = float(s.case.parameters["alpha_deg"])
        lifting = Scalar(np.array([alpha - zero_lift_angle(s.case.mesh)]), "deg")
        case = replace(s.case, parameters={**s.case.parameters, "alpha_lift": lifting})
        velocity = s.fields["U"].with_values(s.fields["U"].values[:, :, :2])
        samples.append(replace(s, case=case, fields={"U": velocity, "p": s.fields["p"]}))
        meta = json.loads((path / s.case.name / "meta.json").read_text())
        settled.append(meta["CL_std_last100"] < SETTLED)
    return samples, np.array(settled)


def left_out(samples: Sequence[Sample], splits: int) -> tuple[list[LeftOut], int]:
    """Every case left out once per split, with a fifth of the others; and the cells flipped in
    all."""
    found: list[LeftOut] = []
    flipped = 0
    for split in range(splits):
        order = np.random.default_rng(split).permutation(len(samples))
        for part in np.array_split(order, 5):
            train = [samples[i] for i in order if i not in part]
            test = [samples[i] for i in part]
            carried = carry(Samples.pack(train), RECIPE.morphing)
            models = [r.fit_carried(carried) for r in (RECIPE, NearestCase(), MeanField())]
            answers = [m.predict([s.case for s in test]) for m in models]
            found += [LeftOut(*group) for group in zip(test, *answers, strict=True)]
            flipped += carried.flipped
            say("split", split + 1, "of", splits, ":", len(found), "cases")
    return found, flipped


def straight_line(samples: Sequence[Sample], splits: int) -> float:
    """RMS error of CL by least squares in (alpha - zero-lift angle, log Re), same splits."""
    lift = np.array([float(s.scalars["CL"]) for s in samples])
    columns = [
        [1.0, float(s.case.parameters["alpha_lift"]), np.log(float(s.case.parameters["Re"]))]
        for s in samples
    ]
    x = np.array(columns)
    errors = []
    for split in range(splits):
        order = np.random.default_rng(split).permutation(len(samples))
        for part in np.array_split(order, 5):
            train = np.setdiff1d(order, part)
            weight = np.linalg.lstsq(x[train], lift[train], rcond=None)[0]
            errors += list(x[part] @ weight - lift[part])
    return float(np.sqrt(np.mean(np.square(errors))))


def errors(found: Sequence[LeftOut], name: str) -> tuple[float, float, float]:
    """RRMSE of the model, the nearest case and the mean field."""
    truth = [f.truth.fields[name].values for f in found]
    ways = ([f.model for f in found], [f.nearest for f in found], [f.mean for f in found])
    model, nearest, mean = (rrmse_field(truth, [p.mean[name].values for p in way]) for way in ways)
    return model, nearest, mean


def lift_error(found: Sequence[LeftOut], nearest: bool = False) -> float:
    """RMS error of CL."""
    gaps = [
        float((f.nearest if nearest else f.model).scalars["CL"]) - float(f.truth.scalars["CL"])
        for f in found
    ]
    return float(np.sqrt(np.mean(np.square(gaps))))


def held(found: Sequence[LeftOut], splits: int, level: float = 0.9) -> float:
    """How many cases' CL lie in their interval, per split."""
    inside = 0
    for f in found:
        low, high = f.model.interval(level)
        truth = float(f.truth.scalars["CL"])
        inside += float(low.scalars["CL"]) <= truth <= float(high.scalars["CL"])
    return inside / splits


def airfoil_bars(splits: int, quick: bool) -> tuple[str, list[Bar]]:
    clock = Clock()
    samples, settled = airfoils()
    calm = [s for s, ok in zip(samples, settled, strict=True) if ok]
    sets = {"25 settled": left_out(calm, splits)}
    sets["all 26"] = left_out(samples, splits)
    rows = []
    for label, (found, _) in sets.items():
        for name, shown in (("U", "velocity"), ("p", "Cp")):
            model, nearest, mean = errors(found, name)
            rows.append(
                (
                    label,
                    shown,
                    f"{model:.2e}",
                    f"{nearest:.2e}",
                    f"{mean:.2e}",
                    f"{model / nearest:.2f}",
                )
            )
        rows.append(
            (label, "CL rms", f"{lift_error(found):.4f}", f"{lift_error(found, True):.3f}", "", "")
        )
    found, flipped = sets["25 settled"]
    line = straight_line(calm, splits)
    rows.append(("25 settled", "CL rms of the straight line", f"{line:.4f}", "", "", ""))
    odd = [s for s, ok in zip(samples, settled, strict=True) if not ok]
    verdict = RECIPE.fit(calm).predict([s.case for s in odd])[0].trust
    rows.append(("e423", f"trust: {verdict.status}", verdict.reason, "", "", ""))
    run = (len(found), clock())
    ratio = {name: errors(found, name)[0] / errors(found, name)[1] for name in ("U", "p")}
    bars = [
        Bar("airfoils: velocity / nearest", ratio["U"], 0.5, *run),
        Bar("airfoils: Cp / nearest", ratio["p"], 0.35, *run),
        Bar("airfoils: flipped cells", flipped, 0, *run),
        Bar("airfoils: CL rms", lift_error(found), 0.03, *run),
        Bar("airfoils: CL rms / straight line", lift_error(found) / line, 1.0, *run),
        Bar("airfoils: e423 flagged", float(verdict.status != "ok"), 1, *run, least=True),
        Bar("airfoils: of 25 in the 90 % interval", held(found, splits), 21, *run, least=True),
    ]
    head = ("cases", "output", "MMGP", "nearest", "mean field", "MMGP / nearest")
    return f"{splits} splits, fifths left out\n\n" + table(head, rows), bars


def plate_bars() -> tuple[str, list[Bar]]:
    """Topology varies: refused across, fitted within."""
    clock = Clock()
    samples = read_folder(data_folder("perforated_plates")).samples
    try:
        MMGP().fit(samples)
        message = ""
    except ValueError as error:
        message = str(error)
    groups: dict[int, list[Sample]] = {}
    for s in samples:
        groups.setdefault(s.case.mesh.topology.loops, []).append(s)
    rows = []
    for loops, members in sorted(groups.items()):
        train, test = members[::2], members[1::2]
        evaluation = evaluate(MMGP(modes=6, shape_modes=6).fit(train), test)
        for name, own in evaluation.scores["model"].items():
            others = [f"{s[name].rrmse:.2e}" for k, s in evaluation.scores.items() if k != "model"]
            rows.append(
                (
                    f"{loops - 1} hole(s), {len(train)} / {len(test)}",
                    name,
                    f"{own.rrmse:.2e}",
                    *others,
                )
            )
    head = ("plates", "output", "MMGP", "mean field", "nearest case", "POD + ridge")
    refused = message.startswith("expected meshes of one topology")
    bar = Bar(
        "plates: refused across topologies", float(refused), 1, len(samples), clock(), least=True
    )
    return f"Refusal: {message}\n\n" + table(head, rows), [bar]


def car_bars() -> tuple[str, list[Bar]]:
    """Ten cars: too few, and the model says so."""
    clock = Clock()
    samples = read_folder(data_folder("shapenet_car_cgns")).samples
    rows, inside = [], []
    pairs = []
    for i, sample in enumerate(samples):
        carried = carry(Samples.pack([s for j, s in enumerate(samples) if j != i]), None)
        answers = [
            r.fit_carried(carried).predict([sample.case])[0]
            for r in (MMGP(), NearestCase(), MeanField())
        ]
        pairs.append(LeftOut(sample, *answers))
        low, high = answers[0].interval(0.95)
        truth = sample.fields["pressure"].values
        inside.append(
            np.mean(
                (low.fields["pressure"].values <= truth) & (truth <= high.fields["pressure"].values)
            )
        )
    model, nearest, mean = errors(pairs, "pressure")
    rows.append(
        (
            "pressure, leave one out",
            f"{model:.3f}",
            f"{nearest:.3f}",
            f"{mean:.3f}",
            f"{np.mean(inside):.2f}",
        )
    )
    head = ("cars", "MMGP", "nearest", "mean field", "points in 95 %")
    bars = [
        Bar(
            "cars: points inside the 95 % interval",
            float(np.mean(inside)),
            0.9,
            len(samples),
            clock(),
            least=True,
        )
    ]
    return table(head, rows), bars


def main() -> None:
    given = arguments(__doc__ or "")
    splits = 1 if given.quick else 4
    airfoil_table, bars = airfoil_bars(splits, given.quick)
    plate_table, more = plate_bars()
    car_table, cars = car_bars()
    tables = {"airfoils": airfoil_table, "perforated plates": plate_table, "cars": car_table}
    finish("unparametrised", given, [*bars, *more, *cars], tables)


if __name__ == "__main__":
    main()
