"""Roll-outs: from one step to any number of them, with a start and a boundary that the case
gives."""

from dataclasses import replace

import numpy as np
import pytest

from fieldcast.conformance.families import square
from fieldcast.meshes import Case, Field, Sample, Samples
from fieldcast.surrogates import Descent, GraphTransformer, Rollout, load
from fieldcast.surrogates.rollout import Plan
from fieldcast.surrogates.signature import Signature

STEP = GraphTransformer(
    2, 24, 2, noise=0.01, held=("rim",), descent=Descent(steps=250, batch=4, rate=5e-3, every=50)
)
FEW = replace(STEP, descent=Descent(steps=3, batch=4, every=3, device="cpu"))
SIZE = 0.1


def wave(phase, times, seed=0, start=True):
    """u = sin(3 x + phase - t) on a square, given at first and, always, on its rim."""
    mesh = square(6, seed)
    x, y = mesh.points.T
    rim = np.flatnonzero((x < 1e-9) | (x > 1 - 1e-9) | (y < 1e-9) | (y > 1 - 1e-9))
    mesh = replace(mesh, regions={"rim": rim})
    u = np.sin(3 * x + phase - times[:, None])[..., None]
    bound = np.zeros_like(u)
    bound[:, rim] = u[:, rim]
    known = {"u_boundary": Field(bound, "K")}
    if start:
        known["u"] = Field(u[:1], "K")
    case = Case(mesh, {"phase": phase}, known, times=times, name=f"wave{phase:.1f}")
    return Sample(case, {"u": Field(u, "K")}, {"most": u.max(axis=(1, 2))})


def times(n):
    return 5.0 + SIZE * np.arange(n)


@pytest.fixture(scope="module")
def model():
    made = [wave(p, times(8), seed=k) for k, p in enumerate(np.linspace(0, 6, 8))]
    return Rollout(STEP).fit(made, seed=0)


def error(found, truth):
    return float(np.sqrt(np.mean((found - truth) ** 2)))


def test_twice_the_steps_that_it_learned_from_stay_close(model):
    truth = wave(2.7, times(17), seed=20)
    [found] = model.predict([truth.case])
    values, expected = found.mean["u"].values, truth.fields["u"].values
    assert values.shape == expected.shape
    free = np.setdiff1d(np.arange(36), truth.case.mesh.regions["rim"])
    still = np.broadcast_to(expected[:1], expected.shape)
    assert error(values[:, free], expected[:, free]) < 0.4 * error(
        still[:, free], expected[:, free]
    )


def test_the_start_and_the_rim_are_those_of_the_case(model):
    truth = wave(1.2, times(10), seed=21)
    [found] = model.predict([truth.case])
    values, expected = found.mean["u"].values, truth.fields["u"].values
    rim = truth.case.mesh.regions["rim"]
    np.testing.assert_array_equal(values[0], expected[0])
    np.testing.assert_array_equal(values[:, rim], expected[:, rim])
    assert found.scalars["most"].mean.shape == (10,)


def test_fewer_times_are_those_of_the_same_run(model):
    every, some = wave(0.3, times(9)), wave(0.3, times(9)[::4])
    [whole], [part] = model.predict([every.case]), model.predict([some.case])
    # What the rim does between the times asked for is not given.
    assert part.mean["u"].values.shape[0] == 3
    np.testing.assert_allclose(part.mean["u"].values[0], whole.mean["u"].values[0])


def test_without_a_start_the_first_state_is_predicted():
    made = [wave(p, times(4), start=False) for p in np.linspace(0, 3, 6)]
    model = Rollout(FEW).fit(made)
    [found] = model.predict([wave(1.1, times(4), start=False).case])
    assert model.start is not None
    assert found.mean["u"].values.shape == (4, 36, 1)


def test_it_is_saved_whole(model, tmp_path):
    case = wave(0.9, times(5), seed=22).case
    again = load(model.save(tmp_path / "wave.fieldcast"))
    [one], [other] = model.predict([case]), again.predict([case])
    np.testing.assert_array_equal(one.mean["u"].values, other.mean["u"].values)
    assert again.recipe == model.recipe


def test_times_that_no_steps_reach_are_refused(model):
    with pytest.raises(
        ValueError, match=r"case wave0\.4: expected rising times whole steps of 0\.1"
    ):
        model.predict([wave(0.4, 5.0 + 0.07 * np.arange(3)).case])
    uneven = [wave(p, 5.0 + np.array([0.0, 0.1, 0.3])) for p in (0.0, 1.0)]
    with pytest.raises(ValueError, match="evenly spaced times"):
        Rollout(FEW).fit(uneven)
    with pytest.raises(ValueError, match="known field 'u'"):
        model.predict([wave(0.4, times(3), start=False).case])


def test_a_run_that_leaves_what_training_saw_is_rejected_and_says_when(model):
    case = wave(1.2, times(8), seed=21).case
    bound = case.fields["u_boundary"]
    wild = bound.values * np.where(np.arange(8) < 5, 1.0, 1e4)[:, None, None]
    odd = replace(case, fields={**case.fields, "u_boundary": bound.with_values(wild)})
    [good], [bad] = model.predict([case]), model.predict([odd])
    assert good.trust.status != "reject"
    assert bad.trust.status == "reject"
    assert bad.trust.reason.startswith("after 0.5 s: ")


def test_samples_that_do_not_fit_in_memory_are_made_when_asked_for(monkeypatch):
    made = [wave(p, times(4)) for p in np.linspace(0, 3, 4)]
    kept = Rollout(FEW).fit(made)
    monkeypatch.setattr("fieldcast.surrogates.graph_sites.HELD_BYTES", 0)
    asked = Rollout(FEW).fit(made)
    for one, other in zip(kept.step.net.parameters(), asked.step.net.parameters(), strict=True):
        np.testing.assert_array_equal(one.detach().numpy(), other.detach().numpy())


def test_a_boundary_on_cells_is_that_of_cells_within_the_region():
    mesh = square(6, 0)
    left = np.flatnonzero(mesh.points[:, 0] < 0.35)
    mesh = replace(mesh, regions={"left": left})
    within = np.isin(mesh.cells["triangle"], left).all(axis=1)
    assert 0 < within.sum() < mesh.n_cells

    def run(shift):
        u = shift + np.zeros((4, mesh.n_cells, 1)) + 0.1 * np.arange(4)[:, None, None]
        bound = np.where(within[:, None], 100.0 + u, 0.0)
        known = {"u": Field(u[:1], "", "cell"), "u_boundary": Field(bound, "", "cell")}
        return Sample(Case(mesh, {}, known, times=times(4)), {"u": Field(u, "", "cell")}, {})

    model = Rollout(replace(FEW, held=("left",))).fit([run(k) for k in range(3)])
    [found] = model.predict([run(1).case])
    values = found.mean["u"].values[:, :, 0]
    assert (values[1:, within] > 99).all()
    assert (values[:, ~within] < 50).all()
    odd = run(1).case
    points = Field(np.zeros((4, 36, 1)))
    with pytest.raises(ValueError, match="expected"):
        model.predict([replace(odd, fields={**odd.fields, "u_boundary": points})])


def test_whole_runs_are_held_out_and_validation_must_fit(model):
    made = [wave(p, times(3), seed=k) for k, p in enumerate(np.linspace(0, 6, 12))]
    fitted = Rollout(FEW).fit(made)
    assert np.isfinite(fitted.step.card.fit["training"]["validation_error"])
    plan = Plan.of(replace(Signature.of(Samples.pack(made)), own_times=True))
    own, held = plan.parted(Samples.pack(made), None, 0)
    assert (len(own), len(held)) == (10, 2)
    assert plan.parted(made, [], 0)[1] == []
    with pytest.raises(ValueError, match=r"expected 3 times 0\.1 s apart"):
        Rollout(FEW).fit(made, validation=[wave(0.1, times(2))])
    late = wave(0.1, 5.0 + 0.5 * np.arange(3))
    with pytest.raises(ValueError, match=r"expected 3 times 0\.1 s apart"):
        Rollout(FEW).fit(made, validation=[late])
