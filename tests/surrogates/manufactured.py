"""Families of samples with formulas, on shapes and meshes of their own."""

from functools import lru_cache

import numpy as np

from fieldcast.conformance.families import bulged, square
from fieldcast.meshes import Case, Field, Sample, Scalar


def design(count, dim, seed=0):
    """Points of [-1, 1]^dim, spread evenly (a Kronecker sequence)."""
    root = 2.0 if dim == 1 else np.roots([1.0] + [0.0] * (dim - 1) + [-1.0, -1.0]).real.max()
    step = (1.0 / root) ** np.arange(1, dim + 1)
    return 2.0 * ((0.5 + seed * 0.37 + np.outer(np.arange(1, count + 1), step)) % 1.0) - 1.0


def answered(mesh, p, q, name):
    """Parameters `load` around 1e5 Pa and `angle` around 0; smooth in all, shape included."""
    width, height = np.ptp(mesh.points, axis=0)
    x = (mesh.points - mesh.points.min(0)) / (width, height)
    wave = np.sin(np.pi * x[:, 0] + 0.4 * q) * np.cos(np.pi * x[:, 1] / 2)
    warm = 300.0 + (3.0 + p) * wave * width + p * q * x[:, 0] + height**2 * x[:, 1]
    centre = x[mesh.cells["triangle"]].mean(1)
    heat = 1e-4 * ((1.0 + 0.3 * q) * centre[:, 0] + p * centre[:, 1] ** 2 * width)
    conductance = np.exp(0.8 * p * x[:, 0] + 0.3 * q + wave * height)
    case = Case(
        mesh,
        {
            "load": Scalar(np.array([1e5 * (1 + 0.01 * p)]), "Pa"),
            "angle": Scalar(np.array([q]), "rad"),
        },
        name=name,
    )
    fields = {
        "warm": Field.steady(warm, "K"),
        "heat": Field.steady(heat, "W", "cell"),
        "conductance": Field.steady(conductance, "W/K"),
    }
    decades = Scalar(np.array([1e-3 * np.exp(2.5 * p + q * width)]), "N")
    return Sample(
        case, fields, {"decades": decades, "signed": Scalar(np.array([p + q * width]), "m")}
    )


@lru_cache(maxsize=4)
def shapes(count, seed, start=0):
    """Samples on bulged squares of their own meshes; `start` sets their places in the design."""
    made = []
    for i, (p, q, a, b) in enumerate(design(count + start, 4)[start:]):
        mesh = bulged(square(9 + i % 3, seed + i), 1.2 + 0.2 * a, 0.15 + 0.1 * b)
        made.append(answered(mesh, p, q, f"m{start + i:02d}"))
    return tuple(made)


@lru_cache(maxsize=4)
def linear(count, start=0, times=1):
    """Samples on one mesh, outputs linear in two parameters around zero and in time."""
    mesh = bulged(square(7, 0), 1.2, 0.1)
    x, y = mesh.points.T
    when = np.arange(1.0, times + 1.0)
    made = []
    for i, (p, q) in enumerate(design(count + start, 2)[start:]):
        case = Case(mesh, {"p": p, "q": q}, times=when, name=f"l{start + i:02d}")
        u = 1e5 + when[:, None] * (p * x + q * y * y + x * y)
        fields = {"u": Field(u[..., None], "K")}
        made.append(Sample(case, fields, {"s": Scalar(when * (2 * p - q), "N")}))
    return tuple(made)
