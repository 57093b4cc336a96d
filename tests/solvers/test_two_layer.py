"""Two layers: inversion, invariants, waves, balance, order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fieldcast.meshes import Field
from fieldcast.solvers.two_layer import (
    NUMBERS,
    Channel,
    LayerLibrary,
    TwoLayer,
    channel_case,
    continued,
)

SMALL = Channel(lengths=(23.0, 34.0), counts=(24, 32))
FREE = {**NUMBERS, "relaxation": 0.0, "friction": 0.0, "hyperviscosity": 0.0, "beta": 0.0}


def layers(sample, name, channel=SMALL):
    values = sample.fields[name].values
    return np.moveaxis(values.reshape(len(values), channel.counts[1], channel.counts[0], 2), -1, 1)


def started(q, case):
    return replace(case, fields={"q": Field(np.moveaxis(q, 0, -1).reshape(1, -1, 2))})


def wavy(case, size=1.0):
    """A start of waves of some height rather than of the jet."""
    sample = TwoLayer(channel=SMALL).solve(replace(case, times=np.array([0.0, 0.05])))
    q = layers(sample, "q")[0]
    waves = q - q.mean(axis=2, keepdims=True)
    return started(size * waves / waves.std(), case)


def test_the_streamfunction_is_that_of_the_vorticity():
    case = channel_case(SMALL, np.array([0.0, 0.05]))
    sample = TwoLayer(channel=SMALL).solve(case)
    psi = SMALL.spectral(layers(sample, "psi")[-1])
    shear = psi[0] - psi[1]
    q = -SMALL.square * psi + np.stack([-shear, shear])
    np.testing.assert_allclose(SMALL.physical(q), layers(sample, "q")[-1], rtol=0, atol=1e-10)


def test_the_jet_has_its_speed():
    speed = SMALL.physical(-1j * SMALL.l * SMALL.spectral(SMALL.jet))
    expected = np.cosh(SMALL.y / SMALL.width) ** -2.0
    np.testing.assert_allclose(speed[:, :1], expected - expected.mean(), rtol=0, atol=2e-3)
    assert abs(SMALL.jet.mean()) < 1e-12


def test_without_forcing_energy_and_enstrophies_stay():
    """The energy -<psi q> / 2 of both layers together, <q^2> of each."""
    case = wavy(channel_case(SMALL, np.array([0.0, 2.0]), numbers=FREE))
    sample = TwoLayer(channel=SMALL, step=0.02).solve(case)
    q, psi = layers(sample, "q"), layers(sample, "psi")
    energy = -(q * psi).mean(axis=(1, 2, 3))
    enstrophy = np.square(q).mean(axis=(2, 3))
    assert np.abs(q[1] - q[0]).max() > 0.1
    np.testing.assert_allclose(energy[1], energy[0], rtol=1e-6)
    np.testing.assert_allclose(enstrophy[1], enstrophy[0], rtol=1e-6)


def test_a_barotropic_wave_has_its_phase_speed():
    """-beta / (k^2 + l^2), the same in both layers; exact, as J of one wave is 0."""
    numbers = {**FREE, "beta": 0.5}
    case = channel_case(SMALL, np.array([0.0, 3.0]), numbers=numbers)
    k, l = float(SMALL.k[0, 2]), float(SMALL.l[1, 0])  # noqa: E741
    x = case.mesh.points[:, 0].reshape(32, 24)
    y = case.mesh.points[:, 1].reshape(32, 24)
    q = np.cos(k * x + l * y)
    found = layers(TwoLayer(channel=SMALL).solve(started(np.stack([q, q]), case)), "q")[-1]
    omega = -0.5 * k / (k * k + l * l)
    expected = np.cos(k * x + l * y - omega * 3.0)
    np.testing.assert_allclose(found, np.stack([expected] * 2), rtol=0, atol=1e-6)


def test_the_jet_is_in_balance():
    """At psi1 - psi2 = psi_R, without waves and flow below, nothing moves."""
    numbers = {**NUMBERS, "hyperviscosity": 0.0}
    case = channel_case(SMALL, np.array([0.0, 1.0]), numbers=numbers)
    jet = np.stack([SMALL.jet, 0.0 * SMALL.jet])
    spectrum = SMALL.kept * SMALL.spectral(jet)
    shear = spectrum[0] - spectrum[1]
    q = SMALL.physical(-SMALL.square * spectrum + np.stack([-shear, shear]))
    found = layers(TwoLayer(channel=SMALL).solve(started(q, case)), "q")
    assert np.abs(found[1] - found[0]).max() < 1e-4


def test_the_order_is_that_declared():
    case = wavy(channel_case(SMALL, np.array([0.0, 1.0])), size=5.0)
    steps = 1.0 / np.array([10, 20, 40])

    def end(step):
        return layers(TwoLayer(channel=SMALL, step=step).solve(case), "q")[-1]

    truth = end(1.0 / 320)
    errors = [np.abs(end(step) - truth).max() for step in steps.tolist()]
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert abs(slope - TwoLayer.order) < 0.3


def test_an_answer_goes_on_and_a_closure_is_a_term():
    case = channel_case(SMALL, np.array([0.0, 0.5, 1.0]))
    solver = TwoLayer(channel=SMALL)
    whole = solver.solve(case)
    half = solver.solve(replace(case, times=case.times[:2]))
    rest = solver.solve(continued(half, case.times[1:]))
    end = layers(whole, "q")[-1]
    np.testing.assert_allclose(layers(rest, "q")[-1], end, rtol=0, atol=1e-10)

    def friction(q):
        psi = SMALL.streamfunction(SMALL.spectral(q))
        found = np.zeros_like(q)
        found[1] = SMALL.physical(NUMBERS["friction"] * SMALL.square * psi[1])
        return found

    closed = TwoLayer(friction, SMALL).solve(case.with_parameters(friction=0.0))
    np.testing.assert_allclose(layers(closed, "q")[-1], end, rtol=0, atol=1e-10)


@pytest.mark.parametrize("layer", [0, 1])
def test_the_library_holds_the_equation(layer):
    numbers = {**NUMBERS, "hyperviscosity": 0.0}
    case = wavy(channel_case(SMALL, np.array([0.0, 1.0]), numbers=numbers))
    solver, h = TwoLayer(channel=SMALL), 1e-5
    q = np.moveaxis(case.fields["q"].values.reshape(32, 24, 2), -1, 0)
    q = SMALL.physical(SMALL.kept * SMALL.spectral(q))
    rate = (solver.advance(numbers)(q, h) - q)[layer] / h
    terms = LayerLibrary(SMALL)(q)
    pull = terms["psi1"] - terms["psi2"] - terms["psi_R"]
    own, sign = f"psi{layer + 1}", (1.0, -1.0)[layer]
    expected = -terms[f"J({own}, q{layer + 1})"] - NUMBERS["beta"] * terms[f"{own}_x"]
    expected += sign * NUMBERS["relaxation"] * pull
    expected -= layer * NUMBERS["friction"] * terms["lap psi2"]
    np.testing.assert_allclose(rate, expected, rtol=0, atol=2e-4 * np.abs(rate).max())


def test_what_cannot_be_run_is_refused():
    case, solver = channel_case(SMALL, np.array([0.0, 0.5])), TwoLayer(channel=SMALL)
    for bad, message in (
        (replace(case, fields={}), "known field q"),
        (replace(case, mesh=case.mesh.scaled(2.0)), "points of"),
        (replace(case, times=np.array([0.5, 0.0])), "rising times"),
    ):
        with pytest.raises(ValueError, match=message):
            solver.solve(bad)
