"""Trajectories in HDF5 or TFRecord with a meta.json, written here as their users write them."""

import gzip
import json
import struct

import h5py
import numpy as np
import pytest

from fieldcast.meshes import (
    Case,
    Field,
    Mesh,
    MeshFileError,
    Prediction,
    Reader,
    Sample,
    Settings,
    find_cases,
    read_case,
    read_folder,
    read_sample,
    write_prediction,
)
from fieldcast.meshes.tfrecord import crc32c, features, masked
from fieldcast.meshes.validation import InvalidMesh

TIMES, DT = 5, 0.01
KINDS = np.array([4, 0, 6, 5, 8])
SETTINGS = Settings(start=("velocity",), units={"velocity": "m/s"})
META = {
    "simulator": "none",
    "dt": DT,
    "trajectory_length": TIMES,
    "field_names": ["cells", "mesh_pos", "node_type", "velocity", "pressure"],
    "features": {
        "cells": {"type": "static", "shape": [1, -1, 3], "dtype": "int32"},
        "mesh_pos": {"type": "static", "shape": [1, -1, 2], "dtype": "float32"},
        "node_type": {"type": "static", "shape": [1, -1, 1], "dtype": "int32"},
        "velocity": {"type": "dynamic", "shape": [TIMES, -1, 2], "dtype": "float32"},
        "pressure": {"type": "dynamic", "shape": [TIMES, -1, 1], "dtype": "float32"},
    },
}


@pytest.fixture(scope="module")
def reader():
    with Reader() as shared:
        yield shared


def arrays(k):
    """One trajectory of (time, point, component) arrays, of 5 points plus k."""
    rng = np.random.default_rng(k)
    more = rng.uniform(1.0, 2.0, (k, 2))
    points = np.concatenate([[[0, 0], [1, 0], [1, 1], [0, 1], [0.5, 2]], more])
    fan = [[0, 1, 2], [0, 2, 3], [3, 2, 4]] + [[2, 4, 5 + i] for i in range(k)]
    return {
        "cells": np.array([fan], np.int32),
        "mesh_pos": points[None].astype(np.float32),
        "node_type": np.concatenate([KINDS, np.zeros(k, int)])[None, :, None].astype(np.int32),
        "velocity": rng.normal(size=(TIMES, 5 + k, 2)).astype(np.float32),
        "pressure": rng.normal(size=(TIMES, 5 + k, 1)).astype(np.float32),
    }


def expected(k, name):
    """The sample that it should be."""
    a = arrays(k)
    named = {4: "inflow", 5: "outflow", 6: "wall", 8: "node_type_8"}
    regions = {named[n]: np.flatnonzero(a["node_type"][0, :, 0] == n) for n in named}
    mesh = Mesh(a["mesh_pos"][0].astype(float), {"triangle": a["cells"][0]}, regions)
    velocity = Field(a["velocity"], "m/s")
    start = {"velocity": velocity.with_values(velocity.values[:1])}
    case = Case(mesh, {}, start, times=DT * np.arange(TIMES), name=name)
    return Sample(case, {"velocity": velocity, "pressure": Field(a["pressure"])})


def tiled(name, values):
    """Static arrays once per time."""
    return np.tile(values, (TIMES, 1, 1)) if len(values) == 1 else values


def flat(name, values):
    return values.ravel()


def as_it_is(name, values):
    return values


def write_meta(folder, changes=None):
    content = json.loads(json.dumps(META))
    for path, value in (changes or {}).items():
        place = content
        *keys, last = path.split("/")
        for key in keys:
            place = place[key]
        place[last] = value
    (folder / "meta.json").write_text(json.dumps(content))


def write_h5(path, count, form=as_it_is, **changes):
    with h5py.File(path, "w") as file:
        for k in range(count):
            for name, values in {**arrays(k), **changes}.items():
                file[f"{k}/{name}"] = form(name, values)
    return path


def slow_crc(data):
    """CRC-32C bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def varint(n):
    head = b""
    while n > 127:
        head, n = head + bytes([n & 127 | 128]), n >> 7
    return head + bytes([n])


def tagged(field, data):
    return varint(field << 3 | 2) + varint(len(data)) + data


def example(named):
    """A tf.train.Example of bytes lists."""
    entries = b""
    for name, values in named.items():
        feature = tagged(1, tagged(1, values.tobytes()))
        entries += tagged(1, tagged(1, name.encode()) + tagged(2, feature))
    return tagged(1, entries)


def framed(data):
    length = struct.pack("<Q", len(data))
    return b"".join(part + struct.pack("<I", masked(slow_crc(part))) for part in (length, data))


def write_tfrecord(path, count, **changes):
    path.write_bytes(b"".join(framed(example({**arrays(k), **changes})) for k in range(count)))
    return path


WRITERS = {
    "h5": lambda folder, n: write_h5(folder / "train.h5", n),
    "h5 tiled": lambda folder, n: write_h5(folder / "train.h5", n, tiled),
    "h5 flat": lambda folder, n: write_h5(folder / "train.hdf5", n, flat),
    "tfrecord": lambda folder, n: write_tfrecord(folder / "train.tfrecord", n),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_layout_gives_the_same_samples(reader, tmp_path, kind):
    write_meta(tmp_path)
    file = WRITERS[kind](tmp_path, 12)
    wanted = [expected(k, f"train_{k}") for k in range(12)]
    folder = read_folder(tmp_path, SETTINGS, reader=reader)
    assert not folder.broken
    assert folder.samples == wanted
    assert [s.case.name for s in folder.samples] == [s.case.name for s in wanted]
    assert [c.mesh for c in find_cases(file)] == [file / str(k) for k in range(12)]
    few = read_folder(tmp_path, folder.settings, reader=reader, first=2)
    assert few.samples == wanted[:2]
    assert read_sample(file / "3", settings=SETTINGS, reader=reader) == wanted[3]
    assert read_case(file / "3", settings=folder.settings, reader=reader) == wanted[3].case


def test_files_are_chosen_by_pattern_and_of_two_with_one_stem_hdf5(tmp_path):
    write_meta(tmp_path)
    for name in ("test", "train"):
        write_h5(tmp_path / f"{name}.h5", 2)
        write_tfrecord(tmp_path / f"{name}.tfrecord", 1)
    names = [c.name for c in find_cases(tmp_path)]
    assert names == ["test_0", "test_1", "train_0", "train_1"]
    [only] = find_cases(tmp_path, Settings(mesh="train.tf*"))
    assert only.mesh == tmp_path / "train.tfrecord" / "0"


def test_settings_and_parameters_lie_beside_the_file(reader, tmp_path):
    write_meta(tmp_path)
    write_h5(tmp_path / "train.h5", 2)
    (tmp_path / "fieldcast.toml").write_text('outputs = ["velocity"]\nstart = ["velocity"]\n')
    (tmp_path / "parameters.csv").write_text("case,speed [m/s]\ntrain_0,1.5\ntrain_1,2.5\n")
    folder = read_folder(tmp_path, reader=reader)
    assert set(folder.samples[0].fields) == set(folder.samples[0].case.fields) == {"velocity"}
    assert [float(s.case.parameters["speed"]) for s in folder.samples] == [1.5, 2.5]
    again = read_sample(tmp_path / "train.h5" / "1", reader=reader)
    assert again == folder.samples[1]


def test_predictions_are_written_as_a_series(reader, tmp_path):
    write_meta(tmp_path)
    file = write_h5(tmp_path / "train.h5", 1)
    truth = read_sample(file / "0", settings=SETTINGS, reader=reader)
    path = write_prediction(
        Prediction(truth.case, truth.fields), tmp_path / "answer", source=file / "0", reader=reader
    )
    assert path.suffix == ".pvd"
    found = reader.read(path)
    np.testing.assert_array_equal(found.mesh.points, truth.case.mesh.points)
    np.testing.assert_array_equal(found.times, truth.case.times)
    np.testing.assert_array_equal(found.fields["velocity"].values, truth.fields["velocity"].values)


def test_volumes_move_by_a_field(reader, tmp_path):
    world = np.random.default_rng(0).normal(size=(TIMES, 4, 3)).astype(np.float32)
    named = {
        "cells": np.array([[[0, 1, 2, 3]]], np.int32),
        "mesh_pos": np.concatenate([np.zeros((1, 1, 3)), np.eye(3)[None]], 1).astype(np.float32),
        "node_type": np.array([[[0], [1], [3], [0]]], np.int32),
        "world_pos": world,
    }
    described = {
        name: {
            "type": "dynamic" if len(v) > 1 else "static",
            "shape": [len(v), -1, v.shape[2]],
            "dtype": str(v.dtype),
        }
        for name, v in named.items()
    }
    write_meta(tmp_path, {"features": described, "dt": 0})
    (tmp_path / "x.tfrecord").write_bytes(framed(example(named)))
    found = reader.read(tmp_path / "x.tfrecord" / "0")
    assert found.mesh.cells["tetra"].tolist() == [[0, 1, 2, 3]]
    regions = {k: v.tolist() for k, v in found.mesh.regions.items()}
    assert regions == {"obstacle": [1], "handle": [2]}
    np.testing.assert_array_equal(found.fields["world_pos"].values, world)
    assert found.times.tolist() == [0, 1, 2, 3, 4]
    assert "no dt" in found.warnings[0]


@pytest.mark.parametrize("n", [0, 1, 3, 4, 9, 4095, 4096, 4097, 9001])
def test_checksums_are_those_of_the_slow_way(n):
    data = np.random.default_rng(n).bytes(n)
    assert crc32c(data) == slow_crc(data)


def test_checksum_of_the_standard():
    assert crc32c(b"123456789") == 0xE3069283


def test_damaged_records_are_named_and_the_others_read(reader, tmp_path):
    write_meta(tmp_path)
    path = write_tfrecord(tmp_path / "train.tfrecord", 4)
    whole = path.read_bytes()
    sizes = [len(framed(example(arrays(k)))) for k in range(4)]
    flipped = bytearray(whole)
    flipped[sizes[0] + 100] ^= 1
    path.write_bytes(flipped[: sum(sizes) - 10])
    folder = read_folder(tmp_path, SETTINGS, reader=reader)
    assert folder.samples == [expected(0, "train_0"), expected(2, "train_2")]
    said = {p.name: str(e) for p, e in folder.broken.items()}
    assert "record 1: expected data of its checksum" in said["1"]
    assert f"record 3: expected {sizes[3] - 16} bytes, got {sizes[3] - 26}" in said["3"]
    assert "truncated" in said["3"]


@pytest.mark.parametrize("cut", [1, 11, 12, 15, 100])
def test_every_cut_is_said(reader, tmp_path, cut):
    write_meta(tmp_path)
    path = write_tfrecord(tmp_path / "train.tfrecord", 1)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(MeshFileError, match=r"record 0: .* truncated"):
        reader.read(path / "0")


def huge(folder):
    """A record that claims to be an exabyte, with the right checksum of its length."""
    length = struct.pack("<Q", 2**60)
    path = folder / "train.tfrecord"
    path.write_bytes(length + struct.pack("<I", masked(slow_crc(length))) + bytes(100))


def packed(folder):
    write_tfrecord(folder / "train.tfrecord", 1)
    path = folder / "train.tfrecord"
    path.write_bytes(gzip.compress(path.read_bytes()))


def number_list(folder):
    entry = tagged(1, b"cells") + tagged(2, tagged(3, tagged(1, b"\x01")))
    (folder / "train.tfrecord").write_bytes(framed(tagged(1, tagged(1, entry))))


def no_example(folder):
    (folder / "train.tfrecord").write_bytes(framed(b"\xff" * 40))


def hollow(folder):
    """A terabyte of values that nobody has written."""
    write_h5(folder / "train.h5", 1)
    with h5py.File(folder / "train.h5", "a") as file:
        del file["0/velocity"]
        file["0"].create_dataset(
            "velocity", shape=(TIMES, 2**36, 2), dtype="f4", chunks=(1, 1024, 2)
        )


def cut_h5(folder):
    path = write_h5(folder / "train.h5", 1)
    path.write_bytes(path.read_bytes()[:3000])


def changing(folder):
    mesh = np.arange(TIMES * 10.0, dtype=np.float32).reshape(TIMES, 5, 2)
    write_h5(folder / "train.h5", 1, mesh_pos=mesh)
    write_meta(folder, {"features/mesh_pos": {**META["features"]["velocity"]}})


def linked(folder):
    write_h5(folder / "train.h5", 1)
    with h5py.File(folder / "train.h5", "a") as file:
        del file["0/velocity"]
        file["0/velocity"] = h5py.SoftLink("/elsewhere")


def of_text(folder):
    write_h5(folder / "train.h5", 1, velocity=np.array(b"text"))


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (huge, f"record 0: expected {2**60} bytes, got 96"),
        (packed, "record 0: expected a length of its checksum.*unpack"),
        (number_list, "record 0: feature 'cells': expected bytes, got a list of numbers"),
        (no_example, "record 0: expected a tf.train.Example"),
        (hollow, "'velocity': .* bytes claim to be"),
        (cut_h5, "expected a whole HDF5 file"),
        (changing, "'mesh_pos': expected the same at all times"),
        (linked, "expected all data in this file, got a link as 'velocity'"),
        (of_text, "'velocity': expected a dataset of numbers"),
    ],
)
def test_files_that_lie_are_refused(reader, tmp_path, write, says):
    write_meta(tmp_path)
    write(tmp_path)
    [error] = read_folder(tmp_path, SETTINGS, reader=reader).broken.values()
    assert error.status == "invalid-input"
    with pytest.raises(MeshFileError, match=says):
        raise error


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"features/velocity/shape": [TIMES, -1, 3]}, "'velocity': expected numbers of shape"),
        ({"features/velocity/shape": [10**15, -1, 2]}, "expected 5 times"),
        ({"trajectory_length": 10**15}, f"expected {10**15} times"),
        (
            {"trajectory_length": 10**15, "features/velocity/shape": [10**15, -1, 2]},
            "'velocity': expected numbers of shape|'pressure'.*expected",
        ),
        ({"features/velocity/shape": [TIMES, -1, 10**12]}, "a width of 1 to 4096"),
        ({"features/velocity/shape": [TIMES, 10**12, 2]}, "expected type static or dynamic"),
        ({"features/velocity/shape": "none"}, "expected type static or dynamic"),
        ({"features/velocity/dtype": "object"}, "dtype of"),
        ({"features/velocity/type": "dynamic_varlen"}, "expected type static or dynamic"),
        ({"features/cells/shape": [1, -1, 5]}, "'cells': expected numbers|nodes"),
        ({"features/gone": META["features"]["velocity"]}, "expected the features .'gone'."),
        ({"features": {}}, "expected the features .'cells', 'mesh_pos', 'node_type'."),
        ({"features": 3}, "expected an object with dt"),
        ({"dt": "soon"}, "expected an object with dt"),
        ({"dt": float("inf")}, "expected dt of 0 s or more"),
    ],
)
@pytest.mark.parametrize("kind", ["h5", "tfrecord"])
def test_a_meta_that_does_not_fit_is_refused(reader, tmp_path, kind, changes, says):
    write_meta(tmp_path, changes)
    file = WRITERS[kind](tmp_path, 1)
    with pytest.raises(MeshFileError, match=says) as error:
        reader.read(file / "0")
    assert error.value.status == "invalid-input"


@pytest.mark.parametrize("kind", ["h5", "tfrecord"])
def test_a_whole_file_is_no_mesh(reader, tmp_path, kind):
    write_meta(tmp_path)
    with pytest.raises(MeshFileError, match=r"trajectory.* train\.(h5/NAME|tfrecord/0)"):
        reader.read(WRITERS[kind](tmp_path, 2))


def test_without_or_with_a_monstrous_meta_it_is_said(reader, tmp_path):
    file = write_h5(tmp_path / "train.h5", 1)
    with pytest.raises(MeshFileError, match=r"expected meta\.json beside train\.h5, got none"):
        reader.read(file / "0")
    with pytest.raises(ValueError, match="expected mesh files"):
        read_folder(tmp_path, reader=reader)
    (tmp_path / "meta.json").write_text("[" * 200_000)
    with pytest.raises(MeshFileError, match="invalid-input"):
        reader.read(file / "0")
    (tmp_path / "meta.json").write_text(" " * 2**21)
    with pytest.raises(MeshFileError, match="at most 1 MiB"):
        reader.read(file / "0")


@pytest.mark.parametrize(
    ("kind", "says"), [("h5", "expected a group '7' in"), ("tfrecord", "expected record 7")]
)
def test_trajectories_that_are_not_there_are_said(reader, tmp_path, kind, says):
    write_meta(tmp_path)
    with pytest.raises(MeshFileError, match=says):
        reader.read(WRITERS[kind](tmp_path, 2) / "7")


def test_any_bytes_are_features_or_an_error():
    rng = np.random.default_rng(0)
    whole = example(arrays(0))
    assert set(features(whole)) == set(META["features"])
    for _ in range(300):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(256)
        try:
            features(bytes(data[: rng.integers(len(data) + 1)]))
        except InvalidMesh:
            continue
