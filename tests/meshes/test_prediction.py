"""Predictions: intervals of normal and log-normal quantities, honest about what is not known."""

import dataclasses

import numpy as np
import pytest
from scipy import stats
from shapes import quads

from fieldcast.meshes import Case, Estimate, Field, Normal, Prediction

MESH = quads(3)
CASE = Case(MESH)
MEAN = np.linspace(1.0, 9.0, 9)


def prediction(**changes):
    made = Prediction(
        CASE,
        {"u": Field.steady(MEAN, "K")},
        {"u": Field.steady(0.1 * MEAN, "K")},
        {"s": Estimate(np.array([2.0]), np.array([0.5]), "N"), "t": Estimate(np.array([1.0]))},
    )
    return dataclasses.replace(made, **changes)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95, 0.999])
def test_normal_intervals(level):
    low, high = prediction().interval(level)
    expected = stats.norm.interval(level, MEAN, 0.1 * MEAN)
    for end, values in zip((low, high), expected, strict=True):
        np.testing.assert_allclose(end.fields["u"].values[0, :, 0], values, rtol=1e-12)
        assert end.fields["u"].unit == "K"
    ends = (float(low.scalars["s"]), float(high.scalars["s"]))
    assert ends == pytest.approx(stats.norm.interval(level, 2.0, 0.5), rel=1e-12)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95, 0.999])
def test_log_normal_intervals_have_the_quantiles_of_that_mean_and_spread(level):
    low, high = prediction(band=Normal(frozenset({"u", "s"}))).interval(level)
    s = np.sqrt(np.log1p(0.1**2))
    expected = stats.lognorm.interval(level, s, scale=MEAN * np.exp(-(s**2) / 2))
    for end, values in zip((low, high), expected, strict=True):
        np.testing.assert_allclose(end.fields["u"].values[0, :, 0], values, rtol=1e-12)
        assert float(end.scalars["s"]) > 0


def test_negative_log_normals_keep_low_below_high():
    mean = Field.steady(-MEAN, "K")
    mirrored = prediction(mean={"u": mean}, band=Normal(frozenset({"u"})))
    low, high = mirrored.interval(0.9)
    plain = prediction(band=Normal(frozenset({"u"}))).interval(0.9)
    np.testing.assert_allclose(low.fields["u"].values, -plain[1].fields["u"].values)
    np.testing.assert_allclose(high.fields["u"].values, -plain[0].fields["u"].values)
    assert (high.fields["u"].values < 0).all()


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 1.5, 95, float("nan")])
def test_levels_outside_are_refused(level):
    with pytest.raises(ValueError, match="level between 0 and 1"):
        prediction().interval(float(level))


def test_what_is_not_known_has_no_interval():
    low, high = prediction(std=None).interval(0.9)
    assert (dict(low.fields), dict(high.fields)) == ({}, {})
    assert set(low.scalars) == {"s"}


def test_everything_is_frozen():
    made = prediction()
    for mapping in (made.mean, made.std, made.scalars):
        with pytest.raises(TypeError):
            mapping["new"] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.std = None
    assert not made.scalars["s"].mean.flags.writeable
    assert not made.scalars["s"].std.flags.writeable


def test_estimates_say_what_they_know():
    assert str(Estimate(np.array([2.0]), np.array([0.5]), "N")) == "2 ± 0.5 N"
    assert str(Estimate(np.array([2.0]), unit="N")) == "2 N"
    assert str(Estimate(np.array([2.0]))) == "2"
    assert float(Estimate(np.array([2.0]))) == 2.0
    assert "array" in str(Estimate(np.arange(3.0)))
