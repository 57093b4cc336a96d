"""A heated rod between two walls: T = T_wall + q x (L - x) / 2 k."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fieldcast.meshes import Case, Field, Mesh, Sample, Scalar
from fieldcast.solvers import Range, Solver, parameter_values


@dataclass(frozen=True)
class Rod(Solver):
    """Asked for a curve of lines along x; its ends are at the temperature `wall`."""

    parameters: ClassVar = {"source": "W/m^3", "conductivity": "W/m/K", "wall": "K"}
    outputs: ClassVar = {"temperature": "K", "hottest": "K"}
    space: ClassVar = {
        "length": Range(0.1, 1.0, "m"),
        "source": Range(1e3, 1e5, "W/m^3"),
        "conductivity": Range(10.0, 400.0, "W/m/K"),
        "wall": Range(280.0, 320.0, "K"),
    }

    def example(self) -> Case:
        return self.case({"length": 1.0, "source": 1e4, "conductivity": 50.0, "wall": 300.0}, "rod")

    def case(self, values: Mapping[str, float], name: str = "") -> Case:
        x = np.linspace(0.0, values["length"], 41)
        lines = np.stack([np.arange(40), np.arange(1, 41)], axis=1)
        asked = {k: Scalar(np.array([values[k]]), unit) for k, unit in self.parameters.items()}
        return Case(Mesh(np.stack([x, 0 * x], axis=1), {"line": lines}), asked, name=name)

    def solve(self, case: Case) -> Sample:
        given = parameter_values(self, case)
        if not given["conductivity"] > 0:
            raise ValueError(f"case {case.label}: expected a positive conductivity")
        x = case.mesh.points[:, 0] - case.mesh.points[:, 0].min()
        curve = given["source"] * x * (x.max() - x) / (2 * given["conductivity"])
        found = given["wall"] + curve
        hottest = Scalar(found.max(keepdims=True), "K")
        return Sample(case, {"temperature": Field.steady(found, "K")}, {"hottest": hottest})
