"""A trained predictor boiled down to V(t; p) = b(p) phi(t), for samplers that ask ever so often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fieldcast.meshes import Case, Sample, Scalar

from .chebyshev import Chebyshev, ChebyshevPredictor
from .features import PARAMETERS, SPREAD
from .surrogate import Predictor


@dataclass(frozen=True, eq=False)
class SeparableHead:
    """One scalar of a case in time: `b`, products of Chebyshev polynomials of the parameters
    `names` or their logarithms, times `phi`. Tensors in, tensors out, with gradients."""

    names: tuple[str, ...]
    logarithmic: tuple[bool, ...]
    low: Float[Tensor, " input"]
    high: Float[Tensor, " input"]
    powers: Int[Tensor, "term input"]
    phi: Float[Tensor, "term time"]

    @classmethod
    def of(cls, predictor: ChebyshevPredictor, output: str) -> SeparableHead:
        """The head of a fitted expansion.

        Raises:
            ValueError: an expansion in something else than parameters, or no such scalar.
        """
        features = predictor.features
        if output not in predictor.signature.scalars or set(features.sources) != {PARAMETERS}:
            raise ValueError(
                f"expected a scalar of {sorted(predictor.signature.scalars)} as a function of "
                f"parameters alone, got {output!r} of {sorted(set(features.sources))}"
            )
        return cls(
            tuple(features.names),
            tuple(bool(features.transforms[name].sign) for name in features.names),
            torch.as_tensor(features.low.copy()),
            torch.as_tensor(features.high.copy()),
            torch.as_tensor(predictor.powers.copy()),
            torch.as_tensor(predictor.weights[:, predictor.reading.span(output)].copy()),
        )

    def __call__(self, p: Float[Tensor, "row input"]) -> Float[Tensor, "row time"]:
        """The series for each row of parameters."""
        return self.b(p) @ self.phi

    def b(self, p: Float[Tensor, "row input"]) -> Float[Tensor, "row term"]:
        """By T_{n+1} = 2 z T_n - T_{n-1}."""
        raw = torch.where(torch.tensor(self.logarithmic), p.log(), p)
        z = 2.0 * (raw - self.low) / (self.high - self.low) - 1.0
        found = torch.ones((), dtype=p.dtype)
        for k in range(z.shape[1]):
            x = z[:, k]
            one = [torch.ones_like(x), x]
            for _ in range(2, int(self.powers[:, k].max()) + 1):
                one.append(2.0 * x * one[-1] - one[-2])
            found = found * torch.stack(one, dim=1)[:, self.powers[:, k]]
        return found


def grid(
    case: Case, ranges: Mapping[str, tuple[float, float]], degrees: Mapping[str, int]
) -> list[Case]:
    """The case at all products of cos(pi k / degree) within the ranges of its parameters, in the
    logarithm of those that span much: where `Chebyshev(degrees)` interpolates.

    Raises:
        ValueError: ranges that are not rising, or names that the two don't share.
    """
    if set(ranges) != set(degrees) or any(low >= high for low, high in ranges.values()):
        raise ValueError(
            f"expected rising ranges and a degree for each, got {dict(ranges)}, {dict(degrees)}"
        )
    sides = {}
    for name, (low, high) in ranges.items():
        z = 0.5 - 0.5 * np.cos(np.pi * np.arange(degrees[name] + 1) / max(degrees[name], 1))
        log = low > 0.0 and high > SPREAD * low
        sides[name] = low * (high / low) ** z if log else low + (high - low) * z
    found = []
    for row in product(*sides.values()):
        values = {
            k: Scalar(np.array([v]), case.parameters[k].unit if k in case.parameters else "")
            for k, v in zip(sides, row, strict=True)
        }
        found.append(replace(case, parameters={**case.parameters, **values}))
    return found


def compiled(
    predictor: Predictor,
    case: Case,
    ranges: Mapping[str, tuple[float, float]],
    degrees: Mapping[str, int],
) -> ChebyshevPredictor:
    """An expansion of what a predictor says to a case, as its parameters go through `ranges`."""
    cases = grid(case, ranges, degrees)
    samples = [
        Sample(p.case, p.mean, {k: Scalar(e.mean, e.unit) for k, e in p.scalars.items()})
        for p in predictor.predict(cases)
    ]
    order = tuple(degrees[k] for k in samples[0].case.parameters if k in degrees)
    return Chebyshev(order).fit(samples)
