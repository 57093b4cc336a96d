"""The commands `fieldcast battery`: models of a cell's discharge, and calibration by them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json, ModelPath, Seed, check_writable, say

if TYPE_CHECKING:
    from fieldcast.meshes.battery import Cell
    from fieldcast.surrogates.inference import Hamiltonian

battery = typer.Typer(help="Lithium-ion cells: discharges and aging.", no_args_is_help=True)

SOLVERS = ("single_particle", "spm", "spme", "dfn")
BOX = ("deg_i0_a=0.5:4", "deg_ds_c=1:10")
SAMPLERS = ("auto", "hmc")


@battery.command()
def train(
    out: Annotated[Path, typer.Option("-o", "--out", help="The model file to write.")],
    cell: Annotated[
        Path | None, typer.Option(help="BPX file; by default the graphite / NMC532 cell at 2 C.")
    ] = None,
    rate: Annotated[
        float, typer.Option(help="Of the nominal capacity per hour, of a BPX file.", min=1e-3)
    ] = 1.0,
    duration: Annotated[float | None, typer.Option(help="Of the discharge [s].", min=1.0)] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option("--parameter", help=f"NAME=LOW:HIGH (repeat); by default {', '.join(BOX)}."),
    ] = None,
    solver: Annotated[
        str,
        typer.Option(
            help=f"One of {', '.join(SOLVERS)}: Chebyshev polynomials of its runs; by default a "
            "network trained on the single-particle equations alone."
        ),
    ] = "",
    degree: Annotated[int, typer.Option(help="Of the polynomials in each parameter.", min=1)] = 4,
    times: Annotated[int, typer.Option(help="So many, from the start on.", min=3)] = 101,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Learn the discharge of a cell over ranges of its parameters."""
    from .console import Bars
    from .discharges import Training, trained

    check_writable(out)
    given = _cell(cell, rate, duration)
    training = Training(given, _ranges(parameters or list(BOX)), solver, degree, times)
    with Bars() as bars:
        predictor = trained(training, seed, bars)
    predictor.save(out)
    content = {"model": str(out), "fit": dict(predictor.card.fit)}
    plain = [f"{k}: {v}" for k, v in predictor.card.fit.items() if not isinstance(v, dict)]
    say(content if as_json else None, [*plain, f"wrote {out}"])


@battery.command()
def calibrate(
    model: ModelPath,
    data: Annotated[Path, typer.Argument(help="CSV file with times [s] and voltages [V].")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The .html page to write.")],
    draws: Annotated[Path | None, typer.Option(help="NetCDF file of the draws, for ArviZ.")] = None,
    priors: Annotated[
        list[str] | None,
        typer.Option("--prior", help="NAME=LOW:HIGH (repeat); by default the model's ranges."),
    ] = None,
    sigma: Annotated[str, typer.Option(help="LOW:HIGH of the noise [V].")] = "1e-4:5e-2",
    model_error: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation of the model's own error [V]; by default what it missed of "
            "discharges that it had not learnt.",
            min=0.0,
        ),
    ] = None,
    sampler: Annotated[
        str, typer.Option(help="auto (a grid up to three parameters) or hmc.")
    ] = "auto",
    cross_check: Annotated[
        bool, typer.Option("--cross-check", help="Also by emcee, where it is installed.")
    ] = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Posterior of a cell's parameters from a measured discharge."""
    from fieldcast.surrogates import load

    from . import battery as own
    from .battery_report import lines, write_calibration
    from .discharges import box_of, discharge_of, error_of, read_discharge

    for path in (out, draws):
        if path is not None:
            check_writable(path)
    predictor = load(model)
    asked = _ranges(priors) if priors else box_of(predictor)
    sample = read_discharge(data, discharge_of(predictor))
    missed = error_of(predictor, sample) if model_error is None else model_error
    noise = own.Noise(_range("--sigma", sigma), missed)
    found = own.calibrate(predictor, sample, asked, noise, _sampler(sampler), seed)
    if cross_check:
        found = own.cross_checked(found, seed)
    written = [write_calibration(predictor, found, out)]
    if draws is not None:
        written.append(own.write_draws(found, draws))
    content = {**found.to_json(), "written": [str(p) for p in written]}
    say(content if as_json else None, [*lines(found), *(f"wrote {p}" for p in written)])


def _cell(path: Path | None, rate: float, duration: float | None) -> Cell:
    from dataclasses import replace

    from fieldcast.solvers.battery import graphite_nmc, read_bpx

    if path is not None:
        return read_bpx(path, rate, duration)
    cell = graphite_nmc()
    return cell if duration is None else replace(cell, duration=duration)


def _sampler(name: str) -> Hamiltonian | None:
    from fieldcast.surrogates.inference import Hamiltonian

    if name not in SAMPLERS:
        raise ValueError(f"--sampler: expected one of {list(SAMPLERS)}, got {name!r}")
    return Hamiltonian() if name == "hmc" else None


def _ranges(texts: list[str]) -> dict[str, tuple[float, float]]:
    found = {}
    for text in texts:
        name, _, ends = text.rpartition("=")
        found[name] = _range(text, ends)
    return found


def _range(option: str, text: str) -> tuple[float, float]:
    low, sign, high = text.partition(":")
    try:
        found = float(low), float(high)
    except ValueError:
        sign = ""
    if not sign or not found[0] < found[1]:
        raise ValueError(f"{option}: expected LOW:HIGH such as 0.5:4, got {text!r}")
    return found
