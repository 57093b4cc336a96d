"""The surrogate that is chosen: the best where it is, the simplest where it makes no difference, in
the time that there is."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from test_cli import run

from fieldcast.conformance.families import family, square
from fieldcast.meshes import Case, Field, Sample, Scalar, write_sample
from fieldcast.pipelines.choosing import choose, installed, wraps
from fieldcast.surrogates import MMGP, Conformal, MeanField, NearestCase, PodRidge, Surrogate

BASELINES = {"pod_ridge": PodRidge(), "mean": MeanField(), "nearest": NearestCase()}


def samples(output, count=24, seed=0) -> list[Sample]:
    """On one mesh; `output(p, q, x, rng)` is the field on its points."""
    rng = np.random.default_rng(seed)
    mesh = square(4, 0)
    found = []
    for i, (p, q) in enumerate(rng.uniform(-1, 1, (count, 2))):
        values = np.broadcast_to(output(p, q, mesh.points[:, 0], rng), len(mesh.points))
        case = Case(mesh, {"p": p, "q": q}, name=f"c{i:02d}")
        found.append(Sample(case, {"u": Field.steady(values, "m")}))
    return found


def linear(p, q, x, rng):
    return 10.0 + p * x - 2 * q


@dataclasses.dataclass(frozen=True)
class Slow(Surrogate):
    """Ridge regression that says, or not, that it takes `says` seconds, and takes `takes`, asking
    for more time all along."""

    says: float | None = None
    takes: float = 0.0

    transient: ClassVar[bool] = True

    def fit(self, samples, *, validation=None, seed=0, progress=lambda *_: None):
        end = time.perf_counter() + self.takes
        while time.perf_counter() < end:
            progress("train", 0, 1)
            time.sleep(0.01)
        return PodRidge().fit(samples, seed=seed)

    def restore(self, signature, card, state):
        raise NotImplementedError

    def estimate(self, samples):
        return None if self.says is None else (self.says, 0)


@dataclasses.dataclass(frozen=True)
class Refusing(Slow):
    """Fits nothing."""

    why: str = "expected volumes, got a plate"

    def fit(self, samples, *, validation=None, seed=0, progress=lambda *_: None):
        raise ValueError(self.why)


def remarks(choice):
    return {row.name: row.remark for row in choice.rows}


def test_the_best_is_chosen_and_stands_first():
    choice = choose(samples(linear), BASELINES)
    assert choice.name == "pod_ridge"
    assert choice.recipe == PodRidge()
    assert choice.rows[0].name == "pod_ridge"
    merits = {row.name: row.merit for row in choice.rows}
    assert merits["mean"] == pytest.approx(1.0)
    assert merits["pod_ridge"] < 1e-3
    assert all(row.folds == 3 for row in choice.rows)
    json.dumps(choice.to_json(), allow_nan=False)


def test_the_unit_of_an_output_does_not_matter():
    one = samples(linear)
    other = [
        dataclasses.replace(s, fields={"u": s.fields["u"].with_values(1e-9 * s.fields["u"].values)})
        for s in one
    ]
    first, second = choose(one, BASELINES), choose(other, BASELINES)
    for a, b in zip(first.rows, second.rows, strict=True):
        assert (a.name, a.folds) == (b.name, b.folds)
        assert b.merit == pytest.approx(a.merit, rel=1e-3)


def test_where_nothing_can_be_learnt_the_mean_is_taken_and_said():
    def noise(p, q, x, rng):
        return 5.0 + rng.normal()

    choice = choose(samples(noise), {**BASELINES, "other": Slow()})
    assert choice.name == "mean"
    assert choice.says == "the mean is as good as any surrogate here: more simulations are needed"


def test_what_is_no_better_than_a_baseline_is_not_taken():
    choice = choose(samples(linear), {**BASELINES, "same": Slow(takes=0.05)})
    assert choice.name == "pod_ridge"
    assert "ridge regression is as good" in choice.says


def test_of_two_alike_the_quicker_is_taken():
    both = {"mean": MeanField(), "slow": Slow(takes=0.2), "quick": Slow()}
    choice = choose(samples(linear), both)
    assert choice.name == "quick"


def test_refusals_are_listed_with_their_reason():
    choice = choose(samples(linear), {**BASELINES, "volumes": Refusing()})
    assert remarks(choice)["volumes"] == "expected volumes, got a plate"
    assert next(r for r in choice.rows if r.name == "volumes").merit is None
    assert any("expected volumes" in line for line in choice.lines())


def test_where_all_refuse_it_is_an_error_that_says_why():
    with pytest.raises(ValueError, match=r"got none: volumes: expected volumes"):
        choose(samples(linear), {"volumes": Refusing()})


def test_what_cannot_end_in_time_is_not_begun():
    start = time.perf_counter()
    choice = choose(samples(linear), {**BASELINES, "slow": Slow(says=1e4, takes=60)}, budget=20.0)
    assert "a fit takes about 1e+04 s" in remarks(choice)["slow"]
    assert time.perf_counter() - start < 15


def test_what_does_not_end_in_time_is_stopped():
    start = time.perf_counter()
    choice = choose(samples(linear), {**BASELINES, "slow": Slow(takes=60)}, budget=2.0)
    assert remarks(choice)["slow"].startswith("stopped")
    assert time.perf_counter() - start < 15
    assert choice.name == "pod_ridge"


def test_without_time_the_baselines_are_tried():
    choice = choose(samples(linear), {**BASELINES, "other": Slow()}, budget=0.0)
    assert choice.name == "pod_ridge"
    assert "no surrogate could be tried" in choice.says
    assert "budget" in remarks(choice)["other"]


def test_first_a_fold_of_each_then_further_folds():
    seen = []
    choose(samples(linear), BASELINES, progress=lambda stage, done, n: seen.append((stage, done)))
    assert [stage for stage, _ in seen[:3]] == [
        f"choose: {k}" for k in ("mean", "nearest", "pod_ridge")
    ]
    assert [done for _, done in seen] == list(range(1, 10))


def test_answers_that_are_not_finite_are_not_chosen():
    @dataclasses.dataclass(frozen=True)
    class Lost(Slow):
        def fit(self, samples, *, validation=None, seed=0, progress=lambda *_: None):
            fitted = PodRidge().fit(samples)
            pod = fitted.embedding.fields["u"].pod
            broken = dataclasses.replace(pod, mean=np.nan * pod.mean)
            basis = dataclasses.replace(fitted.embedding.fields["u"], pod=broken)
            embedding = dataclasses.replace(fitted.embedding, fields={"u": basis})
            return dataclasses.replace(fitted, embedding=embedding)

    choice = choose(samples(linear), {**BASELINES, "lost": Lost()})
    assert remarks(choice)["lost"] == "gave answers that are not finite"


def test_too_few_cases_and_nan_are_said():
    with pytest.raises(ValueError, match=r"at least 6 cases.*got 5"):
        choose(samples(linear, 5), BASELINES)
    bad = samples(linear)
    broken = bad[3].fields["u"]
    bad[3] = dataclasses.replace(bad[3], fields={"u": broken.with_values(np.nan * broken.values)})
    with pytest.raises(ValueError, match="c03"):
        choose(bad, BASELINES)


def test_an_output_that_never_varies_does_not_decide():
    fixed = [
        dataclasses.replace(s, scalars={"mass": Scalar(np.array([3.0]), "kg")})
        for s in samples(linear)
    ]
    assert choose(fixed, BASELINES).name == "pod_ridge"


def test_topologies_that_baselines_refuse_leave_absolute_errors():
    choice = choose(family("one_mesh").samples, {"ridge": PodRidge()})
    assert not choice.relative
    assert "RRMSE" in choice.lines()[0]
    with pytest.raises(ValueError, match="got none"):
        choose(family("any_topology").samples, BASELINES)


def test_installed_recipes_are_no_wrappers():
    recipes, _ = installed()
    assert {"mmgp", "mean", "nearest", "pod_ridge"} <= set(recipes)
    assert not any(wraps(recipe) for recipe in recipes.values())
    assert wraps(Conformal())
    assert not wraps(MMGP())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve of them as files."""
    path = tmp_path_factory.mktemp("choosing")
    (path / "fieldcast.toml").write_text('inputs = ["p", "q"]\noutputs = ["u"]\n')
    for sample in samples(linear, 12):
        write_sample(sample, path / f"{sample.case.name}.vtu")
    return path


def test_fit_takes_the_choice_and_keeps_the_table_on_the_card(folder, tmp_path, capsys):
    model = tmp_path / "m.fieldcast"
    call = ("fit", folder, "-o", model, "--surrogate", "auto", "--budget", "0")
    assert run(*call) == 0
    out = capsys.readouterr().out
    assert "no surrogate could be tried" in out
    assert "of the mean" in out
    assert run("info", model, "--json") == 0
    info = json.loads(capsys.readouterr().out)
    table = info["card"]["fit"]["auto"]
    assert table["chosen"] == info["recipe"]["name"]
    assert {row["name"] for row in table["rows"]} >= {"mean", "nearest", "pod_ridge", "mmgp"}


def test_auto_has_no_settings_and_few_cases_are_said(folder, tmp_path, capsys):
    call = ("fit", folder, "-o", tmp_path / "m", "--surrogate", "auto")
    assert run(*call, "--set", "modes=3") == 1
    assert "--set" in capsys.readouterr().err
    few = tmp_path / "few"
    few.mkdir()
    for name in ("fieldcast.toml", "c00.vtu", "c01.vtu", "c02.vtu"):
        shutil.copy(folder / name, few)
    assert run("fit", few, "-o", tmp_path / "m", "--surrogate", "auto") == 1
    assert "at least 6 cases" in capsys.readouterr().err
