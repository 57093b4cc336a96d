"""Physics of atmospheric columns: pressures, weights, energy units, humidity.

Arrays have levels on their last axis. Constants are those of E3SM and CESM (shr_const_mod), which
ClimSim scores with.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

GRAVITY = 9.80616
"""g [m/s^2]."""
HEAT_CAPACITY = 1004.64
"""c_p of dry air [J/kg/K]."""
VAPORIZATION = 2.501e6
"""L_v, latent heat of vaporization [J/kg]."""
GAS_CONSTANT_AIR = 287.042
"""R_d [J/kg/K]."""
GAS_CONSTANT_VAPOUR = 461.505
"""R_v [J/kg/K]."""
WATER_DENSITY = 1000.0
"""rho_w of fresh water [kg/m^3]."""
MASS_RATIO = 18.016 / 28.966
"""M_w / M_d, of water and dry air [-]."""
SECONDS_PER_DAY = 86400.0
"""[s/day]."""
ALL_ICE, ALL_LIQUID = 253.16, 273.16
"""Below and above which saturation is over ice or liquid alone [K]; linear between them."""


def hybrid_pressure(
    a: Float[np.ndarray, " level"],
    b: Float[np.ndarray, " level"],
    p0: float,
    ps: Float[np.ndarray, " *column"],
) -> Float[np.ndarray, "*column level"]:
    """p = a p0 + b ps [Pa]: hybrid sigma-pressure levels, with p0 and the surface pressure ps in
    Pa."""
    return a * p0 + b * ps[..., None]


def layer_thickness(
    p_interface: Float[np.ndarray, "*column interface"],
) -> Float[np.ndarray, "*column layer"]:
    """dp = |p_{k+1} - p_k| [Pa], of the layers between interfaces, from whichever end they are
    counted."""
    return np.abs(np.diff(p_interface, axis=-1))


def layer_mass(
    p_interface: Float[np.ndarray, "*column interface"],
) -> Float[np.ndarray, "*column layer"]:
    """dp / g [kg/m^2]: of each layer, the weight of a sum over the column."""
    return layer_thickness(p_interface) / GRAVITY


def heating_power(
    dtemperature: Float[np.ndarray, "*column layer"], mass: Float[np.ndarray, "*column layer"]
) -> Float[np.ndarray, "*column layer"]:
    """c_p dT/dt dp/g [W/m^2], from dT/dt [K/s] and `layer_mass` [kg/m^2]."""
    return HEAT_CAPACITY * dtemperature * mass


def moistening_power(
    dhumidity: Float[np.ndarray, "*column layer"], mass: Float[np.ndarray, "*column layer"]
) -> Float[np.ndarray, "*column layer"]:
    """L_v dq/dt dp/g [W/m^2], from dq/dt [1/s] and `layer_mass` [kg/m^2]."""
    return VAPORIZATION * dhumidity * mass


def area_weights(area: Float[np.ndarray, " column"]) -> Float[np.ndarray, " column"]:
    """A / mean(A), of columns with areas in any unit."""
    return area / area.mean()


def latitude_weights(latitude: Float[np.ndarray, " lat"]) -> Float[np.ndarray, " lat"]:
    """Area weights of the circles of a grid, from latitudes in degrees: sine differences of the
    edges midway between them (and the poles), mean 1."""
    order = np.argsort(latitude)
    sorted_ = latitude[order]
    edges = np.concatenate([[-90.0], 0.5 * (sorted_[1:] + sorted_[:-1]), [90.0]])
    weights = np.empty(len(latitude))
    weights[order] = np.diff(np.sin(np.deg2rad(edges)))
    return area_weights(weights)


def saturation_pressure(temperature: Float[np.ndarray, " *shape"]) -> Float[np.ndarray, " *shape"]:
    """e_s(T) [Pa], T [K], over liquid above 273.16 K, over ice below 253.16 K, mixed linearly in
    between; both by Murphy & Koop 2005 (doi:10.1256/qj.04.94)."""
    t, log_t = temperature, np.log(temperature)
    supercooled = 53.878 - 1331.22 / t - 9.44523 * log_t + 0.014025 * t
    log_liquid = 54.842763 - 6763.22 / t - 4.210 * log_t + 0.000367 * t
    log_liquid = log_liquid + np.tanh(0.0415 * (t - 218.8)) * supercooled
    log_ice = 9.550426 - 5723.265 / t + 3.53068 * log_t - 0.00728332 * t
    share = np.clip((t - ALL_ICE) / (ALL_LIQUID - ALL_ICE), 0.0, 1.0)
    return share * np.exp(log_liquid) + (1.0 - share) * np.exp(log_ice)


def relative_humidity(
    humidity: Float[np.ndarray, " *shape"],
    temperature: Float[np.ndarray, " *shape"],
    pressure: Float[np.ndarray, " *shape"],
) -> Float[np.ndarray, " *shape"]:
    """RH = q R_v p / (R_d e_s(T)) [-], with q [kg/kg], T [K], p [Pa]; q for the mixing ratio, as
    climate models' networks do."""
    ratio = GAS_CONSTANT_VAPOUR / GAS_CONSTANT_AIR
    return humidity * ratio * pressure / saturation_pressure(temperature)


def specific_humidity(
    relative: Float[np.ndarray, " *shape"],
    temperature: Float[np.ndarray, " *shape"],
    pressure: Float[np.ndarray, " *shape"],
) -> Float[np.ndarray, " *shape"]:
    """q [kg/kg], the inverse of `relative_humidity`."""
    ratio = GAS_CONSTANT_AIR / GAS_CONSTANT_VAPOUR
    return relative * ratio * saturation_pressure(temperature) / pressure


def humidity_of_mole_fraction(x: Float[np.ndarray, " *shape"]) -> Float[np.ndarray, " *shape"]:
    """q = eps r / (1 + eps r) [kg/kg], r = x, the moles of vapour per mole of dry air."""
    r = MASS_RATIO * x
    return r / (1.0 + r)
