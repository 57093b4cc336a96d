"""Folders of simulations: roles, guesses, what is broken."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fieldcast.meshes import Field, Mesh, find_cases, read_folder
from fieldcast.meshes.reading import MeshFileError, Reader, read_case
from fieldcast.meshes.roles import Settings
from fieldcast.meshes.writing import write_mesh

DATA = Path(__file__).parents[1] / "data"
AIRFOILS, PLATES = DATA / "airfoil_rans", DATA / "perforated_plates"
SQUARE = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])


@pytest.fixture(scope="module")
def reader():
    with Reader() as shared:
        yield shared


def square(path, value, extra=None):
    mesh = Mesh(SQUARE * (1 + value), {"quad": np.array([[0, 1, 2, 3]])})
    fields = {"T": Field(np.full((1, 4, 1), value)), **(extra or {})}
    return write_mesh(mesh, path, fields)


@pytest.fixture
def table(tmp_path):
    """Three cases with a table of parameters."""
    for i in range(3):
        square(tmp_path / f"case{i}.vtu", float(i))
    (tmp_path / "parameters.csv").write_text(
        "file,U [m/s],load,what\ncase0.vtu,1.0,5,a\ncase1,2.0,6,b\ncase2.vtu,3.0,7,c\n"
    )
    return tmp_path


def test_airfoils(reader):
    done = []
    folder = read_folder(AIRFOILS, reader=reader, progress=lambda i, n: done.append((i, n)))
    assert done == [(i, 4) for i in (1, 2, 3, 4)]
    assert [s.case.name for s in folder.samples] == ["case_000", "case_002", "case_003", "case_004"]
    assert set(folder.samples[0].case.parameters) == {"alpha_deg", "Re", "nu"}
    assert set(folder.samples[0].fields) == {"U", "p", "nut"}
    assert set(folder.samples[0].scalars) == {"CL", "CD", "CM"}
    assert set(folder.samples[0].case.parts) == {"airfoil"}
    assert folder.settings.mesh == "internal.vtu"
    assert not folder.broken
    said = "\n".join(folder.notes)
    for word in (
        "internal.vtu",
        "input scalar alpha_deg",
        "output field U",
        "ignored scalar solve_s",
        "ignored converged",
    ):
        assert word in said


def test_resolved_settings_read_the_same_again(reader):
    first = read_folder(AIRFOILS, reader=reader)
    again = Settings.from_dict(json.loads(json.dumps(first.settings.as_dict())))
    assert again == first.settings
    second = read_folder(AIRFOILS, again, reader=reader)
    assert second.samples == first.samples
    case = read_case(AIRFOILS / "case_000", settings=again, reader=reader)
    assert case == first.samples[0].case


def test_plates_with_one_and_two_holes(reader):
    folder = read_folder(PLATES, reader=reader)
    holes = [len(json.loads(p.read_text())["holes"]) for p in sorted(PLATES.glob("*.json"))]
    assert sorted(holes) == [1, 1, 1, 2, 2, 2]
    assert len(folder.samples) == 6
    assert set(folder.samples[0].case.parameters) == {"H", "tx", "ty"}
    assert {"displacement", "von_mises"} <= set(folder.samples[0].fields)
    assert set(folder.samples[0].scalars) == {"compliance", "max_von_mises", "max_disp"}
    assert "ignored holes: a list" in folder.notes


def test_roles_and_units_by_settings(reader):
    wanted = Settings(
        inputs=("alpha_deg", "scalar:U"),
        outputs=("field:U", "airfoil/p", "CL"),
        units={"U": "m/s", "scalar:U": "km/h", "airfoil/p": "m^2/s^2"},
        length_unit="mm",
    )
    sample = read_folder(AIRFOILS, wanted, reader=reader).samples[0]
    assert set(sample.case.parameters) == {"alpha_deg", "U"}
    assert set(sample.fields) == {"U", "airfoil/p"}
    assert (sample.fields["U"].unit, sample.case.parameters["U"].unit) == ("m/s", "km/h")
    assert sample.fields["airfoil/p"].part == "airfoil"
    assert np.ptp(sample.case.mesh.points[:, 0]) == pytest.approx(0.030)


def test_a_table_of_parameters(reader, table):
    folder = read_folder(table, reader=reader)
    assert [float(s.case.parameters["U"]) for s in folder.samples] == [1.0, 2.0, 3.0]
    assert folder.samples[0].case.parameters["U"].unit == "m/s"
    assert set(folder.samples[0].case.parameters) == {"U", "load"}
    assert folder.settings.outputs == ("T",)
    assert float(read_case(table / "case1.vtu", reader=reader).parameters["load"]) == 6.0


def test_a_toml_in_the_folder(reader, table):
    (table / "fieldcast.toml").write_text(
        'inputs = ["load"]\noutputs = ["T"]\n[units]\nload = "kN"\nT = "K"\n'
    )
    folder = read_folder(table, reader=reader)
    assert set(folder.samples[0].case.parameters) == {"load"}
    assert folder.samples[0].fields["T"].unit == "K"
    assert folder.samples[0].case.parameters["load"].unit == "kN"
    over = read_folder(table, Settings(inputs=("U",)), reader=reader)
    assert set(over.samples[0].case.parameters) == {"U"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('input = ["load"]', r"expected keys of .*'inputs'.* got \['input'\]"),
        ('inputs = "load"', "list of names"),
        ("inputs = [", "expected TOML"),
        ('[units]\nload = "bananas"', "expected a unit"),
        ('inputs = ["T"]\noutputs = ["T"]', "both"),
        ('inputs = ["absent"]', "absent"),
    ],
)
def test_wrong_settings_say_what_is_known(reader, table, text, says):
    (table / "fieldcast.toml").write_text(text)
    with pytest.raises(ValueError, match=says):
        read_folder(table, reader=reader)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file,U\ncase0,1\ncase0,2\n", "again"),
        ("file,U\ncase0,1,3\n", "expected 2 columns"),
        ("file\n", "header and rows"),
    ],
)
def test_wrong_tables_say_where(reader, table, text, says):
    (table / "parameters.csv").write_text(text)
    with pytest.raises(ValueError, match=says):
        read_folder(table, reader=reader)


def test_broken_files_do_not_stop_the_others(reader, table):
    shutil.copy(DATA / "odd_meshes" / "malformed" / "nan_coordinate.vtu", table / "case3.vtu")
    (table / "case4.vtu").write_bytes(b"<VTKFile")
    square(table / "case5.vtu", 5.0, {"T": Field(np.full((1, 4, 1), np.nan))})
    square(table / "case6.vtu", 6.0)  # no row in the table
    square(table / "case7.vtu", 6.0, {"T": Field(np.zeros((1, 4, 2)))})
    folder = read_folder(table, reader=reader)
    assert [s.case.name for s in folder.samples] == ["case0", "case1", "case2"]
    assert {p.name for p in folder.broken} == {f"case{i}.vtu" for i in (3, 4, 5, 6, 7)}
    assert all(isinstance(e, MeshFileError) for e in folder.broken.values())


def test_twins_are_reported(reader, tmp_path):
    for name, value in (("a", 1.0), ("b", 2.0), ("c", 1.0)):
        square(tmp_path / f"{name}.vtu", value)
    folder = read_folder(tmp_path, reader=reader)
    assert "c: the same content as a" in folder.notes
    assert folder.warnings[tmp_path / "c.vtu"] == ("the same content as a",)


def test_cases_without_outputs(reader, tmp_path):
    for i in range(2):
        write_mesh(
            Mesh(SQUARE * (i + 1), {"quad": np.array([[0, 1, 2, 3]])}), tmp_path / f"{i}.vtu"
        )
    folder = read_folder(tmp_path, reader=reader)
    assert folder.samples == []
    assert [c.name for c in folder.cases] == ["0", "1"]


def test_an_empty_folder_says_what_was_expected(tmp_path):
    with pytest.raises(ValueError, match="expected mesh files"):
        read_folder(tmp_path)
    with pytest.raises(ValueError, match="no such folder"):
        read_folder(tmp_path / "absent")


def test_a_missing_input_is_named(reader):
    settings = Settings(inputs=("alpha_deg", "gust"), outputs=("p",))
    with pytest.raises(MeshFileError, match="gust"):
        read_case(AIRFOILS / "case_000", settings=settings, reader=reader)


def test_finding_cases_reads_no_mesh(tmp_path):
    for i in range(300):
        (tmp_path / f"{i:03d}.vtu").write_bytes(b"not read")
    assert len(find_cases(tmp_path)) == 300
    [first, *_] = find_cases(AIRFOILS)
    assert (first.name, first.mesh.name, set(first.parts)) == (
        "case_000",
        "internal.vtu",
        {"airfoil"},
    )
    [single] = find_cases(PLATES / "plate_000.vtu")
    assert [p.name for p in single.scalars] == ["plate_000.json"]


def test_side_files_of_a_series_are_no_cases(tmp_path):
    mesh = Mesh(SQUARE, {"quad": np.array([[0, 1, 2, 3]])})
    write_mesh(mesh, tmp_path / "series.pvd", {"T": Field(np.zeros((3, 4, 1)))})
    write_mesh(mesh, tmp_path / "flow.case", {"T": Field(np.zeros((3, 4, 1)))})
    assert [c.name for c in find_cases(tmp_path)] == ["flow", "series"]
