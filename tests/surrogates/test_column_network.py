"""Networks over cases on equal meshes: one, ensembles with randomized priors, two fidelities."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fieldcast.meshes import Case, Cases, Field, Mesh, Sample, Scalar
from fieldcast.surrogates import (
    ColumnNetwork,
    Descent,
    MeanField,
    MultiFidelity,
    NearestCase,
    PodRidge,
    RandomizedPrior,
    load,
)
from fieldcast.surrogates.column_network import ColumnObjective
from fieldcast.surrogates.multi_fidelity_turns import InTurn, Line, Standard
from fieldcast.surrogates.stacked import RandomizedPriorNet, StackedMlp

DESCENT = Descent(steps=800, batch=64, rate=3e-3, every=100)
ENSEMBLE = RandomizedPrior(ColumnNetwork(32, 2, DESCENT), 6)
LEVELS = np.linspace(0.0, 1.0, 12)
LINE = Mesh(LEVELS[:, None], {"line": np.stack([np.arange(11), np.arange(1, 12)], 1)})


def column(t, q, fidelity="high"):
    """A profile of T and one of q [any], and their heating; the cheap one leaves out half of it."""
    temperature = 280.0 - 60.0 * LEVELS + t * (1.0 + LEVELS)
    humidity = np.exp(-3.0 * LEVELS) * (1.0 + 0.2 * q)
    heating = 1e-3 * (temperature - 250.0) ** 2 * humidity
    if fidelity == "high":
        heating = heating + np.sin(0.2 * t + 4.0 * LEVELS) * humidity
    known = {"T": Field.steady(temperature, "K"), "q": Field.steady(humidity)}
    out = {"heating": Field.steady(heating, "K/d"), "still": Field.steady(np.full(12, 7e5))}
    case = Case(LINE, {"sun": Scalar(np.array([1.0 + q]))}, known)
    return Sample(case, out, {"total": Scalar(np.array([heating.mean()]))})


def columns(count, low, high, seed=0, fidelity="high"):
    rng = np.random.default_rng(seed)
    pairs = np.stack([rng.uniform(low, high, count), rng.normal(size=count)], 1)
    return [column(t, q, fidelity) for t, q in pairs]


def error(model, samples):
    found = model.predict([s.case for s in samples])
    gaps = [
        p.mean["heating"].values - s.fields["heating"].values
        for p, s in zip(found, samples, strict=True)
    ]
    return float(np.sqrt(np.mean(np.square(gaps))))


def test_members_are_networks_of_their_own():
    stack = StackedMlp(3, [5, 7, 2], torch.Generator().manual_seed(0))
    x = torch.randn(3, 4, 5)
    found = stack(x)
    for k in range(3):
        h = x[k]
        for j, (weight, bias) in enumerate(zip(stack.weights, stack.biases, strict=True)):
            h = h @ weight[k] + bias[k, 0]
            h = torch.where(h > 0, h, 0.15 * h) if j == 0 else h
        torch.testing.assert_close(found[k], h)
    net = RandomizedPriorNet(3, [5, 7, 2], 2.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(net(x), net.learned(x) + 2.0 * net.prior(x))
    net(x).sum().backward()
    assert all(p.grad is None for p in net.prior.parameters())
    assert all(p.grad is not None for p in net.learned.parameters())


def test_members_learn_from_samples_of_their_own_and_step_as_if_alone():
    rows = ENSEMBLE.rows(50, 3)
    assert rows.shape == (6, 40)
    assert all(len(set(own.tolist())) == 40 for own in rows)
    assert len({tuple(sorted(own.tolist())) for own in rows}) == 6
    x, y = torch.randn(50, 5), torch.randn(50, 2)
    net = RandomizedPriorNet(6, [5, 8, 2], 1.0, torch.Generator().manual_seed(1))
    batch = torch.arange(16)
    ColumnObjective(x, y, rows, None).loss(net, batch).backward()
    together = net.learned.weights[0].grad[2].clone()
    net.zero_grad()
    own = rows[2][batch]
    (net(x[own][None])[2] - y[own]).square().mean().backward()
    torch.testing.assert_close(together, net.learned.weights[0].grad[2])


def test_an_ensemble_learns_spreads_outside_and_is_kept(tmp_path):
    own, near, far = columns(240, -3, 3), columns(40, -3, 3, 1), columns(40, 9, 12, 2)
    model = ENSEMBLE.fit(own)
    mean = float(np.std([s.fields["heating"].values for s in near]))
    assert error(model, near) < 0.15 * mean
    inside, outside = (model.predict([s.case for s in part]) for part in (near, far))
    spreads = [np.mean([p.std["heating"].values for p in part]) for part in (inside, outside)]
    assert spreads[1] > 2 * spreads[0]
    np.testing.assert_array_equal(inside[0].mean["still"].values, 7e5)
    np.testing.assert_array_equal(inside[0].std["still"].values, 0.0)
    ratio = spreads[0] / error(model, near)
    assert 0.4 < ratio < 2.0
    assert sum(p.trust.status != "ok" for p in outside) > 30
    members = model.member_answers([s.case for s in near[:3]])
    every = np.stack([m[1].mean["heating"].values for m in members])
    np.testing.assert_allclose(every.mean(0), inside[1].mean["heating"].values, rtol=1e-5)
    np.testing.assert_allclose(every.std(0, ddof=1), inside[1].std["heating"].values, rtol=1e-3)
    again = load(model.save(tmp_path / "model.fieldcast"))
    np.testing.assert_array_equal(
        again.predict([near[0].case])[0].mean["heating"].values,
        model.predict([near[0].case])[0].mean["heating"].values,
    )
    packed = model.predict(Cases.pack([s.case for s in near]))
    np.testing.assert_allclose(
        packed.mean["heating"].values[0, :12], inside[0].mean["heating"].values[0], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("composition", "stop_gradient"),
    [("lf_only", True), ("concat", True), ("residual", True), ("concat", False)],
)
def test_two_fidelities_learn_together(composition, stop_gradient, tmp_path):
    few, many = columns(60, -1, 1), columns(400, -3, 9, 5, "low")
    descent = replace(DESCENT, steps=400)
    member = replace(ENSEMBLE, member=ColumnNetwork(16, 2, descent), size=3)
    recipe = MultiFidelity(member, member, composition, stop_gradient)
    model = recipe.fit(few, cheap=many)
    near = columns(40, -1, 1, 3)
    assert error(model, near) < 0.5 * error(MeanField().fit(few), near)
    case = near[0].case
    again = load(model.save(tmp_path / "model.fieldcast")).predict([case])
    np.testing.assert_array_equal(
        again[0].mean["heating"].values, model.predict([case])[0].mean["heating"].values
    )


@pytest.mark.parametrize("composition", ["lf_only", "concat", "residual"])
def test_any_two_surrogates(composition, tmp_path):
    few, many = columns(30, -3, 3), columns(60, -3, 3, 5, "low")
    recipe = MultiFidelity(PodRidge(), PodRidge(), composition)
    model = recipe.fit(few, cheap=many)
    near = columns(20, -3, 3, 9)
    assert error(model, near) < 0.7 * error(NearestCase().fit(few), near)
    case = near[0].case
    assert model.member_answers([case]) == []
    again = load(model.save(tmp_path / "model.fieldcast")).predict([case])
    np.testing.assert_allclose(
        again[0].mean["heating"].values, model.predict([case])[0].mean["heating"].values
    )


@pytest.mark.parametrize("composition", ["lf_only", "concat", "residual"])
def test_one_network_of_the_cheap_ones_tells_an_ensemble(composition, tmp_path):
    few, many = columns(60, -1, 1), columns(400, -3, 9, 5, "low")
    one = ColumnNetwork(24, 2, replace(DESCENT, steps=400))
    recipe = MultiFidelity(one, replace(ENSEMBLE, member=one, size=3), composition)
    model = recipe.fit(few, cheap=many)
    samples = columns(40, -1, 1, 3)
    near = Cases.pack([s.case for s in samples])
    assert error(model, samples) < 0.5 * error(MeanField().fit(few), samples)
    found = model.predict(near)
    every = np.stack([m.mean["heating"].values for m in model.member_answers(near)])
    np.testing.assert_allclose(every.mean(0), found.mean["heating"].values, atol=1e-6)
    np.testing.assert_allclose(every.std(0, ddof=1), found.std["heating"].values, rtol=1e-3)
    again = load(model.save(tmp_path / "model.fieldcast")).predict(near)
    np.testing.assert_array_equal(again.mean["heating"].values, found.mean["heating"].values)


def test_a_line_through_cheap_answers_leaves_what_varies_as_much():
    rng = torch.Generator().manual_seed(0)
    x, rest = (torch.randn(500, 3, generator=rng) for _ in range(2))
    y = 2.0 * x + 1.0 + 0.1 * rest
    line = Line.through(x, y, residual=True)
    torch.testing.assert_close(line.slope, torch.full((3,), 2.0), atol=0.02, rtol=0)
    torch.testing.assert_close(line.left(x, y).std(0), torch.ones(3), atol=0.01, rtol=0)
    # The networks are given standardised inputs and tell r; put together they tell y.
    one = RandomizedPrior(ColumnNetwork(8, 1), 2)
    net = InTurn(one.member, one, "residual").net(4, 3, 3, 0)
    given = torch.randn(1, 5, 4, generator=rng)
    said = net.low(given)
    both = torch.cat([given, said], dim=-1)
    standard = Standard.of(3.0 * both[0] + 1.0)
    before = net.high(standard(both))
    line.put_into(net)
    standard.put_into(net)
    expected = line.scale * before + line.slope * said + line.offset
    torch.testing.assert_close(net(given), expected)


def test_what_does_not_fit_together_is_said():
    with pytest.raises(ValueError, match="at least 2 members"):
        RandomizedPrior(size=1)
    with pytest.raises(ValueError, match='composition "lf_only"'):
        MultiFidelity(composition="sum")
    few = columns(12, -1, 1)
    other = [
        Sample(replace(s.case, parameters={"moon": s.case.parameters["sun"]}), s.fields)
        for s in few
    ]
    tiny = MultiFidelity.tiny()
    with pytest.raises(ValueError, match=r"with the parameters \['sun'\].*got \['moon'\]"):
        tiny.fit(few, cheap=other)
    with pytest.raises(ValueError, match="as many members of either, got 3 and 4"):
        replace(tiny, high=replace(tiny.high, size=4)).fit(few)
    plain = [Sample(s.case, {"heating": s.fields["heating"]}) for s in few]
    with pytest.raises(ValueError, match='outputs of the others for "residual"'):
        replace(tiny, composition="residual").fit(few, cheap=plain)
    short = Mesh(LINE.points[:5], {"line": LINE.cells["line"][:4]})
    cut = {k: f.with_values(f.values[:, :5]) for k, f in few[0].case.fields.items()}
    model = ColumnNetwork.tiny().fit(few)
    with pytest.raises(ValueError, match="case odd: expected the 12 points and 11 cells"):
        model.predict([replace(few[0].case, mesh=short, fields=cut, name="odd")])
