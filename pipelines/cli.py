"""The command `fieldcast`. Heavy packages are imported by the commands that need them."""

from __future__ import annotations

import json
import sys
import tomllib
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fieldcast.meshes.folder import Folder
    from fieldcast.meshes.roles import Settings
    from fieldcast.surrogates.surrogate import Predictor, Surrogate

    from .learning import Evaluation

FATAL, SOME_FAILED, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="fieldcast",
    help="Surrogates of physics simulations, with honest error bars.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

FolderPath = Annotated[Path, typer.Argument(help="Folder with simulations, or one case.")]
ModelPath = Annotated[Path, typer.Argument(help="A model that fit has made.")]
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
Units = Annotated[
    list[str] | None, typer.Option("--unit", help="NAME=UNIT, such as U=m/s (repeat).")
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exit 0 done, 1 fatal (a wrong option too), 2 some cases failed, 130
    interrupted."""
    command = typer.main.get_command(app)
    # What typer raises for a wrong call; its base class is not public by name.
    usage_error: Any = typer.BadParameter.__mro__[2]
    try:
        code = command.main(args=arguments, prog_name="fieldcast", standalone_mode=False)
    except usage_error as error:
        error.show()
        code = FATAL
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        code = FATAL
    except Exception:  # a defect: shown whole, with the promised exit code
        traceback.print_exc()
        typer.echo(
            "error: this is a defect in fieldcast, please report it with the lines above", err=True
        )
        code = FATAL
    if code == INTERRUPTED:
        typer.echo("interrupted; nothing was left half-written", err=True)
    sys.exit(code if isinstance(code, int) else 0)


@app.command()
def inspect(
    folder: FolderPath,
    inputs: Inputs = None,
    outputs: Outputs = None,
    mesh: MeshName = "",
    unit: Units = None,
    as_json: Json = False,
) -> None:
    """What is in a folder: cases, fields, units, ranges, duplicates, and what is broken."""
    from .inspecting import inspection, inspection_lines

    found = _read(folder, _settings(inputs, outputs, mesh, unit))
    content = inspection(found)
    _say(content if as_json else None, inspection_lines(content))
    raise typer.Exit(SOME_FAILED if found.broken else 0)


@app.command()
def fit(
    folder: FolderPath,
    out: Annotated[Path, typer.Option("-o", "--out", help="The model file to write.")],
    surrogate: Annotated[
        str, typer.Option(help="A plugin; `fieldcast plugins` lists them.")
    ] = "mmgp",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE of the surrogate, such as modes=16 (repeat)."),
    ] = None,
    inputs: Inputs = None,
    outputs: Outputs = None,
    mesh: MeshName = "",
    unit: Units = None,
    hold_out: Annotated[
        float, typer.Option(help="Share of cases kept to score the model.", min=0, max=0.9)
    ] = 0.2,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    as_json: Json = False,
) -> None:
    """Fit a surrogate to a folder of simulations."""
    from .console import Bars
    from .learning import learn

    recipe = make_recipe(surrogate, settings or [])
    _check_writable(out)
    found = _read(folder, _settings(inputs, outputs, mesh, unit))
    _tell(list(found.notes), found)
    if len(found.samples) < 2:
        raise ValueError(f"expected at least 2 usable cases in {folder}, got {len(found.samples)}")
    _tell_estimate(recipe, found, hold_out)
    with Bars() as bars:
        predictor, evaluation = learn(
            found.samples, recipe, hold_out=hold_out, seed=seed, progress=bars
        )
    predictor = predictor.with_settings(found.settings.as_dict())
    predictor.save(out)
    content = {
        "model": str(out),
        "cases": len(found.samples),
        "left_out": [str(p) for p in found.broken],
        "card": _card(predictor),
    }
    _say(
        content if as_json else None,
        [*_fit_lines(predictor), *_score_lines(evaluation), f"wrote {out}"],
    )


@app.command()
def predict(
    model: ModelPath,
    folder: FolderPath,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the answers.")],
    level: Annotated[
        float, typer.Option(help="Level of the intervals.", min=0.01, max=0.999)
    ] = 0.95,
    as_json: Json = False,
) -> None:
    """Answer a folder of cases, each on its own mesh and in its own format."""
    from dataclasses import asdict

    from fieldcast.surrogates import load

    from .console import Bars
    from .predicting import predict_folder

    predictor = load(model)
    with Bars() as bars:
        outcomes = predict_folder(predictor, folder, out, level=level, progress=bars)
    lines = [
        f"{o.case}: {o.status}{f' ({o.message})' if o.message else ''} {o.output}" for o in outcomes
    ]
    _say([asdict(o) for o in outcomes] if as_json else None, lines)
    failed = [o for o in outcomes if o.status not in ("ok", "flagged")]
    raise typer.Exit((FATAL if len(failed) == len(outcomes) else SOME_FAILED) if failed else 0)


@app.command()
def evaluate(model: ModelPath, folder: FolderPath, as_json: Json = False) -> None:
    """Score a model on solved cases, beside the trivial baselines."""
    evaluation, found, _ = _evaluated(model, folder)
    _say(evaluation.to_json() if as_json else None, _score_lines(evaluation))
    raise typer.Exit(SOME_FAILED if found.broken else 0)


@app.command()
def report(
    model: ModelPath,
    folder: FolderPath,
    out: Annotated[Path, typer.Option("-o", "--out", help="The HTML page to write.")] = Path(
        "report.html"
    ),
    as_json: Json = False,
) -> None:
    """One HTML page with pictures: truth, prediction, error, sigma, scores, calibration."""
    from .console import Bars
    from .report import write_report

    evaluation, found, predictor = _evaluated(model, folder)
    with Bars() as bars:
        write_report(predictor, found.samples, evaluation, out, bars)
    content = {"report": str(out), **evaluation.to_json()}
    _say(content if as_json else None, [*_score_lines(evaluation), f"wrote {out}"])
    raise typer.Exit(SOME_FAILED if found.broken else 0)


@app.command()
def plugins(as_json: Json = False) -> None:
    """The surrogates, solvers and morphings that are installed."""
    from fieldcast.meshes.plugins import Kind, plugin_names

    kinds: tuple[Kind, ...] = ("surrogates", "solvers", "morphings")
    content = {kind: plugin_names(kind) for kind in kinds}
    _say(
        content if as_json else None,
        [f"{kind}: {', '.join(names)}" for kind, names in content.items()],
    )


@app.command()
def info(model: ModelPath, as_json: Json = False) -> None:
    """What a model file says of itself; its arrays are not read."""
    from fieldcast.surrogates.bundle import read_header

    header = read_header(model)
    content = {k: header[k] for k in ("format", "recipe", "signature", "card", "versions")}
    _say(content if as_json else None, json.dumps(content, indent=2).splitlines())


def make_recipe(name: str, settings: Sequence[str]) -> Surrogate:
    """The surrogate called `name` with settings such as "modes=8", values written as in TOML.

    Raises:
        ValueError: no such surrogate or setting, or a value that is not TOML.
    """
    from fieldcast.meshes.plugins import plugin

    cls = plugin("surrogates", name)
    known = [f.name for f in fields(cls)]
    values: dict[str, Any] = {}
    for text in settings:
        key, sign, value = text.partition("=")
        if not sign or key.split(".")[0] not in known:
            raise ValueError(f"--set: expected NAME=VALUE with a name of {known}, got {text!r}")
        _put(values, key.split("."), _toml_value(value))
    return _with_groups(cls, values)


def _put(values: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
    values[keys[-1]] = value


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _with_groups(cls: Any, values: Mapping[str, Any]) -> Any:
    """`morphing=harmonic` becomes that plugin, `training.starts=3` a changed group, lists
    tuples."""
    from dataclasses import replace

    from fieldcast.meshes.plugins import plugin

    made = dict(values)
    default = cls()
    for name, value in values.items():
        if name == "morphing" and isinstance(value, str):
            made[name] = plugin("morphings", value)()
        elif isinstance(value, dict):
            made[name] = replace(getattr(default, name), **value)
        elif isinstance(value, list):
            made[name] = tuple(value)
    try:
        return cls(**made)
    except TypeError as error:
        raise ValueError(f"--set: {error}") from error


def _settings(
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


def _read(folder: Path, settings: Settings) -> Folder:
    from fieldcast.meshes.folder import read_folder

    from .console import Bars

    if not folder.exists():
        raise ValueError(f"expected a folder with simulations, {folder} does not exist")
    with Bars() as bars:
        return read_folder(folder, settings, progress=lambda d, n: bars("read", d, n))


def _evaluated(model: Path, folder: Path) -> tuple[Evaluation, Folder, Predictor]:
    from fieldcast.meshes.roles import Settings
    from fieldcast.surrogates import load

    from .console import Bars
    from .learning import evaluate as score_folder

    predictor = load(model)
    found = _read(folder, Settings.from_dict(dict(predictor.card.settings)))
    _tell([], found)
    if not found.samples:
        raise ValueError(f"expected solved cases in {folder} to compare with, got none")
    with Bars() as bars:
        return score_folder(predictor, found.samples, bars), found, predictor


def _check_writable(out: Path) -> None:
    if out.is_dir():
        raise ValueError(f"expected a file to write the model to, {out} is a folder")
    if not out.parent.exists():
        raise ValueError(f"expected the folder {out.parent} to exist, it does not")


def _tell(lines: Sequence[str], found: Folder) -> None:
    """On stderr, so that --json stays clean: guesses, warnings, and what was left out."""
    for line in lines:
        typer.echo(line, err=True)
    for path, warnings in found.warnings.items():
        typer.echo(f"warning: {path}: {'; '.join(warnings)}", err=True)
    for path, error in found.broken.items():
        typer.echo(f"left out: {path}: {error}", err=True)


def _tell_estimate(recipe: Surrogate, found: Folder, hold_out: float) -> None:
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


def _card(predictor: Predictor) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(predictor.card)


def _fit_lines(predictor: Predictor) -> list[str]:
    report = predictor.card.fit
    lines = [
        f"{key.replace('_', ' ')}: {', '.join(value) if isinstance(value, list) else value}"
        for key, value in report.items()
        if not isinstance(value, dict)
    ]
    for name, entry in report.get("fields", {}).items():
        lines.append(
            f"{name}: {entry['modes']} modes, error there and back {entry['round_trip']:.2e}, "
            "with the "
            f"modes {entry['projection']:.2e}"
        )
    for name, entry in report.get("leave_one_out", {}).items():
        lines.append(
            f"{name}: leave-one-out error {entry['rrmse']:.2e}, 95 % interval holds "
            f"{entry['coverage_95']:.0%}"
        )
    return lines


def _score_lines(evaluation: Evaluation | None) -> list[str]:
    if evaluation is None:
        return ["too few cases to hold any out; the leave-one-out errors stand alone"]
    names = list(evaluation.scores)
    width = max(len(n) for n in evaluation.scores[names[0]])
    lines = [
        f"relative error (RRMSE) on {evaluation.cases} cases:",
        f"{'':{width}}  " + "  ".join(f"{n:>12}" for n in names) + "  in 95 %",
    ]
    for output, own in evaluation.scores[names[0]].items():
        errors = "  ".join(f"{evaluation.scores[n][output].rrmse:12.2e}" for n in names)
        covered = "      -" if own.coverage is None else f"{own.coverage:7.0%}"
        lines.append(f"{output:{width}}  {errors}  {covered}")
    for output, baseline in evaluation.lost().items():
        lines.append(f"warning: {output}: the {baseline} baseline is better than this model")
    return lines


def _say(content: Any, lines: Sequence[str]) -> None:
    """The result on stdout: as JSON if there is `content`, else the lines."""
    if content is not None:
        typer.echo(json.dumps(content, default=str))
        return
    for line in lines:
        typer.echo(line)


if __name__ == "__main__":
    main()
