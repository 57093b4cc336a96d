"""Closures: what they are where a formula says so, and what they take and give."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fieldcast.solvers.spectral import Grid, random_spectrum
from fieldcast.solvers.turbulence import Flow, Flux, Resolved, Skew, Stepper
from fieldcast.solvers.turbulence_closures import (
    AtPoints,
    Backscatter,
    CoefficientField,
    Dynamic,
    FromPoints,
    Gradient,
    Strain,
    Summed,
    leith,
    smagorinsky,
    subgrid_stress,
    subgrid_tendency,
)

GRID = Grid(16, torch.float64)
CLOSURES = [
    smagorinsky(0.1),
    smagorinsky(0.1, local=True),
    leith(0.2),
    leith(0.2, local=True),
    Dynamic(Strain()),
    Dynamic(Gradient()),
    Backscatter(0.1),
    Summed((smagorinsky(0.1), Backscatter(0.1))),
]


def flow(grid=GRID, **how):
    return Resolved(grid, random_spectrum(grid, 2, **how))


def test_a_uniform_viscosity_is_a_laplacian():
    """curl div (2 nu S) = nu lap w, at points and in the spectrum."""
    seen = flow()
    values = torch.full((2, 1, 1), 0.3, dtype=GRID.dtype)
    uniform = CoefficientField(values)(seen)
    everywhere = CoefficientField(values.expand(2, 16, 16))(seen)
    np.testing.assert_allclose(everywhere.numpy(), uniform.numpy(), rtol=0, atol=1e-13)
    nu = GRID.spacing**2 * 0.3 * seen.vorticity.square().mean(dim=(1, 2), keepdim=True).sqrt()
    expected = nu * GRID.laplacian(seen.spectrum)
    np.testing.assert_allclose(uniform.numpy(), expected.numpy(), rtol=1e-9, atol=1e-13)


def test_the_mean_strain_is_the_mean_vorticity():
    """<|S|^2> = <w^2> on a periodic square."""
    seen = flow()
    local = Strain().local(seen).square().mean(dim=(1, 2)).sqrt()
    np.testing.assert_allclose(local.numpy(), Strain().mean(seen).ravel().numpy(), rtol=1e-9)


@pytest.mark.parametrize("measure", [Strain(), Gradient()])
@pytest.mark.parametrize("local", [False, True])
def test_a_field_of_one_value_is_that_coefficient(measure, local):
    seen = flow()
    static = (smagorinsky if measure == Strain() else leith)(0.15, local=local)
    values = torch.full((2, 16, 16), 0.15**measure.power, dtype=GRID.dtype)
    found = CoefficientField(values, measure, local)(seen)
    np.testing.assert_allclose(found.numpy(), static(seen).numpy(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("closure", CLOSURES, ids=str)
def test_closures_take_enstrophy_and_not_the_mean(closure):
    seen = flow(width=5.0, deviation=6.0)
    tendency = closure(seen)
    assert tendency[:, 0, 0].abs().max() < 1e-12
    assert (GRID.mean_product(seen.spectrum, tendency) < 0).all()


@pytest.mark.parametrize("closure", [*CLOSURES[:4], CLOSURES[6]], ids=str)
def test_stresses_share_transforms_and_nothing_else(closure):
    """The flux form adds eddy stresses to those of the flow: the same as one after the other."""
    seen = flow(width=3.0)
    together = Flux().rate(seen, closure)
    apart = Flux().rate(seen, None) + closure(seen)
    np.testing.assert_allclose(together.numpy(), apart.numpy(), rtol=0, atol=1e-13)


def test_a_local_viscosity_takes_2_nu_s_s():
    """The energy that tau takes is <2 nu S_ij S_ij> = <nu |S|^2>."""
    seen = flow(grid=Grid(48, torch.float64), width=3.0)
    closure = smagorinsky(0.1, local=True)
    tendency = closure(seen)
    taken = seen.grid.mean_product(seen.grid.inverse * seen.spectrum, tendency)
    nu, rate = closure.viscosity(seen), Strain().local(seen)
    expected = -(nu * rate.square()).mean(dim=(1, 2))
    np.testing.assert_allclose(taken.numpy(), expected.numpy(), rtol=1e-4)


def test_backscatter_gives_back_the_share_that_it_says():
    seen = flow()
    grid, w = seen.grid, seen.spectrum

    def energy(closure):
        return grid.mean_product(grid.inverse * w, closure(seen))

    alone, back = energy(Backscatter(0.1, returned=0.0)), energy(Backscatter(0.1, returned=0.7))
    np.testing.assert_allclose(back.numpy(), 0.3 * alone.numpy(), rtol=1e-9)


@pytest.mark.parametrize("measure", [Strain(), Gradient()])
def test_a_dynamic_coefficient_has_no_dimension(measure):
    """A flow twice as fast has the same: L and M both go with its square."""
    seen = flow(width=5.0)
    found = Dynamic(measure).coefficient(seen)
    assert found.shape == (2, 1, 1)
    assert (found > 0).all()
    doubled = Dynamic(measure).coefficient(Resolved(GRID, 2.0 * seen.spectrum))
    np.testing.assert_allclose(doubled.numpy(), found.numpy(), rtol=1e-6)


def test_the_stress_is_that_of_the_tendency():
    """-curl div ([u u]~ - u~ u~) = J(u~) - [J(u)]~, in the modes of the coarse grid."""
    fine, coarse = Grid(48, torch.float64), Grid(16, torch.float64)
    spectrum = random_spectrum(fine, 2, width=6.0) * fine.cut(16.0)
    expected = subgrid_tendency(spectrum, fine, coarse)
    kept = coarse.resampled(spectrum, fine)
    found = Resolved(coarse, kept).stressed(*subgrid_stress(spectrum, fine, coarse))
    assert expected.abs().max() > 1e-3
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=0, atol=1e-12)


def test_nothing_is_missing_where_all_is_resolved():
    fine, coarse = Grid(48, torch.float64), Grid(32, torch.float64)
    spectrum = random_spectrum(fine, 2, width=6.0) * fine.cut(7.0)
    found = subgrid_tendency(spectrum, fine, coarse)
    assert found.abs().max() < 1e-13


def test_a_learned_closure_can_be_any_function():
    seen = []

    def closure(resolved):
        seen.append(resolved.vorticity.shape)
        return -0.1 * resolved.spectrum

    stepper = Stepper(Flow(drag=0.0), GRID, 1e-3)
    found = stepper(stepper.start(random_spectrum(GRID, 2), closure), closure)
    dragged = Stepper(Flow(drag=0.1), GRID, 1e-3)
    expected = dragged(dragged.start(random_spectrum(GRID, 2)))
    assert seen == [(2, 16, 16)] * 2
    assert (found.vorticity - expected.vorticity).abs().max() < 1e-6


@pytest.mark.parametrize("closure", CLOSURES[:2], ids=str)
def test_closures_go_to_points_and_back(closure):
    seen = flow()
    there = AtPoints(closure, GRID)
    expected = GRID.physical(closure(seen))
    np.testing.assert_allclose(there(seen.vorticity).numpy(), expected.numpy(), atol=1e-12)
    back = FromPoints(there)(seen)
    np.testing.assert_allclose(back.numpy(), closure(seen).numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("local", [False, True])
def test_gradients_reach_the_coefficients(local):
    """Also from rest, where the rate of strain is 0 and its root has no derivative."""
    values = torch.full((1, 16, 16), 0.01, dtype=GRID.dtype, requires_grad=True)
    for form in (Flux(), Skew()):
        stepper = Stepper(Flow(), GRID, 1e-2, form)
        closure = CoefficientField(values, local=local)
        state = stepper.at_points(torch.zeros(1, 16, 16), closure)
        end = stepper.advanced(state, 3, closure)
        (slope,) = torch.autograd.grad(end.vorticity.abs().square().sum(), values)
        assert torch.isfinite(slope).all()
        assert slope.abs().max() > 0


@pytest.mark.parametrize("form", [Flux(), Skew()])
@pytest.mark.parametrize("local", [False, True])
def test_gradients_are_those_of_differences(form, local):
    grid = Grid(8, torch.float64)
    stepper, start = Stepper(Flow(), grid, 1e-2, form), random_spectrum(grid, 1)

    def loss(values):
        closure = CoefficientField(values, local=local)
        state = stepper.start(start, closure)
        return stepper.advanced(state, 2, closure).vorticity.abs().square().sum()

    values = torch.full((1, 8, 8), 0.3, dtype=grid.dtype, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (values,), fast_mode=True)
