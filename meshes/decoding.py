"""The guarded child: decodes one mesh file after another and hands the arrays back over its
standard output.

Started by `reading.Reader` as `python -m fieldcast.meshes.decoding`. A request is a line of JSON;
an answer is a length, a JSON header, and the arrays as raw bytes. Nothing is pickled. It ends when
its input ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .formats import sniff
from .raw import RawField, RawMesh
from .sample import Scalar
from .validation import InvalidMesh, check

# Beyond the time that the parent waits before it kills: for a child whose parent has gone.
_ORPHAN_S = 15.0
_READY = b"\x06"


def decode(path: Path) -> RawMesh:
    """The checked raw mesh in a file, in this process.

    Raises:
        InvalidMesh: what is wrong with it.
    """
    found, odd = sniff(path)
    raw: RawMesh = found.decode(path)
    warnings = (*odd, *raw.warnings, *check(raw))
    return replace(raw, warnings=warnings, format=found.name)


def packed(raw: RawMesh) -> tuple[dict[str, Any], list[np.ndarray]]:
    """(header, arrays) of a raw mesh."""
    arrays = [raw.points, raw.types, raw.offsets, raw.connectivity, raw.times]
    arrays += [f.values for f in raw.fields]
    arrays += [s.value for s in raw.scalars.values()]
    arrays += list(raw.regions.values())
    arrays = [np.ascontiguousarray(a, a.dtype.newbyteorder("=")) for a in arrays]
    header = {
        "status": "ok",
        "arrays": [(a.dtype.str, a.shape) for a in arrays],
        "fields": [(f.name, f.on, f.unit) for f in raw.fields],
        "scalars": [(name, s.unit) for name, s in raw.scalars.items()],
        "regions": list(raw.regions),
        "warnings": raw.warnings,
        "format": raw.format,
    }
    return header, arrays


def unpacked(header: dict[str, Any], arrays: list[np.ndarray]) -> RawMesh:
    """The inverse of `packed`."""
    rest = iter(arrays[5:])
    fields = tuple(RawField(name, next(rest), on, unit) for name, on, unit in header["fields"])
    scalars = {name: Scalar(next(rest), unit) for name, unit in header["scalars"]}
    regions = {name: next(rest) for name in header["regions"]}
    points, types, offsets, connectivity, times = arrays[:5]
    return RawMesh(
        points,
        types,
        offsets,
        connectivity,
        fields,
        scalars,
        times,
        regions,
        tuple(header["warnings"]),
        header["format"],
    )


def _limit_memory(extra: int) -> None:
    """Address space of what is in use now plus `extra` bytes, where the system can limit it."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra, hard))


def _answer(request: dict[str, Any]) -> tuple[dict[str, Any], list[np.ndarray]]:
    try:
        return packed(decode(Path(request["path"])))
    except InvalidMesh as error:
        return {"status": "invalid-input", "message": str(error)}, []
    except MemoryError as error:
        return {"status": "out-of-memory", "message": str(error)}, []
    except BaseException as error:  # meshio calls sys.exit; other readers raise whatever they like
        text = f"the decoder stopped with {type(error).__name__}: {error}"
        return {"status": "invalid-input", "message": text.strip()[:500]}, []


def _send(out: BinaryIO, header: dict[str, Any], arrays: list[np.ndarray]) -> None:
    text = json.dumps(header).encode()
    out.write(len(text).to_bytes(8, "little") + text)
    for array in arrays:
        out.write(array.data.cast("B") if array.size else b"")
    out.flush()


def serve(requests: BinaryIO, out: BinaryIO) -> None:
    """Answers requests until they end."""
    out.write(_READY)
    out.flush()
    timed = sys.platform != "win32"
    if timed:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for line in iter(requests.readline, b""):
        request = json.loads(line)
        _limit_memory(int(request["memory"]))
        if timed:
            signal.setitimer(signal.ITIMER_REAL, float(request["seconds"]) + _ORPHAN_S)
        _send(out, *_answer(request))
        if timed:
            signal.setitimer(signal.ITIMER_REAL, 0.0)


def main() -> None:
    """Keeps the real standard output for answers; whatever libraries print goes to standard
    error."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        serve(sys.stdin.buffer, out)
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main()
