"""Packed sequences: the same items, equal meshes once, views without copies, clear refusals."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import quads

from fieldcast.meshes import Case, Cases, Field, Predictions, Sample, Samples, Scalar
from fieldcast.meshes.packed import (
    Meshes,
    PackedEstimate,
    PackedField,
    PackedValues,
    split_by_nodes,
)

MESHES = [quads(n) for n in (3, 4, 5)]


@st.composite
def samples(draw):
    """One to six samples over a choice of meshes, one or two times, one or two components."""
    which = draw(st.lists(st.integers(0, 2), min_size=1, max_size=6))
    times, components = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    made = []
    for i, k in enumerate(which):
        mesh = MESHES[k]
        case = Case(
            mesh,
            {"p": Scalar(rng.normal(size=1), "Pa"), "q": rng.normal(size=times)},
            {"known": Field.steady(rng.normal(size=mesh.n_cells), on="cell")},
            {"part": MESHES[(k + i) % 3]},
            np.arange(float(times)),
            f"case {i}",
        )
        size = len(case.parts["part"].points)
        fields = {
            "u": Field(rng.normal(size=(times, len(mesh.points), components)), "m"),
            "w": Field(rng.normal(size=(1, size, 1)), "Pa", part="part"),
        }
        made.append(Sample(case, fields, {"s": rng.normal(size=times)}))
    return made


@settings(max_examples=50, deadline=None)
@given(samples())
def test_round_trip(given_samples):
    packed = Samples.pack(given_samples)
    assert list(packed) == given_samples
    assert [s.case for s in packed] == list(packed.cases)
    assert [c.name for c in packed.cases] == [s.case.name for s in given_samples]
    assert packed[-1] == given_samples[-1]
    assert packed[::2] == given_samples[::2]
    assert Samples.pack(packed) is packed
    assert Cases.pack(packed.cases) is packed.cases


@settings(max_examples=25, deadline=None)
@given(samples())
def test_equal_meshes_are_kept_once(given_samples):
    meshes = Samples.pack(given_samples).cases.meshes[""]
    assert len(meshes.distinct) == len({s.case.mesh.id for s in given_samples})
    assert list(meshes) == [s.case.mesh for s in given_samples]
    offsets = meshes.offsets("point")
    sizes = [len(s.case.mesh.points) for s in given_samples]
    assert np.diff(offsets).tolist() == sizes


def test_equal_meshes_in_another_order_of_the_file_stay_apart():
    mesh = MESHES[0]
    turned = replace(mesh, order=np.arange(mesh.n_cells)[::-1].copy())
    packed = Meshes.pack([mesh, turned, mesh])
    assert packed[0].order is None
    np.testing.assert_array_equal(packed[1].order, turned.order)
    assert packed[2] is packed[0]


def test_items_are_views():
    made = [
        Sample(Case(MESHES[0], {"p": float(i)}), {"u": Field.steady(np.full(9, i))})
        for i in range(4)
    ]
    packed = Samples.pack(made)
    values = packed[2].fields["u"].values
    assert np.shares_memory(values, packed.fields["u"].values)
    assert np.shares_memory(
        packed.cases[2].parameters["p"].value, packed.cases.parameters["p"].values
    )
    stacked = packed.fields["u"].stacked()
    assert np.shares_memory(stacked, packed.fields["u"].values)
    assert stacked.shape == (4, 1, 9, 1)
    np.testing.assert_array_equal(stacked[:, 0, 0, 0], range(4))


def test_stacked_over_times():
    rng = np.random.default_rng(0)
    made = [
        Sample(
            Case(MESHES[0], {"p": float(i)}, times=np.arange(2.0)),
            {"u": Field(rng.normal(size=(2, 9, 3)))},
        )
        for i in range(3)
    ]
    stacked = Samples.pack(made).fields["u"].stacked()
    for sample, values in zip(made, stacked, strict=True):
        np.testing.assert_array_equal(values, sample.fields["u"].values)


def test_indices_outside_are_refused():
    packed = Cases.pack([Case(MESHES[0]), Case(MESHES[1])])
    assert packed[-2].mesh == MESHES[0]
    for i in (2, -3):
        with pytest.raises(IndexError, match="below 2"):
            packed[i]


def base(**changes):
    case = Case(
        MESHES[0], {"p": Scalar(np.array([1.0]), "Pa")}, {"k": Field.steady(np.zeros(9))}, name="a"
    )
    return replace(case, **changes)


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (base(parameters={}, name="odd"), r"parameters \['p'\] that case a has; case odd has \[\]"),
        (base(parameters={"p": 1.0}, name="odd"), r"'p': expected 1 values in 'Pa'.*in case odd"),
        (base(fields={}, name="odd"), r"fields \['k'\] that case a has; case odd has \[\]"),
        (base(fields={"k": Field.steady(np.zeros((9, 2)))}, name="odd"), r"field 'k'.*case odd"),
        (base(fields={"k": Field.steady(np.zeros(4), on="cell")}, name="odd"), r"'k'.*case odd"),
        (base(times=np.array([1.0]), name="odd"), r"times of case a .*; case odd has"),
        (base(parts={"w": MESHES[1]}, name="odd"), r"parts \[\] .*; case odd has \['w'\]"),
    ],
)  # fmt: skip
def test_cases_that_differ_are_named(odd, message):
    with pytest.raises(ValueError, match=message):
        Cases.pack([base(), odd])


def test_nothing_is_no_sequence():
    with pytest.raises(ValueError, match="at least one case, got none"):
        Cases.pack([])
    with pytest.raises(ValueError, match="at least one case, got none"):
        Samples.pack([])


def test_predictions_in_order():
    cases = Cases.pack([Case(mesh, {"p": float(i)}) for i, mesh in enumerate(MESHES)])
    offsets = cases.meshes[""].offsets("point")
    mean = PackedField(np.arange(float(offsets[-1])).reshape(1, -1, 1), offsets, "K")
    std = replace(mean, values=mean.values + 1.0)
    scalar = PackedEstimate(np.arange(3.0)[:, None], np.ones((3, 1)), "N")
    parts = {"epistemic": PackedValues({"u": std}, {})}
    packed = Predictions(cases, {"u": mean}, {"u": std}, {"s": scalar}, parts)
    for i, prediction in enumerate(packed):
        assert prediction.case == cases[i]
        assert prediction.mean["u"].values[0, 0, 0] == offsets[i]
        assert prediction.std["u"].values[0, 0, 0] == offsets[i] + 1
        assert float(prediction.scalars["s"]) == i
        assert prediction.parts["epistemic"].fields["u"].values[0, 0, 0] == offsets[i] + 1
        assert prediction.trust.status == "ok"
    alone = Predictions(cases, {"u": mean})
    assert alone[0].std is None
    assert alone[0].parts is None


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 120))
def test_split_by_nodes(sizes, budget):
    """Every case once, in order; no range above the budget unless it is one case; none could take
    the next case."""
    parts = split_by_nodes(sizes, budget)
    assert [i for part in parts for i in part] == list(range(len(sizes)))
    sums = [sum(sizes[i] for i in part) for part in parts]
    assert all(total <= budget or len(part) == 1 for total, part in zip(sums, parts, strict=True))
    for total, following in zip(sums, parts[1:], strict=False):
        assert total + sizes[following[0]] > budget
