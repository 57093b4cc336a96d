"""What a surrogate misses, as an autoregressive process: for stochastic closures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Cases, Predictions, Sample, Samples

from .polynomial import Polynomial
from .signature import Signature
from .surrogate import Card, Predictor, Progress, State, Surrogate, quiet

EVEN = 1e-3
"""By how much of a step times may lie beside whole steps."""


@dataclass(frozen=True)
class Residual:
    """Truth less answer of one field, in its unit: of each component the standard deviation `sigma`
    about its mean and the `correlation` of one time with the next, an `interval` later (empty and
    None where the cases had one time)."""

    sigma: tuple[float, ...]
    correlation: tuple[float, ...] = ()
    interval: float | None = None

    @classmethod
    def of(
        cls, gaps: Sequence[Float[np.ndarray, "time _point component"]], times: np.ndarray
    ) -> Residual:
        """From the series of several cases.

        Raises:
            ValueError: times that are not evenly spaced.
        """
        steps = np.diff(times)
        size = float(steps.mean()) if len(steps) else 0.0
        if len(steps) and np.abs(steps - size).max() > EVEN * size:
            raise ValueError(
                f"expected evenly spaced times to learn a correlation from, got gaps of "
                f"{steps.min():.4g} to {steps.max():.4g}; leave out times"
            )
        mean = np.concatenate([g.reshape(-1, g.shape[2]) for g in gaps]).mean(axis=0)
        centred = [g - mean for g in gaps]
        variance = _mean([g * g for g in centred])
        sigma = tuple(np.sqrt(variance).tolist())
        if not len(steps):
            return cls(sigma)
        product = _mean([g[1:] * g[:-1] for g in centred])
        correlation = product / np.maximum(variance, 1e-300)
        return cls(sigma, tuple(correlation.tolist()), size)


def _mean(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Over times and points of all cases, (component,)."""
    count = sum(p.shape[0] * p.shape[1] for p in parts)
    return np.sum([p.sum(axis=(0, 1)) for p in parts], axis=0) / count


@dataclass(frozen=True)
class Autoregressive(Surrogate):
    """The answers of `inner`, and of each field the spread and memory of what they miss, for a
    process of order 1 (Wilks 2005, doi:10.1256/qj.04.03): over the validation cases, where none are
    given over the training cases."""

    inner: Surrogate = field(default_factory=Polynomial)

    any_mesh: ClassVar[bool] = True
    transient: ClassVar[bool] = True
    tolerance: ClassVar[float] = 1e-5

    def __post_init__(self) -> None:
        for name in ("any_mesh", "grids", "transient", "tolerance"):
            object.__setattr__(self, name, getattr(self.inner, name))

    def fit(
        self,
        samples: Sequence[Sample],
        *,
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
    ) -> AutoregressivePredictor:
        inner = self.inner.fit(samples, validation=validation, seed=seed, progress=progress)
        chosen = Samples.pack(validation or samples)
        answers = inner.predict(chosen.cases)
        both = list(zip(chosen, answers, strict=True))
        residuals = {
            name: Residual.of(
                [s.fields[name].values - p.mean[name].values for s, p in both], chosen.cases.times
            )
            for name in inner.signature.fields
        }
        return AutoregressivePredictor(self, inner.signature, inner.card, inner, residuals)

    def restore(self, signature: Signature, card: Card, state: State) -> AutoregressivePredictor:
        inner = self.inner.restore(signature, card, state.part("inner"))
        known = state.part("residuals").values
        residuals = {
            k: Residual(tuple(v["sigma"]), tuple(v["correlation"]), v["interval"])
            for k, v in known.items()
        }
        return AutoregressivePredictor(self, signature, card, inner, residuals)

    def estimate(self, samples: Sequence[Sample]) -> tuple[float, int] | None:
        return self.inner.estimate(samples)

    @classmethod
    def tiny(cls) -> Autoregressive:
        return cls(Polynomial.tiny())


@dataclass(frozen=True, eq=False)
class AutoregressivePredictor(Predictor):
    """`inner` answers; `residuals` say by field what it misses."""

    inner: Predictor
    residuals: Mapping[str, Residual]

    def answer(self, cases: Cases, device: str | None) -> Predictions:
        return self.inner.answer(cases, device)

    def state(self) -> State:
        told = {name: asdict(found) for name, found in self.residuals.items()}
        return State.nested({"inner": self.inner.state(), "residuals": State({}, told)})
