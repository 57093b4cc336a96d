"""Folders of transient cases: a PVD, an XDMF or a folder of numbered files each."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fieldcast.meshes import (
    Case,
    Field,
    Mesh,
    Reader,
    Sample,
    Scalar,
    Settings,
    read_case,
    read_folder,
    read_sample,
    write_sample,
)

POINTS = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
CELLS = {"triangle": np.array([[0, 1, 2]]), "quad": np.array([[0, 1, 2, 3]])}
TIMES = 1.0 + 0.1 * np.arange(12)
KINDS = Field.steady(np.array([4.0, 0.0, 6.0, 5.0]))
TOML = """
outputs = ["U", "p", "drag"]
inputs = ["speed"]
start = ["U", "p"]

[regions.node_type]
4 = "open"
5 = "open"
6 = "wall"
"""
REGIONS = {"open": np.array([0, 3]), "wall": np.array([2])}


@pytest.fixture(scope="module")
def reader():
    with Reader() as shared:
        yield shared


def truth(k):
    """A transient sample as it should be read."""
    rng = np.random.default_rng(k)
    u, p = rng.normal(size=(12, 4, 3)), rng.normal(size=(12, 2, 1))
    fields = {"U": Field(u, "m/s"), "p": Field(p, "Pa", "cell")}
    start = {name: f.with_values(f.values[:1]) for name, f in fields.items()}
    mesh = Mesh(POINTS * (1 + k), CELLS, REGIONS)
    case = Case(
        mesh, {"speed": Scalar(np.array([float(k)]), "m/s")}, start, times=TIMES, name=f"run{k}"
    )
    return Sample(case, fields, {"drag": Scalar(rng.normal(size=12), "N")})


def at_times(sample, times):
    """As a solver writes it: all fields at some times, kinds of points, no regions."""
    fields = {name: f.with_values(f.values[times]) for name, f in sample.fields.items()}
    scalars = {name: Scalar(s.value[times], s.unit) for name, s in sample.scalars.items()}
    case = replace(
        sample.case,
        mesh=replace(sample.case.mesh, regions={}),
        fields={"node_type": KINDS},
        times=sample.case.times[times],
    )
    return Sample(case, fields, scalars)


def as_pvd(sample, folder):
    write_sample(at_times(sample, slice(None)), folder / f"{sample.case.name}.pvd")


def as_xdmf(sample, folder):
    write_sample(at_times(sample, slice(None)), folder / f"{sample.case.name}.xdmf")


def as_numbered(sample, folder):
    own = folder / sample.case.name
    own.mkdir()
    for i in range(12):
        write_sample(at_times(sample, [i]), own / f"step_{i}.vtu")


@pytest.mark.parametrize("written", [as_pvd, as_xdmf, as_numbered])
def test_every_layout_gives_the_same_samples(reader, tmp_path, written):
    expected = [truth(k) for k in range(3)]
    (tmp_path / "fieldcast.toml").write_text(TOML)
    for sample in expected:
        written(sample, tmp_path)
    folder = read_folder(tmp_path, reader=reader)
    assert not folder.broken
    assert not folder.warnings
    assert folder.samples == expected
    again = Settings.from_dict(json.loads(json.dumps(folder.settings.as_dict())))
    assert again == folder.settings
    assert read_folder(tmp_path, again, reader=reader).samples == expected
    [path, *_] = [p for p in tmp_path.iterdir() if p.stem == "run1" and p.suffix != ".h5"]
    assert read_case(path, settings=again, reader=reader) == expected[1].case
    assert read_sample(path, settings=again, reader=reader) == expected[1]


def test_numbered_files_of_a_case_are_told_to_be_times(reader, tmp_path):
    for k in range(2):
        as_numbered(truth(k), tmp_path)
    folder = read_folder(tmp_path, reader=reader)
    assert "mesh step_*.vtu: the times of 2 cases by their numbers" in folder.notes
    assert folder.settings.mesh == "step_*.vtu"
    one = read_folder(tmp_path, Settings(mesh="step_3.vtu", parts=()), reader=reader)
    assert [c.times.tolist() for c in one.cases] == [[TIMES[3]]] * 2


def test_files_without_times_are_counted_and_said(reader, tmp_path):
    for k in range(2):
        as_numbered(replace(truth(k), case=replace(truth(k).case, times=np.zeros(12))), tmp_path)
    folder = read_folder(tmp_path, reader=reader)
    assert folder.samples[0].case.times.tolist() == list(range(12))
    [said] = folder.warnings[tmp_path / "run0" / "step_0.vtu"]
    assert "no rising times in the 12 files" in said


def test_a_case_to_predict_needs_its_start_alone(reader, tmp_path):
    expected = truth(1)
    write_sample(at_times(expected, [0]), tmp_path / "run1.vtu")
    settings = Settings(inputs=("speed",), start=("U", "p"))
    case = read_case(tmp_path / "run1.vtu", settings=settings, reader=reader)
    assert case.times.tolist() == [TIMES[0]]
    np.testing.assert_array_equal(case.fields["U"].values, expected.fields["U"].values[:1])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"start": ["V"]}, "expected start or region fields of .*'U', 'node_type', 'p'.* got 'V'"),
        ({"regions": {"kind": {"4": "wall"}}}, "got 'kind'"),
        ({"regions": {"node_type": ["wall"]}}, "expected regions such as node_type"),
        ({"regions": {"node_type": {"four": "wall"}}}, "expected regions such as node_type"),
        ({"start": ["U"], "inputs": ["U"]}, "got .'U'. as both; start gives the first time"),
    ],
)
def test_wrong_starts_and_regions_are_said(reader, tmp_path, settings, says):
    as_pvd(truth(0), tmp_path)
    with pytest.raises(ValueError, match=says):
        read_folder(tmp_path, Settings.from_dict(settings), reader=reader)


def test_regions_are_named_by_numbers_on_points(reader, tmp_path):
    as_pvd(truth(0), tmp_path)
    settings = Settings(regions={"U": {"1": "wall"}})
    [error] = read_folder(tmp_path, settings, reader=reader).broken.values()
    assert "'U': expected a number on each point" in str(error)
