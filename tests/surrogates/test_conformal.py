"""Calibrated intervals: they hold as often as they say, and refuse what few simulations can't
tell."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from manufactured import shapes

from fieldcast.conformance.families import square
from fieldcast.meshes import Case, Field, Normal, Sample
from fieldcast.surrogates import MMGP, Conformal, MeanField, PodRidge, Training
from fieldcast.surrogates.conformal import Calibration, Conformed, scored
from fieldcast.surrogates.cross_validation import split

MESH = square(5, 0)
SMALL = MMGP(training=Training(starts=1, iterations=40))


def noisy(n, seed):
    """A scalar and a field, linear in p, with noise of their own in every case."""
    rng = np.random.default_rng(seed)
    x, y = MESH.points.T
    made = []
    for p in rng.uniform(-1, 1, n):
        bumps = rng.normal(size=3)
        u = p * x + 0.1 * (bumps[0] + bumps[1] * x + bumps[2] * y)
        v = p + 0.2 * rng.standard_t(5)
        made.append(Sample(Case(MESH, {"p": p}), {"u": Field.steady(u)}, {"v": v}))
    return made


def held(samples, bands):
    """Which scalars and which whole fields lie inside, and the share of points."""
    scalars, fields, points = [], [], []
    for s, (low, high) in zip(samples, bands, strict=True):
        v, u = s.scalars["v"].value, s.fields["u"].values
        scalars.append(bool(low.scalars["v"].value <= v <= high.scalars["v"].value))
        inside = (low.fields["u"].values <= u) & (u <= high.fields["u"].values)
        fields.append(inside.all())
        points.append(inside.mean())
    return np.mean(scalars), np.mean(fields), np.mean(points)


@pytest.mark.parametrize(("n", "repeats"), [(20, 8), (39, 12)])
def test_they_hold_scalars_and_whole_fields_as_often_as_they_say(n, repeats):
    found = []
    for seed in range(repeats):
        model = Conformal(PodRidge(), folds=6).fit(noisy(n, seed), seed=seed)
        test = noisy(60, 1000 + seed)
        found.append(held(test, [p.interval(0.9) for p in model.predict([s.case for s in test])]))
    wanted = np.ceil((n + 1) * 0.9) / (n + 1)
    assert np.mean(found, axis=0)[:2] == pytest.approx([wanted] * 2, abs=0.05)


def test_bands_by_points_hold_that_share_of_points_and_are_narrower():
    shares, widths = [], []
    for seed in range(6):
        train, test = noisy(30, seed), noisy(40, 1000 + seed)
        cases = [s.case for s in test]
        for pointwise in (True, False):
            model = Conformal(PodRidge(), folds=6, pointwise=pointwise).fit(train, seed=seed)
            bands = [p.interval(0.9) for p in model.predict(cases)]
            shares.append(held(test, bands)[2])
            low, high = bands[0]
            widths.append(np.mean(high.fields["u"].values - low.fields["u"].values))
    assert np.mean(shares[::2]) == pytest.approx(0.9, abs=0.04)
    assert np.mean(shares[1::2]) > 0.93
    assert np.mean(widths[::2]) < 0.9 * np.mean(widths[1::2])


@pytest.mark.parametrize(
    ("n", "level", "least"), [(8, 0.9, 9), (18, 0.95, 19), (98, 0.99, 99), (9, 0.91, 11)]
)
def test_levels_that_few_simulations_cannot_support_are_refused(n, level, least):
    with pytest.raises(ValueError, match=f"that takes {least}"):
        Calibration([{"v": np.ones((n, 1))}], False).rank(level)
    assert Calibration([{"v": np.ones((least, 1))}], False).rank(level) == least


def test_the_smallest_supported_level_takes_the_largest_score():
    model = Conformal(PodRidge()).fit(noisy(9, 0))
    assert model.largest_level == 0.9
    [p] = model.predict([noisy(1, 1)[0].case])
    p.interval(0.9)
    with pytest.raises(ValueError, match=r"at most 0\.9, which 9 simulations can support"):
        p.interval(0.95)


def test_ends_are_the_order_statistics_of_barber_et_al():
    train, case = noisy(24, 3), noisy(1, 4)[0].case
    model = Conformal(SMALL, folds=4, plus=True).fit(train, seed=5)
    [p] = model.predict([case])
    low, high = p.interval(0.8)
    ends, trials = [], SMALL.trials(train)
    for part in split(24, 4, seed=5):
        rest = [i for i in range(24) if i not in part]
        member = trials.fit(rest, like=model.whole, seed=5)
        [here] = member.predict([case])
        for i in part:
            [there] = member.predict([train[i].case])
            r = abs(train[i].scalars["v"].value - there.scalars["v"].mean)
            r = r / there.scalars["v"].std * here.scalars["v"].std
            ends.append((here.scalars["v"].mean - r, here.scalars["v"].mean + r))
    lower, upper = (np.sort(np.array(e).ravel()) for e in zip(*ends, strict=True))
    # ceil(25 * 0.8) = 20 from below, as many from above.
    np.testing.assert_allclose(high.scalars["v"].value, upper[19], rtol=1e-9)
    np.testing.assert_allclose(low.scalars["v"].value, lower[4], rtol=1e-9)


def test_without_plus_the_answer_is_the_middle_and_the_score_of_that_rank_the_width():
    train, case = noisy(24, 3), noisy(1, 4)[0].case
    model = Conformal(SMALL, folds=4).fit(train, seed=5)
    [p] = model.predict([case])
    low, high = p.interval(0.8)
    [scores] = model.calibration.scores
    own = p.scalars["v"]
    width = np.sort(scores["v"][:, 0])[19] * own.std
    np.testing.assert_allclose(high.scalars["v"].value, own.mean + width)
    np.testing.assert_allclose(low.scalars["v"].value, own.mean - width)
    assert len(scores["v"]) == 24
    assert model.members == ()


@lru_cache(maxsize=2)
def morphed(plus=False):
    return Conformal(SMALL, folds=3, plus=plus).fit(shapes(12, 0))


@pytest.mark.parametrize("plus", [False, True])
def test_meshes_of_their_own_in_batches_and_alone_agree(plus):
    model, cases = morphed(plus), [s.case for s in shapes(4, 700, start=12)]
    together, apart = model.predict(cases), model.predict(cases, batch=1)
    for one, other, case in zip(together, apart, cases, strict=True):
        [alone] = model.predict([case])
        for a, b, c in zip(
            one.interval(0.9), other.interval(0.9), alone.interval(0.9), strict=True
        ):
            for name in one.mean:
                np.testing.assert_allclose(a.fields[name].values, b.fields[name].values)
                np.testing.assert_allclose(a.fields[name].values, c.fields[name].values)


def test_the_inner_surrogates_answer_and_spread_stay():
    case = shapes(1, 700, start=12)[0].case
    [own], [inner] = morphed().predict([case]), morphed().whole.predict([case])
    for name in own.mean:
        np.testing.assert_array_equal(own.mean[name].values, inner.mean[name].values)
        np.testing.assert_array_equal(own.std[name].values, inner.std[name].values)
    assert own.trust == inner.trust


def test_a_surrogate_without_a_spread_has_intervals_then():
    train, test = noisy(40, 0), noisy(200, 1)
    model = Conformal(MeanField()).fit(train)
    found = model.predict([s.case for s in test])
    assert found[0].std is None
    assert held(test, [p.interval(0.9) for p in found])[0] == pytest.approx(0.9, abs=0.08)


@pytest.mark.parametrize(
    ("n", "plus", "said"),
    [
        (25, False, "jackknife"),
        (26, False, "cross-validation with 25 folds"),
        (25, True, "jackknife+"),
        (26, True, "CV+ with 25 folds"),
        (501, False, "split, 100 simulations held out"),
        (501, True, "split, 100 simulations held out"),
    ],
)
def test_the_method_goes_by_the_number_of_simulations_and_is_said(n, plus, said):
    model = Conformal(PodRidge(), plus=plus).fit(noisy(n, 0))
    assert model.card.fit["conformal"]["method"] == said
    assert len(model.members) == (25 if plus and n < 500 else 0)
    assert model.calibration.n == {501: 100}.get(n, n)


def test_logarithms_are_calibrated_as_such():
    rng = np.random.default_rng(0)
    samples = []
    for p in rng.uniform(-1, 1, 60):
        v = np.exp(3 * p + 0.3 * rng.normal())
        samples.append(Sample(Case(MESH, {"p": p}), {}, {"v": v}))
    model = Conformal(SMALL, folds=4).fit(samples[:40])
    found = model.predict([s.case for s in samples[40:]])
    assert found[0].band.inner.logarithmic == {"v"}
    assert all(p.interval(0.95)[0].scalars["v"].value > 0 for p in found)


def test_places_are_the_inverse_of_moves():
    rng = np.random.default_rng(0)
    mean, std, z = rng.normal(size=9), rng.uniform(0.1, 1, 9), rng.normal(size=9)
    for normal in (Normal(), Normal(frozenset({"v"}))):
        value = normal.moved("v", mean, std, z)
        np.testing.assert_allclose(normal.place("v", mean, std, value), z)


def test_points_without_error_or_spread_do_not_spoil_the_band():
    train = noisy(30, 0)
    predictor = SMALL.fit(train)
    predictions = predictor.predict([s.case for s in train[:3]])
    still = [
        replace(
            p,
            mean={"u": p.mean["u"].with_values(0.0 * p.mean["u"].values)},
            std={"u": p.std["u"].with_values(np.eye(1, 25).reshape(1, 25, 1))},
        )
        for p in predictions
    ]
    nearly = [Sample(s.case, {"u": Field.steady(np.full(25, 1e-9))}, s.scalars) for s in train[:3]]
    assert scored(nearly, still, False)["u"].max() < 1e-6


def test_few_cases_and_few_folds_are_refused():
    with pytest.raises(ValueError, match="at least 3 training cases"):
        Conformal(PodRidge()).fit(noisy(2, 0))
    with pytest.raises(ValueError, match="at least 2 folds"):
        Conformal(PodRidge(), folds=1)


def test_bands_of_one_case_hold_its_members():
    [p] = morphed(plus=True).predict([shapes(1, 700, start=12)[0].case])
    assert isinstance(p.band, Conformed)
    assert [m.case for m in p.band.members] == [p.case] * 3
