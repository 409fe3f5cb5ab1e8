"""Connections for reading that go from one reader to the next, for a process in which opening costs more than what is read.

    shelf = Shelf()
    connection = shelf.take(path, identity(path), patience)
    connection.close()                                          back on the shelf, as if it were new

Opening reads the whole schema: 2 ms of a processor, where a look by an index takes a hundredth of that. What lies on the shelf has no
transaction, so it holds up no writer and no checkpoint; after IDLE seconds it is closed, for whoever needs the file alone. Whoever meets an
error leaves none here. It must not know what is read.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any, Final

IDLE: Final = 5.0
KEPT: Final = 6
"""How many wait at most: each may have 2 MB of pages."""

type File = tuple[int, int]
"""Which file it is."""


def address(path: Path) -> str:
    """Of a file for SQLite, which is to be read only."""
    return f"{path.absolute().as_uri()}?mode=ro"


class Reader(sqlite3.Connection):
    """One that knows where it belongs. What its user left open is closed with it."""

    shelf: Shelf
    place: tuple[Path, File]
    idle_since: float
    _cursors: list[weakref.ref[sqlite3.Cursor]] | None = None
    """None: it lies on the shelf, or is closed."""

    def begin(self) -> None:
        """Somebody has it from now on."""
        self._cursors = []

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """As every connection's."""
        found = super().execute(*arguments)
        if self._cursors is not None:
            self._cursors.append(weakref.ref(found))
        return found

    def close(self) -> None:
        """Back to the shelf; a second time does nothing."""
        cursors, self._cursors = self._cursors, None
        if cursors is None:
            return
        if sys.exception() is not None:  # it may be the file, or this connection
            self.end()
            return
        try:
            for cursor in cursors:
                if (found := cursor()) is not None:
                    found.close()  # a statement that is not read to its end holds on to its moment of the file
            if self.in_transaction:
                self.rollback()
            self.isolation_level, self.text_factory, self.row_factory = "DEFERRED", str, None
        except sqlite3.Error:
            self.end()
            return
        self.shelf.put(self)

    def end(self) -> None:
        """Really close it."""
        super().close()


class Shelf:
    """Of one process; for any thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._readers: list[Reader] = []
        self._timer: threading.Timer | None = None

    def take(self, path: Path, file: File, patience: float) -> sqlite3.Connection:
        """The one of this very file that was used last, or a new one. `patience`: seconds to wait for a lock. Raises sqlite3.Error."""
        with self._guard:
            there = [one for one in self._readers if one.place[0] == path]
            over = [one for one in there if one.place[1] != file]
            known = next((one for one in reversed(there) if one.place[1] == file), None)
            self._readers = [one for one in self._readers if one is not known and one not in over]
        for one in over:  # of a file that is at this path no more
            one.end()
        found = known or self._made(path, file)
        found.begin()
        sqlite3.Connection.execute(found, f"PRAGMA busy_timeout = {patience * 1000:.0f}")
        return found

    def _made(self, path: Path, file: File) -> Reader:
        found = sqlite3.connect(address(path), uri=True, check_same_thread=False, factory=Reader)
        found.shelf, found.place = self, (path, file)
        return found

    def put(self, reader: Reader) -> None:
        """For whoever comes next."""
        reader.idle_since = time.monotonic()
        with self._guard:
            self._readers.append(reader)
            spare = self._readers.pop(0) if len(self._readers) > KEPT else None
            if self._timer is None:
                self._begin_timer()
        if spare is not None:
            spare.end()

    def tidy(self, before: float) -> None:
        """Close those that nobody has used since."""
        with self._guard:
            over = [one for one in self._readers if one.idle_since <= before]
            self._readers = [one for one in self._readers if one.idle_since > before]
            self._timer = None
            if self._readers:
                self._begin_timer()
        for one in over:
            one.end()

    def _begin_timer(self) -> None:
        self._timer = threading.Timer(IDLE, lambda: self.tidy(time.monotonic() - IDLE))
        self._timer.daemon = True
        self._timer.start()
