"""Ensembles: as a loop over networks would be, and honest about what they do not know."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch

from fieldcast.conformance.families import square
from fieldcast.meshes import Case, Sample
from fieldcast.surrogates import Conformal, Descent, Ensemble, PodNetwork, load
from fieldcast.surrogates.networks import Batched, Dense
from fieldcast.surrogates.pod_network import PRECISION, Members
from fieldcast.surrogates.training import train

MESH = square(3, 0)
MEMBER = PodNetwork(width=24, depth=2, descent=Descent(steps=500, rate=1e-2))


def modules(count, sizes=(3, 8, 2)):
    return [Dense(sizes, torch.Generator().manual_seed(k), torch.float64) for k in range(count)]


def test_batched_networks_answer_as_each_alone():
    parts = modules(4)
    for part in parts:
        torch.nn.init.normal_(part.weights[-1])
    x = torch.randn(4, 5, 3, dtype=torch.float64)
    found = Batched(parts)(x)
    for k, part in enumerate(parts):
        torch.testing.assert_close(found[k], part(x[k]))


def test_members_learn_as_each_would_alone():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 3, generator=generator), torch.randn(40, 2, generator=generator)
    x, y = x.double(), y.double()
    rows = torch.randint(40, (3, 40), generator=generator)
    weight = torch.ones(2, dtype=torch.float64)
    # Clipping sees all members at once; out of reach it changes nothing.
    descent = Descent(steps=40, batch=16, clip=1e9, device="cpu")
    together = Batched(modules(3))
    train(together, Members(x, y, weight, rows), descent)
    for k, part in enumerate(modules(3)):
        alone = Batched([part])
        train(alone, Members(x, y, weight, rows[[k]]), descent)
        for name in together.names.values():
            torch.testing.assert_close(
                together.of(name)[k], alone.of(name)[0], rtol=1e-4, atol=1e-6
            )


def noisy(n, spread, seed=0):
    """y = sin(2 p) + spread(p) * noise."""
    rng = np.random.default_rng(seed)
    p = np.linspace(-1, 1, n)
    y = np.sin(2 * p) + spread(p) * rng.normal(size=n)
    return [Sample(Case(MESH, {"p": a}), {}, {"y": b}) for a, b in zip(p, y, strict=True)]


def asked(*places):
    return [Case(MESH, {"p": float(p)}) for p in places]


@lru_cache(maxsize=2)
def fitted(heteroscedastic):
    samples = noisy(400, lambda p: 0.02 + 0.15 * (p > 0))
    return Ensemble(replace(MEMBER, heteroscedastic=heteroscedastic), size=6).fit(samples)


def parts(predictor, places):
    found = predictor.predict(asked(*places))
    return [
        np.array([p.parts[k].scalars["y"].value.item() for p in found])
        for k in ("epistemic", "aleatoric")
    ]


def test_noise_is_aleatoric_and_what_lies_outside_epistemic():
    inside, outside = parts(fitted(False), (-0.5, 0.5)), parts(fitted(False), (4.0,))
    assert (inside[0] < inside[1]).all()
    assert outside[0] > 3 * inside[0].max()
    # Root mean square of 0.02 and 0.17.
    np.testing.assert_allclose(inside[1], 0.121, rtol=0.25)


def test_heteroscedastic_members_tell_where_the_noise_is():
    quiet, loud = parts(fitted(True), (-0.6, 0.6))[1]
    assert quiet < 0.06
    assert loud == pytest.approx(0.17, rel=0.35)


def test_one_member_alone_does_not_know_its_spread():
    samples = noisy(40, lambda p: 0.1)
    alone = replace(MEMBER, heteroscedastic=True).fit(samples)
    assert alone.predict(asked(0.0))[0].scalars["y"].std is None
    with pytest.raises(ValueError, match="at least 2 members"):
        Ensemble(MEMBER, size=1)


def test_joint_is_the_covariance_of_its_answers():
    predictor = fitted(False)
    cases = asked(-0.5, 0.1, 3.0)
    joint = predictor.joint(cases, "y")
    std = [p.scalars["y"].std.item() for p in predictor.predict(cases)]
    np.testing.assert_allclose(np.sqrt(np.diag(joint.covariance) + joint.noise), std)
    assert np.linalg.eigvalsh(joint.covariance).min() > -1e-12


def test_calibrated_and_saved(tmp_path):
    member = replace(MEMBER, descent=Descent(steps=60, rate=1e-2))
    predictor = Conformal(Ensemble(member, size=3), folds=4).fit(noisy(30, lambda p: 0.1))
    again = load(predictor.save(tmp_path / "model.fieldcast"))
    for one, other in zip(predictor.predict(asked(0, 2)), again.predict(asked(0, 2)), strict=True):
        low, high = one.interval(0.9)
        assert low.scalars["y"].value < one.scalars["y"].mean < high.scalars["y"].value
        np.testing.assert_array_equal(
            low.scalars["y"].value, other.interval(0.9)[0].scalars["y"].value
        )


def test_training_is_in_single_precision_and_answers_in_double():
    assert PRECISION == torch.float32
    assert fitted(False).model.scalars["y"].linear.dtype == torch.float64
