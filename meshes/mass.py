"""Integration over a mesh: the P1 mass matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .mesh import Mesh
from .topology import signed_measures

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def mass_matrix(mesh: Mesh) -> csr_array:
    """M_ij = integral of phi_i phi_j with the linear hat functions phi: |T| (1 + delta_ij) /
    ((d+1) (d+2)) per simplex T of dimension d. Points that no cell uses have a zero row."""
    from scipy.sparse import csr_array

    cells, _ = mesh.simplices
    corners = cells.shape[1]
    measure = np.abs(signed_measures(mesh.points, cells)) / (corners * (corners + 1))
    local = measure[:, None, None] * (np.ones((corners, corners)) + np.eye(corners))
    rows = np.repeat(cells, corners, axis=1).ravel()
    cols = np.tile(cells, (1, corners)).ravel()
    n = len(mesh.points)
    return csr_array((local.ravel(), (rows, cols)), shape=(n, n))
