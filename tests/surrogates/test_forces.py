"""Forces integrated from fields: laws of closed surfaces, theory, spreads and what disagrees."""

from dataclasses import replace

import numpy as np
import pytest

from fieldcast.meshes import Case, Field, Mesh, Sample
from fieldcast.surrogates import MMGP, Derived, NearestCase, Stream, SurfaceForces, load


def circle(n=200, radius=0.5, reverse=False):
    """Nose at x = -radius."""
    angle = 2 * np.pi * np.arange(n) / n
    points = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lines = np.stack([np.arange(n), (np.arange(n) + 1) % n], axis=1)
    return Mesh(points, {"line": lines[:, ::-1].copy() if reverse else lines})


def lifting(alpha, circulation, n=200, reverse=False):
    """Potential flow around a circle of unit diameter with circulation: cp = 1 - (2 sin t + g)^2,
    t from the direction of the flow; by Kutta and Joukowski cl = 2 pi g for g = gamma / (2 pi
    radius U)."""
    mesh = circle(n, reverse=reverse)
    angle = np.arctan2(mesh.points[:, 1], mesh.points[:, 0]) - np.radians(alpha)
    cp = 1.0 - (2.0 * np.sin(angle) + circulation) ** 2
    return Sample(Case(mesh, {"alpha": alpha, "g": circulation}), {"cp": Field.steady(cp)})


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 7.0])
def test_lift_of_a_circle_with_circulation(alpha, reverse):
    sample = lifting(alpha, 0.3, reverse=reverse)
    _, found = SurfaceForces().of(sample.case, sample.fields)
    assert float(found["integrated cl"]) == pytest.approx(2 * np.pi * 0.3, rel=1e-3)
    assert float(found["integrated cd"]) == pytest.approx(0.0, abs=1e-12)


def test_even_pressure_pushes_nowhere_and_friction_drags():
    mesh = circle()
    case = Case(mesh, {"alpha": 0.0})
    even = Field.steady(np.full(len(mesh.points), 3.0))
    along = Field.steady(np.tile([0.1, 0.0], (len(mesh.points), 1)))
    _, found = SurfaceForces(friction="t").of(case, {"cp": even, "t": along})
    perimeter = np.pi * 1.0
    assert float(found["integrated cd"]) == pytest.approx(0.1 * perimeter, rel=1e-3)
    assert float(found["integrated cl"]) == pytest.approx(0.0, abs=1e-12)
    assert float(found["integrated cm"]) == pytest.approx(0.0, abs=1e-3)


def test_friction_as_a_number_runs_from_the_stagnation_point_to_the_tail():
    mesh = circle()
    stagnation = -mesh.points[:, 0]
    fields = {"cp": Field.steady(stagnation), "cf": Field.steady(np.full(len(mesh.points), 0.1))}
    case = Case(mesh, {"alpha": 0.0})
    _, own = SurfaceForces(friction="cf").of(case, fields)
    _, none = SurfaceForces().of(case, fields)
    # Both halves: int_0^pi sin t dt = 2 times the radius.
    gap = float(own["integrated cd"]) - float(none["integrated cd"])
    assert gap == pytest.approx(0.1 * 2 * 2 * 0.5, rel=1e-2)
    assert float(own["integrated cl"]) == pytest.approx(float(none["integrated cl"]), abs=1e-3)


def test_dynamic_pressure_divides_and_a_box_in_space_has_its_area():
    side = np.array([0.0, 1.0])
    points = np.stack(np.meshgrid(side, side, side, indexing="ij"), axis=-1).reshape(-1, 3)
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    mesh = Mesh(points, {"quad": np.array(quads)})
    pressure = Field.steady(np.array([8.0, 0.0, 0.0, 0.0, 0.0, 0.0]), "Pa", "cell")
    recipe = SurfaceForces("p", stream=Stream("", "speed", 1.0, "z"), area=2.0, learnt=())
    assert recipe.names == ("integrated cl", "integrated cd")
    _, found = recipe.of(Case(mesh, {"speed": 2.0}), {"p": pressure})
    # 8 Pa on 1 m^2 against x, over 1/2 2^2 times 2 m^2.
    assert float(found["integrated cd"]) == pytest.approx(2.0)
    assert float(found["integrated cl"]) == pytest.approx(0.0, abs=1e-12)


def test_wrong_cases_are_refused():
    sample = lifting(0.0, 0.1)
    with pytest.raises(ValueError, match="the parameter 'beta'"):
        SurfaceForces(stream=Stream("beta")).of(sample.case, sample.fields)
    with pytest.raises(ValueError, match=r"as up is 'z'|axis"):
        SurfaceForces(stream=Stream(up="z")).of(sample.case, sample.fields)
    square = Mesh(np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]), {"quad": np.array([[0, 1, 2, 3]])})
    with pytest.raises(ValueError, match="a curve in the plane"):
        SurfaceForces().of(Case(square, {"alpha": 0.0}), {"cp": Field.steady(np.zeros(4))})


def known():
    """Samples whose lift is also a number, a little off."""
    samples = []
    for k, g in enumerate(np.linspace(0.05, 0.6, 10)):
        sample = lifting(float(2 * np.sin(3.0 * k)), float(g), 60)
        samples.append(replace(sample, scalars={"cl": 2 * np.pi * g + 0.001 * np.cos(5.0 * k)}))
    return samples


def test_a_linear_functional_of_fields_has_the_spread_of_their_modes(tmp_path):
    recipe = Derived(MMGP(), (SurfaceForces(learnt=("cl",)),))
    samples = recipe.prepared(known())
    model = recipe.fit(samples)
    case = Case(samples[0].case.mesh, {"alpha": 0.5, "g": 0.27})
    [answer] = model.predict([case])
    told = answer.scalars["integrated cl"]
    assert told.std is not None
    # By drawing: fields at random along the modes, each integrated.
    ways = list(model.whole.ways(model.signature.checked_cases(model_cases(case))))
    rng = np.random.default_rng(0)
    centre = answer.mean["cp"].values
    steps = np.stack([w.mean["cp"].values - centre for w in ways])
    drawn = []
    for _ in range(4000):
        cp = centre + np.tensordot(rng.normal(size=len(steps)), steps, axes=1)
        drawn.append(float(SurfaceForces().of(case, {"cp": Field(cp)})[1]["integrated cl"]))
    assert float(told.std[0]) == pytest.approx(np.std(drawn), rel=0.05)
    assert answer.trust.status == "ok"
    again = load(model.save(tmp_path / "model.fieldcast")).predict([case])[0]
    np.testing.assert_allclose(again.scalars["integrated cl"].std, told.std, rtol=1e-6)
    assert again.trust == answer.trust


def model_cases(case):
    from fieldcast.meshes import Cases

    return Cases.pack([case])


def test_an_answer_whose_twins_disagree_is_doubted():
    recipe = Derived(MMGP(), (SurfaceForces(learnt=("cl",)),))
    samples = recipe.prepared(known())
    model = recipe.fit(samples)
    [twin] = model.twins
    assert twin.spread < 0.01
    apart = replace(model, twins=(replace(twin, shift=twin.shift + 1.0),))
    [answer] = apart.predict([samples[4].case])
    assert answer.trust.status == "warn"
    assert "'integrated cl' and 'cl'" in answer.trust.reason


def test_without_a_spread_of_fields_none_is_told():
    recipe = Derived(NearestCase(), (SurfaceForces(learnt=()),))
    model = recipe.fit(recipe.prepared([lifting(0.0, g, 40) for g in (0.1, 0.2, 0.3)]))
    [answer] = model.predict([lifting(0.0, 0.12, 40).case])
    assert answer.scalars["integrated cl"].std is None
