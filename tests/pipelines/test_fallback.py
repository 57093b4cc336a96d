"""Who answers: the surrogate inside its range, the solver outside, and never twice for one case."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import pytest

from fieldcast.conformance.families import answered, asked, family, ring, square
from fieldcast.meshes import Case, Field, Mesh, Sample, Scalar, read_folder
from fieldcast.pipelines.fallback import Fallback
from fieldcast.solvers import Solver, SolverFailed
from fieldcast.surrogates import PodRidge, Predictor


@dataclasses.dataclass(frozen=True)
class Formula(Solver):
    """The formulas of the conformance suite; `log` notes what is asked."""

    log: list[str] = dataclasses.field(default_factory=list)
    fails: str = ""

    parameters: ClassVar = {"pressure": "Pa", "depth": "m"}
    outputs: ClassVar = {"temperature": "K", "displacement": "m", "flux": "W/m^2", "peak": "Pa"}

    def solve(self, case: Case) -> Sample:
        self.log.append(case.name)
        if self.fails:
            raise SolverFailed(self.fails)
        return answered(case)

    def example(self) -> Case:
        return family("one_mesh").near


class InBars(Formula):
    """The same with its scalar in another unit, and less to say."""

    outputs: ClassVar = {"peak": "bar", "displacement": "mm"}

    def solve(self, case: Case) -> Sample:
        found = super().solve(case)
        peak = Scalar(1e-5 * found.scalars["peak"].value, "bar")
        moved = Field(1e3 * found.fields["displacement"].values, "mm")
        return Sample(case, {"displacement": moved}, {"peak": peak, "other": 1.0})


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return PodRidge().fit(family("one_mesh").samples)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """Inside, far outside, inside."""
    found = family("one_mesh")
    return [found.near, found.far, found.queries[0]]


def test_answers_come_in_order_from_whom_they_should(predictor, cases, tmp_path):
    solver = Formula()
    answers = Fallback(predictor, solver, tmp_path / "keep").predict(cases)
    assert [p.case for p in answers] == cases
    assert answers.sources == ("surrogate", "solver", "surrogate")
    assert answers.counts == {"surrogate": 2, "solver": 1}
    assert solver.log == [cases[1].name]
    plain = predictor.predict(cases)
    for i in (0, 2):
        for name, f in plain[i].mean.items():
            np.testing.assert_array_equal(answers[i].mean[name].values, f.values)
        assert answers[i].trust == plain[i].trust


def test_a_solved_case_has_the_truth_no_spread_and_a_reason(predictor, cases, tmp_path):
    answers = Fallback(predictor, Formula(), tmp_path).predict(cases)
    truth, solved = answered(cases[1]), answers[1]
    assert set(solved.mean) == set(predictor.signature.fields)
    for name, f in solved.mean.items():
        np.testing.assert_array_equal(f.values, truth.fields[name].values)
        assert (f.unit, f.on) == (truth.fields[name].unit, truth.fields[name].on)
    assert float(solved.scalars["peak"]) == float(truth.scalars["peak"])
    assert solved.std is None
    assert solved.scalars["peak"].std is None
    assert solved.trust.status == "ok"
    assert solved.trust.reason.startswith("solved by Formula: ")
    assert "pressure" in solved.trust.reason
    assert solved.interval(0.9)[0].fields == {}


@pytest.mark.parametrize("kind", ["one_mesh", "transient"])
def test_no_case_is_solved_twice(kind, tmp_path):
    predictor, far = PodRidge().fit(family(kind).samples), family(kind).far
    solver = Formula()
    first = Fallback(predictor, solver, tmp_path).predict([far, far])
    again = Fallback(predictor, solver, tmp_path).predict([far])
    assert (first.sources, again.sources) == (("solver", "kept"), ("kept",))
    assert len(solver.log) == 1
    for name, f in first[0].mean.items():
        np.testing.assert_array_equal(again[0].mean[name].values, f.values)
        assert again[0].mean[name].unit == f.unit
    np.testing.assert_array_equal(again[0].scalars["peak"].mean, first[0].scalars["peak"].mean)
    assert again[0].trust == first[0].trust


def test_cells_in_another_order_than_their_file_are_kept_as_they_are(predictor, cases, tmp_path):
    far = cases[1]
    turned = Mesh(
        far.mesh.points, far.mesh.cells, order=np.arange(far.mesh.n_cells)[::-1].astype(np.int32)
    )
    solver = Formula()
    fallback = Fallback(predictor, solver, tmp_path)
    one, two = (fallback.predict([dataclasses.replace(far, mesh=turned)]) for _ in range(2))
    assert two.sources == ("kept",)
    np.testing.assert_array_equal(one[0].mean["flux"].values, two[0].mean["flux"].values)


def test_a_kept_file_that_is_damaged_or_of_another_mesh_is_solved_again(predictor, cases, tmp_path):
    solver = Formula()
    fallback = Fallback(predictor, solver, tmp_path)
    fallback.predict([cases[1]])
    [path] = tmp_path.glob("*.vtu")
    path.write_bytes(path.read_bytes()[:500])
    assert fallback.predict([cases[1]]).sources == ("solver",)
    other = family("one_numbering").far
    Fallback(predictor, solver, tmp_path / "other").predict([other])
    [strange] = (tmp_path / "other").glob("*.vtu")
    path.write_bytes(strange.read_bytes())
    assert fallback.predict([cases[1]]).sources == ("solver",)
    assert fallback.predict([cases[1]]).sources == ("kept",)


def test_what_is_kept_can_be_fitted_to(predictor, tmp_path):
    places = np.random.default_rng(0).uniform(-1, 1, (4, 3)) + np.array([9.0, 0.0, 0.0])
    mesh = family("one_mesh").far.mesh
    far = [asked(mesh, at, f"far{i}") for i, at in enumerate(places)]
    Fallback(predictor, Formula(), tmp_path).predict(far)
    found = read_folder(tmp_path)
    assert {s.case.id for s in found.samples} == {case.id for case in far}
    assert not list(tmp_path.glob(".*.tmp"))
    grown = PodRidge().fit([*family("one_mesh").samples, *found.samples])
    assert grown.predict(far)[0].trust.status != "reject"


def test_a_case_that_the_predictor_refuses_is_solved(tmp_path):
    predictor = PodRidge().fit(family("own_meshes").samples)
    hole = asked(ring(4, 0, 0.4), np.zeros(3), "ring")
    both = [family("own_meshes").queries[0], hole]
    answers = Fallback(predictor, Formula(), tmp_path).predict(both)
    assert answers.sources == ("surrogate", "solver")
    assert answers[1].trust.reason.startswith("solved by Formula: ")
    with pytest.raises(SolverFailed, match="diverged"):
        Fallback(predictor, Formula(fails="diverged"), tmp_path / "b").predict([hole])


def test_a_solver_that_fails_leaves_the_flagged_answer(predictor, cases, tmp_path):
    fallback = Fallback(predictor, Formula(fails="diverged in step 3"), tmp_path / "keep")
    answers = fallback.predict(cases)
    assert answers.sources == ("surrogate", "failed", "surrogate")
    assert answers[1].trust.status == "reject"
    assert answers[1].trust.reason.endswith("; Formula failed: diverged in step 3")
    assert predictor.predict(cases)[1].trust.reason in answers[1].trust.reason
    assert not (tmp_path / "keep").exists()


def test_which_answers_are_solved_can_be_said(predictor, cases, tmp_path):
    never = Fallback(predictor, Formula(), tmp_path, frozenset()).predict(cases)
    assert never.counts == {"surrogate": 3}
    every = frozenset({"ok", "warn", "reject"})
    always = Fallback(predictor, Formula(), tmp_path, every).predict(cases)
    assert always.counts == {"solver": 3}


def test_other_units_are_converted_and_outputs_it_lacks_are_absent(predictor, cases, tmp_path):
    fallback = Fallback(predictor, InBars(), tmp_path)
    for source in ("solver", "kept"):
        [solved] = fallback.predict([cases[1]])
        truth = answered(cases[1])
        assert fallback.predict([cases[1]]).sources == ("kept",), source
        assert set(solved.mean) == {"displacement"}
        np.testing.assert_allclose(
            solved.mean["displacement"].values, truth.fields["displacement"].values, rtol=1e-12
        )
        assert solved.scalars["peak"].unit == "Pa"
        assert float(solved.scalars["peak"]) == pytest.approx(float(truth.scalars["peak"]))


def test_nothing_asked_nothing_answered(predictor, tmp_path):
    answers = Fallback(predictor, Formula(), tmp_path).predict([])
    assert len(answers) == 0
    assert answers.counts == {}


def test_a_solver_of_something_else_is_refused(predictor, tmp_path):
    class Other(Formula):
        outputs: ClassVar = {"lift": "N"}

    with pytest.raises(ValueError, match=r"temperature.*Other.*lift"):
        Fallback(predictor, Other(), tmp_path)


def test_a_mesh_that_no_solver_can_use_is_said(predictor, tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Picky(Formula):
        def solve(self, case: Case) -> Sample:
            raise ValueError(f"case {case.label}: expected quadrilaterals")

    bare = Case(square(4, 0), {"depth": 1.0}, name="bare")
    with pytest.raises(ValueError, match="bare: expected quadrilaterals"):
        Fallback(predictor, Picky(), tmp_path).predict([bare])
