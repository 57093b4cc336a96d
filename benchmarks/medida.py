"""What models of two chaotic systems leave out, found as equations: Kuramoto-Sivashinsky and
two-layer quasi-geostrophic flow, without noise.

Kuramoto-Sivashinsky: 8 states of a line of length 100 with 1024 points after 100 time units, pairs
one step of 0.001 apart; 24 candidates u^p d^n u/dx^n, p and n up to 4. Two layers: 96 x 192 points,
states every 50 time units of a run whose first 100 are left out, pairs 0.0025 apart; 10 candidates
for each layer. Models are the systems with terms missing or of another size. Nothing is tuned to a
case: the recipe's sweep and knee are the same for all. Cases outside the bars are told, too, and
what is left where the field is only seen at a quarter of its points, between which random Fourier
features tell it.

The trivial baseline is least squares on all candidates: its error is as small, its equation has
every term.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from bars import Bar, Clock, arguments, finish, say, table

from fieldcast.solvers.kuramoto_sivashinsky import KuramotoSivashinsky, line_case
from fieldcast.solvers.two_layer import NUMBERS, Channel, LayerLibrary, TwoLayer, channel_case
from fieldcast.surrogates.fourier_features import FourierFeatures
from fieldcast.surrogates.medida import Equation, LineLibrary, Medida, between, model_error

LENGTH, POINTS, SHORT = 100.0, 1024, 1e-3
APART = 0.0025
"""A tenth of what the reference takes: over longer intervals the hyperviscosity acts on what the
model misses within the step, which at 96 x 192 points hides a relaxation of 1 % of the error."""
Step = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Asked:
    """A model by its numbers, and the terms that it lacks."""

    numbers: Mapping[str, float]
    truth: Mapping[str, float]
    extra: Step | None = None
    layer: int = 0
    counts: bool = True
    label: str = ""

    @property
    def name(self) -> str:
        """In tables."""
        return self.label or ", ".join(f"{k} {v:g}" for k, v in self.numbers.items())


@dataclass(frozen=True)
class Size:
    """Of a run."""

    members: int
    channel: Channel
    until: float
    hyperviscosity: float


FULL = Size(8, Channel(), 400.0, NUMBERS["hyperviscosity"])
# Half the points along each side: as much damping at the smallest scales.
QUICK = Size(4, Channel(counts=(48, 96)), 250.0, 2.0**6 * NUMBERS["hyperviscosity"])


def dispersion(u: np.ndarray) -> np.ndarray:
    """0.1 u_xxx, which the system does not have."""
    k = 2.0 * np.pi / LENGTH * np.arange(POINTS // 2 + 1)
    found: np.ndarray = np.fft.irfft(0.1 * (1j * k) ** 3 * np.fft.rfft(u), n=POINTS)
    return found


def line(a: float, b: float, c: float) -> dict[str, float]:
    """The numbers of a model of the line."""
    return {"advection": a, "diffusion": b, "hyperdiffusion": c}


LINES = (
    Asked(line(0, 1, 1), {"u u_x": -1.0}),
    Asked(line(1, 0, 1), {"u_xx": -1.0}),
    Asked(line(1, 1, 0.5), {"u_xxxx": -0.5}),
    Asked(line(2, 2, 2), {"u u_x": 1.0, "u_xx": 1.0, "u_xxxx": 1.0}),
    Asked(line(1, 1, 1), {"u_xxx": -0.1}, dispersion, counts=False, label="0.1 u_xxx too much"),
    Asked(line(0, 0, 1), {"u u_x": -1.0, "u_xx": -1.0}, counts=False),
)


def pulled(size: float, layer: int) -> dict[str, float]:
    """Terms of a relaxation that is missing from a layer."""
    own = (size, -size)[layer]
    return {"psi1": own, "psi2": -own, "psi_R": -own}


LAYERS = (
    Asked(
        {"friction": 0.37, "beta": 0.0},
        {"lap psi2": 0.3, "psi2_x": -NUMBERS["beta"]},
        layer=1,
    ),
    Asked(
        {"advection": 0.5, "relaxation": 0.0},
        {"J(psi1, q1)": -0.5, **pulled(NUMBERS["relaxation"], 0)},
    ),
    Asked({"friction": 0.37}, {"lap psi2": 0.3}, layer=1, counts=False),
    Asked({"relaxation": 0.11}, pulled(-0.1, 1), layer=1, counts=False),
    Asked({"advection": 0.0}, {"J(psi2, q2)": -1.0}, layer=1, counts=False),
    Asked({"beta": 0.0}, {"psi1_x": -NUMBERS["beta"]}, counts=False),
)


def missed(found: Equation, truth: Mapping[str, float]) -> float:
    """The largest relative error of a coefficient; infinite where a term is missing or too many."""
    if set(found.coefficients) != set(truth):
        return np.inf
    return max(abs(found.coefficients[k] / c - 1.0) for k, c in truth.items())


def lines(size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of states (member, point)."""
    cases = [line_case(LENGTH, POINTS, np.array([0.0, 100.0]), s) for s in range(size.members)]
    samples = KuramotoSivashinsky(step=0.05).solve_all(cases)
    states = np.stack([s.fields["u"].values[-1, :, 0] for s in samples])
    step = line_step(Asked(line(1, 1, 1), {}))
    before = step(states)
    return before, step(before)


def line_step(asked: Asked) -> Step:
    """The model's step of `SHORT`."""
    advance = KuramotoSivashinsky(asked.extra).advance(asked.numbers, LENGTH, POINTS)
    return lambda u: advance(u, 0.0, SHORT)


def layers(size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of states (time, layer, y, x)."""
    channel, times = size.channel, np.arange(0.0, size.until + 1.0, 50.0)
    numbers = {**NUMBERS, "hyperviscosity": size.hyperviscosity}
    sample = TwoLayer(channel=channel).solve(channel_case(channel, times, numbers=numbers))
    nx, ny = channel.counts
    q = np.moveaxis(sample.fields["q"].values.reshape(len(times), ny, nx, 2), -1, 1)[2:]
    step = layer_step(size, Asked({}, {}))
    before = step(q)
    return before, step(before)


def layer_step(size: Size, asked: Asked) -> Step:
    """The model's step of `APART`."""
    numbers = {**NUMBERS, "hyperviscosity": size.hyperviscosity, **asked.numbers}
    advance = TwoLayer(channel=size.channel).advance(numbers)
    return lambda q: np.stack([advance(one, APART) for one in q])


Row = tuple[Asked, Equation, float]


def discover_lines(before: np.ndarray, after: np.ndarray, asked: Sequence[Asked]) -> list[Row]:
    """The equation of each model's error, and what least squares of all terms leaves of it."""
    terms, found = between(LineLibrary(LENGTH), before, after), []
    for one in asked:
        error = model_error(before, after, line_step(one), SHORT)
        path = Medida().path(terms, error)
        found.append((one, Medida().discover(terms, error), path[-1].error))
    return found


def discover_layers(size: Size, before: np.ndarray, after: np.ndarray) -> list[Row]:
    """As for lines, of the layer that is asked for."""
    terms, found = between(LayerLibrary(size.channel), before, after), []
    for one in LAYERS:
        error = model_error(before, after, layer_step(size, one), APART)[:, one.layer]
        path = Medida().path(terms, error)
        found.append((one, Medida().discover(terms, error), path[-1].error))
    return found


def seen(before: np.ndarray, after: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Both states from a share of their points."""
    x = LENGTH * np.arange(POINTS)[:, None] / POINTS
    ids = np.random.default_rng(1).permutation(POINTS)[: int(share * POINTS)]
    both = np.concatenate([before, after]).T
    found = FourierFeatures(features=600, periods=(LENGTH,)).fit(x[ids], both[ids])
    say(f"seen at {share:g} of the points: error {found.error:.2g} at those held out")
    told = found(x).T
    return told[: len(before)], told[len(before) :]


def rows(found: Sequence[Row]) -> list[tuple[object, ...]]:
    """Of a table."""
    return [
        (one.name, str(equation), missed(equation, one.truth), equation.error, least)
        for one, equation, least in found
    ]


def bars_of(system: str, found: Sequence[Row], n: int, clock: Clock) -> list[Bar]:
    """Of the cases that count."""
    return [
        Bar(f"{system}, model {one.name}: coefficients", missed(e, one.truth), 0.05, n, clock())
        for one, e, _ in found
        if one.counts
    ]


def main() -> None:
    given, clock = arguments(__doc__ or ""), Clock()
    size = QUICK if given.quick else FULL
    before, after = lines(size)
    whole = discover_lines(before, after, LINES)
    bars = bars_of("Kuramoto-Sivashinsky", whole, size.members, clock)
    say(f"lines after {clock():.0f} s")
    part = discover_lines(*seen(before, after, 0.25), LINES)
    q_before, q_after = layers(size)
    say(f"layers after {clock():.0f} s")
    two = discover_layers(size, q_before, q_after)
    bars += bars_of("two layers", two, len(q_before), clock)
    head = ("model", "error found", "worst coefficient", "error left", "left by all terms")
    tables = {
        "Kuramoto-Sivashinsky (true: 1, 1, 1)": table(head, rows(whole)),
        "Kuramoto-Sivashinsky seen at a quarter of its points": table(head, rows(part)),
        f"two layers (true: {', '.join(f'{k} {v:g}' for k, v in NUMBERS.items())})": table(
            head, rows(two)
        ),
    }
    finish("medida", given, bars, tables)


if __name__ == "__main__":
    main()
