"""Requests in pages, the newest first, by whatever one looks for.

    listed(connection, Wanted(only=Only(key="v7"), failed=True), after=None, limit=50)     -> [{"id": …, "status": 429, …}, …]

A page begins after the last one of the page before (its time and id), so nothing comes twice when requests are added. What has no index
is found by way of `rollups`: its hours say where to look, so that a rare thing among a million requests takes no longer than a common
one. What this module must not know: how they are shown.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from claude_relay.core.times import iso

from .filters import HOUR, Only, condition
from .reports import ALL_OF_THEM, explained
from .rows import REQUEST

FAILED: Final = "finished IN ('error', 'upstream_closed')"
"""As reports count errors."""

type Conditions = list[tuple[str, list[Any]]]
type Place = tuple[str, str]
"""When a request started, and its id."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which requests.

    failed  only those that ended with an error
    status  of the answer
    error   its type, such as `rate_limit_error`
    group   of the client, as it was then
    origin  `client`, `replay`, `duel`, `fault`
    """

    only: Only = ALL_OF_THEM
    failed: bool = False
    status: int | None = None
    error: str | None = None
    group: str | None = None
    origin: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> Conditions:
        """SQL over `requests`, without the span."""
        found: Conditions = [*self.only.conditions()]
        found += [(FAILED, [])] if self.failed else []
        found += [("status >= 400", [])] if (self.status or 0) >= 400 else []  # says that the index of failures will do
        for column, value in (
            ("status", self.status),
            ("error_type", self.error),
            ("client_group", self.group),
            ("origin", self.origin),
        ):
            found += [(f"{column} = ?", [value])] if value is not None else []
        return found

    def hours(self) -> Conditions | None:
        """SQL over `rollups` for the hours in which there are such requests; None: it would say nothing, or an index says it better."""
        if self.only.session is not None or self.only.client is not None or self.group is not None:
            return None
        if (self.status or 0) >= 400:
            return None
        found: Conditions = [*self.only.conditions()]
        found += [("errors > 0", [])] if self.failed else []
        found += [("error_type = ?", [self.error])] if self.error is not None else []
        return found or None


def listed(
    connection: sqlite3.Connection, wanted: Wanted, *, after: Place | None = None, limit: int = 50
) -> list[dict[str, Any]]:
    """At most so many: the columns of `requests`. Raises StoreError."""
    try:
        hours = wanted.hours()
        if hours is None:
            return list(_rows(connection, wanted, after, limit))
        found: list[dict[str, Any]] = []
        for first, last in _stretches(_hours(connection, wanted, hours, after)):
            inside = replace(wanted, since=_later(wanted.since, first), until=_sooner(wanted.until, last))
            found += _rows(connection, inside, after, limit - len(found))
            if len(found) >= limit:
                break
        return found
    except sqlite3.OperationalError as error:
        raise explained(connection, error) from error


def _rows(connection: sqlite3.Connection, wanted: Wanted, after: Place | None, limit: int) -> Iterator[dict[str, Any]]:
    conditions = wanted.conditions()
    conditions += [("started_at >= ?", [iso(wanted.since)])] if wanted.since else []
    conditions += [("started_at < ?", [iso(wanted.until)])] if wanted.until else []
    if after is not None:
        conditions += [("started_at <= ? AND (started_at < ? OR id < ?)", [after[0], *after])]
    where, values = condition([*conditions, ("started_at >= ''", [])])  # so that it is read by time in any case
    query = f"SELECT {', '.join(REQUEST)} FROM requests {where} ORDER BY started_at DESC, id DESC LIMIT ?"
    cursor = connection.execute(query, [*values, limit])
    names = [column for column, *_ in cursor.description]
    return (dict(zip(names, row, strict=True)) for row in cursor)


def _hours(
    connection: sqlite3.Connection, wanted: Wanted, conditions: Conditions, after: Place | None
) -> Iterator[str]:
    """The latest first; read as they are wanted."""
    ends = [after[0][:13]] if after else []
    ends += [iso(wanted.until)[:13]] if wanted.until else []
    latest = min(ends, default=None)
    bounds: Conditions = [*conditions]
    bounds += [("hour >= ?", [iso(wanted.since)[:13]])] if wanted.since else []
    bounds += [("hour <= ?", [latest])] if latest else []
    where, values = condition(bounds)
    last = None
    for (hour,) in connection.execute(f"SELECT hour FROM rollups {where} ORDER BY hour DESC", values):
        if hour != last:
            yield hour
        last = hour


def _stretches(hours: Iterator[str]) -> Iterator[tuple[datetime, datetime]]:
    """Beginning and end of each."""
    for hour in hours:
        begin = datetime.fromisoformat(f"{hour}:00+00:00")
        yield begin, begin + HOUR


def _later(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else max(one, other)


def _sooner(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else min(one, other)
