"""The tables of reconciliation: what providers' own reports say, beside what the ledger said when they were fetched.

    admin_keys     one row a provider: the owner's admin key, sealed; no other table refers to it, and no pool reads it
    report_state   one row a provider: when its report is due, and what was wrong the last time
    report_days    the days of which a report was fetched
    reported       what each side says of a day and a model

`day` is one of UTC, other times are seconds since the epoch. What this module must not know: how a report is compared.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database

TABLES = (
    """
    CREATE TABLE admin_keys (
        provider TEXT NOT NULL PRIMARY KEY,
        origin TEXT NOT NULL,
        mask TEXT NOT NULL,
        added_at REAL NOT NULL,
        secret BLOB NOT NULL
    ) WITHOUT ROWID""",
    """
    CREATE TABLE report_state (
        provider TEXT NOT NULL PRIMARY KEY,
        due_at REAL NOT NULL DEFAULT 0,
        lease_until REAL NOT NULL DEFAULT 0,
        fetched_at REAL,
        failures INTEGER NOT NULL DEFAULT 0,
        by_key INTEGER NOT NULL DEFAULT 0,
        problem TEXT NOT NULL DEFAULT ''
    ) WITHOUT ROWID""",
    """
    CREATE TABLE report_days (
        provider TEXT NOT NULL,
        day TEXT NOT NULL,
        fetched_at REAL NOT NULL,
        PRIMARY KEY (provider, day)
    ) WITHOUT ROWID""",
    """
    CREATE TABLE reported (
        provider TEXT NOT NULL,
        day TEXT NOT NULL,
        model TEXT NOT NULL,
        side TEXT NOT NULL CHECK (side IN ('provider', 'elsewhere', 'relay', 'own', 'account')),
        input_tokens INTEGER NOT NULL,
        cache_read_tokens INTEGER NOT NULL,
        cache_write_5m_tokens INTEGER NOT NULL,
        cache_write_1h_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        searches INTEGER NOT NULL,
        cost_usd REAL,
        requests INTEGER NOT NULL,
        estimated INTEGER NOT NULL,
        estimated_tokens INTEGER NOT NULL,
        unpriced INTEGER NOT NULL,
        batch_tokens INTEGER NOT NULL,
        batch_usd REAL NOT NULL,
        priority_usd REAL NOT NULL,
        PRIMARY KEY (provider, day, model, side)
    ) WITHOUT ROWID""",
)


def create_reconciliation(db: Database | sqlite3.Connection) -> None:
    """All of them."""
    for statement in TABLES:
        db.execute(statement)
