"""The commands `fieldcast climate`: columns of CF files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json, ModelPath, Seed, SurrogateSettings, check_writable, make_recipe, say

if TYPE_CHECKING:
    from fieldcast.surrogates.stability import Limits
    from fieldcast.surrogates.surrogate import Predictor, Surrogate

    from .column_sets import ColumnFiles

climate = typer.Typer(help="Columns of the atmosphere in CF netCDF files.", no_args_is_help=True)

DataPaths = Annotated[list[Path], typer.Argument(help="CF netCDF files.")]
Pairs = list[str] | None
IN_TURN = ("low=column_network", "composition=residual")
"""How two fidelities go together unless it is said otherwise; docs/columns.md says why."""


@climate.command()
def train(
    data: DataPaths,
    out: Annotated[Path, typer.Option("-o", "--out", help="The model file to write.")],
    variables: Annotated[
        Path | None,
        typer.Option(
            "--variables",
            help="TOML file with the tables inputs, outputs, beside and names, in place of the "
            "options of those names.",
        ),
    ] = None,
    inputs: Annotated[Pairs, typer.Option("--input", help="NAME=UNIT, such as T=K.")] = None,
    outputs: Annotated[Pairs, typer.Option("--output", help="NAME=UNIT of what to tell.")] = None,
    beside: Annotated[
        Pairs, typer.Option("--beside", help="NAME=UNIT of pressures that only scores need.")
    ] = None,
    names: Annotated[Pairs, typer.Option("--name", help="NAME=WHAT it is to be called.")] = None,
    low: Annotated[
        list[Path] | None, typer.Option("--low", help="Files of a cheaper, lower fidelity.")
    ] = None,
    validation: Annotated[
        list[Path] | None, typer.Option(help="Files to select weights and calibrate by.")
    ] = None,
    surrogate: Annotated[
        str, typer.Option(help="A plugin; by default randomized_prior, with --low multi_fidelity.")
    ] = "",
    settings: SurrogateSettings = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Learn columns: by default networks with randomized priors from all inputs to all outputs."""
    from .climate import Learning
    from .climate import train as train_columns
    from .column_sets import read_samples
    from .console import Bars

    files = _files(variables, inputs, outputs, beside, names)
    recipe = _recipe(surrogate, settings or [], bool(low))
    check_writable(out)
    samples = read_samples(files, data)
    cheap = read_samples(files, low) if low else None
    held = read_samples(files, validation) if validation else None
    told = f"{len(samples)} columns" + (f", {len(cheap)} of low fidelity" if cheap else "")
    if expected := recipe.estimate(samples):
        told += f"; expected time {max(expected[0], 1):.0f} s"
    typer.echo(told, err=True)
    with Bars() as bars:
        learning = Learning(samples, cheap, held)
        predictor = train_columns(recipe, files, learning, seed=seed, progress=bars)
    predictor.save(out)
    content = {"model": str(out), "columns": len(samples), "fit": dict(predictor.card.fit)}
    report = [
        f"{k.replace('_', ' ')}: {v}"
        for k, v in predictor.card.fit.items()
        if not isinstance(v, dict)
    ]
    say(content if as_json else None, [*report, f"wrote {out}"])


@climate.command()
def evaluate(
    model: ModelPath,
    data: Annotated[list[Path], typer.Argument(help="Files with their truth, one per climate.")],
    figures: Annotated[
        Path | None, typer.Option(help="An .html page, or a folder for PNG files.")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="CF netCDF file for the answers to the one data file.")
    ] = None,
    members: Annotated[
        bool, typer.Option("--members", help="Write all members of an ensemble.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Score by level and climate: errors, CRPS, spread, ranks, energy and water."""
    from .climate import evaluate as evaluate_columns
    from .climate import files_of, lines, write_predictions
    from .climate_report import PAGES, write_figures
    from .column_sets import read_sets
    from .console import Bars

    if predictions is not None and len(data) > 1:
        raise ValueError(f"--predictions: expected one data file to answer, got {len(data)}")
    page = figures is not None and figures.suffix.lower() in PAGES
    for path in (predictions, figures if page else None):
        if path is not None:
            check_writable(path)
    predictor = _loaded(model)
    sets = read_sets(files_of(predictor), data)
    with Bars() as bars:
        found = evaluate_columns(predictor, sets, bars)
        written = write_figures(predictor, found, figures, bars) if figures else []
    if predictions is not None:
        written.append(write_predictions(predictor, sets[0], predictions, members))
    content = {
        "climates": {k: c.to_json() for k, c in found.items()},
        "written": [str(p) for p in written],
    }
    say(content if as_json else None, [*lines(found), *(f"wrote {p}" for p in written)])


@climate.command()
def predict(
    model: ModelPath,
    data: Annotated[Path, typer.Argument(help="A file with the inputs.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The CF netCDF file to write.")],
    members: Annotated[
        bool, typer.Option("--members", help="All members of an ensemble, not mean and sigma.")
    ] = False,
) -> None:
    """Answer the columns of a file on its own dimensions."""
    from .climate import files_of, write_predictions

    check_writable(out)
    predictor = _loaded(model)
    columns = files_of(predictor).columns(data, solved=False)
    write_predictions(predictor, columns, out, members)
    say(None, [f"wrote {out}, {len(columns)} columns"])


@climate.command()
def export(
    model: ModelPath,
    out: Annotated[Path, typer.Argument(help="The files' path without an ending.")],
    data: Annotated[
        Path, typer.Option("--data", help="A file of columns to keep reference answers to.")
    ],
    limits: Annotated[
        Pairs, typer.Option("--limit", help="NAME=LOW:HIGH that a variable is held to.")
    ] = None,
    sigmas: Annotated[
        float | None, typer.Option(help="Inputs are held to so many about their mean.", min=0.0)
    ] = None,
    spread: Annotated[
        bool, typer.Option("--spread", help="Answer (mean, standard deviation).")
    ] = False,
    double: Annotated[bool, typer.Option("--double", help="In double precision.")] = False,
    as_json: Json = False,
) -> None:
    """Write a model as TorchScript, torch.export and netCDF weights for host models."""
    import numpy as np
    import torch

    from fieldcast.surrogates.export import Export, export_module

    from .climate import REFERENCE, files_of

    check_writable(out)
    predictor = _loaded(model)
    held = _limits(predictor, limits or [], sigmas)
    cases = files_of(predictor).columns(data, solved=False).samples.cases
    some = cases.taken(np.arange(min(REFERENCE, len(cases))))
    chosen = Export(held, torch.float64 if double else torch.float32, spread)
    found = export_module(predictor, out, some, chosen)
    content = {k: str(v) for k, v in vars(found).items()}
    say(content if as_json else None, [f"wrote {v}" for v in content.values()])


def _recipe(name: str, settings: list[str], low: bool) -> Surrogate:
    if not low:
        return make_recipe(name or "randomized_prior", settings)
    if name not in ("", "multi_fidelity"):
        raise ValueError(f"--low: expected the surrogate multi_fidelity, got {name}")
    return make_recipe("multi_fidelity", [*IN_TURN, *settings])


def _loaded(model: Path) -> Predictor:
    from fieldcast.surrogates import load

    return load(model)


def _files(
    variables: Path | None, inputs: Pairs, outputs: Pairs, beside: Pairs, names: Pairs
) -> ColumnFiles:
    from .column_sets import ColumnFiles

    if variables is not None:
        if inputs or outputs or beside or names:
            raise ValueError("expected --variables or options for single ones, got both")
        return ColumnFiles.read(variables)
    if not inputs or not outputs:
        raise ValueError("expected --variables, or --input and --output, such as --input T=K")
    return ColumnFiles(
        _pairs("--input", inputs),
        _pairs("--output", outputs),
        _pairs("--beside", beside or []),
        _pairs("--name", names or []),
    )


def _pairs(option: str, texts: list[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise ValueError(f"{option}: expected NAME=VALUE, got {text!r}")
        found[name] = value
    return found


def _limits(predictor: Predictor, texts: list[str], sigmas: float | None) -> Limits:
    """Of inputs and outputs, whichever has the name."""
    from fieldcast.surrogates.stability import Limits

    ranges = {}
    for name, text in _pairs("--limit", texts).items():
        try:
            low, high = map(float, text.split(":"))
        except ValueError as error:
            raise ValueError(f"--limit: expected {name}=LOW:HIGH, got {text!r}") from error
        ranges[name] = (low, high)
    answers = {*predictor.signature.fields, *predictor.signature.scalars}
    return Limits(
        {k: r for k, r in ranges.items() if k not in answers},
        {k: r for k, r in ranges.items() if k in answers},
        sigmas,
    )
