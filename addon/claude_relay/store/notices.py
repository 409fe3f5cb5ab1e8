"""Notices that somebody should look at: relays write them down, the panel shows them, and people say what became of them.

    book = NoticeBook(Path("relay.db"))
    book.put(notice, now)                                   from a relay's thread; what is open already is told once more
    book.read(Which.OPEN, now, limit=50)                    -> [StoredNotice(…), …], the newest first
    book.change(actor, id, now, {"snoozed_until": …, "done": True})

A notice is open as long as it is not done, not snoozed, and has not ended by itself. They are kept KEPT, and at most MOST of them. Every
method waits for the disk and raises StoreError; `change` raises LookupError for what is not there. It must not know who hears of a notice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from claude_relay.core.notices import Kind, Notice
from claude_relay.core.times import DAY, HOUR, LAST, iso

from .audit import Act, Actor, write
from .db.database import MissingDatabase, StoreError, connect, explain, read_only, transaction
from .db.migrations import migrate

KEPT: Final = 90 * DAY
MOST: Final = 10_000
PASSING: Final[Mapping[Kind, float]] = {
    Kind.ALL_IN_COOLDOWN: HOUR,
    Kind.PROVIDER_DOWN: HOUR,
    Kind.CACHE_MISS: DAY,
    Kind.REPORT: 2 * DAY,
}
"""What is over by itself, and after how many seconds; of other kinds somebody has to say so."""
OPEN: Final = (
    "done_at IS NULL AND (snoozed_until IS NULL OR snoozed_until <= :now) AND (ends_at IS NULL OR ends_at > :now)"
)
COLUMNS: Final = (
    "id", "kind", "key", "text", "first_at", "last_at", "times", "ends_at", "snoozed_until", "done_at", "done_by"
)  # fmt: skip


class Which(StrEnum):
    """Notices in one state, or all."""

    OPEN = "open"
    SNOOZED = "snoozed"
    DONE = "done"
    ENDED = "ended"
    ALL = "all"


STATES: Final[Mapping[Which, str]] = {
    Which.OPEN: OPEN,
    Which.SNOOZED: "done_at IS NULL AND snoozed_until > :now AND (ends_at IS NULL OR ends_at > :now)",
    Which.DONE: "done_at IS NOT NULL",
    Which.ENDED: "done_at IS NULL AND ends_at <= :now",
    Which.ALL: "1",
}
"""In SQL."""


@dataclass(frozen=True, slots=True)
class StoredNotice:
    """A row. Times are UTC ISO 8601; `times`: how often it was told; `ends_at` None: somebody has to say that it is done."""

    id: str
    kind: str
    key: str
    text: str
    first_at: str
    last_at: str
    times: int
    ends_at: str | None
    snoozed_until: str | None
    done_at: str | None
    done_by: str | None

    def state(self, now: float) -> Which:
        """What it is now."""
        at = iso(now)
        if self.done_at is not None:
            return Which.DONE
        if self.ends_at is not None and self.ends_at <= at:
            return Which.ENDED
        return Which.SNOOZED if self.snoozed_until is not None and self.snoozed_until > at else Which.OPEN


class NoticeBook:
    """The notices in the database at `path`. `patience`: seconds to wait for somebody else's lock."""

    def __init__(self, path: Path, *, patience: float = 5.0) -> None:
        self.path = path
        self._patience = patience

    def put(self, notice: Notice, now: float) -> None:
        """Write it down; where the same is not done yet, it is that one that is told again, snoozed or not."""
        ends = notice.again if notice.kind not in PASSING else notice.at + PASSING[notice.kind]
        values = {
            "id": notice.id,
            "kind": notice.kind.value,
            "key": notice.key,
            "text": notice.text,
            "at": iso(notice.at),
            "ends": None if ends is None or ends > LAST else iso(ends),
            "now": iso(now),
        }
        with self._writing() as connection:
            again = connection.execute(
                "UPDATE notices SET text = :text, last_at = max(last_at, :at), times = times + 1, ends_at = :ends "
                "WHERE kind = :kind AND key = :key AND done_at IS NULL AND (ends_at IS NULL OR ends_at > :now)",
                values,
            ).rowcount
            if again:
                return
            connection.execute(
                "INSERT INTO notices (id, kind, key, text, first_at, last_at, ends_at) "
                "VALUES (:id, :kind, :key, :text, :at, :at, :ends) ON CONFLICT DO NOTHING",
                values,
            )
            connection.execute("DELETE FROM notices WHERE last_at < ?", [iso(now - KEPT)])
            connection.execute(
                "DELETE FROM notices WHERE id IN (SELECT id FROM notices ORDER BY last_at DESC, id LIMIT -1 OFFSET ?)",
                [MOST],
            )

    def read(
        self,
        which: Which,
        now: float,
        *,
        kind: str | None = None,
        after: tuple[str, str] | None = None,
        limit: int = 50,
    ) -> list[StoredNotice]:
        """The newest first. `after`: time and id of the last one of the page before."""
        terms, values = [STATES[which]], {"now": iso(now), "limit": limit, "kind": kind}
        if kind is not None:
            terms.append("kind = :kind")
        if after is not None:
            terms.append("(last_at, id) < (:at, :id)")
            values |= {"at": after[0], "id": after[1]}
        sql = f"SELECT {', '.join(COLUMNS)} FROM notices WHERE {' AND '.join(terms)} ORDER BY last_at DESC, id DESC LIMIT :limit"
        with self._reading() as connection:
            return [] if connection is None else [StoredNotice(*row) for row in connection.execute(sql, values)]

    def count_open(self, now: float) -> int:
        """How many somebody should look at."""
        with self._reading() as connection:
            if connection is None:
                return 0
            return int(
                connection.execute(f"SELECT count(*) FROM notices WHERE {OPEN}", {"now": iso(now)}).fetchone()[0]
            )

    def get(self, id: str) -> StoredNotice:
        """One of them. Raises LookupError."""
        with self._reading() as connection:
            return _get(connection, id)

    def change(self, actor: Actor, id: str, now: float, changes: Mapping[str, Any]) -> StoredNotice:
        """`snoozed_until`: UTC ISO 8601 or None; `done`: whether it is. What is not named stays."""
        with self._writing() as connection:
            before = _get(connection, id)
            row: dict[str, Any] = {}
            if "snoozed_until" in changes:
                row["snoozed_until"] = changes["snoozed_until"]
            if "done" in changes and changes["done"] is not (before.done_at is not None):
                done = changes["done"]
                row |= {"done_at": iso(now) if done else None, "done_by": actor.who if done else None}
            was = {name: getattr(before, name) for name in row}
            if row != was:
                connection.execute(
                    f"UPDATE notices SET {', '.join(f'{name} = ?' for name in row)} WHERE id = ?", [*row.values(), id]
                )
                act = Act("edit", "notice", f"{before.kind} {before.key}", was, row)
                write(connection, actor, act)
            return _get(connection, id)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._explained(), closing(connect(self.path, patience=self._patience)) as connection:
            migrate(connection)
            with transaction(connection):
                yield connection

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """None where there is no such table yet."""
        with self._explained():
            try:
                connection = read_only(self.path, patience=self._patience)
            except MissingDatabase:
                yield None
                return
            with closing(connection):
                known = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'notices'").fetchone()
                yield connection if known else None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(explain(self.path, error)) from error


def _get(connection: sqlite3.Connection | None, id: str) -> StoredNotice:
    row = (
        None
        if connection is None
        else connection.execute(f"SELECT {', '.join(COLUMNS)} FROM notices WHERE id = ?", [id]).fetchone()
    )
    if row is None:
        raise LookupError(id)
    return StoredNotice(*row)
