"""The contracts: a Surrogate is a recipe, a Predictor is what fitting it gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fieldcast.meshes import Case, Cases, Predictions, Sample
from fieldcast.meshes.packed import split_by_nodes

from .joining import Joining
from .signature import Signature

Progress = Callable[[str, int, int], None]
"""Called with a stage ("train", or "train: " and a remark), how much of it is done, and how much
there is."""

BATCH = 2_000_000
"""Nodes that are answered at a time."""


def quiet(stage: str, done: int, total: int) -> None:
    """Progress that nobody sees."""


@dataclass(frozen=True)
class State:
    """What a fitted predictor is made of: arrays and JSON-able values, nothing else."""

    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def nested(cls, states: Mapping[str, State]) -> State:
        """Several states as one; `part` takes one out again."""
        arrays = {f"{k}/{name}": a for k, s in states.items() for name, a in s.arrays.items()}
        return cls(arrays, {k: s.values for k, s in states.items()})

    def part(self, name: str) -> State:
        """The state that went in under `name`."""
        start = f"{name}/"
        arrays = {k.removeprefix(start): a for k, a in self.arrays.items() if k.startswith(start)}
        return State(arrays, self.values[name])

    def parts(self) -> dict[str, State]:
        """All states that went in."""
        return {name: self.part(name) for name in self.values}


@dataclass(frozen=True)
class Card:
    """What a user should know of a fitted predictor: JSON-able, travels in the bundle.

    `training` summarises the set it was fitted on (count, hash, ranges), `fit` is the fit report,
    `scores` the errors on held-out cases beside those of the baselines, `settings` how the folder
    it was fitted on was read, `seed` the one given to fit.
    """

    training: Mapping[str, Any] = field(default_factory=dict)
    fit: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0


class Surrogate(ABC):
    """A recipe: a frozen dataclass of hyper-parameters, without data.

    `any_mesh`: fits samples whose meshes share neither numbering nor topology; `one_numbering`:
    only samples whose meshes have the same cells; `grids`: only samples on grids of latitudes and
    longitudes. `transient`: fits samples with more than one time. `tolerance`: how far, relative to
    the largest value, an answer may depend on the other cases asked at the same time.
    """

    any_mesh: ClassVar[bool] = False
    one_numbering: ClassVar[bool] = False
    grids: ClassVar[bool] = False
    transient: ClassVar[bool] = False
    tolerance: ClassVar[float] = 1e-9

    @abstractmethod
    def fit(
        self,
        samples: Sequence[Sample],
        *,
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
    ) -> Predictor:
        """Learn from `samples`.

        Raises:
            ValueError: samples that this surrogate can't be fitted to; says which and why.
        """

    @abstractmethod
    def restore(self, signature: Signature, card: Card, state: State) -> Predictor:
        """The predictor that `Predictor.state` came from."""

    def trials(self, samples: Sequence[Sample], progress: Progress = quiet) -> Trials:
        """For many fits to parts of `samples`: cross-validation, learning curves."""
        return Anew(self, samples)

    def estimate(self, samples: Sequence[Sample]) -> tuple[float, int] | None:
        """Seconds and bytes that `fit` will take, from a trial of its parts; None where not
        known."""
        return None

    @classmethod
    def tiny(cls) -> Surrogate:
        """A recipe that fits in seconds, for the conformance suite."""
        return cls()


class Trials(ABC):
    """Fits to parts of one set of samples; what the fits share is done once."""

    samples: Sequence[Sample]

    @abstractmethod
    def fit(
        self,
        rows: Sequence[int],
        *,
        seed: int = 0,
        like: Predictor | None = None,
        progress: Progress = quiet,
    ) -> Predictor:
        """Fitted to the samples of these numbers. `like`, fitted to more of them, lends its
        hyper-parameters to start from, which saves most of the time where there are any."""


@dataclass(frozen=True, eq=False)
class Anew(Trials):
    """Trials that share nothing."""

    recipe: Surrogate
    samples: Sequence[Sample]

    def fit(
        self,
        rows: Sequence[int],
        *,
        seed: int = 0,
        like: Predictor | None = None,
        progress: Progress = quiet,
    ) -> Predictor:
        chosen = [self.samples[int(i)] for i in rows]
        return self.recipe.fit(chosen, seed=seed, progress=progress)


@dataclass(frozen=True, eq=False)
class Joint:
    """What is known of one output at several cases together, in the scale it was learnt in (its
    logarithm where `logarithmic`): `mean` (case,) of a scalar, None for a field; `covariance`
    (case, case) without noise and variance of the `noise` (case,), for a field integrated over it;
    and `inputs` (case, input), standardised."""

    mean: np.ndarray | None
    covariance: np.ndarray
    noise: np.ndarray
    inputs: np.ndarray
    logarithmic: bool = False


@dataclass(frozen=True, eq=False)
class Predictor(ABC):
    """Fitted; answers and saves. What it answers depends on the case alone."""

    recipe: Surrogate
    signature: Signature
    card: Card

    @abstractmethod
    def answer(self, cases: Cases, device: str | None) -> Predictions:
        """Predict packed cases that have been checked, in the units of the training set."""

    @abstractmethod
    def state(self) -> State:
        """All that `Surrogate.restore` needs."""

    def predict(
        self, cases: Sequence[Case], *, device: str | None = None, batch: int = BATCH
    ) -> Predictions:
        """One prediction per case, in order, on each case's own points and cells.

        `device` is a torch device ("cpu", "cuda"; None: the CPU), `batch` the number of nodes that
        are answered at a time.

        Raises:
            ValueError: a case that lacks an input or has another kind of mesh; names it and says
                what to do.
        """
        found = Joining(cases)
        for part in self._batches(cases, batch):
            for answer in self._answered(part, device):
                found.add(answer)
        return found.joined()

    def _batches(self, cases: Sequence[Case], batch: int) -> Iterator[Cases]:
        """Consecutive cases, packed; all have been checked before the first are given."""
        if isinstance(cases, Cases):
            sizes = np.diff(cases.meshes[""].offsets("point"))
            parts = [cases.span(rows) for rows in split_by_nodes(sizes, batch)]
            for part in parts:
                self.signature.checked_cases(part)
            yield from (self.signature.checked_cases(part) for part in parts)
            return
        checked = [self.signature.checked(case) for case in cases]
        for rows in split_by_nodes([len(case.mesh.points) for case in checked], batch):
            yield Cases.pack(checked[rows.start : rows.stop])

    def _answered(self, cases: Cases, device: str | None) -> list[Predictions]:
        """The answer in one batch, or in halves where that does not fit into memory."""
        import torch

        try:
            return [self.answer(cases, device)]
        except (torch.OutOfMemoryError, MemoryError):
            if len(cases) == 1:
                raise
        half = len(cases) // 2
        halves = cases.span(range(half)), cases.span(range(half, len(cases)))
        return [found for part in halves for found in self._answered(part, device)]

    def beside(
        self, others: Sequence[Predictor], cases: Cases, device: str | None
    ) -> list[Predictions]:
        """The answers of this predictor and of `others` of its kind; what they share is done
        once."""
        return [predictor.answer(cases, device) for predictor in (self, *others)]

    def joint(self, cases: Sequence[Case], output: str) -> Joint | None:
        """What is known of a scalar (steady) or field at all `cases` together; None where this
        surrogate can't tell."""
        return None

    def inputs(self, cases: Sequence[Case]) -> np.ndarray | None:
        """The standardised inputs (case, input) that cases are told apart by; None where there are
        none. The training set has mean 0 and standard deviation 1 in each."""
        return None

    @property
    def largest_level(self) -> float:
        """The largest level that its intervals support."""
        return 1.0

    def member_answers(
        self, cases: Sequence[Case], device: str | None = None
    ) -> Sequence[Predictions]:
        """What each member of an ensemble answers, moved away from their mean until their spread is
        the standard deviation that `predict` tells; none of what is no such ensemble."""
        return ()

    def ways(self, cases: Cases, device: str | None = None) -> Iterator[Predictions]:
        """Answers with fields that lie one standard deviation away in one independent way after
        another: of what follows from fields, the squares of its changes add up to its variance, to
        first order. None where fields' spread, or how it hangs together, is not known."""
        return iter(())

    def baselines(self) -> Mapping[str, Predictor]:
        """Trivial predictors made from what this one was fitted to, by name, to be scored beside
        it; none where it keeps no training data."""
        return {}

    def save(self, path: str | Path) -> Path:
        """Write the predictor as one file (`load` reads it); returns its path."""
        from .bundle import write_bundle

        return write_bundle(self, Path(path))

    def with_scores(self, scores: Mapping[str, Any]) -> Predictor:
        """The same predictor with its scores against the baselines on the card."""
        return replace(self, card=replace(self.card, scores=scores))

    def with_settings(self, settings: Mapping[str, Any]) -> Predictor:
        """The same predictor that remembers how its folder was read."""
        return replace(self, card=replace(self.card, settings=settings))


@dataclass(frozen=True, eq=False)
class Gradient:
    """Derivatives of one output.

    For a scalar: `parameters[name]` (time,), `shape` (time, coefficient), `points`
    (time, point, dim). For a field: `parameters[name]` (time, point, component), `shape`
    (coefficient, time, point, component), `points` None (too large; go by the shape coefficients).
    """

    parameters: Mapping[str, np.ndarray]
    shape: np.ndarray
    points: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Pulled:
    """A weighted sum of outputs, in double precision, and its derivatives: by `parameters[name]`
    (time,) and by the coordinates of the `points` (point, dim), None where a predictor is told of
    shapes by what has no derivative: normals of a morphed mesh, sensors, pictures, contact."""

    value: float
    parameters: Mapping[str, np.ndarray]
    points: np.ndarray | None


class Differentiable(Predictor):
    """A predictor whose means can be differentiated."""

    @abstractmethod
    def gradients(self, case: Case, outputs: Sequence[str]) -> Mapping[str, Gradient]:
        """Derivatives of the named scalars and fields by the parameters, by the shape coefficients
        and, for scalars, by the coordinates of the points (the point of the common mesh that each
        point corresponds to held fixed).

        Raises:
            ValueError: an output that is not predicted.
        """

    @abstractmethod
    def pulled(self, case: Case, weights: Mapping[str, np.ndarray]) -> Pulled:
        """The sum of the named outputs times weights, which have the shapes of fields (time,
        entity, component) or scalars (time,), and what it changes by: the derivative of any
        function of the outputs, of which the weights are the derivatives by outputs. Known fields
        stay with their points; what the points correspond to elsewhere, or are nearest to, is held.

        Raises:
            ValueError: an output that is not predicted, or weights of another shape.
        """
