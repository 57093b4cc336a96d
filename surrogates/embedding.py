"""Samples on one common mesh, and their reduction by POD: what morphing surrogates and baselines
share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Cases, Mesh, Samples
from fieldcast.meshes.chart import Chart, Passage
from fieldcast.meshes.mass import mass_matrix
from fieldcast.meshes.morphing import Morphing, check_one_topology, choose_morphing
from fieldcast.meshes.normals import point_normals
from fieldcast.meshes.packed import PackedField
from fieldcast.meshes.sample import Location
from fieldcast.meshes.threads import side_by_side
from fieldcast.meshes.topology import signed_measures

from .gp import student_variance
from .pod import Pod, Snapshots, held_out
from .signature import FieldKind
from .surrogate import Progress, quiet

if TYPE_CHECKING:
    from scipy.sparse import csr_array

ROUND_TRIPS, FEWEST_TRIPS = 64, 16
"""Training cases on which interpolation there and back is measured, of all and of a part."""
SHAPE = "shape"
JUDGED = 10
"""Folds in which what modes leave out of inputs is measured."""
FOLDS = 5
"""At most a fifth of the cases is held out to measure what modes leave out."""


@dataclass(frozen=True, eq=False)
class Carried:
    """Training samples on the common mesh: snapshots of shape (case, channel, node) with the
    channels (time, component); `coordinates` None if there is but one mesh. `passages` of some
    cases are kept to measure the round trip, `clamped` is each case's share of points outside the
    common shape."""

    chart: Chart
    why: str
    samples: Samples
    coordinates: Float[np.ndarray, "case _channel _node"] | None
    known: Mapping[str, Float[np.ndarray, "case _channel _node"]]
    fields: Mapping[str, Float[np.ndarray, "case _channel _node"]]
    passages: Mapping[int, Passage]
    clamped: Float[np.ndarray, " case"]
    flipped: int

    def rows(self, rows: Sequence[int]) -> Carried:
        """Of some of the samples, in this order."""
        at = np.asarray(rows, dtype=int)
        kept = {k: self.passages[int(i)] for k, i in enumerate(at) if int(i) in self.passages}
        more = [k for k in range(len(at)) if k not in kept][: max(FEWEST_TRIPS - len(kept), 0)]
        kept |= {k: self.chart.passage(self.samples.cases.meshes[""][int(at[k])]) for k in more}
        kept = dict(sorted(kept.items()))
        return Carried(
            self.chart,
            self.why,
            Samples.pack([self.samples[int(i)] for i in at]),
            None if self.coordinates is None else self.coordinates[at],
            {k: values[at] for k, values in self.known.items()},
            {k: values[at] for k, values in self.fields.items()},
            kept,
            self.clamped[at],
            sum(passage.flipped for passage in kept.values()),
        )

    def weight(self, on: str) -> csr_array:
        """Inner product of fields on the common mesh."""
        return inner_product(self.chart, on)


def inner_product(chart: Chart, on: str) -> csr_array:
    """Mass matrix of the reference mesh, or the sizes of its cells for cell fields of a shared
    numbering."""
    from scipy.sparse import csr_array, diags_array

    if on == "cell" and chart.shared_numbering:
        cells, parents = chart.reference.simplices
        size = np.abs(signed_measures(chart.reference.points, cells))
        return csr_array(diags_array(np.bincount(parents, size, minlength=chart.reference.n_cells)))
    if chart.reference.cell_dim == 0:
        return csr_array(diags_array(np.ones(len(chart.reference.points))))
    return mass_matrix(chart.reference)


def make_chart(cases: Cases, morphing: Morphing | None) -> tuple[Chart, str]:
    """The chart of a training set, with the reason for its morphing. The reference is the middle
    case.

    Raises:
        ValueError: topologies differ, or the morphing can't serve these meshes.
    """
    meshes = cases.meshes[""]
    names = [cases[int(i)].label for i in np.unique(meshes.which, return_index=True)[1]]
    reference = meshes[len(meshes) // 2]
    if morphing is None:
        morphing, why = choose_morphing(meshes.distinct, names)
        return Chart(morphing, reference), why
    refusal = morphing.refusal(meshes.distinct)
    if refusal:
        if len({m.connectivity for m in meshes.distinct}) > 1:
            check_one_topology(meshes.distinct, names)
        raise ValueError(f"{type(morphing).__name__} can't carry these meshes: {refusal}")
    return Chart(morphing, reference), "as given"


def carry(
    samples: Samples,
    morphing: Morphing | None,
    progress: Progress = quiet,
    *,
    normals: bool = False,
) -> Carried:
    """Morph every training mesh and bring its shape (see `shape_values`) and fields to the common
    mesh.

    Raises:
        ValueError: as `make_chart`; fields on parts of a case, which are not carried.
    """
    _refuse_parts(samples)
    chart, why = make_chart(samples.cases, morphing)
    n = len(samples)
    groups = {"known": samples.cases.fields, "fields": samples.fields}
    room = {
        group: {name: _room(chart, n, found) for name, found in fields.items()}
        for group, fields in groups.items()
    }
    distinct = len(samples.cases.meshes[""].distinct) > 1
    channels, nodes = shape_values(chart.reference, normals).shape[1], len(chart.reference.points)
    coordinates = np.empty((n, channels, nodes)) if distinct else None
    keep = set(np.unique(np.linspace(0, n - 1, min(n, ROUND_TRIPS)).astype(int)).tolist())

    def one(i: int) -> Passage:
        passage = named_passage(chart, samples.cases, i)
        if coordinates is not None:
            coordinates[i] = passage.to_common(shape_values(passage.mesh, normals)).T
        for group, fields in groups.items():
            for name, found in fields.items():
                room[group][name][i] = carried_field(passage, found, i)
        return passage

    passages, clamped, flipped = {}, np.zeros(n), 0
    for i, passage in enumerate(side_by_side(one, range(n))):
        if i in keep:
            passages[i] = passage
            clamped[i] = passage.clamped
            flipped += passage.flipped
        progress("morph", i + 1, n)
    return Carried(
        chart, why, samples, coordinates, room["known"], room["fields"], passages, clamped, flipped
    )


def _refuse_parts(samples: Samples) -> None:
    for name, found in (*samples.fields.items(), *samples.cases.fields.items()):
        if found.part:
            raise ValueError(
                f"field {name!r}: expected fields on the case's own mesh, got one on the part "
                f"{found.part!r}; make that part the mesh (--mesh) or leave the field out"
            )


def shape_values(mesh: Mesh, normals: bool) -> Float[np.ndarray, "point channel"]:
    """What a shape is told by: the coordinates, and where asked for the unit normals of the
    boundary or surface, scaled to a tenth of the mesh's size so that neither outweighs the
    other."""
    if not normals:
        return mesh.points
    size = 0.1 * float(np.linalg.norm(np.ptp(mesh.points, axis=0)))
    return np.concatenate([mesh.points, size * point_normals(mesh)], axis=1)


def named_passage(chart: Chart, cases: Cases, i: int) -> Passage:
    """The passage of case `i`; an error names the case."""
    try:
        return chart.passage(cases.meshes[""][i])
    except ValueError as error:
        raise ValueError(f"case {cases[i].label}: {error}") from error


def _room(chart: Chart, n: int, found: PackedField) -> np.ndarray:
    times, _, components = found.values.shape
    return np.empty((n, times * components, chart.size(found.on)))


def carried_field(
    passage: Passage, found: PackedField, i: int
) -> Float[np.ndarray, "channel node"]:
    """Field of case `i` on the common mesh."""
    values = found.at(i).values
    entity = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
    return passage.to_common(entity, found.on).T


@dataclass(frozen=True, eq=False)
class Basis:
    """How one output field is reduced: `pod` (of its logarithm if `logarithmic`), and `residual`
    (channel, node), the variance that the modes and the interpolation leave out."""

    pod: Pod
    residual: Float[np.ndarray, "channel node"]
    kind: FieldKind
    logarithmic: bool = False


@dataclass(frozen=True)
class Errors:
    """RRMSE on training cases: there and back between meshes, and with modes in between that the
    other cases give."""

    round_trip: float
    projection: float


@dataclass(frozen=True, eq=False)
class Inputs:
    """Coefficients (case, mode) of shapes and known fields, and the norm of what their modes leave
    out, (case,)."""

    columns: Mapping[str, Float[np.ndarray, "case _column"]]
    residuals: Mapping[str, Float[np.ndarray, " case"]]


@dataclass(frozen=True, eq=False)
class Embedding:
    """The common mesh with the reduced coordinates of shapes, known fields and output fields."""

    chart: Chart
    shape: Pod | None
    known: Mapping[str, Pod]
    fields: Mapping[str, Basis]
    errors: Mapping[str, Errors] = field(default_factory=dict)
    normals: bool = False
    weighted: bool = True

    def inputs(self, cases: Cases, passages: Sequence[Passage]) -> Inputs:
        """Of each case; `passages` one per case."""

        def one(i: int) -> dict[str, tuple[np.ndarray, float]]:
            passage, row = passages[i], {}
            if self.shape is None:
                row[SHAPE] = np.empty(0), self._moved(passage)
            else:
                values = passage.to_common(shape_values(passage.mesh, self.normals)).T
                row[SHAPE] = self._told(self.shape, values, "point")
            for name, pod in self.known.items():
                known = cases.fields[name]
                row[name] = self._told(pod, carried_field(passage, known, i), known.on)
            return row

        rows = list(side_by_side(one, range(len(passages))))
        columns = {name: np.array([row[name][0] for row in rows]) for name in rows[0]}
        residuals = {name: np.array([row[name][1] for row in rows]) for name in rows[0]}
        return Inputs(columns, residuals)

    def _told(self, pod: Pod, snapshot: np.ndarray, on: Location) -> tuple[np.ndarray, float]:
        """Coefficients, and the norm of what the modes leave out."""
        weight = self._weights[on] if self.weighted else None
        return pod.encode(snapshot[None])[0], float(pod.left_out(snapshot[None], weight)[0])

    def _moved(self, passage: Passage) -> float:
        """How far a shape is from the only one of training: root mean square, over its size."""
        own = self.chart.reference.points
        gap = passage.to_common(passage.mesh.points) - own
        return float(np.sqrt((gap**2).sum(axis=1).mean()) / np.linalg.norm(np.ptp(own, axis=0)))

    @cached_property
    def _weights(self) -> dict[Location, csr_array]:
        """Inner products by location of the inputs."""
        places: dict[Location, csr_array] = {"point": inner_product(self.chart, "point")}
        if self.chart.shared_numbering:
            places["cell"] = inner_product(self.chart, "cell")
        else:
            places["cell"] = places["point"]
        return places

    def encoded(
        self, name: str, packed: PackedField, passages: Sequence[Passage]
    ) -> Float[np.ndarray, "case mode"]:
        """Coefficients of an output field that is known, one passage per case."""
        basis = self.fields[name]
        rows = []
        for i, passage in enumerate(passages):
            values = carried_field(passage, packed, i)[None]
            rows.append(basis.pod.encode(np.log(values) if basis.logarithmic else values)[0])
        return np.array(rows)

    def passages(self, cases: Cases) -> list[Passage]:
        """One per case; equal meshes share theirs."""
        meshes = cases.meshes[""]
        first = np.unique(meshes.which, return_index=True)[1]
        distinct = list(
            side_by_side(lambda i: named_passage(self.chart, cases, int(i)), first.tolist())
        )
        return [distinct[k] for k in meshes.which]

    @cached_property
    def stacks(self) -> dict[Location, tuple[np.ndarray, dict[str, slice]]]:
        """By location: the columns [mean, residual, modes] of all fields there, (entity, column)
        together so that one product transports them, and where each field's begin."""
        made = {}
        for on in {basis.kind.on for basis in self.fields.values()}:
            blocks, places, start = [], {}, 0
            for name, basis in self.fields.items():
                if basis.kind.on == on:
                    modes = basis.pod.modes.reshape(-1, basis.pod.modes.shape[2])
                    block = np.concatenate([basis.pod.mean, basis.residual, modes]).T
                    places[name] = slice(start, start + block.shape[1])
                    blocks.append(block)
                    start += block.shape[1]
            made[on] = (np.ascontiguousarray(np.concatenate(blocks, axis=1)), places)
        return made


@dataclass(frozen=True)
class Sizes:
    """How many modes: for each output field, and for the shape and each known field, those below
    `shape_tolerance` of the first left out; and how fields are weighed and transformed."""

    modes: int = 16
    shape_modes: int = 16
    shape_tolerance: float = 1e-3
    weighted: bool = True
    logarithmic: tuple[str, ...] = ()
    normals: bool = False


def embed(carried: Carried, sizes: Sizes) -> tuple[Embedding, Inputs, dict[str, np.ndarray]]:
    """The embedding of a training set; its inputs, with residuals from modes of other cases; its
    output coefficients by field.

    Raises:
        ValueError: a field to be learnt as a logarithm that is not positive or not there.
    """
    samples = carried.samples
    _check_logarithmic(carried, sizes.logarithmic)

    columns: dict[str, np.ndarray] = {}
    residuals: dict[str, np.ndarray] = {}

    def reduced(name: str, snapshots: np.ndarray, on: str) -> Pod:
        weight = carried.weight(on) if sizes.weighted else None
        found = Snapshots.of(snapshots.copy(), weight)
        pod = found.pod(sizes.shape_modes, sizes.shape_tolerance)
        columns[name] = pod.encode(snapshots)
        residuals[name] = found.left_out(len(pod.modes), JUDGED)
        return pod

    shape = None
    if carried.coordinates is None:
        residuals[SHAPE] = np.zeros(len(samples))
    else:
        shape = reduced(SHAPE, carried.coordinates, "point")
    known = {k: reduced(k, s, samples.cases.fields[k].on) for k, s in carried.known.items()}
    bases, coefficients, errors = {}, {}, {}
    for name, snapshots in carried.fields.items():
        logarithmic = name in sizes.logarithmic
        values = np.log(snapshots) if logarithmic else snapshots.copy()
        weight = carried.weight(samples.fields[name].on) if sizes.weighted else None
        found = Snapshots.of(values, weight)
        pod, gram = found.pod(sizes.modes), found.gram
        coefficients[name] = (
            values.reshape(len(values), -1) @ pod.dual.reshape(len(pod.modes), pod.mean.size).T
        )
        values += pod.mean
        kind = FieldKind.of(samples.fields[name])
        projected = _projected(values, gram, list(carried.passages), sizes.modes)
        residual, errors[name] = _left_out(carried, name, projected, logarithmic)
        bases[name] = Basis(pod, residual, kind, logarithmic)
    embedding = Embedding(carried.chart, shape, known, bases, errors, sizes.normals, sizes.weighted)
    return embedding, Inputs(columns, residuals), coefficients


def _check_logarithmic(carried: Carried, names: Sequence[str]) -> None:
    for name in names:
        if name not in carried.fields:
            raise ValueError(
                f"logarithmic: expected fields of {list(carried.fields)}, got {name!r}"
            )
        if carried.fields[name].min() <= 0:
            raise ValueError(
                f"logarithmic: expected field {name!r} to be positive everywhere, its least "
                "value is "
                f"{carried.fields[name].min():.3g}"
            )


def _projected(
    values: Float[np.ndarray, "case channel node"], gram: np.ndarray, cases: list[int], count: int
) -> Float[np.ndarray, "held channel node"]:
    """Some of the cases, each projected on the modes that the others give."""
    n = len(values)
    order = np.random.default_rng(n).permutation(len(cases))
    parts = min(-(-len(cases) * FOLDS // n), len(cases))
    ids = [np.array(cases)[part] for part in np.array_split(order, parts)]
    weights = np.empty((len(cases), n))
    weights[order] = held_out(gram, ids, count)
    return (weights @ values.reshape(n, -1)).reshape(len(cases), *values.shape[1:])


def _left_out(
    carried: Carried,
    name: str,
    projected: Float[np.ndarray, "held channel node"],
    logarithmic: bool,
) -> tuple[Float[np.ndarray, "channel node"], Errors]:
    """Mean square, on the common mesh, of what the round trip through interpolation and modes
    loses on native meshes; and the relative errors. `projected` are the cases whose passages were
    kept, each on modes that it had no part in."""
    packed = carried.samples.fields[name]
    total = np.zeros(projected.shape[1:])
    trips, projections = [], []
    for (i, passage), reduced in zip(carried.passages.items(), projected, strict=True):
        truth = np.moveaxis(packed.at(i).values, 1, 0).reshape(passage.mesh.size_of(packed.on), -1)
        there = carried.fields[name][i]
        back = passage.from_common(there.T, packed.on)
        found = passage.from_common(reduced.T, packed.on)
        size = np.abs(truth).max()
        trips.append(np.mean((truth - back) ** 2) / max(size**2, 1e-300))
        if logarithmic:
            lost = (np.log(truth) - found) ** 2
            found = np.exp(found)
        else:
            lost = (truth - found) ** 2
        projections.append(np.mean((truth - found) ** 2) / max(size**2, 1e-300))
        total += passage.to_common(lost, packed.on).T
    return total / len(projected) * student_variance(len(projected)), Errors(
        float(np.sqrt(np.mean(trips))), float(np.sqrt(np.mean(projections)))
    )
