"""How far limits are used, as far as one relay knows: rates, and what money was spent.

    knowledge = Knowledge()
    knowledge.missing(bounds)              those of which nothing is known here
    knowledge.learned(key, tat)            where a rate stands; `spending(bound, now).restore(…)`: what was spent
    knowledge.forget(now)                  what can be read again

All that is known of a request's limits is kept together (`Known`), so that the next request like it looks nothing up. It must not know
requests, places or queues (`admission`), nor where anything is kept. `now`: seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import tzinfo
from typing import NamedTuple

from claude_relay.core.times import HOUR, MINUTE

from .demand import MOST, Bound
from .gcra import Rate
from .money import Spending

KEPT = HOUR
"""Seconds for which what is known of money is kept without a request; then it is read again."""


class Known(NamedTuple):
    """Limits of which all is known, with what is known: so that a request looks nothing up.

    places  those of which a request needs one of the concurrent places
    rates   each with its limit, and whether it counts tokens, not requests
    """

    bounds: tuple[Bound, ...]
    places: tuple[Bound, ...]
    rates: tuple[tuple[Rate, Bound, bool], ...]
    money: tuple[tuple[Spending, Bound], ...]
    spendings: tuple[Spending, ...]


class Knowledge:
    """Of the limits of all clients."""

    def __init__(self, zone: tzinfo | None = None) -> None:
        """`zone`: whose calendar days, weeks and months are of; None: this machine's."""
        self.rates: dict[str, Rate] = {}
        self.moved: set[str] = set()
        """The keys of those that were used since others were told."""
        self.spendings: dict[str, Spending] = {}
        self._known: dict[int, Known] = {}
        """By the ids of limits, which are kept in them, so that no others have the same."""
        self._zone = zone

    def missing(self, bounds: Sequence[Bound]) -> list[Bound]:
        """Rates and money of which it is not known how much was used."""
        if id(bounds) in self._known:  # as nearly always: `demands` gives the same ones for the same
            return []
        rates, spendings = self.rates, self.spendings
        return [
            bound
            for bound in bounds
            if bound.key not in rates
            and bound.limit.measure != "concurrent"
            and ((spending := spendings.get(bound.key)) is None or not spending.loaded)
        ]

    def places(self, bounds: Sequence[Bound]) -> tuple[Bound, ...]:
        """Those of which a request needs one of the concurrent places."""
        known = self._known.get(id(bounds))
        return places_of(bounds) if known is None else known.places

    def _all_of(self, bounds: Sequence[Bound], now: float) -> Known:
        """What is known of these."""
        bounds = tuple(bounds)
        rates = [
            (self._rate(bound), bound, bound.limit.measure == "tokens")
            for bound in bounds
            if bound.limit.measure in ("requests", "tokens")
        ]
        money = [(self.spending(bound, now), bound) for bound in bounds if bound.limit.measure == "usd"]
        spendings = tuple([spending for spending, _ in money])
        known = Known(bounds, places_of(bounds), tuple(rates), tuple(money), spendings)
        if all(spending.loaded for spending in known.spendings):
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[id(bounds)] = known
        return known

    def learned(self, key: str, tat: float) -> None:
        """Where a rate stands for all relays; what was used here meanwhile stays."""
        if key not in self.rates:
            self.rates[key] = Rate(tat, 0.0, tat)

    def spending(self, bound: Bound, now: float) -> Spending:
        """The money of a subject, whether it is known or not."""
        found = self.spendings.get(bound.key)
        if found is None:
            found = self.spendings[bound.key] = Spending(bound, self._zone)
            found.used_at = now  # it is kept while it is being read, and while who wants it waits for a place
        elif bound.limit is not found.bound.limit:
            found.follow(bound)
        return found

    def forget(self, now: float) -> None:
        """What is as if it had never been used, or can be read again."""
        old = [
            key for key, rate in self.rates.items() if rate.tat < now and not rate.moved and rate.used_at < now - MINUTE
        ]
        for key in old:
            del self.rates[key]
        idle = [key for key, one in self.spendings.items() if one.idle and one.used_at < now - KEPT]
        for key in idle:
            del self.spendings[key]
        if old or idle:
            self._known.clear()

    def _rate(self, bound: Bound) -> Rate:
        found = self.rates.get(bound.key)
        if found is None:
            found = self.rates[bound.key] = Rate()
        return found


def places_of(bounds: Iterable[Bound]) -> tuple[Bound, ...]:
    """The limits of concurrent requests."""
    return tuple([bound for bound in bounds if bound.limit.measure == "concurrent"])
