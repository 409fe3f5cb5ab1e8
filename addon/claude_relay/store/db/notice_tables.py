"""The table of notices: what relays found worth telling, and what people say became of it.

`times`: how often it was told; `ends_at`: from then on it is over by itself; NULL: somebody has to say that it is done. Times are UTC ISO
8601.
What this module must not know: what a notice is about.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database

TABLES = (
    """
    CREATE TABLE notices (
        id TEXT NOT NULL PRIMARY KEY,
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        text TEXT NOT NULL,
        first_at TEXT NOT NULL,
        last_at TEXT NOT NULL,
        times INTEGER NOT NULL DEFAULT 1,
        ends_at TEXT,
        snoozed_until TEXT,
        done_at TEXT,
        done_by TEXT
    )""",
    "CREATE INDEX notices_by_time ON notices (last_at, id)",
    "CREATE INDEX notices_not_done ON notices (kind, key) WHERE done_at IS NULL",
)


def create_notices(db: Database | sqlite3.Connection) -> None:
    """All of it."""
    for statement in TABLES:
        db.execute(statement)
