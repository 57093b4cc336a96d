"""Learning curves: laws come back, forecasts hold as often as they say, noise is owned up to."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from test_cli import run

from fieldcast.conformance.families import square
from fieldcast.meshes import Case, Field, Sample, read_folder, write_sample
from fieldcast.pipelines.curves import (
    Curve,
    Law,
    check_target,
    learning_curve,
    trend_of,
    write_curve,
)
from fieldcast.surrogates import MeanField, PodRidge
from fieldcast.surrogates.surrogate import Trials


def samples(count: int) -> list[Sample]:
    """A field that two parameters span linearly, and one of noise."""
    rng = np.random.default_rng(0)
    mesh = square(5, 0)
    x, y = mesh.points.T
    found = []
    for i, (p, q) in enumerate(rng.uniform(-1, 1, (count, 2))):
        fields = {"u": 10 + p * x + q * y**2, "noise": 5 + rng.normal(size=len(x))}
        case = Case(mesh, {"p": p, "q": q}, name=f"c{i:02d}")
        found.append(Sample(case, {k: Field.steady(v, "m") for k, v in fields.items()}))
    return found


SIZES = np.array([5, 10, 20, 40, 80])


def observed(law: Law, noise: float, seed: int = 0) -> np.ndarray:
    """Errors of three repeats, each with an offset, with scatter."""
    rng = np.random.default_rng(seed)
    logs = noise * rng.normal(size=(5, 3)) + 1.5 * noise * rng.normal(size=(1, 3))
    return law.at(SIZES)[:, None] * np.exp(logs)


def curve(errors: np.ndarray) -> Curve:
    return Curve(SIZES, {"drag": errors}, {"drag": trend_of(SIZES, errors)}, 100, 20)


@pytest.mark.parametrize(
    "law", [Law(0.0, 2.0, 1.0), Law(1e-3, 0.5, 1.5), Law(0.0, 30.0, 0.4), Law(1e-6, 1e-3, 0.7)]
)
def test_a_law_without_scatter_comes_back(law):
    found = trend_of(SIZES, observed(law, 0.0))
    n = np.array([5.0, 80.0, 200.0])
    np.testing.assert_allclose(found.law.at(n), law.at(n), rtol=1e-5)
    assert found.verdict(100) == "improves"


def test_slope_is_the_logarithmic_derivative():
    law = Law(0.02, 0.7, 1.3)
    h = 1e-6
    found = -(np.log(law.at(50 * np.exp(h))) - np.log(law.at(50.0))) / h
    assert law.slope(50) == pytest.approx(found, rel=1e-4)
    assert Law(0.0, 3.0, 0.8).slope(7) == pytest.approx(0.8)


def test_errors_of_another_size_have_the_same_law():
    """Logarithms: a factor on all errors is a factor on the forecast."""
    errors = observed(Law(0.01, 0.5, 0.7), 0.1)
    [one], [other] = curve(errors).forecasts(20), curve(1e-6 * errors).forecasts(20)
    assert other.then == pytest.approx(1e-6 * one.then, rel=1e-4)
    assert other.verdict == one.verdict


@pytest.mark.parametrize("law", [Law(0.0, 1.0, 1.0), Law(0.01, 0.5, 0.7)])
def test_forecasts_hold_as_often_as_they_say(law):
    """90 %, with room for the three repeats that the scatter is told from."""
    inside = 0
    for seed in range(20):
        low, high = trend_of(SIZES, observed(law, 0.1, seed), seed).cut(100, 50)
        inside += low <= law.at(150) / law.at(100) <= high
    assert inside >= 0.7 * 20


def test_what_is_said_of_each_kind_of_curve():
    [forecast] = curve(observed(Law(0.0, 1.0, 1.0), 0.02)).forecasts(20)
    assert forecast.low <= forecast.then <= forecast.high < forecast.now
    assert re.fullmatch(
        r"20 more simulations should cut the drag error from 9\.6e-3 to 8\.0e-3 \(8.* to 8.*e-3\)",
        str(forecast),
    )
    [forecast] = curve(observed(Law(0.05, 1.0, 1.5), 0.02)).forecasts(20)
    assert "should not help much" in str(forecast)
    assert re.search(r"at its floor of [45]\.\de-2", str(forecast))
    [forecast] = curve(observed(Law(0.0, 1.0, 0.3), 2.0, seed=1)).forecasts(20)
    assert "too noisy to tell" in str(forecast)


def test_noise_around_a_flat_curve_is_seldom_taken_for_progress():
    verdicts = [
        trend_of(SIZES, observed(Law(0.1, 0.0, 0.0), 0.5, seed), seed).verdict(100)
        for seed in range(20)
    ]
    assert verdicts.count("improves") <= 0.15 * 20


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_errors_without_a_logarithm_do_not_end_it(bad):
    errors = observed(Law(0.0, 1.0, 1.0), 0.02)
    errors[2, 1] = bad
    [forecast] = curve(errors).forecasts(20)
    assert forecast.verdict != "floor"
    assert np.isfinite([forecast.now, forecast.then, forecast.low, forecast.high]).all()


def test_answers_that_are_always_right_are_at_the_floor():
    [forecast] = curve(np.zeros((5, 3))).forecasts(20)
    assert forecast.verdict == "floor"


@dataclasses.dataclass(frozen=True, eq=False)
class Watched(Trials):
    """Trials that note what they were asked to fit."""

    inner: Trials
    asked: list[list[int]]

    @property
    def samples(self):
        return self.inner.samples

    def fit(self, rows, *, seed=0, like=None, progress=lambda *_: None):
        self.asked.append(list(rows))
        return self.inner.fit(rows, seed=seed, like=like, progress=progress)


def test_subsets_are_nested_and_never_tested_on():
    trials = Watched(MeanField().trials(samples(24)), [])
    found = learning_curve(trials, sizes=[4, 8, 16], repeats=2, seed=3)
    assert found.errors["u"].shape == (3, 2)
    assert (found.held, found.cases) == (5, 24)
    for one, two in itertools.pairwise(trials.asked):
        assert len(two) == 4 or set(one) < set(two)
    assert [len(rows) for rows in trials.asked] == [4, 8, 16] * 2
    assert trials.asked[2] != trials.asked[5]
    again = learning_curve(MeanField().trials(samples(24)), sizes=[16, 8, 4], repeats=2, seed=3)
    np.testing.assert_array_equal(again.errors["u"], found.errors["u"])


def test_what_is_linear_is_learnt_and_noise_is_not():
    found = learning_curve(PodRidge().trials(samples(24)))
    says = {f.output: f.verdict for f in found.forecasts(20)}
    assert says["noise"] != "improves"
    assert found.errors["u"][-1].mean() < 1e-6
    json.dumps(found.to_json(20))
    assert len(found.lines(20)) == 2 + 2 + 2


@pytest.mark.parametrize(
    ("count", "options", "said"),
    [
        (9, {}, "at least 10 solved cases.*got 9"),
        (24, {"sizes": [4, 8]}, "at least 3 sizes"),
        (24, {"sizes": [4, 8, 20]}, "to the 19 cases"),
        (24, {"sizes": [1, 8, 16]}, "from 2"),
        (24, {"repeats": 1}, "at least 2 repeats"),
        (24, {"held": 1.0}, "between 0 and 1"),
    ],
)
def test_what_makes_no_curve_is_said(count, options, said):
    trials = MeanField().trials(samples(count))
    with pytest.raises(ValueError, match=said):
        learning_curve(trials, **options)


def test_no_more_simulations_are_no_forecast():
    with pytest.raises(ValueError, match="at least 1 more"):
        curve(observed(Law(0.0, 1.0, 1.0), 0.1)).forecasts(0)


def test_curves_are_written_as_a_page_or_a_picture(tmp_path):
    found = curve(observed(Law(0.0, 1.0, 1.0), 0.1))
    picture = write_curve(found, 20, tmp_path / "c.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    page = write_curve(found, 20, tmp_path / "c.html").read_text()
    assert "20 more simulations should cut the drag error" in page
    assert "data:image/png;base64," in page
    for bad in (tmp_path / "c.pdf", tmp_path / "absent" / "c.png"):
        with pytest.raises(ValueError, match="expected"):
            check_target(bad)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty of them as files."""
    path = tmp_path_factory.mktemp("curves")
    (path / "fieldcast.toml").write_text('inputs = ["p", "q"]\noutputs = ["u", "noise"]\n')
    for sample in samples(20):
        write_sample(sample, path / f"{sample.case.name}.vtu")
    return path


def test_the_command_draws_and_says_the_same_as_python(folder, tmp_path, capsys):
    page = tmp_path / "curve.html"
    call = ("curve", folder, "--surrogate", "pod_ridge", "--repeats", "2", "--more", "30")
    assert run(*call, "-o", page, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["outputs"]) == {"u", "noise"}
    assert (told["cases"], told["held_out"], told["more"]) == (20, 4, 30)
    trials = PodRidge().trials(read_folder(folder).samples)
    alone = learning_curve(trials, repeats=2)
    np.testing.assert_allclose(told["outputs"]["noise"]["errors"], alone.errors["noise"], rtol=1e-9)
    assert told["outputs"]["noise"]["says"] in [str(f) for f in alone.forecasts(30)]
    assert "<img" in page.read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-o", "curve.pdf"), ".html or .png"),
        (("-o", "absent/curve.png"), "folder absent"),
        (("--more", "0"), "more"),
        (("--surrogate", "nope"), "nope"),
    ],
)
def test_a_wrong_call_ends_before_anything_is_read(tmp_path, options, said, capsys):
    assert run("curve", tmp_path, *options) == 1
    assert said in capsys.readouterr().err


def test_an_empty_folder_and_one_case_make_no_curve(folder, tmp_path, capsys):
    assert run("curve", tmp_path) == 1
    assert str(tmp_path) in capsys.readouterr().err
    assert run("curve", folder / "c00.vtu", "--inputs", "p,q") == 1
    assert "error:" in capsys.readouterr().err
