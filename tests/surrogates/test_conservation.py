"""Integrals and fluxes: exact where theory says so, and what defects are made of."""

from __future__ import annotations

import numpy as np
import pytest
from manufactured import linear

from fieldcast.conformance.families import box, bulged, ring, square
from fieldcast.meshes import Field, Mesh, Prediction
from fieldcast.surrogates.conservation import (
    Measures,
    flux,
    flux_defects,
    integral,
    integral_defects,
    measures,
)
from fieldcast.surrogates.scores import score

QUAD = [[0, 0], [1, 0], [1, 1], [0, 1]]
CUBE = [[x, y, z] for z in (0, 1) for x, y in QUAD]
# Corners of one cell in VTK's order, and its measure.
CELLS = {
    "line": ([[0], [1]], 1.0),
    "triangle": ([[0, 0], [1, 0], [0, 1]], 1 / 2),
    "quad": (QUAD, 1.0),
    "polygon5": ([*QUAD, [-1, 0.5]], 1.5),
    "tetra": ([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], 1 / 6),
    "hexahedron": (CUBE, 1.0),
    "wedge": ([[x, y, z] for z in (0, 1) for x, y in ((0, 0), (0, 1), (1, 0))], 1 / 2),
    "pyramid": ([*CUBE[:4], [0, 0, 1]], 1 / 3),
}


def one_cell(name: str) -> Mesh:
    points = np.array(CELLS[name][0], dtype=float)
    return Mesh(points, {name: np.arange(len(points))[None]})


def quads(n: int) -> Mesh:
    """[0, 1]^2 in (n - 1)^2 quadrilaterals."""
    x = np.linspace(0.0, 1.0, n)
    points = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
    ids = np.arange(n * n).reshape(n, n)
    corners = (ids[:-1, :-1], ids[1:, :-1], ids[1:, 1:], ids[:-1, 1:])
    return Mesh(points, {"quad": np.stack([c.ravel() for c in corners], 1)})


FILLED = [
    quads(6),
    bulged(square(7, 0), 1.7, 0.3),
    ring(4, 1, 0.4),
    box(4, 0),
    *(one_cell(name) for name in ("hexahedron", "wedge", "pyramid")),
]


@pytest.mark.parametrize("name", CELLS)
def test_a_field_of_one_integrates_to_the_measure_of_any_cell(name):
    for on in ("point", "cell"):
        assert measures(one_cell(name), on).sum() == pytest.approx(CELLS[name][1], rel=1e-12)


@pytest.mark.parametrize("mesh", FILLED)
def test_linear_fields_integrate_as_on_cells(mesh):
    """A linear field on points and its means over simplices have one integral."""
    slope = np.arange(1.0, mesh.dim + 1.0)
    cells, parents = mesh.simplices
    at = measures(Mesh(mesh.points, {("triangle", "tetra")[mesh.dim - 2]: cells}), "cell")
    expected = at @ (mesh.points[cells].mean(axis=1) @ slope)
    found = integral(measures(mesh, "point"), (mesh.points @ slope)[None, :, None])
    assert found.item() == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(
        measures(mesh, "cell"), np.bincount(parents, at, mesh.n_cells), rtol=1e-12
    )


def test_cells_of_lower_dimension_weigh_nothing_and_bare_points_one():
    plate = quads(4)
    edged = Mesh(plate.points, {"line": np.array([[0, 1]]), **plate.cells})
    np.testing.assert_array_equal(measures(edged, "cell")[1:], measures(plate, "cell"))
    assert measures(edged, "cell")[0] == 0.0
    np.testing.assert_array_equal(measures(Mesh(np.zeros((3, 2))), "point"), np.ones(3))


@pytest.mark.parametrize("mesh", FILLED)
def test_the_net_flux_is_the_integral_of_the_divergence(mesh):
    matrix = np.random.default_rng(1).normal(size=(mesh.dim, mesh.dim))
    found = flux(mesh, Field.steady(mesh.points @ matrix + 3.0))
    assert found is not None
    volume = measures(mesh, "cell").sum()
    assert found[0].item() == pytest.approx(np.trace(matrix) * volume, rel=1e-10)
    assert found[1].item() >= abs(found[0].item())


def test_a_constant_flow_goes_in_and_out():
    net, gross = flux(quads(5), Field.steady(np.tile([2.0, 0.0], (25, 1)))) or (None, None)
    assert net == pytest.approx(0.0, abs=1e-14)
    assert gross == pytest.approx(4.0)


def test_what_has_no_flux():
    plate = quads(4)
    surface = Mesh(np.pad(plate.points, ((0, 0), (0, 1))), plate.cells)
    scalar, vector = np.ones((16, 1)), np.ones((16, 3))
    assert flux(plate, Field.steady(scalar)) is None
    assert flux(plate, Field.steady(np.ones((plate.n_cells, 2)), on="cell")) is None
    assert flux(surface, Field.steady(vector)) is None
    assert flux_defects([plate], [Field.steady(scalar)], [Field.steady(scalar)]) is None


def defects(u: np.ndarray, v: np.ndarray, mesh: Mesh) -> float:
    return float(integral_defects([mesh], [Field(u)], [Field(v)])[0])


@pytest.mark.parametrize("mesh", [quads(6), box(3, 0)])
def test_defects_of_known_errors(mesh):
    u = 1.0 + np.random.default_rng(0).random((2, len(mesh.points), mesh.dim))
    assert defects(u, u, mesh) == 0.0
    assert defects(u, 0.9 * u, mesh) == pytest.approx(0.1 * defects(u, 0.0 * u, mesh))
    assert defects(1e5 * u, 0.9e5 * u, mesh.scaled(1e-3)) == pytest.approx(
        defects(u, 0.9 * u, mesh)
    )
    one = u[..., :1]
    assert defects(one, 0.0 * one, mesh) == pytest.approx(1.0)
    weights = measures(mesh, "point")[None, :, None]
    wave = np.random.default_rng(1).normal(size=u.shape)
    wave -= (weights * wave).sum(axis=1, keepdims=True) / weights.sum()
    assert defects(u, u + wave, mesh) == pytest.approx(0.0, abs=1e-12)
    assert (flux_defects([mesh], [Field(u)], [Field(1.1 * u)]) or [1.0])[0] <= 0.1 + 1e-12


def test_what_vanishes_divides_by_nothing_small():
    """A component that is nil, and a start from rest."""
    mesh = quads(4)
    u = np.zeros((2, len(mesh.points), 2))
    u[1, :, 0] = 1.0
    assert defects(u, u + 1e-6, mesh) == pytest.approx(1e-6)
    assert defects(0 * u, 0 * u, mesh) == 0.0


def test_equal_meshes_are_measured_once():
    kept = Measures()
    assert kept.of(quads(4), "point") is kept.of(quads(4), "point")
    assert kept.of(quads(4), "cell") is not kept.of(quads(5), "cell")


def test_scores_hold_the_mean_defect_of_fields():
    samples = linear(4)
    predictions = [
        Prediction(s.case, {"u": s.fields["u"].with_values(1.01 * s.fields["u"].values)})
        for s in samples
    ]
    assert score(samples, predictions)["u"].defect == pytest.approx(0.01, rel=1e-9)
