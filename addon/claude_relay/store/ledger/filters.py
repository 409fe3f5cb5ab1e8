"""Which rows of the ledger a report reads: those of a span of time, as whole hours where they can be, and of one client, key or model.

    list(parts_of(since, until, Only(client="alice")))
    -> [Part("requests", "WHERE started_at >= ? AND …", […]), Part("rollups", …), Part("requests", …)]

What this module must not know: what is summed of them.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from claude_relay.core.times import iso

HOUR: Final = timedelta(hours=1)
LAST: Final = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Only:
    """Which requests count; None: all.

    model     a glob for the model that was asked for or the one that served
    key       an alias, or PROVIDER/ALIAS
    session   its id or how that begins
    client_group  in which their client was then
    proxy     the name or address of an outbound proxy, or `direct`
    """

    model: str | None = None
    provider: str | None = None
    key: str | None = None
    client: str | None = None
    session: str | None = None
    project: str | None = None
    client_group: str | None = None
    proxy: str | None = None

    def __str__(self) -> str:
        """As the options of a command: `--model 'claude-*' --client alice`."""
        given = ((item.name, getattr(self, item.name)) for item in fields(self))
        return " ".join(
            f"--{name.replace('_', '-')} {shlex.quote(value)}" for name, value in given if value is not None
        )

    def conditions(self) -> Iterator[tuple[str, list[Any]]]:
        """SQL for `requests` as for `rollups`, each with its values."""
        if self.model is not None:
            yield "(requested_model GLOB ? OR served_model GLOB ?)", [self.model] * 2
        if self.key is not None:
            provider, slash, alias = self.key.rpartition("/")
            yield ("provider = ? AND key = ?", [provider, alias]) if slash else ("key = ?", [alias])
        if self.session is not None:
            yield "session >= ? AND session < ?", [self.session, self.session + LAST]
        for name in ("provider", "client", "client_group", "project", "proxy"):
            if (wanted := getattr(self, name)) is not None:
                yield f"{name} = ?", [wanted]


@dataclass(frozen=True, slots=True)
class Part:
    """A table and the span of it that is read."""

    table: str
    where: str
    values: list[Any]


def condition(conditions: Iterable[tuple[str, list[Any]]]) -> tuple[str, list[Any]]:
    """A WHERE clause, empty when there is nothing to ask, and its values."""
    found = list(conditions)
    where = " AND ".join(text for text, _ in found)
    return (f"WHERE {where}" if where else ""), [value for _, values in found for value in values]


def span(table: str, since: datetime | None, until: datetime | None, only: Only) -> Part:
    """What of a table started at `since` or later and before `until`; of `rollups`, which hours did."""
    column, form = ("started_at", iso) if table == "requests" else ("hour", lambda at: iso(at)[:13])
    # Without a beginning the whole table is read in its own order, which is twice as fast as by the index.
    bounds = [(f"{column} >= ?", [form(since)])] if since else []
    bounds += [(f"{column} < ?", [form(until)])] if until else []
    return Part(table, *condition([*bounds, *only.conditions()]))


def parts_of(since: datetime | None, until: datetime | None, only: Only) -> Iterator[Part]:
    """Whole hours, and what is before and after them."""
    first = _floor(since + HOUR - timedelta(microseconds=1)) if since else None
    last = _floor(until) if until else None
    if first and last and first >= last:
        yield span("requests", since, until, only)
        return
    if since and first and since < first:
        yield span("requests", since, first, only)
    yield span("rollups", first, last, only)
    if until and last and last < until:
        yield span("requests", last, until, only)


def _floor(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
