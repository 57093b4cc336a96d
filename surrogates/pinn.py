"""Surrogates that are trained on equations: a network whose residuals vanish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fieldcast.meshes import Cases, Predictions, Sample, Samples, Trust
from fieldcast.meshes.prediction import Status

from .heat import Heat
from .jets import Jet
from .pinn_network import Layout, Perceptron
from .pinn_problem import Points, Problem, Solution, Term, sobol
from .pinn_training import LevenbergMarquardt, Method, Rows, Task
from .polynomial import Polynomial
from .signature import Signature, describe
from .surrogate import Card, Predictor, Progress, State, Surrogate, quiet

TRIALS, LOOKS = 64, 64
"""Places in the parameters' ranges whose residuals tell what is usual, and rows of each term that a
case is judged by."""
SLACK, REJECT = 1.5, 3.0
"""How many times the largest residual of the trials is warned of, and how many times that is
rejected."""
UNLEARNED = 0.5
"""Residuals above this share of those that the ansatz leaves without a network are warned of, too:
the network has hardly been trained."""


@dataclass(frozen=True)
class Pinn(Surrogate):
    """A physics-informed neural network for any `problem` (Raissi, Perdikaris, Karniadakis 2019,
    doi:10.1016/j.jcp.2018.10.045): a network of one `layout` for each set of equations, whose
    weights the `methods` find one after the other.

    `fit(())` asks for no samples. Samples become terms of the loss where the problem takes them; or
    a `correction`, any surrogate, learns what the equations leave of samples, and all that the
    problem doesn't know of.
    """

    problem: Problem = field(default_factory=Heat)
    layout: Layout = field(default_factory=Perceptron)
    methods: tuple[Method, ...] = (LevenbergMarquardt(),)
    correction: Surrogate | None = None

    any_mesh: ClassVar[bool] = True
    transient: ClassVar[bool] = True
    tolerance: ClassVar[float] = 1e-9

    def __post_init__(self) -> None:
        object.__setattr__(self, "methods", tuple(self.methods))
        if self.correction is not None:
            for name in ("any_mesh", "one_numbering", "grids", "transient", "tolerance"):
                object.__setattr__(self, name, getattr(self.correction, name))

    def fit(
        self,
        samples: Sequence[Sample],
        *,
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
    ) -> PinnPredictor:
        if self.correction is not None:
            every = Samples.pack(samples)
            alone = replace(self, correction=None).fit((), seed=seed, progress=progress)
            held = None if validation is None else left(alone, validation)
            inner = self.correction.fit(
                left(alone, every), validation=held, seed=seed, progress=progress
            )
            card = replace(inner.card, fit={**alone.card.fit, "correction": dict(inner.card.fit)})
            return PinnPredictor(
                self, inner.signature, card, alone.weights, alone.usual, alone.tasks, inner
            )
        data: Mapping[str, tuple[Term, ...]] = {}
        training: Mapping[str, Any] = {}
        if len(samples):
            every = _checked(self.problem.signature(), samples)
            data, training = self.problem.data(every), describe(every)
        tasks = self.tasks(data)
        weights, told = {}, {}
        for name, task in tasks.items():
            weights[name], told[name] = self._solved(task, seed, progress)
        fit = {"parameters": sum(len(w) for w in weights.values()), **told}
        card = Card(training, fit, seed=seed)
        own = self.tasks({})
        signature = self.problem.signature()
        bare = PinnPredictor(self, signature, card, weights, {}, own, None)
        return replace(bare, usual=bare.measured(seed))

    def tasks(self, data: Mapping[str, Any]) -> dict[str, Task]:
        """A network for each set of equations."""
        equations = self.problem.equations()
        return {k: Task.of(e, self.layout, data.get(k, ())) for k, e in equations.items()}

    def _solved(self, task: Task, seed: int, progress: Progress) -> tuple[Tensor, dict[str, Any]]:
        weights, told = task.network.drawn(seed), {}
        for method in self.methods:
            weights, found = method.minimised(task, weights, seed, progress)
            told[type(method).__name__] = found
        return weights, told

    def restore(self, signature: Signature, card: Card, state: State) -> PinnPredictor:
        parts = state.parts()
        weights = {k: torch.as_tensor(np.array(w)) for k, w in parts["weights"].arrays.items()}
        inner = None
        if self.correction is not None:
            inner = self.correction.restore(signature, card, parts["correction"])
        usual = {k: float(v) for k, v in parts["weights"].values.items()}
        return PinnPredictor(self, signature, card, weights, usual, self.tasks({}), inner)

    @classmethod
    def tiny(cls) -> Pinn:
        few = LevenbergMarquardt(steps=4, points=64, validation=64)
        return cls(Heat(), Perceptron(8, 2), (few,), Polynomial(2))


@dataclass(frozen=True, eq=False)
class PinnPredictor(Predictor):
    """Solved equations: `weights` by their names, `usual` the residuals that are not warned
    of, and what the `correction` adds."""

    recipe: Pinn
    weights: Mapping[str, Tensor]
    usual: Mapping[str, float]
    tasks: Mapping[str, Task]
    correction: Predictor | None

    def answer(self, cases: Cases, device: str | None) -> Predictions:
        if self.correction is not None:
            found = self.correction.answer(cases, device)
            return self._added(found, cases, device)
        found = self.recipe.problem.answer(cases, self.solutions(device))
        return replace(found, trust=tuple(self.judged(cases)))

    def solutions(self, device: str | None = None) -> dict[str, Solution]:
        """The equations' unknowns at any points."""
        return {k: self._solution(k, torch.device(device or "cpu")) for k in self.tasks}

    def _solution(self, name: str, where: torch.device) -> Solution:
        task, weights = self.tasks[name], self.weights[name].to(where)

        def solution(points: Points) -> Float[Tensor, "row unknown"]:
            with torch.no_grad():
                parts = [
                    at(task.network(weights, at.features)).value
                    for part in points.to(where).split(2**15)
                    for at in (task.equations.ansatz(Jet.coordinates(part, 0, 0)),)
                ]
            return torch.cat(parts).cpu()

        return solution

    def _added(self, found: Predictions, cases: Cases, device: str | None) -> Predictions:
        own = self.physics(cases, device)
        if own is None:
            return found
        mean = {
            k: replace(f, values=f.values + own.mean[k].values) if k in own.mean else f
            for k, f in found.mean.items()
        }
        scalars = {
            k: replace(e, mean=e.mean + own.scalars[k].mean) if k in own.scalars else e
            for k, e in found.scalars.items()
        }
        return replace(found, mean=mean, scalars=scalars)

    def physics(self, cases: Cases, device: str | None = None) -> Predictions | None:
        """What the equations alone answer; None where they know none of the outputs."""
        own = self.recipe.problem.signature()
        asked = self.signature if self.correction is not None else own
        if not {*own.fields, *own.scalars} & {*asked.fields, *asked.scalars}:
            return None
        return self.recipe.problem.answer(own.checked_cases(cases), self.solutions(device))

    def residuals(self, cases: Cases, seed: int = 0) -> dict[str, Float[np.ndarray, " case"]]:
        """By equations: the root of the weighted mean square of residuals at each case's parameters
        over the whole domain, which the error of the solution grows with."""
        found = {}
        for name, task in self.tasks.items():
            columns, total = self.recipe.problem.columns(cases, name), np.zeros(len(cases))
            for k, term in enumerate(task.terms):
                r = self._left(task, term, self.weights[name], columns, 1000 * seed + k)
                total += term.weight**2 * r.square().mean(dim=1).numpy()
            found[name] = np.sqrt(total)
        return found

    def _left(
        self, task: Task, term: Term, weights: Tensor, columns: Tensor, seed: int
    ) -> Float[Tensor, "case row"]:
        """Residuals of a term at `LOOKS` rows, the same for all cases but for the parameters."""
        equations, count = task.equations, len(columns)
        points = term.points(sobol(LOOKS, equations.coordinates, seed)).repeat(count, 1, 1)
        own = columns.repeat_interleave(LOOKS, dim=0)[:, None]
        points[..., equations.space + 1 : equations.coordinates] = own
        place = points.flatten(0, 1)[:, : equations.coordinates]
        rows = Rows(term, points, equations.ansatz_at(place))
        with torch.no_grad():
            return rows.residuals(task.network, weights).reshape(count, LOOKS)

    def measured(self, seed: int) -> dict[str, float]:
        """What is usual, at places within the ranges."""
        cases = trials(self.recipe.problem, seed)
        bare = replace(self, weights={k: 0.0 * w for k, w in self.weights.items()})
        own, before = self.residuals(cases, seed), bare.residuals(cases, seed)
        return {
            k: min(SLACK * float(r.max()), UNLEARNED * float(before[k].max()) or np.inf)
            for k, r in own.items()
        }

    def judged(self, cases: Cases) -> list[Trust]:
        """By the place in the ranges of parameters and time, and by residuals."""
        places = _places(self.recipe.problem, cases)
        ratios = {k: r / self.usual[k] for k, r in self.residuals(cases).items()}
        found = []
        for i in range(len(cases)):
            scores = {f"{k} lies {v[i]:.3g} half ranges from the middle": v[i] for k, v in places}
            more = {f"residuals of {k}, {r[i]:.3g} times a limit": r[i] for k, r in ratios.items()}
            reason, score = max({**scores, **more}.items(), key=lambda item: item[1])
            found.append(_verdict(float(score), reason))
        return found

    def state(self) -> State:
        weights = {k: w.numpy() for k, w in self.weights.items()}
        parts = {"weights": State(weights, dict(self.usual))}
        if self.correction is not None:
            parts["correction"] = self.correction.state()
        return State.nested(parts)


def _verdict(score: float, reason: str) -> Trust:
    if score <= 1.0 + 1e-9:
        return Trust("ok", score)
    status: Status = "warn" if score < REJECT else "reject"
    return Trust(status, score, reason)


def _places(problem: Problem, cases: Cases) -> list[tuple[str, Float[np.ndarray, " case"]]]:
    """How many half ranges from its middle each parameter lies, and the last time if that is
    beyond."""
    found = []
    for name, (low, high) in problem.bounds().items():
        if name == "time":
            late = float(cases.times[-1]) / high
            found.append((name, np.full(len(cases), late if late > 1.0 else 0.0)))
            continue
        values = cases.parameters[name].values[:, 0]
        found.append((name, np.abs(2.0 * (values - low) / (high - low) - 1.0)))
    return found


def trials(problem: Problem, seed: int) -> Cases:
    """Cases that fill the ranges of the parameters evenly."""
    from fieldcast.meshes import Case, Mesh

    own = problem.signature()
    bounds = {k: b for k, b in problem.bounds().items() if k in own.parameters}
    unit = sobol(TRIALS, max(len(bounds), 1), seed).numpy()
    mesh = Mesh(np.zeros((1, own.dim)), {"vertex": np.zeros((1, 1), dtype=np.int64)})
    cases = []
    for row in unit.tolist():
        both = zip(bounds, bounds.values(), row[: len(bounds)], strict=True)
        places = {k: low + u * (high - low) for k, (low, high), u in both}
        cases.append(Case(mesh, places, times=np.array(own.times)))
    return own.checked_cases(Cases.pack(cases))


def left(predictor: PinnPredictor, samples: Sequence[Sample]) -> Samples:
    """What equations leave of samples, of the outputs that both have."""
    every = Samples.pack(samples)
    own = predictor.recipe.problem.signature()
    if not {*own.fields, *own.scalars} & {*every.fields, *every.scalars}:
        return every
    p = predictor.recipe.problem.answer(own.checked_cases(every.cases), predictor.solutions())
    fields = {
        k: replace(f, values=f.values - p.mean[k].values) if k in p.mean else f
        for k, f in every.fields.items()
    }
    scalars = {
        k: replace(s, values=s.values - p.scalars[k].mean) if k in p.scalars else s
        for k, s in every.scalars.items()
    }
    return Samples(every.cases, fields, scalars)


def _checked(signature: Signature, samples: Sequence[Sample]) -> Samples:
    every = Samples.pack(samples)
    return replace(every, cases=signature.checked_cases(every.cases))
