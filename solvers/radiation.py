"""Longwave radiation of columns, by climt: RRTMG, and grey radiation as its low fidelity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Case
from fieldcast.meshes.atmosphere import SECONDS_PER_DAY
from fieldcast.meshes.columns import AIR_PRESSURE, INTERFACE_PRESSURE

from .column_physics import ColumnPhysics, Optional, State, component, standard_column

HEATING = "tendency_of_air_temperature_due_to_longwave_heating"
OUTGOING = "toa_outgoing_longwave_flux"
DOWNWELLING = "surface_downwelling_longwave_flux_in_air"
OUTPUTS = {HEATING: "K/day", OUTGOING: "W/m^2", DOWNWELLING: "W/m^2"}
BANDS = 16
"""Of RRTMG's longwave."""
# Optical depth per sigma of dry air, and per specific humidity, Byrne & O'Gorman 2013
# (doi:10.1175/JCLI-D-12-00262.1).
DRY_DEPTH, MOIST_DEPTH = 0.8678, 1997.9

_DRY = Optional("1", 0.0)
_CLOUD = {
    "cloud_area_fraction_in_atmosphere_layer": _DRY,
    "mass_content_of_cloud_ice_in_atmosphere_layer": Optional("g/m^2", 0.0),
    "mass_content_of_cloud_liquid_water_in_atmosphere_layer": Optional("g/m^2", 0.0),
    "cloud_ice_particle_size": Optional("micrometer", 20.0),
    "cloud_water_droplet_radius": Optional("micrometer", 10.0),
}
_GASES = ("carbon_dioxide", "methane", "nitrous_oxide")
_TRACES = {
    "oxygen": Optional("1", 0.21),
    **{gas: _DRY for gas in ("cfc11", "cfc12", "cfc22", "carbon_tetrachloride")},
}


def mole_fraction(gas: str) -> str:
    """The standard name of a gas's mole fraction."""
    return f"mole_fraction_of_{gas}_in_air"


@dataclass(frozen=True)
class RRTMGLongwave(ColumnPhysics):
    """The correlated-k model RRTMG-LW (Mlawer et al. 1997, doi:10.1029/97JD00237), with clouds that
    overlap at random where a case has them.

    Heating of each layer, and what leaves at the top and arrives at the surface.
    """

    parameters: ClassVar = {"surface_temperature": "K", **{mole_fraction(g): "1" for g in _GASES}}
    outputs: ClassVar = OUTPUTS
    fields: ClassVar = {
        AIR_PRESSURE: "Pa",
        "air_temperature": "K",
        "specific_humidity": "kg/kg",
        mole_fraction("ozone"): "1",
    }
    optional_fields: ClassVar = _CLOUD
    optional_parameters: ClassVar = {
        "surface_longwave_emissivity": Optional("1", 1.0),
        **{mole_fraction(gas): optional for gas, optional in _TRACES.items()},
    }

    def example(self) -> Case:
        return standard_column()

    def tendencies(self, state: State) -> State:
        layers, n = state[AIR_PRESSURE].shape
        given = {k: state[k] for k in (*self.fields, *_CLOUD, "surface_temperature")}
        for name in (AIR_PRESSURE, INTERFACE_PRESSURE):
            given[name] = state[name] / 100.0  # Pa -> hPa
        for gas in (*_GASES, *_TRACES):
            given[mole_fraction(gas)] = np.tile(state[mole_fraction(gas)], (layers, 1))
        emissivity = np.tile(state["surface_longwave_emissivity"], (BANDS, 1))
        given["surface_longwave_emissivity"] = emissivity
        given["longwave_optical_thickness_due_to_cloud"] = np.zeros((layers, n, BANDS))
        given["longwave_optical_thickness_due_to_aerosol"] = np.zeros((BANDS, layers, n))
        heating, fluxes = component("RRTMGLongwave").array_call(given)
        return _outputs(heating["air_temperature"], fluxes)


@dataclass(frozen=True)
class GreyLongwave(ColumnPhysics):
    """Two streams in a grey gas of optical depth d tau = (0.8678 + 1997.9 q) d sigma, sigma = p/p_s
    (Byrne & O'Gorman 2013), which knows neither carbon dioxide nor windows.

    Heating of each layer, and what leaves at the top and arrives at the surface.
    """

    parameters: ClassVar = {"surface_temperature": "K"}
    outputs: ClassVar = OUTPUTS
    fields: ClassVar = {AIR_PRESSURE: "Pa", "air_temperature": "K", "specific_humidity": "kg/kg"}

    def example(self) -> Case:
        return standard_column()

    def tendencies(self, state: State) -> State:
        given = {
            "tau": optical_depth(state[INTERFACE_PRESSURE], state["specific_humidity"]),
            "sl": state["air_temperature"],
            "T_surface": state["surface_temperature"],
            "p": state[AIR_PRESSURE],
            "p_interface": state[INTERFACE_PRESSURE],
        }
        given = {k: np.ascontiguousarray(v) for k, v in given.items()}
        heating, fluxes = component("GrayLongwaveRadiation").array_call(given)
        named = {
            "upwelling_longwave_flux_in_air": fluxes["lw_up"],
            "downwelling_longwave_flux_in_air": fluxes["lw_down"],
        }
        return _outputs(heating["sl"] * SECONDS_PER_DAY, named)


def optical_depth(
    p_interface: Float[np.ndarray, "interface column"], q: Float[np.ndarray, "layer column"]
) -> Float[np.ndarray, "interface column"]:
    """tau(p) from the surface (0) up, d tau = (0.8678 + 1997.9 q) |d sigma|, with q [kg/kg]."""
    sigma = p_interface / p_interface[0]
    depth = np.cumsum((DRY_DEPTH + MOIST_DEPTH * q) * (sigma[:-1] - sigma[1:]), axis=0)
    return np.concatenate([np.zeros_like(depth[:1]), depth])


def _outputs(heating: np.ndarray, fluxes: State) -> State:
    return {
        HEATING: heating,
        OUTGOING: fluxes["upwelling_longwave_flux_in_air"][-1],
        DOWNWELLING: fluxes["downwelling_longwave_flux_in_air"][0],
    }
