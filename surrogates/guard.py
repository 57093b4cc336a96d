"""Whether a case lies where the training set can support an answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Trust

from .features import Features

REJECT = 1.5
"""Score (1 = the edge of the training set) above which an answer is rejected rather than warned
of."""
CLAMPED = 0.01
"""Share of points outside the common shape that is tolerated beyond the worst training case."""


@dataclass(frozen=True, eq=False)
class Box:
    """The box of the training inputs, and the share of clamped interpolation.

    score = 2 |x - middle| / (high - low), at most over all inputs: 1 at the edge of the box, 2
    half a range outside.
    """

    names: tuple[str, ...]
    low: Float[np.ndarray, " column"]
    high: Float[np.ndarray, " column"]
    clamped: float

    @classmethod
    def fit(cls, features: Features, clamped: Float[np.ndarray, " case"]) -> Box:
        """From the training set."""
        return cls(features.names, features.low, features.high, float(clamped.max(initial=0.0)))

    def judge(self, raw: Float[np.ndarray, "case column"], clamped: np.ndarray) -> list[Trust]:
        """A verdict per case, with a reason where it is not ok."""
        spread = self.high - self.low
        score = 2.0 * np.abs(raw - 0.5 * (self.low + self.high)) / spread
        worst = score.argmax(axis=1)
        verdicts = []
        for row, k, share in zip(range(len(raw)), worst, clamped, strict=True):
            verdicts.append(self._verdict(raw[row], int(k), float(score[row, k]), float(share)))
        return verdicts

    def _verdict(self, raw: np.ndarray, k: int, score: float, share: float) -> Trust:
        reasons = []
        if score > 1.0 + 1e-9:
            side = "above" if raw[k] > self.high[k] else "below"
            reasons.append(
                f"{self.names[k]} is {(score - 1) / 2:.2g} ranges {side} the training set"
            )
        excess = share - self.clamped - CLAMPED
        if excess > 0:
            reasons.append(f"{share:.0%} of the points lie outside the common shape")
            score = max(score, 1.0 + excess / CLAMPED / 4)
        if score > REJECT:
            return Trust("reject", score, "; ".join(reasons))
        return Trust("warn" if reasons else "ok", score, "; ".join(reasons))
