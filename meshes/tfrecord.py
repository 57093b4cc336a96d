"""TFRecord files without TensorFlow: records framed by lengths and checksums, each a
`tf.train.Example` of bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .validation import InvalidMesh

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, reflected
_ONES = np.uint32(0xFFFFFFFF)
_LANES = 4096
_BITS = np.arange(32, dtype=np.uint32)
_HEAD, _TAIL = 12, 4
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_LONGEST_VARINT = 10


def count_records(path: Path) -> int:
    """How many records there are, the one that is cut or damaged included, after which none can be
    found."""
    with path.open("rb") as file:
        size, place, count = path.stat().st_size, 0, 0
        while place < size:
            count += 1
            try:
                place += _HEAD + _length(file, count - 1, size - place) + _TAIL
            except InvalidMesh:
                break
            file.seek(place)
    return count


def read_record(path: Path, number: int) -> bytes:
    """The content of one record.

    Raises:
        InvalidMesh: not there, cut, or of another checksum; names the record.
    """
    with path.open("rb") as file:
        size, place = path.stat().st_size, 0
        for before in range(number):
            place += _HEAD + _length(file, before, size - place) + _TAIL
            file.seek(place)
            if place == size:
                raise InvalidMesh(f"expected record {number}, got {before + 1} records")
        data = file.read(_length(file, number, size - place))
        if int.from_bytes(file.read(_TAIL), "little") != masked(crc32c(data)):
            raise InvalidMesh(f"record {number}: expected data of its checksum, got damaged ones")
    return data


def _length(file: BinaryIO, number: int, left: int) -> int:
    """Bytes of the record that begins here, which has been checked to be within the file."""
    head = file.read(_HEAD)
    if len(head) < _HEAD:
        raise InvalidMesh(
            f"record {number}: expected its length, got the end of the file; the file is truncated"
        )
    if int.from_bytes(head[8:], "little") != masked(crc32c(head[:8])):
        raise InvalidMesh(
            f"record {number}: expected a length of its checksum, got a damaged one; this is no "
            "TFRecord file, or (unpack it first) a compressed one"
        )
    length = int.from_bytes(head[:8], "little")
    if _HEAD + length + _TAIL > left:
        raise InvalidMesh(
            f"record {number}: expected {length} bytes, got {max(left - _HEAD - _TAIL, 0)}; the "
            "file is truncated"
        )
    return length


def masked(crc: int) -> int:
    """A checksum as it is stored: rotated and moved."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """The checksum CRC-32C.

    Bytes lie in lanes that are worked on side by side, without what came before them (zeros in
    front change nothing); then neighbours are joined: the left one has gone through as many zero
    bytes as the right one is long, a linear map that 32 more lanes, one for each bit, tell.
    """
    values = np.frombuffer(data, np.uint8).copy()
    lanes = 1 if len(values) < _LANES else _LANES
    crc = np.concatenate([np.zeros(lanes, np.uint32), np.uint32(1) << _BITS])
    if lanes == 1:
        crc[0] = _ONES
    else:
        values[:4] ^= 0xFF  # as if the data, not a lane, began with ones
    each = -(-len(values) // lanes)
    values = np.pad(values, (each * lanes - len(values), each * 32))
    for column in np.ascontiguousarray(values.reshape(lanes + 32, -1).T):
        crc = _TABLE[(crc ^ column) & 0xFF] ^ (crc >> np.uint32(8))
    crc, zeros = crc[:lanes], crc[lanes:]
    while len(crc) > 1:
        crc = _mapped(crc[::2], zeros) ^ crc[1::2]
        zeros = _mapped(zeros, zeros)
    return int(crc[0] ^ _ONES)


def _mapped(values: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Linear over bits: the sum of the images of the bits that are set."""
    bits = (values[:, None] >> _BITS) & 1
    return np.bitwise_xor.reduce(bits * images, axis=1)


def _table() -> np.ndarray:
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = np.where(crc & 1, crc >> 1 ^ np.uint32(_POLYNOMIAL), crc >> 1)
    return crc


_TABLE = _table()


def features(record: bytes) -> dict[str, bytes]:
    """The features of an Example by name, each of bytes.

    Raises:
        InvalidMesh: something else.
    """
    found: dict[str, bytes] = {}
    for place, every in _messages(memoryview(record)):
        for _, entry in _messages(every) if place == 1 else ():
            pair = dict(_messages(entry))
            if set(pair) != {1, 2}:
                raise InvalidMesh(f"expected features of a name and a value, got {sorted(pair)}")
            name = bytes(pair[1]).decode(errors="replace")
            found[name] = b"".join(_listed(name, pair[2]))
    return found


def _listed(name: str, feature: memoryview) -> Iterator[memoryview]:
    for kind, values in _messages(feature):
        if kind != 1:
            raise InvalidMesh(f"feature {name!r}: expected bytes, got a list of numbers")
        for _, value in _messages(values):
            yield value


def _messages(view: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(field, content) of a protocol buffer, of its fields that have a length; views, no
    copies."""
    place = 0
    while place < len(view):
        key, place = _varint(view, place)
        kind = key & 7
        if kind == _VARINT:
            _, place = _varint(view, place)
            continue
        if kind == _BYTES:
            size, place = _varint(view, place)
        elif kind in (_FOUR, _EIGHT):
            size = 4 if kind == _FOUR else 8
        else:
            raise InvalidMesh(f"expected a tf.train.Example, got a field of kind {kind}")
        if place + size > len(view):
            raise InvalidMesh(
                f"expected {size} bytes of a tf.train.Example, got {len(view) - place}"
            )
        if kind == _BYTES:
            yield key >> 3, view[place : place + size]
        place += size


def _varint(view: memoryview, place: int) -> tuple[int, int]:
    """(number, place behind it)."""
    number = 0
    for i, byte in enumerate(view[place : place + _LONGEST_VARINT]):
        number |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return number, place + i + 1
    raise InvalidMesh("expected a tf.train.Example, got a number without an end")
