"""Batches: a poisoned folder, a job that is killed, shards, workers that die."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from fieldcast.meshes import Sample, read_case, read_mesh
from fieldcast.pipelines.answering import asked_settings
from fieldcast.pipelines.batch_report import write_batch_report
from fieldcast.pipelines.cli import main
from fieldcast.pipelines.exporting import export_table
from fieldcast.pipelines.groups import Budget, plan
from fieldcast.pipelines.manifest import Entry, Manifest, Outcome, Timings
from fieldcast.pipelines.predicting import Batch, Job, predict_folder, predict_stream, retry_folder
from fieldcast.pipelines.shards import Shard, merge, scheduled_shard
from fieldcast.surrogates import PodRidge, load

# Looked for, not imported: with it comes another importlib.metadata, which plugins would show.
ENGINES = {"dask": ("distributed", "cluster"), "ray": ("ray", "ray")}
SMALL = Budget(nodes=20_000, cases=3, window=8)
# Ends or holds up the process that opens a file of a certain name, as damaged files do: only
# that which decodes meshes, or only workers where `worker` is said.
HOOK = """
import os, signal, sys, time
here = "decoding" if any("meshes.decoding" in a for a in sys.orig_argv) else (
    "worker" if any("batch_worker" in a for a in sys.orig_argv) else "")
def hook(event, args):
    if event != "open" or not here or not isinstance(args[0], (str, os.PathLike)):
        return
    name = os.path.basename(os.fspath(args[0]))
    if name.startswith(here + "_segv"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if name.startswith(here + "_hang"):
        time.sleep(1000)
if here:
    sys.addaudithook(hook)
"""


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.fixture(scope="module")
def model(plates: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = [
        Sample(s.case, {"U2": s.fields["U2"]}, {"max_von_mises": s.scalars["max_von_mises"]})
        for s in plates
    ]
    return PodRidge().fit(samples).save(tmp_path_factory.mktemp("model") / "plate.fieldcast")


@pytest.fixture
def hook(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.mktemp("hook")
    (folder / "sitecustomize.py").write_text(HOOK)
    monkeypatch.setenv("PYTHONPATH", str(folder))


def copies(plate_folder: Path, folder: Path, count: int) -> Path:
    folder.mkdir()
    files = sorted(plate_folder.glob("*.vtu"))
    for i in range(count):
        shutil.copy2(files[i % len(files)], folder / f"case_{i:03d}.vtu")
    return folder


def answers(out: Path) -> dict[str, bytes]:
    """Everything that a batch leaves and that must be the same each time."""
    export_table(out / "manifest.sqlite", out / "table.csv")
    kept = {p.name: p.read_bytes() for p in out.iterdir() if p.suffix in (".vtu", ".csv", ".json")}
    odd = {p.name for p in out.iterdir()} - set(kept) - {"manifest.sqlite", "report.html"}
    assert all(name.startswith((".manifest", "manifest.")) for name in odd), odd
    return kept


@pytest.fixture(scope="module")
def asked(plate_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copies(plate_folder, tmp_path_factory.mktemp("asked") / "in", 16)
    (folder / "broken.vtu").write_text("no mesh")
    return folder


@pytest.fixture(scope="module")
def whole(model: Path, asked: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one worker leaves that nobody disturbs."""
    out = tmp_path_factory.mktemp("whole")
    assert predict_folder(model, asked, out, job=Job(workers=1, budget=SMALL)).failed == 1
    return answers(out)


def _needed(engine: str) -> None:
    package, extra = ENGINES.get(engine, ("", ""))
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"expected {package}, pip install 'fieldcast[{extra}]'")


def test_a_plan_keeps_the_budget_and_is_pure():
    sizes = [int(s) for s in np.random.default_rng(0).integers(1, 500_000, 100)]
    groups = plan(sizes, SMALL)
    assert groups == plan(sizes, SMALL)
    assert sorted(set(groups)) == list(range(max(groups) + 1))
    for g in set(groups):
        rows = [i for i, own in enumerate(groups) if own == g]
        assert len(rows) <= SMALL.cases
        assert len(rows) == 1 or sum(sizes[i] // 100 for i in rows) <= SMALL.nodes
        assert len({i // SMALL.window for i in rows}) == 1


@pytest.mark.parametrize(
    "executor", ["local", *(pytest.param(e, marks=pytest.mark.slow) for e in ("dask", "ray"))]
)
def test_a_poisoned_folder_of_forty(executor, model, plate_folder, tmp_path, hook):
    _needed(executor)
    folder = copies(plate_folder, tmp_path / "in", 34)
    good = (folder / "case_000.vtu").read_bytes()
    (folder / "decoding_segv.vtu").write_bytes(good)
    (folder / "decoding_hang.vtu").write_bytes(good)
    (folder / "cut.vtu").write_bytes(good[: len(good) // 2])
    nan = Path(__file__).parents[1] / "data/odd_meshes/malformed/nan_coordinate.vtu"
    shutil.copy(nan, folder / "nan.vtu")
    (folder / "empty.vtu").touch()
    (folder / "x.vtu").mkdir()
    options = ("--time-limit", "4", "--workers", "2", "--json", "--executor", executor)
    code = "from fieldcast.pipelines.cli import main; main()"
    command = [sys.executable, "-c", code, "predict", model, folder, "-o", tmp_path / "out"]
    done = subprocess.run([*command, *options], stdout=subprocess.PIPE, check=False)
    assert done.returncode == 2
    found = {o["case"]: o["status"] for o in json.loads(done.stdout)}
    assert len(found) == 40
    bad = {name: status for name, status in found.items() if not name.startswith("case_")}
    invalid = dict.fromkeys(("cut", "nan", "empty", "x"), "invalid-input")
    assert bad == {"decoding_segv": "crashed", "decoding_hang": "timeout", **invalid}
    assert {s for name, s in found.items() if name not in bad} <= {"ok", "flagged"}
    assert len(list((tmp_path / "out").glob("*.vtu"))) == 34
    # The answers of a clean folder differ by no more than the surrogate declares.
    predictor = load(model)
    case = read_case(folder / "case_007.vtu", settings=asked_settings(predictor))
    [expected] = predictor.predict([case])
    got = read_mesh(tmp_path / "out" / "case_007.vtu").fields["U2"].values
    allowed = PodRidge.tolerance * np.abs(expected.mean["U2"].values).max()
    np.testing.assert_allclose(got, expected.mean["U2"].values, rtol=0, atol=allowed)


def test_a_file_that_kills_the_worker_is_found_and_the_rest_goes_on(
    model, plate_folder, tmp_path, hook, caplog
):
    folder = copies(plate_folder, tmp_path / "in", 5)
    shutil.copy(folder / "case_000.vtu", folder / "worker_segv.vtu")
    job = Job(workers=1, budget=Budget(cases=3))
    batch = predict_folder(model, folder, tmp_path / "out", job=job)
    found = {o.case: o.status for o in batch.outcomes()}
    assert found.pop("worker_segv") == "crashed"
    assert set(found.values()) <= {"ok", "flagged"}
    assert len(found) == 5
    # Alone, after the cause is gone, it is answered; the others are left as they are.
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*.vtu")}
    os.environ.pop("PYTHONPATH")
    batch = retry_folder(tmp_path / "out", ["crashed"])
    assert batch.failed == 0
    after = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*.vtu")}
    assert {name: after[name] for name in before} == before
    assert len(after) == 6


def started(
    model: Path, folder: Path, out: Path, executor: str = "local"
) -> subprocess.Popen[bytes]:
    """A batch by two workers in a process group of its own."""
    code = (
        "from pathlib import Path\n"
        "from fieldcast.pipelines.predicting import *\n"
        "if __name__ == '__main__':\n"  # an engine may start it again to import it
        f"    predict_folder(Path({str(model)!r}), Path({str(folder)!r}), Path({str(out)!r}), "
        f"job=Job(workers=2, budget=Budget{SMALL.nodes, SMALL.cases, SMALL.window}, "
        f"executor={executor!r}))"
    )
    return subprocess.Popen([sys.executable, "-c", code], start_new_session=True)


def kept(out: Path, seen: dict[str, int]) -> dict[str, int]:
    """When the outputs of groups that are done were written; those `seen` before are as they
    were."""
    with Manifest(out / "manifest.sqlite") as manifest:
        finished = {o.output for o, _ in manifest.rows() if o.output}
        again = {
            json.loads(files)[0] + ".vtu"
            for group in manifest.pending()
            for _, files in manifest.group(group)
        }
    times = {name: (out / name).stat().st_mtime_ns for name in finished}
    assert {name: times[name] for name in seen} == seen, "a finished case was predicted twice"
    return {name: time for name, time in times.items() if name not in again}


@pytest.mark.slow
def test_killed_at_twenty_moments(model, plate_folder, tmp_path):
    """A while after some number of answers, from none to nearly all."""
    asked, whole = copies(plate_folder, tmp_path / "asked", 60), tmp_path / "whole"
    predict_folder(model, asked, whole, job=Job(workers=2, budget=SMALL))
    expected, rng, between = answers(whole), np.random.default_rng(0), 0
    for i, count in enumerate(rng.integers(0, 56, 20).tolist()):
        out = tmp_path / str(i)
        with started(model, asked, out) as process:
            while len(list(out.glob("*.vtu"))) < count and process.poll() is None:
                time.sleep(0.002)
            time.sleep(rng.uniform(0.0, 0.1))
            with suppress(ProcessLookupError):  # it may be done
                os.killpg(process.pid, signal.SIGKILL)
        seen = kept(out, {}) if (out / "manifest.sqlite").exists() else {}
        between += 0 < len(seen) < 60
        predict_folder(model, asked, out, job=Job(workers=2, budget=SMALL))
        assert kept(out, seen)
        assert answers(out) == expected, f"killed after {count} answers"
    assert between >= 10, "too few were killed amid their work to tell"


def test_the_number_of_workers_does_not_matter(model, asked, whole, tmp_path):
    predict_folder(model, asked, tmp_path, job=Job(workers=4, budget=SMALL))
    assert answers(tmp_path) == whole


def test_killed_and_resumed_equals_uninterrupted(model, asked, whole, tmp_path):
    folder = shutil.copytree(asked, tmp_path / "in")
    out = tmp_path / "killed"
    seen: dict[str, int] = {}
    for done in (1, 9):
        with started(model, folder, out) as process:
            while len(list(out.glob("*.vtu"))) < done and process.poll() is None:
                time.sleep(0.005)
            os.killpg(process.pid, signal.SIGKILL)
        seen = kept(out, seen)
    job = Job(workers=2, budget=SMALL)
    predict_folder(model, folder, out, job=job)
    times = kept(out, seen)
    assert answers(out) == whole
    # Once more: nothing is left to do; a lost output and a changed input are.
    predict_folder(model, folder, out, job=job)
    assert kept(out, {}) == times
    (out / "case_000.vtu").unlink()
    shutil.copy(folder / "case_001.vtu", folder / "broken.vtu")
    assert predict_folder(model, folder, out, job=job).failed == 0
    assert (out / "case_000.vtu").exists()
    assert (out / "broken.vtu").exists()


def test_parquet_is_the_same_table(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pip install 'fieldcast[parquet]'")
    drag = {"mean": [0.5], "std": [0.1], "interval": [[0.3], [0.7]], "unit": "N"}
    lift = {"mean": [1.0, 2.0], "unit": "N"}
    with Manifest(tmp_path / "manifest.sqlite") as manifest:
        manifest.enter(entries(3), SMALL)
        rows = [
            Outcome("c0", "ok", "c0.vtu", "", {"drag": drag, "lift": lift}, 0.5, 10, "k"),
            Outcome("c1", "crashed", "", "the worker ended"),
            Outcome("c2", "ok", "c2.vtu", "", {"drag": drag}, 0.25, 10, "k"),
        ]
        manifest.record([(row, Timings(1.0)) for row in rows])
    for name in ("t.csv", "t.parquet"):
        assert export_table(tmp_path / "manifest.sqlite", tmp_path / name, timings=True) == 3
    table = parquet.read_table(tmp_path / "t.parquet").to_pydict()
    with (tmp_path / "t.csv").open(newline="") as file:
        for i, row in enumerate(csv.DictReader(file)):
            own = {k: "" if v[i] is None else str(v[i]) for k, v in table.items()}
            assert own == row
    assert table["drag_lower"] == [0.3, None, 0.3]


def test_the_page_counts_and_names_what_failed(tmp_path):
    counts = {"ok": 1, "flagged": 1, "crashed": 1}
    scalars = {"drag": {"mean": [0.5], "unit": "N"}}
    with Manifest(tmp_path / "manifest.sqlite") as manifest:
        manifest.enter(entries(3), SMALL)
        rows = [
            Outcome("c0", "ok", "c0.vtu", "", scalars, 0.5, 10),
            Outcome("c1", "flagged", "c1.vtu", "beyond <range>", scalars, 1.5, 10),
            Outcome("c2", "crashed", "", "the worker ended"),
        ]
        manifest.record([(row, Timings(1.0)) for row in rows])
    batch = Batch(tmp_path / "manifest.sqlite", counts)
    page = write_batch_report(batch, tmp_path / "r.html", "new")
    text = page.read_text()
    for said in ("3 cases", "beyond &lt;range&gt;", "the worker ended", "<svg", "drag", "1.000"):
        assert said in text
    assert "://" not in text


def test_shards_merge_to_the_whole(model, asked, whole, tmp_path):
    job, out = Job(workers=1, budget=SMALL), tmp_path / "parts"
    predict_folder(model, asked, out, job=job, shard=Shard(0, 2))
    with pytest.raises(ValueError, match=r"\[1\] are missing"):
        merge(out)
    predict_folder(model, asked, out, job=job, shard=Shard(1, 2))
    assert run("merge", out) == 2
    assert answers(out) == whole


@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_engines_give_the_same(engine, model, asked, whole, tmp_path):
    _needed(engine)
    out = tmp_path / engine
    with started(model, asked, out, engine) as process:
        assert process.wait() == 0
    assert answers(out) == whole


def test_an_unknown_engine_is_refused(model, asked, tmp_path):
    with pytest.raises(ValueError, match="dask"):
        predict_folder(model, asked, tmp_path / "out", job=Job(executor="cloud"))


def test_shards_of_schedulers():
    array = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "5"}
    assert scheduled_shard(array) == (Shard(2, 4), "SLURM_ARRAY_TASK_ID")
    stepped = {**array, "SLURM_ARRAY_TASK_STEP": "2"}
    assert scheduled_shard(stepped) == (Shard(1, 4), "SLURM_ARRAY_TASK_ID")
    assert scheduled_shard({"RANK": "1", "WORLD_SIZE": "2"}) == (Shard(1, 2), "RANK")
    indexed = {"JOB_COMPLETION_INDEX": "0", "JOB_COMPLETIONS": "3"}
    assert scheduled_shard(indexed) == (Shard(0, 3), "JOB_COMPLETION_INDEX")
    assert scheduled_shard({"RANK": "0", "WORLD_SIZE": "1"}) == (Shard(), "")
    assert Shard.parsed("3/16") == Shard(3, 16)
    for wrong in ("3", "4/4", "-1/2"):
        with pytest.raises(ValueError, match="expected"):
            Shard.parsed(wrong)


def entries(count: int, changed: int = -1) -> list[Entry]:
    return [
        Entry(f"c{i}", f'["c{i}", "c{i}.vtu"]', 10, "new" if i == changed else "old")
        for i in range(count)
    ]


def test_a_manifest_keeps_what_is_done(tmp_path):
    budget = Budget(cases=2)
    with Manifest(tmp_path / "m.sqlite") as manifest:
        manifest.enter(entries(4), budget)
        assert manifest.pending() == [0, 1]
        manifest.record([(Outcome("c0", "ok", "c0.vtu", key="k"), Timings(1.0))])
        assert manifest.pending() == [0, 1], "a group is done whole or redone"
        manifest.record([(Outcome("c1", "crashed"), Timings())])
        assert manifest.pending() == [1]
    with Manifest(tmp_path / "m.sqlite") as manifest:
        manifest.enter(entries(5, changed=0), budget)
        assert manifest.pending() == [1, 2], "new cases are groups of their own"
        assert manifest.changed(lambda files: "k") == 0, "touched, not changed"
        manifest.enter(entries(5), budget)
        assert manifest.changed(lambda files: "other") == 1
        assert manifest.pending() == [0, 1, 2]
        assert manifest.retry(["crashed"], budget) == 1
        assert manifest.pending() == [0, 1, 2, 3]
        manifest.enter(entries(2), budget)
        assert manifest.counts() == {"pending": 2}


def test_a_stream_answers_in_order_and_tells_errors(model, plates):
    predictor = load(model)
    cases = [s.case for s in plates[:5]]
    wrong = type(cases[0])(cases[0].mesh, {**cases[0].parameters, "P": np.nan}, name="nan")
    asked = iter([*cases[:3], wrong, *cases[3:]])
    found = list(predict_stream(predictor, asked, job=Job(budget=Budget(cases=2))))
    assert isinstance(found[3], ValueError)
    assert "finite" in str(found[3])
    assert [p.case.name for p in found if not isinstance(p, ValueError)] == [c.name for c in cases]


def test_two_batches_do_not_write_into_each_other(model, plate_folder, tmp_path):
    from fieldcast.pipelines.predicting import alone

    folder = copies(plate_folder, tmp_path / "in", 1)
    (tmp_path / "out").mkdir()
    with alone(tmp_path / "out", Shard()), pytest.raises(ValueError, match="another batch"):
        predict_folder(model, folder, tmp_path / "out")
    with pytest.raises(ValueError, match="another folder"):
        predict_folder(model, folder, folder)


def test_interrupted_ends_130_and_goes_on(model, plate_folder, tmp_path):
    folder = copies(plate_folder, tmp_path / "in", 12)
    code = "from fieldcast.pipelines.cli import main; main()"
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", code, "predict", model, folder, "-o", out, "--nodes", "1"],
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    ) as process:
        while not list(out.glob("*.vtu")) and process.poll() is None:
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) == 130
    assert not (out / ".staging").exists()
    assert run("predict", model, folder, "-o", out, "--nodes", "1") == 0
    assert len(list(out.glob("*.vtu"))) == 12
