"""The vault of one database into another, as it lies: sealed.

    copy_vault(Path("relay.db"), Path("/tmp/drill/relay.db"))

Secrets that lie in a file beside the database go along; those of the environment or a keyring are there for both.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from claude_relay.store.db.database import connect, explain, read_only, transaction
from claude_relay.store.db.migrations import migrate

from .lock import VaultError
from .secret import SecretFile

TABLES = ("vault", "keys", "aliases", "proxies")


def copy_vault(database: Path, target: Path) -> None:
    """A new database at `target` with the vault of another one, which need not be there. Raises VaultError or StoreError."""
    try:
        with closing(connect(target, patience=5.0)) as copy:
            migrate(copy)
            if database.is_file():
                with closing(read_only(database)) as source, transaction(copy):
                    for table in TABLES:
                        _copy(source, copy, table)
        _copy_secret(SecretFile(database).path, SecretFile(target).path)
    except (sqlite3.Error, OSError) as error:
        raise VaultError(f"the vault could not be copied: {explain(target, error)}") from error


def _copy(source: sqlite3.Connection, copy: sqlite3.Connection, table: str) -> None:
    if not source.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", [table]).fetchone():
        return  # a database from before the vault
    rows = source.execute(f"SELECT * FROM {table}")
    names = [column for column, *_ in rows.description]
    copy.execute(f"DELETE FROM {table}")
    copy.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", rows)


def _copy_secret(source: Path, target: Path) -> None:
    with suppress(FileNotFoundError):
        text = source.read_bytes()
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text)
