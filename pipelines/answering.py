"""Cases answered together, so that one that cannot be answered does not take the others with it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fieldcast.meshes import Case, Prediction
from fieldcast.meshes.roles import Settings
from fieldcast.surrogates.signature import Signature
from fieldcast.surrogates.surrogate import Predictor

log = logging.getLogger(__name__)
PRECISIONS = {"bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True)
class Refusal:
    """Why a case has no answer: a status of the manifest, and the reason in words."""

    status: str
    message: str


@dataclass(frozen=True)
class Answering:
    """A predictor, the `device` it works on, the `level` of intervals, how many `nodes` it is
    asked at a time, and the `precision` that networks compute in ("": their own). How far the
    first answers are from those in full precision is logged."""

    predictor: Predictor
    device: str | None
    level: float
    nodes: int
    precision: str = ""
    _compared: set[str] = field(default_factory=set, repr=False, compare=False)

    def answers(self, cases: Sequence[Case]) -> list[Prediction | Refusal]:
        """One answer per case, in order. Those that the predictor takes are answered together; one
        by one where that fails."""
        signature = self.predictor.signature
        asked = [in_time(case, signature) for case in cases]
        found: list[Prediction | Refusal | None] = [_refused(case, signature) for case in asked]
        rows = [i for i, refusal in enumerate(found) if refusal is None]
        for row, answer in zip(rows, self._together([asked[i] for i in rows]), strict=True):
            found[row] = answer
        return [answer for answer in found if answer is not None]

    def _together(self, cases: Sequence[Case]) -> Sequence[Prediction | Refusal]:
        if not cases:
            return []
        try:
            with self._autocast():
                found = list(self.predictor.predict(cases, device=self.device, batch=self.nodes))
            if self.precision and self.precision not in self._compared:
                self._compare(cases, found)
            return found
        except Exception as error:  # whatever a model stops with is the case's, not the batch's
            if len(cases) == 1:
                return [_refusal(error)]
        return [answer for case in cases for answer in self._together([case])]

    def _autocast(self) -> AbstractContextManager[Any]:
        if not self.precision:
            return nullcontext()
        import torch

        kind = torch.device(self.device or "cpu").type
        return torch.autocast(kind, getattr(torch, PRECISIONS[self.precision]))

    def _compare(self, cases: Sequence[Case], found: Sequence[Prediction]) -> None:
        """Tells how far answers are from those in full precision."""
        self._compared.add(self.precision)
        full = list(self.predictor.predict(cases, device=self.device, batch=self.nodes))
        off = differences(found, full)
        if not all(np.isfinite(value) for value in off.values()):
            raise ValueError(f"--precision {self.precision}: the answers are not finite")
        told = ", ".join(f"{name} {value:.2g}" for name, value in off.items())
        log.warning(
            "%s: the first %d answers differ from those in full precision by (root mean square / "
            "standard deviation): %s", self.precision, len(cases), told,
        )  # fmt: skip

    def numbers(self, prediction: Prediction) -> dict[str, Any]:
        """The scalars of a prediction as JSON: mean, unit, standard deviation and interval."""
        lower, upper = prediction.interval(self.level) if prediction.scalars else (None, None)
        found: dict[str, Any] = {}
        for name, e in prediction.scalars.items():
            found[name] = {"mean": e.mean.tolist(), "unit": e.unit}
            if lower and upper and name in lower.scalars:
                ends = [end.scalars[name].value.tolist() for end in (lower, upper)]
                found[name] |= {"std": [] if e.std is None else e.std.tolist(), "interval": ends}
        return found


def differences(found: Sequence[Prediction], full: Sequence[Prediction]) -> dict[str, float]:
    """Of each output the root mean square difference over the standard deviation of what it is
    compared to, over cases, points and components."""
    off: dict[str, float] = {}
    for name in full[0].mean:
        one, other = ([p.mean[name].values for p in some] for some in (found, full))
        off[name] = _relative(one, other)
    for name in full[0].scalars:
        one, other = ([p.scalars[name].mean for p in some] for some in (found, full))
        off[name] = _relative(one, other)
    return off


def _relative(found: Sequence[np.ndarray], full: Sequence[np.ndarray]) -> float:
    one, other = (np.concatenate([a.ravel() for a in some]) for some in (found, full))
    scale = other.std() or np.abs(other).max() or 1.0
    return float(np.sqrt(np.mean(np.square(one - other))) / scale)


def answering(
    predictor: Predictor, device: str | None, level: float, nodes: int, precision: str = ""
) -> Answering:
    """Checked before the first case is read.

    Raises:
        ValueError: a level that the model's intervals do not support; an unknown precision.
    """
    if precision and precision not in PRECISIONS:
        raise ValueError(f"--precision: expected {' or '.join(PRECISIONS)}, got {precision!r}")
    if level > predictor.largest_level:
        raise ValueError(
            f"expected a level of at most {predictor.largest_level:.3g}, which the simulations of "
            f"this model support, got {level}; ask for a lower one (--level)"
        )
    return Answering(predictor, device, level, nodes, precision)


def in_time(case: Case, signature: Signature) -> Case:
    """A case of one time, the start, is asked for as many as the training set has."""
    if len(case.times) > 1 or not signature.own_times:
        return case
    return replace(case, times=case.times + np.subtract(signature.times, signature.times[0]))


def folder_settings(predictor: Predictor) -> Settings:
    """How new folders are read: as the training folder was, but nothing needs to be solved yet."""
    settings: Mapping[str, Any] = predictor.card.settings
    return Settings.from_dict(
        {**settings, "outputs": ()} if settings else {}, "the model's settings"
    )


def asked_settings(predictor: Predictor) -> Settings:
    """As `folder_settings`; of a model that was not fitted to a folder, its inputs by their
    names."""
    settings, signature = folder_settings(predictor), predictor.signature
    if settings.inputs:
        return settings
    inputs = [f"field:{n}" for n in signature.known] + [f"scalar:{n}" for n in signature.parameters]
    return replace(settings, inputs=tuple(inputs))


def _refused(case: Case, signature: Signature) -> Refusal | None:
    try:
        signature.checked(case)
    except ValueError as error:
        return Refusal("invalid-input", str(error))
    return None


def _refusal(error: Exception) -> Refusal:
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return Refusal("out-of-memory", f"{error}; ask for it on a device with more memory")
    if isinstance(error, ValueError):
        return Refusal("invalid-input", str(error))
    return Refusal("crashed", f"the model stopped with {type(error).__name__}: {error}")
