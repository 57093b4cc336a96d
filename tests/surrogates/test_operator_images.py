"""Pictures of shapes, networks that read them, and going on with few new simulations."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fieldcast.conformance.families import box, bulged, ring, square
from fieldcast.meshes import Case, Field, Mesh, Sample
from fieldcast.surrogates import FNO, Descent, Image, MultiTaskDeepONet, load
from fieldcast.surrogates.operator_images import Grid, GridNet, ImageNet

FEW = Descent(steps=3, batch=4, every=3)
SMALL = MultiTaskDeepONet(16, 2, 16, (4, 8), Image(16), points=64, descent=FEW)


def holed(hole, name="", load=1.0):
    """A ring without parameters of its shape; u is told by the distance to the hole."""
    mesh = ring(6, 0, hole)
    u = 20.0 + load * np.cos(3 * (np.linalg.norm(mesh.points, axis=1) - hole) / (1 - hole))
    return Sample(Case(mesh, {"load": load}, name=name), {"u": Field.steady(u, "K")})


def test_a_picture_shows_where_the_mesh_is_and_how_far_its_boundary():
    mesh = ring(8, 0, 0.4)
    grid = Grid.of(mesh.points, 40)
    assert grid.counts == (40, 40)
    shape, radius = grid.shape(mesh), np.linalg.norm(grid.centres, axis=1)
    sure = np.minimum(abs(radius - 0.4), abs(radius - 1.0)) > 0.02
    inside = (radius > 0.4) & (radius < 1.0)
    np.testing.assert_array_equal(shape.inside[sure], inside[sure])
    signed = np.where(inside, 1, -1) * np.minimum(abs(radius - 0.4), abs(radius - 1.0))
    side = grid.size * 40
    np.testing.assert_allclose(shape.distance * side, signed, atol=0.01)
    told = shape.channel(mesh.points)
    np.testing.assert_allclose(told.T[inside & sure], grid.centres[inside & sure], atol=1e-9)
    assert not told.T[~shape.inside].any()
    flat = Grid.of(square(5, 0).points * [1.0, 0.25], 16)
    assert flat.counts == (16, 6)
    solid = Grid.of(box(4, 0).points, 8)
    assert solid.shape(box(4, 0)).inside.sum() > 200


def test_meshes_that_no_picture_can_be_made_of_are_refused():
    points = np.array([[0.0], [1.0]])
    with pytest.raises(ValueError, match="2 or 3 dimensions"):
        Grid.of(points, 8)
    wire = Mesh(np.eye(2), {"line": np.array([[0, 1]])})
    with pytest.raises(ValueError, match="that fill their space"):
        Grid.of(wire.points, 8).shape(wire)
    with pytest.raises(ValueError, match="at least 4 pixels"):
        Image(2)
    recipe = replace(SMALL, image=Image(8, ("mask", "wind")))
    with pytest.raises(ValueError, match=r"known fields \[\], got \['wind'\]"):
        recipe.fit([holed(0.3), holed(0.4)])


@pytest.mark.parametrize("dim", [2, 3])
def test_a_picture_is_read_off_linearly_at_points(dim):
    grid = Grid(np.full(dim, -1.0), 0.25, (8, 10, 9)[:dim])
    high = grid.low + grid.size * np.array(grid.counts)
    net = GridNet((8, dim, 1, 0), (1, *grid.counts), (grid.low, high), torch.nn.Identity(), 1)
    slope = np.array([2.0, -1.0, 0.5])[:dim]
    image = torch.as_tensor(grid.centres @ slope + 3.0, dtype=torch.float32)[None]
    x = torch.rand(1, 20, dim) * 1.5 - 0.8
    found, _ = net(image, x)
    expected = x.double() @ torch.as_tensor(slope) + 3.0
    torch.testing.assert_close(found[0, :, 0].double(), expected[0], rtol=1e-5, atol=1e-5)
    ragged, _ = net(image.expand(2, -1), x[0], [5, 15])
    torch.testing.assert_close(ragged, found[0])


def test_known_fields_are_shown_and_everything_is_kept(tmp_path):
    made = []
    for k in range(6):
        mesh = bulged(square(5 + k % 2, k), 1.0, 0.1 * k)
        wind = Field.steady(np.stack([mesh.points[:, 0], k + mesh.points[:, 1]], 1), "m/s")
        u = Field.steady(mesh.points[:, 0] * k, "K")
        made.append(Sample(Case(mesh, {}, {"wind": wind}), {"u": u}))
    for recipe in (
        replace(SMALL, image=Image(12, ("mask", "wind"))),
        FNO(6, 2, 4, Image(12, ("distance", "wind")), points=16, descent=FEW),
    ):
        model = recipe.fit(made)
        assert model.reading.picture[0] == 3
        found = model.predict([s.case for s in made])
        again = load(model.save(tmp_path / "model.fieldcast")).predict([s.case for s in made])
        for one, other in zip(found, again, strict=True):
            np.testing.assert_array_equal(one.mean["u"].values, other.mean["u"].values)


def test_the_picture_tells_the_shape():
    holes = np.linspace(0.2, 0.6, 17)
    made = [holed(h) for h in holes]
    descent = Descent(steps=500, batch=16, rate=3e-3, every=50)
    model = replace(SMALL, width=32, latent=32, descent=descent).fit(made[::2])
    gaps = [
        np.abs(p.mean["u"].values - s.fields["u"].values).max()
        for s, p in zip(made[1::2], model.predict([s.case for s in made[1::2]]), strict=True)
    ]
    assert max(gaps) < 0.3


def test_going_on_leaves_frozen_parts_as_they_are_and_learns_the_rest():
    first = [holed(h) for h in np.linspace(0.2, 0.6, 8)]
    model = replace(SMALL, descent=Descent(steps=200, batch=8, rate=3e-3, every=50)).fit(first)
    few = [holed(h, load=-1.0) for h in (0.25, 0.4, 0.55)]
    recipe = replace(SMALL, descent=Descent(steps=200, batch=3, rate=3e-3, every=50))
    found = recipe.adapted(model, few, frozen=("image",))
    before, after = dict(model.net.named_parameters()), dict(found.net.named_parameters())
    for name, weight in after.items():
        assert torch.equal(weight, before[name]) == name.startswith("image.")
    assert found.reading is model.reading
    cases, truth = [s.case for s in few], [s.fields["u"].values for s in few]
    errors = [
        np.mean(np.square(p.mean["u"].values - u))
        for m in (model, found)
        for p, u in zip(m.predict(cases), truth, strict=True)
    ]
    assert np.mean(errors[3:]) < 0.3 * np.mean(errors[:3])
    with pytest.raises(ValueError, match=r"expected parts of the network, .*got \['eyes'\]"):
        recipe.adapted(model, few, frozen=("eyes",))
    other = [Sample(s.case, {"v": s.fields["u"]}) for s in few]
    with pytest.raises(ValueError, match=r"the fields that the model has, \['u'\], got \['v'\]"):
        recipe.adapted(model, other)


def test_images_of_few_pixels_and_of_three_dimensions():
    net = ImageNet((2 + 2 * 4**3, 3, 4, 1), (2, 4, 4, 4), (4, 4, 8), 16, 2, 8)
    fields, scalars = net(torch.randn(3, 2 + 2 * 4**3), torch.randn(3, 7, 3))
    assert fields.shape == (3, 7, 4)
    assert scalars.shape == (3, 1)
