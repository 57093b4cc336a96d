"""Forces on bodies in a flow, by integration of pressure and friction over their surface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from fieldcast.meshes import Case, Field, Mesh, Scalar
from fieldcast.meshes.normals import facet_normals

from .derived import Quantity, region_facets

INTEGRATED = "integrated"


@dataclass(frozen=True)
class Stream:
    """The oncoming flow: along x, turned by the parameter `alpha` [deg] towards the axis `up`
    ("" and "y" in the plane: not turned, y). `speed` [m/s] is the name of a parameter and `density`
    [kg/m^3] a number: fields are divided by their dynamic pressure (density 1 where pressure is
    kinematic); without a speed fields are coefficients already."""

    alpha: str = "alpha"
    speed: str = ""
    density: float = 1.0
    up: str = "y"

    def axes(self, case: Case) -> Float[np.ndarray, "2 dim"]:
        """Unit vectors of drag and lift."""
        dim = case.mesh.dim
        upward = "xyz".index(self.up)
        if not 0 < upward < dim:
            raise ValueError(f"expected up to be an axis of {'yz'[: dim - 1]!r}, got {self.up!r}")
        angle = np.radians(_parameter(case, self.alpha)) if self.alpha else 0.0
        axes = np.zeros((2, dim))
        axes[0, [0, upward]] = np.cos(angle), np.sin(angle)
        axes[1, [0, upward]] = -np.sin(angle), np.cos(angle)
        return axes

    def pressure(self, case: Case) -> float:
        """What fields are divided by [Pa]."""
        if not self.speed:
            return 1.0
        return 0.5 * self.density * _parameter(case, self.speed) ** 2


def _parameter(case: Case, name: str) -> float:
    if name not in case.parameters:
        raise ValueError(
            f"case {case.label}: expected the parameter {name!r}, got {sorted(case.parameters)}"
        )
    return float(case.parameters[name])


@dataclass(frozen=True)
class SurfaceForces(Quantity):
    """The scalars "integrated cl" and "integrated cd", in the plane "integrated cm" too (nose up,
    about the quarter chord): F = sum over the surface of (-p n + t), by trapezoids, over the
    dynamic pressure and `area` [m^2] (in the plane the chord).

    `pressure` lives on a curve or surface, closed or cut by planes of symmetry, or on a mesh around
    a body whose `region` that is. `friction` ("": none) is a vector, or in the plane a number along
    the flow, which parts where pressure is largest; `reversed_friction` is what the body does to
    the flow, as OpenFOAM's wallShearStress. `learnt` scalars of samples are their twins.
    """

    pressure: str = "cp"
    friction: str = ""
    region: str = ""
    stream: Stream = Stream()
    area: float = 1.0
    learnt: tuple[str, ...] = ("cl", "cd", "cm")
    reversed_friction: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{INTEGRATED} {name}" for name in self._coefficients)

    @property
    def _coefficients(self) -> tuple[str, ...]:
        return ("cl", "cd", "cm") if self.stream.up == "y" else ("cl", "cd")

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(name for name in (self.pressure, self.friction) if name)

    @property
    def twins(self) -> Mapping[str, str]:
        pairs = zip(self._coefficients, self.learnt, strict=False)
        return {f"{INTEGRATED} {name}": other for name, other in pairs}

    def of(
        self, case: Case, fields: Mapping[str, Field]
    ) -> tuple[dict[str, Field], dict[str, Scalar]]:
        skin = Skin.of(case, fields[self.pressure], self.region)
        scale = self.stream.pressure(case)
        pressure = fields[self.pressure].values[:, :, 0]
        force = -skin.mean(pressure)[..., None] * skin.normals
        if self.friction:
            friction = fields[self.friction].values
            if friction.shape[2] == 1:
                friction = friction * skin.flow(pressure)
            sign = -1.0 if self.reversed_friction else 1.0
            dim = case.mesh.dim
            force = force + sign * skin.mean(friction)[..., :dim] * skin.sizes[:, None]
        force = force / scale
        drag, lift = self.stream.axes(case)
        plane = case.mesh.dim == 2
        area = skin.chord if plane else self.area
        total = force.sum(axis=1) / area
        found = {"cl": total @ lift, "cd": total @ drag}
        if plane:
            arm = skin.middles - skin.quarter
            turning = arm[:, 0] * force[..., 1] - arm[:, 1] * force[..., 0]
            found["cm"] = -turning.sum(axis=1) / area**2
        names = self._coefficients
        if names != tuple(found):
            raise ValueError(
                f"case {case.label}: expected a mesh of {2 if 'cm' in names else 3} dimensions, as "
                f"up is {self.stream.up!r}, got {case.mesh.dim}"
            )
        return {}, {f"{INTEGRATED} {k}": Scalar(found[k]) for k in names}


@dataclass(frozen=True, eq=False)
class Skin:
    """The facets of a body: their corners, `normals` (facet, dim) out of the body as long as the
    facets are large, and `sizes`; values are on points, or on facets in their order."""

    mesh: Mesh
    facets: Int[np.ndarray, "facet corner"]
    normals: Float[np.ndarray, "facet dim"]
    on: str = "point"
    parents: Int[np.ndarray, " facet"] | None = None

    @classmethod
    def of(cls, case: Case, known: Field, region: str) -> Skin:
        """Of the mesh that a field lives on.

        Raises:
            ValueError: a mesh that is no surface, or a field that is not told on it.
        """
        mesh = case.mesh_of(known.part)
        if region:
            if known.on != "point" or known.part:
                raise ValueError(
                    f"case {case.label}: expected pressure on points of the case's own mesh, whose "
                    f"region {region!r} is looked at"
                )
            facets, unit, size = region_facets(case, region)
            return cls(mesh, facets, unit * size[:, None])
        if mesh.cell_dim != mesh.dim - 1:
            raise ValueError(
                f"case {case.label}: expected a curve in the plane or a surface in space, or the "
                f"region of one, got cells of dimension {mesh.cell_dim} in {mesh.dim}"
            )
        facets, parents = mesh.simplices
        normals = facet_normals(mesh.points, facets) / max(mesh.dim - 1, 1)
        if mesh.dim == 2 and np.bincount(facets[:, 0]).max() > 1:
            raise ValueError(
                f"case {case.label}: expected the segments of a curve to follow each other, got "
                "some that run against each other"
            )
        # Outwards: the volume is positive. A cut surface is told from its middle.
        middles = mesh.points[facets].mean(axis=1)
        turned = (normals * (middles - mesh.points.mean(axis=0))).sum() < 0
        return cls(mesh, facets, -normals if turned else normals, known.on, parents)

    @property
    def sizes(self) -> Float[np.ndarray, " facet"]:
        """Lengths or areas."""
        found: np.ndarray = np.linalg.norm(self.normals, axis=1)
        return found

    @property
    def middles(self) -> Float[np.ndarray, "facet dim"]:
        """Of the facets."""
        found: np.ndarray = self.mesh.points[self.facets].mean(axis=1)
        return found

    @property
    def chord(self) -> float:
        """Length along x [m]."""
        return float(np.ptp(self.mesh.points[np.unique(self.facets), 0]))

    @property
    def quarter(self) -> Float[np.ndarray, " dim"]:
        """The point at a quarter of the chord, on the line from the nose to the tail."""
        own = self.mesh.points[np.unique(self.facets)]
        nose, tail = own[own[:, 0].argmin()], own[own[:, 0].argmax()]
        found: np.ndarray = nose + 0.25 * (tail - nose)
        return found

    def mean(self, values: Float[np.ndarray, "time entity ..."]) -> np.ndarray:
        """On facets."""
        if self.on == "cell":
            return values[:, self.parents]
        found: np.ndarray = values[:, self.facets].mean(axis=2)
        return found

    def flow(self, pressure: Float[np.ndarray, "time entity"]) -> Float[np.ndarray, "1 point 2"]:
        """Unit vectors (point, 2) along a curve, away from where pressure is largest."""
        if self.mesh.dim != 2 or self.on != "point":
            raise ValueError(
                "expected friction as a vector; a number along the flow is understood on points of "
                "curves in the plane"
            )
        points = self.mesh.points
        tangent = np.zeros_like(points)
        length = np.maximum(self.sizes, 1e-300)[:, None]
        along = np.stack([-self.normals[:, 1], self.normals[:, 0]], axis=1) / length
        for corner in range(2):
            np.add.at(tangent, self.facets[:, corner], along)
        tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-300)
        turn = _turn(self, pressure.mean(axis=0))
        found: np.ndarray = (tangent * turn[:, None])[None]
        return found


def _turn(skin: Skin, pressure: Float[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
    """1 where flow runs along the way around, -1 against: one side of where pressure is largest, up
    to the tail, and the other."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ways, n = _ways(skin), len(skin.mesh.points)
    own = np.unique(ways)
    stagnation = own[pressure[own].argmax()]
    tail = own[skin.mesh.points[own, 0].argmax()]
    kept = ways[~np.isin(ways, [stagnation, tail]).any(axis=1)]
    graph = coo_array((np.ones(len(kept)), (kept[:, 0], kept[:, 1])), shape=(n, n))
    _, side = connected_components(graph, directed=False)
    ahead = ways[ways[:, 0] == stagnation, 1]
    turn: np.ndarray = np.where(np.isin(side, side[ahead]), 1.0, -1.0)
    return turn


def _ways(skin: Skin) -> Int[np.ndarray, "facet 2"]:
    """Segments from first to second corner, counter-clockwise."""
    points, facets = skin.mesh.points, skin.facets
    along = points[facets[:, 1]] - points[facets[:, 0]]
    right = np.stack([along[:, 1], -along[:, 0]], axis=1)
    backward = (right * skin.normals).sum(axis=1) < 0
    found: np.ndarray = np.where(backward[:, None], facets[:, ::-1], facets)
    return found
