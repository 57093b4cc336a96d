"""MMGP: mesh morphing and Gaussian processes (Casenave, Staber, Roynard 2023, arXiv:2305.12871).

Every mesh is morphed to a common shape, where fields are compared node by node; shapes and outputs
are reduced by POD; Gaussian processes map shape coefficients and parameters to output coefficients
and scalars. Everything after the processes is linear, so the variance of a field is closed form:
Var u(x) = sum_k phi_k(x)^2 (s_k^2 + noise_k) + truncation(x).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldcast.meshes.morphing import Morphing
from fieldcast.meshes.threads import side_by_side

from .embedding import Sizes
from .features import Transform, one_sign
from .gp import GaussianProcess, Training, fit_gps, refit, standardisation
from .reduced import Model, Reduced, Task
from .regression import Processes, Regression
from .scores import rrmse_scalar
from .surrogate import Progress

ENOUGH = 6
"""From so many cases on, transforms are chosen and variances cross-validated."""
FEW, FIELD_FOLDS = 100, 5
"""Up to so many cases the variances of field coefficients are cross-validated, in so many folds."""
ONE_BY_ONE, SCALAR_FOLDS = 40, 10
"""Those of scalars always: up to so many cases each is left out alone, else a fold at a time."""


@dataclass(frozen=True)
class MMGP(Reduced):
    """Mesh morphing Gaussian process.

    `morphing` None is chosen by topology and numbering. `modes` per output field; `shape_modes` for
    the coordinates and for each known field, those below `shape_tolerance` of the first left out.
    `weighted` uses the mass matrix of the common mesh as the inner product, else the identity.
    `shared_kernel` gives all modes of a field one kernel (faster, as published) instead of one
    each. `logarithmic` names positive fields that are learnt as logarithms; for scalars of one sign
    the likelihood decides. `normals` adds unit normals
    to the coordinates that tell shapes apart. `training` says how kernels are found.
    """

    morphing: Morphing | None = None
    modes: int = 16
    shape_modes: int = 16
    shape_tolerance: float = 1e-3
    weighted: bool = True
    shared_kernel: bool = False
    logarithmic: tuple[str, ...] = ()
    normals: bool = False
    training: Training = field(default_factory=Training)

    def layout(self) -> tuple[Morphing | None, Sizes]:
        sizes = Sizes(
            self.modes,
            self.shape_modes,
            self.shape_tolerance,
            self.weighted,
            self.logarithmic,
            self.normals,
        )
        return self.morphing, sizes

    @property
    def kernels(self) -> Training | None:
        return self.training

    def learn(self, task: Task, seed: int, progress: Progress) -> tuple[Model, dict[str, Any]]:
        if task.like is not None:
            return self._refitted(task, task.like), {}
        columns = {k: _columns(y, self.shared_kernel) for k, y in task.fields.items()}
        variants = {k: _variants(y) for k, y in task.scalars.items()}
        outputs = [y for group in columns.values() for y in group]
        outputs += [t(y) for k, y in task.scalars.items() for t in map(_tensor, variants[k])]
        count = 0

        def done(more: int) -> None:
            nonlocal count
            count += more
            progress("train", count, len(outputs))

        modes = sum(len(group) for group in columns.values())
        n = len(task.x)
        folds = [FIELD_FOLDS if ENOUGH <= n <= FEW else 0] * modes
        alone = n if n >= ENOUGH else 0
        folds += [alone if n <= ONE_BY_ONE else SCALAR_FOLDS] * (len(outputs) - modes)
        gps = fit_gps(task.x, outputs, self.training, seed=seed, folds=folds, done=done)
        found = iter(gps)
        fields = {k: Processes([next(found) for _ in group]) for k, group in columns.items()}
        scalars, transforms = {}, {}
        for name, choices in variants.items():
            tried = [(t, next(found)) for t in choices]
            densities = [_density(t, process, task.scalars[name]) for t, process in tried]
            transforms[name], best = tried[int(np.argmin(densities))]
            scalars[name] = Processes([best])
        report = {"leave_one_out": _leave_one_out(task, scalars, transforms)}
        return Model(fields, scalars, transforms), report

    def _refitted(self, task: Task, like: Model) -> Model:
        """With kernels like those that were found for more cases."""
        pairs: dict[str, list[tuple[GaussianProcess, Tensor]]] = {}
        for name, y in task.fields.items():
            columns = _columns(y, self.shared_kernel)
            pairs[name] = list(zip(_members(like.fields[name]), columns, strict=False))
        for name, y in task.scalars.items():
            moved = _tensor(like.transforms[name])(y)
            pairs[name] = [(_members(like.scalars[name])[0], moved)]
        flat = [pair for group in pairs.values() for pair in group]
        with_x = side_by_side(lambda pair: refit(pair[0], task.x, pair[1], self.training), flat)
        found = iter(list(with_x))
        made = {name: Processes([next(found) for _ in group]) for name, group in pairs.items()}
        fields = {k: made[k] for k in task.fields}
        return Model(fields, {k: made[k] for k in task.scalars}, like.transforms)

    @classmethod
    def tiny(cls) -> MMGP:
        return cls(modes=4, shape_modes=4, training=Training(starts=1, iterations=40))


def _members(regression: Regression) -> Sequence[GaussianProcess]:
    if not isinstance(regression, Processes):
        raise TypeError(f"expected Gaussian processes, got {type(regression).__name__}")
    return regression.members


def _columns(y: Tensor, shared: bool) -> list[Tensor]:
    return [y] if shared or not y.shape[1] else [y[:, [k]] for k in range(y.shape[1])]


def _variants(y: Tensor) -> list[Transform]:
    """As it is and, for one sign and enough cases to tell, its logarithm."""
    sign = one_sign(y.numpy()) if len(y) >= ENOUGH else 0
    return [Transform(), Transform(sign)] if sign else [Transform()]


def _tensor(transform: Transform) -> Any:
    return lambda y: torch.as_tensor(transform(y.numpy()))


def _density(transform: Transform, process: GaussianProcess, y: Tensor) -> float:
    """Negative log likelihood of `y` itself: that of the standardised, transformed values, plus the
    logarithm of the scale, plus that of the slope of the transform."""
    moved = _tensor(transform)(y)
    nll = process.nll + len(y) * float(standardisation(moved)[1].log().sum())
    return nll + (float(y.abs().log().sum()) if transform.sign else 0.0)


def _leave_one_out(
    task: Task, scalars: dict[str, Processes], transforms: dict[str, Transform]
) -> dict[str, dict[str, float]]:
    """Relative error and coverage of the 95 % interval of each scalar, each training case
    predicted from the others by the kernel fitted to all."""
    scores = {}
    for name, processes in scalars.items():
        mean, variance = processes.members[0].leave_one_out()
        y = task.scalars[name].numpy()
        moved = transforms[name](y)
        inside = np.abs(moved - mean.numpy()) <= 1.96 * np.sqrt(variance.numpy())
        back = transforms[name].inverse(mean.numpy())
        error = rrmse_scalar(y, back)
        scores[name] = {
            "rrmse": error,
            "coverage_95": float(inside.mean()),
            "logarithmic": bool(transforms[name].sign),
        }
    return scores
