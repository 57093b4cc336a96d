"""Columns from CF files to a model, scores, figures, predictions and modules, by the commands."""

from __future__ import annotations

import io
import json
import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray
from PIL import Image
from test_cli import run

from fieldcast.meshes.columns import level_values
from fieldcast.pipelines import column_pictures
from fieldcast.pipelines.climate import evaluate, files_of
from fieldcast.pipelines.column_sets import ColumnFiles, read_samples
from fieldcast.surrogates import ColumnNetwork, Descent, RandomizedPrior, load

DATA = Path(os.environ.get("FIELDCAST_DATA", Path(__file__).parents[3] / "shared" / "data"))
HEATING = "tendency_of_air_temperature"
TOML = f"""
[inputs]
air_temperature = "K"
Q = "kg/kg"
PS = "Pa"

[outputs]
{HEATING} = "K/day"
rain = "kg/m^2/day"

[names]
Q = "humidity"
"""
VARIABLES = ("--variables", "columns.toml")
SMALL = (
    *("--set", "member.width=24", "--set", "member.depth=2", "--set", "size=3"),
    *("--set", "member.descent.steps=300", "--set", "member.descent.batch=32"),
    *("--set", "member.descent.rate=5e-3"),
)


def atmosphere(seed: int, warming: float, times: int = 12, low: bool = False) -> xarray.Dataset:
    """Hybrid levels on a grid; the heating falls with T and rises with q, and the cheap one leaves
    out a part. Humidity is in g/kg, surface pressure in hPa."""
    rng = np.random.default_rng(seed)
    lat, lon = np.linspace(-75.0, 75.0, 6), np.arange(0.0, 360.0, 90.0)
    a, b = np.array([2e-3, 0.1, 0.15, 0.1, 0.0]), np.array([0.0, 0.05, 0.3, 0.7, 1.0])
    sigma = 0.5 * (a + b)[1:] + 0.5 * (a + b)[:-1]
    shape = (times, len(lat), len(lon))
    bump, wet = rng.normal(size=(2, *shape))[:, :, None]
    t = 220.0 + 70.0 * sigma[:, None, None] + 20.0 * np.cos(np.deg2rad(lat))[:, None] - 10.0
    t = t + warming + 3.0 * bump * sigma[::-1, None, None]
    q = 8.0 * sigma[:, None, None] ** 2 * np.exp(0.3 * wet + 0.03 * (t - 270.0))
    heating = -2.0 - 0.03 * (t - 260.0) + 0.2 * q
    if not low:
        heating = heating + 0.3 * np.sin(0.1 * (t - 260.0))
    place = ("time", "lev", "lat", "lon")
    hybrid = {"standard_name": "atmosphere_hybrid_sigma_pressure_coordinate", "positive": "down"}
    terms = {"formula_terms": "a: hyam b: hybm p0: P0 ps: PS", **hybrid}
    between = {"formula_terms": "a: hyai b: hybi p0: P0 ps: PS", **hybrid}
    ps = 1000.0 + 10.0 * rng.normal(size=shape)
    named = {"standard_name": "air_temperature", "units": "K"}
    return xarray.Dataset(
        {
            "T": (place, t, named),
            "Q": (place, q, {"units": "g kg-1"}),
            "PS": (("time", "lat", "lon"), ps, {"units": "hPa"}),
            HEATING: (place, heating / 86400.0, {"units": "K s-1"}),
            "rain": (("time", "lat", "lon"), q.mean(axis=1), {"units": "kg m-2 day-1"}),
            "P0": ((), 1e5, {"units": "Pa"}),
            **{f"hya{k}": (d, v) for k, d, v in (("i", "ilev", a), ("m", "lev", _mid(a)))},
            **{f"hyb{k}": (d, v) for k, d, v in (("i", "ilev", b), ("m", "lev", _mid(b)))},
        },
        coords={
            "time": ("time", np.arange(float(times)), {"units": "days since 2000-01-01"}),
            "lat": ("lat", lat, {"units": "degrees_north"}),
            "lon": ("lon", lon, {"units": "degrees_east"}),
            "lev": ("lev", 1000.0 * sigma, terms),
            "ilev": ("ilev", 1000.0 * (a + b), between),
        },
    )


def _mid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (x[1:] + x[:-1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("columns")
    (path / "columns.toml").write_text(TOML)
    sets = {"one": (0, 0.0), "two": (1, 0.0), "test": (2, 0.0), "warm": (3, 4.0)}
    for name, (seed, warming) in sets.items():
        atmosphere(seed, warming).to_netcdf(path / f"{name}.nc")
    atmosphere(4, 2.0, 24, low=True).to_netcdf(path / "cheap.nc")
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    out = folder / "columns.fieldcast"
    data = (folder / "one.nc", folder / "two.nc")
    assert (
        run("climate", "train", *data, "-o", out, "--variables", folder / "columns.toml", *SMALL)
        == 0
    )
    return out


def test_files_become_samples(folder):
    files = ColumnFiles.read(folder / "columns.toml")
    assert ColumnFiles.from_dict(json.loads(json.dumps(files.to_dict()))) == files
    both = read_samples(files, [folder / "one.nc", folder / "two.nc"])
    assert len(both) == 2 * 12 * 6 * 4
    assert set(both.cases.fields) == {"air_temperature", "humidity"}
    assert set(both.cases.parameters) == {"PS"}
    assert (set(both.fields), set(both.scalars)) == ({HEATING}, {"rain"})
    second = files.columns(folder / "two.nc")
    np.testing.assert_array_equal(
        level_values(both.fields[HEATING])[288:], level_values(second.samples.fields[HEATING])
    )
    # Pressures are known beside, for scores, and to no surrogate.
    assert "air_pressure_on_interface_levels" in second.columns.cases.fields


def test_evaluate_by_climate(model, folder, tmp_path, capsys):
    sets = (folder / "test.nc", folder / "warm.nc")
    assert run("climate", "evaluate", model, *sets, "--json") == 0
    found = json.loads(capsys.readouterr().out)["climates"]
    assert list(found) == ["test", "warm"]
    near, far = (found[k]["scores"][HEATING]["summary"] for k in found)
    assert near["mae"] < 0.3 * found["test"]["their_mean"][HEATING]["mae"]
    assert near["mae"] < far["mae"]
    assert 0.5 < near["spread_per_rmse"] < 2.0
    assert near["fair_crps"] < near["mae"]
    assert len(found["test"]["scores"][HEATING]["levels"]["r2"]) == 4
    assert sum(found["test"]["scores"][HEATING]["ensemble"]["ranks"]) == pytest.approx(1.0)
    gained = found["test"]["residuals"]["energy"]
    assert gained["mae"] < 0.3 * gained["truth"]
    assert "water" not in found["test"]["residuals"]
    assert found["warm"]["trusted"] < found["test"]["trusted"]


def test_figures_and_predictions_are_written(model, folder, tmp_path, capsys):
    page, out = tmp_path / "page.html", tmp_path / "out.nc"
    wanted = ("--figures", page, "--predictions", out, "--members")
    assert run("climate", "evaluate", model, folder / "test.nc", *wanted) == 0
    text = capsys.readouterr().out
    assert "median R2" in text
    # Profiles, ranks, map and section; of the scalar ranks and map.
    assert page.read_text().count("<img") == 4 + 2
    with xarray.open_dataset(out, decode_times=False) as data:
        assert data[HEATING].dims == ("realization", "time", "lev", "lat", "lon")
        assert data[HEATING].attrs["units"] in ("K d-1", "K day-1", "K / day")


def test_python_says_the_same(model, folder, capsys):
    predictor = load(model)
    files = files_of(predictor)
    found = evaluate(predictor, [files.columns(folder / "test.nc")])
    assert run("climate", "evaluate", model, folder / "test.nc", "--json") == 0
    told = json.loads(capsys.readouterr().out)["climates"]["test"]
    assert found["test"].to_json() == told


def test_predictions_need_no_truth(model, folder, tmp_path):
    path = tmp_path / "new.nc"
    with xarray.open_dataset(folder / "warm.nc", decode_times=False) as data:
        data.drop_vars([HEATING, "rain"]).to_netcdf(path)
    assert run("climate", "predict", model, path, "-o", tmp_path / "out.nc") == 0
    with xarray.open_dataset(tmp_path / "out.nc", decode_times=False) as data:
        assert {HEATING, f"{HEATING}_std", "rain"} <= set(data.data_vars)
        assert data["rain"].dims == ("time", "lat", "lon")


def test_low_fidelity_makes_a_multi_fidelity_model(folder, tmp_path, capsys):
    out = tmp_path / "two.fieldcast"
    options = ("--low", folder / "cheap.nc", "--variables", folder / "columns.toml", "--json")
    low = [s.replace("member.", "low.") for s in SMALL[1::2] if s.startswith("member")]
    chosen = [w for s in [*low, *(f"high.{s}" for s in SMALL[1::2])] for w in ("--set", s)]
    assert run("climate", "train", folder / "one.nc", "-o", out, *options, *chosen) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["fit"]["cheap_samples"] == 24 * 24
    recipe = load(out).recipe
    assert (recipe.composition, recipe.low) == ("residual", recipe.high.member)
    assert run("climate", "export", out, tmp_path / "two", "--data", folder / "test.nc") == 0
    assert (tmp_path / "two.pt").is_file()


def test_an_exported_module_answers_as_the_model(model, folder, tmp_path):
    pair = (model, tmp_path / "emulator")
    held = ("--limit", "humidity=0:0.1", "--limit", f"{HEATING}=-50:50")
    assert run("climate", "export", *pair, "--data", folder / "test.nc", *held, "--double") == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.load(tmp_path / "emulator.pt")
    with xarray.open_dataset(tmp_path / "emulator.reference.nc") as data:
        x, mean = torch.as_tensor(data["inputs"].values), data["mean"].values
    np.testing.assert_allclose(module(x).numpy(), mean, rtol=1e-6, atol=1e-9)
    predictor = load(model)
    cases = files_of(predictor).columns(folder / "test.nc").samples.cases
    found = level_values(predictor.predict(cases).mean[HEATING])[:100]
    np.testing.assert_allclose(mean[:, :4], found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("train", "one.nc", "-o", "m", "--input", "T=K"), "--output"),
        (("train", "one.nc", "-o", "m", "--input", "T", "--output", "rain="), "NAME=VALUE"),
        (("train", "one.nc", "-o", "m", "--input", "T=K", "--output", "T=K"), "one as two"),
        (("train", "one.nc", "-o", "m", "--input", "T=m", "--output", "rain="), "one.nc.*'T'"),
        (("train", "none.nc", "-o", "m", "--input", "T=K", "--output", "rain="), "none.nc"),
        (("train", "one.nc", "-o", "no/m", "--input", "T=K", "--output", "rain="), "folder"),
        (("train", "one.nc", "-o", "m", "--variables", "x.toml"), "x.toml.*TOML"),
        (
            ("train", "one.nc", "-o", "m", *VARIABLES, "--low", "x", "--surrogate", "mean"),
            "got mean",
        ),
        (
            ("evaluate", "columns.fieldcast", "one.nc", "two.nc", "--predictions", "p.nc"),
            "one data",
        ),
        (("export", "columns.fieldcast", "e", "--data", "one.nc", "--limit", "T=1"), "LOW:HIGH"),
        (("export", "columns.fieldcast", "e", "--data", "one.nc", "--limit", "no=0:1"), "'no'"),
    ],
)
def test_a_wrong_call_ends_1_and_says_why(arguments, told, model, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert run("climate", *arguments) == 1
    assert re.search(told, capsys.readouterr().err.replace("\n", " "))


def test_pictures_of_scattered_columns(folder):
    data = atmosphere(2, 0.0).stack(ncol=("lat", "lon"))
    places = {k: ("ncol", data[k].values, data[k].attrs) for k in ("lat", "lon")}
    data = data.drop_vars(["ncol", "lat", "lon"]).assign_coords(places)
    files = ColumnFiles({"T": "K"}, {HEATING: "K/day"})
    path = folder / "ncol.nc"
    data.to_netcdf(path)
    columns = files.columns(path)
    predictor = ColumnNetwork.tiny().fit(columns.samples)
    found = evaluate(predictor, [columns])["ncol"]
    assert found.scores[HEATING].spread is None
    assert column_pictures.ranks({"ncol": found}, HEATING) is None
    for picture in (
        column_pictures.lat_lon(found, HEATING),
        column_pictures.pressure_lat(found, HEATING),
        column_pictures.profiles({"ncol": found}, HEATING),
    ):
        assert picture is not None
        assert min(Image.open(io.BytesIO(picture)).size) > 300


def test_convection_of_a_single_column_model():
    """Tendencies of a neural scheme (Yuval and O'Gorman 2020, doi:10.1038/s41467-020-17142-3) in
    CAM's single column over GATE; the state and the tendencies lie in two files."""
    folder = DATA / "cam_scam"
    if not folder.is_dir():
        pytest.skip(f"expected the data set cam_scam in {DATA}; set FIELDCAST_DATA")
    run = "scam_gateIII_215_YOG_testing.cam.{}.1974-08-30-00000.nc"
    both = [
        xarray.open_dataset(folder / run.format(k), decode_times=False).load() for k in ("h1", "h2")
    ]
    data = both[0].assign({k: both[1][k] for k in ("T", "Q", "PS")})
    files = ColumnFiles(
        {"T": "K", "Q": "kg/kg", "PS": "Pa"},
        {"YOGDT": "K/day", "YOGDQ": "1/day"},
        names={"YOGDT": HEATING, "YOGDQ": "tendency_of_specific_humidity"},
    )
    train, test = (files.columns(data.isel(time=slice(k, None, 2))) for k in (0, 1))
    assert (len(train), len(test)) == (76, 75)
    assert level_values(train.samples.fields[HEATING]).shape == (76, 32)
    descent = Descent(steps=400, batch=32, rate=5e-3, every=100)
    predictor = RandomizedPrior(ColumnNetwork(32, 2, descent), 3).fit(train.samples)
    [found] = evaluate(predictor, [test]).values()
    for name, score in found.scores.items():
        assert score.summary()["mae"] < 0.5 * found.baseline[name].summary()["mae"]
        # The scheme says nothing above 13 levels from the top.
        assert np.isnan(score.r2[:13]).all()
        assert score.summary()["median_r2"] > 0.7
    assert found.residuals["energy"]["mae"] < 0.5 * found.residuals["energy"]["truth"]
    assert found.residuals["water"]["mae"] < 0.5 * found.residuals["water"]["truth"]
