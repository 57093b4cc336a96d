"""Surrogates in a reduced space: morph, reduce by POD, regress, and carry back.

What differs between MMGP and the baselines is the regression alone.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fieldcast.meshes import Case, Cases, Normal, Predictions, Sample, Samples
from fieldcast.meshes.chart import Passage
from fieldcast.meshes.morphing import Morphing
from fieldcast.meshes.packed import PackedEstimate, PackedField, PackedScalar, PackedValues
from fieldcast.meshes.threads import side_by_side

from .embedding import Basis, Carried, Embedding, Sizes, carry, embed
from .features import Features, Transform
from .gp import Training
from .guard import Guard, Place, told
from .regression import Answer, Regression
from .signature import Signature, describe
from .surrogate import (
    Card,
    Differentiable,
    Gradient,
    Joint,
    Predictor,
    Progress,
    Pulled,
    State,
    Surrogate,
    Trials,
    quiet,
)

WIDEST = 4.0
"""The largest variance of a logarithm: beyond it nothing is known but the median, and a mean of
exp(v / 2) medians would be no answer."""


@dataclass(frozen=True, eq=False)
class Model:
    """What was learnt: one regression per field (of its coefficients) and per scalar
    (transformed)."""

    fields: Mapping[str, Regression]
    scalars: Mapping[str, Regression]
    transforms: Mapping[str, Transform]

    def to(self, device: str) -> Model:
        """The same on another device."""
        return replace(
            self,
            fields={k: r.to(device) for k, r in self.fields.items()},
            scalars={k: r.to(device) for k, r in self.scalars.items()},
        )


@dataclass(frozen=True, eq=False)
class Task:
    """What a regression is fitted to: standardised inputs `x` (case, input), coefficients of each
    field and values of each scalar, (case, output); the same of validation cases, where some were
    given; and what was learnt from more cases than these, where hyper-parameters come from there.
    """

    x: Tensor
    fields: Mapping[str, Tensor]
    scalars: Mapping[str, Tensor]
    validation: Task | None = None
    like: Model | None = None


class Reduced(Surrogate):
    """A recipe whose predictors live in a reduced space. `validated`: it selects by validation
    cases, where some are given."""

    transient: ClassVar[bool] = True
    validated: ClassVar[bool] = False

    @abstractmethod
    def layout(self) -> tuple[Morphing | None, Sizes]:
        """The morphing (None: chosen), and the sizes of the reduced space."""

    @property
    def kernels(self) -> Training | None:
        """How kernels are trained; None where there are none."""
        return None

    @abstractmethod
    def learn(self, task: Task, seed: int, progress: Progress) -> tuple[Model, dict[str, Any]]:
        """The regressions, and what to say of them in the fit report."""

    def fit(
        self,
        samples: Sequence[Sample],
        *,
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
    ) -> ReducedPredictor:
        packed = Samples.pack(samples)
        Signature.of(packed)
        morphing, sizes = self.layout()
        held = Samples.pack(validation) if validation and self.validated else None
        return self.fit_carried(
            carry(packed, morphing, progress, normals=sizes.normals), seed, progress, held
        )

    def fit_carried(
        self,
        carried: Carried,
        seed: int = 0,
        progress: Progress = quiet,
        validation: Samples | None = None,
        like: Model | None = None,
    ) -> ReducedPredictor:
        """As `fit`, from samples that were carried to a common mesh before; `like` as in
        `Task`."""
        if len(carried.samples) < 2:
            raise ValueError("expected at least 2 training cases, got 1")
        samples = carried.samples
        embedding, inputs, coefficients = embed(carried, self.layout()[1])
        progress("reduce", 1, 1)
        features = Features.fit(samples.cases, inputs.columns)
        if not len(features.names):
            raise ValueError(
                "expected training cases that differ in shape, parameters or known fields, got "
                "cases that are all alike; name the inputs (--inputs)"
            )
        raw = features.raw(samples.cases, inputs.columns)
        task = Task(
            torch.as_tensor(features.standardised(raw)),
            {k: torch.as_tensor(a) for k, a in coefficients.items()},
            {k: torch.as_tensor(s.values) for k, s in samples.scalars.items()},
            like=like,
        )
        if validation is not None:
            task = replace(task, validation=_reduced(validation, samples, embedding, features))
        model, learnt = self.learn(task, seed, progress)
        card = Card(
            describe(samples), {**_report(carried, embedding, features), **learnt}, seed=seed
        )
        units = {k: s.unit for k, s in samples.cases.parameters.items()}
        guard = Guard.fit(features, Place(raw, inputs.residuals, carried.clamped), units)
        return ReducedPredictor(
            self, Signature.of(samples), card, embedding, features, model, guard
        )

    def trials(self, samples: Sequence[Sample], progress: Progress = quiet) -> Trials:
        packed = Samples.pack(samples)
        Signature.of(packed)
        morphing, sizes = self.layout()
        carried = carry(packed, morphing, progress, normals=sizes.normals)
        return CarriedTrials(self, carried, packed)

    def estimate(self, samples: Sequence[Sample]) -> tuple[float, int] | None:
        from .reduced_estimate import estimate

        return estimate(self, Samples.pack(samples))

    def restore(self, signature: Signature, card: Card, state: State) -> ReducedPredictor:
        from .reduced_state import unpacked

        return ReducedPredictor(self, signature, card, *unpacked(state, self.layout()[0]))


@dataclass(frozen=True, eq=False)
class CarriedTrials(Trials):
    """Trials that share the common mesh and all samples on it."""

    recipe: Reduced
    carried: Carried
    samples: Samples

    def fit(
        self,
        rows: Sequence[int],
        *,
        seed: int = 0,
        like: Predictor | None = None,
        progress: Progress = quiet,
    ) -> ReducedPredictor:
        model = like.model if isinstance(like, ReducedPredictor) else None
        return self.recipe.fit_carried(self.carried.rows(rows), seed, progress, like=model)


def _reduced(samples: Samples, training: Samples, embedding: Embedding, features: Features) -> Task:
    """Validation samples as a task of the same space.

    Raises:
        ValueError: values that are not finite; other inputs or outputs than the training set's.
    """
    signature, found = Signature.of(training), Signature.of(samples)
    if (found.fields, found.scalars) != (signature.fields, signature.scalars):
        raise ValueError(
            "expected validation cases with the outputs of the training set, "
            f"{[*signature.fields, *signature.scalars]}, in its units and on its points or cells, "
            f"got {[*found.fields, *found.scalars]}"
        )
    cases = Cases.pack([signature.checked(s.case) for s in samples])
    passages = embedding.passages(cases)
    raw = features.raw(cases, embedding.inputs(cases, passages).columns)
    return Task(
        torch.as_tensor(features.standardised(raw)),
        {
            k: torch.as_tensor(embedding.encoded(k, samples.fields[k], passages))
            for k in embedding.fields
        },
        {k: torch.as_tensor(samples.scalars[k].values) for k in training.scalars},
    )


def _report(carried: Carried, embedding: Embedding, features: Features) -> dict[str, Any]:
    report: dict[str, Any] = {
        "morphing": type(carried.chart.morphing).__name__,
        "reason": carried.why,
        "common_nodes": len(carried.chart.reference.points),
        "flipped_cells": carried.flipped,
        "clamped_share": float(carried.clamped.max(initial=0.0)),
        "inputs": list(features.names),
        "trust": told(len(carried.samples)),
        "fields": {
            name: {
                "modes": len(basis.pod.modes),
                "energy": float(basis.pod.energy.sum()),
                "round_trip": embedding.errors[name].round_trip,
                "projection": embedding.errors[name].projection,
            }
            for name, basis in embedding.fields.items()
        },
    }
    return report


@dataclass(frozen=True, eq=False)
class ReducedPredictor(Differentiable):
    """A regression between two reduced spaces."""

    embedding: Embedding
    features: Features
    model: Model
    guard: Guard

    def answer(self, cases: Cases, device: str | None) -> Predictions:
        return self._through(self.embedding.passages(cases), cases, device)

    def beside(
        self, others: Sequence[Predictor], cases: Cases, device: str | None
    ) -> list[Predictions]:
        chart, passages = self.embedding.chart, self.embedding.passages(cases)
        found = [self._through(passages, cases, device)]
        for other in others:
            if isinstance(other, ReducedPredictor) and other.embedding.chart.equals(chart):
                found.append(other._through(passages, cases, device))
            else:
                found.append(other.answer(cases, device))
        return found

    def _through(
        self, passages: Sequence[Passage], cases: Cases, device: str | None
    ) -> Predictions:
        inputs = self.embedding.inputs(cases, passages)
        raw = self.features.raw(cases, inputs.columns)
        x = torch.as_tensor(self.features.standardised(raw))
        model = self.model
        if device is not None:
            x, model = x.to(device), model.to(device)
        with torch.no_grad():
            fields = {k: _on_cpu(r(x)) for k, r in model.fields.items()}
            scalars = {k: _on_cpu(r(x)) for k, r in model.scalars.items()}
        mean, epistemic, aleatoric = self._decoded(cases, passages, fields)
        # A field that never varied has no modes, and nothing is known of its spread.
        known = [
            k
            for k, answer in fields.items()
            if answer.epistemic is not None and answer.mean.shape[1]
        ]
        estimates, split = self._estimates(scalars)
        clamped = np.array([p.clamped for p in passages])
        parts = None
        if known or any(s.epistemic is not None for s in scalars.values()):
            parts = {
                "epistemic": PackedValues(epistemic, split[0]),
                "aleatoric": PackedValues(aleatoric, split[1]),
            }
        return Predictions(
            cases,
            mean,
            {k: _total(epistemic[k], aleatoric[k]) for k in known} if known or not mean else None,
            estimates,
            parts,
            self.guard.judge(Place(raw, inputs.residuals, clamped)),
            Normal(self._logarithmic()),
        )

    def ways(self, cases: Cases, device: str | None = None) -> Iterator[Predictions]:
        passages = self.embedding.passages(cases)
        raw = self.features.raw(cases, self.embedding.inputs(cases, passages).columns)
        x = torch.as_tensor(self.features.standardised(raw))
        with torch.no_grad():
            answers = {k: _on_cpu(r(x)) for k, r in self.model.fields.items()}
        if any(a.epistemic is None for a in answers.values() if a.mean.shape[1]):
            return
        centre, _, _ = self._decoded(cases, passages, answers)
        for name, answer in answers.items():
            for step in answer.steps():
                moved = replace(answer, mean=answer.mean + step)
                fields, _, _ = self._decoded(cases, passages, {**answers, name: moved})
                yield Predictions(cases, {**centre, name: fields[name]})

    def inputs(self, cases: Sequence[Case]) -> np.ndarray:
        checked = Cases.pack([self.signature.checked(case) for case in cases])
        found = self.embedding.inputs(checked, self.embedding.passages(checked))
        return self.features.standardised(self.features.raw(checked, found.columns))

    def joint(self, cases: Sequence[Case], output: str) -> Joint | None:
        regressions = {**self.model.fields, **self.model.scalars}
        if output not in regressions:
            raise ValueError(f"expected an output of {sorted(regressions)}, got {output!r}")
        inputs, regression = self.inputs(cases), regressions[output]
        x = torch.as_tensor(inputs)
        with torch.no_grad():
            found = regression.joint(x)
            if found is None:
                return None
            covariance, noise = (part.cpu().numpy() for part in found)
            mean = None
            if output in self.model.scalars:
                mean = regression(x).mean.cpu().numpy().mean(axis=1)
        return Joint(mean, covariance, noise, inputs, output in self._logarithmic())

    def state(self) -> State:
        from .reduced_state import packed

        return packed(self.embedding, self.features, self.model, self.guard)

    def baselines(self) -> Mapping[str, Predictor]:
        from .baselines import MeanField, NearestCase, PodRidge

        fields = {k: r.training() for k, r in self.model.fields.items()}
        scalars = {k: r.training() for k, r in self.model.scalars.items()}
        known = [t for t in (*fields.values(), *scalars.values()) if t is not None]
        if len(known) < len(fields) + len(scalars) or not known:
            return {}
        task = Task(
            known[0][0],
            {k: t[1] for k, t in fields.items() if t is not None},
            {k: self._transform(k).inverse(t[1]) for k, t in scalars.items() if t is not None},
        )
        made: dict[str, Predictor] = {}
        for name, recipe in (
            ("mean field", MeanField()),
            ("nearest case", NearestCase()),
            ("POD + ridge", PodRidge()),
        ):
            made[name] = replace(self, recipe=recipe, model=recipe.learn(task, 0, quiet)[0])
        return made

    def gradients(self, case: Case, outputs: Sequence[str]) -> Mapping[str, Gradient]:
        from .reduced_gradients import gradients

        return gradients(self, case, outputs)

    def pulled(self, case: Case, weights: Mapping[str, np.ndarray]) -> Pulled:
        from .reduced_gradients import pulled

        return pulled(self, case, weights)

    def _transform(self, name: str) -> Transform:
        return self.model.transforms.get(name, Transform())

    def _logarithmic(self) -> frozenset[str]:
        fields = {k for k, b in self.embedding.fields.items() if b.logarithmic}
        return frozenset(fields | {k for k, t in self.model.transforms.items() if t.sign})

    def _estimates(
        self, answers: Mapping[str, Answer]
    ) -> tuple[dict[str, PackedEstimate], tuple[dict[str, PackedScalar], dict[str, PackedScalar]]]:
        estimates, epistemic, aleatoric = {}, {}, {}
        for name, found in answers.items():
            unit = self.signature.scalars[name].unit
            transform = self._transform(name)
            centre = found.mean.numpy()
            if found.epistemic is None or found.noise is None:
                estimates[name] = PackedEstimate(transform.inverse(centre), None, unit)
                continue
            variance, noise = found.epistemic.numpy(), found.noise.numpy()
            mean, slope = _back(transform.sign, centre, variance + noise)
            estimates[name] = PackedEstimate(mean, slope(variance + noise), unit)
            epistemic[name] = PackedScalar(slope(variance), unit)
            aleatoric[name] = PackedScalar(slope(noise), unit)
        return estimates, (epistemic, aleatoric)

    def _decoded(
        self, cases: Cases, passages: Sequence[Passage], answers: Mapping[str, Answer]
    ) -> tuple[dict[str, PackedField], dict[str, PackedField], dict[str, PackedField]]:
        """Mean, and epistemic and aleatoric standard deviation, of all fields on the cases'
        meshes."""
        room: list[dict[str, PackedField]] = []
        for _ in range(3):
            made = {}
            for name, basis in self.embedding.fields.items():
                kind = basis.kind
                offsets = cases.meshes[""].offsets(kind.on)
                times = basis.pod.mean.shape[0] // kind.components
                values = np.empty((times, offsets[-1], kind.components))
                made[name] = PackedField(values, offsets, kind.unit, kind.on, kind.part)
            room.append(made)

        def one(i: int) -> None:
            for on, (stack, places) in self.embedding.stacks.items():
                columns = passages[i].from_common(stack, on)
                for name, place in places.items():
                    decoded = decode(
                        self.embedding.fields[name], columns[:, place], answers[name], i
                    )
                    for packed, values in zip(room, decoded, strict=True):
                        found = packed[name]
                        span = slice(found.offsets[i], found.offsets[i + 1])
                        shape = (span.stop - span.start, -1, found.values.shape[2])
                        found.values[:, span] = values.reshape(shape).swapaxes(0, 1)

        for _ in side_by_side(one, range(len(cases))):
            pass
        return room[0], room[1], room[2]


def _on_cpu(answer: Answer) -> Answer:
    epistemic = None if answer.epistemic is None else answer.epistemic.cpu()
    noise = None if answer.noise is None else answer.noise.cpu()
    deviations = None if answer.deviations is None else answer.deviations.cpu()
    return Answer(answer.mean.cpu(), epistemic, noise, deviations)


def _back(sign: int, centre: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, Any]:
    """Mean in the user's scale, and the function from a variance to a standard deviation there:
    for a logarithm the log-normal's, mean = exp(m + v/2), std(v) = mean sqrt(exp(v) - 1)."""
    if not sign:
        return centre, np.sqrt
    mean = sign * np.exp(centre + 0.5 * np.minimum(variance, WIDEST))
    return mean, lambda v: np.abs(mean) * np.sqrt(np.expm1(np.minimum(v, WIDEST)))


def decode(
    basis: Basis, columns: np.ndarray, answer: Answer, i: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, epistemic and aleatoric standard deviation of case `i`, each (entity, channel), from
    the transported [mean, residual, modes]."""
    channels = len(basis.pod.mean)
    modes = columns[:, 2 * channels :]
    centre = columns[:, :channels] + modes @ _weights(answer.mean[i].numpy(), channels)
    if answer.epistemic is None or answer.noise is None:
        mean = np.exp(centre) if basis.logarithmic else centre
        return mean, np.zeros_like(mean), np.zeros_like(mean)
    variances = np.hstack(
        [_weights(v[i].numpy(), channels) for v in (answer.epistemic, answer.noise)]
    )
    epistemic, aleatoric = np.hsplit(np.square(modes) @ variances, 2)
    if answer.deviations is not None:
        # Members err in all coefficients together.
        each = modes.reshape(len(modes), -1, channels)
        off = np.einsum("ekc,mk->mec", each, answer.deviations[:, i].numpy(), optimize=True)
        epistemic = np.square(off).sum(axis=0)
    aleatoric = aleatoric + np.maximum(columns[:, channels : 2 * channels], 0.0)
    mean, spread = _back(int(basis.logarithmic), centre, epistemic + aleatoric)
    return mean, spread(epistemic), spread(aleatoric)


def _weights(values: Float[np.ndarray, " mode"], channels: int) -> Float[np.ndarray, "row channel"]:
    """The matrix by which columns (mode, channel) are summed over modes with `values` as
    weights."""
    return np.kron(values[:, None], np.eye(channels))


def _total(epistemic: PackedField, aleatoric: PackedField) -> PackedField:
    return replace(epistemic, values=np.hypot(epistemic.values, aleatoric.values))
