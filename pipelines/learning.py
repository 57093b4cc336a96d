"""Fit, hold out, score beside the trivial baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fieldcast.meshes import Predictions, Sample, Samples
from fieldcast.surrogates.scores import Score, score
from fieldcast.surrogates.surrogate import Predictor, Progress, Surrogate, quiet

MODEL = "model"
LEAST_HELD_OUT = 4


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores by predictor ("model" first, then the baselines) and output, on `cases`
    simulations."""

    scores: Mapping[str, Mapping[str, Score]]
    cases: int
    predictions: Predictions | None = None

    def lost(self) -> dict[str, str]:
        """Outputs for which a baseline has the lower error, and that baseline."""
        model = self.scores[MODEL]
        found = {}
        for name, own in model.items():
            others = {k: s[name].rrmse for k, s in self.scores.items() if k != MODEL}
            best = min(others, key=lambda k: others[k], default=None)
            if best is not None and others[best] < own.rrmse:
                found[name] = best
        return found

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        scores = {k: {n: asdict(v) for n, v in s.items()} for k, s in self.scores.items()}
        return {"cases": self.cases, "scores": scores, "lost_to": self.lost()}


def evaluate(
    predictor: Predictor, samples: Sequence[Sample], progress: Progress = quiet
) -> Evaluation:
    """Predict samples whose truth is known and score the answers beside the baselines'.

    Raises:
        ValueError: no samples, or samples without the predicted outputs.
    """
    wanted = (set(predictor.signature.fields), set(predictor.signature.scalars))
    for sample in samples:
        missing = (wanted[0] - set(sample.fields)) | (wanted[1] - set(sample.scalars))
        if missing:
            raise ValueError(
                f"case {sample.case.label}: expected the outputs {sorted(missing)} to compare "
                "with, "
                "they are not there; evaluate needs solved cases"
            )
    cases = [s.case for s in samples]
    models = {MODEL: predictor, **predictor.baselines()}
    scores, own = {}, None
    for k, (name, model) in enumerate(models.items()):
        predictions = model.predict(cases)
        own = own or predictions
        scores[name] = score(samples, predictions)
        progress("evaluate", k + 1, len(models))
    return Evaluation(scores, len(cases), own)


def held_out(n: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Case numbers to train on and to hold out, at random; none are held out where that would
    leave fewer than four."""
    count = round(n * share)
    if count < LEAST_HELD_OUT or n - count < LEAST_HELD_OUT:
        return list(range(n)), []
    order = np.random.default_rng(seed).permutation(n)
    return sorted(order[count:].tolist()), sorted(order[:count].tolist())


def learn(
    samples: Sequence[Sample],
    surrogate: Surrogate,
    *,
    hold_out: float = 0.2,
    seed: int = 0,
    progress: Progress = quiet,
) -> tuple[Predictor, Evaluation | None]:
    """A predictor fitted to all samples, and the scores of one fitted without those held out (None
    if there are too few to hold any out)."""
    train, test = held_out(len(samples), hold_out, seed)
    evaluation = None
    if test:
        trial = surrogate.fit(
            Samples.pack([samples[i] for i in train]), seed=seed, progress=progress
        )
        evaluation = evaluate(trial, [samples[i] for i in test], progress)
    predictor = surrogate.fit(Samples.pack(samples), seed=seed, progress=progress)
    return predictor.with_scores(evaluation.to_json() if evaluation else {}), evaluation
