"""A copy of the database as it is at one moment, made while relays go on writing.

    backup(Path("relay.db"), Path("/backups/relay.db"))      → 12_345_678 bytes

One file without companions: the write-ahead log is in it. Keys of the vault are in it as they lie, sealed; the secret that
opens them is NOT (RELAY_SECRET, the system's keyring, or `relay.db.secret`): it is to be kept elsewhere, and without it the
keys of a backup are lost. What this module must not know: which tables there are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from .database import StoreError, explain, read_only
from .replacing import replacing

PAGES = 512


def backup(path: Path, target: Path, *, progress: Callable[[int, int], None] | None = None) -> int:
    """Copy the database to `target`, which is replaced once the copy is whole and has been checked. Returns its bytes.

    progress  is told, after every step, the pages that are copied and all pages
    Raises MissingDatabase, or StoreError when something cannot be read or written or the copy is damaged.
    """
    _check(path, target)
    with closing(read_only(path)) as source:
        try:
            with replacing(target) as unfinished:
                _copy(source, unfinished, progress)
                return unfinished.stat().st_size
        except (sqlite3.Error, OSError) as error:
            raise StoreError(explain(target, error)) from error


def _check(path: Path, target: Path) -> None:
    if target.exists() and path.exists() and target.samefile(path):
        raise StoreError(f"{target}: that is the database itself")
    if target.is_dir():
        raise StoreError(f"{target}: that is a folder – name a file in it")
    if target.with_name(f"{target.name}-wal").exists():
        raise StoreError(f"{target}: a program uses it as its database (there is a -wal file) – name another file")


def _copy(source: sqlite3.Connection, unfinished: Path, progress: Callable[[int, int], None] | None) -> None:
    def step(status: int, remaining: int, total: int) -> None:
        if progress:
            progress(total - remaining, total)

    # Within a transaction the pages are those of one moment. Without one, each row that a relay writes would make the
    # copy begin anew. https://www.sqlite.org/backup.html
    source.isolation_level = None
    source.execute("BEGIN")
    source.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    with closing(sqlite3.connect(unfinished, isolation_level=None)) as copy:
        copy.execute("PRAGMA synchronous = OFF")  # it is synced as a whole
        source.backup(copy, pages=PAGES, progress=step)
        source.execute("ROLLBACK")
        copy.execute("PRAGMA journal_mode = DELETE")
        (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise StoreError(f"{unfinished}: the copy is damaged, and so is what it was made of, probably: {found}")
