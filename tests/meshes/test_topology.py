"""Cell tables, boundaries, loops and signatures of known shapes."""

from itertools import combinations

import numpy as np
import pytest
from shapes import MEASURES, UNIT_CORNERS, disk, hexes, interval, joined, quads, sphere, torus

from fieldcast.conformance.families import box, ring, square
from fieldcast.meshes import Mesh
from fieldcast.meshes.cells import _TYPES, cell_type, cell_type_of_vtk
from fieldcast.meshes.topology import (
    Topology,
    boundary,
    boundary_loops,
    facets,
    neighbours,
    oriented,
    signed_measures,
    simplices,
    topology,
)

SOLID = [t for t in _TYPES if t.dim > 0]
VOLUMES = [t for t in _TYPES if t.dim == 3]


def unit_cell(kind):
    """The unit cell: its corners, and its other nodes at the centre."""
    base = next(name for name in UNIT_CORNERS if kind.name.startswith(name))
    corners = np.array(UNIT_CORNERS[base], dtype=float)
    rest = np.tile(corners.mean(axis=0), (kind.nodes - kind.corners, 1))
    return Mesh(np.vstack([corners, rest]), {kind.name: np.arange(kind.nodes)[None]}), base


@pytest.mark.parametrize("kind", SOLID, ids=lambda t: t.name)
def test_simplices_fill_the_unit_cell(kind):
    mesh, base = unit_cell(kind)
    cells, parents = simplices(mesh)
    measures = signed_measures(mesh.points, cells)
    assert (measures > 0).all()
    assert measures.sum() == pytest.approx(MEASURES[base], rel=1e-14)
    assert (parents == 0).all()
    assert cells.max() < kind.corners


@pytest.mark.parametrize("kind", [t for t in _TYPES if t.dim > 1], ids=lambda t: t.name)
def test_edges_close_the_cell(kind):
    edges = {tuple(sorted(e)) for e in kind.edges}
    assert len(edges) == len(kind.edges)
    rings = kind.faces or (tuple(range(kind.corners)),)
    of_faces = [tuple(sorted((r[i - 1], r[i]))) for r in rings for i in range(len(r))]
    assert set(of_faces) == edges
    assert {of_faces.count(e) for e in edges} == {kind.dim - 1}


@pytest.mark.parametrize("kind", VOLUMES, ids=lambda t: t.name)
def test_faces_point_outwards_and_enclose_the_volume(kind):
    """sum of areas times normals = 0, and 3 V = sum over faces of the integral of x . n."""
    mesh, base = unit_cell(kind)
    centre = mesh.points[: kind.corners].mean(axis=0)
    total, volume = np.zeros(3), 0.0
    for face in kind.faces:
        x = mesh.points[list(face)]
        for a, b in combinations(range(1, len(face)), 2):
            if b != a + 1:
                continue
            normal = np.cross(x[a] - x[0], x[b] - x[0]) / 2
            middle = (x[0] + x[a] + x[b]) / 3
            assert normal @ (middle - centre) > 0
            total += normal
            volume += normal @ middle / 3
    np.testing.assert_allclose(total, 0.0, atol=1e-15)
    assert volume == pytest.approx(MEASURES[base], rel=1e-14)


@pytest.mark.parametrize("kind", _TYPES, ids=lambda t: t.name)
def test_vtk_numbers_lead_back(kind):
    assert cell_type_of_vtk(kind.vtk, kind.nodes) is kind
    assert cell_type(kind.name) is kind


def test_polygons():
    angle = 2 * np.pi * np.arange(7) / 7
    points = np.stack([np.cos(angle), np.sin(angle)], 1)
    mesh = Mesh(points, {"polygon7": np.arange(7)[None]})
    measures = signed_measures(points, simplices(mesh)[0])
    assert (measures > 0).all()
    assert measures.sum() == pytest.approx(3.5 * np.sin(2 * np.pi / 7), rel=1e-14)
    assert cell_type_of_vtk(7, 7).name == "polygon7"
    assert cell_type_of_vtk(7, 4).name == "quad"


def test_unknown_cells():
    with pytest.raises(ValueError, match="hexagon"):
        cell_type("hexagon")
    with pytest.raises(ValueError, match="number 42 with 4 nodes"):
        cell_type_of_vtk(42, 4)
    with pytest.raises(ValueError, match="number 5 with 4 nodes"):
        cell_type_of_vtk(5, 4)


SIGNATURES = {
    "disk": (disk(4), Topology(2, 1, 1, 1)),
    "square of quads": (quads(4), Topology(2, 1, 1, 1)),
    "annulus": (ring(4, 0, 0.5), Topology(2, 1, 2, 0)),
    "two pieces": (joined(disk(3), disk(3, centre=(5, 0))), Topology(2, 2, 2, 2)),
    "sphere": (sphere(1), Topology(2, 1, 0, 2)),
    "torus": (torus(), Topology(2, 1, 0, 0)),
    "cube of tets": (box(3, 0), Topology(3, 1, 1, 1)),
    "cube of hexes": (hexes(3), Topology(3, 1, 1, 1)),
    "two cubes": (joined(hexes(3), hexes(3).moved(hexes(3).points + 5)), Topology(3, 2, 2, 2)),
    "line": (interval(5), Topology(1, 1, 2, 1)),
    "points": (Mesh(np.zeros((3, 2))), Topology(0, 3, 0, 3)),
}  # fmt: skip


@pytest.mark.parametrize(("mesh", "expected"), SIGNATURES.values(), ids=list(SIGNATURES))
def test_signatures(mesh, expected):
    assert topology(mesh) == expected


def test_unused_points_do_not_count():
    mesh = disk(3)
    assert topology(Mesh(np.vstack([mesh.points, [[9, 9]]]), mesh.cells)) == topology(mesh)


def test_hollow_cube_has_two_boundaries():
    mesh = hexes(4, jitter=0.0)
    middle = np.abs(mesh.points[mesh.cells["hexahedron"]].mean(1) - 0.5).max(1) < 1e-9
    hollow = Mesh(mesh.points, {"hexahedron": mesh.cells["hexahedron"][~middle]})
    assert topology(hollow) == Topology(3, 1, 2, 2)


@pytest.mark.parametrize(
    "mesh", [square(6, 0), ring(5, 0, 0.4), box(4, 0)], ids=["square", "ring", "box"]
)
def test_neighbours_share_a_facet(mesh):
    cells, _ = simplices(mesh)
    across, _ = neighbours(cells)
    for k in range(cells.shape[1]):
        inner = np.flatnonzero(across[:, k] >= 0)
        rest = np.delete(cells[inner], k, axis=1)
        shared = (rest[:, :, None] == cells[across[inner, k]][:, None, :]).any(axis=2)
        assert shared.all()
    assert (across < 0).sum() == len(boundary(mesh))


def test_neighbours_are_mutual():
    cells, _ = simplices(box(4, 0))
    across, _ = neighbours(cells)
    own = np.repeat(np.arange(len(cells)), cells.shape[1])
    there = across.ravel()
    inner = there >= 0
    assert (across[there[inner]] == own[inner, None]).any(axis=1).all()


@pytest.mark.parametrize("mesh", [square(5, 0), box(4, 0), hexes(4)], ids=["2-D", "tets", "hexes"])
def test_boundary_facets_point_outwards(mesh):
    """The integral of x . n over the boundary is dim times the measure."""
    faces = boundary(mesh)
    x = mesh.points[faces]
    if mesh.dim == 2:
        along = x[:, 1] - x[:, 0]
        normals = np.stack([along[:, 1], -along[:, 0]], 1)
    else:
        normals = np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0]) / 2
    assert (normals * x.mean(axis=1)).sum() == pytest.approx(mesh.dim, rel=1e-12)


def test_orientation_is_repaired_not_assumed():
    mesh = square(5, 0)
    turned = Mesh(mesh.points, {"triangle": mesh.cells["triangle"][:, ::-1]})
    assert (signed_measures(mesh.points, turned.cells["triangle"]) < 0).all()
    cells = oriented(mesh.points, turned.cells["triangle"])
    assert (signed_measures(mesh.points, cells) > 0).all()
    assert {tuple(sorted(e)) for e in boundary(turned)} == {
        tuple(sorted(e)) for e in boundary(mesh)
    }


def area(points):
    x, y = points.T
    return 0.5 * (x @ np.roll(y, -1) - y @ np.roll(x, -1))


@pytest.mark.parametrize("n", [2, 3, 5, 8, 13])
def test_loop_of_a_square_runs_counter_clockwise(n):
    mesh = square(n, 1)
    [loop] = boundary_loops(mesh)
    assert len(loop) == 4 * (n - 1) == len(set(loop.tolist()))
    assert area(mesh.points[loop]) == pytest.approx(1.0, rel=1e-14)
    steps = np.linalg.norm(np.diff(mesh.points[np.append(loop, loop[0])], axis=0), axis=1)
    np.testing.assert_allclose(steps, 1 / (n - 1))


@pytest.mark.parametrize("seed", range(5))
def test_loops_do_not_depend_on_the_numbering_of_points(seed):
    mesh = ring(5, 0, 0.4)
    order = np.random.default_rng(seed).permutation(len(mesh.points))
    back = np.argsort(order)
    other = Mesh(mesh.points[order], {"triangle": back[mesh.cells["triangle"]]})
    for one, two in zip(boundary_loops(mesh), boundary_loops(other), strict=True):
        assert set(map(tuple, mesh.points[one])) == set(map(tuple, other.points[two]))
        assert area(other.points[two]) == pytest.approx(area(mesh.points[one]), rel=1e-12)


def test_several_loops_longest_first_material_on_the_left():
    mesh = ring(5, 0, 0.4)
    outer, inner = boundary_loops(mesh)
    assert len(outer) == len(inner) == 30
    assert area(mesh.points[outer]) > 0 > area(mesh.points[inner])
    np.testing.assert_allclose(np.linalg.norm(mesh.points[outer], axis=1), 1.0)
    np.testing.assert_allclose(np.linalg.norm(mesh.points[inner], axis=1), 0.4)


def test_closed_surfaces_have_no_loop():
    assert boundary_loops(sphere(1)) == []
    assert boundary_loops(torus()) == []


def test_a_boundary_that_touches_itself_is_refused():
    points = np.array([[0, 0], [1, 0], [1, 1], [-1, 0], [-1, -1]], dtype=float)
    mesh = Mesh(points, {"triangle": np.array([[0, 1, 2], [0, 3, 4]])})
    with pytest.raises(ValueError, match=r"touches itself at 1 point\(s\), first \[0\]"):
        boundary_loops(mesh)
    with pytest.raises(ValueError, match="expected a surface mesh, got cells of dimension 3"):
        boundary_loops(hexes(3))


def test_facets_of_a_tetrahedron():
    faces, classes = facets(np.array([[0, 1, 2, 3]]))
    assert len(faces) == len(set(classes.tolist())) == 4
    assert [sorted({0, 1, 2, 3} - set(f))[0] for f in faces.tolist()] == [0, 1, 2, 3]
