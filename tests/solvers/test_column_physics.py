"""Radiation and convection of columns: laws, stored columns, real ones."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray

from fieldcast.meshes import Case, Cases, Field, Samples, read_columns
from fieldcast.meshes.atmosphere import (
    SECONDS_PER_DAY,
    heating_power,
    humidity_of_mole_fraction,
    layer_mass,
    moistening_power,
)
from fieldcast.meshes.columns import column_cases, column_scalar, level_field, level_values
from fieldcast.solvers import Solver, SolverFailed
from fieldcast.solvers.column_physics import standard_column
from fieldcast.solvers.convection import MOISTENING, RAIN, WARMING, EmanuelConvection
from fieldcast.solvers.radiation import HEATING, OUTGOING, GreyLongwave, RRTMGLongwave

DATA = Path(os.environ.get("FIELDCAST_DATA", "/nowhere"))
SOLVERS = (RRTMGLongwave(), GreyLongwave(), EmanuelConvection())
STEFAN_BOLTZMANN = 5.670367e-8
RRTMGP = {
    "Present day (PD)": 263.22,
    "4xCO2": 258.89,
    "8xCO2": 255.83,
    "+4K": 279.31,
    "+4K, const. RH": 272.09,
    "LGM": 268.33,
}
"""Outgoing longwave flux [W/m^2] of RFMIP experiments by RTE+RRTMGP, weighted over the sites."""


@pytest.fixture(autouse=True)
def _climt():
    reason = RRTMGLongwave().available()
    if reason:
        pytest.skip(reason)


def folder(name: str) -> Path:
    if not (DATA / name).is_dir():
        pytest.skip(f"expected the data set {name} in FIELDCAST_DATA")
    return DATA / name


def varied(n: int, surface: float = 300.0) -> list[Case]:
    rng = np.random.default_rng(0)
    drawn = zip(rng.uniform(surface - 15, surface + 5, n), rng.uniform(0.4, 0.95, n), strict=True)
    return [standard_column(30, float(t), float(h)) for t, h in drawn]


def upside_down(case: Case) -> Case:
    fields = {k: f.with_values(f.values[:, ::-1]) for k, f in case.fields.items()}
    return replace(case, fields=fields)


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
def test_many_columns_are_each_as_alone(solver: Solver):
    cases = varied(7)
    together = solver.solve_columns(cases)
    assert isinstance(together, Samples)
    for one, sample in zip(cases, together, strict=True):
        alone = solver.solve(one)
        assert sample.case == one
        for name, field in alone.fields.items():
            np.testing.assert_allclose(sample.fields[name].values, field.values, atol=1e-10)


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
def test_the_order_of_levels_does_not_matter(solver: Solver):
    case = solver.example()
    down, up = solver.solve(case), solver.solve(upside_down(case))
    for name, field in down.fields.items():
        np.testing.assert_array_equal(field.values, up.fields[name].values[:, ::-1])


@pytest.mark.parametrize("solver", [RRTMGLongwave(), GreyLongwave()], ids=["rrtmg", "grey"])
def test_heating_is_what_the_fluxes_leave(solver: Solver):
    """Column heating = what comes in at the surface less what goes out at both ends [W/m^2]."""
    found = solver.solve_columns(varied(20))
    p = level_values(found.cases.fields["air_pressure_on_interface_levels"])
    heating = level_values(found.fields[HEATING]) / SECONDS_PER_DAY
    into = heating_power(heating, layer_mass(p)).sum(axis=-1)
    ts = found.cases.parameters["surface_temperature"].values[:, 0]
    down = found.scalars["surface_downwelling_longwave_flux_in_air"].values[:, 0]
    balance = STEFAN_BOLTZMANN * ts**4 - down - found.scalars[OUTGOING].values[:, 0]
    # climt's g is 9.80665, ours E3SM's.
    np.testing.assert_allclose(into, balance, rtol=1e-3, atol=0.1)


def test_more_carbon_dioxide_lets_less_out():
    case = RRTMGLongwave().example()
    name = "mole_fraction_of_carbon_dioxide_in_air"
    out = [
        float(RRTMGLongwave().solve(case.with_parameters(**{name: v})).scalars[OUTGOING])
        for v in (2e-4, 4e-4, 8e-4)
    ]
    assert out[0] > out[1] > out[2]
    # Each doubling about alike: logarithmic.
    assert 0.7 < (out[1] - out[2]) / (out[0] - out[1]) < 1.4


def test_a_transparent_grey_gas_lets_the_surface_shine_through():
    case = GreyLongwave().example()
    thin = case.fields["specific_humidity"].with_values(np.full((1, 30, 1), -0.8678 / 1997.9))
    found = GreyLongwave().solve(replace(case, fields={**case.fields, "specific_humidity": thin}))
    np.testing.assert_allclose(float(found.scalars[OUTGOING]), STEFAN_BOLTZMANN * 290.0**4)
    np.testing.assert_allclose(found.fields[HEATING].values, 0.0, atol=1e-12)


def test_clouds_are_seen_where_a_case_has_them():
    case = RRTMGLongwave().example()
    cloud = np.zeros(30)
    cloud[10:13] = 1.0
    more = {
        "cloud_area_fraction_in_atmosphere_layer": Field.steady(cloud, "1"),
        "mass_content_of_cloud_ice_in_atmosphere_layer": Field.steady(0.05 * cloud, "kg/m^2"),
    }
    clear = RRTMGLongwave().solve(case)
    cloudy = RRTMGLongwave().solve(replace(case, fields={**case.fields, **more}))
    assert float(cloudy.scalars[OUTGOING]) < float(clear.scalars[OUTGOING]) - 30.0


def test_convection_conserves_water_and_enthalpy():
    """Rain is what the column loses; what it loses, it gains as heat, to the scheme's approximate
    heat capacities."""
    found = EmanuelConvection().solve_columns(varied(40, surface=304.0))
    mass = layer_mass(level_values(found.cases.fields["air_pressure_on_interface_levels"]))
    wet = level_values(found.fields[MOISTENING]) / SECONDS_PER_DAY
    warm = level_values(found.fields[WARMING]) / SECONDS_PER_DAY
    rain = found.scalars[RAIN].values[:, 0]
    assert (rain > 1.0).sum() > 5
    lost = -(wet * mass).sum(axis=-1) * SECONDS_PER_DAY
    np.testing.assert_allclose(lost, rain, rtol=5e-3, atol=0.01)
    gained = heating_power(warm, mass).sum(axis=-1)
    spent = moistening_power(wet, mass).sum(axis=-1)
    np.testing.assert_allclose(gained, -spent, rtol=0.1, atol=1.0)


def test_dry_stable_columns_do_not_convect():
    calm = EmanuelConvection().solve(standard_column(surface=270.0, humidity=0.1))
    assert float(calm.scalars[RAIN]) == 0.0
    np.testing.assert_array_equal(calm.fields[WARMING].values, 0.0)


def test_the_balance_does_not_depend_on_the_number_of_steps():
    case = EmanuelConvection().example()
    one, other = (EmanuelConvection(steps=n).solve(case) for n in (30, 60))
    np.testing.assert_allclose(one.fields[WARMING].values, other.fields[WARMING].values, atol=1e-3)


def test_what_does_not_fit_is_refused():
    case = RRTMGLongwave().example()
    some = {k: f for k, f in case.fields.items() if k != "specific_humidity"}
    with pytest.raises(ValueError, match=r"specific_humidity.*missing"):
        RRTMGLongwave().solve(replace(case, fields=some))
    wrong = Field(case.fields["air_temperature"].values, "Pa")
    with pytest.raises(ValueError, match=r"air_temperature.*'Pa'"):
        RRTMGLongwave().solve(replace(case, fields={**case.fields, "air_temperature": wrong}))
    p = case.fields["air_pressure"]
    off = p.with_values(np.roll(p.values, 1, axis=1))
    with pytest.raises(ValueError, match="between those of its interfaces"):
        GreyLongwave().solve(replace(case, fields={**case.fields, "air_pressure": off}))


def test_answers_that_are_not_finite_are_a_failure():
    case = GreyLongwave().example()
    t = case.fields["air_temperature"]
    bad = replace(case, fields={**case.fields, "air_temperature": t.with_values(t.values * np.nan)})
    with pytest.raises(SolverFailed, match="1 of 1 columns"):
        GreyLongwave().solve(bad)


def test_stored_columns_are_reproduced():
    """4,000 columns, 30 levels, clouds in half of them, stored in single precision."""
    path = folder("climt_columns") / "rrtmg_columns_4000.nc"
    with xarray.open_dataset(path) as data:
        data = data.load()
    levels = {
        "pressure": ("air_pressure", "Pa"),
        "temperature": ("air_temperature", "K"),
        "specific_humidity": ("specific_humidity", "kg/kg"),
        "ozone": ("mole_fraction_of_ozone_in_air", "1"),
        "cloud_fraction": ("cloud_area_fraction_in_atmosphere_layer", "1"),
        "cloud_ice": ("mass_content_of_cloud_ice_in_atmosphere_layer", "kg/m^2"),
        "cloud_liquid": ("mass_content_of_cloud_liquid_water_in_atmosphere_layer", "kg/m^2"),
    }
    fields = {n: level_field(data[k].values, u) for k, (n, u) in levels.items()}
    edges = data["pressure_interface"].values
    fields["air_pressure_on_interface_levels"] = level_field(edges, "Pa", "interfaces")
    numbers = {
        "surface_temperature": (data["surface_temperature"].values, "K"),
        "mole_fraction_of_carbon_dioxide_in_air": (data["co2"].values, "1"),
        "mole_fraction_of_methane_in_air": (data["ch4"].values, "1"),
        "mole_fraction_of_nitrous_oxide_in_air": (np.zeros(4000), "1"),
    }
    parameters = {k: column_scalar(v, unit) for k, (v, unit) in numbers.items()}
    mesh = standard_column(30).mesh
    found = RRTMGLongwave().solve_columns(column_cases(mesh, fields, parameters))
    stored = data["lw_heating_K_per_day"].values
    heating = level_values(found.fields[HEATING])
    # Single-precision pressures: layers of 100 Pa at 1000 hPa are known to 1e-4 of themselves.
    np.testing.assert_allclose(heating, stored, atol=2e-3)
    assert np.abs(heating - stored).mean() < 2e-5
    out = found.scalars[OUTGOING].values[:, 0]
    np.testing.assert_allclose(out, data["lw_up"].values[:, -1], atol=2e-3)


def rfmip() -> tuple[Cases, np.ndarray, list[str]]:
    """The columns of all sites and experiments, their weights, and the experiments' names."""
    [path] = folder("rfmip_radiation").glob("multiple_input4MIPs*.nc")
    gases = {"carbon_dioxide": 1, "methane": 1, "nitrous_oxide": 1, "oxygen": 1}
    gases |= {"cfc11": 1, "cfc12": 1, "carbon_tetrachloride": 1}
    names = {f"{g}_GM": f"mole_fraction_of_{g}_in_air" for g in gases}
    names |= {"hcfc22_GM": "mole_fraction_of_cfc22_in_air"}
    variables = {
        "pres_layer": "Pa",
        "pres_level": "Pa",
        "temp_layer": "K",
        "water_vapor": "1",
        "ozone": "1",
        "surface_temperature": "K",
        "surface_emissivity": "1",
        **{k: "1" for k in names},
    }
    names |= {
        "pres_layer": "air_pressure",
        "pres_level": "air_pressure_on_interface_levels",
        "temp_layer": "air_temperature",
        "ozone": "mole_fraction_of_ozone_in_air",
        "surface_emissivity": "surface_longwave_emissivity",
    }
    columns = read_columns(path, variables, names=names)
    cases = columns.cases
    q = humidity_of_mole_fraction(level_values(cases.fields["water_vapor"]).astype(float))
    fields = {**cases.fields, "specific_humidity": level_field(q, "kg/kg")}
    with xarray.open_dataset(path, decode_times=False) as data:
        labels = [str(v) for v in data["expt_label"].values]
        weights = data["profile_weight"].values
    return replace(cases, fields=fields), weights, labels


def test_outgoing_radiation_of_the_rfmip_experiments():
    """Weighted means of 100 sites, beside RRTMGP's [W/m^2]."""
    cases, weights, labels = rfmip()
    out = RRTMGLongwave().solve_columns(cases).scalars[OUTGOING].values.reshape(18, 100)
    mean = dict(zip(labels, out @ weights / weights.sum(), strict=True))
    for label, rrtmgp in RRTMGP.items():
        assert abs(mean[label] - rrtmgp) < 1.5, label
    order = ("+4K", "+4K, const. RH", "Present day (PD)", "4xCO2", "8xCO2")
    assert [mean[k] for k in order] == sorted((mean[k] for k in order), reverse=True)
