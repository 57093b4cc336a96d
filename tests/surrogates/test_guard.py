"""The box of the training set: what lies outside is warned of or rejected, with the reason."""

import numpy as np
import pytest
from manufactured import linear, shapes

from fieldcast.conformance.families import bulged, square
from fieldcast.surrogates import PodRidge
from fieldcast.surrogates.guard import CLAMPED, REJECT, Box

BOX = Box(("p", "q"), np.array([-1.0, 10.0]), np.array([1.0, 20.0]), 0.0)


def judged(*raw, clamped=0.0):
    [verdict] = BOX.judge(np.array([raw]), np.array([clamped]))
    return verdict


def test_the_score_is_the_place_in_the_box():
    assert judged(0.0, 15.0).score == 0.0
    assert judged(1.0, 15.0).score == judged(0.0, 10.0).score == 1.0
    assert judged(0.0, 25.0).score == 2.0
    assert judged(0.5, 24.0).score == pytest.approx(1.8)


@pytest.mark.parametrize(
    ("raw", "status"),
    [((0.0, 15.0), "ok"), ((1.0, 20.0), "ok"), ((1.2, 15.0), "warn"), ((0.0, 5.0), "reject")],
)
def test_verdicts(raw, status):
    verdict = judged(*raw)
    assert verdict.status == status
    assert (verdict.reason == "") == (status == "ok")
    assert (verdict.score > REJECT) == (status == "reject")


def test_the_reason_names_the_parameter_the_side_and_how_far():
    assert judged(0.0, 25.0).reason == "q is 0.5 ranges above the training set"
    assert judged(-1.5, 15.0).reason == "p is 0.25 ranges below the training set"


def test_points_outside_the_common_shape():
    assert judged(0.0, 15.0, clamped=CLAMPED / 2).status == "ok"
    verdict = judged(0.0, 15.0, clamped=0.2)
    assert verdict.status == "reject"
    assert verdict.reason == "20% of the points lie outside the common shape"


def test_many_cases_are_judged_one_by_one():
    raw = np.array([[0.0, 15.0], [0.0, 25.0], [2.0, 15.0]])
    assert [v.status for v in BOX.judge(raw, np.zeros(3))] == ["ok", "reject", "reject"]


def test_predictions_outside_carry_the_reason():
    predictor = PodRidge().fit(linear(8))
    case = linear(8)[0].case
    low, high = predictor.guard.low[0], predictor.guard.high[0]
    inside, near, far = predictor.predict(
        [
            case.with_parameters(p=0.5 * (low + high), q=0.0),
            case.with_parameters(p=high + 0.1 * (high - low), q=0.0),
            case.with_parameters(p=high + 1.0 * (high - low), q=0.0),
        ]
    )
    assert [p.trust.status for p in (inside, near, far)] == ["ok", "warn", "reject"]
    assert near.trust.reason == "p is 0.1 ranges above the training set"
    assert far.trust.reason == "p is 1 ranges above the training set"


def test_shapes_outside_are_told_too():
    samples = shapes(8, 0)
    predictor = PodRidge().fit(samples)
    case = samples[0].case
    [wide] = predictor.predict([_moved(case, bulged(square(9, 0), 4.0, 0.15))])
    assert wide.trust.status == "reject"
    assert "shape" in wide.trust.reason


def _moved(case, mesh):
    return type(case)(mesh, dict(case.parameters), name="wide")
