"""Designs, and folders of simulations that a solver makes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fieldcast.meshes.folder import read_folder
from fieldcast.pipelines.cli import main
from fieldcast.pipelines.designs import design, narrowed
from fieldcast.pipelines.generating import Making, generate
from fieldcast.pipelines.manifest import Manifest
from fieldcast.pipelines.shards import Shard
from fieldcast.solvers import SolverFailed
from fieldcast.solvers.solver import Range
from fieldcast.surrogates import PodRidge

pytest.importorskip("skfem", reason="pip install 'fieldcast[solvers]'")
SPACE = {
    "a": Range(1.0, 3.0, "m"),
    "b": Range(1e-3, 1e1, "", logarithmic=True),
    "c": Range(5.0, 5.0),
}
# A solver of a package of its own, which fails as solvers do.
ODD = """
import os, time
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
from fieldcast.meshes import Case, Field, Sample, Scalar
from fieldcast.solvers import Solver, SolverFailed
from fieldcast.solvers.solver import Range
from fieldcast.solvers.heat import slab

@dataclass(frozen=True)
class Odd(Solver):
    parameters: ClassVar = {"kind": ""}
    outputs: ClassVar = {"u": ""}
    space: ClassVar = {"kind": Range(0.0, 9.0)}

    def example(self):
        return self.case({"kind": 0.0})

    def case(self, values, name=""):
        return Case(slab(1.0, 1.0, 2), {"kind": Scalar(np.array([values["kind"]]))}, name=name)

    def solve(self, case):
        kind = int(float(case.parameters["kind"]))
        if kind == 5:
            raise SolverFailed("it diverged", "convergence", "residual 1e9")
        if kind == 6:
            os.kill(os.getpid(), 11)
        if kind == 7:
            time.sleep(1000)
        if kind == 8:
            return Sample(case, {"u": Field.steady(np.zeros(3))})
        time.sleep(0.05)
        u = kind + case.mesh.points[:, 0]
        return Sample(case, {"u": Field.steady(u)})
"""


@pytest.fixture
def odd(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that offers the solver `odd`, as pip leaves one."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "odd_solver.py").write_text(ODD)
    info = folder / "odd_solver-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-solver\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fieldcast.solvers]\nodd = odd_solver:Odd\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


def command(*words: object) -> list[str]:
    code = "from fieldcast.pipelines.cli import main; main()"
    return [sys.executable, "-c", code, "generate", *map(str, words)]


def kinds(path: Path, values: list[int]) -> Path:
    path.write_text("\n".join(["kind", *map(str, values)]) + "\n")
    return path


def test_designs_fill_the_space():
    for name in ("sobol", "latin"):
        rows = design(name, SPACE, 32, seed=1)
        assert rows == design(name, SPACE, 32, seed=1)
        assert rows != design(name, SPACE, 32, seed=2)
        a, b = (np.array([r[k] for r in rows]) for k in ("a", "b"))
        shares = (a - 1) / 2, np.log10(b / 1e-3) / 4
        for share in shares:
            assert np.bincount((share * 4).astype(int)).tolist() == [8, 8, 8, 8]
        assert {r["c"] for r in rows} == {5.0}
    assert design("sobol", SPACE, 8, seed=1) == design("sobol", SPACE, 32, seed=1)[:8]
    grid = design("grid", SPACE, 10)
    assert len(grid) == 9
    assert grid[0] == pytest.approx({"a": 1.0, "b": 1e-3, "c": 5.0})
    assert grid[-1] == pytest.approx({"a": 3.0, "b": 10.0, "c": 5.0})
    assert design("sobol", {"c": Range(5.0, 5.0)}, 4) == [{"c": 5.0}]


def test_tables_and_ranges(tmp_path):
    (tmp_path / "d.csv").write_text("a,b,note\n1.5,0.1,x\n2.5,1,y\n")
    rows = design(str(tmp_path / "d.csv"), SPACE, 100)
    assert rows == [{"a": 1.5, "b": 0.1, "c": 5.0}, {"a": 2.5, "b": 1.0, "c": 5.0}]
    (tmp_path / "e.csv").write_text("a\n1.5\n")
    with pytest.raises(ValueError, match=r"line 2.*b"):
        design(str(tmp_path / "e.csv"), SPACE, 100)
    with pytest.raises(ValueError, match="sobol"):
        design("random", SPACE, 4)
    space = narrowed(SPACE, ["a=2:2.5", "b=1"])
    assert (space["a"].low, space["a"].high, space["a"].unit) == (2.0, 2.5, "m")
    assert space["b"].low == space["b"].high == 1.0
    for wrong in ("d=1:2", "a=x", "a=3:1"):
        with pytest.raises(ValueError, match="expected"):
            narrowed(SPACE, [wrong])


def test_a_folder_that_fit_reads(tmp_path):
    making = Making("heat", ("steps=2",), workers=1)
    rows = design("sobol", making.solver.space, 4)
    batch = generate(making, rows, tmp_path)
    assert dict(batch.counts) == {"ok": 4}
    found = read_folder(tmp_path)
    assert len(found.samples) == 4
    sample = found.samples[0]
    assert set(sample.case.parameters) == set(making.solver.parameters)
    assert sample.fields["temperature"].unit == "K"
    expected = making.solver.solve(making.solver.case(rows[0], "case_0000"))
    np.testing.assert_array_equal(
        sample.fields["temperature"].values, expected.fields["temperature"].values
    )
    page = (tmp_path / "report.html").read_text()
    assert "mean_temperature" not in page, "series have no histogram"
    assert "trust score" not in page, "a solver is not judged"


def test_a_bad_case_costs_itself_alone(odd, tmp_path):
    table = kinds(tmp_path / "d.csv", [0, 1, 5, 6, 7, 8, 2, 3])
    options = ("--design", table, "-o", tmp_path / "out", "--workers", 2, "--time-limit", 3)
    done = subprocess.run(command("odd", *options, "--json"), stdout=subprocess.PIPE, check=False)
    assert done.returncode == 2
    found = {o["case"]: o["status"] for o in json.loads(done.stdout)}
    bad = {"case_0002": "failed", "case_0003": "crashed", "case_0004": "timeout"}
    bad["case_0005"] = "invalid-input"
    assert found == {f"case_{i:04d}": bad.get(f"case_{i:04d}", "ok") for i in range(8)}
    assert len(read_folder(tmp_path / "out").samples) == 4
    assert (tmp_path / "out" / "logs" / "case_0002.txt").read_text() == "residual 1e9"


def outputs(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.glob("*.vtu")}


def test_killed_and_resumed_solves_nothing_twice(odd, tmp_path):
    table = kinds(tmp_path / "d.csv", [i % 5 for i in range(40)])
    options = ("odd", "--design", table, "--workers", 2, "-o")
    subprocess.run(command(*options, tmp_path / "whole"), check=True, stdout=subprocess.DEVNULL)
    out = tmp_path / "killed"
    with subprocess.Popen(command(*options, out), start_new_session=True) as process:
        while len(list(out.glob("*.vtu"))) < 9 and process.poll() is None:
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
    with Manifest(out / "manifest.sqlite") as manifest:
        done = [o.output for o, _ in manifest.rows() if o.output]
    assert 0 < len(done) < 40
    times = {name: (out / name).stat().st_mtime_ns for name in done}
    subprocess.run(command(*options, out), check=True, stdout=subprocess.DEVNULL)
    assert {name: (out / name).stat().st_mtime_ns for name in done} == times
    assert outputs(out) == outputs(tmp_path / "whole")


def test_shards_and_more_rows(tmp_path, capsys):
    making = Making("heat", workers=1)
    rows = design("sobol", making.solver.space, 4)
    for i in (0, 1):
        generate(making, rows, tmp_path, shard=Shard(i, 2))
    with pytest.raises(SystemExit) as end:
        main(["merge", str(tmp_path)])
    assert end.value.code == 0
    times = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("*.vtu")}
    batch = generate(making, design("sobol", making.solver.space, 6), tmp_path)
    assert dict(batch.counts) == {"ok": 6}
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in times} == times


def test_made_folders_are_learnt_from(tmp_path):
    space = narrowed(Making("darcy").solver.space, ["pattern=3", "contrast=0.5"])
    generate(Making("darcy", workers=1), design("latin", space, 16), tmp_path)
    samples = read_folder(tmp_path).samples
    train, test = samples[:12], samples[12:]
    found = PodRidge().fit(train).predict([s.case for s in test])
    truth = np.stack([s.fields["pressure"].values for s in test])
    mean = np.mean([s.fields["pressure"].values for s in train], axis=0)
    told = np.stack([p.mean["pressure"].values for p in found])
    assert np.abs(told - truth).mean() < 0.3 * np.abs(mean - truth).mean()


def test_what_cannot_be_made_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--set"):
        Making("heat", ("speed=3",))
    with pytest.raises(ValueError, match="installed solvers"):
        Making("nothing")
    with pytest.raises(ValueError, match="rows"):
        generate(Making("heat"), [], tmp_path)
    assert str(SolverFailed("why", "read")) == "why"
