"""Random functions beside what any surrogate learns: exact where it is, apart where it is not."""

from dataclasses import replace

import numpy as np
import pytest

from fieldcast.conformance.families import family
from fieldcast.meshes import Case
from fieldcast.surrogates import (
    MMGP,
    Conformal,
    MultiFidelity,
    NearestCase,
    PodNetwork,
    Priored,
    RandomizedPrior,
    Training,
    load,
)

SAMPLES = family("one_mesh").samples


def answers(model, samples=SAMPLES):
    return model.predict([s.case for s in samples])


def test_what_is_learnt_exactly_stays_so_whatever_the_prior():
    for beta in (0.0, 3.0):
        for s, p in zip(SAMPLES, answers(Priored(NearestCase(), beta).fit(SAMPLES)), strict=True):
            for name, f in s.fields.items():
                size = np.abs(f.values).max()
                np.testing.assert_allclose(p.mean[name].values, f.values, atol=1e-5 * size)
            for name, scalar in s.scalars.items():
                assert p.scalars[name].mean == pytest.approx(scalar.value, rel=1e-4, abs=1e-6)


def moved(case, by):
    """The same with parameters `by` times as far from 0."""
    parameters = {k: replace(s, value=by * s.value) for k, s in case.parameters.items()}
    return Case(case.mesh, parameters, case.fields)


def spread(model, case):
    [p] = model.predict([case])
    return float(np.mean([f.values.mean() for f in p.std.values()]))


def test_members_disagree_more_far_away_and_by_as_much_as_their_priors():
    case = SAMPLES[3].case
    far = moved(case, 6.0)
    inner = MMGP(modes=3, training=Training(starts=1, iterations=40))
    found = {b: RandomizedPrior(inner, 4, b, 1.0).fit(SAMPLES) for b in (0.1, 2.0)}
    assert spread(found[2.0], far) > 3 * spread(found[2.0], case)
    assert spread(found[2.0], far) > spread(found[0.1], far)


def test_an_ensemble_of_any_members_is_saved_calibrated_and_told(tmp_path):
    recipe = RandomizedPrior(PodNetwork.tiny(), 2)
    model = recipe.fit(SAMPLES, seed=3)
    assert model.recipe == recipe
    assert model.card.fit["members"] == 2
    again = load(model.save(tmp_path / "model.fieldcast"))
    assert again.recipe == recipe
    for one, other in zip(answers(model), answers(again), strict=True):
        for name in one.mean:
            np.testing.assert_array_equal(one.mean[name].values, other.mean[name].values)
            np.testing.assert_array_equal(one.std[name].values, other.std[name].values)
    assert recipe.estimate(SAMPLES)[0] > 0
    both = MultiFidelity(NearestCase(), recipe, "residual").fit(SAMPLES)
    assert answers(both)[0].std is not None
    assert Conformal(Priored.tiny()).fit(SAMPLES).largest_level > 0


def test_members_that_are_no_column_networks_are_not_batched():
    with pytest.raises(TypeError, match="expected a ColumnNetwork"):
        _ = RandomizedPrior(PodNetwork.tiny()).descent
