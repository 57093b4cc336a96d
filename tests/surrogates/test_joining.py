"""A million cases are answered without a million objects: packed, batch by batch, judged late."""

from dataclasses import replace

import numpy as np
import pytest

from fieldcast.meshes import Case, Cases, Field, Mesh, Predictions, Sample, Samples, Scalar, Trust
from fieldcast.meshes.packed import PackedEstimate, PackedField, PackedScalar, PackedValues
from fieldcast.surrogates import ColumnNetwork, Descent, PodRidge
from fieldcast.surrogates.joining import Joining, joined
from fieldcast.surrogates.signature import Signature

LEVELS = np.linspace(0.0, 1.0, 5)
LINE = Mesh(LEVELS[:, None], {"line": np.stack([np.arange(4), np.arange(1, 5)], 1)})


def sample(t):
    case = Case(
        LINE, {"sun": Scalar(np.array([t]), "m")}, {"T": Field.steady(t + LEVELS, "K")}, name=f"{t}"
    )
    return Sample(case, {"y": Field.steady(t * LEVELS, "W")}, {"sum": t})


SAMPLES = [sample(t) for t in np.linspace(1.0, 3.0, 40)]
CASES = Cases.pack([s.case for s in SAMPLES])
NETWORK = ColumnNetwork(8, 1, Descent(steps=20, batch=16, every=10)).fit(SAMPLES)


@pytest.mark.parametrize("model", [NETWORK, PodRidge().fit(SAMPLES)], ids=["network", "ridge"])
@pytest.mark.parametrize("batch", [1, 23, 10**6])
def test_packed_cases_are_answered_as_single_ones(model, batch):
    packed = model.predict(CASES, batch=batch)
    for one, other in zip(packed, model.predict(list(CASES)), strict=True):
        assert one.case == other.case
        np.testing.assert_allclose(one.mean["y"].values, other.mean["y"].values, rtol=1e-5)
        np.testing.assert_allclose(float(one.scalars["sum"]), float(other.scalars["sum"]), 1e-5)
        assert one.trust.status == other.trust.status
        assert one.trust.score == pytest.approx(other.trust.score)
        assert one.trust.reason == other.trust.reason
    assert len(packed.trust) == len(CASES)


def test_packed_inputs_are_taken_as_they_are_where_units_agree():
    signature = Signature.of(Samples.pack(SAMPLES))
    part = CASES.span(range(5, 9))
    assert np.shares_memory(part.fields["T"].values, CASES.fields["T"].values)
    checked = signature.checked_cases(part)
    assert np.shares_memory(checked.fields["T"].values, CASES.fields["T"].values)
    assert list(checked) == [signature.checked(CASES[i]) for i in range(5, 9)]


def holed(row, level):
    values = CASES.fields["T"].values.copy()
    values[0, 5 * row + level] = np.nan
    return replace(CASES, fields={"T": replace(CASES.fields["T"], values=values)})


@pytest.mark.parametrize(
    ("cases", "words"),
    [
        (holed(17, 3), f"case {CASES.names[17]}, known field 'T': expected finite"),
        (replace(CASES, fields={}), f"case {CASES.names[0]}: expected the known field 'T'"),
        (
            replace(CASES, parameters={"sun": PackedScalar(np.ones((40, 1)), "K")}),
            f"case {CASES.names[0]}, parameter 'sun'",
        ),
        (
            replace(
                CASES,
                parameters={"sun": PackedScalar(np.where(np.arange(40) < 9, 1.0, np.inf)[:, None])},
            ),
            f"case {CASES.names[9]}, parameter 'sun': expected 1 finite",
        ),
    ],
    ids=["hole", "missing", "unit", "infinite"],
)  # fmt: skip
def test_refusals_of_packed_cases_name_the_first(cases, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        NETWORK.predict(cases, batch=20)


def test_units_of_packed_cases_are_converted():
    other = replace(CASES.parameters["sun"], values=CASES.parameters["sun"].values * 1e3, unit="mm")
    moved = replace(CASES, parameters={"sun": other})
    np.testing.assert_allclose(
        NETWORK.predict(moved, batch=30).mean["y"].values,
        NETWORK.predict(CASES).mean["y"].values,
        rtol=1e-6,
    )


def answers(rows):
    """With everything that predictions may have."""
    cases = CASES.span(rows)
    offsets = cases.meshes[""].offsets("point")
    numbers = np.arange(5.0 * rows.start, 5.0 * rows.stop)
    mean = PackedField(numbers.reshape(1, -1, 1), offsets, "W")
    std = replace(mean, values=mean.values + 0.5)
    scalar = PackedEstimate(numbers[::5, None], numbers[::5, None] + 1.0, "N")
    parts = {"epistemic": PackedValues({"y": std}, {"s": PackedScalar(numbers[::5, None])})}
    trust = tuple(Trust("ok", float(i)) for i in rows)
    return Predictions(cases, {"y": mean}, {"y": std}, {"s": scalar}, parts, trust)


def test_batches_become_one():
    whole = answers(range(40))
    found = joined(CASES, [answers(r) for r in (range(7), range(7, 8), range(8, 40))])
    assert found.cases is CASES
    for i, (one, other) in enumerate(zip(found, whole, strict=True)):
        assert one.case == other.case
        assert one.trust == other.trust == Trust("ok", float(i))
        np.testing.assert_array_equal(one.mean["y"].values, other.mean["y"].values)
        np.testing.assert_array_equal(one.std["y"].values, other.std["y"].values)
        np.testing.assert_array_equal(one.scalars["s"].std, other.scalars["s"].std)
        mine, theirs = one.parts["epistemic"], other.parts["epistemic"]
        np.testing.assert_array_equal(mine.fields["y"].values, theirs.fields["y"].values)
        assert float(mine.scalars["s"]) == float(theirs.scalars["s"])
    assert found.trust[-1] == whole.trust[-1]


def test_none_or_too_few_batches_are_refused():
    with pytest.raises(ValueError, match="at least one case, got none"):
        Joining(CASES).joined()
    with pytest.raises(ValueError, match="predictions of 40 cases, got those of 7"):
        joined(CASES, [answers(range(7))])
