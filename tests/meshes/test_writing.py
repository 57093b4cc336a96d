"""What is written is read back the same; predictions keep the user's own points and cells."""

import logging
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fieldcast.meshes import Case, Estimate, Field, Mesh, Prediction, Sample, Scalar, Trust
from fieldcast.meshes.files import write_files
from fieldcast.meshes.reading import MeshFileError, Reader, read_mesh
from fieldcast.meshes.writing import (
    native_format,
    write_mesh,
    write_prediction,
    write_sample,
)

FORMATS = [".vtu", ".vtp", ".vtk", ".vtkhdf", ".xdmf", ".exo", ".case", ".cgns", ".msh", ".pvd"]
SINGLE_PRECISION = (".case",)
NO_POLYGONS = (".msh",)
ONE_ARRAY_PER_COMPONENT = (".cgns",)
UNITS = (".vtu", ".vtp", ".pvd", ".xdmf")
BY_TYPE = (".case",)


@pytest.fixture(scope="module")
def reader():
    with Reader() as shared:
        yield shared


def mixed_mesh(polygons, dim):
    """Seven points, three kinds of cells that lie in the file in turn."""
    points = np.array(
        [[0, 0, 0.1], [1, 0, 0], [2, 0, 0], [0, 1, 0], [1, 1, 0], [2, 1, 0], [1, 2, 0.3]]
    )
    cells = {"quad": np.array([[0, 1, 4, 3]]), "triangle": np.array([[1, 2, 5], [1, 5, 4]])}
    if polygons:
        cells["polygon5"] = np.array([[3, 4, 5, 6, 0]])
        order = [0, 1, 3, 2]
    else:
        cells["quad"] = np.array([[0, 1, 4, 3], [3, 4, 5, 6]])
        order = [0, 2, 1, 3]
    return Mesh(points[:, :dim], cells, order=np.array(order))


def same_mesh(a, b, ordered=True):
    np.testing.assert_array_equal(a.points, b.points)
    assert {k: v.tolist() for k, v in a.cells.items()} == {
        k: v.tolist() for k, v in b.cells.items()
    }
    if ordered:
        assert (a.order is None) == (b.order is None)
        assert a.order is None or a.order.tolist() == b.order.tolist()


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("polygons", [False, True])
@pytest.mark.parametrize("suffix", FORMATS)
def test_round_trip(reader, tmp_path, suffix, polygons, times):
    if polygons and suffix in NO_POLYGONS:
        pytest.skip(f"{suffix} has no polygons")
    rng = np.random.default_rng(1)
    mesh = mixed_mesh(polygons, 2)
    fields = {
        "p": Field(rng.normal(size=(times, 7, 1)), "kPa"),
        "U": Field(rng.normal(size=(times, 7, 3))),
        "k": Field(rng.normal(size=(times, mesh.n_cells, 1)), on="cell"),
        "p (cell)": Field(rng.normal(size=(times, mesh.n_cells, 1)), on="cell"),
    }
    if suffix in ONE_ARRAY_PER_COMPONENT:
        del fields["U"]
    sample = Sample(
        Case(mesh, {"speed": Scalar(np.array([2.5]), "m/s")}, times=0.5 * np.arange(times)), fields
    )
    found = reader.read(write_sample(sample, tmp_path / f"sample{suffix}"))
    same_mesh(found.mesh, mesh, ordered=suffix not in BY_TYPE)
    np.testing.assert_allclose(found.times, sample.case.times)
    assert set(fields) <= set(found.fields)
    tolerance = 1e-6 if suffix in SINGLE_PRECISION else 0.0
    for name, f in fields.items():
        np.testing.assert_allclose(found.fields[name].values, f.values, rtol=0, atol=tolerance)
        assert found.fields[name].on == f.on
    if suffix not in NO_POLYGONS:
        assert found.scalars["speed"].value.tolist() == [2.5]
    if suffix in UNITS:
        assert (found.fields["p"].unit, found.scalars["speed"].unit) == ("kPa", "m/s")
    assert found.warnings == ()


@pytest.mark.parametrize(
    "kind",
    [
        "tetra",
        "tetra10",
        "hexahedron",
        "hexahedron20",
        "wedge",
        "pyramid",
        "triangle6",
        "quad8",
        "line",
    ],
)
@pytest.mark.parametrize(
    "suffix", [".vtu", ".vtk", ".vtkhdf", ".xdmf", ".exo", ".cgns", ".msh", ".case"]
)
def test_every_cell_type_keeps_its_nodes(reader, tmp_path, suffix, kind):
    from fieldcast.meshes.cells import cell_type

    n = cell_type(kind).nodes
    points = np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)
    mesh = Mesh(points, {kind: np.arange(n)[None]})
    same_mesh(reader.read(write_mesh(mesh, tmp_path / f"one{suffix}")).mesh, mesh)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_vtu_and_vtp_keep_every_bit(reader, tmp_path, data):
    n = data.draw(st.integers(5, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    cells = {
        kind: np.array([rng.permutation(n)[:width] for _ in range(data.draw(st.integers(1, 5)))])
        for kind, width in (("triangle", 3), ("quad", 4), ("polygon5", 5), ("line", 2))
    }
    total = sum(len(block) for block in cells.values())
    mesh = Mesh(rng.normal(size=(n, 3)), cells)
    fields = {
        "a b": Field(rng.normal(size=(1, n, 4)).astype(np.float32)),
        "c<&>": Field(rng.normal(size=(1, total, 2)), on="cell"),
    }
    for suffix in (".vtu", ".vtp", ".vtk"):
        found = reader.read(write_mesh(mesh, tmp_path / f"any{suffix}", fields))
        placed = np.argsort(np.arange(total) if found.mesh.order is None else found.mesh.order)
        assert sorted(map(tuple, found.mesh.cells["quad"].tolist())) == sorted(
            map(tuple, cells["quad"].tolist())
        )
        np.testing.assert_array_equal(found.fields["a b"].values, fields["a b"].values)
        assert len(placed) == total
        np.testing.assert_array_equal(
            np.sort(found.fields["c<&>"].values, axis=1), np.sort(fields["c<&>"].values, axis=1)
        )


@pytest.mark.parametrize("suffix", [".vtu", ".vtp", ".vtk", ".vtkhdf", ".case"])
def test_vtk_reads_what_we_write(tmp_path, suffix):
    pyvista = pytest.importorskip("pyvista")
    mesh = mixed_mesh(True, 3)
    values = np.arange(7.0)
    path = write_mesh(mesh, tmp_path / f"x{suffix}", {"p": Field.steady(values)})
    data = pyvista.read(path)
    data = data[0] if isinstance(data, pyvista.MultiBlock) else data
    assert (data.n_points, data.n_cells) == (7, 4)
    np.testing.assert_allclose(data.points, np.asarray(mesh.points), atol=1e-6)
    np.testing.assert_allclose(data.point_data["p"], values)


def predicted(case, std=True):
    field = Field(np.random.default_rng(0).normal(size=(1, len(case.mesh.points), 1)), "Pa")
    cell = Field(np.random.default_rng(1).normal(size=(1, case.mesh.n_cells, 1)), on="cell")
    return Prediction(
        case,
        {"p": field, "k": cell},
        {"p": field.with_values(np.abs(field.values))} if std else None,
        {"CL": Estimate(np.array([0.5]), np.array([0.1]))},
        trust=Trust("warn", 1.2, "alpha above the training range"),
    )


@pytest.mark.parametrize(
    "suffix", [".vtu", ".vtp", ".vtk", ".vtkhdf", ".xdmf", ".exo", ".cgns", ".msh"]
)
def test_a_prediction_lies_on_the_native_mesh(reader, tmp_path, suffix):
    mesh = mixed_mesh(False, 3)
    source = write_mesh(mesh, tmp_path / f"in{suffix}", {"p": Field(np.ones((1, 7, 1)))})
    raw = reader.read_raw(source)
    case = Case(reader.read(source).mesh, name="in")
    prediction = predicted(case)
    path = write_prediction(
        prediction, tmp_path / "out", source=source, reader=reader, levels=(0.9,)
    )
    assert path.suffix == suffix
    written = reader.read_raw(path)
    for name in ("points", "types", "offsets", "connectivity"):
        a, b = getattr(raw, name), getattr(written, name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    found = reader.read(path)
    names = {"p", "k", "p_std", "p_lower90", "p_upper90"}
    assert names <= set(found.fields)
    np.testing.assert_array_equal(found.fields["p"].values, prediction.mean["p"].values)
    np.testing.assert_array_equal(found.fields["k"].values, prediction.mean["k"].values)
    if suffix != ".msh":
        assert float(found.scalars["trust_status"]) == 1.0
        assert float(found.scalars["CL_std"]) == 0.1


@pytest.mark.parametrize("suffix", [".pvd", ".xdmf"])
def test_a_series_is_answered_as_one(reader, tmp_path, suffix):
    times = 2.0 + 0.1 * np.arange(4)
    case = Case(mixed_mesh(True, 3), times=times)
    source = write_mesh(case.mesh, tmp_path / f"in{suffix}", {"p": Field(np.zeros((4, 7, 1)))})
    rng = np.random.default_rng(0)
    mean = {
        "p": Field(rng.normal(size=(4, 7, 1)), "Pa"),
        "k": Field(rng.normal(size=(4, 4, 2)), "m^2/s^2", "cell"),
    }
    drag = Estimate(rng.normal(size=4), None, "N")
    prediction = Prediction(case, mean, None, {"drag": drag})
    path = write_prediction(prediction, tmp_path / "answers", source=source)
    assert path.suffix == suffix
    found = reader.read(path)
    same_mesh(found.mesh, case.mesh)
    np.testing.assert_array_equal(found.times, times)
    for name, f in mean.items():
        np.testing.assert_array_equal(found.fields[name].values, f.values)
        assert (found.fields[name].unit, found.fields[name].on) == (f.unit, f.on)
    np.testing.assert_array_equal(found.scalars["drag"].value, drag.mean)
    assert found.scalars["drag"].unit == "N"


def test_a_series_from_a_file_of_one_time_becomes_a_pvd(reader, tmp_path, caplog):
    mesh = mixed_mesh(False, 2)
    source = write_mesh(mesh, tmp_path / "start.vtu", {"p": Field(np.ones((1, 7, 1)))})
    mean = {"p": Field(np.arange(21.0).reshape(3, 7, 1))}
    with caplog.at_level(logging.WARNING):
        path = write_prediction(
            Prediction(Case(mesh, times=np.arange(3.0)), mean), tmp_path / "run.vtu", source=source
        )
    assert path.name == "run.pvd"
    assert "VTU holds one time: written as PVD" in caplog.text
    np.testing.assert_array_equal(reader.read(path).fields["p"].values, mean["p"].values)


def test_float32_points_stay_float32(reader, tmp_path):
    import pyvista

    pyvista.Sphere(theta_resolution=8, phi_resolution=8).save(tmp_path / "ball.vtp")
    case = Case(reader.read(tmp_path / "ball.vtp").mesh)
    path = write_prediction(
        predicted(case), tmp_path / "out.vtp", source=tmp_path / "ball.vtp", reader=reader
    )
    before, after = pyvista.read(tmp_path / "ball.vtp"), pyvista.read(path)
    assert after.points.dtype == np.float32
    np.testing.assert_array_equal(before.points, after.points)
    np.testing.assert_array_equal(before.faces, after.faces)


def test_a_format_without_fields_is_answered_in_another_said_aloud(reader, tmp_path, caplog):
    import meshio

    mesh = mixed_mesh(False, 3)
    meshio.write(
        tmp_path / "in.stl", meshio.Mesh(mesh.points, [("triangle", mesh.cells["triangle"])])
    )
    case = Case(reader.read(tmp_path / "in.stl").mesh)
    with caplog.at_level(logging.WARNING):
        path = write_prediction(
            predicted(case), tmp_path / "out.stl", source=tmp_path / "in.stl", reader=reader
        )
    assert path.name == "out.vtp"
    assert "STL carries no fields" in caplog.text
    assert native_format(tmp_path / "in.stl") == (
        ".vtp",
        "STL carries no fields: written as VTP with the same points, cells and order",
    )


def test_another_source_is_refused(reader, tmp_path):
    small = write_mesh(Mesh(np.eye(3), {"triangle": np.array([[0, 1, 2]])}), tmp_path / "small.vtu")
    with pytest.raises(MeshFileError, match="expected the case's 7 points"):
        write_prediction(
            predicted(Case(mixed_mesh(False, 3))), tmp_path / "out", source=small, reader=reader
        )


def test_fields_of_parts_lie_beside(tmp_path):
    wall = Mesh(np.array([[0.0, 0, 0], [1, 0, 0]]), {"line": np.array([[0, 1]])})
    case = Case(mixed_mesh(False, 3), parts={"wall": wall})
    shear = Field(np.array([[[1.0], [2.0]]]), part="wall")
    path = write_prediction(Prediction(case, {"wall/shear": shear}), tmp_path / "out.vtu")
    assert read_mesh(path).fields == {}
    assert read_mesh(tmp_path / "out_wall.vtu").fields["shear"].values.ravel().tolist() == [
        1.0,
        2.0,
    ]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"old")

    def broken(_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        write_files(tmp_path, {"a": b"new"})
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
