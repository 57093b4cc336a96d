"""Answers by the surrogate where it can be trusted, by the solver where it can't; what the solver
said is kept for the next fit."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from fieldcast.meshes import Case, Estimate, MeshFile, Prediction, Reader, Sample, Trust
from fieldcast.meshes.files import replace_file
from fieldcast.meshes.mesh import Mesh
from fieldcast.meshes.prediction import Status
from fieldcast.meshes.reading import MeshFileError
from fieldcast.meshes.roles import SETTINGS_FILE
from fieldcast.meshes.units import converted
from fieldcast.meshes.writing import write_sample
from fieldcast.solvers import Solver
from fieldcast.solvers.solver import SolverFailed
from fieldcast.surrogates.surrogate import Predictor

Source = Literal["surrogate", "solver", "kept", "failed"]
"""Who answered: the surrogate; the solver; the solver, before; the surrogate, after the solver had
failed."""


@dataclass(frozen=True, eq=False)
class Answers(Sequence[Prediction]):
    """Predictions in the order of the cases, and who gave each."""

    predictions: tuple[Prediction, ...]
    sources: tuple[Source, ...]

    @property
    def counts(self) -> dict[Source, int]:
        """How many answers each gave."""
        return dict(Counter(self.sources))

    def __len__(self) -> int:
        return len(self.predictions)

    @overload
    def __getitem__(self, i: int) -> Prediction: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[Prediction]: ...
    def __getitem__(self, i: Any) -> Any:
        return self.predictions[i]

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.predictions)


@dataclass(frozen=True, eq=False)
class Fallback:
    """`predictor`, and `solver` for cases whose trust is one of `solved` or that it refuses.

    Every sample that the solver finds is written to the folder `keep` at once, called after its
    case, so that no case is solved twice. With the `fieldcast.toml` that is put beside them,
    `fieldcast fit KEEP` reads them.

    Raises:
        ValueError: a solver that answers none of what the predictor does.
    """

    predictor: Predictor
    solver: Solver
    keep: Path
    solved: frozenset[Status] = frozenset({"reject"})

    def __post_init__(self) -> None:
        signature = self.predictor.signature
        wanted = [*signature.fields, *signature.scalars]
        if not set(wanted) & set(self.solver.outputs):
            raise ValueError(
                f"expected a solver with some of the outputs {wanted}, got "
                f"{type(self.solver).__name__} with {sorted(self.solver.outputs)}"
            )

    def predict(self, cases: Sequence[Case], *, device: str | None = None) -> Answers:
        """One answer per case, in order, in the predictor's units. A solved one has no standard
        deviation and is trusted; its reason says who solved it and why.

        Raises:
            ValueError: a case that neither can answer.
            SolverFailed: the solver gave up on a case that the predictor refuses.
        """
        first = self._asked(cases, device)
        found: list[Prediction] = []
        sources: list[Source] = []
        with Reader() as reader:
            for case, answer in zip(cases, first, strict=True):
                if isinstance(answer, Prediction) and answer.trust.status not in self.solved:
                    prediction, source = answer, _SURROGATE
                else:
                    prediction, source = self._fallen_back(case, answer, reader)
                found.append(prediction)
                sources.append(source)
        return Answers(tuple(found), tuple(sources))

    def _asked(
        self, cases: Sequence[Case], device: str | None
    ) -> Sequence[Prediction | ValueError]:
        """The predictor's answers; its refusals where it has some."""
        try:
            return list(self.predictor.predict(cases, device=device))
        except ValueError as error:
            if len(cases) < 2:
                return [error] * len(cases)
        return [answer for case in cases for answer in self._asked([case], device)]

    def _fallen_back(
        self, case: Case, answer: Prediction | ValueError, reader: Reader
    ) -> tuple[Prediction, Source]:
        why = answer.trust.reason if isinstance(answer, Prediction) else str(answer)
        solver = type(self.solver).__name__
        sample, source = self._kept(case, reader), _KEPT
        if sample is None:
            try:
                sample, source = self.solver.solve(case), _SOLVER
            except (SolverFailed, ValueError) as error:
                if not isinstance(answer, Prediction):
                    raise
                trust = replace(answer.trust, reason=f"{why}; {solver} failed: {error}")
                return replace(answer, trust=trust), _FAILED
            self._keep(case, sample)
        return self._prediction(case, sample, f"solved by {solver}: {why}"), source

    def _prediction(self, case: Case, sample: Sample, reason: str) -> Prediction:
        """The solver's answer, of what the predictor answers too, in its units."""
        signature = self.predictor.signature
        fields = {
            name: replace(f, values=converted(f.values, f.unit, kind.unit), unit=kind.unit)
            for name, kind in signature.fields.items()
            if (f := sample.fields.get(name)) is not None
        }
        scalars = {
            name: Estimate(converted(s.value, s.unit, told.unit), None, told.unit)
            for name, told in signature.scalars.items()
            if (s := sample.scalars.get(name)) is not None
        }
        return Prediction(case, fields, None, scalars, trust=Trust("ok", 0.0, reason))

    def _keep(self, case: Case, sample: Sample) -> None:
        self.keep.mkdir(parents=True, exist_ok=True)
        settings = self.keep / SETTINGS_FILE
        if not settings.exists():
            replace_file(settings, self._settings(sample).encode())
        # In the order of the blocks, so that it is read back as it is.
        plain = replace(case, mesh=replace(case.mesh, order=None))
        suffix = ".pvd" if len(case.times) > 1 else ".vtu"
        kept = Sample(plain, sample.fields, sample.scalars)
        write_sample(kept, self.keep / f"{case.id}{suffix}")

    def _settings(self, sample: Sample) -> str:
        """What the names in kept files mean, as TOML."""
        signature = self.predictor.signature
        inputs = [*signature.parameters, *signature.known]
        known = {*sample.fields, *sample.scalars}
        outputs = [k for k in (*signature.fields, *signature.scalars) if k in known]
        return f"inputs = {json.dumps(inputs)}\noutputs = {json.dumps(outputs)}\n"

    def _kept(self, case: Case, reader: Reader) -> Sample | None:
        """The sample that was kept of a case; None where there is none that is whole."""
        paths = [self.keep / f"{case.id}{suffix}" for suffix in (".vtu", ".pvd")]
        path = next((p for p in paths if p.exists()), None)
        if path is None:
            return None
        try:
            main = reader.read(path)
            files = {p: reader.read(path.with_name(f"{path.stem}_{p}.vtu")) for p in self._parts()}
        except MeshFileError:
            return None
        if not _same(main.mesh, case.mesh):
            return None
        return self._sample(case, {"": main, **files})

    def _parts(self) -> set[str]:
        """Parts that outputs of the solver live on."""
        kinds = self.predictor.signature.fields.items()
        return {kind.part for name, kind in kinds if kind.part and name in self.solver.outputs}

    def _sample(self, case: Case, files: Mapping[str, MeshFile]) -> Sample | None:
        signature = self.predictor.signature
        fields = {}
        for name, kind in signature.fields.items():
            own = name.removeprefix(f"{kind.part}/")
            f = files[kind.part].fields.get(own) if kind.part in files else None
            if f is not None:
                fields[name] = replace(f, part=kind.part)
        scalars = {k: v for k, v in files[""].scalars.items() if k in signature.scalars}
        wanted = {*signature.fields, *signature.scalars} & set(self.solver.outputs)
        if not wanted <= {*fields, *scalars}:
            return None
        return Sample(case, fields, scalars)


_SURROGATE: Source = "surrogate"
_SOLVER: Source = "solver"
_KEPT: Source = "kept"
_FAILED: Source = "failed"


def _same(one: Mesh, other: Mesh) -> bool:
    """Whether two meshes have the same points, but for coordinates that are nil, and cells."""
    width = max(one.dim, other.dim)
    points, others = (np.pad(m.points, ((0, 0), (0, width - m.dim))) for m in (one, other))
    if list(one.cells) != list(other.cells) or not np.array_equal(points, others):
        return False
    return all(np.array_equal(one.cells[k], other.cells[k]) for k in one.cells)
