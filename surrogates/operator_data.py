"""From cases to what an operator network reads, and back.

The branch is told the case: its parameters, each scaled on its own, mean and spread of its known
fields, where there are no parameters the extents and spacing of its shape, and, if asked for, where
sensors on its boundary lie, and a picture. The trunk is told a
point: its coordinates, scaled alike in all directions, what the option `Trunk` adds, and the known
fields there. Points are those of the mesh for fields on points, the middles of cells for fields on
cells; a network answers at both where both are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Float

from fieldcast.meshes import Case, Cases, Mesh, Sample
from fieldcast.meshes.sample import Location
from fieldcast.meshes.topology import boundary

from . import traced
from .case_data import SHAPE, Scaling, described, known_key, parameter_row, scalar_row
from .operator_images import Grid, Image
from .sensors import Sensors
from .signature import Signature
from .surrogate import State

FLAT = 1e-12
"""What spans less, relative to its size, is taken as it is."""
PLACES: tuple[Location, ...] = ("point", "cell")


@dataclass(frozen=True)
class Trunk:
    """What the trunk is told of a point beside its coordinates: the `distance` to the boundary,
    and of the `body`, a region, where its nearest point lies, the normal there and how far it is,
    as a share of the way from there to the region `far` (if none is named, to the rest of the
    boundary: name it where that has sides, too, by which the share would change all at once)."""

    distance: bool = False
    body: str = ""
    far: str = ""

    def __post_init__(self) -> None:
        if self.far and not self.body:
            raise ValueError(f"expected a body, too, got far {self.far!r} alone")


def to_unit(rows: Float[np.ndarray, "row column"]) -> Scaling:
    """To [0, 1]; columns that do not vary are shifted alone."""
    low, high = rows.min(axis=0), rows.max(axis=0)
    size = np.maximum(np.maximum(np.abs(low), np.abs(high)), 1e-300)
    return Scaling(low, np.where(high - low > FLAT * size, high - low, 1.0))


@dataclass(frozen=True, eq=False)
class OperatorReading:
    """How cases become inputs of branch and trunk, and outputs fields. `centre` and `length` scale
    coordinates; `ranges` by "branch", "trunk" (what is told beside coordinates), the names of
    fields, and "image NAME" of known fields in pictures, which are made on `grid`."""

    signature: Signature
    trunk: Trunk
    centre: Float[np.ndarray, " dim"]
    length: float
    ranges: Mapping[str, Scaling]
    scalars: Scaling | None
    image: Image | None = None
    grid: Grid | None = None
    sensors: Sensors | None = None

    @classmethod
    def fit(
        cls,
        signature: Signature,
        samples: Sequence[Sample],
        trunk: Trunk,
        image: Image | None = None,
        sensors: Sensors | None = None,
    ) -> OperatorReading:
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
        grid = None
        if image is not None:
            grid = Grid.of(points, image.pixels)
            for name in known_channels(image, signature):
                values = np.concatenate([s.case.fields[name].values[0] for s in samples])
                ranges[f"image {name}"] = to_unit(values)
        return cls(signature, trunk, centre, length, ranges, scalars, image, grid, sensors)

    def groups(self) -> list[int]:
        """Columns of the branch that belong together: those of each known field, and of each
        parameter (all of the shape where there are none)."""
        known = [2 * kind.components for kind in self.signature.known.values()]
        rest = len(self.ranges["branch"].shift) - sum(known)
        each = [1] * rest if self.signature.parameters else [rest]
        sensors = self.sensors.count * self.signature.dim if self.sensors else 0
        return [size for size in (*known, *each, sensors) if size]

    def branch_inputs(self, cases: Cases) -> Float[np.ndarray, "case column"]:
        """Scaled to [0, 1] in the training set, then where sensors lie, scaled as coordinates, then
        the picture."""
        rows = self.ranges["branch"](branch_rows(cases, self.signature))
        if self.sensors is not None:
            every = [self.placed(self.sensors.on(cases[i])) for i in range(len(cases))]
            rows = np.hstack([rows, np.stack(every).reshape(len(cases), -1)])
        if self.image is None:
            return rows
        pictures = [self.pictured(cases[i]).ravel() for i in range(len(cases))]
        return np.hstack([rows, np.stack(pictures)])

    @property
    def _pictures(self) -> tuple[Image, Grid]:
        if self.image is None or self.grid is None:
            raise TypeError("expected a recipe that makes pictures of cases")
        return self.image, self.grid

    @property
    def picture(self) -> tuple[int, ...]:
        """Channels and pixels each way."""
        image, grid = self._pictures
        known = self.signature.known
        sizes = [known[name].components if name in known else 1 for name in image.channels]
        return (sum(sizes), *grid.counts)

    @property
    def corners(self) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and highest corner of pictures, in scaled coordinates."""
        grid = self._pictures[1]
        high = grid.low + grid.size * np.array(grid.counts)
        low, high = self.placed(np.stack([grid.low, high]))
        return low, high

    def pictured(self, case: Case) -> Float[np.ndarray, "channel pixel"]:
        """The picture of a case."""
        image, grid = self._pictures
        shape = grid.shape(case.mesh)
        plain = {"mask": shape.inside[None].astype(float), "distance": shape.distance[None]}
        parts = []
        for name in image.channels:
            if name in plain:
                parts.append(plain[name])
            else:
                values = self.ranges[f"image {name}"](_known_at(case, name, "point"))
                parts.append(shape.channel(values))
        return np.concatenate(parts)

    def placed(self, points: Float[np.ndarray, "entity dim"]) -> Float[np.ndarray, "entity dim"]:
        """Coordinates, scaled."""
        return (points - self.centre) / self.length

    def trunk_inputs(self, case: Case, on: Location) -> Float[np.ndarray, "entity column"]:
        """Coordinates about 0, other columns in [0, 1] in the training set."""
        place = self.placed(positions(case.mesh, on))
        extra = self.ranges["trunk"](told(case, on, self.trunk, self.signature))
        return np.hstack([place, extra])

    def traced_branch(
        self, case: Case, parameters: Mapping[str, torch.Tensor], points: traced.Points
    ) -> Float[torch.Tensor, "1 column"]:
        """As `branch_inputs`, as a function of parameters and points; sensors and pictures stay."""
        known = described(Cases.pack([case]))
        parts = [torch.as_tensor(known[known_key(name)][0]) for name in self.signature.known]
        if self.signature.parameters:
            parts += [parameters[name] for name in self.signature.parameters]
        else:
            parts += [points.amax(0) - points.amin(0), traced.edge_length(case.mesh, points)[None]]
        row = self.ranges["branch"].scaled(torch.cat(parts)[None])
        rest = self.branch_inputs(Cases.pack([case]))[:, row.shape[1] :]
        return torch.cat([row, torch.as_tensor(rest)], dim=1)

    def traced_trunk(
        self, case: Case, on: Location, points: traced.Points
    ) -> Float[torch.Tensor, "entity column"]:
        """As `trunk_inputs`, as a function of points."""
        at = traced.positions(case.mesh, on, points)
        place = (at - torch.as_tensor(self.centre)) / self.length
        extra = told_of(case, on, self.trunk, self.signature, points)
        return torch.cat([place, self.ranges["trunk"].scaled(extra)], dim=1)

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
        values = {"length": self.length, **asdict(self.trunk)}
        nested = {"ranges": State.nested(parts), "place": State({"centre": self.centre}, values)}
        if self.sensors is not None:
            sensors = {"count": self.sensors.count, "region": self.sensors.region}
            nested["sensors"] = State({}, sensors)
        if self.image is not None and self.grid is not None:
            told = {"pixels": self.image.pixels, "channels": list(self.image.channels)}
            grid = {"size": self.grid.size, "counts": list(self.grid.counts)}
            nested["image"] = State({"low": self.grid.low}, {**told, **grid})
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
        told = place.values
        trunk = Trunk(bool(told["distance"]), str(told["body"]), str(told["far"]))
        length = float(place.values["length"])
        image = grid = None
        if "image" in parts:
            values = parts["image"].values
            image = Image(int(values["pixels"]), tuple(values["channels"]))
            counts = tuple(int(n) for n in values["counts"])
            grid = Grid(parts["image"].arrays["low"], float(values["size"]), counts)
        sensors = None
        if "sensors" in parts:
            values = parts["sensors"].values
            sensors = Sensors(int(values["count"]), str(values["region"]))
        centre = place.arrays["centre"]
        return cls(signature, trunk, centre, length, ranges, scalars, image, grid, sensors)


def known_channels(image: Image, signature: Signature) -> list[str]:
    """The known fields that a picture shows.

    Raises:
        ValueError: channels that are neither of the mesh nor a known field.
    """
    found = [name for name in image.channels if name not in ("mask", "distance")]
    absent = [name for name in found if name not in signature.known]
    if absent:
        raise ValueError(
            f'expected channels of "mask", "distance" and the known fields '
            f"{sorted(signature.known)}, got {absent}"
        )
    return found


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
    return traced.positions(mesh, on, torch.as_tensor(np.array(mesh.points))).numpy()


def told(
    case: Case, on: Location, trunk: Trunk, signature: Signature
) -> Float[np.ndarray, "entity column"]:
    """What the trunk is told beside coordinates, unscaled."""
    points = torch.as_tensor(np.array(case.mesh.points))
    return told_of(case, on, trunk, signature, points).numpy()


def told_of(
    case: Case, on: Location, trunk: Trunk, signature: Signature, points: traced.Points
) -> Float[torch.Tensor, "entity column"]:
    """The same as a function of the coordinates of points; known fields stay with their points."""
    mesh = case.mesh
    at = traced.positions(mesh, on, points)
    parts = [at[:, :0]]
    if trunk.distance:
        parts.append(traced.nearest(mesh, boundary_points(mesh), points, at)[0][:, None])
    if trunk.body:
        parts.append(body_fitted(case, trunk, points, at))
    known = [_known_at(case, name, on) for name in signature.known]
    return torch.cat([*parts, *(torch.as_tensor(np.array(k)) for k in known)], dim=1)


def boundary_points(mesh: Mesh) -> np.ndarray:
    """Their numbers; all points of a mesh that does not fill its space."""
    if mesh.cell_dim < mesh.dim:
        return np.arange(len(mesh.points))
    return np.unique(boundary(mesh))


def body_fitted(
    case: Case, trunk: Trunk, points: traced.Points, at: traced.Places
) -> Float[torch.Tensor, "entity column"]:
    """The normal at the nearest point of the body, that point, and the distance to it as a share of
    the way to what is far.

    Raises:
        ValueError: a case without a region that is named.
    """
    mesh = case.mesh
    own = _region(case, trunk.body)
    distance, foot, normal = traced.nearest(mesh, own, points, at)
    if trunk.far:
        rest = _region(case, trunk.far)
    else:
        rest = np.setdiff1d(boundary_points(mesh), own)
    beyond = torch.ones_like(distance)
    if len(rest):
        beyond = traced.nearest(mesh, rest, points, at)[0]
    share = distance / (distance + beyond).clamp(min=1e-300)
    return torch.cat([normal, foot, share[:, None]], dim=1)


def _region(case: Case, name: str) -> np.ndarray:
    """Its points."""
    regions = case.mesh.regions
    if not len(regions.get(name, ())):
        raise ValueError(
            f"case {case.label}: expected points in the region {name!r} that the trunk is told "
            f"of, got regions {sorted(k for k, ids in regions.items() if len(ids))}"
        )
    return np.asarray(regions[name])


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
