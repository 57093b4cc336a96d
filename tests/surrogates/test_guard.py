"""The guard: false alarms at the stated rate, and what lies outside is told, in words."""

import numpy as np
import pytest
from manufactured import linear, shapes

from fieldcast.conformance.families import bulged, square
from fieldcast.meshes import Case, Cases, Sample
from fieldcast.surrogates import PodRidge
from fieldcast.surrogates.features import Features
from fieldcast.surrogates.guard import REJECT, WARN, Guard, Place, Tail, limit

UNITS = {"p": "bar", "q": "", "r": "m"}
MESH = square(3, 0)


def features_of(values):
    """Of cases with the parameters p, q, r."""
    cases = [Case(MESH, dict(zip(UNITS, row, strict=True))) for row in values]
    features = Features.fit(Cases.pack(cases), {})
    return features, features.raw(Cases.pack(cases), {})


def guarded(values, seed=0):
    features, raw = features_of(values)
    n = len(raw)
    rng = np.random.default_rng([seed, n])
    place = Place(raw, {"shape": rng.chisquare(5, n)}, np.zeros(n))
    return Guard.fit(features, place, UNITS), features


def place(raw, shape=3.0, clamped=0.0):
    raw = np.atleast_2d(raw).astype(float)
    return Place(raw, {"shape": np.full(len(raw), shape)}, np.full(len(raw), clamped))


@pytest.mark.parametrize("n", [50, 150])
def test_false_alarms_come_at_the_stated_rate(n):
    flagged, rejected = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        guard, _ = guarded(rng.uniform(-1, 1, (n, 3)), seed)
        asked = Place(rng.uniform(-1, 1, (400, 3)), {"shape": rng.chisquare(5, 400)}, np.zeros(400))
        status = [t.status for t in guard.judge(asked)]
        flagged.append(np.mean([s != "ok" for s in status]))
        rejected.append(np.mean([s == "reject" for s in status]))
    assert np.mean(flagged) == pytest.approx(WARN, abs=0.02)
    assert np.mean(rejected) == pytest.approx(REJECT, abs=0.01)


@pytest.fixture(scope="module")
def even():
    return guarded(np.random.default_rng(0).uniform(-1, 1, (150, 3)))[0]


def test_outside_a_range_is_told_with_the_value_the_unit_and_how_far(even):
    middle, above, below = even.judge(place([[0, 0, 0], [2.0, 0, 0], [0, 0, -1.6]]))
    assert (middle.status, middle.reason) == ("ok", "")
    assert above.status == below.status == "reject"
    assert above.reason.startswith("p 2 bar is 0.51 ranges above the training set")
    assert below.reason.startswith("r -1.6 m is 0.3 ranges below the training set")
    assert above.score > below.score > 1.0 > middle.score


def test_scores_grow_with_the_distance(even):
    raw = np.zeros((30, 3))
    raw[:, 1] = np.linspace(1.0, 6.0, 30)
    scores = [t.score for t in even.judge(place(raw))]
    assert (np.diff(scores) > 0).all()


def test_a_gap_inside_the_ranges_is_told():
    rng = np.random.default_rng(1)
    angle = rng.uniform(0, 2 * np.pi, 200)
    ring = np.column_stack([np.cos(angle), np.sin(angle), rng.uniform(-1, 1, 200)])
    guard, _ = guarded(ring + 0.02 * rng.normal(size=(200, 3)))
    on, within = guard.judge(place([[1, 0, 0], [0, 0, 0]]))
    assert on.status == "ok"
    assert within.status != "ok"
    assert "the nearest parameters seen is" in within.reason


def test_an_unusual_combination_is_told():
    rng = np.random.default_rng(2)
    p = rng.uniform(-1, 1, 200)
    along = np.column_stack([p, p + 0.02 * rng.normal(size=200), rng.uniform(-1, 1, 200)])
    guard, _ = guarded(along)
    usual, odd = guard.judge(place([[0.8, 0.8, 0], [0.8, -0.8, 0]]))
    assert usual.status == "ok"
    assert odd.status == "reject"


def test_shapes_no_mode_can_tell_and_points_outside_are_told(even):
    [strange] = even.judge(place([0, 0, 0], shape=90.0))
    assert strange.status == "reject"
    assert strange.reason.startswith("its shape differs")
    [out] = even.judge(place([0, 0, 0], clamped=0.2))
    assert out.reason == "20% of the points lie outside the common shape"


def test_many_cases_are_judged_one_by_one(even):
    raw = np.random.default_rng(3).normal(size=(20, 3))
    together = even.judge(place(raw))
    alone = [even.judge(place(row))[0] for row in raw]
    assert [t.status for t in together] == [t.status for t in alone]
    np.testing.assert_allclose([t.score for t in together], [t.score for t in alone])


def test_a_limit_is_an_order_statistic_or_lies_beyond_the_largest():
    surprises = np.arange(1.0, 100.0)
    assert limit(surprises, 0.05) == 95.0
    assert limit(surprises, 0.01) == 99.0
    assert limit(surprises[:9], 0.05) == pytest.approx(9.0 + np.log(2.0))


def test_surprise_is_monotone_and_calibrated_inside():
    scores = np.random.default_rng(4).exponential(size=500)
    tail = Tail.of("nearest x", scores)
    asked = np.linspace(0, 12, 100)
    assert (np.diff(tail.surprise(asked)) >= 0).all()
    # P(score > s) = exp(-s).
    np.testing.assert_allclose(tail.surprise(np.array([3.0, 6.0])), [3.0, 6.0], rtol=0.2)


def test_one_value_that_is_apart_does_not_blind_the_guard():
    values = np.random.default_rng(5).uniform(-1, 1, (80, 3))
    values[:, 2] = 0.5
    values[0, 2] = 0.7
    [far] = guarded(values)[0].judge(place([1.6, 0, 0.5]))
    assert far.status != "ok"


def test_predictions_carry_the_verdict():
    predictor = PodRidge().fit(linear(30))
    case = linear(30)[0].case
    low, high = predictor.features.low[0], predictor.features.high[0]
    inside, far = predictor.predict(
        [
            case.with_parameters(p=0.5 * (low + high), q=0.0),
            case.with_parameters(p=high + 0.5 * (high - low), q=0.0),
        ]
    )
    assert (inside.trust.status, far.trust.status) == ("ok", "reject")
    assert "0.5 ranges above the training set" in far.trust.reason
    assert predictor.card.fit["trust"]["false_alarms_warn"] == WARN
    assert {p.trust.status for p in predictor.predict([s.case for s in linear(30)])} == {"ok"}


def test_logarithms_are_told_in_the_users_values():
    samples = [Sample(Case(MESH, {"k": 10.0**e}), {}, {"y": e}) for e in np.linspace(-2.0, 2.0, 20)]
    [far] = PodRidge().fit(samples).predict([Case(MESH, {"k": 1e4})])
    assert far.trust.reason.startswith("k 1e+04 is 0.5 ranges above the training set")


def test_shapes_outside_are_told_too():
    samples = shapes(20, 0)
    predictor = PodRidge().fit(samples)
    parameters = dict(samples[0].case.parameters)
    [wide] = predictor.predict([Case(bulged(square(9, 0), 4.0, 0.15), parameters)])
    assert wide.trust.status == "reject"
    assert "shape" in wide.trust.reason


def test_another_shape_than_the_only_one_is_told():
    samples = linear(12)
    predictor = PodRidge().fit(samples)
    case = samples[3].case
    moved = Case(case.mesh.moved(case.mesh.points * (1.3, 1.0)), dict(case.parameters))
    same, other = predictor.predict([case, moved])
    assert same.trust.status == "ok"
    assert other.trust.status == "reject"
    assert "its shape differs far more" in other.trust.reason
