"""The tables of OAuth accounts, and of the windows in which providers count what a key uses.

    accounts        one row an account, beside its row in `keys`, which holds the access token
    windows         one row a window of a key, as its latest answer has it
    window_samples  how far it was used, from time to time, so that a pace can be told

Times are seconds since the epoch as REAL, `lease_until` one of the machine's monotonic clock. What this module must not know: what is
sealed, and when rows are written.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database

ACCOUNTS = """
    CREATE TABLE accounts (
        key_id TEXT NOT NULL PRIMARY KEY REFERENCES keys (id) ON DELETE CASCADE,
        generation INTEGER NOT NULL,
        refresh BLOB,
        account TEXT NOT NULL DEFAULT '',
        scopes TEXT NOT NULL DEFAULT '',
        renewed_at REAL NOT NULL,
        expires_at REAL,
        life REAL,
        dispatched_at REAL,
        revoked_at REAL,
        failed_at REAL,
        failures INTEGER NOT NULL DEFAULT 0,
        retry_at REAL,
        reason TEXT NOT NULL DEFAULT '',
        lease_owner TEXT,
        lease_until REAL
    ) WITHOUT ROWID"""

WINDOWS = (
    """
    CREATE TABLE windows (
        provider TEXT NOT NULL,
        key_id TEXT NOT NULL,
        name TEXT NOT NULL,
        utilization REAL,
        reset REAL,
        status TEXT NOT NULL,
        seen REAL NOT NULL,
        PRIMARY KEY (provider, key_id, name)
    ) WITHOUT ROWID""",
    """
    CREATE TABLE window_samples (
        provider TEXT NOT NULL,
        key_id TEXT NOT NULL,
        name TEXT NOT NULL,
        slot INTEGER NOT NULL,
        at REAL NOT NULL,
        utilization REAL NOT NULL,
        reset REAL,
        PRIMARY KEY (provider, key_id, name, slot)
    ) WITHOUT ROWID""",
    "CREATE INDEX window_samples_by_time ON window_samples (at)",
)


def create_accounts(db: Database | sqlite3.Connection) -> None:
    """`accounts`, `windows`, `window_samples`. Whoever issues keys hears of an account that can be renewed, or no longer can."""
    for statement in (ACCOUNTS, *WINDOWS):
        db.execute(statement)
    changed = "BEGIN UPDATE vault SET generation = random(); END"
    db.execute(f"CREATE TRIGGER accounts_added AFTER INSERT ON accounts {changed}")
    db.execute(f"CREATE TRIGGER accounts_changed AFTER UPDATE OF generation, revoked_at ON accounts {changed}")
