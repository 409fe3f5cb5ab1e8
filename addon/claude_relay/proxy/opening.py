"""The time between the first connection and the moment that everything is loaded: keys of the vault, cooldowns, sessions, budgets.

mitmproxy may listen before the relay has read its database. A request that comes so early waits in its first hook and is then decided
with everything there. It waits for PATIENCE at most, counted from the relay's start and not from its own: a database that somebody holds
locked is given up after 5 s by the slowest of its readers, and nothing else of a start takes longer than half a second.
"""

from __future__ import annotations

import logging
import time

from .relayed import Relayed

logger = logging.getLogger(__name__)
PATIENCE = 10.0
"""Seconds that a start may take before requests are decided with what is there."""


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
