"""A fitted surrogate as what a solver calls at every step: U from X, for all members at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from fieldcast.meshes import Case, Cases, Field, Scalar
from fieldcast.meshes.packed import Meshes, PackedField, PackedScalar

from .field_map import FieldMapPredictor, Group
from .surrogate import Predictor

Values = Float[np.ndarray, "member point"]


def closure(
    predictor: Predictor, case: Case, known: str, output: str
) -> Callable[[Values], Values]:
    """The field `output` from the field `known`, both scalar and on points, in the units that the
    predictor learned, on the mesh of `case` and with its parameters (series: at their first time).

    A `FieldMap`'s is asked without its trust, which costs more than the answer.

    Raises:
        ValueError: fields that the predictor does not know, or other inputs that the case lacks.
    """
    signature = predictor.signature
    for name, kinds in ((known, signature.known), (output, signature.fields)):
        kind = kinds.get(name)
        if kind is None or kind.components != 1 or kind.on != "point":
            raise ValueError(
                f"expected a scalar field on points of {sorted(kinds)}, got {name!r}: {kind}"
            )
    if len(signature.known) > 1 or len(signature.times) > 1:
        raise ValueError(
            f"expected a predictor of one time with {known!r} as its only known field, got "
            f"{sorted(signature.known)} and {len(signature.times)} times"
        )
    still = Field(np.zeros((1, len(case.mesh.points), 1)), signature.known[known].unit)
    first = {k: Scalar(s.value[:1], s.unit) for k, s in case.parameters.items()}
    checked = signature.checked(Case(case.mesh, first, {known: still}, name=case.name))
    if isinstance(predictor, FieldMapPredictor):
        return _mapped(predictor, checked, output)
    return _Asked(predictor, checked, known, output)


@dataclass(frozen=True, eq=False)
class _Asked:
    """Any predictor's answer to packed cases."""

    predictor: Predictor
    case: Case
    known: str
    output: str

    def __call__(self, values: Values) -> Values:
        count, points = values.shape
        meshes = Meshes((self.case.mesh,), np.zeros(count, dtype=np.int64))
        kind = self.predictor.signature.known[self.known]
        packed = PackedField(values.reshape(1, -1, 1), meshes.offsets("point"), kind.unit)
        numbers = {
            k: PackedScalar(np.tile(s.value, (count, 1)), s.unit)
            for k, s in self.case.parameters.items()
        }
        cases = Cases({"": meshes}, numbers, {self.known: packed}, self.case.times)
        found = self.predictor.answer(cases, None).mean[self.output].values
        return found.reshape(count, points)


def _mapped(predictor: FieldMapPredictor, case: Case, output: str) -> Callable[[Values], Values]:
    """The map alone, all that does not change done before."""
    reading, net = predictor.reading, predictor.net.to("cpu")
    if 0 not in reading.used:
        raise ValueError("expected a predictor fitted to known fields that vary, got one constant")
    packed = Cases.pack([case])
    template = reading.told(packed, Group(case.mesh, np.zeros(1, dtype=int), 1))[0]
    template = template.to(net.precision)
    near = net.places(case.mesh)
    outputs = [k for k, v in predictor.signature.fields.items() if v.on == "point"]
    column = sum(predictor.signature.fields[k].components for k in outputs[: outputs.index(output)])
    shift, scale = float(reading.inward.shift[0]), float(reading.inward.scale[0])
    low, size = (float(s[column]) for s in (reading.outward[0].shift, reading.outward[0].scale))

    def asked(values: Values) -> Values:
        x = template.expand(len(values), -1, -1).clone()
        x[:, :, 0] = torch.from_numpy((values - shift) / scale)
        with torch.inference_mode():
            found = net(x, near)[:, :, column]
        return low + size * found.numpy().astype(float)

    return asked
