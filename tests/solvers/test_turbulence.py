"""Turbulence in two dimensions: the laws that its equation keeps, and that a step is a function."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fieldcast.solvers.spectral import Grid, line_spectrum, random_spectrum, shell_spectrum
from fieldcast.solvers.turbulence import CASES, Flow, Flux, Resolved, Skew, State, Stepper

STILL = Flow(forcing_wavenumber=0, viscosity=0.0, drag=0.0)
FORMS = [Skew(), Flux()]


def invariants(stepper, spectrum):
    grid = stepper.grid
    return torch.stack(
        [
            grid.mean_product(spectrum, spectrum),
            grid.mean_product(spectrum, grid.inverse * spectrum),
        ]
    )


@pytest.mark.parametrize("form", FORMS)
def test_without_viscosity_energy_and_enstrophy_stay(form):
    stepper = Stepper(STILL, Grid(32, torch.float64), 1e-3, form)
    start = stepper.start(random_spectrum(stepper.grid, 2, width=4.0))
    end = stepper.advanced(start, 300)
    before, after = (invariants(stepper, s.vorticity) for s in (start, end))
    assert (end.vorticity - start.vorticity).abs().max() > 1e-2
    assert ((after - before) / before).abs().max() < 1e-6


def test_the_skew_form_keeps_enstrophy_with_all_modes():
    """<w, J> = 0 for any field, resolved or not; the advection alone has no such luck."""
    grid = Grid(16, torch.float64)
    rough = random_spectrum(grid, 2, width=100.0)
    advection = Skew().rate(Resolved(grid, rough), None) * grid.below
    assert grid.mean_product(rough, advection).abs().max() < 1e-12
    flux = Flux().rate(Resolved(grid, rough), None)
    assert grid.mean_product(rough, flux).abs().max() > 1e-4


def test_forms_agree_where_nothing_aliases():
    grid = Grid(48, torch.float64)
    spectrum = random_spectrum(grid, 2, width=3.0) * grid.cut(12.0)
    skew, flux = (form.rate(Resolved(grid, spectrum), None) for form in FORMS)
    np.testing.assert_allclose(flux.numpy(), skew.numpy(), rtol=0, atol=1e-13)


def test_a_rossby_wave_goes_west():
    """w = cos(k x + l y - omega t), omega = -beta k / (k^2 + l^2), exact for the equation."""
    grid, (k, l) = Grid(16, torch.float64), (2, 3)  # noqa: E741
    stepper = Stepper(replace(STILL, beta=20.0), grid, 1e-3)
    x = torch.arange(16, dtype=torch.float64) * grid.spacing
    phase = k * x[None] + l * x[:, None]
    end = stepper.advanced(stepper.at_points(torch.cos(phase)[None]), 500)
    omega = -20.0 * k / (k * k + l * l)
    expected = torch.cos(phase - omega * 0.5)
    assert (grid.physical(end.vorticity)[0] - expected).abs().max() < 2e-5


def test_viscosity_and_drag_decay():
    grid = Grid(16, torch.float64)
    flow = Flow(forcing_wavenumber=0, viscosity=0.01, drag=0.0)
    x = torch.arange(16, dtype=torch.float64) * grid.spacing
    wave = torch.cos(4 * x).expand(1, 16, 16)
    for own, expected, limit in (
        (flow, math.exp(-0.16), 1e-6),
        (replace(flow, viscosity=0.0, drag=0.1), math.exp(-0.1), 1e-3),
    ):
        stepper = Stepper(own, grid, 0.01)
        end = grid.physical(stepper.advanced(stepper.at_points(wave), 100).vorticity)
        assert abs(end.abs().max().item() / expected - 1.0) < limit


@pytest.mark.parametrize(("drag", "order"), [(0.0, 2.0), (5.0, 1.0)])
def test_order_in_time(drag, order):
    """2, or 1 where the drag of backward Euler rules."""
    flow, grid = Flow(beta=5.0, viscosity=0.01, drag=drag), Grid(16, torch.float64)
    counts = np.array([20, 40, 80])

    def end(count):
        stepper = Stepper(flow, grid, 0.2 / count)
        return stepper.advanced(stepper.start(random_spectrum(grid, 2)), count).vorticity

    truth = end(1280)
    errors = [(end(int(n)) - truth).abs().max().item() for n in counts]
    slope = np.polyfit(np.log(1.0 / counts), np.log(errors), 1)[0]
    assert abs(slope - order) < 0.2


def test_forcing_is_that_of_the_equation():
    stepper = Stepper(CASES[4], Grid(64, torch.float64), 1e-3)
    x = torch.arange(64, dtype=torch.float64) * stepper.grid.spacing
    expected = 25 * (torch.cos(25 * x)[None] + torch.cos(25 * x)[:, None])
    found = stepper.grid.physical(stepper.forcing)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=0, atol=1e-11)


def test_fields_are_derivatives_of_each_other():
    grid = Grid(32, torch.float64)
    spectrum = random_spectrum(grid, 2)
    flow = Resolved(grid, spectrum)

    def derived(values, symbol):
        return grid.physical(symbol * grid.spectral(values))

    u, v = flow.velocity
    u_x, u_y = derived(u, grid.dx), derived(u, grid.dy)
    v_x, v_y = derived(v, grid.dx), derived(v, grid.dy)
    s11, s12 = flow.strain
    w_x, w_y = flow.gradient
    for found, expected in (
        (u_x, -v_y),
        (flow.vorticity, v_x - u_y),
        (s11, u_x),
        (s12, 0.5 * (u_y + v_x)),
        (w_x, derived(flow.vorticity, grid.dx)),
        (w_y, derived(flow.vorticity, grid.dy)),
    ):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_what_they_are_alone(form):
    stepper = Stepper(Flow(), Grid(16, torch.float64), 1e-3, form)
    many = random_spectrum(stepper.grid, 3)
    together = stepper.advanced(stepper.start(many), 5)
    for k in range(3):
        alone = stepper.advanced(stepper.start(many[k : k + 1]), 5)
        np.testing.assert_allclose(
            together.vorticity[k].numpy(), alone.vorticity[0].numpy(), rtol=0, atol=1e-14
        )


def test_a_step_has_the_gradient_of_differences():
    stepper = Stepper(Flow(beta=3.0), Grid(8, torch.float64), 1e-2)
    start = random_spectrum(stepper.grid, 1)

    def loss(values):
        state = stepper.at_points(values)
        return stepper.advanced(state, 2).vorticity.abs().square().sum()

    values = stepper.grid.physical(start).requires_grad_()
    assert torch.autograd.gradcheck(loss, (values,), fast_mode=True)


def test_a_state_does_not_change():
    stepper = Stepper(Flow(), Grid(8, torch.float64), 1e-2)
    state = stepper.start(random_spectrum(stepper.grid, 2))
    kept = State(*(t.clone() for t in state))
    stepper(state)
    assert all(torch.equal(a, b) for a, b in zip(state, kept, strict=True))


def test_single_precision_follows_double():
    found = []
    for dtype in (torch.float32, torch.float64):
        stepper = Stepper(Flow(), Grid(16, dtype), 2e-3)
        start = random_spectrum(Grid(16, torch.float64), 2).to(stepper.forcing.dtype)
        found.append(stepper.advanced(stepper.start(start), 50).vorticity)
    assert found[0].dtype == torch.complex64
    assert (found[0] - found[1]).abs().max() < 1e-4


def test_line_spectrum_is_that_of_rows_and_columns():
    """As it is written in the paper, from a whole transform."""
    grid = Grid(16, torch.float64)
    w = grid.physical(random_spectrum(grid, 2))
    full = torch.fft.fft2(w).abs().square() / 2
    expected = (full.mean(dim=-1) + full.mean(dim=-2))[:, :8] / (2 * 16**3)
    found = line_spectrum(grid, grid.spectral(w))
    # Negative wavenumbers along y are averaged with positive ones: only the sum is known.
    mirrored = full.mean(dim=-1).flip(-1).roll(1, -1)
    expected = expected + (mirrored - full.mean(dim=-1))[:, :8] / (4 * 16**3)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-12)


def test_spectra_do_not_depend_on_the_grid():
    coarse, fine = Grid(16, torch.float64), Grid(32, torch.float64)
    spectrum = random_spectrum(coarse, 2, width=3.0)
    padded = fine.resampled(spectrum, coarse)
    np.testing.assert_allclose(
        fine.physical(padded)[:, ::2, ::2].numpy(), coarse.physical(spectrum).numpy(), atol=1e-13
    )
    for law in (line_spectrum, shell_spectrum):
        one, other = law(coarse, spectrum), law(fine, padded)
        np.testing.assert_allclose(other[:, :8].numpy(), one.numpy(), rtol=0, atol=1e-14)
    whole = shell_spectrum(fine, padded).sum(dim=1)
    expected = 0.5 * fine.physical(padded).square().mean(dim=(1, 2))
    np.testing.assert_allclose(whole.numpy(), expected.numpy(), rtol=1e-9)


def test_odd_grids_are_refused():
    with pytest.raises(ValueError, match="even number"):
        Grid(15)
