"""What a predictor answers: mean, standard deviation, intervals and how far to trust it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from .mesh import Frozen, frozen
from .sample import Case, Field, Scalar

Status = Literal["ok", "warn", "reject"]


@dataclass(frozen=True)
class Trust:
    """Whether an answer lies where the training data can support it. `score` 0 is the middle of
    the training set, 1 its edge; above 1 is outside. `reason` says in words why it is not ok."""

    status: Status = "ok"
    score: float = 0.0
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Estimate:
    """A predicted scalar: `mean` and `std` of shape (time,); `std` None means not known."""

    mean: Float[np.ndarray, " time"]
    std: Float[np.ndarray, " time"] | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", frozen(np.atleast_1d(np.asarray(self.mean, dtype=float))))
        if self.std is not None:
            object.__setattr__(
                self, "std", frozen(np.atleast_1d(np.asarray(self.std, dtype=float)))
            )

    def __float__(self) -> float:
        return float(self.mean.item())

    def __str__(self) -> str:
        spread = "" if self.std is None else f" ± {self.std.item():.2g}"
        return (
            f"{self.mean.item():.6g}{spread} {self.unit}".rstrip()
            if self.mean.size == 1
            else repr(self)
        )


@dataclass(frozen=True, eq=False)
class Values:
    """Fields and scalars that belong together: one end of an interval, one part of the variance."""

    fields: Mapping[str, Field] = field(default_factory=dict)
    scalars: Mapping[str, Scalar] = field(default_factory=dict)


class Band(ABC):
    """How wide an interval is: turns a prediction and a level into its two ends."""

    @abstractmethod
    def interval(self, prediction: Prediction, level: float) -> tuple[Values, Values]:
        """The ends between which the truth lies with probability `level`, for whatever has a known
        spread.

        Raises:
            ValueError: a level that what the band was made from cannot support.
        """

    def at(self, i: int) -> Band:
        """That of case `i`, where it is one of many cases."""
        return self

    def joined(self, bands: Sequence[Band]) -> Band:
        """That of the cases of all `bands`, this one the first of them."""
        return self


@dataclass(frozen=True)
class Normal(Band):
    """mean ± z std with z the normal quantile; `logarithmic` names what is normal in its logarithm
    (times exp(± z s), s = sqrt(log(1 + (std/mean)^2)), about the median)."""

    logarithmic: frozenset[str] = frozenset()

    def interval(self, prediction: Prediction, level: float) -> tuple[Values, Values]:
        check_level(level)
        from scipy.special import ndtri

        z = float(ndtri(0.5 + level / 2.0))
        return self._end(prediction, -z), self._end(prediction, z)

    def _end(self, p: Prediction, z: float) -> Values:
        fields = {
            name: p.mean[name].with_values(self.moved(name, p.mean[name].values, std.values, z))
            for name, std in (p.std or {}).items()
        }
        scalars = {
            name: Scalar(self.moved(name, e.mean, e.std, z), e.unit)
            for name, e in p.scalars.items()
            if e.std is not None
        }
        return Values(fields, scalars)

    def moved(self, name: str, mean: np.ndarray, std: np.ndarray, z: np.ndarray | float) -> Any:
        """The value that lies `z` standard deviations above."""
        if name not in self.logarithmic:
            return mean + z * std
        s = np.sqrt(np.log1p((std / mean) ** 2))
        return mean * np.exp(-0.5 * s**2 + np.sign(mean) * z * s)

    def place(self, name: str, mean: np.ndarray, std: np.ndarray, value: np.ndarray) -> Any:
        """The z whose `moved` is `value`."""
        if name not in self.logarithmic:
            return (value - mean) / std
        s = np.sqrt(np.log1p((std / mean) ** 2))
        # A value of the other sign lies infinitely far.
        ratio = np.log(np.maximum(value / mean, 1e-300))
        return np.sign(mean) * (ratio / s + 0.5 * s)


def check_level(level: float) -> None:
    """
    Raises:
        ValueError: a level that is not between 0 and 1.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"expected a level between 0 and 1, such as 0.95, got {level}")


@dataclass(frozen=True, eq=False)
class Prediction:
    """An answer with its uncertainty, on the case's own points and cells.

    `std` maps the fields whose spread is known to it; None: known for none. `parts`, where known,
    splits the standard deviation into "epistemic" (more simulations would lower it) and
    "aleatoric" (they would not).
    """

    case: Case
    mean: Mapping[str, Field]
    std: Mapping[str, Field] | None = None
    scalars: Mapping[str, Estimate] = field(default_factory=dict)
    parts: Mapping[str, Values] | None = None
    trust: Trust = field(default_factory=Trust)
    band: Band = field(default_factory=Normal)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", Frozen(dict(self.mean)))
        object.__setattr__(self, "scalars", Frozen(dict(self.scalars)))
        for name in ("std", "parts"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, Frozen(dict(getattr(self, name))))

    def interval(self, level: float) -> tuple[Values, Values]:
        """(lower, upper), each with `.fields` and `.scalars`, that hold the truth with probability
        `level`."""
        return self.band.interval(self, level)
