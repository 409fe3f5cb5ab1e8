"""The relay's way out: SIGTERM, Ctrl-C, mitmproxy's own `shutdown`.

    asked once    no new connections and requests; what runs may end, for `shutdown` of relay.yaml
                  ─► what still runs then is told: an `error` event ends a stream, an error is the answer to all else
    asked twice   that at once
    asked thrice  mitmproxy ends, whatever runs

The relay takes the place of the master's `shutdown`, through which mitmproxy's handlers of signals and all its programs go. Tunnels and
requests to hosts that are not intercepted are not waited for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from mitmproxy import http
from mitmproxy.log import ALERT

from claude_relay.core.errors import RelayError, error_object
from claude_relay.proxy.common.loops import errand
from claude_relay.proxy.stream.client_connections import Connections

logger = logging.getLogger(__name__)
POLL = 0.05
"""Seconds between two looks whether requests still run."""
LISTENERS = 1.0
"""Seconds that mitmproxy may take to let go of its ports."""
READING = 0.5
"""Seconds that reading what had arrived may take: who had sent a request before the end is told of it."""
CUTTING = 3.0
"""Seconds that requests which were told to end may take: their rows are written, for which the ledger waits up to 2 s."""
LEAVING = 1.0
"""Seconds for the last bytes to leave."""


class EndingError(RelayError):
    """What clients get from a relay that ends: 503, of the type `api_error`, for nobody is overloaded."""

    def claude_body(self, request_id: str) -> bytes:
        """The answer's body in Claude's error shape."""
        body: bytes = msgspec.json.encode(error_object(502, self.message, request_id))
        return body


class Ending:
    """Ends one relay.

    master    mitmproxy
    seconds   how long running requests may take
    begins    called when the relay is asked to end for the first time
    """

    def __init__(
        self, master: Any, connections: Connections, seconds: Callable[[], float], begins: Callable[[], None]
    ) -> None:
        self.begun = False
        self._master = master
        self._connections = connections
        self._seconds = seconds
        self._begins = begins
        self._hurry = asyncio.Event()

    def install(self) -> None:
        """From now on mitmproxy asks here. Twice does no harm."""
        self._master.shutdown = self.shutdown

    def remove(self) -> None:
        """mitmproxy ends by itself again."""
        if self._master.__dict__.get("shutdown") == self.shutdown:
            del self._master.shutdown

    def shutdown(self) -> None:
        """In the place of the master's; from any thread."""
        self._master.event_loop.call_soon_threadsafe(self.request_end)

    def request_end(self) -> None:
        """Somebody wants the relay to end. On the event loop."""
        if not self.begun:
            self.begun = True
            errand(self._end, "ending")
        elif not self._hurry.is_set():
            self._hurry.set()
        else:
            self._leave()

    async def _end(self) -> None:
        try:
            self._begins()
            self._connections.close_after_answers()
            await self._connections.read(
                READING
            )  # before the ports close: asyncio drops what it has just accepted of a closed one
            await self._stop_listening()
            self._connections.close_idle()
            await self._let_end(self._seconds())
            await self._connections.flush(LEAVING)
        finally:
            self._leave()

    async def _stop_listening(self) -> None:
        servers = self._master.addons.get("proxyserver").servers
        await asyncio.wait([errand(partial(servers.update, []), "letting go of the ports")], timeout=LISTENERS)

    async def _let_end(self, seconds: float) -> None:
        count = len(self._connections.running())
        if not count:
            return
        if seconds and not self._hurry.is_set():
            logger.log(ALERT, "ending: %s, up to %g s; Ctrl-C again ends at once", still_run(count), seconds)
            until = time.monotonic() + seconds
            while self._connections.running() and not self._hurry.is_set() and (left := until - time.monotonic()) > 0:
                await self._pause(min(POLL, left))
                self._connections.close_idle()
        left_over = len(self._connections.running())
        await self._cut()
        if left_over:
            logger.log(ALERT, "ending: %s cut off", "1 request was" if left_over == 1 else f"{left_over} requests were")
        else:
            logger.log(ALERT, "ending: all requests are done")

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            pass

    async def _cut(self) -> None:
        """Again and again: a request whose hook runs can only be told when that is over."""
        until = time.monotonic() + CUTTING
        while await self._connections.cut(lambda flow, _: ending_error(flow)) and time.monotonic() < until:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)

    def _leave(self) -> None:
        self.remove()
        self._master.shutdown()


def ending_error(flow: http.HTTPFlow) -> EndingError:
    """What a request gets that the relay does not answer any more."""
    close = {} if flow.request.is_http2 else {"connection": "close"}
    return EndingError(503, "The relay is ending. Send the request again when it runs again.", headers=close)


def still_run(count: int) -> str:
    """How many requests run, as a sentence's beginning."""
    return "1 request still runs" if count == 1 else f"{count} requests still run"
