"""From folders of series to roll-outs, by the command line."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from fieldcast.conformance.families import square
from fieldcast.meshes import Case, Field, Sample, read_case, read_mesh, write_sample
from fieldcast.pipelines.cli import main
from fieldcast.surrogates import load

TOML = """
inputs = ["phase"]
outputs = ["u"]
start = ["u"]

[regions.node_type]
6 = "wall"
"""
TINY = "depth=1 width=8 heads=1 descent.steps=20 descent.every=20".split()
SETTINGS = [word for text in TINY for word in ("--set", f"step.{text}")]
HELD = ("--set", 'step.held=["wall"]')


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    assert end.value.code == 0


def wave(phase: float, times: np.ndarray) -> Sample:
    """u = sin(3 x + phase - t) on a square, and where its walls are."""
    mesh = square(5, int(phase))
    x, y = mesh.points.T
    wall = np.minimum.reduce([x, 1 - x, y, 1 - y]) < 1e-9
    case = Case(
        mesh,
        {"phase": phase},
        {"node_type": Field.steady(np.where(wall, 6.0, 0.0))},
        times=times,
        name=f"wave{phase:g}",
    )
    return Sample(case, {"u": Field(np.sin(3 * x + phase - times[:, None])[..., None], "K")})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("waves")
    (folder / "fieldcast.toml").write_text(TOML)
    for k in range(4):
        write_sample(wave(float(k), 1.0 + 0.1 * np.arange(5)), folder / f"wave{k}.pvd")
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    path = folder / "wave.fieldcast"
    run("fit", folder, "-o", path, "--surrogate", "rollout", *SETTINGS, *HELD)
    return path


def test_inspect_tells_times_and_regions(folder, capsys):
    run("inspect", folder, "--first", 2)
    said = capsys.readouterr().out
    assert "2 cases, 2 of them solved" in said
    assert "regions: wall" in said
    assert re.search(r"field:u \[K\]: .*, 1 components on points, 5 times", said)


def test_a_start_becomes_a_series_of_files(model, tmp_path):
    (tmp_path / "new").mkdir()
    start = wave(2.5, np.array([7.0]))
    write_sample(start, tmp_path / "new" / "one.vtu")
    run("predict", model, tmp_path / "new", "-o", tmp_path / "answers")
    found = read_mesh(tmp_path / "answers" / "one.pvd")
    np.testing.assert_allclose(found.times, 7.0 + 0.1 * np.arange(5))
    u = found.fields["u"]
    assert u.unit == "K"
    np.testing.assert_array_equal(u.values[0], start.fields["u"].values[0])
    held = start.case.fields["node_type"].values[0, :, 0] == 6
    np.testing.assert_array_equal(u.values[-1, held], u.values[0, held])
    assert (u.values[-1, ~held] != u.values[0, ~held]).all()


def test_a_case_with_times_is_answered_at_them_as_in_python(model, folder, tmp_path):
    run("predict", model, folder / "wave1.pvd", "-o", tmp_path)
    predictor = load(model)
    case = read_case(folder / "wave1.pvd")
    [p] = predictor.predict([case])
    found = read_mesh(tmp_path / "wave1.pvd")
    np.testing.assert_array_equal(found.times, case.times)
    np.testing.assert_allclose(found.fields["u"].values, p.mean["u"].values, atol=1e-6)


def test_trajectories_are_answered_by_the_same_model(model, tmp_path):
    sample = wave(1.5, 0.1 * np.arange(5))
    arrays = {
        "cells": sample.case.mesh.cells["triangle"][None],
        "mesh_pos": sample.case.mesh.points[None],
        "node_type": sample.case.fields["node_type"].values,
        "u": sample.fields["u"].values,
    }
    meta = {"dt": 0.1, "trajectory_length": 5, "features": {}}
    with h5py.File(tmp_path / "test.h5", "w") as file:
        for name, values in arrays.items():
            file[f"7/{name}"] = values
            meta["features"][name] = {
                "type": "static" if len(values) == 1 else "dynamic",
                "shape": [len(values), -1, values.shape[2]],
                "dtype": str(values.dtype),
            }
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    (tmp_path / "parameters.csv").write_text("case,phase\ntest_7,1.5\n")
    run("predict", model, tmp_path, "-o", tmp_path / "answers")
    found = read_mesh(tmp_path / "answers" / "test_7.pvd")
    assert found.fields["u"].values.shape == sample.fields["u"].values.shape
    np.testing.assert_allclose(found.fields["u"].values[0], sample.fields["u"].values[0])


def test_the_report_moves(model, folder, tmp_path):
    run("report", model, folder, "-o", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    movies = re.findall("data:image/gif;base64,([^']*)'", page)
    assert len(movies) == 2
    assert all(Image.open(io.BytesIO(base64.b64decode(m))).n_frames == 5 for m in movies)
    assert "u [K], worst case: wave" in page
    assert "://" not in page
