"""Moist convection of columns, by climt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

import numpy as np

from fieldcast.meshes import Case
from fieldcast.meshes.atmosphere import SECONDS_PER_DAY
from fieldcast.meshes.columns import AIR_PRESSURE, INTERFACE_PRESSURE

from .column_physics import ColumnPhysics, Optional, State, component, standard_column

WARMING = "tendency_of_air_temperature_due_to_convection"
MOISTENING = "tendency_of_specific_humidity_due_to_convection"
RAIN = "convective_precipitation_flux"


@dataclass(frozen=True)
class EmanuelConvection(ColumnPhysics):
    """The scheme of Emanuel & Zivkovic-Rothman 1999 (J. Atmos. Sci. 56, 1766-1782).

    Its mass flux at cloud base relaxes over time; with the column held, `steps` of `timestep` [s]
    bring it to balance, so that the answer depends on the column alone.
    """

    timestep: float = 1200.0
    steps: int = 30

    parameters: ClassVar[dict[str, str]] = {}
    outputs: ClassVar = {WARMING: "K/day", MOISTENING: "1/day", RAIN: "kg/m^2/day"}
    fields: ClassVar = {AIR_PRESSURE: "Pa", "air_temperature": "K", "specific_humidity": "kg/kg"}
    optional_fields: ClassVar = {
        "eastward_wind": Optional("m/s", 0.0),
        "northward_wind": Optional("m/s", 0.0),
    }

    def example(self) -> Case:
        return standard_column(surface=303.0, humidity=0.9)

    def tendencies(self, state: State) -> State:
        given = {k: np.ascontiguousarray(v.T) for k, v in state.items() if k != INTERFACE_PRESSURE}
        given[AIR_PRESSURE] = given[AIR_PRESSURE] / 100.0  # Pa -> hPa
        given[INTERFACE_PRESSURE] = np.ascontiguousarray(state[INTERFACE_PRESSURE].T) / 100.0
        given["cloud_base_mass_flux"] = np.zeros(len(given[AIR_PRESSURE]))
        scheme, dt = component("EmanuelConvection"), timedelta(seconds=self.timestep)
        for _ in range(self.steps):
            # Its own copies: the scheme changes the mass flux, and may change the rest.
            changes, found = scheme.array_call({k: v.copy() for k, v in given.items()}, dt)
            given["cloud_base_mass_flux"] = found["cloud_base_mass_flux"].copy()
        return {
            WARMING: changes["air_temperature"].T * SECONDS_PER_DAY,
            MOISTENING: changes["specific_humidity"].T * SECONDS_PER_DAY,
            RAIN: found["convective_precipitation_rate"],  # mm of water are kg/m^2
        }
