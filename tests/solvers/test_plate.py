"""The plate solver: exact on uniform strain, linear, in balance, symmetric, convergent, precise."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.interpolate import CloughTocher2DInterpolator
from scipy.spatial import Delaunay

from fieldcast.meshes import Case, Mesh, Scalar
from fieldcast.meshes.sample import scalars_of
from fieldcast.solvers.plane_strain import Elastic
from fieldcast.solvers.plate import RANGES, DoubleNotchedPlate, discretised, plate_cases
from fieldcast.solvers.plate_mesh import Ellipse, Wedge, notched_mesh, plate_mesh
from fieldcast.solvers.viscoplastic import ElastoViscoplastic

UNIT = {"P": -1.0, "E": 1.0}
FIELDS = ("U1", "U2", "sig11", "sig22", "sig12")
DEGREES = pytest.mark.parametrize("degree", [1, 2])


def plate_case(mesh, values, name=""):
    return Case(mesh, scalars_of(values), name=name)


def field(sample, name):
    return sample.fields[name].values[0, :, 0]


def scalar(sample, name):
    return float(sample.scalars[name])


def square_mesh(n=6, seed=0):
    """The plate without notches, in irregular triangles."""
    grid = np.stack(np.meshgrid(*[np.linspace(0, 2, n)] * 2), axis=-1).reshape(-1, 2)
    inner = ((grid > 0) & (grid < 2)).all(axis=1)
    grid[inner] += np.random.default_rng(seed).uniform(-0.08, 0.08, (inner.sum(), 2))
    return Mesh(grid, {"triangle": Delaunay(grid).simplices})


@DEGREES
def test_uniform_strain_is_exact(degree):
    """eps22 = (1 - nu^2) |P| / E, eps11 = -nu (1 + nu) |P| / E."""
    case = plate_case(square_mesh(), {"P": -40.0, "E": 5e4})
    sample = DoubleNotchedPlate(degree).solve(case)
    x, y = case.mesh.points.T
    np.testing.assert_allclose(field(sample, "U1"), -0.39 * 40 / 5e4 * x, atol=1e-13)
    np.testing.assert_allclose(field(sample, "U2"), 0.91 * 40 / 5e4 * y, atol=1e-13)
    np.testing.assert_allclose(field(sample, "sig22"), 40.0, rtol=1e-9)
    np.testing.assert_allclose(field(sample, "sig11"), 0.0, atol=1e-8)
    np.testing.assert_allclose(field(sample, "sig12"), 0.0, atol=1e-8)
    np.testing.assert_allclose(scalar(sample, "max_U2_top"), 0.91 * 40 / 5e4 * 2, rtol=1e-9)


@DEGREES
def test_displacement_goes_with_load_over_modulus_and_stress_with_load(degree):
    mesh = plate_mesh(0.5, 0.1)
    one, other = (
        DoubleNotchedPlate(degree).solve(plate_case(mesh, values))
        for values in (UNIT, {"P": -42.0, "E": 6e4})
    )
    for name in FIELDS:
        factor = 42.0 / 6e4 if name.startswith("U") else 42.0
        want = factor * field(one, name)
        np.testing.assert_allclose(field(other, name), want, atol=1e-9 * np.abs(want).max())


def test_units_of_parameters_are_converted_and_unread_parameters_ignored():
    mesh = plate_mesh(0.5, 0.1)
    plain = DoubleNotchedPlate().solve(plate_case(mesh, {"P": -42.0, "E": 6e4}))
    given = {
        "P": Scalar(np.array([-42e6]), "Pa"),
        "E": Scalar(np.array([60.0]), "GPa"),
        "R0": 15.0,
        "K": 450.0,
    }
    sample = DoubleNotchedPlate().solve(plate_case(mesh, given))
    np.testing.assert_allclose(field(sample, "U2"), field(plain, "U2"), rtol=1e-12)


@DEGREES
def test_forces_balance(degree):
    """Nodal forces of the stresses equal the load where free, and reactions carry |P| L along y."""
    case = plate_case(plate_mesh(0.6, 0.1), UNIT)
    plate = discretised(case, degree)
    response = Elastic().respond(plate.body, plate.pull, {"E": 1.0})
    force = plate.body.force(response.stress)
    np.testing.assert_allclose(force[plate.body.free], plate.pull[plate.body.free], atol=1e-12)
    reaction = (force - plate.pull)[plate.body.fixed]
    np.testing.assert_allclose(plate.pull.sum(), 2.0, rtol=1e-12)
    np.testing.assert_allclose(reaction.sum(), -2.0, rtol=1e-10)


@DEGREES
def test_mirrored_plate_has_mirrored_fields(degree):
    mesh = plate_mesh(0.7, 0.08)
    mirror = mesh.moved(mesh.points * [-1.0, 1.0] + [2.0, 0.0])
    one, other = (DoubleNotchedPlate(degree).solve(plate_case(m, UNIT)) for m in (mesh, mirror))
    for name, sign in {"U2": 1, "sig11": 1, "sig22": 1, "sig12": -1}.items():
        np.testing.assert_allclose(field(one, name), sign * field(other, name), atol=1e-8)
    slide = field(one, "U1") + field(other, "U1")
    np.testing.assert_allclose(slide, slide[0], atol=1e-9)


@pytest.mark.parametrize(
    ("degree", "order", "sizes"),
    [(1, DoubleNotchedPlate.order, (0.15, 0.1, 0.07, 0.05)), (2, 3.0, (0.15, 0.12, 0.095, 0.075))],
)
def test_first_output_converges_with_the_declared_order(degree, order, sizes):
    fine = plate_case(plate_mesh(0.5, 0.022), UNIT)
    name = next(iter(DoubleNotchedPlate.outputs))
    exact = CloughTocher2DInterpolator(
        fine.mesh.points, field(DoubleNotchedPlate(2).solve(fine), name)
    )
    error = []
    for size in sizes:
        squares = []
        for seed in range(3):
            case = plate_case(plate_mesh(0.5, size, seed), UNIT)
            found = field(DoubleNotchedPlate(degree).solve(case), name)
            squares.append(np.nanmean((found - exact(case.mesh.points)) ** 2))
        error.append(np.sqrt(np.mean(squares)))
    slope = np.polyfit(np.log(sizes), np.log(error), 1)[0]
    assert abs(slope - order) < 0.3, (slope, error)


@pytest.mark.parametrize(
    ("radius", "von_mises", "lift"),
    [(0.2, 2.909, 2.144), (0.4, 3.244, 3.230), (0.6, 3.990, 6.002), (0.8, 7.698, 16.870)],
)
def test_unit_response_is_that_of_the_prototype(radius, von_mises, lift):
    """Made with linear triangles from another mesher, of about 2,000 points (r / L, L = 1)."""
    sample = DoubleNotchedPlate().solve(plate_case(plate_mesh(radius, 0.022), UNIT))
    assert abs(scalar(sample, "max_von_mises") / von_mises - 1) < 0.02
    assert abs(scalar(sample, "max_U2_top") / lift - 1) < 0.003


def test_notch_stress_and_lift_approach_those_of_quadratic_triangles():
    exact = DoubleNotchedPlate(2).solve(plate_case(plate_mesh(0.6, 0.03), UNIT))
    for name, factor in {"max_von_mises": 1.0, "max_U2_top": 1.7}.items():
        errors = [
            abs(
                scalar(DoubleNotchedPlate().solve(plate_case(plate_mesh(0.6, h), UNIT)), name)
                - scalar(exact, name)
            )
            for h in (0.16, 0.08, 0.04)
        ]
        for coarse, fine in pairwise(errors):
            assert coarse / fine > 2**factor * 0.8, (name, errors)


@DEGREES
def test_largest_stress_on_the_top_tends_to_the_load(degree):
    """sigma n = -P n is a condition of the problem, so that a deviation is the mesh's."""
    off = [
        scalar(
            DoubleNotchedPlate(degree).solve(plate_case(plate_mesh(0.6, h), UNIT)), "max_sig22_top"
        )
        - 1.0
        for h in (0.1, 0.03)
    ]
    assert 0 < off[1] < 5e-3
    assert off[1] < off[0] or degree == 1


def test_labels_of_quadratic_triangles_hardly_depend_on_the_mesh():
    """Relative deviation over meshes of one shape, at 2,000 points."""
    spread = {"max_von_mises": [], "max_U2_top": [], "max_sig22_top": []}
    for radius in (0.25, 0.5, 0.75):
        cases = [plate_case(plate_mesh(radius, 0.0433, seed), UNIT) for seed in range(3)]
        found = [DoubleNotchedPlate(2).solve(case) for case in cases]
        for name, stds in spread.items():
            values = [scalar(sample, name) for sample in found]
            stds.append(np.std(values, ddof=1) / np.mean(values))
    assert np.sqrt(np.mean(np.square(spread["max_von_mises"]))) < 1.5e-3
    assert np.sqrt(np.mean(np.square(spread["max_U2_top"]))) < 1e-5
    assert np.sqrt(np.mean(np.square(spread["max_sig22_top"]))) < 1.1e-3


@DEGREES
@pytest.mark.parametrize("notch", [Ellipse(0.3, 1.0), Wedge(0.5, 1.0)], ids=str)
def test_other_notches_solve(notch, degree):
    sample = DoubleNotchedPlate(degree).solve(plate_case(notched_mesh(notch, 0.08), UNIT))
    assert 2.0 < scalar(sample, "max_von_mises") < 15.0
    at = sample.case.mesh.points[np.argmax(np.abs(field(sample, "sig22")))]
    assert abs(at[1] - 1.0) < 0.2


def test_outputs_come_as_declared():
    solver = DoubleNotchedPlate()
    sample = solver.solve(solver.example())
    units = {name: found.unit for name, found in {**sample.fields, **sample.scalars}.items()}
    assert units == dict(solver.outputs)
    assert solver.available() is None
    a, b, c = (field(sample, name) for name in ("sig11", "sig22", "sig12"))
    largest = np.sqrt(a**2 - a * b + b**2 + 3 * c**2).max()
    assert largest == scalar(sample, "max_von_mises")
    top = sample.case.mesh.points[:, 1] == 2.0
    assert field(sample, "U2")[top].max() == scalar(sample, "max_U2_top")


def test_fields_follow_the_case_s_numbering():
    mesh = plate_mesh(0.5, 0.1)
    rng = np.random.default_rng(0)
    new = rng.permutation(len(mesh.points))
    points = np.empty_like(mesh.points)
    points[new] = mesh.points
    cells = rng.permutation(new[mesh.cells["triangle"]])[:, [1, 2, 0]]
    flat = np.pad(points, ((0, 0), (0, 1)))
    shuffled = Mesh(flat, {"triangle": cells})
    one, other = (DoubleNotchedPlate().solve(plate_case(m, UNIT)) for m in (mesh, shuffled))
    for name in FIELDS:
        np.testing.assert_allclose(field(other, name)[new], field(one, name), atol=1e-9)


def bad_meshes():
    mesh = plate_mesh(0.5, 0.1)
    turn = np.array([[0.8, 0.6], [-0.6, 0.8]])
    quads = Mesh(np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]), {"quad": np.array([[0, 1, 2, 3]])})
    loose = Mesh(np.vstack([mesh.points, [[1.0, 0.01]]]), mesh.cells)
    lifted = np.column_stack([mesh.points, mesh.points[:, 0]])
    triangles = mesh.cells["triangle"]
    both = np.vstack([triangles, triangles + len(mesh.points)])
    torn = Mesh(np.vstack([mesh.points, mesh.points]), {"triangle": both})
    return {
        "odd.*2 loose": torn,
        "triangles in the plane": quads,
        "in 3 dimensions": mesh.moved(lifted),
        "uses every point": loose,
        "bottom is a straight edge": mesh.moved(mesh.points @ turn),
    }


@pytest.mark.parametrize("words", list(bad_meshes()))
def test_a_mesh_that_is_no_plate_is_refused(words):
    with pytest.raises(ValueError, match=words):
        DoubleNotchedPlate().solve(plate_case(bad_meshes()[words], UNIT, name="odd"))


@pytest.mark.parametrize("values", [{"P": np.nan, "E": 1.0}, {"P": -1.0, "E": 0.0}, {"P": -1.0}])
def test_bad_parameters_are_refused(values):
    with pytest.raises(ValueError, match="expected"):
        DoubleNotchedPlate().solve(plate_case(plate_mesh(0.5, 0.1), values))


def test_the_viscoplastic_law_asks_for_its_parameters():
    solver = DoubleNotchedPlate(law=ElastoViscoplastic())
    with pytest.raises(ValueError, match=r"K.*missing"):
        solver.solve(
            plate_case(plate_mesh(0.5, 0.1), {"P": -45.0, "E": 1e5, "R0": 9.0, "C": 1.0, "D": 1.0})
        )


def test_other_degrees_are_refused():
    with pytest.raises(ValueError, match="degree 1 or 2"):
        DoubleNotchedPlate(degree=3)


def test_design_covers_the_ranges_and_a_seed_repeats_it():
    cases = plate_cases(8, seed=1, size=0.06)
    assert [case.name for case in cases[:2]] == ["plate_0000", "plate_0001"]
    assert [case.id for case in cases] == [case.id for case in plate_cases(8, seed=1, size=0.06)]
    for name, (low, high) in list(RANGES.items())[1:]:
        at = [(float(case.parameters[name]) - low) / (high - low) for case in cases]
        assert sorted(int(8 * x) for x in at) == list(range(8))
    assert {case.parameters["E"].unit for case in cases} == {"MPa"}
