"""Lets requests of clients through their limits, and counts what they use: in memory, so that a request costs no query.

    limiter = Limiter()
    bounds = limiter.demands.of(client, model, session, tree)
    limiter.missing(bounds)                     those of which nothing is known here: `learned` them first (`known`)
    limiter.look(bounds, weight, now)           raises ClientLimitError: over a rate, or nothing is left of the money
    admission = limiter.enter(bounds, weight, places, now, ticks)      its places and rates; None: no place is free
    waiter = limiter.queue(…)                   then it waits; `limiter.serve(ticks)` wakes who has one
    admission.settle(tokens, now, ticks)        the request is over; a second time does nothing

The limits of a client and of its group hold together: all or nothing is taken. It must not know flows, threads or where anything is kept.
`now`: seconds since the epoch; `ticks`: of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import NamedTuple

from .demand import Bound, Demands, Owner, Weight
from .directory import Client
from .exceeded import ClientLimitError, of_concurrency, of_rate, unread
from .gcra import Rate
from .known import Knowledge, Known
from .limits import Limit, Scope
from .money import Spending
from .queue import FairQueue, Waiter
from .slots import Slots

FULL = "{} requests wait already"
TOO_LONG = "{:g} s in the queue were not enough"


type Charge = tuple[Rate, Bound, int]
"""What a request costs of a rate."""


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
    """What one request has taken. `spendings`: whose money it is."""

    limiter: Limiter
    ticks: float
    places: tuple[str, ...] = ()
    charged: Sequence[Charge] = ()
    spendings: Sequence[Spending] = ()
    over: bool = False

    def settle(self, tokens: int | None, now: float, ticks: float) -> None:
        """The request is over, with so many tokens; None: as it was estimated. A second time does nothing."""
        if self.over:
            return
        self.over = True
        if tokens is not None:
            for rate, bound, cost in self.charged:
                if bound.limit.measure == "tokens" and tokens != cost:
                    rate.correct(bound.limit.amount, tokens - cost, now)
                    self.limiter.moved.add(bound.key)
        self._leave(ticks)

    def cancel(self, now: float, ticks: float) -> None:
        """The request was not let through after all: as if it had never been."""
        if self.over:
            return
        self.over = True
        for rate, bound, cost in self.charged:
            rate.correct(bound.limit.amount, -cost, now)
            self.limiter.moved.add(bound.key)
        self._leave(ticks)

    def spent(self, at: float, usd: float | None) -> list[Spending]:
        """What the request has cost is counted. `at`: when it began. Returns those limits that have just become near their end."""
        if not usd:
            return []
        return [spending for spending in self.spendings if spending.spend(at, usd)]

    def _leave(self, ticks: float) -> None:
        if self.places:
            self.limiter.slots.give_back(self.places, ticks, self.ticks)
            if self.limiter.queues:
                self.limiter.serve(ticks)


class Limiter(Knowledge):
    """The limits of all clients of one relay."""

    def __init__(self, zone: tzinfo | None = None) -> None:
        """`zone`: as for Knowledge."""
        super().__init__(zone)
        self.demands = Demands()
        self.slots = Slots()
        self.queues: dict[str, FairQueue] = {}
        self.contact = ""

    @property
    def is_unused(self) -> bool:
        """Whether there is nothing to keep up."""
        return not (self.rates or self.slots.held or self.spendings)

    # -- may it go on?

    def look(self, bounds: Sequence[Bound], weight: Weight, now: float) -> None:
        """Raises ClientLimitError when it may not go on now, whatever places there are. Takes nothing."""
        self._look(bounds, weight, now)

    def enter(
        self,
        bounds: Sequence[Bound],
        weight: Weight,
        places: tuple[Bound, ...],
        now: float,
        ticks: float,
        *,
        served: bool = False,
    ) -> Admission | None:
        """Take places and rates; None: a place is missing, and nothing was taken. Raises ClientLimitError; then, too.

        served  it has its places: what it raises gives them back
        """
        if places and not served and self.slots.take(places, ticks) is not None:
            return None
        keys = tuple([bound.key for bound in places]) if places else ()
        try:
            known, charged = self._look(bounds, weight, now)
        except ClientLimitError:
            Admission(self, ticks, keys).cancel(now, ticks)
            raise
        for rate, bound, cost in charged:
            if not rate.moved:
                self.moved.add(bound.key)
            rate.charge(bound.limit.amount, cost, now)
        return Admission(self, ticks, keys, charged, known.spendings)

    def _look(self, bounds: Sequence[Bound], weight: Weight, now: float) -> tuple[Known, list[Charge]]:
        """What is known of its limits, and what it costs of which rates. The longest wait is the true one."""
        known = self._known.get(id(bounds)) or self._all_of(bounds, now)
        for spending, bound in known.money:
            if bound.limit is not spending.bound.limit:
                spending.follow(bound)
            if weight.runs and (
                not spending.loaded or now >= spending.account.now.end or spending.account.usd >= bound.limit.amount
            ):
                self._check(spending, now)
            spending.used_at = now
        charged: list[Charge] = []
        longest, last = 0.0, None
        for rate, bound, tokens in known.rates:
            if cost := weight.tokens if tokens else weight.requests:
                rate.used_at = now
                charged += ((rate, bound, cost),)
                if rate.tat > now and (wait := rate.wait(bound.limit.amount, cost, now)) > longest:
                    longest, last = wait, bound
        if last is not None:
            raise of_rate(last, now, longest, self.contact)
        return known, charged

    def _check(self, spending: Spending, now: float) -> None:
        if not spending.loaded:
            raise unread(spending.bound, self.contact)
        if spending.spent(now) >= spending.bound.limit.amount:
            spending.check(now, 0, self.contact)

    # -- waiting

    def queue(
        self, client: Client, places: tuple[Bound, ...], now: float, ticks: float, wake: Callable[[], None]
    ) -> Waiting:
        """Wait for places. Raises ClientLimitError when too many do."""
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

    def waited(
        self, waiting: Waiting, bounds: Sequence[Bound], weight: Weight, now: float, ticks: float
    ) -> Admission | None:
        """It was served: it has its places, and takes its rates. Raises ClientLimitError, and then has nothing."""
        return self.enter(bounds, weight, waiting.waiter.bounds, now, ticks, served=True)

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
