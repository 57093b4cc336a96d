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

from .case_data import Scaling, outward, parameter_row, scalar_row
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
        columns = np.hstack([mesh.points, _rim(mesh), _flags(mesh, regions)])[order]
        length = max(length, 1e-300)
        points = (mesh.points - mesh.points.mean(axis=0))[order] / length
        return cls(order, graph.reordered(order), points, length, columns, _cell_means(mesh, order))


def _rim(mesh: Mesh) -> Float[np.ndarray, "node column"]:
    """Distance to the nearest boundary point, its logarithm from the first layer of nodes on (half
    of the nodes may lie where the distance itself hardly varies), the way there, which on the
    boundary is the normal, and that point."""
    from scipy.spatial import cKDTree

    rim = np.unique(boundary(mesh)) if mesh.cell_dim == mesh.dim else np.empty(0, dtype=int)
    if not len(rim):
        none = np.zeros((len(mesh.points), 2))
        return np.hstack([none, outward(mesh), np.zeros_like(mesh.points)])
    distance, place = cKDTree(mesh.points[rim]).query(mesh.points)
    inside = distance > 0
    first = np.quantile(distance[inside], 0.01) if inside.any() else 1.0
    foot = mesh.points[rim[place]]
    way = (foot - mesh.points) / np.where(inside, distance, 1.0)[:, None]
    way[~inside] = outward(mesh)[~inside]
    return np.hstack([distance[:, None], np.log1p(distance / first)[:, None], way, foot])


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
