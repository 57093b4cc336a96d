"""Nonlocal networks of gravity-wave parametrizations on a stand-in with real fields: the horizontal
divergence from the winds, which takes neighbours.

Monthly means of ERA-Interim (u, v and z at 200, 500 and 850 hPa; January and July) are averaged
over 4 x 4 points to 60 x 120. The target is the divergence of these winds on the coarse grid,

    D = (du/dlambda + d(v cos phi)/dphi) / (a cos phi) [1/s],

by centred differences; beyond a pole v cos phi goes on with the opposite sign. A case is the whole
grid, levels are components, and nothing tells the longitude.

One month is for training, the other is the test: they share no neighbours, as parts of one month
would. Both ways are shown, and bars go by the worse. Training sets are the month's means over the 4
ways to group columns, each also mirrored east to west and north to south (u or v turned), which
leaves D as it is: 16 grids that are not independent. No case of the training month is held out; the
last weights are kept. There is no third month: optimiser, steps and rate were chosen
on January to July, the decay of weights on both ways (of the patch; 0.3 to 1 serve).

The error is the root mean square over the globe, weighted by area, over that of the target, in
the mean of squares over levels. The column network makes as many steps as serve it best: more make
it worse than no model. The bars divide by the best model of the column alone (it, a linear one, or
the mean of a latitude).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from bars import Bar, Clock, arguments, data_folder, finish, say, table

from fieldcast.meshes import Case, Field, Mesh, Sample, lat_lon_mesh, read_grids
from fieldcast.surrogates import AttentionUNet, Descent, PatchNetwork, Predictor
from fieldcast.surrogates.grid_networks import GridNetwork

EARTH = 6.371e6
"""Radius [m]."""
UNITS = {"u": "m/s", "v": "m/s", "z": "m^2/s^2"}
ROWS, COLUMNS, EACH = 60, 120, 4
LEVELS = (200, 500, 850)
"""[hPa], from the top down."""
MONTHS = ("January", "July")
COLUMN, PATCH, WIDE, UNET = "column network", "patch CNN 3 x 3", "patch CNN 5 x 5", "U-Net"
ALONE = (COLUMN, "mean of a latitude", "linear, column")
SHIFTS = (1, 7, 60)
Fields = Mapping[str, np.ndarray]
"""(row, column, level), rows from north to south."""


@dataclass(frozen=True)
class Size:
    """Of a run: training (month), and steps of the networks over those of a full run."""

    trained: Sequence[int]
    share: float


FULL, QUICK = Size((0, 1), 1.0), Size((0,), 0.4)


def networks(size: Size, device: str | None) -> dict[str, GridNetwork]:
    """By name."""

    def descent(of: Descent) -> Descent:
        count = round(of.steps * size.share)
        return replace(of, steps=count, every=count, device=device)

    column = Descent(steps=100, batch=2, rate=3e-3)
    recipes = {
        COLUMN: PatchNetwork(0, descent=column),
        PATCH: PatchNetwork(1),
        WIDE: PatchNetwork(2),
        UNET: AttentionUNet(),
    }
    return {k: replace(r, descent=descent(r.descent)) for k, r in recipes.items()}


def latitudes() -> np.ndarray:
    """Of the coarse rows [degree]."""
    step = 180.0 / ROWS
    return 90.0 - step * (np.arange(ROWS) + 0.5)


def grid() -> Mesh:
    """The coarse one; where its first column lies plays no role."""
    return lat_lon_mesh(latitudes(), np.arange(COLUMNS) * 360.0 / COLUMNS)


def months() -> list[Fields]:
    """The fields as they are stored, on rows midway between those of the file."""
    cases = read_grids(data_folder("era_interim") / "eraint_uvz.nc", UNITS)
    found = []
    for case in cases:
        tables = {k: f.values.reshape(241, 480, -1) for k, f in case.fields.items()}
        found.append({k: 0.5 * (t[1:] + t[:-1]) for k, t in tables.items()})
    return found


def coarse(fields: Fields, first: int) -> dict[str, np.ndarray]:
    """Means over `EACH` x `EACH` points, columns grouped from `first` on."""
    shape = ROWS, EACH, COLUMNS, EACH, -1
    return {k: np.roll(t, -first, 1).reshape(shape).mean((1, 3)) for k, t in fields.items()}


def divergence(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """See the top of the file."""
    cos = np.cos(np.deg2rad(latitudes()))[:, None, None]
    step = np.pi / ROWS
    east = (np.roll(u, -1, 1) - np.roll(u, 1, 1)) / (2 * step)
    flow = v * cos
    flow = np.concatenate([-flow[:1], flow, -flow[-1:]])
    found: np.ndarray = (east + (flow[:-2] - flow[2:]) / (2 * step)) / (EARTH * cos)
    return found


def sample(fields: Fields, mesh: Mesh, name: str) -> Sample:
    """Winds, geopotential and divergence of one grid."""

    def field(values: np.ndarray, unit: str) -> Field:
        return Field.steady(values.reshape(len(mesh.points), -1), unit)

    known = {k: field(fields[k], unit) for k, unit in UNITS.items()}
    target = divergence(fields["u"], fields["v"])
    return Sample(Case(mesh, {}, known, name=name), {"divergence": field(target, "1/s")})


def mirrored(fields: Fields) -> list[dict[str, np.ndarray]]:
    """As they are, east and west exchanged, north and south, and both."""
    turned = {k: t[:, ::-1] * (-1 if k == "u" else 1) for k, t in fields.items()}
    both = (dict(fields), turned)
    return [*both, *({k: t[::-1] * (-1 if k == "v" else 1) for k, t in f.items()} for f in both)]


def training_set(fields: Fields, mesh: Mesh) -> list[Sample]:
    """See the top of the file."""
    every = [m for first in range(EACH) for m in mirrored(coarse(fields, first))]
    return [sample(m, mesh, f"grid{k}") for k, m in enumerate(every)]


def tabled(values: np.ndarray) -> np.ndarray:
    """(row, column, component)."""
    return values.reshape(ROWS, COLUMNS, -1)


def error(found: np.ndarray, truth: Sample) -> np.ndarray:
    """By level, see the top of the file."""
    wanted = tabled(truth.fields["divergence"].values)
    area = np.cos(np.deg2rad(latitudes()))[:, None, None]
    gap = (area * np.square(tabled(found) - wanted)).sum((0, 1))
    each: np.ndarray = np.sqrt(gap / (area * np.square(wanted)).sum((0, 1)))
    return each


def overall(each: np.ndarray) -> float:
    """Of all levels."""
    return float(np.sqrt(np.square(each).mean()))


def zonal(train: Sequence[Sample]) -> np.ndarray:
    """The mean of a latitude in the training month."""
    mean = np.mean([tabled(s.fields["divergence"].values) for s in train], axis=(0, 2))
    return np.broadcast_to(mean[:, None], (ROWS, COLUMNS, mean.shape[1]))


def terms(case: Case, reach: int) -> np.ndarray:
    """The values at points up to `reach` away, sine and cosine of latitude and 1 (point, term)."""
    own = np.concatenate([tabled(f.values) for f in case.fields.values()], axis=2)
    ends = (own[:1],) * reach, (own[-1:],) * reach
    tall = np.concatenate([*ends[0], own, *ends[1]])
    ways = range(-reach, reach + 1)
    moved = [np.roll(tall[reach + i : reach + i + ROWS], -j, 1) for i in ways for j in ways]
    phi = np.deg2rad(case.mesh.points[:, 1])
    place = np.stack([np.sin(phi), np.cos(phi), np.ones_like(phi)], axis=1)
    return np.concatenate([np.concatenate(moved, axis=2).reshape(len(phi), -1), place], axis=1)


def linear(train: Sequence[Sample], case: Case, reach: int) -> np.ndarray:
    """Least squares on `terms`, weighted as the networks' loss: all points alike."""
    x = np.concatenate([terms(s.case, reach) for s in train])
    y = np.concatenate([s.fields["divergence"].values[0] for s in train])
    scale = np.abs(x).max(axis=0)
    weight = np.linalg.lstsq(x / scale, y, rcond=None)[0]
    found: np.ndarray = (terms(case, reach) / scale) @ weight
    return found


def answer(model: Predictor, case: Case, device: str | None) -> np.ndarray:
    """(row, column, level)."""
    [found] = model.predict([case], device=device)
    return tabled(found.mean["divergence"].values)


def shifted(model: Predictor, case: Case, device: str | None) -> float:
    """The largest gap between the answer to shifted fields and the shifted answer, over the largest
    value."""
    here, gaps = answer(model, case, device), []
    for columns in SHIFTS:
        moved = {
            k: f.with_values(np.roll(tabled(f.values), columns, 1).reshape(f.values.shape))
            for k, f in case.fields.items()
        }
        there = answer(model, replace(case, fields=moved), device)
        gaps.append(np.abs(there - np.roll(here, columns, 1)).max())
    return float(max(gaps) / np.abs(here).max())


@dataclass(frozen=True)
class Scores:
    """Of one way: errors by model and level, and how far shifts of columns don't commute."""

    errors: Mapping[str, np.ndarray]
    commuting: Mapping[str, float]

    def share(self, name: str) -> float:
        """The error over that of the best model of the column alone."""
        return overall(self.errors[name]) / min(overall(self.errors[k]) for k in ALONE)


def one_way(own: Fields, other: Fields, size: Size, device: str | None) -> Scores:
    """Fitted to one month, tested on the other."""
    mesh = grid()
    train, test = training_set(own, mesh), sample(coarse(other, 0), mesh, "test")
    found = {
        "mean of a latitude": error(zonal(train), test),
        "linear, column": error(linear(train, test.case, 0), test),
        "linear, patch 3 x 3": error(linear(train, test.case, 1), test),
    }
    gaps = {}
    for name, recipe in networks(size, device).items():
        clock = Clock()
        model = recipe.fit(train, validation=[], seed=0)
        found[name] = error(answer(model, test.case, device), test)
        gaps[name] = shifted(model, test.case, device)
        weights = model.card.fit["parameters"]
        say(f"{name}: {overall(found[name]):.3f}, {weights} weights, {clock():.0f} s")
    return Scores(found, gaps)


def main() -> None:
    given = arguments(__doc__ or "")
    size, clock, both = (QUICK if given.quick else FULL), Clock(), months()
    ways = {}
    for k in size.trained:
        name = f"{MONTHS[k]} to {MONTHS[1 - k]}"
        say(name)
        ways[name] = one_way(both[k], both[1 - k], size, given.device)
    report(given, ways, clock)


def report(
    given: argparse.Namespace, ways: Mapping[str, Scores], clock: Callable[[], float]
) -> None:
    """Tables and bars."""
    goal, full = (0.45, 0.3) if given.quick else (0.3, None)
    bars, n = [], len(ways)
    for name in (PATCH, UNET):
        worst = max(scores.share(name) for scores in ways.values())
        bars.append(Bar(f"{name} / column", worst, goal, n, clock(), full_goal=full))
    gap = max(max(scores.commuting.values()) for scores in ways.values())
    bars.append(Bar("shifts in longitude commute", gap, 1e-5, n * len(SHIFTS), clock()))
    rows = []
    for way, scores in ways.items():
        for name, each in scores.errors.items():
            cells = (f"{x:.3f}" for x in (overall(each), scores.share(name), *each))
            rows.append((way, name, *cells))
    head = ("months", "model", "error", "/ column", *(f"{p} hPa" for p in LEVELS))
    finish("gravity_waves", given, bars, {"divergence": table(head, rows)})


if __name__ == "__main__":
    main()
