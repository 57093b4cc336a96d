"""Networks on graphs: order, batches and parts don't matter, layers are their formulas, and they
learn what has no parametrisation."""

from copy import deepcopy
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch

from fieldcast.conformance.families import ring, square
from fieldcast.meshes import Case, Field, Mesh, Sample
from fieldcast.surrogates import Descent, GraphTransformer, MeshGraphNet
from fieldcast.surrogates.case_data import Scaling
from fieldcast.surrogates.graph import Graph
from fieldcast.surrogates.graph_layers import (
    Batch,
    Message,
    RmsNorm,
    Rotary,
    TemporalBlock,
    _RmsNorm,
)
from fieldcast.surrogates.graph_network import HiddenInputs
from fieldcast.surrogates.graph_objective import GraphObjective
from fieldcast.surrogates.graph_options import (
    Contact,
    GlobalNodes,
    Masking,
    MultiNode,
    Reach,
    Slices,
    Temporal,
)
from fieldcast.surrogates.graph_sites import Together, batch_of

FEW = Descent(steps=3, batch=2, every=3)
OPTIONS = {
    "plain": GraphTransformer(depth=2, width=16, heads=2, sharing=None, descent=FEW),
    "slices": GraphTransformer(2, 16, 2, sharing=Slices(4, always=True), descent=FEW),
    "global": GraphTransformer(2, 16, 2, sharing=GlobalNodes(3, always=True), descent=FEW),
    "hops": GraphTransformer(2, 16, 2, reach=Reach(hops=2), descent=FEW),
    "rings": GraphTransformer(2, 16, 4, reach=Reach(rings=(1, 3)), rotary=False, descent=FEW),
    "temporal": GraphTransformer(2, 16, 2, temporal=Temporal(), descent=FEW),
    "told": GraphTransformer(
        2, 16, 2, multi_node=MultiNode(8), masking=Masking(0.4, 2), descent=FEW
    ),
    "touching": GraphTransformer(2, 16, 2, contact=Contact(0.2, ("left",)), descent=FEW),
    "messages": MeshGraphNet(depth=2, width=16, descent=FEW),
    "messages, touching": MeshGraphNet(2, 16, contact=Contact(0.2, ("left",)), descent=FEW),
}


def regions(mesh):
    low, high = mesh.points[:, 0].min(), mesh.points[:, 0].max()
    x = mesh.points[:, 0]
    return replace(
        mesh,
        regions={"left": np.flatnonzero(x == low), "right": np.flatnonzero(x > 0.9 * high)},
    )


def sample(mesh, strength, name=""):
    """u = strength sin(x) + y^2 on points, its mean on cells, and one scalar."""
    x, y = mesh.points.T
    u = strength * np.sin(2 * x) + y**2
    case = Case(regions(mesh), {"strength": strength}, name=name)
    return Sample(case, {"u": Field.steady(u, "K")}, {"top": float(u.max())})


def family(n=6):
    meshes = [square(5 + k % 3, k) if k % 2 else ring(3, k, 0.4) for k in range(n)]
    return [sample(mesh, 1.0 + 0.3 * k, f"case{k}") for k, mesh in enumerate(meshes)]


@lru_cache(maxsize=8)
def trained(name):
    return OPTIONS[name].fit(family(), seed=1)


@pytest.fixture(params=list(OPTIONS))
def predictor(request):
    return trained(request.param)


def test_another_numbering_of_the_points_gives_the_same(predictor):
    case = sample(square(6, 9), 1.4).case
    order = np.random.default_rng(0).permutation(len(case.mesh.points))
    back = np.argsort(order)
    cells = {"triangle": back[case.mesh.cells["triangle"]]}
    named = {k: back[ids] for k, ids in case.mesh.regions.items()}
    turned = replace(case, mesh=Mesh(case.mesh.points[order], cells, named))
    [one], [other] = predictor.predict([case]), predictor.predict([turned])
    found, expected = other.mean["u"].values[0], one.mean["u"].values[0][order]
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    assert other.scalars["top"].mean == pytest.approx(one.scalars["top"].mean, rel=1e-5)


def test_parts_of_a_mesh_give_what_the_whole_gives_and_its_gradients(predictor):
    cases = [sample(mesh, 1.4).case for mesh in (square(9, 3), square(4, 1), ring(4, 2, 0.3))]
    placed = [predictor.sites.of_case(case) for case in cases]
    # In double precision, so that the order of sums does not hide an error.
    inputs = [predictor.reading.inputs(c, p.site) for c, p in zip(cases, placed, strict=True)]
    x, net = torch.cat(inputs).double(), deepcopy(predictor.net).double()
    batch = batch_of(placed)
    batch = replace(batch, points=batch.points.double())
    found = []
    for room in (1000, 23):
        net.room = room
        net.zero_grad()
        given = x.clone().requires_grad_()
        outputs = net(given, batch)
        sum(out.square().sum() for out in outputs).backward()
        grads = [p.grad.clone() for p in net.parameters() if p.grad is not None]
        found.append([*(out.detach() for out in outputs), given.grad, *grads])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_recomputing_changes_no_gradient():
    # On a GPU sums are made in no fixed order.
    here = replace(FEW, device="cpu")
    plain, saving = (
        GraphTransformer(2, 16, 2, recompute=again, descent=here).fit(family(), seed=1)
        for again in (False, True)
    )
    for one, other in zip(plain.net.parameters(), saving.net.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_regions_that_training_never_saw_are_refused(predictor):
    mesh = regions(square(5, 0))
    odd = replace(mesh, regions={**mesh.regions, "valve": np.array([0, 1])})
    with pytest.raises(ValueError, match=r"case odd: expected regions of .*got \['valve'\]"):
        predictor.predict([Case(odd, {"strength": 1.0}, name="odd")])


def test_the_first_layer_of_messages_is_that_of_the_concatenation():
    torch.manual_seed(0)
    layer, graph = (
        Message(8),
        batch_of([OPTIONS["messages"].fit(family()).sites.placed(square(4, 0))]),
    )
    graph = graph.graphs[0]
    h, e = torch.randn(graph.nodes, 8), torch.randn(graph.edges, 8)
    first = torch.nn.Linear(24, 8)
    with torch.no_grad():
        weights = [layer.edge.weight, layer.receiver.weight, layer.sender.weight]
        first.weight.copy_(torch.cat(weights, dim=1))
        first.bias.copy_(layer.edge.bias)
    both = torch.cat([e, h[graph.row], h[graph.column.long()]], dim=1)
    edges = e + layer.edges(first(both))
    total = torch.zeros_like(h).index_add(0, graph.row, edges)
    nodes = h + layer.nodes(torch.cat([h, total], dim=1))
    found = layer(h, e, graph)
    torch.testing.assert_close(found[0], nodes)
    torch.testing.assert_close(found[1], edges)


@pytest.mark.parametrize(("channels", "dim"), [(8, 2), (13, 3), (6, 2)])
def test_turned_products_depend_on_the_way_between_points_alone(channels, dim):
    rotary = Rotary(channels, dim)
    q, k = torch.randn(2, 5, 2, channels, dtype=torch.float64)
    points = torch.randn(5, dim, dtype=torch.float64)

    def product(points):
        one, other = rotary.turns(points), rotary.turns(points.flip(0))
        return (rotary.turned(q, one) * rotary.turned(k, other)).sum(-1)

    torch.testing.assert_close(product(points), product(points + 3.0))
    turns = rotary.turns(points)
    torch.testing.assert_close(rotary.turned(rotary.turned(q, turns), turns.conj()), q)
    with pytest.raises(ValueError, match="channels per head"):
        Rotary(4, 3)


def test_attention_does_not_depend_on_where_the_origin_lies():
    predictor = trained("plain")
    case = sample(square(5, 1), 1.0).case
    placed = predictor.sites.placed(case.mesh)
    batch, net = batch_of([placed]), deepcopy(predictor.net).double()
    x = predictor.reading.inputs(case, placed.site).double()
    here = replace(batch, points=batch.points.double())
    there = replace(here, points=here.points + 7.0)
    torch.testing.assert_close(net.states(x, here), net.states(x, there))


def test_constant_columns_are_left_alone_and_sums_are_exact():
    rng = np.random.default_rng(0)
    rows = rng.normal([10.0, 5.0, 1e-7], [0.01, 0.0, 1e-9], (300_000, 3))
    scaling = Scaling.of(np.array_split(rows, 100))
    np.testing.assert_allclose(scaling.shift, rows.mean(axis=0))
    np.testing.assert_allclose(scaling.scale, [rows[:, 0].std(), 1.0, rows[:, 2].std()])


def test_held_nodes_keep_what_the_case_gives():
    mesh = regions(square(6, 0))
    before = np.random.default_rng(0).normal(size=len(mesh.points))
    made = [
        Sample(
            Case(mesh, {}, {"u": Field.steady(before + k, "K")}),
            {"u": Field.steady(1.1 * (before + k), "K")},
        )
        for k in range(4)
    ]
    recipe = GraphTransformer(2, 16, 2, held=("left",), noise=0.1, descent=FEW)
    [found] = recipe.fit(made).predict([made[0].case])
    left = mesh.regions["left"]
    np.testing.assert_array_equal(found.mean["u"].values[0, left, 0], before[left])
    assert (found.mean["u"].values[0, :, 0] != before).sum() == len(before) - len(left)


def test_held_cells_and_noise_on_them():
    mesh = regions(square(6, 0))
    ids = mesh.cells["triangle"]
    mesh = replace(mesh, regions={"left": np.unique(ids[:20])})
    before = np.random.default_rng(0).normal(size=len(ids))
    made = [
        Sample(
            Case(mesh, {}, {"u": Field.steady(before + k, "K", "cell")}),
            {"u": Field.steady(1.1 * (before + k), "K", "cell")},
        )
        for k in range(4)
    ]
    recipe = GraphTransformer(2, 16, 2, held=("left",), noise=0.1, descent=FEW)
    [found] = recipe.fit(made).predict([made[0].case])
    within = np.isin(ids, mesh.regions["left"]).all(axis=1)
    np.testing.assert_array_equal(found.mean["u"].values[0, :, 0] == before, within)


@pytest.mark.parametrize("recipe", [GraphTransformer(3, 24, 2), MeshGraphNet(3, 24)])
def test_they_learn_fields_on_meshes_of_any_topology(recipe):
    rng = np.random.default_rng(0)
    meshes = [square(7, k) if k % 2 else ring(4, k, 0.3 + 0.2 * rng.random()) for k in range(24)]
    made = [sample(mesh, rng.uniform(1, 2)) for mesh in meshes]
    recipe = replace(recipe, descent=Descent(steps=250, batch=4, rate=4e-3, every=50))
    model = recipe.fit(made[:18], validation=made[18:20])
    errors, spread = [], []
    for s, p in zip(made[20:], model.predict([s.case for s in made[20:]]), strict=True):
        errors.append(np.sqrt(np.mean((p.mean["u"].values - s.fields["u"].values) ** 2)))
        spread.append(s.fields["u"].values.std())
    assert np.mean(errors) < 0.2 * np.mean(spread)


def test_series_and_parts_are_refused():
    mesh = square(5, 0)
    case = Case(mesh, {"p": 1.0}, times=np.array([0.0, 1.0]))
    series = [Sample(case, {"u": Field(np.zeros((2, 25, 1)))})] * 2
    with pytest.raises(ValueError, match=r"Rollout\(GraphTransformer"):
        GraphTransformer().fit(series)
    with pytest.raises(ValueError, match="that the heads share"):
        GraphTransformer(width=10, heads=4)
    with pytest.raises(ValueError, match="expected a size of"):
        GraphTransformer.sized("XXL")
    assert GraphTransformer.sized("L").width == 256


def steps(on="point"):
    """Two steps of one run: u grows by a tenth each."""
    mesh = regions(square(6, 0))
    count = len(mesh.points) if on == "point" else mesh.n_cells
    states = [np.random.default_rng(0).normal(1.0, 1.0, count) * 1.1**k for k in range(3)]
    fields = [Field.steady(u, "K", on) for u in states]
    return [Sample(Case(mesh, {}, {"u": fields[k]}), {"u": fields[k + 1]}) for k in range(2)]


def test_a_pushed_step_starts_from_the_answer_of_the_step_before_and_aims_at_the_truth(monkeypatch):
    made = steps()
    recipe = GraphTransformer(2, 16, 2, pushed=1.0, held=("left",), descent=FEW)
    predictor = recipe.fit_steps(made, [-1, 0])
    site, cpu = predictor.sites.placed(made[0].case.mesh).site, torch.device("cpu")
    items = [predictor.sites.item(predictor.reading, s, cpu) for s in made]
    objective = GraphObjective(predictor.reading, items, [], recipe.training, 0, [-1, 0])
    given = Together([items[1]])
    start = given.x.clone()
    given.disturb(
        predictor.reading, objective._pushes([1], [None], given, np.random.default_rng(0))
    )
    assert torch.equal(given.x, start)
    objective.loss(predictor.net, torch.tensor([0]))
    given.disturb(
        predictor.reading, objective._pushes([1], [None], given, np.random.default_rng(0))
    )
    [answer] = predictor.predict([made[0].case])
    scalings = predictor.reading.scalings
    start = scalings["known u"].inverse(given.x[:, -1:].double().numpy())
    expected = answer.mean["u"].values[0][site.order]
    free = np.setdiff1d(np.arange(len(expected)), made[0].case.mesh.regions["left"])
    free = np.argsort(site.order)[free]
    np.testing.assert_allclose(start[free], expected[free], atol=1e-5)
    step = scalings["field u"].inverse(given.targets[0].double().numpy())
    truth = made[1].fields["u"].values[0][site.order]
    np.testing.assert_allclose((start + step)[free], truth[free], atol=1e-5)
    assert recipe.fit_steps(made, [-1, -1]).card.fit["training"] is not None
    # What does not fit is forgotten, and so is what is lost.
    monkeypatch.setattr("fieldcast.surrogates.graph_objective.HELD_BYTES", 0)
    objective.loss(predictor.net, torch.tensor([0, 1]))
    assert list(objective._errors) == [1]
    monkeypatch.setattr("fieldcast.surrogates.graph_objective.LOST", 0.0)
    objective.loss(predictor.net, torch.tensor([1]))
    assert not objective._errors


@pytest.mark.parametrize("on", ["point", "cell"])
def test_a_part_of_a_mesh_is_what_it_is_in_the_whole(on):
    recipe = GraphTransformer(2, 16, 2, sampled=15, sharing=None, descent=FEW)
    made = steps(on)
    predictor = recipe.fit(made)
    item = predictor.sites.item(predictor.reading, made[0], torch.device("cpu"))
    kinds = list(predictor.signature.fields.values())
    part = item.part(kinds, 5, 30)
    whole = predictor.sites.there(item.placed, torch.device("cpu"))
    assert part.placed.graphs[0].edges < whole.graphs[0].edges
    assert float(part.weights[0].sum()) == pytest.approx(1.0)
    if on == "point":
        weighed = part.weights[0][:, 0] > 0
        torch.testing.assert_close(part.targets[0], item.targets[0][5:30])
        assert 0 < int(weighed.sum()) < 25
        same = part.placed.graphs[0].degree == whole.graphs[0].degree[5:30]
        assert torch.equal(weighed, same)
    else:
        values = torch.randn(len(item.x), 2)
        means = whole.cell_means(values)
        _, _, cells = item.placed.part(5, 30)
        torch.testing.assert_close(part.placed.cell_means(values[5:30]), means[cells])
        torch.testing.assert_close(part.targets[0], item.targets[0][cells])


def test_parts_cannot_tell_scalars():
    with pytest.raises(ValueError, match="expected no scalars with sampled=15"):
        GraphTransformer(2, 16, 2, sampled=15, descent=FEW).fit(family())


def test_the_temporal_block_is_its_formula():
    torch.manual_seed(0)
    block, n = TemporalBlock(8, 2, "chunks").double(), 6
    ids = np.arange(n)
    graph = Graph.of(n, np.repeat(ids, n - 1), np.concatenate([np.delete(ids, k) for k in ids]))
    before, after = torch.randn(2, n, 8, dtype=torch.float64)
    found = block(before, after, Batch((graph,), (n,), torch.zeros(n, 2)))
    q, k, v = (
        layer(x).view(n, 2, 4).transpose(0, 1)
        for layer, x in ((block.asked, after), (block.key, before), (block.value, after))
    )
    scores = (q @ k.mT / 2.0).masked_fill(torch.eye(n, dtype=torch.bool), -torch.inf)
    seen = block.outer((scores.softmax(-1) @ v).transpose(0, 1).flatten(1))
    both = torch.cat([after, before], dim=1)
    mixed = before + torch.sigmoid(block.gate(both)) * seen
    expected = mixed + block.both(torch.cat([mixed, before], dim=1))
    torch.testing.assert_close(found, expected)


def test_what_a_node_tells_of_its_neighbours_does_not_depend_on_other_nodes_lists():
    predictor = trained("told")
    case = sample(ring(4, 0, 0.3), 1.4).case
    placed = predictor.sites.of_case(case)
    net, batch = predictor.net, batch_of([placed])
    x = predictor.reading.inputs(case, placed.site)
    h = net.states(x, batch)
    centres = torch.arange(len(x))
    nodes, there = batch.graphs[0].lists(centres)
    together = net.around(x, h, batch, centres)
    for k in (0, 7, 20):
        alone = net.around(x, h, batch, centres[[k]])
        count = int(there[k].sum())
        torch.testing.assert_close(together[k, :count], alone[0, :count], rtol=1e-4, atol=1e-5)
        assert torch.equal(nodes[k, :count], batch.graphs[0].rows(k, k + 1)[1].long())


def test_hidden_inputs_are_not_looked_at():
    predictor = trained("plain")
    case = sample(square(5, 1), 1.0).case
    placed = predictor.sites.placed(case.mesh)
    x, batch = predictor.reading.inputs(case, placed.site), batch_of([placed])
    torch.manual_seed(0)
    filling = HiddenInputs(predictor.net, x.shape[1])
    hidden = torch.rand(len(x)) < 0.4
    one = filling(x, batch, hidden)
    other = filling(torch.where(hidden[:, None], 100.0, x), batch, hidden)
    torch.testing.assert_close(one, other)
    assert one.shape == (int(hidden.sum()), x.shape[1])


def test_nodes_that_touch_see_each_other_where_they_lie_now():
    mesh = square(5, 0)
    mesh = replace(mesh, regions={"die": np.flatnonzero(mesh.points[:, 0] < 0.3)})
    die = np.isin(np.arange(len(mesh.points)), mesh.regions["die"])

    def moved(by):
        now = mesh.points + np.where(die[:, None], [by, 0.0], 0.0)
        case = Case(mesh, {}, {"place": Field.steady(now, "m")})
        return Sample(case, {"place": Field.steady(now + 0.01, "m")})

    touch = Contact(0.12, ("die",), "place")
    for recipe in (
        GraphTransformer(2, 16, 2, contact=touch, descent=FEW),
        MeshGraphNet(2, 16, contact=touch, descent=FEW),
    ):
        predictor = recipe.fit([moved(0.0), moved(0.1), moved(0.7)])
        plain = predictor.sites.placed(mesh).graphs[0]
        far, near = (predictor.sites.of_case(moved(by).case) for by in (-5.0, 0.7))
        assert far.graphs[0].edges == plain.edges
        more = near.graphs[0].matrix - plain.matrix
        rows, columns = (near.site.order[ids] for ids in more.nonzero())
        assert len(rows) > 0
        assert (die[rows] != die[columns]).all()
        assert far.points.shape[1] == 4
        assert predictor.predict([moved(0.7).case])[0].mean["place"].values.shape == (1, 25, 2)
        with pytest.raises(ValueError, match="expected the known field 'place'"):
            predictor.sites.of_case(Case(mesh, {}))


def test_the_norm_is_its_formula_and_has_its_gradient():
    norm = RmsNorm(6).double()
    with torch.no_grad():
        norm.scale.copy_(torch.linspace(0.5, 2.0, 6))
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    expected = norm.scale * x / (x.square().mean(-1, keepdim=True).sqrt() + 1e-8)
    torch.testing.assert_close(norm(x), expected)
    assert torch.autograd.gradcheck(norm, (x,))
    assert torch.autograd.gradcheck(lambda s: _RmsNorm.apply(x.detach(), s), (norm.scale,))


def test_few_and_many_cases_hear_of_each_other_alike(monkeypatch):
    predictor = trained("slices")
    cases = [sample(mesh, 1.4).case for mesh in (square(5, 3), square(4, 1), ring(4, 2, 0.3))]
    placed = [predictor.sites.placed(case.mesh) for case in cases]
    inputs = [predictor.reading.inputs(c, p.site) for c, p in zip(cases, placed, strict=True)]
    x, net = torch.cat(inputs).double(), deepcopy(predictor.net).double()
    batch = batch_of(placed)
    batch = replace(batch, points=batch.points.double())
    few = net.states(x, batch)
    monkeypatch.setattr("fieldcast.surrogates.graph_layers.FEW_CASES", 0)
    torch.testing.assert_close(net.states(x, batch), few)


def test_steps_of_other_meshes_are_no_chain():
    made = [sample(square(5 + k, k), 1.0, f"case{k}") for k in range(2)]
    recipe = GraphTransformer(2, 16, 2, pushed=1.0, descent=FEW)
    with pytest.raises(ValueError, match="case case1: expected the mesh of the step before it"):
        recipe.fit_steps(made, [-1, 0])
    both = [Sample(replace(s.case, fields={"u": s.fields["u"]}), s.fields, s.scalars) for s in made]
    assert recipe.estimate(both) is not None
    odd = GraphTransformer(2, 18, 3, rotary=False, multi_node=MultiNode(4), descent=FEW)
    assert odd.fit(family()).predict([family()[0].case])


def test_samples_of_other_sizes_weigh_alike_when_evened_out():
    small, large = steps()
    large = replace(
        large,
        fields={
            "u": large.fields["u"].with_values(
                large.case.fields["u"].values
                + 50.0 * (large.fields["u"].values - large.case.fields["u"].values)
            )
        },
    )
    recipe = GraphTransformer(2, 16, 2, even=1.0, descent=FEW)
    predictor = recipe.fit([small, large])
    items = [
        predictor.sites.item(predictor.reading, s, torch.device("cpu")) for s in (small, large)
    ]
    given = Together(items)
    given.even_out(items, 1.0)
    counts = [len(item.x) for item in items]
    for item, weight in zip(items, given.weights[0].split(counts), strict=True):
        square = float((item.weights[0] * item.targets[0] ** 2).sum())
        torch.testing.assert_close(weight, item.weights[0] / (square + 0.01))
    assert (
        recipe.fit([small, large]).card.fit
        != replace(recipe, even=0.0).fit([small, large]).card.fit
    )
