"""The command that searches for the best design."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    Json,
    Seed,
    SurrogateName,
    SurrogateSettings,
    check_writable,
    make_recipe,
    make_solver,
    say,
)

CURVES = ("thickness", "area")


def optimize(
    solver: Annotated[str, typer.Argument(help="A plugin; `fieldcast plugins` lists them.")],
    goal: Annotated[str, typer.Argument(help='What to make least, such as "cd" or "-cl / cd".')],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder of this run.")],
    subject: Annotated[
        list[str] | None,
        typer.Option("--subject", help='A constraint such as "cl = 0.5" (repeat).'),
    ] = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option(
            "--range", help="NAME=LOW:HIGH or NAME=VALUE, in the solver's units (repeat)."
        ),
    ] = None,
    solver_settings: Annotated[
        list[str] | None, typer.Option("--solver-set", help="NAME=VALUE of the solver (repeat).")
    ] = None,
    cheaper: Annotated[
        str, typer.Option(help="A cheaper solver plugin, at whose best design the search begins.")
    ] = "",
    cheaper_settings: Annotated[
        list[str] | None, typer.Option("--cheaper-set", help="NAME=VALUE of it (repeat).")
    ] = None,
    surrogate: SurrogateName = "mmgp",
    settings: SurrogateSettings = None,
    first: Annotated[int, typer.Option(help="Designs before the first fit.", min=3)] = 16,
    budget: Annotated[int, typer.Option(help="Designs to solve at most.", min=3)] = 60,
    starts: Annotated[int, typer.Option(help="Descents side by side.", min=1)] = 64,
    tolerance: Annotated[
        float, typer.Option(help="Relative gain in a few designs that ends the run.")
    ] = 2e-3,
    small: Annotated[
        list[str] | None,
        typer.Option(
            "--small", help='How far a constraint may be missed, "cl = 0.5=0.002" (repeat).'
        ),
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Search for the best design: propose it by the surrogate, verify it by the solver, learn,
    until both agree. Goals and constraints are formulas of what the solver answers, of the numbers
    of its space and, for curves, of "thickness" and "area". Goes on where it ended; writes a
    page."""
    from .console import Bars
    from .designs import narrowed
    from .measures import measured
    from .optimize import Space
    from .optimize_report import lines, write_search
    from .optimizing import Search, optimised
    from .warm_start import Cheaper

    out.mkdir(parents=True, exist_ok=True)
    check_writable(out / "report.html")
    made = make_solver(solver, tuple(solver_settings or ()))
    space = Space.of(made, narrowed(made.space, ranges or []))
    texts = " ".join([goal, *(subject or [])])
    search = Search(
        goal,
        tuple(subject or ()),
        measured([k for k in CURVES if k in texts]),
        first,
        budget,
        starts,
        tolerance=tolerance,
        seed=seed,
        small=_small(small or []),
        cheaper=Cheaper(make_solver(cheaper, cheaper_settings or [])) if cheaper else None,
    )
    with Bars() as bars:
        found = optimised(made, make_recipe(surrogate, settings or []), space, search, out, bars)
    page = write_search(found, search, out / "report.html")
    found.predictor.save(out / "model.fieldcast")
    say(found.to_json() if as_json else None, [*lines(found, search), f"wrote {page}"])


def _small(texts: list[str]) -> dict[str, float]:
    found = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            raise ValueError(f'--small: expected CONSTRAINT=VALUE, got "{text}"') from None
    return found
