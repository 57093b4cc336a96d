"""The environment of agents: what they set is what closures do, what they feel is a derivative."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fieldcast.solvers.spectral import Grid, line_spectrum, random_spectrum
from fieldcast.solvers.turbulence import Resolved, Stepper
from fieldcast.solvers.turbulence_closures import smagorinsky
from fieldcast.solvers.turbulence_environment import TurbulenceEnvironment

SMALL = TurbulenceEnvironment(points=16, agents=4, hold=3)


def begun(environment, rows=2):
    snapshots = random_spectrum(Grid(32), rows, deviation=5.0)
    return environment.starts(snapshots, rows, 0)


def test_one_coefficient_for_all_is_smagorinsky():
    state = begun(SMALL)
    found = SMALL.acted(state, torch.full((2, 16), 0.09**2))
    expected = SMALL.stepper.advanced(state, 3, smagorinsky(0.09))
    torch.testing.assert_close(found.vorticity, expected.vorticity, rtol=1e-4, atol=1e-5)


def test_the_field_goes_through_its_agents_and_around_the_square():
    rng = torch.Generator().manual_seed(0)
    c = torch.randn(2, 16, generator=rng)
    field = SMALL.field(c)
    torch.testing.assert_close(field[:, ::4, ::4], c.reshape(2, 4, 4))
    turned = c.reshape(2, 4, 4).roll((1, 2), (1, 2)).flatten(1)
    torch.testing.assert_close(SMALL.field(turned), field.roll((4, 8), (1, 2)))


def test_a_pull_is_how_fast_an_agent_raises_the_errors():
    """By differences of the closure's own tendency, agent by agent, up to the common size."""
    environment, agents = SMALL, 16
    state = begun(environment, 1)
    w = state.vorticity
    error = torch.linspace(-1.0, 2.0, 8)[None]
    # Never of the mean along a line, which its spectrum counts twice.
    error[:, 0] = 0.0
    own = torch.eye(agents)
    tendency = environment.spectra_of(environment.tendency(w.expand(agents, -1, -1), own))
    after = line_spectrum(environment.grid, w + 1e-3 * tendency)
    before = line_spectrum(environment.grid, w - 1e-3 * tendency)
    rate = ((after - before) * error).sum(dim=1) / 2e-3
    pull = environment.pull(Resolved(environment.grid, w), error)[0]
    expected = rate / rate.square().mean().sqrt()
    torch.testing.assert_close(pull, expected.clamp(-3.0, 3.0), rtol=2e-3, atol=2e-3)


def test_agents_see_how_fast_they_sharpen_the_vorticity():
    """By differences of its fourth moment, agent by agent, up to the common size."""
    environment, agents = SMALL, 16
    state = begun(environment, 1)
    own = torch.eye(agents)
    w = environment.vorticity(state.vorticity)
    tendency = environment.tendency(state.vorticity.expand(agents, -1, -1), own)
    rate = ((w + 1e-3 * tendency) ** 4 - (w - 1e-3 * tendency) ** 4).mean(dim=(1, 2))
    expected = rate / rate.square().mean().sqrt()
    told = environment.sharpens(state)[0, :, 0]
    torch.testing.assert_close(told, expected.clamp(-3.0, 3.0), rtol=2e-2, atol=2e-2)


def test_flatness_of_what_a_grid_holds():
    """3 of a normal distribution, 3 / 2 of a wave; finer spectra are filtered."""
    fine = Grid(64)
    x = torch.arange(64) * (2.0 * np.pi / 64)
    wave = (torch.cos(3.0 * x) + 5.0 * torch.cos(20.0 * x)).expand(1, 64, 64)
    assert abs(float(SMALL.flatness(fine.spectral(wave))) - 1.5) < 1e-4
    noise = torch.randn(64, 16, 16, generator=torch.Generator().manual_seed(0))
    assert abs(float(SMALL.flatness(SMALL.spectra_of(noise))) - 3.0) < 0.1


def test_what_agents_see_has_no_dimension():
    state = begun(SMALL)
    twice = SMALL.state(2.0 * state.vorticity)
    torch.testing.assert_close(SMALL.invariants(state), SMALL.invariants(twice))
    torch.testing.assert_close(SMALL.sharpens(state), SMALL.sharpens(twice))


def test_the_budget_is_the_rate_of_energy_and_enstrophy():
    """All terms together, against a short step."""
    environment = replace(SMALL, step=1e-4, hold=1, points=32, agents=4)
    state = begun(environment, 1)
    c = torch.full((1, 16), 0.008)
    now = environment.budget(state, c)
    closed = smagorinsky(0.008**0.5)
    grid = Grid(32, torch.float64)
    stepper = Stepper(environment.stepper.flow, grid, 1e-4)
    first = stepper.start(state.vorticity.to(torch.complex128), closed)
    later = environment.budget(stepper.advanced(first, 1, closed), c)
    for name in ("energy", "enstrophy"):
        rate = sum(float(v) for k, v in now.items() if k.startswith(f"{name} by"))
        assert abs((float(later[name]) - float(now[name])) / 1e-4 - rate) < 0.02 * abs(rate) + 0.02


def test_on_another_grid_actions_last_as_long():
    fine = SMALL.resized(64)
    assert (fine.points, fine.agents) == (64, 4)
    assert np.isclose(fine.interval, SMALL.interval)
    assert fine.step * 64 <= SMALL.step * 16 * 1.001


def test_agents_must_divide_the_points():
    with pytest.raises(ValueError, match="divide"):
        TurbulenceEnvironment(points=32, agents=5)
