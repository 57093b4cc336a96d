"""The active loop: what stops it, what it survives, and that it goes on where it ended."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from fieldcast.meshes import Case, Field, Mesh, Sample, Scalar, read_folder, write_sample
from fieldcast.pipelines import acquiring
from fieldcast.pipelines.acquiring import SIMULATIONS, Plan, acquire
from fieldcast.pipelines.cli import main
from fieldcast.pipelines.ledger import LEDGER, Ledger
from fieldcast.solvers import Solver, SolverFailed
from fieldcast.solvers.plate import DoubleNotchedPlate, plate_cases
from fieldcast.surrogates import MMGP, MeanField, Training, load
from fieldcast.surrogates.acquisition import SpaceFilling, VarianceReduction

RECIPE = MMGP(modes=1, training=Training(starts=1, iterations=8))
MESH = Mesh(
    np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]),
    {"triangle": np.array([[0, 1, 2], [1, 3, 2]])},
)


@dataclass(frozen=True)
class Formula(Solver):
    """s = sin(3 p) + q^2, and `fields` besides; nothing above p = `edge`. Ends the program at call
    number `last`. Counts its calls."""

    edge: float = 9.0
    fields: bool = False
    last: int = field(default=10**9, repr=False)
    calls: list[str] = field(default_factory=list, repr=False, compare=False)
    parameters: ClassVar = {"p": "m", "q": ""}
    outputs: ClassVar = {"s": "N", "u": "K"}

    def example(self) -> Case:
        return cases(1)[0]

    def solve(self, case: Case) -> Sample:
        if len(self.calls) + 1 == self.last:
            raise KeyboardInterrupt
        self.calls.append(case.id)
        p, q = (float(case.parameters[k]) for k in "pq")
        if p > self.edge:
            raise SolverFailed(f"case {case.label}: p = {p:.2f} is too much")
        s = Scalar(np.array([np.sin(3.0 * p) + q**2]), "N")
        x, y = case.mesh.points.T
        u = {"u": Field.steady(p * x + q**2 * y, "K")} if self.fields else {}
        return Sample(case, u, {"s": s})


def cases(count: int) -> list[Case]:
    rng = np.random.default_rng(4)
    return [
        Case(MESH, {"p": Scalar(np.array([p]), "m"), "q": q}, name=f"c {i}/{count}")
        for i, (p, q) in enumerate(rng.uniform(-1.0, 1.0, (count, 2)))
    ]


def trail(folder: Path) -> list[tuple[str, str]]:
    return [(a.name, a.status) for a in Ledger.read(folder).attempts]


def test_it_stops_at_the_target_and_says_why(tmp_path):
    solver = Formula()
    test = tuple(Formula().solve(c) for c in cases(130)[100:])
    plan = Plan("s", first=6, batch=5, target=0.3, budget=40, test=test)
    done = acquire(solver, RECIPE, cases(130)[:100], tmp_path / "run", plan)
    assert done.error is not None
    assert done.error <= 0.3
    assert "error of s" in done.stopped
    assert len(solver.calls) == len(set(solver.calls)) == len(done.state.samples) < 40
    errors = [r.error for r in done.state.ledger.rounds]
    assert errors[0] is None
    assert errors[-1] is not None
    assert errors[-1] <= 0.3
    assert done.to_json()["simulations"] == len(solver.calls)


@pytest.mark.parametrize("last", [3, 7, 10])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path, last):
    plan = Plan("s", VarianceReduction(), first=5, batch=3, budget=11, seed=3)
    whole = acquire(Formula(0.5), RECIPE, cases(50), tmp_path / "whole", plan)
    with pytest.raises(KeyboardInterrupt):
        acquire(Formula(0.5, last=last), RECIPE, cases(50), tmp_path / "run", plan)
    before = trail(tmp_path / "run")
    assert len(before) == last - 1
    rest = Formula(0.5)
    again = acquire(rest, RECIPE, cases(50), tmp_path / "run", plan)
    assert (tmp_path / "run" / LEDGER).read_bytes() == (tmp_path / "whole" / LEDGER).read_bytes()
    assert len(rest.calls) == 11 - len(before)
    assert again.state.samples == whole.state.samples
    assert again.error == whole.error
    assert again.stopped == whole.stopped == "the budget of 11 simulations is spent"


def test_a_larger_budget_goes_on_as_if_it_had_been_so_at_once(tmp_path):
    def plan(budget):
        return Plan("s", SpaceFilling(), first=4, batch=3, budget=budget)

    acquire(Formula(), RECIPE, cases(40), tmp_path / "a", plan(8))
    acquire(Formula(), RECIPE, cases(40), tmp_path / "a", plan(12))
    acquire(Formula(), RECIPE, cases(40), tmp_path / "b", plan(12))
    assert (tmp_path / "a" / LEDGER).read_bytes() == (tmp_path / "b" / LEDGER).read_bytes()


def test_failures_are_recorded_never_repeated_and_avoided(tmp_path, monkeypatch):
    counts = []
    for discount in (acquiring.DISCOUNT, 1.0):
        monkeypatch.setattr(acquiring, "DISCOUNT", discount)
        solver, out = Formula(0.4), tmp_path / str(discount)
        done = acquire(solver, RECIPE, cases(80), out, Plan("s", first=5, batch=4, budget=21))
        failed = [a for a in Ledger.read(out).attempts if a.status == "failed"]
        assert failed
        assert all("is too much" in a.message for a in failed)
        assert len(solver.calls) == len(set(solver.calls)) == 21
        assert len(done.state.samples) + len(failed) == 21
        assert set(done.to_json()["failed"]) == {a.name for a in failed}
        counts.append(len(failed))
    assert counts[0] < counts[1]


def test_a_run_in_which_all_fail_ends_and_says_how(tmp_path):
    with pytest.raises(ValueError, match=r"all of 4 failed.*is too much"):
        acquire(Formula(-2.0), RECIPE, cases(30), tmp_path, Plan("s", first=4, budget=20))


def test_candidates_run_out(tmp_path):
    twice = [*cases(7), *cases(7)]
    done = acquire(Formula(), RECIPE, twice, tmp_path, Plan("s", first=4, batch=9, target=1e-12))
    assert done.stopped == "no candidate is left"
    assert len(done.state.samples) == 7


def test_the_folder_can_be_read_like_any_other(tmp_path):
    plan = Plan("s", first=4, budget=5)
    done = acquire(Formula(fields=True), RECIPE, cases(20), tmp_path, plan)
    found = read_folder(tmp_path / SIMULATIONS)
    assert not found.broken
    assert {s.id for s in found.samples} == {s.id for s in done.state.samples}


def test_a_field_is_cross_validated(tmp_path):
    plan = Plan("u", first=5, batch=3, budget=8)
    done = acquire(Formula(fields=True), RECIPE, cases(30), tmp_path, plan)
    assert done.error is not None
    assert 0 < done.error < 1


def test_a_surrogate_without_spread_fills_space(tmp_path):
    plan = Plan("s", SpaceFilling(), first=4, budget=6)
    assert len(acquire(Formula(), MeanField(), cases(20), tmp_path, plan).state.samples) == 6
    with pytest.raises(ValueError, match="SpaceFilling"):
        acquire(Formula(), MeanField(), cases(20), tmp_path / "b", Plan("s", first=4, budget=6))


def test_dear_candidates_come_last(tmp_path):
    cost = [1e6 if float(c.parameters["p"]) > 0 else 1.0 for c in cases(30)]
    plan = Plan("s", first=4, batch=2, budget=8, cost=cost)
    done = acquire(Formula(), RECIPE, cases(30), tmp_path, plan)
    assert all(float(s.case.parameters["p"]) <= 0 for s in done.state.samples[4:])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"seed": 1}, "seed"),
        ({"batch": 2}, "batch"),
        ({"criterion": SpaceFilling()}, "SpaceFilling"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(tmp_path, change, match):
    acquire(Formula(), RECIPE, cases(20), tmp_path, Plan("s", first=4, budget=5))
    with pytest.raises(ValueError, match=match):
        acquire(
            Formula(), RECIPE, cases(20), tmp_path, Plan("s", **{"first": 4, "budget": 9, **change})
        )


def test_changed_candidates_and_broken_ledgers_are_refused(tmp_path):
    plan = Plan("s", first=4, budget=5)
    acquire(Formula(), RECIPE, cases(20), tmp_path, plan)
    with pytest.raises(ValueError, match="not among them"):
        acquire(Formula(), RECIPE, [c.with_parameters(q=9.0) for c in cases(20)], tmp_path, plan)
    (tmp_path / LEDGER).write_text("{}")
    with pytest.raises(ValueError, match="expected the ledger of a run"):
        acquire(Formula(), RECIPE, cases(20), tmp_path, plan)


def test_plans_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(ValueError, match="neither"):
        Plan("s")
    with pytest.raises(ValueError, match="at least 2 first"):
        Plan("s", first=1, budget=9)
    with pytest.raises(ValueError, match="got none"):
        acquire(Formula(), RECIPE, [], tmp_path, Plan("s", budget=9))
    with pytest.raises(ValueError, match="costs, one per candidate"):
        acquire(Formula(), RECIPE, cases(3), tmp_path, Plan("s", budget=9, cost=[1.0]))
    with pytest.raises(ValueError, match=r"to watch, got 'nope'"):
        acquire(Formula(), RECIPE, cases(9), tmp_path, Plan("nope", budget=9))


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """Plates that nobody has solved."""
    folder = tmp_path / "asked"
    folder.mkdir()
    for case in plate_cases(14, seed=5, size=0.09):
        write_sample(Sample(case), folder / f"{case.name}.vtu")
    return folder


def test_the_commands_on_the_plate(asked, tmp_path, capsys):
    settings = ("--set", "modes=1", "--set", "training.starts=1", "--set", "training.iterations=5")
    command = ("acquire", tmp_path / "run", asked, "--solver", "plate", "--first", 4, *settings)
    command += ("--output", "max_von_mises", "--json")
    assert run(*command, "--budget", 5) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["simulations"], done["solved"], done["failed"]) == (5, 5, {})
    files = sorted((tmp_path / "run" / SIMULATIONS).glob("*.vtu"))
    assert len(files) == 5
    written = [f.stat().st_mtime_ns for f in files]
    assert run(*command, "--budget", 5) == 0
    assert json.loads(capsys.readouterr().out) == done
    assert [f.stat().st_mtime_ns for f in files] == written
    found = read_folder(tmp_path / "run" / SIMULATIONS).samples
    for sample in found:
        expected = DoubleNotchedPlate().solve(sample.case)
        truth = float(expected.scalars["max_von_mises"])
        assert float(sample.scalars["max_von_mises"]) == pytest.approx(truth, rel=1e-12)
    model = tmp_path / "run" / "model.fieldcast"
    card = load(model).card
    assert card.training["cases"] == 5
    assert "scalar:max_von_mises" in card.settings["outputs"]
    known = ("--known", tmp_path / "run" / SIMULATIONS)
    solved = {a.name for a in Ledger.read(tmp_path / "run").attempts}
    for criterion in ("variance", "improvement", "space"):
        choice = ("--criterion", criterion, "--output", "max_von_mises", *known)
        assert run("suggest", model, asked, "-n", 3, *choice, "--json") == 0
        picked = json.loads(capsys.readouterr().out)
        assert len(picked) == 3
        assert not {p["case"] for p in picked} & solved
        assert all(Path(p["path"]).exists() and p["reason"] for p in picked)


@pytest.mark.parametrize(
    "wrong",
    [
        ("acquire", "run", "absent", "--solver", "plate", "--output", "x", "--budget", "9"),
        ("acquire", "run", "absent", "--solver", "nope", "--output", "x", "--budget", "9"),
        ("acquire", "run", "absent", "--solver", "plate", "--output", "x"),
        ("acquire", "run", "absent", "--solver", "plate", "--output", "x", "--criterion", "y"),
        ("suggest", "absent.fieldcast", "absent"),
    ],
)
def test_a_wrong_call_ends_1_and_says_why(wrong, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*wrong) == 1
    assert "error:" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
