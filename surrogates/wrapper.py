"""What surrogates around others have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fieldcast.meshes import Case, Sample

from .surrogate import Predictor, Surrogate


class Wrapper(Surrogate):
    """A recipe around `inner`, which fits the meshes and times that the inner one fits."""

    inner: Surrogate

    transient: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("any_mesh", "one_numbering", "grids", "transient", "tolerance"):
            object.__setattr__(self, name, getattr(self.inner, name))

    def estimate(self, samples: Sequence[Sample]) -> tuple[float, int] | None:
        return self.inner.estimate(samples)


@dataclass(frozen=True, eq=False)
class Wrapped(Predictor):
    """`whole` answers first."""

    whole: Predictor

    def baselines(self) -> Mapping[str, Predictor]:
        return self.whole.baselines()

    def inputs(self, cases: Sequence[Case]) -> np.ndarray | None:
        return self.whole.inputs(cases)

    @property
    def largest_level(self) -> float:
        return self.whole.largest_level


def layers(predictor: Predictor) -> Iterator[Predictor]:
    """A predictor, the one inside, and so on."""
    yield predictor
    while isinstance(predictor, Wrapped):
        predictor = predictor.whole
        yield predictor
