"""Plane strain on triangles: strains of displacements, forces of stresses, and the laws."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True, eq=False)
class Body:
    """A supported plane body in triangles.

    `gradients` (element, point, shape, 2) [1/m] are those of the shape functions at the integration
    points, whose `weights` (element, point) are areas [m^2]; `nodes` (element, shape) name the
    functions. Node i has the freedom 2 i + k along axis k; `fixed` freedoms are zero.
    """

    gradients: Float[np.ndarray, "element point shape 2"]
    weights: Float[np.ndarray, "element point"]
    nodes: Int[np.ndarray, "element shape"]
    fixed: Int[np.ndarray, " fixed"]

    @property
    def n_freedoms(self) -> int:
        """Two for each node."""
        return 2 * (int(self.nodes.max()) + 1)

    @cached_property
    def free(self) -> Int[np.ndarray, " free"]:
        """The freedoms that are not supported."""
        return np.setdiff1d(np.arange(self.n_freedoms), self.fixed)

    @cached_property
    def freedoms(self) -> Int[np.ndarray, "element freedom"]:
        """The freedoms of each element."""
        return (2 * self.nodes[:, :, None] + [0, 1]).reshape(len(self.nodes), -1)

    @cached_property
    def operator(self) -> Float[np.ndarray, "element point 3 freedom"]:
        """B with (eps11, eps22, 2 eps12) = B u."""
        g = self.gradients
        b = np.zeros((*g.shape[:2], 3, 2 * g.shape[2]))
        b[:, :, 0, 0::2] = b[:, :, 2, 1::2] = g[..., 0]
        b[:, :, 1, 1::2] = b[:, :, 2, 0::2] = g[..., 1]
        return b

    def strain(self, u: Float[np.ndarray, " freedom"]) -> Float[np.ndarray, "element point 3"]:
        """(eps11, eps22, 2 eps12) [-] of displacements [m]."""
        return (self.operator @ u[self.freedoms][:, None, :, None])[..., 0]

    def force(self, stress: Float[np.ndarray, "element point 3"]) -> Float[np.ndarray, " freedom"]:
        """f = int B^T sigma, with (sig11, sig22, sig12) [MPa], per thickness [MN/m]."""
        weighted = (self.weights[..., None] * stress)[:, :, None, :]
        f = (weighted @ self.operator).sum(axis=(1, 2))
        return np.bincount(self.freedoms.ravel(), f.ravel(), self.n_freedoms)

    @cached_property
    def _pattern(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        number = np.full(self.n_freedoms, -1, dtype=np.int32)
        number[self.free] = np.arange(len(self.free))
        own = number[self.freedoms]
        n = own.shape[1]
        rows, columns = np.repeat(own, n, axis=1).ravel(), np.tile(own, (1, n)).ravel()
        kept = np.flatnonzero((rows >= 0) & (columns >= 0))
        return rows[kept], columns[kept], kept

    def factorised(self, tangent: Float[np.ndarray, "*batch 3 3"]) -> Any:
        """Factors of int B^T tangent B over free freedoms; `tangent` [MPa] may differ by point.

        Raises:
            RuntimeError: the stiffness is singular.
        """
        from scipy.sparse import coo_matrix
        from scipy.sparse.linalg import splu

        b = self.operator
        stressed = self.weights[..., None, None] * (tangent @ b)
        flat = (len(b), -1, b.shape[-1])
        k = b.reshape(flat).swapaxes(1, 2) @ stressed.reshape(flat)
        rows, columns, kept = self._pattern
        shape = (len(self.free), len(self.free))
        matrix = coo_matrix((k.ravel()[kept], (rows, columns)), shape).tocsc()
        symmetric = {"SymmetricMode": True}
        return splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=symmetric)

    def solved(
        self, factors: Any, load: Float[np.ndarray, " freedom"]
    ) -> Float[np.ndarray, " freedom"]:
        """Displacements [m] under `load`, zero at the supports."""
        u = np.zeros(self.n_freedoms)
        u[self.free] = factors.solve(load[self.free])
        return u


@dataclass(frozen=True, eq=False)
class Response:
    """Displacements [m]; at points, (sig11, sig22, sig12) [MPa] and internal variables."""

    displacement: Float[np.ndarray, " freedom"]
    stress: Float[np.ndarray, "element point 3"]
    internal: Mapping[str, Float[np.ndarray, "element point"]] = field(
        default_factory=lambda: MappingProxyType({})
    )


class Law(ABC):
    """A material; `needs` names the parameters that it reads, all in MPa but those without unit."""

    needs: ClassVar[frozenset[str]]

    @abstractmethod
    def respond(
        self, body: Body, load: Float[np.ndarray, " freedom"], values: Mapping[str, float]
    ) -> Response:
        """What `body` does under `load` [MN/m].

        Raises:
            SolverFailed: no equilibrium was found.
        """


def stiffness(young: float, nu: float) -> Float[np.ndarray, "3 3"]:
    """C with (sig11, sig22, sig12) = C (eps11, eps22, 2 eps12), in the unit of `young`."""
    mu, lam = young / 2 / (1 + nu), young * nu / (1 + nu) / (1 - 2 * nu)
    return np.array([[lam + 2 * mu, lam, 0.0], [lam, lam + 2 * mu, 0.0], [0.0, 0.0, mu]])


@dataclass(frozen=True)
class Elastic(Law):
    """Hooke's law, sigma = lambda tr(eps) I + 2 mu eps, of Young's modulus E and the ratio `nu`."""

    nu: float = 0.3

    needs: ClassVar = frozenset({"E"})

    def respond(
        self, body: Body, load: Float[np.ndarray, " freedom"], values: Mapping[str, float]
    ) -> Response:
        if not values["E"] > 0:
            raise ValueError(f"expected Young's modulus above zero, got E = {values['E']} MPa")
        c = stiffness(values["E"], self.nu)
        u = body.solved(body.factorised(c), load)
        return Response(u, body.strain(u) @ c)
