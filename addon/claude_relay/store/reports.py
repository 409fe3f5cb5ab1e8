"""Sums over the ledger: by model, key, client, provider, session or day.

    with closing(read_only(path)) as connection:
        report = summarise(connection, by="model", since=datetime(2026, 11, 1, tzinfo=UTC))
        report.total.requests, report.lines[0].name

What this module must not know: how a report is shown. Days are days of this machine's time zone; the ledger's times are UTC.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from .database import StoreError, file_of

GROUPS = {
    "model": "requested_model",
    "key": "provider || '/' || key",
    "client": "client",
    "provider": "provider",
    "session": "session",
    "day": "date(started_at, 'localtime')",
}
"""What a report can be grouped by → where a request's group is found; NULL where it has none."""


@dataclass(frozen=True, slots=True)
class Line:
    """One group, or the total. None: not known of any of its requests.

    name      the group; None for the requests that have none, and for the total
    errors    requests that ended with an error, also in the middle of an answer; a client that left is none
    retried   requests that took more than one try
    cache_hit_rate  0 to 1: what was read from the cache of all that went in (input, cache reads and cache writes), over the
              requests of which input and cache reads are known
    ttft_…    milliseconds until the first byte of content, half (p50) and 95 % (p95) of the requests had it sooner
    """

    name: str | None
    requests: int
    errors: int
    retried: int
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    cache_hit_rate: float | None
    cost_usd: float | None
    ttft_p50_ms: float | None
    ttft_p95_ms: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """Lines by falling number of requests (days: the oldest first), and their total."""

    by: str
    since: datetime | None
    lines: tuple[Line, ...]
    total: Line


type Row = tuple[Any, ...]
"""Of SUMS."""

COLUMNS = tuple(field.name for field in fields(Line))

SUMS = """
    SELECT {group} AS name,
        count(*),
        sum(finished IN ('error', 'upstream_closed')),
        sum(attempts > 1),
        sum(input_tokens),
        sum(output_tokens),
        sum(cache_read_tokens),
        sum(coalesce(cache_write_5m_tokens + cache_write_1h_tokens, cache_write_5m_tokens, cache_write_1h_tokens)),
        sum(cost_usd),
        sum(cache_read_tokens) FILTER (WHERE input_tokens IS NOT NULL),
        sum(input_tokens + cache_read_tokens + coalesce(cache_write_5m_tokens, 0) + coalesce(cache_write_1h_tokens, 0))
    FROM requests {where} GROUP BY name"""

NOTHING = (None, 0, 0, 0, *[None] * 7)
"""A row of SUMS without requests."""

TIMES = "SELECT {group}, ttft_ms FROM requests {where}"
"""Ranked in Python: SQLite's window functions take three times as long."""


def summarise(connection: sqlite3.Connection, *, by: str, since: datetime | None = None) -> Report:
    """Sum up what started at `since` or later. `by` is one of GROUPS. Raises StoreError when the file is no ledger."""
    try:
        lines = _lines(connection, GROUPS[by], since)
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error) and "no such column" not in str(error):
            raise StoreError(f"{file_of(connection)}: {error}") from error
        raise StoreError(f"{file_of(connection)}: it holds no ledger of Claude Relay") from error
    total, *groups = lines
    in_order = sorted(groups, key=lambda line: line.name or "" if by == "day" else (-line.requests, line.name or ""))
    return Report(by, since, tuple(in_order), total)


def _lines(connection: sqlite3.Connection, group: str, since: datetime | None) -> list[Line]:
    """The total, then the groups."""
    # Without a beginning the whole table is read in its own order, which is twice as fast as by the index.
    where, chosen = ("WHERE started_at >= ?", [_moment(since)]) if since else ("", [])
    sums = connection.execute(SUMS.format(group=group, where=where), chosen).fetchall()
    times: dict[str | None, list[float]] = {}
    for name, time in connection.execute(TIMES.format(group=group, where=where), chosen):
        if time is not None:
            times.setdefault(name, []).append(time)
    groups = [_line(row, times.get(row[0], [])) for row in sums]
    return [_line(_total(sums), [time for group_times in times.values() for time in group_times]), *groups]


def _total(sums: list[Row]) -> Row:
    known = ([number for number in column if number is not None] for column in list(zip(*sums, strict=True))[1:])
    return (None, *(sum(numbers) if numbers else None for numbers in known)) if sums else NOTHING


def _line(row: Row, times: list[float]) -> Line:
    *counted, cost, hits, went_in = row
    values: Row = (*counted, hits / went_in if went_in else None, cost, *_percentiles(times))
    return Line(*values)


def _percentiles(times: list[float]) -> tuple[float | None, float | None]:
    """p50 and p95 by nearest rank: the smallest value that at least so many per cent do not exceed. Sorts in place."""
    if not times:
        return None, None
    times.sort()
    return times[(50 * len(times) + 99) // 100 - 1], times[(95 * len(times) + 99) // 100 - 1]


def _moment(since: datetime) -> str:
    """As the ledger writes it."""
    return since.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
