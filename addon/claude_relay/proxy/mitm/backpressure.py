"""Whoever does not read stops whoever sends, so that nothing piles up between them.

    attach(handler)                         for each client's connection, in the place of mitmproxy's `drain_writers`
    brake(client, hold=True)                its connection is not read until the brake is let go
    wait_for_word(client)                   a tunnel is open: hang up if it is not said in time what is wanted in it

mitmproxy waits after each read until all sockets of the client's connection, and those behind it, have room. That misses what waits in
memory because a client's HTTP/2 window is closed, and it lets one upstream that does not read hold up the answers of all others. It must
not know what the bytes are.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterable
from typing import Any, Final

from mitmproxy import ctx
from mitmproxy.connection import Client, Connection
from mitmproxy.proxy.layer import Layer, NextLayer
from mitmproxy.proxy.layers.http import HttpLayer
from mitmproxy.proxy.server import ConnectionHandler, ConnectionIO

from claude_relay.proxy.common.rejections import Reason, rejected

from .connections import Http1
from .heads import BOUNDS
from .http2 import Http2OfClients

MARK: Final = 1024 * 1024
"""Bytes that wait for an HTTP/2 client's window before its upstream is not read any more."""


class Drain:
    """Of one client's connection, and of those behind it."""

    def __init__(self, handler: ConnectionHandler) -> None:
        self.handler = handler
        self.layers: weakref.WeakSet[HttpLayer] = weakref.WeakSet()
        self.brakes = 0
        self.alarm: asyncio.TimerHandle | None = None
        """Set as long as nobody can tell what the client wants."""
        self._stirred: asyncio.Event | None = None

    async def drain(self) -> None:
        """A connection has been read: wait until it may be read again."""
        self.stir()
        transports, client = self.handler.transports, self.handler.client
        if not self.brakes and client.alpn != b"h2":
            for io in transports.values():
                if not is_drained(io):
                    break
            else:
                return  # as nearly always
        task = asyncio.current_task()
        connection = next((one for one, io in transports.items() if io.handler is task), client)
        if connection is client:
            for io in list(transports.values()):
                await drained(io)
            while self.brakes:
                await self.moved()
        else:
            for end in (client, connection):
                await drained(transports.get(end))
            while client.alpn == b"h2" and waiting(self.layers, connection) > MARK:
                await self.moved()

    def wait_for_word(self) -> None:
        """From now on, for as long as a head may take. Tunnels over HTTP/2 share their connection, which is kept for the others."""
        if any(isinstance(layer.connections.get(self.handler.client), Http2OfClients) for layer in self.layers):
            return
        self.heard()
        seconds = BOUNDS.bounds.head_time
        self.alarm = asyncio.get_running_loop().call_later(seconds, hang_up_if_silent, weakref.ref(self))

    def heard(self) -> None:
        """It can be told what the client wants."""
        if self.alarm is not None:
            self.alarm.cancel()
            self.alarm = None

    async def moved(self) -> None:
        """Wait until something has moved."""
        if self._stirred is None:
            self._stirred = asyncio.Event()
        await self._stirred.wait()

    def stir(self) -> None:
        """Something has moved: those who wait look again."""
        stirred, self._stirred = self._stirred, None
        if stirred is not None:
            stirred.set()


async def drained(io: ConnectionIO | None) -> None:
    """Wait until a socket takes more."""
    if io is None or is_drained(io):
        return
    assert io.writer is not None
    try:
        await io.writer.drain()
    except OSError as error:
        if io.handler is not None:
            io.handler.cancel(f"Error sending data: {error}")


def is_drained(io: ConnectionIO) -> bool:
    """Whether nothing waits in this process: then there is room, unless the connection is closing, which others are told."""
    if io.writer is None:
        return True
    transport = getattr(io.writer, "transport", None)
    size = getattr(transport, "get_write_buffer_size", None)
    return size is not None and size() == 0 and not transport.is_closing()  # type: ignore[union-attr]


def attach(handler: ConnectionHandler) -> None:
    """Take the place of mitmproxy's way to wait; hang up on a client that says nothing."""
    drain = Drain(handler)
    handler.drain_writers = drain.drain  # type: ignore[method-assign]
    drain.wait_for_word()


def hang_up_if_silent(found: weakref.ref[Drain]) -> None:
    """A client that has said nothing by which to tell what it wants has been waited for long enough."""
    drain = found()
    io = None if drain is None else drain.handler.transports.get(drain.handler.client)
    if io is not None and io.handler is not None:
        rejected(Reason.HEAD, "a connection was closed: nothing came from it")
        io.handler.cancel("nothing came")


def drain_of(client: Client) -> Drain | None:
    """What waits for a client's connection."""
    handler = ctx.master.addons.get("proxyserver").connections.get(client.id)
    drain = getattr(getattr(handler, "drain_writers", None), "__self__", None)
    return drain if isinstance(drain, Drain) else None


def saw(layer: HttpLayer) -> None:
    """One of the HTTP layers of a client's connection."""
    if (drain := drain_of(layer.context.client)) is not None:
        drain.layers.add(layer)
        drain.heard()


def identified(built: Layer | None, client: Client) -> None:
    """What mitmproxy has made of a connection's first bytes: a tunnel that is passed on may be silent for as long as it likes, and of TLS
    that is read, nobody can tell what is in it before its handshake is over. HTTP says so itself (`saw`)."""
    while (inner := getattr(built, "child_layer", None)) is not None:
        built = inner
    if built is None or isinstance(built, HttpLayer) or (drain := drain_of(client)) is None:
        return
    if not isinstance(built, NextLayer):
        drain.heard()
    elif drain.alarm is None:
        drain.wait_for_word()


def wait_for_word(client: Client) -> None:
    """A tunnel to a host that is read has been opened."""
    if (drain := drain_of(client)) is not None:
        drain.wait_for_word()


def brake(client: Client, *, hold: bool) -> None:
    """Do not read a client's connection, or read it again."""
    if (drain := drain_of(client)) is not None:
        drain.brakes += 1 if hold else -1
        drain.stir()


def waiting(layers: Iterable[HttpLayer], upstream: Connection) -> int:
    """Bytes of answers from an upstream that wait because the client's windows are closed."""
    for found in layers:
        client, server = found.connections.get(found.context.client), found.connections.get(upstream)
        if server is None or not isinstance(client, Http2OfClients):
            continue
        inner: Any = server
        while not isinstance(inner, Http1) and getattr(inner, "child_layer", None) is not None:
            inner = inner.child_layer
        if isinstance(inner, Http1):
            return client.waiting(inner.stream_id or 0)
        return max(map(client.waiting, client.streams), default=0)
    return 0
