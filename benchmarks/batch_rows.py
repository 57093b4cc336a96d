"""A manifest of many synthetic rows: what it costs to begin, to go on and to merge shards.

A process of its own, so that its memory is its own; `batch.py` runs it and reads its JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fieldcast.pipelines.groups import Budget
from fieldcast.pipelines.manifest import Entry, Manifest, Outcome, Timings
from fieldcast.pipelines.shards import MANIFEST, Shard, merge

SHARDS, CHUNK, BUDGET = 4, 32, Budget()


def entries(count: int) -> Iterator[Entry]:
    for i in range(count):
        name = f"case_{i:07d}"
        yield Entry(
            name, f'["{name}", "{name}.vtu"]', 20_000 + i % 997, "20000:1732800000000000000"
        )


def begin(path: Path, count: int, shard: Shard) -> int:
    """What a start and a resumption do before the first group; returns how many groups wait."""
    with Manifest(path) as manifest:
        manifest.enter(entries(count), BUDGET, (shard.index, shard.count))
        manifest.changed(lambda files: "")
        manifest.lost(lambda name: True)
        return len(manifest.pending())


def answer(path: Path) -> None:
    """All groups but the last as answered."""
    scalars = {"drag": {"mean": [0.5], "unit": "N", "std": [0.1], "interval": [[0.3], [0.7]]}}
    with Manifest(path) as manifest:
        for group in manifest.pending()[:-1]:
            outcomes = [
                (Outcome(name, "ok", f"{name}.vtu", "", scalars, 0.5, 500, "0" * 64), Timings())
                for name, _ in manifest.group(group)
            ]
            manifest.record(outcomes)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak() -> int:
    """Bytes; what getrusage tells holds the parent's, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def main(count: int) -> None:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        path = out / MANIFEST
        found["start"] = timed(lambda: begin(path, count, Shard()))
        found["recording"] = timed(lambda: answer(path))
        found["resume"] = timed(lambda: begin(path, count, Shard()))
        for i in range(SHARDS):
            shard = Shard(i, SHARDS)
            begin(out / shard.manifest, count, shard)
            answer(out / shard.manifest)
        path.unlink()
        found["merge"] = timed(lambda: merge(out))
    found["peak_mb"] = peak() / 2**20
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]))
