"""Heat in a rod, the smallest problem to solve from its equation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fieldcast.meshes import Cases, Predictions, Samples
from fieldcast.meshes.packed import PackedField

from .jets import Jet, joined
from .pinn_problem import Ansatz, Equations, Points, Problem, Solution, Term, known
from .signature import FieldKind, ScalarKind, Signature


@dataclass(frozen=True)
class Rod(Equations):
    """u_t = a u_xx in 0 < x < 1, u = 0 at both ends, u = sin(pi x) at t = 0, for log a between
    those of two `bounds`."""

    bounds: tuple[float, float]

    space = 1
    coordinates = 3
    unknowns = 1

    def ansatz(self, at: Jet) -> Ansatz:
        x, t, log_a = (at.column(k) for k in range(3))
        low, high = (math.log(b) for b in self.bounds)
        features = joined([2.0 * x - 1.0, 2.0 * t - 1.0, 2.0 * (log_a - low) / (high - low) - 1.0])
        sine = (math.pi * x).sine()
        return Ansatz(features, sine, x * (1.0 - x) * t)

    def terms(self) -> tuple[Term, ...]:
        return (Term("heat", lambda unit: self.placed(unit)[:, None], self._heat),)

    def placed(self, unit: Float[Tensor, "row coordinate"]) -> Points:
        """From the unit cube."""
        low, high = (math.log(b) for b in self.bounds)
        return torch.cat([unit[:, :2], low + (high - low) * unit[:, 2:]], dim=1)

    def _heat(self, u: Jet, x: Points) -> Float[Tensor, " row"]:
        return (u.by(1) - x[:, 2:].exp() * u.twice(0))[:, 0]


@dataclass(frozen=True)
class Heat(Problem):
    """A rod of unit length and diffusivities [m^2/s] between `slowest` and `fastest`, for a
    second."""

    slowest: float = 0.05
    fastest: float = 0.5

    def equations(self) -> Mapping[str, Equations]:
        return {"rod": Rod((self.slowest, self.fastest))}

    def signature(self) -> Signature:
        times = tuple(np.linspace(0.0, 1.0, 11).tolist())
        kinds = {"diffusivity": ScalarKind("m^2/s", True)}
        fields = {"excess_temperature": FieldKind("K", "point", "", 1, False)}
        return Signature(1, times, kinds, {}, fields, {}, own_times=True)

    def bounds(self) -> Mapping[str, tuple[float, float]]:
        return {"diffusivity": (self.slowest, self.fastest), "time": (0.0, 1.0)}

    def columns(self, cases: Cases, name: str) -> Float[Tensor, "case parameter"]:
        return torch.as_tensor(np.log(cases.parameters["diffusivity"].values))

    def answer(self, cases: Cases, solutions: Mapping[str, Solution]) -> Predictions:
        points = self._points(cases)
        u = solutions["rod"](points).numpy().reshape(len(cases.times), -1, 1)
        offsets = cases.meshes[""].offsets("point")
        return Predictions(cases, {"excess_temperature": PackedField(u, offsets, "K")})

    def data(self, samples: Samples) -> Mapping[str, tuple[Term, ...]]:
        values = samples.fields["excess_temperature"].values.reshape(-1, 1)
        return {"rod": (known(self._points(samples.cases), torch.as_tensor(values)),)}

    def _points(self, cases: Cases) -> Points:
        """x, t, log a of all times of all points."""
        meshes = cases.meshes[""]
        x = np.concatenate([mesh.points[:, 0] for mesh in meshes])
        a = np.repeat(self.columns(cases, "rod")[:, 0].numpy(), np.diff(meshes.offsets("point")))
        t = np.repeat(cases.times, len(x))
        count = len(cases.times)
        return torch.as_tensor(np.stack([np.tile(x, count), t, np.tile(a, count)], axis=1))
