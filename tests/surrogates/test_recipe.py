"""Recipes as JSON: registered names and settings, nothing that could be an import path."""

import json

import pytest

from fieldcast.meshes.disk import Harmonic, TutteDisk
from fieldcast.surrogates import (
    MMGP,
    Contact,
    GlobalNodes,
    GraphTransformer,
    Masking,
    MeanField,
    MultiNode,
    PodRidge,
    Reach,
    Temporal,
    Training,
)
from fieldcast.surrogates.recipe import recipe_from_json, recipe_to_json

RECIPES = [
    MMGP(),
    MMGP(TutteDisk(anchors=False), logarithmic=("k", "eps"), training=Training(prior=False)),
    MeanField(Harmonic("mean_value")),
    PodRidge(modes=3),
    GraphTransformer(
        reach=Reach(rings=(1, 2)),
        sharing=GlobalNodes(),
        temporal=Temporal(),
        multi_node=MultiNode(32),
        masking=Masking(0.2),
        contact=Contact(0.1, ("die",), "place"),
        held=("wall", "u@inlet"),
    ),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: type(r).__name__)
def test_round_trip(recipe):
    text = json.dumps(recipe_to_json(recipe))
    again = recipe_from_json(json.loads(text))
    assert again == recipe
    assert hash(again) == hash(recipe)
    assert "fieldcast" not in text


def test_settings_that_do_not_exist():
    with pytest.raises(TypeError, match="dropout"):
        PodRidge(dropout=0.1)
    values = recipe_to_json(PodRidge())
    values["settings"]["dropout"] = 0.1
    with pytest.raises(ValueError, match=r"settings that the installed 'pod_ridge' takes.*dropout"):
        recipe_from_json(values)


def test_unknown_plugins_list_what_is_installed():
    values = {"kind": "surrogates", "name": "oracle", "settings": {}}
    with pytest.raises(ValueError, match=r"installed surrogates \[.*'mmgp'.*\], got 'oracle'"):
        recipe_from_json(values)
    with pytest.raises(ValueError, match=r"expected one of .*problems.*, got 'solvers'"):
        recipe_from_json({"kind": "solvers", "name": "plate", "settings": {}})


def test_other_objects_are_no_setting():
    from fieldcast.meshes import Trust

    with pytest.raises(TypeError, match="setting of a known kind, got Trust"):
        recipe_to_json(Trust())
