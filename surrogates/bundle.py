"""A fitted predictor as one file: safetensors with a JSON header. Whole, checked and safe to open.

The header holds the recipe by its plugin's registered name, names and units of inputs and outputs,
the training set's summary, scores, versions and seed, and a sha256 of every part. Nothing is
unpickled, nothing is imported by path, and sizes are checked before anything is allocated.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldcast.meshes.files import replace_file

from .recipe import recipe_from_json, recipe_to_json
from .signature import Signature
from .surrogate import Card, State, Surrogate

if TYPE_CHECKING:
    from .surrogate import Predictor

FORMAT = 1
HEADER_LIMIT = 64 << 20
FILE_LIMIT = 64 << 30
_DTYPES = {"F64": 8, "F32": 4, "F16": 2, "I64": 8, "I32": 4, "U8": 1}


class BundleError(ValueError):
    """The file is not a whole, unaltered fieldcast model; the message says what is wrong."""


def write_bundle(predictor: Predictor, path: Path) -> Path:
    """Write to a temporary name beside `path`, sync, rename. Equal arrays are kept once."""
    from safetensors.numpy import save

    state = predictor.state()
    stored: dict[str, np.ndarray] = {}
    same: dict[str, str] = {}
    sums: dict[str, str] = {}
    seen: dict[str, str] = {}
    for name, array in state.arrays.items():
        array = np.ascontiguousarray(array)
        mark = _sha(array)
        if mark in seen:
            same[name] = seen[mark]
        else:
            seen[mark], stored[name], sums[name] = name, array, mark
    content = {
        "format": FORMAT,
        "recipe": recipe_to_json(predictor.recipe),
        "signature": predictor.signature.to_json(),
        "card": asdict(predictor.card),
        "values": state.values,
        "same": same,
        "sha256": sums,
        "versions": _versions(),
    }
    text = json.dumps(content, allow_nan=True, default=_plain)
    metadata = {"fieldcast": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, _ordered(save(stored, metadata)))
    return path


def _ordered(raw: bytes) -> bytes:
    """The same file with its header's keys in order: safetensors writes metadata in any order, and
    equal models should be equal files."""
    length = int.from_bytes(raw[:8], "little")
    text = json.dumps(json.loads(raw[8 : 8 + length]), sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + raw[8 + length :]


def load(path: str | Path) -> Predictor:
    """The predictor that was saved in `path`.

    Raises:
        BundleError: not a fieldcast model, truncated, altered, too large, of a newer format.
        ValueError: its plugin is not installed here; the message lists those that are.
        FileNotFoundError: no such file.
    """
    path = Path(path)
    content = read_header(path)
    try:
        return _restored(path, content)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(
            f"{path}: expected a model that the installed plugins can restore: {error!s}"
            f"{' is missing' if isinstance(error, KeyError) else ''}; it was made with other "
            "plugins or another version, or altered"
        ) from error


def _restored(path: Path, content: Mapping[str, Any]) -> Predictor:
    recipe = recipe_from_json(content["recipe"])
    if not isinstance(recipe, Surrogate):
        raise BundleError(
            f"{path}: expected the recipe of a surrogate, got {type(recipe).__name__}"
        )
    signature = Signature.from_json(content["signature"])
    state = State(_arrays(path, content), content["values"])
    return recipe.restore(signature, Card(**content["card"]), state)


def read_header(path: Path) -> dict[str, Any]:
    """The JSON part of a bundle, checked; arrays are not read.

    Raises:
        BundleError: as `load`.
    """
    if path.is_dir():
        raise BundleError(f"{path}: expected a model file, got a folder")
    size = path.stat().st_size
    if not 10 <= size <= FILE_LIMIT:
        raise BundleError(
            f"{path}: expected a model of 10 bytes to {FILE_LIMIT >> 30} GiB, got {size} bytes"
        )
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(HEADER_LIMIT, size - 8):
            raise BundleError(f"{path}: expected a fieldcast model, its header's length is wrong")
        raw = file.read(length)
    header = _json(path, raw)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not isinstance(metadata.get("fieldcast"), str):
        raise BundleError(f"{path}: expected a fieldcast model, got a file without its metadata")
    _check_layout(path, header, size - 8 - length)
    text = metadata["fieldcast"]
    if hashlib.sha256(text.encode()).hexdigest() != metadata.get("sha256"):
        raise BundleError(
            f"{path}: the description does not match its checksum; the file was altered"
        )
    content = _json(path, text.encode())
    if content.get("format") != FORMAT:
        raise BundleError(
            f"{path}: expected format {FORMAT}, got {content.get('format')!r}; install a newer "
            "fieldcast"
        )
    return content


def _json(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"{path}: expected a fieldcast model, its header is not JSON: {error}"
        ) from error
    if not isinstance(found, dict):
        raise BundleError(f"{path}: expected a fieldcast model, its header is not an object")
    return found


def _check_layout(path: Path, header: Mapping[str, Any], room: int) -> None:
    """Every array lies inside the file and is as long as its shape says; nothing overlaps."""
    end = 0
    try:
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            start, stop = entry["data_offsets"]
            shape = entry["shape"]
            wanted = math.prod(shape) * _DTYPES[entry["dtype"]]
            if start != end or stop - start != wanted or min(shape, default=0) < 0:
                raise BundleError(f"{path}: array {name!r} is not where or as long as it should be")
            end = stop
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(
            f"{path}: expected a table of arrays, got one with errors: {error!r}"
        ) from error
    if end != room:
        raise BundleError(
            f"{path}: expected {end} bytes of arrays, got {room}; the file is truncated or has a "
            "tail"
        )


def _arrays(path: Path, content: Mapping[str, Any]) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise BundleError(f"{path}: its arrays can't be read: {error}") from error
    if set(content["sha256"]) != set(found):
        raise BundleError(f"{path}: its arrays are not those that its description lists")
    for name, sha in content["sha256"].items():
        if _sha(found[name]) != sha:
            raise BundleError(
                f"{path}: array {name!r} does not match its checksum; copy the file anew"
            )
    for name, twin in content["same"].items():
        if twin not in found:
            raise BundleError(f"{path}: array {name!r} refers to {twin!r}, which is not there")
        found[name] = found[twin]
    return found


def _sha(array: np.ndarray) -> str:
    """Of the kind, the shape and the values."""
    found = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def _plain(value: Any) -> Any:
    """numpy numbers and arrays in reports as Python's."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(
        f"expected JSON-able values in a model's description, got {type(value).__name__}"
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("fieldcast", "numpy", "scipy", "torch", "gpytorch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
