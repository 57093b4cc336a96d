"""Recipes as JSON: the plugin's registered name and its settings, never an import path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from fieldcast.meshes.battery import (
    Cell,
    Electrode,
    Electrolyte,
    Expansion,
    PowerOfTen,
    Root,
    Series,
)
from fieldcast.meshes.morphing import Morphing
from fieldcast.meshes.plugins import Kind, plugin, plugin_name

from .closure import ClosureRecipe
from .closure_environment import Environment
from .closure_learning import Acting
from .closure_ppo import Ppo
from .closure_runs import Protocol
from .conservation_update import NetFlux, Total
from .derived import GradientOf, WallFlux
from .forces import Stream, SurfaceForces
from .gp import Training
from .graph_options import GROUPS
from .history import HistoryOperator
from .operator_data import Trunk
from .operator_derivative import Derivative
from .operator_images import Image
from .pinn_descent import Annealing, Fixed, Gradients, GradualTime, QuasiNewton, SelfAttention
from .pinn_network import PathologyBlocks, Perceptron, Split
from .pinn_problem import Problem
from .pinn_training import LevenbergMarquardt
from .sensors import Sensors
from .surrogate import Surrogate
from .tendency import Tendency
from .training import Descent

_PLUGINS: Mapping[Kind, type] = {
    "closures": ClosureRecipe,
    "histories": HistoryOperator,
    "surrogates": Surrogate,
    "morphings": Morphing,
    "problems": Problem,
    "environments": Environment,
}
"""The first that fits: recipes of closures and of histories are surrogates of flows alone, and of
scalars in time alone, under names apart."""
_PLAIN = {
    "cell": Cell,
    "electrode": Electrode,
    "electrolyte": Electrolyte,
    "series": Series,
    "power_of_ten": PowerOfTen,
    "root": Root,
    "expansion": Expansion,
    "perceptron": Perceptron,
    "pathology_blocks": PathologyBlocks,
    "levenberg_marquardt": LevenbergMarquardt,
    "gradients": Gradients,
    "quasi_newton": QuasiNewton,
    "split": Split,
    "fixed": Fixed,
    "self_attention": SelfAttention,
    "annealing": Annealing,
    "gradual_time": GradualTime,
    "training": Training,
    "descent": Descent,
    "acting": Acting,
    "ppo": Ppo,
    "protocol": Protocol,
    "tendency": Tendency,
    "trunk": Trunk,
    "image": Image,
    "sensors": Sensors,
    "derivative": Derivative,
    "net_flux": NetFlux,
    "gradient_of": GradientOf,
    "wall_flux": WallFlux,
    "surface_forces": SurfaceForces,
    "stream": Stream,
    "total": Total,
    **GROUPS,
}
"""Settings that are groups of numbers rather than plugins."""


def recipe_to_json(recipe: Any) -> Any:
    """Plugins become {"kind", "name", "settings"}, groups {"group", "settings"}, tuples lists."""
    for kind, base in _PLUGINS.items():
        if isinstance(recipe, base):
            name = plugin_name(kind, type(recipe))
            return {"kind": kind, "name": name, "settings": _settings(recipe)}
    if is_dataclass(recipe) and not isinstance(recipe, type):
        group = next((k for k, cls in _PLAIN.items() if type(recipe) is cls), None)
        if group is None:
            raise TypeError(f"expected a setting of a known kind, got {type(recipe).__name__}")
        return {"group": group, "settings": _settings(recipe)}
    if isinstance(recipe, (list, tuple)):
        return [recipe_to_json(v) for v in recipe]
    return recipe


def _settings(recipe: Any) -> dict[str, Any]:
    return {f.name: recipe_to_json(getattr(recipe, f.name)) for f in fields(recipe)}


def recipe_from_json(values: Any) -> Any:
    """The recipe that `recipe_to_json` was given.

    Raises:
        ValueError: a plugin that is not installed, or settings that it does not take.
    """
    if isinstance(values, list):
        return tuple(recipe_from_json(v) for v in values)
    if not isinstance(values, Mapping):
        return values
    if "group" in values:
        return _made(_PLAIN.get(values["group"]), values)
    if values.get("kind") not in _PLUGINS:
        raise ValueError(f"expected one of {list(_PLUGINS)}, got {values.get('kind')!r}")
    return _made(plugin(values["kind"], values["name"]), values)


def _made(cls: Any, values: Mapping[str, Any]) -> Any:
    settings = {k: recipe_from_json(v) for k, v in values["settings"].items()}
    try:
        return cls(**settings)
    except TypeError as error:
        raise ValueError(
            f"expected settings that the installed {values.get('name', 'plugin')!r} takes: "
            f"{error}; "
            "it may be of another version than the model"
        ) from error
