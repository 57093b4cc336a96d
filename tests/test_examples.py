"""Examples run and give the numbers that they should."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from fieldcast.meshes import read_case
from fieldcast.meshes.folder import read_folder
from fieldcast.surrogates import load

ROOT = Path(__file__).parents[1]


def test_demo(tmp_path):
    command = [sys.executable, str(ROOT / "examples" / "demo.py"), "--out", str(tmp_path)]
    options = ["--train", "24", "--new", "4", "--size", "0.09"]
    subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / "report.html").stat().st_size > 100_000
    statuses = {
        o["status"] for o in json.loads((tmp_path / "predictions/manifest.json").read_text())
    }
    assert statuses <= {"ok", "flagged"}
    scores = load(tmp_path / "plate.fieldcast").card.scores["scores"]
    for output in ("U2", "sig22", "max_von_mises"):
        assert scores["model"][output]["rrmse"] < scores["mean field"][output]["rrmse"] / 3


def test_a_stored_model_of_each_release_stays_readable():
    """The README's lines on the model that release 0.1 wrote; its answer was stored with it."""
    data = ROOT / "tests" / "data" / "release-0.1"
    model = load(data / "plate.fieldcast")
    [p] = model.predict([read_case(data / "new.vtu", parameters={"P": -45})])
    stored = json.loads((data / "answer.json").read_text())
    size = np.abs(stored["U2"]).max()
    np.testing.assert_allclose(p.mean["U2"].values[0, ::20, 0], stored["U2"], atol=1e-9 * size)
    np.testing.assert_allclose(
        float(p.scalars["max_von_mises"]), stored["max_von_mises"], rtol=1e-9
    )
    lower, upper = p.interval(0.95)
    assert float(lower.scalars["max_von_mises"]) < float(p.scalars["max_von_mises"])
    assert (lower.fields["U2"].values < upper.fields["U2"].values).all()


def test_a_solver_of_another_package(tmp_path):
    """Installed by pip, found by its name, asked for a folder, and put to the contract's tests."""
    package = ROOT / "examples" / "third_party"
    copy = shutil.copytree(package, tmp_path / "package")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    target = tmp_path / "site"
    made = subprocess.run(
        [*pip, "--target", str(target), str(copy)], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    environment = {**os.environ, "PYTHONPATH": str(target)}
    code = "from fieldcast.pipelines.cli import main; main()"
    options = ["generate", "rod", "-n", "8", "-o", str(tmp_path / "rods"), "--workers", "1"]
    subprocess.run([sys.executable, "-c", code, *options], env=environment, check=True)
    assert len(read_folder(tmp_path / "rods").samples) == 8
    contract = ["--pyargs", "fieldcast.conformance", "-q", "-k", "rod and not surrogate"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *contract, "-p", "no:cacheprovider"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_a_synthetic_cell():
    sys.path.insert(0, str(ROOT / "examples"))
    import battery

    found = battery.synthetic()
    for name in battery.BOX:
        low, high = found.draws.interval(name, 0.99)
        assert low < 2.0 < high
    assert not found.warnings()


def test_an_airfoil_is_optimised(tmp_path):
    script = ROOT / "examples" / "optimize_airfoil.py"
    found = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "6"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "by the solver, design" in found.stdout
    assert (tmp_path / "report.html").stat().st_size > 10_000
