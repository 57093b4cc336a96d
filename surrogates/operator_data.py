"""From cases to what an operator network reads, and back.

The branch is told the case: its parameters, each scaled on its own, mean and spread of its known
fields, and where there are no parameters the extents and spacing of its shape. The trunk is told a
point: its coordinates, scaled alike in all directions, what the option `Trunk` adds, and the known
fields there. Points are those of the mesh for fields on points, the middles of cells for fields on
cells; a network answers at both where both are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case, Cases, Mesh, Sample
from fieldcast.meshes.sample import Location
from fieldcast.meshes.topology import boundary

from .graph_data import SHAPE, Scaling, described, known_key, outward, parameter_row, scalar_row
from .signature import Signature
from .surrogate import State

FLAT = 1e-12
"""What spans less, relative to its size, is taken as it is."""
PLACES: tuple[Location, ...] = ("point", "cell")


@dataclass(frozen=True)
class Trunk:
    """What the trunk is told of a point beside its coordinates: the `distance` to the boundary,
    and of the `body`, a region, where its nearest point lies, the normal there and how far it is,
    as a share of the way to the rest of the boundary."""

    distance: bool = False
    body: str = ""


def to_unit(rows: Float[np.ndarray, "row column"]) -> Scaling:
    """To [0, 1]; columns that do not vary are shifted alone."""
    low, high = rows.min(axis=0), rows.max(axis=0)
    size = np.maximum(np.maximum(np.abs(low), np.abs(high)), 1e-300)
    return Scaling(low, np.where(high - low > FLAT * size, high - low, 1.0))


@dataclass(frozen=True, eq=False)
class OperatorReading:
    """How cases become inputs of branch and trunk, and outputs fields. `centre` and `length` scale
    coordinates; `ranges` by "branch", "trunk" (what is told beside coordinates) and the names of
    fields."""

    signature: Signature
    trunk: Trunk
    centre: Float[np.ndarray, " dim"]
    length: float
    ranges: Mapping[str, Scaling]
    scalars: Scaling | None

    @classmethod
    def fit(cls, signature: Signature, samples: Sequence[Sample], trunk: Trunk) -> OperatorReading:
        """From the training set."""
        points = np.concatenate([s.case.mesh.points for s in samples])
        centre = points.mean(axis=0)
        length = float(np.sqrt(np.square(points - centre).mean())) or 1.0
        cases = Cases.pack([s.case for s in samples])
        ranges = {"branch": to_unit(branch_rows(cases, signature))}
        extra = [told(s.case, on, trunk, signature) for s in samples for on in places(signature)]
        if extra:
            ranges["trunk"] = to_unit(np.concatenate(extra))
        for name in signature.fields:
            ranges[name] = to_unit(np.concatenate([s.fields[name].values[0] for s in samples]))
        scalars = None
        if signature.scalars:
            scalars = Scaling.of([scalar_row(s, signature)[None] for s in samples])
        return cls(signature, trunk, centre, length, ranges, scalars)

    def groups(self) -> list[int]:
        """Columns of the branch that belong together: those of each known field, and of each
        parameter (all of the shape where there are none)."""
        known = [2 * kind.components for kind in self.signature.known.values()]
        rest = len(self.ranges["branch"].shift) - sum(known)
        each = [1] * rest if self.signature.parameters else [rest]
        return [size for size in (*known, *each) if size]

    def branch_inputs(self, cases: Cases) -> Float[np.ndarray, "case column"]:
        """Scaled to [0, 1] in the training set."""
        return self.ranges["branch"](branch_rows(cases, self.signature))

    def placed(self, points: Float[np.ndarray, "entity dim"]) -> Float[np.ndarray, "entity dim"]:
        """Coordinates, scaled."""
        return (points - self.centre) / self.length

    def trunk_inputs(self, case: Case, on: Location) -> Float[np.ndarray, "entity column"]:
        """Coordinates about 0, other columns in [0, 1] in the training set."""
        place = self.placed(positions(case.mesh, on))
        extra = self.ranges["trunk"](told(case, on, self.trunk, self.signature))
        return np.hstack([place, extra])

    def targets(self, sample: Sample, on: Location) -> Float[np.ndarray, "entity component"]:
        """All fields there, in [0, 1] in the training set, side by side."""
        parts = [
            self.ranges[name](sample.fields[name].values[0])
            for name in fields_on(self.signature, on)
        ]
        return np.hstack(parts)

    def columns(self, on: Location) -> list[int]:
        """The network's outputs that are fields there."""
        found: list[int] = []
        start = 0
        for kind in self.signature.fields.values():
            if kind.on == on:
                found += range(start, start + kind.components)
            start += kind.components
        return found

    def state(self) -> State:
        """For `restored`."""
        parts = {name: r.state() for name, r in self.ranges.items()}
        values = {"length": self.length, "distance": self.trunk.distance, "body": self.trunk.body}
        nested = {"ranges": State.nested(parts), "place": State({"centre": self.centre}, values)}
        if self.scalars is not None:
            nested["scalars"] = self.scalars.state()
        return State.nested(nested)

    @classmethod
    def restored(cls, signature: Signature, state: State) -> OperatorReading:
        """From `state`."""
        parts = state.parts()
        place = parts["place"]
        ranges = {k: Scaling.restored(p) for k, p in parts["ranges"].parts().items()}
        scalars = Scaling.restored(parts["scalars"]) if "scalars" in parts else None
        trunk = Trunk(bool(place.values["distance"]), str(place.values["body"]))
        length = float(place.values["length"])
        return cls(signature, trunk, place.arrays["centre"], length, ranges, scalars)


def places(signature: Signature) -> list[Location]:
    """Where fields lie."""
    return [on for on in PLACES if fields_on(signature, on)]


def fields_on(signature: Signature, on: Location) -> list[str]:
    """The outputs that lie there."""
    return [name for name, kind in signature.fields.items() if kind.on == on]


def branch_rows(cases: Cases, signature: Signature) -> Float[np.ndarray, "case column"]:
    """What the branch is told, unscaled."""
    found = described(cases)
    shape = found.pop(SHAPE)
    parts = [found[known_key(name)] for name in signature.known]
    if signature.parameters:
        parts.append(np.stack([parameter_row(case, signature) for case in cases]))
    return np.hstack(parts if signature.parameters else [*parts, shape])


def positions(mesh: Mesh, on: Location) -> Float[np.ndarray, "entity dim"]:
    """Points, or the middles of cells."""
    if on == "point":
        return mesh.points
    return np.concatenate([mesh.points[block].mean(axis=1) for block in mesh.cells.values()])


def told(
    case: Case, on: Location, trunk: Trunk, signature: Signature
) -> Float[np.ndarray, "entity column"]:
    """What the trunk is told beside coordinates, unscaled."""
    mesh, at = case.mesh, positions(case.mesh, on)
    parts = [np.zeros((len(at), 0))]
    if trunk.distance:
        parts.append(_nearest(mesh, boundary_points(mesh), at)[0][:, None])
    if trunk.body:
        parts.append(body_fitted(case, trunk.body, at))
    parts += [_known_at(case, name, on) for name in signature.known]
    return np.hstack(parts)


def boundary_points(mesh: Mesh) -> np.ndarray:
    """Their numbers; all points of a mesh that does not fill its space."""
    if mesh.cell_dim < mesh.dim:
        return np.arange(len(mesh.points))
    return np.unique(boundary(mesh))


def body_fitted(
    case: Case, region: str, at: Float[np.ndarray, "entity dim"]
) -> Float[np.ndarray, "entity column"]:
    """The nearest point of a region and the normal there, and the distance to it as a share of the
    way to the rest of the boundary.

    Raises:
        ValueError: a case without that region.
    """
    mesh = case.mesh
    if not len(mesh.regions.get(region, ())):
        raise ValueError(
            f"case {case.label}: expected points in the region {region!r} that the trunk is told "
            f"of, got regions {sorted(k for k, ids in mesh.regions.items() if len(ids))}"
        )
    own = np.asarray(mesh.regions[region])
    distance, nearest = _nearest(mesh, own, at)
    rest = np.setdiff1d(boundary_points(mesh), own)
    beyond = _nearest(mesh, rest, at)[0] if len(rest) else np.ones(len(at))
    share = distance / np.maximum(distance + beyond, 1e-300)
    return np.hstack([outward(mesh)[nearest], mesh.points[nearest], share[:, None]])


def _nearest(
    mesh: Mesh, ids: np.ndarray, at: Float[np.ndarray, "entity dim"]
) -> tuple[np.ndarray, np.ndarray]:
    from scipy.spatial import cKDTree

    distance, place = cKDTree(mesh.points[ids]).query(at)
    return distance, ids[place]


def _known_at(case: Case, name: str, on: Location) -> Float[np.ndarray, "entity component"]:
    """A known field there; elsewhere than it lies as means over cells, or over a point's cells."""
    field = case.fields[name]
    values = field.values[0]
    if field.on == on:
        return values
    mesh = case.mesh
    if on == "cell":
        return np.concatenate([values[block].mean(axis=1) for block in mesh.cells.values()])
    total, count = np.zeros((len(mesh.points), values.shape[1])), np.zeros(len(mesh.points))
    start = 0
    for block in mesh.cells.values():
        own = values[start : start + len(block)]
        for corner in block.T:
            np.add.at(total, corner, own)
            np.add.at(count, corner, 1.0)
        start += len(block)
    return total / np.maximum(count, 1.0)[:, None]
