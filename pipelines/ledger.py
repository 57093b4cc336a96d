"""What a run of the active loop remembers: what was suggested when and why, and what became of
it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from fieldcast.meshes import Sample
from fieldcast.meshes.files import replace_file

LEDGER = "ledger.json"


@dataclass(frozen=True)
class Attempt:
    """What became of one candidate: its `file` below `simulations/`, or the `message` of the
    failure."""

    id: str
    name: str
    status: Literal["solved", "failed"]
    file: str = ""
    message: str = ""


@dataclass(frozen=True)
class Idea:
    """A suggestion as it is kept."""

    id: str
    name: str
    value: float
    reason: str


@dataclass(frozen=True)
class Round:
    """What was `suggested` after so many `simulations`, where the `error` was as it is here (None:
    not known yet)."""

    simulations: int
    error: float | None
    suggested: tuple[Idea, ...]


@dataclass(frozen=True)
class Ledger:
    """All that a run has to remember beside its simulations, in the order in which it happened."""

    terms: Mapping[str, str]
    attempts: tuple[Attempt, ...] = ()
    rounds: tuple[Round, ...] = ()

    def write(self, folder: Path) -> None:
        """Whole or not at all."""
        replace_file(folder / LEDGER, json.dumps(asdict(self), indent=1).encode())

    @classmethod
    def read(cls, folder: Path) -> Ledger:
        """The inverse of `write`.

        Raises:
            ValueError: not a ledger.
        """
        try:
            content = json.loads((folder / LEDGER).read_text(encoding="utf-8"))
            rounds = [
                Round(r["simulations"], r["error"], tuple(Idea(**i) for i in r["suggested"]))
                for r in content["rounds"]
            ]
            attempts = tuple(Attempt(**a) for a in content["attempts"])
            return cls(content["terms"], attempts, tuple(rounds))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{folder / LEDGER}: expected the ledger of a run, got {error!r}; "
                "take another folder"
            ) from None


@dataclass(frozen=True, eq=False)
class State:
    """Where a run is: its ledger, and the solved samples in the order they were solved."""

    ledger: Ledger
    samples: tuple[Sample, ...] = ()

    @property
    def tried(self) -> frozenset[str]:
        """Ids of the candidates that were solved or failed."""
        return frozenset(a.id for a in self.ledger.attempts)

    @property
    def failed(self) -> tuple[Attempt, ...]:
        """Those that failed."""
        return tuple(a for a in self.ledger.attempts if a.status == "failed")

    def open(self) -> list[Idea]:
        """What the last round suggested and nobody has tried."""
        return [i for r in self.ledger.rounds[-1:] for i in r.suggested if i.id not in self.tried]
