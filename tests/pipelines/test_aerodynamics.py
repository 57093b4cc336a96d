"""Surrogates in an aerodynamicist's terms: potential flow around circles, and real airfoils."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fieldcast.meshes import Case, Field, Mesh, Sample
from fieldcast.meshes.roles import SETTINGS_FILE
from fieldcast.meshes.writing import write_sample
from fieldcast.pipelines.aerodynamics import (
    Flow,
    Term,
    compare,
    flow_of,
    learnt_from,
    prepared,
    twins_of,
)
from fieldcast.pipelines.aerodynamics_report import write_comparison
from fieldcast.pipelines.cli import app
from fieldcast.pipelines.polars import gaps, measured, polar, sensitivities
from fieldcast.pipelines.walls import critical_pressure, height_above, shock_position, wall_facets
from fieldcast.surrogates import (
    MMGP,
    Conformal,
    SurfaceFeatures,
    SurfaceForces,
    Training,
    WallFlux,
    load,
)

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("FIELDCAST_DATA", ROOT.parent / "shared" / "data"))
FLOW = Flow(SurfaceForces())
SMALL = MMGP(modes=4, shape_modes=2, training=Training(starts=1, iterations=60))


def circle(n, thick=1.0):
    """Nose at x = -0.5; `thick` squeezes it."""
    angle = 2 * np.pi * np.arange(n) / n
    points = 0.5 * np.stack([np.cos(angle), thick * np.sin(angle)], axis=1)
    return Mesh(points, {"line": np.stack([np.arange(n), (np.arange(n) + 1) % n], axis=1)})


def lifting(alpha, circulation, n=64):
    """Potential flow around a circle with circulation; cl = 2 pi g."""
    mesh = circle(n)
    angle = np.arctan2(mesh.points[:, 1], mesh.points[:, 0]) - np.radians(alpha)
    cp = 1.0 - (2.0 * np.sin(angle) + circulation) ** 2
    case = Case(mesh, {"alpha": alpha, "g": circulation}, name=f"c{alpha:.2f}_{circulation:.3f}")
    return Sample(case, {"cp": Field.steady(cp)}, {"cl": 2 * np.pi * circulation})


def flows(count=14):
    """At angles and circulations of a golden sequence."""
    k = np.arange(count)
    return [
        lifting(float(a), float(g), 60 + int(i % 3))
        for i, a, g in zip(k, 8 * ((0.618 * k) % 1) - 4, 0.1 + 0.4 * (0.414 * k % 1), strict=True)
    ]


def test_comparison_tells_fields_forces_agreement_and_who_is_better(tmp_path):
    model, found = learnt_from(flows(), FLOW, FLOW.recipe(SMALL), hold_out=0.3)
    terms = {t.name: t for t in found.terms}
    assert set(terms) == {"cp", "cl", "integrated cl", "integrated cd", "integrated cm"}
    assert terms["cp"].relative
    assert terms["cp"].errors["model"] < 0.05 < terms["cp"].errors["mean field"]
    assert terms["integrated cl"].spearman == pytest.approx(1.0)
    assert not terms["cp"].lost
    [agreement] = found.agreements
    assert (agreement.name, agreement.other) == ("integrated cl", "cl")
    assert agreement.share == 1.0
    assert model.card.scores["terms"]["cp"]["errors"]["model"] == terms["cp"].errors["model"]
    page = write_comparison(model, found, FLOW, tmp_path / "page.html").read_text()
    assert "Integrated and learnt forces" in page
    assert "Pressure coefficients" in page
    assert "MMGP on" in page
    assert any("integrated cl and cl agree" in line for line in found.lines())
    json.dumps(found.to_json())


def test_a_surrogate_that_loses_is_told():
    assert (
        Term("cl", {"model": 2.0, "nearest case": 1.0, "mean": 3.0}, False).lost == "nearest case"
    )
    assert not Term("cl", {"model": 1.0, "nearest case": 1.0}, False).lost
    assert not Term("cl", {"model": 1.0}, False).lost


def test_calibrated_intervals_are_joined_too():
    samples = prepared(FLOW, flows(24))
    model = Conformal(FLOW.recipe(SMALL), folds=3).fit(samples[:20])
    [agreement] = compare(model, samples[20:], FLOW).agreements
    spread = twins_of(model)[0].spread
    ends = [p.interval(0.95) for p in model.predict([s.case for s in samples[20:]])]
    half = [
        [0.5 * float((high.scalars[k].value - low.scalars[k].value)[0]) for low, high in ends]
        for k in ("cl", "integrated cl")
    ]
    joint = np.sqrt(np.sum(np.square(half), axis=0) + (1.96 * spread) ** 2)
    np.testing.assert_allclose(agreement.widths, joint)
    assert agreement.share >= 0.5
    assert flow_of(model) == FLOW


def test_without_forces_or_cases_it_says_so():
    model = SMALL.fit(flows(6))
    with pytest.raises(ValueError, match="a model that integrates forces"):
        flow_of(model)
    with pytest.raises(ValueError, match="hold out at least 4 cases"):
        learnt_from(flows(5), FLOW, FLOW.recipe(SMALL))
    bare = [replace(s, fields={}) for s in flows(12)]
    with pytest.raises(ValueError, match=r"the fields \['cp'\]"):
        learnt_from(bare, FLOW, FLOW.recipe(SMALL))


def test_polar_sensitivities_and_an_experiment(tmp_path):
    samples = prepared(FLOW, flows())
    model = FLOW.recipe(SMALL).fit(samples)
    given = samples[0].case
    found = polar(model, given, "g", np.linspace(0.12, 0.48, 9).tolist())
    np.testing.assert_allclose(found.mean["cl"], 2 * np.pi * found.values, rtol=0.02)
    np.testing.assert_allclose(found.mean["integrated cl"], 2 * np.pi * found.values, rtol=0.05)
    assert found.std["integrated cl"] is not None
    slopes = sensitivities(model, given.with_parameters(g=0.3), ["cl"])["cl"]
    low, high = model.card.training["parameters"]["g"]
    assert slopes["g"] == pytest.approx(2 * np.pi * 0.5 * (high - low), rel=0.05)
    path = tmp_path / "tunnel.csv"
    path.write_text("g,cl,flap\n0.2,1.3566,1\n0.3,1.985,1\n0.9,9,1\n")
    experiment = measured(path, ["g", "cl", "cd"])
    assert set(experiment) == {"g", "cl"}
    assert gaps(found, experiment)["cl"] == pytest.approx(0.1, abs=0.04)
    with pytest.raises(ValueError, match="a column 'alpha'"):
        measured(path, ["alpha"])
    featured = FLOW.recipe(SurfaceFeatures(SMALL)).fit(samples)
    with pytest.raises(ValueError, match="a predictor with derivatives"):
        sensitivities(featured, given, ["cl"])


def test_sonic_pressure_and_shocks():
    # Anderson, Fundamentals of Aerodynamics, example of section 11.6: M 0.5 gives -2.13.
    assert critical_pressure(0.5) == pytest.approx(-2.13, abs=0.01)
    assert critical_pressure(1.0) == pytest.approx(0.0, abs=1e-12)
    mesh = circle(400, 0.1)
    x = mesh.points[:, 0] + 0.5
    cp = np.where(mesh.points[:, 1] > 0, -1.2 + 1.4 / (1 + np.exp(-(x - 0.55) / 0.01)), 0.1)
    assert shock_position(mesh, cp, 0.75) == pytest.approx(0.55, abs=0.02)
    assert np.isnan(shock_position(mesh, 0.3 * cp, 0.75))
    smooth = np.where(mesh.points[:, 1] > 0, -1.2 + 1.4 * x, 0.1)
    assert np.isnan(shock_position(mesh, smooth, 0.75))


def test_layers_around_a_body():
    n = 24
    angle = 2 * np.pi * np.arange(n) / n
    unit = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = np.concatenate([0.5 * unit, 0.505 * unit, 2.0 * unit])
    ids = np.arange(3 * n).reshape(3, n)
    ahead = np.roll(ids, -1, axis=1)
    quads = np.stack([ids[:-1], ids[1:], ahead[1:], ahead[:-1]], axis=-1).reshape(-1, 4)
    mesh = Mesh(points, {"quad": quads}, {"body": np.arange(n)})
    for region in ("", "body"):
        wall = wall_facets(mesh, region)
        assert set(np.unique(wall)) == set(range(n))
        height = height_above(mesh, wall)
        np.testing.assert_allclose(height[n : 2 * n], 0.005, rtol=0.02)
    heat = WallFlux("T", "body", at_wall="cold")
    flow = Flow(SurfaceForces("p", region="body", learnt=()), heat, layer=0.02)
    samples = []
    for k in range(8):
        p = (1.0 + 0.1 * k) * points[:, 0]
        warm = 1.0 + (2.0 + k) * (np.linalg.norm(points, axis=1) - 0.5)
        fields = {"p": Field.steady(p), "T": Field.steady(warm)}
        samples.append(Sample(Case(mesh, {"alpha": 0.5 * k, "cold": 1.0}), fields))
    whole = prepared(flow, samples)
    found = compare(flow.recipe(SMALL).fit(whole[:6]), whole[6:], flow)
    names = [t.name for t in found.terms]
    assert names[:4] == ["cp", "cp at the wall", "cp in the layer", "cp outside"]
    assert {"T at the wall", "T in the layer", "T outside", "T flux", "T peak flux"} <= set(names)
    assert flow_of(flow.recipe(SMALL).fit(whole), layer=0.02) == flow


@pytest.fixture
def folder(tmp_path):
    """Solved cases on disk."""
    path = tmp_path / "flows"
    path.mkdir()
    (path / SETTINGS_FILE).write_text('inputs = ["alpha", "g"]\noutputs = ["cp", "cl"]\n')
    for k, sample in enumerate(flows(12)):
        write_sample(sample, path / f"flow_{k:02d}.vtu")
    return path


def test_commands(folder, tmp_path):
    out = tmp_path / "out"
    runner = CliRunner()
    told = runner.invoke(
        app, ["aero", "fit", str(folder), "-o", str(out), "--hold-out", "0.4", "--set", "modes=4"]
    )
    assert told.exit_code == 0, told.output
    assert "agree within their joint 95 %" in told.output
    assert (out / "report.html").exists()
    model = out / "model.fieldcast"
    assert set(load(model).signature.scalars) >= {"cl", "integrated cl"}
    told = runner.invoke(app, ["aero", "evaluate", str(model), str(folder), "--json"])
    assert told.exit_code == 0, told.output
    page = out / "polar.html"
    asked = ["aero", "polar", str(model), str(folder), "--case", "flow_03"]
    told = runner.invoke(app, [*asked, "--sweep", "g=0.1:0.5:9", "-o", str(page)])
    assert told.exit_code == 0, told.output
    assert "Sensitivities" in page.read_text()
    mesh = str(folder / "flow_00.vtu")
    told = runner.invoke(
        app, ["aero", "polar", str(model), mesh, "--sweep", "g=0:1:3", "-o", str(page)]
    )
    assert "expected the parameters ['alpha']" in str(told.output) + str(told.exception)
    told = runner.invoke(
        app, ["aero", "polar", str(model), mesh, "--sweep", "g=0-1", "-o", str(page)]
    )
    assert "NAME=LOW:HIGH:COUNT" in str(told.output) + str(told.exception)


@pytest.mark.skipif(
    not (DATA / "airfoil_rans").exists(),
    reason="airfoil_rans is not there; set FIELDCAST_DATA to the folder that holds it",
)
def test_forces_of_real_airfoils_are_those_that_openfoam_tells():
    from fieldcast.meshes.folder import read_folder
    from fieldcast.meshes.roles import Settings
    from fieldcast.surrogates import Stream

    settings = Settings(
        mesh="airfoil.vtp",
        inputs=("alpha_deg", "U"),
        outputs=("p", "wallShearStress", "CL", "CD", "CM"),
        parts=(),
    )
    samples = read_folder(DATA / "airfoil_rans", settings, first=4).samples
    flow = Flow(
        SurfaceForces(
            "p", "wallShearStress", stream=Stream("alpha_deg", "U"), reversed_friction=True
        )
    )
    for sample in prepared(flow, samples):
        for own, theirs, near in (("cl", "CL", 0.002), ("cd", "CD", 0.0003), ("cm", "CM", 0.002)):
            gap = float(sample.scalars[f"integrated {own}"]) - float(sample.scalars[theirs])
            assert abs(gap) < near, (sample.case.name, own)
