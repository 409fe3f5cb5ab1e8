"""The clients' connections, and the requests that run on them, as the relay's end needs to know them.

    connections.saw(layer)          each HTTP layer, as mitmproxy makes it
    connections.running()           streams of requests that are the relay's and not over
    connections.close_idle()        connections without any request
    connections.read(seconds)       what has arrived of further requests is read
    connections.cut(error_for)      the requests that run, or some of them, told to end now

A tunnel to a host that is not intercepted is neither: it is cut with the process. Must not know why anything ends.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Iterator, Mapping

from mitmproxy import http
from mitmproxy.connection import Client
from mitmproxy.proxy import layer
from mitmproxy.proxy.layers.http._http1 import Http1Server
from mitmproxy.proxy.server import ConnectionHandler

from claude_relay.core.errors import RelayError
from claude_relay.proxy.messages.wire import own_request
from claude_relay.proxy.mitm.waiting import has_unsent, unread
from claude_relay.proxy.request.relayed import RELAYED, Relayed

from .layer import Ending, RelayLayer, layer_within
from .replay import RelayStream

POLL = 0.01
"""Seconds between two looks whether all bytes have left."""


class Connections:
    """`handlers`: mitmproxy's, by the id of their client."""

    def __init__(self, handlers: Callable[[], Mapping[object, ConnectionHandler]]) -> None:
        self._handlers = handlers
        self._layers: weakref.WeakSet[RelayLayer] = weakref.WeakSet()

    def saw(self, built: layer.Layer | None) -> None:
        """A stack of layers that mitmproxy built."""
        while built is not None:
            if isinstance(built, RelayLayer):
                self._layers.add(built)
            built = getattr(built, "child_layer", None)

    def running(self) -> list[RelayStream]:
        """The streams of requests that are not answered to their end."""
        streams = (stream for found in self._alive() for stream in found.streams.values())
        return [s for s in streams if isinstance(s, RelayStream) and relayed_of(s) is not None]

    def close_after_answers(self) -> None:
        """HTTP/1 connections end with the answer that is under way, so that no further request gets in just before."""
        for stream in self.running():
            connection = stream.http_layer.connections.get(stream.context.client)
            if isinstance(connection, Http1Server) and connection.request is not None:
                connection.request = closing(connection.request)

    def close_idle(self) -> None:
        """Hang up on clients that wait for nothing. What was written for them still leaves."""
        busy = self._busy()
        for client in {found.context.client for found in self._alive()}:
            handler = self._handlers()[client.id]
            if client.id not in busy and client in handler.transports and not unread(client):
                task = handler.transports[client].handler
                if task is not None:
                    task.cancel("the relay is ending")

    async def cut(
        self,
        error: Callable[[http.HTTPFlow, Relayed], RelayError],
        which: Callable[[Relayed], bool] = lambda relayed: True,
    ) -> int:
        """Tell running requests to end, as far as they can be told at this moment. Returns how many are running.

        error  what a client gets that has nothing yet
        which  those that are to end; default: all
        """
        running = [stream for stream in self.running() if (found := relayed_of(stream)) is not None and which(found)]
        for stream in running:
            relayed = relayed_of(stream)
            assert relayed is not None
            if relayed.ended is None:
                relayed.ended = error(stream.flow, relayed)
            if stream.relayed is None and stream.flow.response is None:  # still being uploaded: no hook will answer it
                stream.flow.response = relayed.refuse(relayed.ended)
            if relayed.waker is not None:
                relayed.waker.set()
        for client_id in {stream.context.client.id for stream in running}:
            handler = self._handlers().get(client_id)
            if handler is not None:
                await handler.server_event(Ending())
        return len(running)

    async def read(self, seconds: float) -> None:
        """Wait until idle connections have read what has arrived, for so many seconds at most."""
        until = time.monotonic() + seconds
        await asyncio.sleep(POLL)  # a connection that has just been accepted has its handler from now on
        while self._is_unread() and time.monotonic() < until:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(POLL)
        await asyncio.sleep(POLL)  # the hook of what was read last has claimed its request

    async def flush(self, seconds: float) -> None:
        """Wait until what was written for clients has left, for so many seconds at most."""
        until = time.monotonic() + seconds
        while any(has_unsent(c, c) for c in self._clients()) and time.monotonic() < until:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(POLL)

    def _busy(self) -> set[str]:
        return {found.context.client.id for found in self._alive() if not is_idle(found)}

    def _is_unread(self) -> bool:
        busy = self._busy()
        return any(unread(client) for client in self._clients() if client.id not in busy)

    def _clients(self) -> list[Client]:
        return [handler.client for handler in list(self._handlers().values())]

    def _alive(self) -> Iterator[RelayLayer]:
        handlers = self._handlers()
        return (found for found in list(self._layers) if found.context.client.id in handlers)


def relayed_of(stream: RelayStream) -> Relayed | None:
    """What is known of a stream's request, while that is not over; None: it is none of ours, or over."""
    found = getattr(stream, "flow", None)
    if found is None or not found.live or stream.child_layer is not None:
        return None
    return stream.relayed or RELAYED.get(found)


def closing(request: http.Request) -> http.Request:
    """The request's head, as if the client had asked for the connection to be closed; the flow's own stays as it is."""
    head = own_request(request)
    head.headers["connection"] = "close"
    return head


def is_idle(found: RelayLayer) -> bool:
    """Whether nothing goes on: no request, and no tunnel but those whose inside is an HTTP layer that is asked by itself."""
    return all(
        stream.child_layer is not None and layer_within(stream.child_layer) is not None
        for stream in found.streams.values()
    )
