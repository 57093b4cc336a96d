"""Rules of the house that no linter checks."""

from __future__ import annotations

import ast
import os
import statistics
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("meshes", "solvers", "surrogates", "pipelines")
SOURCES = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))
HEAVY = {"torch", "vtk", "vtkmodules", "pyvista", "scipy", "meshio", "h5py"}
ALL = sorted([*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "examples").glob("*.py")])


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_hasattr(path):
    names = [n.id for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Name)]
    assert "hasattr" not in names, "declare it on the abstract class"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_utils(path):
    vague = {"utils", "util", "helpers", "common", "misc", "tools"}
    assert not vague & {path.stem.strip("_"), path.parent.name}, "name it by its noun"


@pytest.mark.parametrize("path", ALL, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_is_unpickled(path):
    tree = ast.parse(path.read_text())
    imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    imported |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
    assert not imported & {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    keywords = {
        (k.arg, k.value.value)
        for n in ast.walk(tree)
        if isinstance(n, ast.Call)
        for k in n.keywords
        if isinstance(k.value, ast.Constant)
    }
    assert not keywords & {("allow_pickle", True), ("weights_only", False)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_devices_are_not_hard_wired(path):
    assert ".cuda()" not in path.read_text()


def test_every_entry_point_is_importable_by_name():
    from fieldcast.meshes.plugins import plugin, plugin_name, plugin_names

    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    for kind in ("surrogates", "solvers", "morphings", "closures", "environments"):
        names = plugin_names(kind)
        assert set(points[f"fieldcast.{kind}"]) <= set(names)
        for name in names:
            assert plugin_name(kind, plugin(kind, name)) == name


def run_python(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ})
    return time.perf_counter() - start


def test_importing_meshes_is_light():
    code = (
        "import fieldcast.meshes, sys; "
        "bad = {'torch', 'vtk', 'vtkmodules', 'pyvista', 'scipy', 'meshio', 'h5py'} & "
        "set(sys.modules); "
        "assert not bad, bad"
    )
    run_python(code)
    loaded = min(run_python(code) for _ in range(5))
    empty = statistics.median(run_python("pass") for _ in range(5))
    # The bar is 0.3 s on a quiet machine (benchmarks/startup.py); tests share theirs.
    assert loaded - empty < 0.9


def test_command_line_help_is_light():
    code = (
        "import fieldcast.pipelines.cli, sys; "
        "bad = {'torch', 'vtk', 'vtkmodules', 'pyvista', 'scipy'} & set(sys.modules); assert not "
        "bad, bad"
    )
    run_python(code)
