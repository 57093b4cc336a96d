"""The command line: every verb, its exit codes, JSON, and agreement with the Python API."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fieldcast.meshes import read_case, read_mesh
from fieldcast.pipelines.cli import main
from fieldcast.pipelines.options import make_recipe
from fieldcast.surrogates import MMGP, Training, load

QUICK = ("--set", "modes=4", "--set", "training.starts=1", "--set", "training.iterations=30")


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.fixture(scope="module")
def model(plate_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "plate.fieldcast"
    assert run("fit", plate_folder, "-o", path, *QUICK) == 0
    return path


@pytest.fixture
def some(plate_folder: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "some"
    folder.mkdir()
    for name in ("fieldcast.toml", "plate_0000.vtu", "plate_0001.vtu"):
        shutil.copy(plate_folder / name, folder)
    return folder


def test_inspect_says_what_is_there(plate_folder, capsys):
    assert run("inspect", plate_folder, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cases"] == found["solved"] == 24
    assert set(found["inputs"]) == {"scalar:P", "scalar:E"}
    assert found["outputs"]["field:sig22"]["unit"] == "MPa"
    low, high = found["inputs"]["scalar:P"]["range"]
    assert -50 <= low < high <= -40


def test_inspect_ends_2_when_a_file_is_broken(some, capsys):
    (some / "plate_0002.vtu").write_bytes((some / "plate_0001.vtu").read_bytes()[:2000])
    shutil.copy(some / "plate_0001.vtu", some / "plate_0003.vtu")
    assert run("inspect", some, "--json") == 2
    found = json.loads(capsys.readouterr().out)
    assert [Path(p).name for p in found["broken"]] == ["plate_0002.vtu"]
    assert found["duplicates"] == [["plate_0001", "plate_0003"]]


def test_an_empty_folder_is_a_clear_error(tmp_path, capsys):
    assert run("inspect", tmp_path) == 1
    assert str(tmp_path) in capsys.readouterr().err
    assert run("fit", tmp_path / "absent", "-o", tmp_path / "m") == 1
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        ("fit", "--nope"),
        ("nope",),
        ("fit", "x", "-o", "y", "--surrogate", "nope"),
        ("fit", "x", "-o", "y", "--set", "nope=1"),
        ("fit", "x", "-o", "y", "--hold-out", "2"),
        ("fit", "x", "-o", "y", "--unit", "m"),
        ("info", "absent.fieldcast"),
    ],
)
def test_a_wrong_call_ends_1_and_says_why(wrong, capsys):
    assert run(*wrong) == 1
    assert capsys.readouterr().err.strip()


def test_fit_scores_beside_the_baselines(model, capsys):
    assert run("info", model, "--json") == 0
    info = json.loads(capsys.readouterr().out)
    scores = info["card"]["scores"]["scores"]
    assert set(scores) == {"model", "mean field", "nearest case", "POD + ridge"}
    assert scores["model"]["U2"]["rrmse"] < scores["mean field"]["U2"]["rrmse"] / 3
    assert info["recipe"]["name"] == "mmgp"
    assert info["recipe"]["settings"]["modes"] == 4
    assert info["card"]["settings"]["inputs"] == ["P", "E"]


def test_fit_prints_expectations_and_leaves_out_what_is_broken(plate_folder, tmp_path, capsys):
    folder = tmp_path / "folder"
    shutil.copytree(plate_folder, folder)
    (folder / "plate_0003.vtu").write_text("no mesh")
    assert run("fit", folder, "-o", tmp_path / "m.fieldcast", "--json", *QUICK) == 0
    out, err = capsys.readouterr()
    assert "expected time" in err
    assert "memory" in err
    assert "plate_0003.vtu" in err
    assert [Path(p).name for p in json.loads(out)["left_out"]] == ["plate_0003.vtu"]


def test_predict_agrees_with_python_and_writes_natively(model, some, tmp_path, capsys):
    assert run("predict", model, some, "-o", tmp_path / "out", "--json") == 0
    outcomes = json.loads(capsys.readouterr().out)
    assert [o["status"] for o in outcomes] == ["ok", "ok"]
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == outcomes
    case = read_case(some / "plate_0001.vtu")
    [p] = load(model).predict([case])
    written = read_mesh(tmp_path / "out" / "plate_0001.vtu")
    np.testing.assert_array_equal(written.mesh.points, case.mesh.points)
    assert p.std is not None
    # Two cases were answered together: the same to the tolerance that the surrogate declares.
    for name, expected in {"U2": p.mean["U2"].values, "U2_std": p.std["U2"].values}.items():
        allowed = MMGP.tolerance * np.abs(expected).max()
        np.testing.assert_allclose(written.fields[name].values, expected, rtol=0, atol=allowed)
    assert written.fields["U2"].unit == "m"
    mean = outcomes[1]["scalars"]["max_von_mises"]["mean"]
    np.testing.assert_allclose(mean, p.scalars["max_von_mises"].mean, rtol=MMGP.tolerance)


def test_predict_loses_nothing_when_one_case_fails(model, some, tmp_path, capsys):
    (some / "plate_0002.vtu").write_text("no mesh")
    assert run("predict", model, some, "-o", tmp_path / "out") == 2
    outcomes = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert sorted(o["status"] for o in outcomes) == ["invalid-input", "ok", "ok"]
    assert (tmp_path / "out" / "plate_0000.vtu").exists()


def test_evaluate_and_report(model, some, tmp_path, capsys):
    assert run("evaluate", model, some, "--json") == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert scores["model"]["sig22"]["rrmse"] < scores["mean field"]["sig22"]["rrmse"]
    page = tmp_path / "report.html"
    assert run("report", model, some, "-o", page) == 0
    text = page.read_text()
    assert text.count("data:image/png;base64,") >= 6
    assert "nearest case" in text
    assert "plate_0001" in text
    assert "://" not in text


def test_plugins_lists_what_is_installed(capsys):
    assert run("plugins", "--json") == 0
    assert "mmgp" in json.loads(capsys.readouterr().out)["surrogates"]


def test_settings_become_constructor_arguments():
    recipe = make_recipe(
        "mmgp", ["modes=8", "training.starts=1", "shared_kernel=true", "morphing=tutte_disk"]
    )
    assert isinstance(recipe, MMGP)
    assert (recipe.modes, recipe.shared_kernel) == (8, True)
    assert recipe.training == Training(starts=1)
    assert type(recipe.morphing).__name__ == "TutteDisk"


def test_help_is_quick():
    best = 1e9
    for _ in range(3):
        start = time.perf_counter()
        code = "from fieldcast.pipelines.cli import main; main(['--help'])"
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
        best = min(best, time.perf_counter() - start)
    assert best < 1.0


def test_interrupt_leaves_nothing_half_written(plate_folder, tmp_path):
    out = tmp_path / "m.fieldcast"
    code = "from fieldcast.pipelines.cli import main; main()"
    command = [sys.executable, "-c", code, "fit", str(plate_folder), "-o", str(out)]
    with subprocess.Popen(
        [*command, "--set", "training.starts=8"],
        stderr=subprocess.PIPE,
        start_new_session=True,
        # Tests that run in the background of a shell inherit that interrupts are ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "expected time" in line:
                break
        time.sleep(1.0)
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 130
    assert "interrupted" in rest
    assert list(tmp_path.iterdir()) == []
