"""Columns of a warmer climate: RRTMG and grey radiation on columns made from the RFMIP-IRF sites.

A column is a mix of a present-day site with one of its near neighbours (profiles of temperature),
with smooth perturbations of temperature and relative humidity, and a warming dT that grows aloft
with relative humidity kept. Training sets are historical for RRTMG (dT ~ N(0, 1)) and span many
climates for grey radiation (dT ~ U(-2, 9)); tests are historical and at 4 ± 1 K. Run as a program,
it makes the sets and prints their cost and what they look like.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from bars import arguments, data_folder, say, table

from fieldcast.meshes import Cases, Samples, read_columns
from fieldcast.meshes.atmosphere import (
    humidity_of_mole_fraction,
    relative_humidity,
    specific_humidity,
)
from fieldcast.meshes.columns import (
    column_cases,
    column_scalar,
    level_field,
    level_values,
    line_mesh,
)
from fieldcast.solvers import column_physics, radiation
from fieldcast.solvers.column_physics import ColumnPhysics
from fieldcast.solvers.radiation import HEATING, OUTGOING, GreyLongwave, RRTMGLongwave

CACHE = Path(__file__).parent / ".cache"
OZONE = "mole_fraction_of_ozone_in_air"
LEVELS = ("air_temperature", "relative_humidity", OZONE)
"""What a column has on its layers; pressure is sigma times that of the surface."""
SURFACE = ("surface_temperature", "surface_air_pressure")
UNITS = {
    "air_temperature": "K",
    "relative_humidity": "1",
    "specific_humidity": "kg/kg",
    OZONE: "1",
    "surface_temperature": "K",
    "surface_air_pressure": "Pa",
}
GASES = {"carbon_dioxide": 3.9747e-4, "methane": 1.831e-6, "nitrous_oxide": 3.27e-7}
"""Mole fractions of today, as in RFMIP's present-day experiment."""
State = dict[str, np.ndarray]


@dataclass(frozen=True)
class Settings:
    """Sizes of the sets, and how columns are drawn: perturbations of `warmth` [K], and of
    `moisture` in the logarithm of relative humidity (standard deviations). `known` are the fields
    on layers that a surrogate is given: of temperature, either humidity, and ozone."""

    seed: int = 0
    layers: int = 40
    high_train: int = 5000
    low_train: int = 20000
    tests: int = 2000
    neighbours: int = 5
    warmth: float = 2.5
    moisture: float = 0.5
    known: tuple[str, ...] = LEVELS

    def edges(self) -> np.ndarray:
        """sigma of the interfaces, from the top (1/1000) down."""
        return 1e-3 + (1.0 - 1e-3) * np.linspace(0.0, 1.0, self.layers + 1) ** 1.5


@dataclass(frozen=True)
class Fidelities:
    """The same columns answered by RRTMG (where that was asked for) and by grey radiation, with
    their warmings dT [K]."""

    low: Samples
    high: Samples | None
    warming: np.ndarray


@dataclass(frozen=True)
class WarmingColumns:
    """All sets; `seconds` of this process went into each solver (0 from the cache)."""

    high_train: Fidelities
    low_train: Fidelities
    historical: Fidelities
    warm: Fidelities
    seconds: dict[str, float]


def warming_columns(settings: Settings | None = None) -> WarmingColumns:
    """All sets, from the cache where they are there."""
    settings = settings or Settings()
    path = CACHE / f"warming_columns_{_key(settings)}.npz"
    if path.exists():
        with np.load(path) as found:
            return _assembled(settings, dict(found), {"RRTMG": 0.0, "grey": 0.0})
    arrays, seconds = _made(settings)
    CACHE.mkdir(exist_ok=True)
    new = path.with_suffix(".new.npz")
    np.savez_compressed(new, **arrays)
    new.replace(path)
    return _assembled(settings, arrays, seconds)


def _key(settings: Settings) -> str:
    """Of settings and code; which fields a surrogate sees changes nothing."""
    from importlib.metadata import version

    files = [__file__, radiation.__file__, column_physics.__file__]
    parts = [Path(str(p)).read_bytes() for p in files]
    parts.append(repr(replace(settings, known=())).encode() + version("climt").encode())
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def sites(settings: Settings) -> State:
    """The 100 present-day sites on sigma layers."""
    [path] = data_folder("rfmip_radiation").glob("multiple_input4MIPs*.nc")
    wanted = {"pres_layer": "Pa", "pres_level": "Pa", "temp_layer": "K", "water_vapor": "1"}
    wanted |= {"ozone": "1", "surface_temperature": "K"}
    names = {"pres_level": "air_pressure_on_interface_levels"}
    columns = read_columns(path, wanted, names=names)
    today = columns.cases.taken(np.arange(columns.dims["site"]))
    value = {k: level_values(f).astype(float) for k, f in today.fields.items()}
    p, t = value["pres_layer"], value["temp_layer"]
    ps = value["air_pressure_on_interface_levels"][:, -1]
    rh = relative_humidity(humidity_of_mole_fraction(value["water_vapor"]), t, p)
    where = np.log(_middle(settings) * ps[:, None])
    rows = dict(zip(LEVELS, (t, rh, value["ozone"]), strict=True))
    found = {k: interpolated(where, np.log(p), v) for k, v in rows.items()}
    ts = today.parameters["surface_temperature"].values[:, 0]
    return {**found, "surface_temperature": ts, "surface_air_pressure": ps}


def _middle(settings: Settings) -> np.ndarray:
    edges = settings.edges()
    return 0.5 * (edges[1:] + edges[:-1])


def interpolated(where: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """y(x) at `where`, linear and constant beyond the ends, each row for itself; x increases."""
    left = (x[:, None, :] <= where[:, :, None]).sum(axis=-1) - 1
    left = np.clip(left, 0, x.shape[1] - 2)
    rows = np.arange(len(x))[:, None]
    x0, x1 = x[rows, left], x[rows, left + 1]
    share = np.clip((where - x0) / (x1 - x0), 0.0, 1.0)
    return (1.0 - share) * y[rows, left] + share * y[rows, left + 1]


def drawn(settings: Settings, at: State, warming: np.ndarray, rng: np.random.Generator) -> State:
    """Columns, one for each warming [K], from sites."""
    n, sigma = len(warming), _middle(settings)
    t = at["air_temperature"]
    near = np.argsort(((t[:, None] - t[None]) ** 2).mean(axis=-1), axis=1)
    one = rng.integers(len(t), size=n)
    other = near[one, rng.integers(1, settings.neighbours + 1, size=n)]
    share = rng.uniform(size=n)
    mixed = {
        k: (1 - w) * v[one] + w * v[other]
        for k, v in at.items()
        for w in (share if v.ndim == 1 else share[:, None],)
    }
    bumps = settings.warmth * smooth(rng, n, sigma)
    warm = bumps + warming[:, None] * amplification(sigma)
    mixed["air_temperature"] = mixed["air_temperature"] + warm
    mixed["surface_temperature"] = mixed["surface_temperature"] + bumps[:, -1] + warming
    wet = mixed["relative_humidity"] * np.exp(settings.moisture * smooth(rng, n, sigma))
    mixed["relative_humidity"] = np.clip(wet, 0.0, 1.0)
    # As stored, so that fresh and cached columns are the same.
    return {k: v.astype(np.float32) for k, v in mixed.items()}


def smooth(rng: np.random.Generator, n: int, sigma: np.ndarray) -> np.ndarray:
    """Random functions of sigma with standard deviation 1: cosines with falling amplitudes."""
    order = np.arange(6)
    size = 1.0 / (1.0 + order)
    waves = (
        np.cos(np.pi * order[:, None] * sigma) * np.where(order == 0, 1.0, np.sqrt(2.0))[:, None]
    )
    return rng.normal(size=(n, len(order))) * size / np.sqrt((size**2).sum()) @ waves


def amplification(sigma: np.ndarray) -> np.ndarray:
    """Of a warming: 1 at the surface, 1.8 at sigma = 0.3, none in the stratosphere."""
    aloft = 1.0 + 0.8 * np.exp(-(((sigma - 0.3) / 0.18) ** 2))
    return aloft / (1.0 + np.exp(-(sigma - 0.12) / 0.03))


def physics_cases(settings: Settings, columns: State) -> Cases:
    """Cases with all that the solvers ask for, and relative humidity."""
    ps = columns["surface_air_pressure"].astype(float)
    edges = settings.edges() * ps[:, None]
    p = 0.5 * (edges[:, 1:] + edges[:, :-1])
    value = {k: columns[k].astype(float) for k in LEVELS}
    q = specific_humidity(value["relative_humidity"], value["air_temperature"], p)
    value["specific_humidity"] = np.clip(q, 1e-7, 0.05)
    fields = {k: level_field(v, UNITS[k]) for k, v in value.items()}
    fields["air_pressure"] = level_field(p, "Pa")
    fields["air_pressure_on_interface_levels"] = level_field(edges, "Pa", "interfaces")
    parameters = {k: column_scalar(columns[k], UNITS[k]) for k in SURFACE}
    for gas, x in GASES.items():
        parameters[radiation.mole_fraction(gas)] = column_scalar(np.full(len(ps), x), "1")
    return column_cases(line_mesh(_middle(settings)), fields, parameters)


def _warmings(settings: Settings) -> dict[str, tuple[int, bool, Callable[..., np.ndarray]]]:
    """Size, whether RRTMG answers it, and the distribution of dT, of each set."""
    s = settings
    return {
        "high_train": (s.high_train, True, lambda rng, n: rng.normal(0.0, 1.0, n)),
        "low_train": (s.low_train, False, lambda rng, n: rng.uniform(-2.0, 9.0, n)),
        "historical": (s.tests, True, lambda rng, n: rng.normal(0.0, 1.0, n)),
        "warm": (s.tests, True, lambda rng, n: rng.normal(4.0, 1.0, n)),
    }


def _made(settings: Settings) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    at, seconds = sites(settings), {"RRTMG": 0.0, "grey": 0.0}
    for first in (RRTMGLongwave(), GreyLongwave()):  # imports and compiles, not to be timed
        first.solve(first.example())
    arrays: dict[str, np.ndarray] = {}
    for number, (label, (n, high, law)) in enumerate(_warmings(settings).items()):
        rng = np.random.default_rng([settings.seed, number])
        warming = law(rng, n)
        columns = drawn(settings, at, warming, rng)
        arrays |= {f"{label}/{k}": v for k, v in columns.items()}
        arrays[f"{label}/warming"] = warming
        cases = physics_cases(settings, columns)
        solvers: dict[str, ColumnPhysics] = {"grey": GreyLongwave()}
        if high:
            solvers["RRTMG"] = RRTMGLongwave()
        for name, solver in solvers.items():
            start = time.process_time()
            found = solver.solve_columns(cases)
            seconds[name] += time.process_time() - start
            arrays[f"{label}/{name}"] = level_values(found.fields[HEATING]).astype(np.float32)
            arrays[f"{label}/{name}/out"] = found.scalars[OUTGOING].values[:, 0]
        say(f"{label}: {n} columns")
    return arrays, seconds


def _assembled(
    settings: Settings, arrays: dict[str, np.ndarray], seconds: dict[str, float]
) -> WarmingColumns:
    """Samples that a surrogate learns from: `known` fields and numbers of the surface."""
    sets = {}
    for label in _warmings(settings):
        columns = {k: arrays[f"{label}/{k}"] for k in (*LEVELS, *SURFACE)}
        whole = physics_cases(settings, columns)
        cases = column_cases(
            whole.meshes[""].distinct[0],
            {k: whole.fields[k] for k in settings.known},
            {k: whole.parameters[k] for k in SURFACE},
        )
        answers = {
            name: Samples(cases, {HEATING: level_field(values.astype(float), "K/day")})
            for name in ("grey", "RRTMG")
            if (values := arrays.get(f"{label}/{name}")) is not None
        }
        warming = arrays[f"{label}/warming"]
        sets[label] = Fidelities(answers["grey"], answers.get("RRTMG"), warming)
    return WarmingColumns(**sets, seconds=seconds)


def described(found: WarmingColumns) -> str:
    """A table: warming, heating by either solver, and how far the grey one is off."""
    rows = []
    for label in ("high_train", "low_train", "historical", "warm"):
        part: Fidelities = getattr(found, label)
        low = level_values(part.low.fields[HEATING])
        row = [label, len(low), f"{part.warming.mean():.2f} ± {part.warming.std():.2f}", low.mean()]
        if part.high is None:
            rows.append((*row, "-", "-", "-"))
            continue
        high = level_values(part.high.fields[HEATING])
        gap = low - high
        r2 = 1.0 - (gap**2).sum(axis=0) / ((high - high.mean(axis=0)) ** 2).sum(axis=0)
        rows.append((*row, high.mean(), np.abs(gap).mean(), float(np.median(r2))))
    head = ("set", "n", "dT [K]", "grey [K/day]", "RRTMG", "grey's MAE", "grey's median R2")
    return table(head, [tuple(row) for row in rows])


def main() -> None:
    given = arguments(__doc__ or "")
    settings = Settings()
    if given.quick:
        settings = replace(settings, high_train=500, low_train=2000, tests=200)
    found = warming_columns(settings)
    sys.stdout.write(described(found) + "\n")
    asked = {"RRTMG": settings.high_train + 2 * settings.tests}
    asked["grey"] = asked["RRTMG"] + settings.low_train
    for name, spent in found.seconds.items():
        say(f"{name}: {spent:.1f} s of CPU, {1e3 * spent / asked[name]:.3f} ms a column")


if __name__ == "__main__":
    main()
