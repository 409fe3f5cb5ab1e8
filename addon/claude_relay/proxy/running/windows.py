"""How far the windows of keys are used: what answers say of them is stored, and what other relays heard of keys is taken over.

    windows = Windows(stored, runtime)
    windows.saw(key, headers)              with each answer; keeps a reference, and reads nothing
    windows.start()

Written every INTERVAL in a thread. It must not know what a request was about.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from claude_relay.core.bodies.ratelimits import UNIFIED_STATUS, share_left, windows_in
from claude_relay.core.exchange import Key
from claude_relay.core.keys.aliases import Place
from claude_relay.proxy.common.clock import NOW
from claude_relay.proxy.common.loops import Loop
from claude_relay.store.db.database import StoreError
from claude_relay.store.shared.key_windows import Seen, StoredWindows

from .runtime import Runtime
from .stored import Stored

logger = logging.getLogger(__name__)
INTERVAL = 2.0

type Headers = Mapping[str, str]


class Windows:
    """The windows of one relay's keys."""

    def __init__(self, stored: Stored, runtime: Callable[[], Runtime]) -> None:
        self.stored, self.runtime = stored, runtime
        self.windows = StoredWindows(stored.vault.path)
        self.latest: dict[Place, tuple[Headers, float]] = {}
        self.complaint = ""
        self.loop = Loop("writing down how far windows are used", self.turn, lambda: INTERVAL, at_once=True)

    def start(self) -> None:
        """Begin; needs a running loop."""
        self.loop.start()

    def saw(self, key: Key | None, headers: Headers) -> None:
        """An answer came with this key. Header names are lower-case."""
        if key is not None and UNIFIED_STATUS in headers:
            self.latest[Place(key.provider, key.id)] = headers, time.time()

    async def turn(self) -> None:
        """Write down what was heard here, take over what others heard."""
        mine, self.latest = self.latest, {}
        named = {place: id for place in mine if (id := self.stored.stored_id(*place)) is not None}
        rows = [(place.provider, named[place], headers, at) for place, (headers, at) in mine.items() if place in named]
        try:
            heard = await self.stored.in_thread(self.exchanged, rows)
        except StoreError as error:
            self.latest = mine | self.latest
            if str(error) != self.complaint:
                logger.warning("how far windows are used cannot be written down: %s", error)
            self.complaint = str(error)
            return
        self.complaint = ""
        ahead = NOW.ahead()
        for seen in heard:
            pool = self.runtime().pools.get(seen.provider)
            own = self.stored.ids.own.get(Place(seen.provider, seen.key_id), seen.key_id)
            left = share_left(seen.windows)
            if pool is not None and left is not None and pool.by_id(own) is not None:
                pool.heard(own, left, seen.at + ahead, ahead)

    def exchanged(self, rows: list[tuple[str, str, Headers, float]]) -> tuple[Seen, ...]:
        """In a thread."""
        return self.windows.exchange([Seen(name, id, windows_in(headers, at), at) for name, id, headers, at in rows])

    def close(self) -> None:
        """No more of it: the last two seconds are told by the next answers."""
        self.loop.stop()
        self.stored.thread.submit(self.windows.close)
