"""environment.yml and pyproject.toml name the same packages with the same bounds."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {
    "torch": "pytorch",
    "netCDF4": "netcdf4",
    "qdldl": "qdldl-python",
    "pytorch-optimizer": "pytorch_optimizer",
}


def conda_lines() -> list[str]:
    lines = (ROOT / "environment.yml").read_text().splitlines()
    start = lines.index("dependencies:") + 1
    found = [re.fullmatch(r"  - ([^:#]+)", line) for line in lines[start:]]
    return [m[1].strip() for m in found if m and m[1].strip() != "pip"]


def test_conda_and_pip_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["solvers"]]
    pairs = {tuple(re.split(r"(?=>=)", w, maxsplit=1)) for w in wanted}
    pip = {f"{CONDA_NAMES.get(name, name)} {bound}" for name, bound in pairs}
    pip.add(f"python {project['requires-python']}")
    assert set(conda_lines()) == pip


@pytest.mark.parametrize("line", conda_lines())
def test_every_line_is_a_conda_match_spec(line):
    rattler = pytest.importorskip("rattler", reason="py-rattler checks conda's syntax")
    spec = rattler.MatchSpec(line, strict=True)
    assert spec.name is not None
    assert spec.version is not None
