"""Grids around airfoils, and turbulent flow past them by OpenFOAM."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fieldcast.meshes.topology import boundary
from fieldcast.solvers import SolverFailed
from fieldcast.solvers.airfoil_grid import GridSize, c_grid
from fieldcast.solvers.airfoils import naca_called
from fieldcast.solvers.rans import RansAirfoil

COARSE = GridSize(24, 12, 32, 4e-4)


@pytest.mark.parametrize("section", ["0012", "4412", "2424", "23012"])
def test_grids_are_whole(section):
    mesh = c_grid(naca_called(section), COARSE)
    assert mesh.n_cells == (2 * 24 + 2 * 12) * 32
    edges = boundary(mesh)
    wall = np.isin(edges, mesh.regions["wall"]).all(axis=1)
    far = np.isin(edges, mesh.regions["far"]).all(axis=1)
    assert wall.sum() == 2 * 24
    assert (wall ^ far).all(), "every edge of the boundary is of the airfoil or far away"
    ends = mesh.points[mesh.regions["far"]]
    assert np.linalg.norm(ends - [1.0, 0.0], axis=1).min() > 99.0
    # The first cells are as thin as was asked for.
    middle = 0.5 * (mesh.points[edges[wall, 0]] + mesh.points[edges[wall, 1]])
    inner = np.setdiff1d(np.arange(len(mesh.points)), mesh.regions["wall"])
    gaps = np.linalg.norm(middle[:, None] - mesh.points[inner], axis=2).min(axis=1)
    assert np.median(gaps) < 0.05


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="far boundary"):
        GridSize(far=5.0)
    assert GridSize().refined(0.5).side == GridSize().side // 2


@pytest.fixture(scope="module")
def rans() -> RansAirfoil:
    reason = RansAirfoil().available()
    if reason:
        pytest.skip(reason)
    return RansAirfoil(iterations=800, steady=5e-3)


def test_a_coarse_section_lifts(rans):
    sample = rans.solve(rans.example())
    values = {name: float(s) for name, s in sample.scalars.items()}
    # Thin-airfoil theory has .45 for this camber and angle; friction of a turbulent plate .012.
    assert 0.3 < values["cl"] < 0.47
    assert 0.012 < values["cd"] < 0.025
    cp = sample.fields["cp"].values
    assert cp.max() == pytest.approx(1.0, abs=0.12)
    assert sample.fields["nut"].values.min() >= 0


def test_symmetry(rans):
    case = rans.example()
    mesh = c_grid(naca_called("0012"), COARSE)
    flows = [
        rans.solve(replace(case, mesh=mesh).with_parameters(alpha=a, reynolds=1e5))
        for a in (-2.0, 2.0)
    ]
    low, high = ({k: float(s) for k, s in flow.scalars.items()} for flow in flows)
    assert low["cl"] == pytest.approx(-high["cl"], abs=2e-3)
    assert low["cd"] == pytest.approx(high["cd"], abs=2e-4)


def test_what_is_not_steady_says_so(rans):
    hasty = RansAirfoil(iterations=20)
    with pytest.raises(SolverFailed) as found:
        hasty.solve(hasty.example())
    assert found.value.stage == "convergence"
