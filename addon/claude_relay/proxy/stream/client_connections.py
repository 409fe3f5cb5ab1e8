"""The clients' connections, and the requests that run on them, as the relay's end needs to know them.

    connections.saw(layer)          each HTTP layer, as mitmproxy makes it
    connections.running()           streams of requests that are the relay's and not over
    connections.close_idle()        connections without any request
    connections.cut(error_for)      the requests that run, told to end now

A tunnel to a host that is not intercepted is neither: it is cut with the process. Must not know why anything ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections.abc import Callable, Iterator, Mapping

from mitmproxy import http
from mitmproxy.proxy import layer
from mitmproxy.proxy.layers.http._http1 import Http1Server
from mitmproxy.proxy.server import ConnectionHandler

from claude_relay.core.errors import RelayError
from claude_relay.proxy.messages.replies import error_answer
from claude_relay.proxy.messages.wire import own_request
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
        busy = {found.context.client.id for found in self._alive() if not is_idle(found)}
        for client in {found.context.client for found in self._alive()}:
            handler = self._handlers()[client.id]
            if client.id not in busy and client in handler.transports:
                task = handler.transports[client].handler
                if task is not None:
                    task.cancel("the relay is ending")

    async def cut(self, error: Callable[[http.HTTPFlow], RelayError]) -> int:
        """Tell every running request to end, as far as it can be told at this moment. Returns how many are running.

        error  what a client gets that has nothing yet
        """
        running = self.running()
        for stream in running:
            relayed = relayed_of(stream)
            assert relayed is not None
            if relayed.ended is None:
                relayed.ended = error(stream.flow)
            if stream.relayed is None and stream.flow.response is None:  # still being uploaded: no hook will answer it
                relayed.refusal, relayed.own_answer = relayed.ended, True
                stream.flow.response = error_answer(relayed.ended, relayed.id)
            if relayed.waker is not None:
                relayed.waker.set()
        for client_id in {stream.context.client.id for stream in running}:
            handler = self._handlers().get(client_id)
            if handler is not None:
                await handler.server_event(Ending())
        return len(running)

    async def flush(self, seconds: float) -> None:
        """Wait until what was written for clients has left, for so many seconds at most."""
        until = time.monotonic() + seconds
        while any(map(unsent, list(self._handlers().values()))) and time.monotonic() < until:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(POLL)

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


def unsent(handler: ConnectionHandler) -> int:
    """Bytes for the client that wait in this process."""
    found = handler.transports.get(handler.client)
    with contextlib.suppress(AttributeError):  # no connection, or one that is no TCP
        return int(found.writer.transport.get_write_buffer_size())  # type: ignore[union-attr]
    return 0
