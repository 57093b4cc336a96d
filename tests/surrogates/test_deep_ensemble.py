"""Several fits of any surrogate, and how they disagree."""

import numpy as np
import pytest

from fieldcast.conformance.families import family
from fieldcast.surrogates import (
    Conformal,
    DeepEnsemble,
    DeepONet,
    Descent,
    Ensemble,
    FusionDeepONet,
    NearestCase,
    PodNetwork,
    load,
)

FEW = Descent(steps=60, batch=16, rate=1e-2, every=50, optimiser="soap")
SMALL = DeepONet(16, 2, 16, points=32, descent=FEW)


def test_the_mean_of_members_answers_and_their_spread_is_the_uncertainty(tmp_path):
    samples = family("any_topology").samples
    model = DeepEnsemble(SMALL, 3).fit(samples[:-2], seed=4)
    cases = [s.case for s in samples[-2:]]
    found = model.predict(cases)
    members = [m.predict(cases) for m in (model.whole, *model.others)]
    assert model.card.fit["members"] == 3
    for k, prediction in enumerate(found):
        for name, mean in prediction.mean.items():
            every = np.stack([m[k].mean[name].values for m in members])
            np.testing.assert_allclose(mean.values, every.mean(axis=0), rtol=1e-12)
            spread = prediction.std[name].values
            np.testing.assert_allclose(spread, every.std(axis=0, ddof=1), rtol=1e-9)
            assert spread.mean() > 0
        for name, told in prediction.scalars.items():
            every = np.stack([m[k].scalars[name].mean for m in members])
            np.testing.assert_allclose(told.std, every.std(axis=0, ddof=1), rtol=1e-9)
        assert prediction.parts is None
    again = load(model.save(tmp_path / "model.fieldcast")).predict(cases)
    for one, other in zip(found, again, strict=True):
        for name in one.mean:
            np.testing.assert_array_equal(one.mean[name].values, other.mean[name].values)


def test_what_members_tell_of_their_own_is_added():
    samples = family("one_mesh").samples
    case = samples[-1].case
    model = DeepEnsemble(Ensemble.tiny(), 2).fit(samples[:-1])
    [found] = model.predict([case])
    members = [m.predict([case])[0] for m in (model.whole, *model.others)]
    for name, std in found.std.items():
        spread = np.std([m.mean[name].values for m in members], axis=0, ddof=1)
        own = np.mean([m.std[name].values ** 2 for m in members], axis=0)
        np.testing.assert_allclose(std.values**2, spread**2 + own, rtol=1e-9)
    for name, told in found.scalars.items():
        assert (told.std >= np.min([m.scalars[name].std for m in members], axis=0)).all()


def test_what_it_is_made_of_is_told_to_its_wrappers():
    assert DeepEnsemble(FusionDeepONet()).any_mesh
    assert not DeepEnsemble(PodNetwork()).any_mesh
    with pytest.raises(ValueError, match=r"got 1 and 1\.0"):
        DeepEnsemble(NearestCase(), 1)
    samples = family("any_topology").samples
    model = Conformal(DeepEnsemble(SMALL, 2), folds=3).fit(samples)
    low, high = model.predict([samples[0].case])[0].interval(0.8)
    for name, upper in high.fields.items():
        assert (upper.values > low.fields[name].values).mean() > 0.99


def test_members_may_learn_from_shares_of_their_own():
    samples = family("one_mesh").samples
    model = DeepEnsemble(NearestCase(), 3, share=0.5).fit(samples)
    assert model.card.training["cases"] == len(samples)
    found = model.predict([s.case for s in samples])
    assert max(np.abs(p.std[k].values).max() for p in found for k in p.std) > 0
    members = model.member_answers([s.case for s in samples])
    assert len(members) == 3
    with pytest.raises(ValueError, match="a share in"):
        DeepEnsemble(NearestCase(), share=0.0)
