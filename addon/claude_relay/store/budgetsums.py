"""What was spent under each budget, read from the ledger.

    reader = BudgetSums(Path("relay.db"))
    reader.read(config.budgets, now=time.time())   -> [Sum("total per day", 1795305600.0, 12.5), …]

Meant for a thread, at start and every minute, never for a request. Read by days: a day that is over is read once an hour, since
a late or newly priced row is rare, so that a reading in between costs what the day so far does (3 s for a million requests).
Money is counted by attempts, in the period in which their request began, as `core.budgets` does. What this module must not
know: what happens at a budget's end.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from ..core.accounting.budgets import RuleLike, Span, Sum, covers, span
from .database import MissingDatabase, StoreError, explain, read_only

# The order of the tables is given: from the requests by their time to the attempts by their key, and from the charges, which are few.
SPENT = """
    SELECT attempts.provider, coalesce(attempts.model, requests.served_model), total(attempts.cost_usd)
    FROM requests CROSS JOIN attempts ON attempts.request = requests.id
    WHERE requests.started_at >= ?1 AND requests.started_at < ?2 AND attempts.cost_usd > 0 GROUP BY 1, 2
    UNION ALL
    SELECT attempts.provider, charges.model, total(charges.cost_usd)
    FROM charges CROSS JOIN requests ON requests.id = charges.request
        JOIN attempts ON attempts.request = charges.request AND attempts.n = charges.attempt
    WHERE requests.started_at >= ?1 AND requests.started_at < ?2 AND charges.cost_usd > 0 GROUP BY 1, 2"""
AGAIN = 3600.0
SETTLED = 3600.0
"""Seconds after which all days are read anew, and from its end until a day counts as over."""

type Spent = list[tuple[str, str | None, float]]
"""Provider, model there, USD."""


class BudgetSums:
    """The reader for one ledger. `zone`: whose calendar; None: this machine's."""

    def __init__(self, path: Path, zone: tzinfo | None = None) -> None:
        self._path = path
        self._zone = zone
        self._over: dict[Span, Spent] = {}
        self._anew = 0.0

    def read(self, rules: Sequence[RuleLike], now: float) -> list[Sum]:
        """The money spent in each rule's present period.

        Without a file, or with one that no relay has written to yet, nothing was spent. Raises StoreError when it cannot be read.
        """
        starts = {rule.per: span(rule.per, now, self._zone).start for rule in rules}
        if not starts:
            return []
        days = self._days(min(starts.values()), now)
        return [
            Sum(
                rule.name,
                starts[rule.per],
                sum(
                    usd
                    for day, spent in days.items()
                    if day.start >= starts[rule.per]
                    for provider, model, usd in spent
                    if covers(rule, provider, model)
                ),
            )
            for rule in rules
        ]

    def _days(self, start: float, now: float) -> dict[Span, Spent]:
        """The days from `start` to now, each with what was spent."""
        if not self._anew - AGAIN <= now < self._anew:
            self._over, self._anew = {}, now + AGAIN
        try:
            with closing(read_only(self._path)) as connection:
                days: dict[Span, Spent] = {}
                while start <= now:
                    day = span("day", start, self._zone)
                    days[day] = self._over[day] if day in self._over else _spent(connection, day)
                    start = day.end
        except MissingDatabase:
            return {}
        except sqlite3.Error as error:
            if "no such table" in str(error):
                return {}
            raise StoreError(explain(self._path, error)) from error
        self._over = {day: spent for day, spent in days.items() if day.end + SETTLED <= now}
        return days


def sums(path: Path, rules: Sequence[RuleLike], now: float, zone: tzinfo | None = None) -> list[Sum]:
    """One reading, of all days."""
    return BudgetSums(path, zone).read(rules, now)


def _spent(connection: sqlite3.Connection, day: Span) -> Spent:
    return connection.execute(SPENT, [_moment(day.start), _moment(day.end)]).fetchall()


def _moment(at: float) -> str:
    """As the ledger writes it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
