"""Simulations that are there already, asked as a solver is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from fieldcast.meshes import Case, Sample
from fieldcast.meshes.assembling import Folder
from fieldcast.meshes.folder import read_folder
from fieldcast.meshes.units import converted

from .solver import Solver, SolverFailed

_CLOSE = 1e-9


@dataclass(frozen=True)
class Recorded(Solver):
    """The samples of a `folder`; answers the case whose mesh and parameters are those of one of
    them (to a relative 1e-9)."""

    folder: str = ""

    parameters: ClassVar[Mapping[str, str]] = {}
    outputs: ClassVar[Mapping[str, str]] = {}

    def available(self) -> str | None:
        if self.folder and Path(self.folder).exists():
            return None
        return f"name a folder with simulations, got {self.folder!r}"

    def example(self) -> Case:
        return self._content().samples[0].case

    def _content(self) -> Folder:
        reason = self.available()
        if reason:
            raise SolverFailed(reason, "set-up")
        return _read(self.folder)

    def solve(self, case: Case) -> Sample:
        for sample in self._content().samples:
            if sample.case.mesh == case.mesh and _same_numbers(sample.case, case):
                return Sample(case, sample.fields, sample.scalars)
        raise SolverFailed(
            f"case {case.label}: expected one of the {len(self._content().samples)} recorded in "
            f"{self.folder}, got another mesh or other parameters",
            "set-up",
        )


@lru_cache(maxsize=4)
def _read(folder: str) -> Folder:
    return read_folder(folder)


def _same_numbers(one: Case, other: Case) -> bool:
    if set(one.parameters) - set(other.parameters):
        return False
    for name, known in one.parameters.items():
        asked = other.parameters[name]
        value = converted(asked.value, asked.unit or known.unit, known.unit)
        if value.shape != known.value.shape:
            return False
        if not np.allclose(value, known.value, rtol=_CLOSE, atol=0.0):
            return False
    return True
