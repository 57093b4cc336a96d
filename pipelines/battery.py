"""Aging parameters of a cell from a discharge that was measured: what the data can tell, the
posterior, and whether it may be believed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int

from fieldcast.meshes import Case, Sample
from fieldcast.meshes.battery import VOLTAGE
from fieldcast.meshes.files import replace_file
from fieldcast.surrogates.inference import (
    SIGMA,
    Draws,
    Hamiltonian,
    Identifiability,
    Posterior,
    identifiability,
)
from fieldcast.surrogates.posterior_checks import answered, by_emcee, drawn, peak, predicted
from fieldcast.surrogates.separable import SeparableHead, compiled
from fieldcast.surrogates.surrogate import Predictor

from .discharges import placed

if TYPE_CHECKING:
    import xarray

DEGREES = {1: 12, 2: 8, 3: 6, 4: 4}
LEAST_DEGREE = 3
"""Of the head's polynomials, by the number of parameters; with more than those."""
LOOKS = 32
"""Places where the head is held against the predictor."""
AGREED, ENOUGH = 1.01, 400
"""R-hat and effective draws that are not warned of."""
Range = tuple[float, float]


@dataclass(frozen=True)
class Noise:
    """The range of the measurement's standard deviation `sigma` [V], which is sampled, and the
    error of the `model` [V] that is known beforehand: one, or one for each time."""

    sigma: Range = (1e-4, 5e-2)
    model: float | tuple[float, ...] = 0.0


@dataclass(frozen=True, eq=False)
class Calibration:
    """A posterior: `told` by Fisher's information at the `peak`, `draws`, and the data they go by.

    `fitted` is the voltage at the peak [V], `again` those of the posterior predictive; `trusted`
    the share of the priors' places that the model doesn't warn of; `others` are draws of other
    samplers.
    """

    data: Sample
    posterior: Posterior
    told: Identifiability
    peak: Mapping[str, float]
    draws: Draws
    fitted: Float[np.ndarray, " time"]
    again: Float[np.ndarray, "row time"]
    trusted: float
    others: Mapping[str, Draws] = field(default_factory=dict)

    @property
    def priors(self) -> Mapping[str, Range]:
        """Of the parameters."""
        return self.posterior.bounds

    @property
    def own(self) -> Float[np.ndarray, " time"]:
        """The model's error [V], with that of its head."""
        return self.posterior.own.numpy()

    @property
    def measured(self) -> Float[np.ndarray, " time"]:
        """The voltage [V]."""
        return self.data.scalars[VOLTAGE].value

    @property
    def memory(self) -> float:
        """The correlation of residuals at the peak with the next ones."""
        gap = self.measured - self.fitted
        return float(gap[1:] @ gap[:-1] / max(gap @ gap, 1e-300))

    @property
    def held(self) -> float:
        """The share of data within 90 % of the posterior predictive."""
        low, high = np.quantile(self.again, [0.05, 0.95], axis=0)
        return float(np.mean((self.measured >= low) & (self.measured <= high)))

    def warnings(self) -> list[str]:
        """Reasons to believe less."""
        found = []
        for k, (name, (low, high)) in enumerate(self.priors.items()):
            if self.told.std[k] > 0.29 * (high - low):
                found.append(f"data hardly tell {name}: the prior is as narrow as they are")
            ends = self.draws.interval(name, 0.98)
            if min(ends[0] - low, high - ends[1]) < 0.005 * (high - low):
                found.append(f"{name} leans on an end of its prior, {low:g} to {high:g}")
        for name in self.draws.names:
            enough = self.draws.effective(name) >= ENOUGH
            if self.draws.values.shape[0] > 1 and not (self.draws.r_hat(name) <= AGREED and enough):
                found.append(f"the chains of {name} don't agree yet: draw more")
        if self.memory > 0.5:
            fewer = (1.0 - self.memory) / (1.0 + self.memory)
            found.append(
                f"residuals follow each other (correlation {self.memory:.2f}): what is left of "
                f"{1e3 * float(np.std(self.measured - self.fitted)):.1f} mV is error of the model, "
                "not noise; the intervals hold if it were noise, and are too narrow by about "
                f"{1.0 / math.sqrt(max(fewer, 1e-4)):.0f} times"
            )
        if self.trusted < 1.0:
            found.append(f"the model warns of {1.0 - self.trusted:.0%} of the priors' places")
        return found

    def rows(self) -> dict[str, dict[str, float]]:
        """Figures by parameter, sigma last [V]."""
        fisher = dict(zip(self.told.names, self.told.std.tolist(), strict=True))
        found = {}
        for name in self.draws.names:
            values, (low, high) = self.draws.of(name), self.draws.interval(name)
            found[name] = {
                "mean": float(values.mean()),
                "std": float(values.std()),
                "low": low,
                "high": high,
                "peak": self.peak[name],
                "fisher": fisher.get(name, math.nan),
                "r_hat": self.draws.r_hat(name),
                "effective": self.draws.effective(name),
            }
        return found

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "parameters": self.rows(),
            "correlation": self.told.correlation.tolist(),
            "residual": float(np.std(self.measured - self.fitted)),
            "memory": self.memory,
            "model_error": float(np.sqrt(np.mean(self.own**2))),
            "held": self.held,
            "warnings": self.warnings(),
            "others": {k: {n: d.interval(n) for n in d.names} for k, d in self.others.items()},
        }

    def to_groups(self) -> dict[str, xarray.Dataset]:
        """The groups of ArviZ's InferenceData."""
        import xarray

        times = {"time": self.data.case.times}
        chain = {name: (("chain", "draw"), self.draws.of(name)) for name in self.draws.names}
        again = {VOLTAGE: (("chain", "draw", "time"), self.again[None])}
        known = {"model_error": ("time", self.own), "fitted": ("time", self.fitted)}
        return {
            "posterior": xarray.Dataset(chain),
            "posterior_predictive": xarray.Dataset(again, times),
            "observed_data": xarray.Dataset({VOLTAGE: ("time", self.measured)}, times),
            "constant_data": xarray.Dataset(known, times),
        }


def calibrate(
    predictor: Predictor,
    data: Sample,
    priors: Mapping[str, Range],
    noise: Noise = Noise(),
    sampler: Hamiltonian | None = None,
    seed: int = 0,
) -> Calibration:
    """The posterior of parameters, even a priori within `priors`, of a measured `data` voltage, as
    the predictor sees it: on the exact grid up to three parameters, else, or with a `sampler`, by
    Hamiltonian Monte Carlo.

    The predictor is asked at the data's times and, before anything is drawn, boiled down to
    polynomials, whose error is added to the model's.

    Raises:
        ValueError: data without a voltage, priors that are no ranges, or a name that the model
            doesn't know.
    """
    _check(predictor, data, priors)
    head = headed(predictor, data.case, priors)
    ordered = {name: priors[name] for name in head.names}
    own, trusted = _missed(predictor, head, data.case, ordered, seed)
    own = np.sqrt(own**2 + np.square(noise.model))
    measured = torch.as_tensor(data.scalars[VOLTAGE].value.copy())
    posterior = Posterior(head, measured, ordered, noise.sigma, torch.as_tensor(own))
    best = peak(posterior, seed)
    told = identifiability(posterior, best, best[SIGMA])
    draws = drawn(posterior, sampler, seed)
    fitted = answered(head, np.array([[best[name] for name in ordered]]))[0]
    again = predicted(posterior, draws, seed=seed)
    return Calibration(data, posterior, told, best, draws, fitted, again, trusted)


def cross_checked(found: Calibration, seed: int = 0) -> Calibration:
    """With the draws of emcee beside."""
    return replace(found, others={**found.others, "emcee": by_emcee(found.posterior, seed=seed)})


def _check(predictor: Predictor, data: Sample, priors: Mapping[str, Range]) -> None:
    if VOLTAGE not in data.scalars:
        raise ValueError(f"expected data with the scalar {VOLTAGE!r}, got {sorted(data.scalars)}")
    known = predictor.signature.parameters
    if not priors or not set(priors) <= set(known):
        raise ValueError(f"expected priors of some of {sorted(known)}, got {sorted(priors)}")
    for name, (low, high) in priors.items():
        if not low < high:
            raise ValueError(f"prior of {name}: expected a rising range, got {low:g} to {high:g}")


def headed(predictor: Predictor, case: Case, priors: Mapping[str, Range]) -> SeparableHead:
    """The predictor's voltage as a series of polynomials within the priors, for samplers."""
    asked, columns = _asked(predictor, case)
    degrees = dict.fromkeys(priors, DEGREES.get(len(priors), LEAST_DEGREE))
    head = SeparableHead.of(compiled(predictor, asked, priors, degrees), VOLTAGE)
    return replace(head, phi=head.phi[:, columns])


def _asked(predictor: Predictor, case: Case) -> tuple[Case, Int[np.ndarray, " time"]]:
    """The case at times that the predictor answers, and which of them are the case's own."""
    signature = predictor.signature
    if signature.own_times:
        return case, np.arange(len(case.times))
    known = np.array(signature.times)
    columns = np.abs(known[:, None] - case.times).argmin(axis=0)
    if not np.allclose(known[columns], case.times, rtol=1e-6, atol=1e-6 * known[-1]):
        raise ValueError(
            f"case {case.label}: expected some of the {len(known)} times that the model answers, "
            f"{known[0]:g} to {known[-1]:g} s; interpolate the data to them"
        )
    return replace(case, times=known), columns


def _missed(
    predictor: Predictor,
    head: SeparableHead,
    case: Case,
    priors: Mapping[str, Range],
    seed: int,
) -> tuple[Float[np.ndarray, " time"], float]:
    """What the head misses of the predictor at places within the priors, with the predictor's own
    standard deviation where it tells one [V]; and the share of the places it trusts."""
    rng = np.random.default_rng(seed)
    low, high = np.array(list(priors.values())).T
    places = low + (high - low) * rng.random((LOOKS, len(priors)))
    asked, columns = _asked(predictor, case)
    cases = [placed(asked, dict(zip(priors, row, strict=True))) for row in places.tolist()]
    answers = predictor.predict(cases)
    told = [p.scalars[VOLTAGE] for p in answers]
    gap = answered(head, places) - np.stack([e.mean[columns] for e in told])
    own = [0.0 * gap[0] if e.std is None else e.std[columns] for e in told]
    trusted = float(np.mean([p.trust.status == "ok" for p in answers]))
    return np.sqrt(np.mean(gap**2, axis=0) + np.mean(np.square(own), axis=0)), trusted


def write_draws(found: Calibration, path: Path) -> Path:
    """NetCDF that `arviz.from_netcdf` reads."""
    import tempfile

    from xarray import DataTree

    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder) / "draws.nc"
        DataTree.from_dict(found.to_groups()).to_netcdf(new, engine="netcdf4")
        replace_file(path, new.read_bytes())
    return path
