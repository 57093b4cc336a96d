"""The contract of morphings."""

from __future__ import annotations

from . import morphing_checks as checks


def test_recipe(morphing):
    checks.check_recipe(morphing)


def test_refuses_in_words(morphing):
    checks.check_refuses_in_words(morphing)


def test_depends_on_mesh_and_reference_alone(morphing):
    checks.check_depends_on_mesh_and_reference_alone(morphing)


def test_turns_no_cell_over(morphing):
    checks.check_turns_no_cell_over(morphing)


def test_wrong_mesh_is_refused(morphing):
    checks.check_wrong_mesh_is_refused(morphing)


def test_linear_fields_survive(morphing):
    checks.check_linear_fields_survive(morphing)


def test_constants_survive(morphing):
    checks.check_constants_survive(morphing)
