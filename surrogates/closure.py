"""Closures of turbulence as surrogates: from the vorticity of a flow to the coefficient of its eddy
viscosity and to the tendency that it makes, learned in an environment from a few snapshots.

A recipe is asked by `fit(samples)`, of snapshots and, where known, spectra (`wanted`); recipes
differ in how they find a law, and all give the same predictor.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fieldcast.meshes import Cases, Predictions, Sample, Trust
from fieldcast.meshes.packed import PackedField

from .closure_environment import (
    VORTICITY,
    Environment,
    State,
    Task,
    Wanted,
    log_ratio,
    side,
    wanted,
)
from .closure_laws import Averaged, Law, restored
from .signature import FieldKind, Signature
from .surrogate import Card, Predictor, Progress, Surrogate, quiet
from .surrogate import State as Kept

COEFFICIENT, TENDENCY = "coefficient", "tendency"
SLACK, REJECT = 2.0, 3.0
"""How many times the snapshots' largest distance from the mean spectrum is warned of, and how many
times that is rejected."""


class ClosureRecipe(Surrogate):
    """A recipe that finds a law for the agents of its `environment`."""

    tolerance: ClassVar[float] = 1e-5
    environment: Environment

    @abstractmethod
    def found(self, task: Task) -> tuple[Law, Mapping[str, Any]]:
        """The law, and what to say of how it was found."""

    def fit(
        self,
        samples: Sequence[Sample],
        *,
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
        checkpoint: Path | None = None,
    ) -> ClosurePredictor:
        """Learn from snapshots; where `checkpoint` names a file of the same run, training goes on
        from there.

        Raises:
            ValueError: no snapshots, or a spectrum of too few wavenumbers.
        """
        aim = wanted(self.environment, samples)
        aim.on(self.environment)
        law, told = self.found(Task(aim, samples, seed, progress, checkpoint))
        card = Card({"snapshots": len(aim.snapshots)}, dict(told), seed=seed)
        limit = usual(self.environment, aim)
        return ClosurePredictor(self, SIGNATURE, card, law, aim.target.cpu().numpy(), limit)

    def restore(self, signature: Signature, card: Card, state: Kept) -> ClosurePredictor:
        parts = state.parts()
        target = np.array(parts["aim"].arrays["target"])
        return ClosurePredictor(
            self, signature, card, restored(parts["law"]), target, parts["aim"].values["usual"]
        )


SIGNATURE = Signature(
    2,
    (0.0,),
    {},
    {VORTICITY: FieldKind("", "point", "", 1, True)},
    {name: FieldKind("", "point", "", 1, True) for name in (COEFFICIENT, TENDENCY)},
    {},
)


def usual(environment: Environment, aim: Wanted) -> float:
    """How far a spectrum may be from the target: by its snapshots, over the wavenumbers that grid
    and snapshots hold."""
    lines = environment.line(aim.snapshots)
    half = min(lines.shape[1], environment.points // 2)
    return SLACK * max(float(_distance(lines[:, :half], aim.target[:half]).max()), 0.1)


def _distance(lines: Float[Tensor, "row k"], target: Float[Tensor, " k"]) -> Tensor:
    """The root mean square of log Z / Z_t."""
    return log_ratio(lines, target).square().mean(dim=1).sqrt()


@dataclass(frozen=True, eq=False)
class ClosurePredictor(Predictor):
    """A law and the spectrum that it aims at; `usual` the distance from it that is not warned
    of."""

    recipe: ClosureRecipe
    law: Law
    target: Float[np.ndarray, " wavenumber"]
    usual: float

    @property
    def environment(self) -> Environment:
        """That of the recipe."""
        return self.recipe.environment

    def averaged(self) -> ClosurePredictor:
        """The same with the mean of its agents at all places: what is lost is what was local."""
        return replace(self, law=Averaged(self.law))

    def elsewhere(
        self, environment: Environment, samples: Sequence[Sample] | None = None
    ) -> ClosurePredictor:
        """The same law in another environment (another grid, another flow), without learning; where
        the flow is another, `samples` say what its spectrum should be."""
        recipe = replace(self.recipe, environment=environment)  # type: ignore[type-var]
        if samples is None:
            return replace(self, recipe=recipe)
        aim = wanted(environment, samples)
        return replace(
            self, recipe=recipe, target=aim.target.cpu().numpy(), usual=usual(environment, aim)
        )

    def aim(self, environment: Environment) -> Float[Tensor, " wavenumber"]:
        """The target on a grid."""
        half = environment.points // 2
        if len(self.target) < half:
            raise ValueError(
                f"expected at most {2 * len(self.target)} points a side, the spectrum that this "
                f"closure aims at, got {environment.points}"
            )
        return torch.tensor(self.target[:half], dtype=torch.float32)

    def coefficients(self, environment: Environment, state: State) -> Float[Tensor, "row agent"]:
        """What the law says to a state."""
        target = self.aim(environment).to(state.vorticity.device)
        return self.law.coefficients(environment, state, target)

    def closure(self, points: int) -> Callable[[Any], Tensor]:
        """A closure of the solver on `points` x `points` points: from what is resolved, whose
        `spectrum` is read, to the coefficients of -Pi."""
        environment = self.environment.resized(points)

        def tendency(flow: Any) -> Tensor:
            state = environment.state(flow.spectrum)
            found = environment.tendency(flow.spectrum, self.coefficients(environment, state))
            return environment.spectra_of(found)

        return tendency

    def tendency(self, vorticity: Float[np.ndarray, "row y x"]) -> Float[np.ndarray, "row y x"]:
        """What another solver adds to the rate of its vorticity v_x - u_y at its points, on a
        square of 2 pi."""
        environment = self.environment.resized(vorticity.shape[-1])
        with torch.inference_mode():
            spectrum = environment.spectra_of(torch.as_tensor(np.array(vorticity)))
            state = environment.state(spectrum)
            found = environment.tendency(spectrum, self.coefficients(environment, state))
        return found.cpu().numpy()

    def answer(self, cases: Cases, device: str | None) -> Predictions:
        meshes = cases.meshes[""]
        sides = [
            side(m, cases[int(np.flatnonzero(meshes.which == k)[0])].label)
            for k, m in enumerate(meshes.distinct)
        ]
        offsets = meshes.offsets("point")
        names = (COEFFICIENT, TENDENCY)
        mean = {k: np.empty((1, offsets[-1], 1)) for k in names}
        spread = {k: np.empty((1, offsets[-1], 1)) for k in names}
        trust = []
        for i, which in enumerate(meshes.which.tolist()):
            own = slice(offsets[i], offsets[i + 1])
            # One by one, so that an answer is the same whoever is asked beside it.
            values = np.array(cases.fields[VORTICITY].values[0, own, 0])
            told = self._told(values.reshape(1, sides[which], sides[which]), device or "cpu")
            for name in names:
                mean[name][0, own, 0] = told.mean[name].ravel()
                spread[name][0, own, 0] = told.std[name].ravel()
            trust.append(self._verdict(told.distance))
        known = self.law.spread() is not None
        return Predictions(
            cases,
            {k: PackedField(v, offsets) for k, v in mean.items()},
            {k: PackedField(v, offsets) for k, v in spread.items()} if known else None,
            trust=tuple(trust),
        )

    def _told(self, values: Float[np.ndarray, "row y x"], device: str) -> _Told:
        environment = self.environment.resized(values.shape[-1]).at(device)
        with torch.inference_mode():
            spectrum = environment.spectra_of(torch.as_tensor(values))
            c = self.coefficients(environment, environment.state(spectrum))
            mean = environment.field(c), environment.tendency(spectrum, c)
            size = self.law.spread() or 0.0
            alone = size * torch.eye(c.shape[1], device=c.device, dtype=c.dtype)
            # Both are linear in the coefficients, which are drawn apart.
            each = [environment.field(alone)]
            each.append(environment.tendency(spectrum.expand(len(alone), -1, -1), alone))
            std = [e.square().sum(dim=0).sqrt() for e in each]
            line = environment.line(spectrum)
            distance = float(_distance(line, self.aim(environment).to(line.device)))
        names = (COEFFICIENT, TENDENCY)
        found = [dict(zip(names, (v.cpu().numpy() for v in vs), strict=True)) for vs in (mean, std)]
        return _Told(found[0], found[1], distance)

    def _verdict(self, distance: float) -> Trust:
        score = distance / self.usual
        if score <= 1.0:
            return Trust("ok", score)
        reason = f"its enstrophy spectrum is {score:.3g} times as far from the target as is usual"
        return Trust("warn" if score < REJECT else "reject", score, reason)

    def state(self) -> Kept:
        aim = Kept({"target": self.target}, {"usual": self.usual})
        return Kept.nested({"law": self.law.kept(), "aim": aim})


@dataclass(frozen=True, eq=False)
class _Told:
    """Of one flow: fields by name, their spreads, and how far its spectrum is from the target."""

    mean: Mapping[str, np.ndarray]
    std: Mapping[str, np.ndarray]
    distance: float
