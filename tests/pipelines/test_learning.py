"""Holding out, scoring beside the baselines, and saying so when they win."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fieldcast.meshes import Scalar
from fieldcast.pipelines.learning import evaluate, held_out, learn
from fieldcast.surrogates import MMGP, MeanField, Training

TINY = MMGP(modes=3, shape_modes=3, training=Training(starts=1, iterations=30))


def test_held_out_cases_are_a_share_and_never_trained_on():
    train, test = held_out(50, 0.2, seed=3)
    assert len(test) == 10
    assert sorted(train + test) == list(range(50))
    assert held_out(50, 0.2, seed=3) == (train, test)
    assert held_out(50, 0.2, seed=4) != (train, test)


def test_few_cases_are_all_trained_on():
    assert held_out(6, 0.2, seed=0) == (list(range(6)), [])
    assert held_out(50, 0.0, seed=0)[1] == []


def test_learning_scores_without_the_held_out_cases_and_fits_all(plates):
    predictor, evaluation = learn(plates, TINY, hold_out=0.25)
    assert evaluation is not None
    assert evaluation.cases == 6
    assert predictor.card.training["cases"] == 24
    model = evaluation.scores["model"]["U2"].rrmse
    assert model < evaluation.scores["nearest case"]["U2"].rrmse
    assert predictor.card.scores["scores"]["model"]["U2"]["rrmse"] == model


def test_a_model_that_loses_to_a_baseline_is_said_to(plates):
    rng = np.random.default_rng(0)
    noise = [
        dataclasses.replace(s, fields={}, scalars={"noise": Scalar(rng.normal(5.0, 1.0, 1))})
        for s in plates
    ]
    model = TINY.fit(noise[:12])
    evaluation = evaluate(model, noise[12:])
    errors = {k: s["noise"].rrmse for k, s in evaluation.scores.items()}
    beaten = min(errors, key=lambda k: errors[k]) != "model"
    assert ("noise" in evaluation.lost()) == beaten


def test_a_baseline_keeps_no_training_data_and_is_scored_alone(plates):
    evaluation = evaluate(MeanField().fit(plates[:12]), plates[12:])
    assert list(evaluation.scores) == ["model"]
    assert evaluation.lost() == {}


def test_unsolved_cases_cannot_be_scored(plates):
    bare = dataclasses.replace(plates[3], fields={})
    with pytest.raises(ValueError, match=r"plate_0003.*U1"):
        evaluate(TINY.fit(plates[:8]), [bare])
