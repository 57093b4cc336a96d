"""Columns: packed arrays, CF files in and out."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray

from fieldcast.meshes import Cases, Columns, Predictions, Samples, read_columns, write_columns
from fieldcast.meshes.columns import (
    column_cases,
    column_scalar,
    level_field,
    level_values,
    line_mesh,
)
from fieldcast.meshes.packed import PackedEstimate

DATA = Path(os.environ.get("FIELDCAST_DATA", "/nowhere"))
HEATING = "tendency_of_air_temperature"


def hybrid(ncol: int = 5) -> xarray.Dataset:
    """As CAM writes: time, lev, ncol; humidity in g/kg."""
    rng = np.random.default_rng(0)
    down = {"positive": "down", "units": "hPa"}
    name = {"standard_name": "atmosphere_hybrid_sigma_pressure_coordinate"}
    mid = {"formula_terms": "a: hyam b: hybm p0: P0 ps: PS", **name, **down}
    between = {"formula_terms": "a: hyai b: hybi p0: P0 ps: PS", **name, **down}
    a, b = np.array([0.002, 0.1, 0.05, 0.0]), np.array([0.0, 0.2, 0.6, 1.0])
    data = xarray.Dataset(
        {
            "P0": ((), 1e5, {"units": "Pa"}),
            "hyam": ("lev", 0.5 * (a[1:] + a[:-1])),
            "hybm": ("lev", 0.5 * (b[1:] + b[:-1])),
            "hyai": ("ilev", a),
            "hybi": ("ilev", b),
            "lat": ("ncol", np.linspace(-80, 80, ncol), {"units": "degrees_north"}),
            "lon": ("ncol", np.linspace(0, 300, ncol), {"units": "degrees_east"}),
            "PS": (("time", "ncol"), rng.uniform(9e2, 1e3, (2, ncol)), {"units": "hPa"}),
            "T": (("time", "lev", "ncol"), rng.uniform(220, 300, (2, 3, ncol)), {"units": "K"}),
            "Q": (("time", "lev", "ncol"), rng.uniform(0, 9, (2, 3, ncol)), {"units": "g kg-1"}),
        },
        coords={
            "time": ("time", [0.0, 1.0], {"units": "days since 2000-01-01", "calendar": "noleap"}),
            "lev": ("lev", 500 * (a[1:] + a[:-1] + b[1:] + b[:-1]), mid),
            "ilev": ("ilev", 1000 * (a + b), between),
        },
    )
    data["T"].attrs["standard_name"] = "air_temperature"
    return data


def grid() -> xarray.Dataset:
    """Pressure levels from the surface up, on a grid."""
    rng = np.random.default_rng(1)
    values = rng.uniform(-60.0, 30.0, (2, 3, 4, 6))
    lev = {"units": "hPa", "positive": "down", "standard_name": "air_pressure"}
    return xarray.Dataset(
        {"T": (("time", "lev", "lat", "lon"), values, {"units": "degC"})},
        coords={
            "time": ("time", [0.0, 1.0], {"units": "days since 2000-01-01", "calendar": "noleap"}),
            "lev": ("lev", [1000.0, 500.0, 100.0], lev),
            "lat": ("lat", [-60.0, -20.0, 20.0, 60.0], {"units": "degrees_north"}),
            "lon": ("lon", np.arange(0.0, 360.0, 60.0), {"units": "degrees_east"}),
        },
    )


def answered(columns: Columns, name: str = HEATING, unit: str = "K/day") -> Predictions:
    mean = level_values(columns.cases.fields["T"]) / 100.0
    fields = {name: level_field(mean, unit)}
    return Predictions(columns.cases, fields, {name: level_field(0.1 * mean, unit)})


def test_hybrid_columns_are_read():
    data = hybrid()
    found = read_columns(data, {"air_temperature": "K", "Q": "kg/kg", "PS": "Pa"})
    assert found.dims == {"time": 2, "ncol": 5}
    assert (len(found), found.level, found.upended) == (10, "lev", False)
    np.testing.assert_allclose(
        level_values(found.cases.fields["Q"]),
        data["Q"].transpose("time", "ncol", "lev").values.reshape(10, 3) * 1e-3,
    )
    ps = data["PS"].values.reshape(-1) * 100.0
    np.testing.assert_allclose(found.cases.parameters["PS"].values[:, 0], ps)
    p = level_values(found.cases.fields["air_pressure_on_interface_levels"])
    np.testing.assert_allclose(p[:, [0, -1]], np.column_stack([np.full(10, 200.0), ps]))
    np.testing.assert_allclose(
        level_values(found.cases.fields["air_pressure"]), 0.5 * (p[:, 1:] + p[:, :-1])
    )
    case = found.cases[7]
    assert case.fields["Q"].unit == "kg/kg"
    assert case.mesh is found.cases[0].mesh
    assert len(case.parts["interfaces"].points) == 4
    assert found.place(7) == "time 1, ncol 2"


def test_order_of_levels_is_as_asked_and_goes_back(tmp_path):
    data = grid()
    down = read_columns(data, {"T": "K"})
    up = read_columns(data, {"T": "K"}, top_down=False)
    assert (down.upended, up.upended) == (True, False)
    values = level_values(up.cases.fields["T"])
    np.testing.assert_array_equal(level_values(down.cases.fields["T"]), values[:, ::-1])
    np.testing.assert_allclose(down.cases[0].mesh.points[:, 0], [0.1, 0.5, 1.0])
    for columns in (down, up):
        write_columns(tmp_path / "out.nc", columns, answered(columns))
        with xarray.open_dataset(tmp_path / "out.nc", decode_times=False) as back:
            assert back[HEATING].dims == ("time", "lev", "lat", "lon")
            expected = (data["T"] + 273.15) / 100.0
            np.testing.assert_allclose(back[HEATING], expected, rtol=1e-6)
            np.testing.assert_allclose(back[f"{HEATING}_std"], 0.1 * expected, rtol=1e-6)
            np.testing.assert_array_equal(back["lev"], data["lev"])
    assert [p.name for p in tmp_path.iterdir()] == ["out.nc"]


def test_files_are_read_as_data_sets_are(tmp_path):
    hybrid().to_netcdf(tmp_path / "in.nc")
    one = read_columns(tmp_path / "in.nc", {"T": "K", "Q": "kg/kg"})
    other = read_columns(hybrid(), {"T": "K", "Q": "kg/kg"})
    assert [c.id for c in one.cases] == [c.id for c in other.cases]


def without(name: str) -> xarray.Dataset:
    return hybrid().drop_vars(name)


def changed(name: str, **attrs: str) -> xarray.Dataset:
    data = hybrid()
    data[name].attrs |= attrs
    return data


def holed() -> xarray.Dataset:
    data = hybrid()
    data["T"].values[1, 2, 3] = np.nan
    data["T"].values[1, 2, 4] = np.inf
    return data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (holed(), ("'T'", "2 missing", "time 1, lev 2, ncol 3")),
        (without("PS"), ("formula_terms", "PS", "pressure=False")),
        (changed("lev", formula_terms="a: hyam b: hybm"), ("formula_terms", "ap: b: ps:")),
        (changed("lev", formula_terms="a: hyai b: hybm p0: P0 ps: PS"), ("hyai", "('lev',)")),
        (changed("lev", formula_terms="a: hyam b: hybm p0: PS ps: PS"), ("PS", "one value")),
        (changed("T", units="m s-1"), ("'T'", "m s-1", "'K'")),
        (changed("T", units="furlongs of"), ("'T'", "furlongs")),
        (without("T"), ("'T'", "not there", "'Q'")),
        (hybrid().isel(lev=[0, 2, 1]), ("increase or decrease", "10 steps")),
    ],
    ids=lambda v: v[0] if isinstance(v, tuple) else "",
)
def test_what_does_not_fit_is_refused(data, words):
    with pytest.raises(ValueError, match="expected") as refused:
        read_columns(data, {"T": "K", "Q": "kg/kg"})
    assert all(word in str(refused.value) for word in words), str(refused.value)


def test_levels_that_do_not_say_which_way_is_up_are_refused():
    data = xarray.Dataset({"T": (("site", "layer"), np.full((2, 3), 280.0), {"units": "K"})})
    with pytest.raises(ValueError, match="which way is up"):
        read_columns(data, {"T": "K"})
    p = np.tile([1e5, 5e4, 1e4], (2, 1))
    data["p"] = (("site", "layer"), p, {"units": "Pa", "standard_name": "air_pressure"})
    found = read_columns(data, {"T": "K", "p": "Pa"})
    assert found.upended
    np.testing.assert_array_equal(level_values(found.cases.fields["p"]), p[:, ::-1])


def test_unlike_predictions_are_refused(tmp_path):
    columns = read_columns(grid(), {"T": "K"})
    some = columns.cases.taken(np.arange(3))
    few = Predictions(some, {HEATING: level_field(np.zeros((3, 3)), "K/s")})
    with pytest.raises(ValueError, match="48 columns, got 3"):
        write_columns(tmp_path / "out.nc", columns, few)
    members = {HEATING: np.zeros((2, 3, 3))}
    with pytest.raises(ValueError, match=r"members.*48, 3"):
        write_columns(tmp_path / "out.nc", columns, answered(columns), members=members)
    assert not list(tmp_path.iterdir())


def test_one_column_and_columns_made_by_hand(tmp_path):
    one = read_columns(grid().isel(time=0, lat=1, lon=2, drop=True), {"T": "K"})
    assert (len(one), one.dims, one.place(0)) == (1, {}, "")
    write_columns(tmp_path / "one.nc", one, answered(one))
    cases = column_cases(line_mesh(np.arange(3.0)), {"T": level_field(np.ones((4, 3)), "K")})
    made = Columns(cases, {"column": 4}, "lev")
    write_columns(tmp_path / "made.nc", made, answered(made))
    for name, dims in (("one", ("lev",)), ("made", ("lev", "column"))):
        with xarray.open_dataset(tmp_path / f"{name}.nc") as back:
            assert set(back[HEATING].dims) == set(dims)


def test_files_that_are_not_netcdf_are_refused(tmp_path):
    hybrid().to_netcdf(tmp_path / "whole.nc")
    content = (tmp_path / "whole.nc").read_bytes()
    (tmp_path / "cut.nc").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.nc").write_text("lev, T")
    for name in ("cut.nc", "text.nc", "absent.nc"):
        with pytest.raises(ValueError, match=f"{name}|netCDF"):
            read_columns(tmp_path / name, {"T": "K"})


def checked(path: Path, suite: str, criteria: str) -> str:
    checker = Path(sys.executable).with_name("compliance-checker")
    if not checker.exists():
        pytest.skip("expected compliance-checker, pip install 'fieldcast[test]'")
    command = [str(checker), f"--test={suite}", f"--criteria={criteria}", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("suite", ["cf:1.8", "cf:1.11"])
def test_written_files_pass_the_compliance_checker(tmp_path, suite):
    named = grid().rename(lat="latitude", lon="x") if suite == "cf:1.8" else grid()
    columns = read_columns(named, {"T": "K"})
    predictions = answered(columns)
    members = {HEATING: np.stack([level_values(predictions.mean[HEATING])] * 3)}
    write_columns(tmp_path / "members.nc", columns, predictions, members=members)
    assert "All tests passed!" in checked(tmp_path / "members.nc", suite, "strict")


def test_written_hybrid_columns_pass_the_compliance_checker(tmp_path):
    """Its wish for an order of dimensions, which ncol can't have, apart; and they are read
    again."""
    columns = read_columns(hybrid(), {"T": "K", "Q": "kg/kg"})
    rain = PackedEstimate(np.ones((10, 1)), np.full((10, 1), 0.1), "kg/m^2/s")
    said = answered(columns)
    said = Predictions(columns.cases, said.mean, said.std, {"precipitation": rain})
    write_columns(tmp_path / "out.nc", columns, said)
    said_by = checked(tmp_path / "out.nc", "cf:1.8", "lenient")
    assert "formula_terms" not in said_by
    back = read_columns(tmp_path / "out.nc", {HEATING: "K/day", "precipitation": ""})
    np.testing.assert_allclose(
        level_values(back.cases.fields["air_pressure"]),
        level_values(columns.cases.fields["air_pressure"]),
    )
    assert back.cases.parameters["precipitation"].unit == "kg * m**-2 * s**-1"


def test_a_million_columns_are_arrays():
    n, levels = 1_000_000, 4
    start = time.process_time()
    values = np.zeros((n, levels), dtype=np.float32)
    cases = column_cases(
        line_mesh(np.arange(4.0)),
        {"T": level_field(values, "K")},
        {"ps": column_scalar(np.full(n, 1e5), "Pa")},
    )
    assert isinstance(Cases.pack(cases), Cases)
    assert np.shares_memory(level_values(cases.fields["T"]), values)
    half = cases.taken(np.arange(0, n, 2))
    assert (len(half), half[3].fields["T"].values.shape) == (n // 2, (1, 4, 1))
    assert time.process_time() - start < 5.0


def test_taken_samples_are_the_same(plates):
    packed = Samples.pack(plates[:6])
    rows = np.array([4, 0, 5])
    assert [s.id for s in packed.taken(rows)] == [plates[i].id for i in rows]


def test_cam_columns(tmp_path):
    path = DATA / "cam_scam" / "scam_gateIII_215_YOG_testing.cam.h1.1974-08-30-00000.nc"
    if not path.is_file():
        pytest.skip("expected the data set cam_scam in FIELDCAST_DATA")
    wanted = {"ZMDT": "K/day", "ZMDQ": "1/s", "RELHUM": "1", "PRECC": "m/s"}
    found = read_columns(path, wanted, pressure=False)
    assert found.dims == {"time": 151, "lat": 1, "lon": 1}
    assert len(found.cases[0].mesh.points) == 32
    assert 0.5 < level_values(found.cases.fields["RELHUM"])[:, -1].mean() < 1.0
    said = Predictions(found.cases, {HEATING: found.cases.fields["ZMDT"]})
    write_columns(tmp_path / "out.nc", found, said)
    assert "All tests passed!" in checked(tmp_path / "out.nc", "cf:1.11", "strict")
    with pytest.raises(ValueError, match=r"PS.*pressure=False"):
        read_columns(path, wanted)
