"""Bodies of requests and answers, kept for a while for whoever must look into one: `bodies`, zstd, bounded in size.

    bodies = Bodies(Path("relay.db"), limit=256 * 1024, report=logging.error)
    bodies.open()
    bodies.put("req_relay_1", 0, "request", redacted, at=time.time())
    bodies.close()
    with closing(read_only(path)) as connection:
        [stored.body for stored in read(connection, "req_relay_1")]

They are never as important as the ledger's rows: at most QUEUE of them wait, then the oldest are lost, and nobody waits
for their commit. What this module must not know: what is secret in a body (its caller has redacted it), and for how long
bodies are kept (`upkeep`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from claude_relay.core.bodies.zstd import zstd
from claude_relay.core.times import utc
from claude_relay.store.db.database import StoreError, file_of, transaction
from claude_relay.store.db.sink import DatabaseSink

from .writer import Entry, Writer

type Kind = Literal["request", "answer"]

QUEUE = 200
PIECE = 512 * 1024
"""Bytes of one transaction: what the ledger's own commit waits for at most is a few milliseconds."""
CHECKPOINT = 1000
"""Pages after which this thread empties the write-ahead log, before a commit of the ledger has to."""

INSERT = """
    INSERT INTO bodies (request, n, kind, at, bytes, truncated, body)
    VALUES (?, ?, ?, strftime('%Y-%m-%dT%H:%M:%fZ', ?, 'unixepoch'), ?, ?, ?) ON CONFLICT DO NOTHING"""
SELECT = "SELECT n, kind, at, bytes, truncated, body FROM bodies WHERE request = ? ORDER BY n, kind = 'answer'"


@dataclass(frozen=True, slots=True)
class BodyRow:
    """A row of `bodies` on its way. `n` 0: as the client sent or got it, from 1: that attempt's. `at`: Unix seconds.

    `size` is that of the whole body in bytes, of which `body` is the beginning.
    """

    request: str
    n: int
    kind: Kind
    at: float
    size: int
    body: bytes


@dataclass(frozen=True, slots=True)
class StoredBody:
    """A body as it was kept; `size`: bytes of the whole, of which `body` is the beginning when it is `truncated`."""

    n: int
    kind: Kind
    at: datetime
    size: int
    truncated: bool
    body: bytes


class Bodies:
    """Writes bodies to the database at `path`.

    limit     bytes of a body that are kept, from its beginning
    report    told what a person must know, once each; called in any thread
    patience  seconds to wait for somebody else's lock
    """

    def __init__(self, path: Path, limit: int, *, report: Callable[[str], None], patience: float = 2.0) -> None:
        """Nothing is touched before `open`."""
        self._limit = limit
        self._writer: Writer[BodyRow] = Writer(_Table(path, patience), name="bodies", report=report, limit=QUEUE)

    @property
    def pending(self) -> int:
        """Bodies that are not committed yet."""
        return self._writer.pending

    def open(self) -> None:
        """Open the database and start writing. When that fails it is reported and tried again in the background."""
        self._writer.start()

    def put(self, request: str, n: int, kind: Kind, body: bytes, *, at: float) -> None:
        """Queue a redacted body; never waits. One that is there already stays as it is."""
        self._writer.put(Entry(BodyRow(request, n, kind, at, len(body), bytes(body[: self._limit]))))

    def close(self, timeout: float = 2.0) -> None:
        """Write what is queued, for at most `timeout` seconds, and let go of the file."""
        self._writer.close(timeout)


class _Table(DatabaseSink[BodyRow]):
    """The sink of the writer."""

    def prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT}")

    def commit(self, rows: Sequence[BodyRow]) -> None:
        """Compress outside of transactions, so that none is longer than the disk takes for PIECE bytes."""
        connection = self.connection()
        piece: list[tuple[object, ...]] = []
        size = 0
        for row in rows:
            packed = zstd.compress(row.body)
            truncated = len(row.body) < row.size
            piece.append((row.request, row.n, row.kind, row.at, row.size, truncated, packed))
            size += len(packed)
            if size > PIECE:
                _insert(connection, piece)
                piece, size = [], 0
        _insert(connection, piece)

    def tidy(self, *, idle: bool) -> None:
        """Nothing is left to do: the commit that fills the log empties it, as nobody waits for it."""


def _insert(connection: sqlite3.Connection, piece: Sequence[tuple[object, ...]]) -> None:
    with transaction(connection):
        connection.executemany(INSERT, piece)


def read(connection: sqlite3.Connection, request: str) -> list[StoredBody]:
    """The bodies of one request, by attempt, the request's before the answer's. Raises StoreError for a file without any."""
    try:
        rows = connection.execute(SELECT, [request]).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise StoreError(f"{file_of(connection)}: {error}") from error
        return []
    return [_stored(*row) for row in rows]


def _stored(n: int, kind: Kind, at: str, size: int, truncated: int, packed: bytes) -> StoredBody:
    body = zstd.decompress(packed)
    return StoredBody(n, kind, utc(at), size, bool(truncated), body)
