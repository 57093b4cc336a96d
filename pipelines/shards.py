"""Parts of a batch on machines that share nothing but the folders: `--shard i/n` under any
scheduler, and what joins their manifests."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .manifest import Manifest

MANIFEST = "manifest.sqlite"
_PART = re.compile(r"manifest\.(\d+)-of-(\d+)\.sqlite$")
# (index, count, first index): Slurm's array, Kubernetes' indexed job, torchrun.
_SCHEDULERS = (
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN"),
    ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS", ""),
    ("RANK", "WORLD_SIZE", ""),
)


@dataclass(frozen=True)
class Shard:
    """Part `index` (from 0) of `count`: every `count`-th group of the plan."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(
                f"expected a shard of 0/{self.count} to {self.count - 1}/{self.count}, "
                f"got {self.index}/{self.count}; shards count from 0"
            )

    @classmethod
    def parsed(cls, text: str) -> Shard:
        """The shard in a text such as "3/16".

        Raises:
            ValueError: another text, or an index that is not below the count.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if not found:
            raise ValueError(f"--shard: expected i/n such as 3/16, got {text!r}")
        return cls(int(found[1]), int(found[2]))

    @property
    def manifest(self) -> str:
        """The name of its manifest."""
        return MANIFEST if self.count == 1 else f"manifest.{self.index}-of-{self.count}.sqlite"


def scheduled_shard(environment: Mapping[str, str] = os.environ) -> tuple[Shard, str]:
    """(shard, variable): that which a scheduler gave this process, and the variable that says so;
    the whole and "" where there is none."""
    for index, count, first in _SCHEDULERS:
        if index in environment and environment.get(count, "1") != "1":
            start = int(environment.get(first, "0"))
            step = int(environment.get("SLURM_ARRAY_TASK_STEP", "1")) if first else 1
            return Shard((int(environment[index]) - start) // step, int(environment[count])), index
    return Shard(), ""


def merge(out: Path) -> dict[str, int]:
    """Join the manifests of all shards in `out` into one; returns how many cases have each status.

    Raises:
        ValueError: no shards there, a shard that has not begun, or shards of several batches.
    """
    parts = {
        Shard(int(found[1]), int(found[2])): path
        for path in sorted(out.glob("manifest.*.sqlite"))
        if (found := _PART.search(path.name))
    }
    counts = {shard.count for shard in parts}
    if len(counts) != 1:
        raise ValueError(f"{out}: expected manifests of shards of one batch, got {sorted(counts)}")
    missing = sorted(set(range(counts.pop())) - {shard.index for shard in parts})
    if missing:
        raise ValueError(f"{out}: expected the manifests of all shards, {missing} are missing")
    about: dict[str, str] = {}
    for path in parts.values():
        with Manifest(path) as part:
            told = {name: part.about(name) for name in ("context", "job", "places")}
        if about and told["context"] != about["context"]:
            raise ValueError(f"{path}: expected the model and settings of the other shards")
        about = told
    with Manifest(out / MANIFEST) as whole:
        whole.clear()
        for path in parts.values():
            whole.join(path)
        whole.tell(**about)
        return whole.counts()
