"""Points spread evenly along the boundary of plane meshes: shapes as rows of numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case
from fieldcast.meshes.topology import boundary_loops


@dataclass(frozen=True)
class Sensors:
    """`count` points on the boundary, or on the part of it whose points lie in `region`, evenly by
    arc length from its leftmost (then lowest) end on; a region in several pieces from the longest
    to the shortest."""

    count: int = 64
    region: str = ""

    def __post_init__(self) -> None:
        if self.count < 2:
            raise ValueError(f"expected at least 2 sensors, got {self.count}")

    def on(self, case: Case) -> Float[np.ndarray, "sensor 2"]:
        """Where they lie.

        Raises:
            ValueError: a mesh that is not plane, or without that region on its boundary.
        """
        mesh = case.mesh
        if mesh.dim != 2 or mesh.cell_dim != 2:
            raise ValueError(
                f"case {case.label}: expected a plane mesh to put sensors on the boundary of, got "
                f"cells of dimension {mesh.cell_dim} in {mesh.dim}"
            )
        pieces = [
            mesh.points[piece]
            for loop in boundary_loops(mesh)
            for piece in self._pieces(case, loop)
        ]
        if not pieces:
            raise ValueError(
                f"case {case.label}: expected the region {self.region!r} on the boundary, got "
                f"regions {sorted(mesh.regions)}"
            )
        lengths = [np.linalg.norm(np.diff(x, axis=0), axis=1).sum() for x in pieces]
        order = np.argsort(lengths)[::-1]
        return _evenly([pieces[int(k)] for k in order], self.count)

    def _pieces(self, case: Case, loop: np.ndarray) -> list[np.ndarray]:
        """The runs of a closed loop that lie in the region, each with both its ends."""
        points = case.mesh.points
        if not self.region:
            first = int(np.lexsort(points[loop].T[::-1])[0])
            closed = np.roll(loop, -first)
            return [np.append(closed, closed[0])]
        inside = np.isin(loop, case.mesh.regions.get(self.region, np.empty(0)))
        side = inside & np.roll(inside, -1)
        if side.all():
            return Sensors(self.count)._pieces(case, loop)
        starts = np.flatnonzero(side & ~np.roll(side, 1))
        found = []
        for start in starts.tolist():
            rolled = np.roll(side, -start)
            run = int(np.argmin(rolled))
            piece = np.roll(loop, -start)[: run + 1]
            ends = points[piece[[0, -1]]]
            found.append(piece if tuple(ends[0]) <= tuple(ends[1]) else piece[::-1])
        return found


def _evenly(
    pieces: list[Float[np.ndarray, "_point 2"]], count: int
) -> Float[np.ndarray, "sensor 2"]:
    """So many points along polylines, one after the other, ends included."""
    points = np.concatenate(pieces)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    # From one piece to the next is no way.
    steps[np.cumsum([len(x) for x in pieces])[:-1] - 1] = 0.0
    arc = np.concatenate([[0.0], np.cumsum(steps)])
    at = np.linspace(0.0, arc[-1], count)
    place = np.clip(np.searchsorted(arc, at, side="right") - 1, 0, len(steps) - 1)
    share = np.where(steps[place] > 0, (at - arc[place]) / np.maximum(steps[place], 1e-300), 0.0)
    return points[place] + share[:, None] * (points[place + 1] - points[place])
