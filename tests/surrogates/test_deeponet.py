"""Operator networks: the published formulas and sizes, points one by one, ragged cases."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fieldcast.conformance.families import ring, square
from fieldcast.meshes import Case, Field, Mesh, Sample, Samples
from fieldcast.surrogates import DeepONet, Descent, FusionDeepONet
from fieldcast.surrogates.operator_data import OperatorReading, Trunk, body_fitted
from fieldcast.surrogates.operator_derivative import (
    Derivative,
    automatic_gradient,
    discrete_square,
    stencils_of,
)
from fieldcast.surrogates.operator_layers import FusionNet, PlainNet, Rowdy
from fieldcast.surrogates.operator_objective import OperatorObjective, Pack, ends_of
from fieldcast.surrogates.signature import Signature

FEW = Descent(steps=3, batch=4, every=3)


def fitted_to(case, trunk):
    """What the trunk is told of a body, at the points of the mesh."""
    points = torch.as_tensor(np.array(case.mesh.points))
    return body_fitted(case, trunk, points, points).numpy()


@pytest.mark.parametrize(
    ("inputs", "fields", "count"), [(2, 4, 37_854), (3, 1, 25_438), (3, 5, 42_078)]
)
def test_it_has_the_published_number_of_parameters(inputs, fields, count):
    net = FusionNet((inputs, 2, fields, 0), 64, 3, 64)
    assert sum(p.numel() for p in net.parameters()) == count


def test_the_plain_one_has_the_same_but_for_activations():
    net = PlainNet((2, 2, 4, 0), 64, 3, 64)
    assert sum(p.numel() for p in net.parameters()) == 37_824


def test_the_activation_is_rowdy_and_begins_as_a_shifted_tanh():
    z, act = torch.linspace(-3, 3, 7), Rowdy()
    torch.testing.assert_close(act(z), torch.tanh(z + 0.1))
    a, c, a1, f1, c1 = 0.2, 0.3, 0.4, 0.5, 0.6
    with torch.no_grad():
        act.numbers.copy_(torch.tensor([a, c, a1, f1, c1]))
    expected = torch.tanh(10 * a * z + c) + 10 * a1 * torch.sin(10 * f1 * z + c1)
    torch.testing.assert_close(act(z), expected)


@pytest.mark.parametrize(("gate", "shift"), [("product", 0.0), ("residual", 1.0)])
def test_the_network_is_its_formula(gate, shift):
    torch.manual_seed(0)
    net = FusionNet((3, 2, 4, 0), 8, 3, 6, gate).double()
    v, x = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 7, 2, dtype=torch.float64)
    found, _ = net(v, x)
    h, t, total = v, x, 0.0
    for k in range(3):
        h = net.branch_acts[k](h @ net.branch[k].weight.T + net.branch[k].bias)
        total = total + h
        z = t @ net.trunk[k].weight.T + net.trunk[k].bias
        t = net.trunk_acts[k](z) * (total + shift)[:, None]
    b = (h @ net.branch_out.weight.T + net.branch_out.bias).view(5, 6, 4)
    t = t @ net.trunk_out.weight.T + net.trunk_out.bias
    torch.testing.assert_close(found, torch.einsum("bgf,bng->bnf", b, t))


@pytest.mark.parametrize(
    "net", [FusionNet((3, 2, 4, 2), 8, 3, 6), PlainNet((3, 2, 4, 2), 8, 3, 6, (1, 2))]
)
def test_ragged_points_are_answered_as_each_alone(net):
    net = net.double()
    v = torch.randn(3, 3, dtype=torch.float64)
    counts = [4, 1, 6]
    x = torch.randn(11, 2, dtype=torch.float64)
    found, scalars = net.at(v, x, counts)
    parts = zip(v, torch.split(x, counts), strict=True)
    alone = [net(one[None], points[None]) for one, points in parts]
    torch.testing.assert_close(found, torch.cat([fields[0] for fields, _ in alone]))
    torch.testing.assert_close(scalars, torch.cat([told for _, told in alone]))
    order = torch.randperm(6)
    torch.testing.assert_close(net(v[2:], x[5:][order][None])[0][0], found[5:][order])


def test_answers_in_blocks_without_gradients_are_those_with_them(monkeypatch):
    net = FusionNet((3, 2, 4, 2), 8, 3, 6).double()
    with torch.no_grad():
        for act in (*net.trunk_acts, *net.branch_acts):
            act.numbers.add_(0.1 * torch.randn(5))
    v, x = torch.randn(2, 3, dtype=torch.float64), torch.randn(50, 2, dtype=torch.float64)
    expected, scalars = net.at(v, x, [31, 19])
    monkeypatch.setattr("fieldcast.surrogates.operator_layers.BLOCK", 7)
    with torch.no_grad():
        found, told = net.at(v, x, [31, 19])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(told, scalars)


def shifted(mesh, where, on, name=""):
    """A front at x = where, smooth, on points or cells."""
    at = mesh.points if on == "point" else mesh.points[mesh.cells["triangle"]].mean(axis=1)
    u = 1e5 + 40.0 * np.tanh((at[:, 0] - where) / 0.1)
    case = Case(mesh, {"where": where}, name=name)
    return Sample(case, {"u": Field.steady(u, "Pa", on)}, {"total": float(u.sum() / len(u))})


@pytest.mark.parametrize("on", ["point", "cell"])
def test_a_front_that_moves_is_learnt_from_a_dozen_cases(on):
    places = np.linspace(0.2, 0.8, 13)
    made = [shifted(square(8 + k % 3, k), w, on) for k, w in enumerate(places)]
    recipe = FusionDeepONet(32, 3, 32, points=64, descent=Descent(steps=1200, rate=5e-3))
    errors = {}
    for kind in (recipe, DeepONet(32, 3, 32, points=64, descent=recipe.descent)):
        found = kind.fit(made).predict([shifted(square(9, 50), w, on).case for w in (0.33, 0.57)])
        gaps = [
            p.mean["u"].values - shifted(square(9, 50), w, on).fields["u"].values
            for p, w in zip(found, (0.33, 0.57), strict=True)
        ]
        errors[type(kind).__name__] = float(np.sqrt(np.mean(np.square(gaps))))
    assert errors["FusionDeepONet"] < 3.0
    assert errors["FusionDeepONet"] < errors["DeepONet"]


def test_the_trunk_is_told_of_the_body():
    mesh = ring(4, 0, 0.3)
    radius = np.linalg.norm(mesh.points, axis=1)
    mesh = replace(mesh, regions={"body": np.flatnonzero(radius < 0.31)})
    case = Case(mesh, {"p": 1.0}, name="odd")
    columns = fitted_to(case, Trunk(body="body"))
    np.testing.assert_array_equal(columns[mesh.regions["body"], -1], 0.0)
    np.testing.assert_allclose(columns[radius > 0.99, -1], 1.0)
    np.testing.assert_allclose(np.linalg.norm(columns[:, 2:4], axis=1), 0.3, rtol=1e-6)
    samples = [
        Sample(case, {"u": Field.steady(radius)}),
        Sample(case, {"u": Field.steady(-radius)}),
    ]
    with pytest.raises(
        ValueError, match=r"case odd: expected points in the region 'wing'.*got regions \['body'\]"
    ):
        FusionDeepONet(trunk=Trunk(body="wing"), descent=FEW).fit(samples)


@pytest.mark.parametrize("on", ["point", "cell"])
def test_stencils_tell_the_gradient_of_a_plane_and_stay_within_the_mesh(on):
    meshes = [square(7, 0), ring(4, 1, 0.3)]
    found = stencils_of(meshes, on, lambda points: points, 12)
    at = [m.points if on == "point" else m.points[m.cells["triangle"]].mean(axis=1) for m in meshes]
    x = torch.as_tensor(np.concatenate(at), dtype=torch.float32)
    u = torch.stack([2.0 * x[:, 0] - x[:, 1] + 5.0, x[:, 1]], dim=1)
    expected = torch.tensor([[2.0, 0.0], [-1.0, 1.0]]).expand(len(x), 2, 2)
    torch.testing.assert_close(found.gradient(u), expected, rtol=1e-4, atol=1e-4)
    size = len(at[0])
    assert int(found.ids[:size].max()) < size <= int(found.ids[size:].min())


def test_no_neighbour_lies_across_a_slit():
    x, y = np.meshgrid(np.linspace(0, 1, 11), np.linspace(0, 1, 11), indexing="ij")
    ids = np.arange(121).reshape(11, 11)
    cells = np.stack([ids[:-1, :-1], ids[1:, :-1], ids[1:, 1:], ids[:-1, 1:]], 2).reshape(-1, 4)
    points = np.stack([x, y], 2).reshape(-1, 2)
    # No cells between y = 0.4 and 0.6, but at the right end.
    middle = points[cells].mean(axis=1)
    cells = cells[~((abs(middle[:, 1] - 0.5) < 0.1) & (middle[:, 0] < 0.8))]
    mesh = Mesh(points, {"quad": cells})
    found = stencils_of([mesh], "point", lambda p: p, 12)
    above = torch.as_tensor(points[:, 1] > 0.55)
    left = torch.as_tensor(points[:, 0] < 0.35)
    used = found.weights.abs().sum(-1) > 0
    across = above[:, None] != above[found.ids]
    assert not bool((used & across)[left & (torch.as_tensor(abs(points[:, 1] - 0.5)) > 0.05)].any())


def layered(n=9, thin=0.01):
    """Quadrilaterals that are thin at y = 0, their bottom the region "wall"."""
    x, y = np.linspace(0, 2, n), np.linspace(0, 1, n) ** 3 + thin * np.arange(n)
    points = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    ids = np.arange(n * n).reshape(n, n)
    corners = (ids[:-1, :-1], ids[1:, :-1], ids[1:, 1:], ids[:-1, 1:])
    cells = np.stack(corners, axis=2).reshape(-1, 4)
    return Mesh(points, {"quad": cells}, {"wall": ids[:, 0]})


def test_in_thin_cells_the_nearest_count_most():
    mesh = layered()
    x, y = torch.tensor(mesh.points, dtype=torch.float32).T
    found = stencils_of([mesh], "point", lambda p: p, 12).gradient((x + y**2)[:, None])[:, :, 0]
    wall = torch.tensor(mesh.regions["wall"])
    # d/dx exactly; d/dy is 0 at the wall, and 1.5 where the others lie.
    torch.testing.assert_close(found[wall, 0], torch.ones(len(wall)), rtol=0, atol=5e-3)
    assert float(found[wall[1:-1], 1].abs().max()) < 0.05


@pytest.mark.parametrize(("on", "sites"), [("point", 9), ("cell", 8)])
def test_derivatives_at_a_region_alone(on, sites):
    meshes = [layered(), layered(thin=0.02)]
    every = stencils_of(meshes, on, lambda p: p, 8)
    own = stencils_of(meshes, on, lambda p: p, 8, "wall")
    assert own.counts == (sites, sites)
    size = sum(len(m.points) if on == "point" else m.n_cells for m in meshes)
    u = torch.as_tensor(np.random.default_rng(0).normal(size=(size, 2)), dtype=torch.float32)
    torch.testing.assert_close(own.gradient(u), every.gradient(u)[own.at])
    needed = own.needed()[1]
    place = torch.full((size,), -1)
    place[needed] = torch.arange(len(needed))
    one = own.of_cases([1], place)
    torch.testing.assert_close(one.gradient(u[needed]), own.gradient(u)[sites:])
    with pytest.raises(ValueError, match=f"derivatives at 'top': expected {on}s there"):
        stencils_of(meshes, on, lambda p: p, 8, "top")


def test_the_loss_at_a_region_adds_the_square_of_its_slopes_alone():
    cases = [Case(layered(), {"k": k}) for k in (1.0, 2.0)]
    made = [Sample(c, {"T": Field.steady(np.sin(c.mesh.points[:, 1]))}) for c in cases]
    made = Samples.pack(made)
    reading = OperatorReading.fit(Signature.of(made), made, Trunk())
    losses = []
    for weight in (0.0, 1.0):
        derivative = Derivative("least_squares", weight, 8, "wall")
        pack = Pack.of(reading, made, torch.device("cpu"), derivative)
        torch.manual_seed(0)
        net = FusionNet(ends_of(pack), 8, 2, 8)
        losses.append(OperatorObjective(pack, None, 16, 0, derivative).loss(net, torch.arange(2)))
    [part] = pack.parts
    gap = net(pack.v, part.x, part.counts)[0] - part.y
    expected = part.stencils.gradient(gap).square().mean()
    torch.testing.assert_close(losses[1] - losses[0], expected)
    with pytest.raises(ValueError, match="which follows all points"):
        Derivative("discrete", region="wall")


def test_derivatives_of_the_network_and_of_the_storage_order():
    x = torch.randn(9, 3, dtype=torch.float64)

    def function(x):
        return torch.stack([x[:, 0] ** 2 * x[:, 2], x[:, 1]], dim=1)

    found = automatic_gradient(function, x, 2)
    torch.testing.assert_close(found[:, 0, 0], 2 * x[:, 0] * x[:, 2])
    torch.testing.assert_close(found[:, 1, 1], torch.ones(9, dtype=torch.float64))
    error = torch.tensor([[0.0], [1.0], [5.0], [5.0], [8.0]])
    places = torch.tensor([[0.0], [2.0], [0.0], [0.0], [1.0]])
    # Cases of two and three points: quotients 1/2, and 0 / 1, 3 / 1.
    assert float(discrete_square(error, places, (2, 3))) == pytest.approx((0.25 + 0 + 9) / 3)


@pytest.mark.parametrize("kind", ["least_squares", "discrete", "automatic"])
def test_derivatives_in_the_loss_are_those_of_the_data(kind):
    made = [shifted(square(8 + k % 3, k), w, "point") for k, w in enumerate((0.3, 0.5, 0.7))]
    descent = Descent(steps=3, batch=3, every=3)
    weights = [1e-3, 10.0]
    losses = []
    for weight in weights:
        recipe = FusionDeepONet(16, 2, 16, derivative=Derivative(kind, weight, 12), descent=descent)
        losses.append(recipe.fit(made).card.fit["training"])
    assert losses[0] != losses[1]
    with pytest.raises(ValueError, match='expected "least_squares"'):
        Derivative("exact")


def test_the_way_from_the_body_to_what_is_far():
    """A box between the bottom and the top, its sides neither."""
    mesh = square(9, 0)
    x, y = mesh.points.T
    low, high = y.min(), y.max()
    regions = {"low": np.flatnonzero(y == low), "high": np.flatnonzero(y == high)}
    case = Case(replace(mesh, regions=regions), {})
    share = fitted_to(case, Trunk(body="low", far="high"))[:, -1]
    np.testing.assert_allclose(share, (y - low) / (high - low), atol=1e-9)
    beside = fitted_to(case, Trunk(body="low"))[:, -1]
    assert (beside[(x == x.max()) & (y > low)] == 1).all()
    with pytest.raises(ValueError, match="expected points in the region 'top'"):
        fitted_to(case, Trunk(body="low", far="top"))
    with pytest.raises(ValueError, match="expected a body, too"):
        Trunk(far="high")


def test_scalars_alone_empty_regions_and_columns_that_no_derivative_follows():
    made = [shifted(square(5, k), 0.1 * k, "point") for k in range(10)]
    alone = [Sample(s.case, {}, s.scalars) for s in made]
    model = FusionDeepONet(16, 2, 16, descent=Descent(steps=20, every=10)).fit(alone)
    [found] = model.predict([made[3].case])
    assert np.isfinite(found.scalars["total"].mean).all()
    assert np.isfinite(model.card.fit["training"]["validation_error"])
    empty = [
        Sample(
            replace(s.case, mesh=replace(s.case.mesh, regions={"body": np.empty(0, int)})),
            s.fields,
            s.scalars,
        )
        for s in made
    ]
    with pytest.raises(ValueError, match="expected points in the region 'body'"):
        FusionDeepONet(trunk=Trunk(body="body"), descent=FEW).fit(empty)
    with pytest.raises(ValueError, match='use "least_squares"'):
        FusionDeepONet(
            trunk=Trunk(distance=True), derivative=Derivative("automatic"), descent=FEW
        ).fit(made)


def test_many_points_are_answered_in_pieces():
    net = FusionNet((3, 2, 4, 2), 8, 3, 6).double()
    v, x = torch.randn(3, 3, dtype=torch.float64), torch.randn(11, 2, dtype=torch.float64)
    for one, other in zip(net.at(v, x, [4, 1, 6]), net.at_most(v, x, [4, 1, 6], 3), strict=True):
        torch.testing.assert_close(one, other)
