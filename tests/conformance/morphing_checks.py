"""What every morphing keeps, as functions of its class."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from fieldcast.meshes import Mesh
from fieldcast.meshes.chart import Chart
from fieldcast.meshes.morphing import Morphing
from fieldcast.meshes.quality import distortion
from fieldcast.surrogates.recipe import recipe_from_json, recipe_to_json

from .families import boxes, loops, numbered_squares, rings, rods, squares
from .refusals import refusal

FAMILIES: dict[str, Callable[[int], Sequence[Mesh]]] = {
    "numbered squares": numbered_squares,
    "squares": squares,
    "rings": rings,
    "boxes": boxes,
    "rods": rods,
    "loops": loops,
}
COARSE = {"numbered squares": 8, "squares": 8, "rings": 4, "boxes": 5, "rods": 8, "loops": 12}


@lru_cache(maxsize=32)
def meshes(name: str, refinement: int = 1) -> tuple[Mesh, ...]:
    """A family of meshes, `refinement` times as fine."""
    return tuple(FAMILIES[name](refinement * (COARSE[name] - 1) + 1))


def served(morphing: type[Morphing]) -> list[str]:
    """The families that it does not refuse."""
    return [name for name in FAMILIES if morphing().refusal(meshes(name)) is None]


def check_refuses_in_words(morphing: type[Morphing]) -> None:
    """It serves some family and refuses others, with a reason."""
    assert served(morphing), "serves none of the families"
    reasons = {name: morphing().refusal(meshes(name)) for name in FAMILIES}
    refused = [reason for reason in reasons.values() if reason is not None]
    assert refused, "refuses nothing"
    assert all(len(reason.split()) > 4 for reason in refused), refused
    mixed = [*meshes("squares"), *meshes("rings"), *meshes("rods"), *meshes("boxes")]
    assert morphing().refusal(mixed), "takes rods, squares, rings and boxes as one family"


def check_depends_on_mesh_and_reference_alone(morphing: type[Morphing]) -> None:
    """The same bits whatever was asked before and whoever else is in the family."""
    for name in served(morphing):
        family = meshes(name)
        morph = morphing().to(family[0])
        first = [morph.points(mesh) for mesh in family]
        backwards = [morphing().to(family[0]).points(mesh) for mesh in family[::-1]][::-1]
        for mesh, one, other in zip(family, first, backwards, strict=True):
            assert one.shape[0] == len(mesh.points)
            assert np.isfinite(one).all()
            np.testing.assert_array_equal(one, other, err_msg=name)
            assert one.shape[1] == Chart(morphing(), family[0]).moved.dim


def check_turns_no_cell_over(morphing: type[Morphing]) -> None:
    """On easy families every cell keeps its orientation."""
    for name in served(morphing):
        chart = Chart(morphing(), meshes(name)[0])
        for mesh in meshes(name):
            if not chart.shared_numbering:
                found = distortion(mesh, chart.morph.points(mesh))
                assert found.flipped == 0, f"{name}: {found}"


def check_wrong_mesh_is_refused(morphing: type[Morphing]) -> None:
    """A mesh of another topology is no member of the family."""
    odd = {
        "squares": "rings",
        "numbered squares": "rings",
        "rings": "squares",
        "boxes": "squares",
        "rods": "squares",
        "loops": "rods",
    }
    for name in served(morphing):
        morph = morphing().to(meshes(name)[0])
        message = refusal(lambda morph=morph, name=name: morph.points(meshes(odd[name])[1]))
        assert message is not None, f"takes {odd[name]} for {name}"
        assert len(message.split()) > 4, message


def check_linear_fields_survive(morphing: type[Morphing]) -> None:
    """To the common mesh and back, a linear field changes by an error that falls with the mesh
    size, or not at all. (Meshes of one numbering that are interpolated all the same happen to
    match: they tell nothing.)"""
    names = served(morphing)
    for name in set(names) - ({"numbered squares"} if "squares" in names else set()):
        coarse, fine = (_round_trip(morphing, name, k) for k in (1, 2))
        assert coarse < 0.02, f"{name}: {coarse:.2e}"
        assert fine < max(0.9 * coarse, 1e-10), f"{name}: {coarse:.2e}, then {fine:.2e}"


def _round_trip(morphing: type[Morphing], name: str, refinement: int) -> float:
    """Root mean square error of a + b . x there and back, relative to its range."""
    family = meshes(name, refinement)
    chart = Chart(morphing(), family[0])
    errors = []
    for mesh in family[1:3]:
        slope = np.array([1.0, -0.7, 0.4])[: mesh.dim]
        values = 2.0 + mesh.points @ slope
        passage = chart.passage(mesh)
        back = passage.from_common(passage.to_common(values[:, None]))[:, 0]
        errors.append(np.sqrt(np.mean((back - values) ** 2)) / np.ptp(values))
    return float(np.mean(errors))


def check_constants_survive(morphing: type[Morphing]) -> None:
    """A constant stays what it is, on points and on cells."""
    for name in served(morphing):
        chart, mesh = Chart(morphing(), meshes(name)[0]), meshes(name)[1]
        passage = chart.passage(mesh)
        for on in ("point", "cell"):
            values = np.full((mesh.size_of(on), 2), 7.25)
            back = passage.from_common(passage.to_common(values, on), on)
            np.testing.assert_allclose(back, values, rtol=1e-12, err_msg=f"{name}, {on}")


def check_recipe(morphing: type[Morphing]) -> None:
    """Hashes, compares and goes through JSON."""
    recipe = morphing()
    again = recipe_from_json(json.loads(json.dumps(recipe_to_json(recipe))))
    assert type(again) is morphing
    assert again == recipe
    assert hash(again) == hash(recipe)
