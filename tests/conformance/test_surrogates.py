"""The contract of surrogates and predictors."""

from __future__ import annotations

import pytest
import torch

from . import surrogate_checks as checks
from .families import ring


def test_one_prediction_per_case_in_order(surrogate, group):
    checks.check_one_prediction_per_case_in_order(surrogate, group)


def test_batch_order_and_neighbours_do_not_matter(surrogate, group, record_property):
    record_property("tolerance", surrogate.tolerance)
    checks.check_invariance(surrogate, group)


def test_packed_and_listed_agree_and_a_seed_is_a_fit(surrogate, group):
    checks.check_packed_and_listed_agree(surrogate, group)


def test_inputs_stay_as_they_are(surrogate):
    name = "grids" if surrogate.grids else "one_numbering"
    checks.check_inputs_stay_as_they_are(surrogate, name)


def test_saved_and_loaded(surrogate, group, tmp_path):
    checks.check_saved_and_loaded(surrogate, group, tmp_path / "model.fieldcast")


def test_another_process_agrees(surrogate, tmp_path):
    name = checks.widest(surrogate)
    checks.check_another_process_agrees(surrogate, name, tmp_path / "model.fieldcast")


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_another_device_agrees(surrogate, group, device):
    checks.check_another_device_agrees(surrogate, group, device)


def test_recipe(surrogate):
    checks.check_recipe(surrogate)


def test_wrong_cases_are_refused(surrogate, group):
    checks.check_wrong_cases_are_refused(surrogate, group)


def test_wrong_samples_are_refused(surrogate):
    checks.check_wrong_samples_are_refused(surrogate, checks.families_of(surrogate)[0])


def test_other_topologies_are_not_swallowed(surrogate):
    checks.check_no_topology_is_swallowed(surrogate, ring(4, 0, 0.5))


def test_units_are_converted(surrogate, group):
    checks.check_units_are_converted(surrogate, group)


def test_outputs_are_those_of_training(surrogate, group):
    checks.check_outputs_are_those_of_training(surrogate, group)


def test_answers_are_read_only(surrogate, group):
    checks.check_answers_are_read_only(surrogate, group)


def test_training_set_is_learnt(surrogate, group):
    checks.check_training_set_is_learnt(surrogate, group)


def test_spread(surrogate, group):
    checks.check_spread(surrogate, group)


def test_spread_grows_outside(surrogate, group):
    checks.check_spread_grows_outside(surrogate, group)


def test_intervals(surrogate, group):
    checks.check_intervals(surrogate, group)


def test_gradients(surrogate, group):
    checks.check_gradients(surrogate, group)


def test_gradients_by_points(surrogate):
    checks.check_gradients_by_points(surrogate)
