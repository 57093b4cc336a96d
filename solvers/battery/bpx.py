"""Cells from files of the Battery Parameter eXchange standard (BPX, https://bpxstandard.com).

Properties that a file gives as formulas or tables become Chebyshev expansions; formulas are read,
never evaluated as code.
"""

from __future__ import annotations

import ast
import json
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fieldcast.meshes.battery import (
    FARADAY,
    Cell,
    Curve,
    Electrode,
    Electrolyte,
    Expansion,
    Root,
    Series,
)

_FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    name: getattr(np, name) for name in ("exp", "tanh", "log", "sqrt", "cosh", "sinh")
}
_OPERATORS: Mapping[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
SALT = (0.05, 3.0)
"""The range in which an electrolyte's properties are taken from a file [kmol/m^3]."""
TABLE = 2e-3
"""By how much of its size an expansion may miss a table between its points."""


def read_bpx(path: str | Path, rate: float = 1.0, duration: float | None = None) -> Cell:
    """The full cell of a BPX file at its reference temperature, discharged at `rate` of its nominal
    capacity per hour for `duration` [s], by default until 95 % of the capacity is gone. Layers
    connected in parallel are one layer of their area.

    Raises:
        ValueError: no BPX file of a full cell, or one with blended electrodes; says what is wrong.
    """
    path = Path(path)
    try:
        given = json.loads(path.read_text())["Parameterisation"]
        cell, salt, separator = (given[k] for k in ("Cell", "Electrolyte", "Separator"))
        negative = _electrode(given["Negative electrode"], "Maximum stoichiometry")
        positive = _electrode(given["Positive electrode"], "Minimum stoichiometry")
        return Cell(
            negative,
            positive,
            _electrolyte(salt, separator),
            area=_layers(cell) * float(cell["Electrode area [m2]"]),
            current=rate * float(cell["Nominal cell capacity [A.h]"]),
            duration=0.95 * 3600.0 / rate if duration is None else duration,
            temperature=float(cell["Reference temperature [K]"]),
        )
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path}: expected the BPX file of a full cell with one material per electrode: "
            f"{error!s}{' is missing' if isinstance(error, KeyError) else ''}"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _layers(cell: Mapping[str, Any]) -> float:
    return float(cell.get("Number of electrode pairs connected in parallel to make a cell", 1))


def _electrode(given: Mapping[str, Any], start: str) -> Electrode:
    radius = float(given["Particle radius [m]"])
    return Electrode(
        thickness=float(given["Thickness [m]"]),
        radius=radius,
        active=float(given["Surface area per unit volume [m-1]"]) * radius / 3.0,
        porosity=float(given["Porosity"]),
        largest=float(given["Maximum concentration [mol.m-3]"]),
        start=float(given[start]),
        diffusivity=curve(given["Diffusivity [m2.s-1]"]),
        exchange=Root(FARADAY * float(given["Reaction rate constant [mol.m-2.s-1]"])),
        potential=curve(given["OCP [V]"]),
        conductivity=float(given["Conductivity [S.m-1]"]),
        efficiency=float(given["Transport efficiency"]),
    )


def _electrolyte(salt: Mapping[str, Any], separator: Mapping[str, Any]) -> Electrolyte:
    return Electrolyte(
        concentration=float(salt["Initial concentration [mol.m-3]"]),
        thickness=float(separator["Thickness [m]"]),
        porosity=float(separator["Porosity"]),
        diffusivity=curve(salt["Diffusivity [m2.s-1]"], SALT, 1e3),
        conductivity=curve(salt["Conductivity [S.m-1]"], SALT, 1e3),
        transference=curve(salt["Cation transference number"], SALT, 1e3),
        factor=Series((1.0,)),  # BPX takes the solution for ideal
        efficiency=float(separator["Transport efficiency"]),
    )


def curve(
    given: float | str | Mapping[str, Any],
    bounds: tuple[float, float] = (0.0, 1.0),
    scale: float = 1.0,
) -> Curve:
    """A property f that a file gives as a number, a formula of x or a table, as a function of
    x / `scale` within `bounds`.

    Raises:
        ValueError: a formula with other names or functions, or values that are not finite.
    """
    if isinstance(given, str):
        tree = ast.parse(given.strip(), mode="eval").body
        return Expansion.of(lambda x: _value(tree, scale * x), *bounds)
    if isinstance(given, Mapping):
        return _tabled(given, bounds, scale)
    return Series((float(given),))


def _tabled(given: Mapping[str, Any], bounds: tuple[float, float], scale: float) -> Curve:
    from numpy.polynomial import Chebyshev
    from scipy.interpolate import PchipInterpolator

    x, y = np.asarray(given["x"], float) / scale, np.asarray(given["y"], float)
    smooth = PchipInterpolator(x, y, extrapolate=False)

    def function(at: np.ndarray) -> np.ndarray:
        return smooth(np.clip(at, x[0], x[-1]))

    found = Chebyshev.interpolate(function, 255, list(bounds))
    asked = np.linspace(*bounds, 1001)
    error = np.abs(found(asked) - function(asked)).max()
    if not error <= TABLE * np.abs(y).max():
        raise ValueError(
            f"expected a smooth table, its expansion misses it by {error:.2g} between points"
        )
    return Expansion(tuple(found.coef.tolist()), *bounds)


def _value(node: ast.expr, x: np.ndarray) -> Any:
    """The value of a formula; anything that is no arithmetic is refused."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return float(node.value)
    if isinstance(node, ast.Name) and node.id == "x":
        return x
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.operand, x))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left, x), _value(node.right, x))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1:
        if node.func.id in _FUNCTIONS:
            return _FUNCTIONS[node.func.id](_value(node.args[0], x))
    raise ValueError(
        f"expected a formula of x with + - * / ** and {sorted(_FUNCTIONS)}, got "
        f"{ast.unparse(node)!r}"
    )
