"""How a physics-informed network finds its weights: residuals and their derivatives by weights, and
the method of Levenberg and Marquardt."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import grad_and_value, vmap

from .jets import Jet
from .pinn_network import Layout
from .pinn_problem import Ansatz, Equations, Term, sobol
from .surrogate import Progress, quiet

HELD = 900_000
"""Seeds from here on are those of points to validate by."""
MANY = 3000
"""Weights above which the system of equations has a row per residual instead of one per weight."""


@dataclass(frozen=True, eq=False)
class Network:
    """A network with its weights as one row of numbers."""

    layout: Layout
    inputs: int
    outputs: int

    def split(self, weights: Float[Tensor, " weight"]) -> dict[str, Tensor]:
        """By name."""
        shapes = self.layout.shapes(self.inputs, self.outputs)
        parts = weights.split([a * b for a, b in shapes.values()])
        return {k: p.reshape(shapes[k]) for k, p in zip(shapes, parts, strict=True)}

    def drawn(self, seed: int) -> Float[Tensor, " weight"]:
        """Random weights."""
        generator = torch.Generator().manual_seed(seed)
        found = self.layout.drawn(self.inputs, self.outputs, generator)
        return torch.cat([w.ravel() for w in found.values()])

    def __call__(self, weights: Float[Tensor, " weight"], x: Jet) -> Jet:
        return self.layout.jet(self.split(weights), x)


@dataclass(frozen=True, eq=False)
class Rows:
    """The points of one term, (row, node, coordinate), with the ansatz at each."""

    term: Term
    points: Float[Tensor, "row node coordinate"]
    ansatz: Ansatz

    @classmethod
    def at(cls, equations: Equations, term: Term, unit: Float[Tensor, "row coordinate"]) -> Rows:
        """From rows of the unit cube."""
        points = term.points(unit)
        # Terms may keep more about a point behind its coordinates.
        place = points.flatten(0, 1)[:, : equations.coordinates]
        return cls(term, points, equations.ansatz_at(place))

    def taken(self, rows: Int[Tensor, " row"]) -> Rows:
        """Some of them."""
        nodes = self.points.shape[1]
        at = (rows[:, None] * nodes + torch.arange(nodes, device=rows.device)).ravel()
        tensors = tuple(t[:, at] for t in self.ansatz.tensors)
        return Rows(self.term, self.points[rows], self.ansatz.of(tensors))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.points)

    def residuals(
        self, network: Network, weights: Float[Tensor, " weight"]
    ) -> Float[Tensor, " row"]:
        """One for each row."""
        u = self.ansatz(network(weights, self.ansatz.features))
        nodes = self.points.shape[1]
        if nodes == 1:
            return self.term.residual(u, self.points[:, 0])
        each = u.parts.unflatten(1, (-1, nodes))

        def one(parts: Tensor, x: Tensor) -> Tensor:
            return self.term.residual(Jet(parts, u.first, u.second), x)[0]

        return vmap(one, (1, 0))(each, self.points)

    def linearised(
        self, network: Network, weights: Float[Tensor, " weight"]
    ) -> tuple[Float[Tensor, " row"], Float[Tensor, "row weight"]]:
        """Residuals and their derivatives by the weights."""
        nodes = self.points.shape[1]

        def one(w: Tensor, x: Tensor, *tensors: Tensor) -> Tensor:
            at = self.ansatz.of(tensors)  # type: ignore[arg-type]
            return self.term.residual(at(network(w, at.features)), x)[0]

        each = [t.unflatten(1, (-1, nodes)).movedim(1, 0) for t in self.ansatz.tensors]
        slopes, values = vmap(grad_and_value(one), (None, 0, 0, 0, 0))(weights, self.points, *each)
        return values, slopes


def collocation(equations: Equations, terms: Sequence[Term], count: int, seed: int) -> list[Rows]:
    """`count` rows times the share of each term."""
    found = []
    for k, term in enumerate(terms):
        unit = sobol(max(round(term.share * count), 1), equations.coordinates, 1000 * seed + k)
        found.append(Rows.at(equations, term, unit))
    return found


def loss_of(network: Network, rows: Sequence[Rows], weights: Tensor) -> Tensor:
    """sum_k mean (w_k r_k)^2."""
    parts = [r.term.weight**2 * r.residuals(network, weights).square().mean() for r in rows]
    return torch.stack(parts).sum()


@dataclass(frozen=True, eq=False)
class Task:
    """A network that is to solve equations, with the terms of data, if any, behind their own."""

    equations: Equations
    network: Network
    terms: tuple[Term, ...]

    @classmethod
    def of(cls, equations: Equations, layout: Layout, data: Sequence[Term] = ()) -> Task:
        """The network has as many inputs as the ansatz has features."""
        terms = (*equations.terms(), *data)
        [one, *_] = collocation(equations, equations.terms(), 1, 0)
        inputs = one.ansatz.features.value.shape[1]
        return cls(equations, Network(layout, inputs, equations.unknowns), terms)

    def rows(self, count: int, seed: int) -> list[Rows]:
        """Points of all terms."""
        return collocation(self.equations, self.terms, count, seed)


class Method(ABC):
    """A way to find weights, as a setting."""

    @abstractmethod
    def minimised(
        self,
        task: Task,
        weights: Float[Tensor, " weight"],
        seed: int = 0,
        progress: Progress = quiet,
    ) -> tuple[Float[Tensor, " weight"], dict[str, float]]:
        """The weights with the least loss at points that are never trained on, and what to say."""


@dataclass(frozen=True)
class LevenbergMarquardt(Method):
    """`steps` of (J'J + m I) d = -J'r with the residuals r of all terms at `points` rows, drawn
    anew every `fresh` steps; m falls where a step does what the linear model says and rises where
    it doesn't (Marquardt 1963, doi:10.1137/0111030; Nielsen 1999)."""

    steps: int = 300
    points: int = 1000
    fresh: int = 10
    damping: float = 1e-3
    validation: int = 2048

    def minimised(
        self,
        task: Task,
        weights: Float[Tensor, " weight"],
        seed: int = 0,
        progress: Progress = quiet,
    ) -> tuple[Float[Tensor, " weight"], dict[str, float]]:
        with torch.no_grad():
            network = task.network
            held = task.rows(self.validation, HELD + seed)
            best, least = weights, float(loss_of(network, held, weights))
            start, damping, rows = least, self.damping, task.rows(self.points, seed)
            for step in range(self.steps):
                if step % self.fresh == 0:
                    rows = task.rows(self.points, seed + step)
                weights, damping = self._step(network, rows, weights, damping)
                if step % self.fresh == self.fresh - 1 or step == self.steps - 1:
                    error = float(loss_of(network, held, weights))
                    if error < least:
                        best, least = weights, error
                    progress(f"train: residual {math.sqrt(error):.2e}", step + 1, self.steps)
        return best, {"start": math.sqrt(start), "residual": math.sqrt(least)}

    def _step(
        self, network: Network, rows: Sequence[Rows], weights: Tensor, damping: float
    ) -> tuple[Tensor, float]:
        found = [r.linearised(network, weights) for r in rows]
        scales = [r.term.weight / math.sqrt(len(r)) for r in rows]
        r = torch.cat([s * value for s, (value, _) in zip(scales, found, strict=True)])
        j = torch.cat([s * slope for s, (_, slope) in zip(scales, found, strict=True)])
        loss = float(r @ r)
        system = j.T @ j if len(weights) <= MANY else j @ j.T
        scale = float(system.diagonal().mean())
        rise = 4.0
        for _ in range(8):
            move = _solved(system, j, r, damping * scale)
            new = float(loss_of(network, rows, weights + move))
            expected = loss - float((r + j @ move).square().sum())
            if new < loss:
                ratio = (loss - new) / max(expected, 1e-300)
                fall = max(1.0 / 5.0, 1.0 - (2.0 * ratio - 1.0) ** 3)
                return weights + move, max(damping * fall, 1e-14)
            damping, rise = damping * rise, rise * 2.0
        return weights, damping


def _solved(system: Tensor, j: Tensor, r: Tensor, damping: float) -> Tensor:
    """-(J'J + m I)^-1 J'r, by the smaller of J'J and JJ' (Woodbury)."""
    shifted = system + damping * torch.eye(len(system), dtype=system.dtype, device=system.device)
    factor, failed = torch.linalg.cholesky_ex(shifted)
    if int(failed):
        return torch.zeros_like(j[0])
    if len(system) == j.shape[1]:
        return -torch.cholesky_solve((j.T @ r)[:, None], factor)[:, 0]
    return -j.T @ torch.cholesky_solve(r[:, None], factor)[:, 0]
