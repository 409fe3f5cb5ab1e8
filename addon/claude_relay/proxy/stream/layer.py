"""The HTTP layer whose streams can replay: connections, alarms, and the corners of mitmproxy that a second attempt would stumble over.

`RelayLayer.adopt` turns the layers that mitmproxy built into these. See `replay` for the life of one stream.
"""

from __future__ import annotations

import copy
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from mitmproxy.connection import Connection
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http import (
    DropStream,
    ErrorCode,
    GetHttpConnection,
    GetHttpConnectionCompleted,
    HttpLayer,
    HttpStream,
    RegisterHttpConnection,
    RequestHeaders,
    SendHttp,
)
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._http1 import Http1Connection, Http1Server

from claude_relay.proxy.log.plain import cleaned
from claude_relay.proxy.mitm import backpressure
from claude_relay.proxy.mitm.adopting import adopt, adopt_client, client_of
from claude_relay.proxy.mitm.connections import Commands, GetConnection
from claude_relay.proxy.mitm.http1 import Http1OfClients
from claude_relay.proxy.mitm.http2 import Http2
from claude_relay.proxy.request.relayed import RELAYED

from .answering import AnsweringStream, Ended, Expired
from .faulting import FaultingStream
from .replay import RelayStream


@dataclass
class Ending(events.Event):
    """Requests whose `Relayed.ended` says why end now."""


class RelayLayer(HttpLayer):
    """An HTTP layer whose streams can replay. Made by turning an `HttpLayer` that mitmproxy built into one of these."""

    abandoned: weakref.WeakSet[Connection]
    """Connections of attempts that failed or were given up; they may only say goodbye."""
    alarms: dict[commands.Command, float]
    """Alarms under way, and when each rings. They are the layer's own: a stream that has asked for one may be gone long before."""

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

    def handle_event(self, event: events.Event) -> Commands[None]:
        """Without the steps that mitmproxy has in between, which let a layer wait for a command: this one never does."""
        child: layer.Layer | HttpStream | None = None
        if isinstance(event, events.CommandCompleted):
            if event.command in self.alarms:
                yield from self.alarm_rang(event.command)
                return
            child = self.command_sources.pop(event.command)
        elif isinstance(event, events.ConnectionEvent):
            child = self.connections.get(event.connection)
        try:
            yield from self._handle_event(event) if child is None else self.event_to_child(child, event)
        except NotImplementedError:
            # mitmproxy's HTTP/1 parser stops at the trailers of a chunked body, when all of the body has been passed on. A client's that
            # came while another request of its was answered are read at the end of that answer.
            if not isinstance(event, events.ConnectionEvent):
                event = events.DataReceived(self.context.client, b"")
            yield from self.event_to_child(_WithoutTrailers(self.connections[event.connection]), event)

    def _handle_event(self, event: events.Event) -> Commands[None]:
        """What is for no connection or stream that this layer has."""
        if isinstance(event, Ending):
            yield from self.end_streams(event)
        elif isinstance(event, events.ConnectionEvent) and event.connection in self.abandoned:
            if isinstance(event, events.ConnectionClosed):
                self.abandoned.discard(event.connection)
        else:
            yield from super()._handle_event(event)
            if isinstance(event, events.Start):
                yield from self.adopt_client()

    def adopt_client(self) -> Commands[None]:
        """The client's connection is made."""
        client = self.connections.get(self.context.client)
        adopt_client(client)
        backpressure.saw(self)
        if isinstance(client, Http1OfClients):
            for command in client.begin():
                self.command_sources[command] = client
                yield command

    def event_to_child(self, child: layer.Layer | HttpStream, event: events.Event) -> Commands[None]:
        """Give an event to a connection or a stream, and each command that comes of it to whom it is for.

        As mitmproxy does it, which asks each command six questions before it lets it through, a hundred and twenty for each request.
        """
        over: AnsweringStream | None = None
        for command in child.handle_event(event):
            kind = type(command)
            if kind is ReceiveHttp:
                said = command.event  # type: ignore[attr-defined]
                if isinstance(said, RequestHeaders):
                    yield from self.make_stream(said.stream_id)
                if (stream := self.streams.get(said.stream_id)) is not None:  # else it is over
                    yield from self.event_to_child(stream, said)
            elif kind is SendHttp:
                yield from self.event_to_child(self.connections[command.connection], command.event)  # type: ignore[attr-defined]
            elif kind is commands.SendData:
                yield command
            else:
                if command.blocking or (kind is commands.RequestWakeup and command not in self.alarms):
                    self.command_sources[command] = child
                if kind is DropStream:
                    over = cast(AnsweringStream, self.streams.pop(command.stream_id, None))  # type: ignore[attr-defined]
                elif isinstance(command, GetHttpConnection):
                    yield from self.get_connection(command)
                elif kind is RegisterHttpConnection:
                    yield from self.register_connection(command)  # type: ignore[arg-type]
                else:
                    if isinstance(command, commands.OpenConnection):
                        self.connections[command.connection] = child
                    yield command
        if over is not None and over._paused is None:
            over.take_apart()

    def make_stream(self, stream_id: int) -> Commands[None]:
        """As mitmproxy does it, with a stream that can replay; without making a server that is thrown away, as its `fork` does."""
        context = copy.copy(self.context)
        context.layers = [*context.layers]
        self.streams[stream_id] = stream = RelayStream(context, stream_id)
        stream.http_layer = self
        yield from self.event_to_child(stream, events.Start())

    def forget_attempt(self, stream_id: int, server: Connection) -> None:
        """Make room for a second request of the same stream: a new HTTP/2 stream upstream, and no memory of a failed connect."""
        if isinstance(client := client_of(self.connections.get(server)), Http2):
            client.forget(stream_id)
        for connection in [c for c in self.connections if c.error]:
            if connection is not self.context.client and connection not in self.waiting_for_establishment:
                del self.connections[connection]
                self.abandoned.add(connection)
        self.context.server.error = None

    @staticmethod
    def disturb(stream: AnsweringStream) -> None:
        """From now on its attempts can fail on purpose; other streams need not ask each event about that."""
        stream.__class__ = FaultingStream

    # -- connections

    def register_connection(self, command: RegisterHttpConnection) -> Commands[None]:
        """A connection is open, or is not to be had."""
        if command.err:  # a proxy's refusal may repeat its credential
            command.err = command.connection.error = cleaned(command.err)
        opened = self.connections.get(command.connection)
        if opened is not None and not command.err:
            adopt(opened, time.monotonic())
            for waiting in self.waiting_for_establishment[command.connection]:
                if isinstance(waiting, GetConnection):
                    waiting.fresh = (
                        command.connection is not self.context.server
                    )  # which mitmproxy may have opened before
        yield from super().register_connection(command)

    def allows(self, connection: Connection, since: float) -> bool:
        """Whether an open connection may carry a new request; `since`: only one that was opened after that monotonic time."""
        client = client_of(self.connections.get(connection))
        return client is None or (client.opened_at > since and client.usable)

    def unsent(self, stream: AnsweringStream) -> int:
        """Bytes of the stream's request that have not left."""
        client = client_of(self.connections.get(stream.context.server))
        return 0 if client is None else client.pending(stream.stream_id)

    def retire(self, server: Connection, silent_since: float) -> None:
        """Give this connection to nobody any more if it has been silent as a whole; streams that run on it may end."""
        client = client_of(self.connections.get(server))
        if isinstance(client, Http2) and client.is_silent(silent_since):
            client.retired = True

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
                yield from self.expire(stream, now + 0.001)
        pending = [s.deadline for s in self.streams.values() if isinstance(s, RelayStream) and s.deadline is not None]
        if pending:
            yield from self.alarm_for(min(pending))

    def expire(self, stream: RelayStream, now: float) -> Commands[None]:
        """Tell a stream that its time is over, also when it is still waiting for a connection."""
        waiting = stream._paused.command if stream._paused else None
        if waiting is not None and not isinstance(waiting, GetConnection):
            return  # a hook runs, which has time of its own
        over = stream.rings(now)
        if over is not None:
            if waiting is not None:
                waiting.expired = True
            yield from self.notify(stream, over)

    def end_streams(self, event: Ending) -> Commands[None]:
        """Tell the streams of the requests that are to end, also those within tunnels of this layer."""
        for stream in list(self.streams.values()):
            if stream.child_layer is not None:
                if layer_within(stream.child_layer) is not None:
                    yield from self.event_to_child(stream, event)
            elif isinstance(stream, RelayStream) and (relayed := stream.relayed or RELAYED.get(stream.flow)):
                if relayed.ended is None:
                    continue
                stream.deadline = None
                ended = Ended(stream.stream_id, relayed.end.why, ErrorCode.GENERIC_SERVER_ERROR)
                yield from self.notify(stream, ended)

    def notify(self, stream: AnsweringStream, event: Expired | Ended) -> Commands[None]:
        """Tell a stream that its exchange is over, also when it is still waiting for a connection. While a hook runs it is not told."""
        waiting = stream._paused.command if stream._paused else None
        if waiting is None:
            yield from self.event_to_child(stream, event)
        elif isinstance(waiting, GetHttpConnection):
            self.command_sources.pop(waiting, None)
            for server in self.stop_waiting(waiting):
                yield commands.CloseConnection(server)
            yield from self.event_to_child(stream, GetHttpConnectionCompleted(waiting, (None, event.message)))

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
