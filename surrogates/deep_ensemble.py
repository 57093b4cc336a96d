"""Several fits of any surrogate from seeds of their own: how far they disagree is what more
simulations would tell (Lakshminarayanan, Pritzel, Blundell 2017, arXiv:1612.01474)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from fieldcast.meshes import Case, Cases, Predictions, Sample
from fieldcast.meshes.packed import PackedEstimate, Samples

from .deeponet import DeepONet, FusionDeepONet
from .signature import Signature, describe
from .surrogate import Card, Predictor, Progress, State, Surrogate, quiet
from .training import Descent
from .wrapper import Wrapped, Wrapper


@dataclass(frozen=True)
class DeepEnsemble(Wrapper):
    """`size` times `inner`, each fitted to all simulations, or to a `share` of them drawn without
    replacement, whose mean answers.

    The standard deviation is the spread between the members and, where they tell one, their own.
    The spread alone is too narrow: `Conformal` calibrates it. `Ensemble` trains POD networks as
    one, from bootstrap samples.
    """

    any_mesh: ClassVar[bool] = True
    transient: ClassVar[bool] = False
    tolerance: ClassVar[float] = 1e-5

    inner: Surrogate = field(default_factory=FusionDeepONet)
    size: int = 5
    share: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < 2 or not 0 < self.share <= 1:
            raise ValueError(
                f"expected at least 2 members and a share in (0, 1], got {self.size} and "
                f"{self.share}"
            )

    def fit(
        self,
        samples: Sequence[Sample],
        *,
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
    ) -> DeepEnsemblePredictor:
        samples = Samples.pack(samples)
        seeds = np.random.SeedSequence(seed).generate_state(self.size).tolist()
        members = []
        for own in seeds:
            some = self._some(samples, own)
            members.append(self.inner.fit(some, validation=validation, seed=own, progress=progress))
            progress("ensemble", len(members), self.size)
        first = members[0]
        fit = {**first.card.fit, "members": self.size}
        card = replace(first.card, training=describe(samples), fit=fit, seed=seed)
        return DeepEnsemblePredictor(self, first.signature, card, first, tuple(members[1:]))

    def _some(self, samples: Samples, seed: int) -> Samples:
        """What a member learns from."""
        if self.share == 1.0:
            return samples
        count = max(round(self.share * len(samples)), 1)
        return samples.taken(np.sort(np.random.default_rng(seed).permutation(len(samples))[:count]))

    def restore(self, signature: Signature, card: Card, state: State) -> DeepEnsemblePredictor:
        found = [self.inner.restore(signature, card, p) for p in state.parts().values()]
        return DeepEnsemblePredictor(self, signature, card, found[0], tuple(found[1:]))

    def estimate(self, samples: Sequence[Sample]) -> tuple[float, int] | None:
        one = self.inner.estimate(samples)
        return None if one is None else (self.size * one[0], one[1])

    @classmethod
    def tiny(cls) -> DeepEnsemble:
        few = Descent(steps=60, batch=16, rate=1e-2, optimiser="soap")
        return cls(replace(DeepONet.tiny(), descent=few), 3)


@dataclass(frozen=True, eq=False)
class DeepEnsemblePredictor(Wrapped):
    """`whole` and `others` answer together."""

    others: tuple[Predictor, ...]

    def answer(self, cases: Cases, device: str | None) -> Predictions:
        return averaged(self.whole.beside(self.others, cases, device))

    def member_answers(
        self, cases: Sequence[Case], device: str | None = None
    ) -> Sequence[Predictions]:
        every = [m.predict(cases, device=device) for m in (self.whole, *self.others)]
        # The spread is theirs alone where they tell none of their own.
        return every if all(m.std is None for m in every) else ()

    def ways(self, cases: Cases, device: str | None = None) -> Iterator[Predictions]:
        every = self.member_answers(cases, device)
        if not every:
            return
        centre, share = averaged(every), math.sqrt(len(every) - 1)
        for member in every:
            mean = {
                k: replace(f, values=f.values + (member.mean[k].values - f.values) / share)
                for k, f in centre.mean.items()
            }
            yield replace(centre, mean=mean)

    def state(self) -> State:
        members = (self.whole, *self.others)
        return State.nested({f"member{k:04d}": m.state() for k, m in enumerate(members)})


def averaged(members: Sequence[Predictions]) -> Predictions:
    """The mean of several answers to the same cases, and how they spread."""
    first, told = members[0], [m.std for m in members if m.std is not None]
    mean, std = {}, {}
    for name, f in first.mean.items():
        values, spread = _moments(
            [m.mean[name].values for m in members], [s[name].values for s in told]
        )
        mean[name], std[name] = replace(f, values=values), replace(f, values=spread)
    scalars = {}
    for name, e in first.scalars.items():
        every = [m.scalars[name] for m in members]
        own = [e.std for e in every if e.std is not None]
        scalars[name] = PackedEstimate(*_moments([e.mean for e in every], own), e.unit)
    return Predictions(first.cases, mean, std, scalars, None, first.trust)


def _moments(
    means: Sequence[np.ndarray], own: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of members that tell some of their own, or none."""
    every = np.stack(means)
    noise = np.mean(np.square(own), axis=0) if len(own) else 0.0
    return every.mean(axis=0), np.sqrt(every.var(axis=0, ddof=1) + noise)
