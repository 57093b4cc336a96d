"""Scores of columns: by hand, by scoringrules, and what a perfect ensemble gets."""

import numpy as np
import pytest
import scoringrules

from fieldcast.meshes import Predictions, Samples
from fieldcast.meshes.columns import (
    INTERFACE_PRESSURE,
    INTERFACES,
    column_cases,
    column_scalar,
    level_field,
    line_mesh,
)
from fieldcast.meshes.packed import PackedEstimate
from fieldcast.surrogates.column_scores import (
    climatological_crps,
    rank_histogram,
    residuals,
    score_columns,
    score_mean,
    score_spread,
    widening,
)

LEVELS = line_mesh(np.linspace(0.1, 0.9, 3))


def answered(cases, values, std=None, number=0.0):
    spread = None if std is None else {"heating": level_field(std, "K/day")}
    numbers = np.full((len(values), 1), number)
    told = {"rain": PackedEstimate(numbers, None if std is None else numbers + 1.0, "kg/m^2/day")}
    return Predictions(cases, {"heating": level_field(values, "K/day")}, spread, told)


def columns(truth):
    cases = column_cases(LEVELS, {"T": level_field(truth, "K")})
    rain = {"rain": column_scalar(np.zeros(len(truth)), "kg/m^2/day")}
    return Samples(cases, {"heating": level_field(truth, "K/day")}, rain)


def test_errors_by_level_by_hand():
    truth = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]])
    found = score_mean(truth, truth + np.array([[1.0, 0.5], [-1.0, 0.5], [1.0, 0.5]]))
    np.testing.assert_allclose(found.mae, [1.0, 0.5])
    np.testing.assert_allclose(found.rmse, [1.0, 0.5])
    np.testing.assert_allclose(found.bias, [1.0 / 3.0, 0.5])
    # Squares about the mean 2: 4 + 0 + 4; the second level never varies.
    np.testing.assert_allclose(found.r2, [1.0 - 3.0 / 8.0, np.nan])
    told = found.summary()
    assert told["mae"] == pytest.approx(0.75)
    assert told["rmse"] == pytest.approx(np.sqrt((1.0 + 0.25) / 2.0))
    assert (told["worst_r2"], told["levels_below_0"]) == (0.625, 0)
    assert found.to_json()["levels"]["r2"] == [0.625, None]


def test_crps_is_that_of_scoringrules():
    rng = np.random.default_rng(0)
    truth, members = rng.normal(size=(50, 4)), rng.gamma(2.0, size=(7, 50, 4))
    std = members.std(axis=0, ddof=1)
    found = score_spread(truth, members.mean(axis=0), std, members, truth)
    for name, estimator in (("fair", "fair"), ("plain", "nrg")):
        theirs = scoringrules.crps_ensemble(truth, members, m_axis=0, estimator=estimator)
        np.testing.assert_allclose(getattr(found, name), theirs.mean(axis=0), rtol=1e-12)
    assert (found.plain > found.fair).all()


def test_skill_is_against_the_climatology():
    rng = np.random.default_rng(1)
    truth, usual = rng.normal(size=(40, 2)), rng.normal(1.0, size=(30, 2))
    theirs = scoringrules.crps_ensemble(
        truth, np.broadcast_to(usual.T, (40, 2, 30)), estimator="fair"
    )
    np.testing.assert_allclose(climatological_crps(truth, usual), theirs.mean(axis=0))
    # Each truth against the others.
    others = [np.delete(truth, i, axis=0).T for i in range(40)]
    theirs = scoringrules.crps_ensemble(truth, np.stack(others), estimator="fair")
    np.testing.assert_allclose(climatological_crps(truth, truth), theirs.mean(axis=0))
    members = truth + rng.normal(scale=1e-3, size=(8, 40, 2))
    found = score_spread(truth, members.mean(axis=0), members.std(axis=0), members, truth)
    assert (found.skill > 0.99).all()


def test_a_perfect_ensemble():
    rng = np.random.default_rng(2)
    truth, members = rng.normal(size=(8000, 2)), rng.normal(size=(32, 8000, 2))
    found = score_spread(truth, np.zeros_like(truth), np.ones_like(truth), members, truth)
    np.testing.assert_allclose(found.fair, np.pi**-0.5, rtol=0.02)
    np.testing.assert_allclose(found.skill, 0.0, atol=0.02)
    for level, share in found.coverage.items():
        np.testing.assert_allclose(share, level, atol=0.02)
    np.testing.assert_allclose(33 * found.ranks, 1.0, atol=0.3)
    error = score_mean(truth, np.zeros_like(truth), found).summary()
    assert error["spread_per_rmse"] == pytest.approx(1.0, abs=0.02)


def test_ranks_by_hand():
    members = np.array([[[0.0]], [[1.0]], [[1.0]]])
    np.testing.assert_allclose(rank_histogram(np.array([[0.5]]), members), [[0, 1, 0, 0]])
    # As large as two of three: any of the ranks 1, 2, 3.
    np.testing.assert_allclose(
        rank_histogram(np.array([[1.0]]), members), [[0, 1 / 3, 1 / 3, 1 / 3]]
    )


def test_spread_is_calibrated_by_one_number():
    rng = np.random.default_rng(3)
    truth, std = rng.normal(scale=3.0, size=(5000, 4)), np.ones((5000, 4))
    times = widening(truth, np.zeros_like(truth), std)
    assert times == pytest.approx(3.0, rel=0.03)


def test_outputs_go_by_name():
    rng = np.random.default_rng(4)
    truth = rng.normal(size=(20, 3))
    samples = columns(truth)
    mean = answered(samples.cases, truth + 1.0, np.ones_like(truth))
    members = [answered(samples.cases, truth + k, number=k) for k in (0.0, 2.0)]
    found = score_columns(samples, mean, members)
    np.testing.assert_allclose(found["heating"].mae, 1.0)
    assert found["heating"].spread.ranks.shape == (3, 3)
    assert found["rain"].mae.shape == (1,)
    assert score_columns(samples, mean)["heating"].spread is None
    with pytest.raises(ValueError, match="'rain'"):
        score_columns(Samples(samples.cases, samples.fields), mean)


def test_energy_and_water_that_columns_gain():
    edges = np.array([[0.0, 4e4, 7e4, 1e5]])
    fields = {INTERFACE_PRESSURE: level_field(edges, "Pa", INTERFACES)}
    fields["T"] = level_field(np.full((1, 3), 280.0), "K")
    cases = column_cases(LEVELS, fields)
    q = np.array([[1e-8, 0.0, 0.0]])
    # c_p dT/dt = -L_v dq/dt: moist enthalpy is kept.
    kept = {
        "heating": level_field(-q * 2.501e6 / 1004.64 * 86400.0, "K/day"),
        "moistening": level_field(q, "1/s"),
        "wind": level_field(q, "m/s^2"),
    }
    nothing = {k: level_field(np.zeros((1, 3)), f.unit) for k, f in kept.items()}
    found = residuals(Samples(cases, kept), Predictions(cases, nothing))
    assert found["energy"] == pytest.approx({"mae": 0.0, "bias": 0.0, "truth": 0.0}, abs=1e-9)
    gained = 1e-8 * 4e4 / 9.80616 * 86400.0
    assert found["water"] == pytest.approx({"mae": gained, "bias": -gained, "truth": gained})
    only = Predictions(cases, {"heating": kept["heating"]})
    found = residuals(Samples(cases, nothing), only)
    assert found["energy"]["bias"] == pytest.approx(-2.501e6 * 1e-8 * 4e4 / 9.80616)
    bare = column_cases(LEVELS, {"T": fields["T"]})
    assert residuals(Samples(bare, kept), Predictions(bare, kept)) == {}
