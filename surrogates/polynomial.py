"""A polynomial of what is known at a point, by least squares in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fieldcast.meshes import Mesh

from .field_map import PLACES, FieldMap, Frames, PointMap, averaged
from .surrogate import Progress


@dataclass(frozen=True)
class Polynomial(FieldMap):
    """Every output a polynomial of total `degree` in the known fields at its point and the
    parameters (Wilks 2005, doi:10.1256/qj.04.03)."""

    degree: int = 4

    tolerance: ClassVar[float] = 1e-9

    def __post_init__(self) -> None:
        if self.degree < 0:
            raise ValueError(f"expected a degree of at least 0, got {self.degree}")

    def network(self, inputs: int, outputs: int) -> PointMap:
        return Monomials(inputs, outputs, self.degree)

    def learn(
        self,
        net: PointMap,
        own: Sequence[Frames],
        held: Sequence[Frames],
        seed: int,
        progress: Progress,
    ) -> dict[str, Any]:
        if not isinstance(net, Monomials):
            raise TypeError(f"expected Monomials, got {type(net).__name__}")
        every, columns, error = [*own, *held], [], []
        for k, on in enumerate(PLACES):
            sides = [_rows(net.terms(f.x), f, k, on) for f in every]
            terms, y = (np.concatenate(side) for side in zip(*sides, strict=True))
            # The shortest solution, where cases are fewer than terms.
            weight = np.linalg.lstsq(terms, y, rcond=None)[0]
            columns.append(weight)
            error.append(np.square(y - terms @ weight).mean(axis=0))
        net.get_buffer("weight").copy_(torch.as_tensor(np.concatenate(columns, axis=1)))
        return {"terms": len(columns[0]), "unexplained": np.concatenate(error).tolist()}

    @classmethod
    def tiny(cls) -> Polynomial:
        return cls(2)


def _rows(terms: Tensor, frames: Frames, k: int, on: str) -> tuple[np.ndarray, np.ndarray]:
    """Both sides of the equations of a place."""
    return averaged(frames.mesh, terms, on).flatten(0, 1).numpy(), frames.y[k].flatten(0, 1).numpy()


class Monomials(PointMap):
    """sum_t w_t prod_i x_i^p_ti."""

    precision = torch.float64

    def __init__(self, inputs: int, outputs: int, degree: int) -> None:
        super().__init__()
        grades = (combinations_with_replacement(range(inputs), d) for d in range(degree + 1))
        self.factors = [factors for grade in grades for factors in grade]
        weight = torch.zeros(len(self.factors), outputs, dtype=torch.float64)
        self.register_buffer("weight", weight)

    def places(self, mesh: Mesh) -> Int[Tensor, "point _"]:
        return torch.arange(len(mesh.points))[:, None]

    def terms(self, x: Float[Tensor, "frame point input"]) -> Float[Tensor, "frame point term"]:
        """All products, each from one of a degree less."""
        known: dict[tuple[int, ...], Tensor] = {(): x.new_ones(x.shape[:2])}
        for factors in self.factors[1:]:
            known[factors] = known[factors[:-1]] * x[..., factors[-1]]
        return torch.stack([known[factors] for factors in self.factors], -1)

    def forward(
        self, x: Float[Tensor, "frame point input"], places: Int[Tensor, "point _"]
    ) -> Float[Tensor, "frame point output"]:
        return self.terms(x) @ self.get_buffer("weight")
