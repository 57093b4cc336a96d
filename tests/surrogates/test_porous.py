"""Porous electrodes by their equations: what holds for any network, and that training lets the rest
vanish."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fieldcast.meshes import Sample, Scalar
from fieldcast.meshes.battery import (
    CELL,
    CONCENTRATIONS,
    PARTICLES,
    RATES,
    VOLTAGE,
    discharge,
    within,
)
from fieldcast.solvers.battery import graphite_nmc
from fieldcast.surrogates import Chebyshev, LevenbergMarquardt, Perceptron, Pinn, Porous, load
from fieldcast.surrogates.pinn import left
from fieldcast.surrogates.porous import POROUS
from fieldcast.surrogates.porous_layers import MODES, SHAPES, Layers

FEW = LevenbergMarquardt(steps=2, points=40, validation=20)
PLACES = ((0.5, 1.0), (4.0, 10.0), (2.0, 2.0))


@pytest.fixture(scope="module")
def predictor():
    return Pinn(Porous(graphite_nmc()), Perceptron(6, 2), (FEW,)).fit(())


def cases(times=11):
    return [
        discharge(graphite_nmc(), dict(zip(RATES, place, strict=True)), times, 7)
        for place in PLACES
    ]


def any_unknowns(rows=5):
    """Of no network in particular."""
    generator = torch.Generator().manual_seed(0)
    u, rate = (
        0.1 * torch.randn(rows, 2 * SHAPES + MODES, generator=generator, dtype=torch.float64)
        for _ in range(2)
    )
    points = torch.rand(rows, 3, generator=generator, dtype=torch.float64)
    equations = Porous(graphite_nmc()).porous()
    return equations, equations.state(u, rate, equations.known(points)), points


def test_modes_are_those_of_pores():
    cell, own = graphite_nmc(), Layers.of(graphite_nmc())
    pores = own.thickness * 0.4
    square = torch.einsum("kln,mln,n,l->km", own.modes, own.modes, own.weights, pores) / own.pores
    np.testing.assert_allclose(square.numpy(), np.eye(MODES), atol=1e-9)
    # Equal porosity and efficiency everywhere: cosines.
    d = float(cell.electrolyte.diffusivity(np.array([1.2]))[0]) * 0.4
    length = float(own.thickness.sum())
    first = (np.arange(1, 4) * np.pi / length) ** 2 * d
    np.testing.assert_allclose(own.rates.numpy()[:3], first, rtol=1e-5)
    x = np.linspace(0.0, length, 9)
    cosine = np.sqrt(2.0) * np.cos(np.pi * x / length)
    found = own.modes_at(x)[0]
    np.testing.assert_allclose(found * np.sign(found[0]), cosine, atol=1e-5)


def test_salt_lithium_and_charge_are_conserved_by_any_network():
    equations, state, points = any_unknowns()
    own = equations.layers
    salt = torch.einsum("rln,n,l->r", state.salt, own.weights, own.thickness * 0.4)
    np.testing.assert_allclose(salt.numpy(), 0.0, atol=1e-12)
    for k, particle in enumerate(equations.particles):
        np.testing.assert_allclose(state.reaction[k] @ own.weights, 1.0, rtol=1e-12)
        even = particle.start + 3.0 * particle.flux * points[:, 0]
        np.testing.assert_allclose(state.stoichiometry[k] @ own.weights, even, rtol=1e-12)
    np.testing.assert_allclose(state.current[:, 1], equations.cell.density, rtol=1e-12)
    assert (state.current[:, 0] < state.current[:, 1]).any()


def test_local_fields_agree_with_means_and_voltage(predictor):
    """Whatever the network: the local concentrations' mean is the mean, and the solid's potential
    goes from 0 to the voltage."""
    case = discharge(graphite_nmc(), dict(zip(RATES, (2.0, 2.0), strict=True)), 5, 7, along=12)
    local = replace(case, parts={**case.parts, PARTICLES: within(graphite_nmc(), 12, 7)})
    [answer] = predictor.predict([local])
    inside = answer.mean["local_concentration"].values[:, :, 0].reshape(5, 2, 12, 7)
    for k, name in enumerate(CONCENTRATIONS):
        mean = answer.mean[name].values[:, :, 0]
        np.testing.assert_allclose(inside[:, k].mean(axis=1), mean, rtol=2e-3)
    solid = answer.mean["solid_potential"].values[:, :, 0].reshape(5, 2, 12, 7)
    np.testing.assert_allclose(solid[:, 0, 0], 0.0, atol=5e-4)
    voltage = answer.scalars[VOLTAGE].mean[:, None]
    np.testing.assert_allclose(solid[:, 1, -1], np.broadcast_to(voltage, (5, 7)), atol=5e-4)


def test_a_network_that_learned_nothing_warns(predictor):
    bare = replace(predictor, weights={k: 0.0 * w for k, w in predictor.weights.items()})
    bare = replace(bare, usual=bare.measured(0))
    assert {p.trust.status for p in bare.predict(cases(3))} == {"warn"}


def test_integrals_are_exact_for_polynomials():
    own = Layers.of(graphite_nmc())
    nodes = own.sums.sum(dim=1)
    np.testing.assert_allclose((own.sums @ nodes**3).numpy(), nodes**4 / 4.0, atol=1e-12)
    assert float(own.weights @ nodes**3) == pytest.approx(0.25)


def test_training_starts_well_and_goes_down(predictor):
    told = predictor.card.fit[POROUS]["LevenbergMarquardt"]
    assert told["residual"] < 0.9 * told["start"]
    first, _, middle = predictor.predict(cases())
    # The reference's run of PyBaMM's DFN at (0.5, 1).
    wanted = np.array([4.0777, 3.6914, 3.5328])
    assert np.abs(first.scalars[VOLTAGE].mean[[0, 5, 10]] - wanted).max() < 0.01
    assert middle.trust.status == "ok"
    salt = middle.mean["electrolyte_concentration"]
    assert salt.part == CELL
    assert salt.values[-1, 0, 0] > 1300.0 > 1100.0 > salt.values[-1, -1, 0]
    potential = middle.mean["electrolyte_potential"].values[-1, :, 0]
    assert potential[-1] < potential[0] - 0.02


def test_concentrations_are_those_of_the_charge_that_passed(predictor):
    cell, [case, *_] = graphite_nmc(), cases(3)
    [answer] = predictor.predict([case])
    for k, (name, side) in enumerate(
        zip(CONCENTRATIONS, (cell.negative, cell.positive), strict=True)
    ):
        inside = answer.mean[name].values[-1, :, 0]
        passed = -3.0 * cell.fluxes[k] * cell.duration / side.radius
        even = side.start * side.largest + passed
        assert min(inside) < even < max(inside)


def test_saved_and_corrected(predictor, tmp_path):
    path = tmp_path / "cell.fieldcast"
    predictor.save(path)
    [again, *_], [first, *_] = load(path).predict(cases()), predictor.predict(cases())
    np.testing.assert_array_equal(again.scalars[VOLTAGE].mean, first.scalars[VOLTAGE].mean)
    answers = predictor.predict(cases())
    above = [
        Sample(p.case, p.mean, {VOLTAGE: Scalar(p.scalars[VOLTAGE].mean + 0.01, "V")})
        for p in answers
    ]
    inner = Chebyshev(0).fit(left(predictor, above))
    recipe = replace(predictor.recipe, correction=inner.recipe)
    both = replace(predictor, recipe=recipe, signature=inner.signature, correction=inner)
    [better, *_] = both.predict(cases())
    gap = better.scalars[VOLTAGE].mean - answers[0].scalars[VOLTAGE].mean
    np.testing.assert_allclose(gap, 0.01, atol=1e-9)
