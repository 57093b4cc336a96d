"""Morphing by linear elasticity, boundaries matched by distance: no correspondence is needed, in
the plane and in space (after Kabalan et al. 2024, arXiv:2407.02433)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from .mesh import Mesh
from .morphing import Morph, Morphing
from .normals import point_normals
from .topology import boundary, oriented, signed_measures
from .transfer import closest_on_facets

if TYPE_CHECKING:
    from scipy.sparse import csc_array

POISSON = 0.3
SLIDE = 1e-3
"""Share of the boundary's stiffness that resists sliding along it."""


@dataclass(frozen=True)
class Elastic(Morphing):
    """The mesh is an elastic body whose boundary is pulled, in `steps`, to the nearest point of the
    reference's; it may slide along it. Small cells are stiff, E = 1 + (V_max - V_min) / V."""

    steps: int = 12

    def refusal(self, meshes: Sequence[Mesh]) -> str | None:
        for mesh in meshes:
            if mesh.cell_dim != mesh.dim or mesh.dim < 2:
                return (
                    "it needs cells that fill a space of 2 or 3 dimensions, got cells of "
                    "dimension "
                    f"{mesh.cell_dim} in {mesh.dim}"
                )
        return None

    def to(self, reference: Mesh) -> Morph:
        return _ElasticMorph(reference, self)


class _ElasticMorph(Morph):
    def __init__(self, reference: Mesh, recipe: Elastic) -> None:
        self._reference, self._recipe = reference, recipe
        self._faces = boundary(reference)
        self._kind = reference.topology

    def points(self, mesh: Mesh) -> Float[np.ndarray, "point dim"]:
        kind = mesh.topology
        if kind != self._kind or mesh.dim != self._reference.dim:
            raise ValueError(
                f"expected a mesh like the reference ({self._kind}, in {self._reference.dim} "
                f"dimensions), got {kind}, in {mesh.dim}; no morphing can change that"
            )
        body = _Body(mesh)
        n = self._recipe.steps
        for k in range(n):
            share = 1.0 / (n - k)
            body = body.pulled(share * self._gap(body), slide=SLIDE)
        # What is left is small: the boundary is put on the reference's, the inside follows.
        return body.pulled(self._gap(body), slide=1.0).mesh.points

    def _gap(self, body: _Body) -> Float[np.ndarray, "boundary dim"]:
        x = body.mesh.points[body.rim]
        corners, weights, _ = closest_on_facets(self._reference.points, self._faces, x)
        return np.einsum("pc,pcd->pd", weights, self._reference.points[corners]) - x


@dataclass(frozen=True, eq=False)
class _Body:
    mesh: Mesh

    @cached_property
    def rim(self) -> Int[np.ndarray, " boundary"]:
        return np.unique(boundary(self.mesh))

    def pulled(self, pull: Float[np.ndarray, "boundary dim"], slide: float) -> _Body:
        """Boundary points pulled by `pull` through springs: stiff along the normal, `slide` of
        that along the boundary."""
        from scipy.sparse import coo_array, csc_array
        from scipy.sparse.linalg import splu

        d, n = self.mesh.dim, len(self.mesh.points)
        stiffness = self._stiffness()
        spring = 1e4 * float(stiffness.diagonal().max())
        normal = point_normals(self.mesh)[self.rim]
        blocks = normal[:, :, None] * normal[:, None, :]
        blocks = spring * ((1 - slide) * blocks + slide * np.eye(d))
        dofs = self.rim[:, None] * d + np.arange(d)
        rows, cols = np.repeat(dofs, d, axis=1).ravel(), np.tile(dofs, (1, d)).ravel()
        held = coo_array((blocks.ravel(), (rows, cols)), shape=(n * d, n * d))
        load = np.zeros(n * d)
        load[dofs] = np.einsum("pij,pj->pi", blocks, pull)
        solver = splu(
            csc_array(stiffness + held),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        return _Body(self.mesh.moved(self.mesh.points + solver.solve(load).reshape(n, d)))

    def _stiffness(self) -> csc_array:
        """K_(ai)(bj) = V (lambda g_ai g_bj + mu (g_aj g_bi + delta_ij g_a . g_b)) per simplex, g_a
        the gradient of its linear shape function a; a unit diagonal for points that no cell
        uses."""
        from scipy.sparse import coo_array, csc_array, diags_array

        cells = oriented(self.mesh.points, self.mesh.simplices[0])
        volume = np.maximum(signed_measures(self.mesh.points, cells), 1e-300)
        d = self.mesh.dim
        edges = self.mesh.points[cells[:, 1:]] - self.mesh.points[cells[:, :1]]
        inner = np.linalg.inv(edges).swapaxes(1, 2)
        g = np.concatenate([-inner.sum(axis=1, keepdims=True), inner], axis=1)
        young = 1.0 + (volume.max() - volume.min()) / volume
        lame = young * POISSON / ((1 + POISSON) * (1 - 2 * POISSON)) * volume
        shear = young / (2 * (1 + POISSON)) * volume
        local = np.einsum("e,eai,ebj->eaibj", lame, g, g)
        local += np.einsum("e,eaj,ebi->eaibj", shear, g, g)
        local += np.einsum("e,eak,ebk,ij->eaibj", shear, g, g, np.eye(d))
        dofs = (cells[:, :, None].astype(np.int64) * d + np.arange(d)).reshape(len(cells), -1)
        size = dofs.shape[1]
        rows, cols = np.repeat(dofs, size, axis=1).ravel(), np.tile(dofs, (1, size)).ravel()
        n = len(self.mesh.points) * d
        matrix = csc_array(coo_array((local.ravel(), (rows, cols)), shape=(n, n)))
        return csc_array(matrix + diags_array((matrix.diagonal() == 0).astype(float)))
