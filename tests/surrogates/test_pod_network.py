"""The network on POD coefficients: better than what it starts from, selected on cases it is
given."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from manufactured import shapes

from fieldcast.surrogates import Descent, PodNetwork
from fieldcast.surrogates.scores import score

SMALL = PodNetwork(modes=6, shape_modes=4, width=32, descent=Descent(steps=800))


@lru_cache(maxsize=1)
def training_set():
    return shapes(40, 0)


@lru_cache(maxsize=1)
def held():
    return shapes(12, 700, start=40)


@lru_cache(maxsize=2)
def fitted(validated):
    return SMALL.fit(training_set(), validation=held() if validated else None, seed=1)


def scores(predictor):
    return score(held(), predictor.predict([s.case for s in held()]))


def test_it_beats_the_ridge_regression_that_it_starts_from():
    ours, theirs = scores(fitted(False)), scores(fitted(False).baselines()["POD + ridge"])
    for output in ("warm", "conductance"):
        assert ours[output].rrmse < theirs[output].rrmse


def test_weights_are_selected_on_the_validation_cases():
    report = fitted(True).card.fit["training"]
    errors = {step: error for step, _, error in report["history"]}
    assert report["validation_error"] == min(errors.values())
    assert errors[report["best_step"]] == report["validation_error"]
    assert scores(fitted(True))["warm"].rrmse <= 1.2 * scores(fitted(False))["warm"].rrmse


def test_validation_cases_need_the_outputs():
    wrong = [replace(sample, scalars={}) for sample in held()]
    with pytest.raises(ValueError, match="expected validation cases with the outputs"):
        PodNetwork.tiny().fit(training_set(), validation=wrong)


def test_its_spread_is_not_known():
    prediction = fitted(False).predict([held()[0].case])[0]
    assert prediction.std is None
    assert all(estimate.std is None for estimate in prediction.scalars.values())
    assert not prediction.interval(0.9)[0].fields


def test_a_seed_is_a_network():
    def answer(seed):
        tiny = PodNetwork.tiny().fit(training_set(), seed=seed)
        return tiny.predict([held()[0].case])[0].mean["warm"].values

    np.testing.assert_array_equal(answer(3), answer(3))
    assert np.abs(answer(3) - answer(4)).max() > 0
