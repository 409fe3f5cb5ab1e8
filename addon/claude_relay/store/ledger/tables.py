"""The sink of the ledger's writer: rows into `requests`, `attempts` and `charges`.

    tables = Tables(Path("relay.db"), patience=2.0)
    tables.open()
    tables.write([(RequestRow(…), (AttemptRow(…), AttemptRow(…)))])

What this module must not know: what rows mean (`rows`); threads, queues, event loops (`writer`, `ledger`).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

from claude_relay.core.times import HOUR, MINUTE
from claude_relay.store.db.database import transaction
from claude_relay.store.db.sink import DatabaseSink

from .client_hours import close_hours
from .rows import ATTEMPT, CHARGE, REQUEST, AttemptRow, ChargeRow, Record, RequestRow

GIVEN = (1,)
NO_REQUEST, NO_ATTEMPT = (None,) * (1 + len(REQUEST)), (None,) * (1 + len(ATTEMPT))
EMPTY = NO_REQUEST + NO_ATTEMPT

# After each call into SQLite the thread must get Python's lock back from a busy event loop, which takes up to 5 ms (the
# switch interval). So a batch is one statement, and so a transaction by itself: rows with a request, an attempt or both
# go into a view whose triggers put each half where it belongs. Statements have one of few sizes, so they stay prepared.
LONGEST = 256
SIZES = tuple(1 << power for power in range(LONGEST.bit_length()))
LINE = f"({', '.join('?' * len(EMPTY))})"
STATEMENTS = {size: f"INSERT INTO incoming VALUES {', '.join([LINE] * size)}" for size in SIZES}

# Done by SQLite, because Python would hold its lock meanwhile.
CONVERSIONS = {
    "started_at": "strftime('%Y-%m-%dT%H:%M:%fZ', {}, 'unixepoch')",
    "ttft_ms": "round({}, 1)",
    "first_byte_ms": "round({}, 1)",
    "duration_ms": "round({}, 1)",
}

IDLE_CHECKPOINT, BUSY_CHECKPOINT = 200, 2000

CLOSING = MINUTE
"""Seconds until hours are closed that could not be."""
IN_THE_WAY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY)
"""What says nothing of the rows: hours may be closed at any time."""


def _trigger(table: str, prefix: str, columns: Sequence[str]) -> str:
    values = (CONVERSIONS.get(name, "{}").format(f"new.{prefix}{name}") for name in columns)
    return (
        f"CREATE TEMP TRIGGER incoming_{table} INSTEAD OF INSERT ON incoming WHEN new.{prefix}given "
        f"BEGIN INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(values)}) ON CONFLICT DO NOTHING; END"
    )


INCOMING = (
    f"CREATE TEMP VIEW incoming (r_given, {', '.join(f'r_{name}' for name in REQUEST)}, "
    f"a_given, {', '.join(f'a_{name}' for name in ATTEMPT)}) AS SELECT {', '.join(['NULL'] * len(EMPTY))}",
    _trigger("requests", "r_", REQUEST),
    _trigger("attempts", "a_", ATTEMPT),
)

_request: Callable[[RequestRow], tuple[Any, ...]] = attrgetter(*REQUEST)
_attempt: Callable[[AttemptRow], tuple[Any, ...]] = attrgetter(*ATTEMPT)
_charge: Callable[[ChargeRow], tuple[Any, ...]] = attrgetter(*CHARGE)

CHARGES = f"INSERT INTO charges ({', '.join(CHARGE)}) VALUES ({', '.join('?' * len(CHARGE))}) ON CONFLICT DO NOTHING"
"""Few requests have any: they are no part of the statement that all go through."""


class Tables(DatabaseSink[Record]):
    """The sink of the writer: records into `requests` and `attempts`."""

    _since_checkpoint = 0
    _close_at = 0.0

    def prepare(self, connection: sqlite3.Connection) -> None:
        """The view that takes the rows is this connection's own."""
        for statement in INCOMING:
            connection.execute(statement)
        self._close_at = 0.0

    def commit(self, rows: Sequence[Record]) -> None:
        """The records in one transaction; a request that is there already stays as it is."""
        connection = self.connection()
        lines = [line for record in rows for line in _lines(record)]
        charges = [_charge(charge) for _, attempts in rows for attempt in attempts for charge in attempt.charges]
        if charges or len(lines) > LONGEST:
            _insert_many(connection, lines, charges)
        else:
            _insert(connection, lines)
        self._since_checkpoint += len(lines)

    def tidy(self, *, idle: bool) -> None:
        """Checkpoint by hand: it waits for the disk, so it should come when nobody waits for it. And close the hours that are over."""
        if (now := time.time()) >= self._close_at:
            self._close_hours(now)
        if self._since_checkpoint > (IDLE_CHECKPOINT if idle else BUSY_CHECKPOINT):
            self._since_checkpoint = 0
            self.connection().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _close_hours(self, now: float) -> None:
        try:
            close_hours(self.connection(), now)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in IN_THE_WAY:
                raise
            self._close_at = now + CLOSING
        else:
            self._close_at = (now // HOUR + 1) * HOUR


def _lines(record: Record) -> Iterator[tuple[Any, ...]]:
    """The request beside its first attempt, then the other attempts."""
    request, attempts = record
    yield GIVEN + _request(request) + (GIVEN + _attempt(attempts[0]) if attempts else NO_ATTEMPT)
    for attempt in attempts[1:]:
        yield NO_REQUEST + GIVEN + _attempt(attempt)


def _insert(connection: sqlite3.Connection, lines: Sequence[tuple[Any, ...]]) -> None:
    """At most LONGEST lines; filled up to the next size with empty ones, which no trigger takes."""
    size = 1 << (len(lines) - 1).bit_length()
    values = [*chain.from_iterable(lines), *EMPTY * (size - len(lines))]
    # `executemany`, of one: `execute` lets go of Python's lock once more, to ask for the id of the last row.
    try:
        connection.executemany(STATEMENTS[size], (values,))
    except UnicodeEncodeError:  # a header's bytes that are no UTF-8, as lone surrogates
        connection.executemany(STATEMENTS[size], ([_storable(value) for value in values],))


def _insert_many(
    connection: sqlite3.Connection, lines: Sequence[tuple[Any, ...]], charges: Sequence[tuple[Any, ...]] = ()
) -> None:
    with transaction(connection):
        for start in range(0, len(lines), LONGEST):
            _insert(connection, lines[start : start + LONGEST])
        if charges:
            connection.executemany(CHARGES, charges)


def _storable(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
