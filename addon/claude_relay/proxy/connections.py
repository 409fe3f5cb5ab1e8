"""Connections, as a layer that replays needs them.

mitmproxy's own HTTP/1 and HTTP/2 clients of an upstream, each turned into one of these once it is open (`adopt`). Beyond what they do,
these

- tell a stream that no byte of an answer has come (`Unanswered`), so that the request can go again on a fresh connection
- say nothing more once the exchange on them was given up
- HTTP/2: let running streams end after GOAWAY, take no new ones on a connection that is going away or dead (`retired`), and tell
  streams that were still waiting for their turn

and a client's HTTP/2 connection, which tells of every reset (`adopt_client`).

tests/proxy/test_contract.py says which of mitmproxy's and h2's internals this stands on. It must not know flows nor limits.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any, Protocol, cast

import h2.errors
import h2.events
from hyperframe.frame import GoAwayFrame
from mitmproxy.connection import Connection
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http import (
    ErrorCode,
    GetHttpConnection,
    HttpLayer,
    RequestData,
    RequestProtocolError,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._base import HttpConnection, ReceiveHttp
from mitmproxy.proxy.layers.http._http1 import Http1Client
from mitmproxy.proxy.layers.http._http2 import Http2Client, Http2Server, StreamState

from .unsent import drop, unsent, waits_to_be_sent

if TYPE_CHECKING:
    from h2.events import Event

type Commands[T] = layer.CommandGenerator[T]

_OF_SETTINGS = (h2.events.RemoteSettingsChanged, h2.events.SettingsAcknowledged)


class Unanswered(ResponseProtocolError):
    """The connection ended, or refused the request, before any byte of an answer."""


class Lender(Protocol):
    """Who knows which connections may be used."""

    def lends(self, connection: Connection, since: float) -> bool:
        """Whether an open connection may carry a new request; `since`: only one that was opened after that monotonic time."""


class GetConnection(GetHttpConnection):
    """Asks for a connection.

    lender   says which open ones will do
    since    only one that was opened after this monotonic time
    fresh    it was opened for this request
    expired  it was not open in time
    """

    lender: Lender
    since: float = 0.0
    fresh: bool = False
    expired: bool = False

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def connection_spec_matches(self, connection: Connection) -> bool:
        """Whether this connection leads there and may be used."""
        if not super().connection_spec_matches(connection):
            return False
        return not connection.connected or self.lender.lends(connection, self.since)


class Http1(Http1Client):
    """One HTTP/1 connection."""

    opened_at: float = 0.0

    @property
    def usable(self) -> bool:
        """Whether it can carry another request: not while the last one's body, which was answered early, still fills it."""
        stuck = waits_to_be_sent(self.context.client, socket_of(self))
        if stuck:
            drop(self.context.client, socket_of(self))
        return not stuck

    def is_silent(self, since: float) -> bool:
        """It is closed when its exchange is given up."""
        return False

    def pending(self, stream_id: int) -> int:
        """Bytes of the stream's request that have not left."""
        return unsent(self.context.client, socket_of(self))

    def send(self, event: Any) -> Commands[None]:
        """What is given up has nothing more to say: what still comes must not be taken for the next attempt's."""
        yield from super().send(event)
        if isinstance(event, RequestProtocolError):
            drop(self.context.client, socket_of(self))
            self.state = self.given_up

    def given_up(self, _: events.Event) -> Commands[None]:
        """Swallows the goodbye."""
        yield from ()

    def read_headers(self, event: events.ConnectionEvent) -> Commands[None]:
        """The end of the connection in the place of an answer."""
        unanswered = isinstance(event, events.ConnectionClosed) and self.stream_id and not self.buf
        for command in super().read_headers(event):
            if unanswered and isinstance(command, ReceiveHttp):
                command.event = as_unanswered(command.event)
            yield command


class GoingAway(h2.events.Event):
    """GOAWAY. h2's own event comes with a connection that takes nothing more, from streams that may still end neither."""

    def __init__(self, frame: GoAwayFrame) -> None:
        self.last_stream_id: int = frame.last_stream_id
        self.error_code: int = frame.error_code


class Http2(Http2Client):
    """One HTTP/2 connection."""

    opened_at: float = 0.0
    retired: bool = False
    """No new stream may use it."""
    over: bool = False
    garbled: bool = False
    heard_at: float = 0.0
    """When the peer last sent anything but what every connection begins with; monotonic."""
    _heard_before: float = 0.0
    _turned_away: tuple[int, ...] = ()
    _why: str = ""

    @property
    def usable(self) -> bool:
        """Whether it can carry another request."""
        return not self.retired

    def is_silent(self, since: float) -> bool:
        """Whether nothing has come since this monotonic time."""
        return self.heard_at <= since

    def pending(self, stream_id: int) -> int:
        """Bytes of the stream's request that have not left; those of other streams among them, as they share a socket."""
        if (queued := self.stream_queue.get(stream_id)) is not None:
            return 1 + sum(len(event.data) for event in queued if isinstance(event, RequestData))
        held = self.h2_conn.stream_buffers.get(self.our_stream_id.get(stream_id, -1), ())
        return sum(len(part.data) for part in held) + len(held) + unsent(self.context.client, socket_of(self))

    def forget(self, stream_id: int) -> None:
        """Make room for a second request of the same stream; late frames of the first go nowhere."""
        if (ours := self.our_stream_id.pop(stream_id, None)) is not None:
            self.their_stream_id[ours] = -ours
        self.stream_queue.pop(stream_id, None)

    def _handle_event(self, event: events.Event) -> Commands[None]:
        if isinstance(event, RequestProtocolError) and event.stream_id not in self.our_stream_id:
            self.stream_queue.pop(event.stream_id, None)  # it was still waiting for its turn
            return
        if isinstance(event, events.DataReceived):
            self._heard_before, self.heard_at = self.heard_at, time.monotonic()
        yield from super()._handle_event(event)
        if self._turned_away or self.retired:
            yield from self.wind_up()

    def handle_h2_event(self, event: Event | Exception) -> Commands[bool]:
        """GOAWAY and refusals as they are meant; all else as mitmproxy does it."""
        if isinstance(event, GoingAway):
            yield from self.goes_away(event)
            return False
        if isinstance(event, h2.events.StreamReset) and event.error_code == h2.errors.ErrorCodes.REFUSED_STREAM:
            yield from self.refused(event.stream_id or 0)
            return False
        if isinstance(event, _OF_SETTINGS):
            self.heard_at = self._heard_before
        stop = yield from super().handle_h2_event(event)  # type: ignore[arg-type]
        if isinstance(event, h2.events.StreamEnded) and self.h2_conn.stream_buffers.get(event.stream_id or 0):
            self.h2_conn.reset_stream(
                event.stream_id, h2.errors.ErrorCodes.CANCEL
            )  # answered early: the rest is not wanted
            self.streams.pop(event.stream_id, None)
        return stop

    def goes_away(self, event: GoingAway) -> Commands[None]:
        """Streams after the last one that the peer will answer never happened; those before it may end."""
        self.retired = True
        self._why = f"HTTP/2 connection is going away (error {event.error_code})"
        self.turn_away_queued()
        for stream_id in [ours for ours in self.streams if ours > event.last_stream_id]:
            if not self.is_closed(stream_id):
                self.h2_conn.reset_stream(stream_id, h2.errors.ErrorCodes.CANCEL)
            yield from self.lost(stream_id, self._why)

    def refused(self, stream_id: int) -> Commands[None]:
        """The peer says that it has done nothing with this request."""
        self.retired = True
        if stream_id in self.streams:
            yield from self.lost(stream_id, "stream refused (REFUSED_STREAM)")

    def lost(self, stream_id: int, why: str) -> Commands[None]:
        """This stream gets no answer any more."""
        state = self.streams.pop(stream_id)
        error = ResponseProtocolError(stream_id, why, ErrorCode.GENERIC_SERVER_ERROR)
        yield ReceiveHttp(error if self.garbled or state is not StreamState.EXPECTING_HEADERS else as_unanswered(error))

    def turn_away_queued(self) -> None:
        """Streams that wait for their turn will not have one."""
        self._turned_away += tuple(self.stream_queue)
        self.stream_queue.clear()

    def wind_up(self) -> Commands[None]:
        """Tell those who waited, and close a connection that is no longer used by anyone."""
        turned_away, self._turned_away = self._turned_away, ()
        for stream_id in turned_away:
            error = ResponseProtocolError(stream_id, self._why, ErrorCode.GENERIC_SERVER_ERROR)
            yield ReceiveHttp(as_unanswered(error))
        if self.retired and not self.over and not self.h2_conn.open_outbound_streams and not self.stream_queue:
            self.end()
            yield commands.CloseConnection(self.conn)
            drop(self.context.client, socket_of(self))

    def end(self) -> None:
        """Nothing more is said here."""
        self.retired = self.over = True
        self._handle_event = self.done  # type: ignore[method-assign]

    def protocol_error(self, message: str, error_code: int = h2.errors.ErrorCodes.PROTOCOL_ERROR) -> Commands[None]:
        """What came cannot be read: something did come."""
        self.garbled = True
        yield from super().protocol_error(message, error_code)

    def close_connection(self, msg: str) -> Commands[None]:
        """Tell all streams, those in the queue too."""
        yield commands.CloseConnection(self.conn)
        self._why = msg
        for stream_id in list(self.streams):
            yield from self.lost(stream_id, msg)
        self.turn_away_queued()
        self.end()


class Http2OfClients(Http2Server):
    """A client's HTTP/2 connection."""

    def handle_h2_event(self, event: Event) -> Commands[bool]:
        """A request and its reset in one read: mitmproxy has forgotten the stream when the reset's turn comes."""
        if isinstance(event, h2.events.StreamReset) and event.stream_id not in self.streams:
            yield ReceiveHttp(RequestProtocolError(event.stream_id or 0, "stream reset by client", ErrorCode.CANCEL))
            return False
        return (yield from super().handle_h2_event(event))


def adopt_client(connection: layer.Layer | None) -> None:
    """Turn the server that mitmproxy has made for a client's connection into one of these."""
    if type(connection) is Http2Server:
        connection.__class__ = Http2OfClients


def adopt(connection: layer.Layer, now: float) -> None:
    """Turn the client that mitmproxy has made for a connection into one of these. `connection`: the first of its layers."""
    client: Any = connection
    while client is not None and type(client) not in _ADOPTED:
        client = getattr(client, "child_layer", None)
    if client is not None:
        client.__class__ = _ADOPTED[type(client)]
        client.opened_at = now
    if isinstance(client, Http1):
        client.state = client.read_headers
    elif isinstance(client, Http2):
        dispatch = cast(Any, client.h2_conn)._frame_dispatch_table
        dispatch[GoAwayFrame] = functools.partial(_received_goaway)


_ADOPTED: dict[type, type[Http1 | Http2]] = {Http1Client: Http1, Http2Client: Http2}


def client_of(connection: layer.Layer | None) -> Http1 | Http2 | None:
    """The client at the end of a connection's layers; None while it is being opened."""
    client: Any = connection
    while client is not None and not isinstance(client, (Http1, Http2)):
        client = getattr(client, "child_layer", None)
    return client


def socket_of(client: HttpConnection) -> Connection:
    """The connection that has a socket: an outbound proxy's where there is one."""
    layers = client.context.layers
    last = max(place for place, found in enumerate(layers) if isinstance(found, HttpLayer))
    found: Connection = getattr(layers[last + 1], "tunnel_connection", client.conn)
    return found


def as_unanswered(error: Any) -> Unanswered:
    """The same error, known to have come before any answer."""
    return Unanswered(error.stream_id, error.message, error.code)


def _received_goaway(frame: GoAwayFrame) -> tuple[list[Any], list[Event]]:
    return [], [GoingAway(frame)]
