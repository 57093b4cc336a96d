"""What goes in and comes out is fixed when fitted; what else is given is refused or left aside."""

import json
from dataclasses import replace

import numpy as np
import pytest
from manufactured import linear, shapes

from fieldcast.conformance.families import family
from fieldcast.meshes import Case, Field, Sample, Samples, Scalar
from fieldcast.surrogates.signature import Signature, describe

SAMPLES = family("transient").samples
SIGNATURE = Signature.of(Samples.pack(SAMPLES))
CASE = replace(SAMPLES[0].case, name="odd")
KELVIN = Scalar(np.ones(1), "K")


def test_it_says_what_there_is():
    assert SIGNATURE.dim == 2
    assert SIGNATURE.times == (0.0, 0.5, 1.0)
    assert {k: v.unit for k, v in SIGNATURE.parameters.items()} == {"pressure": "Pa", "depth": "m"}
    flux = SIGNATURE.fields["flux"]
    assert (flux.unit, flux.on, flux.components, flux.steady) == ("W/m^2", "cell", 1, False)
    assert SIGNATURE.known["source"].steady
    assert not SIGNATURE.scalars["peak"].steady


def test_json_round_trip():
    assert Signature.from_json(json.loads(json.dumps(SIGNATURE.to_json()))) == SIGNATURE


def test_what_is_not_needed_is_left_aside():
    more = replace(
        CASE,
        parameters={**CASE.parameters, "extra": Scalar(np.array([1.0]))},
        fields={**CASE.fields, "extra": Field.steady(np.zeros(len(CASE.mesh.points)))},
    )
    checked = SIGNATURE.checked(more)
    assert set(checked.parameters) == {"pressure", "depth"}
    assert set(checked.fields) == {"source"}


def test_units_are_those_of_training_and_bare_numbers_mean_them():
    bare = replace(CASE, parameters={k: Scalar(s.value) for k, s in CASE.parameters.items()})
    assert SIGNATURE.checked(bare) == SIGNATURE.checked(CASE)
    other = {**CASE.parameters, "depth": Scalar(CASE.parameters["depth"].value * 1e6, "um")}
    checked = SIGNATURE.checked(replace(CASE, parameters=other)).parameters["depth"]
    assert checked.unit == "m"
    assert float(checked) == pytest.approx(float(CASE.parameters["depth"]), rel=1e-12)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parameters": {}}, ["parameter 'pressure' [Pa]", "got none"]),
        ({"parameters": {"pressure": 1.0}}, ["parameter 'depth' [m]", "['pressure']"]),
        ({"parameters": {"pressure": np.ones(3), "depth": 1.0}}, ["'pressure'", "1 finite"]),
        ({"parameters": {"pressure": np.inf, "depth": 1.0}}, ["'pressure'", "finite", "inf"]),
        ({"parameters": {"pressure": KELVIN, "depth": 1.0}}, ["'pressure'", "'K'"]),
        ({"fields": {}}, ["known field 'source' [W/m^3]"]),
        ({"fields": {"source": Field.steady(np.zeros(50), on="cell")}}, ["'source'", "'cell'"]),
        ({"fields": {"source": Field.steady(np.zeros((36, 2)))}}, ["'source'", "(1, 2, 'point'"]),
    ],
    ids=["none", "one", "series", "infinite", "unit", "no field", "place", "components"],
)  # fmt: skip
def test_refusals_name_the_case_and_the_input(changes, words):
    with pytest.raises(ValueError, match="case odd") as error:
        SIGNATURE.checked(replace(CASE, **changes))
    for word in words:
        assert word in str(error.value)


def test_samples_with_nothing_to_learn():
    with pytest.raises(ValueError, match="fields or scalars to learn, got none"):
        Signature.of(Samples.pack([Sample(s.case) for s in SAMPLES]))


def test_the_cases_with_holes_are_listed():
    def holed(sample):
        values = sample.fields["u"].values.copy()
        values[0, 2] = np.inf
        return replace(sample, fields={"u": sample.fields["u"].with_values(values)})

    samples = [s if i in (0, 3) else holed(s) for i, s in enumerate(linear(8))]
    with pytest.raises(ValueError, match=r"field 'u'.*in 6 case\(s\): l01, l02, l04, l05, l06;"):
        Signature.of(Samples.pack(samples))
    bad = replace(linear(2)[1], scalars={"s": np.array([np.nan])})
    with pytest.raises(ValueError, match=r"scalar 's'.*1 case\(s\): l01"):
        Signature.of(Samples.pack([replace(linear(2)[0], scalars={"s": 1.0}), bad]))


def test_the_summary_of_a_training_set():
    found = describe(Samples.pack(shapes(6, 0)))
    assert found["cases"] == found["distinct_meshes"] == 6
    assert found["nodes"][0] == 81
    assert found["nodes"][2] == 121
    low, high = found["parameters"]["load"]
    assert 9.9e4 <= low < high <= 1.01e5
    assert found["hash"] == describe(Samples.pack(shapes(6, 0)))["hash"]
    assert found["hash"] != describe(Samples.pack(shapes(6, 0)[::-1]))["hash"]
    assert isinstance(Case(SAMPLES[0].case.mesh).id, str)
