"""The command that makes simulations."""

from __future__ import annotations

from typing import Annotated

import typer

from .batch_cli import given_shard, tell_batch
from .options import EngineName, Json, Seed, ShardText

SolverName = Annotated[str, typer.Argument(help="A plugin; `fieldcast plugins` lists them.")]


def generate(
    solver: SolverName,
    out: Annotated[str, typer.Option("-o", "--out", help="Folder for the samples, or a URL.")],
    n: Annotated[int, typer.Option("-n", help="How many cases.", min=1)] = 100,
    design: Annotated[
        str, typer.Option(help="sobol, latin, grid, or a CSV file with a column per number.")
    ] = "sobol",
    ranges: Annotated[
        list[str] | None,
        typer.Option(
            "--range", help="NAME=LOW:HIGH or NAME=VALUE, in the solver's units (repeat)."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of the solver (repeat).")
    ] = None,
    seed: Seed = 0,
    workers: Annotated[int, typer.Option(help="Processes; 0: one per core.", min=0)] = 0,
    time_limit: Annotated[
        float, typer.Option(help="Seconds that a case may take.", min=0.1)
    ] = 3600.0,
    again: Annotated[
        list[str] | None, typer.Option(help="A status, such as failed, to try again (repeat).")
    ] = None,
    shard: ShardText = None,
    executor: EngineName = "local",
    as_json: Json = False,
) -> None:
    """Make simulations by a solver over a design; goes on where it ended. The folder is one that
    fit reads."""
    from .console import Bars
    from .designs import design as drawn
    from .designs import narrowed
    from .generating import Making
    from .generating import generate as make

    making = Making(solver, tuple(settings or ()), workers, time_limit, executor)
    space = narrowed(making.solver.space, ranges or [])
    if not space:
        raise ValueError(f"{solver}: expected a solver with a space to draw from, it has none")
    rows = drawn(design, space, n, seed)
    part = given_shard(shard)
    with Bars() as bars:
        batch = make(making, rows, out, again=again or (), shard=part, progress=bars)
    tell_batch(batch, out, as_json)
