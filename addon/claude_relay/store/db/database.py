"""Opens the SQLite file: for writing (private, WAL, durable against a killed process) and for reading.

    StoreError                   the file cannot be used as it is; its text says what to do
      ├─ MissingDatabase         a reader asked for a file that is not there
      └─ NewerDatabase           a newer relay has changed the tables (raised by `migrations`)

What this module must not know: which tables there are.

    with closing(connect(Path("relay.db"), patience=2.0)) as connection, transaction(connection): ...
    with closing(read_only(Path("relay.db"))) as connection: ...
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from claude_relay.core.installation import command

from .folders import make_private
from .kept import Shelf, address

# WAL with NORMAL: a commit is in the system's hands before it returns, so it survives `kill -9`; a power cut may take
# the last commits but never damages the file. https://www.sqlite.org/wal.html
# The checkpoint is the writer's to do, in a quiet moment; the automatic one (pages) is only the net below.
PRAGMAS = (
    "PRAGMA synchronous = NORMAL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -4000",  # KiB: rows are added at the end of every index, so few pages are touched
    "PRAGMA wal_autocheckpoint = 8000",
)

REMEDIES = {
    sqlite3.SQLITE_BUSY: "another program holds it; close that program or end its transaction",
    sqlite3.SQLITE_LOCKED: "another program holds it; close that program or end its transaction",
    sqlite3.SQLITE_FULL: "make room on the disk",
    sqlite3.SQLITE_IOERR: "make sure that the disk has room and works",
    sqlite3.SQLITE_READONLY: "make the file and its folder writable for this user",
    sqlite3.SQLITE_PERM: "make the file and its folder writable for this user",
    sqlite3.SQLITE_CANTOPEN: "make sure that it is a file and that this user may open it and write to its folder",
    sqlite3.SQLITE_NOTADB: "move it away, or set `database` in relay.yaml to another file",
    sqlite3.SQLITE_CORRUPT: (
        "move it and its -wal and -shm files away, and a new one is made at once; then put back what is left of the old: a "
        f"copy made with `{command('ledger')} backup`, or what `sqlite3 FILE .recover` finds"
    ),
}
OF_FILES = {
    errno.ENOENT: "its folder does not exist – create {folder}, or name another file",
    errno.ENOTDIR: "{folder} is no folder – name another file",
    errno.EISDIR: "that is a folder – name a file in it",
    errno.EACCES: "this user may not use it – make it and {folder} writable for this user, or name another file",
    errno.EPERM: "this user may not use it – make it and {folder} writable for this user, or name another file",
    errno.EROFS: "its disk can only be read – name a file on another one",
    errno.ENOSPC: "its disk is full – make room on the disk",
    errno.EDQUOT: "this user's part of the disk is used up – make room, or name a file on another disk",
    errno.ENAMETOOLONG: "the name is too long – name another file",
}
"""What the system says of a file → the same in words, and what to do."""


GRACE = 3.0
"""Seconds that a file which this process has used may be away before a new one is made: whoever moves it may put it back."""

_away: dict[Path, float | None] = {}
"""The files that this process has used; for those that are not there, since when (monotonic)."""

_shelf: Shelf | None = None
"""Where readers of this process leave their connections; None: each closes its own."""


class StoreError(Exception):
    """The database cannot be used; the text names the file, the cause and the remedy."""


class MissingDatabase(StoreError):
    """There is no file to read."""


class ChangedMeanwhile(StoreError):
    """What somebody changes is not any more what they have seen."""


class NewerDatabase(StoreError):
    """The file was changed by a newer relay than this one."""


def explain(path: Path, error: Exception) -> str:
    """One sentence on what is wrong with the file at `path`, with a remedy where one is known."""
    if isinstance(error, StoreError):
        return str(error)
    if isinstance(error, OSError) and error.errno in OF_FILES:
        return f"{path}: {OF_FILES[error.errno].format(folder=path.absolute().parent)}"
    remedy = REMEDIES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "")  # the low byte: the family of the error
    return f"{path}: {error}" + (f" – {remedy}" if remedy else "")


def connect(path: Path, *, patience: float, any_thread: bool = False, returning: bool = False) -> sqlite3.Connection:
    """Open the file for writing, creating it with mode 0600 when it is not there.

    patience    seconds that a statement waits for somebody else's lock
    any_thread  another thread than the one that opened it may close it
    returning   by a process that goes on: a file that it has used is waited for (GRACE) before another one is made in its place
    Transactions are explicit (`isolation_level` None). Raises StoreError, or what sqlite3 and the system raise.
    """
    if returning:
        _wait_for(path)
    _create_private(path)
    connection = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=not any_thread)
    try:
        _use_wal(connection, patience)
        for pragma in PRAGMAS:
            connection.execute(pragma)
    except BaseException:
        connection.close()
        raise
    _away[path] = None
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; takes the write lock first."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def keep_readers() -> None:
    """From now on what `read_only` opened in this process goes from one reader to the next: for one that reads all the time."""
    global _shelf
    _shelf = _shelf or Shelf()


def read_only(path: Path, *, patience: float = 5.0) -> sqlite3.Connection:
    """Open the file for reading only; works while the relay writes.

    Raises MissingDatabase, or StoreError when the file cannot be read or is no database.
    """
    if not path.is_file():
        raise MissingDatabase(f"{path}: there is no such file")
    file = identity(path)
    try:
        if _shelf is not None and file is not None:
            connection: sqlite3.Connection = _shelf.take(path, file, patience)
        else:
            connection = sqlite3.connect(address(path), uri=True, timeout=patience)
    except sqlite3.Error as error:
        raise StoreError(explain(path, error)) from error
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema")  # opening reads nothing yet
    except sqlite3.Error as error:
        connection.close()
        raise StoreError(explain(path, error)) from error
    return connection


def _use_wal(connection: sqlite3.Connection, patience: float) -> None:
    """Of several that create the file at once, SQLite turns all but one away from here at once, whatever its timeout.

    A new file can give pages back to the system in small steps (`upkeep`); an old one learns it only by a VACUUM.
    """
    until = time.monotonic() + patience
    while True:
        try:
            if not connection.execute("PRAGMA page_count").fetchone()[0]:  # on an old file it would take the write lock
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(0.01)


def identity(path: Path) -> tuple[int, int] | None:
    """Which file is at `path` now; None when there is none. A deleted file swallows commits without a word."""
    try:
        found = os.stat(path)  # `Path.stat` takes twice as long
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _wait_for(path: Path) -> None:
    """Raises StoreError for a file that is away for a moment only, maybe."""
    if path not in _away:
        return
    if path.exists():
        _away[path] = None
        return
    since = _away[path] = _away[path] or time.monotonic()
    if time.monotonic() < since + GRACE:
        raise StoreError(f"{path}: the file was removed while in use – put it back, or a new one is made in a moment")


def file_of(connection: sqlite3.Connection) -> str:
    """The path that the connection was opened with, made absolute by SQLite."""
    return str(connection.execute("PRAGMA database_list").fetchone()[2])


def _create_private(path: Path) -> None:
    # Only ever a file that is not there yet: closing a descriptor of an existing one would drop the locks that other
    # connections of this process hold on it. SQLite gives -wal and -shm the mode of the file itself.
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        pass
    except FileNotFoundError as error:
        from claude_relay.core.config.locate import state_folder  # half a second, for what happens once

        if path.parent == state_folder(os.environ) and not path.parent.exists():  # nobody else makes that one
            make_private(path.parent)
            _create_private(path)
            return
        raise StoreError(
            f"{path}: its folder does not exist – create {path.parent}, or set `database` in relay.yaml to another file"
        ) from error
