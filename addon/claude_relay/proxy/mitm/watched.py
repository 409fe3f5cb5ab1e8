"""The outermost layer of a client's connection: nobody's input takes more than its share of the event loop, and no fault of a layer stays
without an end.

    watch_over(handler, flows)            when a client connects
    handler.layer.pace(connection)        when an upstream is connected, too

What came in one read is handled at once, before anybody else has a turn. So each connection begins with small reads, which grow as long as
they are handled quickly; where they are not, the connection waits as long as that took, then twice as long, and so on. What the layers
raise would leave the connection open and its requests without an answer: it is told in one line, and the connection ends. It must not know
what comes.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from mitmproxy import flow, http
from mitmproxy.connection import Connection, ConnectionState
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http._hooks import HttpErrorHook
from mitmproxy.proxy.server import ConnectionHandler
from mitmproxy.utils import human

from claude_relay.proxy.common.loops import place_of

from .connections import Commands

logger = logging.getLogger(__name__)

FIRST, LEAST, MOST = 8 * 1024, 512, 65535
"""Bytes of the first read of a connection, and of any."""
LONG: Final = 0.002
"""Seconds that a read may take."""
PATIENCE: Final = 8
"""For how many times as long as it took the connection waits at most; it grows with each long read that follows another."""


LARGE: Final = 32 * 1024
"""Bytes of a read that is followed by more of the same: a body on its way."""
LARGE_READS: Final = 4
"""Of those, all connections together have so many in one turn of the event loop; who sends a few bytes waits for no more."""


class Turns:
    """Who reads a body waits for its turn, so that hundreds of bodies at once leave the event loop to others, too."""

    def __init__(self) -> None:
        self._left = LARGE_READS
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._begun = False

    async def wait(self) -> None:
        """Until this read may go on; at once where few do."""
        self._begin()
        if self._left:
            self._left -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._begun, self._left = False, LARGE_READS
        while self._waiting and self._left:
            turn = self._waiting.popleft()
            if not turn.done():  # else its connection has ended
                turn.set_result(None)
                self._left -= 1
        if self._waiting:
            self._begin()


TURNS: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Turns]] = weakref.WeakKeyDictionary()
"""Those of each event loop."""


class PacedReader:
    """In the place of a connection's reader."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._size = FIRST
        self._rest = 0.0
        self._long = 0
        """How many of its reads in a row took long."""
        self._was_large = False
        self._turns = TURNS.setdefault(asyncio.get_running_loop(), Turns())

    async def read(self, most: int) -> bytes:
        """As mitmproxy asks for it."""
        if self._rest:
            rest, self._rest = self._rest, 0.0
            await asyncio.sleep(rest)
        if self._was_large:
            await self._turns.wait()
        data: bytes = await self._reader.read(min(most, self._size))
        self._was_large = len(data) >= LARGE
        return data

    def took(self, size: int, seconds: float) -> None:
        """So long it took to handle so many bytes."""
        if seconds > LONG:
            self._long = min(PATIENCE, self._long + 1)
            self._rest = self._long * seconds
            self._size = max(LEAST, int(size * LONG / seconds))
            return
        self._long = 0
        if size >= self._size:
            self._size = min(MOST, 2 * size)


class Watched:
    """A connection's layers. `flows`: those that the relay has not settled."""

    def __init__(
        self, inner: layer.Layer, handler: ConnectionHandler, flows: Callable[[], Iterable[http.HTTPFlow]]
    ) -> None:
        self._inner: layer.Layer | None = inner
        self._handler = handler
        self._flows = flows
        self._readers: dict[Connection, PacedReader] = {}
        self.context = inner.context

    def pace(self, connection: Connection) -> None:
        """Have what comes on this connection read in portions."""
        held = self._handler.transports.get(connection)
        if held is not None and isinstance(held.reader, asyncio.StreamReader):
            held.reader = self._readers[connection] = PacedReader(held.reader)  # type: ignore[assignment]

    def handle_event(self, event: events.Event) -> Commands[None]:
        """As the layers do it."""
        if self._inner is None:
            return
        came, too_late = isinstance(event, events.DataReceived), []
        began = time.thread_time() if came else 0.0
        try:
            for command in self._inner.handle_event(event):
                if isinstance(command, commands.OpenConnection) and self._handler.client.timestamp_end is not None:
                    too_late.append(command)  # nobody would ever close it
                else:
                    yield command
        except Exception as error:
            yield from self._end(error)
        for command in too_late:
            yield from self.handle_event(events.OpenConnectionCompleted(command, "the client left"))
        if came:
            reader = self._readers.get(event.connection)  # type: ignore[attr-defined]
            if reader is not None:
                reader.took(len(event.data), time.thread_time() - began)  # type: ignore[attr-defined]
        elif isinstance(event, events.ConnectionClosed):
            self._readers.pop(event.connection, None)

    def _end(self, error: Exception) -> Commands[None]:
        """Nothing is known of the layers' state any more."""
        self._inner = None
        client = self._handler.client
        logger.error(
            "the connection of %s was closed, as it could not be handled: %s: %s (%s:%d)",
            human.format_address(client.peername),
            type(error).__name__,
            error,
            *place_of(error),
        )
        for unsettled in self._flows():
            if unsettled.client_conn is client:
                unsettled.error = flow.Error("the connection could not be handled")
                yield HttpErrorHook(unsettled)
        yield commands.CloseConnection(client)


async def until_closed(handler: ConnectionHandler, connection: Connection) -> None:
    """In the place of `handle_connection`, which leaves a connection open, and its layers untold, when it is to be closed while what it
    has read waits for its turn."""
    try:
        await type(handler).handle_connection(handler, connection)
    finally:
        if (held := handler.transports.pop(connection, None)) is not None:
            connection.state = ConnectionState.CLOSED
            if held.writer is not None:
                held.writer.close()
            await handler.server_event(events.ConnectionClosed(connection))


def watch_over(handler: ConnectionHandler, flows: Callable[[], Iterable[http.HTTPFlow]]) -> None:
    """A client has connected."""
    watched = Watched(handler.layer, handler, flows)
    handler.layer = watched  # type: ignore[assignment]
    handler.handle_connection = partial(until_closed, handler)  # type: ignore[method-assign]
    watched.pace(handler.client)
