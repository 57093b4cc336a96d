"""What the commands share: their options, plugins by name, reading and telling."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fieldcast.meshes.assembling import Folder
    from fieldcast.meshes.plugins import Kind
    from fieldcast.meshes.roles import Settings
    from fieldcast.solvers import Solver
    from fieldcast.surrogates.acquisition import Criterion
    from fieldcast.surrogates.surrogate import Surrogate

FATAL, SOME_FAILED, INTERRUPTED = 1, 2, 130

FolderPath = Annotated[Path, typer.Argument(help="Folder with simulations, or one case.")]
ModelPath = Annotated[Path, typer.Argument(help="A model that fit has made.")]
CandidatesPath = Annotated[Path, typer.Argument(help="Folder with cases to choose from.")]
CriterionName = Annotated[
    str,
    typer.Option(
        "--criterion",
        help="variance (learn the output everywhere), improvement (find its best), or space.",
    ),
]
Maximise = Annotated[bool, typer.Option("--maximise", help="Improvement is more, not less.")]
SurrogateName = Annotated[str, typer.Option(help="A plugin; `fieldcast plugins` lists them.")]
SurrogateSettings = Annotated[
    list[str] | None,
    typer.Option("--set", help="NAME=VALUE of the surrogate, such as modes=16 (repeat)."),
]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
ShardText = Annotated[
    str | None,
    typer.Option("--shard", help="Part i/n, i from 0; by default as the scheduler says."),
]
EngineName = Annotated[
    str, typer.Option("--executor", help="local, dask, ray, or as dask:ADDRESS of a scheduler.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Inputs = Annotated[
    list[str] | None, typer.Option("--inputs", help="Names of inputs (repeat, or commas).")
]
Outputs = Annotated[
    list[str] | None, typer.Option("--outputs", help="Names of outputs (repeat, or commas).")
]
MeshName = Annotated[
    str, typer.Option("--mesh", help="The mesh file of each case, such as internal.vtu.")
]
First = Annotated[int | None, typer.Option("--first", help="Read no more cases.", min=1)]
Units = Annotated[
    list[str] | None, typer.Option("--unit", help="NAME=UNIT, such as U=m/s (repeat).")
]


def make_criterion(name: str, output: str, maximise: bool = False) -> Criterion:
    """The criterion called `name`, for `output` ("": all of them).

    Raises:
        ValueError: no such criterion, or one that needs to know which output.
    """
    from fieldcast.surrogates.acquisition import (
        ExpectedImprovement,
        SpaceFilling,
        VarianceReduction,
    )

    made: dict[str, Criterion] = {
        "variance": VarianceReduction((output,) if output else ()),
        "improvement": ExpectedImprovement(output, minimise=not maximise),
        "space": SpaceFilling(),
    }
    if name not in made:
        raise ValueError(f"--criterion: expected one of {list(made)}, got {name!r}")
    if name == "improvement" and not output:
        raise ValueError("--criterion improvement: expected --output NAME, the scalar to improve")
    return made[name]


def make_recipe(name: str, settings: Sequence[str]) -> Surrogate:
    """The surrogate called `name` with settings such as "modes=8", values written as in TOML.

    Raises:
        ValueError: no such surrogate or setting, or a value that is not TOML.
    """
    return _plugin_with("surrogates", name, settings)


def make_solver(name: str, settings: Sequence[str]) -> Solver:
    """The solver called `name`, as `make_recipe`."""
    return _plugin_with("solvers", name, settings)


def _plugin_with(group: Kind, name: str, settings: Sequence[str]) -> Any:
    from fieldcast.meshes.plugins import plugin

    cls = plugin(group, name)
    known = [f.name for f in fields(cls)]
    values: dict[str, Any] = {}
    for text in settings:
        key, sign, value = text.partition("=")
        if not sign or key.split(".")[0] not in known:
            raise ValueError(f"--set: expected NAME=VALUE with a name of {known}, got {text!r}")
        _put(values, key.split("."), _toml_value(value))
    return _changed(cls(), values)


def _put(values: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    """A name and settings of what it names go together: inner=ensemble, inner.size=4."""
    for key in keys[:-1]:
        found = values.setdefault(key, {})
        if not isinstance(found, dict):
            found = values[key] = {"": found}
        values = found
    if isinstance(values.get(keys[-1]), dict):
        values[keys[-1]][""] = value
    else:
        values[keys[-1]] = value


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _changed(default: Any, values: Mapping[str, Any]) -> Any:
    """`morphing=harmonic` and `inner=ensemble` become those plugins, `training.starts=3` a changed
    group, lists tuples."""
    from fieldcast.meshes.plugins import plugin
    from fieldcast.surrogates import Surrogate

    made: dict[str, Any] = {}
    for name, value in values.items():
        group = dict(value) if isinstance(value, dict) else {"": value}
        before = getattr(default, name, None)
        if "" in group:
            value = group.pop("")
            if name == "morphing" and isinstance(value, str):
                before = plugin("morphings", value)()
            elif isinstance(before, Surrogate) and isinstance(value, str):
                before = plugin("surrogates", value)()
            else:
                before = tuple(value) if isinstance(value, list) else value
        made[name] = _changed(before, group) if group else before
    try:
        return replace(default, **made)
    except TypeError as error:
        raise ValueError(f"--set: {error}") from error


def named_settings(
    inputs: list[str] | None, outputs: list[str] | None, mesh: str, units: list[str] | None
) -> Settings:
    from fieldcast.meshes.roles import Settings

    named = {}
    for text in units or []:
        name, sign, unit = text.partition("=")
        if not sign:
            raise ValueError(f"--unit: expected NAME=UNIT such as U=m/s, got {text!r}")
        named[name] = unit
    return Settings(mesh=mesh, inputs=_names(inputs), outputs=_names(outputs), units=named)


def _names(given: list[str] | None) -> tuple[str, ...]:
    return tuple(n.strip() for text in given or [] for n in text.split(",") if n.strip())


def read(folder: Path, settings: Settings, first: int | None = None) -> Folder:
    from fieldcast.meshes.folder import read_folder
    from fieldcast.meshes.formats import is_trajectory

    from .console import Bars

    if not folder.exists() and not is_trajectory(folder):
        raise ValueError(f"expected a folder with simulations, {folder} does not exist")
    with Bars() as bars:
        return read_folder(folder, settings, progress=lambda d, n: bars("read", d, n), first=first)


def check_writable(out: Path) -> None:
    if out.is_dir():
        raise ValueError(f"expected a file to write the model to, {out} is a folder")
    if not out.parent.exists():
        raise ValueError(f"expected the folder {out.parent} to exist, it does not")


def tell(lines: Sequence[str], found: Folder) -> None:
    """On stderr, so that --json stays clean: guesses, warnings, and what was left out."""
    for line in lines:
        typer.echo(line, err=True)
    for path, warnings in found.warnings.items():
        typer.echo(f"warning: {path}: {'; '.join(warnings)}", err=True)
    for path, error in found.broken.items():
        typer.echo(f"left out: {path}: {error}", err=True)


def tell_estimate(recipe: Surrogate, found: Folder, hold_out: float) -> None:
    expected = recipe.estimate(found.samples)
    if expected is None:
        return
    seconds, size = expected
    twice = 2.0 if hold_out > 0 else 1.0
    typer.echo(
        f"{len(found.samples)} cases; expected time {max(twice * seconds, 1):.0f} s, memory "
        f"{size / 2**30 + 0.5:.1f} GiB",
        err=True,
    )


def say(content: Any, lines: Sequence[str]) -> None:
    """The result on stdout: as JSON if there is `content`, else the lines."""
    if content is not None:
        typer.echo(json.dumps(content, default=str))
        return
    for line in lines:
        typer.echo(line)
