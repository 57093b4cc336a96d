"""Cross-validation: no leak, no group split, the samples' order."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manufactured import linear, shapes

from fieldcast.conformance.families import family
from fieldcast.meshes import Samples
from fieldcast.surrogates import MMGP, MeanField, NearestCase, PodRidge, Training
from fieldcast.surrogates.cross_validation import case_errors, cross_validate, groups_by, split
from fieldcast.surrogates.scores import score
from fieldcast.surrogates.surrogate import Trials

TINY = MMGP(modes=3, shape_modes=3, training=Training(starts=1, iterations=20))


@given(st.lists(st.integers(0, 6), min_size=2, max_size=40), st.integers(0, 5), st.data())
@settings(deadline=None, max_examples=60)
def test_parts_hold_every_sample_once_and_groups_whole(labels, seed, data):
    distinct = len(set(labels))
    if distinct < 2:
        return
    folds = data.draw(st.integers(2, distinct))
    parts = split(len(labels), folds, labels, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    held = [{labels[i] for i in part} for part in parts]
    assert all(held)
    assert sum(len(h) for h in held) == distinct
    # Greedy: no part is ahead of another by more than the largest group.
    sizes = [len(p) for p in parts]
    assert max(sizes) - min(sizes) <= max(labels.count(k) for k in set(labels))


def test_without_groups_parts_are_even_and_the_seed_decides():
    parts = split(23, 5)
    assert sorted(len(p) for p in parts) == [4, 4, 5, 5, 5]
    assert all(np.array_equal(a, b) for a, b in zip(parts, split(23, 5), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(parts, split(23, 5, None, 1), strict=True))


@pytest.mark.parametrize(
    ("n", "folds", "groups", "said"),
    [
        (3, 5, None, "2 to 3 folds, got 5; there are 3 samples"),
        (6, 3, [1, 1, 2, 2, 2, 2], "2 to 2 folds, got 3; there are 2 groups.*finer"),
        (6, 2, ["a"] * 6, "1 groups"),
        (6, 1, None, "got 1"),
        (6, 2, [1, 2], "one group per sample"),
        (1, 2, None, "there are 1 samples"),
        (0, 2, None, "there are 0 samples"),
    ],
)
def test_what_cannot_be_split_is_said(n, folds, groups, said):
    with pytest.raises(ValueError, match=said):
        split(n, folds, groups)


def test_groups_by_a_parameter_and_by_meshes():
    samples = shapes(6, 0)
    doubled = [*samples, *samples[:2]]
    by_mesh = groups_by(doubled, "mesh")
    assert len(set(by_mesh)) == 6
    assert by_mesh[6:] == by_mesh[:2]
    by_load = groups_by(doubled, "load")
    assert by_load[6:] == by_load[:2]
    assert len(set(groups_by(linear(5), "mesh"))) == 1


def test_groups_that_cannot_be_made():
    sample = linear(1)[0]
    with pytest.raises(ValueError, match=r"l00.*\['p', 'q'\].*'speed'"):
        groups_by([sample], "speed")
    case = sample.case.with_parameters(p=float("nan"))
    with pytest.raises(ValueError, match=r"l00.*'p'.*NaN"):
        groups_by([dataclasses.replace(sample, case=case)], "p")


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


def test_nothing_answers_for_what_it_was_fitted_to():
    samples = linear(9)
    groups = ["a", "a", "b", "b", "c", "c", "d", "d", "d"]
    trials = Watched(MeanField().trials(samples), [])
    found = cross_validate(trials, folds=3, groups=groups)
    for fold, rows in zip(found.folds, trials.asked, strict=True):
        assert sorted([*fold.rows, *rows]) == list(range(9))
        assert not {groups[i] for i in fold.rows} & {groups[i] for i in rows}
    assert [p.case for p in found.predictions] == [s.case for s in samples]


def test_leave_one_out_of_the_mean_is_known():
    """Without sample i the mean is (n m - s_i) / (n - 1)."""
    samples = linear(6)
    found = cross_validate(MeanField().trials(samples), folds=6)
    truth = np.array([float(s.scalars["s"]) for s in samples])
    expected = (truth.sum() - truth) / 5
    np.testing.assert_allclose([float(p.scalars["s"]) for p in found.predictions], expected)
    assert found.scores["s"] == score(samples, found.predictions)["s"]
    assert found.spread("s") > 0


def test_groups_cannot_be_looked_up():
    """Three copies of each sample: the nearest case knows the answer, unless copies are held out
    together."""
    base = linear(6)
    copies = [
        dataclasses.replace(s, case=s.case.with_parameters(p=float(s.case.parameters["p"]) + e))
        for s in base
        for e in (0.0, 1e-6, 2e-6)
    ]
    trials = NearestCase().trials(copies)
    loose = cross_validate(trials, folds=3, seed=1)
    tight = cross_validate(trials, folds=3, groups=[i // 3 for i in range(18)], seed=1)
    assert loose.scores["s"].rrmse < 0.2 * tight.scores["s"].rrmse


def test_baselines_are_scored_out_of_fold_too():
    samples = family("one_numbering").samples
    found = cross_validate(TINY.trials(samples), folds=3, seed=2)
    assert set(found.baselines) == {"mean field", "nearest case", "POD + ridge"}
    # The surrogate's own baselines live in its modes; the mean needs none.
    alone = cross_validate(MeanField().trials(samples), folds=3, seed=2)
    assert alone.baselines == {}
    own = found.baselines["mean field"]["temperature"].rrmse
    assert own == pytest.approx(alone.scores["temperature"].rrmse, rel=1e-6)
    assert set(found.to_json()) == {"scores", "baselines", "folds"}


def test_case_errors_are_what_the_rrmse_is_made_of():
    samples = family("transient").samples
    predictor = PodRidge().fit(samples[:5])
    predictions = list(predictor.predict([s.case for s in samples]))
    errors, scores = case_errors(samples, predictions), score(samples, predictions)
    assert set(errors) == set(scores)
    for name, per_case in errors.items():
        assert np.sqrt(np.mean(per_case**2)) == pytest.approx(scores[name].rrmse, rel=1e-12)


def test_samples_with_nan_are_refused():
    samples = list(linear(6))
    bad = samples[2].fields["u"]
    samples[2] = dataclasses.replace(samples[2], fields={"u": bad.with_values(np.nan * bad.values)})
    with pytest.raises(ValueError, match="l02"):
        MeanField().trials(Samples.pack(samples))
