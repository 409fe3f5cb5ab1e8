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
from claude_relay.core.accounting.holds import Holds
from claude_relay.core.accounting.metrics import Metrics
from claude_relay.core.accounting.needs import Need, Outputs
from claude_relay.core.accounting.reserve import Reserve, Terms
from claude_relay.core.config import Config
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Attempt, Verdict
from claude_relay.core.notices import Notice, notices_of_attempt, refused
from claude_relay.proxy.common.clock import NOW
from claude_relay.proxy.common.loops import Loop, errand
from claude_relay.proxy.request.costs import price_at
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.store.db.database import StoreError
from claude_relay.store.db.upkeep import Upkeep
from claude_relay.store.ledger.bodies import Bodies, Kind
from claude_relay.store.ledger.budget_sums import BudgetSums
from claude_relay.store.ledger.ledger import AttemptRow, Ledger, RequestRow

from .gauges import gauges
from .json_log import JsonLog
from .notifier import Notifier
from .status_server import Look, StatusServer, well
from .telemetry import Telemetry

logger = logging.getLogger(__name__)
INTERVAL = 60.0
"""Seconds between two looks at what other relays have spent."""
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
        self.unwritten = False
        self.looking = asyncio.Lock()
        self.sums = BudgetSums(ledger.path)
        self.notifier = Notifier(config.notices, say, way=runtime().way)
        self.jsonlog = JsonLog()
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
        self.jsonlog.remove()
        if self.telemetry is not None:
            self.telemetry.close()
        if self.bodies is not None:
            self.bodies.close()

    # -- what there is to hear

    def settled(
        self, request: RequestRow, attempts: Sequence[AttemptRow], stop_reason: str | None, *, written: bool = True
    ) -> None:
        """A request is over. `written`: its rows are known to be in the database."""
        self.unwritten = self.unwritten or not written
        for attempt in attempts:
            for model, usd in attempt.costs:
                self.budgets.spent(request.started_at, attempt.provider, model or "", usd)
        self.tell(self.budgets.due_notices())
        self.metrics.settled(request, attempts)
        if self.telemetry is not None:
            self.telemetry.settled(request, attempts, stop_reason=stop_reason)
        if self.config.log.as_json:
            self.jsonlog.settled(request, attempts)

    def failed(self, verdict: Verdict | None, attempt: Attempt) -> None:
        """An attempt failed."""
        if verdict is not None:
            alias = attempt.key.alias if attempt.key is not None else None
            self.tell(notices_of_attempt(verdict, attempt.provider, alias, time.time()))

    def refused(self, error: RelayError, providers: Iterable[str]) -> None:
        """The relay itself refused a request."""
        self.tell(refused(error, providers, time.time()))

    def body(self, request: str, n: int, kind: Kind, body: bytes) -> None:
        """A redacted body, for those who keep some. `n`: the attempt; 0: as the client sent or got it."""
        if self.bodies is not None and body:
            self.bodies.put(request, n, kind, body, at=time.time())

    def tell(self, notices: Iterable[Notice]) -> None:
        """Pass notices on."""
        for notice in notices:
            self.notifier.tell(notice)

    # -- what there is to ask

    def reserve(self, runtime: Runtime, need: Need, at: float) -> Reserve:
        """What a request may cost, nothing of it reserved yet. `at`: when it began."""
        terms = Terms(partial(price_at, runtime), self.outputs)
        return Reserve(lambda: self.budgets, self.holds, need, terms, at=at, clock=time.time)

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
        self.tell(budgets.due_notices())

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
