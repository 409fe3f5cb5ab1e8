"""What the sinks of all writers share: a connection of the writer's thread, to a file that may be taken away under it.

    class Tables(DatabaseSink[Record]):
        def commit(self, rows): self.connection().execute(…)

What this module must not know: which rows there are.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .database import StoreError, connect, explain, identity
from .migrations import migrate


class DatabaseSink[Row]:
    """A `writer.Sink` but for what it writes. `look`: seconds between looks whether the file is still there."""

    look = 0.0

    def __init__(self, path: Path, patience: float) -> None:
        """Touch nothing yet; `patience`: seconds to wait for somebody else's lock."""
        self._path = path
        self._patience = patience
        self._opened: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._look_at = 0.0

    def open(self) -> None:
        """Open the file, creating it if need be, and bring its tables up to date."""
        self.close()
        self._opened = connect(self._path, patience=self._patience, returning=self._identity is not None)
        migrate(self._opened)
        self.prepare(self._opened)
        self._identity = identity(self._path)

    def prepare(self, connection: sqlite3.Connection) -> None:
        """What a fresh connection needs besides."""

    def connection(self) -> sqlite3.Connection:
        """The connection."""
        if self._opened is None:
            raise StoreError(f"{self._path}: it is not open")
        return self._opened

    def write(self, rows: Sequence[Row]) -> None:
        """Commit the rows. Raises StoreError when the file is not the one at the path afterwards, as a deleted file swallows all.

        One look is enough, and each lets go of Python's lock, which has to be got back from a busy event loop.
        """
        try:
            self.commit(rows)
        except sqlite3.Error:
            self.still_there()  # says more than that there is no such table
            raise
        self.still_there()

    def commit(self, rows: Sequence[Row]) -> None:
        """What `write` does for the rows of this sink."""
        raise NotImplementedError

    def still_there(self) -> None:
        """Raises StoreError when the file is no longer the one at the path."""
        if (now := time.monotonic()) < self._look_at:
            return
        self._look_at = now + self.look
        if identity(self._path) == self._identity:
            return
        if self._opened is not None:
            with suppress(sqlite3.Error):  # what is in the log belongs into the file, wherever that is now
                self._opened.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        raise StoreError(f"{self._path}: the file was removed or replaced while in use")

    def close(self) -> None:
        """Let go of the file; not at all troubled by being closed already."""
        connection, self._opened = self._opened, None
        if connection:
            with suppress(sqlite3.Error):
                connection.close()

    def explain(self, error: Exception) -> str:
        """What is wrong with the file, in one line, with the remedy."""
        return explain(self._path, error)
