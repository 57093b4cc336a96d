"""PLAID datasets on disk."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from fieldcast.meshes import Case, Estimate, Field, Prediction
from fieldcast.meshes.folder import read_folder
from fieldcast.meshes.plaid import is_plaid, read_plaid
from fieldcast.meshes.reading import Reader
from fieldcast.meshes.writing import write_mesh, write_prediction

ROOT = Path(__file__).parents[2]
CARS = Path(os.environ.get("FIELDCAST_DATA", ROOT.parent / "shared" / "data")) / "shapenet_car_cgns"
needs_cars = pytest.mark.skipif(
    not CARS.is_dir(),
    reason="shapenet_car_cgns is not there; set FIELDCAST_DATA to the folder that holds it",
)


@needs_cars
def test_cars():
    folder = read_folder(CARS)
    assert is_plaid(CARS)
    assert len(folder.samples) == 10
    assert folder.settings.outputs == ("pressure",)
    sample = folder.samples[0]
    assert sample.case.mesh.points.shape == (3586, 3)
    assert sample.case.mesh.cells["triangle"].shape == (7168, 3)
    assert sample.fields["pressure"].values.shape == (1, 3586, 1)
    assert any("10 samples of split 'test' are declared, 0 are there" in n for n in folder.notes)
    assert not folder.broken
    with pytest.raises(ValueError, match="expected a split"):
        read_plaid(CARS, "test")


@needs_cars
def test_predictions_are_added_to_a_copy_of_the_cgns(tmp_path):
    source = CARS / "data/train/sample_000000000/meshes/mesh_000000000.cgns"
    with Reader() as reader:
        case = Case(reader.read(source).mesh)
        values = np.arange(3586.0).reshape(1, -1, 1)
        prediction = Prediction(
            case, {"drag_density": Field(values)}, None, {"CD": Estimate(np.array([0.3]))}
        )
        path = write_prediction(prediction, tmp_path / "out.cgns", source=source, reader=reader)
        found = reader.read(path)
    assert {"pressure", "drag_density"} <= set(found.fields)
    np.testing.assert_array_equal(found.fields["drag_density"].values, values)
    assert found.mesh == case.mesh
    assert float(found.scalars["CD"]) == 0.3
    vtk = pytest.importorskip("pyvista")
    block = vtk.read(path)[0][0]
    np.testing.assert_array_equal(np.asarray(block.point_data["drag_density"]), values.ravel())


@pytest.fixture
def made(tmp_path):
    """A dataset of two samples with scalars, the second in two times."""
    from fieldcast.meshes import Mesh

    for i in range(2):
        meshes = tmp_path / "data" / "train" / f"sample_{i:09d}" / "meshes"
        meshes.mkdir(parents=True)
        mesh = Mesh(np.eye(3) * (i + 1), {"triangle": np.array([[0, 1, 2]])})
        write_mesh(mesh, meshes / "mesh_000000000.cgns", {"T": Field(np.full((1, 3, 1), float(i)))})
        (meshes.parent / "scalars.csv").write_text(f"load,force\n{i + 1.0},{i + 2.0}\n")
    (tmp_path / "infos.yaml").write_text("num_samples:\n  train: 2\n")
    (tmp_path / "problem_definitions").mkdir()
    (tmp_path / "problem_definitions" / "one.yaml").write_text(
        "input_features:\n- Global/load\noutput_features:\n- Base/Zone/Fields/T\n- Global/force\n"
        "train_split:\n  train: [1]\n"
    )
    return tmp_path


def test_roles_and_split_of_the_problem_definition(made):
    folder = read_plaid(made)
    [sample] = folder.samples
    assert sample.case.name == "sample_000000001"
    assert float(sample.case.parameters["load"]) == 2.0
    assert (set(sample.fields), set(sample.scalars)) == ({"T"}, {"force"})


def test_a_file_per_time_becomes_a_series(made):
    meshes = made / "data" / "train" / "sample_000000001" / "meshes"
    shutil.copy(meshes / "mesh_000000000.cgns", meshes / "mesh_000000001.cgns")
    [sample] = read_plaid(made).samples
    assert sample.case.times.tolist() == [0.0, 1.0]
    assert sample.fields["T"].values.shape == (2, 3, 1)
