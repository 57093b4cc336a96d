"""The command `fieldcast`. Heavy packages are imported by the commands that need them."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .aerodynamics_cli import aero
from .batch_cli import export, merge, predict, retry
from .battery_cli import battery
from .climate_cli import climate
from .closure_cli import closures
from .generate_cli import generate
from .optimize_cli import optimize
from .options import (
    FATAL,
    INTERRUPTED,
    SOME_FAILED,
    CandidatesPath,
    CriterionName,
    First,
    FolderPath,
    Inputs,
    Json,
    Maximise,
    MeshName,
    ModelPath,
    Outputs,
    Seed,
    SurrogateName,
    SurrogateSettings,
    Units,
    check_writable,
    make_criterion,
    make_recipe,
    named_settings,
    read,
    say,
    tell,
    tell_estimate,
)

if TYPE_CHECKING:
    from fieldcast.meshes import Case
    from fieldcast.meshes.assembling import Folder
    from fieldcast.surrogates.surrogate import Predictor

    from .learning import Evaluation

AUTO = "auto"

app = typer.Typer(
    name="fieldcast",
    help="Surrogates of physics simulations, with honest error bars.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(climate, name="climate")
app.add_typer(closures, name="closures")
app.add_typer(battery, name="battery")
app.add_typer(aero, name="aero")


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
    first: First = None,
    as_json: Json = False,
) -> None:
    """What is in a folder: cases, fields, units, ranges, duplicates, and what is broken."""
    from .inspecting import inspection, inspection_lines

    found = read(folder, named_settings(inputs, outputs, mesh, unit), first)
    content = inspection(found)
    say(content if as_json else None, inspection_lines(content))
    raise typer.Exit(SOME_FAILED if found.broken else 0)


@app.command()
def fit(
    folder: FolderPath,
    out: Annotated[Path, typer.Option("-o", "--out", help="The model file to write.")],
    surrogate: Annotated[
        str, typer.Option(help="A plugin; `fieldcast plugins` lists them; auto: the best of them.")
    ] = "mmgp",
    settings: SurrogateSettings = None,
    budget: Annotated[float, typer.Option(help="Seconds that auto may take to choose.")] = 300.0,
    conformal: Annotated[
        bool, typer.Option("--conformal", help="Calibrate the intervals on held-out cases.")
    ] = False,
    inputs: Inputs = None,
    outputs: Outputs = None,
    mesh: MeshName = "",
    unit: Units = None,
    first: First = None,
    hold_out: Annotated[
        float, typer.Option(help="Share of cases kept to score the model.", min=0, max=0.9)
    ] = 0.2,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Fit a surrogate to a folder of simulations."""
    from .console import Bars
    from .learning import held_out, learn

    recipe = None if surrogate == AUTO else make_recipe(surrogate, settings or [])
    if recipe is None and settings:
        raise ValueError("--set: expected a surrogate by name to set something of, got auto")
    check_writable(out)
    found = read(folder, named_settings(inputs, outputs, mesh, unit), first)
    tell(list(found.notes), found)
    if len(found.samples) < 2:
        raise ValueError(f"expected at least 2 usable cases in {folder}, got {len(found.samples)}")
    choice = None
    if recipe is None:
        from .choosing import choose

        # What is held out to score the model has no part in the choice.
        train, _ = held_out(len(found.samples), hold_out, seed)
        with Bars() as bars:
            samples = [found.samples[i] for i in train]
            choice = choose(samples, budget=budget, seed=seed, progress=bars)
        recipe = choice.recipe
        for line in choice.lines():
            typer.echo(line, err=as_json)
    if conformal:
        from fieldcast.surrogates import Conformal

        recipe = Conformal(recipe)
    tell_estimate(recipe, found, hold_out)
    with Bars() as bars:
        predictor, evaluation = learn(
            found.samples, recipe, hold_out=hold_out, seed=seed, progress=bars
        )
    predictor = predictor.with_settings(found.settings.as_dict())
    if choice is not None:
        predictor = choice.noted(predictor)
    predictor.save(out)
    content = {
        "model": str(out),
        "cases": len(found.samples),
        "left_out": [str(p) for p in found.broken],
        "card": _card(predictor),
    }
    say(
        content if as_json else None,
        [*_fit_lines(predictor), *_score_lines(evaluation), f"wrote {out}"],
    )


for command in (predict, retry, merge, export, generate, optimize):
    app.command()(command)


@app.command()
def evaluate(model: ModelPath, folder: FolderPath, as_json: Json = False) -> None:
    """Score a model on solved cases, beside the trivial baselines."""
    evaluation, found, _ = _evaluated(model, folder)
    say(evaluation.to_json() if as_json else None, _score_lines(evaluation))
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
    say(content if as_json else None, [*_score_lines(evaluation), f"wrote {out}"])
    raise typer.Exit(SOME_FAILED if found.broken else 0)


@app.command()
def compare(
    models: Annotated[list[Path], typer.Argument(help="Two models or more that fit has made.")],
    folder: FolderPath,
    as_json: Json = False,
) -> None:
    """The same solved cases through several models, and whether the difference means anything."""
    from fieldcast.meshes.roles import Settings
    from fieldcast.surrogates import load

    from .comparing import Contender, labels
    from .comparing import compare as compare_models
    from .console import Bars

    predictors = {name: load(path) for name, path in zip(labels(models), models, strict=True)}
    # Each model reads the folder as its training folder was read.
    folders: dict[str, Folder] = {}
    contenders = {}
    for name, predictor in predictors.items():
        key = json.dumps(predictor.card.settings, sort_keys=True)
        if key not in folders:
            folders[key] = read(folder, Settings.from_dict(dict(predictor.card.settings)))
            tell([], folders[key])
        contenders[name] = Contender(predictor, folders[key].samples)
    with Bars() as bars:
        comparison = compare_models(contenders, bars)
    for case, reason in comparison.left_out.items():
        typer.echo(f"left out: {case}: {reason}", err=True)
    say(comparison.to_json() if as_json else None, comparison.lines())
    broken = comparison.left_out or any(found.broken for found in folders.values())
    raise typer.Exit(SOME_FAILED if broken else 0)


@app.command()
def curve(
    folder: FolderPath,
    surrogate: SurrogateName = "mmgp",
    settings: SurrogateSettings = None,
    more: Annotated[int, typer.Option(help="Simulations to forecast.", min=1)] = 20,
    repeats: Annotated[int, typer.Option(help="Of every size, to tell the scatter.", min=2)] = 3,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="A .html page or .png picture to write.")
    ] = None,
    inputs: Inputs = None,
    outputs: Outputs = None,
    mesh: MeshName = "",
    unit: Units = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """How the error falls with the number of simulations, and what more of them would bring."""
    from .console import Bars
    from .curves import check_target, learning_curve, write_curve

    recipe = make_recipe(surrogate, settings or [])
    if out is not None:
        check_target(out)
    found = read(folder, named_settings(inputs, outputs, mesh, unit))
    tell(list(found.notes), found)
    if not found.samples:
        raise ValueError(f"expected solved cases in {folder}, got none")
    with Bars() as bars:
        trials = recipe.trials(found.samples, bars)
        result = learning_curve(trials, repeats=repeats, seed=seed, progress=bars)
    lines = result.lines(more)
    if out is not None:
        lines.append(f"wrote {write_curve(result, more, out)}")
    say(result.to_json(more) if as_json else None, lines)
    raise typer.Exit(SOME_FAILED if found.broken else 0)


@app.command()
def plugins(as_json: Json = False) -> None:
    """The surrogates, solvers, morphings and closures that are installed."""
    from fieldcast.meshes.plugins import Kind, plugin_names

    kinds: tuple[Kind, ...] = ("surrogates", "solvers", "morphings", "closures")
    content = {kind: plugin_names(kind) for kind in kinds}
    say(
        content if as_json else None,
        [f"{kind}: {', '.join(names)}" for kind, names in content.items()],
    )


@app.command()
def info(model: ModelPath, as_json: Json = False) -> None:
    """What a model file says of itself; its arrays are not read."""
    from fieldcast.surrogates.bundle import read_header

    header = read_header(model)
    content = {k: header[k] for k in ("format", "recipe", "signature", "card", "versions")}
    say(content if as_json else None, json.dumps(content, indent=2).splitlines())


@app.command("suggest")
def suggest_cases(
    model: ModelPath,
    candidates: CandidatesPath,
    count: Annotated[int, typer.Option("-n", "--count", help="How many to suggest.", min=1)] = 5,
    criterion: CriterionName = "variance",
    output: Annotated[str, typer.Option(help="The output to learn or improve.")] = "",
    maximise: Maximise = False,
    known: Annotated[
        Path | None, typer.Option(help="Folder with the cases simulated before.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Which cases of a folder to simulate next, the best first."""
    from fieldcast.surrogates import load
    from fieldcast.surrogates.acquisition import suggest

    from .answering import folder_settings

    predictor = load(model)
    chosen = make_criterion(criterion, output, maximise)
    found = read(candidates, folder_settings(predictor))
    tell([], found)
    before = [] if known is None else _known_cases(known, predictor)
    picked = suggest(predictor, found.cases, count, chosen, known=before)
    content = [
        {
            "case": s.case.label,
            "path": str(found.paths[s.case.name]),
            "value": s.value,
            "reason": s.reason,
        }
        for s in picked
    ]
    say(
        content if as_json else None,
        [f"{s.case.label}: {s.value:.3g}, {s.reason}" for s in picked],
    )
    raise typer.Exit(SOME_FAILED if found.broken else 0)


def _known_cases(folder: Path, predictor: Predictor) -> list[Case]:
    """Cases of a folder, read as it says itself, else as the model's were."""
    from fieldcast.meshes.roles import SETTINGS_FILE, Settings

    from .answering import folder_settings

    own = (folder / SETTINGS_FILE).is_file()
    return read(folder, Settings() if own else folder_settings(predictor)).cases


@app.command("acquire")
def acquire_cases(
    run: Annotated[Path, typer.Argument(help="Folder of the run; goes on where it ended.")],
    candidates: CandidatesPath,
    solver: Annotated[str, typer.Option(help="A plugin; `fieldcast plugins` lists them.")],
    output: Annotated[str, typer.Option(help="The output whose error is watched.")],
    surrogate: SurrogateName = "mmgp",
    settings: SurrogateSettings = None,
    criterion: CriterionName = "variance",
    maximise: Maximise = False,
    target: Annotated[float | None, typer.Option(help="Relative error to stop at.")] = None,
    budget: Annotated[int | None, typer.Option(help="Most simulations.", min=2)] = None,
    first: Annotated[int, typer.Option(help="Simulations before the first model.", min=2)] = 8,
    batch: Annotated[int, typer.Option(help="Simulations between models.", min=1)] = 1,
    inputs: Inputs = None,
    mesh: MeshName = "",
    unit: Units = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Simulate the cases of a folder that tell most, until an error or a budget is reached."""
    from fieldcast.meshes.plugins import plugin
    from fieldcast.meshes.roles import SETTINGS_FILE, Settings

    from .acquiring import SIMULATIONS, Plan, acquire
    from .console import Bars

    recipe, made = make_recipe(surrogate, settings or []), plugin("solvers", solver)()
    chosen = make_criterion(criterion, output, maximise)
    plan = Plan(output, chosen, first, batch, target, budget, seed=seed)
    found = read(candidates, named_settings(inputs, None, mesh, unit))
    tell(list(found.notes), found)
    with Bars() as bars:
        result = acquire(made, recipe, found.cases, run, plan, bars)
    roles = Settings.from_toml(run / SIMULATIONS / SETTINGS_FILE)
    predictor = result.predictor.with_settings(found.settings.overridden(roles).as_dict())
    model = predictor.save(run / "model.fieldcast")
    content = {"run": str(run), "model": str(model), **result.to_json()}
    say(
        content if as_json else None,
        [
            *(f"{name}: failed ({message})" for name, message in content["failed"].items()),
            f"{content['solved']} of {content['simulations']} simulations solved; {result.stopped}",
            f"wrote {model}",
        ],
    )
    raise typer.Exit(SOME_FAILED if content["failed"] or found.broken else 0)


def _evaluated(model: Path, folder: Path) -> tuple[Evaluation, Folder, Predictor]:
    from fieldcast.meshes.roles import Settings
    from fieldcast.surrogates import load

    from .console import Bars
    from .learning import evaluate as score_folder

    predictor = load(model)
    found = read(folder, Settings.from_dict(dict(predictor.card.settings)))
    tell([], found)
    if not found.samples:
        raise ValueError(f"expected solved cases in {folder} to compare with, got none")
    with Bars() as bars:
        return score_folder(predictor, found.samples, bars), found, predictor


def _card(predictor: Predictor) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(predictor.card)


def _fit_lines(predictor: Predictor) -> list[str]:
    report = predictor.card.fit
    lines = [
        f"{key.replace('_', ' ')}: {_told(value)}"
        for key, value in report.items()
        if not isinstance(value, dict)
    ]
    if "conformal" in report:
        told = report["conformal"]
        lines.append(
            f"intervals: {told['method']}, calibrated on {told['simulations']} simulations, of "
            f"levels up to {told['largest_level']:.1%}"
        )
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


def _told(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(value) if isinstance(value, list) else str(value)


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


if __name__ == "__main__":
    main()
