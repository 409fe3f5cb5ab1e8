"""The limits of clients in a relay that runs: what is known of them is kept up with the database, in a thread of its own.

    limiting = Limiting(config.database, lambda: ledger.whole)
    limiting.start()
    plan = await limiting.plan(client, …)     before the first request of a subject: some milliseconds
    limiting.urge()                         somebody waits for a place that nobody here has
    await limiting.standing(client, now)      how far each of a client's limits is used
    limiting.close()                        the last word

Each second, and when somebody is in need of it, one exchange: leases are renewed, what was used is told, what others used is heard.
A relay alone reports it every LOOK only, as nobody waits for it but its next start. Every LOOK what was spent is read as far as
somebody has spent something, and other relays run. A database that cannot be used is said
once; then nothing new runs under a limit of concurrent requests when its lease is over, and other limits hold by what this relay
knows. It must not know requests.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import batched
from pathlib import Path

from claude_relay.core.clients.admission import Limiter, Standing
from claude_relay.core.clients.agents import Trees
from claude_relay.core.clients.demand import Bound
from claude_relay.core.clients.directory import Client
from claude_relay.core.clients.gcra import Change, Rate, believed
from claude_relay.core.clients.known import Plan
from claude_relay.core.clients.money import Rolling, Spending
from claude_relay.core.clients.slots import IDLE, IDLE_ALONE, Want
from claude_relay.proxy.common.clock import NOW
from claude_relay.proxy.common.loops import Loop
from claude_relay.store.db.database import StoreError
from claude_relay.store.ledger.client_sums import ClientSums, Wanted, concerned
from claude_relay.store.shared.leases import LEASE, MARGIN, Leases, SharedLimits

logger = logging.getLogger(__name__)
INTERVAL = 1.0
"""Seconds between two exchanges."""
APART, IN_VAIN = 0.02, 0.25
"""Seconds at least between two, however much somebody waits; and after one that has brought nothing."""
LOOK, ALONE = 5.0, 60.0
"""Seconds between two looks at what others have spent; and where no other relay runs, as prices may change."""
TIDY = 60.0
PIECE = 200
"""Rates that are looked at on the event loop at a time."""
SHARED, SUMS = "places and rates", "sums of what was spent"
CLOSING = 3.0
"""Seconds that the last word may take."""


class Limiting:
    """The limits of one relay.

    whole   whether all that was settled is in the ledger
    shared  where relays agree; None: in the database
    """

    def __init__(
        self, database: Path, whole: Callable[[], bool], *, shared: SharedLimits | None = None, lease: float = LEASE
    ) -> None:
        """Nothing is touched before `start`."""
        self.limiter = Limiter()
        self.trees = Trees()
        self.shared: SharedLimits = shared or Leases(database, lease=lease)
        self.sums = ClientSums(database)
        self.lease = lease
        self.whole = whole
        self.complaints: dict[str, str] = {}
        self.urged = asyncio.Event()
        self.loop = Loop("keeping up the limits of clients", self.turn, lambda: self.pause)
        self.thread = ThreadPoolExecutor(1, "relay-limits")
        self.report_at = self.look_at = self.look_alone_at = self.tidy_at = 0.0
        self.pause = APART
        self.company = True
        """Whether other relays run over this database, as far as is known: what only this one uses, it knows."""
        self.closed = self.held = False

    def start(self) -> None:
        """Begin; needs a running loop."""
        self.loop.start()

    # -- what requests want

    def urge(self) -> None:
        """An exchange is wanted now."""
        self.urged.set()

    async def plan(self, client: Client, model: str, session: str | None, tree: str | None) -> Plan:
        """What is known of the limits of a request like none lately: as far as it can be read, all."""
        if missing := self.limiter.missing(self.limiter.demands.of(client, model, session, tree)):
            await self.learn(missing)
        return self.limiter.new_plan(client, model, session, tree, time.time())

    async def learn(self, bounds: Sequence[Bound]) -> None:
        """Find out how far these are used, as far as that can be read."""
        now = time.time()
        keys = [bound.key for bound in bounds if bound.limit.measure != "usd"]
        spendings = [self.limiter.spending(bound, now) for bound in bounds if bound.limit.measure == "usd"]
        try:
            tats = await self.in_thread(self.shared.rates, keys) if keys else {}
            ahead, limit = NOW.ahead(), NOW()
            for key in keys:
                self.limiter.learned(key, believed(tats.get(key, -ahead) + ahead, limit))
            await self.read(spendings, now)
        except StoreError as error:
            self.complain(SUMS, str(error))
            for key in keys:  # by what this relay knows itself
                self.limiter.learned(key, 0.0)

    async def standing(
        self, client: Client, now: float, session: str | None = None, tree: str | None = None
    ) -> list[Standing]:
        """How far each of a client's limits and of its group's is used: of the session and agent only where they are named."""
        named = {"all"} | ({"session"} if session is not None else set()) | ({"agent"} if tree is not None else set())
        bounds = [
            bound
            for template in self.limiter.demands.templates(client)
            if template.limit.scope in named
            for bound in [self.limiter.demands.narrowed(template, session, tree)]
        ]
        if missing := self.limiter.missing(bounds):
            await self.learn(missing)
        return list(self.limiter.standings(bounds, now))

    # -- keeping up

    async def turn(self) -> None:
        """Wait for a second or a need; then one exchange, and from time to time what comes with it."""
        try:
            async with asyncio.timeout(INTERVAL):
                await self.urged.wait()
        except TimeoutError:
            pass
        self.urged.clear()
        if self.limiter.is_unused and not self.held:
            return  # a relay without clients leaves the database alone
        await self.exchange()
        now = time.monotonic()
        if now >= self.look_at:
            self.look_at = now + LOOK
            if self.company or now >= self.look_alone_at:
                self.look_alone_at = now + ALONE
                await self.look()
        if now >= self.tidy_at:
            self.tidy_at = now + TIDY
            self.limiter.forget(NOW())
            await self.attempt(partial(self.shared.prune, NOW.wall(), now))

    async def exchange(self) -> None:
        """Tell and hear once: of what was used since the last time, so that what others hold costs nothing."""
        limiter, ticks, ahead = self.limiter, time.monotonic(), NOW.ahead()
        reports = self.company or ticks >= self.report_at
        wants: dict[str, Want | None] = {}
        if reports or limiter.slots.urgent:
            wants = limiter.slots.wants(ticks, IDLE if self.company else IDLE_ALONE)
        self.held = bool(limiter.slots.held or wants)
        changes: dict[str, Change] = {}
        if reports:
            self.report_at = ticks + LOOK
            async for rates in pieces(self.moved()):
                changes |= self.changes(rates, ahead)
        try:
            news = await self.in_thread(self.shared.exchange, wants, changes, ticks)
        except StoreError as error:
            for key, change in changes.items():
                if (rate := limiter.rates.get(key)) is not None:
                    rate.unreported(shifted(change, ahead))
                    limiter.moved.add(rate)
            self.company = True
            self.complain(SHARED, str(error))
            return
        self.complain(SHARED, "")
        if news.company and not self.company:  # it is to hear at once how far all is used
            self.urge()
        self.company = news.company
        async for piece in pieces(news.rates):
            for key in piece:
                if (rate := limiter.rates.get(key)) is not None:
                    rate.absorb(believed(news.rates[key] + ahead, NOW()))
        gained, lost = limiter.slots.leased(news.leased, ticks + self.lease - MARGIN)
        self.pause = APART if gained or lost else IN_VAIN
        if lost:  # others get these places once they hear that nothing begins on them here any more
            self.urge()
        limiter.serve(time.monotonic())

    def moved(self) -> set[Rate]:
        """The rates that were used since this was asked last."""
        moved, self.limiter.moved = self.limiter.moved, set()
        return moved

    def changes(self, rates: Iterable[Rate], ahead: float) -> dict[str, Change]:
        """What was used here of these since the last time, in the terms of the system's clock."""
        reports = ((rate.key, rate.report()) for rate in rates)
        return {key: shifted(change, -ahead) for key, change in reports if change is not None}

    async def look(self) -> None:
        """Read what was spent where somebody has spent something: other relays do, too, and prices may have changed."""
        try:
            spenders = await self.in_thread(self.sums.changed)
            held = {key: one.bound for key, one in self.limiter.spendings.items() if one.loaded}
            keys = dict.fromkeys([*concerned(spenders, held), *(key for key in held if not self.settled(key))])
            await self.read([one for key in keys if (one := self.limiter.spendings.get(key))], time.time())
        except StoreError as error:
            self.complain(SUMS, str(error))
        else:
            self.complain(SUMS, "")

    def settled(self, key: str) -> bool:
        """Whether all that was spent under a limit here is known to be in the ledger."""
        spending = self.limiter.spendings.get(key)
        return spending is None or not spending.own

    async def read(self, spendings: Iterable[Spending], now: float) -> None:
        """Take over what the ledger says of these. Raises StoreError."""
        spendings = list(spendings)
        if not spendings:
            return
        known = self.whole()
        marks = [spending.mark() if known else None for spending in spendings]
        wanted = [
            Wanted(spending.bound, spending.since(now), isinstance(spending.account, Rolling)) for spending in spendings
        ]
        sums = await self.in_thread(self.sums.read, wanted)
        for spending, mark in zip(spendings, marks, strict=True):
            spending.restore(sums[spending.bound.key], now, mark)

    async def attempt(self, work: Callable[[], object]) -> None:
        """In the thread; what fails is said."""
        try:
            await self.in_thread(work)
        except StoreError as error:
            self.complain(SHARED, str(error))

    async def in_thread[*A, R](self, work: Callable[[*A], R], *arguments: *A) -> R:
        """Wait for the disk, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, work, *arguments)

    def complain(self, about: str, text: str) -> None:
        """Say what is wrong once, and once that it is over."""
        before = self.complaints.get(about, "")
        self.complaints[about] = text
        if text and not before:
            logger.warning("limits of clients: %s cannot be kept up with the database: %s", about, text)
        elif before and not text:
            logger.warning("limits of clients: %s are kept up with the database again", about)

    def close(self) -> None:
        """The last word: what was used since the last exchange; all places are free. At the relay's end, maybe without a running loop."""
        if self.closed:
            return
        self.closed = True
        self.loop.stop()
        said = self.thread.submit(self.last_word, self.changes(self.moved(), NOW.ahead()))
        self.thread.shutdown(wait=False)
        try:
            said.result(CLOSING)
        except TimeoutError:
            logger.warning("the limits of clients: the database does not answer; what was used last is not in it")

    def last_word(self, changes: dict[str, Change]) -> None:
        """In the thread."""
        try:
            if changes:
                self.shared.exchange({}, changes, time.monotonic())
            self.shared.leave()
        except StoreError as error:
            self.complain(SHARED, str(error))
        finally:
            self.sums.close()


async def pieces[T](these: Collection[T]) -> AsyncIterator[Sequence[T]]:
    """All that there are now, with pauses in which requests go on."""
    for n, piece in enumerate(batched(tuple(these), PIECE)):
        if n:
            await asyncio.sleep(0)
        yield piece


def shifted(change: Change, by: float) -> Change:
    """The same by another clock."""
    return Change(change.tat + by, change.moved, change.base + by) if by else change
