"""What several test folders share: a small folder of solved plates, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from fieldcast.meshes import Sample, write_sample
from fieldcast.solvers.plate import DoubleNotchedPlate, plate_cases

TOML = """inputs = ["P", "E"]
outputs = ["U2", "sig22", "max_von_mises"]
"""


@pytest.fixture(scope="session")
def plates() -> list[Sample]:
    """24 coarse plates, solved."""
    solver = DoubleNotchedPlate()
    return [solver.solve(case) for case in plate_cases(24, seed=0, size=0.09)]


@pytest.fixture(scope="session")
def plate_folder(plates: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as VTU files with a fieldcast.toml."""
    folder = tmp_path_factory.mktemp("plates")
    (folder / "fieldcast.toml").write_text(TOML)
    for sample in plates:
        write_sample(sample, folder / f"{sample.case.name}.vtu")
    return folder
