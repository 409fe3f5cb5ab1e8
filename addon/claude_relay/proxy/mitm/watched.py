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
from mitmproxy.proxy.layers.modes import ReverseProxy
from mitmproxy.proxy.server import ConnectionHandler
from mitmproxy.utils import human

from claude_relay.proxy.common.loops import place_of

from .connections import Commands

logger = logging.getLogger(__name__)

FIRST, LEAST, MOST = 4 * 1024, 512, 65535
"""Bytes of the first read of a connection, and of any."""
LONG: Final = 0.002
"""Seconds that a read may take."""
TRUSTED: Final = 16
"""Reads."""
PATIENCE: Final = 8
"""For how many times as long as it took the connection waits at most; it grows with each long read that follows another.
At 8 a connection that does its worst has a ninth of the event loop."""

LARGE: Final = 32 * 1024
"""Bytes of a read that is followed by more of the same, if there were as many as were asked for: a body on its way."""
LARGE_READS: Final = 4
"""Of those, all connections together have so many in one turn of the event loop; who sends a few bytes waits for no more."""
FEW: Final = 16
"""So many do not wait: the same step of several requests in a row costs less than one at a time."""


class Turns:
    """Who reads a body waits for its turn, so that hundreds of bodies at once leave the event loop to others, too."""

    def __init__(self) -> None:
        self._left = FEW
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._begun = False

    async def wait(self) -> None:
        """Until this read may go on; at once where few do."""
        self._begin()
        if self._left and not self._waiting:
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
        self._begun, self._left = False, FEW if len(self._waiting) <= FEW else LARGE_READS
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
        self._pause = 0.0
        self._long = 0
        """How many of its reads in a row took long."""
        self._was_large = False
        self.clock: Callable[[], float] = time.thread_time
        """By what it is measured: the time of this thread; after TRUSTED short reads in a row the cheap clock, by which others' work
        counts, too, until one seems to take long."""
        self._short = 0
        self._turns = TURNS.setdefault(asyncio.get_running_loop(), Turns())

    @property
    def held(self) -> int:
        """Bytes that have been taken from the system and not been asked for yet."""
        return len(getattr(self._reader, "_buffer", b""))

    async def read(self, most: int) -> bytes:
        """As mitmproxy asks for it."""
        if self._pause:
            pause, self._pause = self._pause, 0.0
            await asyncio.sleep(pause)
        if self._was_large:
            await self._turns.wait()
        data: bytes = await self._reader.read(size := min(most, self._size))
        self._was_large = LARGE <= size <= len(data)
        return data

    def took(self, size: int, seconds: float) -> None:
        """So long it took to handle so many bytes."""
        if seconds > LONG:
            if self.clock is not time.thread_time:
                self.clock, self._short = time.thread_time, 0
                return
            self._short = 0
            self._long = min(PATIENCE, self._long + 1)
            self._pause = self._long * seconds
            self._size = max(LEAST, int(size * LONG / seconds))
            return
        self._long = 0
        self._short += 1
        if self._short == TRUSTED:
            self.clock = time.perf_counter
        if size >= self._size:
            self._size = min(MOST, 2 * size)


class Watched:
    """A connection's layers. `flows`: those that the relay has not settled."""

    def __init__(
        self, inner: layer.Layer, handler: ConnectionHandler, flows: Callable[[], Iterable[http.HTTPFlow]]
    ) -> None:
        self._inner: layer.Layer | None = inner
        self._acts: layer.Layer | None = None
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
        reader = self._readers.get(event.connection) if isinstance(event, events.DataReceived) else None
        too_late = []
        began = 0.0 if reader is None else reader.clock()
        try:
            acts = self._acts or self._find_acting(self._inner)
            for command in acts.handle_event(event):
                if isinstance(command, commands.OpenConnection) and self._handler.client.timestamp_end is not None:
                    too_late.append(command)  # nobody would ever close it
                else:
                    yield command
        except Exception as error:
            yield from self._end(error)
        for command in too_late:
            yield from self.handle_event(events.OpenConnectionCompleted(command, "the client left"))
        if reader is not None:
            reader.took(len(event.data), reader.clock() - began)  # type: ignore[attr-defined]
        elif isinstance(event, events.ConnectionClosed):
            self._readers.pop(event.connection, None)

    def _find_acting(self, inner: layer.Layer) -> layer.Layer:
        """The layer of a reverse proxy, and the one that chooses what is next, hand on all that comes once that is chosen: they need not be
        gone through for each event."""
        chosen = getattr(inner, "child_layer", None)
        if type(inner) is ReverseProxy and isinstance(chosen, layer.NextLayer) and chosen._handle is not None:
            self._acts = chosen.layer
        return self._acts or inner

    def _end(self, error: Exception) -> Commands[None]:
        """Nothing is known of the layers' state any more."""
        self._inner = self._acts = None
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


class Turnstile(asyncio.Lock):
    """In the place of the lock that mitmproxy has around each event of a connection, some ten for a request: nearly always it is free, and
    then one step is enough for coming in and one for going out."""

    _locked: bool
    _wake_up_first: Callable[[], None]

    async def __aenter__(self) -> None:
        """Come in; after those who wait already."""
        if self._locked or self._waiters:
            await self.acquire()
        else:
            self._locked = True

    async def __aexit__(self, *_: object) -> None:
        """Go out."""
        self._locked = False
        if self._waiters:
            self._wake_up_first()


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
    handler._server_event_lock = Turnstile()
    handler.handle_connection = partial(until_closed, handler)  # type: ignore[method-assign]
    watched.pace(handler.client)
