"""The command `fieldcast closures`: turbulence run with learned closures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Json, Seed, check_writable, say

closures = typer.Typer(help="Learned closures of turbulence.", no_args_is_help=True)


@closures.command()
def run(
    models: Annotated[list[Path], typer.Argument(help="Closures that were saved.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The .html page to write.")],
    rows: Annotated[int, typer.Option(help="Flows side by side.", min=2)] = 16,
    units: Annotated[float, typer.Option(help="Units of time of each.")] = 150.0,
    spin: Annotated[float, typer.Option(help="Of them not measured.")] = 20.0,
    points: Annotated[int | None, typer.Option(help="Points a side, if others.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Run closures side by side, beside a static coefficient and none; write a page."""
    from fieldcast.surrogates import load
    from fieldcast.surrogates.closure import ClosurePredictor
    from fieldcast.surrogates.closure_runs import Protocol

    from .closure_report import compare, lines, write_report
    from .console import Bars

    check_writable(out)
    if not 0.0 <= spin < units:
        raise ValueError(f"--spin: expected from 0 to below {units} units of time, got {spin}")
    loaded = {}
    for path in models:
        model = load(path)
        if not isinstance(model, ClosurePredictor):
            raise ValueError(
                f"{path}: expected a closure of turbulence, got {type(model.recipe).__name__}"
            )
        loaded[path.stem] = model
    with Bars() as bars:
        protocol = Protocol(rows, units, spin)
        found = compare(loaded, protocol, points=points, seed=seed, progress=bars)
    write_report(found, out)
    content = {k: {name: vars(m) for name, m in own.items()} for k, own in found.scored().items()}
    say(content if as_json else None, [*lines(found), f"wrote {out}"])
