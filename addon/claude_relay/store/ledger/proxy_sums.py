"""What went by each way out, and what found no way: sums of requests by their outbound proxy, and the failures of proxies.

    by_way(connection, since)["office"]     -> Passage(requests=812, errors=3, cost_usd=4.2, failures=1, failed_at="…", failure="…")

A request counts for the way of its last attempt; a failure is an attempt that found no way through its proxy, wherever the request went
then. What this module must not know: which proxies there are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from claude_relay.core.times import iso
from claude_relay.store.db.database import StoreError, read_only

from .crosstab import crossed

FAILURES = """
    SELECT proxy, count(*), max(started_at), error FROM attempts
    WHERE verdict = 'proxy_failed' AND started_at >= ? AND proxy IS NOT NULL GROUP BY proxy"""
"""Beside `max` SQLite takes the other columns from the row that has it."""


@dataclass(frozen=True, slots=True)
class Passage:
    """What went by one way. `errors`: requests that ended with one, whatever it was; `failures`: attempts without a way, the last at
    `failed_at`, a time of the ledger, for the reason `failure`.
    """

    requests: int = 0
    errors: int = 0
    cost_usd: float | None = None
    failures: int = 0
    failed_at: str | None = None
    failure: str = ""


def by_way(connection: sqlite3.Connection, since: datetime) -> Mapping[str, Passage]:
    """By name or address of the proxy; `direct`: without one. Raises StoreError."""
    lines = {
        str(cell.names[0]): cell.line for cell in crossed(connection, ("proxy",), since=since).cells if cell.names[0]
    }
    failed = {name: found for name, *found in connection.execute(FAILURES, [iso(since)])}
    found = {}
    for name in lines.keys() | failed.keys():
        line, (failures, at, why) = lines.get(name), failed.get(name, (0, None, None))
        sums = (0, 0, None) if line is None else (line.requests, line.errors, line.cost_usd)
        found[name] = Passage(*sums, failures, at, why or "")
    return found


def passages(path: Path, days: float) -> Mapping[str, Passage]:
    """The same of the last days, of a database that need not be there, or not be a ledger."""
    try:
        with closing(read_only(path)) as connection:
            return by_way(connection, datetime.now(UTC) - timedelta(days=days))
    except (StoreError, sqlite3.Error, OSError):
        return {}
