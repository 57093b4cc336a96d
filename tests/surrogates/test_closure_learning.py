"""Closures learned in an environment: trainings raise the reward and go on where they stopped,
files keep them, and what is local is told from what is not."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from fieldcast.meshes import Case, Field, Sample
from fieldcast.solvers.periodic import periodic_square
from fieldcast.solvers.spectral import Grid, random_spectrum
from fieldcast.solvers.turbulence import CASES, Resolved, Stepper
from fieldcast.solvers.turbulence_closures import smagorinsky
from fieldcast.solvers.turbulence_environment import TurbulenceEnvironment
from fieldcast.surrogates import load
from fieldcast.surrogates.closure_environment import spectral, spectrum_sample, wanted
from fieldcast.surrogates.closure_laws import Constant, Steered
from fieldcast.surrogates.closure_learning import Acting, Smarl, ThroughSolver
from fieldcast.surrogates.closure_ppo import Ppo
from fieldcast.surrogates.closure_rivals import (
    DynamicCoefficient,
    Feedback,
    OfflineClosure,
    StaticCoefficient,
)
from fieldcast.surrogates.closure_runs import Climate, Protocol, run
from fieldcast.surrogates.closure_scores import scores, similarities, wasserstein
from fieldcast.surrogates.training import Descent

SMALL = TurbulenceEnvironment(points=16, agents=4, hold=5)
ACTING = Acting(width=16, rows=4, spin=0.2)
BRIEF = Protocol(rows=2, units=0.4, spin=0.1)
LEARNED = (
    Smarl(SMALL, ACTING, Ppo(iterations=4, actions=8, epochs=2, batch=16)),
    ThroughSolver(SMALL, ACTING, updates=21, actions=1),
    ThroughSolver(SMALL, ACTING, updates=21, actions=1, tails=3.0),
)


@cache
def fine_states():
    """A few states of a flow on 32 x 32 points."""
    grid = Grid(32)
    stepper = Stepper(CASES[1], grid, 0.004)
    closure = smagorinsky(0.1)
    with torch.no_grad():
        start = stepper.start(random_spectrum(grid, 3, deviation=5.0), closure)
        return grid, stepper.advanced(start, 100, closure).vorticity


def flat(field):
    return Field.steady(field.numpy().reshape(-1))


@cache
def snapshots():
    grid, spectra = fine_states()
    fields = grid.physical(spectra)
    return tuple(
        Sample(Case(periodic_square(32), {}, {"vorticity": flat(w)}, name=f"{n}"), {})
        for n, w in enumerate(fields)
    )


@cache
def fitted(number):
    return LEARNED[number].fit(snapshots(), seed=1)


def asked(points=16):
    grid, spectra = fine_states()
    coarse = Grid(points)
    fields = coarse.physical(coarse.resampled(spectra, grid))
    return [
        Case(periodic_square(points), {}, {"vorticity": flat(w)}, name=f"{n}")
        for n, w in enumerate(fields)
    ]


def numbers(found):
    return np.stack([np.stack([f.values for f in p.mean.values()]) for p in found])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_saved_loaded_and_asked_alone(number, tmp_path):
    model = fitted(number)
    again = load(model.save(tmp_path / "closure.fieldcast"))
    assert again.recipe == model.recipe
    expected = numbers(model.predict(asked()))
    np.testing.assert_array_equal(numbers(again.predict(asked())), expected)
    alone = np.concatenate([numbers(model.predict([case])) for case in asked()])
    np.testing.assert_array_equal(alone, expected)
    assert set(model.predict(asked())[0].mean) == {"coefficient", "tendency"}


@pytest.mark.parametrize("number", [0, 1, 2])
def test_what_goes_on_ends_as_if_it_had_not_stopped(number, tmp_path):
    recipe, path = LEARNED[number], tmp_path / "training.safetensors"

    class Stopped(Exception):
        pass

    def stop(stage, done, total):
        if path.exists():
            raise Stopped

    with pytest.raises(Stopped):
        recipe.fit(snapshots(), seed=1, checkpoint=path, progress=stop)
    again = recipe.fit(snapshots(), seed=1, checkpoint=path)
    one, other = (m.law.policy.state_dict() for m in (again, fitted(number)))
    assert all(torch.equal(one[k], other[k]) for k in one)
    with pytest.raises(ValueError, match="another seed"):
        recipe.fit(snapshots(), seed=2, checkpoint=path)


def test_the_spread_is_that_of_actions_drawn():
    model = fitted(0)
    [case, *_] = asked()
    [told] = model.predict([case])
    environment, sigma = SMALL, model.law.spread()
    w = case.fields["vorticity"].values.reshape(1, 16, 16)
    spectrum = environment.spectra_of(torch.tensor(w)).expand(2000, -1, -1)
    generator = torch.Generator().manual_seed(0)
    drawn = sigma * torch.randn(2000, 16, generator=generator)
    spread = environment.tendency(spectrum, drawn).std(dim=0).numpy().ravel()
    found = told.std["tendency"].values.ravel()
    np.testing.assert_allclose(found, spread, rtol=0.12, atol=0.02 * found.max())
    assert fitted(1).predict([case])[0].std is None


def test_a_solver_gets_what_the_predictor_answers():
    model = fitted(1)
    [case, *_] = asked()
    w = np.array(case.fields["vorticity"].values.reshape(1, 16, 16))
    told = model.predict([case])[0].mean["tendency"].values.reshape(1, 16, 16)
    np.testing.assert_allclose(model.tendency(w), told, rtol=1e-4, atol=1e-5)
    grid = Grid(16)
    flow = Resolved(grid, grid.spectral(torch.tensor(w, dtype=torch.float32)))
    with torch.no_grad():
        found = grid.physical(model.closure(16)(flow)).numpy()
    np.testing.assert_allclose(found, told, rtol=1e-3, atol=1e-4)


def test_the_same_law_on_another_grid():
    finer = fitted(0).predict(asked(32))
    assert finer[0].mean["coefficient"].values.shape == (1, 1024, 1)
    with pytest.raises(ValueError, match="32 points"):
        fitted(0).predict(asked(64))


def test_averaged_is_the_same_everywhere():
    found = fitted(0).averaged().predict(asked())[0].mean["coefficient"].values
    assert np.ptp(found) < 1e-6
    assert np.ptp(fitted(0).predict(asked())[0].mean["coefficient"].values) > 1e-4


def test_a_pull_lowers_the_mismatch():
    """From one state with more small scales than are wanted, after a while."""
    aim = wanted(SMALL, snapshots())
    brief = Protocol(rows=3, units=1.6, spin=0.6)
    plain, steered = (run(SMALL, Steered(0.0065, 0.03, p), aim, brief) for p in (0.0, 0.01))
    assert steered.log_reward.mean() > plain.log_reward.mean()


def test_credit_teaches_agents_to_act_against_their_pulls():
    """The correlation of coefficients and pulls among the agents of one flow."""
    aim = wanted(SMALL, snapshots())
    target = aim.on(SMALL)
    state = SMALL.starts(aim.snapshots, 4, 3)
    pulls = SMALL.pulls(state, target)[..., 0]
    found = []
    for credit in (0.0, 5.0):
        settings = Ppo(iterations=8, actions=8, epochs=4, batch=8, rate=3e-3, credit=credit)
        law = Smarl(SMALL, ACTING, settings).fit(snapshots(), seed=0).law
        with torch.no_grad():
            c = law.coefficients(SMALL, state, target)
        off = c - c.mean(dim=1, keepdim=True)
        found.append(float((off * pulls).mean() / (off.square() * pulls.square()).mean().sqrt()))
    assert found[1] < -0.3
    assert found[1] < found[0]


def test_tails_move_the_flatness_of_what_is_learned():
    """Towards that of the snapshots, in the mean over states that a run meets."""
    aim = wanted(SMALL, snapshots())
    wished, found = SMALL.flatness(aim.snapshots), []
    for tails in (0.0, 100.0):
        recipe = ThroughSolver(SMALL, ACTING, updates=40, actions=2, rate=1e-2, tails=tails)
        law, state = recipe.fit(snapshots(), seed=0).law, SMALL.starts(aim.snapshots, 8, 3)
        gaps = []
        with torch.no_grad():
            for _ in range(60):
                c = law.coefficients(SMALL, state, aim.on(SMALL))
                state = SMALL.acted(state, c)
                gaps.append(float((SMALL.flatness(state.vorticity) / wished).log().abs()))
        found.append(np.mean(gaps[20:]))
    assert found[1] < found[0]
    with pytest.raises(ValueError, match="at least 0"):
        ThroughSolver(SMALL, tails=-1.0)


def test_a_search_takes_the_best_it_tried():
    model = StaticCoefficient(SMALL, (0.02, 0.1), BRIEF).fit(snapshots())
    tried = {t["value"]: t["reward"] for t in model.card.fit["tried"]}
    assert model.law == Constant(max(tried, key=tried.get))
    one = Feedback(SMALL, gains=(0.03,)).fit(snapshots())
    assert one.law == Steered(0.0065, 0.03, 0.0)


def test_a_network_taught_offline_finds_the_coefficient():
    """Where the truth is an eddy viscosity of one coefficient."""
    environment = replace(SMALL, agents=2)
    truth = [
        Sample(
            c,
            {
                "tendency": flat(
                    environment.tendency(
                        environment.spectra_of(
                            torch.tensor(c.fields["vorticity"].values.reshape(1, 16, 16))
                        ),
                        torch.full((1, 4), 0.02),
                    )[0]
                )
            },
        )
        for c in asked()
    ]
    short = Descent(steps=150, batch=4, rate=1e-2, every=50, device="cpu")
    recipe = OfflineClosure(environment, width=8, ridge=1e-6, descent=short)
    model = recipe.fit([*snapshots(), *truth])
    # The first is held out to select weights.
    for told in model.predict(asked()[1:]):
        np.testing.assert_allclose(told.mean["coefficient"].values, 0.02, atol=2e-3)


def test_samples_that_say_nothing_are_refused():
    case = Case(periodic_square(16), {}, name="odd_one")
    odd = Sample(case, {"pressure": Field.steady(np.zeros(256))})
    with pytest.raises(ValueError, match="odd_one"):
        DynamicCoefficient(SMALL).fit([odd])
    with pytest.raises(ValueError, match="none"):
        DynamicCoefficient(SMALL).fit([])
    told = spectrum_sample(np.ones(4))
    with pytest.raises(ValueError, match="8 wavenumbers"):
        DynamicCoefficient(SMALL).fit([*snapshots(), told])


def test_spectra_are_seen_alike_on_all_grids():
    """A ratio that is a line in k / k_max."""
    coarse, fine = (torch.linspace(0.0, 1.0, n)[None] for n in (15, 31))
    torch.testing.assert_close(spectral(coarse), spectral(fine))


def test_scores_of_a_run():
    aim = wanted(SMALL, snapshots())
    bare, closed = (run(SMALL, Constant(c), aim, BRIEF) for c in (0.0, 0.01))
    again = Climate.of_arrays(closed.arrays())
    found = scores(again, aim.on(SMALL).numpy(), bare)
    assert found["reward"].value > 0
    assert found["Wasserstein"].low <= found["Wasserstein"].value
    assert all(abs(s - 1.0) < 1e-9 for s in similarities(bare, closed, bare).values())
    moved = np.roll(bare.shares.mean(axis=0), 20)
    assert abs(wasserstein(bare.shares.mean(axis=0), moved) - 1.0) < 0.02
