"""The training loop: selection by validation, resumed and parallel runs equal to plain ones."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from least_squares import CASES, LeastSquares, weights_of

from fieldcast.surrogates.networks import Dense
from fieldcast.surrogates.training import Descent, train

HERE = Path(__file__).parent
SHORT = Descent(steps=60, batch=16, every=10, rate=1e-2)
BOTH = pytest.mark.parametrize(
    "descent", [SHORT, replace(SHORT, optimiser="soap")], ids=["adam", "soap"]
)


def module(seed=0):
    return Dense([3, 8, 2], torch.Generator().manual_seed(seed))


@BOTH
def test_it_learns(descent):
    objective = LeastSquares()
    before = objective.error(module())
    trained = train(module(), objective, replace(descent, steps=300))
    assert trained.error < 0.4 * before
    assert objective.error(trained.module) == pytest.approx(trained.error, rel=1e-12)
    assert [step for step, _, _ in trained.history] == list(range(10, 301, 10))


@BOTH
@pytest.mark.parametrize("stop", [7, 30])
def test_an_interrupted_run_ends_with_the_same_weights(tmp_path, descent, stop):
    plain = train(module(), LeastSquares(), descent)
    path = tmp_path / "run.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(module(), LeastSquares(interrupted_at=stop), descent, checkpoint=path)
    # The module that goes on had other weights: all of it comes from the file.
    resumed = train(module(5), LeastSquares(), descent, checkpoint=path)
    np.testing.assert_array_equal(weights_of(resumed.module), weights_of(plain.module))
    assert resumed.history == plain.history
    again = train(module(5), LeastSquares(), descent, checkpoint=path)
    np.testing.assert_array_equal(weights_of(again.module), weights_of(plain.module))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_killed_run_ends_with_the_same_weights(tmp_path):
    path, out = tmp_path / "run.safetensors", tmp_path / "weights.npy"
    command = [sys.executable, str(HERE / "least_squares.py"), str(out), str(path)]
    env = {**os.environ, "PAUSE": "0.02", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=env) as process:
        deadline = time.monotonic() + 60
        while not path.exists():
            assert time.monotonic() < deadline, "no checkpoint was written"
            time.sleep(0.02)
        time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    subprocess.run(command, check=True, env={**env, "PAUSE": "0"})
    whole = tmp_path / "whole.npy"
    subprocess.run([*command[:2], str(whole)], check=True, env={**env, "PAUSE": "0"})
    np.testing.assert_array_equal(np.load(out), np.load(whole))


def test_two_processes_train_as_one(tmp_path):
    out = tmp_path / "two.npy"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(HERE / "least_squares.py"), str(out)], check=True, env=env)
    one = tmp_path / "one.npy"
    subprocess.run([sys.executable, str(HERE / "least_squares.py"), str(one)], check=True, env=env)
    np.testing.assert_allclose(np.load(out), np.load(one), rtol=1e-9, atol=1e-12)


def test_the_best_validated_weights_are_kept():
    errors = iter([3.0, 1.0, 2.0, 4.0, 5.0, 6.0])
    objective = LeastSquares(errors=errors)
    trained = train(module(), objective, SHORT)
    assert (trained.best_step, trained.error) == (20, 1.0)
    half = train(module(), LeastSquares(), replace(SHORT, steps=60))
    assert (weights_of(trained.module) != weights_of(half.module)).any()


def test_it_stops_when_nothing_improves():
    errors = iter([1.0, *[2.0] * 50])
    trained = train(module(), LeastSquares(errors=errors), replace(SHORT, steps=500, patience=3))
    assert (trained.steps, trained.best_step) == (40, 10)


def test_without_validation_the_last_weights_are_kept():
    trained = train(module(), LeastSquares(errors=iter([float("nan")] * 6)), SHORT)
    assert trained.best_step == SHORT.steps
    assert np.isnan(trained.error)


def test_the_rate_rises_and_falls():
    descent = Descent(steps=100, rate=1.0, warmup=0.1, final=0.01)
    rates = [descent.rate_at(k) for k in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.505)
    assert rates[100] == pytest.approx(0.01)
    assert (np.diff(rates[10:]) <= 0).all()


def test_every_epoch_takes_every_case_once():
    seen = []
    objective = LeastSquares(seen=seen)
    train(module(), objective, replace(SHORT, steps=10, batch=16))
    epochs = [np.concatenate(seen[k : k + 5]) for k in (0, 5)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(CASES))
    assert (epochs[0] != epochs[1]).any()


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path):
    path = tmp_path / "run.safetensors"
    with pytest.raises(FloatingPointError, match="got nan at step 10; lower the rate"):
        train(module(), LeastSquares(spoiled=True), SHORT, checkpoint=path)
    assert not path.exists()
    spoiled = LeastSquares(spoiled=True, interrupted_at=5)
    with pytest.raises(KeyboardInterrupt):
        train(module(), spoiled, SHORT, checkpoint=path)
    assert not path.exists()


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "run.safetensors"
    train(module(), LeastSquares(), SHORT, checkpoint=path)
    for change in ({"seed": 1}, {"descent": replace(SHORT, rate=0.5)}):
        given = {"descent": SHORT, "seed": 0, **change}
        with pytest.raises(ValueError, match="expected a checkpoint of this run"):
            train(module(), LeastSquares(), given.pop("descent"), checkpoint=path, **given)


def test_progress_tells_losses():
    told = []
    train(module(), LeastSquares(), SHORT, progress=lambda *report: told.append(report))
    assert told[-1][1:] == (60, 60)
    assert told[0][0].startswith("train: loss ")
    assert "validation" in told[0][0]


def test_half_precision_is_near():
    full, half = (
        train(module(), LeastSquares(), replace(SHORT, half=half)).error for half in (False, True)
    )
    assert half == pytest.approx(full, rel=0.3)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch": 0}, {"rate": 0.0}, {"every": 0}])
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match="expected at least one step"):
        Descent(**wrong)
