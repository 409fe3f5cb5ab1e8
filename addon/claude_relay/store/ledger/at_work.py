"""How many agents were at work with some keys: conversations, and within them the agents that clients name.

    agents_since(connection, since, "anthropic", ["v1", "v2"])      -> 3

It must not know what they are counted for.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from claude_relay.core.times import iso


def agents_since(connection: sqlite3.Connection, since: float, provider: str, keys: Sequence[str]) -> int:
    """Those with a request since then, in seconds since the epoch. Who names no session is one agent with all others that do not."""
    marks = ", ".join("?" * len(keys))
    sql = (
        "SELECT count(DISTINCT coalesce(session, '') || '/' || coalesce(agent, '')) FROM requests "
        f"WHERE started_at >= ? AND provider = ? AND key IN ({marks}) AND origin = 'client'"
    )
    return int(connection.execute(sql, [iso(since), provider, *keys]).fetchone()[0])
