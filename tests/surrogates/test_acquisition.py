"""What to simulate next: laws of the criteria, and of the greedy choice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from manufactured import linear, shapes

from fieldcast.meshes import Case, Sample, Scalar
from fieldcast.surrogates import MMGP, MeanField, Training
from fieldcast.surrogates.acquisition import (
    Asked,
    ExpectedImprovement,
    SpaceFilling,
    VarianceReduction,
    conditioned,
    described,
    distances,
    expected_improvement,
    first_design,
    suggest,
)
from fieldcast.surrogates.gp import GaussianProcess, Hyperparameters

RECIPE = MMGP(modes=3, shape_modes=3, training=Training(starts=1, iterations=40))
CRITERIA = (
    VarianceReduction(),
    VarianceReduction(("s",)),
    ExpectedImprovement("s"),
    SpaceFilling(),
)


@pytest.fixture(scope="module")
def predictor():
    return RECIPE.fit(linear(12))


@pytest.fixture(scope="module")
def candidates():
    return [s.case for s in linear(60)]


@pytest.fixture(scope="module")
def known():
    return [s.case for s in linear(12)]


def process(x, y):
    return GaussianProcess.of(x, y, Hyperparameters(np.array([1.5, 0.7]), 1.2, 0.3, 1e-3))


def test_conditioning_equals_the_posterior_of_one_more_point_with_the_same_kernel():
    rng = np.random.default_rng(0)
    x, asked = torch.as_tensor(rng.normal(size=(9, 2))), torch.as_tensor(rng.normal(size=(14, 2)))
    y = torch.as_tensor(rng.normal(size=(9, 1)))
    before = process(x, y)
    covariance, noise = (t.numpy() / float(before.scale) ** 2 for t in before.joint(asked))
    for i in (0, 5, 13):
        after = process(torch.cat([x, asked[[i]]]), torch.cat([y, y[:1] + 3.0]))
        expected = after.joint(asked)[0].numpy() / float(after.scale) ** 2
        np.testing.assert_allclose(conditioned(covariance, noise, i), expected, atol=1e-6)


def test_the_value_of_a_case_is_the_share_of_variance_that_it_removes(predictor, candidates):
    ranking = VarianceReduction(("s",)).ranking(Asked(predictor, candidates, ()))
    joint = predictor.joint(candidates, "s")
    for i in (3, 40):
        left = np.trace(conditioned(joint.covariance, joint.noise, i))
        expected = 1.0 - left / np.trace(joint.covariance)
        assert ranking.values[i] == pytest.approx(expected, rel=1e-6)
    again = ranking.after(3).after(40)
    assert (again.values >= 0).all()
    assert again.values[40] < ranking.values[40]


@pytest.mark.parametrize("criterion", CRITERIA, ids=str)
def test_picks_are_distinct_new_and_the_best_at_their_turn(predictor, candidates, known, criterion):
    twice = [*candidates, *candidates[20:40]]
    found = suggest(predictor, twice, 6, criterion, known=known)
    ids = [s.case.id for s in found]
    assert len(set(ids)) == 6
    assert not set(ids) & {case.id for case in known}
    assert all(twice[s.index].id == s.case.id and s.value >= 0 and s.reason for s in found)
    assert found[:3] == suggest(predictor, twice, 3, criterion, known=known)
    ranking = criterion.ranking(Asked(predictor, twice, known))
    left = [i for i, case in enumerate(twice) if case not in known]
    for s in found:
        assert s.value == ranking.values[s.index] == ranking.values[left].max()
        left = [i for i in left if twice[i].id != s.case.id]
        ranking = ranking.after(s.index)


def test_fewer_are_suggested_where_fewer_are_left_and_none_is_an_error(predictor, candidates):
    left = suggest(predictor, candidates[:14], 5, known=candidates[:12])
    assert {s.index for s in left} == {12, 13}
    with pytest.raises(ValueError, match="all 12 were"):
        suggest(predictor, candidates[:12], known=candidates)
    with pytest.raises(ValueError, match="at least one"):
        suggest(predictor, candidates, 0)


def test_variance_is_reduced_where_nothing_was_seen(candidates):
    mesh = candidates[0].mesh
    seen = [s for s in linear(60) if float(s.case.parameters["p"]) < 0]
    curved = [
        Sample(s.case, {}, {"c": np.sin(3 * p) * p})
        for s in seen
        if (p := float(s.case.parameters["p"])) is not None
    ]
    asked = [Case(mesh, {"p": p, "q": 0.0}) for p in np.linspace(-1.0, 1.0, 21)]
    found = suggest(RECIPE.fit(curved), asked, 2, VarianceReduction(("c",)))
    assert all(float(s.case.parameters["p"]) > 0.3 for s in found)


def test_outputs_count_by_their_share_whatever_their_unit(candidates, known):
    samples = [
        Sample(s.case, {}, {"a": np.sin(2 * p), "b": 1e6 * np.cos(q)})
        for s in linear(12)
        for p, q in [(float(s.case.parameters["p"]), float(s.case.parameters["q"]))]
    ]
    model = RECIPE.fit(samples)
    asked = Asked(model, candidates, known)
    both = VarianceReduction().ranking(asked).values
    each = [VarianceReduction((k,)).ranking(asked).values for k in ("a", "b")]
    np.testing.assert_allclose(both, np.mean(each, axis=0))


@pytest.mark.parametrize("criterion", CRITERIA, ids=str)
def test_cost_divides_values(predictor, candidates, known, criterion):
    plain = suggest(predictor, candidates, 4, criterion, known=known)
    twice = suggest(predictor, candidates, 4, criterion, known=known, cost=np.full(60, 2.0))
    assert [s.index for s in twice] == [s.index for s in plain]
    np.testing.assert_allclose([s.value for s in twice], [s.value / 2 for s in plain])
    dear = np.ones(60)
    dear[plain[0].index] = 1e9
    found = suggest(predictor, candidates, 1, criterion, known=known, cost=dear)
    # Among candidates that are worth nothing cost says nothing.
    assert plain[0].value < 1e-12 or plain[0].index != found[0].index


@pytest.mark.parametrize("cost", [[1.0], np.zeros(60), np.full(60, np.nan)])
def test_costs_that_are_none_are_refused(predictor, candidates, cost):
    with pytest.raises(ValueError, match="60 positive costs"):
        suggest(predictor, candidates, cost=cost)


def test_expected_improvement_is_the_mean_of_what_is_better():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=400_000)
    gap, spread = np.array([-1.0, 0.0, 0.7, -0.2]), np.array([0.8, 1.3, 0.1, 0.4])
    expected = [np.maximum(g + s * draws, 0.0).mean() for g, s in zip(gap, spread, strict=True)]
    np.testing.assert_allclose(expected_improvement(gap, spread), expected, atol=4e-3)


def test_expected_improvement_is_nil_where_worse_and_certain():
    gap, spread = np.array([-1.0, -1.0, 0.5, 0.0]), np.array([0.0, 1e-3, 0.0, 0.0])
    np.testing.assert_allclose(expected_improvement(gap, spread), [0.0, 0.0, 0.5, 0.0], atol=1e-12)


def values_of(samples, criterion, asked):
    return criterion.ranking(Asked(RECIPE.fit(samples), asked, [s.case for s in samples])).values


def test_less_of_an_output_is_more_of_its_negative():
    samples, asked = linear(16), [s.case for s in linear(50)]
    turned = [Sample(s.case, {}, {"s": -s.scalars["s"].value}) for s in samples]
    plain = [Sample(s.case, {}, {"s": s.scalars["s"]}) for s in samples]
    least = values_of(plain, ExpectedImprovement("s"), asked)
    most = values_of(turned, ExpectedImprovement("s", minimise=False), asked)
    np.testing.assert_allclose(least, most, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_improvement_of_a_logarithm_goes_the_right_way(sign):
    samples = [
        Sample(s.case, {}, {"d": Scalar(sign * s.scalars["decades"].value, "N")})
        for s in shapes(40, 0)
    ]
    model = RECIPE.fit(samples[:30])
    asked = [s.case for s in samples]
    joint = model.joint(asked, "d")
    assert joint.logarithmic
    found = suggest(model, asked[30:], 1, ExpectedImprovement("d"), known=asked[:30])
    truth = [float(s.scalars["d"]) for s in samples[30:]]
    assert truth[found[0].index] <= sorted(truth)[2]
    known_best = ExpectedImprovement("d", best=min(float(s.scalars["d"]) for s in samples[:30]))
    named = suggest(model, asked[30:], 1, known_best, known=asked[:30])
    assert named[0].index == found[0].index


def test_a_field_cannot_be_improved(predictor, candidates):
    with pytest.raises(ValueError, match="'u' is a field"):
        suggest(predictor, candidates, 1, ExpectedImprovement("u"))


def test_space_is_filled_away_from_what_is_known(predictor, candidates, known):
    inputs = predictor.inputs(candidates)
    found = suggest(predictor, candidates, 8, SpaceFilling(), known=known)
    far = distances(inputs, predictor.inputs(known)).min(axis=1)
    assert found[0].value == pytest.approx(far.max())
    values = [s.value for s in found]
    assert values == sorted(values, reverse=True)
    picked = np.concatenate([inputs[[s.index for s in found]], predictor.inputs(known)])
    rng, gaps = np.random.default_rng(0), []
    for _ in range(20):
        some = inputs[rng.choice(np.arange(12, 60), 8, replace=False)]
        some = np.concatenate([some, predictor.inputs(known)])
        gaps.append(least(some))
    assert least(picked) > max(gaps)


def least(x):
    """The smallest distance of the first eight to any other."""
    return (distances(x, x) + 1e9 * np.eye(len(x)))[:, :8].min()


def test_a_surrogate_without_spread_can_only_fill_space(candidates, known):
    model = MeanField().fit(linear(12))
    with pytest.raises(ValueError, match=r"MeanField.*SpaceFilling"):
        suggest(model, candidates, 2)
    assert len(suggest(model, candidates, 2, SpaceFilling(), known=known)) == 2


def test_the_first_design_is_even_in_every_projection():
    mesh = linear(1)[0].case.mesh
    rng = np.random.default_rng(0)
    x = rng.uniform(-3.0, 5.0, (300, 4))
    cases = [
        Case(mesh, {f"x{k}": v for k, v in enumerate(row)}, name=str(i)) for i, row in enumerate(x)
    ]
    taken = first_design(cases, 16, seed=1)
    assert len(set(taken)) == 16
    assert first_design(cases, 24, seed=1)[:16] == taken
    assert first_design(cases, 16, seed=2) != taken
    widest = np.diff(np.sort(x[taken], axis=0), axis=0).max()
    others = [
        np.diff(np.sort(x[rng.choice(300, 16, replace=False)], axis=0), axis=0).max()
        for _ in range(20)
    ]
    assert widest < np.median(others)


def test_the_first_design_knows_shapes_without_parameters():
    cases = [Case(s.case.mesh, name=s.case.name) for s in shapes(20, 0)]
    columns = described(cases)
    assert np.ptp(columns, axis=0).all()
    taken = first_design(cases, 5)
    span = np.ptp(columns[taken], axis=0) / np.ptp(columns, axis=0)
    assert (span > 0.6).all()
    assert len(first_design(cases, 99)) == 20
