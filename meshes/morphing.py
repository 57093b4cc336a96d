"""Morphings: maps of a family of meshes to one common shape, so that fields can be compared point
by point."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from .mesh import Mesh
from .plugins import plugin
from .threads import side_by_side
from .topology import Topology

if TYPE_CHECKING:
    from .loop import CircleInterpolant
    from .transfer import Interpolant

SHARED_EDGES = 0.6
"""Quadrilaterals cut along other diagonals share two thirds of their edges at least; meshes
numbered on their own share next to none."""


class Morph(ABC):
    """A morphing bound to a reference mesh; it holds no other data."""

    shared_numbering: bool = False
    """Whether point i of every mesh goes to point i of the reference."""
    convex: bool = False
    """Whether the common shape is convex."""

    @abstractmethod
    def points(self, mesh: Mesh) -> Float[np.ndarray, "point dim"]:
        """Where the points of `mesh` go in the common shape; a function of this mesh and the
        reference alone.

        Raises:
            ValueError: the mesh does not belong to the family (other topology, other corners).
        """

    def interpolant(self, moved: Mesh) -> Interpolant | CircleInterpolant:
        """Location of points in a mesh that was moved to the common shape."""
        from .transfer import Interpolant

        return Interpolant(moved, self.convex)


class Morphing(ABC):
    """A recipe that says how meshes are carried to a common shape: a frozen dataclass of
    settings."""

    @abstractmethod
    def refusal(self, meshes: Sequence[Mesh]) -> str | None:
        """Why it can't serve this family of meshes, in words; None if it can."""

    @abstractmethod
    def to(self, reference: Mesh) -> Morph:
        """The morphing with `reference` as the mesh of the common shape."""


class _SharedNumbering(Morph):
    shared_numbering = True

    def __init__(self, reference: Mesh) -> None:
        self.reference = reference

    def points(self, mesh: Mesh) -> Float[np.ndarray, "point dim"]:
        if not same_numbering(mesh, self.reference):
            raise ValueError(
                f"expected the numbering of the training meshes ({len(self.reference.points)} "
                f"points, {self.reference.n_cells} cells), got a mesh of {len(mesh.points)} points "
                f"and {mesh.n_cells} cells with other numbers; fit with a morphing that does not "
                "need a shared numbering"
            )
        return self.reference.points


def same_numbering(one: Mesh, other: Mesh) -> bool:
    """Whether point i is the same material point in both: their cells are equal or, where
    quadrilaterals were cut along either diagonal, most of their edges are."""
    if one.connectivity == other.connectivity:
        return True
    if len(one.points) != len(other.points) or one.dim != other.dim:
        return False
    edges, others = _edges(one), _edges(other)
    common = len(np.intersect1d(edges, others, assume_unique=True))
    return common >= SHARED_EDGES * max(len(edges), len(others), 1)


def _edges(mesh: Mesh) -> Int[np.ndarray, " edge"]:
    """A number for each edge, equal in all meshes of as many points."""
    found = [np.empty((0, 2), dtype=np.int64)]
    for kind, block in zip(mesh.types, mesh.cells.values(), strict=True):
        pairs = np.array(kind.edges, dtype=np.int64).reshape(-1, 2)
        found.append(block[:, pairs].reshape(-1, 2))
    low, high = np.sort(np.concatenate(found), axis=1).T
    return np.unique(low * len(mesh.points) + high)


@dataclass(frozen=True)
class Identity(Morphing):
    """All meshes share one numbering: point i is the same material point everywhere."""

    def refusal(self, meshes: Sequence[Mesh]) -> str | None:
        others = [m for m in meshes if not same_numbering(m, meshes[0])]
        return f"{len(others)} of {len(meshes)} meshes are numbered otherwise" if others else None

    def to(self, reference: Mesh) -> Morph:
        return _SharedNumbering(reference)


def check_one_topology(meshes: Sequence[Mesh], names: Sequence[str]) -> Topology:
    """The topology that all meshes have.

    Raises:
        ValueError: they differ; the message lists the groups and their members.
    """
    groups: dict[Topology, list[str]] = {}
    kinds = side_by_side(lambda mesh: mesh.topology, meshes)
    for kind, name in zip(kinds, names, strict=True):
        groups.setdefault(kind, []).append(name)
    if len(groups) > 1:
        lines = "; ".join(
            f"{len(who)} case(s) ({', '.join(who[:3])}{', ...' if len(who) > 3 else ''}): {kind}"
            for kind, who in sorted(groups.items(), key=lambda g: -len(g[1]))
        )
        raise ValueError(
            f"expected meshes of one topology, which no morphing can change, got {len(groups)}: "
            f"{lines}. "
            "Fit one surrogate per group, or use a surrogate that takes any mesh"
        )
    return next(iter(groups))


def choose_morphing(meshes: Sequence[Mesh], names: Sequence[str]) -> tuple[Morphing, str]:
    """The morphing that suits a family of meshes, and the reason in words.

    Raises:
        ValueError: topologies differ, or no morphing serves the family; says why for each.
    """
    identity = Identity()
    if identity.refusal(meshes) is None:
        return identity, "all meshes share one numbering"
    kind = check_one_topology(meshes, names)
    reasons = []
    for name, reason in (
        ("harmonic", "surfaces with one boundary and no hole"),
        ("loop", "closed curves by shares of their length between nose and tail"),
        ("radial_basis", "plane meshes with holes, boundaries matched by arc length"),
        ("elastic", "boundaries matched by distance"),
    ):
        candidate = plugin("morphings", name)()
        refusal = candidate.refusal(meshes)
        if refusal is None:
            return candidate, f"{reason} ({kind})"
        reasons.append(f"{type(candidate).__name__}: {refusal}")
    raise ValueError(f"no morphing serves these meshes ({kind}); " + "; ".join(reasons))
