"""The stored set of 36 semi-ellipses in a Mach 6 flow (`make_semi_ellipses.py` makes it)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fieldcast.meshes import Field, Prediction, Sample
from fieldcast.solvers.hypersonic import semi_ellipse

STORED = Path(__file__).parents[1] / "tests" / "data" / "semi_ellipses.npz"
FIELDS = ("rho", "u", "v", "p")


def flows() -> list[Sample]:
    """All 36, fields on cells."""
    with np.load(STORED) as found:
        stored = dict(found)
    ends = np.cumsum(stored["counts"])
    samples = []
    parts = np.split(stored["fields"].astype(float), ends[:-1])
    for (a, b), values in zip(stored["axes"].tolist(), parts, strict=True):
        case = semi_ellipse(a, b, float(stored["mach"]), float(stored["spacing"]))
        columns = zip(FIELDS, values.T, strict=True)
        samples.append(Sample(case, {k: Field.steady(v, "", "cell") for k, v in columns}))
    return samples


def split(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of 24 to learn from, 4 to select by, 8 to test."""
    order = np.random.default_rng(seed).permutation(36)
    return order[:24], order[24:28], order[28:]


def relative(
    samples: Sequence[Sample], answers: Sequence[Prediction], names: Sequence[str] = FIELDS
) -> np.ndarray:
    """|v - u| / |u|, u true and v predicted, (case, field)."""
    rows = []
    for s, p in zip(samples, answers, strict=True):
        pairs = [(s.fields[k].values, p.mean[k].values) for k in names]
        rows.append([np.linalg.norm(v - u) / np.linalg.norm(u) for u, v in pairs])
    return np.array(rows)
