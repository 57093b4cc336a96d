"""Closed boundary curves: corners, arc length, and the matching of one curve's corners to
another's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

CORNER = np.deg2rad(40.0)
"""A boundary that turns by more than this has a corner."""


@dataclass(frozen=True, eq=False)
class Outline:
    """A closed curve through `points`, in order; the last joins the first."""

    points: Float[np.ndarray, "n dim"]

    @cached_property
    def steps(self) -> Float[np.ndarray, " n"]:
        """Length from each point to the next."""
        return np.linalg.norm(np.roll(self.points, -1, axis=0) - self.points, axis=1)

    @cached_property
    def arc(self) -> Float[np.ndarray, " knot"]:
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
    outline: Outline, corners: Int[np.ndarray, " corner"], targets: Float[np.ndarray, "target dim"]
) -> Int[np.ndarray, " corner"]:
    """The corners in the cyclic order that brings them closest to `targets` (in bounding boxes).

    Raises:
        ValueError: another number of corners than targets.
    """
    if len(corners) != len(targets):
        raise ValueError(
            f"expected a boundary with {len(targets)} corners as in the reference mesh, got one "
            "with "
            f"{len(corners)}; a finer boundary or another corner angle may tell them apart"
        )
    where = outline.normalised[corners]
    shifts = [((np.roll(where, -s, axis=0) - targets) ** 2).sum() for s in range(len(corners))]
    return np.roll(corners, -int(np.argmin(shifts)))


def fractions(
    outline: Outline, anchors: Int[np.ndarray, " anchor"]
) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """For each point, how far along it is (0 to 1 by arc length) from the anchor behind it to the
    next, and which anchor that is. `anchors` are point numbers in cyclic order."""
    n = len(outline.points)
    offset = (np.arange(n) - anchors[0]) % n
    places = np.sort((anchors - anchors[0]) % n)
    section = np.searchsorted(places, offset, side="right") - 1
    total = outline.arc[-1]
    travelled = (outline.arc[:-1] - outline.arc[anchors[0]]) % total
    ends = np.append(travelled[(anchors[0] + places) % n], total)
    length = np.maximum(np.diff(ends)[section], 1e-300)
    return (travelled - ends[section]) / length, section


@dataclass(frozen=True, eq=False)
class Sections:
    """An outline cut at its anchors (corners, or points chosen where there are too few), smooth in
    between."""

    outline: Outline
    anchors: Int[np.ndarray, " anchor"]
    angle: float

    @classmethod
    def of(cls, outline: Outline, angle: float = CORNER) -> Sections:
        """Cut at corners; a single one is joined by the point farthest from it; without any, the
        curve is cut at its first point and matched as a whole."""
        corners = outline.corners(angle)
        return cls(outline, _with_opposite(outline, corners), angle)

    def distance(self, x: Float[np.ndarray, "point dim"]) -> Float[np.ndarray, " point"]:
        """From each point to the curve."""
        from .transfer import closest_on_facets

        n = len(self.outline.points)
        edges = np.stack([np.arange(n), (np.arange(n) + 1) % n], axis=1)
        return closest_on_facets(self.outline.points, edges, x)[2]

    def matched(self, other: Outline) -> Float[np.ndarray, "n dim"]:
        """Where the points of another outline go on this one: the same share of arc length of the
        corresponding section.

        Raises:
            ValueError: another number of corners.
        """
        corners = other.corners(self.angle)
        if len(self.anchors) == 1 and len(self.outline.corners(self.angle)) == 0:
            first = closest_start(other, self.outline)
            share, section = fractions(other, np.array([first]))
        else:
            found = _with_opposite(other, corners)
            targets = self.outline.normalised[self.anchors]
            share, section = fractions(other, matched_corners(other, found, targets))
        return self.at(share, section)

    def at(
        self, share: Float[np.ndarray, " n"], section: Int[np.ndarray, " n"]
    ) -> Float[np.ndarray, "n dim"]:
        """Points at shares of arc length of sections, on cubic splines through the curve's
        points."""
        from scipy.interpolate import CubicSpline

        n, count = len(self.outline.points), len(self.anchors)
        found = np.empty((len(share), self.outline.points.shape[1]))
        for k in range(count):
            first, last = self.anchors[k], self.anchors[(k + 1) % count]
            ids = (first + np.arange((last - first - 1) % n + 2)) % n
            steps = self.outline.steps[ids[:-1]]
            arc = np.concatenate([[0.0], np.cumsum(steps)])
            here = section == k
            # A loop without corners is smooth across its start as well.
            ends = "periodic" if count == 1 and self.smooth else "not-a-knot"
            spline = CubicSpline(arc / arc[-1], self.outline.points[ids], bc_type=ends)
            found[here] = spline(share[here])
        return found

    @property
    def smooth(self) -> bool:
        """Whether the curve has no corner."""
        return not len(self.outline.corners(self.angle))


def _with_opposite(
    outline: Outline, corners: Int[np.ndarray, " corner"]
) -> Int[np.ndarray, " anchor"]:
    if len(corners) == 0:
        return np.array([0])
    if len(corners) == 1:
        away = np.linalg.norm(outline.points - outline.points[corners[0]], axis=1)
        return np.array([corners[0], int(away.argmax())])
    return corners


def resampled(outline: Outline, count: int, first: int = 0) -> Float[np.ndarray, "count dim"]:
    """Points at equal arc lengths, from point `first` on."""
    points = np.roll(outline.points, -first, axis=0)
    arc = Outline(points).arc
    at = arc[-1] * np.arange(count) / count
    closed = np.concatenate([points, points[:1]])
    return np.stack([np.interp(at, arc, closed[:, k]) for k in range(points.shape[1])], axis=1)


def closest_start(outline: Outline, target: Outline, count: int = 512) -> int:
    """The point of `outline` from which, walked by arc length, it stays closest to `target` walked
    from its first point (centred, in units of their own length)."""
    curves = []
    for curve in (outline, target):
        points = resampled(curve, count)
        curves.append((points - points.mean(axis=0)) / curve.arc[-1])
    # sum_k a[k + s] . b[k] for all shifts s at once.
    spectra = [np.fft.fft(c, axis=0) for c in curves]
    overlap = np.fft.ifft((spectra[0] * spectra[1].conj()).sum(axis=1)).real
    where = outline.arc[-1] * int(overlap.argmax()) / count
    return int(np.abs(outline.arc[:-1] - where).argmin())


def matched_loops(loops: Sequence[Outline], targets: Sequence[Outline]) -> list[int]:
    """Which target each loop corresponds to: the outer (longest) to the outer, holes by the places
    of their centres in the outer one's bounding box."""
    from scipy.optimize import linear_sum_assignment

    centres = []
    for curves in (loops, targets):
        low, size = curves[0].points.min(axis=0), np.ptp(curves[0].points, axis=0)
        centres.append(np.array([(c.points.mean(axis=0) - low) / size for c in curves[1:]]))
    if len(loops) < 3:
        return list(range(len(loops)))
    cost = np.linalg.norm(centres[0][:, None] - centres[1][None], axis=2)
    _, columns = linear_sum_assignment(cost)
    return [0, *(int(k) + 1 for k in columns)]
