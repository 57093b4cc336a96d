"""Whether a posterior may be believed: what it predicts of the data, how often it holds synthetic
truths, and what another sampler draws from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jacrev, vmap

from .inference import (
    SIGMA,
    Cells,
    Draws,
    Hamiltonian,
    Model,
    Posterior,
    exact,
    most_probable,
    whitening,
)

STARTS, DRAWS = 2000, 4000
EACH = 40
"""Cells a column."""


def peak(posterior: Posterior, seed: int = 0) -> dict[str, float]:
    """The most probable place: parameters and sigma."""
    generator = torch.Generator().manual_seed(seed)
    x = posterior.placed(most_probable(posterior, STARTS, generator)[None])[0]
    found = dict(zip(posterior.names, x.tolist(), strict=True))
    return {**found, SIGMA: math.exp(found[SIGMA])}


def drawn(posterior: Posterior, sampler: Hamiltonian | None = None, seed: int = 0) -> Draws:
    """From the exact grid up to three parameters, else, or where a sampler is given, by chains."""
    if sampler is None and len(posterior.bounds) <= 3:
        return exact(posterior, seed=seed)
    return (sampler or Hamiltonian()).drawn(posterior, seed)


def answered(model: Model, p: Float[np.ndarray, "row parameter"]) -> Float[np.ndarray, "row time"]:
    """The model's series for rows of parameters."""
    with torch.no_grad():
        return model(torch.as_tensor(np.ascontiguousarray(p))).numpy()


def with_slopes(
    model: Model, p: Float[np.ndarray, "row parameter"]
) -> tuple[Float[np.ndarray, "row time"], Float[np.ndarray, "row time parameter"]]:
    """The model's series and their derivatives by the parameters."""

    def both(one: Tensor) -> tuple[Tensor, Tensor]:
        found = model(one[None])[0]
        return found, found

    slopes, values = vmap(jacrev(both, has_aux=True))(torch.as_tensor(np.ascontiguousarray(p)))
    return values.numpy(), slopes.numpy()


def predicted(
    posterior: Posterior, draws: Draws, count: int = 500, seed: int = 0
) -> Float[np.ndarray, "row time"]:
    """The posterior predictive: so many new measurements, noise and the model's own error in."""
    rng = np.random.default_rng(seed)
    flat = draws.values.reshape(-1, len(draws.names))
    rows = flat[rng.choice(len(flat), count)]
    found = answered(posterior.model, rows[:, :-1])
    spread = np.hypot(rows[:, -1:], posterior.own.numpy())
    return found + spread * rng.normal(size=found.shape)


def by_emcee(
    posterior: Posterior, walkers: int = 64, steps: int = 1500, warm_up: int = 500, seed: int = 0
) -> Draws:
    """By the affine-invariant ensemble of emcee (Foreman-Mackey et al. 2013, arXiv:1202.3665), a
    cross-check that needs no derivative.

    Raises:
        ModuleNotFoundError: the package emcee is missing.
    """
    from emcee import EnsembleSampler, State

    def density(z: Float[np.ndarray, "row column"]) -> Float[np.ndarray, " row"]:
        rows = torch.as_tensor(np.ascontiguousarray(z))
        with torch.no_grad():
            found = posterior.log_density(rows)
        return np.where(posterior.inside(rows).numpy(), found.numpy(), -np.inf)

    generator = torch.Generator().manual_seed(seed)
    best = most_probable(posterior, STARTS, generator)
    about = torch.randn(4 * walkers, len(best), generator=generator, dtype=torch.float64)
    places = best + about @ whitening(posterior, best).T
    start = places[posterior.inside(places)][:walkers].numpy()
    sampler = EnsembleSampler(len(start), start.shape[1], density, vectorize=True)
    own = np.random.RandomState(seed).get_state()
    sampler.run_mcmc(State(start, random_state=own), warm_up + steps)
    z = torch.as_tensor(sampler.get_chain(discard=warm_up).swapaxes(0, 1).copy())
    values = posterior.placed(z.flatten(0, 1)).unflatten(0, z.shape[:2]).numpy().copy()
    values[:, :, -1] = np.exp(values[:, :, -1])
    return Draws(posterior.names, values, float(sampler.acceptance_fraction.mean()))


@dataclass(frozen=True)
class Coverage:
    """The shares of `truths` that lie in regions of a probability `level`: in the interval of each
    parameter, and in the `region` of the largest density of all of them with sigma."""

    level: float
    truths: int
    intervals: Mapping[str, float]
    region: float


def coverage(
    model: Model,
    bounds: Mapping[str, tuple[float, float]],
    sigma: tuple[float, float],
    noise: float,
    truths: int = 100,
    seed: int = 0,
) -> Coverage:
    """Of truths evenly within the bounds, with synthetic noise, on the exact grid."""
    rng, level = np.random.default_rng(seed), 0.9
    low, high = np.array(list(bounds.values())).T
    places = low + (high - low) * rng.random((truths, len(bounds)))
    series = answered(model, places)
    data = series + noise * rng.normal(size=series.shape)
    inside, within = np.zeros((truths, len(bounds))), 0
    for k in range(truths):
        posterior = Posterior(model, torch.as_tensor(data[k]), bounds, sigma)
        cells = Cells.of(posterior, EACH)
        found = cells.drawn(posterior, DRAWS, seed + k)
        for i, name in enumerate(bounds):
            a, b = found.interval(name, level)
            inside[k, i] = a <= places[k, i] <= b
        truth = torch.as_tensor([[*places[k], math.log(noise)]])
        denser = cells.levels > posterior.log_likelihood(truth)
        within += int(cells.shares[denser].sum() <= level)
    shares = dict(zip(bounds, inside.mean(axis=0).tolist(), strict=True))
    return Coverage(level, truths, shares, float(within / truths))
