"""Models beside each other: differences that mean something are told from those that don't."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from test_cli import run

from fieldcast.conformance.families import family
from fieldcast.meshes import Case, Sample, write_sample
from fieldcast.pipelines.comparing import Contender, compare, labels, probability
from fieldcast.surrogates import MMGP, Conformal, MeanField, PodRidge, Training
from fieldcast.surrogates.scores import score

TINY = MMGP(modes=2, shape_modes=2, training=Training(starts=1, iterations=5))


@pytest.fixture(scope="module")
def samples() -> tuple[Sample, ...]:
    return family("one_mesh").samples


@pytest.fixture(scope="module")
def contenders(samples) -> dict[str, Contender]:
    recipes = {"mean": MeanField(), "ridge": PodRidge(), "mmgp": TINY}
    return {k: Contender(r.fit(samples), samples) for k, r in recipes.items()}


def test_scores_are_those_of_each_model_alone(contenders, samples):
    found = compare(contenders)
    for name, contender in contenders.items():
        alone = score(samples, contender.predictor.predict([s.case for s in samples]))
        assert found.entries[name].scores == alone
        assert found.entries[name].seconds > 0
    for output, best in found.best.items():
        errors = {k: e.scores[output].rrmse for k, e in found.entries.items()}
        assert errors[best] == min(errors.values())
    assert found.cases == len(samples)


def test_a_clear_difference_is_one_and_itself_is_none(contenders):
    found = compare({k: contenders[k] for k in ("mean", "ridge")})
    [peak] = [d for d in found.differences if d.output == "peak"]
    assert (peak.best, peak.other) == ("ridge", "mean")
    assert peak.significant
    assert peak.lower == peak.cases == 9
    assert str(peak).startswith(
        "peak: ridge is better than mean (lower error in 9 of 9 cases, p = "
    )
    twice = compare({"one": contenders["ridge"], "other": contenders["ridge"]})
    assert not any(d.significant for d in twice.differences)
    assert {d.p for d in twice.differences} == {1.0}


def test_false_alarms_are_as_rare_as_the_level_says():
    rng = np.random.default_rng(0)
    alarms = [(probability(*np.exp(rng.normal(size=(2, 12)))) or 1.0) < 0.05 for _ in range(400)]
    assert 0.01 < np.mean(alarms) < 0.09


def test_too_few_cases_can_tell_nothing(contenders, samples):
    few = {k: dataclasses.replace(c, samples=samples[:5]) for k, c in contenders.items()}
    found = compare(few)
    assert {d.p for d in found.differences} == {None}
    assert "5 cases are too few to tell" in found.lines()[-1]
    assert probability(np.ones(5), 2 * np.ones(5)) is None
    assert probability(np.ones(6), 2 * np.ones(6)) == pytest.approx(2 / 2**6)
    assert probability(np.ones(6), np.ones(6)) == 1.0


def test_the_order_of_models_and_cases_does_not_matter(contenders, samples):
    one = compare(contenders)
    turned = {
        k: dataclasses.replace(c, samples=samples[::-1]) for k, c in reversed(contenders.items())
    }
    other = compare(turned)
    assert one.best == other.best
    p = {(d.output, d.other): d.p for d in one.differences}
    assert p == pytest.approx({(d.output, d.other): d.p for d in other.differences})


def test_a_model_that_lacks_an_output_has_a_dash(contenders, samples):
    bare = [dataclasses.replace(s, scalars={}) for s in samples]
    found = compare({**contenders, "fields": Contender(PodRidge().fit(bare), bare)})
    assert "peak" not in found.entries["fields"].scores
    row = next(line for line in found.lines() if line.startswith("peak"))
    assert row.split()[-1] == "-"
    assert json.loads(json.dumps(found.to_json()))["best"]["peak"] != "fields"


def test_intervals_are_told_where_they_are_known(contenders, samples):
    wide = Conformal(PodRidge(), folds=3).fit(samples)
    found = compare({"mmgp": contenders["mmgp"], "wide": Contender(wide, samples)})
    rows = [line for line in found.lines() if line.startswith("peak")]
    assert "%" in rows[1]
    assert rows[1].split()[-1] == "-"  # nine simulations can't support 95 %


def test_cases_that_one_model_refuses_are_left_out_for_all(contenders, samples):
    flat = dataclasses.replace(samples[0], case=_lacking(samples[0].case))
    both = {
        "ridge": dataclasses.replace(contenders["ridge"], samples=(flat, *samples[1:])),
        "mean": dataclasses.replace(contenders["mean"], samples=samples[:-1]),
    }
    found = compare(both)
    assert found.cases == 7
    assert found.left_out.keys() == {samples[0].case.label, samples[-1].case.label}
    assert "pressure" in found.left_out[samples[0].case.label]


def _lacking(case: Case) -> Case:
    return dataclasses.replace(case, parameters={"depth": case.parameters["depth"]})


def test_what_cannot_be_compared_is_said(contenders, samples):
    with pytest.raises(ValueError, match="at least 2 models"):
        compare({"one": contenders["ridge"]})
    nothing = {k: dataclasses.replace(c, samples=()) for k, c in contenders.items()}
    with pytest.raises(ValueError, match="all models can answer, got none"):
        compare(nothing)
    unsolved = tuple(Sample(s.case, {}, {"other": s.scalars["peak"]}) for s in samples)
    with pytest.raises(ValueError, match=r"mean: expected solved cases.*'peak'.*other"):
        compare({k: dataclasses.replace(c, samples=unsolved) for k, c in contenders.items()})


def test_labels_are_stems_unless_two_share_one():
    assert labels([Path("a/x.fieldcast"), Path("b/y.fieldcast")]) == ["x", "y"]
    assert labels([Path("a/x.f"), Path("b/x.f")]) == ["a/x.f", "b/x.f"]
    with pytest.raises(ValueError, match="at least 2"):
        labels([Path("a/x.f")])
    with pytest.raises(ValueError, match="different models"):
        labels([Path("a/x.f"), Path("a/../a/x.f")])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples as files."""
    path = tmp_path_factory.mktemp("comparing")
    (path / "fieldcast.toml").write_text(
        'inputs = ["pressure", "depth", "source"]\noutputs = ["temperature", "peak"]\n'
    )
    for sample in family("one_mesh").samples:
        write_sample(sample, path / f"{sample.case.name}.vtu")
    return path


def test_the_command_compares_models_on_a_folder(folder, tmp_path, capsys):
    models = [tmp_path / "ridge.fieldcast", tmp_path / "mean.fieldcast"]
    for model, name in zip(models, ("pod_ridge", "mean"), strict=True):
        assert run("fit", folder, "-o", model, "--surrogate", name) == 0
    capsys.readouterr()
    assert run("compare", *models, folder, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["models"]) == ["ridge", "mean"]
    assert told["cases"] == 9
    assert told["best"]["peak"] == "ridge"
    [entry] = [d for d in told["differences"] if d["output"] == "peak"]
    assert entry["significant"]
    assert run("compare", *models, folder) == 0
    out = capsys.readouterr().out
    assert entry["says"] in out
    assert run("compare", models[0], folder) == 1
    assert "at least 2 models" in capsys.readouterr().err
    assert run("compare", *models, tmp_path / "absent") == 1
    assert "does not exist" in capsys.readouterr().err
