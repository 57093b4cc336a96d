"""Solvers of single columns of the atmosphere: many columns go to the package as one array."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np

from fieldcast.meshes import Case, Cases, Sample, Samples
from fieldcast.meshes.atmosphere import specific_humidity
from fieldcast.meshes.columns import (
    AIR_PRESSURE,
    INTERFACE_PRESSURE,
    INTERFACES,
    column_cases,
    column_scalar,
    level_field,
    level_values,
    line_mesh,
)
from fieldcast.meshes.packed import PackedField, PackedScalar
from fieldcast.meshes.units import converted

from .solver import Solver, SolverFailed

AT_ONCE = 4096
"""Columns in one call of the package, which bounds its memory."""
State = dict[str, np.ndarray]
"""Arrays of (level, column) or (column,), from the surface up, in the declared units."""


@dataclass(frozen=True)
class Optional:
    """What a case may give, and what counts where it doesn't."""

    unit: str
    default: float


class ColumnPhysics(Solver):
    """Physics of columns by climt (Monteiro et al. 2018, doi:10.5194/gmd-11-3781-2018).

    A case is a line mesh of layers, from the top down or the surface up, with `fields` on its
    points, and the pressures between layers on the part "interfaces". Names are CF standard names.
    `optional` fields and parameters are taken where a case has them.
    """

    fields: ClassVar[Mapping[str, str]]
    optional_fields: ClassVar[Mapping[str, Optional]] = {}
    optional_parameters: ClassVar[Mapping[str, Optional]] = {}

    @abstractmethod
    def tendencies(self, state: State) -> State:
        """The outputs [in their units] of columns that are given as arrays."""

    def available(self) -> str | None:
        if find_spec("climt") is None:
            return "expected the package climt: pip install 'fieldcast[climate]'"
        return None

    def solve(self, case: Case) -> Sample:
        return self.solve_columns([case])[0]

    def solve_columns(self, cases: Sequence[Case]) -> Samples:
        """The answers for columns with equally many levels, all at once.

        Raises:
            ValueError: the cases lack a field or parameter, or levels aren't ordered.
            SolverFailed: the package is missing or gives values that aren't finite.
        """
        packed = Cases.pack(cases)
        state, down = self._state(packed)
        n = len(packed)
        parts = [
            self.tendencies({k: v[..., i : i + AT_ONCE] for k, v in state.items()})
            for i in range(0, n, AT_ONCE)
        ]
        found = {name: np.concatenate([p[name] for p in parts], axis=-1) for name in self.outputs}
        self._check(packed, found)
        fields = {
            name: level_field(np.ascontiguousarray((v[::-1] if down else v).T), self.outputs[name])
            for name, v in found.items()
            if v.ndim == 2
        }
        scalars = {
            name: column_scalar(v, self.outputs[name]) for name, v in found.items() if v.ndim == 1
        }
        return Samples(packed, fields, scalars)

    def _state(self, cases: Cases) -> tuple[State, bool]:
        wanted = {**self.fields, INTERFACE_PRESSURE: "Pa"}
        absent = sorted(set(wanted) - set(cases.fields)) + sorted(
            set(self.parameters) - set(cases.parameters)
        )
        if absent:
            raise ValueError(
                f"case {cases[0].label}: expected the fields {wanted} and the parameters "
                f"{dict(self.parameters)}, {absent} are missing"
            )
        units = {**wanted, **{k: o.unit for k, o in self.optional_fields.items()}}
        state = {
            k: _levels(cases, k, cases.fields[k], units[k]).T for k in units if k in cases.fields
        }
        units = {**self.parameters, **{k: o.unit for k, o in self.optional_parameters.items()}}
        for name in set(units) & set(cases.parameters):
            state[name] = _numbers(cases, name, cases.parameters[name], units[name])
        n, layers = len(cases), len(state[AIR_PRESSURE])
        for name, optional in self.optional_parameters.items():
            state.setdefault(name, np.full(n, optional.default))
        for name, optional in self.optional_fields.items():
            state.setdefault(name, np.full((layers, n), optional.default))
        down = _is_downward(cases, state[AIR_PRESSURE], state[INTERFACE_PRESSURE])
        return {k: v[::-1] if down and v.ndim == 2 else v for k, v in state.items()}, down

    def _check(self, cases: Cases, found: State) -> None:
        for name, values in found.items():
            bad = np.flatnonzero(~np.isfinite(values.reshape(-1, len(cases))).all(axis=0))
            if len(bad):
                raise SolverFailed(
                    f"{name}: expected finite values, climt gave others in {len(bad)} of "
                    f"{len(cases)} columns, first case {cases[int(bad[0])].label}; look at its "
                    "temperatures, pressures and humidity"
                )


def _levels(cases: Cases, name: str, packed: PackedField, unit: str) -> np.ndarray:
    part = INTERFACES if name == INTERFACE_PRESSURE else ""
    if (packed.on, packed.part) != ("point", part):
        raise ValueError(
            f"case {cases[0].label}, field {name!r}: expected it on points of the part {part!r}, "
            f"got {packed.on}s of {packed.part!r}"
        )
    try:
        return converted(level_values(packed), packed.unit, unit).astype(float)
    except ValueError as error:
        raise ValueError(f"case {cases[0].label}, field {name!r}: {error}") from error


def _numbers(cases: Cases, name: str, packed: PackedScalar, unit: str) -> np.ndarray:
    if packed.values.shape[1] != 1:
        raise ValueError(
            f"case {cases[0].label}, parameter {name!r}: expected one value, got "
            f"{packed.values.shape[1]}"
        )
    try:
        return converted(packed.values[:, 0], packed.unit, unit)
    except ValueError as error:
        raise ValueError(f"case {cases[0].label}, parameter {name!r}: {error}") from error


def _is_downward(cases: Cases, p: np.ndarray, p_interface: np.ndarray) -> bool:
    """Whether levels come from the top down; pressures of layers lie between their interfaces."""
    down = bool(p_interface[-1, 0] > p_interface[0, 0])
    lower, upper = (
        (p_interface[1:], p_interface[:-1]) if down else (p_interface[:-1], p_interface[1:])
    )
    bad = np.flatnonzero(~((upper < p) & (p < lower) & (upper >= 0.0)).all(axis=0))
    if len(bad):
        raise ValueError(
            f"case {cases[int(bad[0])].label}: expected the pressure of each layer between those "
            f"of its interfaces, in one order in all columns; {len(bad)} of {len(cases)} columns "
            "are not so"
        )
    return down


def component(name: str, **settings: Any) -> Any:
    """A component of climt.

    Raises:
        SolverFailed: climt is not installed, or without its compiled parts.
    """
    try:
        import climt

        return getattr(climt, name)(**settings)
    except ImportError as error:
        raise SolverFailed(
            f"expected climt with its compiled parts, got {error}; pip install 'fieldcast[climate]'"
        ) from error


def standard_column(layers: int = 30, surface: float = 290.0, humidity: float = 0.7) -> Case:
    """A column to try things with: T = max(T_s (p/p_s)^0.19, 200 K), relative humidity times
    (p/p_s), an ozone layer; from the top down, in sigma layers that are thinner at both ends."""
    ps = 101_325.0
    edges = np.sin(np.linspace(0.0, np.pi / 2, layers + 1)) ** 2
    p_interface = 100.0 + (ps - 100.0) * edges
    p = 0.5 * (p_interface[1:] + p_interface[:-1])
    t = np.maximum(surface * (p / ps) ** 0.19, 200.0)
    q = np.maximum(specific_humidity(humidity * (p / ps), t, p), 2e-6)
    ozone = 3e-8 + 8e-6 * np.exp(-(np.log(p / 1000.0) ** 2) / 2.0)
    values = {
        AIR_PRESSURE: (p, "Pa"),
        "air_temperature": (t, "K"),
        "specific_humidity": (np.where(p < 10_000.0, 2e-6, q), "kg/kg"),
        "mole_fraction_of_ozone_in_air": (ozone, "1"),
    }
    fields = {name: level_field(v[None], unit) for name, (v, unit) in values.items()}
    fields[INTERFACE_PRESSURE] = level_field(p_interface[None], "Pa", INTERFACES)
    scalars = {
        "surface_temperature": (surface, "K"),
        "mole_fraction_of_carbon_dioxide_in_air": (4e-4, "1"),
        "mole_fraction_of_methane_in_air": (1.8e-6, "1"),
        "mole_fraction_of_nitrous_oxide_in_air": (3.3e-7, "1"),
    }
    parameters = {k: column_scalar(np.array([v]), unit) for k, (v, unit) in scalars.items()}
    return column_cases(line_mesh(p / 1e5), fields, parameters)[0]
