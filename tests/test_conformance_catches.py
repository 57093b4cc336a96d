"""The contract tests fail when they should: one honest surrogate passes, six with one bug each
don't."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from typing import ClassVar

import numpy as np
import pytest

from fieldcast.conformance import surrogate_checks as checks
from fieldcast.meshes import Cases, Predictions, Sample, Samples, Trust, plugins
from fieldcast.meshes.packed import PackedEstimate, PackedField
from fieldcast.surrogates import Predictor, Surrogate
from fieldcast.surrogates.joining import joined
from fieldcast.surrogates.signature import Signature
from fieldcast.surrogates.surrogate import Card, Progress, State, quiet

GROUP = "one_mesh"
DEPTHS = {"pressure": 0, "depth": 1}


@dataclass(frozen=True)
class Affine(Surrogate):
    """y = b + W (x - shift) / scale for every value of every output on one mesh, with the spread of
    the residual and of the distance from the middle. Subclasses have one bug each."""

    transient: ClassVar[bool] = False

    def fit(
        self,
        samples: Sequence[Sample],
        *,
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
    ) -> AffinePredictor:
        packed = Samples.pack(samples)
        if len({m.id for m in packed.cases.meshes[""].distinct}) > 1:
            raise ValueError("expected samples on one mesh")
        x = inputs(packed.cases)
        arrays = {"shift": x.mean(0), "scale": x.std(0)}
        design = np.hstack([np.ones((len(x), 1)), (x - arrays["shift"]) / arrays["scale"]])
        for name, field in packed.fields.items():
            values = field.stacked().reshape(len(x), -1)
            arrays[f"field {name}"] = np.linalg.lstsq(design, values, rcond=None)[0]
        for name, scalar in packed.scalars.items():
            arrays[f"scalar {name}"] = np.linalg.lstsq(design, scalar.values, rcond=None)[0]
        for key in [k for k in arrays if k not in ("shift", "scale")]:
            arrays[f"spread of {key}"] = 0.01 * np.ptp(arrays[key][0], keepdims=True) + 0.1
        return self.predictor()(self, Signature.of(packed), Card(seed=seed), arrays)

    def restore(self, signature: Signature, card: Card, state: State) -> AffinePredictor:
        return self.predictor()(self, signature, card, self.recalled(dict(state.arrays)))

    def recalled(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What is made of the arrays of a file."""
        return arrays

    def predictor(self) -> type[AffinePredictor]:
        """What it becomes when fitted."""
        return AffinePredictor


def inputs(cases: Cases) -> np.ndarray:
    """Parameters and the known field's range, one row a case."""
    rows = [
        [*(float(c.parameters[k]) for k in DEPTHS), float(np.ptp(c.fields["source"].values))]
        for c in cases
    ]
    return np.array(rows)


@dataclass(frozen=True, eq=False)
class AffinePredictor(Predictor):
    """See `Affine`."""

    arrays: Mapping[str, np.ndarray]

    def standardised(self, cases: Cases) -> np.ndarray:
        """The inputs of a batch."""
        return (inputs(cases) - self.arrays["shift"]) / self.arrays["scale"]

    def spread(self, key: str, x: np.ndarray) -> np.ndarray:
        """Standard deviation of each case."""
        return self.arrays[f"spread of {key}"] * (1.0 + (x**2).sum(1, keepdims=True))

    def answer(self, cases: Cases, device: str | None) -> Predictions:
        x = self.standardised(cases)
        design = np.hstack([np.ones((len(x), 1)), x])
        mean, std, scalars = {}, {}, {}
        for name, kind in self.signature.fields.items():
            offsets = cases.meshes[""].offsets(kind.on)
            values = design @ self.arrays[f"field {name}"]
            one = np.ones_like(values) * self.spread(f"field {name}", x)
            mean[name], std[name] = (
                PackedField(v.reshape(1, -1, kind.components), offsets, kind.unit, kind.on)
                for v in (values, one)
            )
        for name, kind in self.signature.scalars.items():
            value = design @ self.arrays[f"scalar {name}"]
            scalars[name] = PackedEstimate(value, self.spread(f"scalar {name}", x), kind.unit)
        return Predictions(cases, mean, std, scalars, None, self.verdicts(x))

    def verdicts(self, x: np.ndarray) -> tuple[Trust, ...]:
        """Within two and a half standard deviations of the training set or not."""
        scores = np.abs(x).max(axis=1) / 2.5
        return tuple(
            Trust("reject" if s > 1 else "ok", float(s), "far" if s > 1 else "") for s in scores
        )

    def state(self) -> State:
        return State(self.arrays)


@dataclass(frozen=True)
class NormaliserForgotten(Affine):
    """`load` does not apply the shift that `fit` subtracted."""

    def recalled(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**arrays, "shift": np.zeros_like(arrays["shift"])}


@dataclass(frozen=True)
class ArrayForgotten(Affine):
    """One array is not in the file and comes back as zeros."""

    def recalled(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**arrays, "scalar peak": np.zeros_like(arrays["scalar peak"])}


class _Swapped(AffinePredictor):
    def standardised(self, cases: Cases) -> np.ndarray:
        return super().standardised(cases)[::-1].copy()


@dataclass(frozen=True)
class OrderSwapped(Affine):
    """The first case gets the last one's answer."""

    def predictor(self) -> type[AffinePredictor]:
        return _Swapped


class _BatchDependent(AffinePredictor):
    def standardised(self, cases: Cases) -> np.ndarray:
        x = super().standardised(cases)
        return x - 0.01 * x.mean(axis=0)


@dataclass(frozen=True)
class BatchDependent(Affine):
    """A batch's own mean enters, as in a normalisation layer left in training mode."""

    def predictor(self) -> type[AffinePredictor]:
        return _BatchDependent


class _NoSpread(AffinePredictor):
    def spread(self, key: str, x: np.ndarray) -> np.ndarray:
        return np.zeros((len(x), 1))


@dataclass(frozen=True)
class SpreadOfZeros(Affine):
    """Says that it is certain where it doesn't know."""

    def predictor(self) -> type[AffinePredictor]:
        return _NoSpread


class _UnitBlind(AffinePredictor):
    def predict(self, cases, *, device=None, batch=1):
        bare = [
            replace(
                case,
                parameters={
                    k: replace(s, unit=self.signature.parameters[k].unit)
                    for k, s in case.parameters.items()
                },
            )
            for case in cases
        ]
        checked = [self.signature.checked(case) for case in bare]
        return joined(cases, [self.answer(Cases.pack([case]), device) for case in checked])


@dataclass(frozen=True)
class UnitIgnored(Affine):
    """Takes kPa for Pa."""

    def predictor(self) -> type[AffinePredictor]:
        return _UnitBlind


PLUGINS = (
    Affine,
    NormaliserForgotten,
    ArrayForgotten,
    OrderSwapped,
    BatchDependent,
    SpreadOfZeros,
    UnitIgnored,
)


@pytest.fixture(autouse=True)
def _installed(monkeypatch):
    """The classes above, as if a package had installed them."""
    group = "fieldcast.surrogates"
    points = {
        cls.__name__: EntryPoint(cls.__name__, f"{__name__}:{cls.__qualname__}", group)
        for cls in PLUGINS
    }
    inner = plugins._installed

    def installed(kind):
        return inner(kind) | (points if kind == "surrogates" else {})

    monkeypatch.setattr(plugins, "_installed", installed)


CHECKS = {
    "order": checks.check_one_prediction_per_case_in_order,
    "invariance": checks.check_invariance,
    "packed": checks.check_packed_and_listed_agree,
    "inputs": checks.check_inputs_stay_as_they_are,
    "wrong cases": checks.check_wrong_cases_are_refused,
    "wrong samples": checks.check_wrong_samples_are_refused,
    "units": checks.check_units_are_converted,
    "outputs": checks.check_outputs_are_those_of_training,
    "read-only": checks.check_answers_are_read_only,
    "learnt": checks.check_training_set_is_learnt,
    "spread": checks.check_spread,
    "far": checks.check_spread_grows_outside,
    "intervals": checks.check_intervals,
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=list(CHECKS))
def test_an_honest_surrogate_passes(check):
    check(Affine, GROUP)


def test_an_honest_surrogate_passes_when_saved(tmp_path):
    checks.check_recipe(Affine)
    checks.check_saved_and_loaded(Affine, GROUP, tmp_path / "model")


@pytest.mark.parametrize("cls", [NormaliserForgotten, ArrayForgotten])
def test_what_is_lost_in_the_file_is_caught(cls, tmp_path):
    with pytest.raises(AssertionError, match="saved and loaded"):
        checks.check_saved_and_loaded(cls, GROUP, tmp_path / "model")


def test_swapped_predictions_are_caught():
    with pytest.raises(AssertionError, match="together and alone"):
        checks.check_one_prediction_per_case_in_order(OrderSwapped, GROUP)
    with pytest.raises(AssertionError, match="batches"):
        checks.check_invariance(OrderSwapped, GROUP)


def test_batch_dependence_is_caught():
    with pytest.raises(AssertionError, match="together and alone"):
        checks.check_one_prediction_per_case_in_order(BatchDependent, GROUP)
    with pytest.raises(AssertionError, match="batches"):
        checks.check_invariance(BatchDependent, GROUP)


def test_a_spread_of_zeros_is_caught():
    with pytest.raises(AssertionError, match="what isn't known"):
        checks.check_spread(SpreadOfZeros, GROUP)
    with pytest.raises(AssertionError, match="temperature"):
        checks.check_spread_grows_outside(SpreadOfZeros, GROUP)


def test_ignored_units_are_caught():
    with pytest.raises(AssertionError, match="in other units"):
        checks.check_units_are_converted(UnitIgnored, GROUP)
