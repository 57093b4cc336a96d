"""The loop on a solver whose best design is known, killed and gone on with, and by the command on
sections of a real solver."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from fieldcast.conformance.families import square
from fieldcast.meshes import Case, Sample, Scalar
from fieldcast.pipelines.cli import main
from fieldcast.pipelines.measures import area, thickness
from fieldcast.pipelines.optimize import Space
from fieldcast.pipelines.optimize_report import lines, write_search
from fieldcast.pipelines.optimizing import HISTORY, Search, optimised
from fieldcast.pipelines.warm_start import Cheaper
from fieldcast.solvers import Solver, SolverFailed
from fieldcast.solvers.airfoils import class_shapes, naca
from fieldcast.solvers.neural_foil import NeuralFoilAtLift
from fieldcast.solvers.solver import Range
from fieldcast.surrogates import MMGP
from fieldcast.surrogates.descent import MultiStart


def run(arguments: list[str]) -> int:
    """The command's exit code."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)


MESH = square(3, 0, 0.0)
SOLVED: list[tuple[float, float]] = []


@dataclass(frozen=True)
class Bowl(Solver):
    """drag = 1 + (a - 0.3)^2 + 2 (b + 0.2)^2 + ..., lift = a + b; fails where b > 0.9."""

    parameters: ClassVar[Mapping[str, str]] = {"a": "", "b": ""}
    outputs: ClassVar[Mapping[str, str]] = {"drag": "", "lift": ""}
    space: ClassVar[Mapping[str, Range]] = {"a": Range(-1.0, 1.0), "b": Range(-1.0, 1.0)}

    def example(self) -> Case:
        return self.case({"a": 0.0, "b": 0.0})

    def case(self, values: Mapping[str, float], name: str = "") -> Case:
        return Case(MESH, {k: Scalar(np.array([values[k]])) for k in ("a", "b")}, name=name)

    def solve(self, case: Case) -> Sample:
        a, b = (float(case.parameters[k]) for k in ("a", "b"))
        SOLVED.append((a, b))
        if b > 0.9:
            raise SolverFailed("too far")
        drag = 1.0 + (a - 0.3) ** 2 + 2.0 * (b + 0.2) ** 2 + 0.3 * np.sin(3.0 * a)
        told = {"drag": drag, "lift": a + b}
        return Sample(case, {}, {k: Scalar(np.array([v])) for k, v in told.items()})


SEARCH = Search(
    "drag",
    ("lift = 0.4",),
    first=8,
    budget=15,
    starts=6,
    small={"lift = 0.4": 2e-3},
    descent=MultiStart(rounds=2, steps=15, polished=1),
)
BEST = min(
    1.0 + (a - 0.3) ** 2 + 2.0 * (0.6 - a) ** 2 + 0.3 * np.sin(3.0 * a)
    for a in np.linspace(-0.5, 1.0, 3001)
)


def test_it_finds_the_best_design_and_goes_on_where_it_was_stopped(tmp_path):
    SOLVED.clear()
    space = Space.of(Bowl())
    found = optimised(Bowl(), MMGP(), space, SEARCH, tmp_path / "whole")
    assert found.feasible
    assert found.goals[found.best] == pytest.approx(BEST, abs=5e-3)
    assert len(found.trials) <= SEARCH.budget
    assert len(SOLVED) == len(found.trials)
    count = len(SOLVED)
    again = optimised(Bowl(), MMGP(), space, SEARCH, tmp_path / "whole")
    assert len(SOLVED) == count
    assert again.to_json() == found.to_json()
    # As if it had been killed after the tenth.
    cut = tmp_path / "whole" / HISTORY
    kept = json.loads(cut.read_text())
    cut.write_text(json.dumps({**kept, "trials": kept["trials"][:10]}))
    third = optimised(Bowl(), MMGP(), space, SEARCH, tmp_path / "whole")
    assert third.to_json() == found.to_json()
    assert len(SOLVED) == count + len(found.trials) - 10
    page = write_search(found, SEARCH, tmp_path / "page.html").read_text()
    assert "goal and gaps" in page
    assert any("the solver is" in line for line in lines(found, SEARCH))


@dataclass(frozen=True)
class Rough(Bowl):
    """A cheaper bowl, a little off."""

    def solve(self, case: Case) -> Sample:
        a, b = (float(case.parameters[k]) for k in ("a", "b"))
        told = {"drag": 1.0 + (a - 0.25) ** 2 + 2.0 * (b + 0.25) ** 2, "lift": a + b}
        return Sample(case, {}, {k: Scalar(np.array([v])) for k, v in told.items()})


def test_a_cheaper_solver_says_where_to_begin(tmp_path):
    space = Space.of(Bowl())
    search = replace(SEARCH, first=4, budget=4, cheaper=Cheaper(Rough(), starts=2))
    found = optimised(Bowl(), MMGP(), space, search, tmp_path)
    first = found.trials[0].numbers
    # Of (a - .25)^2 + 2 (b + .25)^2 with a + b = .4.
    assert first["a"] == pytest.approx(0.25 + 2.0 * 0.4 / 3.0, abs=2e-2)
    assert first["a"] + first["b"] == pytest.approx(0.4, abs=2e-3)
    rows = np.array([[t.numbers["a"], t.numbers["b"]] for t in found.trials])
    assert np.abs(rows - rows[0]).max() <= 2 * 0.1 + 1e-9
    with pytest.raises(ValueError, match="begun with"):
        optimised(Bowl(), MMGP(), space, replace(search, cheaper=None), tmp_path)


def test_a_cheaper_solver_of_other_numbers_is_refused(tmp_path):
    space = Space.of(Bowl())
    search = replace(SEARCH, cheaper=Cheaper(NeuralFoilAtLift()))
    with pytest.raises(ValueError, match="a cheaper solver of the numbers"):
        optimised(Bowl(), MMGP(), space, search, tmp_path)


def test_failures_are_survived_and_other_runs_refused(tmp_path):
    space = Space.of(Bowl(), {**Bowl().space, "b": Range(0.2, 1.0)})
    search = replace(SEARCH, goal="-drag", constraints=(), budget=14)
    found = optimised(Bowl(), MMGP(), space, search, tmp_path)
    assert any(t.message for t in found.trials)
    assert np.isfinite(found.goals[found.best])
    with pytest.raises(ValueError, match="begun with"):
        optimised(Bowl(), MMGP(), space, replace(search, seed=1), tmp_path)
    with pytest.raises(ValueError, match="mass"):
        optimised(Bowl(), MMGP(), space, replace(search, goal="mass"), tmp_path / "other")


def test_measures_of_sections():
    points = naca(0.0, 0.4, 0.12).points[None]
    assert thickness(points)[0] == pytest.approx(0.12, abs=1e-3)
    assert area(points)[0] == pytest.approx(0.0817, abs=2e-3)
    rows = class_shapes(np.full((2, 4), 0.2), np.array([[-0.1] * 4, [-0.2] * 4]))
    assert thickness(rows)[1] > thickness(rows)[0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_command_on_sections(tmp_path, capsys):
    pytest.importorskip("neuralfoil")
    out = tmp_path / "run"
    told = [
        "optimize",
        "neural_foil",
        "1000 * cd",
        "-o",
        str(out),
        "--solver-set",
        "family='naca4'",
    ]
    told += ["--subject", "cl = 0.5", "--subject", "thickness >= 0.12", "--small", "cl = 0.5=0.01"]
    told += ["--range", "reynolds=1e6", "--first", "8", "--budget", "9", "--starts", "2", "--json"]
    assert run(told) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["solves"] <= 9
    assert (out / "report.html").stat().st_size > 10_000
    assert (out / "model.fieldcast").exists()
