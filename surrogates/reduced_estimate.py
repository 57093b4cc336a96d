"""How long a reduced surrogate will take to fit, and how much memory: one case is tried, the rest
is counted."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from fieldcast.meshes import Samples

from .embedding import make_chart
from .gp import Likelihood, Training, start_points

if TYPE_CHECKING:
    from .reduced import Reduced

EVALUATIONS = 70
TRIED = 0.25
"""Evaluations of the likelihood that a search takes, and the share of them that each more start
takes, as observed."""


def estimate(recipe: Reduced, samples: Samples) -> tuple[float, int]:
    """(seconds, bytes). The morphing of the middle case and one likelihood of the right size are
    timed."""
    morphing, sizes = recipe.layout()
    n = len(samples)
    started = time.perf_counter()
    chart, _ = make_chart(samples.cases, morphing)
    choosing = time.perf_counter() - started
    nodes = len(chart.reference.points)
    channels = sum(f.values.shape[0] * f.values.shape[2] for f in samples.fields.values())
    started = time.perf_counter()
    if not chart.shared_numbering:
        passage = chart.passage(samples.cases.meshes[""][len(samples) // 2])
        passage.to_common(np.zeros((len(passage.mesh.points), max(channels, 1))))
    morph = time.perf_counter() - started
    cores = len(os.sched_getaffinity(0))
    train = _training_seconds(recipe.kernels, n, sizes.modes * len(samples.fields), samples)
    reduce = 2e-9 * n * n * nodes * (channels + chart.reference.dim) / 4
    seconds = choosing + (morph * n + train) / cores + reduce
    floats = n * nodes * (2 * channels + chart.reference.dim) + 3 * n * n * cores
    return seconds, 8 * floats


def _training_seconds(
    training: Training | None, n: int, field_outputs: int, samples: Samples
) -> float:
    if training is None or n < 2:
        return 0.0
    d = len(samples.cases.parameters) + 6
    rng = np.random.default_rng(0)
    x = torch.as_tensor(rng.normal(size=(n, d)))
    likelihood = Likelihood(x, x[:, :1], training)
    [theta] = start_points(d, Training(starts=1), 0)
    likelihood(theta)
    started = time.perf_counter()
    likelihood(theta)
    one = time.perf_counter() - started
    searches = 1.0 + TRIED * (training.starts - 1)
    return one * EVALUATIONS * searches * (field_outputs + 2 * len(samples.scalars))
