"""What the ledger says of each day and model of a provider, and the tables in which it stands beside the provider's own report.

    own_entries(connection, "anthropic", first, last)                of the ledger as it is now
    write_days(connection, "anthropic", days, entries, now)          in a transaction; what stood there of these days goes
    read_days(connection, "anthropic", first, last)                  -> entries, and when each day was fetched

An attempt counts, not a request: each was billed where it was made. Days are those of UTC, both ends included. It must not know how a
report is fetched or compared.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Final

from claude_relay.core.accounting.usage_reports import NAMES, Entry, Side, Used, canonical
from claude_relay.core.exchange import OAUTH

EARLIER: Final = timedelta(hours=2)
"""How long before an attempt its request may have begun."""
SUMS: Final = """
    SELECT substr(attempts.started_at, 1, 10) AS day, billed.model,
        CASE WHEN attempts.key IS NULL THEN 'own'
            WHEN EXISTS (SELECT 1 FROM keys WHERE provider = attempts.provider AND alias = attempts.key AND kind = :oauth) THEN 'account'
            ELSE 'relay' END AS side,
        sum(coalesce(billed.input_tokens, 0)), sum(coalesce(billed.cache_read_tokens, 0)),
        sum(coalesce(billed.cache_write_5m_tokens, 0)), sum(coalesce(billed.cache_write_1h_tokens, 0)),
        sum(coalesce(billed.output_tokens, 0)), sum(coalesce(billed.server_tool_requests, 0)), sum(billed.cost_usd),
        {count}, sum({count_one} * requests.estimated), sum(requests.estimated * coalesce(billed.output_tokens, 0)),
        sum(billed.cost_usd IS NULL),
        sum(iif(billed.terms LIKE '%service_tier=batch%', {tokens}, 0)),
        sum(iif(billed.terms LIKE '%service_tier=batch%', coalesce(billed.cost_usd, 0.0), 0.0)),
        sum(iif(billed.terms LIKE '%service_tier=priority%', coalesce(billed.cost_usd, 0.0), 0.0))
    FROM requests CROSS JOIN attempts ON attempts.request = requests.id {join}
    WHERE requests.started_at >= :begin AND requests.started_at < :end AND attempts.provider = :provider
        AND attempts.started_at >= :first AND attempts.started_at < :end
        AND coalesce(billed.input_tokens, billed.output_tokens) IS NOT NULL
    GROUP BY 1, 2, 3"""
TOKENS: Final = " + ".join(
    f"coalesce(billed.{name}, 0)"
    for name in ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens")
)
ATTEMPTS: Final = SUMS.format(count="count(*)", count_one="1", tokens=TOKENS, join="").replace("billed.", "attempts.")
CHARGES: Final = SUMS.format(
    count="0",
    count_one="0",
    tokens=TOKENS,
    join="CROSS JOIN charges AS billed ON billed.request = attempts.request AND billed.attempt = attempts.n",
)


def own_entries(connection: sqlite3.Connection, provider: str, first: date, last: date) -> tuple[Entry, ...]:
    """Sums of the ledger, by what was billed: attempts, and charges beside them."""
    begin, end = first.isoformat(), (last + timedelta(days=1)).isoformat()
    earlier = f"{date.fromisoformat(begin) - timedelta(days=1)}T{(24 - EARLIER.seconds // 3600):02}"
    values = {"provider": provider, "first": begin, "end": end, "begin": earlier, "oauth": OAUTH}
    found: dict[tuple[str, str, Side], Used] = defaultdict(Used)
    for sql in (ATTEMPTS, CHARGES):
        for day, model, side, *sums in connection.execute(sql, values):
            found[day, canonical(model), Side(side)] += Used(**dict(zip(NAMES, sums, strict=True)))
    return tuple(Entry(*place, used) for place, used in found.items())


def write_days(
    connection: sqlite3.Connection, provider: str, days: Sequence[date], entries: Iterable[Entry], now: float
) -> None:
    """Both sides of these days, which take the place of what was there."""
    names = {day.isoformat() for day in days}
    sql = (
        f"INSERT INTO reported (provider, day, model, side, {', '.join(NAMES)}) VALUES (?, ?, ?, ?{', ?' * len(NAMES)})"
    )
    for day in names:
        connection.execute("DELETE FROM reported WHERE provider = ? AND day = ?", [provider, day])
        connection.execute("INSERT OR REPLACE INTO report_days VALUES (?, ?, ?)", [provider, day, now])
    rows = [
        [provider, one.day, one.model, one.side.value, *(getattr(one.used, name) for name in NAMES)]
        for one in entries
        if one.day in names
    ]
    connection.executemany(sql, rows)


def read_days(
    connection: sqlite3.Connection, provider: str, first: str, last: str
) -> tuple[list[Entry], dict[str, float]]:
    """What stands there of these days, and when each was fetched."""
    where = "WHERE provider = ? AND day BETWEEN ? AND ?"
    values = [provider, first, last]
    days = dict(connection.execute(f"SELECT day, fetched_at FROM report_days {where}", values).fetchall())
    rows = connection.execute(f"SELECT day, model, side, {', '.join(NAMES)} FROM reported {where}", values)
    entries = [
        Entry(day, model, Side(side), Used(**dict(zip(NAMES, sums, strict=True)))) for day, model, side, *sums in rows
    ]
    return entries, days
