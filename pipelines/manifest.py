"""The manifest of a batch: a row per case in SQLite, written after the case's outputs, so that a
batch that was killed goes on where it was."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from .groups import Budget, plan

FORMAT = "1"
DONE = ("ok", "flagged")
STATUSES = (*DONE, "invalid-input", "failed", "crashed", "timeout", "out-of-memory")
PENDING = "pending"
_TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cases (
    name TEXT PRIMARY KEY, position INTEGER NOT NULL, files TEXT NOT NULL, size INTEGER NOT NULL,
    stamp TEXT NOT NULL, grp INTEGER NOT NULL, status TEXT NOT NULL DEFAULT 'pending',
    output TEXT NOT NULL DEFAULT '', message TEXT NOT NULL DEFAULT '', scalars TEXT, trust REAL,
    nodes INTEGER, key TEXT NOT NULL DEFAULT '', read_s REAL, predict_s REAL, write_s REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_group ON cases (grp, position);
"""
# What a row is before its case has been answered.
_BLANK = (
    "status = 'pending', output = '', message = '', scalars = NULL, trust = NULL, nodes = NULL, "
    "key = '', read_s = NULL, predict_s = NULL, write_s = NULL"
)
_ANSWER = "name, status, output, message, scalars, trust, nodes, key, read_s, predict_s, write_s"


@dataclass(frozen=True)
class Outcome:
    """What became of one case: `status` ok, flagged (answered, not to be trusted), or what went
    wrong. `trust` is the score (above 1: outside of the training set), `key` the sha256 of
    everything that the answer depends on."""

    case: str
    status: str
    output: str = ""
    message: str = ""
    scalars: Mapping[str, Any] | None = None
    trust: float | None = None
    nodes: int | None = None
    key: str = ""


@dataclass(frozen=True)
class Timings:
    """Seconds that a case took; `predict` is its share of its group."""

    read: float = 0.0
    predict: float = 0.0
    write: float = 0.0


@dataclass(frozen=True)
class Entry:
    """A case that is there: where its files lie (JSON), their bytes, and a stamp that changes when
    they do."""

    name: str
    files: str
    size: int
    stamp: str


class Manifest:
    """A manifest file, open; a context manager. One process at a time writes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = sqlite3.connect(path, timeout=30.0, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_TABLES)
        found = self.about("format")
        if found not in ("", FORMAT):
            raise ValueError(f"{path}: expected a manifest of format {FORMAT}, got {found}")
        self.tell(format=FORMAT)

    def __enter__(self) -> Manifest:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._db.close()

    def about(self, name: str) -> str:
        """What is known of the batch under a name; "" for nothing."""
        row = self._db.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        return row[0] if row else ""

    def tell(self, **values: str) -> None:
        """Keep something of the batch."""
        self._db.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", list(values.items()))

    def clear(self) -> None:
        """Forget all cases."""
        self._db.execute("DELETE FROM cases")

    def enter(
        self, entries: Iterable[Entry], budget: Budget, shard: tuple[int, int] = (0, 1)
    ) -> None:
        """Make the rows those of `entries`, in their order: new cases are pending, cases that are
        gone leave, others stay as they are (`changed` tells of which the files look changed). Of
        shard (i, n) are the groups i, i + n, ...
        """
        db = self._db
        db.execute("PRAGMA temp_store=FILE")
        db.execute("DROP TABLE IF EXISTS temp.found")
        db.execute(
            "CREATE TEMP TABLE found (name TEXT PRIMARY KEY, position INTEGER, files TEXT, "
            "size INTEGER, stamp TEXT, grp INTEGER)"
        )
        db.execute("BEGIN IMMEDIATE")
        db.executemany(
            "INSERT INTO found VALUES (?, ?, ?, ?, ?, NULL)",
            ((e.name, i, e.files, e.size, e.stamp) for i, e in enumerate(entries)),
        )
        index, count = shard
        # Shards know the cases of the others by the plan of all alone.
        new = "" if count > 1 else "WHERE name NOT IN (SELECT name FROM cases)"
        first = 0 if count > 1 else self._next_group()
        self._plan(f"SELECT name, size FROM found {new} ORDER BY position", "found", budget, first)
        db.execute("DELETE FROM found WHERE grp % ? != ?", (count, index))
        db.execute("DELETE FROM cases WHERE name NOT IN (SELECT name FROM found)")
        db.execute(
            "UPDATE cases SET position = f.position, files = f.files, size = f.size, "
            "grp = coalesce(f.grp, cases.grp) FROM found AS f WHERE f.name = cases.name AND "
            "(cases.position, cases.files, cases.size, cases.grp) IS NOT "
            "(f.position, f.files, f.size, coalesce(f.grp, cases.grp))"
        )
        db.execute(
            "INSERT INTO cases (name, position, files, size, stamp, grp) "
            "SELECT name, position, files, size, stamp, grp FROM found "
            "WHERE name NOT IN (SELECT name FROM cases)"
        )
        db.execute("COMMIT")

    def changed(self, key: Callable[[str], str]) -> int:
        """Make rows pending whose files look changed since `enter` and have another `key` (of the
        row's files); returns how many."""
        query = (
            "SELECT c.name, c.files, c.key, c.status, f.stamp FROM cases AS c "
            "JOIN found AS f ON f.name = c.name WHERE c.stamp != f.stamp"
        )
        redo = 0
        for name, files, known, status, stamp in self._db.execute(query).fetchall():
            if status != PENDING and key(files) != known:
                self._db.execute(f"UPDATE cases SET {_BLANK} WHERE name = ?", (name,))
                redo += 1
            self._db.execute("UPDATE cases SET stamp = ? WHERE name = ?", (stamp, name))
        return redo

    def lost(self, there: Callable[[str], bool]) -> int:
        """Make rows pending whose outputs are gone; returns how many."""
        query = "SELECT name, output FROM cases WHERE output != ''"
        gone = [(name,) for name, output in self._db.execute(query) if not there(output)]
        self._db.executemany(f"UPDATE cases SET {_BLANK} WHERE name = ?", gone)
        return len(gone)

    def retry(self, statuses: Sequence[str], budget: Budget) -> int:
        """Make rows of these statuses pending, in groups of their own; returns how many."""
        marks = ",".join("?" * len(statuses))
        where = f"WHERE status IN ({marks})"
        count: int = self._db.execute(f"SELECT count(*) FROM cases {where}", statuses).fetchone()[0]
        self._db.execute("BEGIN IMMEDIATE")
        self._plan(
            f"SELECT name, size FROM cases {where} ORDER BY position",
            "cases",
            budget,
            self._next_group(),
            statuses,
        )
        self._db.execute(f"UPDATE cases SET {_BLANK} {where}", statuses)
        self._db.execute("COMMIT")
        return count

    def _next_group(self) -> int:
        return int(self._db.execute("SELECT coalesce(max(grp), -1) + 1 FROM cases").fetchone()[0])

    def _plan(
        self, query: str, table: str, budget: Budget, first: int, values: Sequence[str] = ()
    ) -> None:
        rows = self._db.execute(query, values).fetchall()
        groups = plan([size for _, size in rows], budget)
        self._db.executemany(
            f"UPDATE {table} SET grp = ? WHERE name = ?",
            ((first + g, name) for g, (name, _) in zip(groups, rows, strict=True)),
        )

    def pending(self) -> list[int]:
        """The groups that are not done whole, in order."""
        query = "SELECT DISTINCT grp FROM cases WHERE status = 'pending' ORDER BY grp"
        return [row[0] for row in self._db.execute(query)]

    def group(self, group: int) -> list[tuple[str, str]]:
        """(name, files) of the cases of a group, in order."""
        query = "SELECT name, files FROM cases WHERE grp = ? ORDER BY position"
        return self._db.execute(query, (group,)).fetchall()

    def record(self, outcomes: Sequence[tuple[Outcome, Timings]]) -> None:
        """Outcomes of cases whose outputs are in their places."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(
            "UPDATE cases SET status = ?, output = ?, message = ?, scalars = ?, trust = ?, "
            "nodes = ?, key = ?, read_s = ?, predict_s = ?, write_s = ? WHERE name = ?",
            [_values(outcome, timings) for outcome, timings in outcomes],
        )
        self._db.execute("COMMIT")

    def counts(self) -> dict[str, int]:
        """How many cases have each status."""
        query = "SELECT status, count(*) FROM cases GROUP BY status"
        found = dict(self._db.execute(query).fetchall())
        return {s: found[s] for s in (*STATUSES, PENDING) if s in found}

    def rows(
        self, order: str = "position", limit: int = -1, statuses: Sequence[str] = ()
    ) -> Iterator[tuple[Outcome, Timings]]:
        """All cases, or the first of those with one of the statuses, in the order of the input or
        of another column."""
        where = f"WHERE status IN ({','.join('?' * len(statuses))})" if statuses else ""
        query = f"SELECT {_ANSWER} FROM cases {where} ORDER BY {order} LIMIT ?"
        for row in self._db.execute(query, (*statuses, limit)):
            name, status, output, message, scalars, trust, nodes, key, *seconds = row
            found = None if scalars is None else json.loads(scalars)
            outcome = Outcome(name, status, output, message, found, trust, nodes, key)
            yield outcome, Timings(*(s or 0.0 for s in seconds))

    def join(self, path: Path) -> None:
        """Take in all rows of another manifest."""
        self._db.execute("ATTACH ? AS other", (str(path),))
        self._db.execute("INSERT OR REPLACE INTO cases SELECT * FROM other.cases")
        self._db.execute("DETACH other")


def _values(outcome: Outcome, timings: Timings) -> tuple[Any, ...]:
    scalars = None if outcome.scalars is None else json.dumps(outcome.scalars)
    kept = (scalars, outcome.trust, outcome.nodes, outcome.key)
    seconds = (timings.read, timings.predict, timings.write)
    return (outcome.status, outcome.output, outcome.message, *kept, *seconds, outcome.case)
