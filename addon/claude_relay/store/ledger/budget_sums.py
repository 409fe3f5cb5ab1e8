"""What was spent under each budget, read from the ledger.

    reader = BudgetSums(Path("relay.db"))
    reader.read(config.budgets, now=time.time())   -> [Sum("total per day", 1795305600.0, 12.5), …]

Meant for a thread, at start and every minute, never for a request. Read by days: a day that is over is read again only when its sums
by the hour (`rollups`) have changed, as by a late or newly priced row, or an hour after it was read: so a reading in between costs
what the day so far does (3 s for a million requests). All of a reading is of one moment: that of its first statement.
What was spent stays spent where rows were deleted since the reading before, as by `ledger.keep`, or the file was.
Money is counted by attempts, in the period in which their request began, as `core.budgets` does. What this module must not
know: what happens at a budget's end.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import NamedTuple

from claude_relay.core.accounting.budgets import RuleLike, Span, Sum, covers, span
from claude_relay.core.times import HOUR, iso
from claude_relay.store.db.database import MissingDatabase, StoreError, explain, read_only

# The order of the tables is given: from the requests by their time to the attempts by their key, and from the charges, which are few.
SPENT = """
    SELECT attempts.provider, coalesce(attempts.model, requests.served_model), total(attempts.cost_usd)
    FROM requests CROSS JOIN attempts ON attempts.request = requests.id
    WHERE requests.started_at >= :start AND requests.started_at < :end AND attempts.cost_usd > 0 GROUP BY 1, 2
    UNION ALL
    SELECT attempts.provider, charges.model, total(charges.cost_usd)
    FROM charges CROSS JOIN requests ON requests.id = charges.request
        JOIN attempts ON attempts.request = charges.request AND attempts.n = charges.attempt
    WHERE requests.started_at >= :start AND requests.started_at < :end AND charges.cost_usd > 0 GROUP BY 1, 2"""
# What tells that anything about a day has changed; of the hours that it touches.
SIGNS = """
    SELECT total(requests), total(with_cost), total(cost_usd) FROM rollups
    WHERE hour >= substr(:start, 1, 13) AND hour <= substr(:end, 1, 13)"""
AGAIN = HOUR
SETTLED = HOUR
"""Seconds after which all days are read anew, and from its end until a day counts as over."""

type Spent = dict[tuple[str, str | None], float]
"""USD by provider and model there."""


class _Signs(NamedTuple):
    requests: float = 0.0
    priced: float = 0.0
    usd: float = 0.0


NOTHING = _Signs()


@dataclass(frozen=True, slots=True)
class _Day:
    """What is known of a day. `gone`: what was spent by requests that are not in the ledger any more."""

    signs: _Signs = NOTHING
    spent: Spent = field(default_factory=dict)
    gone: Spent = field(default_factory=dict)

    def then(self, signs: _Signs, spent: Spent) -> _Day:
        """The day as it was read after this."""
        if signs.requests >= self.signs.requests:
            return _Day(signs, spent, self.gone)
        lost = {of: usd - spent.get(of, 0.0) for of, usd in self.spent.items()}
        gone = {of: self.gone.get(of, 0.0) + max(0.0, lost.get(of, 0.0)) for of in self.gone | lost}
        return _Day(signs, spent, gone)


class BudgetSums:
    """The reader for one ledger. `zone`: whose calendar; None: this machine's."""

    def __init__(self, path: Path, zone: tzinfo | None = None) -> None:
        self._path = path
        self._zone = zone
        self._known: dict[Span, _Day] = {}
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
                    for day, known in days.items()
                    if day.start >= starts[rule.per]
                    for found in (known.spent, known.gone)
                    for (provider, model), usd in found.items()
                    if covers(rule, provider, model)
                ),
            )
            for rule in rules
        ]

    def _days(self, start: float, now: float) -> dict[Span, _Day]:
        """The days from `start` to now."""
        anew = not self._anew - AGAIN <= now < self._anew
        days = []
        while start <= now:
            days.append(span("day", start, self._zone))
            start = days[-1].end
        try:
            with closing(read_only(self._path)) as connection:
                connection.execute("BEGIN")
                known = {day: self._day(connection, day, anew=anew or day.end + SETTLED > now) for day in days}
        except MissingDatabase:
            known = {day: self._known.get(day, _Day()).then(NOTHING, {}) for day in days}
        except sqlite3.Error as error:
            if "no such table" not in str(error):
                raise StoreError(explain(self._path, error)) from error
            known = {day: self._known.get(day, _Day()).then(NOTHING, {}) for day in days}
        if anew:
            self._anew = now + AGAIN
        self._known = known
        return known

    def _day(self, connection: sqlite3.Connection, day: Span, *, anew: bool) -> _Day:
        known = self._known.get(day, _Day())
        bounds = {"start": iso(day.start), "end": iso(day.end)}
        signs = _Signs(*connection.execute(SIGNS, bounds).fetchone())
        if signs == known.signs and not anew:
            return known
        return known.then(signs, {(provider, model): usd for provider, model, usd in connection.execute(SPENT, bounds)})


def sums(path: Path, rules: Sequence[RuleLike], now: float, zone: tzinfo | None = None) -> list[Sum]:
    """One reading, of all days."""
    return BudgetSums(path, zone).read(rules, now)
