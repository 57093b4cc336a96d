"""Fields, scalars, cases and samples: one shape convention, checked lengths, equality by
content."""

import dataclasses
from dataclasses import replace

import jaxtyping
import numpy as np
import pytest
from shapes import quads

from fieldcast.meshes import Case, Field, Sample, Scalar

MESH = quads(4)
TIMES = np.array([0.0, 0.5, 2.0])


def steady(n, name="x"):
    return {name: Field.steady(np.arange(float(n)), "K")}


def test_bare_numbers_become_scalars():
    case = Case(MESH, {"a": 9.0, "b": 3, "c": np.float64(2.5), "d": np.array([1.0])})
    assert {k: float(s) for k, s in case.parameters.items()} == {"a": 9, "b": 3, "c": 2.5, "d": 1}
    assert {s.unit for s in case.parameters.values()} == {""}
    sample = Sample(case, scalars={"lift": 0.5})
    assert float(sample.scalars["lift"]) == 0.5


def test_bare_numbers_are_the_same_case_as_scalars():
    assert Case(MESH, {"a": 9.0}) == Case(MESH, {"a": Scalar(np.array([9.0]))})


def test_steady_fields():
    scalar = Field.steady(np.arange(16.0))
    vector = Field.steady(np.zeros((16, 2)), "m/s")
    assert scalar.values.shape == (1, 16, 1)
    assert vector.values.shape == (1, 16, 2)


def test_shapes_are_checked_without_the_type_checker(monkeypatch):
    """As users run it."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"got \(16, 2\); for a steady field use Field\.steady"):
        Field(np.zeros((16, 2)))
    with pytest.raises(ValueError, match=r"shape \(time,\), got \(2, 2\)"):
        Case(MESH, {"p": np.zeros((2, 2))})


def test_integers_become_floats_and_single_precision_stays():
    assert Field.steady(np.arange(16)).values.dtype == float
    assert Field(np.zeros((1, 2, 1), np.float32)).values.dtype == np.float32


def test_equal_by_content_whatever_the_name_and_the_order():
    one = Case(MESH, {"a": 1.0, "b": 2.0}, steady(16), name="one")
    other = Case(quads(4), {"b": 2.0, "a": 1.0}, steady(16), name="other")
    assert one == other
    assert hash(one) == hash(other)
    assert one.label == "one"
    assert replace(one, name="").label == one.id[:8]


@pytest.mark.parametrize(
    "changes",
    [
        {"parameters": {"a": 1.0, "b": 2.0 + 1e-12}},
        {"parameters": {"a": 1.0}},
        {"parameters": {"a": Scalar(np.array([1.0]), "Pa"), "b": 2.0}},
        {"fields": steady(16, "y")},
        {"fields": {"x": Field.steady(np.arange(16.0), "degC")}},
        {"mesh": MESH.scaled(2.0)},
        {"times": np.array([1.0])},
        {"parts": {"wall": MESH}},
    ],
    ids=lambda c: "+".join(c),
)
def test_what_differs_is_another_case(changes):
    case = Case(MESH, {"a": 1.0, "b": 2.0}, steady(16))
    assert replace(case, **changes) != case


def test_samples_are_equal_by_content():
    case = Case(MESH, {"a": 1.0})
    one = Sample(case, steady(16), {"s": 1.0})
    assert one == Sample(replace(case, name="other"), steady(16), {"s": 1.0})
    assert len({one, Sample(case, steady(16), {"s": 1.0})}) == 1
    assert one != Sample(case, steady(16), {"s": 2.0})
    assert one != Sample(case, steady(16, "y"), {"s": 1.0})


def test_everything_is_frozen():
    case = Case(MESH, {"a": 1.0}, steady(16), times=TIMES)
    sample = Sample(case, steady(16), {"s": 1.0})
    for array in (case.times, case.fields["x"].values, case.parameters["a"].value):
        assert not array.flags.writeable
    for mapping in (case.parameters, case.fields, case.parts, sample.fields, sample.scalars):
        with pytest.raises(TypeError):
            mapping["new"] = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        case.times = TIMES
    with pytest.raises(dataclasses.FrozenInstanceError):
        sample.case = case


@pytest.mark.parametrize(("on", "n"), [("point", 16), ("cell", 9)])
def test_lengths_are_checked_and_named(on, n):
    field = Field.steady(np.zeros(7), on=on)
    with pytest.raises(ValueError, match=rf"case odd.*'x': expected {n} values .*{on}.*got 7"):
        Case(MESH, fields={"x": field}, name="odd")
    with pytest.raises(ValueError, match=rf"case odd.*'x': expected {n} values .*{on}.*got 7"):
        Sample(Case(MESH, name="odd"), {"x": field})


def test_times_are_checked_and_named():
    case = Case(MESH, times=TIMES, name="odd")
    with pytest.raises(ValueError, match=r"case odd, field 'x': expected 1 or 3 times, got 2"):
        Sample(case, {"x": Field(np.zeros((2, 16, 1)))})
    with pytest.raises(ValueError, match=r"case odd, scalar 's': expected 1 or 3 times, got 2"):
        Sample(case, scalars={"s": np.zeros(2)})
    with pytest.raises(ValueError, match=r"case odd, parameter 'p': expected 1 or 3 times"):
        Case(MESH, {"p": np.zeros(2)}, times=TIMES, name="odd")
    assert Sample(case, {"x": Field(np.zeros((3, 16, 1)))}).fields["x"].values.shape[0] == 3


def test_parts_hold_fields_of_their_own():
    case = Case(MESH, parts={"wall": quads(3)}, name="odd")
    sample = Sample(case, {"heat": Field.steady(np.zeros(9), part="wall")})
    assert case.mesh_of("wall") == quads(3)
    assert case.mesh_of("") is MESH
    assert sample.fields["heat"].part == "wall"
    with pytest.raises(ValueError, match=r"case odd: expected a part of \['wall'\], got 'roof'"):
        Sample(case, {"heat": Field.steady(np.zeros(9), part="roof")})


def test_changed_parameters_keep_their_units():
    case = Case(MESH, {"p": Scalar(np.array([2.0]), "kPa"), "q": 1.0})
    changed = case.with_parameters(p=3)
    assert (float(changed.parameters["p"]), changed.parameters["p"].unit) == (3.0, "kPa")
    assert float(changed.parameters["q"]) == 1.0
    assert float(case.parameters["p"]) == 2.0
    with pytest.raises(ValueError, match=r"expected parameters of \['p', 'q'\], got \['r'\]"):
        case.with_parameters(r=1.0)


def test_a_series_is_no_number():
    with pytest.raises(ValueError, match="size 1"):
        float(Scalar(np.zeros(3)))


def test_with_values_keeps_the_rest():
    field = Field(np.zeros((1, 9, 1)), "Pa", "cell", "wall").with_values(np.ones((1, 9, 1)))
    assert (field.unit, field.on, field.part) == ("Pa", "cell", "wall")
    np.testing.assert_array_equal(field.values, 1.0)
