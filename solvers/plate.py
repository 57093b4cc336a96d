"""The double-notched plate under tension, the bench problem of mesh morphing Gaussian processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from fieldcast.meshes import Case, Field, Sample, Scalar
from fieldcast.meshes.sample import scalars_of

from .plane_strain import Body, Elastic, Law, Response
from .plate_mesh import plate_mesh
from .solver import Range, Solver, SolverFailed, parameter_values
from .stress_recovery import Averaged, Patches, Recovery, Sites, von_mises

STRESSES = ("sig11", "sig22", "sig12")
SIZE = 0.0433
"""Of edges [m], for some 1,900 points."""


@dataclass(frozen=True)
class DoubleNotchedPlate(Solver):
    """div sigma = 0; u2 = 0 on the bottom, u1 = 0 at its left corner, sigma n = -P n on the top.

    Plane strain; P < 0 pulls. `degree` is that of the shape functions. With 1, stresses at points
    are area-weighted averages of element values, as in published data; with 2, edges of
    the boundary are curved through their neighbours and stresses are fitted on patches.
    Parameters that `law` doesn't read may be left out; a law with internal variables adds them as
    fields, with their maxima. `order` is that of degree 1; degree 2 has 3.

    `max_sig22_top` is -P for the exact solution: what it differs by is the error of the mesh.
    """

    degree: int = 1
    law: Law = field(default_factory=Elastic)

    parameters: ClassVar = {"P": "MPa", "E": "MPa", "R0": "MPa", "K": "MPa", "C": "MPa", "D": ""}
    outputs: ClassVar = {
        "U1": "m",
        "U2": "m",
        "sig11": "MPa",
        "sig22": "MPa",
        "sig12": "MPa",
        "max_von_mises": "MPa",
        "max_U2_top": "m",
        "max_sig22_top": "MPa",
    }
    order: ClassVar[float | None] = 2.0
    space: ClassVar = {
        "radius": Range(0.2, 0.8, "m"),
        "P": Range(-50.0, -40.0, "MPa"),
        "E": Range(5e4, 1e5, "MPa"),
        "R0": Range(10.0, 20.0, "MPa"),
        "K": Range(300.0, 600.0, "MPa"),
        "C": Range(1000.0, 2000.0, "MPa"),
        "D": Range(1000.0, 2000.0),
    }

    def __post_init__(self) -> None:
        if self.degree not in (1, 2):
            raise ValueError(f"expected shape functions of degree 1 or 2, got {self.degree}")

    def available(self) -> str | None:
        from importlib.util import find_spec

        return None if find_spec("skfem") else "pip install 'fieldcast[solvers]'"

    def example(self) -> Case:
        values = {"P": -45.0, "E": 7.5e4, "R0": 15.0, "K": 450.0, "C": 1500.0, "D": 1500.0}
        return Case(plate_mesh(0.5, 0.1), scalars_of(values), name="plate_example")

    def case(self, values: Mapping[str, float], name: str = "") -> Case:
        mesh = plate_mesh(values["radius"], SIZE)
        numbers = {k: Scalar(np.array([values[k]]), unit) for k, unit in self.parameters.items()}
        return Case(mesh, numbers, name=name)

    def solve(self, case: Case) -> Sample:
        unread = scalars_of(dict.fromkeys(set(self.parameters) - self.law.needs - {"P"}, 0.0))
        asked = replace(case, parameters={**unread, **case.parameters})
        values = parameter_values(self, asked)
        if not np.isfinite(list(values.values())).all():
            raise ValueError(f"case {case.label}: expected finite parameters, got {values}")
        plate = discretised(case, self.degree)
        try:
            response = self.law.respond(plate.body, -values["P"] * plate.pull, values)
        except (RuntimeError, SolverFailed) as error:
            raise SolverFailed(f"case {case.label}: {error}") from error
        return _sample(case, plate, response, (Averaged(), Patches())[self.degree - 1])


@dataclass(frozen=True, eq=False)
class DiscretePlate:
    """The plate in finite elements; `pull` [m] is the load of a unit traction on `top` vertices."""

    body: Body
    sites: Sites
    pull: Float[np.ndarray, " freedom"]
    top: Int[np.ndarray, " top"]


def _sample(case: Case, plate: DiscretePlate, response: Response, recovery: Recovery) -> Sample:
    u = response.displacement[: 2 * len(plate.sites.vertices)].reshape(-1, 2)
    stress = recovery.at_vertices(plate.sites, response.stress)
    found = {"U1": (u[:, 0], "m"), "U2": (u[:, 1], "m")}
    found |= {name: (stress[:, k], "MPa") for k, name in enumerate(STRESSES)}
    largest = {
        "max_von_mises": (von_mises(stress).max(), "MPa"),
        "max_U2_top": (u[plate.top, 1].max(), "m"),
        "max_sig22_top": (stress[plate.top, 1].max(), "MPa"),
    }
    for name, values in response.internal.items():
        at = recovery.at_vertices(plate.sites, values[..., None])[:, 0]
        found[name] = (at, "")
        largest[f"max_{name}"] = (at.max(), "")
    fields = {name: Field.steady(values, unit) for name, (values, unit) in found.items()}
    scalars = {name: Scalar(np.array([value]), unit) for name, (value, unit) in largest.items()}
    return Sample(case, fields, scalars)


def discretised(case: Case, degree: int) -> DiscretePlate:
    """The case's mesh in finite elements of `degree`, held at the bottom and pulled at the top.

    Raises:
        ValueError: the mesh isn't one of a plate.
    """
    import skfem

    straight = skfem.MeshTri(*_plane(case), validate=False, sort_t=True)
    bottom, top = _edges(case, straight)
    mesh = straight if degree == 1 else _curved(straight)
    element = skfem.ElementTriP1() if degree == 1 else skfem.ElementTriP2()
    # One point for constant strains; scikit-fem's least, three, for linear ones.
    centroid = np.full((2, 1), 1 / 3), np.array([1 / 2])
    rule = {"quadrature": centroid} if degree == 1 else {"intorder": 2}
    basis = skfem.Basis(mesh, element, **rule)
    shape = (2, *basis.dx.shape)
    gradients = np.stack([np.broadcast_to(part[0].grad, shape) for part in basis.basis])
    nodes = np.ascontiguousarray(basis.element_dofs.T)
    outer = np.zeros(straight.nvertices, dtype=bool)
    outer[straight.boundary_nodes()] = True
    points = np.moveaxis(np.asarray(basis.global_coordinates()), 0, -1)
    sites = Sites(straight.p.T, straight.t.T, outer, points, basis.dx)
    held = np.unique(basis.get_dofs(facets=bottom).all())
    corner = held[np.argmin(basis.doflocs[0, held])]
    body = Body(
        np.ascontiguousarray(gradients.transpose(2, 3, 0, 1)),
        basis.dx,
        nodes,
        np.append(2 * held + 1, 2 * corner),
    )
    return DiscretePlate(body, sites, _pull(basis, top), np.unique(straight.facets[:, top]))


def _plane(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (2, point) and triangles (3, triangle) of the case's mesh.

    Raises:
        ValueError: a mesh that isn't one piece of plane triangles.
    """
    mesh = case.mesh
    solid = {kind.name for kind in mesh.types if kind.dim > 1}
    flat = mesh.dim == 2 or (mesh.dim == 3 and np.ptp(mesh.points[:, 2]) == 0.0)
    if solid != {"triangle"} or not flat:
        raise ValueError(
            f"case {case.label}: expected a mesh of triangles in the plane x, y, got cells "
            f"{sorted(mesh.cells)} in {mesh.dim} dimensions; take fieldcast.solvers.plate_mesh, or "
            "split and flatten the cells"
        )
    triangles = mesh.cells["triangle"].T.astype(np.int64)
    pieces = _pieces(len(mesh.points), triangles)
    if pieces > 1:
        raise ValueError(
            f"case {case.label}: expected one piece that uses every point, got {pieces} loose "
            "pieces or points; keep the plate alone, and merge points that are double"
        )
    return np.ascontiguousarray(mesh.points[:, :2].T), np.ascontiguousarray(triangles)


def _pieces(n: int, triangles: Int[np.ndarray, "3 triangle"]) -> int:
    """How many parts `n` points form, of which triangles join some."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    start, end = triangles[:2].ravel(), triangles[1:].ravel()
    return connected_components(coo_matrix((np.ones(len(start)), (start, end)), (n, n)), False)[0]


def _edges(case: Case, mesh: Any) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the facets on the bottom and on the top.

    Raises:
        ValueError: the lowest or the highest points don't form one straight edge of full width.
    """
    outer = mesh.boundary_facets()
    x, y = mesh.p[:, mesh.facets[:, outer]]
    sides = []
    for name, level in (("bottom", mesh.p[1].min()), ("top", mesh.p[1].max())):
        on = (np.abs(y - level) < 1e-9 * np.ptp(mesh.p[1])).all(axis=0)
        width = np.abs(x[1, on] - x[0, on]).sum()
        if not np.isclose(width, np.ptp(mesh.p[0])):
            raise ValueError(
                f"case {case.label}: expected a plate whose {name} is a straight edge of its full "
                f"width {np.ptp(mesh.p[0]):.6g} m, got {width:.6g} m at y = {level:.6g} m; "
                "turn the mesh so that the load pulls along y"
            )
        sides.append(outer[on])
    return sides[0], sides[1]


def _pull(basis: Any, top: Int[np.ndarray, " facet"]) -> Float[np.ndarray, " freedom"]:
    """int N ds over the top, along y: 1/2, 1/2 of an edge, or 1/6, 4/6, 1/6 with a middle."""
    ends = basis.mesh.facets[:, top]
    length = np.abs(np.diff(basis.mesh.p[0, ends], axis=0))[0]
    nodes, shares = [basis.nodal_dofs[0, ends].ravel()], [np.tile(length / 2, 2)]
    if len(basis.facet_dofs):
        nodes.append(basis.facet_dofs[0, top])
        shares = [np.tile(length / 6, 2), 4 * length / 6]
    ids = 2 * np.concatenate(nodes) + 1
    return np.bincount(ids, np.concatenate(shares), 2 * basis.N)


def _curved(mesh: Any) -> Any:
    """Six-node triangles; boundary edges have their middles on cubics through four vertices."""
    import skfem

    outer = mesh.boundary_facets()
    a, b = mesh.facets[:, outer]
    both = np.bincount(np.r_[a, b], np.r_[b, a], mesh.nvertices).astype(int)
    before, after = both[a] - b, both[b] - a
    if (np.bincount(np.r_[a, b]) > 2).any():
        return mesh
    chain = mesh.p.T[np.stack([before, a, b, after])]
    fine = skfem.MeshTri2.from_mesh(mesh)
    locations = fine.doflocs.copy()
    locations[:, mesh.nvertices + outer] = _middles(chain).T
    return skfem.MeshTri2(locations, fine.t, validate=False, sort_t=False)


def _middles(chain: Float[np.ndarray, "4 edge 2"]) -> Float[np.ndarray, "edge 2"]:
    """Middles of edges 1-2 on polynomials of chord length, across no corner over 50 degrees."""
    step = np.diff(chain, axis=0)
    length = np.linalg.norm(step, axis=-1)
    smooth = (step[1:] * step[:-1]).sum(axis=-1) > np.cos(np.radians(50)) * length[1:] * length[:-1]
    used = np.ones(chain.shape[:2], dtype=bool)
    used[0], used[3] = smooth
    zero = np.zeros_like(length[:1])
    s = np.concatenate([-length[:1], zero, length[1:2], length[1:2] + length[2:]])
    other = used[None] & ~np.eye(4, dtype=bool)[..., None]
    gap = np.where(other, s[:, None] - s[None], 1.0)
    factor = np.where(other, (s[2] / 2 - s)[None] / gap, 1.0)
    weight = factor.prod(axis=1) * used
    return np.einsum("je,jek->ek", weight, chain)


RANGES = {name: (r.low, r.high) for name, r in DoubleNotchedPlate.space.items()}


def plate_design(n: int, seed: int, spread: bool = False) -> list[dict[str, float]]:
    """`n` rows of a Latin hypercube over `RANGES`; `spread` lowers its centred discrepancy.

    Radius [m], P, E, R0, K, C [MPa], D [-].
    """
    from scipy.stats import qmc

    optimization = "random-cd" if spread else None
    unit = qmc.LatinHypercube(len(RANGES), rng=seed, optimization=optimization).random(n)
    rows = qmc.scale(unit, *np.transpose(list(RANGES.values())))
    return [dict(zip(RANGES, row.tolist(), strict=True)) for row in rows]


def plate_cases(n: int, seed: int, size: float = SIZE) -> list[Case]:
    """`plate_design`, meshed in edges of `size` [m]: 0.0433 gives 1,900 points, 0.0195 9,400."""
    cases = []
    for i, row in enumerate(plate_design(n, seed)):
        mesh = plate_mesh(row.pop("radius"), size, seed=i)
        units = DoubleNotchedPlate.parameters
        values = {name: Scalar(np.array([v]), units[name]) for name, v in row.items()}
        cases.append(Case(mesh, values, name=f"plate_{i:04d}"))
    return cases
