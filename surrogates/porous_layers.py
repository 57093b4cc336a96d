"""The three layers of a cell by Gauss's nodes: integrals along them, and the modes in which salt
diffuses through all of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fieldcast.meshes.battery import Cell

NODES, SHAPES, MODES, DEGREE = 8, 5, 10, 6
"""Of a layer: Gauss's nodes, and the shapes in which reactions differ from their mean; modes of the
salt, from polynomials of a degree in each layer."""


@dataclass(frozen=True, eq=False)
class Layers:
    """In each layer a coordinate from 0 to 1 has nodes with `weights`; `sums` gives integrals from
    0 to each node. `shapes` are Legendre's polynomials but the constant; `modes` (mode, layer,
    node), with `slopes` by x [1/m] and `rates` [1/s], are those of eps u_t = (e D u_x)_x with a
    mean square of 1 over the pores, `pores` [m] thick in all."""

    weights: Float[Tensor, " node"]
    sums: Float[Tensor, "node node"]
    shapes: Float[Tensor, "shape node"]
    thickness: Float[Tensor, " layer"]
    efficiency: Float[Tensor, " layer"]
    modes: Float[Tensor, "mode layer node"]
    slopes: Float[Tensor, "mode layer node"]
    rates: Float[Tensor, " mode"]
    pores: float
    coefficients: Float[np.ndarray, "layer degree mode"]

    @classmethod
    @lru_cache(maxsize=8)
    def of(cls, cell: Cell) -> Layers:
        """Of a cell."""
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        thickness, porosity, efficiency = _three(cell)
        values, slopes = _legendre(nodes, DEGREE + 1)
        every, _ = _legendre(nodes, NODES)
        # int_0^s P_n(2 s - 1) ds by the polynomials next to it.
        above, _ = _legendre(nodes, NODES + 1)
        below = np.concatenate([-np.ones((1, NODES)), above[:-2]])
        order = np.arange(NODES)[:, None]
        sums = (above[1:] - below) / (2.0 * (2.0 * order + 1.0))
        salt = cell.electrolyte
        d = float(salt.diffusivity(np.array([salt.concentration / 1000.0]))[0])
        half = 0.5 * weights
        mass = [size * (values * half) @ values.T for size in thickness * porosity]
        stiff = [size * (slopes * half) @ slopes.T for size in d * efficiency / thickness]
        pores = float(thickness @ porosity)
        rates, found = _modes(mass, stiff, pores)
        modes = np.einsum("ldm,dn->mln", found, values)
        bends = np.einsum("ldm,dn->mln", found, slopes) / thickness[:, None]

        def tensor(a: np.ndarray) -> Tensor:
            return torch.as_tensor(np.ascontiguousarray(a))

        return cls(
            tensor(half),
            tensor(np.linalg.solve(every, sums).T),
            tensor(every[1 : 1 + SHAPES]),
            tensor(thickness),
            tensor(efficiency),
            tensor(modes),
            tensor(bends),
            tensor(rates),
            pores,
            found,
        )

    def modes_at(self, x: Float[np.ndarray, " point"]) -> Float[np.ndarray, "mode point"]:
        """Anywhere in the cell, x [m] from the negative collector."""
        ends = np.concatenate([[0.0], np.cumsum(self.thickness.numpy())])
        layer = np.clip(np.searchsorted(ends, x, side="right") - 1, 0, 2)
        own = (x - ends[layer]) / self.thickness.numpy()[layer]
        values, _ = _legendre(2.0 * own - 1.0, DEGREE + 1)
        return np.einsum("pdm,dp->mp", self.coefficients[layer], values)


def _three(cell: Cell) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thickness [m], porosity and efficiency of the layers."""
    parts = (cell.negative, cell.electrolyte, cell.positive)
    rows = [(p.thickness, p.porosity, p.efficiency) for p in parts]
    a, b, c = np.array(rows).T
    return a, b, c


def _legendre(z: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """P_n(z), and derivatives by (z + 1) / 2."""
    from numpy.polynomial import legendre

    values = legendre.legvander(z, count - 1).T
    slopes = np.stack([legendre.legval(z, legendre.legder(c)) for c in np.eye(count)])
    return values, 2.0 * slopes


def _modes(
    mass: list[np.ndarray], stiff: list[np.ndarray], pores: float
) -> tuple[np.ndarray, np.ndarray]:
    """Rates and coefficients of the slowest continuous modes but the constant."""
    from scipy.linalg import block_diag, eigh, null_space

    count = DEGREE + 1
    jumps = np.zeros((2, 3 * count))
    ends = (-1.0) ** np.arange(count)
    for k in range(2):
        jumps[k, k * count : (k + 1) * count] = 1.0
        jumps[k, (k + 1) * count : (k + 2) * count] = -ends
    free = null_space(jumps)
    m, k = (free.T @ block_diag(*blocks) @ free for blocks in (mass, stiff))
    rates, vectors = eigh(k, m / pores)
    found = (free @ vectors[:, 1 : 1 + MODES]).reshape(3, count, MODES)
    return rates[1 : 1 + MODES] / pores, found
