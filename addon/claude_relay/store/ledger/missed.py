"""What requests missed of the prompt cache, by cause.

    cache_misses(connection, Only(), since=…)   -> [CacheMisses(cause="tools", place="tools[3]", requests=12, usd=4.2, …), …]

What this module must not know: how a cause is found, and how this is shown.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from claude_relay.core.times import iso

from .filters import Only, condition
from .reports import explained


@dataclass(frozen=True, slots=True)
class CacheMisses:
    """What was missed for one cause. None: not known of any request.

    cause     as in `requests`, blocks by what they are part of: `tools`, `system`, `messages`
    place     the block, or the cause, that it was most often
    sessions  how many were hit
    tokens    that were not read from the cache
    usd       what that cost
    unpriced  requests without a price
    """

    cause: str
    place: str
    requests: int
    sessions: int
    tokens: int
    usd: float | None
    unpriced: int


COLUMNS: Final = tuple(field.name for field in fields(CacheMisses))
KIND: Final = "substr(cache_miss, 1, instr(cache_miss || '[', '[') - 1)"
MISSES: Final = f"""
    WITH missed AS (SELECT {KIND} AS kind, * FROM requests {{where}}),
        places AS (
            SELECT kind, cache_miss, row_number() OVER (PARTITION BY kind ORDER BY count(*) DESC, cache_miss) AS n
            FROM missed GROUP BY kind, cache_miss
        )
    SELECT missed.kind, places.cache_miss, count(*), count(DISTINCT session), sum(cache_miss_tokens),
        sum(cache_miss_usd) AS usd, sum(cache_miss_usd IS NULL)
    FROM missed JOIN places ON places.kind = missed.kind AND places.n = 1
    GROUP BY missed.kind ORDER BY usd DESC, 5 DESC, 1"""


def cache_misses(
    connection: sqlite3.Connection, only: Only, *, since: datetime | None = None, until: datetime | None = None
) -> list[CacheMisses]:
    """Those of requests that started at `since` or later and before `until`, the dearest first. Raises StoreError."""
    conditions: list[tuple[str, list[Any]]] = [("cache_miss IS NOT NULL", []), *only.conditions()]
    conditions += [("started_at >= ?", [iso(since)])] if since else []
    conditions += [("started_at < ?", [iso(until)])] if until else []
    where, values = condition(conditions)
    try:
        return [CacheMisses(*row) for row in connection.execute(MISSES.format(where=where), values)]
    except sqlite3.OperationalError as error:
        raise explained(connection, error) from error
