"""How far limits are used, as far as one relay knows: rates, and what money was spent.

    knowledge = Knowledge()
    knowledge.missing(bounds)              those of which nothing is known here
    knowledge.learned(key, tat)            where a rate stands; `spending(bound, now).restore(…)`: what was spent
    plan = knowledge.plan_of(client, model, session, tree)          all that is known of a request's limits; None: not all is
    plan = knowledge.new_plan(client, model, session, tree, now)    what is known of them
    knowledge.forget(now)                  what can be read again

A plan is kept, so that the next request like it looks nothing up. It must not know requests, places or queues (`admission`), nor where
anything is kept. `now`: seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import tzinfo

from claude_relay.core.times import HOUR, MINUTE

from .demand import LONGEST, MOST, Bound, Demands
from .directory import Client
from .gcra import Rate
from .limits import Limit
from .money import Spending

KEPT = HOUR
"""Seconds for which what is known of money is kept without a request; then it is read again."""


type Alike = tuple[str, str, str | None, str | None]
"""What requests with the same limits have in common: the client's id, the model, session, and root of the agent."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The limits of requests that are alike, with what is known of each.

    client  as it was then: another picture of it has another plan
    places  those of which a request needs one of the concurrent places; `keys`: what they are kept by
    rates   each with the amount of its limit, and whether it counts tokens, not requests
    money   each with its limit, as this picture of the client has it

    A request reads what is first in a tuple; its `Bound` is for errors. Of a thousand clients each thing that is read comes from afar,
    while limits that are equal are the same object.
    """

    client: Client
    bounds: tuple[Bound, ...]
    places: tuple[Bound, ...]
    keys: tuple[str, ...]
    rates: tuple[tuple[Rate, float, bool, Bound], ...]
    money: tuple[tuple[Spending, Limit, Bound], ...]
    spendings: tuple[Spending, ...]


class Knowledge:
    """Of the limits of all clients."""

    def __init__(self, zone: tzinfo | None = None) -> None:
        """`zone`: whose calendar days, weeks and months are of; None: this machine's."""
        self.rates: dict[str, Rate] = {}
        self.moved: set[Rate] = set()
        """Those that were used since others were told."""
        self.spendings: dict[str, Spending] = {}
        self.demands = Demands()
        self._plans: dict[Alike, Plan] = {}
        self._zone = zone

    def missing(self, bounds: Iterable[Bound]) -> list[Bound]:
        """Rates and money of which it is not known how much was used."""
        rates, spendings = self.rates, self.spendings
        return [
            bound
            for bound in bounds
            if bound.key not in rates
            and bound.limit.measure != "concurrent"
            and ((spending := spendings.get(bound.key)) is None or not spending.loaded)
        ]

    def plan_of(self, client: Client, model: str, session: str | None, tree: str | None) -> Plan | None:
        """That of requests like this one, as nearly always; None: there was none lately, or not all was known."""
        found = self._plans.get((client.id, model, session, tree))
        return found if found is not None and found.client is client else None

    def new_plan(self, client: Client, model: str, session: str | None, tree: str | None, now: float) -> Plan:
        """What is known of the limits of such a request, once that is `learned` which is missing; what cannot be read stays unknown."""
        bounds = self.demands.of(client, model, session, tree)
        places, place = places_of(bounds), (client.id, model, session, tree)
        rates = [
            (self._rate(bound), bound.limit.amount, bound.limit.measure == "tokens", bound)
            for bound in bounds
            if bound.limit.measure in ("requests", "tokens")
        ]
        money = [(self.spending(bound, now), bound.limit, bound) for bound in bounds if bound.limit.measure == "usd"]
        keys, spendings = tuple([bound.key for bound in places]), tuple([spending for spending, *_ in money])
        plan = Plan(client, bounds, places, keys, tuple(rates), tuple(money), spendings)
        if all(spending.loaded for spending in spendings) and all(
            word is None or len(word) <= LONGEST for word in place
        ):
            if len(self._plans) >= MOST:
                self._plans.clear()
            self._plans[place] = plan
        return plan

    def learned(self, key: str, tat: float) -> None:
        """Where a rate stands for all relays; what was used here meanwhile stays."""
        if key not in self.rates:
            self.rates[key] = Rate(tat, 0.0, tat, key=key)

    def spending(self, bound: Bound, now: float) -> Spending:
        """The money of a subject, whether it is known or not."""
        found = self.spendings.get(bound.key)
        if found is None:
            found = self.spendings[bound.key] = Spending(bound, self._zone)
            found.used_at = now  # it is kept while it is being read, and while who wants it waits for a place
        elif bound.limit is not found.limit:
            found.follow(bound)
        return found

    def forget(self, now: float) -> None:
        """What is as if it had never been used, or can be read again."""
        since = now - MINUTE
        old = [
            key for key, rate in self.rates.items() if rate.tat < since and rate.unused_at < since and not rate.moved
        ]
        for key in old:
            del self.rates[key]
        idle = [key for key, one in self.spendings.items() if one.idle and one.used_at < now - KEPT]
        for key in idle:
            del self.spendings[key]
        if old or idle:
            self._plans.clear()

    def _rate(self, bound: Bound) -> Rate:
        found = self.rates.get(bound.key)
        if found is None:
            found = self.rates[bound.key] = Rate(key=bound.key)
        return found


def places_of(bounds: Iterable[Bound]) -> tuple[Bound, ...]:
    """The limits of concurrent requests."""
    return tuple([bound for bound in bounds if bound.limit.measure == "concurrent"])
