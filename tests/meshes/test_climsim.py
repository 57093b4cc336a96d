"""ClimSim: files written in its format, its orders, its scores by hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import xarray

from fieldcast.meshes import climsim
from fieldcast.meshes.climsim import V1, V2, Normalization, read_climsim, split, stacked
from fieldcast.meshes.climsim_scores import ENERGY, Grid, fair_crps, score
from fieldcast.meshes.columns import level_values

FACTS = Path(os.environ.get("FIELDCAST_DATA", "/nowhere")) / "climsim_facts"
LEVELS, COLUMNS = 60, 5


def hybrid_grid(path: Path) -> Path:
    """In the form of grid-info, with 60 levels and 5 columns."""
    sigma = np.linspace(0.0, 1.0, LEVELS + 1)
    a, b = 0.1 * sigma * (1 - sigma) + 0.001 * (1 - sigma), sigma**2
    mid = {"hyam": 0.5 * (a[1:] + a[:-1]), "hybm": 0.5 * (b[1:] + b[:-1])}
    data = xarray.Dataset(
        {
            "P0": ((), 1e5),
            "hyai": ("ilev", a),
            "hybi": ("ilev", b),
            **{k: ("lev", v) for k, v in mid.items()},
            "area": ("ncol", np.array([0.5, 1.0, 1.5, 1.0, 1.0]) * 0.03),
        }
    )
    data.to_netcdf(path)
    return path


def written(folder: Path, step: int) -> Path:
    """A pair of files of one time step, with all variables of v2."""
    rng = np.random.default_rng(step)
    level, column = ("lev", "ncol"), ("ncol",)

    def drawn(name: str) -> tuple:
        on = name in climsim.ON_LEVELS
        return (level, rng.normal(size=(LEVELS, COLUMNS))) if on else (column, rng.normal(size=5))

    before = xarray.Dataset({name: drawn(name) for name in V2.inputs})
    before["state_ps"] = (column, rng.uniform(9e4, 1e5, 5))
    states = [k.replace("ptend", "state") for k in V2.outputs if k.startswith("ptend")]
    moved = {k: (level, before[k].values + rng.normal(size=(LEVELS, COLUMNS))) for k in states}
    after = xarray.Dataset({**moved, **{k: drawn(k) for k in V2.outputs if k.startswith("cam")}})
    path = folder / f"E3SM-MMF.mli.0001-02-01-{1200 * step:05d}.nc"
    before.to_netcdf(path)
    after.to_netcdf(path.with_name(path.name.replace(".mli.", ".mlo.")))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[list[Path], Path]:
    folder = tmp_path_factory.mktemp("climsim")
    return [written(folder, k) for k in range(3)], hybrid_grid(folder / "grid-info.nc")


@pytest.mark.parametrize(("variables", "sizes"), [(V1, (124, 128)), (V2, (557, 368))])
def test_orders_have_their_sizes(files, variables, sizes):
    samples = read_climsim(files[0], files[1], variables)
    assert len(samples) == 3 * COLUMNS
    known = {k: level_values(f) for k, f in samples.cases.fields.items()}
    known |= {k: s.values[:, 0] for k, s in samples.cases.parameters.items()}
    x = stacked(variables.inputs, known)
    found = {k: level_values(f) for k, f in samples.fields.items()}
    found |= {k: s.values[:, 0] for k, s in samples.scalars.items()}
    y = stacked(variables.outputs, found)
    assert (x.shape[1], y.shape[1]) == sizes
    for name, values in split(variables.outputs, y).items():
        np.testing.assert_array_equal(values, found[name])


def test_tendencies_are_differences_over_twenty_minutes(files):
    samples = read_climsim(files[0], files[1], V2)
    path = files[0][1]
    with (
        xarray.open_dataset(path) as before,
        xarray.open_dataset(str(path).replace(".mli.", ".mlo.")) as after,
    ):
        q = (after["state_q0002"] - before["state_q0002"]).values[:, 3] / 1200.0
        sample = samples[COLUMNS + 3]
        np.testing.assert_allclose(sample.fields["ptend_q0002"].values[0, :, 0], q)
        rain = after["cam_out_PRECC"].values[3]
        np.testing.assert_allclose(sample.scalars["cam_out_PRECC"].value, rain)
        ps = before["state_ps"].values[3]
        np.testing.assert_allclose(sample.case.parameters["state_ps"].value, ps)


def test_order_of_version_2_is_that_of_the_online_networks():
    names = [k for k in V2.outputs if k.startswith("ptend")]
    assert names == [f"ptend_{k}" for k in ("t", "q0001", "q0002", "q0003", "u", "v")]
    scalars = [k.removeprefix("cam_out_") for k in V2.outputs[6:]]
    assert scalars == ["NETSW", "FLWDS", "PRECSC", "PRECC", "SOLS", "SOLL", "SOLSD", "SOLLD"]
    assert V2.outputs[6:] == V1.outputs[2:]


def test_scores_by_hand():
    """Two columns of areas 1 and 3, one layer of 1000 kg/m^2 above the surface at 98,061.6 Pa, two
    times."""
    grid = Grid(np.array([1.0, 3.0]), np.array([0.882554, 0.0]), np.array([0.0, 1.0]), 1e5)
    ps = np.full((2, 2), 98_061.6)
    true = {
        "ptend_t": np.array([[[1e-5], [2e-5]], [[3e-5], [2e-5]]]),
        "ptend_q0001": np.array([[[1e-8], [0.0]], [[0.0], [1e-8]]]),
        "cam_out_PRECC": np.array([[1e-8, 2e-8], [3e-8, 6e-8]]),
        "cam_out_NETSW": np.array([[100.0, 200.0], [300.0, 400.0]]),
    }
    added = {"ptend_t": 1e-6, "ptend_q0001": 2e-9, "cam_out_PRECC": -1e-9, "cam_out_NETSW": 5.0}
    predicted = {k: v + added[k] for k, v in true.items()}
    predicted["cam_out_NETSW"] = true["cam_out_NETSW"] + np.array([[10.0, -10.0], [0.0, 10.0]])
    right, ours = grid.energy(true, ps), grid.energy(predicted, ps)
    # dp = 98061.6 - 88255.4 = 9806.2 Pa: dp/g = 1000.004079... kg/m^2; area weights 0.5 and 1.5.
    mass = (98_061.6 - 88_255.4) / 9.80616
    np.testing.assert_allclose(right["ptend_t"][0, 1, 0], 1004.64 * 2e-5 * mass * 1.5, rtol=1e-12)
    heat, moist = (score(ours[k], right[k]).mean() for k in ("ptend_t", "ptend_q0001"))
    rain, sun = (score(ours[k], right[k]).mean() for k in ("cam_out_PRECC", "cam_out_NETSW"))
    # Errors constant in time: c_p 1e-6 m (0.5 + 1.5) / 2, and so on.
    wanted = 1004.64e-6 * mass
    assert heat["mae"] == pytest.approx(wanted, rel=1e-6)
    assert heat["bias"] == pytest.approx(wanted, rel=1e-6)
    # Column 0: 1 - 2 (1e-6)^2 / (2 (1e-5)^2) = 0.99; column 1 never varies.
    assert heat["r2"] == -np.inf
    assert moist["rmse"] == pytest.approx(2.501e6 * 2e-9 * mass, rel=1e-6)
    # 1 - 2 (2e-9)^2 / (2 (0.5e-8)^2) = 0.84 in both.
    assert moist["r2"] == pytest.approx(0.84, rel=1e-6)
    assert rain["mae"] == pytest.approx(2.501e9 * 1e-9, rel=1e-6)
    assert rain["bias"] == pytest.approx(-2.501, rel=1e-6)
    # Column 0: errors 5, 0; column 1: -15, 15.
    assert sun["mae"] == pytest.approx((2.5 + 15.0) / 2, rel=1e-6)
    assert sun["rmse"] == pytest.approx((12.5**0.5 + 15.0) / 2, rel=1e-6)
    assert sun["bias"] == pytest.approx((2.5 + 0.0) / 2, rel=1e-6)
    # Column 0: 1 - 25 / (2 50^2); column 1: 1 - 2 225 / (2 150^2).
    assert sun["r2"] == pytest.approx((0.995 + 0.99) / 2, rel=1e-6)


def test_scores_of_files_are_those_of_loops(files):
    """The whole chain with 60 levels, once more by plain loops."""
    samples, grid = read_climsim(files[0], files[1], V1), Grid.read(files[1])
    true = level_values(samples.fields["ptend_t"]).reshape(3, COLUMNS, LEVELS)
    ps = samples.cases.parameters["state_ps"].values.reshape(3, COLUMNS)
    predicted = true + np.random.default_rng(9).normal(size=true.shape) * 1e-4
    ours = grid.energy({"ptend_t": predicted}, ps)["ptend_t"]
    right = grid.energy({"ptend_t": true}, ps)["ptend_t"]
    found = score(ours, right)
    for level in (0, 17, 59):
        total, squares = 0.0, 0.0
        for c in range(COLUMNS):
            gaps = []
            for t in range(3):
                up = grid.a[level] * 1e5 + grid.b[level] * ps[t, c]
                low = grid.a[level + 1] * 1e5 + grid.b[level + 1] * ps[t, c]
                gap = predicted[t, c, level] - true[t, c, level]
                area = grid.area[c] / (sum(grid.area) / COLUMNS)
                gaps.append(gap * 1004.64 * (low - up) / 9.80616 * area)
            total += sum(abs(g) for g in gaps) / 3
            squares += (sum(g * g for g in gaps) / 3) ** 0.5
        assert found.mae[level] == pytest.approx(total / COLUMNS, rel=1e-6)
        assert found.rmse[level] == pytest.approx(squares / COLUMNS, rel=1e-6)


def test_fair_crps():
    # Members 0 and 2, truth 1: mean |x - y| = 1, half the fair spread 2 / 2 = 1.
    two = np.array([[[[0.0, 2.0]]]])
    np.testing.assert_allclose(fair_crps(two, np.ones((1, 1, 1))), [0.0])
    # 1, 2, 4 and truth 3: mean error 4/3; spread (1*1*2 + 2*2*1) / 6 = 1.
    three = np.array([[[4.0, 1.0, 2.0]]])
    np.testing.assert_allclose(fair_crps(three, np.full((1, 1), 3.0)), [1.0 / 3.0])
    rng = np.random.default_rng(0)
    drawn, true = rng.normal(size=(4000, 20, 32)), rng.normal(size=(4000, 20))
    np.testing.assert_allclose(fair_crps(drawn, true), [np.pi**-0.5], rtol=0.01)


def test_what_does_not_fit_is_refused(files, tmp_path):
    with pytest.raises(ValueError, match=r"mli.*got none"):
        read_climsim([], files[1])
    with pytest.raises(ValueError, match="beside it"):
        read_climsim([tmp_path / "E3SM-MMF.mli.0001.nc"], files[1])
    path = written(tmp_path, 0)
    with xarray.open_dataset(path) as data:
        broken = data.load()
    broken["state_t"].values[7, 2] = np.nan
    broken.to_netcdf(path, mode="w")
    with pytest.raises(ValueError, match=r"'state_t'.*1 that are not.*ncol 2, lev 7"):
        read_climsim([path], files[1])
    broken.drop_vars("state_t").to_netcdf(path, mode="w")
    with pytest.raises(ValueError, match="state_t"):
        read_climsim([path], files[1])
    with pytest.raises(ValueError, match="127 features"):
        split(V1.outputs, np.zeros((2, 127)))
    with pytest.raises(ValueError, match="ptend_t"):
        Grid.read(files[1]).energy({"ptend_t": np.zeros((1, 5, 3))}, np.full((1, 5), 1e5))


def test_published_grid_and_normalisation():
    if not FACTS.is_dir():
        pytest.skip("expected the data set climsim_facts in FIELDCAST_DATA")
    grid = Grid.read(FACTS / "ClimSim_low-res_grid-info.nc")
    assert (len(grid.area), len(grid.a)) == (384, 61)
    np.testing.assert_allclose(grid.area.sum(), 4 * np.pi, rtol=1e-6)
    ends = {k: f"climsim_input_{k}_v5_pervar.nc" for k in ("mean", "max", "min")}
    for variables, sizes in ((V1, (124, 128)), (V2, (557, 368))):
        found = Normalization.read(
            *(FACTS / ends[k] for k in ("mean", "max", "min")),
            FACTS / "climsim_output_scale.nc",
            variables,
        )
        assert (len(found.mean), len(found.scale)) == sizes
        assert np.isfinite(found.inputs(found.mean)).all()
        y = np.random.default_rng(0).normal(size=(4, sizes[1]))
        y[:, found.scale == 0.0] = 0.0
        np.testing.assert_allclose(found.undone(found.outputs(y)), y)
    assert ENERGY["cam_out_PRECC"] == 2.501e9
