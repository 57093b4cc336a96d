"""Answers of networks in half precision, and what that costs."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from fieldcast.meshes import Case, Sample
from fieldcast.pipelines.answering import answering
from fieldcast.surrogates import (
    FusionDeepONet,
    GraphTransformer,
    MeshGraphNet,
    PodNetwork,
    Surrogate,
)

RECIPES = (FusionDeepONet, GraphTransformer, MeshGraphNet, PodNetwork)


@pytest.mark.parametrize("recipe", [r.tiny() for r in RECIPES], ids=lambda r: type(r).__name__)
def test_half_precision_is_near_and_told(
    recipe: Surrogate, plates: list[Sample], caplog: pytest.LogCaptureFixture
):
    samples = [Sample(s.case, {"U2": s.fields["U2"]}, s.scalars) for s in plates[:4]]
    model = recipe.fit(samples)
    cases: list[Case] = [s.case for s in samples]
    full = model.predict(cases)
    with caplog.at_level(logging.WARNING):
        found = answering(model, "cpu", 0.95, 10**6, "bf16").answers(cases)
    assert "differ from those in full precision" in caplog.text
    for one, other in zip(found, full, strict=True):
        value, wanted = one.mean["U2"].values, other.mean["U2"].values
        assert np.isfinite(value).all()
        assert np.abs(value - wanted).max() < 0.1 * np.ptp(wanted)


def test_an_unknown_precision_is_refused(plates: list[Sample]):
    model = PodNetwork.tiny().fit(plates[:4])
    with pytest.raises(ValueError, match="bf16 or fp16"):
        answering(model, "cpu", 0.95, 10**6, "int4")
