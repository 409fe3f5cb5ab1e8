"""The database as those use it who open it anew for each act.

    file = DatabaseFile(Path("relay.db"), "client_state")
    with file.reading() as connection: ...      one moment; None where the file has no table of that name yet
    with file.writing() as connection: ...      one transaction, on the disk at its end

What the disk or another program refuses becomes a StoreError with the remedy. For any thread. It must not know what is in the tables.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .database import MissingDatabase, StoreError, connect, explain, read_only, transaction
from .migrations import migrate


@dataclass(frozen=True, slots=True)
class DatabaseFile:
    """The file at `path`. `table`: with it came all tables that are read; `patience`: seconds to wait for somebody else's lock."""

    path: Path
    table: str
    patience: float = 5.0

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction; creates the file and its tables. `durable`: it survives a power cut."""
        with self.explained(), closing(connect(self.path, patience=self.patience)) as connection:
            if durable:
                connection.execute("PRAGMA synchronous = FULL")
            migrate(connection)
            with transaction(connection):
                yield connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """One moment of the file."""
        with self.explained():
            try:
                connection = read_only(self.path, patience=self.patience)
            except MissingDatabase:
                yield None
                return
            with closing(connection):
                connection.isolation_level = None
                connection.execute("BEGIN")
                known = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", [self.table]).fetchone()
                yield connection if known else None

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what SQLite and the system raise into a StoreError."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(explain(self.path, error)) from error
