"""The database as the vault uses it: for reading one moment of it, for writing with everything on the disk at the end.

    file = VaultFile(Path("relay.db"), patience=5.0)
    with file.reading() as connection: ...                 None where there is no vault
    with file.writing() as connection, transaction(connection): ...

What the disk or another program refuses becomes a VaultError with the remedy.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from claude_relay.store.db.database import ChangedMeanwhile, MissingDatabase, StoreError, connect, explain, read_only
from claude_relay.store.db.migrations import migrate

from .lock import VaultError
from .rows import has_table


@dataclass(frozen=True, slots=True)
class VaultFile:
    """The file at `path`. `patience`: seconds to wait for somebody else's lock."""

    path: Path
    patience: float

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection for writing; creates the file and its tables where they are missing."""
        with explained(self.path), closing(connect(self.path, patience=self.patience)) as connection:
            connection.execute("PRAGMA synchronous = FULL")  # an old secret is dropped once the new one is on the disk
            connection.execute("PRAGMA secure_delete = ON")
            migrate(connection)
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """One moment of the file; None when there is no vault in it."""
        with explained(self.path):
            try:
                connection = read_only(self.path, patience=self.patience)
            except MissingDatabase:
                yield None
                return
            with closing(connection):
                connection.isolation_level = None
                connection.text_factory = lambda text: text.decode(
                    "utf-8", "backslashreplace"
                )  # one bad row costs no other
                connection.execute("BEGIN")
                yield connection if has_table(connection, "keys") else None


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the file's layers raise into a VaultError."""
    try:
        yield
    except ChangedMeanwhile:  # nothing is wrong with the file
        raise
    except (sqlite3.Error, StoreError, OSError) as error:
        raise VaultError(explain(path, error)) from error


def shrink(connection: sqlite3.Connection) -> None:
    """Take what was overwritten out of the write-ahead log, if nobody else is in the way."""
    with suppress(sqlite3.Error):
        connection.execute("PRAGMA busy_timeout = 100")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
