"""Calibration of cells: synthetic truths, files, commands, and plugs for PyBaMM's and PyBOP's
users."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray
from test_cli import run

from fieldcast.meshes import Sample, Scalar
from fieldcast.meshes.battery import RATES, VOLTAGE
from fieldcast.pipelines.battery import Noise, calibrate, cross_checked, headed, write_draws
from fieldcast.pipelines.battery_simulation import Simulation, pybop_simulator
from fieldcast.pipelines.discharges import (
    Training,
    box_of,
    discharge_of,
    placed,
    read_discharge,
    trained,
)
from fieldcast.solvers.battery import SingleParticle, graphite_nmc
from fieldcast.surrogates import load
from fieldcast.surrogates.inference import Hamiltonian
from fieldcast.surrogates.posterior_checks import answered, coverage

BOX = {"deg_i0_a": (0.5, 4.0), "deg_ds_c": (1.0, 10.0)}
TRUTH = dict.fromkeys(RATES, 2.0)


@pytest.fixture(scope="module")
def predictor():
    return trained(Training(graphite_nmc(), BOX, "single_particle", times=51))


@pytest.fixture(scope="module")
def measured(predictor):
    """The place that the paper calibrates, with noise of 1 mV."""
    truth = SingleParticle(graphite_nmc()).solve(placed(discharge_of(predictor), TRUTH))
    v = truth.scalars[VOLTAGE].value
    noise = np.random.default_rng(0).normal(0.0, 1e-3, len(v))
    return Sample(discharge_of(predictor), {}, {VOLTAGE: Scalar(v + noise, "V")})


@pytest.fixture(scope="module")
def found(predictor, measured):
    return calibrate(predictor, measured, BOX)


def test_the_truth_is_recovered(found):
    rows = found.rows()
    for name, value in TRUTH.items():
        low, high = found.draws.interval(name, 0.998)
        assert low < value < high
    # Where data tell more than the prior, Fisher's information is the posterior's width.
    assert rows["deg_ds_c"]["std"] == pytest.approx(rows["deg_ds_c"]["fisher"], rel=0.6)
    assert rows["sigma"]["mean"] == pytest.approx(1e-3, rel=0.3)
    assert found.told.correlation[0, 1] == pytest.approx(-0.96, abs=0.02)
    assert found.held > 0.8
    assert abs(found.memory) < 0.4


def test_chains_agree_with_the_grid(predictor, measured, found):
    chains = calibrate(predictor, measured, BOX, sampler=Hamiltonian(48, 60, starts=200))
    for name in found.draws.names:
        gap = np.subtract(chains.draws.interval(name), found.draws.interval(name))
        assert np.abs(gap).max() < 0.2 * found.draws.of(name).std()


def test_the_error_of_the_model_is_in_the_likelihood(predictor, measured, found):
    wide = calibrate(predictor, measured, BOX, Noise(model=2e-3))
    assert wide.rows()["deg_ds_c"]["std"] > 1.3 * found.rows()["deg_ds_c"]["std"]
    assert wide.rows()["sigma"]["mean"] < 0.7e-3


def test_a_wrong_model_is_told(predictor, measured):
    t = measured.case.times
    bent = measured.scalars[VOLTAGE].value + 0.02 * np.sin(9.0 * t / t[-1])
    found = calibrate(predictor, replace(measured, scalars={VOLTAGE: Scalar(bent, "V")}), BOX)
    assert found.memory > 0.9
    assert any("residuals follow each other" in w for w in found.warnings())


def test_wrong_questions_are_refused(predictor, measured):
    with pytest.raises(ValueError, match=r"deg_i0_a.*colour"):
        calibrate(predictor, measured, {"colour": (0.0, 1.0)})
    with pytest.raises(ValueError, match="rising"):
        calibrate(predictor, measured, {"deg_i0_a": (2.0, 1.0)})
    with pytest.raises(ValueError, match="voltage"):
        calibrate(predictor, replace(measured, scalars={}), BOX)
    odd = replace(measured.case, times=measured.case.times + 1.0)
    with pytest.raises(ValueError, match="times that the model answers"):
        calibrate(predictor, replace(measured, case=odd), BOX)


def test_regions_hold_as_many_truths_as_they_say(predictor, measured):
    head = headed(predictor, measured.case, BOX)
    shares = coverage(head, {k: BOX[k] for k in head.names}, (2e-4, 1e-2), 1e-3, truths=20)
    for share in (*shares.intervals.values(), shares.region):
        assert 0.7 <= share <= 1.0  # 99 % of binomial draws at 0.9


def test_draws_are_kept_as_arviz_has_them(found, tmp_path):
    path = write_draws(found, tmp_path / "draws.nc")
    with xarray.open_dataset(path, group="posterior") as posterior:
        assert posterior["deg_i0_a"].dims == ("chain", "draw")
        np.testing.assert_array_equal(posterior["sigma"], found.draws.of("sigma"))
    with xarray.open_dataset(path, group="observed_data") as data:
        np.testing.assert_array_equal(data[VOLTAGE], found.measured)
    arviz = pytest.importorskip("arviz")
    assert "posterior_predictive" in arviz.from_netcdf(path).groups()


def test_emcee_agrees(found):
    pytest.importorskip("emcee")
    other = cross_checked(found).others["emcee"]
    for name in BOX:
        gap = np.subtract(other.interval(name), found.draws.interval(name))
        assert np.abs(gap).max() < 0.4 * found.draws.of(name).std()


def test_asked_as_pybamm_is(predictor, measured):
    simulation = Simulation(predictor, discharge_of(predictor))
    one = simulation.solve([0.0, 1350.0], inputs=TRUTH)
    truth = SingleParticle(graphite_nmc()).solve(placed(measured.case, TRUTH))
    voltage = one["Voltage [V]"]
    assert np.abs(voltage.data - truth.scalars[VOLTAGE].value).max() < 2e-4
    assert voltage(one.t[3]) == pytest.approx(voltage.entries[3])
    salt = one["X-averaged positive particle concentration [mol.m-3]"]
    assert salt.data.shape == (41, len(one.t))
    both = simulation.solve(inputs=[TRUTH, TRUTH], t_interp=[0.0, 27.0])
    np.testing.assert_array_equal(both[1]["Voltage [V]"].data, voltage.data[:2])
    with pytest.raises(KeyError, match="Voltage"):
        one["Colour"]


def test_a_head_in_pybop(predictor, measured):
    pybop = pytest.importorskip("pybop")
    head = headed(predictor, measured.case, BOX)
    parameters = {k: pybop.Parameter(distribution=pybop.Uniform(*BOX[k])) for k in head.names}
    simulator = pybop_simulator(head, measured.case.times, parameters)
    [solution] = simulator.solve_batch([TRUTH], calculate_sensitivities=True)
    exact = answered(head, np.array([[2.0, 2.0]]))[0]
    np.testing.assert_array_equal(solution["Voltage [V]"].data, exact)
    above = answered(head, np.array([[2.0 + 1e-6, 2.0]]))[0]
    slope = solution["Voltage [V]"].sensitivities["deg_i0_a"]
    np.testing.assert_allclose(np.ravel(slope), 1e6 * (above - exact), atol=1e-6)


def test_commands(tmp_path, measured, capsys):
    cells = tmp_path / "cell.fieldcast"
    table = np.stack([measured.case.times, measured.scalars[VOLTAGE].value], axis=1)[:-5]
    data = tmp_path / "measured.csv"
    np.savetxt(data, table, delimiter=",", header="Time [s],Voltage [V]", comments="")
    options = ("--solver", "single_particle", "--times", "51", "--parameter", "deg_ds_c=1:10")
    assert run("battery", "train", "-o", str(cells), *options) == 0
    assert box_of(load(cells)) == {"deg_ds_c": (1.0, 10.0)}
    page, draws = tmp_path / "page.html", tmp_path / "draws.nc"
    capsys.readouterr()
    files = (str(cells), str(data), "-o", str(page), "--draws", str(draws))
    assert run("battery", "calibrate", *files, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    # Kinetics of the model are those of the reference, slower than the truth's.
    assert 1.5 < content["parameters"]["deg_ds_c"]["mean"] < 4.0
    assert page.stat().st_size > 50_000
    assert draws.exists()
    assert len(read_discharge(data, discharge_of(load(cells))).case.times) == 46


def test_wrong_files_and_options_are_refused(tmp_path, predictor):
    odd = tmp_path / "odd.csv"
    odd.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"odd.csv.*Time"):
        read_discharge(odd, discharge_of(predictor))
    rests = tmp_path / "rests.csv"
    rests.write_text("Time [s],I[A],U[V]\n0,0,4.2\n1,-1,4.0\n700,-1,3.7\n1350,-1,3.5\n1400,0,3.9\n")
    found = read_discharge(rests, discharge_of(predictor))
    assert found.case.times[0] > 0.0
    assert found.scalars[VOLTAGE].value.max() < 4.0
    with pytest.raises(ValueError, match="single_particle"):
        trained(Training(graphite_nmc(), BOX, "colour"))
    with pytest.raises(ValueError, match="without a solver"):
        trained(Training(graphite_nmc(), {"deg_ds_c": (1.0, 2.0)}))
    with pytest.raises(ValueError, match="battery train"):
        discharge_of(predictor.with_settings({}))
    assert torch.get_default_dtype() == torch.float32
