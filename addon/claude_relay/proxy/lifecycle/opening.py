"""The time between the first connection and the moment that everything is loaded: keys of the vault, cooldowns, sessions, budgets.

mitmproxy may listen before the relay has read its database. A request that comes so early waits in its first hook and is then decided
with everything there. It waits for PATIENCE at most, counted from the relay's start and not from its own: a database that somebody holds
locked is given up after 5 s by the slowest of its readers, and nothing else of a start takes longer than half a second.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial

from claude_relay.proxy.common.loops import Complaints
from claude_relay.proxy.request.relayed import Relayed
from claude_relay.proxy.running.clients import KnownClients
from claude_relay.proxy.running.stored import Stored
from claude_relay.proxy.watch.reporting import Reporting
from claude_relay.store.ledger.ledger import Ledger

logger = logging.getLogger(__name__)
PATIENCE = 10.0
"""Seconds that a start may take before requests are decided with what is there."""


async def load(ledger: Ledger, stored: Stored, reporting: Reporting, clients: KnownClients) -> None:
    """Take over what is stored. What fails is said, and the relay goes on with what it has."""
    for what, part in (
        ("opening the ledger", partial(asyncio.to_thread, ledger.open)),
        ("loading stored keys, cooldowns and sessions", stored.start),
        ("loading clients", clients.start),
        ("starting metrics, budgets and notices", reporting.start),
    ):
        try:
            await part()
        except Exception as error:  # whatever it is
            Complaints(what, logging.WARNING).say(error)


class Opening:
    """Whether requests can be decided."""

    def __init__(self) -> None:
        """The clock starts now."""
        self.over = False
        self._until = time.monotonic() + PATIENCE
        self._waiting: set[Relayed] = set()

    async def wait(self, relayed: Relayed) -> None:
        """Until everything is loaded, the time is over, the client has left or the relay ends."""
        left = self._until - time.monotonic()
        if self.over or left <= 0:
            return
        self._waiting.add(relayed)
        try:
            await relayed.wait(left)
        finally:
            self._waiting.discard(relayed)
        if time.monotonic() >= self._until:
            self.finish(
                "keys and cooldowns are not loaded after %g s; requests are decided with what is there", PATIENCE
            )

    def finish(self, why: str = "", *details: object) -> None:
        """Nobody waits any more; `why` is said when that is no good news. Twice does no harm."""
        if self.over:
            return
        self.over = True
        if why:
            logger.warning(why, *details)
        for relayed in self._waiting:
            if relayed.waker is not None:
                relayed.waker.set()
