"""Sums of what clients and groups have spent, by the hour: made when an hour is over, from the ledger's `client_spending`.

    close_hours(connection, time.time())            sums up the hours that are over and not closed yet

An hour that is closed is in `client_spending_hours`, and triggers keep it true whatever comes late or is priced anew; so it makes no
difference when an hour is closed, nor by whose clock. Where none is, nothing but `client_spending` is written for a request.
It must not know who reads the sums.
"""

from __future__ import annotations

import sqlite3

from claude_relay.core.times import HOUR
from claude_relay.store.db.client_tables import SLOT
from claude_relay.store.db.database import transaction

OWNERS = {"client": "client", "group": "client_group"}
"""Kind of an owner → its column."""
SLOTS = int(HOUR) // SLOT
"""Of one hour."""

# There may be millions of rows. Owners are found one after the other by the key (groups: by an index), and then their latest rows: by
# pairs, because for an equation SQLite may think of a Bloom filter, and read the whole table to make it.
CLOSE = {
    kind: f"""
    WITH RECURSIVE owners (owner) AS (
        VALUES ('')
        UNION ALL
        SELECT (SELECT min({column}) FROM client_spending WHERE {column} != '' AND {column} > owner)
        FROM owners WHERE owner IS NOT NULL
    )
    INSERT INTO client_spending_hours (kind, owner, hour, model, usd)
    SELECT '{kind}', owner, slot / {SLOTS}, model, sum(usd)
    FROM owners CROSS JOIN client_spending ON ({column}, slot) >= (owner, :begin) AND ({column}, slot) < (owner, :end)
    WHERE {column} != ''
    GROUP BY owner, slot / {SLOTS}, model
    ON CONFLICT DO UPDATE SET usd = excluded.usd"""
    for kind, column in OWNERS.items()
}


def close_hours(connection: sqlite3.Connection, now: float) -> None:
    """Close the hours that are over at `now` (seconds since the epoch). Another relay may have done so. Raises sqlite3.Error."""
    hour = int(now // HOUR)
    with transaction(connection):
        closed = first_open(connection)
        if closed >= hour:
            return
        for statement in CLOSE.values():
            connection.execute(statement, {"begin": closed * SLOTS, "end": hour * SLOTS})
        connection.execute("UPDATE client_spending_state SET closed = ?", [hour])


def first_open(connection: sqlite3.Connection) -> int:
    """The first hour, since the epoch, that is not closed; no later one is either."""
    return int(connection.execute("SELECT closed FROM client_spending_state").fetchone()[0])
