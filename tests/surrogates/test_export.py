"""Exported modules answer in a process that knows nothing of this package as the predictor does."""

import json
import subprocess
import sys
import warnings
from dataclasses import replace

import netCDF4
import numpy as np
import pytest
import torch

from fieldcast.meshes import Cases, Samples
from fieldcast.meshes.columns import column_cases, column_scalar, level_field, line_mesh
from fieldcast.solvers.turbulence_environment import TurbulenceEnvironment
from fieldcast.surrogates import ColumnNetwork, Descent, MultiFidelity, PodRidge, RandomizedPrior
from fieldcast.surrogates.closure import SIGNATURE, ClosurePredictor
from fieldcast.surrogates.closure_environment import WAVENUMBERS
from fieldcast.surrogates.closure_export import export_closure
from fieldcast.surrogates.closure_laws import Learned, Policy
from fieldcast.surrogates.closure_rivals import Feedback
from fieldcast.surrogates.export import Export, export_module
from fieldcast.surrogates.stability import Limits
from fieldcast.surrogates.surrogate import Card

LEVELS = 7
MEMBER = ColumnNetwork(16, 2, Descent(steps=60, batch=32, rate=1e-2, every=30))
ENSEMBLE = RandomizedPrior(MEMBER, 3, beta=0.7)


def samples(count, seed=0):
    rng = np.random.default_rng(seed)
    t = 280 + 10 * rng.standard_normal((count, LEVELS))
    q = 1e-3 * np.exp(rng.standard_normal((count, LEVELS)))
    sun = rng.uniform(0, 1300, count)
    cases = column_cases(
        line_mesh(np.linspace(0, 1, LEVELS)),
        {"T": level_field(t, "K"), "q": level_field(q, "kg/kg")},
        {"sun": column_scalar(sun, "W/m^2")},
    )
    heating = (t - 280) * 1e2 * q + sun[:, None] / 500
    still = np.full((count, LEVELS), 3.0)
    fields = {"heating": level_field(heating, "K/d"), "still": level_field(still)}
    return Samples(cases, fields, {"flux": column_scalar(heating.mean(axis=1), "W/m^2")})


SAMPLES, CASES = samples(200), samples(30, 1).cases
RECIPES = {
    "network": MEMBER,
    "ensemble": ENSEMBLE,
    "lf_only": MultiFidelity(ENSEMBLE, ENSEMBLE, "lf_only"),
    "concat": MultiFidelity(ENSEMBLE, ENSEMBLE),
    "residual": MultiFidelity(ENSEMBLE, ENSEMBLE, "residual"),
    "in turn": MultiFidelity(MEMBER, ENSEMBLE, "residual"),
}
READ = """
import json, sys
import netCDF4, numpy as np, torch
path = sys.argv[1]
data = netCDF4.Dataset(path + ".reference.nc")
x = torch.from_numpy(np.asarray(data["inputs"][:]))
mean, std = (torch.from_numpy(np.asarray(data[k][:])) for k in ("mean", "std"))
extra = {"fieldcast.json": ""}
script = torch.jit.load(path + ".pt", _extra_files=extra)
program = torch.export.load(path + ".pt2").module()
assert not [m for m in sys.modules if m.startswith("fieldcast")], "expected none of ours"
with torch.no_grad():
    for module in (script, program):
        for rows in (1, 2, 17, len(x)):
            found = module(x[:rows])
            if isinstance(found, tuple):
                torch.testing.assert_close(found[1], std[:rows], rtol=1e-5, atol=1e-6)
                found = found[0]
            assert found.dtype == mean.dtype
            gap = float((found - mean[:rows]).abs().max() / mean.abs().max())
            assert gap < 1e-6, gap
print(json.dumps(json.loads(extra["fieldcast.json"])))
"""


@pytest.fixture(scope="module")
def models():
    return {name: recipe.fit(SAMPLES) for name, recipe in RECIPES.items()}


def rows_of(found):
    """Mean and spread (case, output)."""
    columns = [found.mean[k].values.reshape(len(found), -1) for k in ("heating", "still")]
    spreads = [found.std[k].values.reshape(len(found), -1) for k in ("heating", "still")]
    flux = found.scalars["flux"]
    return np.hstack([*columns, flux.mean]), np.hstack([*spreads, flux.std])


def elsewhere(path):
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("name", "export"),
    [
        ("network", Export()),
        ("ensemble", Export(spread=True)),
        ("concat", Export(dtype=torch.float64)),
    ],
    ids=["network", "ensemble", "concat"],
)
def test_a_fresh_process_gives_the_same_numbers(models, name, export, tmp_path):
    files = export_module(models[name], tmp_path / "columns", CASES, export)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"columns.{end}" for end in ("pt", "pt2", "reference.nc", "weights.nc")
    ]
    about = elsewhere(tmp_path / "columns")
    assert [b["name"] for b in about["inputs"]] == ["sun", "T", "q"]
    assert [(b["name"], b["start"]) for b in about["outputs"]] == [
        ("heating", 0),
        ("still", 7),
        ("flux", 14),
    ]
    assert about["dtype"] == str(export.dtype).removeprefix("torch.")
    assert files.script.exists()


def written(path):
    with netCDF4.Dataset(path) as data:
        arrays = {k: np.asarray(v[:]) for k, v in data.variables.items()}
        return arrays, {k: data.getncattr(k) for k in data.ncattrs()}


def chain(arrays, values, net, h):
    """Every member's answer, by numpy alone."""
    layers = 1 + sum(f"{net}_w{k}" in arrays for k in range(2, 10))
    for k in range(1, layers + 1):
        h = h @ arrays[f"{net}_w{k}"] + arrays[f"{net}_b{k}"][:, None]
        if k < layers:
            h = np.maximum(h, values["negative_slope"] * h)
    members = int(values["low_members" if net == "low" else "members"])
    return h.reshape(-1, members, *h.shape[1:]).sum(axis=0)


@pytest.mark.parametrize("name", RECIPES)
def test_weights_reproduce_what_the_predictor_answers(models, name, tmp_path):
    files = export_module(models[name], tmp_path / "columns", CASES, Export(dtype=torch.float64))
    arrays, values = written(files.weights)
    reference, _ = written(files.reference)
    z = (reference["inputs"] - arrays["x_shift"]) / arrays["x_scale"]
    if name in ("network", "ensemble"):
        every = chain(arrays, values, "net", z[None])
    else:
        said = chain(arrays, values, "low", z[None])
        said = np.broadcast_to(said, (3, *said.shape[1:]))
        told = [np.broadcast_to(z, (3, *z.shape))] if values["high_is_given_inputs"] else []
        given = np.concatenate([*told, said], axis=2)
        every = chain(arrays, values, "high", np.concatenate([given, given]))
        if values["high_adds_line"]:
            every = every + arrays["slope"] * said + arrays["offset"]
    mean = every.mean(axis=0) * arrays["y_scale"] + arrays["y_shift"]
    np.testing.assert_allclose(mean, reference["mean"], rtol=1e-9, atol=1e-9)
    found = models[name].predict(CASES)
    if name == "network":
        heating = found.mean["heating"].values.reshape(30, -1)
        np.testing.assert_allclose(mean[:, :LEVELS], heating, atol=1e-5, rtol=1e-5)
        return
    spread = values["widening"] * every.std(axis=0, ddof=1) * arrays["y_scale"]
    np.testing.assert_allclose(spread, reference["std"], rtol=1e-9, atol=1e-12)
    own_mean, own_spread = rows_of(found)
    np.testing.assert_allclose(mean, own_mean, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(spread, own_spread, atol=1e-5, rtol=1e-4)
    names = ["".join(row.astype(str)).strip("\0") for row in arrays["output_name"]]
    assert names[6:8] == ["heating, level 6", "still, level 0"]
    assert names[-1] == "flux"


def test_limits_clip_and_holes_stay_holes(models, tmp_path):
    limits = Limits({"T": (270.0, 290.0)}, {"heating": (-0.5, 0.5)}, sigmas=2.0)
    files = export_module(models["ensemble"], tmp_path / "held", CASES, Export(limits))
    arrays, _ = written(files.weights)
    assert arrays["x_low"][1] >= 270.0
    with pytest.warns(DeprecationWarning, match="load"):
        module = torch.jit.load(files.script)
    low = torch.full((1, 15), -1e6)
    edge = torch.as_tensor(arrays["x_low"], dtype=torch.float32)[None]
    torch.testing.assert_close(module(low), module(edge))
    y = module(torch.randn(100, 15) * 1e3)
    assert y[:, :LEVELS].abs().max() <= 0.5
    assert module.spread(low)[1].shape == (1, 15)
    low[0, 3] = torch.nan
    assert module(low).isnan().any(), "a hole must not turn into a number"


def test_what_cannot_be_exported_is_said(models, tmp_path):
    with pytest.raises(TypeError, match="expected a fitted ColumnNetwork"):
        export_module(PodRidge().fit(SAMPLES), tmp_path / "a", CASES)
    with pytest.raises(ValueError, match="expected an ensemble"):
        export_module(models["network"], tmp_path / "a", CASES, Export(spread=True))
    with pytest.raises(ValueError, match=r"expected ranges.*'sun', 'T', 'q'.*got 'u'"):
        export_module(models["network"], tmp_path / "a", CASES, Export(Limits({"u": (0.0, 1.0)})))
    with pytest.raises(ValueError, match="known field 'T'"):
        export_module(models["network"], tmp_path / "a", replace(CASES, fields={}))
    assert not list(tmp_path.iterdir())
    assert isinstance(CASES, Cases)


def test_a_closure_says_the_same(tmp_path):
    """Of more flows than it was exported with, too."""
    policy = Policy(7 + WAVENUMBERS, 8, 0)
    with torch.no_grad():
        policy.actor[-1].weight.mul_(50.0)
    recipe = Feedback(TurbulenceEnvironment(points=16, agents=4))
    target = 2.0 * (1.0 + np.arange(8)) ** -1.5
    law = Learned(policy, 0.0077, 0.02)
    model = ClosurePredictor(recipe, SIGNATURE, Card(), law, target, 1.0)
    w = np.random.default_rng(0).normal(0.0, 3.0, (3, 16, 16))
    files = export_closure(model, tmp_path / "closure", w[:2])
    with warnings.catch_warnings():
        # Deprecated, and all that LibTorch reads.
        warnings.simplefilter("ignore")
        script = torch.jit.load(files.script)
    program = torch.export.load(files.program).module()
    expected = model.tendency(w)
    for loaded in (script, program):
        found = loaded(torch.tensor(w, dtype=torch.float32)).detach().numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="two flows"):
        export_closure(model, tmp_path / "closure", w[:1])
