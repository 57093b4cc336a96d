"""Points along boundaries, and networks that are told a shape by them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fieldcast.conformance.families import box, ring, square
from fieldcast.meshes import Case, Field, Mesh, Sample
from fieldcast.surrogates import (
    GINO,
    DeepONet,
    Descent,
    FusionDeepONet,
    Image,
    Mionet,
    Sensors,
    load,
)
from fieldcast.surrogates.operator_geometry import GeometryNet, Kernels


def outline(width, height):
    """A rectangle of two triangles, the regions its lower side and its right one."""
    corners = np.array([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]])
    regions = {"low": np.array([0, 1]), "right": np.array([1, 2])}
    return Case(Mesh(corners, {"triangle": np.array([[0, 1, 2], [0, 2, 3]])}, regions), {})


def test_sensors_lie_evenly_along_the_boundary():
    case = outline(3.0, 1.0)
    np.testing.assert_allclose(Sensors(4, "low").on(case), [[0, 0], [1, 0], [2, 0], [3, 0]])
    around = Sensors(9).on(case)
    expected = [[0, 0], [1, 0], [2, 0], [3, 0], [3, 1], [2, 1], [1, 1], [0, 1], [0, 0]]
    np.testing.assert_allclose(around, expected, atol=1e-12)
    fine, coarse = (Case(ring(n, 0, 0.4), {}) for n in (24, 12))
    radius = np.linalg.norm(Sensors(50).on(fine), axis=1)
    assert abs(np.sort(radius)[[0, -1]] - [0.4, 1.0]).max() < 0.02
    near = np.linalg.norm(Sensors(50).on(fine) - Sensors(50).on(coarse), axis=1)
    assert np.median(near) < 0.05


def test_a_region_in_pieces_and_the_way_cells_turn():
    corners = np.array([[0.0, 0], [2, 0], [2, 1], [0, 1]])
    sides = {"ends": np.array([0, 1, 2, 3])}
    for cells in ([[0, 1, 2], [0, 2, 3]], [[2, 1, 0], [3, 2, 0]]):
        mesh = Mesh(corners, {"triangle": np.array(cells)}, sides)
        assert len(Sensors(7, "ends").on(Case(mesh, {}))) == 7
        np.testing.assert_allclose(
            Sensors(7, "ends").on(Case(mesh, {}))[:3], [[0, 0], [1, 0], [2, 0]]
        )
    long = Mesh(
        np.array([[0.0, 0], [1, 0], [3, 0], [3, 1], [1, 1], [0, 1]]),
        {"quad": np.array([[0, 1, 4, 5], [1, 2, 3, 4]])},
        {"walls": np.array([1, 2, 4, 5])},
    )
    found = Sensors(4, "walls").on(Case(long, {}))
    np.testing.assert_allclose(found, [[1, 0], [2, 0], [0, 1], [1, 1]], atol=1e-12)


def test_what_has_no_place_for_sensors_is_refused():
    with pytest.raises(ValueError, match="at least 2 sensors"):
        Sensors(1)
    with pytest.raises(ValueError, match=r"region 'wing' on the boundary, got regions \['low'"):
        Sensors(8, "wing").on(outline(1.0, 1.0))
    with pytest.raises(ValueError, match="expected a plane mesh"):
        Sensors(8).on(Case(box(3, 0), {}))


def slanted(slope):
    """A square whose lower side is slanted, without parameters; u is the height over it."""
    mesh = square(6, 0)
    x, y = mesh.points.T
    points = np.stack([x, y + slope * x * (1 - y)], 1)
    u = 10.0 + points[:, 1] - slope * points[:, 0] + 3.0 * slope
    return Sample(Case(Mesh(points, mesh.cells, mesh.regions), {}), {"u": Field.steady(u, "K")})


@pytest.mark.parametrize("recipe", [DeepONet, FusionDeepONet, Mionet])
def test_networks_told_a_shape_by_sensors_learn_it_and_are_kept(recipe, tmp_path):
    made = [slanted(s) for s in np.linspace(-0.5, 0.5, 13)]
    descent = Descent(steps=200, batch=8, rate=1e-2, every=50, optimiser="soap")
    model = replace(recipe.tiny(), sensors=Sensors(24), descent=descent).fit(made[::2])
    cases = [s.case for s in made[1::2]]
    found = model.predict(cases)
    gaps = [
        np.abs(p.mean["u"].values - s.fields["u"].values).max()
        for s, p in zip(made[1::2], found, strict=True)
    ]
    assert max(gaps) < 0.3
    for one, other in zip(
        found, load(model.save(tmp_path / "model.fieldcast")).predict(cases), strict=True
    ):
        np.testing.assert_array_equal(one.mean["u"].values, other.mean["u"].values)


def test_a_geometry_informed_operator_sees_the_shape(tmp_path):
    pytest.importorskip("neuralop", reason="expected neuraloperator: fieldcast[operators]")
    made = [slanted(s) for s in np.linspace(-0.5, 0.5, 13)]
    recipe = GINO(8, 1, 4, image=Image(8), sensors=Sensors(16), points=24)
    descent = Descent(steps=150, batch=4, rate=1e-2, every=50)
    model = replace(recipe, descent=descent).fit(made[::2])
    cases = [s.case for s in made[1::2]]
    truth = [s.fields["u"].values for s in made[1::2]]
    found = list(model.predict(cases))
    gap = np.mean([np.square(p.mean["u"].values - u) for p, u in zip(found, truth, strict=True)])
    assert gap < 0.05 * np.mean([np.square(u - np.mean(truth)) for u in truth])
    loaded = load(model.save(tmp_path / "model.fieldcast")).predict(cases[:2])
    np.testing.assert_array_equal(loaded[0].mean["u"].values, found[0].mean["u"].values)


def test_kernels_reach_the_pixels_around():
    low, high, sides = np.array([0.0, -1.0]), np.array([1.5, 0.0]), (6, 4)
    torch.manual_seed(0)
    ends, picture = (2 + 2 * 5 + 24, 2, 3, 0), (1, *sides)
    net = GeometryNet(ends, picture, (low, high), torch.nn.Identity(), Kernels(4, 1.5, 5))
    v, x = torch.rand(2, ends[0]), torch.rand(2, 4, 2) * 1.6 + torch.tensor([-0.1, -1.0])
    channels = net.channels(v)
    assert channels.shape == (2, 1 + 2 + 4, *sides)
    centres = torch.stack(
        torch.meshgrid(*[torch.arange(n) + 0.5 for n in sides], indexing="ij"), -1
    )
    centres = centres.reshape(-1, 2) / 4 + torch.as_tensor(low)
    size = torch.as_tensor(high - low)

    def kernel(net, place, pixel):
        way = (pixel - place) / 0.25 / 1.5
        return net(torch.cat([way, (place - torch.as_tensor(low)) / size]).float()), way.norm() <= 1

    states = torch.rand(2, 4, *sides)
    seen = net.read(states, x)
    for k in range(2):
        sensors = v[k, 2:12].view(5, 2)
        for j, pixel in enumerate(centres):
            pairs = [kernel(net.feel, place, pixel) for place in sensors]
            near = [value for value, close in pairs if close] or [torch.zeros(4)]
            torch.testing.assert_close(
                channels[k, 3:].flatten(1)[:, j], torch.stack(near).mean(0), rtol=1e-4, atol=1e-5
            )
        for place, found in zip(x[k], seen[k], strict=True):
            pairs = [kernel(net.see, place, pixel) for pixel in centres]
            near = [
                value * states[k].flatten(1)[:, j]
                for j, (value, close) in enumerate(pairs)
                if close
            ] or [torch.zeros(4)]
            torch.testing.assert_close(
                found, net.answer(torch.stack(near).mean(0)), rtol=1e-4, atol=1e-5
            )
    with pytest.raises(ValueError, match="at least a pixel"):
        GeometryNet(ends, picture, (low, high), torch.nn.Identity(), Kernels(4, 0.5, 5))
