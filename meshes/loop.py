"""Closed curves in the plane led onto the unit circle by shares of their length: sections of wings,
walls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from .mesh import Mesh
from .morphing import Morph, Morphing
from .topology import cycles
from .transfer import Transfer


@dataclass(frozen=True)
class Loop(Morphing):
    """Counter-clockwise from the point farthest right (of a section its tail) to the one farthest
    left (its nose), which goes to the half of the circle, and back; in between by the share of the
    length."""

    def refusal(self, meshes: Sequence[Mesh]) -> str | None:
        for mesh in meshes:
            if not is_loop(mesh):
                return (
                    "it needs one closed curve of lines in the plane, got cells of dimension "
                    f"{mesh.cell_dim} in {mesh.dim} dimensions or an open curve"
                )
        return None

    def to(self, reference: Mesh) -> Morph:
        return _LoopMorph()


class _LoopMorph(Morph):
    convex = True

    def points(self, mesh: Mesh) -> Float[np.ndarray, "point dim"]:
        if not is_loop(mesh):
            raise ValueError(
                "expected one closed curve of lines in the plane as the training meshes are, got "
                f"cells of dimension {mesh.cell_dim} in {mesh.dim} dimensions or an open curve"
            )
        order = ordered(mesh)
        points = mesh.points[order]
        order = np.roll(order, -int(points[:, 0].argmax()))
        points = mesh.points[order]
        way = np.r_[
            0.0, np.linalg.norm(np.diff(points, axis=0, append=points[:1]), axis=1).cumsum()
        ]
        nose = int(points[:, 0].argmin())
        ahead = way[:-1] / max(way[nose], 1e-300)
        back = 1.0 + (way[:-1] - way[nose]) / max(way[-1] - way[nose], 1e-300)
        angle = np.pi * np.where(np.arange(len(order)) < nose, ahead, back)
        found = np.empty_like(mesh.points)
        found[order] = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return found

    def interpolant(self, moved: Mesh) -> CircleInterpolant:
        return CircleInterpolant(moved)


def is_loop(mesh: Mesh) -> bool:
    """Whether it is one closed curve in the plane, all of its points on it."""
    if mesh.dim != 2 or mesh.cell_dim != 1 or len(mesh.points) < 3:
        return False
    lines, _ = mesh.simplices
    ends = np.bincount(lines.ravel(), minlength=len(mesh.points))
    return bool((ends == 2).all()) and mesh.topology.components == 1


def ordered(mesh: Mesh) -> Int[np.ndarray, " point"]:
    """The points of a closed curve one after the other, counter-clockwise."""
    lines = mesh.simplices[0].astype(np.int64)
    n = len(mesh.points)
    # Each point has two lines, whichever way they run: follow them as pairs of a line and the end
    # that is left by; there are two ways around, of which the first is taken.
    sides = np.concatenate([lines, lines[:, ::-1]])
    start = np.argsort(sides[:, 0], kind="stable").reshape(n, 2)
    other = np.r_[np.arange(n) + n, np.arange(n)]
    at_end = start[sides[:, 1]]
    follow = np.where(at_end[:, 0] == other, at_end[:, 1], at_end[:, 0])
    order = sides[cycles(follow)[0], 0]
    x, y = mesh.points[order].T
    area = float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())
    return order if area > 0 else order[::-1].copy()


@dataclass(frozen=True, eq=False)
class CircleInterpolant:
    """A closed curve whose points lie on the unit circle: linear in the angle between neighbours.
    As `transfer.Interpolant`, for what passages ask."""

    mesh: Mesh

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """Points by angle, and the angles, from 0 to 2 pi."""
        angle = _angle(self.mesh.points)
        order = np.argsort(angle, kind="stable")
        return order, angle[order]

    @property
    def corners(self) -> Int[np.ndarray, "segment 2"]:
        """The points of each segment, by angle."""
        order, _ = self._sorted
        return np.stack([order, np.roll(order, -1)], axis=1)

    @cached_property
    def simplex_of(self) -> Int[np.ndarray, " point"]:
        """A segment of each of the mesh's points."""
        order, _ = self._sorted
        found = np.empty(len(order), dtype=np.int64)
        found[order] = np.arange(len(order))
        return found

    def near(self, x: Float[np.ndarray, "point 2"]) -> Int[np.ndarray, " point"]:
        """The segment of each point."""
        return self.locate(x)[0]

    def locate(
        self, x: Float[np.ndarray, "point 2"], start: Int[np.ndarray, " point"] | None = None
    ) -> tuple[Int[np.ndarray, " point"], Bool[np.ndarray, " point"]]:
        """The segment of each point; all are inside."""
        _, angles = self._sorted
        found = (np.searchsorted(angles, _angle(x), side="right") - 1) % len(angles)
        return found, np.ones(len(x), dtype=bool)

    def to(self, x: Float[np.ndarray, "point 2"]) -> Transfer:
        """The operator that carries values from the mesh's points to `x`."""
        return self.transfer(x, *self.locate(x))

    def transfer(
        self,
        x: Float[np.ndarray, "point 2"],
        simplex: Int[np.ndarray, " point"],
        inside: Bool[np.ndarray, " point"],
    ) -> Transfer:
        """As `to`, for points that were located before."""
        from scipy.sparse import csr_array

        _, angles = self._sorted
        turn = 2.0 * np.pi
        width = (np.roll(angles, -1) - angles) % turn
        share = ((_angle(x) - angles[simplex]) % turn) / np.maximum(width[simplex], 1e-300)
        # Rounding may put a point a full turn behind its own place.
        share = np.where(share > 1.0 + 1e-6, 0.0, np.clip(share, 0.0, 1.0))
        weights = np.stack([1.0 - share, share], axis=1)
        n = len(x)
        shape = n, len(self.mesh.points)
        pointer = np.arange(0, 2 * n + 1, 2)
        operator = csr_array((weights.ravel(), self.corners[simplex].ravel(), pointer), shape=shape)
        return Transfer(operator, np.zeros(n, dtype=bool), np.zeros(n))


def _angle(x: Float[np.ndarray, "point 2"]) -> Float[np.ndarray, " point"]:
    angle: np.ndarray = np.arctan2(x[:, 1], x[:, 0]) % (2.0 * np.pi)
    # A whole turn by rounding is none.
    return np.where(angle > 2.0 * np.pi - 1e-12, 0.0, angle)
