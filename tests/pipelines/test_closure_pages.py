"""`fieldcast closures run`: a page of what a saved closure does."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fieldcast.pipelines.cli import FATAL, main
from fieldcast.solvers.turbulence_environment import TurbulenceEnvironment
from fieldcast.surrogates.closure import SIGNATURE, ClosurePredictor
from fieldcast.surrogates.closure_laws import Steered
from fieldcast.surrogates.closure_rivals import Feedback
from fieldcast.surrogates.surrogate import Card


@pytest.fixture
def model(tmp_path):
    environment = TurbulenceEnvironment(points=16, agents=4)
    target = 2.0 * (1.0 + 1.0 * np.arange(32)) ** -1.5
    law = Steered(0.0065, 0.03, 0.01)
    found = ClosurePredictor(Feedback(environment), SIGNATURE, Card(), law, target, 1.0)
    return found.save(tmp_path / "steered.fieldcast")


def called(*arguments):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return end.value.code


def test_a_page(model, tmp_path, capsys):
    out = tmp_path / "page.html"
    options = ["--rows", "2", "--units", "0.6", "--spin", "0.2", "-o", str(out), "--json"]
    assert called("closures", "run", str(model), *options) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"none", "static 0.088", "steered", "steered, agent mean"}
    assert found["steered"]["reward"]["value"] > 0
    page = out.read_text()
    assert page.count("<img") == 2
    assert "enstrophy by closure" in page


def test_a_spin_up_longer_than_the_run_is_refused(model, tmp_path):
    options = ["--units", "1", "--spin", "2", "-o", str(tmp_path / "page.html")]
    assert called("closures", "run", str(model), *options) == FATAL
