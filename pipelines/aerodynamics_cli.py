"""The commands `fieldcast aero`: surrogates of flows around bodies in an aerodynamicist's terms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    FolderPath,
    Inputs,
    Json,
    MeshName,
    ModelPath,
    Outputs,
    Seed,
    SurrogateSettings,
    Units,
    check_writable,
    make_recipe,
    named_settings,
    read,
    say,
    tell,
)

if TYPE_CHECKING:
    from fieldcast.meshes import Case, Sample
    from fieldcast.surrogates.surrogate import Predictor, Surrogate


aero = typer.Typer(help="Aerodynamics: pressure, forces, polars.", no_args_is_help=True)

AUTO = "auto"
Pressure = Annotated[str, typer.Option(help="The field of pressure, or of its coefficient.")]
Friction = Annotated[
    str, typer.Option(help="The field of wall friction: a vector, or a number along the flow.")
]
Reversed = Annotated[
    bool, typer.Option("--reversed-friction", help="Friction is OpenFOAM's wallShearStress.")
]
Alpha = Annotated[str, typer.Option(help='The parameter with the angle of attack [deg]; "": x.')]
Speed = Annotated[
    str, typer.Option(help='The parameter with the speed [m/s]; "": fields are coefficients.')
]
Density = Annotated[float, typer.Option(help="[kg/m^3]; 1 where pressure is kinematic.")]
Up = Annotated[str, typer.Option(help="The axis of lift: y, or z in space.")]
Area = Annotated[float, typer.Option(help="Reference area in space [m^2].")]
Region = Annotated[str, typer.Option(help="The wall's region of meshes around a body.")]
Learnt = Annotated[str, typer.Option(help="Names of lift, drag and moment among the outputs.")]
Heat = Annotated[str, typer.Option(help="The field of temperature: flux into the wall, too.")]
AtWall = Annotated[str, typer.Option(help="The parameter with the temperature of the wall.")]
Conductivity = Annotated[str, typer.Option(help="The parameter with the fluid's conductivity.")]
Mach = Annotated[str, typer.Option(help="The parameter with the Mach number: look for shocks.")]
Layer = Annotated[float, typer.Option(help="Height of the boundary layer [chord].")]


@aero.command()
def fit(
    folder: FolderPath,
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to write to.")],
    surrogate: Annotated[
        str, typer.Option(help="A plugin; `fieldcast plugins` lists them; auto: the best of them.")
    ] = "mmgp",
    settings: SurrogateSettings = None,
    features: Annotated[
        str, typer.Option(help="Of the surface as inputs, such as normal,mean,gaussian.")
    ] = "",
    conformal: Annotated[
        bool, typer.Option("--conformal", help="Calibrate the intervals on held-out cases.")
    ] = False,
    pressure: Pressure = "cp",
    friction: Friction = "",
    reversed_friction: Reversed = False,
    alpha: Alpha = "alpha",
    speed: Speed = "",
    density: Density = 1.0,
    up: Up = "y",
    area: Area = 1.0,
    region: Region = "",
    learnt: Learnt = "cl,cd,cm",
    heat: Heat = "",
    at_wall: AtWall = "",
    conductivity: Conductivity = "",
    mach: Mach = "",
    layer: Layer = 0.02,
    inputs: Inputs = None,
    outputs: Outputs = None,
    mesh: MeshName = "",
    unit: Units = None,
    hold_out: Annotated[
        float, typer.Option(help="Share of cases kept to score the model.", min=0.05, max=0.9)
    ] = 0.2,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Fit a surrogate to a folder of flows, integrate the forces of what it predicts, and compare
    both with cases that were held out: a model, and a page of aerodynamics."""
    from fieldcast.surrogates import Conformal, Stream, SurfaceForces, WallFlux

    from .aerodynamics import Flow, learnt_from
    from .aerodynamics_report import write_comparison
    from .console import Bars

    forces = SurfaceForces(
        pressure, friction, region, Stream(alpha, speed, density, up), area,
        tuple(n.strip() for n in learnt.split(",") if n.strip()), reversed_friction,
    )  # fmt: skip
    flux = WallFlux(heat, region or "wall", conductivity, at_wall) if heat else None
    flow = Flow(forces, flux, mach, layer)
    out.mkdir(parents=True, exist_ok=True)
    page = out / "report.html"
    check_writable(page)
    found = read(folder, named_settings(inputs, outputs, mesh, unit))
    tell(list(found.notes), found)
    recipe: Surrogate = flow.recipe(
        _recipe(found.samples, surrogate, settings or [], features, seed)
    )
    if conformal:
        recipe = Conformal(recipe)
    with Bars() as bars:
        model, compared = learnt_from(
            found.samples, flow, recipe, hold_out=hold_out, seed=seed, progress=bars
        )  # fmt: skip
    model = model.with_settings(found.settings.as_dict())
    model.save(out / "model.fieldcast")
    write_comparison(model, compared, flow, page)
    say(
        compared.to_json() if as_json else None,
        [*compared.lines(), f"wrote {out / 'model.fieldcast'} and {page}"],
    )


def _recipe(
    samples: list[Sample], surrogate: str, settings: list[str], features: str, seed: int
) -> Surrogate:
    from fieldcast.surrogates import SurfaceFeatures

    if surrogate == AUTO:
        from .choosing import choose
        from .console import Bars

        if settings:
            raise ValueError("--set: expected a surrogate by name to set something of, got auto")
        with Bars() as bars:
            recipe = choose(samples, budget=300.0, seed=seed, progress=bars).recipe
    else:
        recipe = make_recipe(surrogate, settings)
    names = tuple(n.strip() for n in features.split(",") if n.strip())
    return SurfaceFeatures(recipe, names) if names else recipe


@aero.command()
def evaluate(
    model: ModelPath,
    folder: FolderPath,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write the page of aerodynamics here.")
    ] = None,
    mach: Mach = "",
    layer: Layer = 0.02,
    as_json: Json = False,
) -> None:
    """Compare a model that `fieldcast aero fit` has made with solved cases."""
    from fieldcast.surrogates import load

    from .aerodynamics import compare, flow_of, prepared
    from .aerodynamics_report import write_comparison
    from .answering import folder_settings
    from .console import Bars

    predictor = load(model)
    flow = flow_of(predictor, mach, layer)
    if report is not None:
        check_writable(report)
    found = read(folder, folder_settings(predictor))
    tell(list(found.notes), found)
    with Bars() as bars:
        compared = compare(predictor, prepared(flow, found.samples), flow, bars)
    wrote = []
    if report is not None:
        wrote = [f"wrote {write_comparison(predictor, compared, flow, report)}"]
    say(compared.to_json() if as_json else None, [*compared.lines(), *wrote])


@aero.command()
def polar(
    model: ModelPath,
    case: Annotated[Path, typer.Argument(help="A mesh file, or a folder of cases.")],
    named: Annotated[
        str, typer.Option("--case", help="Which case of a folder; by default the first.")
    ] = "",
    sweep: Annotated[
        str, typer.Option(help="NAME=LOW:HIGH:COUNT of the parameter that changes.")
    ] = "alpha=-4:10:29",
    numbers: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of other parameters (repeat).")
    ] = None,
    experiment: Annotated[
        Path | None,
        typer.Option(help="CSV whose columns have the parameter's and the outputs' names."),
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="The page to write.")] = Path(
        "polar.html"
    ),
    as_json: Json = False,
) -> None:
    """Scalars of one shape along a parameter, with intervals, sensitivities, and measurements."""
    from fieldcast.surrogates import load

    from . import polars
    from .aerodynamics_report import write_polar

    check_writable(out)
    predictor = load(model)
    name, values = _sweep(sweep)
    given = _case(case, named, predictor, {name: values[0], **_numbers(numbers or [])})
    found = polars.polar(predictor, given, name, values)
    middle = given.with_parameters(**{name: float(values[len(values) // 2])})
    try:
        sensitive = polars.sensitivities(predictor, middle, list(found.mean))
    except ValueError:
        sensitive = {}
    beside = None
    if experiment is not None:
        measured = polars.measured(experiment, [name, *found.mean])
        beside = measured, polars.gaps(found, measured)
    page = write_polar(predictor, found, sensitive, beside, out)
    content = {
        "parameter": name,
        "values": found.values.tolist(),
        "mean": {k: v.tolist() for k, v in found.mean.items()},
        "std": {k: None if v is None else v.tolist() for k, v in found.std.items()},
        "trust": list(found.trust),
        "gaps": dict(beside[1]) if beside else {},
    }
    told = [
        f"{k}: {v:.4g} from the experiment (root mean square)" for k, v in content["gaps"].items()
    ]
    doubted = sum(t != "ok" for t in found.trust)
    lines = [f"{len(values)} answers, {doubted} of them doubted", *told, f"wrote {page}"]
    say(content if as_json else None, lines)


def _sweep(text: str) -> tuple[str, list[float]]:
    import numpy as np

    name, _, span = text.partition("=")
    try:
        low, high, count = span.split(":")
        values = np.linspace(float(low), float(high), int(count)).tolist()
    except ValueError:
        raise ValueError(
            f"--sweep: expected NAME=LOW:HIGH:COUNT such as alpha=-4:10:29, got {text!r}"
        ) from None
    if len(values) < 2:
        raise ValueError(f"--sweep: expected at least 2 values, got {text!r}")
    return name, values


def _numbers(texts: list[str]) -> dict[str, float]:
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            raise ValueError(f"--set: expected NAME=VALUE, got {text!r}") from None
    return found


def _case(path: Path, named: str, predictor: Predictor, numbers: dict[str, float]) -> Case:
    """The mesh of a file, or a case of a folder, with numbers as given."""
    import numpy as np

    from fieldcast.meshes import Case, Scalar
    from fieldcast.meshes.reading import Reader

    from .answering import asked_settings

    units = {k: s.unit for k, s in predictor.signature.parameters.items()}
    unknown = sorted(set(numbers) - set(units))
    if unknown:
        raise ValueError(f"expected parameters of {sorted(units)}, got {unknown}")
    told = {k: Scalar(np.array([v]), units[k]) for k, v in numbers.items()}
    if path.is_dir():
        cases = [s.case for s in read(path, asked_settings(predictor)).samples]
        fitting = [c for c in cases if not named or c.name == named]
        if not fitting:
            raise ValueError(f"{path}: expected a case of {[c.name for c in cases]}, got {named!r}")
        own = fitting[0]
    else:
        with Reader() as reader:
            own = Case(reader.read(path).mesh, name=path.stem)
    absent = sorted(set(units) - {*own.parameters, *told})
    if absent:
        raise ValueError(f"{path}: expected the parameters {absent}; give them by --set NAME=VALUE")
    given = {**{k: s for k, s in own.parameters.items() if k in units}, **told}
    return Case(own.mesh, given, own.fields, own.parts, own.times, own.name)
