"""What keys were used for: sums by key, by hour for one of them, and the latest tries that failed with it.

    used(connection, "2026-11-27T00")                        -> {("anthropic", "v3"): KeyUse(requests=812, …)}
    by_hour(connection, "anthropic", "v3", "2026-11-26T20")  -> [HourOfKey("2026-11-26T20", 31, 0, 0.21), …]
    failures(connection, "anthropic", "v3", since)           -> the newest first

Keys go by provider and alias. The first two read the sums by the hour, whose key begins with the hour. It must not know keys' secrets.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

LOOKED_AT = 4_000
"""The newest requests in which failures of one key are looked for, since tries have no index by key."""


@dataclass(frozen=True, slots=True)
class KeyUse:
    """Sums over requests that a key answered last."""

    requests: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class HourOfKey:
    """An hour (UTC, `2026-11-27T08`) in which a key was used."""

    hour: str
    requests: int
    errors: int
    cost_usd: float


@dataclass(frozen=True, slots=True)
class FailedTry:
    """One try. `at`: UTC ISO 8601; `verdict`: by the verdict table."""

    at: str
    request: str
    status: int | None
    verdict: str
    error: str


def used(connection: sqlite3.Connection, since: str) -> dict[tuple[str, str], KeyUse]:
    """By provider and alias, from an hour on."""
    rows = connection.execute(
        "SELECT provider, key, sum(requests), sum(errors), sum(input_tokens), sum(output_tokens), sum(cost_usd) "
        "FROM rollups WHERE hour >= ? GROUP BY provider, key",
        [since],
    )
    return {(provider, key): KeyUse(*sums) for provider, key, *sums in rows if key}


def by_hour(connection: sqlite3.Connection, provider: str, alias: str, since: str) -> list[HourOfKey]:
    """The hours in which it was used, oldest first."""
    rows = connection.execute(
        "SELECT hour, sum(requests), sum(errors), sum(cost_usd) FROM rollups "
        "WHERE hour >= ? AND provider = ? AND key = ? GROUP BY hour ORDER BY hour",
        [since, provider, alias],
    )
    return [HourOfKey(*row) for row in rows]


def failures(
    connection: sqlite3.Connection, provider: str, alias: str, since: str, *, most: int = 20
) -> list[FailedTry]:
    """The newest first. `since`: UTC ISO 8601."""
    rows = connection.execute(
        "SELECT a.started_at, a.request, a.status, coalesce(a.verdict, ''), coalesce(a.error, '') FROM ("
        "SELECT id, started_at FROM requests WHERE started_at >= ? ORDER BY started_at DESC LIMIT ?"
        ") AS r CROSS JOIN attempts AS a ON a.request = r.id "
        "WHERE a.provider = ? AND a.key = ? AND coalesce(a.verdict, '') NOT IN ('ok', 'client_closed', '') LIMIT ?",
        [since, LOOKED_AT, provider, alias, most],
    )
    return [FailedTry(*row) for row in rows]
