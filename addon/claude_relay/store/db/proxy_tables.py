"""The table of outbound proxies that are kept in the vault, and by which way out each request went.

    proxies          one row a proxy: what may be shown of it, and its URL, sealed
    requests.proxy   the proxy of the last attempt, by its name or address; `direct`: none; NULL: there was no attempt, or it is not known

What this module must not know: what is sealed, and when rows are written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import rollups

if TYPE_CHECKING:
    from sqlite_utils import Database

PROXIES = """
    CREATE TABLE proxies (
        name TEXT NOT NULL PRIMARY KEY,
        address TEXT NOT NULL,
        signed_in INTEGER NOT NULL CHECK (signed_in IN (0, 1)),
        direct INTEGER NOT NULL DEFAULT 0 CHECK (direct IN (0, 1)),
        timeout REAL NOT NULL CHECK (timeout > 0),
        notes TEXT NOT NULL DEFAULT '',
        created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')),
        changed_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')),
        url BLOB NOT NULL
    ) WITHOUT ROWID"""
CHANGED = "BEGIN UPDATE vault SET generation = random(); END"
LAST = """
    UPDATE requests SET proxy = (SELECT proxy FROM attempts WHERE request = requests.id ORDER BY n DESC LIMIT 1)
    WHERE id IN (SELECT request FROM attempts WHERE proxy IS NOT NULL)"""


def create_proxies(db: Database) -> None:
    """`proxies`, which whoever issues keys follows as it follows keys."""
    db.execute(PROXIES)
    db.execute(f"CREATE TRIGGER proxies_added AFTER INSERT ON proxies {CHANGED}")
    db.execute(f"CREATE TRIGGER proxies_changed AFTER UPDATE OF direct, timeout, url ON proxies {CHANGED}")
    db.execute(f"CREATE TRIGGER proxies_removed AFTER DELETE ON proxies {CHANGED}")


def add_requests_proxy(db: Database) -> None:
    """`requests.proxy`, a dimension of the sums, as their client's group is from now on; what attempts say already is taken over. An index
    of those that found no way.
    """
    db.execute("ALTER TABLE requests ADD COLUMN proxy TEXT")
    db.execute("CREATE INDEX attempts_without_way ON attempts (started_at) WHERE verdict = 'proxy_failed'")
    db.execute(LAST)
    rollups.create_anew(db)
