"""Closed boundary curves: corners, arc length, and the matching of one curve's corners to another's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True, eq=False)
class Outline:
    """A closed curve through `points`, in order; the last joins the first."""

    points: Float[np.ndarray, "n dim"]

    @cached_property
    def steps(self) -> Float[np.ndarray, " n"]:
        """Length from each point to the next."""
        return np.linalg.norm(np.roll(self.points, -1, axis=0) - self.points, axis=1)

    @cached_property
    def arc(self) -> Float[np.ndarray, " n+1"]:
        """Arc length from the first point; the last entry is the whole length."""
        return np.concatenate([[0.0], np.cumsum(self.steps)])

    @cached_property
    def normalised(self) -> Float[np.ndarray, "n dim"]:
        """The points in their own bounding box, [0, 1] each way."""
        low = self.points.min(axis=0)
        return (self.points - low) / np.maximum(np.ptp(self.points, axis=0), 1e-300)

    def turning(self) -> Float[np.ndarray, " n"]:
        """Angle [rad] by which the curve turns at each point, without sign."""
        ahead = np.roll(self.points, -1, axis=0) - self.points
        behind = np.roll(ahead, 1, axis=0)
        cosine = (ahead * behind).sum(1) / np.maximum(self.steps * np.roll(self.steps, 1), 1e-300)
        return np.arccos(np.clip(cosine, -1.0, 1.0))

    def corners(self, angle: float) -> Int[np.ndarray, " corner"]:
        """Points where the curve turns by more than `angle` [rad] (of neighbours, the sharpest)."""
        turn = self.turning()
        sharp = (turn > angle) & (turn >= np.roll(turn, 1)) & (turn > np.roll(turn, -1))
        return np.flatnonzero(sharp)


def matched_corners(
    outline: Outline, corners: Int[np.ndarray, " corner"], targets: Float[np.ndarray, "corner dim"]
) -> Int[np.ndarray, " corner"]:
    """The corners in the cyclic order that brings them closest to `targets` (in bounding boxes).

    Raises:
        ValueError: another number of corners than targets.
    """
    if len(corners) != len(targets):
        raise ValueError(
            f"expected a boundary with {len(targets)} corners as in the reference mesh, got one with "
            f"{len(corners)}; a finer boundary or another corner angle may tell them apart"
        )
    where = outline.normalised[corners]
    shifts = [((np.roll(where, -s, axis=0) - targets) ** 2).sum() for s in range(len(corners))]
    return np.roll(corners, -int(np.argmin(shifts)))


def fractions(
    outline: Outline, anchors: Int[np.ndarray, " anchor"]
) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """For each point, how far along it is (0 to 1 by arc length) from the anchor behind it to the next,
    and which anchor that is. `anchors` are point numbers in cyclic order."""
    n = len(outline.points)
    offset = (np.arange(n) - anchors[0]) % n
    places = np.sort((anchors - anchors[0]) % n)
    section = np.searchsorted(places, offset, side="right") - 1
    total = outline.arc[-1]
    travelled = (outline.arc[:-1] - outline.arc[anchors[0]]) % total
    ends = np.append(travelled[(anchors[0] + places) % n], total)
    length = np.maximum(np.diff(ends)[section], 1e-300)
    return (travelled - ends[section]) / length, section
