"""Bundles: whole or refused. Every altered file is a BundleError or ValueError that names it."""

import hashlib
import json
import os
import struct
from functools import lru_cache

import numpy as np
import pytest
from manufactured import linear

from fieldcast.conformance.refusals import assert_refused, refusal
from fieldcast.meshes.files import replace_file
from fieldcast.surrogates import MMGP, PodRidge, Training, load
from fieldcast.surrogates import bundle as bundle_module
from fieldcast.surrogates.bundle import HEADER_LIMIT, BundleError, read_header

MMGP_SMALL = MMGP(modes=2, training=Training(starts=1, iterations=10))


@lru_cache(maxsize=2)
def predictor(recipe=None):
    return (recipe or PodRidge()).fit(linear(6), seed=4)


@pytest.fixture
def path(tmp_path):
    return predictor().save(tmp_path / "model.fieldcast")


def answers(found):
    return [p.mean["u"].values for p in found.predict([s.case for s in linear(2, start=6)])]


def refused(path, *words):
    """`load` raises BundleError or ValueError, and nothing else, with the path in its message."""
    assert_refused(lambda: load(path), str(path), *words)


def parts(path):
    """(header, its text, the arrays' bytes)."""
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + length]), raw[8 : 8 + length], raw[8 + length :]


def write(path, header, payload):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + payload)


def rewrite(path, change):
    """The description changed by `change`, its checksum made right: a forger's file."""
    header, _, payload = parts(path)
    content = json.loads(header["__metadata__"]["fieldcast"])
    change(content)
    text = json.dumps(content)
    header["__metadata__"] = {
        "fieldcast": text,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    write(path, header, payload)


@pytest.mark.parametrize("recipe", [None, MMGP_SMALL], ids=["ridge", "mmgp"])
def test_round_trip(recipe, tmp_path):
    fitted = predictor(recipe).with_scores({"u": {"rrmse": 0.01}}).with_settings({"mesh": "*.vtu"})
    found = load(fitted.save(tmp_path / "deep" / "folder" / "model"))
    assert found.recipe == fitted.recipe
    assert found.signature == fitted.signature
    assert found.card.scores == {"u": {"rrmse": 0.01}}
    assert found.card.settings == {"mesh": "*.vtu"}
    assert found.card.seed == 4
    for one, other in zip(answers(found), answers(fitted), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_same_predictor_has_the_same_content(path, tmp_path):
    """Bytes too, but for the order in which safetensors writes its metadata."""
    one, other = parts(path), parts(load(path).save(tmp_path / "again"))
    assert one[0] == other[0]
    assert one[2] == other[2]


def test_equal_arrays_are_kept_once(tmp_path):
    path = predictor(MMGP_SMALL).save(tmp_path / "model")
    names = [n for n in parts(path)[0] if n.endswith("/x")]
    content = read_header(path)
    assert len(names) == 1
    assert [k for k, v in content["same"].items() if v == names[0]]


def test_the_header_is_read_without_the_arrays(path):
    content = read_header(path)
    assert content["recipe"]["name"] == "pod_ridge"
    assert content["versions"]["numpy"] == np.__version__
    assert set(content["sha256"]) == set(parts(path)[0]) - {"__metadata__"}
    assert "fieldcast." not in json.dumps(content["recipe"]), "an import path"


@pytest.mark.parametrize("seed", range(100))
def test_flipped_bits(path, seed):
    """Refused, or the same answers where the bit means nothing (blanks that pad the header)."""
    rng = np.random.default_rng(seed)
    raw = bytearray(path.read_bytes())
    raw[rng.integers(len(raw))] ^= 1 << rng.integers(8)
    path.write_bytes(raw)
    message = refusal(lambda: load(path))
    if message is not None:
        assert str(path) in message
        return
    for one, other in zip(answers(load(path)), answers(predictor()), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("seed", range(30))
def test_flipped_bits_of_arrays_are_always_found(path, seed):
    raw = bytearray(path.read_bytes())
    start = len(raw) - len(parts(path)[2])
    rng = np.random.default_rng(seed)
    raw[rng.integers(start, len(raw))] ^= 1 << rng.integers(8)
    path.write_bytes(raw)
    refused(path, "checksum")


@pytest.mark.parametrize("share", [0.0, 1e-5, 0.01, 0.2, 0.5, 0.9, 0.999999])
def test_truncated(path, share):
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    refused(path)


@pytest.mark.parametrize("tail", [b"x", b"\0" * 4096])
def test_a_tail_is_refused(path, tail):
    path.write_bytes(path.read_bytes() + tail)
    refused(path, "truncated or has a tail")


@pytest.mark.parametrize("seed", range(30))
def test_random_bytes_and_random_cuts(path, seed):
    rng = np.random.default_rng(seed)
    raw = path.read_bytes()
    a, b = np.sort(rng.integers(0, len(raw), 2))
    noise = rng.integers(0, 256, rng.integers(1, 200), dtype=np.uint8).tobytes()
    path.write_bytes([raw[:a] + raw[b + 1 :], raw[:a] + noise + raw[a:], noise][seed % 3])
    refused(path)


@pytest.mark.parametrize("length", [0, 1, HEADER_LIMIT + 1, 2**62, 2**64 - 1])
def test_a_header_of_an_impossible_length(path, length):
    raw = path.read_bytes()
    path.write_bytes(struct.pack("<Q", length) + raw[8:])
    refused(path, "header's length")


def test_sizes_are_checked_before_anything_is_allocated(path, monkeypatch):
    monkeypatch.setattr(bundle_module, "FILE_LIMIT", 100)
    refused(path, "bytes")


HOSTILE = {
    "list": b"[1, 2]",
    "number": b"17",
    "not JSON": b"{]",
    "not text": b"\xff\xfe{}",
    "deep": b"[" * 50_000,
    "no metadata": b"{}",
    "metadata is a list": b'{"__metadata__": []}',
    "description is a number": b'{"__metadata__": {"fieldcast": 3, "sha256": "x"}}',
    "huge number": b'{"__metadata__": {"fieldcast": "{}"}, "a": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_headers(path, text):
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    refused(path)


ENTRIES = {
    "not an object": 3,
    "no dtype": {"shape": [1], "data_offsets": [0, 8]},
    "unknown dtype": {"dtype": "F65", "shape": [1], "data_offsets": [0, 8]},
    "negative": {"dtype": "F64", "shape": [-1, -1], "data_offsets": [0, 8]},
    "text for a shape": {"dtype": "F64", "shape": "11", "data_offsets": [0, 8]},
    "offsets outside": {"dtype": "F64", "shape": [1], "data_offsets": [10**15, 10**15 + 8]},
    "too many": {"dtype": "F64", "shape": [10**12], "data_offsets": [0, 8 * 10**12]},
    "half an offset": {"dtype": "F64", "shape": [1], "data_offsets": [0.5, 8.5]},
    "three offsets": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8, 16]},
    "shape of texts": {"dtype": "F64", "shape": ["1"], "data_offsets": [0, 8]},
}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=list(ENTRIES))
def test_hostile_tables_of_arrays(path, entry):
    header, _, payload = parts(path)
    name = next(n for n in header if n != "__metadata__")
    write(path, {**header, name: entry}, payload)
    refused(path)


def at(content, *keys):
    for key in keys:
        content = content[key]
    return content


FORGED = {
    "newer format": lambda c: c.update(format=99),
    "no format": lambda c: c.pop("format"),
    "no recipe": lambda c: c.pop("recipe"),
    "recipe is text": lambda c: c.update(recipe="fieldcast.surrogates.mmgp:MMGP"),
    "recipe is none": lambda c: c.update(recipe=None),
    "unknown plugin": lambda c: c["recipe"].update(name="os.system"),
    "plugin is a list": lambda c: c["recipe"].update(name=["pod_ridge"]),
    "unknown kind": lambda c: c["recipe"].update(kind="solvers"),
    "kind is a list": lambda c: c["recipe"].update(kind=["surrogates"]),
    "a morphing for a surrogate": lambda c: c.update(
        recipe={"kind": "morphings", "name": "identity", "settings": {}}
    ),
    "no settings": lambda c: c["recipe"].pop("settings"),
    "unknown setting": lambda c: c["recipe"]["settings"].update(dropout=0.1),
    "settings are a list": lambda c: c["recipe"].update(settings=[]),
    "unknown group": lambda c: c.update(recipe={"group": "nothing", "settings": {}}),
    "no signature": lambda c: c.pop("signature"),
    "signature without times": lambda c: c["signature"].pop("times"),
    "signature with text": lambda c: c["signature"].update(dim="two"),
    "unknown part of a field": lambda c: at(c, "signature", "fields", "u").update(colour="red"),
    "card is a list": lambda c: c.update(card=[]),
    "card with more": lambda c: c["card"].update(more=1),
    "no values": lambda c: c.pop("values"),
    "values are a list": lambda c: c.update(values=[]),
    "unknown regression": lambda c: at(c, "values", "fields", "u").update(kind="neural"),
    "no arrays listed": lambda c: c.update(sha256={}),
    "a checksum of nothing": lambda c: c["sha256"].update(nothing="00"),
    "checksums are a list": lambda c: c.update(sha256=[]),
    "twin of nothing": lambda c: c["same"].update(nothing="nowhere"),
    "twins are none": lambda c: c.update(same=None),
    "chart without cells": lambda c: at(c, "values", "chart").pop("cells"),
    "chart of other cells": lambda c: at(c, "values", "chart").update(cells=["hexahedron"]),
    "chart of an unknown morphing": lambda c: at(c, "values", "chart", "morphing").update(name="x"),
}


@pytest.mark.parametrize("change", FORGED.values(), ids=list(FORGED))
def test_forged_descriptions(path, change):
    """Even with a right checksum: names that are missing or of another kind."""
    rewrite(path, change)
    refused(path)


@pytest.mark.parametrize("change", ["drop", "rename", "reshape"])
def test_forged_arrays(path, change):
    header, _, payload = parts(path)
    names = [n for n in header if n != "__metadata__"]
    last = max(names, key=lambda n: header[n]["data_offsets"][1])
    entry = header.pop(last)
    if change == "drop":
        payload = payload[: entry["data_offsets"][0]]
    elif change == "rename":
        header["other"] = entry
    else:
        header[last] = {**entry, "shape": [int(np.prod(entry["shape"])), 1]}
    write(path, header, payload)
    refused(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.",
        b"PK\x03\x04" + b"\0" * 60,
    ],
    ids=["empty", "pickle", "zip"],
)
def test_other_files(tmp_path, content):
    path = tmp_path / "other"
    path.write_bytes(content)
    refused(path)


def test_a_plain_safetensors_file(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "plain.safetensors"
    save_file({"a": np.zeros(3)}, path)
    refused(path, "without its metadata")


def test_a_folder_and_nothing(tmp_path):
    refused(tmp_path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing")


def test_every_refusal_of_a_broken_file_is_a_bundle_error(path):
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match="truncated"):
        load(path)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_nothing_is_half_written(path, monkeypatch, failing):
    before = path.read_bytes()

    def broken(*args, **kwargs):
        raise OSError("no space left on device")

    target = os if failing == "fsync" else type(path)
    monkeypatch.setattr(target, failing, broken)
    with pytest.raises(OSError, match="no space left"):
        predictor().with_scores({"new": {"rrmse": 1.0}}).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_an_interrupt_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        replace_file(tmp_path / "model", b"content")
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_json_is_refused_when_saved(tmp_path):
    odd = predictor().with_scores({"u": object()})
    with pytest.raises(TypeError, match="JSON-able values in a model's description, got object"):
        odd.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
