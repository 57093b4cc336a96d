"""Derivatives of networks by the coordinates of points, of all that they may be told of a mesh, and
the exact ones of what a trunk is told of a body in the plane and in space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fieldcast.conformance.families import box, ring
from fieldcast.meshes import Case, Field, Mesh, Sample
from fieldcast.surrogates import Descent, FusionDeepONet, MeshGraphNet
from fieldcast.surrogates import traced as t
from fieldcast.surrogates.operator_data import Trunk


def holed(seed: int, n: int = 4) -> Mesh:
    """A ring whose inner points lie nearer to one facet than to the next."""
    mesh = ring(n, seed, 0.3)
    radius = np.linalg.norm(mesh.points, axis=1)
    inner = ((radius > 0.31) & (radius < 0.99))[:, None]
    shift = np.random.default_rng(seed).uniform(-0.02, 0.02, mesh.points.shape)
    mesh = mesh.moved(mesh.points + inner * shift)
    return replace(mesh, regions={"body": np.flatnonzero(radius < 0.301)})


def sample(seed: int) -> Sample:
    mesh = holed(seed)
    x, y = mesh.points.T
    p = 1.0 + 0.1 * seed
    known = {"k": Field(np.sin(x)[None, :, None], "m")}
    u = Field((p * np.hypot(x, y) + y)[None, :, None], "K")
    return Sample(Case(mesh, {"p": p}, known), {"u": u})


def slope(predictor, case, way, weights):
    h, x = 1e-6, case.mesh.points
    up, down = (
        predictor.pulled(replace(case, mesh=case.mesh.moved(x + s * h * way)), weights).value
        for s in (1, -1)
    )
    return (up - down) / (2.0 * h)


FEW = Descent(steps=3, batch=4, every=3)


@pytest.mark.parametrize(
    "recipe",
    [
        FusionDeepONet(8, 2, 8, trunk=Trunk(distance=True, body="body"), descent=FEW),
        FusionDeepONet(8, 2, 8, trunk=Trunk(body="body"), descent=FEW),
        MeshGraphNet.tiny(),
    ],
)
def test_points_move_all_that_networks_are_told_of_them(recipe):
    predictor = recipe.fit([sample(k) for k in range(4)])
    case = sample(5).case
    rng = np.random.default_rng(0)
    weights = {"u": rng.standard_normal((1, len(case.mesh.points), 1))}
    found = predictor.pulled(case, weights)
    way = rng.standard_normal(case.mesh.points.shape)
    assert float((found.points * way).sum()) == pytest.approx(
        slope(predictor, case, way, weights), rel=1e-5
    )


@pytest.mark.parametrize("mesh", [holed(1), box(4, 0)])
def test_the_nearest_place_and_its_normal_have_the_derivatives_of_differences(mesh):
    from fieldcast.meshes.topology import boundary

    rim = np.unique(boundary(mesh))
    inner = np.setdiff1d(np.arange(len(mesh.points)), rim)
    own = torch.as_tensor(np.array(mesh.points))

    def told(points):
        moved = mesh.moved(points.detach().numpy())
        return torch.cat(
            [a.reshape(len(inner), -1) for a in t.nearest(moved, rim, points, points[inner])], 1
        )

    generator = torch.Generator().manual_seed(0)
    way = torch.randn(own.shape, generator=generator, dtype=torch.float64)
    _, found = torch.autograd.functional.jvp(told, own, way)
    h = 1e-6
    gap = found - (told(own + h * way) - told(own - h * way)) / (2.0 * h)
    # Some nearest facets change within the step: those are kinks.
    assert (gap.abs() < 1e-5).all(1).float().mean() > 0.95


def test_what_a_picture_tells_has_no_derivative_by_points():
    from fieldcast.surrogates import MultiTaskDeepONet

    predictor = MultiTaskDeepONet.tiny()
    predictor = replace(predictor, descent=FEW).fit([sample(k) for k in range(4)])
    case = sample(5).case
    found = predictor.pulled(case, {"u": np.ones((1, len(case.mesh.points), 1))})
    assert found.points is None
    assert np.isfinite(found.parameters["p"]).all()
