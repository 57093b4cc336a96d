"""Reading in a guarded child: the corpus of odd files, cut files, children that die."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fieldcast.meshes import Mesh
from fieldcast.meshes.reading import (
    MeshFile,
    MeshFileError,
    Reader,
    read_case,
    read_mesh,
    read_sample,
)
from fieldcast.meshes.writing import write_mesh

DATA = Path(__file__).parents[1] / "data"
CORPUS = DATA / "odd_meshes" / "malformed"
EXPECTED = json.loads((CORPUS / "EXPECTED.json").read_text())
# The corpus says "valid, 5 cells", but its writer put no connectivity into the file: six points is
# all there is.
WITHOUT_CELLS = "good.cgns"


@pytest.fixture(scope="module")
def reader():
    with Reader(time_limit=60.0) as shared:
        yield shared


def verdict(reader, path):
    try:
        found = reader.read(path)
    except MeshFileError as error:
        return (
            "error" if path.name in str(error) else "an error that does not name its file"
        ), None
    return ("warn" if found.warnings else "valid"), found


@pytest.mark.parametrize("name", EXPECTED)
def test_every_file_of_the_corpus_gets_its_verdict(reader, name):
    expected = EXPECTED[name]
    got, found = verdict(reader, CORPUS / name)
    if name == WITHOUT_CELLS:
        assert (got, len(found.mesh.points), found.mesh.n_cells) == ("warn", 6, 0)
        return
    assert got == expected["verdict"], found and found.warnings
    if "points" in expected:
        assert (len(found.mesh.points), found.mesh.n_cells) == (
            expected["points"],
            expected["cells"],
        )


def test_no_file_of_the_corpus_costs_more_than_one_child(reader):
    reader.read(CORPUS / "good.vtu")
    before = reader.pids
    for name in EXPECTED:
        verdict(reader, CORPUS / name)
    assert reader.pids == before


CUTS = (0.1, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99)


def _whole(folder, suffix):
    """A file of 60 points that is cut in the tests."""
    n = 8
    x, y = np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, n))
    points = np.column_stack([x.ravel(), y.ravel(), (x * y).ravel()])
    quads = np.array([[i, i + 1, i + n + 1, i + n] for i in range(n * (n - 1)) if i % n < n - 1])
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    path = folder / f"whole{suffix}"
    if suffix in (".vtu", ".vtp", ".vtk", ".vtkhdf", ".exo", ".xdmf"):
        return write_mesh(Mesh(points, {"triangle": triangles}), path)
    if suffix == ".su2":
        rows = [" ".join(map(str, [5, *t])) for t in triangles]
        rows += [f"NPOIN= {len(points)}", *(" ".join(map(str, p)) for p in points.tolist())]
        path.write_text("\n".join(["NDIME= 3", f"NELEM= {len(triangles)}", *rows, "NMARK= 0\n"]))
        return path
    import meshio

    meshio.write(path, meshio.Mesh(points, [("triangle", triangles)]))
    return path


@pytest.mark.parametrize(
    "suffix", [".vtu", ".vtp", ".vtk", ".stl", ".ply", ".vtkhdf", ".exo", ".xdmf", ".su2", ".off"]
)
def test_a_cut_file_is_an_error_and_never_a_smaller_mesh(reader, tmp_path, suffix):
    path = _whole(tmp_path, suffix)
    assert len(reader.read(path).mesh.points) == 64
    data = path.read_bytes()
    for cut in CUTS:
        path.write_bytes(data[: int(cut * len(data))])
        with pytest.raises(MeshFileError):
            reader.read(path)


def test_random_damage_never_escapes(reader, tmp_path):
    rng = np.random.default_rng(0)
    whole = (CORPUS / "good.vtu").read_bytes()
    path = tmp_path / "damaged.vtu"
    for _ in range(40):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(0, 256)
        path.write_bytes(bytes(data))
        got, found = verdict(reader, path)
        assert got == "error" or len(found.mesh.points) > 0


def test_a_child_that_is_killed_is_reported_and_replaced(tmp_path):
    fifo = tmp_path / "slow.vtu"
    fifo.write_bytes((CORPUS / "good.vtu").read_bytes())
    with Reader() as reader:
        reader.read(fifo)
        os.kill(reader.pids[0], signal.SIGKILL)
        time.sleep(0.1)
        assert isinstance(reader.read(fifo), MeshFile)
        assert len(reader.pids) == 1


def test_crash_while_reading(tmp_path):
    import threading

    path = _big_ascii(tmp_path)
    with Reader() as reader:
        reader.read(CORPUS / "good.vtu")
        killer = threading.Timer(0.2, os.kill, (reader.pids[0], signal.SIGKILL))
        killer.start()
        with pytest.raises(MeshFileError, match="crashed") as caught:
            reader.read(path)
        assert caught.value.status == "crashed"
        assert len(reader.read(CORPUS / "good.vtu").mesh.points) == 6


def _big_ascii(folder):
    """A deck that takes seconds to parse."""
    path = folder / "big.inp"
    rows = "".join(f"{i}, 0.5, 0.5, 0.5\n" for i in range(1, 1_500_001))
    path.write_text("*NODE\n" + rows + "*ELEMENT, TYPE=R3D3\n1, 1, 2, 3\n")
    return path


def test_timeout_names_the_limit(tmp_path):
    with Reader(time_limit=1.5) as reader:
        with pytest.raises(MeshFileError, match=r"1\.5 s") as caught:
            reader.read(_big_ascii(tmp_path))
        assert caught.value.status == "timeout"
        assert len(reader.read(CORPUS / "good.vtu").mesh.points) == 6


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="memory is limited where /proc is"
)
def test_memory_limit(tmp_path):
    with Reader(memory_limit=50 * 2**20) as reader:
        with pytest.raises(MeshFileError) as caught:
            reader.read(_big_ascii(tmp_path))
        assert caught.value.status == "out-of-memory"
        assert len(reader.read(CORPUS / "good.vtu").mesh.points) == 6


def test_no_child_outlives_its_reader():
    with Reader(2) as reader:
        list(reader.read_many([CORPUS / "good.vtu"] * 4))
        pids = reader.pids
        assert pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_read_many_keeps_the_order_and_answers_errors():
    names = ["good.vtu", "truncated.stl", "isolated_points.vtu", "empty.ply", "good.vtk"] * 3
    with Reader(2) as two, Reader() as one:
        many = list(two.read_many(CORPUS / n for n in names))
        single = list(one.read_many(CORPUS / n for n in names))
    kinds = [isinstance(a, MeshFileError) for a in many]
    assert kinds == [n in ("truncated.stl", "empty.ply") for n in names]
    for name, a, b in zip(names, many, single, strict=True):
        assert a.path == b.path == CORPUS / name
        assert isinstance(a, MeshFileError) or a.mesh == b.mesh


def test_same_name_on_points_and_cells():
    found = read_mesh(CORPUS / "same_name_point_cell.vtu")
    assert {name: f.on for name, f in found.fields.items()} == {"p": "point", "p (cell)": "cell"}


def test_components_and_integers(reader):
    tensors = reader.read(CORPUS / "tensor_field.vtu").fields
    assert (tensors["S"].values.shape, tensors["four"].values.shape) == ((1, 6, 9), (1, 6, 4))
    assert reader.read(CORPUS / "int_field.vtu").fields["id"].values.dtype.kind == "f"


def test_mixed_cells_know_their_place_in_the_file(reader, tmp_path):
    found = reader.read(DATA / "airfoil_rans" / "case_000" / "internal.vtu")
    assert found.mesh.dim == 2
    assert set(found.mesh.cells) == {"triangle", "quad"}
    assert found.mesh.order is None  # all quads lie before all triangles in this file
    mixed = Mesh(
        found.mesh.points[:5],
        {"triangle": np.array([[0, 1, 2], [2, 3, 4]]), "quad": np.array([[0, 1, 2, 3]])},
        order=np.array([0, 2, 1]),
    )
    again = reader.read(write_mesh(mixed, tmp_path / "mixed.vtu")).mesh
    assert again.order.tolist() == [0, 2, 1]


def test_heavy_data_must_not_leave_the_folder(reader):
    with pytest.raises(MeshFileError, match="within the folder"):
        reader.read(CORPUS / "xdmf_path_escape.xdmf")


def test_links_out_of_an_hdf5_file_are_refused(reader, tmp_path):
    import h5py

    with h5py.File(tmp_path / "link.vtkhdf", "w") as file:
        file["VTKHDF"] = h5py.ExternalLink("other.h5", "/VTKHDF")
    with pytest.raises(MeshFileError, match="link"):
        reader.read(tmp_path / "link.vtkhdf")


def test_entities_are_refused(reader, tmp_path):
    text = (CORPUS / "good.vtu").read_text()
    bomb = text.replace("?>", '?><!DOCTYPE a [<!ENTITY b "c">]>', 1)
    (tmp_path / "bomb.vtu").write_text(bomb)
    with pytest.raises(MeshFileError, match="document type"):
        reader.read(tmp_path / "bomb.vtu")


def test_a_series_by_meshio_includes_its_mesh(reader, tmp_path, monkeypatch):
    import meshio

    monkeypatch.chdir(tmp_path)  # meshio writes the HDF5 file there
    points = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    u = np.random.default_rng(0).normal(size=(3, 4))
    with meshio.xdmf.TimeSeriesWriter("run.xdmf") as file:
        file.write_points_cells(points, [("triangle", np.array([[0, 1, 2], [0, 2, 3]]))])
        for k in range(3):
            file.write_data(0.1 * k, point_data={"u": u[k]}, cell_data={"c": [np.full(2, k)]})
    found = reader.read(tmp_path / "run.xdmf")
    np.testing.assert_allclose(found.times, [0.0, 0.1, 0.2])
    np.testing.assert_array_equal(found.fields["u"].values[..., 0], u)
    assert found.fields["c"].values[:, 0, 0].tolist() == [0.0, 1.0, 2.0]
    assert found.mesh.cells["triangle"].tolist() == [[0, 1, 2], [0, 2, 3]]


def test_missing_file_says_so(reader, tmp_path):
    with pytest.raises(MeshFileError, match="no such file"):
        reader.read(tmp_path / "absent.vtu")


def test_poly_lines_become_lines_and_strips_triangles(reader, tmp_path):
    (tmp_path / "lines.vtk").write_text(
        "# vtk DataFile Version 3.0\nx\nASCII\nDATASET POLYDATA\nPOINTS 5 double\n"
        "0 0 0\n1 0 0\n1 1 0\n0 1 0\n2 1 0\nLINES 1 5\n4 0 1 2 3\nTRIANGLE_STRIPS 1 6\n5 0 1 3 2 "
        "4\n"
        "CELL_DATA 2\nSCALARS k double 1\nLOOKUP_TABLE default\n7 9\n"
    )
    found = reader.read(tmp_path / "lines.vtk")
    assert found.mesh.cells["line"].tolist() == [[0, 1], [1, 2], [2, 3]]
    assert found.mesh.cells["triangle"].tolist() == [[0, 1, 3], [3, 1, 2], [3, 2, 4]]
    assert found.fields["k"].values.ravel().tolist() == [7.0, 7.0, 7.0, 9.0, 9.0, 9.0]


def test_read_case_and_sample(reader):
    folder = DATA / "airfoil_rans" / "case_000"
    sample = read_sample(folder, reader=reader)
    assert {"U", "p", "nut"} <= set(sample.fields)
    assert {"CL", "CD", "CM"} <= set(sample.scalars)
    assert float(sample.case.parameters["alpha_deg"]) == 3.82
    case = read_case(folder, parameters={"alpha_deg": 5.0}, reader=reader)
    assert float(case.parameters["alpha_deg"]) == 5.0
    assert case.mesh == sample.case.mesh
    plate = read_sample(DATA / "perforated_plates" / "plate_000.vtu", reader=reader)
    assert float(plate.case.parameters["tx"]) == pytest.approx(739608.37)


def test_importing_the_package_loads_no_reader():
    code = (
        "import sys, fieldcast.meshes.reading, fieldcast.meshes.folder, "
        "fieldcast.meshes.writing, fieldcast.meshes.plaid;"
        "bad = {'vtk', 'vtkmodules', 'pyvista', 'meshio', 'h5py', 'scipy', 'netCDF4', 'yaml', "
        "'torch'} & set(sys.modules);"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
