"""The HTTP layer whose streams can replay: connections, alarms, and the corners of mitmproxy that a second attempt would trip over.

`RelayLayer.adopt` turns the layers that mitmproxy built into these. See `replay` for the life of one stream.
"""

from __future__ import annotations

import copy
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

from mitmproxy.connection import Connection
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http import (
    ErrorCode,
    GetHttpConnection,
    GetHttpConnectionCompleted,
    HttpLayer,
)
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._http1 import Http1Connection, Http1Server
from mitmproxy.proxy.layers.http._http2 import Http2Client

from .relayed import RELAYED
from .replay import Commands, Ended, Expired, RelayStream

ENDING: Final = "the relay was ended"


@dataclass
class Ending(events.Event):
    """The relay ends: requests that are still running end now."""


class RelayLayer(HttpLayer):
    """An HTTP layer whose streams can replay. Made by turning an `HttpLayer` that mitmproxy built into one of these."""

    abandoned: weakref.WeakSet[Connection]
    """Connections of attempts that failed or were given up; they may only say goodbye."""
    alarms: dict[commands.Command, float]
    """Alarms under way, and when each rings."""

    @classmethod
    def adopt(cls, built: layer.Layer | None) -> None:
        """Turn every plain HttpLayer in a stack of layers into one that can replay."""
        while built is not None:
            if type(built) is HttpLayer:
                built.__class__ = cls
                adopted = cast(RelayLayer, built)
                adopted.abandoned = weakref.WeakSet()
                adopted.alarms = {}
            built = getattr(built, "child_layer", None)

    def _handle_event(self, event: events.Event) -> Commands[None]:
        if isinstance(event, events.Wakeup) and event.command in self.alarms:
            self.command_sources.pop(event.command, None)
            yield from self.alarm_rang(event.command)
            return
        if isinstance(event, Ending):
            yield from self.end_streams(event)
            return
        if isinstance(event, events.ConnectionEvent) and event.connection in self.abandoned:
            if isinstance(event, events.ConnectionClosed):
                self.abandoned.discard(event.connection)
            return
        try:
            yield from super()._handle_event(event)
        except NotImplementedError:
            # mitmproxy's HTTP/1 parser stops at the trailers of a chunked body, when all of the body has been passed on.
            assert isinstance(event, events.ConnectionEvent)
            yield from self.event_to_child(_WithoutTrailers(self.connections[event.connection]), event)

    def make_stream(self, stream_id: int) -> Commands[None]:
        """As mitmproxy does it, with a stream that can replay; without making a server that is thrown away, as its `fork` does."""
        context = copy.copy(self.context)
        context.layers = [*context.layers]
        self.streams[stream_id] = stream = RelayStream(context, stream_id)
        stream.http_layer = self
        yield from self.event_to_child(stream, events.Start())

    def forget_attempt(self, stream_id: int, server: Connection) -> None:
        """Make room for a second request of the same stream: a new HTTP/2 stream upstream, and no memory of a failed connect."""
        inner: Any = self.connections.get(server)
        while inner is not None and not isinstance(inner, Http2Client):
            inner = getattr(inner, "child_layer", None)
        if inner is not None and (ours := inner.our_stream_id.pop(stream_id, None)) is not None:
            inner.their_stream_id[ours] = -ours  # late frames of the old stream go nowhere
        if inner is not None:
            inner.stream_queue.pop(stream_id, None)
        for connection in [c for c in self.connections if c.error]:
            if connection is not self.context.client and connection not in self.waiting_for_establishment:
                del self.connections[connection]
                self.abandoned.add(connection)
        self.context.server.error = None

    # -- alarms

    def alarm_for(self, deadline: float) -> Commands[None]:
        """Make sure that some alarm rings at the deadline or before; each ring looks at every stream and sets the next."""
        if not self.alarms or min(self.alarms.values()) > deadline:
            command = commands.RequestWakeup(max(0.0, deadline - time.monotonic()))
            self.alarms[command] = deadline
            yield command

    def alarm_rang(self, command: commands.Command) -> Commands[None]:
        """Expire the streams whose time is over, and set the next alarm if there is still something to wait for."""
        del self.alarms[command]
        now = time.monotonic()
        for stream in [s for s in self.streams.values() if isinstance(s, RelayStream)]:
            if stream.deadline is not None and stream.deadline <= now + 0.001:
                stream.deadline = None
                yield from self.expire(stream)
        pending = [s.deadline for s in self.streams.values() if isinstance(s, RelayStream) and s.deadline is not None]
        if pending:
            yield from self.alarm_for(min(pending))

    def expire(self, stream: RelayStream) -> Commands[None]:
        """Tell a stream that its time is over, also when it is still waiting for a connection."""
        why = stream.relayed.deadline_message() if stream.relayed is not None else "timed out"
        yield from self.give_up(stream, Expired(stream.stream_id, why, ErrorCode.GENERIC_SERVER_ERROR))

    def end_streams(self, event: Ending) -> Commands[None]:
        """Tell the streams of relayed requests, also those within tunnels of this layer."""
        for stream in list(self.streams.values()):
            if stream.child_layer is not None:
                if layer_within(stream.child_layer) is not None:
                    yield from self.event_to_child(stream, event)
            elif isinstance(stream, RelayStream) and (stream.relayed is not None or stream.flow in RELAYED):
                stream.deadline = None
                yield from self.give_up(stream, Ended(stream.stream_id, ENDING, ErrorCode.GENERIC_SERVER_ERROR))

    def give_up(self, stream: RelayStream, event: Expired | Ended) -> Commands[None]:
        """Tell a stream, also when it is still waiting for a connection. While a hook runs it is not told."""
        why, waiting = event.message, stream._paused.command if stream._paused else None
        if waiting is None:
            yield from self.event_to_child(stream, event)
        elif isinstance(waiting, GetHttpConnection):
            self.command_sources.pop(waiting, None)
            for server in self.stop_waiting(waiting):
                yield commands.CloseConnection(server)
            yield from self.event_to_child(stream, GetHttpConnectionCompleted(waiting, (None, why)))

    def stop_waiting(self, command: GetHttpConnection) -> Iterator[Connection]:
        """Take a stream off the list of those that wait for a connection; yields connections that nobody waits for any more."""
        for server, waiting in list(self.waiting_for_establishment.items()):
            if command in waiting:
                waiting.remove(command)
                if not waiting:
                    # The empty list stays: the connect that is now called off still reports to it.
                    yield from self.drop(server)

    def drop(self, server: Connection) -> Iterator[Connection]:
        """Forget a connection that is not established; yields it, and the one to the outbound proxy that it is to go through."""
        handler = self.connections.pop(server, None)
        ways = [other for other, held in self.connections.items() if held is handler]
        for connection in ways:
            del self.connections[connection]
        self.abandoned.update([server, *ways])
        yield from [server, *ways]


def layer_within(found: layer.Layer | None) -> RelayLayer | None:
    """The HTTP layer at a stack of layers or in it."""
    while found is not None and not isinstance(found, RelayLayer):
        found = found.layer if isinstance(found, layer.NextLayer) else getattr(found, "child_layer", None)
    return found


class _WithoutTrailers(layer.Layer):
    """Ends a chunked HTTP/1 body whose trailers mitmproxy cannot read; they mean nothing to the Claude API and are dropped."""

    def __init__(self, connection: layer.Layer) -> None:
        inner: Any = connection
        while not isinstance(inner, Http1Connection):
            inner = inner.child_layer
        self.connection = inner
        self._paused = None

    def handle_event(self, _: events.Event) -> Commands[None]:
        """The body's end, then what mitmproxy does at one."""
        done, is_request = self.connection, isinstance(self.connection, Http1Server)
        yield ReceiveHttp(done.ReceiveEndOfMessage(done.stream_id))  # type: ignore[arg-type]
        yield from done.mark_done(request=is_request, response=not is_request)

    def _handle_event(self, event: events.Event) -> Commands[None]:
        yield from self.handle_event(event)
