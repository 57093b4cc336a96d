"""Roll-outs of rates: targets and schemes of the order that they state, saved whole, and a step
that knows the rate gives the path."""

from __future__ import annotations

import numpy as np
import pytest

from fieldcast.meshes import Case, Field, Mesh, Sample, Scalar
from fieldcast.surrogates import GraphTransformer, Polynomial, Rollout, Tendency, load
from fieldcast.surrogates.tendency import RATE, rate

MESH = Mesh(np.arange(3.0)[:, None], {"line": np.array([[0, 1], [1, 2]])})
SIZE = 0.05


@pytest.mark.parametrize(
    ("differences", "order", "first"), [("forward", 1, 0), ("central", 2, 1), ("richardson", 4, 2)]
)
def test_differences_have_their_order(differences, order, first):
    errors, sizes = [], np.array([0.1, 0.05, 0.025])
    for h in sizes.tolist():
        t = 1.0 + h * np.arange(-4, 5)
        found = rate(np.sin(t)[:, None, None], differences, h)
        errors.append(abs(found[4 - first, 0, 0] - np.cos(1.0)))
    assert abs(np.polyfit(np.log(sizes), np.log(errors), 1)[0] - order) < 0.15


def decay(start, times, name="", forced=0.0):
    """u' = -u + forced * t on three points, and its mean."""
    decayed = np.exp(-times)[:, None]
    u = (decayed * start + forced * (times[:, None] - 1 + decayed))[..., None]
    known = {"u": Field(u[:1], "m")}
    case = Case(MESH, {"push": Scalar(forced * times, "m/s")}, known, times=times, name=name)
    return Sample(case, {"u": Field(u, "m")}, {"mean": Scalar(u.mean(axis=(1, 2)), "m")})


def runs(forced=0.0, count=12):
    rng = np.random.default_rng(0)
    times = SIZE * np.arange(9)
    return [decay(rng.normal(size=3), times, f"run{k}", forced * k) for k in range(count)]


@pytest.mark.parametrize(
    ("scheme", "error"), [("euler", 2e-2), ("ab2", 2e-3), ("heun", 5e-4), ("rk4", 1e-5)]
)
def test_a_step_that_knows_the_rate_gives_the_path(scheme, error):
    model = Rollout(Polynomial(1), Tendency(scheme)).fit(runs())
    truth = decay(np.array([1.0, -0.5, 0.3]), SIZE * np.arange(17))
    [found] = model.predict([truth.case])
    gap = np.abs(found.mean["u"].values - truth.fields["u"].values).max()
    assert gap < error
    assert scheme == "rk4" or gap > 1e-5
    assert found.mean["u"].unit == "m"
    assert found.scalars["mean"].mean[-1] == pytest.approx(
        float(truth.scalars["mean"].value[-1]), abs=error
    )
    assert model.step.signature.fields["u" + RATE].unit == "(m)/s"


def test_substeps_lower_the_error_of_a_scheme():
    truth = decay(np.array([1.0, -0.5, 0.3]), SIZE * np.arange(17))
    gaps = []
    for substeps in (1, 4):
        model = Rollout(Polynomial(1), Tendency("euler", substeps=substeps)).fit(runs())
        [found] = model.predict([truth.case])
        gaps.append(np.abs(found.mean["u"].values - truth.fields["u"].values).max())
    assert gaps[1] < 0.3 * gaps[0]


def test_what_pushes_is_taken_when_it_does():
    model = Rollout(Polynomial(1), Tendency()).fit(runs(forced=1.0))
    truth = decay(np.array([1.0, -0.5, 0.3]), SIZE * np.arange(9), forced=5.0)
    [found] = model.predict([truth.case])
    np.testing.assert_allclose(found.mean["u"].values, truth.fields["u"].values, atol=1e-5)


def test_it_is_saved_whole(tmp_path):
    model = Rollout(Polynomial(1), Tendency("heun", "central", 2)).fit(runs())
    again = load(model.save(tmp_path / "decay.fieldcast"))
    assert again.recipe == model.recipe
    case = runs()[3].case
    [one], [other] = model.predict([case]), again.predict([case])
    np.testing.assert_array_equal(one.mean["u"].values, other.mean["u"].values)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="a scheme of"):
        Tendency(substeps=0)
    with pytest.raises(ValueError, match="leave out held"):
        Rollout(GraphTransformer(held=("rim",)), Tendency())
    short = [decay(np.ones(3), SIZE * np.arange(3), f"run{k}") for k in range(3)]
    with pytest.raises(ValueError, match="at least 5 times for richardson"):
        Rollout(Polynomial(1), Tendency()).fit(short)
