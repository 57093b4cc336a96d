"""Turbulence as cases: series, restarts, files, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fieldcast.meshes import Case, Field
from fieldcast.solvers import SolverFailed
from fieldcast.solvers.periodic_files import dataset, read, sample_of, write
from fieldcast.solvers.spectral import Grid
from fieldcast.solvers.turbulence import Flow, Flux, Stepper
from fieldcast.solvers.turbulence_closures import smagorinsky
from fieldcast.solvers.turbulence_solver import (
    ForcedTurbulence,
    continued,
    random_case,
    turbulent_case,
)

TIMES = np.linspace(0.0, 0.04, 3)


def test_the_series_are_those_of_the_steps():
    case = random_case(Flow(beta=5.0), 16, TIMES)
    closure = smagorinsky(0.1)
    found = ForcedTurbulence(closure, Flux(), step=0.004).solve(case)
    grid = Grid(16, torch.float64)
    stepper = Stepper(Flow(beta=5.0), grid, 0.004, Flux())
    start = torch.from_numpy(case.fields["vorticity"].values.reshape(1, 16, 16).copy())
    end = stepper.advanced(stepper.at_points(start, closure), 10, closure)
    np.testing.assert_allclose(
        found.fields["vorticity"].values[-1].reshape(16, 16),
        grid.physical(end.vorticity)[0].numpy(),
        rtol=0,
        atol=1e-12,
    )
    w, u = found.fields["vorticity"].values, found.fields["velocity"].values
    assert u.shape == (3, 256, 2)
    np.testing.assert_allclose(
        found.scalars["enstrophy"].value, 0.5 * np.square(w).mean(axis=(1, 2)), rtol=1e-12
    )
    np.testing.assert_allclose(
        found.scalars["energy"].value, 0.5 * np.square(u).sum(axis=2).mean(axis=1), rtol=1e-12
    )


def test_many_are_each_what_it_is_alone():
    cases = [random_case(Flow(), 16, TIMES, seed) for seed in range(3)]
    for case, found in zip(cases, ForcedTurbulence().solve_all(cases), strict=True):
        alone = ForcedTurbulence().solve(case)
        assert found.case == case
        for name, field in alone.fields.items():
            np.testing.assert_allclose(found.fields[name].values, field.values, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_run_goes_on_from_its_file(tmp_path, dtype):
    """Half way to a file and on is the whole way, to rounding."""
    solver = ForcedTurbulence(smagorinsky(0.1), step=0.01, dtype=dtype)
    case = random_case(Flow(), 16, np.array([0.0, 0.2, 0.4]))
    whole = solver.solve(case)
    half = solver.solve(replace(case, times=case.times[:2]))
    write(tmp_path / "half.nc", half)
    back = read(tmp_path / "half.nc")
    assert back == half
    rest = solver.solve(continued(back, case.times[1:]))
    error = np.abs(rest.fields["vorticity"].values[-1] - whole.fields["vorticity"].values[-1])
    assert error.max() < (1e-12 if dtype == torch.float64 else 1e-4)


def test_without_the_tendency_the_first_step_is_of_lower_order():
    """What the restart is for: it is not the same without."""
    solver = ForcedTurbulence(step=0.01)
    case = random_case(Flow(), 16, np.array([0.0, 0.2, 0.4]))
    whole = solver.solve(case)
    again = continued(solver.solve(replace(case, times=case.times[:2])), case.times[1:])
    bare = replace(again, fields={"vorticity": again.fields["vorticity"]})
    gap = solver.solve(bare).fields["vorticity"].values[-1] - whole.fields["vorticity"].values[-1]
    assert np.abs(gap).max() > 1e-6


def test_a_data_set_has_names_and_axes():
    found = ForcedTurbulence().solve(random_case(Flow(), 16, TIMES))
    data = dataset(found)
    assert data["vorticity"].dims == ("time", "y", "x")
    assert data["velocity"].dims == ("time", "y", "x", "velocity_component")
    assert data["energy"].dims == ("time",)
    assert float(data["parameter_drag"]) == 0.1
    np.testing.assert_allclose(data["x"].values, 2 * np.pi * np.arange(16) / 16)
    assert sample_of(data) == found


def test_x_runs_along_rows():
    """v = psi_x: a vorticity that varies along x alone moves along y."""
    x = 2 * np.pi * np.arange(16) / 16
    case = turbulent_case(Flow(), np.tile(np.cos(x), (16, 1)), TIMES)
    sample = ForcedTurbulence().solve(case)
    assert np.abs(case.mesh.points[:16, 0] - x).max() == 0
    u = sample.fields["velocity"].values[0]
    np.testing.assert_allclose(u[:16, 1], np.sin(x), atol=1e-12)
    assert np.abs(u[:, 0]).max() < 1e-12


def test_what_cannot_be_run_is_refused():
    case, solver = random_case(Flow(), 16, TIMES), ForcedTurbulence()
    for bad, message in (
        (replace(case, times=np.array([0.0, 0.0105])), "whole number of steps"),
        (replace(case, times=np.array([0.0, 0.0])), "rising times"),
        (replace(case, fields={}), "vorticity"),
        (
            Case(case.mesh, case.parameters, {"vorticity": Field.steady(np.full(256, np.nan))}),
            "finite vorticity",
        ),
        (case.with_parameters(forcing_wavenumber=2.5), "whole forcing_wavenumber"),
        (replace(case, mesh=case.mesh.scaled(2.0)), "periodic square"),
    ):
        with pytest.raises(ValueError, match=message):
            solver.solve(bad)
    with pytest.raises(ValueError, match="solve others apart"):
        solver.solve_all([case, case.with_parameters(beta=1.0)])


def test_a_run_that_leaves_all_bounds_says_when():
    case = random_case(Flow(), 16, np.array([0.0, 1.0, 2.0]), deviation=500.0)
    with pytest.raises(SolverFailed, match=r"seed0: .* before time 1"):
        ForcedTurbulence(step=0.1).solve(case)
