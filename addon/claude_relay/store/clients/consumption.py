"""What clients used, and how much of their limits of money, from the ledger. Nothing where there is no database yet."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from claude_relay.core.clients.demand import Bound, Owner, bounds_of
from claude_relay.core.clients.limits import Limit
from claude_relay.core.clients.money import slot_of
from claude_relay.core.clients.permissions import Policy
from claude_relay.core.times import iso
from claude_relay.store.db.database import MissingDatabase, StoreError, explain, read_only
from claude_relay.store.db.rollups import measured
from claude_relay.store.ledger.client_sums import ClientSums, Wanted
from claude_relay.store.ledger.filters import Only
from claude_relay.store.ledger.lines import SUMS_ONLY, Group, Line, line_of
from claude_relay.store.ledger.reports import summarise

from .limit_use import LimitUse


def of_clients(path: Path, since: datetime | None, only: str | None = None) -> dict[str, Line]:
    """Name of a client → its line. Nothing where there is no database yet. Raises StoreError."""
    try:
        with closing(read_only(path)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'requests'").fetchone():
                return {}
            report = summarise(connection, by="client", since=since, only=Only(client=only))
    except MissingDatabase:
        return {}
    return {line.name: line for line in report.lines if line.name}


def sums(path: Path, since: datetime, only: str | None = None) -> dict[str, Line]:
    """As `of_clients`, without percentiles, and so in a fraction of the time. `since`: a whole hour. Raises StoreError."""
    table, column = ("rollups", "hour") if only is None else ("requests", "started_at")
    chosen = ", ".join(measured(table)[name] for name in SUMS_ONLY)
    at = iso(since)[:13] if only is None else iso(since)
    where, values = ("client != ''", [at]) if only is None else ("client = ?", [at, only])
    sql = f"SELECT {chosen}, client FROM {table} WHERE {column} >= ? AND {where} GROUP BY client"
    try:
        with closing(read_only(path)) as connection:
            return {row[-1]: line_of(row[-1], Group([row[:-1]])) for row in connection.execute(sql, values)}
    except MissingDatabase:
        return {}
    except sqlite3.Error as error:
        if "no such table" in str(error):
            return {}
        raise StoreError(explain(path, error)) from error


def of_group_in_all(path: Path, group: str, since: datetime) -> float:
    """USD that was spent by whoever was in the group then. Raises StoreError."""
    bound = Bound(Limit("usd", 1.0, "month"), "group", group, "all")
    found = ClientSums(path).read([Wanted(bound, slot_of(since.timestamp()), by_slot=False)])
    return sum(usd for _, usd in found[bound.key])


def of_limits(path: Path, kind: Owner, name: str, policy: Policy, now: float) -> dict[Limit, float]:
    """A limit of money of a client or group → what counts of it now, in USD. Not those for each session or agent. Raises StoreError."""
    bounds = [bound for bound in bounds_of(kind, name, policy) if bound.limit.measure == "usd"]
    return {one.limit: one.used for one in LimitUse(path).of(bounds, now).values()}


def of_group(path: Path, since: datetime | None, members: Sequence[str]) -> Line:
    """What all of these used together. Raises StoreError."""
    uses = of_clients(path, since)
    return total([uses[name] for name in members if name in uses])


def today() -> datetime:
    """Its beginning, in this machine's time zone."""
    return datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)


def month() -> datetime:
    """Its beginning."""
    return today().replace(day=1)


def total(lines: Sequence[Line]) -> Line:
    """The sums of lines; no percentiles, for they cannot be added."""

    def added(name: str) -> Any:
        known = [getattr(line, name) for line in lines if getattr(line, name) is not None]
        return sum(known) if known else None

    counted = {name: added(name) or 0 for name in ("requests", "errors", "retried", "estimated")}
    known = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cost_usd")
    return Line(
        None,
        **counted,
        **{name: added(name) for name in known},
        cache_hit_rate=None,
        ttft_p50_ms=None,
        ttft_p95_ms=None,
    )
