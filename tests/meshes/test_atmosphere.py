"""Columns' physics: saturation, humidity, weights, energy."""

from __future__ import annotations

import numpy as np

from fieldcast.meshes import atmosphere as air


def test_saturation_over_liquid_and_ice():
    """The check values of Murphy & Koop 2005, appendix C; the mean of both half way between."""
    t = np.array([150.0, 180.0, 210.0, 240.0, 273.16, 300.0])
    e = np.array([6.106e-6, 0.0053975, 0.70202, 27.272, 611.657, 3536.8])
    np.testing.assert_allclose(air.saturation_pressure(t), e, rtol=2e-4)


def test_saturation_is_continuous_and_grows():
    t = np.linspace(150.0, 320.0, 3401)
    e = air.saturation_pressure(t)
    assert (np.diff(e) >= 0).all()
    assert (np.abs(np.diff(np.log(e[t > 186.0]))) < 0.02).all()


def test_humidity_there_and_back():
    rng = np.random.default_rng(0)
    t, p = rng.uniform(200.0, 310.0, (5, 7)), rng.uniform(1e3, 1e5, (5, 7))
    q = rng.uniform(0.0, 0.02, (5, 7))
    back = air.specific_humidity(air.relative_humidity(q, t, p), t, p)
    np.testing.assert_allclose(back, q, rtol=1e-14)


def test_masses_add_up_to_the_column():
    a, b = np.array([0.002, 0.1, 0.0]), np.array([0.0, 0.3, 1.0])
    ps = np.array([98_000.0, 101_000.0])
    p = air.hybrid_pressure(a, b, 1e5, ps)
    np.testing.assert_allclose(p[0], [200.0, 39_400.0, 98_000.0])
    np.testing.assert_allclose(air.layer_mass(p).sum(axis=-1), (ps - 200.0) / air.GRAVITY)
    np.testing.assert_allclose(air.layer_mass(p[:, ::-1])[:, ::-1], air.layer_mass(p))


def test_energy_of_a_kelvin_and_a_gram_a_day():
    mass = np.array([[1000.0]])
    warm = air.heating_power(np.array([[1.0 / 86400.0]]), mass)
    np.testing.assert_allclose(warm, 1004.64e3 / 86400.0)
    wet = air.moistening_power(np.array([[1e-3 / 86400.0]]), mass)
    np.testing.assert_allclose(wet, 2.501e6 / 86400.0)


def test_areas_of_circles_of_latitude():
    lat = np.linspace(-89.5, 89.5, 180)
    weights = air.latitude_weights(lat)
    np.testing.assert_allclose(weights.mean(), 1.0)
    np.testing.assert_allclose(weights, np.cos(np.deg2rad(lat)) * np.pi / 2, rtol=1e-3)
    np.testing.assert_array_equal(air.latitude_weights(lat[::-1]), weights[::-1])


def test_humidity_of_a_mole_fraction():
    q = air.humidity_of_mole_fraction(np.array([0.0, 0.01]))
    np.testing.assert_allclose(q, [0.0, 0.0061813], rtol=1e-4)
