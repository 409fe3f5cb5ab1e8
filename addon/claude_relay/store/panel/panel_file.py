"""The database as the panel's own tables use it.

    file = PanelFile(Path("relay.db"))
    with file.reading() as connection: ...      None where there are no such tables yet
    with file.writing() as connection: ...      one transaction, on the disk at its end

What the disk or another program refuses becomes a StoreError with the remedy.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from claude_relay.store.db.database import MissingDatabase, StoreError, connect, explain, read_only, transaction
from claude_relay.store.db.migrations import migrate


@dataclass(frozen=True, slots=True)
class PanelFile:
    """The file at `path`. `patience`: seconds to wait for somebody else's lock."""

    path: Path
    patience: float = 5.0

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction; creates the file and its tables. `durable`: it survives a power cut."""
        with self._explained(), closing(connect(self.path, patience=self.patience)) as connection:
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            connection.execute("PRAGMA foreign_keys = ON")
            migrate(connection)
            with transaction(connection):
                yield connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """One moment of the file."""
        with self._explained():
            try:
                connection = read_only(self.path, patience=self.patience)
            except MissingDatabase:
                yield None
                return
            with closing(connection):
                connection.isolation_level = None
                connection.execute("BEGIN")
                known = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'panel_links'").fetchone()
                yield connection if known else None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(explain(self.path, error)) from error
