"""From cases to the standardised inputs of a Gaussian process: parameters, shape and known
fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from fieldcast.meshes import Cases

from .surrogate import State

PARAMETERS = "parameters"
_NUMBERS = ("shift", "scale", "low", "high")
SPREAD, WIDE = 1.2, 5.0
"""Ratios of the largest to the least value of a parameter: see `Transform.suited_to`."""


@dataclass(frozen=True)
class Transform:
    """v -> log(sign v) if `sign` is 1 or -1, v itself if it is 0."""

    sign: int = 0

    @classmethod
    def suited_to(cls, values: np.ndarray) -> Transform:
        """The logarithm for values of one sign that span more than a factor of `SPREAD`: it makes
        sums of products. Where they span more than `WIDE`, only if it makes the sampling more
        even."""
        sign = one_sign(values)
        size = np.abs(values).ravel()
        if not sign or size.max() <= SPREAD * size.min():
            return cls()
        wide = size.max() > WIDE * size.min()
        if wide and abs(skewness(np.log(size))) >= abs(skewness(size)):
            return cls()
        return cls(sign)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        if not self.sign:
            return values
        size = self.sign * values
        # Of the wrong sign: far outside; the guard will say so, the logarithm must not fail.
        return np.log(np.maximum(size, 1e-300))

    def inverse(self, values: Any) -> Any:
        """Back; for arrays and tensors."""
        if not self.sign:
            return values
        return self.sign * (np.exp(values) if isinstance(values, np.ndarray) else values.exp())

    def slope(self, values: np.ndarray) -> np.ndarray:
        """d transform / d v."""
        return 1.0 / values if self.sign else np.ones_like(values)


def skewness(values: np.ndarray) -> float:
    """E[(v - mean)^3] / std^3."""
    centred = values - values.mean()
    return float((centred**3).mean() / max((centred**2).mean() ** 1.5, 1e-300))


def one_sign(values: np.ndarray) -> int:
    """1 if all values are positive, -1 if all are negative, else 0."""
    return int((values > 0).all()) - int((values < 0).all())


@dataclass(frozen=True, eq=False)
class Features:
    """x = (raw - shift) / scale, raw = [shape coefficients, transformed parameters, known fields'
    coefficients]; columns that did not vary in the training set are left out.

    `sources` says where each column comes from: "shape", "parameters" or a known field. `low` and
    `high` are the training range of raw.
    """

    names: tuple[str, ...]
    sources: tuple[str, ...]
    transforms: Mapping[str, Transform]
    keep: np.ndarray
    shift: Float[np.ndarray, " column"]
    scale: Float[np.ndarray, " column"]
    low: Float[np.ndarray, " column"]
    high: Float[np.ndarray, " column"]

    @classmethod
    def fit(cls, cases: Cases, extra: Mapping[str, Float[np.ndarray, "case _column"]]) -> Features:
        """From the training cases and the `extra` columns (shape, known fields) found for them."""
        transforms = {k: Transform.suited_to(s.values) for k, s in cases.parameters.items()}
        raw, names, sources = raw_columns(cases, extra, transforms)
        spread = np.ptp(raw, axis=0)
        keep = spread > 1e-12 * np.maximum(np.abs(raw).max(axis=0), 1e-300)
        raw = raw[:, keep]
        return cls(
            tuple(np.array(names, dtype=object)[keep]),
            tuple(np.array(sources, dtype=object)[keep]),
            transforms,
            keep,
            raw.mean(axis=0),
            raw.std(axis=0),
            raw.min(axis=0),
            raw.max(axis=0),
        )

    def spans(self) -> dict[str, float]:
        """Half the range of each parameter in the training set; 1 of those that did not vary, or
        are series."""
        found = dict.fromkeys(self.transforms, 1.0)
        for k, (name, source) in enumerate(zip(self.names, self.sources, strict=True)):
            if source == PARAMETERS and name in self.transforms:
                ends = (self.transforms[name].inverse(e[k : k + 1]) for e in (self.low, self.high))
                low, high = (float(e[0]) for e in ends)
                found[name] = 0.5 * abs(high - low)
        return found

    def state(self) -> State:
        """For `restored`."""
        arrays = {k: getattr(self, k) for k in _NUMBERS}
        signs = {k: t.sign for k, t in self.transforms.items()}
        values = {"names": list(self.names), "sources": list(self.sources), "signs": signs}
        return State({**arrays, "keep": self.keep.astype(np.uint8)}, values)

    @classmethod
    def restored(cls, state: State) -> Features:
        """From `state`."""
        return cls(
            tuple(state.values["names"]),
            tuple(state.values["sources"]),
            {k: Transform(int(v)) for k, v in state.values["signs"].items()},
            state.arrays["keep"].astype(bool),
            *(state.arrays[k] for k in _NUMBERS),
        )

    def raw(
        self, cases: Cases, extra: Mapping[str, Float[np.ndarray, "case _column"]]
    ) -> Float[np.ndarray, "case column"]:
        """The columns that vary, not standardised."""
        return raw_columns(cases, extra, self.transforms)[0][:, self.keep]

    def standardised(
        self, raw: Float[np.ndarray, "case column"]
    ) -> Float[np.ndarray, "case column"]:
        """What the processes take."""
        return (raw - self.shift) / self.scale


def raw_columns(
    cases: Cases,
    extra: Mapping[str, Float[np.ndarray, "case _column"]],
    transforms: Mapping[str, Transform],
) -> tuple[Float[np.ndarray, "case column"], list[str], list[str]]:
    """All columns, their names (the extra ones numbered, parameters by name) and sources."""
    blocks, names, sources = [np.empty((len(cases), 0))], [], []
    for name, columns in extra.items():
        blocks.append(columns)
        names += [f"{name} {k + 1}" for k in range(columns.shape[1])]
        sources += [name] * columns.shape[1]
    for name, scalar in cases.parameters.items():
        blocks.append(transforms[name](scalar.values))
        steady = scalar.values.shape[1] == 1
        names += [name] if steady else [f"{name}[{k}]" for k in range(scalar.values.shape[1])]
        sources += [PARAMETERS] * scalar.values.shape[1]
    return np.concatenate(blocks, axis=1), names, sources


def constant_names(cases: Cases) -> Sequence[str]:
    """Parameters that are the same in all cases."""
    return [k for k, s in cases.parameters.items() if np.ptp(s.values, axis=0).max() == 0]
