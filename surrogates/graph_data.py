"""From cases to what a network on graphs reads, and back: the graph of each mesh, inputs of its
nodes, targets.

Inputs of a node, each standardised: its coordinates, the distance to the boundary and its
logarithm, the way there (on the boundary the normal), the nearest boundary point, the regions it
belongs to (as they are), known fields and the case's parameters. Fields on cells are means over the
cells' nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_array
from torch import Tensor

from fieldcast.meshes import Case, Mesh, Sample
from fieldcast.meshes.topology import boundary

from . import traced
from .case_data import Scaling, parameter_row, scalar_row
from .graph import Graph, cuthill_mckee, graph_of
from .signature import Signature
from .surrogate import State


@dataclass(frozen=True, eq=False)
class Site:
    """A mesh as a network sees it, its nodes in an order in which neighbours are close: `order`,
    the `graph`, coordinates in mean edge lengths, that `length` [m], what of its inputs the mesh
    alone tells (node, column), and the matrix that takes the mean over each cell's nodes."""

    order: np.ndarray
    graph: Graph
    points: Float[np.ndarray, "node dim"]
    length: float
    columns: Float[np.ndarray, "node column"]
    to_cells: csr_array

    @classmethod
    def of(cls, mesh: Mesh, regions: Sequence[str]) -> Site:
        """Of a mesh whose regions may be among `regions`."""
        graph = graph_of(mesh)
        order = cuthill_mckee(graph)
        edges = mesh.edges
        length = 1.0
        if len(edges):
            length = float(np.linalg.norm(np.diff(mesh.points[edges], axis=1), axis=2).mean())
        at = torch.as_tensor(np.array(mesh.points))
        columns = np.hstack([told_of(mesh, at).numpy(), _flags(mesh, regions)])[order]
        length = max(length, 1e-300)
        points = (mesh.points - mesh.points.mean(axis=0))[order] / length
        return cls(order, graph.reordered(order), points, length, columns, _cell_means(mesh, order))


def told_of(mesh: Mesh, points: traced.Points) -> Float[Tensor, "node column"]:
    """Coordinates, distance to the nearest boundary point, its logarithm from the first layer of
    nodes on (half of the nodes may lie where the distance itself hardly varies), the way there,
    which on the boundary is the normal, and that point."""
    rim = np.unique(boundary(mesh)) if mesh.cell_dim == mesh.dim else np.empty(0, dtype=int)
    normals = traced.outward(mesh, points)
    if not len(rim):
        none = points.new_zeros(len(points), 2)
        return torch.cat([points, none, normals, torch.zeros_like(points)], dim=1)
    foot = points[traced.nearest_points(mesh, rim, points)]
    distance = traced.length(foot - points)
    inside = distance > 0
    first = _quantile(distance[inside], 0.01) if bool(inside.any()) else points.new_ones(())
    way = torch.where(inside[:, None], traced.unit(foot - points), normals)
    log = torch.log1p(distance / first)
    return torch.cat([points, distance[:, None], log[:, None], way, foot], dim=1)


def _quantile(values: Float[Tensor, " row"], share: float) -> Tensor:
    """As numpy's, of any number of values."""
    place = share * (len(values) - 1)
    low = int(place)
    ordered = values.sort().values
    return torch.lerp(ordered[low], ordered[min(low + 1, len(values) - 1)], place - low)


def _flags(mesh: Mesh, regions: Sequence[str]) -> Float[np.ndarray, "node region"]:
    flags = np.zeros((len(mesh.points), len(regions)))
    for k, name in enumerate(regions):
        if name in mesh.regions:
            flags[mesh.regions[name], k] = 1.0
    return flags


def _cell_means(mesh: Mesh, order: np.ndarray) -> csr_array:
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    sizes = np.concatenate(
        [np.full(len(block), block.shape[1]) for block in mesh.cells.values()]
        or [np.empty(0, dtype=int)]
    )
    nodes = np.concatenate(
        [block.ravel() for block in mesh.cells.values()] or [np.empty(0, dtype=int)]
    )
    rows = np.repeat(np.arange(len(sizes)), sizes)
    weights = np.repeat(1.0 / np.maximum(sizes, 1), sizes)
    return csr_array((weights, (rows, place[nodes])), shape=(len(sizes), len(order)))


@dataclass(frozen=True, eq=False)
class Reading:
    """How cases become inputs, and outputs become fields. `regions` are those of the training set,
    `held` the ones where outputs that are known fields, too, keep their values, by output;
    `scalings` by "columns", "parameters", "scalars" and by the names of known fields and
    outputs."""

    signature: Signature
    regions: tuple[str, ...]
    held: Mapping[str, tuple[str, ...]]
    scalings: Mapping[str, Scaling]

    @classmethod
    def fit(
        cls,
        signature: Signature,
        samples: Sequence[Sample],
        sites: Mapping[str, Site],
        regions: tuple[str, ...],
        held: Sequence[str],
    ) -> Reading:
        """From the training set."""
        scalings = {"columns": Scaling.of(site.columns for site in sites.values())}
        flags = len(regions)
        if flags:
            shift, scale = scalings["columns"].shift, scalings["columns"].scale
            shift[-flags:], scale[-flags:] = 0.0, 1.0
        parameters = [parameter_row(s.case, signature)[None] for s in samples]
        scalings["parameters"] = Scaling.of(parameters)
        for name in signature.known:
            scalings[f"known {name}"] = Scaling.of(s.case.fields[name].values[0] for s in samples)
        for name in signature.fields:
            known = name in signature.known
            scalings[f"field {name}"] = Scaling.of(
                s.fields[name].values[0] - (s.case.fields[name].values[0] if known else 0.0)
                for s in samples
            )
        if signature.scalars:
            rows = [scalar_row(s, signature)[None] for s in samples]
            scalings["scalars"] = Scaling.of(rows)
        return cls(signature, regions, held_by_field(held, signature, regions), scalings)

    @property
    def differences(self) -> tuple[str, ...]:
        """Outputs that are learnt as differences from the known field of that name."""
        return tuple(name for name in self.signature.fields if name in self.signature.known)

    def ratio(self, name: str) -> Float[np.ndarray, " component"]:
        """A standard deviation of the known field in those of the output of that name."""
        return self.scalings[f"known {name}"].scale / self.scalings[f"field {name}"].scale

    def check_regions(self, case: Case) -> None:
        """Raise a ValueError for regions that no training case had."""
        unseen = sorted(set(case.mesh.regions) - set(self.regions))
        if unseen:
            raise ValueError(
                f"case {case.label}: expected regions of {sorted(self.regions)}, which the "
                f"training set has, got {unseen}; rename or leave them out, or train with them"
            )

    def known_at(self, name: str, case: Case, site: Site) -> Float[np.ndarray, "node component"]:
        """A known field at the nodes, in the site's order."""
        values = case.fields[name].values[0]
        if self.signature.known[name].on == "cell":
            counts = np.maximum(np.asarray(site.to_cells.sum(axis=0)).ravel(), 1e-300)
            return site.to_cells.T @ values / counts[:, None]
        return values[site.order]

    def inputs(self, case: Case, site: Site) -> Tensor:
        """(node, column), standardised; known fields last."""
        parts = [self.scalings["columns"](site.columns)]
        if self.signature.parameters:
            row = self.scalings["parameters"](parameter_row(case, self.signature)[None])
            parts.append(np.broadcast_to(row, (len(site.order), row.shape[1])))
        parts += [self.known_input(name, case, site) for name in self.signature.known]
        return torch.as_tensor(np.hstack(parts), dtype=torch.float32)

    def traced(
        self, case: Case, site: Site, parameters: Mapping[str, Tensor], points: traced.Points
    ) -> tuple[Tensor, Tensor]:
        """As `inputs`, and points in mean edge lengths, as functions of parameters and points."""
        order = torch.as_tensor(np.array(site.order), dtype=torch.int64)
        told = told_of(case.mesh, points)
        flags = torch.as_tensor(np.array(site.columns[:, told.shape[1] :]))
        parts = [self.scalings["columns"].scaled(torch.cat([told[order], flags], dim=1))]
        if self.signature.parameters:
            row = torch.cat([parameters[name] for name in self.signature.parameters])
            own = self.scalings["parameters"].scaled(row[None])
            parts.append(own.expand(len(order), -1))
        known = [self.known_input(name, case, site) for name in self.signature.known]
        parts += [torch.as_tensor(np.array(k)) for k in known]
        length = traced.edge_length(case.mesh, points).clamp(min=1e-300)
        return torch.cat(parts, dim=1), (points - points.mean(0))[order] / length

    def traced_field(self, name: str, values: Tensor, case: Case, site: Site) -> Tensor:
        """As `field`."""
        found = self.scalings[f"field {name}"].inverse_of(values)
        if name in self.held:
            found = found * torch.as_tensor(~self.kept(name, site)[:, None])
        if self.signature.fields[name].on == "point":
            order = torch.as_tensor(np.array(site.order), dtype=torch.int64)
            found = torch.zeros_like(found).index_copy(0, order, found)
        if name in self.differences:
            found = found + torch.as_tensor(np.array(case.fields[name].values[0]))
        return found

    def known_input(self, name: str, case: Case, site: Site) -> Float[np.ndarray, "node component"]:
        """A known field, standardised."""
        return self.scalings[f"known {name}"](self.known_at(name, case, site))

    def kept(self, name: str, site: Site) -> np.ndarray:
        """Where an output keeps its value, (entity,) bool: nodes of held regions in the site's
        order, or cells of which all nodes are."""
        at = [len(self.regions) - self.regions.index(region) for region in self.held.get(name, ())]
        flags = np.zeros(len(site.order), dtype=bool)
        for k in at:
            flags |= site.columns[:, -k] > 0
        if self.signature.fields[name].on == "cell":
            return site.to_cells @ flags.astype(float) > 0.999
        return flags

    def targets(self, sample: Sample, site: Site) -> tuple[Tensor, ...]:
        """Each field, standardised, in the site's order, (entity, component); then the scalars,
        (1, scalar)."""
        found = []
        for name, kind in self.signature.fields.items():
            values = sample.fields[name].values[0]
            if name in self.differences:
                values = values - sample.case.fields[name].values[0]
            values = values[site.order] if kind.on == "point" else values
            found.append(self.scalings[f"field {name}"](values))
        row = np.zeros((1, 0))
        if self.signature.scalars:
            row = self.scalings["scalars"](scalar_row(sample, self.signature)[None])
        found.append(row)
        return tuple(torch.as_tensor(part, dtype=torch.float32) for part in found)

    def channels(self) -> list[int]:
        """Components of each output field."""
        return [kind.components for kind in self.signature.fields.values()]

    def width(self) -> int:
        """Columns of the inputs."""
        total = sum(kind.components for kind in self.signature.known.values())
        sizes = [len(self.scalings[k].shift) for k in ("columns", "parameters")]
        return total + sum(sizes)

    def field(
        self, name: str, values: Float[np.ndarray, "entity component"], case: Case, site: Site
    ) -> Float[np.ndarray, "entity component"]:
        """An output in its unit and the case's own order."""
        found = self.scalings[f"field {name}"].inverse(values.astype(float))
        if name in self.held:
            found[self.kept(name, site)] = 0.0
        if self.signature.fields[name].on == "point":
            back = np.empty_like(found)
            back[site.order] = found
            found = back
        if name in self.differences:
            found = found + case.fields[name].values[0]
        return found

    def scalars(self, values: Float[np.ndarray, "case scalar"]) -> Float[np.ndarray, "case scalar"]:
        """In their units."""
        return self.scalings["scalars"].inverse(values.astype(float))

    def state(self) -> State:
        """For `restored`."""
        parts = {name: scaling.state() for name, scaling in self.scalings.items()}
        values = {"regions": list(self.regions), "held": {k: list(v) for k, v in self.held.items()}}
        return State.nested({"scalings": State.nested(parts), "names": State({}, values)})

    @classmethod
    def restored(cls, signature: Signature, state: State) -> Reading:
        """From `state`."""
        names = state.part("names").values
        parts = state.part("scalings").parts()
        scalings = {name: Scaling.restored(part) for name, part in parts.items()}
        held = {k: tuple(v) for k, v in names["held"].items()}
        return cls(signature, tuple(names["regions"]), held, scalings)


def held_by_field(
    held: Sequence[str], signature: Signature, regions: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """The regions that each output keeps its values in, from "region" (all outputs that are known
    fields, too) and "field@region".

    Raises:
        ValueError: a region or a field that the training set does not have.
    """
    both = [name for name in signature.fields if name in signature.known]
    found: dict[str, list[str]] = {}
    for entry in held:
        name, _, region = entry.rpartition("@")
        if region not in regions or (name and name not in both):
            raise ValueError(
                f'held {entry!r}: expected "region" or "field@region" with a region of '
                f"{list(regions)} and a field that is input and output, of {both}"
            )
        for output in [name] if name else both:
            found.setdefault(output, []).append(region)
    return {k: tuple(v) for k, v in found.items()}
