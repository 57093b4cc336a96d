"""What every surrogate keeps, as functions of its class and the name of a family of samples."""

from __future__ import annotations

import atexit
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from fieldcast.meshes import Case, Cases, Field, Mesh, Prediction, Sample, Samples, Scalar
from fieldcast.surrogates import Differentiable, Predictor, Surrogate, load
from fieldcast.surrogates.recipe import recipe_from_json, recipe_to_json

from .families import DEPTH, PRESSURE, Family, family, source
from .numbers import (
    assert_all_close,
    assert_all_identical,
    assert_identical,
    case_numbers,
    copied,
    identical,
    prediction_numbers,
    sample_numbers,
)
from .refusals import assert_refused

SEED = 3
HALF_RANGE = {"pressure": PRESSURE[1], "depth": DEPTH[1]}


def families_of(surrogate: type[Surrogate]) -> list[str]:
    """The families that a surrogate declares it can be fitted to."""
    if surrogate.grids:
        return ["one_grid", "grids", *(["transient_grid"] if surrogate.transient else [])]
    names = ["one_mesh", "one_numbering"]
    names += [] if surrogate.one_numbering else ["own_meshes"]
    names += ["transient"] if surrogate.transient else []
    return names + (["any_topology"] if surrogate.any_mesh else [])


def widest(surrogate: type[Surrogate]) -> str:
    """The family whose meshes differ most of those that all surrogates like it fit."""
    if surrogate.grids:
        return "grids"
    return "one_numbering" if surrogate.one_numbering else "own_meshes"


def fitted(surrogate: type[Surrogate], name: str) -> Predictor:
    """Its small recipe, fitted to a family."""
    return fitted_once(surrogate, name)[0]


@cache
def fitted_once(surrogate: type[Surrogate], name: str) -> tuple[Predictor, tuple[str, ...]]:
    """Once for all checks; and the cases that the fit has written to."""
    samples = [_own(sample) for sample in family(name).samples]
    before = [copied(sample_numbers(s)) for s in samples]
    predictor = surrogate.tiny().fit(samples, seed=SEED)
    same = [identical(sample_numbers(s), b) for s, b in zip(samples, before, strict=True)]
    return predictor, tuple(s.case.label for s, ok in zip(samples, same, strict=True) if not ok)


@cache
def answers(surrogate: type[Surrogate], name: str) -> tuple[Prediction, ...]:
    """What it says to the family's queries."""
    return tuple(fitted(surrogate, name).predict(family(name).queries))


# ---------------------------------------------------------------------------------- invariance


def check_one_prediction_per_case_in_order(surrogate: type[Surrogate], name: str) -> None:
    """As many as cases, each with its case, and each what it is when asked alone."""
    queries, predictor = family(name).queries, fitted(surrogate, name)
    found = predictor.predict(queries)
    assert [p.case for p in found] == list(queries)
    alone = [predictor.predict([case])[0] for case in queries]
    assert_all_close(found, alone, surrogate.tolerance, "together and alone")


def check_invariance(surrogate: type[Surrogate], name: str) -> None:
    """Batch size, order and neighbours don't matter."""
    queries, predictor = family(name).queries, fitted(surrogate, name)
    expected, tolerance = answers(surrogate, name), surrogate.tolerance
    for batch in (1, len(queries[0].mesh.points) + len(queries[1].mesh.points)):
        found = predictor.predict(queries, batch=batch)
        assert_all_close(found, expected, tolerance, f"batches of {batch} nodes")
    backwards = predictor.predict(queries[::-1])
    assert_all_close(backwards[::-1], expected, tolerance, "backwards")
    others = [family(name).far, *(s.case for s in family(name).samples[:3])]
    crowd = predictor.predict([*others, *queries, *others[::-1]])
    among = crowd[len(others) : len(others) + len(queries)]
    assert_all_close(among, expected, tolerance, "among others")


def check_packed_and_listed_agree(surrogate: type[Surrogate], name: str) -> None:
    """Packed cases and packed samples are the same as lists of them; the same seed is the same
    fit."""
    queries, expected = family(name).queries, answers(surrogate, name)
    found = fitted(surrogate, name).predict(Cases.pack(queries))
    assert_all_identical(found, expected, "packed cases")
    again = surrogate.tiny().fit(Samples.pack(family(name).samples), seed=SEED)
    assert_all_identical(again.predict(queries), expected, "fitted again to packed samples")


def check_inputs_stay_as_they_are(surrogate: type[Surrogate], name: str) -> None:
    """Neither fit nor predict writes to what it is given."""
    predictor, written = fitted_once(surrogate, name)
    assert not written, f"fit wrote to the cases {written}"
    cases = [_own(answered).case for answered in family(name).samples[:2]]
    asked = [copied(case_numbers(c)) for c in cases]
    predictor.predict(cases)
    for case, numbers in zip(cases, asked, strict=True):
        assert_identical(case_numbers(case), numbers, f"predict, case {case.label}")


def _own(sample: Sample) -> Sample:
    """The same sample over arrays of its own."""
    case = sample.case
    mesh = case.mesh.moved(case.mesh.points.copy())
    known = {k: f.with_values(f.values.copy()) for k, f in case.fields.items()}
    fields = {k: f.with_values(f.values.copy()) for k, f in sample.fields.items()}
    return Sample(replace(case, mesh=mesh, fields=known), fields, dict(sample.scalars))


# ------------------------------------------------------------------------- saving and recipes


def check_saved_and_loaded(surrogate: type[Surrogate], name: str, path: Path) -> None:
    """save -> load: the same numbers, bit for bit, the same recipe, signature and card."""
    predictor = fitted(surrogate, name)
    again = load(predictor.save(path))
    assert again.recipe == predictor.recipe
    assert again.signature == predictor.signature
    assert again.card.seed == SEED
    assert_all_identical(
        again.predict(family(name).queries), answers(surrogate, name), "saved and loaded"
    )
    twice = load(again.save(path.with_suffix(".again")))
    assert_all_identical(
        twice.predict(family(name).queries), answers(surrogate, name), "saved twice"
    )


ELSEWHERE = """
import sys
import numpy as np
from fieldcast.conformance.families import family
from fieldcast.conformance.numbers import prediction_numbers
from fieldcast.surrogates import load
for line in sys.stdin:
    model, name, out = line.split("\\t")
    found = load(model).predict(family(name).queries)
    numbers = {f"{i} {k}": v for i, p in enumerate(found) for k, v in prediction_numbers(p).items()}
    np.savez(out.strip(), **{k.replace("/", "_"): v for k, v in numbers.items()})
    print("done", flush=True)
"""


@cache
def elsewhere() -> subprocess.Popen[str]:
    """Another process that loads and asks what it is told; one for all surrogates, because what
    takes time is its start."""
    command = [sys.executable, "-c", ELSEWHERE]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, env={**os.environ}, **pipes)

    def end() -> None:
        process.communicate()

    atexit.register(end)
    return process


def check_another_process_agrees(surrogate: type[Surrogate], name: str, path: Path) -> None:
    """What is saved here and asked in another process gives the same numbers, bit for bit."""
    fitted(surrogate, name).save(path)
    there, process = path.with_suffix(".npz"), elsewhere()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{path}\t{name}\t{there}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n", "the other process has stopped"
    with np.load(there) as file:
        found = dict(file)
    expected = {
        f"{i} {k}".replace("/", "_"): v
        for i, p in enumerate(answers(surrogate, name))
        for k, v in prediction_numbers(p).items()
    }
    assert_identical(found, expected, "another process")


def check_another_device_agrees(surrogate: type[Surrogate], name: str, device: str) -> None:
    """Another device gives the same numbers, up to how it rounds."""
    found = fitted(surrogate, name).predict(family(name).queries, device=device)
    assert_all_close(found, answers(surrogate, name), 10 * surrogate.tolerance, f"on {device}")


def check_recipe(surrogate: type[Surrogate]) -> None:
    """A frozen dataclass that hashes, compares and goes through JSON."""
    recipe = surrogate.tiny()
    assert type(recipe) is surrogate
    assert dataclasses.is_dataclass(recipe)
    for field in dataclasses.fields(recipe):
        try:
            setattr(recipe, field.name, None)
        except dataclasses.FrozenInstanceError:
            continue
        raise AssertionError(f"expected a frozen recipe, {field.name!r} was set")
    assert recipe == surrogate.tiny()
    assert hash(recipe) == hash(surrogate.tiny())
    again = recipe_from_json(json.loads(json.dumps(recipe_to_json(recipe))))
    assert again == recipe
    assert hash(again) == hash(recipe)


# ------------------------------------------------------------------------------- wrong inputs


def check_wrong_cases_are_refused(surrogate: type[Surrogate], name: str) -> None:
    """A ValueError that names the case and what is wrong with it."""
    predictor, case = fitted(surrogate, name), family(name).queries[0]

    def refused(*words: str, **changes: object) -> None:
        wrong = replace(case, name="odd_one", **changes)
        assert_refused(
            lambda: predictor.predict([family(name).queries[1], wrong]), "odd_one", *words
        )

    for parameter, given in case.parameters.items():
        others = {k: s for k, s in case.parameters.items() if k != parameter}
        refused(parameter, parameters=others)
        refused(parameter, parameters={**others, parameter: Scalar(np.array([np.nan]), given.unit)})
        refused(parameter, parameters={**others, parameter: Scalar(given.value, "K")})
    refused("source", fields={})
    known = case.fields["source"]
    holes = known.values.copy()
    holes[0, 3] = np.nan
    refused("source", fields={"source": known.with_values(holes)})
    refused("source", fields={"source": replace(known, unit="K")})
    flat = np.pad(case.mesh.points, ((0, 0), (0, 1)))
    refused("2", "3", mesh=case.mesh.moved(flat))


def check_wrong_samples_are_refused(surrogate: type[Surrogate], name: str) -> None:
    """NaN in the training set, cases that differ in their parameters, or no cases at all."""
    samples = list(family(name).samples)
    field = samples[4].fields["temperature"]
    holes = field.values.copy()
    holes[-1, 5] = np.nan
    fields = {**samples[4].fields, "temperature": field.with_values(holes)}
    bad = replace(samples[4], fields=fields)
    label = bad.case.name
    fit = surrogate.tiny().fit
    assert_refused(lambda: fit([*samples[:4], bad, *samples[5:]]), label, "temperature")
    some = {"pressure": samples[4].case.parameters["pressure"]}
    bad = replace(samples[4], case=replace(samples[4].case, parameters=some))
    assert_refused(lambda: fit([*samples[:4], bad, *samples[5:]]), label, "depth")
    assert_refused(lambda: fit([]), "none")
    assert_refused(lambda: fitted(surrogate, name).predict([]), "none")


# ------------------------------------------------------------------------ units and outputs


def check_units_are_converted(surrogate: type[Surrogate], name: str) -> None:
    """kPa for Pa, mm for m and kW/m^3 for W/m^3 give the same answer."""
    queries = family(name).queries

    def other(case: Case) -> Case:
        pressure, depth = case.parameters["pressure"].value, case.parameters["depth"].value
        values = {"pressure": Scalar(pressure / 1e3, "kPa"), "depth": Scalar(depth * 1e3, "mm")}
        known = Field(case.fields["source"].values / 1e3, "kW/m^3")
        return replace(case, parameters=values, fields={"source": known})

    found = fitted(surrogate, name).predict([other(case) for case in queries])
    tolerance = max(surrogate.tolerance, 1e-8)
    assert_all_close(found, answers(surrogate, name), tolerance, "in other units")
    assert found[0].case.parameters["pressure"].unit == "kPa"


def check_outputs_are_those_of_training(surrogate: type[Surrogate], name: str) -> None:
    """Names, units, places, components, times, and a value for every point or cell."""
    sample = family(name).samples[0]
    for prediction in answers(surrogate, name):
        mesh = prediction.case.mesh
        assert set(prediction.mean) == set(sample.fields)
        assert set(prediction.scalars) == set(sample.scalars)
        for label, truth in sample.fields.items():
            found = prediction.mean[label]
            assert (found.unit, found.on, found.part) == (truth.unit, truth.on, truth.part)
            expected = (len(truth.values), mesh.size_of(truth.on), truth.values.shape[2])
            assert found.values.shape == expected
            assert np.isfinite(found.values).all()
        for label, number in sample.scalars.items():
            assert prediction.scalars[label].unit == number.unit
            assert prediction.scalars[label].mean.shape == number.value.shape
            assert np.isfinite(prediction.scalars[label].mean).all()


def check_answers_are_read_only(surrogate: type[Surrogate], name: str) -> None:
    """Frozen, and over arrays that can't be written."""
    prediction = answers(surrogate, name)[0]
    fields = [*prediction.mean.values(), *(prediction.std or {}).values()]
    assert not any(f.values.flags.writeable for f in fields)
    assert not any(e.mean.flags.writeable for e in prediction.scalars.values())
    for attribute in ("mean", "std", "case"):
        try:
            setattr(prediction, attribute, None)
        except dataclasses.FrozenInstanceError:
            continue
        raise AssertionError(f"expected a frozen prediction, {attribute!r} was set")
    for mapping in (prediction.mean, prediction.scalars, prediction.std):
        assert mapping is None or not isinstance(mapping, dict), "expected read-only mappings"


def check_training_set_is_learnt(surrogate: type[Surrogate], name: str) -> None:
    """On its training set nothing is worse than answering every case with another one's truth:
    a normaliser that is forgotten is off by 1e5 of these spreads."""
    samples = family(name).samples
    found = fitted(surrogate, name).predict([s.case for s in samples])
    for label in samples[0].fields:
        pairs = [
            (s.fields[label].values, p.mean[label].values)
            for s, p in zip(samples, found, strict=True)
        ]
        _assert_learnt(label, pairs)
    for label in samples[0].scalars:
        pairs = [
            (s.scalars[label].value, p.scalars[label].mean)
            for s, p in zip(samples, found, strict=True)
        ]
        _assert_learnt(label, pairs)


def _assert_learnt(label: str, pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    truth = np.concatenate([t.ravel() for t, _ in pairs])
    error = np.concatenate([(f - t).ravel() for t, f in pairs])
    assert np.isfinite(error).all()
    assert np.sqrt(np.mean(error**2)) <= np.ptp(truth), label


# ---------------------------------------------------------------------------------- spread


def check_spread(surrogate: type[Surrogate], name: str) -> None:
    """Not known (None), or finite, not negative and not all zero; its parts add up to it."""
    for prediction in answers(surrogate, name):
        spreads = {k: f.values for k, f in (prediction.std or {}).items()}
        assert set(spreads) <= set(prediction.mean)
        for label, std in spreads.items():
            assert std.shape == prediction.mean[label].values.shape
            assert prediction.std[label].unit == prediction.mean[label].unit
            _assert_spread(label, std)
        for label, estimate in prediction.scalars.items():
            if estimate.std is not None:
                assert estimate.std.shape == estimate.mean.shape
                _assert_spread(label, estimate.std)
        for values in (prediction.parts or {}).values():
            assert set(values.fields) <= set(prediction.mean)
        if prediction.parts is not None:
            _assert_parts(prediction, spreads)


def _assert_spread(label: str, std: np.ndarray) -> None:
    assert np.isfinite(std).all(), label
    assert (std >= 0.0).all(), label
    assert (std > 0.0).any(), f"{label}: a spread that is zero everywhere says what isn't known"


def _assert_parts(prediction: Prediction, spreads: Mapping[str, np.ndarray]) -> None:
    assert prediction.parts is not None
    assert set(prediction.parts) == {"epistemic", "aleatoric"}
    for label, std in spreads.items():
        both = [p.fields[label].values for p in prediction.parts.values()]
        np.testing.assert_allclose(np.hypot(*both), std, rtol=1e-6, err_msg=label)


def check_spread_grows_outside(surrogate: type[Surrogate], name: str) -> None:
    """Where it is known, it is larger several ranges outside than in the middle, and the trust
    score is too."""
    group: Family = family(name)
    near, far = fitted(surrogate, name).predict([group.near, group.far])
    for label, std in (near.std or {}).items():
        assert far.std[label].values.mean() > std.values.mean(), label
    for label, estimate in near.scalars.items():
        if estimate.std is not None:
            assert far.scalars[label].std.mean() > estimate.std.mean(), label
    assert far.trust.score > near.trust.score
    assert far.trust.status in ("warn", "reject")
    assert far.trust.reason
    seen = fitted(surrogate, name).predict([s.case for s in group.samples])
    assert {p.trust.status for p in seen} == {"ok"}, "training cases lie in the training range"


def check_intervals(surrogate: type[Surrogate], name: str) -> None:
    """The mean lies inside, a higher level is wider, on the same mesh and in the same units;
    levels outside (0, 1) are refused."""
    for prediction in answers(surrogate, name):
        narrow, wide = prediction.interval(0.5), prediction.interval(0.8)
        known = set(prediction.std or {})
        numbers = {k for k, e in prediction.scalars.items() if e.std is not None}
        for low, high in (narrow, wide):
            assert known <= set(low.fields) == set(high.fields)
            assert numbers <= set(low.scalars) == set(high.scalars)
        for label in narrow[0].fields:
            mean = prediction.mean[label]
            ends = [values.fields[label] for values in (wide[0], narrow[0], narrow[1], wide[1])]
            assert {(e.unit, e.on, e.values.shape) for e in ends} == {
                (mean.unit, mean.on, mean.values.shape)
            }
            _assert_nested(label, mean.values, [e.values for e in ends])
        for label in narrow[0].scalars:
            ends = [values.scalars[label] for values in (wide[0], narrow[0], narrow[1], wide[1])]
            assert {e.unit for e in ends} == {prediction.scalars[label].unit}
            _assert_nested(label, prediction.scalars[label].mean, [e.value for e in ends])
        for level in (0.0, 1.0, -0.5, 95.0, float("nan")):
            assert_refused(lambda p=prediction, at=level: p.interval(at), "level")


def _assert_nested(label: str, mean: np.ndarray, ends: list[np.ndarray]) -> None:
    lower, low, high, upper = ends
    slack = 1e-9 * float(np.abs(mean).max(initial=1e-300))
    assert (low <= mean + slack).all(), label
    assert (mean <= high + slack).all(), label
    assert (lower <= low).all(), label
    assert (high <= upper).all(), label
    assert (upper - lower > high - low).any(), f"{label}: a higher level is not wider"


# --------------------------------------------------------------------------------- gradients

STEPS, CLOSE = (1e-3, 1e-5, 1e-6), 1e-6


def check_gradients(surrogate: type[Surrogate], name: str) -> None:
    """Derivatives of any sum of outputs by parameters are differences of it, to a millionth; those
    of single outputs are theirs; and the sum is that of the answer."""
    predictor, case = fitted(surrogate, name), family(name).queries[1]
    if not isinstance(predictor, Differentiable):
        return
    [answer] = predictor.predict([case])
    means = _means(answer)
    weights = _weights(means)
    pulled = predictor.pulled(case, weights)
    sizes = {k: float(np.abs(weights[k] * v).sum()) for k, v in means.items()}
    told = sum(float((weights[k] * v).sum()) for k, v in means.items())
    slack = max(surrogate.tolerance, 1e-9) * sum(sizes.values())
    assert abs(pulled.value - told) <= slack, "the sum is not that of the answer"
    outputs = list(means)
    found = predictor.gradients(case, outputs)
    assert list(found) == outputs
    for parameter, given in case.parameters.items():

        def moved(step: float, parameter: str = parameter, given: Scalar = given) -> float:
            there = Scalar(given.value + step * HALF_RANGE[parameter], given.unit)
            parameters = {**case.parameters, parameter: there}
            return predictor.pulled(replace(case, parameters=parameters), weights).value

        own = float(pulled.parameters[parameter].sum()) * HALF_RANGE[parameter]
        what = f"d outputs / d {parameter}"
        _assert_slope(what, own, moved, sum(sizes.values()))
        each = [found[k].parameters[parameter] for k in outputs]
        assert [e.shape for e in each] == [means[k].shape for k in outputs], what
        whole = sum(float((weights[k] * e).sum()) for k, e in zip(outputs, each, strict=True))
        slack = 1e-5 * abs(own) + 1e-9 * sum(sizes.values())
        assert abs(whole * HALF_RANGE[parameter] - own) <= slack, what
    assert_refused(lambda: predictor.gradients(case, ["no such output"]), "no such output")
    assert_refused(lambda: predictor.pulled(case, {"no such output": np.ones(1)}), "no such output")
    odd = {outputs[0]: np.ones(7)}
    assert_refused(lambda: predictor.pulled(case, odd), outputs[0])


def check_gradients_by_points(surrogate: type[Surrogate]) -> None:
    """Under one numbering, derivatives of any sum of outputs by the points' coordinates are
    differences, and of single scalars the same."""
    name = widest(surrogate) if surrogate.grids else "one_numbering"
    predictor, case = fitted(surrogate, name), family(name).queries[1]
    if not isinstance(predictor, Differentiable):
        return
    [answer] = predictor.predict([case])
    means = _means(answer)
    weights, x = _weights(means), case.mesh.points
    way = np.stack([0.3 * x[:, 0] ** 2 + x[:, 1], x[:, 0] * x[:, 1] - 0.5], axis=1)

    def moved(step: float) -> float:
        there = replace(case, mesh=case.mesh.moved(x + step * way))
        return predictor.pulled(there, weights).value

    slopes = predictor.pulled(case, weights).points
    if slopes is None:
        return
    own = float((slopes * way).sum())
    size = sum(float(np.abs(weights[k] * v).sum()) for k, v in means.items())
    _assert_slope("d outputs / d points", own, moved, size)
    scalars = list(predictor.signature.scalars)
    for label, one in predictor.gradients(case, scalars).items():
        points = one.points
        alone = predictor.pulled(case, {label: np.ones(len(means[label]))}).points
        assert points is not None, f"{label}: no derivative by points"
        assert alone is not None, f"{label}: no derivative by points"
        np.testing.assert_allclose(points.sum(0), alone, rtol=1e-9, atol=1e-9 * np.abs(alone).max())


def _means(prediction: Prediction) -> dict[str, np.ndarray]:
    found = {k: f.values for k, f in prediction.mean.items()}
    return found | {k: e.mean for k, e in prediction.scalars.items()}


def _weights(means: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of about the same weight each."""
    rng = np.random.default_rng(0)
    return {
        k: rng.uniform(0.5, 1.5, v.shape) / (v.size * max(float(np.abs(v).mean()), 1e-300))
        for k, v in means.items()
    }


def _assert_slope(what: str, found: float, value: Callable[[float], float], size: float) -> None:
    """Against differences of order 4, whose rounding goes by the size of what is summed; by shorter
    steps where longer ones go over kinks, as those of rectifiers are."""
    told = []
    for step in STEPS:
        near, far = (value(k * step) - value(-k * step) for k in (1, 2))
        slope = (8.0 * near - far) / (12.0 * step)
        if abs(found - slope) <= CLOSE * abs(slope) + 1e-14 * size / step:
            return
        told.append(f"{slope:.9g}")
    raise AssertionError(f"{what}: {found:.9g}, differences {', '.join(told)}")


def check_no_topology_is_swallowed(surrogate: type[Surrogate], other: Mesh) -> None:
    """A mesh of another topology is answered where any mesh is, else refused by the case's name;
    another triangulation is, too, where there is one numbering."""
    predictor = fitted(surrogate, widest(surrogate))
    case = family(widest(surrogate)).queries[0]
    odd = replace(case, mesh=other, fields={"source": source(other, 0.0)}, name="odd_one")
    if surrogate.any_mesh:
        assert predictor.predict([odd])[0].mean["flux"].values.shape[1] == other.n_cells
        return
    assert_refused(lambda: predictor.predict([odd]), "odd_one")
    if surrogate.one_numbering:
        turned = replace(odd, mesh=_turned(case.mesh), fields=case.fields)
        assert_refused(lambda: predictor.predict([turned]), "odd_one")


def _turned(mesh: Mesh) -> Mesh:
    """With its points in another order."""
    n = len(mesh.points)
    return Mesh(mesh.points[::-1], {k: n - 1 - block for k, block in mesh.cells.items()})
