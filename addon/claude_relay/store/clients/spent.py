"""What a client has spent since midnight, Monday and the first of the month (UTC), by the ledger.

    spent_by(Path("relay.db"), "alice", time.time())        -> Spent(day=1.5, week=9.0, month=31.2)

Reads the rows of a month, by an index. It must not know limits.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from claude_relay.core.clients.caps import Spent
from claude_relay.core.times import iso
from claude_relay.store.db.database import MissingDatabase, StoreError, explain, read_only

SUMS = """
    SELECT sum(CASE WHEN started_at >= :day THEN cost_usd END), sum(CASE WHEN started_at >= :week THEN cost_usd END),
        sum(CASE WHEN started_at >= :month THEN cost_usd END)
    FROM requests WHERE client = :client AND started_at >= :since"""


def spent_by(path: Path, client: str, now: float) -> Spent:
    """In USD. Raises StoreError."""
    midnight = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    begins = {
        "day": iso(midnight),
        "week": iso(midnight - timedelta(days=midnight.weekday())),
        "month": iso(midnight.replace(day=1)),
    }
    try:
        with closing(read_only(path)) as connection:
            row = connection.execute(SUMS, begins | {"client": client, "since": min(begins.values())}).fetchone()
    except MissingDatabase:
        return Spent()
    except sqlite3.OperationalError as error:
        if "no such" in str(error):  # of an earlier version, which no relay has opened yet
            return Spent()
        raise StoreError(explain(path, error)) from error
    except sqlite3.Error as error:
        raise StoreError(explain(path, error)) from error
    return Spent(*(amount or 0.0 for amount in row))
