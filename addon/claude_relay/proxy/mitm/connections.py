"""Connections to upstreams, as a layer that replays needs them: asking for one, and HTTP/1.

mitmproxy's own HTTP/1 client, turned into this one once it is open (`adopting`). Beyond what that does, it tells a stream that no byte of
an answer has come (`Unanswered`), so that the request can go again on a fresh connection, skips interim answers, and says nothing more
once the exchange on it was given up. It must not know flows nor limits.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from mitmproxy.connection import Connection
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http import (
    ErrorCode,
    GetHttpConnection,
    HttpLayer,
    RequestHeaders,
    RequestProtocolError,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._base import HttpConnection, ReceiveHttp
from mitmproxy.proxy.layers.http._http1 import Http1Client

from claude_relay.proxy.common.rejections import Reason, rejected

from .flood import OF_FRAME, TOO_MUCH, Toll, flooded, is_flood
from .heads import TooLong
from .waiting import drop, has_unsent, unsent

SWITCHING: Final = 101
SWITCHED: Final = "the upstream switched to another protocol (101), which nobody asked for"
STATUS_WITHIN: Final = 32
"""Bytes of an answer in which its status is looked for: `HTTP/1.1 100 ` has 13."""

type Commands[T] = layer.CommandGenerator[T]


class Unanswered(ResponseProtocolError):
    """The connection ended, or refused the request, before any byte of an answer."""


class Garbled(ResponseProtocolError):
    """What came is no answer."""


class Reuse(Protocol):
    """Who knows which connections may be used."""

    def allows(self, connection: Connection, since: float) -> bool:
        """Whether an open connection may carry a new request; `since`: only one that was opened after that monotonic time."""


class GetConnection(GetHttpConnection):
    """Asks for a connection.

    lender   says which open ones will do
    since    only one that was opened after this monotonic time
    fresh    it was opened for this request
    expired  it was not open in time
    """

    reuse: Reuse
    since: float = 0.0
    fresh: bool = False
    expired: bool = False

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def connection_spec_matches(self, connection: Connection) -> bool:
        """Whether this connection leads there and may be used."""
        if not super().connection_spec_matches(connection):
            return False
        return not connection.connected or self.reuse.allows(connection, self.since)


class Http1(Http1Client):
    """One HTTP/1 connection."""

    toll: Toll

    opened_at: float = 0.0
    answering: bool = False
    """An interim answer has come, so that the peer is known to have the request."""

    @property
    def usable(self) -> bool:
        """Whether it can carry another request: not while the last one's body, which was answered early, still fills it."""
        stuck = has_unsent(self.context.client, socket_of(self))
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
        self.answering = self.answering and not isinstance(event, RequestHeaders)
        return self.give_up(event) if isinstance(event, RequestProtocolError) else super().send(event)

    def give_up(self, event: RequestProtocolError) -> Commands[None]:
        """Close it."""
        yield from super().send(event)
        drop(self.context.client, socket_of(self))
        self.state = self.given_up

    def given_up(self, _: events.Event) -> Commands[None]:
        """Swallows the goodbye."""
        yield from ()

    def read_headers(self, event: events.ConnectionEvent) -> Commands[None]:
        """Skip interim answers; tell of the end of the connection in the place of an answer."""
        if self.request is not None and isinstance(event, events.DataReceived):
            try:
                why = self.skip_interim()
            except TooLong:
                why = ""  # as what follows will find, too
            if why:
                yield from self.cut(why)
                return
        unanswered = isinstance(event, events.ConnectionClosed) and self.stream_id and not self.buf
        for command in self.within_bounds(super().read_headers(event)):
            if unanswered and not self.answering and isinstance(command, ReceiveHttp):
                command.event = as_unanswered(command.event)
            yield command

    def read_body(self, event: events.Event) -> Commands[None]:
        """An answer that breaks off, or is none."""
        for command in self.within_bounds(super().read_body(event)):
            if is_flood(self.toll, command):
                flooded(self.conn)
                yield from self.cut(TOO_MUCH)
                return
            yield command

    def count_what_comes(self) -> None:
        """From now on each piece has its price."""
        self.toll = Toll()

    def within_bounds(self, found: Commands[None]) -> Commands[None]:
        """A head, trailers or the line before a chunk that do not end are none.

        An error is the last that a stream hears of this connection: its end, which follows, would be the next attempt's error.
        """
        try:
            for command in found:
                if isinstance(command, ReceiveHttp) and isinstance(command.event, ResponseProtocolError):
                    self.state = self.given_up
                yield command
                # The stream may give up, too, over what it has just heard; what is read on would change the state.
                if self.state == self.given_up:
                    return
        except TooLong as error:
            self.buf.maybe_extract_at_most(len(self.buf))
            yield commands.CloseConnection(self.conn)
            assert self.stream_id is not None
            rejected(Reason.ANSWER, "an upstream's answer was given up: its head is too large")
            self.state = self.given_up
            why = f"the answer's head is too large: {error}"
            yield ReceiveHttp(Garbled(self.stream_id, why, ErrorCode.GENERIC_SERVER_ERROR))

    def skip_interim(self) -> str:
        """Take whole heads of 1xx out of what has come; mitmproxy takes them for the answer. Returns why there will be none."""
        assert self.request is not None
        while (status := interim_status(bytes(self.buf._data[:STATUS_WITHIN]))) is not None:
            if status == SWITCHING:
                return "" if "upgrade" in self.request.headers else SWITCHED
            if not self.buf.maybe_extract_lines():
                break
            self.answering = True
            if self.toll.charge(OF_FRAME):
                flooded(self.conn)
                return TOO_MUCH
        return ""

    def cut(self, why: str) -> Commands[None]:
        """Whatever follows is not wanted."""
        assert self.stream_id is not None
        yield commands.CloseConnection(self.conn)
        self.state = self.given_up
        yield ReceiveHttp(ResponseProtocolError(self.stream_id, why, ErrorCode.GENERIC_SERVER_ERROR))


def interim_status(start: bytes) -> int | None:
    """The status in the first line of an answer, as far as it is there and that of an interim one (RFC 9110, section 15.2)."""
    words = start.split(None, 2)
    found = words[1] if len(words) > 1 and words[0].startswith(b"HTTP/") else b""
    return int(found) if len(found) == 3 and found.isdigit() and found.startswith(b"1") else None


def socket_of(client: HttpConnection) -> Connection:
    """The connection that has a socket: an outbound proxy's where there is one."""
    layers = client.context.layers
    last = max(place for place, found in enumerate(layers) if isinstance(found, HttpLayer))
    found: Connection = getattr(layers[last + 1], "tunnel_connection", client.conn)
    return found


def as_unanswered(error: Any) -> Unanswered:
    """The same error, known to have come before any answer."""
    return Unanswered(error.stream_id, error.message, error.code)
