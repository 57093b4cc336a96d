"""Errors as published, and counted per simulation."""

from pathlib import Path

import numpy as np
import pytest
from manufactured import linear
from scipy.special import ndtr

from fieldcast.meshes import Estimate, Field, Prediction
from fieldcast.surrogates.scores import (
    calibration,
    crps_normal,
    q2,
    relative_l2,
    rrmse_field,
    rrmse_scalar,
    score,
    spearman,
)

DATA = Path(__file__).parents[1] / "data" / "tensile2d_reference"
# The network's errors on Tensile2d as published with MMGP (arXiv:2305.12871), from its own files.
PUBLISHED = {"max_von_mises": 2.5e-2, "max_U2_top": 7.4e-2, "max_sig22_top": 3.9e-3}


def column(file, name):
    """One column of a table, by its name."""
    return np.genfromtxt(DATA / file, delimiter=",", names=True)[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_errors_come_out(name):
    found = rrmse_scalar(column("gcnn_target.csv", name), column("gcnn_pred.csv", name))
    assert found == pytest.approx(PUBLISHED[name], rel=0.02)


def test_relative_to_the_largest_value_of_each_case():
    truth = [np.array([[[1.0], [2.0]]]), np.array([[[10.0], [-20.0], [5.0]]])]
    found = [truth[0] + 0.2, truth[1] - 2.0]
    assert rrmse_field(truth, found) == pytest.approx(0.1, rel=1e-12)
    assert rrmse_field(truth, truth) == 0.0
    assert rrmse_field([1e3 * t for t in truth], [1e3 * f for f in found]) == pytest.approx(0.1)


def test_vectors_are_measured_by_their_length():
    truth = [np.array([[[3.0, 4.0], [0.0, 0.0]]])]
    found = [truth[0] + np.array([0.3, 0.4])]
    assert rrmse_field(truth, found) == pytest.approx(0.1, rel=1e-12)


def test_scalars_relative_to_themselves():
    assert rrmse_scalar(np.array([1.0, -10.0]), np.array([1.1, -11.0])) == pytest.approx(0.1)


def test_q2_is_one_for_the_truth_and_zero_for_its_mean():
    truth = np.random.default_rng(0).normal(size=50)
    assert q2(truth, truth) == 1.0
    assert q2(truth, np.full(50, truth.mean())) == pytest.approx(0.0, abs=1e-12)
    assert q2(truth, -truth) < 0


def predictions(samples, error, std):
    return [
        Prediction(
            s.case,
            {"u": Field(s.fields["u"].values + error, "K")},
            None if std is None else {"u": Field(np.full_like(s.fields["u"].values, std), "K")},
            {"s": Estimate(s.scalars["s"].value + error, None if std is None else np.array([std]))},
        )
        for s in samples
    ]


@pytest.mark.parametrize(("std", "expected"), [(1.0, 1.0), (0.4, 0.0), (None, None)])
def test_coverage_of_a_known_error(std, expected):
    """An error of 1 lies within 1.96 standard deviations of 1 and outside those of 0.4."""
    samples = linear(5)
    found = score(samples, predictions(samples, 1.0, std))
    assert found["u"].coverage == expected
    assert found["s"].coverage == expected
    assert found["u"].rrmse == pytest.approx(1e-5, rel=1e-3)


def test_nothing_to_score():
    with pytest.raises(ValueError, match="at least one sample"):
        score([], [])


def test_another_number_of_predictions_is_refused():
    samples = linear(5)
    with pytest.raises(ValueError, match="zip"):
        score(samples, predictions(samples[:4], 0.0, None))


def test_crps_is_the_integral_of_squared_differences():
    """CRPS = int (F(t) - 1[t >= y])^2 dt."""
    t = np.linspace(-40.0, 40.0, 400_001)
    for gap, std in ((0.0, 1.0), (1.5, 0.7), (-3.0, 2.0)):
        squares = (ndtr(t / std) - (t >= gap)) ** 2
        found = crps_normal(np.array([gap]), np.array([std]))[0]
        assert found == pytest.approx(np.trapezoid(squares, t), rel=1e-4)
    assert crps_normal(np.array([-2.0]), np.array([0.0]))[0] == 2.0


def test_relative_l2():
    truth = [np.array([3.0, 4.0]), np.array([0.0, 2.0])]
    assert relative_l2(truth, [1.1 * truth[0], 0.7 * truth[1]]) == pytest.approx(0.2)


def test_ranks():
    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert spearman(x, np.exp(x)) == pytest.approx(1.0)
    assert spearman(x, -x) == pytest.approx(-1.0)
    assert spearman(x, np.ones(4)) is None
    assert spearman(x[:2], x[:2]) is None


def test_widths_and_ranks_of_known_answers():
    samples = linear(5)
    found = score(samples, predictions(samples, 1.0, 0.5))
    assert found["u"].width == pytest.approx(2 * 1.959964 * 0.5, rel=1e-6)
    assert found["s"].spearman == pytest.approx(1.0)
    assert found["u"].spearman is None
    plain = score(samples, predictions(samples, 1.0, None))
    assert plain["u"].width is None
    assert plain["u"].crps == pytest.approx(1.0, rel=1e-6)
    assert found["u"].crps < plain["u"].crps


def test_calibration_by_level():
    samples = linear(5)
    levels = (0.5, 0.95)
    assert calibration(samples, predictions(samples, 1.0, 1.0), levels) == {"s": [0.0, 1.0]}
    assert calibration(samples, predictions(samples, 1.0, None), levels) == {}
