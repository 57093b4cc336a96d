"""Samples that are there, asked as a solver is; and networks that were fitted to XFOIL."""

from __future__ import annotations

import numpy as np
import pytest

from fieldcast.meshes import Case
from fieldcast.meshes.writing import write_sample
from fieldcast.solvers import SolverFailed
from fieldcast.solvers.airfoils import naca_called
from fieldcast.solvers.heat import Heat
from fieldcast.solvers.neural_foil import NeuralFoil
from fieldcast.solvers.recorded import Recorded


def test_what_was_recorded_is_answered(plates, tmp_path):
    for sample in plates[:3]:
        write_sample(sample, tmp_path / f"{sample.case.name or sample.id[:8]}.vtu")
    solver = Recorded(str(tmp_path))
    assert solver.available() is None
    asked = solver.example()
    again = Case(asked.mesh, asked.parameters)
    found = solver.solve(again)
    assert found.case == again
    expected = next(s for s in plates[:3] if s.case.mesh == asked.mesh)
    for name in set(found.fields) & set(expected.fields):
        np.testing.assert_array_equal(found.fields[name].values, expected.fields[name].values)
    with pytest.raises(SolverFailed, match="recorded") as failure:
        solver.solve(Heat().example())
    assert failure.value.stage == "set-up"


def test_a_folder_that_is_not_there():
    with pytest.raises(SolverFailed, match="name a folder"):
        Recorded("nowhere").example()


def test_neural_foil_is_near_xfoil():
    solver = NeuralFoil()
    if solver.available():
        pytest.skip(str(solver.available()))
    mesh = naca_called("2412", sharp=False)
    values = {"alpha": 4.0, "reynolds": 1e6, "n_crit": 9.0}
    found = solver.solve(Case(mesh, values))
    assert float(found.scalars["cl"]) == pytest.approx(0.7146, rel=0.03)
    assert float(found.scalars["cd"]) == pytest.approx(0.0069, rel=0.1)
    with pytest.raises(ValueError, match="size"):
        NeuralFoil("huge")
