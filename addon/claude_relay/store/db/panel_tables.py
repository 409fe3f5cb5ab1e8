"""The tables of the panel: who may sign in, who is signed in, with which tokens programs come.

    admins          one row an admin; `password` is argon2id's text, NULL before one is chosen; `totp`: sealed by the vault's lock;
                    `recovery`: SHA-256 of codes, JSON
    panel_sessions  SHA-256 of a cookie → whose it is
    api_tokens      SHA-256 of a token → whose it is, and what it may do
    panel_links     SHA-256 of the secret in a one-time link → for whom a password may be chosen with it
    login_failures  failed sign-ins in a row, of a name and of a name from an address

Times are seconds since the epoch where a column is REAL, else UTC ISO 8601 text. What this module must not know: what rows mean.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database

TABLES = (
    """
    CREATE TABLE admins (
        id TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL UNIQUE COLLATE NOCASE,
        role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
        password TEXT,
        totp BLOB,
        totp_step INTEGER NOT NULL DEFAULT 0,
        recovery TEXT NOT NULL DEFAULT '[]',
        created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')),
        last_login_at TEXT
    )""",
    """
    CREATE TABLE panel_sessions (
        digest BLOB NOT NULL PRIMARY KEY,
        admin TEXT NOT NULL REFERENCES admins (id) ON DELETE CASCADE,
        created_at REAL NOT NULL,
        seen_at REAL NOT NULL,
        confirmed_at REAL NOT NULL,
        place TEXT NOT NULL DEFAULT '',
        program TEXT NOT NULL DEFAULT ''
    ) WITHOUT ROWID""",
    "CREATE INDEX panel_sessions_by_admin ON panel_sessions (admin)",
    """
    CREATE TABLE api_tokens (
        id TEXT NOT NULL PRIMARY KEY,
        digest BLOB NOT NULL UNIQUE,
        admin TEXT NOT NULL REFERENCES admins (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        scope TEXT NOT NULL CHECK (scope IN ('read', 'operate', 'admin')),
        mask TEXT NOT NULL,
        created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')),
        expires_at TEXT,
        last_used_at TEXT,
        UNIQUE (admin, name)
    )""",
    """
    CREATE TABLE panel_links (
        digest BLOB NOT NULL PRIMARY KEY,
        admin TEXT NOT NULL,
        valid_until REAL NOT NULL
    ) WITHOUT ROWID""",
    """
    CREATE TABLE login_failures (
        subject TEXT NOT NULL PRIMARY KEY,
        count INTEGER NOT NULL,
        at REAL NOT NULL
    ) WITHOUT ROWID""",
)


def create_panel(db: Database | sqlite3.Connection) -> None:
    """All of them."""
    for statement in TABLES:
        db.execute(statement)
