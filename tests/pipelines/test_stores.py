"""Batches from and to other filesystems: one in memory, one that moves files, an object store."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from fieldcast.meshes import Sample
from fieldcast.meshes.case_files import CaseFiles
from fieldcast.meshes.case_reading import named_in, paths_of
from fieldcast.pipelines.cli import main
from fieldcast.pipelines.exporting import export_table
from fieldcast.pipelines.groups import Budget
from fieldcast.pipelines.manifest import Manifest
from fieldcast.pipelines.predicting import Job, predict_folder, retry_folder
from fieldcast.pipelines.shards import Shard
from fieldcast.pipelines.sources import RemoteSource
from fieldcast.pipelines.stores import Store, is_remote
from fieldcast.surrogates import PodRidge

JOB = Job(workers=1, budget=Budget(cases=2))
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def model(plates: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = [Sample(s.case, {"U2": s.fields["U2"]}) for s in plates]
    return PodRidge().fit(samples).save(tmp_path_factory.mktemp("model") / "plate.fieldcast")


@pytest.fixture(scope="module")
def asked(plate_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("asked") / "in"
    folder.mkdir()
    for i, path in enumerate(sorted(plate_folder.glob("*.vtu"))[:5]):
        shutil.copy2(path, folder / f"case_{i}.vtu")
    (folder / "broken.vtu").write_text("no mesh")
    return folder


@pytest.fixture(scope="module")
def whole(model: Path, asked: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a batch from folder to folder leaves."""
    out = tmp_path_factory.mktemp("whole")
    predict_folder(model, asked, out, job=JOB)
    return {p.name: p.read_bytes() for p in out.glob("*.vtu")} | {"": table(out)}


def table(out: Path) -> bytes:
    export_table(out / "manifest.sqlite", out / "table.csv")
    return (out / "table.csv").read_bytes()


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URL of a bucket in an object store on this machine."""
    if importlib.util.find_spec("s3fs") is None or importlib.util.find_spec("moto") is None:
        pytest.skip("expected an object store to test with, pip install s3fs 'moto[s3]' flask")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        patch.setitem(fsspec.config.conf, "s3", {"endpoint_url": f"http://{host}:{port}"})
        fsspec.filesystem("s3").mkdir("cases")
        yield "s3://cases"
    server.stop()


@pytest.fixture(params=["memory", "file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty folder."""
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"
    return f"file://{tmp_path}" if request.param == "file" else f"memory://{tmp_path.name}"


def given(asked: Path, url: str) -> Store:
    """The cases, in a store."""
    Store.at(url).put(sorted(asked.iterdir()))
    return Store.at(url)


def test_a_batch_elsewhere_is_as_one_here(store, asked, model, whole, tmp_path, capsys):
    source = given(asked, f"{store}/in")
    sink = Store.at(f"{store}/out")
    source.files.put(str(model), f"{Store.at(store).root}/plate.fieldcast")
    batch = predict_folder(f"{store}/plate.fieldcast", source.url, sink.url, job=JOB)
    assert batch.counts["invalid-input"] == 1
    assert next(batch.outcomes()).case == "broken"
    here = tmp_path / "here"
    here.mkdir()
    sink.get(sorted(sink.names()), here)
    assert {p.name: p.read_bytes() for p in here.glob("*.vtu")} | {"": table(here)} == whole
    assert {p.name for p in here.iterdir() if not p.name.startswith(("case", "table"))} >= {
        "manifest.sqlite",
        "manifest.json",
        "report.html",
    }
    # Nothing is left to do; then a case is changed, and an answer is lost.
    before = stamps(sink)
    predict_folder(f"{store}/plate.fieldcast", source.url, sink.url, job=JOB)
    assert stamps(sink) == before
    shutil.copy(asked / "case_0.vtu", tmp_path / "broken.vtu")
    source.put([tmp_path / "broken.vtu"])
    sink.files.rm(f"{sink.root}/case_1.vtu")
    assert retry_folder(sink.url, ["invalid-input"]).failed == 0
    assert {"broken.vtu", "case_1.vtu"} <= sink.names()
    with pytest.raises(SystemExit):
        main(["export", sink.url, "--csv", str(tmp_path / "t.csv")])
    assert "wrote 6 rows" in capsys.readouterr().out


def stamps(store: Store) -> dict[str, str]:
    """When answers were written, as far as the store tells."""
    store.files.invalidate_cache()
    return {
        name: str([info.get(k) for k in ("created", "LastModified", "mtime")])
        for name, info in store.found().items()
        if name.endswith(".vtu")
    }


def test_shards_elsewhere_merge(asked, model, whole, tmp_path):
    given(asked, "memory://shards/in")
    for i in (0, 1):
        predict_folder(
            model, "memory://shards/in", "memory://shards/out", job=JOB, shard=Shard(i, 2)
        )
    with pytest.raises(SystemExit) as end:
        main(["merge", "memory://shards/out"])
    assert end.value.code == 2
    Store.at("memory://shards/out").get(["manifest.sqlite"], tmp_path)
    assert table(tmp_path) == whole[""]


def test_one_file_elsewhere(asked, model, tmp_path):
    given(asked, "memory://one/in")
    batch = predict_folder(model, "memory://one/in/case_2.vtu", tmp_path / "out", job=JOB)
    assert not batch.failed
    assert (tmp_path / "out" / "case_2.vtu").exists()


def test_stand_ins_are_empty_until_they_are_needed(asked, tmp_path):
    given(asked, "memory://stand/in")
    source = RemoteSource.mirrored("memory://stand/in", tmp_path)
    path, real = tmp_path / "case_0.vtu", asked / "case_0.vtu"
    state = path.stat()
    assert state.st_size == real.stat().st_size
    assert not any(path.read_bytes())
    with source.holding('["case_0", "case_0.vtu"]'):
        assert path.read_bytes() == real.read_bytes()
        assert path.stat().st_mtime_ns == state.st_mtime_ns
    assert not any(path.read_bytes())
    assert path.stat().st_blocks == 0


def test_a_list_brings_what_it_names(tmp_path):
    (tmp_path / "run.pvd").write_text(
        '<VTKFile type="Collection"><DataSet timestep="0" file="steps/a_0.pvtu"/>'
        '<DataSet timestep="1" file="missing.vtu"/></VTKFile>'
    )
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "a_0.pvtu").write_text('<Piece Source="a_0.0.vtu"/>')
    (tmp_path / "steps" / "a_0.0.vtu").write_text("x")
    (tmp_path / "run.xmf").write_text("<DataItem>data.h5:/mesh/points</DataItem>")
    (tmp_path / "run.case").write_text("model: run.geo\nscalar per node: 1 p run.p****\n")
    for name in ("data.h5", "run.geo", "run.p0000", "run.p0001", "other.h5"):
        (tmp_path / name).write_text("x")
    names = [[p.name for p in named_in(tmp_path / f"run.{k}")] for k in ("pvd", "xmf", "case")]
    assert names == [["a_0.0.vtu", "a_0.pvtu"], ["data.h5"], ["run.geo", "run.p0000", "run.p0001"]]
    assert paths_of(CaseFiles("run", tmp_path / "run.xmf"))[1] == tmp_path / "data.h5"


def test_what_cannot_be_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match="no file there"):
        predict_folder(model, "memory://nowhere/in", tmp_path / "out")
    with pytest.raises(ValueError, match="filesystem of fsspec"):
        predict_folder(model, "nosuch://nowhere/in", tmp_path / "out")
    with pytest.raises(ValueError, match="--shard"):
        predict_folder(model, "memory://a", tmp_path / "out", job=Job(executor="dask"))
    with pytest.raises(ValueError, match="another folder"):
        predict_folder(model, "memory://a", "memory://a")
    assert not is_remote("s3/b")
    with Manifest(tmp_path / "m.sqlite") as manifest:
        assert not manifest.counts()
