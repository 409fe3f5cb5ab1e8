"""Which cooldowns were in force at a moment, as far as it is still known: rows of `cooldowns`, with the keys' aliases.

    cooldowns_at(connection, at)      -> [{"provider": "anthropic", "key": "k2", "scope": "", "since": …, "until": …, …}, …]

A cooldown that was set again later has forgotten when it began at first. Times are Unix seconds.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from claude_relay.store.db.database import StoreError, file_of
from claude_relay.store.vault.rows import has_table

QUERY: Final = """
    SELECT cooldowns.provider, {alias} AS key, scope, round(since - ?1, 3) AS since_s, round(until - ?1, 3) AS until_s, stated, streak,
        reason
    FROM cooldowns
    WHERE since <= ?1 AND (until IS NULL OR until > ?1) AND NOT (lifted >= since AND lifted <= ?1)
    ORDER BY cooldowns.provider, key, scope"""
ALIASES: Final = {
    "keys": "(SELECT alias FROM keys WHERE keys.id = key_id)",
    "key_aliases": "(SELECT alias FROM key_aliases WHERE key_aliases.provider = cooldowns.provider AND key_aliases.id = key_id)",
}


def cooldowns_at(connection: sqlite3.Connection, at: float) -> list[dict[str, Any]]:
    """`since_s`, `until_s`: seconds from that moment; None: without an end. Raises StoreError."""
    if not has_table(connection, "cooldowns"):
        return []
    known = [alias for table, alias in ALIASES.items() if has_table(connection, table)]
    try:
        cursor = connection.execute(QUERY.format(alias=f"coalesce({', '.join([*known, 'NULL', 'NULL'])})"), (at,))
        names = [column for column, *_ in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]
    except sqlite3.OperationalError as error:
        raise StoreError(f"{file_of(connection)}: {error}") from error
