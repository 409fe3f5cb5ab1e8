"""Lets requests of clients through their limits, and counts what they use: in memory, so that a request costs no query.

    limiter = Limiter()
    plan = limiter.plan_of(client, model, session, tree)    its limits, and what is known of them (`known`)
    limiter.look(plan, weight, now)             raises ClientLimitError: over a rate, or nothing is left of the money
    admission = limiter.enter(plan, weight, now, ticks)     its places and rates; None: no place is free
    waiting = limiter.queue(plan, now, ticks, wake)         then it waits; `limiter.serve(ticks)` wakes who has one
    admission = limiter.enter(…, served=True)   it was woken: it has its places
    admission.settle(tokens, now, ticks)        the request is over; a second time does nothing

The limits of a client and of its group hold together: all or nothing is taken. It must not know flows, threads or where anything is kept.
`now`: seconds since the epoch; `ticks`: of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import NamedTuple

from .demand import Bound, Owner, Weight
from .directory import Client
from .exceeded import ClientLimitError, of_concurrency, of_rate, unread
from .gcra import PERIOD
from .known import Knowledge, Plan
from .limits import Limit, Scope
from .money import Spending
from .queue import FairQueue, Waiter
from .slots import Slots

FULL = "{} requests wait already"
TOO_LONG = "{:g} s in the queue were not enough"


class Standing(NamedTuple):
    """How far a limit is used. `used` in its unit; `resets_at`: seconds since the epoch, None: never, or nothing is used."""

    limit: Limit
    subject: Owner
    owner: str
    used: float
    resets_at: float | None
    scope: Scope


class Waiting(NamedTuple):
    """A request in a queue."""

    waiter: Waiter
    domain: str


@dataclass(slots=True, eq=False)
class Admission:
    """What one request has taken, of the limits of a plan."""

    limiter: Limiter
    plan: Plan
    weight: Weight
    ticks: float
    over: bool = False

    def settle(self, tokens: int | None, now: float, ticks: float) -> None:
        """The request is over, with so many tokens; None: as it was estimated. A second time does nothing."""
        if self.over:
            return
        self.over, estimate = True, self.weight.tokens
        if estimate and tokens is not None and tokens != estimate:
            for rate, amount, of_tokens, _ in self.plan.rates:
                if of_tokens:
                    rate.charge(amount, tokens - estimate, now)
                    self.limiter.moved.add(rate)
        if self.plan.keys:
            self.leave(ticks)

    def cancel(self, now: float, ticks: float) -> None:
        """The request was not let through after all: as if it had never been."""
        if self.over:
            return
        self.over = True
        for rate, amount, of_tokens, _ in self.plan.rates:
            if cost := self.weight.tokens if of_tokens else 1:
                rate.charge(amount, -cost, now)
                self.limiter.moved.add(rate)
        self.leave(ticks)

    def leave(self, ticks: float) -> None:
        """Its places are free: those who wait get them."""
        if self.weight.runs:
            self.limiter.slots.give_back(self.plan.keys, ticks, self.ticks)
            if self.limiter.queues:
                self.limiter.serve(ticks)


class Limiter(Knowledge):
    """The limits of all clients of one relay."""

    def __init__(self, zone: tzinfo | None = None) -> None:
        """`zone`: as for Knowledge."""
        super().__init__(zone)
        self.slots = Slots()
        self.queues: dict[str, FairQueue] = {}
        self.contact = ""

    @property
    def is_unused(self) -> bool:
        """Whether there is nothing to keep up."""
        return not (self.rates or self.slots.held or self.spendings)

    # -- may it go on?

    def enter(self, plan: Plan, weight: Weight, now: float, ticks: float, *, served: bool = False) -> Admission | None:
        """Take places and rates; None: a place is missing, and nothing was taken. Raises ClientLimitError; then, too.

        served  it has its places: what it raises gives them back
        """
        if weight.runs and plan.places and not served and self.slots.take(plan.places, ticks) is not None:
            return None
        try:
            self.look(plan, weight, now)
        except ClientLimitError:
            Admission(self, plan, weight, ticks).leave(ticks)
            raise
        for rate, amount, of_tokens, _ in plan.rates:
            if cost := weight.tokens if of_tokens else 1:
                if not rate.moved:
                    self.moved.add(rate)
                seconds = cost * PERIOD / amount  # `rate.charge`, without a call for each request and rate
                rate.tat = (rate.tat if rate.tat > now else now) + seconds
                rate.moved += seconds
            else:
                rate.unused_at = now
        return Admission(self, plan, weight, ticks)

    def look(self, plan: Plan, weight: Weight, now: float) -> None:
        """Raises ClientLimitError when it may not go on now, whatever places there are. Takes nothing. The longest wait is the true one."""
        for spending, limit, bound in plan.money:
            if spending.limit is not limit:
                spending.follow(bound)
            if weight.runs and (
                not spending.loaded or now >= spending.account.now.end or spending.account.usd >= limit.amount
            ):
                self._check(spending, now)
            spending.used_at = now
        longest, last = 0.0, None
        for rate, amount, of_tokens, bound in plan.rates:
            if (
                rate.tat > now
                and (cost := weight.tokens if of_tokens else 1)
                and (wait := rate.wait(amount, cost, now)) > longest
            ):
                longest, last = wait, bound
        if last is not None:
            raise of_rate(last, now, longest, self.contact)

    def _check(self, spending: Spending, now: float) -> None:
        if not spending.loaded:
            raise unread(spending.bound, self.contact)
        if spending.spent(now) >= spending.bound.limit.amount:
            spending.check(now, 0, self.contact)

    # -- waiting

    def queue(self, plan: Plan, now: float, ticks: float, wake: Callable[[], None]) -> Waiting:
        """Wait for places. Raises ClientLimitError when too many do."""
        client, places = plan.client, plan.places
        domain = domain_of(client)
        queue = self.queues.setdefault(domain, FairQueue())
        waiter = queue.add(client.name, client.priority, places, wake)
        if waiter is None:
            raise self.gave_up(places, now, ticks, FULL.format(len(queue)))
        self.slots.waits(places, 1)
        return Waiting(waiter, domain)

    def position(self, waiting: Waiting) -> tuple[int, int]:
        """Its place in the queue, from 1, and how many are in it."""
        queue = self.queues[waiting.domain]
        return queue.position(waiting.waiter), len(queue)

    def left(self, waiting: Waiting, ticks: float) -> None:
        """It waits no longer, and does not want its places, should it have been given them meanwhile."""
        if waiting.waiter.served:
            self.slots.give_back([bound.key for bound in waiting.waiter.bounds], ticks, ticks)
            self.serve(ticks)
            return
        queue = self.queues[waiting.domain]
        queue.remove(waiting.waiter)
        self.slots.waits(waiting.waiter.bounds, -1)
        if not len(queue):
            del self.queues[waiting.domain]

    def gave_up(self, places: Sequence[Bound], now: float, ticks: float, why: str) -> ClientLimitError:
        """The error of one that waited in vain. `why`: as people read it."""
        full = self.slots.full(places, ticks) or places[0]
        return of_concurrency(full, now, self.slots.soon(full), self.contact, why=why)

    def waits_for(self, client: Client) -> bool:
        """Whether others wait for the same places, before whom nobody goes."""
        return domain_of(client) in self.queues

    def serve(self, ticks: float) -> None:
        """Give what places are free to those whose turn it is."""
        for domain, queue in list(self.queues.items()):
            full: set[str] = set()
            for waiter in queue.order():
                if any(bound.key in full for bound in waiter.bounds):
                    continue
                missing = self.slots.take(waiter.bounds, ticks)
                if missing is not None:
                    full.add(missing.key)
                    continue
                queue.serve(waiter)
                self.slots.waits(waiter.bounds, -1)
                waiter.wake()
            if not len(queue):
                del self.queues[domain]

    # -- what there is to know

    def standings(self, bounds: Iterable[Bound], now: float) -> Iterator[Standing]:
        """How far each is used, as far as this relay knows."""
        for bound in bounds:
            limit = bound.limit
            used, until = self._standing(bound, now)
            yield Standing(limit, bound.kind, bound.owner, used, until, limit.scope)

    def _standing(self, bound: Bound, now: float) -> tuple[float, float | None]:
        limit = bound.limit
        match limit.measure:
            case "usd":
                spending = self.spending(bound, now)
                return spending.spent(now), spending.until(now)
            case "concurrent":
                return self.slots.used(bound.key), None
            case _:
                rate = self.rates.get(bound.key)
                used = 0.0 if rate is None else rate.used(limit.amount, now)
                return used, rate.tat if rate is not None and used else None


def domain_of(client: Client) -> str:
    """Who waits in one queue: a group's clients together, any other client by itself."""
    return f"client:{client.name}" if client.group is None else f"group:{client.group.name}"
