"""Surrogates in an aerodynamicist's terms: pressure coefficients, forces integrated and learnt,
shocks, boundary layers, polars and sensitivities, beside baselines and experiments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Field, Prediction, Predictions, Sample, Scalar
from fieldcast.meshes.prediction import Values
from fieldcast.surrogates import MMGP, Derived, SurfaceForces, WallFlux
from fieldcast.surrogates.derived import DerivedPredictor, Twin
from fieldcast.surrogates.scores import spearman
from fieldcast.surrogates.surrogate import Predictor, Progress, Surrogate, quiet
from fieldcast.surrogates.wrapper import layers

from .learning import LEAST_HELD_OUT, MODEL, held_out
from .walls import height_above, shock_position, wall_facets

LEVEL = 0.95
LAYER = 0.02
"""The boundary layer is looked at to this height, in chords, where nothing else is said."""


@dataclass(frozen=True)
class Flow:
    """What fields mean: `forces` names pressure, friction, the wall's region and the oncoming flow;
    `heat`, where it is given, how the flux into the wall and its peak follow from a temperature;
    `mach` the parameter that tells where flow turns supersonic ("": shocks are not looked for);
    `layer` the height of the boundary layer in chords."""

    forces: SurfaceForces = field(default_factory=SurfaceForces)
    heat: WallFlux | None = None
    mach: str = ""
    layer: float = LAYER

    def recipe(self, inner: Surrogate) -> Derived:
        """A surrogate that integrates what it predicts."""
        return Derived(inner, (self.forces, *([] if self.heat is None else [self.heat])))


@dataclass(frozen=True)
class Term:
    """One line of a comparison: mean `errors` by predictor ("model" first), `relative` or in the
    unit of what is compared, and of the model the rank correlation and the share of cases whose
    truth lies within the 95 % interval (None: not known)."""

    name: str
    errors: Mapping[str, float]
    relative: bool
    spearman: float | None = None
    coverage: float | None = None

    @property
    def lost(self) -> str:
        """The baseline that is better; empty where none is."""
        others = {k: e for k, e in self.errors.items() if k != MODEL}
        best = min(others, key=lambda k: others[k], default="")
        return best if best and others[best] < self.errors[MODEL] else ""


@dataclass(frozen=True)
class Agreement:
    """Of a scalar that is integrated and learnt: the share of cases in which both agree within
    their joint 95 % interval, and the gaps and half widths of that (case,)."""

    name: str
    other: str
    gaps: Float[np.ndarray, " case"]
    widths: Float[np.ndarray, " case"]

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return float((self.gaps <= self.widths).mean())


@dataclass(frozen=True, eq=False)
class Comparison:
    """A predictor on solved cases: `terms`, `agreements`, and its answers."""

    terms: tuple[Term, ...]
    agreements: tuple[Agreement, ...]
    samples: Sequence[Sample]
    predictions: Predictions

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        terms = {
            t.name: {
                "errors": dict(t.errors),
                "relative": t.relative,
                "spearman": t.spearman,
                "coverage": t.coverage,
                "lost_to": t.lost,
            }
            for t in self.terms
        }
        shares = {f"{a.name} / {a.other}": a.share for a in self.agreements}
        return {"cases": len(self.samples), "terms": terms, "agreement": shares}

    def lines(self) -> list[str]:
        """For people."""
        width = max(len(t.name) for t in self.terms)
        names = list(self.terms[0].errors)
        head = f"{'mean error':{width}}  " + "  ".join(f"{n:>12}" for n in names)
        rows = [f"{head}  rank corr.  in 95 %"]
        for t in self.terms:
            errors = "  ".join(
                f"{e:>11.2%} " if t.relative else f"{e:>12.4g}" for e in t.errors.values()
            )
            rank = "" if t.spearman is None else f"{t.spearman:.3f}"
            inside = "" if t.coverage is None else f"{t.coverage:.0%}"
            worse = f"  worse than the {t.lost}" if t.lost else ""
            rows.append(f"{t.name:{width}}  {errors}  {rank:>10}  {inside:>7}{worse}")
        for a in self.agreements:
            rows.append(
                f"{a.name} and {a.other} agree within their joint 95 % interval in {a.share:.0%}"
            )
        return rows


def prepared(flow: Flow, samples: Sequence[Sample]) -> list[Sample]:
    """Solved cases with forces integrated from their own fields."""
    return flow.recipe(MMGP()).prepared(samples)


def learnt_from(
    samples: Sequence[Sample],
    flow: Flow,
    recipe: Surrogate,
    *,
    hold_out: float = 0.2,
    seed: int = 0,
    progress: Progress = quiet,
) -> tuple[Predictor, Comparison]:
    """A predictor fitted to all samples with their integrated forces, and how one fitted without
    some of them compares on those; the `recipe` is around one by `Flow.recipe`.

    Raises:
        ValueError: too few samples to hold any out, or without pressure.
    """
    whole = prepared(flow, samples)
    train, test = held_out(len(whole), hold_out, seed)
    if not test:
        raise ValueError(
            f"expected to hold out at least {LEAST_HELD_OUT} cases and to leave as many, got a "
            f"share of {hold_out:g} of {len(whole)}; hold out more, or add cases"
        )
    trial = recipe.fit([whole[i] for i in train], seed=seed, progress=progress)
    compared = compare(trial, [whole[i] for i in test], flow, progress)
    model = recipe.fit(whole, seed=seed, progress=progress)
    return model.with_scores(compared.to_json()), compared


def flow_of(predictor: Predictor, mach: str = "", layer: float = LAYER) -> Flow:
    """How a predictor integrates forces, and what flows into the wall.

    Raises:
        ValueError: it integrates none.
    """
    recipes = [at.recipe for at in layers(predictor) if isinstance(at.recipe, Derived)]
    quantities = [q for r in recipes for q in r.quantities]
    heat = next((q for q in quantities if isinstance(q, WallFlux)), None)
    for quantity in quantities:
        if isinstance(quantity, SurfaceForces):
            return Flow(quantity, heat, mach, layer)
    raise ValueError(
        "expected a model that integrates forces, as `fieldcast aero fit` makes them, got "
        f"{type(predictor.recipe).__name__}"
    )


def compare(
    predictor: Predictor, samples: Sequence[Sample], flow: Flow, progress: Progress = quiet
) -> Comparison:
    """A predictor beside its baselines, on solved cases that it has not seen.

    Raises:
        ValueError: samples without what is predicted.
    """
    cases = [s.case for s in samples]
    models = {MODEL: predictor, **predictor.baselines()}
    truth = [_Seen(flow, s.case, s.fields, s.scalars) for s in samples]
    found: dict[str, list[_Seen]] = {}
    own: Predictions | None = None
    for k, (name, model) in enumerate(models.items()):
        answers = model.predict(cases)
        own = own or answers
        found[name] = [_Seen(flow, p.case, p.mean, _scalars(p)) for p in answers]
        progress("evaluate", k + 1, len(models))
    assert own is not None
    bounds = _bounds(own)
    terms = [
        *_field_terms(truth, found),
        *_scalar_terms(predictor, truth, found, bounds),
        *_shocks(truth, found),
    ]
    return Comparison(tuple(terms), tuple(_agreements(predictor, own, bounds)), samples, own)


def _scalars(p: Prediction) -> dict[str, Scalar]:
    return {k: Scalar(e.mean, e.unit) for k, e in p.scalars.items()}


def _bounds(predictions: Sequence[Prediction]) -> list[tuple[Values, Values]]:
    """Intervals of cases; none where the level can't be had."""
    try:
        return [p.interval(LEVEL) for p in predictions]
    except ValueError:
        return []


@dataclass(frozen=True, eq=False)
class _Seen:
    """A case with fields and scalars, true or predicted."""

    flow: Flow
    case: Case
    fields: Mapping[str, Field]
    scalars: Mapping[str, Scalar]

    def parts(self, name: str) -> dict[str, np.ndarray]:
        """The values of a field by where they are: all of them, and around a body at the wall, in
        the boundary layer and outside."""
        known = self.fields[name]
        values = known.values
        if name == self.flow.forces.pressure:
            values = values / self.flow.forces.stream.pressure(self.case)
        found = {"": values}
        mesh = self.case.mesh_of(known.part)
        wall = wall_facets(mesh, self.flow.forces.region)
        if known.on == "point" and len(wall):
            height = height_above(mesh, wall)
            chord = float(np.ptp(mesh.points[np.unique(wall), 0]))
            at_wall, low = height <= 1e-9 * chord, height <= self.flow.layer * chord
            rows = {" at the wall": at_wall, " in the layer": low & ~at_wall, " outside": ~low}
            found |= {k: values[:, mask] for k, mask in rows.items() if mask.any()}
        return found

    @cached_property
    def shock(self) -> float:
        """Where it is [chord]; nan where there is none."""
        flow = self.flow
        if not flow.mach or flow.forces.pressure not in self.fields:
            return float("nan")
        known = self.fields[flow.forces.pressure]
        mesh = self.case.mesh_of(known.part)
        if mesh.dim != 2 or mesh.cell_dim != 1 or known.on != "point":
            return float("nan")
        cp = known.values[0, :, 0] / flow.forces.stream.pressure(self.case)
        return shock_position(mesh, cp, float(self.case.parameters[flow.mach]))


def _field_terms(truth: Sequence[_Seen], found: Mapping[str, Sequence[_Seen]]) -> list[Term]:
    """Relative L2 errors, meant over cases."""
    terms = []
    for name in found[MODEL][0].fields:
        real = [t.parts(name) for t in truth]
        said = {k: [s.parts(name) for s in seen] for k, seen in found.items()}
        label = "cp" if name == truth[0].flow.forces.pressure else name
        for part in real[0]:
            errors = {k: _relative(real, rows, part) for k, rows in said.items()}
            terms.append(Term(f"{label}{part}", errors, True))
    return terms


def _relative(
    truth: Sequence[Mapping[str, np.ndarray]], found: Sequence[Mapping[str, np.ndarray]], part: str
) -> float:
    errors = [
        float(np.linalg.norm(t[part] - f[part]) / max(float(np.linalg.norm(t[part])), 1e-300))
        for t, f in zip(truth, found, strict=True)
        if part in t
    ]
    return float(np.mean(errors))


def _scalar_terms(
    predictor: Predictor,
    truth: Sequence[_Seen],
    found: Mapping[str, Sequence[_Seen]],
    bounds: Sequence[tuple[Values, Values]],
) -> list[Term]:
    """Mean absolute errors."""
    terms = []
    for name in predictor.signature.scalars:
        if name not in truth[0].scalars:
            raise ValueError(
                f"case {truth[0].case.label}: expected the output {name!r} to compare with, got "
                f"{sorted(truth[0].scalars)}"
            )
        real = np.array([t.scalars[name].value for t in truth])
        said = {k: np.array([s.scalars[name].value for s in seen]) for k, seen in found.items()}
        errors = {k: float(np.abs(v - real).mean()) for k, v in said.items()}
        covered = None
        if bounds and all(name in low.scalars for low, _ in bounds):
            inside = [
                bool(((low.scalars[name].value <= t) & (t <= high.scalars[name].value)).all())
                for t, (low, high) in zip(real, bounds, strict=True)
            ]
            covered = float(np.mean(inside))
        rank = spearman(real.mean(axis=1), said[MODEL].mean(axis=1))
        terms.append(Term(name, errors, False, rank, covered))
    return terms


def _shocks(truth: Sequence[_Seen], found: Mapping[str, Sequence[_Seen]]) -> list[Term]:
    """Of the cases that have one; a shock that is not predicted counts as a whole chord."""
    real = np.array([t.shock for t in truth])
    has = np.isfinite(real)
    if not has.any():
        return []
    said = {k: np.array([s.shock for s in seen]) for k, seen in found.items()}
    errors = {
        k: float(np.where(np.isfinite(v), np.abs(v - real), 1.0)[has].mean())
        for k, v in said.items()
    }
    return [Term("shock position [chord]", errors, False)]


def twins_of(predictor: Predictor) -> tuple[Twin, ...]:
    """Scalars that are integrated and learnt; of wrappers those of what is inside."""
    for at in layers(predictor):
        if isinstance(at, DerivedPredictor):
            return at.twins
    return ()


def _agreements(
    predictor: Predictor,
    predictions: Sequence[Prediction],
    bounds: Sequence[tuple[Values, Values]],
) -> list[Agreement]:
    """By half widths of both intervals and what the two differed by in training."""
    found = []
    for twin in twins_of(predictor):
        pair = twin.name, twin.other
        if not bounds or any(k not in low.scalars for k in pair for low, _ in bounds):
            continue
        one, two = (np.array([float(p.scalars[k].mean[0]) for p in predictions]) for k in pair)
        half = [
            np.array(
                [0.5 * float((h.scalars[k].value - lo.scalars[k].value)[0]) for lo, h in bounds]
            )
            for k in pair
        ]
        width = np.sqrt(half[0] ** 2 + half[1] ** 2 + (1.96 * twin.spread) ** 2)
        found.append(Agreement(*pair, np.abs(one - two - twin.shift), width))
    return found
