"""Who hears of settled requests besides the ledger: budgets, notices, metrics, telemetry, JSON lines, stored bodies; and the upkeep.

    reporting = Reporting(runtime, ledger, environ)
    await reporting.start()
    reporting.settled(request, attempts)         costs some microseconds on the event loop; slow work is in threads
    reporting.close()

It must not know flows or how a request went; it gets the ledger's rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from claude_relay.core.accounting.budgets import Budgets
from claude_relay.core.accounting.cache_misses import explained
from claude_relay.core.accounting.holds import Holds
from claude_relay.core.accounting.metrics import Metrics
from claude_relay.core.accounting.needs import Need, Outputs
from claude_relay.core.accounting.reserve import HasRoom, Reserve, Terms
from claude_relay.core.config import Config
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Attempt, Verdict
from claude_relay.core.notices import Kind as Subject
from claude_relay.core.notices import Notice, cache_missed, notices_of_attempt, refused
from claude_relay.proxy.common.clock import NOW
from claude_relay.proxy.common.loops import Loop, errand
from claude_relay.proxy.log import terminal
from claude_relay.proxy.request.costs import price_at, tariff_at
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.store.db.database import StoreError
from claude_relay.store.db.upkeep import Upkeep
from claude_relay.store.ledger.bodies import Bodies, Kind
from claude_relay.store.ledger.budget_sums import BudgetSums
from claude_relay.store.ledger.ledger import AttemptRow, Ledger, RequestRow
from claude_relay.store.notices import NoticeBook

from .console import Console
from .gauges import gauges
from .json_log import JsonLog
from .notifier import Notifier
from .status_server import Look, StatusServer, well
from .telemetry import Telemetry

logger = logging.getLogger(__name__)
INTERVAL = 60.0
"""Seconds between two looks at what other relays have spent."""
LOOK_AGAIN = 5.0
"""Seconds between two looks whether a key is near its limit, for which the headers of its latest answer are read."""
PRICED = 60.0
"""Seconds for which prices hold that reservations are reckoned by."""
JUST_NOW = 0.5
"""Seconds: a cooldown that began within them belongs to the attempt that has just failed."""
BUDGETS = frozenset({Subject.BUDGET_WARN, Subject.BUDGET_END})
COMMITTING, POLL = 2.0, 0.05
"""Seconds that a look waits for rows which are on their way to the ledger, and between two tries."""


class Reporting:
    """The onlookers of one relay."""

    def __init__(
        self, runtime: Callable[[], Runtime], ledger: Ledger, environ: Mapping[str, str], health: Look = well
    ) -> None:
        """Nothing listens or runs before `start`."""
        config = runtime().config
        self.runtime, self.ledger = runtime, ledger
        self.config = config
        self.metrics = Metrics()
        self.holds = Holds()
        self.outputs = Outputs()
        self.budgets = Budgets(config.budgets, holds=self.holds)
        self._priced, self._priced_at = runtime(), 0.0
        self._prices = Terms(partial(price_at, self._priced), partial(tariff_at, self._priced), self.outputs)
        self.unwritten = False
        self.looking = asyncio.Lock()
        self.sums = BudgetSums(ledger.path)
        self.notifier = Notifier(config.notices, say, way=runtime().way, book=NoticeBook(ledger.path, patience=2.0).put)
        self.jsonlog = JsonLog()
        self.console = Console(lambda: self.config.log.requests, terminal.say)
        self._looked: dict[str, float] = {}
        """When it was last looked how much of a key's limits is left."""
        self.telemetry = Telemetry.of(environ)
        self.bodies: Bodies | None = None
        self.upkeep = self._upkeep(config)
        place = config.listen.status
        self.servers = (
            [StatusServer(place, self.render, health, lambda: self.runtime().config.listen.hosts)]
            if place is not None
            else []
        )
        self.loop = Loop("reading what was spent", self.look, lambda: INTERVAL)

    async def start(self) -> None:
        """Learn what was spent, then begin."""
        errand(partial(asyncio.to_thread, self.runtime().prices.warm), "loading the prices")
        try:
            await self.look()
        finally:
            self.notifier.start()
            self.upkeep.start()
            self._keep_bodies(self.config)
            self._write_json(self.config)
            self.loop.start()
        for server in self.servers:
            await server.start()

    def change(self, config: Config) -> None:
        """Follow a changed relay.yaml."""
        before = self.config
        budgets = self.budgets if config.budgets == before.budgets else self.budgets.renewed(config.budgets)
        upkeep = self.upkeep if config.ledger == before.ledger else self._upkeep(config)
        self.config = config
        self.notifier.change(config.notices)
        if budgets is not self.budgets:
            self.budgets = budgets
            errand(self.look, "reading what was spent")
        if upkeep is not self.upkeep:
            self.upkeep.close(0.0)
            self.upkeep = upkeep
            self.upkeep.start()
        if config.ledger.bodies != before.ledger.bodies:
            self._keep_bodies(config)
        self._write_json(config)

    def close(self) -> None:
        """Stop all of it; a few seconds at most."""
        self.loop.stop()
        for server in self.servers:
            with contextlib.suppress(RuntimeError):  # the loop is gone, and its connections with it
                server.close()
        self.upkeep.close()
        self.notifier.close()
        if self.telemetry is not None:
            self.telemetry.close()
        if self.bodies is not None:
            self.bodies.close()

    def fall_silent(self) -> None:
        """The end of the JSON log, after all who may still say something."""
        self.jsonlog.flush()
        self.jsonlog.remove()

    # -- what there is to hear

    def settled(
        self,
        request: RequestRow,
        attempts: Sequence[AttemptRow],
        stop_reason: str | None,
        *,
        written: bool = True,
        reason: str = "",
    ) -> None:
        """A request is over. `written`: its rows are known to be in the database. `reason`: the relay's own, for an error."""
        self.unwritten = self.unwritten or not written
        for attempt in attempts:
            for model, usd in attempt.costs:
                self.budgets.spent(request.started_at, attempt.provider, model or "", usd)
        self.notify(self.budgets.due_notices())
        self.notify(self._cache_missed(request))
        self.metrics.settled(request, attempts)
        if self.telemetry is not None:
            self.telemetry.settled(request, attempts, stop_reason=stop_reason)
        self.console.settled(request, attempts, reason)
        if self.config.log.as_json:
            self.jsonlog.settled(request, attempts)

    def _cache_missed(self, request: RequestRow) -> Iterator[Notice]:
        """If somebody wants to hear of what a request missed of the prompt cache. What has no price costs nothing here."""
        least, missed = self.config.notices.cache_miss, request.cache_miss
        if least is not None and missed is not None and (request.cache_miss_usd or 0.0) >= least:
            session, tokens = request.session or "(not named)", request.cache_miss_tokens or 0
            yield cache_missed(session, explained(missed, fully=True), tokens, request.cache_miss_usd, time.time())

    def accepted(self, attempt: Attempt) -> None:
        """A provider answered well."""
        pool, key, left = self.runtime().pools.get(attempt.provider), attempt.key, None
        if (
            pool is not None
            and key is not None
            and (now := NOW()) - self._looked.get(key.id, -LOOK_AGAIN) >= LOOK_AGAIN
        ):
            self._looked[key.id] = now
            left = pool.headroom(key)
        self.console.accepted(attempt.provider, key.alias if key is not None else None, left)

    def failed(self, verdict: Verdict | None, attempt: Attempt) -> None:
        """An attempt failed."""
        if verdict is not None:
            alias = attempt.key.alias if attempt.key is not None else None
            self._say_cooldown(attempt, NOW())
            self.notify(notices_of_attempt(verdict, attempt.provider, alias, time.time()))

    def _say_cooldown(self, attempt: Attempt, now: float) -> None:
        """If the attempt gave its key a cooldown just now."""
        pool, key = self.runtime().pools.get(attempt.provider), attempt.key
        if pool is None or key is None or not (cooldowns := pool.cooldowns.of(key.id)):
            return
        scope, newest = max(cooldowns.items(), key=lambda item: item[1].since)
        if newest.since >= now - JUST_NOW:
            name = f"{attempt.provider}/{key.alias}"
            self.console.cooled_down(name, scope, newest.until - now, newest.reason)

    def refused(self, error: RelayError, providers: Iterable[str]) -> None:
        """The relay itself refused a request."""
        found = refused(error, providers, time.time())
        for notice in found:
            self.console.unusable(notice.key, answers=notice.kind is not Subject.PROVIDER_DOWN)
        self.notify(found)

    def body(self, request: str, n: int, kind: Kind, body: bytes) -> None:
        """A redacted body, for those who keep some. `n`: the attempt; 0: as the client sent or got it."""
        if self.bodies is not None and body:
            self.bodies.put(request, n, kind, body, at=time.time())

    def notify(self, found: Iterable[Notice]) -> None:
        """Pass notices on."""
        for notice in found:
            if notice.kind in BUDGETS:
                self.console.near(notice.text)
            self.notifier.notify(notice)

    # -- what there is to ask

    def reserve(self, runtime: Runtime, need: Need, at: float, spendings: Sequence[HasRoom] = ()) -> Reserve:
        """What a request may cost, nothing of it reserved yet. `at`: when it began; `spendings`: its client's limits of money."""
        if (
            self._priced is not runtime or not self._priced_at <= at < self._priced_at + PRICED
        ):  # prices change at dates
            self._priced, self._priced_at = runtime, at
            self._prices = Terms(partial(price_at, runtime), partial(tariff_at, runtime), self.outputs)
        contact = runtime.config.clients.contact
        return Reserve(self, self.holds, need, self._prices, at, time.time, spendings, contact)

    def render(self) -> Iterator[str]:
        """The metrics as they are now."""
        return self.metrics.render(gauges(self.runtime(), self.ledger, NOW()))

    async def look(self) -> None:
        """Read what was spent in each budget's period: other relays over the same database spend as well."""
        async with self.looking:
            await self._look()

    async def _look(self) -> None:
        if not self.config.budgets:
            return
        budgets, rules = self.budgets, self.config.budgets
        known = not self.unwritten or await self.written()
        mark, self.unwritten = budgets.mark(), not known
        try:
            spent = await asyncio.to_thread(self.sums.read, rules, time.time())
        except StoreError as e:
            logger.warning("what was spent under the budgets cannot be read: %s", e)
            return
        if budgets is not self.budgets:
            return  # other rules are in force by now, and were read anew
        budgets.restore(spent, mark if known else None)
        self.notify(budgets.due_notices())

    async def written(self) -> bool:
        """Whether all that was settled is in the database; waits a moment for it."""
        until = time.monotonic() + COMMITTING
        while not self.ledger.whole:
            if time.monotonic() >= until:
                return False
            await asyncio.sleep(POLL)
        return True

    def _keep_bodies(self, config: Config) -> None:
        wanted = config.ledger.bodies
        if self.bodies is not None:
            self.bodies.close(0.0)
        self.bodies = Bodies(self.ledger.path, wanted.limit, report=say) if wanted is not None else None
        if self.bodies is not None:
            errand(partial(asyncio.to_thread, self.bodies.open), "opening the stored bodies")

    def _write_json(self, config: Config) -> None:
        (self.jsonlog.install if config.log.as_json else self.jsonlog.remove)()

    def _upkeep(self, config: Config) -> Upkeep:
        kept = config.ledger.bodies.keep if config.ledger.bodies is not None else None
        return Upkeep(self.ledger.path, config.ledger.keep, kept, report=say)


def say(message: str) -> None:
    """For the log, from any thread."""
    logger.warning("%s", message)
