"""What networks that read cases point by point share: scales, rows of numbers, what the guard looks
at, what is held out, and outputs packed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fieldcast.meshes import Case, Cases, Mesh, Sample, Samples
from fieldcast.meshes.normals import point_normals
from fieldcast.meshes.packed import PackedField

from .features import Features
from .guard import Place
from .pod_network import FEW, HELD
from .signature import FieldKind, Signature
from .surrogate import State

STILL = 1e-9
"""What varies by less, relative to its size, does not vary."""
SHAPE = "shape"
MOST_HELD = 100
"""More samples are not held out to select by."""


@dataclass(frozen=True, eq=False)
class Scaling:
    """(x - shift) / scale by column; columns that do not vary are shifted alone."""

    shift: Float[np.ndarray, " column"]
    scale: Float[np.ndarray, " column"]

    @classmethod
    def of(cls, parts: Iterable[Float[np.ndarray, "row column"]]) -> Scaling:
        """Mean and standard deviation of all rows, part by part in double precision (Chan, Golub,
        LeVeque 1983, doi:10.1080/00031305.1983.10483115)."""
        count, mean, square = 0, np.zeros(0), np.zeros(0)
        for part in parts:
            rows = np.asarray(part, dtype=float)
            own, n = rows.mean(axis=0), len(rows)
            own_square = np.square(rows - own).sum(axis=0)
            if not count:
                count, mean, square = n, own, own_square
                continue
            gap, total = own - mean, count + n
            square = square + own_square + np.square(gap) * (count * n / total)
            mean, count = mean + gap * (n / total), total
        std = np.sqrt(square / max(count, 1))
        varies = std > STILL * np.maximum(np.abs(mean), 1e-300)
        return cls(mean, np.where(varies, std, 1.0))

    def __call__(self, x: Float[np.ndarray, "*row column"]) -> Float[np.ndarray, "*row column"]:
        return (x - self.shift) / self.scale

    def inverse(self, x: Float[np.ndarray, "*row column"]) -> Float[np.ndarray, "*row column"]:
        """Back."""
        return x * self.scale + self.shift

    def scaled(self, x: Tensor) -> Tensor:
        """Of a tensor, whose derivatives go through."""
        return (x - torch.as_tensor(self.shift)) / torch.as_tensor(self.scale)

    def inverse_of(self, x: Tensor) -> Tensor:
        """Back."""
        return x * torch.as_tensor(self.scale) + torch.as_tensor(self.shift)

    def state(self) -> State:
        """For `restored`."""
        return State({"shift": self.shift, "scale": self.scale})

    @classmethod
    def restored(cls, state: State) -> Scaling:
        """From `state`."""
        return cls(state.arrays["shift"], state.arrays["scale"])


def outward(mesh: Mesh) -> Float[np.ndarray, "node dim"]:
    """Unit normals of boundary points, or of a surface; 0 elsewhere and on lines and points."""
    if mesh.cell_dim < 1 or mesh.cell_dim < mesh.dim - 1 or mesh.dim == 1:
        return np.zeros_like(mesh.points)
    return point_normals(mesh)


def parameter_row(case: Case, signature: Signature) -> Float[np.ndarray, " column"]:
    """All parameters of a case, one behind the other."""
    values = [case.parameters[name].value for name in signature.parameters]
    return np.concatenate(values) if values else np.empty(0)


def scalar_row(sample: Sample, signature: Signature) -> Float[np.ndarray, " column"]:
    """All scalars of a sample."""
    return np.concatenate([sample.scalars[name].value for name in signature.scalars])


def described(cases: Cases) -> dict[str, Float[np.ndarray, "case column"]]:
    """What the guard looks at beside the parameters: extents and node spacing of each shape, mean
    and spread of each known field."""
    shape = []
    for mesh in cases.meshes[""]:
        edges = mesh.edges
        length = (
            np.linalg.norm(np.diff(mesh.points[edges], axis=1), axis=2).mean() if len(edges) else 0
        )
        shape.append([*np.ptp(mesh.points, axis=0), float(length)])
    found = {SHAPE: np.array(shape)}
    for name, packed in cases.fields.items():
        parts = [packed.at(i).values for i in range(len(cases))]
        found[known_key(name)] = np.array(
            [[*v.mean(axis=(0, 1)), *v.std(axis=(0, 1))] for v in parts]
        )
    return found


def known_key(name: str) -> str:
    """A known field's name in `described`, where the mesh has its own."""
    return name if name != SHAPE else f"known {name}"


def place(features: Features, cases: Cases) -> Place:
    """Where cases lie, for the guard."""
    return Place(features.raw(cases, described(cases)), {}, np.zeros(len(cases)))


def packed_outputs(
    name: str, kind: FieldKind, values: Sequence[np.ndarray], cases: Cases
) -> PackedField:
    """Fields of all cases as one."""
    offsets = cases.meshes[""].offsets(kind.on)
    return PackedField(np.concatenate(values)[None], offsets, kind.unit, kind.on)


def split_samples(
    samples: Samples, validation: Sequence[Sample] | None, signature: Signature, seed: int
) -> tuple[list[int], list[Sample]]:
    """The numbers of samples to learn from, and those to select by."""
    if validation is not None:
        checked = [Sample(signature.checked(s.case), s.fields, s.scalars) for s in validation]
        return list(range(len(samples))), checked
    own, held = held_rows(len(samples), seed)
    return own, [samples[i] for i in held]


def held_rows(count: int, seed: int) -> tuple[list[int], list[int]]:
    """The numbers of samples to learn from, and of those held out to select by: one in `HELD`, none
    of few."""
    if count < FEW:
        return list(range(count)), []
    order = np.random.default_rng(seed).permutation(count)
    held = min(max(count // HELD, 1), MOST_HELD)
    return sorted(order[held:].tolist()), sorted(order[:held].tolist())


def check_served(signature: Signature) -> None:
    """Raise a ValueError for what they can't learn."""
    for name, kind in {**signature.known, **signature.fields}.items():
        if kind.part:
            raise ValueError(
                f"field {name!r}: expected fields on the case's own mesh, got one on its part "
                f"{kind.part!r}; make it a mesh of its own"
            )
        if not kind.steady:
            raise ValueError(
                f"field {name!r}: expected steady fields, got {len(signature.times)} times; for "
                "series use Rollout(GraphTransformer())"
            )
    for name, known in signature.known.items():
        other = signature.fields.get(name)
        if other is not None and (other.on, other.components) != (known.on, known.components):
            raise ValueError(
                f"field {name!r}: expected input and output of one kind, got {known} and {other}"
            )
