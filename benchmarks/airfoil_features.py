"""Geometry of surfaces as inputs: curvature of an ellipsoid against formulas, and what surrogates
gain by normals and curvature: cp on 25 RANS airfoils (closed curves, fifths held out) and pressure
on 10 cars (surfaces, fifths held out).

Errors are relative L2, meant over the shapes of the parts that are held out in turn. Networks have
the same few steps with and without: what is told, not how well they end, is compared.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from bars import Bar, Clock, arguments, data_folder, finish, say, table
from rans_airfoils import fifths, rans_airfoils

from fieldcast.meshes import Mesh, Sample
from fieldcast.meshes.curvature import curvature
from fieldcast.meshes.folder import read_folder
from fieldcast.surrogates import (
    MMGP,
    Descent,
    GraphTransformer,
    MeanField,
    MeshGraphNet,
    NearestCase,
    PodRidge,
    SurfaceFeatures,
    Surrogate,
)
from fieldcast.surrogates.scores import relative_l2

AXES = np.array([1.3, 1.0, 0.7])
NONE = "none"
SETS: Mapping[str, tuple[str, ...]] = {
    NONE: (),
    "normals": ("normal",),
    "normals, H and K": ("normal", "mean", "gaussian"),
}


def ellipsoid(halvings: int) -> Mesh:
    """An icosahedron, halved and led onto the ellipsoid."""
    import pyvista

    sphere = pyvista.Icosphere(nsub=halvings)
    unit = np.asarray(sphere.points, dtype=float)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return Mesh(unit * AXES, {"triangle": sphere.regular_faces.astype(np.int64)})


def curvature_errors(halvings: int) -> tuple[float, float, int]:
    """Largest relative errors of H and K over all points (do Carmo 1976, 3.3), and the points."""
    mesh = ellipsoid(halvings)
    found, points = curvature(mesh), mesh.points
    height = 1.0 / np.linalg.norm(points / AXES**2, axis=1)
    product = np.prod(AXES) ** 2
    mean = height**3 * ((AXES**2).sum() - (points**2).sum(axis=1)) / (2.0 * product)
    errors = found.mean / mean - 1.0, found.gaussian / (height**4 / product) - 1.0
    return float(np.abs(errors[0]).max()), float(np.abs(errors[1]).max()), len(points)


def error_of(
    recipe: Surrogate, samples: Sequence[Sample], name: str, folds: int, seed: int
) -> float:
    """Of held-out shapes."""
    gaps = []
    for train, test in list(fifths(samples, 0))[:folds]:
        model = recipe.fit(train, seed=seed)
        answers = model.predict([s.case for s in test])
        gaps += [
            relative_l2([s.fields[name].values], [p.mean[name].values])
            for s, p in zip(test, answers, strict=True)
        ]
    return float(np.mean(gaps))


def told(inner: Surrogate, features: tuple[str, ...]) -> Surrogate:
    """With features."""
    return SurfaceFeatures(inner, features) if features else inner


def ablation(
    label: str, samples: Sequence[Sample], name: str, tried: Sequence[Tried]
) -> list[tuple[object, ...]]:
    """Rows: a surrogate, and its error with each set of features."""
    rows: list[tuple[object, ...]] = []
    for one in tried:
        errors: list[object] = []
        for features in SETS.values():
            recipe = told(one.recipe, features)
            errors.append(error_of(recipe, samples, name, one.folds, 0))
            say(label, one.name, features, f"{errors[-1]:.3f}")
        held = sum(len(test) for _, test in list(fifths(samples, 0))[: one.folds])
        rows.append((label, one.name, held, *errors))
    for base in (NearestCase(), PodRidge(), MeanField()):
        error = error_of(base, samples, name, 5, 0)
        rows.append((label, type(base).__name__, len(samples), error, *[""] * (len(SETS) - 1)))
    return rows


@dataclass(frozen=True, eq=False)
class Tried:
    """A surrogate, and how many of five parts are held out in turn."""

    name: str
    recipe: Surrogate
    folds: int


def surrogates(steps: int, folds: int, mmgp: int) -> list[Tried]:
    """Networks of equal steps, and MMGP."""
    descent = Descent(steps=steps, rate=2e-3)
    graph = GraphTransformer(depth=4, width=32, descent=descent)
    plain = MeshGraphNet(depth=4, width=32, descent=descent)
    return [
        Tried("MMGP", MMGP(), mmgp),
        Tried(f"GraphTransformer, {steps} steps", graph, folds),
        Tried(f"MeshGraphNet, {steps} steps", plain, folds),
    ]


def cars() -> list[Sample]:
    """Surfaces; an input is wanted, they have none."""
    found = read_folder(data_folder("shapenet_car_cgns")).samples
    return [replace(s, case=replace(s.case, fields={})) for s in found]


def main(given: argparse.Namespace) -> None:
    """Check, ablate, print."""
    clock = Clock()
    torch.set_num_threads(1)
    mean, gaussian, points = curvature_errors(5)
    bars = [
        Bar(f"largest error of {what} of an ellipsoid", error, 0.01, points, clock(), False, 0.01)
        for what, error in (("mean curvature H", mean), ("Gaussian curvature K", gaussian))
    ]
    quick = bool(given.quick)
    airfoils = [replace(s, fields={"cp": s.fields["cp"]}, scalars={}) for s in rans_airfoils()]
    sizes = ((30, 1, 2), (5, 1, 2)) if quick else ((100, 5, 5), (40, 2, 5))
    rows = ablation("25 airfoils, cp", airfoils, "cp", surrogates(*sizes[0]))
    rows += ablation("10 cars, pressure", cars(), "pressure", surrogates(*sizes[1]))
    head = ("shapes", "surrogate", "held out", *SETS)
    tables = {"relative L2 error by what is told": table(head, rows)}
    finish("airfoil_features", given, bars, tables)


if __name__ == "__main__":
    main(arguments(__doc__ or ""))
