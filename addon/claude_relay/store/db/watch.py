"""Tells whether any process changed what a table's `generation` stands for, for next to nothing, as often as one likes.

    watch = Watch(Path("relay.db"), "vault")
    watch.look()         -> a number; another one after a change, 0 without the table

Triggers draw the number anew (`migrations`); a backup put in the file's place has another one, too.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from .database import identity


class Watch:
    """Keeps one connection open for looking; may be used in any thread."""

    def __init__(self, path: Path, table: str) -> None:
        """`table`: the one whose only row has the number."""
        self._path, self._table = path, table
        self._guard = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._version: int | None = None
        self._seen = 0

    def look(self) -> int:
        """The number now. Raises sqlite3.Error or OSError when the file cannot be read."""
        with self._guard:
            try:
                return self._look()
            except BaseException:
                self._close()
                raise

    def close(self) -> None:
        """Let go of the file; the next look opens it again."""
        with self._guard:
            self._close()

    def _look(self) -> int:
        now = identity(self._path)
        if self._connection is None or now != self._identity:
            self._close()
            if now is None:
                return 0
            self._identity, self._connection = now, _open(self._path)
        # SQLite's own number changes with every commit of somebody else: mostly it says that there is nothing to read.
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            self._seen, self._version = _generation(self._connection, self._table), version
        return self._seen

    def _close(self) -> None:
        connection, self._connection, self._version = self._connection, None, None
        if connection:
            connection.close()


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0, check_same_thread=False)


def _generation(connection: sqlite3.Connection, table: str) -> int:
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", [table]).fetchone():
        return 0
    found = connection.execute(f"SELECT generation FROM {table}").fetchone()
    return int(found[0]) if found else 0
