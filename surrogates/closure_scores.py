"""Scores of runs with a closure beside the truth: the rewards, the spectrum, the distribution of
the vorticity with its tails, and similarities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from .closure_environment import Environment, Wanted, mismatch
from .closure_runs import Climate, edges, shares

DRAWS = 400
Line = Float[np.ndarray, " wavenumber"]
Statistic = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Measured:
    """A figure with its standard error, by bootstrap over rows where it is no mean of theirs, and
    the 2.5 and 97.5 % of that."""

    value: float
    error: float
    low: float
    high: float


def bootstrapped(rows: int, statistic: Statistic, seed: int = 0) -> Measured:
    """A statistic of some rows, told by their numbers; each draw is of as many rows as there
    are."""
    rng = np.random.default_rng(seed)
    drawn = [statistic(rng.integers(0, rows, rows)) for _ in range(DRAWS)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Measured(statistic(np.arange(rows)), float(np.std(drawn)), float(low), float(high))


def reward_of_mean(spectrum: Line, target: Line) -> float:
    """1 / |k (Z - Z_t)|^2 of a mean spectrum."""
    k = np.arange(len(target))
    return float(1.0 / np.square(k * (spectrum - target)).sum())


def log_error(spectrum: Line, target: Line) -> float:
    """The root mean square of log Z / Z_t from wavenumber 1 on."""
    return float(np.sqrt(np.square(np.log(spectrum[1:] / target[1:])).mean()))


def wasserstein(one: Float[np.ndarray, " bin"], other: Float[np.ndarray, " bin"]) -> float:
    """Between two distributions of the vorticity, in standard deviations: the integral of the gap
    of their cumulative ones."""
    return float(np.abs(np.cumsum(one - other)).sum() * np.diff(edges())[0])


def tail(distribution: Float[np.ndarray, " bin"], beyond: float) -> float:
    """The share of points with a vorticity beyond so many standard deviations, of either sign."""
    ends = edges()
    return float(distribution[(ends[:-1] >= beyond - 1e-9) | (ends[1:] <= -beyond + 1e-9)].sum())


def flatness(distribution: Float[np.ndarray, " bin"]) -> float:
    """<w^4> / <w^2>^2 of a distribution of the vorticity: 3 of a normal one."""
    ends, share = edges(), distribution / distribution.sum()
    square = np.square(0.5 * (ends[1:] + ends[:-1]))
    return float(share @ np.square(square) / (share @ square) ** 2)


def truth_of(
    environment: Environment, spectra: torch.Tensor, aim: Wanted, deviation: float, rows: int
) -> Climate:
    """What filtered direct simulations say, as if `rows` consecutive parts of them were runs.
    Spectra are (time, k, l), on the grid of the environment."""
    target, found = aim.on(environment), []
    for part in torch.tensor_split(spectra, rows):
        line = environment.line(part)
        missed = mismatch(line, target)
        w = environment.vorticity(part)
        nothing = torch.zeros((len(part), environment.agents**2), device=part.device)
        budget = environment.budget(environment.state(part), nothing)
        found.append(
            {
                "reward": (1.0 / missed).mean(),
                "log_reward": -missed.log().mean(),
                "spectrum": line.mean(dim=0),
                "varies": line.std(dim=0),
                "shares": shares(w, deviation).mean(dim=0),
                "square": w.square().mean(),
                "coefficient": torch.zeros(2),
                "lost": torch.tensor(torch.inf),
                **{f"budget {k}": v.mean() for k, v in budget.items()},
            }
        )
    return Climate.of_arrays(
        {k: torch.stack([f[k] for f in found]).cpu().double().numpy() for k in found[0]}
    )


def scores(own: Climate, target: Line, truth: Climate | None) -> dict[str, Measured]:
    """All figures by name. Distances from the truth are there where the truth is."""
    rows, mean = len(own.reward), own.spectrum
    error = float(own.reward.std(ddof=1) / np.sqrt(rows)) if rows > 1 else float("nan")
    r = float(own.reward.mean())
    found = {"reward": Measured(r, error, r - 2.0 * error, r + 2.0 * error)}
    statistics: dict[str, Statistic] = {
        "reward of mean": lambda i: reward_of_mean(mean[i].mean(axis=0), target),
        "log error": lambda i: log_error(mean[i].mean(axis=0), target),
        "sigma": lambda i: float(np.sqrt(own.square[i].mean())),
        "P3": lambda i: tail(own.shares[i].mean(axis=0), 3.0),
        "P4": lambda i: tail(own.shares[i].mean(axis=0), 4.0),
        "P5": lambda i: tail(own.shares[i].mean(axis=0), 5.0),
        "flatness": lambda i: flatness(own.shares[i].mean(axis=0)),
        "variability": lambda i: float(own.varies[i, 1:].mean()),
    }
    if truth is not None:
        true = truth.shares.mean(axis=0)
        statistics["Wasserstein"] = lambda i: wasserstein(own.shares[i].mean(axis=0), true)
    found |= {k: bootstrapped(rows, s) for k, s in statistics.items()}
    found["lost"] = Measured(float(np.isfinite(own.lost).sum()), 0.0, 0.0, float(rows))
    return found


def similarities(own: Climate, bare: Climate, truth: Climate) -> Mapping[str, float]:
    """1 - D(model, truth) / D(no closure, truth) (Ross et al. 2022, doi:10.1029/2022MS003258) by
    diagnostic: 1 is the truth, 0 no better than no closure, below 0 worse. D is the Wasserstein
    distance of the vorticity, the root mean square over wavenumbers below 2/3 of the largest for
    spectra and their variability, and the absolute difference of means for the rest."""
    distances = [_distances(of, truth) for of in (own, bare)]
    return {k: 1.0 - distances[0][k] / max(distances[1][k], 1e-12) for k in distances[0]}


def _distances(own: Climate, truth: Climate) -> dict[str, float]:
    half = 2 * own.spectrum.shape[1] // 3

    def apart(name: str) -> float:
        gap = getattr(own, name).mean(axis=0) - getattr(truth, name).mean(axis=0)
        return float(np.sqrt(np.square(gap[1:half]).mean()))

    found = {
        "vorticity": wasserstein(own.shares.mean(axis=0), truth.shares.mean(axis=0)),
        "enstrophy spectrum": apart("spectrum"),
        "its variability": apart("varies"),
    }
    for name in ("energy", "enstrophy", "energy by drag", "energy by forcing"):
        found[name] = abs(float(own.budget[name].mean() - truth.budget[name].mean()))
    return found
