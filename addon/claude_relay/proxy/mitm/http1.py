"""A client's HTTP/1 connection, with bounds: how long a head may be and take, and what becomes of a body that nobody wants.

mitmproxy's own server, turned into this one (`adopting`). A head that is too long, in bytes, fields or time, is refused in Claude's words;
so are trailers and the lines before chunks. An answer that leaves before its request has come (413, 403) says `connection: close`, and
what still comes is read for a moment and thrown away: closed at once, the connection would be reset, and the client might never see the
answer. It must not know flows.
"""

from __future__ import annotations

import time
from typing import Any, Final

from mitmproxy.connection import ConnectionState
from mitmproxy.net.http import http1
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers.http import ErrorCode, RequestProtocolError, ResponseEndOfMessage, ResponseHeaders
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._http1 import Http1Server

from claude_relay.core.errors import RelayError
from claude_relay.proxy.common.rejections import Reason, rejected
from claude_relay.proxy.messages.replies import error_answer, new_request_id
from claude_relay.proxy.messages.wire import own_response

from .connections import Commands
from .flood import OF_FRAME, TOO_MUCH, Toll, flooded, is_flood
from .heads import BOUNDS, TooLong

AHEAD: Final = 1024 * 1024
"""Bytes that a client may send while the answer before them is under way."""
LINGER: Final = 2.0
"""Seconds for which what nobody wants is still read."""
UNWANTED: Final = 16 * 1000**2
"""Bytes of it."""


class Http1OfClients(Http1Server):
    """One HTTP/1 connection of a client."""

    toll: Toll
    since: float | None = None
    """Monotonic time at which a head began that is not whole."""
    alarm: commands.RequestWakeup | None = None
    unwanted: int = 0

    def count_what_comes(self) -> None:
        """From now on each piece of a body, and each request that did not wait for the answer before it, has its price."""
        self.toll = Toll()

    def begin(self) -> Commands[None]:
        """The connection is new: its first head has begun."""
        self.since = time.monotonic()
        yield from self.watch(BOUNDS.bounds.head_time)

    # Each of these is called for every event of every request: where there is nothing to add, no generator stands in between.

    def _handle_event(self, event: events.Event) -> Commands[None]:
        return self.woken(event) if isinstance(event, events.Wakeup) else super()._handle_event(event)

    def woken(self, event: events.Wakeup) -> Commands[None]:
        """It may be the alarm."""
        if event.command is self.alarm:
            self.alarm = None
            yield from self.rings()

    def read_headers(self, event: events.ConnectionEvent) -> Commands[None]:
        """More of a head. The next one begins with its first byte; empty lines before it mean nothing (RFC 9112, section 2.2)."""
        if self.buf._data.startswith((b"\r", b"\n")):
            self.buf.maybe_extract_at_most(len(self.buf) - len(self.buf._data.lstrip(b"\r\n")))
        try:
            yield from super().read_headers(event)
        except TooLong as error:
            yield from self.refuse_long(error)
        if self.state != self.read_headers:
            self.since = None
        elif self.buf and self.since is None:
            self.since = time.monotonic()
            yield from self.watch(BOUNDS.bounds.head_time)

    def read_body(self, event: events.Event) -> Commands[None]:
        """A body in pieces."""
        try:
            for command in super().read_body(event):
                if is_flood(self.toll, command):
                    yield from self.close_flooded()
                    return
                yield command
        except TooLong as error:
            yield from self.refuse_long(error)

    def refuse_long(self, error: TooLong) -> Commands[None]:
        """A head, its trailers or the line before a chunk."""
        yield from self.refuse(RelayError(431, f"The head of the request is too large: {error}.", final=True))

    def wait(self, event: events.Event) -> Commands[None]:
        """What comes during an answer is kept for the next request, as far as there is room."""
        return self.close_flooded() if len(self.buf) > AHEAD else super().wait(event)

    def mark_done(self, *, request: bool = False, response: bool = False) -> Commands[None]:
        """The next request is there already."""
        if response and self.request_done and self.buf and self.toll.charge(OF_FRAME):
            return self.close_flooded()
        return super().mark_done(request=request, response=response)

    def close_flooded(self) -> Commands[None]:
        """Hang up."""
        flooded(self.conn)
        self.state = self.done
        yield commands.CloseConnection(self.conn)
        yield ReceiveHttp(RequestProtocolError(self.stream_id, TOO_MUCH, ErrorCode.CLIENT_DISCONNECTED))

    # -- time

    def watch(self, seconds: float) -> Commands[None]:
        """Have an alarm ring, if none is set."""
        if self.alarm is None:
            self.alarm = commands.RequestWakeup(seconds)
            yield self.alarm

    def rings(self) -> Commands[None]:
        """Whether a head has taken too long, or enough has been thrown away."""
        if self.state == self.throw_away:
            yield commands.CloseConnection(self.conn)
        elif self.state == self.read_headers and self.since is not None:
            left = self.since + BOUNDS.bounds.head_time - time.monotonic()
            if left > 0:
                yield from self.watch(left)
            else:
                yield from self.refuse(RelayError(408, "The head of the request did not come in time."))

    # -- answers that leave early

    def send(self, event: Any) -> Commands[None]:
        """An answer that does not wait for its request is the connection's last."""
        if self.request_done or self.request is None or self.request.method == "CONNECT":
            return super().send(event)
        return self.send_early(event)

    def send_early(self, event: Any) -> Commands[None]:
        """More of one."""
        if isinstance(event, ResponseHeaders) and event.response.status_code < 200:  # go on
            yield from super().send(event)
            self.response = None
            return
        if isinstance(event, ResponseHeaders):
            event.response = own_response(event.response)
            event.response.headers["connection"] = "close"
        yield from super().send(event)
        if isinstance(event, ResponseEndOfMessage) and self.state == self.read_body:
            yield from self.linger()

    def refuse(self, error: RelayError, reason: Reason = Reason.HEAD) -> Commands[None]:
        """Answer in the place of whoever would, and close."""
        rejected(reason, "a client's request was refused: %s", error.message)
        if self.response is None and self.conn.state & ConnectionState.CAN_WRITE:
            answer = error_answer(error, new_request_id())
            answer.headers["connection"] = "close"
            yield commands.SendData(self.conn, http1.assemble_response(answer))
        begun = self.request is not None
        yield from self.linger()
        if begun:
            gone = RequestProtocolError(self.stream_id, error.message, ErrorCode.GENERIC_CLIENT_ERROR)
            yield ReceiveHttp(gone)

    def linger(self) -> Commands[None]:
        """Say no more, and read for a moment."""
        self.state = self.throw_away
        self.buf.maybe_extract_at_most(len(self.buf))
        yield commands.CloseTcpConnection(self.conn, half_close=True)
        self.alarm = None
        yield from self.watch(LINGER)

    def throw_away(self, event: events.Event) -> Commands[None]:
        """Whatever it is."""
        self.unwanted += len(self.buf)
        self.buf.maybe_extract_at_most(len(self.buf))
        if isinstance(event, events.ConnectionClosed) or self.unwanted > UNWANTED:
            yield commands.CloseConnection(self.conn)
